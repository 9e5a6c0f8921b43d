import { LONGEST_FRAME_BYTES } from "../../devices/wire.js";
import { addWords, checksum } from "./checksum.js";

export const EtherType = { ipv4: 0x0800, arp: 0x0806 } as const;
export const Protocol = { icmp: 1, tcp: 6, udp: 17 } as const;

export const ETHERNET_BYTES = 14;
export const IPV4_BYTES = 20;
/** Where the payload of an IPv4 packet that we send begins in its frame. */
export const PAYLOAD_AT = ETHERNET_BYTES + IPV4_BYTES;
const TIME_TO_LIVE = 64;
const DO_NOT_FRAGMENT = 0x4000;

export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function get32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function put16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function put32(bytes: Uint8Array, at: number, value: number): void {
  put16(bytes, at, value >>> 16);
  put16(bytes, at + 2, value & 0xffff);
}

/** Who is at the other end: the address on the wire, and that in the network. */
export interface Remote {
  readonly macAddress: Uint8Array;
  readonly address: number;
}

/** The part of the sum over the pseudo-header of UDP and TCP. */
export function pseudoHeaderSum(source: number, destination: number, protocol: number, length: number): number {
  return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length;
}

/** Builds the frames of one host, one at a time in the same buffer. */
export class PacketBuilder {
  readonly frame = new Uint8Array(LONGEST_FRAME_BYTES);
  #identification = 0;

  constructor(
    readonly macAddress: Uint8Array,
    readonly address: number,
  ) {}

  ethernet(to: Uint8Array, type: number): void {
    this.frame.set(to, 0);
    this.frame.set(this.macAddress, 6);
    put16(this.frame, 12, type);
  }

  /** Writes the headers around a payload of so many bytes. @returns the frame's length */
  ipv4(to: Remote, protocol: number, payloadLength: number): number {
    const { frame } = this;
    this.ethernet(to.macAddress, EtherType.ipv4);
    const at = ETHERNET_BYTES;
    frame[at] = 0x45;
    frame[at + 1] = 0;
    put16(frame, at + 2, IPV4_BYTES + payloadLength);
    put16(frame, at + 4, this.#identification++ & 0xffff);
    put16(frame, at + 6, DO_NOT_FRAGMENT);
    frame[at + 8] = TIME_TO_LIVE;
    frame[at + 9] = protocol;
    put16(frame, at + 10, 0);
    put32(frame, at + 12, this.address);
    put32(frame, at + 16, to.address);
    put16(frame, at + 10, checksum(addWords(0, frame, at, IPV4_BYTES)));
    return PAYLOAD_AT + payloadLength;
  }

  /** The checksum of a UDP or TCP payload that stands in the frame with its checksum field zero. */
  transportChecksum(to: Remote, protocol: number, payloadLength: number): number {
    const sum = pseudoHeaderSum(this.address, to.address, protocol, payloadLength);
    return checksum(addWords(sum, this.frame, PAYLOAD_AT, payloadLength));
  }
}
