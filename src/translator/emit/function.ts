import type { GuestAddress } from "../../util/guest-address.js";
import { CPU, ExitReason } from "../cpu-state.js";
import { conditionLanes } from "../flags.js";
import type { Convention, Plan } from "../flow/convention.js";
import { isCall, type Liveness, livenessOf, type TransferUses } from "../flow/liveness.js";
import { Costs } from "../flow/loops.js";
import type { Order } from "../flow/order.js";
import type { Block, Node, Region } from "../flow/region.js";
import { NOWHERE, type NodeResidence, type Residence, residencesOf } from "../flow/residence.js";
import { stackHeights } from "../flow/stack-height.js";
import { meetingPoints } from "../flow/versions.js";
import type { GuestSpace } from "../guest-space.js";
import { RSP } from "../instruction.js";
import type { Expr, Step } from "../ir.js";
import type { FunctionBody, FunctionIndex, Label, LocalIndex } from "../wasm-assembler.js";
import { Accesses } from "./access.js";
import { CallEffects, tailTargets } from "./call-effects.js";
import { Calls } from "./calls.js";
import { Exits } from "./exits.js";
import { Expressions } from "./expressions.js";
import { Facts, type Snapshot } from "./facts.js";
import { Fuel } from "./fuel.js";
import { type FlagsState, LazyFlags } from "./lazy-flags.js";
import { eachRegister, type Linkage } from "./linkage.js";
import { DEPTH, Locals } from "./locals.js";
import { Registers } from "./registers.js";
import { Steps, type Writers } from "./steps.js";

const NO_IO = (): boolean => false;

export interface EmitOptions {
  readonly space: GuestSpace;
  /** Check every access against the shadow. */
  readonly checks: boolean;
  /** Leave out checks of what is known to have been checked. */
  readonly elimination: boolean;
  /** Call functions of the same module with registers in parameters where that can be. */
  readonly conventions: boolean;
  /** Count every instruction that is carried out, exactly. */
  readonly count: boolean;
  /** Whether an instruction has accessed registers of devices: the host is asked for its accesses. */
  readonly isIo?: (address: GuestAddress) => boolean;
  /** Is shown each function that has been written. */
  readonly onFunction?: (written: WrittenFunction) => void;
}

/** From `offset` on the code is that of a block, or of a node in it. */
export interface Mark {
  readonly offset: number;
  readonly block: Block;
  /** null: what comes before a block's first node. */
  readonly node: Node | null;
}

/** A function that has been written, for whoever wants to read it. */
export interface WrittenFunction {
  readonly region: Region;
  readonly convention: Convention | null;
  /** As the code section has it. */
  readonly body: Uint8Array;
  /** Ascending, in the code, which follows the declarations of locals. Behind `end` are the ways out. */
  readonly marks: readonly Mark[];
  readonly end: number;
  readonly locals: ReadonlyMap<LocalIndex, string>;
  /** Of all functions that it may call. */
  readonly functions: ReadonlyMap<FunctionIndex, string>;
}

interface Saved {
  readonly at: Residence;
  readonly flags: FlagsState;
  readonly known: Snapshot;
}

/** Writes one region as one function with structured control flow. */
export class FunctionWriter {
  readonly #order: Order;
  readonly #liveness: Liveness;
  readonly #starts: readonly Residence[];
  readonly #meets: Int32Array;
  readonly #w: Writers;
  readonly #steps: Steps;
  readonly #labels: (Label | undefined)[] = [];
  readonly #fuel: Fuel;
  readonly #pays: boolean;
  readonly #costs: Costs;
  readonly #calls: Calls;
  readonly #base: number;
  readonly #convention: Convention | null;
  readonly #heights: readonly (number | null)[];
  readonly region: Region;
  readonly #marks: Mark[] = [];
  #shift = 0;
  #end = 0;
  /** Instructions that were written since the code last added to the count. */
  #uncounted = 0;

