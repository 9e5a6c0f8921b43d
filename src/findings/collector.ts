import type { Clock } from "../bus/clock.js";
import type { DmaFault, IoMmu } from "../bus/io-mmu.js";
import type { DeviceViolation, PciBus } from "../bus/pci-bus.js";
import type { LinuxDomain } from "../linux/domain.js";
import { DmaAccess } from "../memory/pin.js";
import { GuestFailure } from "../translator/sandbox.js";

/** Something that a driver, or its device, did wrong. */
export interface Finding {
  readonly rule: string;
  readonly message: string;
  /** The function that did it, as far as that is known: `symbol+0x12/0x40`. */
  readonly symbol: string | null;
  /** The module that it belongs to, null for the kernel's own code. */
  readonly module: string | null;
  /** Who called it, the innermost first. */
  readonly backtrace: readonly string[];
  /** Of the device that was involved. */
  readonly device: string | null;
  /** Machine time in nanoseconds. */
  readonly time: number;
  /** How often the same was found at the same place. */
  count: number;
}

/** The machine that is listened to. */
export interface ObservedMachine {
  readonly iommu: IoMmu;
  readonly pci: PciBus;
  readonly clock: Clock;
}

const MOST_FINDINGS = 1000;

/** Listens to a machine and its Linux domains, and keeps what was wrong: each thing at one place once. */
export class FindingCollector {
  readonly findings: Finding[] = [];
  onFinding: (finding: Finding) => void = () => {};
  readonly #known = new Map<string, Finding>();
  #domain: LinuxDomain | null = null;

  constructor(private readonly machine: ObservedMachine) {
    machine.iommu.events.on("fault", (fault) => this.#dmaFault(fault));
    machine.pci.events.on("violation", (violation) => this.#violation(violation));
  }

  /** Listens to a domain, too. */
  watch(domain: LinuxDomain): void {
    const { services } = domain;
    this.#domain = domain;
    // Its memory is to go with it.
    services.events.on("ended", () => {
      if (this.#domain === domain) this.#domain = null;
    });
    services.events.on("memory", ({ rule, message, site }) => this.#add(rule, message, site, domain, null));
    services.dma.events.on("misuse", ({ rule, message, site, device }) =>
      this.#add(rule, message, site, domain, device),
    );
    services.pci.events.on("stray", ({ address, size, write, symbol }) => {
      const what = write ? "writes" : "reads";
      this.#add(
        "mmio-stray",
        `${what} ${size} bytes at bus address 0x${address.toString(16)}, where no registers are mapped`,
        symbol,
        domain,
        null,
      );
    });
    services.execution.events.on("warning", ({ file, line, symbol, backtrace }) => {
      this.#add("kernel-warning", `WARN at ${file}:${line}`, symbol, domain, null, backtrace);
    });
    services.execution.events.on("refusedAccess", (failure) => this.failure(failure, domain));
  }

  /** What a domain died of. */
  failure(error: unknown, domain: LinuxDomain): void {
    if (!(error instanceof GuestFailure)) {
      this.#add("domain-died", error instanceof Error ? error.message : String(error), domain.site(), domain, null);
      return;
    }
    const { rule, message, symbol, backtrace } = error.failure;
    const frames = backtrace.map((frame) => frame.symbol ?? `0x${(frame.address >>> 0).toString(16)}`);
    this.#add(rule, message, symbol ?? "", domain, null, frames);
  }

  #dmaFault({ device, reason, address, length, access, mapping }: DmaFault): void {
    const verb = access === DmaAccess.read ? "reads" : "writes";
    const near =
      mapping === null
        ? ""
        : `; nearest mapping: ${mapping.length} bytes at 0x${mapping.address.toString(16)}, made by ${mapping.site}${mapping.unmapSite === null ? "" : ", and unmapped"}`;
    const message = `${device} ${verb} ${length} bytes at I/O address 0x${address.toString(16)}: ${reason.replaceAll("-", " ")}${near}`;
    this.#add(`dma-${reason}`, message, mapping?.site ?? "", this.#domain, device);
  }

  #violation({ device, rule, message }: DeviceViolation): void {
    this.#add(`device-${rule}`, `${device}: ${message}`, "", this.#domain, device);
  }

  #add(
    rule: string,
    message: string,
    site: string,
    domain: LinuxDomain | null,
    device: string | null,
    backtrace: readonly string[] = [],
  ): void {
    const [symbol, module] = split(site, domain, backtrace);
    const key = `${rule} ${symbol ?? ""} ${device ?? ""}`;
    const known = this.#known.get(key);
    if (known !== undefined) {
      known.count++;
      return;
    }
    if (this.findings.length >= MOST_FINDINGS) return;
    const finding = { rule, message, symbol, module, backtrace, device, time: this.machine.clock.now(), count: 1 };
    this.#known.set(key, finding);
    this.findings.push(finding);
    this.onFinding(finding);
  }
}

/** `symbol+0x1 [module]`, or a bare symbol: then the nearest module among the callers is to blame. */
function split(site: string, domain: LinuxDomain | null, backtrace: readonly string[]): [string | null, string | null] {
  const match = /^(.*) \[(\w+)\]$/.exec(site);
  if (match !== null) return [match[1], match[2]];
  for (const symbol of [site, ...backtrace]) {
    const module = domain?.modules.nameOfFunction(symbol.split("+")[0]) ?? null;
    if (module !== null) return [symbol, module];
  }
  return [site === "" ? null : site, null];
}
