import { dirname, join } from "node:path";
import type { PciSlot } from "../../src/bus/pci-bus.js";
import { busModules, type DeviceChoice, modelFor, parseDevice } from "../../src/cli/run/models.js";
import { NetworkClient } from "../../src/drivers/network-service.js";
import { FindingCollector } from "../../src/findings/collector.js";
import { LinuxDriver, type LinuxDriverOptions } from "../../src/linux/driver.js";
import type { KernelPackage } from "../../src/linux/kernel-package.js";
import type { NetDevice } from "../../src/linux/net.js";
import type { LinuxNetworkDriver } from "../../src/linux/network-driver.js";
import { Machine, type MachineOptions } from "../../src/machine.js";
import { KernelCache } from "../../src/node/kernel-cache.js";
import { openKernel } from "../../src/node/kernel-store.js";
import { debianKernel } from "./debian-kernel.js";
import { KeepingWire } from "./network.js";

/** Machine time in which a driver has surely dealt with what it was given. Nanoseconds. */
const SOON = 100_000;
const LATER = 20_000_000;
/** For a hook that boots a kernel, in milliseconds; it guards against hangs. */
export const BOOT_PATIENCE = 300_000;
/** Fewer than any adapter has receive buffers for. */
const BURST = 16;

const opened = new Map<string, Promise<KernelPackage>>();

/** The newest kernel of a series, or why there is none; in CI that is an error. */
export function linuxKernel(series: string, flavour = "amd64"): Promise<KernelPackage> | string {
  const kernel = debianKernel(series, flavour);
  if (typeof kernel === "string") return kernel;
  const { directory } = kernel;
  const known = opened.get(directory);
  if (known !== undefined) return known;
  const cache = new KernelCache(join(dirname(directory), "korral"));
  const kernelPackage = openKernel(directory, { cache });
  opened.set(directory, kernelPackage);
  return kernelPackage;
}

export interface LinuxRigOptions extends LinuxDriverOptions {
  readonly machine?: MachineOptions;
  /** As on the command line; left out: what the driver binds to. */
  readonly device?: string;
  /** A changed module, decompressed, in place of the kernel's. */
  readonly module?: Uint8Array;
}

/** A machine with one adapter, whose wire ends here, and an unmodified driver on it. */
export class LinuxRig {
  readonly wire = new KeepingWire();
  readonly collector: FindingCollector;
  readonly console: string[] = [];
  readonly slot: PciSlot;
  readonly #choice: DeviceChoice;
  #driver: LinuxDriver | null = null;

  private constructor(
    readonly machine: Machine,
    readonly kernel: KernelPackage,
    readonly name: string,
    device: string | undefined,
  ) {
    const { aliases } = kernel.describe(name);
    this.#choice = device === undefined ? modelFor(name, aliases) : parseDevice(device);
    this.collector = new FindingCollector(machine);
    this.slot = machine.plug(this.#choice.model, this.#choice.make({ wire: this.wire, macAddress: null }));
  }

  static async create(kernel: KernelPackage, name: string, options: LinuxRigOptions = {}): Promise<LinuxRig> {
    return new LinuxRig(await Machine.create(options.machine), kernel, name, options.device);
  }

  /** A rig with the driver loaded, the network device up, and a link. */
  static async up(kernel: KernelPackage, name: string, options: LinuxRigOptions = {}): Promise<LinuxRig> {
    const rig = await LinuxRig.create(kernel, name, options);
    await rig.load(options);
    await rig.start();
    return rig;
  }

  get driver(): LinuxDriver {
    if (this.#driver === null) throw new Error("no driver is loaded");
    return this.#driver;
  }

  get network(): LinuxNetworkDriver {
    const { network } = this.driver;
    if (network === null) throw new Error("the network device is not up");
    return network;
  }

  get device(): NetDevice {
    return this.network.device;
  }

  get client(): NetworkClient {
    return new NetworkClient(this.driver.access.endpoint);
  }

  get findings(): string[] {
    return this.collector.findings.map(({ rule, message, symbol }) => `${rule}: ${message} (${symbol})`);
  }

  async load(options: LinuxRigOptions = {}): Promise<LinuxDriver> {
    const { machine: _machine, device: _device, module, onDomain, ...rest } = options;
    const file = module === undefined ? null : { bytes: module, name: `${this.name}.ko` };
    const before = busModules(this.kernel, this.#choice, this.kernel.describe(this.name).aliases);
    this.#driver = await LinuxDriver.load(this.machine, this.kernel, { name: this.name, file }, this.slot, {
      before,
      ...rest,
      onDomain: (domain) => {
        this.collector.watch(domain);
        domain.services.events.on("console", ({ text }) => this.console.push(text));
        onDomain?.(domain);
      },
    });
    return this.#driver;
  }

  /** Lets go of a driver that has ended. */
  forget(): void {
    this.#driver = null;
  }

  /** Brings the network device up and waits for its link. */
  async start(): Promise<void> {
    await this.driver.startNetwork();
    if (!(await this.driver.link())) throw new Error(`${this.name}: no link`);
  }

  /** Lets machine time pass. */
  async pass(nanoseconds = LATER): Promise<void> {
    const { machine } = this;
    await machine.run(new Promise<void>((resolve) => machine.clock.timer(resolve).arm(nanoseconds)));
  }

  /** Has frames arrive from the wire, at a pace that no adapter fails to keep. @returns what the kernel received */
  async receive(frames: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const { device } = this;
    const received: Uint8Array[] = [];
    const before = device.onFrame;
    device.onFrame = (bytes, offset, length) => received.push(bytes.slice(offset, offset + length));
    try {
      for (let i = 0; i < frames.length; i += BURST) {
        for (const frame of frames.slice(i, i + BURST)) this.wire.arrive(frame);
        await this.pass(SOON);
      }
      await this.pass();
    } finally {
      device.onFrame = before;
    }
    return received;
  }

  /** Sends frames out of a client's memory. @returns what the wire got */
  async send(frames: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const { machine, client } = this;
    this.wire.sent.length = 0;
    const bank = machine.bank.bank();
    for (let i = 0; i < frames.length; i += BURST) {
      const burst = frames.slice(i, i + BURST);
      const bytes = burst.reduce((sum, { length }) => sum + length, 0);
      const space = bank.region({ pages: Math.ceil(bytes / 4096) });
      const ranges: { offset: number; length: number }[] = [];
      let offset = 0;
      for (const frame of burst) {
        await machine.run(Promise.resolve(space.write(offset, frame)));
        ranges.push({ offset, length: frame.length });
        offset += frame.length;
      }
      await machine.run(client.send(space, ranges), "send");
    }
    await machine.run(Promise.resolve(machine.bank.destroy(bank)), "destroy");
    await this.pass();
    return this.wire.sent.splice(0);
  }

  /** Unloads everything. @returns what is left behind, anywhere in the machine */
  async unload(): Promise<object> {
    const left = await this.driver.unload();
    return { ...left, ...this.residue() };
  }

  /** What the machine still holds for the driver. */
  residue(): { pinned: number; mapped: number } {
    return { pinned: this.machine.budget.pinned, mapped: this.slot.dma.live };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
  }
}

/** What `LinuxRig.unload` answers if all is well. */
export const NOTHING_LEFT = {
  maps: 0,
  interrupts: 0,
  timers: 0,
  work: 0,
  ioMappings: 0,
  lent: 0,
  pinned: 0,
  mapped: 0,
};
