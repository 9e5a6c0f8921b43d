import { LANES, type Lane, type Type } from "../ir.js";
import { LANE_NAMES, registerName } from "../ir-text.js";
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
  readonly #wide: LocalIndex[] = [];
  readonly #narrow: LocalIndex[] = [];
  readonly #vectors: LocalIndex[] = [];
  readonly #lanes: LocalIndex[] = [];
  readonly #temporaries = new Map<Type, LocalIndex[]>();
  readonly #named = new Map<string, LocalIndex>();

  constructor(private readonly body: FunctionBody) {}

  /** Makes a local of 64 bits that the function has as a parameter the register's. */
  adopt(register: number, local: LocalIndex): void {
    this.#wide[register] = local;
  }

  wide(register: number): LocalIndex {
    this.#wide[register] ??= this.body.local("i64");
    return this.#wide[register];
  }

  narrow(register: number): LocalIndex {
    this.#narrow[register] ??= this.body.local("i32");
    return this.#narrow[register];
  }

  vector(register: number): LocalIndex {
    this.#vectors[register] ??= this.body.local("v128");
    return this.#vectors[register];
  }

  lane(lane: Lane): LocalIndex {
    const index = LANES.indexOf(lane);
    this.#lanes[index] ??= this.body.local("i32");
    return this.#lanes[index];
  }

  temporary(index: number, type: Type): LocalIndex {
    let list = this.#temporaries.get(type);
    if (list === undefined) {
      list = [];
      this.#temporaries.set(type, list);
    }
    list[index] ??= this.body.local(type);
    return list[index];
  }

  named(name: string, type: Type): LocalIndex {
    let local = this.#named.get(name);
    if (local === undefined) {
      local = this.body.local(type);
      this.#named.set(name, local);
    }
    return local;
  }

  /** What each local is, for people. */
  names(): ReadonlyMap<LocalIndex, string> {
    const names = new Map<LocalIndex, string>([[DEPTH, "depth"]]);
    const add = (local: LocalIndex | undefined, name: string): void => {
      if (local !== undefined) names.set(local, name);
    };
    for (const [r, local] of this.#narrow.entries()) add(local, registerName(r, 4, false));
    for (const [r, local] of this.#wide.entries()) add(local, registerName(r, 8, false));
    for (const [i, local] of this.#lanes.entries()) add(local, LANE_NAMES[LANES[i]]);
    for (const [type, list] of this.#temporaries) {
      for (const [i, local] of list.entries()) add(local, `t${i}.${type}`);
    }
    for (const [name, local] of this.#named) add(local, name);
    return names;
  }
}
