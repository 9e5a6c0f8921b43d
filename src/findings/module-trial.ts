import type { PciSlot } from "../bus/pci-bus.js";
import { LinuxDomain } from "../linux/domain.js";
import type { LinuxMachine } from "../linux/driver.js";
import type { KernelImage } from "../linux/image.js";
import type { KernelPackage } from "../linux/kernel-package.js";
import type { LinuxModule } from "../linux/modules.js";
import { GuestFailure } from "../translator/sandbox.js";
import { KorralError } from "../util/errors.js";
import { type Finding, FindingCollector, type ObservedMachine } from "./collector.js";
import { LeakWatch } from "./leak-watch.js";

/** What came of a trial: `clean`, or the kind of what kept the module from leaving cleanly. */
export type TrialOutcome = "clean" | "refused" | "error" | "fault" | "hang" | "leak" | "misuse";

/** A module was loaded, given a device, and unloaded. */
export interface TrialResult {
  readonly module: string;
  readonly outcome: TrialOutcome;
  /** How far it came. */
  readonly stage: "load" | "initialisation" | "run" | "exit" | "end";
  /** Why it is not clean: a short text that is the same for the same reason, and all that is known. */
  readonly reason: string;
  readonly detail: readonly string[];
  /** What its initialisation returned, null if it did not return. */
  readonly result: number | null;
  /** The driver that bound to the device. */
  readonly bound: string | null;
  /** Errors of probes, as the kernel's log has them. */
  readonly probeErrors: readonly number[];
  readonly left: Readonly<Record<string, number>>;
  /** What its direct calls allocated, and nobody freed: bytes and place. */
  readonly leaks: readonly string[];
  readonly findings: readonly Pick<Finding, "rule" | "message" | "symbol" | "count">[];
  readonly console: readonly string[];
  readonly instructions: number;
  /** Nanoseconds of machine time. */
  readonly time: number;
}

export interface TrialOptions {
  /** Instructions of one entry: a call, or a thread until it blocks. */
  readonly budget?: number;
  /** Machine time that passes between initialisation and exit. Nanoseconds. */
  readonly life?: number;
  /** Machine time that initialisation and exit may take each. Nanoseconds. */
  readonly patience?: number;
  /** Instructions of the whole trial. */
  readonly most?: number;
  /** What is translated before the module is loaded, for trials beside the same kernel: kept by the first of them. */
  readonly shared?: SharedTranslations;
}

/** Of several trials in a row. */
export interface SharedTranslations {
  bytes: Uint8Array | null;
}

/** ENOSYS is no answer to a device. */
const ENOSYS = -38;
/** Nor is EFAULT, but from a probe: none has to do with a program's memory, and some drivers say so of registers. */
const EFAULT = -14;
/** Fits only if no memory was refused: drivers say so of registers, too. */
const ENOMEM = -12;
const PROBE_FAILED = /probe (?:of|with driver) \S+ failed with error (-\d+)/;
/** Part of the kernel that was not initialised. */
const NO_BUS = /bus_type '(\w+)' because the bus was not initialized/;
/** Findings of drivers that misuse what they were given. */
const MISUSE = /^(double-free|invalid-free|cache-leak|dma-(?!unmapped|after|out)|device-owned)/;
const MOST_LINES = 40;
const MOST_DETAIL = 14;
const CHECK = 100_000_000;
const AFTERMATH = 2_000_000_000;

/** Something took longer than it may. */
class TrialTimeout extends KorralError {}

/** Loads a module with its dependencies into a fresh kernel, beside a device that may be its own, and unloads all of it. */
export async function tryModule(
  machine: LinuxMachine & ObservedMachine,
  kernel: KernelPackage,
  image: KernelImage,
  name: string,
  slot: PciSlot | null,
  options: TrialOptions = {},
): Promise<TrialResult> {
  return await new ModuleTrial(machine, kernel, image, name, slot, options).run();
}