  constructor(
    plan: Plan,
    private readonly body: FunctionBody,
    private readonly linkage: Linkage,
    private readonly options: EmitOptions,
  ) {
    const { region, order, convention } = plan;
    this.region = region;
    this.#order = order;
    this.#convention = convention;
    const effects = new CallEffects(linkage, convention);
    const uses: TransferUses = {
      reads: (node) => effects.callees(node).reduce((mask, c) => mask | c.parameters, 0),
      writes: (node) => (isCall(node) ? effects.callees(node).reduce((mask, c) => mask & c.changes, -1) : 0),
      leaving: (block) => effects.readsLeaving(block),
    };
    this.#liveness = livenessOf(order, uses);
    const calls: NodeResidence = {
      flushes: (node) => isCall(node) && effects.callees(node).length === 0,
      returned: (node) => effects.returned(node),
      left: (node) => effects.callees(node).reduce((mask, c) => mask | c.changes, 0) & ~effects.returned(node),
    };
    const first = { ...NOWHERE, local: convention?.parameters ?? 0 };
    this.#starts = residencesOf(order, this.#liveness, calls, first).atStart;
    this.#meets = meetingPoints(
      order,
      order.blocks.map((block) => block.nodes.reduce((mask, node) => mask | effects.defines(node), 0)),
    );
    this.#heights =
      convention === null ? [] : stackHeights(order, (node, at) => effects.heightsAfterCall(node, at)).starts;
    this.#base = region.entry | 0;

