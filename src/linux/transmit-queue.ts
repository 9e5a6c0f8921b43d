import type { GuestAddress } from "../util/guest-address.js";
import type { Field, Guest } from "./guest.js";
import type { Services } from "./services.js";

/** Frames that are handed over in one call. */
const BATCH = 64;
/** Buffers that are under way at most. */
const MOST_BUFFERS = 512;
/** Room for a frame of the usual MTU with a tag; longer ones get buffers of their own. */
export const QUEUED_FRAME_BYTES = 1600;
/** Shorter frames are padded by drivers, which they may only do to buffers of their own. */
export const SHORTEST_QUEUED = 60;
const ETHERNET_HEADER_BYTES = 14;
const GFP_ATOMIC = 0x820;
const SOFTIRQ_DISABLED = 0x200;
/** `netdev_queue.state`: stopped by the driver or the stack, or frozen. */
const QUEUE_CLOSED = 7;
const SHARING_FLAG = "IFF_TX_SKB_SHARING";
/** What of `struct skb_shared_info` a driver may have changed: flags, fragments, segmentation. */
const SHARED_BYTES = 8;

interface Buffer {
  readonly skb: GuestAddress;
  readonly data: GuestAddress;
  readonly shared: GuestAddress;
  /** The buffer as it was made, to be made so again. */
  readonly fresh: Uint8Array;
}

/**
 * Frames on their way to a driver, as the kernel's own queueing hands them over: linked, and many in one call. Buffers are
 * kept and sent again, as a packet generator does it; drivers say whether they allow for that.
 */
