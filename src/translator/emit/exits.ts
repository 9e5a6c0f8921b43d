import { CPU, ExitReason } from "../cpu-state.js";
import type { Convention } from "../flow/convention.js";
import { NOWHERE, type Residence } from "../flow/residence.js";
import { RSP } from "../instruction.js";
import type { FunctionBody, FunctionIndex, Label, LocalIndex } from "../wasm-assembler.js";
import { type FlagsState, type LazyFlags, NO_FLAGS } from "./lazy-flags.js";
import type { Locals } from "./locals.js";
import type { Registers } from "./registers.js";

/** What a translated function returns when `reason` in the processor's state says why it stopped. */
export const EXIT_STATUS = -1;

/** What ways out have to know of their function. */
export interface ExitShape {
  /** Registers that it returns, a bit each; null if it takes and leaves its state in memory. */
  readonly results: number | null;
  /** (i32 register, i64 value): writes a register to memory, unless it is marked as spilled; and marks it. */
  readonly spill: FunctionIndex;
}

/** Writes what follows a block; it may branch to later ones. */
type Tail = (labels: (number: number) => Label) => void;

/**
 * The ways out of a function, at its end, out of the way of what runs: each writes the state to memory and returns. Sites
 * whose state lies in the same places share one; the local `pc` tells them apart.
 */
export class Exits {
  readonly #numbers = new Map<string, Label>();
  readonly #tails: Tail[] = [];
  /** How ways out end, by what they have in common. */
  readonly #ends = new Map<string, { uses: number; place: number; readonly write: () => void }>();
  private last: Residence & {
    readonly reason: ExitReason | null;
    readonly lanes: number;
    readonly state: FlagsState;
    readonly label: Label;
  } = { ...NOWHERE, reason: null, lanes: 0, state: NO_FLAGS, label: 0 as Label };

  constructor(
    private readonly body: FunctionBody,
    private readonly locals: Locals,
    private readonly registers: Registers,
    private readonly flags: () => LazyFlags,
    /** The address that `pc` counts from: its low half; the high half is its sign. */
    private readonly base: number,
    private readonly fuel: () => LocalIndex | null,
    private readonly shape: ExitShape,
  ) {}