    const locals = new Locals(body);
    this.#fuel = new Fuel(body, locals, plan.pays || needsFuel(order));
    this.#pays = plan.pays;
    this.#costs = new Costs(order, options.checks && !options.count);
    const registers = new Registers(body, locals);
    const facts = new Facts(options.elimination);
    const expressions: Expressions = new Expressions(
      body,
      locals,
      registers,
      () => flags,
      (name) => linkage.pure(name),
    );
    const flags = new LazyFlags(body, locals, expressions.emit);
    const exits = new Exits(
      body,
      locals,
      registers,
      () => flags,
      this.#base,
      () => this.#fuel.local(),
      {
        results: convention?.results ?? null,
        spill: linkage.spill,
      },
    );
    const accesses = new Accesses(body, locals, options.space, options.checks, facts, expressions.emit, () =>
      this.#steps.leaveIf(),
    );
    const { io } = linkage;
    const isIo = options.isIo ?? NO_IO;
    this.#w = { body, locals, registers, flags, facts, accesses, expressions, exits, io, isIo };
    this.#steps = new Steps(this.#w);
    this.#calls = new Calls(this.#w, linkage, convention, effects, this.#fuel, region.entry);
  }

  write(): void {
    const { body } = this;
    const { facts, locals, registers } = this.#w;
    const convention = this.#convention;
    if (convention !== null) {
      let parameter = convention.deep ? 1 : 0;
      eachRegister(convention.parameters, (r) => {
        locals.adopt(r, parameter++);
      });
      registers.at = { ...NOWHERE, local: convention.parameters };
      // For the comparison at the end: the parameter itself changes.
      body.get(locals.wide(RSP));
      body.set(locals.named("entrySp", "i64"));
    }
    if (this.#nests()) this.#calls.checkDepth();
    this.#fuel.load();
    this.#w.accesses.start();
    this.#calls.entrySp = facts.register(RSP);
    if (convention !== null) {
      // Whoever calls has just stored the return address there.
      facts.highTested(this.#calls.entrySp);
      facts.shadowTested(this.#calls.entrySp, 8, true);
    }
    if (this.#pays) this.#spend(this.#costs.through(), this.region.entry, 0);
    this.#edge(this.#order.blocks[0]);
    this.#tree(0, facts.snapshot());
    body.op("unreachable");
    this.#end = body.code.length;
    this.#shift = this.#w.exits.finish();
    body.op("unreachable");
  }

  written(functions: ReadonlyMap<FunctionIndex, string>): WrittenFunction {
    return {
      region: this.region,
      convention: this.#convention,
      body: this.body.finish(),
      marks: this.#marks.map((mark) => ({ ...mark, offset: mark.offset + this.#shift })),
      end: this.#end + this.#shift,
      locals: this.#w.locals.names(),
      functions,
    };
  }

  #mark(block: Block, node: Node | null): void {
    if (this.options.onFunction !== undefined) this.#marks.push({ offset: this.body.code.length, block, node });
  }

  /** Has the code add to the count of instructions. */
  #count(): void {
    const { body } = this;
    if (!this.options.count || this.#uncounted === 0) return;
    body.i32(0);
    body.i32(0);
    body.memory("i64.load", CPU.executed, 3);
    body.i64(this.#uncounted);
    body.op("i64.add");
    body.memory("i64.store", CPU.executed, 3);
    this.#uncounted = 0;
  }

  /** Whether frames are counted here. */
  #nests(): boolean {
    if (this.#convention !== null) return this.#convention.deep;
    return this.#order.blocks.some((block) => block.nodes.some(isCall));
  }

  /** The part of the dominator tree at a place: Ramsey, "Beyond Relooper", figure 3. */
  #tree(place: number, known: Snapshot): void {
    const { body } = this;
    const { facts, registers, flags } = this.#w;
    const order = this.#order;
    const block = order.blocks[place];
    const merges = order.children[place].filter((child) => order.isMerge[order.place[child.id]]);
    const header = order.isLoopHeader[place];
    this.#mark(block, null);
    facts.restore(known);
    facts.renew(this.#meets[place]);
    const height = this.#heights[place] ?? null;
    if (height !== null) {
      facts.setRegister(RSP, { root: this.#calls.entrySp.root, offset: this.#calls.entrySp.offset + height });
    }
    const joined = header || order.isMerge[place] || place === 0;
    if (joined) {
      registers.at = { ...this.#starts[place] };
      flags.state = { lazy: null, lazyMask: 0, locals: place === 0 && !header ? 0 : this.#liveness.lanesIn[place] };
    }
    if (header) {
      this.#labels[block.id] = body.loop();
      this.#steps.forgetPc();
    }
    const waiting = merges.slice().reverse();
    const blockLabels = waiting.map((child) => {
      const label = body.block();
      return { child, label };
    });
    for (const { child, label } of blockLabels) this.#labels[child.id] = label;
    if (header) this.#turn(block, place);
    const after = this.#block(block, place);
    for (const { child } of blockLabels.reverse()) {
      body.end();
      this.#labels[child.id] = undefined;
      this.#tree(order.place[child.id], after);
    }
    if (header) {
      body.end();
      this.#labels[block.id] = undefined;
    }
  }

  /** What each turn of a loop costs at least. */
  #turn(block: Block, place: number): void {
    const least = this.#costs.least(place);
    if (this.#costs.endsByItself(place)) {
      this.#spendMore(least);
      return;
    }
    // A dispatcher stands for several addresses: whoever set the label set `pc` too.
    const address = block.ending.kind === "dispatch" ? null : block.address;
    this.#spend(least, address, this.#liveness.lanesIn[place]);
  }

  /**
   * Spends fuel, or leaves if none is left.
   *
   * @param address to leave at, null if `pc` says so already
   */
  #spend(weight: number, address: number | null, lanes: number): void {
    const { body } = this;
    const fuel = this.#fuel.local();
    if (fuel === null) return;
    // Looked at before it is spent, so that whoever is entered here gets one turn further.
    body.get(fuel);
    body.i32(0);
    body.op("i32.lt_s");
    if (address !== null) this.#setPc(address);
    body.brIf(this.#w.exits.now(ExitReason.fuel, lanes));
    this.#spendMore(weight);
    this.#steps.forgetPc();
  }

  #spendMore(weight: number): void {
    const fuel = this.#fuel.local();
    if (fuel === null || weight === 0) return;
    this.body.get(fuel);
    this.body.i32(weight);
    this.body.op("i32.sub");
    this.body.set(fuel);
  }

  #setPc(address: number): void {
    this.body.i32(address - this.#base);
    this.body.set(this.#w.locals.named("pc", "i32"));
  }

  /** @returns what is known at its end, which holds wherever it dominates */
  #block(block: Block, place: number): Snapshot {
    this.#steps.forgetPc();
    const { nodes } = block;
    const lanesAfter = this.#liveness.lanesAfter[place];
    let last: Step | null = null;
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[i];
      const { effects } = node.lifted;
      const after = lanesAfter[i];
      const site = {
        pc: node.address - this.#base,
        lanesAfter: after,
        lanesBefore: (after & ~effects.lanesKilled) | effects.lanesRead,
        fused: isFused(node, nodes[i + 1], lanesAfter[i + 1] ?? 0),
      };
      this.#mark(block, node);
      if (mayLeave(node)) this.#count();
      if (block.ending.kind !== "stop" || i < nodes.length - 1) this.#uncounted++;
      if (node.inlining === "return") {
        this.#steps.write(
          node.lifted,
          site,
          node.lifted.steps.filter((step) => step.kind === "set"),
        );
        continue;
      }
      if (block.ending.kind === "indirect" && block.ending.table?.load === node.address) {
        this.#noteIndex(block.ending.table.index);
      }
      last = this.#steps.write(node.lifted, site);
      if (isCall(node) && last !== null) {
        this.#count();
        this.#calls.call(node, last);
      } else if (node.inlining === "checkedReturn" && last?.kind === "return") {
        this.#count();
        this.#calls.checkReturn(node, last.target);
      }
    }
    this.#count();
    const known = this.#w.facts.snapshot();
    this.#ending(block, last);
    return known;
  }

  #ending(block: Block, last: Step | null): void {
    const { body } = this;
    const { registers, expressions, locals } = this.#w;
    const { ending, successors } = block;
    switch (ending.kind) {
      case "fall":
      case "jump":
        this.#go(block, 0);
        return;
      case "branch":
        if (last?.kind === "branch") this.#branch(block, last.condition);
        return;
      case "return":
        if (last?.kind !== "return") return;
        this.#calls.returnTo(() => expressions.emit(last.target));
        return;
      case "indirect": {
        if (last?.kind !== "jumpIndirect") return;
        const target = locals.named("status", "i64");
        expressions.emit(last.target);
        body.set(target);
        const { table } = ending;
        if (table === null) {
          for (let i = 0; i < successors.length; i++) {
            body.get(target);
            body.i64(block.outside[i] | 0);
            body.op("i64.eq");
            body.if();
            const saved = this.#save();
            this.#go(block, i);
            this.#reset(saved);
            body.end();
          }
        } else {
          const choices = table.entries.map((entry) => block.outside.indexOf(entry));
          this.#choose(block, choices, () => body.get(locals.named("entry", "i32")));
        }
        registers.flush();
        this.#calls.storeFlags();
        this.#calls.spendOnTail(() => body.get(target));
        body.get(target);
        body.get(DEPTH);
        body.returnCall(this.linkage.indirect);
        return;
      }
      case "tail":
        this.#calls.tail(ending.target);
        return;
      case "exit":
        this.#calls.elsewhere(ending.address);
        return;
      case "stop":
        this.#steps.leave();
        return;
      case "label":
        body.i32(ending.value);
        body.set(locals.named("label", "i32"));
        this.#setPc(block.address);
        this.#go(block, 0);
        return;
      case "dispatch":
        this.#dispatch(block);
    }
  }

  #dispatch(block: Block): void {
    const { body } = this;
    const { successors } = block;
    const label = (): void => body.get(this.#w.locals.named("label", "i32"));
    if (successors.length > 2) {
      this.#choose(
        block,
        successors.map((_, i) => i),
        label,
      );
      body.op("unreachable");
      return;
    }
    label();
    body.op("i32.eqz");
    body.if();
    const saved = this.#save();
    this.#go(block, 0);
    this.#reset(saved);
    body.end();
    this.#go(block, 1);
  }

  /** Keeps the number of an entry for the jump: what does not fit 32 bits is no number of any. */
  #noteIndex(register: number): void {
    const { body } = this;
    const { registers, locals } = this.#w;
    if (registers.isNarrow(register)) registers.get32(register);
    else {
      registers.get64(register);
      body.op("i32.wrap_i64");
      body.i32(-1);
      registers.get64(register);
      body.i64(32);
      body.op("i64.shr_u");
      body.op("i64.eqz");
      body.op("select");
    }
    body.set(locals.named("entry", "i32"));
  }

  /** Goes to one of the successors by a number, `choices` saying to which; falls through if there is no such choice. */
  #choose(block: Block, choices: readonly number[], number: () => void): void {
    const { body } = this;
    const otherwise = body.block();
    const labels = block.successors.map(() => body.block()).reverse();
    number();
    body.brTable(
      choices.map((choice) => labels[choice]),
      otherwise,
    );
    for (let i = 0; i < labels.length; i++) {
      body.end();
      const saved = this.#save();
      this.#go(block, i);
      this.#reset(saved);
    }
    body.end();
  }

  #branch(block: Block, condition: Expr): void {
    const { body } = this;
    const { expressions } = this.#w;
    const [taken, fallen] = block.successors;
    const direct = (target: Block | null): Label | null =>
      target !== null &&
      this.#isJoin(target, block) &&
      !this.#needsMending(target) &&
      this.#costs.beyondLeast(block, target) === 0
        ? (this.#labels[target.id] ?? null)
        : null;
    const yes = direct(taken);
    if (yes !== null) {
      expressions.emit(condition);
      body.brIf(yes);
      this.#go(block, 1);
      return;
    }
    const no = direct(fallen);
    if (no !== null) {
      this.#emitNot(condition);
      body.brIf(no);
      this.#go(block, 0);
      return;
    }
    expressions.emit(condition);
    body.if();
    const saved = this.#save();
    this.#go(block, 0);
    this.#reset(saved);
    body.end();
    this.#go(block, 1);
  }

  #emitNot(condition: Expr): void {
    this.#w.expressions.emit(condition);
    this.body.op("i32.eqz");
  }

  /** Goes to a successor, mending what it expects; or out of the region. */
  #go(block: Block, successor: number): void {
    const target = block.successors[successor] ?? null;
    if (target === null) {
      this.#calls.tail(block.outside[successor]);
      return;
    }
    if (this.#isJoin(target, block)) {
      this.#spendMore(this.#costs.beyondLeast(block, target));
      this.#edge(target);
      const label = this.#labels[target.id];
      if (label !== undefined) this.body.br(label);
      return;
    }
    this.#edge(target);
    this.#tree(this.#order.place[target.id], this.#w.facts.snapshot());
  }

  /** Whether an edge leads to a label, and not on into the only block that may follow. */
  #isJoin(target: Block, from: Block): boolean {
    const to = this.#order.place[target.id];
    return this.#order.isMerge[to] || to <= this.#order.place[from.id];
  }

  #needsMending(target: Block): boolean {
    const place = this.#order.place[target.id];
    const lanes = this.#liveness.lanesIn[place];
    return this.#w.registers.needsMending(this.#starts[place]) || (lanes & ~this.#w.flags.state.locals) !== 0;
  }

  #edge(target: Block): void {
    const place = this.#order.place[target.id];
    const { registers, flags } = this.#w;
    if (this.#order.isMerge[place] || this.#order.isLoopHeader[place]) {
      flags.materialize(this.#liveness.lanesIn[place]);
      registers.mend(this.#starts[place]);
    }
  }

  #save(): Saved {
    const { registers, flags, facts } = this.#w;
    return { at: { ...registers.at }, flags: flags.state, known: facts.snapshot() };
  }

  #reset({ at, flags, known }: Saved): void {
    this.#w.registers.at = { ...at };
    this.#w.flags.state = flags;
    this.#w.facts.restore(known);
    this.#steps.forgetPc();
  }
}

