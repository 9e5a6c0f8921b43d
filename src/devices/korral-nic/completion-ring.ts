import type { DmaPort } from "../../bus/io-mmu.js";
import { Completion, ENTRY_BYTES } from "./registers.js";

/** Plain-state twin. */
export interface CompletionRingState {
  written: number;
  unread: number;
  phase: boolean;
  armed: boolean;
}

/** The board's end of a completion ring in host memory (§3). */
export class CompletionRing {
  base = 0;
  /** Completions written that the driver has not taken yet. */
  unread = 0;
  /** Index of the next completion. */
  written = 0;
  armed = false;
  #mask = 0;
  #phase: number = Completion.PHASE;
  readonly #entry = new Uint8Array(ENTRY_BYTES);
  readonly #words = new DataView(this.#entry.buffer);

  /** @param entries a power of two */
  start(base: number, entries: number): void {
    this.base = base;
    this.unread = 0;
    this.written = 0;
    this.armed = false;
    this.#mask = entries - 1;
    this.#phase = Completion.PHASE;
  }

  /** @returns false if the write was refused */
  write(dma: DmaPort, cookie: number, stored: number, wire: number, flags: number): boolean {
    const words = this.#words;
    words.setUint32(0, cookie, true);
    words.setUint32(4, (wire << 16) | stored, true);
    words.setUint32(12, flags | this.#phase, true);
    if (!dma.write(this.base + this.written * ENTRY_BYTES, this.#entry, 0, ENTRY_BYTES)) return false;
    this.written = (this.written + 1) & this.#mask;
    if (this.written === 0) this.#phase ^= Completion.PHASE;
    this.unread++;
    return true;
  }

  /** The driver has read up to `index`. @returns false if that cannot be */
  take(index: number): boolean {
    const left = (this.written - index) & this.#mask;
    if (index > this.#mask || left > this.unread) return false;
    this.unread = left;
    return true;
  }

  snapshot(): CompletionRingState {
    return { written: this.written, unread: this.unread, phase: this.#phase !== 0, armed: this.armed };
  }

  /** Goes on in a ring that was just started. */
  restore(state: CompletionRingState): void {
    this.written = state.written;
    this.unread = state.unread;
    this.#phase = state.phase ? Completion.PHASE : 0;
    this.armed = state.armed;
  }
}
