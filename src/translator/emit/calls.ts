import type { GuestAddress } from "../../util/guest-address.js";
import { CPU, ExitReason } from "../cpu-state.js";
import type { Convention } from "../flow/convention.js";
import { GENERAL_MASK } from "../flow/effects.js";
import type { Node } from "../flow/region.js";
import type { Residence } from "../flow/residence.js";
import { RSP } from "../instruction.js";
import { ARITHMETIC_FLAGS, type Expr, type Step } from "../ir.js";
import { ALL_VARIABLES, type CallEffects } from "./call-effects.js";
import { EXIT_STATUS } from "./exits.js";
import type { Version } from "./facts.js";
import type { Fuel } from "./fuel.js";
import { NO_FLAGS } from "./lazy-flags.js";
import { type ClosedFunction, eachRegister, type Linkage } from "./linkage.js";
import { DEPTH } from "./locals.js";
import type { Writers } from "./steps.js";

/** Writes calls, returns and jumps to other functions. */
export class Calls {
  /** The version that the stack pointer has at the entry. */
  entrySp: Version = { root: 0, offset: 0 };

  constructor(
    private readonly w: Writers,
    private readonly linkage: Linkage,
    private readonly convention: Convention | null,
    private readonly effects: CallEffects,
    private readonly fuel: Fuel,
    private readonly entry: GuestAddress,
  ) {}

  /** With no frame left to nest, the whole nest is left, and the function entered again from the bottom. */
  checkDepth(): void {
    const { body } = this.w;
    body.get(DEPTH);
    body.op("i32.eqz");
    body.if();
    if (this.convention === null) {
      body.i64(this.entry);
      body.op("return");
    } else {
      body.i32(0);
      body.i64(this.entry);
      body.memory("i64.store", CPU.rip, 3);
      this.#word(CPU.reason, ExitReason.elsewhere);
      this.#word(CPU.spilled, 0);
      this.#returnNothing();
    }
    body.end();
  }

