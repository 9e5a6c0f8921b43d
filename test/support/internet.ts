import { Clock } from "../../src/bus/clock.js";
import { interfaceAddress } from "../../src/clients/internet/address.js";
import { addWords, checksum } from "../../src/clients/internet/checksum.js";
import { InternetHost } from "../../src/clients/internet/host.js";
import { get16, get32, pseudoHeaderSum, put16, put32 } from "../../src/clients/internet/packet.js";
import { seededRandom } from "../../src/util/random.js";

export const HOST_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
export const PEER_MAC = Uint8Array.of(2, 0, 0, 0, 0, 2);
export const HOST = 0x0a00_0202;
export const PEER = 0x0a00_020f;

/** A frame of the type, from the peer to the host if nothing else is said. */
export function ethernet(type: number, payload: Uint8Array, to = HOST_MAC, from = PEER_MAC): Uint8Array {
  const frame = new Uint8Array(Math.max(60, 14 + payload.length));
  frame.set(to);
  frame.set(from, 6);
  put16(frame, 12, type);
  frame.set(payload, 14);
  return frame;
}

export function arpRequest(target = HOST): Uint8Array {
  const packet = new Uint8Array(28);
  packet.set([0, 1, 8, 0, 6, 4, 0, 1]);
  packet.set(PEER_MAC, 8);
  put32(packet, 14, PEER);
  put32(packet, 24, target);
  return ethernet(0x0806, packet, new Uint8Array(6).fill(0xff));
}

export interface PacketChanges {
  source?: number;
  destination?: number;
  /** The word of flags and fragment offset. */
  fragment?: number;
}

export function ipv4(protocol: number, payload: Uint8Array, changes: PacketChanges = {}): Uint8Array {
  const packet = new Uint8Array(20 + payload.length);
  packet[0] = 0x45;
  put16(packet, 2, packet.length);
  put16(packet, 6, changes.fragment ?? 0x4000);
  packet[8] = 64;
  packet[9] = protocol;
  put32(packet, 12, changes.source ?? PEER);
  put32(packet, 16, changes.destination ?? HOST);
  put16(packet, 10, checksum(addWords(0, packet, 0, 20)));
  packet.set(payload, 20);
  return ethernet(0x0800, packet);
}

export function ping(data: Uint8Array, changes?: PacketChanges): Uint8Array {
  const message = new Uint8Array(8 + data.length);
  message[0] = 8;
  put32(message, 4, 0x1234_0001);
  message.set(data, 8);
  put16(message, 2, checksum(addWords(0, message, 0, message.length)));
  return ipv4(1, message, changes);
}

export function udp(from: number, to: number, data: Uint8Array, summed = true): Uint8Array {
  const datagram = new Uint8Array(8 + data.length);
  put16(datagram, 0, from);
  put16(datagram, 2, to);
  put16(datagram, 4, datagram.length);
  datagram.set(data, 8);
  const sum = checksum(addWords(pseudoHeaderSum(PEER, HOST, 17, datagram.length), datagram, 0, datagram.length));
  if (summed) put16(datagram, 6, sum === 0 ? 0xffff : sum);
  return ipv4(17, datagram);
}

export interface TcpFields {
  from?: number;
  to: number;
  flags: number;
  sequence: number;
  acknowledgement?: number;
  window?: number;
  options?: Uint8Array;
  data?: Uint8Array;
}

export function tcp(fields: TcpFields): Uint8Array {
  const { options = new Uint8Array(0), data = new Uint8Array(0) } = fields;
  const segment = new Uint8Array(20 + options.length + data.length);
  put16(segment, 0, fields.from ?? 40_000);
  put16(segment, 2, fields.to);
  put32(segment, 4, fields.sequence);
  put32(segment, 8, fields.acknowledgement ?? 0);
  segment[12] = (5 + options.length / 4) << 4;
  segment[13] = fields.flags;
  put16(segment, 14, fields.window ?? 65_535);
  segment.set(options, 20);
  segment.set(data, 20 + options.length);
  const sum = pseudoHeaderSum(PEER, HOST, 6, segment.length);
  put16(segment, 16, checksum(addWords(sum, segment, 0, segment.length)));
  return ipv4(6, segment);
}

/** A segment that the host sent, its headers and checksums checked. */
export interface SentSegment {
  readonly to: number;
  readonly from: number;
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly window: number;
  readonly data: Uint8Array;
}

/** The payload of an IPv4 packet that the host sent. @throws Error if a header field or a checksum is wrong */
export function payloadOf(frame: Uint8Array, protocol: number): Uint8Array {
  const packet = frame.subarray(14);
  const fine =
    frame.slice(0, 6).join() === PEER_MAC.join() &&
    frame.slice(6, 12).join() === HOST_MAC.join() &&
    get16(frame, 12) === 0x0800 &&
    packet[0] === 0x45 &&
    get16(packet, 2) === packet.length &&
    packet[9] === protocol &&
    get32(packet, 12) === HOST &&
    get32(packet, 16) === PEER &&
    checksum(addWords(0, packet, 0, 20)) === 0;
  if (!fine) throw new Error(`no sound packet: ${frame.join()}`);
  const payload = packet.subarray(20);
  if (protocol === 1) return payload;
  const sum = addWords(pseudoHeaderSum(HOST, PEER, protocol, payload.length), payload, 0, payload.length);
  if (checksum(sum) !== 0) throw new Error("the checksum is wrong");
  return payload;
}

export function segmentOf(frame: Uint8Array): SentSegment {
  const bytes = payloadOf(frame, 6);
  return {
    from: get16(bytes, 0),
    to: get16(bytes, 2),
    sequence: get32(bytes, 4),
    acknowledgement: get32(bytes, 8),
    flags: bytes[13],
    window: get16(bytes, 14),
    data: bytes.slice((bytes[12] >>> 4) * 4),
  };
}

/** The host at 10.0.2.2, what it sent, and its clock. */
export class HostRig {
  readonly clock = new Clock();
  readonly host: InternetHost;
  #sent: Uint8Array[] = [];

  constructor() {
    this.host = new InternetHost({
      ...interfaceAddress("10.0.2.2/24"),
      macAddress: HOST_MAC,
      clock: this.clock,
      random: seededRandom(1),
      send: (frame, length) => this.#sent.push(frame.slice(0, length)),
    });
  }

  /** Has frames arrive in a row. @returns what was sent since the last time */
  hear(...frames: Uint8Array[]): Uint8Array[] {
    for (const frame of frames) this.host.receive(frame, 0, frame.length);
    this.host.flush();
    return this.takeSent();
  }

  takeSent(): Uint8Array[] {
    const sent = this.#sent;
    this.#sent = [];
    return sent;
  }

  /** Lets time pass up to the next timer. @returns what was sent then */
  wait(): Uint8Array[] {
    this.clock.skipToNextTimer();
    this.clock.runDue();
    return this.takeSent();
  }
}
