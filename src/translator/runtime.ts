import type { GuestAddress } from "../util/guest-address.js";
import type { AccessFault } from "./access-fault.js";
import type { GuestCode } from "./code.js";
import type { CpuState } from "./cpu.js";
import { CPU, ExitReason } from "./cpu-state.js";
import { EXIT_STATUS } from "./emit/exits.js";
import type { EmitOptions } from "./emit/function.js";
import { Evaluator } from "./evaluate.js";
import type { GuestMemory } from "./guest-memory.js";
import type { Instruction } from "./instruction.js";
import type { TrapName } from "./ir.js";
import { Linker } from "./linker.js";
import { Translations } from "./translations.js";

/** Why a run ended. RIP is that of the instruction that could not go on, or of the next one. */
export type Stop =
  /** RIP is where the run was to end. */
  | { readonly kind: "returned" }
  | { readonly kind: "fault"; readonly fault: AccessFault }
  | { readonly kind: "trap"; readonly trap: TrapName; readonly instruction: Instruction }
  | { readonly kind: "halted" }
  | { readonly kind: "unsupported"; readonly why: string; readonly instruction: Instruction | null }
  /** The budget is used up. */
  | { readonly kind: "exhausted" }
  /** A hook asked to stop: the run may be resumed. */
  | { readonly kind: "suspended"; readonly by: string };

/** A hook: carries out what is at its address. */
export type HookAction =
  /** Return to the caller, whose address is on the stack. */
  | "return"
  /** Go on with the code that is there. */
  | "proceed"
  /** Go on at RIP, which the hook has set; all translated frames are left. */
  | "resume"
  /** Leave everything and stop; when resumed, the hook is called again. */
  | { readonly suspend: string };

export type Hook = () => HookAction;

/** Carries out an instruction of the `system` kind, RIP still at it. null: not one that is known. */
export type SystemHandler = (
  instruction: Instruction,
) => "next" | "halt" | "jumped" | { readonly fault: TrapName } | null;

/** Slices of a run: long enough to cost nothing, short enough that a compiler's better code is entered soon. */
const FIRST_SLICE = 1 << 20;
const LONGEST_SLICE = 1 << 28;
/** WebAssembly frames in a row: they are on the host's stack. */
const MOST_FRAMES = 400;
/** An address that execution came to so often is worth translating. */
const HOT = 3;
/** Instructions that are carried out one by one before what follows is translated. */
const LONGEST_WALK = 64;

/** Runs guest code: translated where it can be, step by step where it must be. */
export class Runtime {
  readonly linker: Linker;
  readonly translations: Translations;
  readonly evaluator: Evaluator;
  readonly hooks = new Map<GuestAddress, Hook>();
  /** Called before each instruction, which are then carried out one by one. */
  trace: ((instruction: Instruction) => void) | null = null;
  system: SystemHandler = () => null;
  /** Instructions that translated code is given at a time; grows to `longestSlice`. Small ones are for tests. */
  slice = FIRST_SLICE;
  longestSlice = LONGEST_SLICE;
  /** Instructions executed, as far as they are counted. */
  executed = 0;
  readonly #words: Int32Array;
  readonly #heat = new Map<GuestAddress, number>();
  #frames = MOST_FRAMES;
  #suspended: string | null = null;
  /** The hook of this address has been called, and wants the code that is there to run. */
  #observed: GuestAddress | null = null;
  #error: unknown = null;

