import { fold, sumWords, swap16 } from "../checksum.js";

const TYPE_IPV4 = 0x0800;
const TYPE_IPV6 = 0x86dd;
const TYPE_VLAN = 0x8100;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
const FRAGMENT = 0x3fff;
const ALL_ONES = 0xffff;

/**
 * Whether a frame is TCP or UDP in one piece, and its checksum is right: what VIRTIO_NET_HDR_F_DATA_VALID says
 * (§5.1.6.4.1). Everything else the driver has to look at itself.
 */
export function isChecksumValid(view: DataView, at: number, length: number): boolean {
  let header = at + 14;
  let type = view.getUint16(at + 12);
  const end = at + length;
  if (type === TYPE_VLAN && length >= 18) {
    type = view.getUint16(header + 2);
    header += 4;
  }
  if (type === TYPE_IPV4) return isIpv4Valid(view, header, end);
  return type === TYPE_IPV6 && isIpv6Valid(view, header, end);
}

function isIpv4Valid(view: DataView, header: number, end: number): boolean {
  if (header + 20 > end) return false;
  const first = view.getUint8(header);
  const headerLength = (first & 15) * 4;
  const totalLength = view.getUint16(header + 2);
  if (first >>> 4 !== 4 || headerLength < 20 || totalLength < headerLength || header + totalLength > end) return false;
  if ((view.getUint16(header + 6) & FRAGMENT) !== 0) return false;
  const addresses = sumWords(view, header + 12, 8);
  const protocol = view.getUint8(header + 9);
  return isTransportValid(view, header + headerLength, totalLength - headerLength, protocol, addresses);
}

function isIpv6Valid(view: DataView, header: number, end: number): boolean {
  if (header + 40 > end || view.getUint8(header) >>> 4 !== 6) return false;
  const length = view.getUint16(header + 4);
  if (header + 40 + length > end) return false;
  return isTransportValid(view, header + 40, length, view.getUint8(header + 6), sumWords(view, header + 8, 32));
}

function isTransportValid(view: DataView, at: number, length: number, protocol: number, addresses: number): boolean {
  if (protocol === PROTOCOL_UDP) {
    // A zero checksum says that the sender made none.
    if (length < 8 || view.getUint16(at + 6) === 0) return false;
  } else if (protocol !== PROTOCOL_TCP || length < 20) {
    return false;
  }
  return fold(sumWords(view, at, length) + addresses + (protocol << 8) + swap16(length)) === ALL_ONES;
}
