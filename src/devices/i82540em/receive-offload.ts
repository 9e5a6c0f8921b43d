import { fold, sumWords, swap16 } from "../checksum.js";
import { Rxcsum, RxError, RxStatus } from "./registers.js";

const TYPE_IPV4 = 0x0800;
const TYPE_IPV6 = 0x86dd;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
const LARGEST_LENGTH_FIELD = 1500;
/** DSAP, SSAP, control and the first two bytes of the OUI that SNAP has in front of the type. */
const SNAP_HEADER = 0xaaaa_0300;
const ALL_ONES = 0xffff;

/** Receive checksum offload, §3.2.9: the packet checksum, and the verdict on IPv4 header, TCP and UDP. */
export class ReceiveOffload {
  /** Of the last frame: the packet checksum field of its descriptor. */
  packetChecksum = 0;
  // Where the last frame's TCP or UDP part was summed; end 0: nowhere.
  #summedFrom = 0;
  #summedTo = 0;
  #sum = 0;

  /**
   * @param length of the frame without its FCS
   * @param vlanType VET: the type of a tag that was left in the frame
   * @param fcs what the FCS adds to the packet checksum: it counts when it is stored
   * @returns descriptor status, errors in bits 15:8
   */
  inspect(view: DataView, at: number, length: number, rxcsum: number, vlanType: number, fcs: number): number {
    this.#summedTo = 0;
    let status = 0;
    if ((rxcsum & (Rxcsum.IPOFLD | Rxcsum.TUOFLD)) !== 0) status = this.#protocols(view, at, length, rxcsum, vlanType);
    this.#sumPacket(view, at, length, rxcsum & Rxcsum.PCSS_MASK, fcs);
    return (status & (RxStatus.IPCS | RxStatus.TCPCS)) === 0 ? RxStatus.IXSM : status;
  }

  #protocols(view: DataView, at: number, length: number, rxcsum: number, vlanType: number): number {
    let header = at + 14;
    let type = view.getUint16(at + 12);
    if (type === vlanType && type !== 0) {
      type = view.getUint16(header + 2);
      header += 4;
    }
    const end = at + length;
    if (type <= LARGEST_LENGTH_FIELD && header + 8 <= end && view.getUint32(header) === SNAP_HEADER) {
      type = view.getUint16(header + 6);
      header += 8;
    }
    if (type === TYPE_IPV4) return this.#ipv4(view, header, end, rxcsum);
    return type === TYPE_IPV6 && (rxcsum & Rxcsum.TUOFLD) !== 0 ? this.#ipv6(view, header, end) : 0;
  }

  #ipv4(view: DataView, header: number, end: number, rxcsum: number): number {
    if (header + 20 > end) return 0;
    const first = view.getUint8(header);
    const headerLength = (first & 15) * 4;
    if (first >>> 4 !== 4 || headerLength < 20 || header + headerLength > end) return 0;
    let status = 0;
    if ((rxcsum & Rxcsum.IPOFLD) !== 0) {
      const good = fold(sumWords(view, header, headerLength)) === ALL_ONES;
      status = RxStatus.IPCS | (good ? 0 : RxError.IPE << 8);
    }
    const totalLength = view.getUint16(header + 2);
    const isFragment = (view.getUint16(header + 6) & 0x3fff) !== 0;
    if ((rxcsum & Rxcsum.TUOFLD) === 0 || isFragment || totalLength < headerLength || header + totalLength > end) {
      return status;
    }
    const addresses = sumWords(view, header + 12, 8);
    const payload = totalLength - headerLength;
    return status | this.#transport(view, header + headerLength, payload, view.getUint8(header + 9), addresses);
  }

  #ipv6(view: DataView, header: number, end: number): number {
    if (header + 40 > end || view.getUint8(header) >>> 4 !== 6) return 0;
    const payload = view.getUint16(header + 4);
    if (header + 40 + payload > end) return 0;
    return this.#transport(view, header + 40, payload, view.getUint8(header + 6), sumWords(view, header + 8, 32));
  }

  #transport(view: DataView, at: number, length: number, protocol: number, addresses: number): number {
    if (protocol === PROTOCOL_UDP) {
      // A zero checksum says that the sender made none.
      if (length < 8 || view.getUint16(at + 6) === 0) return 0;
    } else if (protocol !== PROTOCOL_TCP || length < 20) {
      return 0;
    }
    this.#sum = sumWords(view, at, length);
    this.#summedFrom = at;
    this.#summedTo = at + length;
    const good = fold(this.#sum + addresses + (protocol << 8) + swap16(length)) === ALL_ONES;
    return RxStatus.TCPCS | (good ? 0 : RxError.TCPE << 8);
  }

  #sumPacket(view: DataView, at: number, length: number, start: number, fcs: number): void {
    const from = at + start;
    const end = at + length;
    let sum = 0;
    if (start < length) {
      const to = this.#summedTo;
      const before = this.#summedFrom - from;
      // What was summed for TCP or UDP is not summed again, if its words are the packet's words.
      const usable = to !== 0 && before >= 0 && (before & 1) === 0 && (to === end || ((to - from) & 1) === 0);
      sum = usable
        ? sumWords(view, from, before) + this.#sum + sumWords(view, to, end - to)
        : sumWords(view, from, end - from);
      // Behind an odd number of bytes the words of the FCS are rotated by eight bits.
      sum += ((end - from) & 1) !== 0 ? fcs * 256 : fcs;
    }
    this.packetChecksum = ~swap16(fold(sum)) & ALL_ONES;
  }
}
