import { KorralError } from "../util/errors.js";
import { type GuestAddress, guestAddress } from "../util/guest-address.js";
import type { AccessFault } from "./access-fault.js";
import type { GuestCode } from "./code.js";
import type { CpuState } from "./cpu.js";
import { CPU, ExitReason } from "./cpu-state.js";
import { EXIT_STATUS } from "./emit/exits.js";
import type { EmitOptions } from "./emit/function.js";
import { Evaluator } from "./evaluate.js";
import type { GuestMemory } from "./guest-memory.js";
import { type Instruction, RSP } from "./instruction.js";
import type { Step, TrapName } from "./ir.js";
import { AfterHook, Linker } from "./linker.js";
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
/** Runs within hooks have less and less of them, but never fewer than this. */
const LEAST_FRAMES = 12;
/** Hooks that call guest code that runs into hooks, and so on: this too is on the host's stack. */
const DEEPEST = 48;
/** An address that execution came to so often is worth translating. */
const HOT = 3;
/** More heat makes no difference. */
const HOTTEST = 1e9;
/** The same for where execution goes on after an exit, of which a function may have many. */
const EXITS_PER_HEAT = 8;
/** So many calls of a cold function make one that is entered in its middle as hot. */
const MIDDLE_HEAT = 4;
/** Instructions of a call from translated code that are carried out one by one before all frames are left. */
const LONGEST_CALL = 1 << 14;
/** Frames that such a call is worth, and how many it leaves for others. */
const FRAMES_OF_A_WALK = 8;
/** After so many exits for registers of a device, an instruction is translated so that it asks the host for them. */
const EXITS_FOR_IO = 4;
/** Instructions that are carried out one by one before what follows is translated. */
const LONGEST_WALK = 64;
/** Instructions of translated code between two questions whether to pause, and how many of them one by itself is worth. */
const PATIENCE = 1 << 20;
const WORTH_OF_A_STEP = 64;

/** Runs guest code: translated where it can be, step by step where it must be. */
export class Runtime {
  readonly linker: Linker;
  readonly translations: Translations;
  readonly hooks = new Map<GuestAddress, Hook>();
  /** Called before each instruction, which are then carried out one by one. */
  trace: ((instruction: Instruction) => void) | null = null;
  system: SystemHandler = () => null;
  /** Asked now and then, many times a second: true ends the run as if its budget were used up. */
  pause: (() => boolean) | null = null;
  /** So many calls of a function are carried out step by step before it is translated: most code of a start runs once. */
  warmUp = 0;
  /** Instructions that translated code is given at a time; grows to `longestSlice`. Small ones are for tests. */
  slice = FIRST_SLICE;
  longestSlice = LONGEST_SLICE;
  readonly #words: Int32Array;
  /** What translated code counts; null if it does not. */
  readonly #counted: BigInt64Array | null;
  #executed = 0;
  readonly #heat = new Map<GuestAddress, number>();
  /** How often translated code was left at an instruction for registers of a device. */
  readonly #ioExits = new Map<GuestAddress, number>();
  /** One for each run within a run: an instruction may be under way in each, waiting for a handler. */
  readonly #evaluators: Evaluator[] = [];
  #nesting = 0;
  /** Where the innermost run ends. */
  #until: GuestAddress | null = null;
  #frames = MOST_FRAMES;
  /** The function at this address has been entered: its hook has been called, or the way led back to its start. */
  #entered: GuestAddress | null = null;
  /** What a hook that translated code ran into left to be done when all frames are left. */
  #left: { readonly error: unknown } | { readonly stop: Stop } | null = null;
  /** Counts changes that make void what frames on the host's stack may be running. */
  #changes = 0;
  /** The count when the innermost translated code was entered. */
  #changesSeen = 0;