const leavesByTail = (block: Block): boolean => block.ending.kind === "indirect" || tailTargets(block).length > 0;

/** Whether a region needs fuel for what it does itself. */
export const needsFuel = (order: Order): boolean =>
  order.isLoopHeader.some((is) => is) ||
  order.blocks.some((block) => leavesByTail(block) || block.nodes.some((node) => hasLoop(node.lifted.steps)));

const mayLeave = ({ lifted: { effects } }: Node): boolean =>
  effects.accessesMemory || effects.traps || effects.branchesInside || effects.last !== null;

const hasLoop = (steps: readonly Step[]): boolean =>
  steps.some((step) => step.kind === "loop" || (step.kind === "if" && (hasLoop(step.then) || hasLoop(step.otherwise))));

/** Whether a branch follows at once that alone reads the flags, from operands that are still at hand. */
function isFused(node: Node, next: Node | undefined, lanesAfterNext: number): boolean {
  const branch = next?.lifted.effects.last;
  if (next === undefined || branch?.kind !== "branch" || branch.condition.kind !== "condition") return false;
  if (next.lifted.steps.length !== 1) return false;
  const { effects, steps } = node.lifted;
  if ((lanesAfterNext & effects.lanesWritten) !== 0) return false;
  if ((conditionLanes(branch.condition.code) & ~effects.lanesKilled) !== 0) return false;
  return steps.every(
    (step) =>
      step.kind !== "flags" ||
      [step.flags.a, step.flags.b, step.flags.r].every(
        (e) => e.kind !== "op" && (e.kind !== "reg" || (effects.writes & (1 << e.register)) === 0),
      ),
  );
}
