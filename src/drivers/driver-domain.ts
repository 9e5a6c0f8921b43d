import type { Clock, Timer } from "../bus/clock.js";
import type { AccessSize } from "../bus/device.js";
import { type InterruptController, type InterruptLine, MESSAGE_WINDOW } from "../bus/interrupts.js";
import type { IoMmuContext } from "../bus/io-mmu.js";
import { type EndpointCapability, type Server, STRING_LIMIT } from "../capability/endpoint.js";
import { DriverDiedError } from "../capability/errors.js";
import { IrqControl, IrqControlCapability } from "../capability/irq-control.js";
import type { Kernel } from "../capability/kernel.js";
import { PinControl, PinControlCapability } from "../capability/pin-control.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import type { DmaEnvironment } from "../transfer/dma-environment.js";
import type { TransferStatistics } from "../transfer/statistics.js";
import { Watchdog } from "../transfer/watchdog.js";
import { KorralError, UsageError } from "../util/errors.js";

/** A device's registers and its own interrupt wire, as a slot offers them. */
export interface DeviceAccess {
  readonly dma: IoMmuContext;
  readonly line: InterruptLine;
  read(bar: number, offset: number, size: AccessSize): number;
  write(bar: number, offset: number, size: AccessSize, value: number): void;
  configRead(offset: number, size: AccessSize): number;
  configWrite(offset: number, size: AccessSize, value: number): void;
  /** Stops the device for good: no interrupt, no bus mastering. */
  quiesce(): void;
}

/** What a driver domain needs of its machine. */
export interface DriverHost {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly interrupts: InterruptController;
  readonly statistics: TransferStatistics;
}

export interface DriverOptions {
  /** Distinct frames that the driver may pin in one pool; default: the machine's bound. */
  pinBound?: number;
  /** A transfer that takes longer ends the driver. Nanoseconds; default 30 s. */
  watchdog?: number;
}

const DEFAULT_WATCHDOG = 30_000_000_000;

/**
 * What one native driver lives in: its capabilities, its device, and its end. Whatever it does wrong ends the driver,
 * never the machine: device quiesced, then I/O MMU torn down, then pins dropped, and requests in flight fail.
 */
export class DriverDomain implements DmaEnvironment {
  readonly bank: SpaceBankCapability;
  readonly pins: PinControlCapability;
  readonly irq: IrqControlCapability;
  readonly endpoint: EndpointCapability;
  readonly dma: IoMmuContext;
  readonly watchdog: Watchdog;
  readonly statistics: TransferStatistics;
  readonly clock: Clock;
  /** Called, once, after everything was taken away. */
  readonly onDeath: ((why: string) => void)[] = [];
  readonly #host: DriverHost;
  readonly #device: DeviceAccess;
  readonly #pinControl: PinControl;
  readonly #irqControls: IrqControl[] = [];
  readonly #messages: InterruptLine[] = [];
  readonly #sleepers = new Map<Timer, (error: Error) => void>();
  #dead: string | null = null;

  constructor(
    host: DriverHost,
    readonly driver: string,
    device: DeviceAccess,
    options: DriverOptions = {},
  ) {
    const { watchdog = DEFAULT_WATCHDOG } = options;
    if (!(watchdog > 0)) {
      throw new UsageError(`a watchdog of ${watchdog} ns for ${driver} leaves no time: choose more than 0`, "watchdog");
    }
    this.#pinControl = new PinControl(host.kernel.budget.authority(driver, options.pinBound));
    this.#host = host;
    this.#device = device;
    this.clock = host.clock;
    this.statistics = host.statistics;
    this.dma = device.dma;
    this.bank = host.kernel.primeBank.bank();
    this.endpoint = host.kernel.primeBank.endpoint();
    this.pins = new PinControlCapability(this.#pinControl);
    this.irq = this.#control(device.line);
    this.watchdog = new Watchdog(host.clock, watchdog, () => this.kill("a transfer did not end in time"));
  }

  /** Why the driver is dead, or null. */
  get dead(): string | null {
    return this.#dead;
  }

  /** The device's registers, for as long as the driver lives. @throws DriverDiedError */
  get device(): DeviceAccess {
    this.#assertAlive();
    return this.#device;
  }

  /** A message-signalled interrupt of the driver's own, and the address and data that its device is to write. */
  message(name: string): { irq: IrqControlCapability; address: number; data: number } {
    this.#assertAlive();
    const line = this.#host.interrupts.message(`${this.driver} ${name}`);
    this.#messages.push(line);
    return { irq: this.#control(line), address: MESSAGE_WINDOW, data: line.vector };
  }

  /** Handles an interrupt in the driver's name: what it throws ends the driver. */
  attach(irq: IrqControlCapability, handler: () => boolean): void {
    irq.attach(() => {
      if (this.#dead !== null) return false;
      try {
        return handler();
      } catch (error) {
        this.kill(describe(error));
        return true;
      }
    });
  }

  /** Serves the endpoint. A KorralError goes to the caller; anything else is the driver's own crash. */
  serve(server: Server): void {
    this.endpoint.serve(server, STRING_LIMIT, (error) => {
      if (error instanceof KorralError) return error;
      this.kill(describe(error));
      return new DriverDiedError(this.driver, describe(error));
    });
  }

  /**
   * Runs what brings the driver up; a driver that does not start has ended, and holds nothing any more.
   * @throws DriverDiedError when it is killed meanwhile, and whatever `bringUp` throws
   */
  async start<T>(bringUp: () => Promise<T>): Promise<T> {
    const death = new Promise<never>((_, reject) => {
      this.onDeath.push((why) => reject(new DriverDiedError(this.driver, why)));
    });
    death.catch(() => {});
    try {
      return await Promise.race([bringUp(), death]);
    } catch (error) {
      this.kill(`it did not start: ${describe(error)}`);
      throw error;
    }
  }

  /** Resolves after machine time has passed. @throws DriverDiedError when the driver ends before that */
  sleep(nanoseconds: number): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      this.#assertAlive();
      const timer = this.clock.timer(() => {
        this.#sleepers.delete(timer);
        resolve();
      });
      this.#sleepers.set(timer, reject);
      timer.arm(nanoseconds);
    });
  }

  /** Ends the driver, whatever it is doing. A second call does nothing. */
  kill(why: string): void {
    if (this.#dead !== null) return;
    this.#dead = why;
    this.watchdog.stop();
    this.#device.quiesce();
    this.dma.teardown(`end of ${this.driver}`);
    this.#pinControl.rescind();
    this.#pinControl.release();
    for (const control of this.#irqControls) {
      control.rescind();
      control.release();
    }
    for (const line of this.#messages) this.#host.interrupts.release(line);
    const died = new DriverDiedError(this.driver, why);
    // Until it is read, an engine may hold all that was running in a trace: what died goes on living with it.
    void died.stack;
    this.endpoint.abandon(died);
    for (const [timer, fail] of this.#sleepers) {
      timer.cancel();
      fail(died);
    }
    this.#sleepers.clear();
    for (const listener of this.onDeath.splice(0)) listener(why);
    // Its rings and buffers are unpinned by now: nothing to wait for.
    void this.#host.kernel.primeBank.destroy(this.bank);
    void this.#host.kernel.primeBank.destroy(this.endpoint);
  }

  #assertAlive(): void {
    if (this.#dead !== null) throw new DriverDiedError(this.driver, this.#dead);
  }

  #control(line: InterruptLine): IrqControlCapability {
    const control = new IrqControl(line);
    this.#irqControls.push(control);
    return new IrqControlCapability(control);
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
