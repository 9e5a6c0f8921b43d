import type { Clock } from "../../bus/clock.js";
import type { Random } from "../../util/random.js";
import { broadcastOf, type InterfaceAddress, isHostAddress } from "./address.js";
import { addWords, checksum } from "./checksum.js";
import {
  ETHERNET_BYTES,
  EtherType,
  get16,
  get32,
  IPV4_BYTES,
  PAYLOAD_AT,
  PacketBuilder,
  Protocol,
  put16,
  put32,
  type Remote,
} from "./packet.js";
import { isTransportSound, TcpServer } from "./tcp-server.js";
import { type Transfer, TransferLog } from "./transfer.js";

/** RFC 862 and RFC 863. */
export const Service = { echo: 7, discard: 9 } as const;

export interface InternetHostOptions extends InterfaceAddress {
  readonly macAddress: Uint8Array;
  readonly clock: Clock;
  /** For initial sequence numbers. */
  readonly random: Random;
  /** Sends `frame[0, length)`, which is lent for the length of the call. */
  readonly send: (frame: Uint8Array, length: number) => void;
}

/** What became of the frames that came; each counts once. */
export interface HostCounters {
  /** ARP requests that were answered. */
  arp: number;
  /** Echo requests that were answered. */
  pings: number;
  udpEchoed: number;
  udpDiscarded: number;
  tcp: number;
  /** For somebody else, or of a kind that this host does not speak. */
  ignored: number;
  /** Dropped: parts of packets. */
  fragments: number;
  /** Dropped: lengths or addresses that cannot be. */
  malformed: number;
  badChecksum: number;
}

const ARP_BYTES = 28;
const ARP_ETHERNET_IPV4 = [0, 1, 8, 0, 6, 4];
const ArpOperation = { request: 1, reply: 2 } as const;
const IcmpType = { echoReply: 0, echoRequest: 8 } as const;
const ICMP_BYTES = 8;
const UDP_BYTES = 8;
/** More fragments, and the fragment's offset. */
const FRAGMENT_MASK = 0x3fff;
const MOST_UDP_PEERS = 64;
const MOST_TRANSFERS = 1000;

/**
 * The smallest useful host of an IPv4 network: answers ARP and ping, echoes on UDP and TCP port 7, and takes in what
 * comes to port 9, with its length and SHA-256 to show for it. Frames in, frames out; it answers whoever asks at the
 * address that the question came from, so it needs no routes, and it never speaks first.
 */
export class InternetHost {
  readonly counters: HostCounters = {
    arp: 0,
    pings: 0,
    udpEchoed: 0,
    udpDiscarded: 0,
    tcp: 0,
    ignored: 0,
    fragments: 0,
    malformed: 0,
    badChecksum: 0,
  };
  readonly tcp: TcpServer;
  /** Beyond those that are kept. */
  forgotten = 0;
  readonly #options: InternetHostOptions;
  readonly #builder: PacketBuilder;
  readonly #broadcast: number;
  readonly #udp = new Map<number, TransferLog>();
  readonly #transfers: Transfer[] = [];

  constructor(options: InternetHostOptions) {
    const { clock, random } = options;
    this.#options = options;
    this.#broadcast = broadcastOf(options);
    this.#builder = new PacketBuilder(options.macAddress.slice(), options.address);
    this.tcp = new TcpServer({
      builder: this.#builder,
      clock,
      random,
      send: (length) => this.#send(length),
      onTransfer: (transfer) => this.#keep(transfer),
      services: new Map([
        [Service.echo, { echoes: true }],
        [Service.discard, { echoes: false }],
      ]),
    });
  }

  /** Transfers that have ended, in that order; those of UDP end with the host. */
  get transfers(): readonly Transfer[] {
    return this.#transfers;
  }