  /** The label to go to, to leave with `reason` and the state as it is now, at the address in `pc`. */
  now(reason: ExitReason, lanes: number): Label {
    const { registers, last } = this;
    const state = this.flags().state;
    // Sites follow each other closely: most leave as the one before.
    const isLike =
      last.reason === reason &&
      last.lanes === lanes &&
      last.state === state &&
      last.local === registers.at.local &&
      last.dirty === registers.at.dirty &&
      last.narrow === registers.at.narrow &&
      last.own === registers.at.own;
    if (isLike) return last.label;
    const at: Residence = { ...registers.at };
    const dirty = at.dirty & at.local;
    const own = this.shape.results === null ? 0 : at.own;
    const key = [reason, dirty, at.narrow & dirty, own, flagsKey(state, lanes)].join(":");
    const end = `${reason}:${own}`;
    if (!this.#numbers.has(key)) this.#wantEnd(end, () => this.#end(reason, own));
    const label = this.#label(key, (labels) => {
      registers.store(dirty, at);
      if (lanes !== 0) this.flags().store(lanes, state);
      this.#goToEnd(end, labels);
    });
    this.last = { ...at, reason, lanes, state, label };
    return label;
  }

  /** The label for a call that did not come back where it should, its answer in the local `status`: all is in memory. */
  afterCall(): Label {
    return this.#label("call", () => {
      const { body } = this;
      body.i32(0);
      body.memory("i32.load", CPU.reason, 2);
      body.if();
      body.i64(EXIT_STATUS);
      body.op("return");
      body.end();
      body.get(this.locals.named("status", "i64"));
      body.op("return");
    });
  }

  /**
   * The label for a call with registers in parameters that did not come back where it should. What it did not change is
   * still here: registers are written unless a callee has written them already.
   *
   * @param spends whether the callee keeps the fuel in memory right
   */
  afterClosedCall(callee: Convention, spends: boolean): Label {
    const at: Residence = { ...this.registers.at };
    const dirty = at.dirty & at.local;
    const key = ["closed", dirty, at.narrow & dirty, at.own, callee.results, callee.changes, spends].join(":");
    return this.#label(key, () => {
      const { body, shape } = this;
      body.i32(0);
      body.memory("i32.load", CPU.reason, 2);
      body.op("i32.eqz");
      body.if();
      body.i32(0);
      body.get(this.locals.named("status", "i64"));
      body.memory("i64.store", CPU.rip, 3);
      this.#word(CPU.reason, ExitReason.elsewhere);
      this.#word(CPU.spilled, callee.changes & ~callee.results);
      for (let r = 0; r < 16; r++) {
        if ((callee.results & (1 << r)) !== 0) this.#spill(r, () => body.get(this.locals.named(`result${r}`, "i64")));
      }
      this.#spill(RSP, () => {
        this.registers.push(RSP, at);
        body.i64(8);
        body.op("i64.add");
      });
      body.end();
      for (let r = 0; r < 16; r++) {
        if ((dirty & (1 << r)) !== 0) this.#spill(r, () => this.registers.push(r, at));
      }
      if (shape.results !== null) {
        body.i32(0);
        body.i32(0);
        body.memory("i32.load", CPU.spilled, 2);
        body.i32(at.own);
        body.op("i32.or");
        body.memory("i32.store", CPU.spilled, 2);
      }
      if (!spends) this.#storeFuel();
      this.#return();
    });
  }

  /** Puts the ways out behind what was written so far. @returns by how many bytes that moved */
  finish(): number {
    const tails = [...this.#tails];
    for (const end of this.#ends.values()) {
      if (end.uses === 1) continue;
      end.place = tails.length;
      tails.push(end.write);
    }
    return this.body.surround(tails);
  }

  #wantEnd(key: string, write: () => void): void {
    const known = this.#ends.get(key);
    if (known === undefined) this.#ends.set(key, { uses: 1, place: -1, write });
    else known.uses++;
  }

  #goToEnd(key: string, labels: (number: number) => Label): void {
    const end = this.#ends.get(key);
    if (end === undefined) return;
    if (end.place < 0) end.write();
    else this.body.br(labels(end.place));
  }

  /** Says why, and where to go on: at the address in `pc`. */
  #end(reason: ExitReason, own: number): void {
    const { body } = this;
    body.i32(0);
    body.get(this.locals.named("pc", "i32"));
    body.op("i64.extend_i32_s");
    if (this.base !== 0) {
      body.i64(this.base);
      body.op("i64.add");
    }
    body.memory("i64.store", CPU.rip, 3);
    if (this.shape.results !== null) this.#word(CPU.spilled, own);
    this.#storeFuel();
    this.#word(CPU.reason, reason);
    this.#return();
  }

  /** Returns to say that the function did not: nobody looks at its results. */
  #return(): void {
    const { body } = this;
    body.i64(EXIT_STATUS);
    for (let r = 0; r < 16; r++) if (((this.shape.results ?? 0) & (1 << r)) !== 0) body.i64(0);
    body.op("return");
  }

  #spill(register: number, value: () => void): void {
    this.body.i32(register);
    value();
    this.body.call(this.shape.spill);
  }

  #word(offset: number, value: number): void {
    this.body.i32(0);
    this.body.i32(value);
    this.body.memory("i32.store", offset, 2);
  }

  #storeFuel(): void {
    const fuel = this.fuel();
    if (fuel === null) return;
    this.body.i32(0);
    this.body.get(fuel);
    this.body.memory("i32.store", CPU.fuel, 2);
  }

  #label(key: string, tail: Tail): Label {
    let label = this.#numbers.get(key);
    if (label === undefined) {
      label = this.body.outer(this.#tails.length);
      this.#numbers.set(key, label);
      this.#tails.push(tail);
    }
    return label;
  }
}

function flagsKey({ lazy, lazyMask, locals }: FlagsState, lanes: number): string {
  const mask = lazyMask & lanes;
  const own = locals & lanes & ~lazyMask;
  if (mask === 0 || lazy === null) return `${own}`;
  const constants = [lazy.a, lazy.b, lazy.r].map((e) => (e.kind === "i32" || e.kind === "i64" ? `${e.value}` : ""));
  return `${own},${mask},${lazy.op},${lazy.bytes},${constants.join()}`;
}
