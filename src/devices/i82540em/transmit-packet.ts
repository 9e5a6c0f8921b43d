import type { DeviceHost } from "../../bus/device.js";
import { InputError } from "../../util/errors.js";
import type { StateReader } from "../../util/state-reader.js";
import { frameCheckSequence } from "../frame-check.js";
import { LONGEST_FRAME_BYTES } from "../wire.js";
import { Ctrl, PacketOption, Register, Statistic, Tctl, TuCommand, TxCommand } from "./registers.js";
import type { Statistics } from "./statistics.js";
import {
  addPseudoHeaderLength,
  insertChecksum,
  OffloadContext,
  type OffloadContextState,
  segmentationFault,
  updateHeaders,
} from "./transmit-offload.js";

const SHORTEST_FRAME = 60;
const TAG_BYTES = 4;
const FCS_BYTES = 4;
const ADDRESSES_BYTES = 12;
const HEADER_BUFFER = 256;
/** Descriptor types of §3.3.2, as DTYP. */
const DTYP_CONTEXT = 0;
const DTYP_DATA = 1;

/** What kind of frame the descriptors since the last EOP make up. */
const Kind = { none: 0, legacy: 1, data: 2, segmented: 3 } as const;

export interface PacketState {
  kind: number;
  options: number;
  vlan: number;
  checkSequence: boolean;
  tooLong: boolean;
  discard: boolean;
  frame: number[];
  header: number[];
  segments: number;
  sent: number;
  checksumContext: OffloadContextState;
  segmentContext: OffloadContextState;
}

/** Puts frames together from transmit descriptors, lets offloads work on them, and hands them to the MAC. */
export class Packet {
  /** Frames sent since power-on, whatever the statistics registers say. */
  frames = 0;
  readonly #registers: Uint32Array;
  readonly #host: DeviceHost;
  readonly #statistics: Statistics;
  readonly #send: (bytes: Uint8Array, offset: number, length: number) => void;
  /** The frame, behind room for a VLAN tag. */
  readonly #frame = new Uint8Array(TAG_BYTES + LONGEST_FRAME_BYTES);
  readonly #view = new DataView(this.#frame.buffer);
  #length = 0;
  #kind: number = Kind.none;
  /** POPTS of the first data descriptor. */
  #options = 0;
  /** Tag control information of a segmented frame, or −1. */
  #vlan = -1;
  /** IFCS of a segmented frame. */
  #checkSequence = true;
  #tooLong = false;
  // TCP segmentation: the prototype headers, and how far it is.
  readonly #header = new Uint8Array(HEADER_BUFFER);
  #headerLength = 0;
  #segments = 0;
  #sent = 0;
  #discard = false;
  readonly #checksumContext = new OffloadContext();
  readonly #segmentContext = new OffloadContext();

  constructor(
    registers: Uint32Array,
    host: DeviceHost,
    statistics: Statistics,
    send: (bytes: Uint8Array, offset: number, length: number) => void,
  ) {
    this.#registers = registers;
    this.#host = host;
    this.#statistics = statistics;
    this.#send = send;
  }

  /** Does one descriptor. @returns false if its data could not be read */
  descriptor(words: Uint32Array, at: number): boolean {
    const command = words[at + 2];
    if ((command & TxCommand.DEXT) === 0) {
      if (this.#kind === Kind.none) this.#kind = Kind.legacy;
      return this.#gather(words, at, command & 0xffff, command);
    }
    const type = (command >>> TxCommand.DTYP_SHIFT) & 15;
    if (type === DTYP_DATA) return this.#data(words, at, command);
    if (type === DTYP_CONTEXT) this.#context(words, at, command);
    else this.#host.violation("tx-descriptor-type", `a transmit descriptor has the reserved type ${type}`);
    return true;
  }

  /** Drops the frame that is being put together. */
  abort(): void {
    this.#kind = Kind.none;
    this.#length = 0;
    this.#tooLong = false;
    this.#headerLength = 0;
    this.#segments = 0;
    this.#sent = 0;
    this.#discard = false;
  }

  reset(): void {
    this.abort();
    this.#checksumContext.words.fill(0);
    this.#segmentContext.words.fill(0);
  }

  /** §3.3.6: one context for segmentation, one for plain checksums. */
  #context(words: Uint32Array, at: number, command: number): void {
    if (this.#kind !== Kind.none) {
      this.#host.violation("tx-context-inside-frame", "a context descriptor stands between the descriptors of a frame");
      this.abort();
    }
    const context = (command & TuCommand.TSE) !== 0 ? this.#segmentContext : this.#checksumContext;
    for (let i = 0; i < 4; i++) context.words[i] = words[at + i];
  }

