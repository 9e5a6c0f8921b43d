import type { Clock } from "../../bus/clock.js";
import type { Random } from "../../util/random.js";
import { addWords, checksum } from "./checksum.js";
import {
  get16,
  get32,
  PAYLOAD_AT,
  type PacketBuilder,
  Protocol,
  pseudoHeaderSum,
  put16,
  put32,
  type Remote,
} from "./packet.js";
import { type Segment, TcpConnection, TcpFlag } from "./tcp-connection.js";
import type { Transfer } from "./transfer.js";

const HEADER_BYTES = 20;
const OPTION_BYTES = 4;
/**
 * Adapters pad frames below 60 bytes, and some peers (passt of 2023) take the padding for data and drop the segment:
 * where there is little payload, options that mean nothing keep the frame above.
 */
const FILLED_OPTION_BYTES = 8;
const MOST_CONNECTIONS = 256;
/** A connection that was silent for so long makes room for another one. */
const IDLE_NANOSECONDS = 60e9;
const Option = { end: 0, nothing: 1, maximumSegment: 2 } as const;

export interface TcpServerOptions {
  readonly builder: PacketBuilder;
  readonly clock: Clock;
  readonly random: Random;
  /** Gets a frame that stands in the builder, of this length. */
  readonly send: (length: number) => void;
  readonly onTransfer: (transfer: Transfer) => void;
  /** Ports that answer, and whether they echo. */
  readonly services: ReadonlyMap<number, { readonly echoes: boolean }>;
}

/** The connections of one host, all of them opened by others. */
export class TcpServer {
  readonly counters = { accepted: 0, refused: 0, crowdedOut: 0, malformed: 0, outOfOrder: 0, retransmissions: 0 };
  readonly #options: TcpServerOptions;
  /** By our port, then by the remote address and port. */
  readonly #connections = new Map<number, Map<number, TcpConnection>>();
  #open = 0;

  constructor(options: TcpServerOptions) {
    this.#options = options;
    for (const port of options.services.keys()) this.#connections.set(port, new Map());
  }

  /** @param bytes the payload of an IPv4 packet for us, its checksum found right */
  receive(remote: Remote, bytes: Uint8Array): void {
    const headerLength = bytes.length < HEADER_BYTES ? 0 : (bytes[12] >>> 4) * 4;
    if (headerLength < HEADER_BYTES || headerLength > bytes.length) {
      this.counters.malformed++;
      return;
    }
    const remotePort = get16(bytes, 0);
    const localPort = get16(bytes, 2);
    const segment: Segment = {
      flags: bytes[13],
      sequence: get32(bytes, 4),
      acknowledgement: get32(bytes, 8),
      window: get16(bytes, 14),
      maximumSegment: maximumSegmentOption(bytes, headerLength),
      payload: bytes.subarray(headerLength),
    };
    const connection = this.#connections.get(localPort)?.get(keyOf(remote, remotePort));
    if (connection !== undefined) connection.receive(segment);
    else this.#unknown(remote, remotePort, localPort, segment);
  }

  /** Sends what acknowledgements are due. */
  flush(): void {
    for (const connections of this.#connections.values()) {
      for (const connection of connections.values()) connection.flush();
    }
  }

  /** Breaks off all connections. */
  close(): void {
    for (const connections of this.#connections.values()) {
      for (const connection of [...connections.values()]) connection.abort("open");
    }
  }

