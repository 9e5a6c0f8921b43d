import { Csr } from "./registers.js";

/** A descriptor ring as the CSRs show it: base address, length, and how many descriptors are left before it wraps. */
export class Ring {
  readonly #csr: Uint16Array;
  readonly #base: number;
  readonly #length: number;
  readonly #counter: number;

  /** @param base number of the low address register */
  constructor(csr: Uint16Array, base: number, length: number, counter: number) {
    this.#csr = csr;
    this.#base = base;
    this.#length = length;
    this.#counter = counter;
  }

  static receive(csr: Uint16Array): Ring {
    return new Ring(csr, Csr.BADR, Csr.RCVRL, Csr.RCVRC);
  }

  static transmit(csr: Uint16Array): Ring {
    return new Ring(csr, Csr.BADX, Csr.XMTRL, Csr.XMTRC);
  }

  get base(): number {
    return this.#csr[this.#base] + this.#csr[this.#base + 1] * 0x1_0000;
  }

  /** Lengths and counters are negative numbers in the registers. */
  get length(): number {
    return -this.#csr[this.#length] & 0xffff;
  }

  /** The descriptor that comes next. */
  get index(): number {
    return this.after(0);
  }

  /** The one `steps` behind it. */
  after(steps: number): number {
    const length = this.length;
    if (length === 0) return 0;
    const left = -this.#csr[this.#counter] & 0xffff;
    return (length - (left % length) + steps) % length;
  }

  advance(): void {
    const counter = (this.#csr[this.#counter] + 1) & 0xffff;
    this.#csr[this.#counter] = counter === 0 ? this.#csr[this.#length] : counter;
  }

  place(base: number, length: number): void {
    this.#csr[this.#base] = base & 0xffff;
    this.#csr[this.#base + 1] = base >>> 16;
    this.#csr[this.#length] = -length & 0xffff;
    this.#csr[this.#counter] = -length & 0xffff;
  }
}
