import type { DeviceHost } from "../../bus/device.js";
import { type PciConfigSpace, PciStatus } from "../../bus/pci-config.js";
import { copyBytes } from "../../util/bytes.js";
import type { StateReader } from "../../util/state-reader.js";
import { frameCheckSequence } from "../frame-check.js";
import type { Interrupts } from "./interrupts.js";
import { ReceiveDescriptors } from "./receive-descriptors.js";
import { Match, matchAddress } from "./receive-filter.js";
import { inspect } from "./receive-offload.js";
import { ReceiveRing, Stored } from "./receive-ring.js";
import { Cpcr, Cr, Isr, Rcr, Register, type RegisterFile, RING_LIMIT, RxDescriptor, RxHeader } from "./registers.js";
import { type Statistics, Tally } from "./statistics.js";

/** Sizes without the FCS. */
const SHORTEST_FRAME = 60;
/** 4 KiB of payload behind a header with a tag: the largest MTU that drivers set. */
export const LONGEST_RECEIVED_FRAME = 4096 + 18;
const HEADER_BYTES = 14;
const ADDRESSES_BYTES = 12;
const TAG_BYTES = 4;
const FCS_BYTES = 4;
/** C mode puts four bytes in front of a frame. */
const LEAD = 4;
const TYPE_VLAN = 0x8100;
const TYPE_MAC_CONTROL = 0x8808;
const PAUSE_OPCODE = 1;
const MISSED_MASK = 0xff_ffff;

/** Flags of C mode's header and of C+ descriptors, by {@link Match}. */
const HEADER_FLAGS = [0, RxHeader.PAM, 0, RxHeader.MAR, RxHeader.BAR];
const DESCRIPTOR_FLAGS = [0, RxDescriptor.PAM, 0, RxDescriptor.MAR, RxDescriptor.BAR];
const TALLIES = [-1, Tally.RxOkPhy, -1, Tally.RxOkMul, Tally.RxOkBrd];

export interface ReceiveState {
  index: number;
  halted: boolean;
}

/**
 * Reception: address filter, then the ring buffer of C mode or the descriptors of C+ mode. A frame that finds no room is
 * missed. A refused access stops the receiver until the driver sets it up again (CR.RE, the ring's address or a reset).
 */
export class Receiver {
  readonly #registers: RegisterFile;
  readonly #config: PciConfigSpace;
  readonly #interrupts: Interrupts;
  readonly #statistics: Statistics;
  readonly #exactFcs: boolean;
  readonly #pauseFor: (quanta: number) => boolean;
  readonly #descriptors: ReceiveDescriptors;
  readonly ring: ReceiveRing;
  readonly #stage = new Uint8Array(LEAD + LONGEST_RECEIVED_FRAME + FCS_BYTES);
  readonly #view = new DataView(this.#stage.buffer);
  #halted = false;

  /**
   * @param exactFcs whether the FCS that is stored behind frames is computed; else it is zero
   * @param pauseFor a PAUSE frame asks to stop transmission for so many quanta. @returns whether flow control is on
   */
  constructor(
    registers: RegisterFile,
    host: DeviceHost,
    config: PciConfigSpace,
    interrupts: Interrupts,
    statistics: Statistics,
    exactFcs: boolean,
    pauseFor: (quanta: number) => boolean,
  ) {
    this.#registers = registers;
    this.#config = config;
    this.#interrupts = interrupts;
    this.#statistics = statistics;
    this.#exactFcs = exactFcs;
    this.#pauseFor = pauseFor;
    this.ring = new ReceiveRing(registers, host.dma);
    this.#descriptors = new ReceiveDescriptors(registers, host.dma);
  }

  /** CR.RE was switched on, or the descriptors have moved. */
  restart(): void {
    this.#descriptors.index = 0;
    this.#halted = false;
  }

