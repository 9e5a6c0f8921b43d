import { InputError } from "../../util/errors.js";
import type { StateReader } from "../../util/state-reader.js";
import { PACKET_BUFFER_KIB } from "./registers.js";

const CAPACITY = PACKET_BUFFER_KIB * 1024;
/** Each frame is preceded by its length, status and special field. */
const HEADER_BYTES = 16;
const FCS_BYTES = 4;

export interface PacketFifoState {
  /** Frames with their headers, one behind the other. */
  content: number[];
}

/** The receive part of the on-chip packet buffer: frames that wait for descriptors. */
export class PacketFifo {
  readonly bytes = new Uint8Array(CAPACITY);
  readonly view = new DataView(this.bytes.buffer);
  #head = 0;
  #tail = 0;

  get empty(): boolean {
    return this.#head === this.#tail;
  }

  // The frame at the head: undefined when empty.

  get start(): number {
    return this.#head + HEADER_BYTES;
  }

  get length(): number {
    return this.view.getUint32(this.#head, true);
  }

  get status(): number {
    return this.view.getUint32(this.#head + 4, true);
  }

  get special(): number {
    return this.view.getUint32(this.#head + 8, true);
  }

  /** @param kibibytes that PBA gives to reception @returns false if there is no room */
  push(source: Uint8Array, at: number, length: number, status: number, special: number, kibibytes: number): boolean {
    const room = entryBytes(length);
    const limit = Math.min(CAPACITY, kibibytes * 1024);
    if (this.#tail - this.#head + room > limit) return false;
    if (this.#tail + room > CAPACITY) {
      this.bytes.copyWithin(0, this.#head, this.#tail);
      this.#tail -= this.#head;
      this.#head = 0;
    }
    this.view.setUint32(this.#tail, length, true);
    this.view.setUint32(this.#tail + 4, status, true);
    this.view.setUint32(this.#tail + 8, special, true);
    this.view.setUint32(this.#tail + 12, 0, true);
    const end = this.#tail + HEADER_BYTES + length;
    this.bytes.set(source.subarray(at, at + length), this.#tail + HEADER_BYTES);
    this.#tail += room;
    // A snapshot is not to show what was here before.
    this.bytes.fill(0, end, this.#tail);
    return true;
  }

  shift(): void {
    this.#head += entryBytes(this.length);
    if (this.empty) this.clear();
  }

  clear(): void {
    this.#head = 0;
    this.#tail = 0;
  }

  snapshot(): PacketFifoState {
    return { content: [...this.bytes.subarray(this.#head, this.#tail)] };
  }

  restore(state: StateReader): void {
    const content = state.numbers("content", 0, CAPACITY, 0xff);
    this.bytes.set(content);
    this.#head = 0;
    this.#tail = content.length;
    let at = 0;
    while (at + HEADER_BYTES <= content.length) at += entryBytes(Math.min(CAPACITY, this.view.getUint32(at, true)));
    if (at === content.length) return;
    this.clear();
    throw new InputError("snapshot-misfit", `the snapshot does not fit ${state.part}: its frames do not add up`);
  }
}

function entryBytes(length: number): number {
  return HEADER_BYTES + ((length + FCS_BYTES + 15) & ~15);
}
