import { ETHERNET_HEADER_BYTES } from "../devices/wire.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { LinuxDomain } from "./domain.js";
import { Ethtool } from "./ethtool.js";
import type { Field, Guest } from "./guest.js";
import type { LentRange } from "./lent-frames.js";
import { type FrameReceiver, NetTap } from "./net-tap.js";
import { locked, NetDeviceError, runLocked } from "./rtnl.js";
import type { Script } from "./scripts.js";
import { type SkbFields, skbFields } from "./sk-buff.js";
import { QUEUED_FRAME_BYTES, SHORTEST_QUEUED, TransmitQueue } from "./transmit-queue.js";

const IFF_UP = 1;
const IFF_RUNNING = 0x40;
/** `netdev_state_t`: bit 2 of `net_device.state` says that there is no carrier. */
const LINK_STATE_NOCARRIER = 1 << 2;
const GFP_ATOMIC = 0x820;
/** `NETIF_F_SG`, the first bit of the features. */
const NETIF_F_SG = 1;
const NAME_BYTES = 16;
const ETHERTYPE_VLAN_NETWORK_ORDER = 0x0081;
const EINVAL = 22;
const SOFTIRQ_DISABLED = 0x200;

/** Statistics as `ip -s link` shows them. */
export interface NetStatistics {
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxErrors: number;
  readonly txErrors: number;
  readonly rxDropped: number;
  readonly txDropped: number;
}

/** What happened to a frame that was handed to the driver. */
export type SendResult = "sent" | "busy" | "dropped";

/** A network device that a driver registered. */
export class NetDevice {
  readonly ethtool: Ethtool;
  sent = 0;
  sentBytes = 0;
  /** Frames sent: copied into the domain, or left where they were but for their headers. */
  copied = 0;
  zeroCopy = 0;
  readonly #skb: SkbFields;
  readonly #tap: NetTap;
  readonly #guest: Guest;
  readonly #getFlags: string;
  readonly #state: Field;
  readonly #allocate: GuestAddress;
  readonly #put: GuestAddress;
  readonly #transmit: GuestAddress;
  readonly #free: GuestAddress;
  readonly #end: Field;
  readonly #truesize: Field;
  readonly #refcount: Field;
  readonly #fragment: { readonly page: Field; readonly length: Field; readonly offset: Field };
  #queue: TransmitQueue | null = null;
  readonly #flushIdle = (): void => this.flush();