  constructor(
    readonly memory: GuestMemory,
    readonly code: GuestCode,
    readonly cpu: CpuState,
    options: EmitOptions,
  ) {
    this.#words = new Int32Array(memory.memory.buffer, 0, CPU.end >> 2);
    this.linker = new Linker(memory, { enter: (slot) => this.#enter(slot), hook: (slot) => this.#hookSlot(slot) });
    this.translations = new Translations(memory, code, this.linker, () => this.#resolve(), options);
    this.evaluator = new Evaluator(cpu, memory);
  }

  /** Runs from RIP on until RIP is `until`. @param budget instructions; approximate, but the same in every run */
  run(until: GuestAddress, budget: number): Stop {
    let left = budget;
    let walked = 0;
    const { cpu } = this;
    for (;;) {
      const at = cpu.ripAddress;
      if (at === until) return { kind: "returned" };
      if (left <= 0) return { kind: "exhausted" };
      const hook = this.hooks.get(at);
      const done = this.#observed === at;
      this.#observed = null;
      if (hook !== undefined && !done) {
        left--;
        const action = hook();
        if (typeof action === "object") return { kind: "suspended", by: action.suspend };
        if (action === "return") this.popReturn();
        if (action !== "proceed") continue;
      }
      const slot = this.trace === null ? this.#slotToRun(at, hook !== undefined) : null;
      if (slot === null) {
        left--;
        walked++;
        this.executed++;
        const stop = this.#step(at);
        if (stop !== null) return stop;
        if (walked > LONGEST_WALK && this.trace === null) {
          walked = 0;
          this.#heat.set(cpu.ripAddress, HOT);
        }
        continue;
      }
      walked = 0;
      const given = Math.min(this.slice, left);
      const used = this.#call(slot, given);
      left -= Math.max(1, used);
      this.executed += used;
      const stop = this.#afterExit();
      if (stop !== null) return stop;
    }
  }

  /** Takes the return address off the stack into RIP, as `ret` does. */
  popReturn(): void {
    const { cpu, memory } = this;
    const sp = BigInt.asUintN(64, cpu.general(4));
    if (!memory.load(sp, 8, false)) return;
    cpu.rip = memory.low;
    cpu.setGeneral(4, sp + 8n);
  }

  /** Code in a range changed: what was translated from it is void. */
  codeChanged(from: GuestAddress, to: GuestAddress): void {
    if (this.translations.invalidate(from, to)) this.#stale = true;
  }

  setHook(address: GuestAddress, hook: Hook | null): void {
    if (hook === null) {
      this.hooks.delete(address);
      this.code.pinned.delete(address);
    } else {
      this.hooks.set(address, hook);
      this.code.pinned.add(address);
    }
    this.translations.invalidateCallers(address);
    const slot = this.linker.slotOf(address);
    if (hook === null) this.linker.toStub(slot);
    else this.linker.toHook(slot);
    this.linker.forgetTargets();
    this.#stale = true;
  }

  /** Frames of code that is void now are still on the host's stack, and have to be left. */
  #stale = false;

  #call(slot: number, fuel: number): number {
    const words = this.#words;
    words[CPU.fuel >> 2] = fuel;
    words[CPU.reason >> 2] = ExitReason.none;
    const frames = this.#frames;
    const status = this.linker.get(slot)(frames);
    this.#frames = frames;
    const { cpu } = this;
    if (status !== BigInt(EXIT_STATUS) || words[CPU.reason >> 2] === ExitReason.none) {
      cpu.rip = status;
      words[CPU.reason >> 2] = ExitReason.none;
    }
    return fuel - words[CPU.fuel >> 2];
  }

  #afterExit(): Stop | null {
    const reason = this.#words[CPU.reason >> 2];
    this.#words[CPU.reason >> 2] = ExitReason.none;
    switch (reason) {
      case ExitReason.step:
        this.executed++;
        return this.#step(this.cpu.ripAddress);
      case ExitReason.fuel:
        this.slice = Math.min(2 * this.slice, this.longestSlice);
        this.#heat.set(this.cpu.ripAddress, HOT);
        return null;
      case ExitReason.unwind: {
        this.#stale = false;
        const error = this.#error;
        this.#error = null;
        if (error !== null) throw error;
        const by = this.#suspended;
        this.#suspended = null;
        return by === null ? null : { kind: "suspended", by };
      }
      default:
        return null;
    }
  }

  /** One instruction by itself. */
  #step(at: GuestAddress): Stop | null {
    const lifted = this.code.at(at);
    if (lifted === null) return this.#nothingAt(at);
    const { instruction, steps } = lifted;
    this.trace?.(instruction);
    this.evaluator.turnsLeft = LONGEST_SLICE;
    const outcome = this.evaluator.evaluate(steps, instruction);
    switch (outcome.kind) {
      case "next":
      case "paused":
        return null;
      case "jump":
        this.#arrive(outcome.target);
        return null;
      case "trap":
        return { kind: "trap", trap: outcome.trap, instruction };
      case "unsupported":
        return { kind: "unsupported", why: outcome.why, instruction };
      case "fault": {
        const { fault } = this.memory;
        if (fault === null) throw new Error("an access was refused without a reason");
        return { kind: "fault", fault };
      }
      case "system":
        return this.#system(instruction);
    }
  }

