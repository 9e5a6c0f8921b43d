import type { FrameListener, Wire } from "../devices/wire.js";
import { happens, type Random, randomBelow } from "../util/random.js";

/** Probabilities from 0 to 1 for each frame; left out: 0. */
export interface WireFaults {
  drop?: number;
  duplicate?: number;
  /** The frame is held back and follows the next one. */
  reorder?: number;
  /** One bit is flipped. */
  corrupt?: number;
  /** At least one byte is left, at least one is cut. */
  truncate?: number;
}

export interface FaultCounters {
  dropped: number;
  duplicated: number;
  reordered: number;
  corrupted: number;
  truncated: number;
}

/** A bad cable in front of any wire: the same seed does the same damage. */
export class FaultyWire implements Wire {
  readonly counters: FaultCounters = { dropped: 0, duplicated: 0, reordered: 0, corrupted: 0, truncated: 0 };
  #listener: FrameListener = () => {};
  readonly #inward: FaultyDirection;
  readonly #outward: FaultyDirection;

  /** @param toAdapter faults of frames on their way to the adapter @param fromAdapter faults of those it sends */
  constructor(
    private readonly wire: Wire,
    random: Random,
    toAdapter: WireFaults,
    fromAdapter: WireFaults = toAdapter,
  ) {
    const deliver: FrameListener = (bytes, offset, length) => this.#listener(bytes, offset, length);
    this.#inward = new FaultyDirection(toAdapter, random, this.counters, deliver);
    this.#outward = new FaultyDirection(fromAdapter, random, this.counters, (bytes, offset, length) =>
      wire.send(bytes, offset, length),
    );
    wire.onFrame((bytes, offset, length) => this.#inward.pass(bytes, offset, length));
  }

  onFrame(listener: FrameListener): void {
    this.#listener = listener;
  }

  send(bytes: Uint8Array, offset: number, length: number): void {
    this.#outward.pass(bytes, offset, length);
  }

  get carrier(): boolean {
    return this.wire.carrier;
  }

  get busy(): boolean {
    return this.wire.busy === true;
  }

  onCarrier(listener: (up: boolean) => void): void {
    this.wire.onCarrier(listener);
  }

  /** Lets go the frames that wait for another one to overtake them. */
  flush(): void {
    this.#inward.flush();
    this.#outward.flush();
  }
}

class FaultyDirection {
  #held: Uint8Array | null = null;

  constructor(
    private readonly faults: WireFaults,
    private readonly random: Random,
    private readonly counters: FaultCounters,
    private readonly next: FrameListener,
  ) {}

  pass(bytes: Uint8Array, offset: number, length: number): void {
    const { faults, counters } = this;
    if (happens(this.random, faults.drop)) {
      counters.dropped++;
      return;
    }
    let frame = bytes.slice(offset, offset + length);
    if (length > 1 && happens(this.random, faults.truncate)) {
      frame = frame.subarray(0, 1 + randomBelow(this.random, length - 1));
      counters.truncated++;
    }
    if (frame.length > 0 && happens(this.random, faults.corrupt)) {
      frame[randomBelow(this.random, frame.length)] ^= 1 << randomBelow(this.random, 8);
      counters.corrupted++;
    }
    if (this.#held === null && happens(this.random, faults.reorder)) {
      this.#held = frame;
      counters.reordered++;
      return;
    }
    this.next(frame, 0, frame.length);
    if (happens(this.random, faults.duplicate)) {
      counters.duplicated++;
      this.next(frame, 0, frame.length);
    }
    this.flush();
  }

  flush(): void {
    const held = this.#held;
    if (held === null) return;
    this.#held = null;
    this.next(held, 0, held.length);
  }
}
