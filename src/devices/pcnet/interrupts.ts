import type { InterruptPin } from "../../bus/interrupts.js";
import { Csr, Csr0, Csr4, Csr5 } from "./registers.js";

/** INTA, from the causes in CSR0, 4 and 5 with their masks and enables. */
export class Interrupts {
  readonly #csr: Uint16Array;
  readonly #pin: InterruptPin;

  constructor(csr: Uint16Array, pin: InterruptPin) {
    this.#csr = csr;
    this.#pin = pin;
  }

  raise(causes: number): void {
    this.#csr[Csr.STATUS] |= causes;
    this.update();
  }

  update(): void {
    const csr = this.#csr;
    const status = csr[Csr.STATUS];
    const test = csr[Csr.TEST];
    const extended = csr[Csr.EXTENDED];
    const pending =
      (status & ~csr[Csr.MASK] & Csr0.INTERRUPTS) !== 0 ||
      ((test >>> 1) & ~test & Csr4.MASKS) !== 0 ||
      (test & Csr4.UINT) !== 0 ||
      ((extended >>> 1) & extended & Csr5.ENABLES) !== 0;
    csr[Csr.STATUS] = pending ? status | Csr0.INTR : status & ~Csr0.INTR;
    this.#pin.set(pending && (status & Csr0.IENA) !== 0);
  }
}