  #system(instruction: Instruction): Stop | null {
    const done = this.system(instruction);
    if (done === null) return { kind: "unsupported", why: `${instruction.mnemonic} is not supported`, instruction };
    if (typeof done === "object") return { kind: "trap", trap: done.fault, instruction };
    if (done === "jumped") return null;
    this.cpu.ripAddress = (instruction.address + instruction.length) as GuestAddress;
    return done === "halt" ? { kind: "halted" } : null;
  }

  #nothingAt(at: GuestAddress): Stop {
    if (!this.memory.isExecutable(at)) {
      return { kind: "fault", fault: this.memory.executeFault(BigInt.asUintN(64, this.cpu.rip)) };
    }
    return { kind: "unsupported", why: "no instruction that is known", instruction: null };
  }

  #arrive(target: GuestAddress): void {
    this.cpu.ripAddress = target;
    const heat = this.#heat.get(target) ?? 0;
    if (heat < HOT) this.#heat.set(target, heat + 1);
  }

  /** The slot of translated code for an address, translating it if that is worth it; null to go step by step. */
  #slotToRun(at: GuestAddress, hooked: boolean): number | null {
    // The slot of a hooked address leads to the hook, which has been called.
    if (hooked) return null;
    const known = this.linker.knownSlot(at);
    if (known !== null && this.translations.isReady(known)) return known;
    if (!this.memory.isExecutable(at)) return null;
    const isFunction = this.code.functionAt(at)?.address === at;
    if (!isFunction && (this.#heat.get(at) ?? 0) < HOT) return null;
    const done = isFunction ? this.translations.translate(at) : this.translations.translateAlone(at);
    return done ? this.linker.slotOf(at) : null;
  }

  /** An indirect call to where no entry of the cache leads: its slot, or -1 if no code is there. */
  #resolve(): number {
    const at = this.cpu.ripAddress;
    if (!this.memory.isExecutable(at) && !this.hooks.has(at)) return -1;
    const slot = this.linker.slotOf(at);
    this.linker.remember(at, slot);
    return slot;
  }

  /** Translated code calls what has not been translated. */
  #enter(slot: number): void {
    const at = this.linker.addressOf(slot);
    if (this.code.functionAt(at)?.address !== at) this.code.entries.add(at);
    if (this.translations.isReady(slot)) return;
    if (this.translations.translate(at)) return;
    // No code: leave all frames, and fault there.
    this.linker.toHook(slot);
  }

  /** @returns whether translated code goes on at RIP, as if the function had returned there */
  #hookSlot(slot: number): boolean {
    const at = this.linker.addressOf(slot);
    const hook = this.hooks.get(at);
    this.cpu.ripAddress = at;
    if (hook === undefined) {
      this.linker.toStub(slot);
      return this.#unwind();
    }
    // A hook may run guest code of its own, with the words that this run still needs.
    const fuel = this.#words[CPU.fuel >> 2];
    const frames = this.#frames;
    this.#frames >>= 1;
    try {
      const action = hook();
      if (typeof action === "object") {
        this.#suspended = action.suspend;
        return this.#unwind();
      }
      if (action === "proceed") this.#observed = at;
      if (action !== "return") return this.#unwind();
      this.popReturn();
      return this.#stale ? this.#unwind() : true;
    } catch (error) {
      this.#error = error;
      return this.#unwind();
    } finally {
      this.#words[CPU.fuel >> 2] = fuel;
      this.#frames = frames;
    }
  }

  #unwind(): boolean {
    this.#words[CPU.reason >> 2] = ExitReason.unwind;
    return false;
  }
}