  #word(offset: number, value: number): void {
    this.w.body.i32(0);
    this.w.body.i32(value);
    this.w.body.memory("i32.store", offset, 2);
  }

  #returnNothing(): void {
    this.w.body.i64(EXIT_STATUS);
    eachRegister(this.convention?.results ?? 0, () => this.w.body.i64(0));
    this.w.body.op("return");
  }

  call(node: Node, step: Step): void {
    const { body } = this.w;
    const { registers, expressions, locals, exits, flags, facts } = this.w;
    const callee = this.effects.closed(node);
    if (callee !== null) {
      this.#callClosed(node, callee);
      return;
    }
    if (step.kind === "callIndirect" && this.linkage.likely.length > 0) {
      this.#callLikely(node, step.target);
      return;
    }
    registers.flush();
    this.fuel.store();
    if (step.kind === "callIndirect") {
      expressions.emit(step.target);
      this.#lessDepth();
      body.call(this.linkage.indirect);
    } else if (step.kind === "call") {
      this.#lessDepth();
      this.#transfer(step.target, false);
    }
    body.tee(locals.named("status", "i64"));
    body.i64((node.address + node.lifted.instruction.length) | 0);
    body.op("i64.ne");
    body.brIf(exits.afterCall());
    registers.forget();
    flags.state = NO_FLAGS;
    facts.renew(ALL_VARIABLES);
    this.fuel.load();
  }

  /** Compares the target with the likely ones, and calls these with registers in parameters. */
  #callLikely(node: Node, target: Expr): void {
    const { body } = this.w;
    const { registers, expressions, locals, exits, flags, facts } = this.w;
    const to = locals.named("target", "i64");
    expressions.emit(target);
    body.set(to);
    const before = { ...registers.at };
    const returned = this.effects.returned(node);
    const left = this.effects.callees(node).reduce((mask, c) => mask | c.changes, 0) & ~returned;
    const after: Residence = {
      local: (before.local | returned) & ~left,
      dirty: (before.dirty | returned) & ~left,
      narrow: before.narrow & ~(returned | left),
      own: -1,
    };
    const done = body.block();
    for (const { address, target: callee } of this.linkage.likely) {
      body.get(to);
      body.i64(address | 0);
      body.op("i64.eq");
      body.if();
      this.#enterAndReturn(node, callee);
      registers.mend(after);
      body.br(done);
      body.end();
      registers.at = { ...before };
    }
    registers.flush();
    this.fuel.store();
    body.get(to);
    this.#lessDepth();
    body.call(this.linkage.indirect);
    body.tee(locals.named("status", "i64"));
    body.i64((node.address + node.lifted.instruction.length) | 0);
    body.op("i64.ne");
    body.brIf(exits.afterCall());
    registers.forget();
    this.fuel.load();
    registers.mend(after);
    body.end();
    registers.at = after;
    flags.state = NO_FLAGS;
    facts.renew(ALL_VARIABLES);
  }

  /** A call of a closed function up to where it has returned, the return address off the stack. */
  #enterAndReturn(node: Node, callee: ClosedFunction): void {
    const { body } = this.w;
    const { registers, locals, exits } = this.w;
    this.#passRegisters(callee);
    body.get(locals.named("status", "i64"));
    body.i64((node.address + node.lifted.instruction.length) | 0);
    body.op("i64.ne");
    body.brIf(exits.afterClosedCall(callee.convention, callee.convention.spends));
    this.#takeResults(callee);
    registers.get64(RSP);
    body.i64(8);
    body.op("i64.add");
    registers.set64(RSP);
  }

  /** With registers in parameters and results. */
  #callClosed(node: Node, callee: ClosedFunction): void {
    const { flags, facts } = this.w;
    const { root, offset } = facts.register(RSP);
    this.#enterAndReturn(node, callee);
    facts.renew(callee.convention.changes & GENERAL_MASK);
    facts.setRegister(RSP, { root, offset: offset + 8 });
    flags.state = NO_FLAGS;
  }

  /** Calls; leaves the status and the results in locals of their own. */
  #passRegisters({ index, convention }: ClosedFunction): void {
    const { body } = this.w;
    const { registers, locals } = this.w;
    if (convention.spends) this.fuel.store();
    registers.flushVectors();
    if (convention.deep) this.#lessDepth();
    eachRegister(convention.parameters, (r) => registers.get64(r));
    body.call(index);
    const results: number[] = [];
    eachRegister(convention.results, (r) => results.push(r));
    for (const r of results.reverse()) body.set(locals.named(`result${r}`, "i64"));
    body.set(locals.named("status", "i64"));
  }

  #takeResults({ convention }: ClosedFunction): void {
    const { body } = this.w;
    const { registers, locals } = this.w;
    eachRegister(convention.results, (r) => {
      body.get(locals.named(`result${r}`, "i64"));
      registers.set64(r);
    });
    registers.leave(convention.changes & ~convention.results);
    if (convention.spends) this.fuel.load();
  }

  #lessDepth(): void {
    this.w.body.get(DEPTH);
    this.w.body.i32(1);
    this.w.body.op("i32.sub");
  }

  /** Calls or jumps to a function; its depth is on the stack. */
  #transfer(target: GuestAddress, tail: boolean): void {
    const { body } = this.w;
    const callee = this.linkage.callee(target);
    if ("index" in callee) {
      if (tail) body.returnCall(callee.index);
      else body.call(callee.index);
      return;
    }
    body.i32(callee.slot);
    if (tail) body.returnCallIndirect(this.linkage.type);
    else body.callIndirect(this.linkage.type);
  }

  /** An inlined leaf returns: somewhere else if it changed its return address. */
  checkReturn(node: Node, target: Expr): void {
    const { body } = this.w;
    const { expressions, registers } = this.w;
    expressions.emit(target);
    body.i64(node.returnsTo | 0);
    body.op("i64.ne");
    body.if();
    registers.store(registers.at.dirty & registers.at.local);
    this.fuel.store();
    if (this.convention === null) {
      expressions.emit(target);
      body.op("return");
    } else {
      body.i32(0);
      expressions.emit(target);
      body.memory("i64.store", CPU.rip, 3);
      this.#word(CPU.spilled, registers.at.own);
      this.#word(CPU.reason, ExitReason.elsewhere);
      this.#returnNothing();
    }
    body.end();
  }

  /** On to another function, this one's frame gone. */
  tail(target: GuestAddress): void {
    const { body } = this.w;
    const convention = this.convention;
    const callee = convention === null ? null : this.linkage.closed(target);
    if (convention !== null && callee !== null) {
      this.#passRegisters(callee);
      const status = this.w.locals.named("status", "i64");
      body.get(status);
      body.i64(EXIT_STATUS);
      body.op("i64.eq");
      body.brIf(this.w.exits.afterClosedCall(callee.convention, callee.convention.spends));
      this.#takeResults(callee);
      this.#returnResults(convention, () => body.get(status));
      return;
    }
    this.w.registers.flush();
    this.spendOnTail(() => body.i64(target | 0));
    body.get(DEPTH);
    this.#transfer(target, true);
  }

  /** Returns to an address. */
  returnTo(target: () => void): void {
    const { body } = this.w;
    const { registers, facts, locals } = this.w;
    const convention = this.convention;
    if (convention === null) {
      registers.flush();
      this.fuel.store();
      target();
      body.op("return");
      return;
    }
    const { root, offset } = facts.register(RSP);
    if (root !== this.entrySp.root || offset !== this.entrySp.offset + 8) {
      // The stack pointer is no result, so it has to be what callers take it to be.
      registers.get64(RSP);
      body.get(locals.named("entrySp", "i64"));
      body.i64(8);
      body.op("i64.add");
      body.op("i64.ne");
      body.if();
      registers.store(registers.at.dirty & registers.at.local);
      this.fuel.store();
      this.#word(CPU.spilled, registers.at.own);
      this.#word(CPU.reason, ExitReason.elsewhere);
      body.i32(0);
      target();
      body.memory("i64.store", CPU.rip, 3);
      this.#returnNothing();
      body.end();
    }
    this.#returnResults(convention, target);
  }

  #returnResults(convention: Convention, target: () => void): void {
    const { registers } = this.w;
    const { dirty, local } = registers.at;
    // Callers take what it may change and does not return to be in memory, also where it did not change it.
    const kept = (dirty | (convention.changes & GENERAL_MASK)) & local;
    registers.store(kept & ~convention.results & ~(1 << RSP));
    this.fuel.store();
    target();
    eachRegister(convention.results, (r) => registers.get64(r));
    this.w.body.op("return");
  }

  /** Translated code goes on from them, so they are to be computed. */
  storeFlags(): void {
    const { flags } = this.w;
    flags.materialize(ARITHMETIC_FLAGS);
    flags.store(ARITHMETIC_FLAGS, flags.state);
  }

  /** Chains of jumps between functions nest no frames, so nothing but fuel ends them. */
  spendOnTail(target: () => void): void {
    const { body } = this.w;
    const fuel = this.fuel.local();
    if (fuel === null) return;
    body.get(fuel);
    body.i32(1);
    body.op("i32.sub");
    body.set(fuel);
    this.fuel.store();
    body.get(fuel);
    body.i32(0);
    body.op("i32.lt_s");
    body.if();
    body.i32(0);
    target();
    body.memory("i64.store", CPU.rip, 3);
    body.i32(0);
    body.i32(ExitReason.elsewhere);
    body.memory("i32.store", CPU.reason, 2);
    body.i64(EXIT_STATUS);
    body.op("return");
    body.end();
  }

  /** Where this region does not go: the runtime finds what is there. */
  elsewhere(address: GuestAddress): void {
    this.w.registers.flush();
    this.storeFlags();
    this.fuel.store();
    this.w.body.i64(address | 0);
    this.w.body.op("return");
  }
}