export class TransmitQueue {
  sent = 0;
  sentBytes = 0;
  /** Of those that wait, oldest first. */
  readonly #batch: Buffer[] = [];
  #batchBytes: number[] = [];
  readonly #buffers: Buffer[] = [];
  #next = 0;
  readonly #guest: Guest;
  readonly #transmit: GuestAddress;
  readonly #queue: GuestAddress;
  readonly #state: Field;
  readonly #lockOwner: Field;
  readonly #answer: GuestAddress;
  readonly #skb: {
    readonly bytes: number;
    readonly next: Field;
    readonly len: Field;
    readonly tail: Field;
    readonly head: Field;
    readonly end: Field;
    readonly data: Field;
    readonly users: Field;
    readonly macHeader: Field;
    readonly networkHeader: Field;
    readonly protocol: Field;
  };

  constructor(
    private readonly services: Services,
    /** Its `struct net_device`. */
    private readonly device: GuestAddress,
  ) {
    const { guest } = services;
    this.#guest = guest;
    this.#transmit = guest.symbol("dev_hard_start_xmit");
    this.#queue = guest.field("net_device._tx").pointer(device);
    this.#state = guest.field("netdev_queue.state");
    this.#lockOwner = guest.field("netdev_queue.xmit_lock_owner");
    this.#answer = services.heap.allocate(4);
    this.#skb = {
      bytes: guest.sizeOf("sk_buff"),
      next: guest.field("sk_buff.next"),
      len: guest.field("sk_buff.len"),
      tail: guest.field("sk_buff.tail"),
      head: guest.field("sk_buff.head"),
      end: guest.field("sk_buff.end"),
      data: guest.field("sk_buff.data"),
      users: guest.field("sk_buff.users.refs.counter"),
      macHeader: guest.field("sk_buff.mac_header"),
      networkHeader: guest.field("sk_buff.network_header"),
      protocol: guest.field("sk_buff.protocol"),
    };
  }

  /** Whether a device's driver takes buffers that somebody else holds on to. */
  static isPossible(guest: Guest, device: GuestAddress): boolean {
    const { types } = guest.image;
    const flag = types.enumerators("netdev_priv_flags").find(({ name }) => name === SHARING_FLAG);
    const at = (device + types.field("net_device.priv_flags").bitOffset / 8) as GuestAddress;
    return flag !== undefined && (guest.read(at, 4) & Number(flag.value)) !== 0;
  }

  /** Frames that the driver has not taken yet. */
  get waiting(): number {
    return this.#batch.length;
  }

  /** @returns false if no buffer is free: the frame has to be offered again */
  put(bytes: Uint8Array, offset: number, length: number): boolean {
    if (this.#batch.length >= BATCH && !this.flush()) return false;
    const buffer = this.#take();
    if (buffer === null) return false;
    const guest = this.#guest;
    const { skb, data } = buffer;
    const { len, tail, users, protocol } = this.#skb;
    guest.setBytes(skb, buffer.fresh);
    guest.fill(buffer.shared, SHARED_BYTES, 0);
    guest.setBytes(data, bytes.subarray(offset, offset + length));
    len.set(skb, length);
    tail.set(skb, tail.get(skb) + length);
    protocol.set(skb, bytes[offset + 12] | (bytes[offset + 13] << 8));
    // One reference is the driver's, the other keeps the buffer.
    users.set(skb, 2);
    this.#batch.push(buffer);
    this.#batchBytes.push(length);
    return true;
  }

  /** Hands over what waits. @returns whether the driver took all of it */
  flush(): boolean {
    const batch = this.#batch;
    if (batch.length === 0) return true;
    const guest = this.#guest;
    const { services } = this;
    if ((guest.read((this.#queue + this.#state.offset) as GuestAddress, 4) & QUEUE_CLOSED) !== 0) return false;
    for (let i = 0; i < batch.length; i++) this.#skb.next.set(batch[i].skb, batch[i + 1]?.skb ?? 0);
    const { threads, execution, time } = services;
    time.show();
    const before = threads.preemptCount;
    threads.preemptCount = before + SOFTIRQ_DISABLED;
    this.#lockOwner.set(this.#queue, 0);
    let rest: GuestAddress;
    try {
      rest = execution.call(this.#transmit, batch[0].skb, this.device, this.#queue, this.#answer);
    } finally {
      this.#lockOwner.set(this.#queue, -1);
      threads.preemptCount = before;
    }
    const left = rest === 0 ? batch.length : batch.findIndex(({ skb }) => skb === rest);
    const taken = left < 0 ? batch.length : left;
    for (let i = 0; i < taken; i++) this.sentBytes += this.#batchBytes[i];
    this.sent += taken;
    batch.splice(0, taken);
    this.#batchBytes.splice(0, taken);
    return batch.length === 0;
  }

  /** Gives all buffers back that the driver has let go of. */
  end(): void {
    const { execution, heap } = this.services;
    for (const { skb } of this.#batch) this.#skb.users.set(skb, 1);
    this.#batch.length = 0;
    for (const { skb } of this.#buffers) {
      if (this.#skb.users.get(skb) === 1) execution.call("consume_skb", skb);
    }
    this.#buffers.length = 0;
    heap.free(this.#answer);
  }

  /** The buffer that was used longest ago, if it is back; else a new one, while there may be more. */
  #take(): Buffer | null {
    const next = this.#buffers[this.#next];
    if (next !== undefined && this.#skb.users.get(next.skb) === 1) {
      this.#next = (this.#next + 1) % this.#buffers.length;
      return next;
    }
    if (this.#buffers.length >= MOST_BUFFERS) return null;
    const buffer = this.#make();
    if (buffer === null) return null;
    this.#buffers.splice(this.#next, 0, buffer);
    this.#next = (this.#next + 1) % this.#buffers.length;
    return buffer;
  }

  #make(): Buffer | null {
    const { execution } = this.services;
    const guest = this.#guest;
    const fields = this.#skb;
    const skb = execution.call("__netdev_alloc_skb", this.device, QUEUED_FRAME_BYTES, GFP_ATOMIC);
    if (skb === 0) return null;
    const head = fields.head.pointer(skb);
    const data = fields.data.pointer(skb);
    fields.macHeader.set(skb, data - head);
    fields.networkHeader.set(skb, data - head + ETHERNET_HEADER_BYTES);
    const shared = (head + fields.end.get(skb)) as GuestAddress;
    return { skb, data, shared, fresh: guest.bytes(skb, fields.bytes).slice() };
  }
}