  constructor(
    private readonly domain: LinuxDomain,
    /** Its `struct net_device`. */
    readonly address: GuestAddress,
  ) {
    const { guest } = domain.services;
    this.#guest = guest;
    this.#skb = skbFields(guest);
    this.#tap = new NetTap(domain, address);
    this.ethtool = new Ethtool(domain, address, this.name);
    this.#getFlags = guest.find("dev_get_flags") === null ? "netif_get_flags" : "dev_get_flags";
    this.#state = guest.field("net_device.state");
    this.#allocate = guest.symbol("__netdev_alloc_skb");
    this.#put = guest.symbol("skb_put");
    this.#transmit = guest.symbol("__dev_direct_xmit");
    this.#free = guest.symbol("consume_skb");
    this.#end = guest.field("sk_buff.end");
    this.#truesize = guest.field("sk_buff.truesize");
    this.#refcount = guest.field("page._refcount.counter");
    const first = "skb_shared_info.frags[0]";
    this.#fragment = {
      page: guest.field(`${first}.bv_page`, `${first}.netmem`),
      length: guest.field(`${first}.bv_len`, `${first}.len`),
      offset: guest.field(`${first}.bv_offset`, `${first}.offset`),
    };
  }

  /** All devices of the first network namespace, in the order of their registration. */
  static all(domain: LinuxDomain): NetDevice[] {
    const { guest } = domain.services;
    const net = guest.find("init_net");
    if (net === null) return [];
    const head = (net + guest.offset("net.dev_base_head")) as GuestAddress;
    const link = guest.offset("net_device.dev_list");
    const found: NetDevice[] = [];
    for (let at = guest.pointer(head); at !== head && at !== 0; at = guest.pointer(at)) {
      found.push(new NetDevice(domain, (at - link) as GuestAddress));
    }
    return found;
  }

  /** Who gets what arrives. */
  set onFrame(receiver: FrameReceiver) {
    this.#tap.onFrame = receiver;
  }

  get received(): number {
    return this.#tap.received;
  }

  get receivedBytes(): number {
    return this.#tap.receivedBytes;
  }

  get name(): string {
    return this.#guest
      .text((this.address + this.#guest.offset("net_device.name")) as GuestAddress)
      .slice(0, NAME_BYTES);
  }

  get macAddress(): Uint8Array {
    return this.#guest.bytes(this.#guest.field("net_device.dev_addr").pointer(this.address), 6).slice();
  }

  get mtu(): number {
    return this.#guest.field("net_device.mtu").get(this.address);
  }

  get isUp(): boolean {
    return (this.#guest.field("net_device.flags").get(this.address) & IFF_UP) !== 0;
  }

  get linkUp(): boolean {
    return (
      this.isUp &&
      (this.#guest.read((this.address + this.#state.offset) as GuestAddress, 4) & LINK_STATE_NOCARRIER) === 0
    );
  }

  /** The `struct device` that it hangs on. */
  get parent(): GuestAddress {
    return this.#guest.field("device.parent").pointer(this.#device);
  }

  get #device(): GuestAddress {
    return (this.address + this.#guest.offset("net_device.dev")) as GuestAddress;
  }

  /** Brings it up. @throws NetDeviceError */
  async up(): Promise<void> {
    this.#tap.attach();
    const { address } = this;
    const getFlags = this.#getFlags;
    try {
      await this.#locked("up", function* () {
        const flags = yield [getFlags, address];
        return yield ["dev_change_flags", address, (flags & ~IFF_RUNNING) | IFF_UP, 0];
      });
    } catch (error) {
      // The kernel takes a handler on a device that goes for a bug.
      this.domain.guarded(() => this.#tap.detach());
      throw error;
    }
    if (!TransmitQueue.isPossible(this.#guest, address)) return;
    this.#queue = new TransmitQueue(this.domain.services, address);
    this.domain.idleWork.add(this.#flushIdle);
  }

  /** @throws NetDeviceError */
  async down(): Promise<void> {
    const { address } = this;
    const getFlags = this.#getFlags;
    await this.#locked("down", function* () {
      const flags = yield [getFlags, address];
      return yield ["dev_change_flags", address, flags & ~(IFF_UP | IFF_RUNNING), 0];
    });
    this.#tap.detach();
    this.domain.idleWork.delete(this.#flushIdle);
    this.#queue?.end();
    this.#queue = null;
  }

  /** @throws NetDeviceError */
  async setPromiscuous(on: boolean): Promise<void> {
    const { address } = this;
    await this.#locked("promiscuous mode", function* () {
      return yield ["dev_set_promiscuity", address, on ? 1 : -1];
    });
  }

  /** @throws NetDeviceError */
  async setAllMulticast(on: boolean): Promise<void> {
    const { address } = this;
    await this.#locked("all multicast", function* () {
      return yield ["dev_set_allmulti", address, on ? 1 : -1];
    });
  }

  /** Adds or removes a multicast address. @throws NetDeviceError */
  async setMulticast(group: Uint8Array, on: boolean): Promise<void> {
    const { address, domain } = this;
    const at = domain.services.heap.allocate(group.length);
    this.#guest.setBytes(at, group);
    try {
      await this.#locked("multicast", function* () {
        return yield [on ? "dev_mc_add" : "dev_mc_del", address, at];
      });
    } finally {
      domain.services.heap.free(at);
    }
  }

  /** @throws NetDeviceError that names what the driver takes */
  async setMtu(mtu: number): Promise<void> {
    const { address, domain } = this;
    const answer = await domain.script(
      "MTU",
      locked(function* () {
        return (yield ["dev_set_mtu", address, mtu]) | 0;
      }),
    );
    if (answer >= 0) return;
    const limit = (name: string): number => this.#guest.field(`net_device.${name}`).get(address);
    const why =
      answer === -EINVAL ? `it takes ${limit("min_mtu")} to ${limit("max_mtu")}` : `the driver answered ${answer}`;
    throw new NetDeviceError("net-mtu", `${this.name} refuses an MTU of ${mtu}: ${why}`, 1);
  }

  /** Has a VLAN filter let an identifier through, or not any more. @throws NetDeviceError */
  async setVlan(identifier: number, on: boolean): Promise<void> {
    const { address } = this;
    await this.#locked("VLAN", function* () {
      const answer = yield [on ? "vlan_vid_add" : "vlan_vid_del", address, ETHERTYPE_VLAN_NETWORK_ORDER, identifier];
      return on ? answer : (0 as GuestAddress);
    });
  }

  async statistics(): Promise<NetStatistics> {
    const { address, domain } = this;
    const guest = this.#guest;
    const at = domain.services.heap.allocate(guest.sizeOf("rtnl_link_stats64"));
    try {
      await domain.script<number>(
        "statistics",
        (function* (): Script<number> {
          return yield ["dev_get_stats", address, at];
        })(),
      );
      const get = (name: string): number => guest.field(`rtnl_link_stats64.${name}`).get(at);
      return {
        rxPackets: get("rx_packets"),
        txPackets: get("tx_packets"),
        rxBytes: get("rx_bytes"),
        txBytes: get("tx_bytes"),
        rxErrors: get("rx_errors"),
        txErrors: get("tx_errors"),
        rxDropped: get("rx_dropped"),
        txDropped: get("tx_dropped"),
      };
    } finally {
      domain.services.heap.free(at);
    }
  }

  /** Whether the adapter gathers a frame from pieces. */
  get gathers(): boolean {
    return (
      (this.#guest.read((this.address + this.#guest.offset("net_device.features")) as GuestAddress, 4) & NETIF_F_SG) !==
      0
    );
  }

  /** Hands a copy of a frame to the driver. */
  send(bytes: Uint8Array, offset: number, length: number): SendResult {
    const queue = this.#queue;
    if (queue !== null && length >= SHORTEST_QUEUED && length <= QUEUED_FRAME_BYTES) {
      const wasEmpty = queue.waiting === 0;
      const isIn = queue.put(bytes, offset, length);
      this.#countQueued();
      if (wasEmpty && isIn) this.domain.wake();
      return isIn ? "sent" : "busy";
    }
    if (!this.#flushed()) return "busy";
    const skb = this.#buffer(bytes, offset, length);
    if (skb === 0) return "dropped";
    const result = this.#hand(skb, length);
    if (result === "sent") this.copied++;
    return result;
  }

  /**
   * Hands a frame to the driver of which only the headers are copied; the rest stays where it is.
   * @param bytes `headerBytes` of it, which the kernel and the driver may read
   * @param rest the remaining bytes, lent; refused frames leave them lent
   */
  sendLent(bytes: Uint8Array, offset: number, headerBytes: number, rest: LentRange): SendResult {
    if (!this.#flushed()) return "busy";
    const skb = this.#buffer(bytes, offset, headerBytes);
    if (skb === 0) return "dropped";
    const { head, len, dataLen } = this.#skb;
    const guest = this.#guest;
    const shared = (head.pointer(skb) + this.#end.get(skb)) as GuestAddress;
    guest.write((shared + guest.offset("skb_shared_info.nr_frags")) as GuestAddress, 1, 1);
    const { page, length: fragmentLength, offset: fragmentOffset } = this.#fragment;
    page.set(shared, rest.page);
    fragmentLength.set(shared, rest.length);
    fragmentOffset.set(shared, rest.offset);
    len.set(skb, headerBytes + rest.length);
    dataLen.set(skb, rest.length);
    this.#truesize.set(skb, this.#truesize.get(skb) + rest.length);
    // A reference of the caller's: a frame that is refused is freed here, and its bytes are lent still.
    this.#refcount.set(rest.page, 2);
    const result = this.#hand(skb, headerBytes + rest.length);
    const count = this.#refcount.get(rest.page);
    this.#refcount.set(rest.page, count - 1);
    if (result === "sent" && count === 1) this.domain.services.lent.released(rest.page);
    if (result === "sent") this.zeroCopy++;
    return result;
  }

  /** Hands frames that wait to the driver: they go many at a time. */
  flush(): void {
    if (this.#queue === null || this.#queue.waiting === 0) return;
    this.#queue.flush();
    this.#countQueued();
  }

  /** Whether nothing waits that would be overtaken. */
  #flushed(): boolean {
    this.flush();
    return (this.#queue?.waiting ?? 0) === 0;
  }

  #countQueued(): void {
    const queue = this.#queue;
    if (queue === null || queue.sent === 0) return;
    this.sent += queue.sent;
    this.copied += queue.sent;
    this.sentBytes += queue.sentBytes;
    queue.sent = 0;
    queue.sentBytes = 0;
  }

  /** A buffer with a frame, or the start of one, as the network stack would hand it over. @returns 0 if there is none */
  #buffer(bytes: Uint8Array, offset: number, length: number): GuestAddress {
    const { execution, time } = this.domain.services;
    time.show();
    const skb = execution.call(this.#allocate, this.address, length, GFP_ATOMIC);
    if (skb === 0) return skb;
    const data = execution.call(this.#put, skb, length);
    this.#guest.setBytes(data, bytes.subarray(offset, offset + length));
    this.#describe(skb, bytes, offset);
    return skb;
  }

  #hand(skb: GuestAddress, length: number): SendResult {
    const { execution, threads } = this.domain.services;
    const before = threads.preemptCount;
    threads.preemptCount = before + SOFTIRQ_DISABLED;
    let answer = 0;
    try {
      answer = execution.call(this.#transmit, skb, 0) | 0;
    } finally {
      threads.preemptCount = before;
    }
    if (answer === NETDEV_TX_BUSY) {
      // The driver has not taken it; it is the caller's still.
      execution.call(this.#free, skb);
      return "busy";
    }
    if (answer !== 0) return "dropped";
    this.sent++;
    this.sentBytes += length;
    return "sent";
  }

  #locked(what: string, body: () => Script<number>): Promise<void> {
    return runLocked(this.domain, this.name, what, body);
  }

  #describe(skb: GuestAddress, bytes: Uint8Array, offset: number): void {
    const fields = this.#skb;
    const head = fields.head.pointer(skb);
    const data = fields.data.pointer(skb);
    fields.macHeader.set(skb, data - head);
    fields.networkHeader.set(skb, data - head + ETHERNET_HEADER_BYTES);
    fields.protocol.set(skb, bytes[offset + 12] | (bytes[offset + 13] << 8));
    fields.device.set(skb, this.address);
  }
}

const NETDEV_TX_BUSY = 0x10;
