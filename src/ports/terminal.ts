import type { TerminalLine } from "../devices/terminal-line.js";

/** A terminal line without a terminal: types what a script says, and keeps what was shown. */
export class ScriptedTerminal implements TerminalLine {
  #listener: ((bytes: Uint8Array) => void) | null = null;
  #waiting: Uint8Array[] = [];
  #shown: Uint8Array[] = [];
  #closed = false;

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const bytes of waiting) listener(bytes);
  }

  /** Types text or bytes at the far end; what is typed before anybody listens waits. */
  type(input: string | Uint8Array): void {
    if (this.#closed) return;
    const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input.slice();
    if (this.#listener === null) this.#waiting.push(bytes);
    else this.#listener(bytes);
  }

  write(bytes: Uint8Array): void {
    if (!this.#closed) this.#shown.push(bytes.slice());
  }

  close(): void {
    this.#closed = true;
    this.#waiting = [];
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** All bytes written so far. */
  get shown(): Uint8Array {
    const all = new Uint8Array(this.#shown.reduce((sum, bytes) => sum + bytes.length, 0));
    let at = 0;
    for (const bytes of this.#shown) {
      all.set(bytes, at);
      at += bytes.length;
    }
    return all;
  }

  /** All bytes written so far, read as UTF-8. */
  get text(): string {
    return new TextDecoder().decode(this.shown);
  }
}
