import { CPU } from "../cpu-state.js";
import { GENERAL_MASK, VECTORS } from "../flow/effects.js";
import { NOWHERE, type Residence } from "../flow/residence.js";
import type { FunctionBody } from "../wasm-assembler.js";
import type { Locals } from "./locals.js";

/** The general registers while a function is written: where each is just now, and code to read, change and move them. */
export class Registers {
  at: Residence = { ...NOWHERE };

  constructor(
    private readonly body: FunctionBody,
    readonly locals: Locals,
  ) {}

  /** Leaves the register on the stack, as i64. */
  get64(register: number): void {
    const bit = 1 << register;
    if ((this.at.local & bit) === 0) {
      this.#load(register);
      this.body.tee(this.locals.wide(register));
    } else if ((this.at.narrow & bit) !== 0) {
      this.body.get(this.locals.narrow(register));
      this.body.op("i64.extend_i32_u");
    } else this.body.get(this.locals.wide(register));
  }

  /** Leaves its low half on the stack, as i32. */
  get32(register: number): void {
    const bit = 1 << register;
    if ((this.at.local & this.at.narrow & bit) !== 0) this.body.get(this.locals.narrow(register));
    else {
      this.get64(register);
      this.body.op("i32.wrap_i64");
    }
  }

  isNarrow(register: number): boolean {
    return (this.at.local & this.at.narrow & (1 << register)) !== 0;
  }

  /** Writes back vectors that may have changed: they never go along in parameters. */
  flushVectors(): void {
    const vectors = this.at.dirty & ~GENERAL_MASK;
    this.store(vectors);
    this.at.dirty &= ~vectors;
  }

  /** Brings it into a local, if it is not in one. A vector's number is its bit. */
  ensure(register: number): void {
    if ((this.at.local & (1 << register)) !== 0) return;
    this.#load(register);
    this.#setLoaded(register);
  }

  /** Into the local of 64 bits, for code whose parts may or may not run. */
  widen(register: number): void {
    this.ensure(register);
    const bit = 1 << register;
    if ((this.at.narrow & bit) !== 0) {
      this.get64(register);
      this.body.set(this.locals.wide(register));
      this.at.narrow &= ~bit;
    }
  }

  /** Leaves a vector register on the stack. */
  getVector(register: number): void {
    const bit = VECTORS + register;
    if ((this.at.local & (1 << bit)) === 0) {
      this.#load(bit);
      this.body.tee(this.locals.vector(register));
    } else this.body.get(this.locals.vector(register));
  }

  /** Takes a v128 off the stack. */
  setVector(register: number): void {
    this.body.set(this.locals.vector(register));
    this.mark(VECTORS + register, false);
  }

  /** Takes an i64 off the stack. */
  set64(register: number): void {
    this.body.set(this.locals.wide(register));
    this.mark(register, false);
  }

  /** Takes an i32 off the stack: the low half; the high half becomes zero. */
  set32(register: number): void {
    this.body.set(this.locals.narrow(register));
    this.mark(register, true);
  }

  mark(register: number, narrow: boolean): void {
    const bit = 1 << register;
    this.at.local |= bit;
    this.at.dirty |= bit;
    this.at.own |= bit;
    this.at.narrow = narrow ? this.at.narrow | bit : this.at.narrow & ~bit;
  }

  /** Writes registers (a bit each) from their locals to memory. */
  store(registers: number, at: Residence = this.at): void {
    for (let register = 0; register < 2 * VECTORS; register++) {
      const bit = 1 << register;
      if ((registers & bit) === 0) continue;
      this.body.i32(0);
      if (register >= VECTORS) {
        this.body.get(this.locals.vector(register - VECTORS));
        this.body.vectorMemory("v128.store", CPU.xmm + 16 * (register - VECTORS));
        continue;
      }
      this.push(register, at);
      this.body.memory("i64.store", CPU.registers + 8 * register, 3);
    }
  }

  /** Leaves a register that is in a local on the stack, as i64. */
  push(register: number, at: Residence): void {
    if ((at.narrow & (1 << register)) !== 0) {
      this.body.get(this.locals.narrow(register));
      this.body.op("i64.extend_i32_u");
    } else this.body.get(this.locals.wide(register));
  }

  /** Registers (a bit each) are in memory now, and only there. */
  leave(registers: number): void {
    this.at.local &= ~registers;
    this.at.dirty &= ~registers;
    this.at.narrow &= ~registers;
    this.at.own |= registers;
  }

  /** Writes back all that may have changed; the locals stay as good as memory. */
  flush(): void {
    this.store(this.at.dirty);
    this.at.dirty = 0;
  }

  /** All are in memory now, and only there. */
  forget(): void {
    this.at = { ...NOWHERE, own: -1 };
  }

  /** Whether an edge to code that expects `target` needs any of the code that `mend` writes. */
  needsMending(target: Residence): boolean {
    const { local, dirty, narrow } = this.at;
    return (
      (target.local & ~local) !== 0 ||
      (dirty & local & ~target.local) !== 0 ||
      (narrow & local & target.local & ~target.narrow) !== 0
    );
  }

  /** Brings the registers where `target` wants them. */
  mend(target: Residence): void {
    const { local, dirty, narrow } = this.at;
    this.store(dirty & local & ~target.local);
    for (let register = 0; register < 2 * VECTORS; register++) {
      const bit = 1 << register;
      if ((target.local & ~local & bit) !== 0) {
        this.#load(register);
        this.#setLoaded(register);
      } else if ((narrow & local & target.local & ~target.narrow & bit) !== 0) {
        this.body.get(this.locals.narrow(register));
        this.body.op("i64.extend_i32_u");
        this.body.set(this.locals.wide(register));
      }
    }
  }

  #setLoaded(register: number): void {
    this.body.set(register >= VECTORS ? this.locals.vector(register - VECTORS) : this.locals.wide(register));
  }

  #load(register: number): void {
    this.body.i32(0);
    if (register >= VECTORS) this.body.vectorMemory("v128.load", CPU.xmm + 16 * (register - VECTORS));
    else this.body.memory("i64.load", CPU.registers + 8 * register, 3);
    const bit = 1 << register;
    this.at.local |= bit;
    this.at.narrow &= ~bit;
  }
}
