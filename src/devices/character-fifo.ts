/** Bits of an entry above its character: what the receiver found wrong with it, in the places that the LSR has for it. */
export const CHARACTER_MASK = 0xff;
export const ERROR_SHIFT = 8;

/** A first-in, first-out store of characters, each with its line errors. It grows up to its capacity as needed. */
export class CharacterFifo {
  #entries: Uint16Array;
  #head = 0;
  #count = 0;
  #flagged = 0;

  constructor(readonly capacity: number) {
    this.#entries = new Uint16Array(Math.min(capacity, 64));
  }

  get count(): number {
    return this.#count;
  }

  /** How many entries have a line error. */
  get flagged(): number {
    return this.#flagged;
  }

  /** The oldest entry. Only when there is one. */
  get top(): number {
    return this.#entries[this.#head];
  }

  /** @returns false, and takes nothing, when it is full */
  push(entry: number): boolean {
    if (this.#count === this.capacity) return false;
    if (this.#count === this.#entries.length) this.#grow();
    this.#entries[(this.#head + this.#count) % this.#entries.length] = entry;
    this.#count++;
    if (entry >>> ERROR_SHIFT !== 0) this.#flagged++;
    return true;
  }

  /** Takes the oldest entry away. Only when there is one. */
  shift(): number {
    const entry = this.#entries[this.#head];
    this.#head = (this.#head + 1) % this.#entries.length;
    this.#count--;
    if (entry >>> ERROR_SHIFT !== 0) this.#flagged--;
    return entry;
  }

  /** The oldest entry's errors have been read. */
  clearTopErrors(): void {
    if (this.#count === 0 || this.top >>> ERROR_SHIFT === 0) return;
    this.#entries[this.#head] &= CHARACTER_MASK;
    this.#flagged--;
  }

  clear(): void {
    this.#head = 0;
    this.#count = 0;
    this.#flagged = 0;
  }

  /** Oldest first. */
  toArray(): number[] {
    return Array.from({ length: this.#count }, (_, i) => this.#entries[(this.#head + i) % this.#entries.length]);
  }

  replace(entries: readonly number[]): void {
    this.clear();
    for (const entry of entries) this.push(entry);
  }

  #grow(): void {
    const grown = new Uint16Array(Math.min(this.capacity, this.#entries.length * 2));
    grown.set(this.toArray());
    this.#entries = grown;
    this.#head = 0;
  }
}
