import type { GuestAddress } from "../../util/guest-address.js";
import { CPU, ExitReason } from "../cpu-state.js";
import { GENERAL_MASK, isZeroExtended, type Lifted, VECTORS } from "../flow/effects.js";
import type { Address, Expr, Step } from "../ir.js";
import type { FunctionBody, Label } from "../wasm-assembler.js";
import type { MemoryOperation } from "../wasm-opcodes.js";
import type { Accesses, Place } from "./access.js";
import type { Exits } from "./exits.js";
import { type Expressions, fits } from "./expressions.js";
import { EPOCH_BIT, type Facts } from "./facts.js";
import type { LazyFlags } from "./lazy-flags.js";
import type { IoFunctions } from "./linkage.js";
import type { Locals } from "./locals.js";
import type { Registers } from "./registers.js";
import { simplified, simplify } from "./simplify.js";

/** The parts that write one function together. */
export interface Writers {
  readonly body: FunctionBody;
  readonly locals: Locals;
  readonly registers: Registers;
  readonly flags: LazyFlags;
  readonly facts: Facts;
  readonly accesses: Accesses;
  readonly expressions: Expressions;
  readonly exits: Exits;
  /** What asks the host for accesses to registers of devices. */
  readonly io: IoFunctions;
  /** Whether an instruction has accessed such. */
  readonly isIo: (address: GuestAddress) => boolean;
}

/** Where an instruction stands. */
export interface Site {
  /** Its address, from the region's base on. */
  readonly pc: number;
  /** Flags that are needed after it, and at its start. */
  readonly lanesAfter: number;
  readonly lanesBefore: number;
  /** The next instruction is a branch that alone reads the flags that this one sets. */
  readonly fused: boolean;
}

const LOADS: Readonly<Record<"i32" | "i64", Readonly<Record<number, readonly [MemoryOperation, MemoryOperation]>>>> = {
  i32: {
    1: ["i32.load8_u", "i32.load8_s"],
    2: ["i32.load16_u", "i32.load16_s"],
    4: ["i32.load", "i32.load"],
  },
  i64: {
    1: ["i64.load8_u", "i64.load8_s"],
    2: ["i64.load16_u", "i64.load16_s"],
    4: ["i64.load32_u", "i64.load32_s"],
    8: ["i64.load", "i64.load"],
  },
};

const STORES: Readonly<Record<"i32" | "i64", Readonly<Record<number, MemoryOperation>>>> = {
  i32: { 1: "i32.store8", 2: "i32.store16", 4: "i32.store" },
  i64: { 1: "i64.store8", 2: "i64.store16", 4: "i64.store32", 8: "i64.store" },
};

/** Writes the steps of instructions, control transfers left to `function.ts`. */
export class Steps {
  #site: Site = { pc: 0, lanesAfter: 0, lanesBefore: 0, fused: false };
  #pcSet: number | null = null;
  /** Inside an `if` or a `loop`: nothing may be put off. */
  #nesting = 0;
  #leave: Label[] = [];
  #asksHost = false;
  #readForWrite: { address: Address; place: Place } | null = null;

  constructor(private readonly w: Writers) {}

  /** What `pc` holds is not known any more. */
  forgetPc(): void {
    this.#pcSet = null;
  }