class ModuleTrial {
  readonly #domain: LinuxDomain;
  readonly #collector: FindingCollector;
  readonly #leaks: LeakWatch;
  readonly #exhausted: string[] = [];
  /** What it depends on does not start. */
  #refusedBy: string | null = null;
  readonly #console: string[] = [];
  readonly #loaded: LinuxModule[] = [];
  readonly #life: number;
  readonly #patience: number;
  readonly #most: number;
  readonly #shared: SharedTranslations;
  /** Allocations and mappings that the domain refused. */
  #refusals = 0;
  /** What each module's initialisation returned. */
  readonly #answers: number[] = [];
  /** The last module that was loaded has started. */
  #isLive = false;
  #stage: TrialResult["stage"] = "load";
  #result: number | null = null;
  #bound: string | null = null;
  #left: Record<string, number> = {};

  constructor(
    private readonly machine: LinuxMachine & ObservedMachine,
    private readonly kernel: KernelPackage,
    image: KernelImage,
    private readonly name: string,
    private readonly slot: PciSlot | null,
    {
      budget = 300_000_000,
      life = 5_000_000_000,
      patience = 3_600_000_000_000,
      most = 800_000_000,
      shared = { bytes: null },
    }: TrialOptions,
  ) {
    this.#shared = shared;
    this.#life = life;
    this.#patience = patience;
    this.#most = most;
    this.#domain = new LinuxDomain(machine, image, { name, translations: shared.bytes });
    this.#domain.services.execution.budget = budget;
    this.#collector = new FindingCollector(machine);
    this.#collector.watch(this.#domain);
    this.#domain.services.events.on("console", ({ text }) => this.#console.push(text));
    this.#domain.services.dma.events.on("refused", () => this.#refusals++);
    this.#domain.services.events.on("exhausted", ({ message }) => {
      this.#refusals++;
      this.#exhausted.push(message);
    });
    this.#leaks = new LeakWatch(this.#domain);
  }

  async run(): Promise<TrialResult> {
    const domain = this.#domain;
    try {
      domain.boot((key, make, isUsable) => this.kernel.files.derived(key, make, isUsable));
      domain.scanPci(this.slot === null ? [] : [this.slot]);
      this.#shared.bytes ??= domain.sandbox.keepTranslations();
      this.#leaks.start();
      await this.#load();
      this.#stage = "run";
      await this.#pass(this.#life);
      this.#bound = this.#driver();
      this.#stage = "exit";
      const unloaded = await this.#unload();
      this.#stage = "end";
      if (unloaded) return this.#judged();
      return this.#answer("clean", "");
    } catch (error) {
      return this.#failed(error);
    } finally {
      domain.end();
    }
  }

  async #load(): Promise<void> {
    const { kernel, name } = this;
    for (const each of this.#order()) {
      const bytes = kernel.moduleBytes(each);
      this.#stage = "load";
      const module = this.#domain.modules.load(bytes, kernel.path(each));
      this.#leaks.add(module);
      this.#stage = "initialisation";
      this.#domain.modules.announce(module);
      this.#loaded.push(module);
      const init = this.#domain.modules.symbol(module, "init_module");
      const result = init === null ? 0 : await this.#within(this.#domain.run(module.name, init), each);
      this.#isLive = result === 0;
      this.#answers.push(result);
      if (each === name) this.#result = result;
      else if (result !== 0) {
        // The module is not for this machine, as what it needs is not.
        this.#refusedBy = `${each} answers ${result}`;
        return;
      }
      if (result === 0) this.#domain.modules.setState(module, "live");
    }
  }

  /** What it needs and would like to have before, and itself. */
  #order(): string[] {
    const order = this.kernel.loadOrder(this.name);
    return order.slice(0, order.indexOf(this.name) + 1);
  }

  /** @returns false if something has no exit: the kernel never unloads it */
  async #unload(): Promise<boolean> {
    const domain = this.#domain;
    for (const module of [...this.#loaded].reverse()) {
      if (!this.#isLive) {
        this.#isLive = true;
        domain.settle();
        this.#count();
        domain.modules.remove(module);
        continue;
      }
      const has = (symbol: string): boolean => domain.modules.symbol(module, symbol) !== null;
      if (has("init_module") && !has("cleanup_module")) return false;
      const exit = domain.modules.symbol(module, "cleanup_module");
      domain.modules.setState(module, "going");
      if (exit !== null) await this.#within(domain.run(module.name, exit), module.name);
      domain.settle();
      this.#count();
      domain.modules.remove(module);
    }
    await this.#pass(AFTERMATH);
    return true;
  }

  /** What still points into modules that are about to go. */
  #count(): void {
    const { time, work, threads } = this.#domain.services;
    const going = this.#loaded.at(-1);
    if (going === undefined) return;
    const isTheirs = (address: number): boolean =>
      going.object.segments.some((one) => one.address <= address && address < one.address + one.size);
    this.#loaded.pop();
    const add = (what: string, count: number): void => {
      if (count > 0) this.#left[what] = (this.#left[what] ?? 0) + count;
    };
    add("timers", time.functions.filter(isTheirs).length);
    add("work", work.leftovers.filter(isTheirs).length);
    add("threads", threads.all.filter(({ entry }) => isTheirs(entry)).length);
  }

  #judged(): TrialResult {
    const { dma, interrupts, pci, lent } = this.#domain.services;
    const left: Record<string, number> = {
      maps: dma.live,
      interrupts: interrupts.requested.length,
      ioMappings: pci.mapped,
      lent: lent.live,
    };
    for (const [what, count] of Object.entries(left)) if (count > 0) this.#left[what] = count;
    const kinds = Object.keys(this.#left);
    const misuse = this.#collector.findings.find(({ rule }) => MISUSE.test(rule));
    if (misuse !== undefined)
      return this.#answer("misuse", `${misuse.rule} in ${plain(misuse.symbol)}`, [misuse.message]);
    if (kinds.length > 0) return this.#answer("leak", `left: ${kinds.join(", ")}`);
    const [leak] = this.#leaks.found();
    if (leak !== undefined) return this.#answer("leak", `memory of ${plain(leak)}`);
    const isUnfitting = (error: number): boolean => error === ENOSYS || (error === ENOMEM && this.#refusals > 0);
    const unfitting =
      this.#answers.find((error) => error === EFAULT || isUnfitting(error)) ?? this.#probeErrors.find(isUnfitting);
    if (unfitting !== undefined) {
      return this.#answer("error", `error ${unfitting}`, [...this.#exhausted, ...this.#console.slice(-3)]);
    }
    const bus = this.#console.map((line) => NO_BUS.exec(line)).find((match) => match !== null);
    if (bus != null) return this.#answer("error", `no bus ${bus[1]}`, this.#console.slice(-3));
    return this.#answer("clean", this.#refusedBy ?? "");
  }

  #failed(error: unknown): TrialResult {
    if (error instanceof GuestFailure) {
      const { rule, symbol, backtrace, message } = error.failure;
      const frames = backtrace.map((frame) => frame.symbol ?? "?");
      const kind = rule === "out-of-budget" ? "hang" : rule === "unsupported-instruction" ? "refused" : "fault";
      return this.#answer(kind, `${rule} at ${plain(symbol)}`, [message, ...frames.slice(0, MOST_DETAIL)]);
    }
    if (error instanceof KorralError) {
      const kind = error.code === "stuck" || error instanceof TrialTimeout ? "hang" : "refused";
      const where = kind === "hang" ? this.#waiting() : [];
      const reason =
        kind === "hang" ? `waits for ever in ${waiter(where, this.name)}` : `${error.code}: ${brief(error.message)}`;
      return this.#answer(kind, reason, [error.message, ...where]);
    }
    return this.#answer("refused", `internal: ${error instanceof Error ? error.message : String(error)}`, [
      error instanceof Error ? (error.stack ?? "") : "",
    ]);
  }

  #answer(outcome: TrialOutcome, reason: string, detail: readonly string[] = []): TrialResult {
    return {
      module: this.name,
      outcome,
      stage: this.#stage,
      reason,
      detail,
      result: this.#result,
      bound: this.#bound,
      probeErrors: this.#probeErrors,
      left: this.#left,
      leaks: this.#leaks.found(),
      findings: this.#collector.findings.map(({ rule, message, symbol, count }) => ({ rule, message, symbol, count })),
      console: this.#console.slice(-MOST_LINES),
      instructions: this.#domain.instructions,
      time: this.machine.clock.now(),
    };
  }

  get #probeErrors(): number[] {
    return this.#console.flatMap((line) => {
      const match = PROBE_FAILED.exec(line);
      return match === null ? [] : [Number(match[1])];
    });
  }

  #driver(): string | null {
    const { guest, pci } = this.#domain.services;
    const device = pci.functions[0]?.device ?? null;
    if (device === null) return null;
    const driver = guest.field("pci_dev.driver").pointer(device);
    return driver === 0 ? null : guest.text(guest.field("pci_driver.name").pointer(driver));
  }

  /** Where each thread waits, the innermost first. */
  #waiting(): string[] {
    const { guest, threads } = this.#domain.services;
    return threads.all.map((thread) => {
      thread.registers.load(guest);
      const frames = this.#domain.sandbox.backtrace().map(({ symbol }) => plain(symbol));
      return `${thread.name}: ${frames.slice(0, MOST_DETAIL).join(" < ")}`;
    });
  }

  async #pass(nanoseconds: number): Promise<void> {
    const { clock } = this.machine;
    await this.#alive(new Promise<void>((resolve) => clock.timer(resolve).arm(nanoseconds)), "time");
  }

  async #within<T>(work: Promise<T>, what: string): Promise<T> {
    const { clock } = this.machine;
    const end = clock.now() + this.#patience;
    let fail: (error: Error) => void = () => {};
    const limit = new Promise<never>((_, reject) => {
      fail = reject;
    });
    const timer = clock.timer(() => {
      const isLate = clock.now() >= end;
      if (isLate || this.#domain.instructions > this.#most) {
        fail(new TrialTimeout("too-long", `${what} takes too ${isLate ? "long" : "many instructions"}`));
      } else timer.arm(CHECK);
    });
    timer.arm(CHECK);
    try {
      return await this.#alive(Promise.race([work, limit]), what);
    } finally {
      timer.cancel();
    }
  }

  /** What it does, unless the domain dies. */
  async #alive<T>(work: Promise<T>, what: string): Promise<T> {
    const domain = this.#domain;
    if (domain.dead !== null) throw domain.dead;
    const before = domain.onDeath;
    const death = new Promise<never>((_, reject) => {
      domain.onDeath = reject;
    });
    try {
      return await this.machine.run(Promise.race([work, death]), what);
    } finally {
      domain.onDeath = before;
    }
  }
}

/** A symbol without offset. */
function plain(symbol: string | null): string {
  return symbol?.replace(/\+0x.*$/, "") ?? "an unknown place";
}

/** Without what differs from module to module. */
function brief(message: string): string {
  return message.length > 160 ? `${message.slice(0, 160)}…` : message;
}

/** Where the thread waits that is to load or unload the module, or else the first one. */
function waiter(threads: readonly string[], name: string): string {
  const thread = threads.find((one) => one.startsWith(`${name}: `)) ?? threads[0] ?? "";
  const frames = thread.replace(/^.*?: /, "").split(" < ");
  return frames
    .filter((frame) => !/^(io_)?schedule/.test(frame))
    .slice(0, 3)
    .join(" < ");
}
