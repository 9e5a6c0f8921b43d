import { ETHERNET_HEADER_BYTES } from "../devices/wire.js";
import { KorralError, UsageError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { LinuxDomain } from "./domain.js";
import type { Field, Guest } from "./guest.js";
import type { LentRange } from "./lent-frames.js";
import type { Script } from "./scripts.js";
import type { Call } from "./seam.js";
import { QUEUED_FRAME_BYTES, SHORTEST_QUEUED, TransmitQueue } from "./transmit-queue.js";

const IFF_UP = 1;
const IFF_RUNNING = 0x40;
/** `netdev_state_t`: bit 2 of `net_device.state` says that there is no carrier. */
const LINK_STATE_NOCARRIER = 1 << 2;
const GFP_ATOMIC = 0x820;
const ETH_P_ALL_NETWORK_ORDER = 0x0300;
const PACKET_OUTGOING = 4;
const VLAN_BYTES = 4;
const ADDRESSES_BYTES = 12;
const LONGEST_FRAME = 65_536;
/** `NETIF_F_SG`, the first bit of the features. */
const NETIF_F_SG = 1;
const NAME_BYTES = 16;
/** `ETH_SS_STATS` and `ETH_GSTRING_LEN`. */
const STATISTICS_STRINGS = 1;
const STRING_BYTES = 32;
const MOST_FEATURES = 64;
const ETHERTYPE_VLAN_NETWORK_ORDER = 0x0081;
const EINVAL = 22;
const SOFTIRQ_DISABLED = 0x200;

/** The driver refused something. */
export class NetDeviceError extends KorralError {}

/** A frame that the kernel received; bytes are lent for the length of the call. */
export type FrameReceiver = (bytes: Uint8Array, offset: number, length: number) => void;

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

interface SkbFields {
  readonly len: Field;
  readonly dataLen: Field;
  readonly head: Field;
  readonly data: Field;
  readonly macHeader: Field;
  readonly networkHeader: Field;
  readonly protocol: Field;
  readonly device: Field;
  readonly vlanTci: Field;
  readonly vlanProto: Field;
  readonly packetType: number;
  /** Byte and bit of `vlan_present`, where there is one. */
  readonly vlanPresent: { readonly byte: number; readonly bit: number } | null;
}

/** A network device that a driver registered. */
export class NetDevice {
  /** Who gets what arrives. */
  onFrame: FrameReceiver = () => {};
  received = 0;
  receivedBytes = 0;
  sent = 0;
  sentBytes = 0;
  /** Frames sent: copied into the domain, or left where they were but for their headers. */
  copied = 0;
  zeroCopy = 0;
  readonly #skb: SkbFields;
  /** For frames that lie in pieces; 0 until there is one. */
  #scratch = 0 as GuestAddress;
  readonly #guest: Guest;
  readonly #state: Field;
  readonly #allocate: GuestAddress;
  readonly #put: GuestAddress;
  readonly #transmit: GuestAddress;
  readonly #free: GuestAddress;
  readonly #end: Field;
  readonly #truesize: Field;
  readonly #refcount: Field;
  readonly #fragment: { readonly page: Field; readonly length: Field; readonly offset: Field };
  #tap: GuestAddress | null = null;
  #queue: TransmitQueue | null = null;
  readonly #flushIdle = (): void => this.flush();
  /** What the tap calls. */
  #handler = 0 as GuestAddress;

  constructor(
    private readonly domain: LinuxDomain,
    /** Its `struct net_device`. */
    readonly address: GuestAddress,
  ) {
    const { guest } = domain.services;
    this.#guest = guest;
    this.#skb = skbFields(guest);
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
    this.#attachTap();
    const { address } = this;
    try {
      await this.#locked("up", function* () {
        const flags = yield ["dev_get_flags", address];
        return yield ["dev_change_flags", address, (flags & ~IFF_RUNNING) | IFF_UP, 0];
      });
    } catch (error) {
      // The kernel takes a handler on a device that goes for a bug.
      this.domain.guarded(() => this.#detachTap());
      throw error;
    }
    if (!TransmitQueue.isPossible(this.#guest, address)) return;
    this.#queue = new TransmitQueue(this.domain.services, address);
    this.domain.idleWork.add(this.#flushIdle);
  }

  /** @throws NetDeviceError */
  async down(): Promise<void> {
    const { address } = this;
    await this.#locked("down", function* () {
      const flags = yield ["dev_get_flags", address];
      return yield ["dev_change_flags", address, flags & ~(IFF_UP | IFF_RUNNING), 0];
    });
    this.#detachTap();
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

  /** Whether a feature is on, by the name that `ethtool -k` has for it: `rx-vlan-hw-parse`. */
  hasFeature(name: string): boolean {
    return (this.#features("features") & this.#featureBit(name)) !== 0n;
  }

  /** Whether a feature can be turned on and off. */
  canChangeFeature(name: string): boolean {
    return (this.#features("hw_features") & this.#featureBit(name)) !== 0n;
  }

  /** Turns a feature on or off, as `ethtool -K`. @throws NetDeviceError */
  async setFeature(name: string, on: boolean): Promise<void> {
    if (this.hasFeature(name) === on) return;
    const bit = this.#featureBit(name);
    const { address } = this;
    if (this.canChangeFeature(name)) {
      const at = (address + this.#guest.offset("net_device.wanted_features")) as GuestAddress;
      const wanted = this.#features("wanted_features");
      this.#guest.writeBig(at, on ? wanted | bit : wanted & ~bit);
      await this.#locked("features", function* () {
        yield ["netdev_update_features", address];
        return 0;
      });
    }
    if (this.hasFeature(name) === on) return;
    throw new NetDeviceError("net-feature", `${this.name}: the driver does not turn ${name} ${on ? "on" : "off"}`, 1);
  }

  /** Bits by the kernel's own table of names. */
  #featureBit(name: string): bigint {
    const names = this.#guest.symbol("netdev_features_strings");
    for (let i = 0; i < MOST_FEATURES; i++) {
      if (this.#guest.text((names + i * STRING_BYTES) as GuestAddress) === name) return 1n << BigInt(i);
    }
    throw new UsageError(`this kernel's network devices have no feature ${name}`, "net-feature");
  }

  #features(which: "features" | "hw_features" | "wanted_features"): bigint {
    return this.#guest.readBig((this.address + this.#guest.offset(`net_device.${which}`)) as GuestAddress);
  }

  /** What the driver counts, in its order, as `ethtool -S` shows it; empty if it counts nothing. */
  async ethtoolStatistics(): Promise<ReadonlyMap<string, bigint>> {
    const guest = this.#guest;
    const { heap } = this.domain.services;
    const { address } = this;
    const operations = guest.field("net_device.ethtool_ops").pointer(address);
    const operation = (name: string): GuestAddress =>
      operations === 0 ? operations : guest.field(`ethtool_ops.${name}`).pointer(operations);
    const [begin, complete, count, strings, values] = [
      operation("begin"),
      operation("complete"),
      operation("get_sset_count"),
      operation("get_strings"),
      operation("get_ethtool_stats"),
    ];
    const statistics = new Map<string, bigint>();
    if (count === 0 || strings === 0 || values === 0) return statistics;
    const read = (number: number, names: GuestAddress, data: GuestAddress): void => {
      for (let i = 0; i < number; i++) {
        const name = guest.text((names + i * STRING_BYTES) as GuestAddress).slice(0, STRING_BYTES);
        statistics.set(name, guest.readBig((data + i * 8) as GuestAddress));
      }
    };
    await this.#locked("statistics of the driver", function* () {
      const begun = begin === 0 ? 0 : (yield [begin, address]) | 0;
      if (begun < 0) return begun;
      const number = (yield [count, address, STATISTICS_STRINGS]) | 0;
      if (number > 0) {
        const header = heap.allocate(guest.sizeOf("ethtool_stats"));
        const names = heap.allocate(number * STRING_BYTES);
        const data = heap.allocate(number * 8);
        guest.field("ethtool_stats.n_stats").set(header, number);
        yield [strings, address, STATISTICS_STRINGS, names];
        yield [values, address, header, data];
        read(number, names, data);
        for (const memory of [header, names, data]) heap.free(memory);
      }
      if (complete !== 0) yield [complete, address];
      return Math.min(number, 0);
    });
    return statistics;
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

  /** Runs calls with the lock of the network configuration held. */
  async #locked(what: string, body: () => Script<number>): Promise<void> {
    const answer = (await this.domain.script(what, locked(body))) | 0;
    if (answer >= 0) return;
    throw new NetDeviceError("net-device", `${this.name}: ${what} failed with error ${-answer}`, 1);
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

  #attachTap(): void {
    if (this.#tap !== null) return;
    const guest = this.#guest;
    const { services } = this.domain;
    const tap = services.heap.allocate(guest.sizeOf("packet_type"));
    guest.field("packet_type.type").set(tap, ETH_P_ALL_NETWORK_ORDER);
    guest.field("packet_type.dev").set(tap, this.address);
    guest.field("packet_type.ignore_outgoing").set(tap, 1);
    if (this.#handler === 0) this.#handler = this.domain.function("packet", (call) => this.#receive(call));
    guest.field("packet_type.func").set(tap, this.#handler);
    services.execution.call("dev_add_pack", tap);
    services.receivers.set(this.address, (skb) => this.#deliver(skb));
    this.#tap = tap;
  }

  #detachTap(): void {
    if (this.#tap === null) return;
    const { services } = this.domain;
    services.execution.call("__dev_remove_pack", this.#tap);
    services.receivers.delete(this.address);
    services.heap.free(this.#tap);
    this.#tap = null;
    if (this.#scratch !== 0) services.heap.free(this.#scratch);
    this.#scratch = 0 as GuestAddress;
  }

  #receive(call: Call): number {
    const skb = call.pointer(0);
    const guest = this.#guest;
    const fields = this.#skb;
    if ((guest.read((skb + fields.packetType) as GuestAddress, 1) & 7) !== PACKET_OUTGOING) this.#deliver(skb);
    this.domain.services.execution.call(this.#free, skb);
    return 0;
  }

  #deliver(skb: GuestAddress): void {
    const guest = this.#guest;
    const fields = this.#skb;
    const linear = fields.len.get(skb) - fields.dataLen.get(skb);
    const mac = (fields.head.pointer(skb) + fields.macHeader.get(skb)) as GuestAddress;
    const data = fields.data.pointer(skb);
    const header = data - mac;
    const length = header + fields.len.get(skb);
    const hasTag = this.#hasTag(skb);
    this.received++;
    this.receivedBytes += length + (hasTag ? VLAN_BYTES : 0);
    const linearBytes = header + linear;
    if (linearBytes === length && !hasTag) {
      this.onFrame(guest.memory.bytes, guest.offsetOf(mac, length), length);
      return;
    }
    if (length + VLAN_BYTES > LONGEST_FRAME) return;
    const { heap } = this.domain.services;
    if (this.#scratch === 0) this.#scratch = heap.allocate(LONGEST_FRAME);
    const { bytes } = guest.memory;
    const scratch = guest.offsetOf(this.#scratch, LONGEST_FRAME);
    const start = guest.offsetOf(mac, linearBytes);
    bytes.copyWithin(scratch, start, start + linearBytes);
    if (linearBytes < length) this.#copyRest(skb, linear, length - linearBytes, linearBytes);
    if (hasTag) {
      const tagged = scratch + ADDRESSES_BYTES;
      bytes.copyWithin(tagged + VLAN_BYTES, tagged, scratch + length);
      const protocol = fields.vlanProto.get(skb);
      const tag = fields.vlanTci.get(skb);
      bytes[tagged] = protocol;
      bytes[tagged + 1] = protocol >> 8;
      bytes[tagged + 2] = tag >> 8;
      bytes[tagged + 3] = tag;
    }
    this.onFrame(bytes, scratch, length + (hasTag ? VLAN_BYTES : 0));
  }

  /** What lies in fragments, as the kernel gathers it. */
  #copyRest(skb: GuestAddress, from: number, bytes: number, to: number): void {
    this.domain.services.execution.call("skb_copy_bits", skb, from, this.#scratch + to, bytes);
  }

  #hasTag(skb: GuestAddress): boolean {
    const { vlanPresent, vlanTci, vlanProto } = this.#skb;
    if (vlanPresent === null) return vlanTci.get(skb) !== 0 || vlanProto.get(skb) !== 0;
    return ((this.#guest.read((skb + vlanPresent.byte) as GuestAddress, 1) >> vlanPresent.bit) & 1) !== 0;
  }
}

const NETDEV_TX_BUSY = 0x10;

function* locked<T>(body: () => Script<T>): Script<T> {
  yield ["rtnl_lock"];
  const answer = yield* body();
  yield ["rtnl_unlock"];
  return answer;
}

function skbFields(guest: Guest): SkbFields {
  const { types } = guest.image;
  const type = types.field("sk_buff.pkt_type");
  const present = types.hasField("sk_buff.vlan_present") ? types.field("sk_buff.vlan_present").bitOffset : -1;
  return {
    len: guest.field("sk_buff.len"),
    dataLen: guest.field("sk_buff.data_len"),
    head: guest.field("sk_buff.head"),
    data: guest.field("sk_buff.data"),
    macHeader: guest.field("sk_buff.mac_header"),
    networkHeader: guest.field("sk_buff.network_header"),
    protocol: guest.field("sk_buff.protocol"),
    device: guest.field("sk_buff.dev"),
    vlanTci: guest.field("sk_buff.vlan_tci"),
    vlanProto: guest.field("sk_buff.vlan_proto"),
    packetType: type.bitOffset >> 3,
    vlanPresent: present < 0 ? null : { byte: present >> 3, bit: present & 7 },
  };
}