  constructor(
    readonly memory: GuestMemory,
    readonly code: GuestCode,
    readonly cpu: CpuState,
    options: EmitOptions,
  ) {
    this.#words = new Int32Array(memory.memory.buffer, 0, CPU.end >> 2);
    this.#counted = options.count ? new BigInt64Array(memory.memory.buffer, CPU.executed, 1) : null;
    this.linker = new Linker(memory, {
      enter: (slot, depth) => this.#enter(slot, depth),
      hook: (slot) => this.#hookSlot(slot),
    });
    const isIo = (address: GuestAddress): boolean => code.io.has(address);
    this.translations = new Translations(memory, code, this.linker, () => this.#resolve(), { ...options, isIo });
    this.translations.isWorth = (address) => 2 * (this.#heat.get(address) ?? 0) >= this.warmUp;
  }

  /**
   * Runs from RIP on until RIP is `until`.
   * @param resumed whether it goes on where the last run stopped
   * @param budget instructions; approximate, but the same in every run
   * @throws whatever a hook or a handler throws
   */
  run(until: GuestAddress, budget: number, resumed = false): Stop {
    if (!resumed) this.#entered = null;
    if (this.#nesting >= DEEPEST) {
      throw new KorralError(
        "hooks-nested",
        `hooks call guest code that runs into hooks, ${DEEPEST} deep: let the innermost return without a call`,
      );
    }
    const frames = this.#frames;
    if (this.#nesting > 0) this.#frames = Math.max(LEAST_FRAMES, frames >> 1);
    const changesSeen = this.#changesSeen;
    const outerUntil = this.#until;
    this.#until = until;
    const evaluator = this.#evaluators[this.#nesting] ?? new Evaluator(this.cpu, this.memory);
    this.#evaluators[this.#nesting] = evaluator;
    this.#nesting++;
    try {
      // What the host calls again and again is worth translating as well.
      if (!resumed) this.#warm(this.cpu.ripAddress, 1);
      return this.#run(until, budget, evaluator);
    } finally {
      this.#nesting--;
      this.#frames = frames;
      this.#changesSeen = changesSeen;
      this.#until = outerUntil;
      if (this.#nesting > 0) this.#entered = null;
    }
  }

  #run(until: GuestAddress, budget: number, evaluator: Evaluator): Stop {
    let left = budget;
    let walked = 0;
    let patience = PATIENCE;
    const { cpu } = this;
    for (;;) {
      const at = cpu.ripAddress;
      if (at === until) return { kind: "returned" };
      if (left <= 0) return { kind: "exhausted" };
      patience -= WORTH_OF_A_STEP;
      if (patience < 0) {
        if (this.pause?.() === true) return { kind: "exhausted" };
        patience = PATIENCE;
      }
      const turns = Math.min(FIRST_SLICE, this.slice, left);
      evaluator.turnsLeft = turns;
      const hook = this.hooks.get(at);
      const entered = this.#entered === at;
      this.#entered = null;
      if (hook !== undefined && !entered) {
        left--;
        const action = hook();
        if (typeof action === "object") return { kind: "suspended", by: action.suspend };
        if (action === "return" && !this.popReturn()) return this.#refused();
        if (action !== "proceed") continue;
      }
      // The hook may have taken itself away.
      const slot = this.trace === null ? this.#slotToRun(at, this.hooks.has(at)) : null;
      if (slot === null) {
        left--;
        walked++;
        this.#executed++;
        const stop = this.#step(at, evaluator);
        if (stop !== null) return stop;
        left -= turns - evaluator.turnsLeft;
        patience -= turns - evaluator.turnsLeft;
        if (walked > LONGEST_WALK && this.trace === null && this.warmUp === 0) {
          walked = 0;
          this.#heat.set(cpu.ripAddress, this.#hot(cpu.ripAddress));
        }
        continue;
      }
      walked = 0;
      const used = this.#call(slot, Math.min(this.slice, left));
      left -= Math.max(1, used);
      patience -= used;
      if (this.#counted === null) this.#executed += used;
      const stop = this.#afterExit(at, evaluator);
      if (stop !== null) return stop;
      left -= turns - evaluator.turnsLeft;
      patience -= turns - evaluator.turnsLeft;
    }
  }

  /** Whether there is translated code for a function, behind a hook if it has one. */
  isTranslated(address: GuestAddress): boolean {
    const slot = this.hooks.has(address) ? this.linker.slotBehind(address) : this.linker.knownSlot(address);
    return slot !== null && this.translations.isReady(slot);
  }

  /** Instructions executed: with `count` exactly, those that faulted included; else as far as they cost fuel. */
  get executed(): number {
    return this.#executed + (this.#counted === null ? 0 : Number(this.#counted[0]));
  }

  /** Takes the return address off the stack into RIP, as `ret` does. @returns false if there is no stack to read */
  popReturn(): boolean {
    const { cpu, memory } = this;
    const at = memory.readableWord(cpu.generalAddress(RSP));
    if (at < 0) {
      // The slow way says what is wrong.
      if (!memory.load(BigInt.asUintN(64, cpu.general(RSP)), 8, false)) return false;
      cpu.rip = memory.low;
      cpu.setGeneral(RSP, BigInt.asUintN(64, cpu.general(RSP) + 8n));
      return true;
    }
    cpu.ripAddress = guestAddress(memory.view.getInt32(at + 4, true), memory.view.getUint32(at, true));
    cpu.setGeneralAddress(RSP, cpu.generalAddress(RSP) + 8);
    return true;
  }

  /** Code in a range changed: what was translated from it is void. */
  codeChanged(from: GuestAddress, to: GuestAddress): void {
    if (this.translations.invalidate(from, to)) this.#changes++;
  }

  /** The processor's state has been set: frames that are on the host's stack are not to go on. */
  stateChanged(): void {
    this.#changes++;
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
    this.#changes++;
  }

  #call(slot: number, fuel: number): number {
    const words = this.#words;
    const { cpu } = this;
    cpu.resolveLazyFlags();
    words[CPU.fuel >> 2] = fuel;
    words[CPU.reason >> 2] = ExitReason.none;
    this.#changesSeen = this.#changes;
    const status = this.linker.get(slot)(this.#frames);
    if (status !== BigInt(EXIT_STATUS) || words[CPU.reason >> 2] === ExitReason.none) {
      cpu.rip = status;
      words[CPU.reason >> 2] = ExitReason.none;
    }
    // Loops that end by themselves do not look at it: it may have come all the way round.
    return (fuel - words[CPU.fuel >> 2]) >>> 0;
  }

  /** @param from where translated code was entered */
  #afterExit(from: GuestAddress, evaluator: Evaluator): Stop | null {
    const reason = this.#words[CPU.reason >> 2];
    this.#words[CPU.reason >> 2] = ExitReason.none;
    const at = this.cpu.ripAddress;
    switch (reason) {
      case ExitReason.step: {
        this.#executed++;
        this.memory.reachedIo = false;
        const stop = this.#step(at, evaluator);
        if (this.memory.reachedIo) this.#noteIo(at);
        if (stop === null) this.#warmByExit(this.cpu.ripAddress);
        return stop;
      }
      case ExitReason.fuel:
        this.slice = Math.min(2 * this.slice, this.longestSlice);
        this.#heat.set(at, this.#hot(at));
        // Where a slice is shorter than a turn of loops that begin at one address, nothing may have been carried out.
        if (at === from) {
          this.#executed++;
          return this.#step(at, evaluator);
        }
        // A loop that starts where a hook is was entered, or its header would not have been reached.
        this.#entered = at;
        return null;
      case ExitReason.unwind: {
        const left = this.#left;
        this.#left = null;
        if (left === null) return null;
        if ("stop" in left) return left.stop;
        throw left.error;
      }
      default:
        return null;
    }
  }

  /** One instruction by itself. */
  #step(at: GuestAddress, evaluator: Evaluator): Stop | null {
    const lifted = this.code.at(at);
    if (lifted === null) return this.#nothingAt(at);
    const { instruction, steps } = lifted;
    this.trace?.(instruction);
    const outcome = evaluator.evaluate(steps, instruction);
    switch (outcome.kind) {
      case "next":
        return null;
      case "paused":
        // To be counted when it has ended.
        this.#executed--;
        this.#entered = at;
        return null;
      case "jump": {
        const { target, flow } = outcome;
        if (flow === "jump" && this.hooks.has(target) && this.code.belongs(at, target)) this.#entered = target;
        this.#warm(target, 1);
        return null;
      }
      case "trap":
        return { kind: "trap", trap: outcome.trap, instruction };
      case "unsupported":
        return { kind: "unsupported", why: outcome.why, instruction };
      case "fault":
        return this.#refused();
      case "system":
        return this.#system(instruction);
    }
  }

  /** Translated code was left for an access to registers of a device: if that goes on, it shall ask for them. */
  #noteIo(at: GuestAddress): void {
    const { code } = this;
    if (code.io.has(at)) return;
    const times = (this.#ioExits.get(at) ?? 0) + 1;
    this.#ioExits.set(at, times);
    if (times < EXITS_FOR_IO || !accessesOnce(code.at(at)?.steps ?? [])) return;
    code.io.add(at);
    this.translations.invalidate(at, (at + 1) as GuestAddress);
  }

  #refused(): Stop {
    const { fault } = this.memory;
    if (fault === null) throw new Error("an access was refused without a reason");
    return { kind: "fault", fault };
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

  /** Functions that were called, and where loops went round: what may be worth translating for another run. */
  get called(): Iterable<GuestAddress> {
    return this.#heat.keys();
  }

  /** How warm an address has to be to be worth translating. */
  #hot(at: GuestAddress): number {
    if (this.translations.isOffered(at)) return 0;
    if (this.code.startsAt(at)) return this.warmUp;
    return Math.max(HOT, MIDDLE_HEAT * this.warmUp);
  }

  #warm(target: GuestAddress, heat: number): void {
    const before = this.#heat.get(target) ?? 0;
    if (before >= HOTTEST) return;
    const after = before + heat;
    this.#heat.set(target, after < this.#hot(target) ? after : HOTTEST);
  }

