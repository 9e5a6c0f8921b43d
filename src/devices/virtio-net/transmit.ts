import type { Timer } from "../../bus/clock.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";
import { DescriptorChain } from "../virtio/descriptor-chain.js";
import type { DeviceCore } from "../virtio/device-core.js";
import type { Virtqueue } from "../virtio/virtqueue.js";
import { ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES, type Wire } from "../wire.js";
import { NetFeature } from "./features.js";
import { Gso, PACKET_HEADER_BYTES, PacketFlag, PacketHeader } from "./packet-header.js";
import { completeChecksum, Segmenter } from "./segmentation.js";

/** A packet for segmentation: 64 KiB of IP, behind its link header. */
const LONGEST_PACKET = 0x1_0000 + 64;
const TCP_CHECKSUM = 16;
/**
 * Work done in one go, in frames and KiB: a driver that hands over more gets its thread back first, and the rest goes on
 * from the machine loop.
 */
const BURST = 4096;

export interface TransmitState {
  /** Nanoseconds until transmission goes on after a burst, or Infinity. */
  resume: number;
}

/** A transmit queue (VIRTIO 1.2, §5.1.6.2). */
export class Transmitter {
  readonly #core: DeviceCore;
  readonly #queue: Virtqueue;
  readonly #wire: Wire;
  readonly #sent: (bytes: Uint8Array, offset: number, length: number) => void;
  readonly #chain: DescriptorChain;
  readonly #packet = new Uint8Array(PACKET_HEADER_BYTES + LONGEST_PACKET);
  readonly #view = new DataView(this.#packet.buffer);
  readonly #segmenter = new Segmenter(this.#packet);
  readonly #resume: Timer;
  #running = false;
  #work = 0;

  /** @param sent hears of each packet before it is sent */
  constructor(
    core: DeviceCore,
    queue: Virtqueue,
    wire: Wire,
    sent: (bytes: Uint8Array, offset: number, length: number) => void,
  ) {
    this.#core = core;
    this.#queue = queue;
    this.#wire = wire;
    this.#sent = sent;
    this.#chain = new DescriptorChain(queue.largest);
    this.#resume = core.host.clock.timer(() => this.run());
  }

  /** Sends what the driver has made available, at most a burst of it now. */
  run(): void {
    if (this.#running) return;
    const queue = this.#queue;
    const chain = this.#chain;
    this.#running = true;
    this.#work = 0;
    while (this.#work < BURST && queue.take(chain)) {
      this.#work += 1 + (chain.readableBytes >>> 10);
      if (!this.#transmit()) break;
      queue.use(chain, 0);
    }
    queue.publish();
    this.#running = false;
    if (this.#work >= BURST) this.#resume.arm(0);
    else queue.wantNotification(true);
  }

  reset(): void {
    this.#resume.cancel();
  }

  snapshot(): TransmitState {
    return { resume: remaining(this.#resume, this.#core.host.clock) };
  }

  restore(state: StateReader): void {
    rearm(this.#resume, state.delay("resume"));
  }

  /** @returns false if the device needs a reset */
  #transmit(): boolean {
    const bytes = this.#chain.readableBytes;
    if (bytes < PACKET_HEADER_BYTES) {
      this.#core.broken("virtio-net-header", `a buffer to transmit has ${bytes} bytes: the packet's header takes 12`);
      return false;
    }
    if (bytes > this.#packet.length) {
      this.#dropped("virtio-net-packet-length", `a packet of ${bytes} bytes is longer than any that is sent`);
      return true;
    }
    if (!this.#chain.read(this.#core.dma, 0, this.#packet, 0, bytes)) {
      this.#core.refused();
      return false;
    }
    this.#process(bytes - PACKET_HEADER_BYTES);
    return true;
  }

  #process(length: number): void {
    const view = this.#view;
    const flags = view.getUint8(PacketHeader.flags);
    const gsoType = view.getUint8(PacketHeader.gsoType);
    const start = view.getUint16(PacketHeader.checksumStart, true);
    const offset = view.getUint16(PacketHeader.checksumOffset, true);
    const needsChecksum = (flags & PacketFlag.NEEDS_CSUM) !== 0;
    if (needsChecksum && !this.#core.features.has(NetFeature.CSUM)) {
      this.#dropped("virtio-net-checksum", "a packet needs a checksum, but VIRTIO_NET_F_CSUM was not accepted");
    } else if (gsoType !== Gso.NONE) {
      this.#segment(length, gsoType, needsChecksum ? start : -1, offset);
    } else if (length < ETHERNET_HEADER_BYTES) {
      this.#dropped("virtio-net-runt", `a packet of ${length} bytes is no Ethernet frame`);
    } else if (length > LONGEST_FRAME_BYTES) {
      this.#dropped("virtio-net-packet-length", `a frame of ${length} bytes is longer than ${LONGEST_FRAME_BYTES}`);
    } else if (needsChecksum && !completeChecksum(view, PACKET_HEADER_BYTES, length, start, offset)) {
      this.#dropped("virtio-net-checksum", "the checksum that a packet needs lies outside of it (§5.1.6.2)");
    } else {
      this.#send(PACKET_HEADER_BYTES, length);
    }
  }

  /** @param start of what the checksum covers: the TCP header; −1 if none is needed */
  #segment(length: number, gsoType: number, start: number, offset: number): void {
    const kind = gsoType & ~Gso.ECN;
    const isIpv4 = kind === Gso.TCPV4;
    const { features } = this.#core;
    const accepted = isIpv4 ? features.has(NetFeature.HOST_TSO4) : features.has(NetFeature.HOST_TSO6);
    const ecn = gsoType === kind || features.has(NetFeature.HOST_ECN);
    if ((!isIpv4 && kind !== Gso.TCPV6) || !accepted || !ecn) {
      this.#dropped("virtio-net-gso", `a packet asks for segmentation of type ${gsoType}, which was not accepted`);
      return;
    }
    if (start < 0 || offset !== TCP_CHECKSUM) {
      this.#dropped("virtio-net-gso", "a packet for segmentation does not ask for TCP's checksum (§5.1.6.2.1)");
      return;
    }
    const segmenter = this.#segmenter;
    const segmentSize = this.#view.getUint16(PacketHeader.gsoSize, true);
    const fault = segmenter.begin(PACKET_HEADER_BYTES, length, isIpv4, segmentSize, start);
    if (fault !== null) {
      this.#dropped("virtio-net-gso", `a packet cannot be segmented: ${fault}`);
      return;
    }
    while (segmenter.next()) {
      this.#work++;
      this.#send(segmenter.start, segmenter.length);
    }
  }

  #send(offset: number, length: number): void {
    this.#sent(this.#packet, offset, length);
    this.#wire.send(this.#packet, offset, length);
  }

  #dropped(rule: string, message: string): void {
    this.#core.violation(rule, `${message}: it is dropped`);
  }
}
