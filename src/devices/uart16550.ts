import type { Timer } from "../bus/clock.js";
import type { AccessSize, DeviceHost, RegisterDevice } from "../bus/device.js";
import { UsageError } from "../util/errors.js";
import { CHARACTER_MASK, CharacterFifo, ERROR_SHIFT } from "./character-fifo.js";
import type { TerminalLine } from "./terminal-line.js";
import { Fcr, Ier, Iir, Lcr, Lsr, Mcr, Msr, UartRegister } from "./uart16550-registers.js";
import { CHARACTER_ERRORS, FIFO_DEPTH, QUEUE_CAPACITY, readUartState, type UartState } from "./uart16550-state.js";

// Universal asynchronous receiver/transmitter with FIFOs. Sections are those of National Semiconductor's data sheet
// "PC16550D", June 1995; the TL16C550C of Texas Instruments (SLLS177) is the same to a driver that leaves its automatic
// flow control alone.

const REGISTERS = 8;
const TRIGGER_LEVELS = [1, 4, 8, 14];
/** §8.11: a receiver time-out comes after so many character times of silence. */
const TIMEOUT_CHARACTERS = 4;
/** §8.3: clocks a bit. */
const OVERSAMPLING = 16;
/** A far end that is there and ready. */
const MODEM_READY = Msr.CTS | Msr.DSR | Msr.DCD;
/** The latch is undefined after power-on (§8.3); this one is 9600 baud at 1.8432 MHz, as PC firmware leaves it. */
const POWER_ON_DIVISOR = 12;
const NEVER = Number.POSITIVE_INFINITY;

/** When so much waits at the far end, it is asked to hold. */
const QUEUE_HOLD = 64 * 1024;

/**
 * When the far end sends.
 * - `auto`: while RTS is set and the receiver has room, so nothing is ever lost to an overrun
 * - `rts`: while RTS is set, room or not
 * - `none`: always, as three bare wires do
 */
export type UartFlowControl = "auto" | "rts" | "none";

export interface UartOptions {
  readonly line: TerminalLine;
  /** Of the crystal, more than 0; 1 843 200, as on a PC, if left out. */
  readonly clockHz?: number;
  /** Characters take no time, whatever the divisor. */
  readonly immediate?: boolean;
  /** `auto` if left out. */
  readonly flowControl?: UartFlowControl;
}

/** Characters since the model was made; resets leave these alone. */
export interface UartStatistics {
  /** Shown at the far end. */
  sent: number;
  /** That came from the far end or through the loop, lost ones included. */
  received: number;
  /** Of these, lost because nobody read the ones before. */
  overruns: number;
  /** Thrown away by the driver, which cleared a FIFO or changed its mode, or by a reset. */
  cleared: number;
  /** Shifted out while the line was held in break. */
  swallowed: number;
  /** Refused at the far end because too many waited there already. */
  refused: number;
}

/**
 * The 16550A as a PC has it: OUT2 gates the interrupt, modem inputs are ready. Time passes on the machine's clock: what
 * should have happened by now has happened whenever a register is looked at.
 *
 * The far end holds its characters back while RTS is clear or the loop is closed (RTS is then inactive at the pin, §8.8).
 */
export class Uart16550 implements RegisterDevice {
  readonly model = "uart16550";
  readonly statistics: UartStatistics = { sent: 0, received: 0, overruns: 0, cleared: 0, swallowed: 0, refused: 0 };

  readonly #host: DeviceHost;
  readonly #line: TerminalLine;
  readonly #timer: Timer;
  readonly #clockHz: number;
  readonly #immediate: boolean;
  readonly #flowControl: UartFlowControl;

