import type { DeviceHost } from "../../bus/device.js";
import { InternetHeader, Ip, PROTOCOL_TCP, PROTOCOL_UDP, Tcp, Udp } from "./internet.js";
import { TxDescriptor } from "./registers.js";

const FIN_AND_PSH = 0x09;
/** Link header with a tag, IP and TCP headers at their longest. */
const LONGEST_HEADERS = 18 + 60 + 60;

/** Room in front of a frame, for the tag that is put in when it leaves. */
export const TAG_ROOM = 4;

/** Checksums and large send of C+ mode, which find their way through the frame by themselves. */
export class TransmitOffload {
  readonly #host: DeviceHost;
  readonly #send: (bytes: Uint8Array, view: DataView, length: number) => void;
  readonly #header = new InternetHeader();
  readonly #segment = new Uint8Array(TAG_ROOM + LONGEST_HEADERS + TxDescriptor.MSS);
  readonly #view = new DataView(this.#segment.buffer);

  /** @param send gets segments, each behind {@link TAG_ROOM} bytes */
  constructor(host: DeviceHost, send: (bytes: Uint8Array, view: DataView, length: number) => void) {
    this.#host = host;
    this.#send = send;
  }

  /** Puts in the checksums that a descriptor asks for. @param command its first word */
  insertChecksums(view: DataView, length: number, command: number): void {
    const header = this.#header;
    if (!header.locate(view, TAG_ROOM, length)) {
      this.#host.violation("tx-checksum-no-ip", "a checksum is asked for in a frame that has no IPv4 header");
      return;
    }
    if ((command & TxDescriptor.IPCS) !== 0) header.insertChecksum(view);
    const payload = header.totalLength(view, TAG_ROOM + length) - header.bytes;
    if ((command & TxDescriptor.TCPCS) !== 0 && header.protocol === PROTOCOL_TCP && payload >= Tcp.HEADER) {
      header.insertTransportChecksum(view, payload, Tcp.CHECKSUM);
    } else if ((command & TxDescriptor.UDPCS) !== 0 && header.protocol === PROTOCOL_UDP && payload >= Udp.HEADER) {
      header.insertTransportChecksum(view, payload, Udp.CHECKSUM);
    }
  }

  /** Large send: cuts a TCP segment into frames with `mss` bytes of payload. @returns whether it could be done */
  largeSend(frame: Uint8Array, view: DataView, length: number, mss: number): boolean {
    const header = this.#header;
    const found = header.locate(view, TAG_ROOM, length) && header.protocol === PROTOCOL_TCP;
    const transport = header.at + header.bytes;
    const end = TAG_ROOM + length;
    const tcpBytes =
      found && transport + Tcp.HEADER <= end ? (view.getUint8(transport + Tcp.DATA_OFFSET) >>> 4) * 4 : 0;
    const start = transport + tcpBytes;
    if (mss === 0 || tcpBytes < Tcp.HEADER || start > end) {
      this.#host.violation("tx-large-send", `large send is not possible: MSS ${mss}, or no whole IPv4 and TCP headers`);
      return false;
    }
    const ip = header.at;
    const identification = view.getUint16(ip + Ip.IDENTIFICATION);
    const sequence = view.getUint32(transport + Tcp.SEQUENCE);
    const flags = view.getUint8(transport + Tcp.FLAGS);
    const headers = start - TAG_ROOM;
    const segment = this.#view;
    for (let sent = 0, count = 0; sent < end - start || count === 0; sent += mss, count++) {
      const payload = Math.min(mss, end - start - sent);
      const last = sent + payload === end - start;
      this.#segment.set(frame.subarray(TAG_ROOM, start), TAG_ROOM);
      this.#segment.set(frame.subarray(start + sent, start + sent + payload), start);
      segment.setUint16(ip + Ip.LENGTH, header.bytes + tcpBytes + payload);
      segment.setUint16(ip + Ip.IDENTIFICATION, identification + count);
      segment.setUint32(transport + Tcp.SEQUENCE, sequence + sent);
      segment.setUint8(transport + Tcp.FLAGS, last ? flags : flags & ~FIN_AND_PSH);
      header.insertChecksum(segment);
      header.insertTransportChecksum(segment, tcpBytes + payload, Tcp.CHECKSUM);
      this.#send(this.#segment, segment, headers + payload);
    }
    return true;
  }
}
