import { fold, sumWords, swap16 } from "../checksum.js";
import { LONGEST_FRAME_BYTES } from "../wire.js";

const TYPE_IPV4 = 0x0800;
const TYPE_IPV6 = 0x86dd;
const TYPE_VLAN = 0x8100;
const TYPE_SERVICE_VLAN = 0x88a8;
const TAG_BYTES = 4;
const MOST_TAGS = 2;
const PROTOCOL_TCP = 6;
const IPV6_HEADER = 40;
const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;
/** Not set but in the last segment, or but in the first one. */
const FIN_PSH = 0x09;
const CWR = 0x80;
const LONGEST_HEADER = 1024;
const MOST_SEGMENTS = 0x1_0000;

/** Offset of the network header behind up to two tags, or −1 if it is of another type. */
function networkHeader(view: DataView, at: number, length: number, type: number): number {
  let header = 14;
  for (let tags = 0; tags <= MOST_TAGS && header + 20 <= length; tags++) {
    const found = view.getUint16(at + header - 2);
    if (found === type) return header;
    if (found !== TYPE_VLAN && found !== TYPE_SERVICE_VLAN) return -1;
    header += TAG_BYTES;
  }
  return -1;
}

/**
 * Completes the checksum of a packet (§5.1.6.2): the field holds the sum of the pseudo header.
 * @returns whether it lies in the packet
 */
export function completeChecksum(view: DataView, at: number, length: number, start: number, offset: number): boolean {
  const field = start + offset;
  if (start >= length || field + 2 > length) return false;
  const sum = ~fold(sumWords(view, at + start, length - start)) & 0xffff;
  // Zero would mean "no checksum" to UDP, and all ones are the same number (RFC 768).
  view.setUint16(at + field, sum === 0 ? 0xffff : sum, true);
  return true;
}

/** Cuts a TCP packet into segments, in place: each header is put in front of its piece of the payload. */
export class Segmenter {
  /** The segment to be sent: where it starts, and its bytes. */
  start = 0;
  length = 0;
  readonly #header = new Uint8Array(LONGEST_HEADER);
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;
  #total = 0;
  #segmentSize = 0;
  #network = 0;
  #transport = 0;
  #headerLength = 0;
  #isIpv4 = false;
  #index = 0;
  #sent = 0;

  /** @param bytes that packets lie in */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /**
   * Takes the packet `bytes[at, at + total)`.
   * @param transport where its TCP header starts
   * @returns why it cannot be segmented, or null
   */
  begin(at: number, total: number, isIpv4: boolean, segmentSize: number, transport: number): string | null {
    const view = this.#view;
    const network = networkHeader(view, at, total, isIpv4 ? TYPE_IPV4 : TYPE_IPV6);
    if (network < 0) return `the packet is not IPv${isIpv4 ? 4 : 6}`;
    if (segmentSize === 0) return "gso_size is 0";
    if (transport + TCP_HEADER > total) return "there is no TCP header at csum_start";
    const ip = at + network;
    const least = isIpv4 ? (view.getUint8(ip) & 15) * 4 : IPV6_HEADER;
    if (view.getUint8(ip) >>> 4 !== (isIpv4 ? 4 : 6)) return "the version of its IP header is another one";
    if (isIpv4 ? least < 20 || network + least !== transport : network + least > transport) {
      return "csum_start is not behind the IP header";
    }
    if (isIpv4 && view.getUint8(ip + 9) !== PROTOCOL_TCP) return "the packet is not TCP";
    const tcpHeader = (view.getUint8(at + transport + 12) >>> 4) * 4;
    const headerLength = transport + tcpHeader;
    if (tcpHeader < TCP_HEADER || headerLength > Math.min(total, LONGEST_HEADER)) return "its TCP header has no end";
    if (headerLength + segmentSize > LONGEST_FRAME_BYTES)
      return `gso_size ${segmentSize} makes frames too long to send`;
    if (total - headerLength > segmentSize * MOST_SEGMENTS) return "it makes more segments than IP has identifications";
    this.#at = at;
    this.#total = total;
    this.#isIpv4 = isIpv4;
    this.#segmentSize = segmentSize;
    this.#network = network;
    this.#transport = transport;
    this.#headerLength = headerLength;
    this.#header.set(this.#bytes.subarray(at, at + headerLength));
    this.#index = 0;
    this.#sent = 0;
    return null;
  }

  /** Makes the next segment. @returns false when all have been made */
  next(): boolean {
    const headerLength = this.#headerLength;
    const left = this.#total - headerLength - this.#sent;
    if (left <= 0 && this.#index > 0) return false;
    const payload = Math.min(left, this.#segmentSize);
    this.start = this.#at + this.#sent;
    this.length = headerLength + payload;
    if (this.#index > 0) this.#bytes.set(this.#header.subarray(0, headerLength), this.start);
    this.#updateNetwork();
    this.#updateTransport(payload === left);
    this.#index++;
    this.#sent += payload;
    return true;
  }

  #updateNetwork(): void {
    const view = this.#view;
    const ip = this.start + this.#network;
    if (!this.#isIpv4) {
      view.setUint16(ip + 4, this.length - this.#network - IPV6_HEADER);
      return;
    }
    view.setUint16(ip + 2, this.length - this.#network);
    view.setUint16(ip + 4, view.getUint16(ip + 4) + this.#index);
    view.setUint16(ip + 10, 0);
    view.setUint16(ip + 10, ~fold(sumWords(view, ip, this.#transport - this.#network)) & 0xffff, true);
  }

  #updateTransport(last: boolean): void {
    const view = this.#view;
    const tcp = this.start + this.#transport;
    let cleared = last ? 0 : FIN_PSH;
    if (this.#index > 0) cleared |= CWR;
    view.setUint32(tcp + 4, view.getUint32(tcp + 4) + this.#sent);
    view.setUint8(tcp + 13, view.getUint8(tcp + 13) & ~cleared);
    // The pseudo header's sum is that of the whole packet: its length gives way to the segment's.
    const whole = ~swap16((this.#total - this.#transport) & 0xffff) & 0xffff;
    const own = swap16(this.length - this.#transport);
    view.setUint16(tcp + TCP_CHECKSUM, fold(view.getUint16(tcp + TCP_CHECKSUM, true) + whole + own), true);
    completeChecksum(view, this.start, this.length, this.#transport, TCP_CHECKSUM);
  }
}
