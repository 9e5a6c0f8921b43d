import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";
import { INTERRUPTS, Isr, Register, type RegisterFile } from "./registers.js";

/** TCTR counts cycles of the PCI clock. */
const CYCLE_NANOSECONDS = 30;
const COUNTS = 0x1_0000_0000;

export interface InterruptState {
  /** Nanoseconds since TCTR was 0. */
  counted: number;
  timer: number;
}

/** ISR, IMR, INTA, and the general-purpose timer that raises one of the causes (TCTR, TimerInt). */
export class Interrupts {
  readonly #registers: RegisterFile;
  readonly #host: DeviceHost;
  readonly #timer: Timer;
  /** Machine time at which TCTR was 0. */
  #zero = 0;

  constructor(registers: RegisterFile, host: DeviceHost) {
    this.#registers = registers;
    this.#host = host;
    this.#timer = host.clock.timer(() => this.#expired());
  }

  raise(causes: number): void {
    this.#registers.set16(Register.ISR, this.#registers.get16(Register.ISR) | causes);
    this.#update();
  }

  /** Ones that software writes to ISR clear. */
  acknowledge(causes: number): void {
    this.#registers.set16(Register.ISR, this.#registers.get16(Register.ISR) & ~causes);
    this.#update();
  }

  setMask(causes: number): void {
    this.#registers.set16(Register.IMR, causes & INTERRUPTS);
    this.#update();
  }

  /** TCTR. */
  get count(): number {
    return Math.floor((this.#host.clock.now() - this.#zero) / CYCLE_NANOSECONDS) % COUNTS;
  }

  /** TCTR was written, with whatever. */
  restartTimer(): void {
    this.#zero = this.#host.clock.now();
    this.timerChanged();
  }

  /** TimerInt was written: 0 means never. */
  timerChanged(): void {
    this.#timer.cancel();
    const at = this.#registers.get32(Register.TIMERINT);
    if (at === 0) return;
    const elapsed = this.#host.clock.now() - this.#zero;
    const period = COUNTS * CYCLE_NANOSECONDS;
    const ahead = (at * CYCLE_NANOSECONDS - (elapsed % period) + period) % period;
    this.#timer.arm(ahead === 0 ? period : ahead);
  }

  reset(): void {
    this.#registers.set16(Register.ISR, 0);
    this.#registers.set16(Register.IMR, 0);
    this.#registers.set32(Register.TIMERINT, 0);
    this.restartTimer();
    this.#update();
  }

  #expired(): void {
    this.timerChanged();
    this.raise(Isr.TIMEOUT);
  }

  #update(): void {
    const { bytes } = this.#registers;
    const low = bytes[Register.ISR] & bytes[Register.IMR];
    const high = bytes[Register.ISR + 1] & bytes[Register.IMR + 1];
    this.#host.interrupt.set((low | high) !== 0);
  }

  snapshot(): InterruptState {
    const { clock } = this.#host;
    return { counted: clock.now() - this.#zero, timer: remaining(this.#timer, clock) };
  }

  /** To be called when the registers have been restored. */
  restore(state: StateReader): void {
    this.#zero = this.#host.clock.now() - state.delay("counted");
    rearm(this.#timer, state.delay("timer"));
    this.#update();
  }
}
