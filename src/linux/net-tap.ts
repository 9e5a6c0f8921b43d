import type { GuestAddress } from "../util/guest-address.js";
import type { LinuxDomain } from "./domain.js";
import type { Guest } from "./guest.js";
import type { Call } from "./seam.js";
import { type SkbFields, skbFields } from "./sk-buff.js";

const ETH_P_ALL_NETWORK_ORDER = 0x0300;
const PACKET_OUTGOING = 4;
const VLAN_BYTES = 4;
const ADDRESSES_BYTES = 12;
const LONGEST_FRAME = 65_536;

/** A frame that the kernel received; bytes are lent for the length of the call. */
export type FrameReceiver = (bytes: Uint8Array, offset: number, length: number) => void;

/** Takes what a device's driver received out of the network stack, as a packet socket for all protocols does. */
export class NetTap {
  /** Who gets what arrives. */
  onFrame: FrameReceiver = () => {};
  received = 0;
  receivedBytes = 0;
  readonly #guest: Guest;
  readonly #skb: SkbFields;
  readonly #free: GuestAddress;
  /** For frames that lie in pieces; 0 until there is one. */
  #scratch = 0 as GuestAddress;
  #tap: GuestAddress | null = null;
  /** What the tap calls. */
  #handler = 0 as GuestAddress;

  constructor(
    private readonly domain: LinuxDomain,
    /** Its `struct net_device`. */
    private readonly address: GuestAddress,
  ) {
    const { guest } = domain.services;
    this.#guest = guest;
    this.#skb = skbFields(guest);
    this.#free = guest.symbol("consume_skb");
  }

  attach(): void {
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

  detach(): void {
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
