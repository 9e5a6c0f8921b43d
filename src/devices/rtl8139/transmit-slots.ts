import type { DeviceHost } from "../../bus/device.js";
import { type PciConfigSpace, PciStatus } from "../../bus/pci-config.js";
import type { StateReader } from "../../util/state-reader.js";
import type { Interrupts } from "./interrupts.js";
import { Cr, Isr, Register, type RegisterFile, Tsd } from "./registers.js";
import { type Statistics, Tally } from "./statistics.js";

const SLOTS = 4;
/** A longer frame makes the queue invalid (TSD, SIZE). */
const LONGEST_FRAME = 1792;

export interface SlotState {
  next: number;
  halted: boolean;
}

/** Puts a frame on the wire. @returns whether there is a link */
export type Sender = (bytes: Uint8Array, offset: number, length: number) => boolean;

/** Transmission in C mode: four descriptors that are registers, TSD and TSAD, used in turn. */
export class TransmitSlots {
  readonly #registers: RegisterFile;
  readonly #host: DeviceHost;
  readonly #config: PciConfigSpace;
  readonly #interrupts: Interrupts;
  readonly #statistics: Statistics;
  readonly #mayRun: () => boolean;
  readonly #send: Sender;
  readonly #frame = new Uint8Array(Tsd.SIZE);
  #next = 0;
  #halted = false;
  #running = false;

  constructor(
    registers: RegisterFile,
    host: DeviceHost,
    config: PciConfigSpace,
    interrupts: Interrupts,
    statistics: Statistics,
    mayRun: () => boolean,
    send: Sender,
  ) {
    this.#registers = registers;
    this.#host = host;
    this.#config = config;
    this.#interrupts = interrupts;
    this.#statistics = statistics;
    this.#mayRun = mayRun;
    this.#send = send;
  }

  reset(): void {
    this.#next = 0;
    this.#halted = false;
    for (let slot = 0; slot < SLOTS; slot++) {
      this.#registers.set32(Register.TSD0 + 4 * slot, Tsd.OWN);
      this.#registers.set32(Register.TSAD0 + 4 * slot, 0);
    }
  }

  /** Software wrote a TSD: with OWN clear the descriptor is the part's. */
  write(register: number, value: number): void {
    this.#registers.set32(register, value & (Tsd.SIZE | Tsd.THRESHOLD | Tsd.OWN));
    this.run();
  }

  /** TSAD: TOK, TUN, TABT and OWN of all descriptors in one register. */
  get summary(): number {
    let summary = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      const status = this.#registers.get32(Register.TSD0 + 4 * slot);
      if ((status & Tsd.OWN) !== 0) summary |= 1 << slot;
      if ((status & Tsd.TABT) !== 0) summary |= 0x10 << slot;
      if ((status & Tsd.TUN) !== 0) summary |= 0x100 << slot;
      if ((status & Tsd.TOK) !== 0) summary |= 0x1000 << slot;
    }
    return summary;
  }

  /** CR.TE was switched on. */
  restart(): void {
    this.#halted = false;
    this.run();
  }

  run(): void {
    if (this.#running) return;
    this.#running = true;
    // The wire may answer by what stops transmission, and loopback by what changes the registers.
    for (let done = 0; done < SLOTS && this.#ready(); done++) this.#transmit(Register.TSD0 + 4 * this.#next);
    this.#running = false;
  }

  #ready(): boolean {
    if (this.#halted || (this.#registers.get8(Register.CR) & Cr.TE) === 0 || !this.#mayRun()) return false;
    return (this.#registers.get32(Register.TSD0 + 4 * this.#next) & Tsd.OWN) === 0;
  }

  #transmit(register: number): void {
    const status = this.#registers.get32(register);
    const length = status & Tsd.SIZE;
    const address = this.#registers.get32(Register.TSAD0 + 4 * this.#next);
    if (length > LONGEST_FRAME) {
      this.#host.violation("tx-frame-too-long", `TSD asks for ${length} bytes: a frame has at most ${LONGEST_FRAME}`);
    }
    if (!this.#host.dma.read(address, this.#frame, 0, length)) {
      this.#halted = true;
      this.#config.setStatus(PciStatus.receivedMasterAbort, true);
      this.#interrupts.raise(Isr.SERR);
      return;
    }
    this.#next = (this.#next + 1) % SLOTS;
    const heard = length === 0 || this.#send(this.#frame, 0, length);
    this.#statistics.count(Tally.TxOk);
    this.#registers.set32(register, status | Tsd.OWN | Tsd.TOK | (heard ? 0 : Tsd.CRS));
    this.#interrupts.raise(Isr.TOK);
  }

  snapshot(): SlotState {
    return { next: this.#next, halted: this.#halted };
  }

  restore(state: StateReader): void {
    this.#next = state.integer("next", 0, SLOTS - 1);
    this.#halted = state.flag("halted");
  }
}
