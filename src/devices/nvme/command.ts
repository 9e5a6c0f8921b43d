import type { DiskDone, DiskError } from "../disk-backend.js";
import { DataMap } from "./data-map.js";
import type { SubmissionQueue } from "./queues.js";
import { wide } from "./registers.js";

/** A context keeps its bounce buffer between commands up to this size. */
const KEPT_BOUNCE = 128 * 1024;
const NO_BYTES = new Uint8Array(0);

export const SQE_WORDS = 16;

/** A command at work: the submission queue entry (§4.2, figure 105) and what its execution needs. Used again and again. */
export class Command {
  readonly sqe = new Uint32Array(SQE_WORDS);
  readonly map = new DataMap();
  /** The completion's doubleword 0. */
  result = 0;
  /** `idle`: in the pool; `working`: fetched; `delayed`: done, its completion waits for the latency to pass. */
  state: "idle" | "working" | "delayed" = "idle";
  /** While delayed: the status to report and the machine time of the report. */
  status = 0;
  due = 0;
  /** Byte offset and length on the disk. */
  position = 0;
  length = 0;
  /** How many requests to the disk have been answered. */
  step = 0;
  /** The disk's answer is awaited; it arrived during the call when this is false right after it. */
  waiting = false;
  issuing = false;
  error: DiskError | null = null;
  readonly spans: Uint8Array[] = [];
  /** Handed to the disk with each request. */
  readonly done: DiskDone;
  #queue: SubmissionQueue | null = null;
  #bounce = NO_BYTES;

  /** @param onAnswer called when an answer comes after the call that asked for it */
  constructor(onAnswer: (command: Command) => void) {
    this.done = (error) => {
      if (!this.waiting) return;
      this.waiting = false;
      this.error = error;
      if (!this.issuing) onAnswer(this);
    };
  }

  begin(queue: SubmissionQueue): void {
    this.#queue = queue;
    this.state = "working";
    this.result = 0;
    this.step = 0;
    this.length = 0;
    this.map.clear();
  }

  end(): void {
    this.state = "idle";
    this.#queue = null;
    this.waiting = false;
    if (this.spans.length > 0) this.spans.length = 0;
    if (this.#bounce.length > KEPT_BOUNCE) this.#bounce = NO_BYTES;
  }

  get queue(): SubmissionQueue {
    if (this.#queue === null) throw new Error("an NVMe command context was used outside of its command");
    return this.#queue;
  }

  get opcode(): number {
    return this.sqe[0] & 0xff;
  }

  get fuse(): number {
    return (this.sqe[0] >>> 8) & 3;
  }

  /** PRP or SGL for data transfer (PSDT). */
  get psdt(): number {
    return (this.sqe[0] >>> 14) & 3;
  }

  get id(): number {
    return this.sqe[0] >>> 16;
  }

  get nsid(): number {
    return this.sqe[1];
  }

  dword(number: number): number {
    return this.sqe[number];
  }

  /** Starting LBA of NVM commands: doublewords 10 and 11. */
  get slba(): number {
    return wide(this.sqe[10], this.sqe[11]);
  }

  /** The controller's own memory for data that is not moved in place; at least `length` bytes. */
  bounce(length: number): Uint8Array {
    if (this.#bounce.length < length) {
      let size = 4096;
      while (size < length) size *= 2;
      this.#bounce = new Uint8Array(size);
    }
    return this.#bounce.subarray(0, length);
  }
}
