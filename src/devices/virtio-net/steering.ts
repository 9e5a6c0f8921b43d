import type { StateReader } from "../../util/state-reader.js";

const FLOWS = 256;
const TYPE_IPV4 = 0x0800;
const TYPE_IPV6 = 0x86dd;

export interface SteeringState {
  pairs: number;
  flows: number[];
}

/** Automatic receive steering (VIRTIO 1.2, §5.1.6.5.5): a flow comes in by the queue of the pair by which it went out. */
export class Steering {
  /** Pairs of queues in use. */
  pairs = 1;
  readonly #flows = new Uint8Array(FLOWS);

  /** A packet of a flow was sent by a pair. */
  sent(bytes: Uint8Array, offset: number, length: number, pair: number): void {
    this.#flows[flowOf(bytes, offset, length)] = pair;
  }

  /** The pair by which a frame is to come in. */
  pairFor(bytes: Uint8Array, offset: number, length: number): number {
    return this.#flows[flowOf(bytes, offset, length)] % this.pairs;
  }

  reset(): void {
    this.pairs = 1;
    this.#flows.fill(0);
  }

  snapshot(): SteeringState {
    return { pairs: this.pairs, flows: [...this.#flows] };
  }

  restore(state: StateReader, most: number): void {
    const pairs = state.integer("pairs", 1, most);
    this.#flows.set(state.numbers("flows", FLOWS, FLOWS, most - 1));
    this.pairs = pairs;
  }
}

/** The same for both directions of a flow: a sum over addresses and ports. */
function flowOf(bytes: Uint8Array, offset: number, length: number): number {
  const type = (bytes[offset + 12] << 8) | bytes[offset + 13];
  let from = offset + 14;
  let to = from;
  if (type === TYPE_IPV4 && length >= 38) {
    from += 12;
    to = from + ((bytes[offset + 14] & 15) === 5 ? 12 : 8);
  } else if (type === TYPE_IPV6 && length >= 58) {
    from += 8;
    to = from + 36;
  }
  let sum = 0;
  for (let at = from; at < to; at++) sum += bytes[at] * ((at - from) & 1 ? 1 : 31);
  return sum % FLOWS;
}