  readonly #receiver = new CharacterFifo(FIFO_DEPTH);
  readonly #transmitter = new CharacterFifo(FIFO_DEPTH);
  readonly #queue = new CharacterFifo(QUEUE_CAPACITY);
  #holding = false;

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  #scr = 0;
  #divisor = POWER_ON_DIVISOR;
  #modemInputs = MODEM_READY;
  #modemChanges = 0;
  #overrun = false;
  #lineErrors = 0;
  #lastRead = 0;
  /** The transmitter shift register, −1 while it is empty. */
  #shifting = -1;
  #threPending = false;
  #timeoutPending = false;
  /** §8.11: the THRE interrupt is late unless two characters waited at once since the last one. */
  #threPrompt = true;

  /** Machine times; NEVER while nothing of the kind goes on. */
  #sentAt = NEVER;
  #receivedAt = NEVER;
  #threAt = NEVER;
  #timeoutAt = NEVER;
  #timerSetFor = NEVER;

  readonly #output = new Uint8Array(FIFO_DEPTH + 1);
  readonly #outputs: readonly Uint8Array[] = Array.from(this.#output, (_, i) => this.#output.subarray(0, i + 1));
  #outputCount = 0;

  /** @throws UsageError for a clock that does not run */
  constructor(host: DeviceHost, options: UartOptions) {
    const { clockHz = 1_843_200 } = options;
    if (!(clockHz > 0 && clockHz < NEVER)) {
      throw new UsageError(`a UART cannot run from a crystal of ${clockHz} Hz: choose more than 0`, "uart-clock");
    }
    this.#host = host;
    this.#line = options.line;
    this.#clockHz = clockHz;
    this.#immediate = options.immediate ?? false;
    this.#flowControl = options.flowControl ?? "auto";
    this.#timer = host.clock.timer(() => {
      this.#timerSetFor = NEVER;
      this.#settle();
    });
    options.line.onInput((bytes) => {
      for (let i = 0; i < bytes.length; i++) this.#enqueue(bytes[i]);
      this.#settle();
    });
  }

  /**
   * A character from the far end that the receiver finds something wrong with.
   * @param errors LSR bits: PE, FE, BI
   */
  receive(character: number, errors = 0): void {
    this.#enqueue((character & CHARACTER_MASK) | ((errors & CHARACTER_ERRORS) << ERROR_SHIFT));
    this.#settle();
  }

  /** The far end holds the line in break: one zero character, whatever its duration (§8.4 bit 4). */
  receiveBreak(): void {
    this.receive(0, Lsr.BI);
  }

  /** Sets the modem inputs, as MSR bits: CTS, DSR, RI, DCD. */
  setModemInputs(bits: number): void {
    const before = this.#modemStatus;
    this.#modemInputs = bits & 0xf0;
    this.#noteModem(before);
    this.#settle();
  }

  read(bar: number, offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + 0xff;
    if (bar !== 0 || offset < 0 || offset + size > REGISTERS) return value;
    value = 0;
    for (let i = 0; i < size; i++) value += this.#readByte(offset + i) * 2 ** (8 * i);
    return value;
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    if (bar !== 0 || offset < 0 || offset + size > REGISTERS) return;
    for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
  }

  /** Master reset (§8.0, table III). Characters that wait at the far end are not in the part, and stay. */
  reset(): void {
    this.#advance();
    this.statistics.cleared += this.#receiver.count + this.#transmitter.count + (this.#shifting < 0 ? 0 : 1);
    this.#receiver.clear();
    this.#transmitter.clear();
    this.#shifting = -1;
    this.#ier = 0;
    this.#fcr = 0;
    this.#lcr = 0;
    this.#mcr = 0;
    this.#scr = 0;
    this.#divisor = POWER_ON_DIVISOR;
    this.#modemChanges = 0;
    this.#overrun = false;
    this.#lineErrors = 0;
    this.#lastRead = 0;
    this.#threPending = false;
    this.#timeoutPending = false;
    this.#threPrompt = true;
    this.#sentAt = NEVER;
    this.#receivedAt = NEVER;
    this.#threAt = NEVER;
    this.#timeoutAt = NEVER;
    this.#settle();
  }

  snapshot(): UartState {
    this.#settle();
    const now = this.#host.clock.now();
    return {
      model: this.model,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      scr: this.#scr,
      divisor: this.#divisor,
      modemInputs: this.#modemInputs,
      modemChanges: this.#modemChanges,
      overrun: this.#overrun,
      lineErrors: this.#lineErrors,
      lastRead: this.#lastRead,
      shifting: this.#shifting,
      threPending: this.#threPending,
      threPrompt: this.#threPrompt,
      timeoutPending: this.#timeoutPending,
      sentIn: this.#sentAt - now,
      receivedIn: this.#receivedAt - now,
      threIn: this.#threAt - now,
      timeoutIn: this.#timeoutAt - now,
      receiver: this.#receiver.toArray(),
      transmitter: this.#transmitter.toArray(),
      queue: this.#queue.toArray(),
    };
  }

  restore(state: object): void {
    const saved = readUartState(state);
    const now = this.#host.clock.now();
    this.#ier = saved.ier;
    this.#fcr = saved.fcr;
    this.#lcr = saved.lcr;
    this.#mcr = saved.mcr;
    this.#scr = saved.scr;
    this.#divisor = saved.divisor;
    this.#modemInputs = saved.modemInputs;
    this.#modemChanges = saved.modemChanges;
    this.#overrun = saved.overrun;
    this.#lineErrors = saved.lineErrors;
    this.#lastRead = saved.lastRead;
    this.#shifting = saved.shifting;
    this.#threPending = saved.threPending;
    this.#threPrompt = saved.threPrompt;
    this.#timeoutPending = saved.timeoutPending;
    this.#sentAt = now + saved.sentIn;
    this.#receivedAt = now + saved.receivedIn;
    this.#threAt = now + saved.threIn;
    this.#timeoutAt = now + saved.timeoutIn;
    this.#receiver.replace(saved.receiver);
    this.#transmitter.replace(saved.transmitter);
    this.#queue.replace(saved.queue);
    this.#hold(saved.queue.length >= QUEUE_HOLD);
    this.#settle();
  }

  #readByte(offset: number): number {
    this.#advance();
    const value = this.#readRegister(offset);
    this.#settle();
    return value;
  }

  #writeByte(offset: number, value: number): void {
    this.#advance();
    this.#writeRegister(offset, value);
    this.#settle();
  }

  #readRegister(offset: number): number {
    switch (offset) {
      case UartRegister.RBR:
        return this.#latchAccess ? this.#divisor & 0xff : this.#readData();
      case UartRegister.IER:
        return this.#latchAccess ? this.#divisor >>> 8 : this.#ier;
      case UartRegister.IIR: {
        const identification = this.#interrupt;
        if (identification === Iir.THRE) this.#threPending = false;
        return this.#fifosOn ? identification | Iir.FIFOS : identification;
      }
      case UartRegister.LCR:
        return this.#lcr;
      case UartRegister.MCR:
        return this.#mcr;
      case UartRegister.LSR: {
        const status = this.#lineStatus;
        this.#overrun = false;
        this.#lineErrors = 0;
        this.#receiver.clearTopErrors();
        return status;
      }
      case UartRegister.MSR: {
        const status = this.#modemStatus | this.#modemChanges;
        this.#modemChanges = 0;
        return status;
      }
      default:
        return this.#scr;
    }
  }

  /** LSR and MSR are read-only but for the factory's tests (§8.4, §8.9): writes do nothing. */
  #writeRegister(offset: number, value: number): void {
    switch (offset) {
      case UartRegister.THR:
        if (this.#latchAccess) this.#divisor = (this.#divisor & 0xff00) | value;
        else this.#writeData(value);
        break;
      case UartRegister.IER:
        if (this.#latchAccess) this.#divisor = (this.#divisor & 0x00ff) | (value << 8);
        else this.#writeInterruptEnable(value);
        break;
      case UartRegister.FCR:
        this.#writeFifoControl(value);
        break;
      case UartRegister.LCR:
        this.#lcr = value;
        break;
      case UartRegister.MCR: {
        const before = this.#modemStatus;
        this.#mcr = value & 0x1f;
        this.#noteModem(before);
        // The receiver's input is cut off: the far end sends that character again later.
        if ((value & Mcr.LOOP) !== 0) this.#receivedAt = NEVER;
        break;
      }
      case UartRegister.SCR:
        this.#scr = value;
        break;
    }
  }

  #readData(): number {
    if (this.#receiver.count === 0) return this.#lastRead;
    this.#lastRead = this.#receiver.shift() & CHARACTER_MASK;
    this.#revealTop();
    this.#timeoutPending = false;
    this.#watchSilence(this.#host.clock.now());
    return this.#lastRead;
  }

  #writeData(value: number): void {
    this.#threPending = false;
    this.#threAt = NEVER;
    if (this.#divisor === 0 && !this.#immediate) {
      this.#host.violation(
        "uart-divisor-zero",
        "a character is written to THR while the divisor latch is 0: nothing will be sent",
      );
    }
    if (this.#transmitter.count >= this.#depth) {
      this.statistics.cleared++;
      if (!this.#looped) {
        this.#host.violation(
          "uart-transmit-overrun",
          "a character is written to THR while the transmitter has no room for it: one is lost",
        );
      }
      if (this.#fifosOn) return;
      this.#transmitter.clear();
    }
    this.#transmitter.push(value);
    if (this.#transmitter.count >= 2) this.#threPrompt = true;
  }

  #writeInterruptEnable(value: number): void {
    const enabled = value & ~this.#ier & Ier.ETBEI;
    this.#ier = value & 0x0f;
    if (enabled === 0 || this.#transmitter.count > 0) return;
    this.#threPending = true;
    this.#threAt = NEVER;
  }

  #writeFifoControl(value: number): void {
    const enable = value & Fcr.ENABLE;
    const modeChanges = enable !== (this.#fcr & Fcr.ENABLE);
    if (modeChanges || (enable !== 0 && (value & Fcr.CLEAR_RECEIVER) !== 0)) this.#clearReceiver();
    if (modeChanges || (enable !== 0 && (value & Fcr.CLEAR_TRANSMITTER) !== 0)) this.#clearTransmitter();
    if (modeChanges) this.#threPrompt = true;
    this.#fcr = enable === 0 ? 0 : value & (Fcr.ENABLE | Fcr.DMA_MODE | Fcr.TRIGGER);
  }

  #clearReceiver(): void {
    this.statistics.cleared += this.#receiver.count;
    this.#receiver.clear();
    this.#timeoutPending = false;
    this.#timeoutAt = NEVER;
  }

  #clearTransmitter(): void {
    if (this.#transmitter.count === 0) return;
    this.statistics.cleared += this.#transmitter.count;
    this.#transmitter.clear();
    this.#threPending = true;
  }

  get #latchAccess(): boolean {
    return (this.#lcr & Lcr.DLAB) !== 0;
  }

  get #fifosOn(): boolean {
    return (this.#fcr & Fcr.ENABLE) !== 0;
  }

  get #depth(): number {
    return this.#fifosOn ? FIFO_DEPTH : 1;
  }

  get #looped(): boolean {
    return (this.#mcr & Mcr.LOOP) !== 0;
  }

  /** The pending interrupt of the highest priority, as the IIR names it. */
  get #interrupt(): number {
    const ier = this.#ier;
    if ((ier & Ier.ELSI) !== 0 && (this.#overrun || this.#lineErrors !== 0)) return Iir.LINE_STATUS;
    if ((ier & Ier.ERBFI) !== 0) {
      const trigger = this.#fifosOn ? TRIGGER_LEVELS[this.#fcr >>> 6] : 1;
      if (this.#receiver.count >= trigger) return Iir.DATA;
      if (this.#timeoutPending) return Iir.TIMEOUT;
    }
    if ((ier & Ier.ETBEI) !== 0 && this.#threPending) return Iir.THRE;
    if ((ier & Ier.EDSSI) !== 0 && this.#modemChanges !== 0) return Iir.MODEM;
    return Iir.NONE;
  }

  get #lineStatus(): number {
    let status = this.#lineErrors;
    if (this.#receiver.count > 0) status |= Lsr.DR;
    if (this.#overrun) status |= Lsr.OE;
    if (this.#transmitter.count === 0) status |= this.#shifting < 0 ? Lsr.THRE | Lsr.TEMT : Lsr.THRE;
    if (this.#fifosOn && (this.#lineErrors !== 0 || this.#receiver.flagged > 0)) status |= Lsr.FIFO_ERROR;
    return status;
  }

  /** The upper half of the MSR; the loop feeds it from the MCR (§8.8 bit 4). */
  get #modemStatus(): number {
    const mcr = this.#mcr;
    if ((mcr & Mcr.LOOP) === 0) return this.#modemInputs;
    return (
      ((mcr & Mcr.RTS) !== 0 ? Msr.CTS : 0) |
      ((mcr & Mcr.DTR) !== 0 ? Msr.DSR : 0) |
      ((mcr & Mcr.OUT1) !== 0 ? Msr.RI : 0) |
      ((mcr & Mcr.OUT2) !== 0 ? Msr.DCD : 0)
    );
  }

  /** Notes what changed since `before`; of the ring indicator only that it went away (§8.9 bit 2). */
  #noteModem(before: number): void {
    const after = this.#modemStatus;
    const changed = (before ^ after) & ~(after & Msr.RI);
    this.#modemChanges |= changed >>> 4;
  }

  /** Whole nanoseconds of so many bits on the line (§8.3). */
  #bits(count: number): number {
    return this.#immediate ? 0 : Math.round((count * OVERSAMPLING * this.#divisor * 1e9) / this.#clockHz);
  }

  /** §8.1: 1, 2, or with five data bits 1½. */
  get #stopBits(): number {
    if ((this.#lcr & Lcr.STOP) === 0) return 1;
    return (this.#lcr & Lcr.WORD_LENGTH) === 0 ? 1.5 : 2;
  }

  /** From the start bit to the end of the last stop bit. */
  get #characterTime(): number {
    const parityBits = (this.#lcr & Lcr.PARITY) !== 0 ? 1 : 0;
    return this.#bits(1 + this.#wordLength + parityBits + this.#stopBits);
  }

  get #wordLength(): number {
    return 5 + (this.#lcr & Lcr.WORD_LENGTH);
  }

  get #clockRuns(): boolean {
    return this.#immediate || this.#divisor !== 0;
  }

  /** Lets everything happen that is due by now, in its order. */
  #advance(): void {
    const now = this.#host.clock.now();
    for (;;) {
      const at = Math.min(this.#sentAt, this.#receivedAt, this.#threAt, this.#timeoutAt);
      if (at > now) return;
      if (at === this.#sentAt) this.#finishTransmission(at);
      else if (at === this.#receivedAt) this.#finishReception(at);
      else if (at === this.#threAt) {
        this.#threAt = NEVER;
        this.#threPending = true;
      } else {
        this.#timeoutAt = NEVER;
        this.#timeoutPending = true;
      }
    }
  }

  /** Starts what can start, and lets the timer, the interrupt and the far end know how things stand. */
  #settle(): void {
    const now = this.#host.clock.now();
    this.#startTransmission(now);
    this.#startReception(now);
    this.#advance();
    this.#flushOutput();
    const next = Math.min(this.#sentAt, this.#receivedAt, this.#threAt, this.#timeoutAt);
    if (next !== this.#timerSetFor) {
      this.#timerSetFor = next;
      if (next === NEVER) this.#timer.cancel();
      else this.#timer.arm(next - now);
    }
    const gate = (this.#mcr & Mcr.OUT2) !== 0 && !this.#looped;
    this.#host.interrupt.set(gate && this.#interrupt !== Iir.NONE);
  }

  #startTransmission(at: number): void {
    if (this.#shifting >= 0 || this.#transmitter.count === 0 || !this.#clockRuns) return;
    const duration = this.#characterTime;
    this.#shifting = this.#transmitter.shift();
    this.#sentAt = at + duration;
    if (this.#transmitter.count > 0) return;
    if (this.#fifosOn && !this.#threPrompt && !this.#immediate) {
      this.#threAt = at + duration - this.#bits(this.#stopBits);
    } else {
      this.#threPending = true;
    }
    this.#threPrompt = false;
  }

  #finishTransmission(at: number): void {
    const character = this.#shifting & ((1 << this.#wordLength) - 1);
    this.#shifting = -1;
    this.#sentAt = NEVER;
    if (this.#looped) {
      this.#take(character, at);
    } else if ((this.#lcr & Lcr.BREAK) !== 0) {
      this.statistics.swallowed++;
    } else {
      if (this.#outputCount === this.#output.length) this.#flushOutput();
      this.#output[this.#outputCount++] = character;
    }
    this.#startTransmission(at);
  }

  #flushOutput(): void {
    const count = this.#outputCount;
    if (count === 0) return;
    this.#outputCount = 0;
    this.statistics.sent += count;
    this.#line.write(this.#outputs[count - 1]);
  }

  #enqueue(entry: number): void {
    if (!this.#queue.push(entry)) this.statistics.refused++;
    if (this.#queue.count >= QUEUE_HOLD) this.#hold(true);
  }

  #hold(on: boolean): void {
    if (on === this.#holding) return;
    this.#holding = on;
    this.#line.hold?.(on);
  }

  #startReception(at: number): void {
    if (this.#receivedAt !== NEVER || this.#queue.count === 0 || this.#looped || !this.#clockRuns) return;
    if (this.#flowControl !== "none" && (this.#mcr & Mcr.RTS) === 0) return;
    if (this.#flowControl === "auto" && this.#receiver.count >= this.#depth) return;
    this.#receivedAt = at + this.#characterTime;
  }

  #finishReception(at: number): void {
    this.#receivedAt = NEVER;
    const entry = this.#queue.shift();
    const character = entry & ((1 << this.#wordLength) - 1);
    this.#take((entry & ~CHARACTER_MASK) | character, at);
    this.#startReception(at);
    if (this.#queue.count < QUEUE_HOLD / 2) this.#hold(false);
  }

  /** The receiver shift register holds a character (§8.4 bit 1: where it goes, or what it destroys). */
  #take(entry: number, at: number): void {
    this.statistics.received++;
    if (this.#receiver.count >= this.#depth) {
      this.#overrun = true;
      this.statistics.overruns++;
      if (!this.#fifosOn) {
        this.#receiver.shift();
        this.#receiver.push(entry);
        this.#revealTop();
      }
      return;
    }
    this.#receiver.push(entry);
    if (this.#receiver.count === 1) this.#revealTop();
    this.#watchSilence(at);
  }

  /** §8.4 bits 2 to 4: errors show when their character is at the top. */
  #revealTop(): void {
    if (this.#receiver.count > 0) this.#lineErrors |= this.#receiver.top >>> ERROR_SHIFT;
  }

  /** §8.11: a character came or was read; the time-out begins anew. */
  #watchSilence(at: number): void {
    if (!this.#fifosOn || this.#receiver.count === 0) this.#timeoutAt = NEVER;
    else if (!this.#timeoutPending) this.#timeoutAt = at + TIMEOUT_CHARACTERS * this.#characterTime;
  }
}
