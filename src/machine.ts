import { Clock } from "./bus/clock.js";
import type { DeviceFactory, PciDevice, RegisterDevice } from "./bus/device.js";
import { EventLoop, type EventLoopOptions } from "./bus/event-loop.js";
import { InterruptController } from "./bus/interrupts.js";
import { IoMmu } from "./bus/io-mmu.js";
import { PciBus, type PciSlot } from "./bus/pci-bus.js";
import { PlatformSlot } from "./bus/platform-slot.js";
import { Kernel } from "./capability/kernel.js";
import type { SpaceBankCapability } from "./capability/space-bank.js";
import { type DeviceAccess, DriverDomain, type DriverOptions } from "./drivers/driver-domain.js";
import type { KernelPackage } from "./linux/kernel-package.js";
import { LinuxKernel } from "./linux/linux-kernel.js";
import { PhysicalMemory } from "./memory/physical-memory.js";
import { PinBudget, type PinBudgetOptions } from "./memory/pin-budget.js";
import { TransferStatistics } from "./transfer/statistics.js";
import { KorralError, UsageError } from "./util/errors.js";
import { type Random, seededRandom } from "./util/random.js";
import { parseSize } from "./util/size.js";

export interface MachineOptions {
  /** Bytes of RAM, or a string such as `256MiB`. Default 64 MiB. */
  memory?: number | string;
  /** Distinct frames that may be pinned, or the parts of it. Default: half of the RAM. */
  pinBudget?: number | PinBudgetOptions;
  /** Any integer: same seed, same run. Default 1. */
  seed?: number;
  /** A monotonic counter of nanoseconds: the machine then runs in real time. Default: virtual time. */
  realTime?: () => number;
  /** How the host's own event loop takes a turn and waits; default: timers of the host. */
  host?: EventLoopOptions;
}

/** The machine went idle, but something still waits for an event that can no longer come. */
export class StuckError extends KorralError {
  constructor(what: string) {
    super("stuck", `${what}: the machine is idle and nothing can happen any more`, 1);
  }
}

/** A machine: memory, bus, clock, capability kernel. Devices are plugged into it and drivers started on them. */
export class Machine implements AsyncDisposable {
  readonly memory = new PhysicalMemory();
  readonly interrupts = new InterruptController();
  readonly statistics = new TransferStatistics();
  readonly clock: Clock;
  readonly iommu: IoMmu;
  readonly pci: PciBus;
  readonly budget: PinBudget;
  readonly kernel: Kernel;
  readonly random: Random;
  readonly loop: EventLoop;
  readonly #drivers = new Set<DriverDomain>();

  private constructor(options: MachineOptions) {
    const ram = this.memory.addBank(parseSize(options.memory ?? 64 * 1024 * 1024));
    const pinBudget = options.pinBudget ?? ram.frames >>> 1;
    const seed = options.seed ?? 1;
    if (!Number.isSafeInteger(seed)) {
      throw new UsageError(`the seed ${seed} is not a whole number: the same run could not be had again`, "bad-seed");
    }
    this.clock = new Clock(options.realTime ?? null);
    this.iommu = new IoMmu(this.memory);
    this.pci = new PciBus(this.clock, this.interrupts, this.iommu);
    this.budget = new PinBudget(this.memory, typeof pinBudget === "object" ? pinBudget : { bound: pinBudget });
    this.kernel = new Kernel(this.memory, this.budget, ram);
    this.random = seededRandom(seed);
    this.loop = new EventLoop(this.clock, this.interrupts, options.host ?? hostTimers);
  }

  /** @throws KorralError (status 2) for options that cannot be, EnvironmentError when the host refuses the memory */
  static async create(options: MachineOptions = {}): Promise<Machine> {
    return new Machine(options);
  }

  /** The prime space bank: everything in the machine is bought from it or from banks below it. */
  get bank(): SpaceBankCapability {
    return this.kernel.primeBank;
  }

  /** Puts a PCI device into the next free slot. */
  plug<Device extends PciDevice>(model: string, factory: DeviceFactory<Device>): PciSlot<Device> {
    return this.pci.plug(model, factory);
  }

  /** Wires a device that is not on PCI, such as a UART. */
  wire<Device extends RegisterDevice>(model: string, factory: DeviceFactory<Device>): PlatformSlot<Device> {
    return new PlatformSlot(this.pci, model, factory);
  }

  /**
   * A domain for a driver of a device; hand it to the driver's `start`.
   * @throws KorralError when a driver lives on that device
   */
  domain(driver: string, device: DeviceAccess, options: DriverOptions = {}): DriverDomain {
    for (const other of this.#drivers) {
      if (other.device !== device) continue;
      throw new KorralError("device-busy", `${other.driver} drives this device: kill its domain before ${driver}`, 1);
    }
    const domain = new DriverDomain(this, driver, device, options);
    this.#drivers.add(domain);
    domain.onDeath.push(() => this.#drivers.delete(domain));
    return domain;
  }

  /** A Linux kernel whose drivers are to be loaded, unmodified, beside devices of the machine. */
  linux(kernel: KernelPackage): LinuxKernel {
    return new LinuxKernel(this, kernel);
  }

  /**
   * Runs the machine until `work` is done, and returns its result. Nothing in a machine moves unless it runs.
   * @throws StuckError when everything is idle and `work` still waits
   */
  run<T>(work: Promise<T>, what = "run"): Promise<T> {
    return this.loop.runUntil(work, () => new StuckError(what));
  }

  /** Runs the machine until nothing can ever happen again by itself. */
  async idle(): Promise<void> {
    await this.loop.run(() => false);
  }

  /** Ends all drivers; memory is dropped with the object. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const domain of [...this.#drivers]) domain.kill("the machine was switched off");
  }
}

/** A turn without a timer's least delay, where the host has one. */
const soon: (callback: () => void) => void =
  typeof setImmediate === "function" ? setImmediate : (callback) => setTimeout(callback, 0);

/** Turns and waits by what browsers and Node.js have in common. */
const hostTimers: EventLoopOptions = {
  turn: () => new Promise<void>((resolve) => soon(resolve)),
  sleep: (nanoseconds, woken) => {
    if (nanoseconds === Number.POSITIVE_INFINITY) return woken;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const time = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.ceil(nanoseconds / 1_000_000));
    });
    return Promise.race([time, woken]).finally(() => clearTimeout(timer));
  },
};
