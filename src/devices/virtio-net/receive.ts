import type { StateReader } from "../../util/state-reader.js";
import { DescriptorChain } from "../virtio/descriptor-chain.js";
import type { DeviceCore } from "../virtio/device-core.js";
import type { Virtqueue } from "../virtio/virtqueue.js";
import { ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES } from "../wire.js";
import { Backlog, type BacklogState } from "./backlog.js";
import { NetFeature } from "./features.js";
import { PACKET_HEADER_BYTES, PacketFlag, PacketHeader } from "./packet-header.js";
import { isChecksumValid } from "./receive-checksum.js";

/** What became of a frame. */
const Outcome = { stored: 0, waits: 1, dropped: 2 } as const;

export interface ReceiveState {
  dropped: number;
  backlog: BacklogState;
}

/** A receive queue (VIRTIO 1.2, §5.1.6.3 and §5.1.6.4). Frames for which no buffer is there wait in a backlog of 64 KiB. */
export class Receiver {
  /** Frames that were wanted, but for which there was no room. */
  dropped = 0;
  /** Whether received checksums are looked at: GUEST_CSUM, unless the driver turned it off. */
  checksums = false;
  readonly #core: DeviceCore;
  readonly #queue: Virtqueue;
  readonly #first: DescriptorChain;
  readonly #next: DescriptorChain;
  readonly #backlog = new Backlog();
  readonly #header = new Uint8Array(PACKET_HEADER_BYTES);
  readonly #headerView = new DataView(this.#header.buffer);

  constructor(core: DeviceCore, queue: Virtqueue) {
    this.#core = core;
    this.#queue = queue;
    this.#first = new DescriptorChain(queue.largest);
    this.#next = new DescriptorChain(queue.largest);
  }

  /** The driver is there: only when frames wait it has to say that there are new buffers. */
  started(): void {
    this.#queue.wantNotification(false);
  }

  /** A frame for this queue: `bytes[offset, offset + length)`, which is `view` from `at` on. */
  frame(bytes: Uint8Array, offset: number, length: number, view: DataView, at: number): void {
    if (this.#backlog.empty) {
      const outcome = this.#store(bytes, offset, length, view, at);
      if (outcome === Outcome.dropped) this.dropped++;
      if (outcome !== Outcome.waits) return;
    }
    if (!this.#queue.live || !this.#backlog.push(bytes, offset, length)) this.dropped++;
    this.#queue.wantNotification(true);
  }

  /** The driver has made buffers available. */
  run(): void {
    const backlog = this.#backlog;
    while (!backlog.empty) {
      const { start, length } = backlog;
      const outcome = this.#store(backlog.bytes, start, length, backlog.view, start);
      if (outcome === Outcome.waits) break;
      if (outcome === Outcome.dropped) this.dropped++;
      backlog.shift();
    }
    this.#queue.wantNotification(!backlog.empty);
  }

  reset(): void {
    this.checksums = false;
    this.#backlog.clear();
  }

  snapshot(): ReceiveState {
    return { dropped: this.dropped, backlog: this.#backlog.snapshot() };
  }

  restore(state: StateReader): void {
    this.dropped = state.integer("dropped", 0, Number.MAX_SAFE_INTEGER);
    this.#backlog.restore(state.child("backlog"), ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES);
  }

  #store(bytes: Uint8Array, offset: number, length: number, view: DataView, at: number): number {
    const queue = this.#queue;
    const first = this.#first;
    queue.mark();
    if (!queue.take(first)) return this.#lacking();
    const room = first.writableBytes;
    if (room < PACKET_HEADER_BYTES) {
      this.#core.broken(
        "virtio-net-receive-buffer",
        `a receive buffer has room for ${room} bytes: not even the header`,
      );
      return Outcome.dropped;
    }
    const merging = this.#core.features.has(NetFeature.MRG_RXBUF);
    const total = PACKET_HEADER_BYTES + length;
    if (total > room && !merging) {
      queue.rewind();
      return Outcome.dropped;
    }
    const { dma } = this.#core;
    let done = Math.min(length, room - PACKET_HEADER_BYTES);
    if (!first.write(dma, PACKET_HEADER_BYTES, bytes, offset, done)) return this.#refused();
    queue.use(first, PACKET_HEADER_BYTES + done);
    let buffers = 1;
    for (; done < length; buffers++) {
      const next = this.#next;
      if (!queue.take(next)) {
        const outcome = this.#lacking();
        queue.rewind();
        // More than the whole queue can hold will never fit.
        return outcome === Outcome.waits && buffers >= queue.size ? Outcome.dropped : outcome;
      }
      const piece = Math.min(length - done, next.writableBytes);
      if (piece === 0) {
        this.#core.broken("virtio-net-receive-buffer", "a receive buffer has no room at all");
        return Outcome.dropped;
      }
      if (!next.write(dma, 0, bytes, offset + done, piece)) return this.#refused();
      queue.use(next, piece);
      done += piece;
    }
    const header = this.#headerView;
    header.setUint8(
      PacketHeader.flags,
      this.checksums && isChecksumValid(view, at, length) ? PacketFlag.DATA_VALID : 0,
    );
    header.setUint16(PacketHeader.buffers, buffers, true);
    if (!first.write(dma, 0, this.#header, 0, PACKET_HEADER_BYTES)) return this.#refused();
    queue.publish();
    return Outcome.stored;
  }

  /** There is no buffer: the frame waits, unless nothing can ever come. */
  #lacking(): number {
    return this.#queue.live ? Outcome.waits : Outcome.dropped;
  }

  #refused(): number {
    this.#core.refused();
    return Outcome.dropped;
  }
}
