import type { Clock, Timer } from "../bus/clock.js";
import { ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES } from "../devices/wire.js";
import type { CapturedPacket, CaptureReader, CaptureWriter } from "../formats/capture-packet.js";
import { KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";
import { WireEnd } from "./wire-end.js";

/** What a replay did with the frames of its capture. */
export interface ReplayCounters {
  /** Frames handed to the adapter, and their bytes. */
  frames: number;
  bytes: number;
  /** Of these: frames that the capture has cut, replayed as captured. */
  truncated: number;
  /** Left out: too short for an Ethernet header. */
  tooShort: number;
  /** Left out: longer than any adapter takes. */
  tooLong: number;
}

export interface CaptureWireEvents {
  /** Something is odd about the capture; told once for each kind. */
  warning: { kind: "truncated" | "too-short" | "too-long"; message: string };
  /** The last frame was delivered, or the capture is broken behind it. */
  end: { error: KorralError | null };
}

export interface CaptureWireOptions {
  /** Captures of Ethernet only: see `requireEthernet`. */
  replay?: CaptureReader;
  /** Gets what the adapter sends. Closing it is left to the caller. */
  record?: CaptureWriter;
  /** The machine's: dates what is recorded, and paces `playByTime`. */
  clock: Clock;
  /** Seconds since 1970 at machine time 0, for what is recorded. */
  epoch?: number;
}

/** A wire that leads into files: replays a capture to the adapter, and records what the adapter sends. */
export class CaptureWire extends WireEnd {
  readonly events = new EventSource<CaptureWireEvents>();
  readonly replayed: ReplayCounters = { frames: 0, bytes: 0, truncated: 0, tooShort: 0, tooLong: 0 };
  readonly recorded = { frames: 0, bytes: 0 };
  readonly #reader: CaptureReader | null;
  readonly #writer: CaptureWriter | null;
  readonly #clock: Clock;
  readonly #epoch: number;
  readonly #timer: Timer;
  /** Fetched, but not yet delivered. */
  #next: CapturedPacket | null = null;
  #fetched = false;
  #delivering = false;
  #error: KorralError | null = null;
  #firstSeconds = 0;
  #firstNanoseconds = 0;
  #startedAt = 0;

  constructor(options: CaptureWireOptions) {
    super();
    this.#reader = options.replay ?? null;
    this.#writer = options.record ?? null;
    this.#clock = options.clock;
    this.#epoch = options.epoch ?? 0;
    this.#timer = options.clock.timer(() => this.#play());
  }

  /** Whether all frames were delivered (or those before the damage of a broken capture). */
  get ended(): boolean {
    return this.#fetched ? this.#next === null : this.#reader === null;
  }

  /** Why the replay ended before its time, or null. */
  get error(): KorralError | null {
    return this.#error;
  }

  /**
   * Delivers the next frames back to back. @returns how many: fewer than `most` only at the end, and none when called
   * from within a delivery
   */
  pump(most: number): number {
    if (this.#delivering) return 0;
    if (!this.#fetched) this.#fetch();
    let delivered = 0;
    while (delivered < most && this.#next !== null) {
      this.#deliverNext(this.#next);
      delivered++;
    }
    return delivered;
  }

  /** Delivers the frames at the machine times that lie as far apart as their capture times, from now on. */
  playByTime(): void {
    if (!this.#fetched) this.#fetch();
    if (this.#next === null) return;
    this.#firstSeconds = this.#next.seconds;
    this.#firstNanoseconds = this.#next.nanoseconds;
    this.#startedAt = this.#clock.now();
    this.#timer.arm(0);
  }

  /** Stops a replay by time; what is left can be pumped or played on. */
  pause(): void {
    this.#timer.cancel();
  }

  override send(bytes: Uint8Array, offset: number, length: number): void {
    if (!this.carrier) return;
    this.recorded.frames++;
    this.recorded.bytes += length;
    if (this.#writer === null) return;
    const now = this.#clock.now();
    const seconds = Math.floor(now / 1e9);
    this.#writer.write(bytes, offset, length, this.#epoch + seconds, Math.floor(now - seconds * 1e9));
  }

  #play(): void {
    if (this.#next === null) return;
    this.#deliverNext(this.#next);
    const next = this.#next;
    if (next === null) return;
    const due = (next.seconds - this.#firstSeconds) * 1e9 + next.nanoseconds - this.#firstNanoseconds;
    // A capture may step back in time: such frames follow at once.
    this.#timer.arm(Math.max(0, this.#startedAt + due - this.#clock.now()));
  }

  #deliverNext(packet: CapturedPacket): void {
    this.replayed.frames++;
    this.replayed.bytes += packet.capturedLength;
    if (packet.capturedLength < packet.originalLength && this.replayed.truncated++ === 0) {
      this.#warn(
        "truncated",
        packet,
        `a frame of ${packet.originalLength} bytes was cut; such frames are replayed as captured`,
      );
    }
    this.#delivering = true;
    this.deliver(packet.bytes, packet.offset, packet.capturedLength);
    this.#delivering = false;
    this.#fetch();
  }

  /** Looks for the next frame that an adapter can take. */
  #fetch(): void {
    this.#fetched = true;
    try {
      this.#next = this.#reader === null ? null : this.#usable(this.#reader);
    } catch (error) {
      if (!(error instanceof KorralError)) throw error;
      this.#next = null;
      this.#error = error;
    }
    if (this.#next === null) this.events.emit("end", { error: this.#error });
  }

  #usable(reader: CaptureReader): CapturedPacket | null {
    for (;;) {
      const packet = reader.next();
      if (packet === null) return null;
      if (packet.capturedLength < ETHERNET_HEADER_BYTES) {
        if (this.replayed.tooShort++ === 0) {
          this.#warn("too-short", packet, `frames below ${ETHERNET_HEADER_BYTES} bytes are left out`);
        }
      } else if (packet.capturedLength > LONGEST_FRAME_BYTES) {
        if (this.replayed.tooLong++ === 0) {
          this.#warn("too-long", packet, `frames above ${LONGEST_FRAME_BYTES} bytes are left out`);
        }
      } else {
        return packet;
      }
    }
  }

  #warn(kind: CaptureWireEvents["warning"]["kind"], packet: CapturedPacket, what: string): void {
    const message = `${this.#reader?.name}: ${what} (this one has ${packet.capturedLength} bytes)`;
    this.events.emit("warning", { kind, message });
  }
}
