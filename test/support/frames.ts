import { seededRandom } from "../../src/util/random.js";

const LOCAL_EXPERIMENT = 0x88b5;
const VLAN = 0x8100;
export const PEER_ADDRESS = Uint8Array.of(0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc);
export const NEVER_SEEN = Uint8Array.of(0x52, 0x54, 0x00, 0x99, 0x99, 0x99);

export interface FrameOptions {
  readonly to: Uint8Array;
  readonly length: number;
  readonly seed?: number;
  readonly type?: number;
  /** Its 802.1Q tag. */
  readonly vlan?: number;
}

/** A frame with a random payload. */
export function frameOf({ to, length, seed = 1, type = LOCAL_EXPERIMENT, vlan }: FrameOptions): Uint8Array {
  const frame = new Uint8Array(length);
  const random = seededRandom(seed);
  for (let i = 0; i < length; i++) frame[i] = random() & 0xff;
  frame.set(to);
  frame.set(PEER_ADDRESS, 6);
  const view = new DataView(frame.buffer);
  if (vlan !== undefined) {
    view.setUint16(12, VLAN);
    view.setUint16(14, vlan);
  }
  view.setUint16(vlan === undefined ? 12 : 16, type);
  return frame;
}

/** Frames of all kinds of sizes, with what is between them in equal steps and the limits for sure. */
export function framesOfSizes(to: Uint8Array, count: number, shortest: number, longest: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => {
    const step = (longest - shortest) / Math.max(1, count - 1);
    return frameOf({ to, length: Math.round(shortest + i * step), seed: i + 1 });
  });
}

/** As the frame looks once an adapter has filled it up to the least length of the wire. */
export function padded(frame: Uint8Array, least = 60): Uint8Array {
  if (frame.length >= least) return frame;
  const filled = new Uint8Array(least);
  filled.set(frame);
  return filled;
}

/** Where two lists of frames differ, in a sentence; null if nowhere. */
export function difference(actual: readonly Uint8Array[], expected: readonly Uint8Array[]): string | null {
  for (let i = 0; i < Math.max(actual.length, expected.length); i++) {
    const [a, b] = [actual[i], expected[i]];
    if (a === undefined || b === undefined) return `${actual.length} frames instead of ${expected.length}`;
    if (a.length !== b.length) return `frame ${i} has ${a.length} bytes instead of ${b.length}`;
    const at = a.findIndex((byte, j) => byte !== b[j]);
    if (at >= 0) return `frame ${i} of ${a.length} bytes differs at ${at}: ${a[at]} instead of ${b[at]}`;
  }
  return null;
}
