import type { ReservedMemory } from "../../transfer/reserved-memory.js";
import { PAGE_SIZE } from "../../util/brand.js";

const SUBMISSION_WORDS = 16;
const COMPLETION_WORDS = 4;
/** Half a page of PRP entries a command: 256 pages, 1 MiB. */
const PRP_LIST_BYTES = 2048;
export const PRP_LIST_PAGES = PRP_LIST_BYTES / 8;

/** How a command ended: status field (0: success) and the first word of the completion. */
export type CommandDone = (status: number, result: number) => void;

/** Bytes of reserved memory for a pair of so many entries: submission queue, completion queue, PRP lists. */
export function queuePairBytes(entries: number): number {
  return (
    pageAligned(entries * SUBMISSION_WORDS * 4) + pageAligned(entries * COMPLETION_WORDS * 4) + entries * PRP_LIST_BYTES
  );
}

/**
 * A submission and a completion queue of equal size in reserved memory (NVMe 1.4, §4.1, §4.6). A command's identifier is
 * also the index of its PRP list and of its continuation.
 */
export class QueuePair {
  readonly submissionIo: number;
  readonly completionIo: number;
  readonly #words: Uint32Array;
  readonly #completionAt: number;
  readonly #listsAt: number;
  readonly #listsIo: number;
  readonly #done: (CommandDone | null)[];
  readonly #free: number[] = [];
  #tail = 0;
  #head = 0;
  #phase = 1;

  constructor(
    memory: ReservedMemory,
    readonly entries: number,
    readonly ring: { submission: (tail: number) => void; completion: (head: number) => void },
  ) {
    const completionOffset = pageAligned(entries * SUBMISSION_WORDS * 4);
    const listsOffset = completionOffset + pageAligned(entries * COMPLETION_WORDS * 4);
    this.#words = memory.words;
    this.submissionIo = memory.io;
    this.completionIo = memory.io + completionOffset;
    this.#completionAt = completionOffset >>> 2;
    this.#listsAt = listsOffset >>> 2;
    this.#listsIo = memory.io + listsOffset;
    this.#done = new Array<CommandDone | null>(entries).fill(null);
    // A full queue has one entry unused (§4.1.1).
    for (let id = entries - 2; id >= 0; id--) this.#free.push(id);
  }

  get room(): number {
    return this.#free.length;
  }

  get inFlight(): number {
    return this.entries - 1 - this.#free.length;
  }

  /**
   * Puts a command into the queue; it runs when {@link kick} is called.
   * @param data I/O address of its data, contiguous; 0 length: none
   */
  submit(
    opcode: number,
    namespace: number,
    data: number,
    length: number,
    dwords: readonly [number, number, number, number, number, number],
    done: CommandDone,
  ): void {
    const id = this.#free.pop();
    if (id === undefined) throw new RangeError("submission queue full: its owner must look at `room` first");
    this.#done[id] = done;
    const words = this.#words;
    const at = this.#tail * SUBMISSION_WORDS;
    words[at] = opcode | (id << 16);
    words[at + 1] = namespace;
    words[at + 2] = 0;
    words[at + 3] = 0;
    words[at + 4] = 0;
    words[at + 5] = 0;
    this.#describe(at, id, data, length);
    for (let i = 0; i < 6; i++) words[at + 10 + i] = dwords[i];
    this.#tail = (this.#tail + 1) % this.entries;
  }

  /**
   * The same for a command whose few data words the driver makes up itself: they travel in the command's own list memory.
   * @param payload at most 512 words
   */
  submitWords(
    opcode: number,
    namespace: number,
    payload: readonly number[],
    dwords: readonly [number, number, number, number, number, number],
    done: CommandDone,
  ): void {
    const id = this.#free.at(-1);
    if (id === undefined) throw new RangeError("submission queue full: its owner must look at `room` first");
    this.#words.set(payload, this.#listsAt + id * (PRP_LIST_BYTES >>> 2));
    this.submit(opcode, namespace, this.#listsIo + id * PRP_LIST_BYTES, 4 * payload.length, dwords, done);
  }

  kick(): void {
    this.ring.submission(this.#tail);
  }

  /** Takes what has completed. @returns whether there was anything */
  reap(): boolean {
    const words = this.#words;
    let any = false;
    for (;;) {
      const at = this.#completionAt + this.#head * COMPLETION_WORDS;
      const last = words[at + 3];
      if (((last >>> 16) & 1) !== this.#phase) break;
      any = true;
      const result = words[at];
      if (++this.#head === this.entries) {
        this.#head = 0;
        this.#phase ^= 1;
      }
      const id = last & 0xffff;
      const done = this.#done[id];
      if (done === undefined || done === null) throw new Error(`completion for command ${id}, which is not in flight`);
      this.#done[id] = null;
      this.#free.push(id);
      done(last >>> 17, result);
    }
    if (any) this.ring.completion(this.#head);
    return any;
  }

  /** Data pointer of a command (§4.3): one or two pages directly, more through the command's list. */
  #describe(at: number, id: number, data: number, length: number): void {
    const words = this.#words;
    setAddress(words, at + 6, length === 0 ? 0 : data);
    const second = data - (data % PAGE_SIZE) + PAGE_SIZE;
    const end = data + length;
    if (length === 0 || end <= second) {
      setAddress(words, at + 8, 0);
    } else if (end <= second + PAGE_SIZE) {
      setAddress(words, at + 8, second);
    } else {
      let entry = this.#listsAt + id * (PRP_LIST_BYTES >>> 2);
      let low = second % 2 ** 32;
      let high = Math.floor(second / 2 ** 32);
      for (let left = end - second; left > 0; left -= PAGE_SIZE, entry += 2) {
        words[entry] = low;
        words[entry + 1] = high;
        low += PAGE_SIZE;
        if (low === 2 ** 32) {
          low = 0;
          high++;
        }
      }
      setAddress(words, at + 8, this.#listsIo + id * PRP_LIST_BYTES);
    }
  }
}

function setAddress(words: Uint32Array, at: number, address: number): void {
  words[at] = address;
  words[at + 1] = address / 2 ** 32;
}

function pageAligned(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
}