  #warmByExit(at: GuestAddress): void {
    this.#warm(at, Math.max(1, this.#hot(at) / HOT) / EXITS_PER_HEAT);
  }

  /** The slot of translated code for an address, translating it if that is worth it; null to go step by step. */
  #slotToRun(at: GuestAddress, hooked: boolean): number | null {
    // A hook in the middle of a function is for each time that execution comes there: no region may go through it.
    if (hooked && !this.code.startsFunction(at)) return null;
    const slot = hooked ? this.linker.slotBehind(at) : this.linker.knownSlot(at);
    if (slot !== null && this.translations.isReady(slot)) return slot;
    if (!this.memory.isExecutable(at)) return null;
    if ((this.#heat.get(at) ?? 0) < this.#hot(at)) return null;
    const done = this.code.startsAt(at) ? this.translations.translate(at) : this.translations.translateAlone(at);
    if (!done) return null;
    return hooked ? this.linker.slotBehind(at) : this.linker.slotOf(at);
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
  #enter(slot: number, depth: number): number {
    const at = this.linker.addressOf(slot);
    if (!this.code.startsAt(at)) this.code.entries.add(at);
    if (this.translations.isReady(slot)) return slot;
    const isCold = this.warmUp > 0 && (this.#heat.get(at) ?? 0) < this.#hot(at);
    if (isCold && depth > 2 * FRAMES_OF_A_WALK) return this.#walk(slot, depth - FRAMES_OF_A_WALK);
    // No code: leave all frames, and fault there.
    if (!this.translations.translate(at)) this.linker.toHook(slot);
    return slot;
  }

  /** Carries out a call from translated code step by step, until it has returned. */
  #walk(slotOfCall: number, depth: number): number {
    const { cpu, memory } = this;
    const from = this.linker.addressOf(slotOfCall);
    const words = this.#words;
    const sp = BigInt.asUintN(64, cpu.general(RSP));
    cpu.ripAddress = from;
    this.#warm(from, 1);
    if (!memory.load(sp, 8, false)) return this.#leave();
    const until = BigInt.asUintN(64, memory.low);
    const spAfter = BigInt.asUintN(64, sp + 8n);
    const evaluator = this.#evaluators[this.#nesting - 1];
    let fuel = words[CPU.fuel >> 2];
    this.#entered = this.linker.isBehind(slotOfCall) ? from : null;
    try {
      for (let walked = 0; walked < LONGEST_CALL && fuel >= 0; ) {
        if (BigInt.asUintN(64, cpu.rip) === until && BigInt.asUintN(64, cpu.general(RSP)) === spAfter) {
          return AfterHook.returned;
        }
        const at = cpu.ripAddress;
        if (at === this.#until) break;
        const entered = this.#entered === at;
        this.#entered = null;
        const hooked = this.hooks.has(at);
        if (hooked && !entered) {
          // What it leaves is for the runtime to go on with.
          words[CPU.fuel >> 2] = --fuel;
          const after = this.#hookSlot(this.linker.slotOf(at));
          fuel = words[CPU.fuel >> 2];
          if (after === AfterHook.left) return after;
          if (after === AfterHook.returned) continue;
        }
        const slot = this.trace === null ? this.#slotToRun(at, hooked) : null;
        if (slot === null) {
          const turns = Math.max(1, fuel);
          evaluator.turnsLeft = turns;
          this.#executed++;
          const stop = this.#step(at, evaluator);
          // It costs fuel, which is counted when the frames below have been left.
          if (this.#counted === null) this.#executed--;
          fuel -= 1 + turns - evaluator.turnsLeft;
          walked++;
          if (stop !== null) return this.#leave({ stop });
        } else {
          cpu.resolveLazyFlags();
          words[CPU.fuel >> 2] = fuel;
          const status = this.linker.get(slot)(depth);
          fuel = words[CPU.fuel >> 2] - 1;
          if (status === BigInt(EXIT_STATUS) && words[CPU.reason >> 2] !== ExitReason.none) return AfterHook.left;
          words[CPU.reason >> 2] = ExitReason.none;
          cpu.rip = status;
        }
        if (this.#changes !== this.#changesSeen) return this.#leave();
      }
      return this.#leave();
    } catch (error) {
      return this.#leave({ error });
    } finally {
      words[CPU.fuel >> 2] = fuel;
    }
  }

  #hookSlot(slot: number): number {
    const at = this.linker.addressOf(slot);
    const hook = this.hooks.get(at);
    this.cpu.ripAddress = at;
    if (hook === undefined) {
      this.linker.toStub(slot);
      return this.#leave();
    }
    // A hook may run guest code of its own, with the words that this run still needs.
    const fuel = this.#words[CPU.fuel >> 2];
    try {
      const action = hook();
      if (typeof action === "object") return this.#leave({ stop: { kind: "suspended", by: action.suspend } });
      if (action === "return" && !this.popReturn()) return this.#leave({ stop: this.#refused() });
      const isVoid = this.#changes !== this.#changesSeen;
      if (action === "return") return isVoid ? this.#leave() : AfterHook.returned;
      if (action === "proceed") {
        if (!isVoid && this.code.startsFunction(at) && this.code.at(at) !== null) return this.linker.slotBehind(at);
        this.#entered = at;
      }
      return this.#leave();
    } catch (error) {
      return this.#leave({ error });
    } finally {
      this.#words[CPU.fuel >> 2] = fuel;
    }
  }

  #leave(left: { readonly error: unknown } | { readonly stop: Stop } | null = null): number {
    this.#left = left;
    this.#words[CPU.reason >> 2] = ExitReason.unwind;
    return AfterHook.left;
  }
}

/** Whether steps have one access to memory, which happens in any case: what has two could be carried out by halves. */
function accessesOnce(steps: readonly Step[]): boolean {
  const isAccess = ({ kind }: Step): boolean => kind === "load" || kind === "store" || kind === "probe";
  return steps.filter(isAccess).length === 1 && !steps.some(({ kind }) => kind === "if" || kind === "loop");
}