  #unknown(remote: Remote, remotePort: number, localPort: number, segment: Segment): void {
    const { flags } = segment;
    if ((flags & TcpFlag.rst) !== 0) return;
    const service = this.#options.services.get(localPort);
    const connections = this.#connections.get(localPort);
    const opens = (flags & (TcpFlag.syn | TcpFlag.ack | TcpFlag.fin)) === TcpFlag.syn;
    if (service === undefined || connections === undefined || !opens || remotePort === 0) {
      this.#refuse(remote, remotePort, localPort, segment);
      return;
    }
    if (this.#open === MOST_CONNECTIONS && !this.#makeRoom()) {
      this.counters.crowdedOut++;
      return;
    }
    const { clock, random, onTransfer } = this.#options;
    const kept = { address: remote.address, macAddress: remote.macAddress.slice() };
    const key = keyOf(remote, remotePort);
    const connection = new TcpConnection(kept, remotePort, localPort, segment, {
      echoes: service.echoes,
      ourStart: random(),
      clock,
      send: (...all) => this.#send(...all),
      onEnd: (end) => {
        connections.delete(key);
        this.#open--;
        this.counters.outOfOrder += connection.outOfOrder;
        this.counters.retransmissions += connection.retransmissions;
        if (connection.established) onTransfer(connection.log.finish(end));
      },
    });
    this.counters.accepted++;
    connections.set(key, connection);
    this.#open++;
  }

  /** Nobody is there: RFC 9293 §3.10.7.1. */
  #refuse(remote: Remote, remotePort: number, localPort: number, segment: Segment): void {
    this.counters.refused++;
    const { flags, sequence, acknowledgement, payload } = segment;
    const answersAck = (flags & TcpFlag.ack) !== 0;
    const taken = payload.length + (flags & TcpFlag.syn ? 1 : 0) + (flags & TcpFlag.fin ? 1 : 0);
    this.#write({
      remote,
      remotePort,
      localPort,
      flags: answersAck ? TcpFlag.rst : TcpFlag.rst | TcpFlag.ack,
      sequence: answersAck ? acknowledgement : 0,
      acknowledgement: answersAck ? 0 : (sequence + taken) >>> 0,
      window: 0,
      payload: new Uint8Array(0),
      maximumSegment: 0,
    });
  }

  #makeRoom(): boolean {
    const silentSince = this.#options.clock.now() - IDLE_NANOSECONDS;
    for (const connections of this.#connections.values()) {
      for (const connection of connections.values()) {
        if (connection.lastHeard > silentSince) continue;
        connection.abort("timed-out");
        return true;
      }
    }
    return false;
  }

  #send(
    connection: TcpConnection,
    flags: number,
    sequence: number,
    window: number,
    payload: Uint8Array,
    maximumSegment: number,
  ): void {
    const { remote, remotePort, localPort, acknowledgement } = connection;
    this.#write({ remote, remotePort, localPort, flags, sequence, acknowledgement, window, payload, maximumSegment });
  }

  #write(segment: Segment & { remote: Remote; remotePort: number; localPort: number }): void {
    const { builder, send } = this.#options;
    const { frame } = builder;
    const isShort = segment.payload.length < FILLED_OPTION_BYTES;
    const headerLength = HEADER_BYTES + (isShort ? FILLED_OPTION_BYTES : 0);
    const length = headerLength + segment.payload.length;
    const frameLength = builder.ipv4(segment.remote, Protocol.tcp, length);
    const at = PAYLOAD_AT;
    put16(frame, at, segment.localPort);
    put16(frame, at + 2, segment.remotePort);
    put32(frame, at + 4, segment.sequence);
    put32(frame, at + 8, segment.acknowledgement);
    frame[at + 12] = (headerLength / 4) << 4;
    frame[at + 13] = segment.flags;
    put16(frame, at + 14, segment.window);
    put16(frame, at + 16, 0);
    put16(frame, at + 18, 0);
    frame.fill(Option.nothing, at + HEADER_BYTES, at + headerLength);
    if (segment.maximumSegment !== 0) {
      frame[at + 20] = Option.maximumSegment;
      frame[at + 21] = OPTION_BYTES;
      put16(frame, at + 22, segment.maximumSegment);
    }
    frame.set(segment.payload, at + headerLength);
    put16(frame, at + 16, builder.transportChecksum(segment.remote, Protocol.tcp, length));
    send(frameLength);
  }
}

function keyOf(remote: Remote, port: number): number {
  return remote.address * 0x1_0000 + port;
}

/** Whether the checksum of a UDP or TCP payload is right. */
export function isTransportSound(source: number, destination: number, protocol: number, bytes: Uint8Array): boolean {
  const sum = pseudoHeaderSum(source, destination, protocol, bytes.length);
  return checksum(addWords(sum, bytes, 0, bytes.length)) === 0;
}

/** The option of RFC 9293 §3.2, or 0. Options that make no sense end the list. */
function maximumSegmentOption(bytes: Uint8Array, headerLength: number): number {
  for (let at = HEADER_BYTES; at < headerLength; ) {
    const kind = bytes[at];
    if (kind === Option.end) return 0;
    if (kind === Option.nothing) {
      at++;
      continue;
    }
    const length = at + 1 < headerLength ? bytes[at + 1] : 0;
    if (length < 2 || at + length > headerLength) return 0;
    if (kind === Option.maximumSegment && length === OPTION_BYTES) return get16(bytes, at + 2);
    at += length;
  }
  return 0;
}
