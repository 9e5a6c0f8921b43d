import { InternetHeader, PROTOCOL_TCP, PROTOCOL_UDP, Tcp, Udp } from "./internet.js";
import { RxDescriptor } from "./registers.js";

const ALL_ONES = 0xffff;
const header = new InternetHeader();

/** What the first word of a receive descriptor says of IPv4, TCP and UDP in a frame, with C+CR.RxChkSum. */
export function inspect(view: DataView, at: number, length: number): number {
  if (!header.locate(view, at, length)) return 0;
  const ip = RxDescriptor.PID_IP | (header.isGood(view) ? 0 : RxDescriptor.IPF);
  const payload = header.totalLength(view, at + length) - header.bytes;
  if (header.isFragment) return ip;
  const failed = ip & RxDescriptor.IPF;
  if (header.protocol === PROTOCOL_TCP && payload >= Tcp.HEADER) {
    const good = header.transportSum(view, payload) === ALL_ONES;
    return RxDescriptor.PID_TCP | failed | (good ? 0 : RxDescriptor.TCPF);
  }
  if (header.protocol === PROTOCOL_UDP && payload >= Udp.HEADER) {
    const unchecked = view.getUint16(header.at + header.bytes + Udp.CHECKSUM) === 0;
    const good = unchecked || header.transportSum(view, payload) === ALL_ONES;
    return RxDescriptor.PID_UDP | failed | (good ? 0 : RxDescriptor.UDPF);
  }
  return ip;
}
