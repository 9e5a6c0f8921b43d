import { LANES, type Lane, type Type } from "../ir.js";
import type { FunctionBody, LocalIndex } from "../wasm-assembler.js";

/** The parameter of every translated function: how many wasm frames may still be nested. */
export const DEPTH: LocalIndex = 0;

/** Temporaries from here on hold operands of flags beyond the instruction that set them. */
export const FLAG_OPERANDS = 1000;

/**
 * The locals of one translated function, made when first asked for. A general register has two: one of 64 bits, and one of
 * 32 for while its high half is zero.
 */
export class Locals {
  readonly #wide: (LocalIndex | undefined)[] = [];
  readonly #narrow: (LocalIndex | undefined)[] = [];
  readonly #lanes: (LocalIndex | undefined)[] = [];
  readonly #temporaries = new Map<Type, (LocalIndex | undefined)[]>();
  readonly #named = new Map<string, LocalIndex>();

  constructor(private readonly body: FunctionBody) {}

  /** Makes a local of 64 bits that the function has as a parameter the register's. */
  adopt(register: number, local: LocalIndex): void {
    this.#wide[register] = local;
  }

  wide(register: number): LocalIndex {
    return (this.#wide[register] ??= this.body.local("i64"));
  }

  narrow(register: number): LocalIndex {
    return (this.#narrow[register] ??= this.body.local("i32"));
  }

  lane(lane: Lane): LocalIndex {
    return (this.#lanes[LANES.indexOf(lane)] ??= this.body.local("i32"));
  }

  temporary(index: number, type: Type): LocalIndex {
    let list = this.#temporaries.get(type);
    if (list === undefined) {
      list = [];
      this.#temporaries.set(type, list);
    }
    return (list[index] ??= this.body.local(type));
  }

  named(name: string, type: Type): LocalIndex {
    let local = this.#named.get(name);
    if (local === undefined) {
      local = this.body.local(type);
      this.#named.set(name, local);
    }
    return local;
  }
}
