import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import type { Msi } from "../../bus/pci-msi.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";
import { CAUSES, Cause, Register } from "./registers.js";

/** ITR counts in units of 256 ns (§13.4.18). */
const THROTTLE_UNIT = 256;
/** RDTR, RADV, TIDV and TADV count in units of 1.024 µs. */
const DELAY_UNIT = 1024;

export interface InterruptState {
  throttle: number;
  receiveDelay: number;
  receiveAbsolute: number;
  transmitDelay: number;
  transmitAbsolute: number;
  /** Nanoseconds until ITR lets the next interrupt through, from now. */
  quiet: number;
}

/**
 * Interrupt causes, their mask, the delay timers of the queues and the throttle (§3.2.7, §3.4.3, §13.4.17 to 21).
 * INTA is asserted while an unmasked cause is pending; with MSI enabled a message is sent instead when the first comes.
 * ITR spaces the assertions.
 */
export class Interrupts {
  readonly #registers: Uint32Array;
  readonly #host: DeviceHost;
  readonly #throttle: Timer;
  readonly #receiveDelay: Timer;
  readonly #receiveAbsolute: Timer;
  readonly #transmitDelay: Timer;
  readonly #transmitAbsolute: Timer;
  #asserted = false;
  /** Machine time before which nothing is asserted again. */
  #quietUntil = 0;

  constructor(
    registers: Uint32Array,
    host: DeviceHost,
    readonly msi: Msi,
  ) {
    this.#registers = registers;
    this.#host = host;
    this.#throttle = host.clock.timer(() => this.#update());
    this.#receiveDelay = host.clock.timer(() => this.#receiveExpired());
    this.#receiveAbsolute = host.clock.timer(() => this.#receiveExpired());
    this.#transmitDelay = host.clock.timer(() => this.#transmitExpired());
    this.#transmitAbsolute = host.clock.timer(() => this.#transmitExpired());
  }

  raise(causes: number): void {
    this.#registers[Register.ICR] |= causes & CAUSES;
    this.#update();
  }

  /** Reading acknowledges everything. */
  readCauses(): number {
    const causes = this.#registers[Register.ICR];
    this.#registers[Register.ICR] = 0;
    this.#update();
    return causes;
  }

  clearCauses(causes: number): void {
    this.#registers[Register.ICR] &= ~causes;
    this.#update();
  }

  unmask(causes: number): void {
    this.#registers[Register.IMS] |= causes & CAUSES;
    this.#update();
  }

  mask(causes: number): void {
    this.#registers[Register.IMS] &= ~causes;
    this.#update();
  }

  /** A frame is in host memory: RXT0 now, or when RDTR (restarted by every frame) or RADV expires (§3.2.7.1). */
  frameStored(more: number): void {
    const delay = this.#registers[Register.RDTR];
    if (delay === 0) {
      this.raise(more | Cause.RXT0);
      return;
    }
    this.#receiveDelay.arm(delay * DELAY_UNIT);
    const absolute = this.#registers[Register.RADV];
    if (absolute !== 0 && !this.#receiveAbsolute.armed) this.#receiveAbsolute.arm(absolute * DELAY_UNIT);
    if (more !== 0) {
      if ((more & Cause.SRPD) !== 0) this.#receiveExpired();
      this.raise(more);
    }
  }

  /** RDTR.FPD: what the delay timers hold back is reported now. */
  flushReceive(): void {
    if (this.#receiveDelay.armed || this.#receiveAbsolute.armed) this.#receiveExpired();
  }

  /**
   * Descriptors with RS have been written back: TXDW now, or when TIDV (restarted) or TADV expires (§3.4.3.1).
   * @param prompt whether one of them had IDE clear
   */
  descriptorsDone(prompt: boolean, more: number): void {
    const delay = this.#registers[Register.TIDV];
    if (prompt || delay === 0) {
      this.#transmitDelay.cancel();
      this.#transmitAbsolute.cancel();
      this.raise(more | Cause.TXDW);
      return;
    }
    this.#transmitDelay.arm(delay * DELAY_UNIT);
    const absolute = this.#registers[Register.TADV];
    if (absolute !== 0 && !this.#transmitAbsolute.armed) this.#transmitAbsolute.arm(absolute * DELAY_UNIT);
    if (more !== 0) this.raise(more);
  }

  reset(): void {
    this.#throttle.cancel();
    this.#receiveDelay.cancel();
    this.#receiveAbsolute.cancel();
    this.#transmitDelay.cancel();
    this.#transmitAbsolute.cancel();
    this.#quietUntil = 0;
    this.#registers[Register.ICR] = 0;
    this.#registers[Register.IMS] = 0;
    this.#update();
  }

  #receiveExpired(): void {
    this.#receiveDelay.cancel();
    this.#receiveAbsolute.cancel();
    this.raise(Cause.RXT0);
  }

  #transmitExpired(): void {
    this.#transmitDelay.cancel();
    this.#transmitAbsolute.cancel();
    this.raise(Cause.TXDW);
  }

  #update(): void {
    const pending = (this.#registers[Register.ICR] & this.#registers[Register.IMS]) !== 0;
    if (pending === this.#asserted) return;
    if (pending) {
      const interval = this.#registers[Register.ITR];
      if (interval !== 0) {
        const now = this.#host.clock.now();
        if (now < this.#quietUntil) {
          if (!this.#throttle.armed) this.#throttle.arm(this.#quietUntil - now);
          return;
        }
        this.#quietUntil = now + interval * THROTTLE_UNIT;
      }
    }
    this.#asserted = pending;
    if (pending) this.msi.notify();
    this.signal();
  }

  /** Drives INTA, which rests while interrupts are messages; also when software has just chosen. */
  signal(): void {
    this.#host.interrupt.set(this.#asserted && !this.msi.enabled);
  }

  snapshot(): InterruptState {
    const { clock } = this.#host;
    return {
      throttle: remaining(this.#throttle, clock),
      receiveDelay: remaining(this.#receiveDelay, clock),
      receiveAbsolute: remaining(this.#receiveAbsolute, clock),
      transmitDelay: remaining(this.#transmitDelay, clock),
      transmitAbsolute: remaining(this.#transmitAbsolute, clock),
      quiet: Math.max(0, this.#quietUntil - clock.now()),
    };
  }

  /** To be called when the registers have been restored. @param asserted whether an interrupt is pending */
  restore(state: StateReader, asserted: boolean): void {
    rearm(this.#throttle, state.delay("throttle"));
    rearm(this.#receiveDelay, state.delay("receiveDelay"));
    rearm(this.#receiveAbsolute, state.delay("receiveAbsolute"));
    rearm(this.#transmitDelay, state.delay("transmitDelay"));
    rearm(this.#transmitAbsolute, state.delay("transmitAbsolute"));
    this.#quietUntil = this.#host.clock.now() + state.delay("quiet");
    this.#asserted = asserted;
    this.signal();
  }

  get asserted(): boolean {
    return this.#asserted;
  }
}