  /** A frame from the wire, lent for the length of the call. */
  receive(bytes: Uint8Array, offset: number, length: number): void {
    const frame = bytes.subarray(offset, offset + length);
    if (frame.length < ETHERNET_BYTES) this.counters.malformed++;
    else if (!this.#isOurs(frame)) this.counters.ignored++;
    else if (get16(frame, 12) === EtherType.arp) this.#arp(frame.subarray(ETHERNET_BYTES));
    else if (get16(frame, 12) === EtherType.ipv4) this.#ipv4(frame);
    else this.counters.ignored++;
  }

  /** To be called when several frames were received in a row: sends the acknowledgements that were put off. */
  flush(): void {
    this.tcp.flush();
  }

  /** Breaks off what goes on; {@link transfers} is complete then. */
  close(): void {
    this.tcp.close();
    for (const log of this.#udp.values()) this.#keep(log.finish("open"));
    this.#udp.clear();
  }

  /** Broadcasts and our own address; a sender with a group address is nobody that could be answered. */
  #isOurs(frame: Uint8Array): boolean {
    if ((frame[6] & 1) !== 0) return false;
    const { macAddress } = this.#builder;
    let broadcast = true;
    let unicast = true;
    for (let i = 0; i < 6; i++) {
      if (frame[i] !== 0xff) broadcast = false;
      if (frame[i] !== macAddress[i]) unicast = false;
    }
    return broadcast || unicast;
  }

  #arp(packet: Uint8Array): void {
    const known = packet.length >= ARP_BYTES && ARP_ETHERNET_IPV4.every((byte, i) => packet[i] === byte);
    if (!known) {
      this.counters.malformed++;
      return;
    }
    if (get16(packet, 6) !== ArpOperation.request || get32(packet, 24) !== this.#options.address) {
      this.counters.ignored++;
      return;
    }
    const sender = packet.slice(8, 14);
    if ((sender[0] & 1) !== 0) {
      this.counters.malformed++;
      return;
    }
    this.counters.arp++;
    const { frame, macAddress } = this.#builder;
    this.#builder.ethernet(sender, EtherType.arp);
    const at = ETHERNET_BYTES;
    frame.set(ARP_ETHERNET_IPV4, at);
    put16(frame, at + 6, ArpOperation.reply);
    frame.set(macAddress, at + 8);
    put32(frame, at + 14, this.#options.address);
    frame.set(sender, at + 18);
    frame.set(packet.subarray(14, 18), at + 24);
    this.#send(at + ARP_BYTES);
  }

  #ipv4(frame: Uint8Array): void {
    const { counters } = this;
    const at = ETHERNET_BYTES;
    const headerLength = frame.length < at + IPV4_BYTES ? 0 : (frame[at] & 15) * 4;
    const totalLength = headerLength === 0 ? 0 : get16(frame, at + 2);
    if (
      headerLength < IPV4_BYTES ||
      frame[at] >>> 4 !== 4 ||
      totalLength < headerLength ||
      totalLength > frame.length - at
    ) {
      counters.malformed++;
      return;
    }
    if (checksum(addWords(0, frame, at, headerLength)) !== 0) {
      counters.badChecksum++;
      return;
    }
    const source = get32(frame, at + 12);
    const destination = get32(frame, at + 16);
    if (destination !== this.#options.address) {
      counters.ignored++;
      return;
    }
    if (!isHostAddress(source) || source === destination || source === this.#broadcast) {
      counters.malformed++;
      return;
    }
    if ((get16(frame, at + 6) & FRAGMENT_MASK) !== 0) {
      counters.fragments++;
      return;
    }
    const remote: Remote = { macAddress: frame.subarray(6, 12), address: source };
    const payload = frame.subarray(at + headerLength, at + totalLength);
    const protocol = frame[at + 9];
    if (protocol === Protocol.icmp) this.#icmp(remote, payload);
    else if (protocol === Protocol.udp) this.#udpDatagram(remote, payload);
    else if (protocol === Protocol.tcp) this.#segment(remote, payload);
    else counters.ignored++;
  }

  #icmp(remote: Remote, payload: Uint8Array): void {
    if (payload.length < ICMP_BYTES) {
      this.counters.malformed++;
    } else if (checksum(addWords(0, payload, 0, payload.length)) !== 0) {
      this.counters.badChecksum++;
    } else if (payload[0] !== IcmpType.echoRequest || payload[1] !== 0) {
      this.counters.ignored++;
    } else {
      this.counters.pings++;
      const { frame } = this.#builder;
      const length = this.#builder.ipv4(remote, Protocol.icmp, payload.length);
      frame.set(payload, PAYLOAD_AT);
      frame[PAYLOAD_AT] = IcmpType.echoReply;
      put16(frame, PAYLOAD_AT + 2, 0);
      put16(frame, PAYLOAD_AT + 2, checksum(addWords(0, frame, PAYLOAD_AT, payload.length)));
      this.#send(length);
    }
  }

  #udpDatagram(remote: Remote, packet: Uint8Array): void {
    const length = packet.length < UDP_BYTES ? 0 : get16(packet, 4);
    if (length < UDP_BYTES || length > packet.length) {
      this.counters.malformed++;
      return;
    }
    const datagram = packet.subarray(0, length);
    const summed = get16(datagram, 6) !== 0;
    if (summed && !isTransportSound(remote.address, this.#options.address, Protocol.udp, datagram)) {
      this.counters.badChecksum++;
      return;
    }
    const remotePort = get16(datagram, 0);
    const port = get16(datagram, 2);
    // Two echo services would keep each other busy for ever.
    if (port === Service.echo && remotePort !== Service.echo && remotePort !== 0) this.#echoDatagram(remote, datagram);
    else if (port === Service.discard) this.#discardDatagram(remote, remotePort, datagram);
    else this.counters.ignored++;
  }

  #echoDatagram(remote: Remote, datagram: Uint8Array): void {
    this.counters.udpEchoed++;
    const { frame } = this.#builder;
    const length = this.#builder.ipv4(remote, Protocol.udp, datagram.length);
    frame.set(datagram, PAYLOAD_AT);
    put16(frame, PAYLOAD_AT, Service.echo);
    put16(frame, PAYLOAD_AT + 2, get16(datagram, 0));
    put16(frame, PAYLOAD_AT + 6, 0);
    // RFC 768: a sum of zero means that there is none.
    const sum = this.#builder.transportChecksum(remote, Protocol.udp, datagram.length);
    put16(frame, PAYLOAD_AT + 6, sum === 0 ? 0xffff : sum);
    this.#send(length);
  }

  #discardDatagram(remote: Remote, remotePort: number, datagram: Uint8Array): void {
    this.counters.udpDiscarded++;
    const key = remote.address * 0x1_0000 + remotePort;
    let log = this.#udp.get(key);
    if (log === undefined) {
      if (this.#udp.size === MOST_UDP_PEERS) {
        this.forgotten++;
        return;
      }
      log = new TransferLog("udp", Service.discard, remote.address, remotePort);
      this.#udp.set(key, log);
    }
    log.add(datagram.subarray(UDP_BYTES));
  }

  #segment(remote: Remote, payload: Uint8Array): void {
    if (!isTransportSound(remote.address, this.#options.address, Protocol.tcp, payload)) {
      this.counters.badChecksum++;
      return;
    }
    this.counters.tcp++;
    this.tcp.receive(remote, payload);
  }

  #keep(transfer: Transfer): void {
    if (this.#transfers.length < MOST_TRANSFERS) this.#transfers.push(transfer);
    else this.forgotten++;
  }

  #send(length: number): void {
    this.#options.send(this.#builder.frame, length);
  }
}
