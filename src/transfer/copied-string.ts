import type { Message } from "../capability/endpoint.js";
import { STRING_LIMIT } from "../capability/endpoint.js";
import { copyBytes } from "../util/bytes.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import type { TransferStatistics } from "./statistics.js";

interface WaitingReader {
  readonly most: number;
  readonly resolve: (reply: Message) => void;
}

/**
 * Case 1: solicited I/O with an extra copy. Bytes gather in driver-reserved memory, used as a ring, and leave it as a
 * copied string in the reply to whoever asked. Readers are served in the order in which they asked.
 */
export class CopiedStringQueue {
  readonly #memory: Uint8Array;
  readonly #statistics: TransferStatistics;
  readonly #readers: WaitingReader[] = [];
  #head = 0;
  #used = 0;
  /** Bytes that came while the ring was full. */
  overruns = 0;

  constructor(memory: Uint8Array, statistics: TransferStatistics) {
    this.#memory = memory;
    this.#statistics = statistics;
  }

  get length(): number {
    return this.#used;
  }

  get free(): number {
    return this.#memory.length - this.#used;
  }

  /** Takes a byte from the device. @returns false, and counts it, when there is no room */
  push(byte: number): boolean {
    if (this.#used === this.#memory.length) {
      this.overruns++;
      return false;
    }
    this.#memory[(this.#head + this.#used) % this.#memory.length] = byte;
    this.#used++;
    return true;
  }

  /** Takes as much of a string as fits. @returns how many bytes did */
  pushAll(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.free);
    for (let i = 0; i < count; i++) this.push(bytes[i]);
    if (count > 0) this.#statistics.countCopy(count);
    return count;
  }

  /** @returns the oldest byte, or −1 */
  shift(): number {
    if (this.#used === 0) return -1;
    const byte = this.#memory[this.#head];
    this.#head = (this.#head + 1) % this.#memory.length;
    this.#used--;
    return byte;
  }

  /**
   * The reply to a reader: now if there is anything, else when {@link serve} finds something.
   * @param most bytes that the reader takes
   */
  read(label: number, most: number): MaybePromise<Message> {
    if (this.#used > 0 && this.#readers.length === 0) return { label, string: this.#take(most) };
    return new Promise<Message>((resolve) => {
      this.#readers.push({ most, resolve });
    });
  }

  /** Serves those who wait, after the device has delivered. */
  serve(label: number): void {
    while (this.#used > 0 && this.#readers.length > 0) {
      const reader = this.#readers.shift();
      reader?.resolve({ label, string: this.#take(reader.most) });
    }
  }

  #take(most: number): Uint8Array {
    const count = Math.min(most, this.#used, STRING_LIMIT);
    const string = new Uint8Array(count);
    const first = Math.min(count, this.#memory.length - this.#head);
    copyBytes(string, 0, this.#memory, this.#head, first);
    copyBytes(string, first, this.#memory, 0, count - first);
    this.#head = (this.#head + count) % this.#memory.length;
    this.#used -= count;
    this.#statistics.countCopy(count);
    return string;
  }
}