  #data(words: Uint32Array, at: number, command: number): boolean {
    if (this.#kind === Kind.none) {
      this.#options = (words[at + 3] >>> 8) & 0xff;
      this.#kind = (command & TxCommand.TSE) !== 0 ? Kind.segmented : Kind.data;
      if (this.#kind === Kind.segmented) this.#beginSegments(words, at, command);
    }
    const length = command & 0xf_ffff;
    if (this.#kind !== Kind.segmented) return this.#gather(words, at, length, command);
    const address = words[at] + words[at + 1] * 0x1_0000_0000;
    if (!this.#discard && !this.#segment(address, length)) return false;
    if ((command & TxCommand.EOP) !== 0) this.#endSegments();
    return true;
  }

  #gather(words: Uint32Array, at: number, length: number, command: number): boolean {
    if (this.#length + length > LONGEST_FRAME_BYTES) {
      this.#tooLong = true;
    } else if (length > 0 && !this.#tooLong) {
      const address = words[at] + words[at + 1] * 0x1_0000_0000;
      if (!this.#host.dma.read(address, this.#frame, TAG_BYTES + this.#length, length)) return false;
      this.#length += length;
    }
    if ((command & TxCommand.EOP) !== 0) this.#finish(words, at, command);
    return true;
  }

  #finish(words: Uint32Array, at: number, command: number): void {
    const last = words[at + 3];
    if (this.#tooLong) {
      this.#host.violation("tx-frame-too-long", `a frame to transmit is longer than ${LONGEST_FRAME_BYTES} bytes`);
    } else if (this.#length > 0) {
      if (this.#kind === Kind.data) this.#insertChecksums(this.#checksumContext, this.#length);
      else if ((command & TxCommand.IC) !== 0) {
        insertChecksum(this.#view, TAG_BYTES, this.#length, (last >>> 8) & 0xff, (command >>> 16) & 0xff, 0, false);
      }
      const vlan = (command & TxCommand.VLE) !== 0 ? last >>> 16 : -1;
      this.#emit(this.#length, vlan, (command & TxCommand.IFCS) !== 0);
    }
    this.abort();
  }

  #insertChecksums(context: OffloadContext, length: number): void {
    const view = this.#view;
    if ((this.#options & PacketOption.IXSM) !== 0) {
      insertChecksum(view, TAG_BYTES, length, context.ipStart, context.ipField, context.ipEnd, false);
    }
    if ((this.#options & PacketOption.TXSM) !== 0) {
      const { transportStart, transportField, transportEnd } = context;
      insertChecksum(view, TAG_BYTES, length, transportStart, transportField, transportEnd, !context.isTcp);
    }
  }

  /** §3.5: VLE, IFCS and the tag are those of the first data descriptor. */
  #beginSegments(words: Uint32Array, at: number, command: number): void {
    this.#vlan = (command & TxCommand.VLE) !== 0 ? words[at + 3] >>> 16 : -1;
    this.#checkSequence = (command & TxCommand.IFCS) !== 0;
    const fault = segmentationFault(this.#segmentContext, LONGEST_FRAME_BYTES);
    if (fault === null) return;
    this.#host.violation("tx-segmentation-context", `TCP segmentation is not possible: ${fault}`);
    this.#discard = true;
  }

  /** Headers first, then payload: a frame leaves whenever MSS bytes, or the last of PAYLEN, are there. */
  #segment(from: number, bytes: number): boolean {
    const context = this.#segmentContext;
    const { headerLength, segmentSize, payloadLength } = context;
    let address = from;
    let left = bytes;
    while (left > 0) {
      const inHeader = this.#headerLength < headerLength;
      const payload = this.#length;
      const wanted = inHeader
        ? headerLength - this.#headerLength
        : Math.min(segmentSize - payload, payloadLength - this.#sent - payload);
      if (wanted <= 0) {
        this.#host.violation(
          "tx-segmentation-excess",
          `more than the ${payloadLength} bytes of PAYLEN were handed over`,
        );
        this.#discard = true;
        return true;
      }
      const piece = Math.min(left, wanted);
      const into = inHeader ? this.#header : this.#frame;
      const offset = inHeader ? this.#headerLength : TAG_BYTES + headerLength + payload;
      if (!this.#host.dma.read(address, into, offset, piece)) return false;
      address += piece;
      left -= piece;
      if (inHeader) this.#headerLength += piece;
      else this.#length += piece;
      if (this.#length > 0 && piece === wanted) this.#emitSegment(this.#sent + this.#length === payloadLength);
    }
    return true;
  }

  #endSegments(): void {
    const complete = this.#sent === this.#segmentContext.payloadLength;
    if (!this.#discard && !complete) {
      this.#host.violation(
        "tx-segmentation-short",
        `the last descriptor came after ${this.#sent + this.#length} of the ${this.#segmentContext.payloadLength} bytes of PAYLEN`,
      );
      if (this.#length > 0) this.#emitSegment(true);
    }
    this.#statistics.count(complete && !this.#discard ? Statistic.TSCTC : Statistic.TSCTFC);
    this.abort();
  }

  #emitSegment(last: boolean): void {
    const context = this.#segmentContext;
    const { headerLength } = context;
    const payload = this.#length;
    const length = headerLength + payload;
    const view = this.#view;
    this.#frame.set(this.#header.subarray(0, headerLength), TAG_BYTES);
    updateHeaders(context, view, TAG_BYTES, length, this.#segments, this.#sent, last);
    if ((this.#options & PacketOption.TXSM) !== 0) addPseudoHeaderLength(context, view, TAG_BYTES, length);
    this.#insertChecksums(context, length);
    this.#emit(length, this.#vlan, this.#checkSequence);
    this.#segments++;
    this.#sent += payload;
    this.#length = 0;
  }

  /** The MAC: tag, padding, FCS. @param vlan tag control information, or −1 */
  #emit(frameLength: number, vlan: number, insertFcs: boolean): void {
    const frame = this.#frame;
    let start = TAG_BYTES;
    let length = frameLength;
    if (vlan >= 0 && (this.#registers[Register.CTRL] & Ctrl.VME) !== 0 && length >= ADDRESSES_BYTES) {
      frame.copyWithin(0, TAG_BYTES, TAG_BYTES + ADDRESSES_BYTES);
      this.#view.setUint16(ADDRESSES_BYTES, this.#registers[Register.VET]);
      this.#view.setUint16(ADDRESSES_BYTES + 2, vlan);
      start = 0;
      length += TAG_BYTES;
    }
    if (!insertFcs) {
      length -= FCS_BYTES;
      if (!this.#hasGoodFcs(start, length)) return;
    } else if (length < SHORTEST_FRAME && (this.#registers[Register.TCTL] & Tctl.PSP) !== 0) {
      frame.fill(0, start + length, start + SHORTEST_FRAME);
      length = SHORTEST_FRAME;
    }
    const broadcast = frame[start] === 0xff && isAllOnes(frame, start);
    this.#statistics.transmitted(length + FCS_BYTES, frame[start], broadcast);
    this.frames++;
    this.#send(frame, start, length);
  }

  /** Software brought its own FCS: the receiver of a bad one would throw the frame away. */
  #hasGoodFcs(start: number, length: number): boolean {
    if (length > 0 && this.#view.getUint32(start + length, true) === frameCheckSequence(this.#view, start, length)) {
      return true;
    }
    this.#host.violation("tx-bad-fcs", "a frame was to be sent without IFCS, but does not end with its check sequence");
    return false;
  }

  snapshot(): PacketState {
    const { headerLength } = this.#segmentContext;
    const before = this.#kind === Kind.segmented ? headerLength : 0;
    return {
      kind: this.#kind,
      options: this.#options,
      vlan: this.#vlan + 1,
      checkSequence: this.#checkSequence,
      tooLong: this.#tooLong,
      discard: this.#discard,
      frame: [...this.#frame.subarray(TAG_BYTES + before, TAG_BYTES + before + this.#length)],
      header: [...this.#header.subarray(0, this.#headerLength)],
      segments: this.#segments,
      sent: this.#sent,
      checksumContext: this.#checksumContext.snapshot(),
      segmentContext: this.#segmentContext.snapshot(),
    };
  }

  restore(state: StateReader): void {
    this.#kind = state.integer("kind", Kind.none, Kind.segmented);
    this.#options = state.integer("options", 0, 0xff);
    this.#vlan = state.integer("vlan", 0, 0x1_0000) - 1;
    this.#checkSequence = state.flag("checkSequence");
    this.#tooLong = state.flag("tooLong");
    this.#discard = state.flag("discard");
    this.#segments = state.integer("segments", 0, 0xf_ffff);
    this.#sent = state.integer("sent", 0, 0xf_ffff);
    this.#checksumContext.restore(state.child("checksumContext"));
    this.#segmentContext.restore(state.child("segmentContext"));
    const unchecked = this.#kind === Kind.segmented && !this.#discard;
    if (unchecked && segmentationFault(this.#segmentContext, LONGEST_FRAME_BYTES) !== null) {
      throw new InputError("snapshot-misfit", `the snapshot does not fit ${state.part}: its context cannot segment`);
    }
    const header = state.numbers("header", 0, this.#segmentContext.headerLength, 0xff);
    this.#header.set(header);
    this.#headerLength = header.length;
    const before = this.#kind === Kind.segmented ? this.#segmentContext.headerLength : 0;
    const frame = state.numbers("frame", 0, LONGEST_FRAME_BYTES - before, 0xff);
    this.#frame.set(frame, TAG_BYTES + before);
    this.#length = frame.length;
  }
}

function isAllOnes(frame: Uint8Array, start: number): boolean {
  for (let i = 1; i < 6; i++) if (frame[start + i] !== 0xff) return false;
  return true;
}
