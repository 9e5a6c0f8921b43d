import { fold, sumWords, swap16 } from "../checksum.js";

export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
const TYPE_IPV4 = 0x0800;
const TYPE_VLAN = 0x8100;
const LINK_BYTES = 14;
const TAG_BYTES = 4;
const ALL_ONES = 0xffff;

/** Offsets in the headers. */
export const Ip = { LENGTH: 2, IDENTIFICATION: 4, FRAGMENT: 6, PROTOCOL: 9, CHECKSUM: 10, ADDRESSES: 12 } as const;
export const Tcp = { SEQUENCE: 4, DATA_OFFSET: 12, FLAGS: 13, CHECKSUM: 16, HEADER: 20 } as const;
export const Udp = { CHECKSUM: 6, HEADER: 8 } as const;

/** Where the IPv4 header of a frame lies, tagged or not, once {@link locate} has found one. */
export class InternetHeader {
  /** In the view that was searched. */
  at = 0;
  bytes = 0;
  protocol = 0;
  isFragment = false;

  /** @returns whether `view[at, at + length)` is a frame with a whole IPv4 header */
  locate(view: DataView, at: number, length: number): boolean {
    let header = at + LINK_BYTES;
    const end = at + length;
    if (header + 20 > end) return false;
    let type = view.getUint16(at + 12);
    if (type === TYPE_VLAN) {
      type = view.getUint16(header + 2);
      header += TAG_BYTES;
    }
    if (type !== TYPE_IPV4 || header + 20 > end) return false;
    const first = view.getUint8(header);
    const bytes = (first & 15) * 4;
    if (first >>> 4 !== 4 || bytes < 20 || header + bytes > end) return false;
    this.at = header;
    this.bytes = bytes;
    this.protocol = view.getUint8(header + Ip.PROTOCOL);
    this.isFragment = (view.getUint16(header + Ip.FRAGMENT) & 0x3fff) !== 0;
    return true;
  }

  /** Total length field, or less when the frame ends before. */
  totalLength(view: DataView, end: number): number {
    return Math.min(view.getUint16(this.at + Ip.LENGTH), end - this.at);
  }

  isGood(view: DataView): boolean {
    return fold(sumWords(view, this.at, this.bytes)) === ALL_ONES;
  }

  /** The sum of TCP or UDP with the pseudo-header, over `length` bytes behind the IP header. */
  transportSum(view: DataView, length: number): number {
    const addresses = sumWords(view, this.at + Ip.ADDRESSES, 8);
    const transport = sumWords(view, this.at + this.bytes, length);
    return fold(addresses + transport + (this.protocol << 8) + swap16(length));
  }

  insertChecksum(view: DataView): void {
    view.setUint16(this.at + Ip.CHECKSUM, 0);
    view.setUint16(this.at + Ip.CHECKSUM, ~fold(sumWords(view, this.at, this.bytes)) & ALL_ONES, true);
  }

  /** @param length of the transport header with its payload @param field its checksum's place in it */
  insertTransportChecksum(view: DataView, length: number, field: number): void {
    const at = this.at + this.bytes + field;
    view.setUint16(at, 0);
    const sum = ~this.transportSum(view, length) & ALL_ONES;
    // Zero means "no checksum" in UDP (RFC 768).
    view.setUint16(at, sum === 0 && this.protocol === PROTOCOL_UDP ? ALL_ONES : sum, true);
  }
}