  /** Leaves the function if the i32 on the stack is not 0, with the state as before the instruction at hand. */
  readonly leaveIf = (): void => {
    this.#setPc();
    this.w.body.brIf(this.w.exits.now(ExitReason.step, this.#site.lanesBefore));
  };

  leave(): void {
    this.#setPc();
    this.w.body.br(this.w.exits.now(ExitReason.step, this.#site.lanesBefore));
  }

  /** All steps but a control transfer at the end. @returns the last step, if it is one */
  write(lifted: Lifted, site: Site, steps: readonly Step[] | null = null): Step | null {
    const { w } = this;
    this.#site = site;
    this.#readForWrite = null;
    this.#asksHost = w.isIo(lifted.instruction.address);
    w.facts.startInstruction();
    const { effects } = lifted;
    if (effects.branchesInside) {
      for (let r = 0; r < 16; r++) {
        if ((effects.conditionalWrites & (1 << r)) !== 0) {
          w.registers.widen(r);
          w.registers.mark(r, false);
        } else if (((effects.reads | effects.writes) & (1 << r)) !== 0) w.registers.ensure(r);
      }
      for (let r = VECTORS; r < 2 * VECTORS; r++) {
        if (((effects.reads | effects.writes) & (1 << r)) !== 0) w.registers.ensure(r);
        if ((effects.conditionalWrites & (1 << r)) !== 0) w.registers.mark(r, false);
      }
      w.facts.renew(effects.conditionalWrites & GENERAL_MASK);
      if (effects.conditionalLanes) w.flags.materialize(site.lanesBefore & (site.lanesAfter | effects.lanesRead));
    }
    const simple = steps === null ? simplified(lifted, site.lanesAfter) : simplify(steps, site.lanesAfter);
    w.expressions.inlined = simple.inlined;
    let last: Step | null = null;
    const list = simple.steps;
    for (let i = 0; i < list.length; i++) {
      if (i === list.length - 1 && isTransfer(list[i])) last = list[i];
      else this.#step(list[i], effects.branchesInside ? null : (list[i + 1] ?? null));
    }
    w.facts.renew(effects.conditionalWrites & GENERAL_MASK);
    return last;
  }

  #setPc(): void {
    if (this.#pcSet === this.#site.pc && this.#nesting === 0) return;
    this.w.body.i32(this.#site.pc);
    this.w.body.set(this.w.locals.named("pc", "i32"));
    this.#pcSet = this.#nesting === 0 ? this.#site.pc : null;
  }

  #step(step: Step, next: Step | null): void {
    const { w } = this;
    const { body } = w;
    switch (step.kind) {
      case "let":
        w.expressions.emit(step.value);
        body.set(w.locals.temporary(step.index, step.value.type));
        w.facts.setTemporary(step.index, this.#nesting > 0 ? null : w.facts.versionOf(this.#resolved(step.value)));
        return;
      case "load":
        this.#load(step, next);
        return;
      case "store":
        this.#store(step);
        return;
      case "probe":
        w.accesses.place(step.address, step.bytes, step.write ? "write" : "read");
        return;
      case "set":
        this.#set(step);
        return;
      case "setXmm":
        w.expressions.emit(step.value);
        w.registers.setVector(step.register);
        return;
      case "flags":
        if (this.#nesting > 0) {
          w.flags.set(step.flags, this.#site.lanesAfter | this.#site.lanesBefore, true);
          w.flags.materialize(this.#site.lanesAfter | this.#site.lanesBefore);
        } else w.flags.set(step.flags, this.#site.lanesAfter, !this.#site.fused);
        return;
      case "setLane":
        w.expressions.emit(step.value);
        w.flags.setLane(step.lane);
        return;
      case "setField":
        body.i32(0);
        w.expressions.emit(step.value);
        body.memory("i64.store", CPU[step.field], 3);
        return;
      case "if":
        this.#if(step);
        return;
      case "loop":
        this.#loop(step.body);
        return;
      case "leave":
        body.br(this.#leave[this.#leave.length - 1]);
        return;
      case "trap":
        this.leave();
        return;
      default:
        return;
    }
  }

  #load(step: Step & { kind: "load" }, next: Step | null): void {
    const { w } = this;
    if (this.#asksHost && step.type === "i32" && step.bytes <= 4) {
      this.#loadFromHost(step);
      return;
    }
    const place = w.accesses.place(step.address, step.bytes, step.forWrite ? "write" : "read");
    if (step.forWrite) this.#readForWrite = { address: step.address, place };
    const read = (): void => {
      place.push();
      if (step.type === "v128") w.body.vectorMemory("v128.load", place.offset);
      else w.body.memory(LOADS[step.type][step.bytes][step.signed ? 1 : 0], place.offset);
    };
    w.facts.setTemporary(step.index, null);
    w.expressions.deferred.delete(step.index);
    if (this.#nesting === 0 && next?.kind === "set" && next.width >= 4 && usesOnce(next.value, step.index)) {
      w.expressions.deferred.set(step.index, () => {
        w.expressions.deferred.delete(step.index);
        read();
      });
      return;
    }
    read();
    w.body.set(w.locals.temporary(step.index, step.type));
  }

  /** (low, high, bytes) → value; the host says whether it refused. */
  #loadFromHost(step: Step & { kind: "load" }): void {
    const { w } = this;
    const { body } = w;
    const value = w.locals.temporary(step.index, step.type);
    w.accesses.halves(step.address);
    body.i32(step.bytes);
    body.call(w.io.load);
    if (step.signed && step.bytes < 4) body.op(step.bytes === 1 ? "i32.extend8_s" : "i32.extend16_s");
    body.set(value);
    body.i32(0);
    body.memory("i32.load", CPU.refused, 2);
    this.leaveIf();
    w.facts.setTemporary(step.index, null);
    w.expressions.deferred.delete(step.index);
    w.facts.renew(EPOCH_BIT);
  }

  /** (low, high, bytes, value) → whether it was refused. */
  #storeByHost(step: Step & { kind: "store" }): void {
    const { w } = this;
    const { value } = step;
    w.accesses.halves(step.address);
    w.body.i32(step.bytes);
    w.expressions.emit(
      value.type === "i64" ? { kind: "op", type: "i32", op: "i32.wrap_i64", a: value, b: null } : value,
    );
    w.body.call(w.io.store);
    this.leaveIf();
    w.facts.renew(EPOCH_BIT);
  }

  #store(step: Step & { kind: "store" }): void {
    const { w } = this;
    if (this.#asksHost && step.value.type !== "v128" && step.bytes <= 4) {
      this.#storeByHost(step);
      return;
    }
    const earlier = this.#readForWrite;
    const place =
      step.checked && earlier?.address === step.address
        ? earlier.place
        : w.accesses.place(step.address, step.bytes, step.checked ? null : "write");
    place.push();
    let value = step.value;
    // What is cut off need not be computed: the low half of a 64-bit register is at hand as it is.
    if (step.bytes <= 4 && value.type === "i64")
      value = { kind: "op", type: "i32", op: "i32.wrap_i64", a: value, b: null };
    w.expressions.emit(value);
    if (value.type === "v128") w.body.vectorMemory("v128.store", place.offset);
    else w.body.memory(STORES[value.type][step.bytes], place.offset);
  }

  #set(step: Step & { kind: "set" }): void {
    const { w } = this;
    const { registers, facts, expressions, body } = w;
    const { register, width, value } = step;
    if (this.#nesting > 0 || width < 4) {
      this.#setPart(step);
      facts.setRegister(register, facts.fresh());
      return;
    }
    if (width === 8 && !isZeroExtended(value)) {
      const version = facts.versionOf(this.#resolved(value)) ?? facts.fresh();
      expressions.emit(value);
      registers.set64(register);
      facts.setRegister(register, version);
      return;
    }
    expressions.emit(value.kind === "op" && width === 8 ? value.a : value);
    registers.set32(register);
    facts.setRegister(register, facts.fresh());
    void body;
  }

  /** Into part of a register, or into all of it where the code may not run. */
  #setPart({ register, width, high, value }: Step & { kind: "set" }): void {
    const { registers, expressions, body, locals } = this.w;
    if (width === 8) {
      expressions.emit(value);
      registers.set64(register);
      return;
    }
    if (width === 4) {
      expressions.emit(value);
      body.op("i64.extend_i32_u");
      registers.set64(register);
      return;
    }
    registers.ensure(register);
    const narrow = registers.isNarrow(register);
    const mask = width === 2 ? 0xffff : 0xff;
    const shift = high ? 8 : 0;
    expressions.emit(value);
    if (!fits(value, width)) {
      body.i32(mask);
      body.op("i32.and");
    }
    if (shift > 0) {
      body.i32(shift);
      body.op("i32.shl");
    }
    if (narrow) {
      body.get(locals.narrow(register));
      body.i32(~(mask << shift));
      body.op("i32.and");
      body.op("i32.or");
      registers.set32(register);
    } else {
      body.op("i64.extend_i32_u");
      body.get(locals.wide(register));
      body.i64(~(mask << shift), -1);
      body.op("i64.and");
      body.op("i64.or");
      registers.set64(register);
    }
  }

  #if(step: Step & { kind: "if" }): void {
    const { w } = this;
    w.expressions.emit(step.condition);
    this.#nesting++;
    const known = w.facts.snapshot();
    w.body.if();
    for (const inner of step.then) this.#step(inner, null);
    w.facts.restore(known);
    if (step.otherwise.length > 0) {
      w.body.else();
      for (const inner of step.otherwise) this.#step(inner, null);
      w.facts.restore(known);
    }
    w.body.end();
    this.#nesting--;
    this.#pcSet = null;
  }

  #loop(steps: readonly Step[]): void {
    const { w } = this;
    const { body } = w;
    this.#nesting++;
    const known = w.facts.snapshot();
    const leave = body.block();
    const again = body.loop();
    this.#leave.push(leave);
    const fuel = w.locals.named("fuel", "i32");
    body.get(fuel);
    body.i32(0);
    body.op("i32.lt_s");
    this.#setPc();
    body.brIf(w.exits.now(ExitReason.fuel, this.#site.lanesBefore));
    body.get(fuel);
    body.i32(1);
    body.op("i32.sub");
    body.set(fuel);
    for (const inner of steps) this.#step(inner, null);
    body.br(again);
    this.#leave.pop();
    body.end();
    body.end();
    w.facts.restore(known);
    this.#nesting--;
    this.#pcSet = null;
  }

  /** With temporaries that are written in place put in. */
  #resolved(e: Expr): Expr {
    const { inlined } = this.w.expressions;
    if (e.kind === "tmp") {
      const other = inlined[e.index];
      return other === undefined ? e : this.#resolved(other);
    }
    if (e.kind === "op" && (e.op === "i64.add" || e.op === "i64.sub")) {
      return { ...e, a: this.#resolved(e.a), b: e.b === null ? null : this.#resolved(e.b) };
    }
    return e;
  }
}

const isTransfer = (step: Step): boolean => TRANSFERS.has(step.kind);

const TRANSFERS = new Set<Step["kind"]>([
  "jump",
  "branch",
  "jumpIndirect",
  "call",
  "callIndirect",
  "return",
  "system",
  "unsupported",
]);

/** Whether a value reads a temporary just once, nothing else that could change in between mattering. */
function usesOnce(e: Expr, index: number): boolean {
  let n = 0;
  const walk = (at: Expr): void => {
    switch (at.kind) {
      case "tmp":
        if (at.index === index) n++;
        return;
      case "op":
        walk(at.a);
        if (at.b !== null) walk(at.b);
        return;
      case "select":
        walk(at.c);
        walk(at.a);
        walk(at.b);
        return;
      case "pure":
      case "vop":
        for (const a of at.args) walk(a);
        return;
      default:
        return;
    }
  };
  walk(e);
  return n === 1;
}
