import { CPU, type ExitReason } from "../cpu-state.js";
import type { Residence } from "../flow/residence.js";
import type { FunctionBody, Label, LocalIndex } from "../wasm-assembler.js";
import type { FlagsState, LazyFlags } from "./lazy-flags.js";
import type { Locals } from "./locals.js";
import type { Registers } from "./registers.js";

/** What a translated function returns when `reason` in the processor's state says why it stopped. */
export const EXIT_STATUS = -1;

/**
 * The ways out of a function, at its end, out of the way of what runs: each writes the state to memory and returns. Sites
 * whose state lies in the same places share one; the local `pc` tells them apart.
 */
export class Exits {
  readonly #numbers = new Map<string, Label>();
  readonly #tails: (() => void)[] = [];

  constructor(
    private readonly body: FunctionBody,
    private readonly locals: Locals,
    private readonly registers: Registers,
    private readonly flags: () => LazyFlags,
    /** The address that `pc` counts from: its low half; the high half is its sign. */
    private readonly base: number,
    private readonly fuel: () => LocalIndex | null,
    /** Registers that the way out need not write, as they are not needed there (a bit each). */
    private readonly dispensable: number,
  ) {}

  /** The label to go to, to leave with `reason` and the state as it is now, at the address in `pc`. */
  now(reason: ExitReason, lanes: number): Label {
    const at: Residence = { ...this.registers.at };
    const dirty = at.dirty & at.local & ~this.dispensable;
    const state = this.flags().state;
    const key = [reason, dirty, at.narrow & dirty, flagsKey(state, lanes)].join(":");
    return this.#label(key, () => {
      this.registers.store(dirty, at);
      if (lanes !== 0) this.flags().store(lanes, state);
      this.body.i32(0);
      this.body.get(this.locals.named("pc", "i32"));
      this.body.op("i64.extend_i32_s");
      if (this.base !== 0) {
        this.body.i64(this.base);
        this.body.op("i64.add");
      }
      this.body.memory("i64.store", CPU.rip, 3);
      this.#leave(reason);
    });
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

  /** Puts the ways out behind what was written so far. */
  finish(): void {
    this.body.surround(this.#tails);
  }

  #leave(reason: ExitReason): void {
    const { body } = this;
    const fuel = this.fuel();
    if (fuel !== null) {
      body.i32(0);
      body.get(fuel);
      body.memory("i32.store", CPU.fuel, 2);
    }
    body.i32(0);
    body.i32(reason);
    body.memory("i32.store", CPU.reason, 2);
    body.i64(EXIT_STATUS);
    body.op("return");
  }

  #label(key: string, tail: () => void): Label {
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