  /** A frame comes in from the wire (or from the own transmitter in loopback). */
  frame(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#halted || (this.#registers.get8(Register.CR) & Cr.RE) === 0 || length < HEADER_BYTES) return;
    const view = this.#view;
    const tooLong = length > LONGEST_RECEIVED_FRAME;
    let size = tooLong ? LONGEST_RECEIVED_FRAME : length;
    copyBytes(this.#stage, LEAD, bytes, offset, size);
    if (size < SHORTEST_FRAME) {
      // The sender's MAC pads; far sides that deliver what software has seen (captures, sockets) have not done so.
      this.#stage.fill(0, LEAD + size, LEAD + SHORTEST_FRAME);
      size = SHORTEST_FRAME;
    }
    const type = view.getUint16(LEAD + ADDRESSES_BYTES);
    if (type === TYPE_MAC_CONTROL && this.#isPause() && this.#pauseFor(view.getUint16(LEAD + 16))) return;
    const match = matchAddress(this.#registers, view, LEAD);
    if (match === Match.none) return;
    if (tooLong) {
      this.#statistics.count(Tally.RxEr);
      if ((this.#registers.get32(Register.RCR) & Rcr.AER) === 0) return;
    }
    if ((this.#registers.get16(Register.CPCR) & Cpcr.RX) !== 0) this.#storeInDescriptors(size, type, match, tooLong);
    else this.#storeInRing(size, match, tooLong);
  }

  /** To 01-80-C2-00-00-01, with the opcode of PAUSE (IEEE 802.3, annex 31B). */
  #isPause(): boolean {
    const view = this.#view;
    const toControl = view.getUint32(LEAD) === 0x0180_c200 && view.getUint16(LEAD + 4) === 1;
    return toControl && view.getUint16(LEAD + HEADER_BYTES) === PAUSE_OPCODE;
  }

  #storeInRing(size: number, match: number, tooLong: boolean): void {
    this.#appendFcs(size);
    const status = HEADER_FLAGS[match] | (tooLong ? RxHeader.LONG : RxHeader.ROK);
    this.#finish(this.ring.store(this.#stage, size + FCS_BYTES, status), match, tooLong);
  }

  #storeInDescriptors(length: number, type: number, match: number, tooLong: boolean): void {
    const command = this.#registers.get16(Register.CPCR);
    let size = length;
    let tag = 0;
    if (type === TYPE_VLAN && (command & Cpcr.RX_VLAN) !== 0) {
      // The tag keeps its order of bytes.
      tag = RxDescriptor.TAVA | this.#view.getUint16(LEAD + HEADER_BYTES, true);
      this.#stage.copyWithin(LEAD + ADDRESSES_BYTES, LEAD + ADDRESSES_BYTES + TAG_BYTES, LEAD + size);
      size -= TAG_BYTES;
    }
    let status = DESCRIPTOR_FLAGS[match] | (tooLong ? RxDescriptor.RES | RxDescriptor.RWT : 0);
    if ((command & Cpcr.RX_CHECKSUM) !== 0 && !tooLong) status |= inspect(this.#view, LEAD, size);
    this.#appendFcs(size);
    const stored = this.#descriptors.store(this.#stage, LEAD, size + FCS_BYTES, status, tag);
    this.#finish(stored, match, tooLong);
  }

  #appendFcs(size: number): void {
    const fcs = this.#exactFcs ? frameCheckSequence(this.#view, LEAD, size) : 0;
    this.#view.setUint32(LEAD + size, fcs, true);
  }

  #finish(stored: number, match: number, isError: boolean): void {
    if (stored === Stored.yes) {
      if (!isError) {
        this.#statistics.count(Tally.RxOk);
        if (TALLIES[match] >= 0) this.#statistics.count(TALLIES[match]);
      }
      this.#interrupts.raise(isError ? Isr.RER : Isr.ROK);
      return;
    }
    this.#statistics.count(Tally.MissPkt);
    this.#registers.set32(Register.MPC, (this.#registers.get32(Register.MPC) + 1) & MISSED_MASK);
    if (stored === Stored.noRoom) {
      this.#interrupts.raise(Isr.RXOVW);
      return;
    }
    this.#halted = true;
    this.#config.setStatus(PciStatus.receivedMasterAbort, true);
    this.#interrupts.raise(Isr.SERR);
  }

  /** Whether software wrote CAPR although there is nothing to read. */
  get underrun(): boolean {
    return (this.#registers.get8(Register.CR) & Cr.RE) !== 0 && this.ring.empty;
  }

  snapshot(): ReceiveState {
    return { index: this.#descriptors.index, halted: this.#halted };
  }

  restore(state: StateReader): void {
    this.#descriptors.index = state.integer("index", 0, RING_LIMIT - 1);
    this.#halted = state.flag("halted");
  }
}
