import { AddressSpaceCapability } from "../capability/address-space.js";
import type { EndpointCapability, Received } from "../capability/endpoint.js";
import { ArgumentError, LengthError } from "../capability/errors.js";
import { PacketRingCapability, type RingRequest } from "../transfer/packet-ring.js";
import { KorralError } from "../util/errors.js";

/** What a network driver is asked. */
export const NetworkLabel = {
  /** → words [link up, mtu], string: the six bytes of the MAC address. */
  info: 0,
  /** words [offset, slots, slotBytes, default session], string: filter expression, capability: space → capability: ring. */
  open: 1,
  /** capability: the ring. */
  close: 2,
  /** words [offset of the first byte of the range, its length], string: pairs of (offset, length), capability: space. */
  send: 3,
  /** string: one frame, copied. */
  sendCopy: 4,
} as const;

/** The cable is out: what was to be sent has not left, or nobody knows whether it has. */
export class LinkDownError extends KorralError {
  constructor() {
    super("link-down", "send: there is no link, so frames cannot leave: plug the cable in and send again", 1);
  }
}

export interface NetworkInfo {
  readonly macAddress: Uint8Array;
  readonly linkUp: boolean;
  /** Longest frame, in bytes, without the frame check sequence. */
  readonly longestFrame: number;
}

export interface SessionRequest extends RingRequest {
  /** A pcap filter expression; empty: everything. */
  readonly filter: string;
  /** Gets, besides, what no filter accepts. */
  readonly isDefault?: boolean;
}

/** A frame in a client's space. */
export interface FrameRange {
  readonly offset: number;
  readonly length: number;
}

/** A network adapter, as a client that holds the driver's endpoint sees it. */
export class NetworkClient {
  constructor(readonly endpoint: EndpointCapability) {}

  async info(): Promise<NetworkInfo> {
    const macAddress = new Uint8Array(6);
    const { words } = await this.endpoint.call({ label: NetworkLabel.info, receive: macAddress });
    return { macAddress, linkUp: words[0] !== 0, longestFrame: words[1] };
  }

  /** Opens a session: frames that the filter accepts arrive in the slots of the ring. */
  async open(request: SessionRequest): Promise<PacketRingCapability> {
    const { space, offset, slots, slotBytes, filter, isDefault } = request;
    const reply = await this.endpoint.call({
      label: NetworkLabel.open,
      words: [offset, slots, slotBytes, isDefault === true ? 1 : 0],
      string: new TextEncoder().encode(filter),
      capabilities: [space],
    });
    const [ring] = reply.capabilities;
    if (!(ring instanceof PacketRingCapability)) throw new ArgumentError("open session", "the driver returned no ring");
    return ring;
  }

  async close(ring: PacketRingCapability): Promise<void> {
    await this.endpoint.call({ label: NetworkLabel.close, capabilities: [ring] });
  }

  /** Sends frames that lie in a space, without copying them; resolves when the device has read them all. */
  async send(space: AddressSpaceCapability, frames: readonly FrameRange[]): Promise<void> {
    const pairs = new Uint32Array(2 * frames.length);
    for (let i = 0; i < frames.length; i++) {
      pairs[2 * i] = frames[i].offset;
      pairs[2 * i + 1] = frames[i].length;
    }
    await this.sendPairs(space, pairs);
  }

  /** The same with (offset, length) pairs, as they travel. */
  async sendPairs(space: AddressSpaceCapability, pairs: Uint32Array): Promise<void> {
    const string = new Uint8Array(pairs.buffer, pairs.byteOffset, pairs.byteLength);
    await this.endpoint.call({ label: NetworkLabel.send, string, capabilities: [space] });
  }

  /** Sends one frame by value. */
  async sendCopy(frame: Uint8Array): Promise<void> {
    await this.endpoint.call({ label: NetworkLabel.sendCopy, string: frame });
  }
}

/** A session request as a driver decodes it. @throws ArgumentError */
export function decodeSession(message: Received): SessionRequest {
  const [offset, slots, slotBytes, isDefault] = message.words;
  const [space] = message.capabilities;
  if (!(space instanceof AddressSpaceCapability)) {
    throw new ArgumentError("open session", "needs a capability to an address space");
  }
  if (offset === undefined || slots === undefined || slotBytes === undefined) {
    throw new ArgumentError("open session", "needs the words offset, slots and slot bytes");
  }
  const filter = new TextDecoder().decode(message.string);
  return { space, offset, slots, slotBytes, filter, isDefault: isDefault === 1 };
}

/** The ring of a close request. @throws ArgumentError */
export function decodeRing(message: Received): PacketRingCapability {
  const [ring] = message.capabilities;
  if (!(ring instanceof PacketRingCapability)) throw new ArgumentError("close session", "needs the session's ring");
  return ring;
}

/** Frames to send, and the range that holds them all. */
export interface SendRequest {
  readonly space: AddressSpaceCapability;
  readonly pairs: Uint32Array;
  readonly start: number;
  readonly end: number;
}

/** @param longestFrame that the adapter takes @throws ArgumentError for a frame that is too short or too long */
export function decodeSend(message: Received, longestFrame: number): SendRequest {
  const [space] = message.capabilities;
  if (!(space instanceof AddressSpaceCapability))
    throw new ArgumentError("send", "needs a capability to an address space");
  const { string } = message;
  if (string.length === 0 || string.length % 8 !== 0 || message.sentLength !== string.length) {
    throw new ArgumentError("send", "needs pairs of offset and length, 8 bytes each, as its string");
  }
  const pairs =
    string.byteOffset % 4 === 0
      ? new Uint32Array(string.buffer, string.byteOffset, string.length / 4)
      : new Uint32Array(string.slice().buffer);
  let start = Number.POSITIVE_INFINITY;
  let end = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    checkFrameLength(pairs[i + 1], longestFrame);
    if (pairs[i] < start) start = pairs[i];
    if (pairs[i] + pairs[i + 1] > end) end = pairs[i] + pairs[i + 1];
  }
  return { space, pairs, start, end };
}

const SHORTEST_FRAME = 14;

export function checkFrameLength(length: number, longestFrame: number): void {
  if (length < SHORTEST_FRAME || length > longestFrame) {
    throw new LengthError("send", `a frame of ${length} bytes: ${SHORTEST_FRAME}…${longestFrame} are possible`);
  }
}
