import type { StateReader } from "../../util/state-reader.js";
import { fold, sumWords, swap16 } from "../checksum.js";
import { TuCommand } from "./registers.js";

export interface OffloadContextState {
  words: number[];
}

/** What a context descriptor says (§3.3.6): where checksums start, end and go, and how to segment. */
export class OffloadContext {
  readonly words = new Uint32Array(4);

  get ipStart(): number {
    return this.words[0] & 0xff;
  }

  get ipField(): number {
    return (this.words[0] >>> 8) & 0xff;
  }

  get ipEnd(): number {
    return this.words[0] >>> 16;
  }

  get transportStart(): number {
    return this.words[1] & 0xff;
  }

  get transportField(): number {
    return (this.words[1] >>> 8) & 0xff;
  }

  get transportEnd(): number {
    return this.words[1] >>> 16;
  }

  get payloadLength(): number {
    return this.words[2] & 0xf_ffff;
  }

  get isTcp(): boolean {
    return (this.words[2] & TuCommand.TCP) !== 0;
  }

  get isIpv4(): boolean {
    return (this.words[2] & TuCommand.IP) !== 0;
  }

  get headerLength(): number {
    return (this.words[3] >>> 8) & 0xff;
  }

  get segmentSize(): number {
    return this.words[3] >>> 16;
  }

  snapshot(): OffloadContextState {
    return { words: [...this.words] };
  }

  restore(state: StateReader): void {
    this.words.set(state.numbers("words", 4, 4, 0xffff_ffff));
  }
}

/**
 * Puts the checksum of `[start, end]` (end 0: to the end of the frame) at `field`; offsets count from the frame's first
 * byte. One that lies outside of the frame is left out (§3.6).
 * @param udp zero means "no checksum" in UDP, so it is sent as all ones (RFC 768)
 */
export function insertChecksum(
  view: DataView,
  at: number,
  length: number,
  start: number,
  field: number,
  end: number,
  udp: boolean,
): void {
  const stop = end !== 0 && end < length ? end + 1 : length;
  if (start >= stop || field + 2 > length) return;
  const sum = ~fold(sumWords(view, at + start, stop - start)) & 0xffff;
  view.setUint16(at + field, sum === 0 && udp ? 0xffff : sum, true);
}

const IPV4_TOTAL_LENGTH = 2;
const IPV4_IDENTIFICATION = 4;
const IPV6_HEADER = 40;
const MOST_SEGMENTS = 0x1_0000;
const IPV6_PAYLOAD_LENGTH = 4;
const TCP_SEQUENCE = 4;
const TCP_FLAGS = 13;
const TCP_LAST_FRAME_FLAGS = 0x09; // FIN and PSH
const UDP_LENGTH = 4;

/** @returns why headers of this context cannot be updated, or null */
export function segmentationFault(context: OffloadContext, longestFrame: number): string | null {
  const header = context.headerLength;
  const transport = context.transportStart;
  if (context.segmentSize === 0) return "MSS is 0";
  if (context.payloadLength === 0) return "PAYLEN is 0";
  if (context.payloadLength > context.segmentSize * MOST_SEGMENTS) {
    return `PAYLEN ${context.payloadLength} at MSS ${context.segmentSize} makes more segments than IP has identifications`;
  }
  if (header < transport + (context.isTcp ? 20 : 8)) return `HDRLEN ${header} ends before the transport header does`;
  if (transport < context.ipStart + (context.isIpv4 ? 20 : IPV6_HEADER)) return "TUCSS lies inside the IP header";
  if (header + context.segmentSize > longestFrame) {
    return `HDRLEN ${header} and MSS ${context.segmentSize} do not fit into the transmit FIFO`;
  }
  return null;
}

/**
 * Updates the prototype headers in front of a segment's payload (§3.5.9).
 * @param length of the frame with the headers
 * @param index of the segment, from 0
 * @param sent payload bytes in the segments before
 */
export function updateHeaders(
  context: OffloadContext,
  view: DataView,
  at: number,
  length: number,
  index: number,
  sent: number,
  last: boolean,
): void {
  const ip = at + context.ipStart;
  const fromIp = length - context.ipStart;
  if (context.isIpv4) {
    view.setUint16(ip + IPV4_TOTAL_LENGTH, fromIp);
    view.setUint16(ip + IPV4_IDENTIFICATION, view.getUint16(ip + IPV4_IDENTIFICATION) + index);
  } else {
    view.setUint16(ip + IPV6_PAYLOAD_LENGTH, fromIp - IPV6_HEADER);
  }
  const transport = at + context.transportStart;
  if (context.isTcp) {
    view.setUint32(transport + TCP_SEQUENCE, view.getUint32(transport + TCP_SEQUENCE) + sent);
    if (!last) view.setUint8(transport + TCP_FLAGS, view.getUint8(transport + TCP_FLAGS) & ~TCP_LAST_FRAME_FLAGS);
  } else {
    view.setUint16(transport + UDP_LENGTH, length - context.transportStart);
  }
}

/** The pseudo-header sum that software put into the checksum field lacks the length (§3.5.5): adds it. */
export function addPseudoHeaderLength(context: OffloadContext, view: DataView, at: number, length: number): void {
  const field = at + context.transportField;
  if (context.transportField + 2 > length) return;
  view.setUint16(field, fold(view.getUint16(field, true) + swap16(length - context.transportStart)), true);
}
