import { ExitStatus, InputError, KorralError, UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import type { AccessFault } from "./access-fault.js";
import { type BacktraceFrame, backtrace, symbolAt } from "./backtrace.js";
import { GuestCode } from "./code.js";
import { CpuState } from "./cpu.js";
import { CPU } from "./cpu-state.js";
import { GuestMemory, type IoHandler, type Protection } from "./guest-memory.js";
import { type GuestSpace, HIGH_SPACE, LOW_SPACE } from "./guest-space.js";
import { GENERAL_REGISTERS, type Instruction, RAX, RCX, RDI, RDX, RSI, RSP } from "./instruction.js";
import { decodeTranslations, encodeTranslations } from "./kept-translations.js";
import { placeObject, planObject } from "./load-object.js";
import type { ImportResolver, LoadedObject, ObjectPlan, SectionBase } from "./loaded-object.js";
import { type HookAction, Runtime, type Stop } from "./runtime.js";
import { type Poison, Shadow } from "./shadow.js";
import { type SnapshotState, Snapshots } from "./snapshot.js";
import { SystemInstructions } from "./system-instructions.js";

export interface SandboxOptions {
  /** The top 2 GiB of addresses, for kernels and modules, or the bottom, for programs; by default as the first object wants. */
  readonly space?: "high" | "low";
  /** Check every access against the shadow. Default true. */
  readonly checks?: boolean;
  /** Leave out checks that earlier ones make needless. Default true; false is for comparison. */
  readonly elimination?: boolean;
  /** Call functions with registers in parameters where that can be. Default true; false is for comparison. */
  readonly conventions?: boolean;
  /** Count each instruction, not only turns of loops. Default false. */
  readonly count?: boolean;
  /**
   * So many calls of a function are carried out step by step before it is translated. Default 0; some 8 where much code
   * runs once, as when a kernel or a driver starts.
   */
  readonly warmUp?: number;
  /** Bytes of stack. Default 1 MiB. */
  readonly stackBytes?: number;
  /** Instructions that a call may take, roughly. Default 10^12. */
  readonly budget?: number;
}

export type Registers = Readonly<Record<RegisterName, bigint>>;
export const REGISTER_NAMES = [
  "rax",
  "rcx",
  "rdx",
  "rbx",
  "rsp",
  "rbp",
  "rsi",
  "rdi",
  "r8",
  "r9",
  "r10",
  "r11",
  "r12",
  "r13",
  "r14",
  "r15",
] as const;
export type RegisterName = (typeof REGISTER_NAMES)[number] | "rip" | "rflags";

/** Why a call did not return, with all that is known of the place. */
export interface Failure {
  /** Of an access that was refused its rule; else `divide-error`, `invalid-opcode`, …, `unsupported-instruction`, `missing-import`, `out-of-budget`. */
  readonly rule: string;
  readonly rip: GuestAddress;
  readonly symbol: string | null;
  readonly instruction: string | null;
  readonly access: AccessFault | null;
  readonly registers: Registers;
  readonly backtrace: readonly BacktraceFrame[];
  readonly message: string;
}

/** Guest code did what it must not, or what cannot be done. */
export class GuestFailure extends KorralError {
  constructor(readonly failure: Failure) {
    super(failure.rule, failure.message, exitStatusOf(failure.rule));
  }
}

function exitStatusOf(rule: string): ExitStatus {
  if (rule === "unsupported-instruction" || rule === "missing-import") return ExitStatus.unsupported;
  return ExitStatus.findings;
}

/** What a hook is given. */
export interface HookContext {
  readonly sandbox: Sandbox;
  /** Argument of the C calling convention, the first six. */
  argument(index: number): bigint;
}

const ARGUMENTS = [RDI, RSI, RDX, RCX, 8, 9];
/** Where calls from outside return to, from the last address that may be mapped on: nothing else is there. */
const RETURN_STUB = 0x1000;
const RED_ZONE = 128n;
const HEAP_GAP = 64;

/** Places in each guest space for what the sandbox itself maps. */
const PLACES = {
  low: { stackEnd: 0x5f000000, heap: 0x60000000, thread: 0x5f800000, object: 0x400000 },
  high: { stackEnd: -0x58000000, heap: -0x50000000, thread: -0x57000000, object: -0x40000000 },
} as const;
const MOST_STACK = 1 << 27;
/** Objects are this far apart at least. */
const PLACE_ALIGNMENT = 0x10000;

interface Core {
  readonly memory: GuestMemory;
  readonly code: GuestCode;
  readonly cpu: CpuState;
  readonly runtime: Runtime;
  readonly snapshots: Snapshots;
  readonly system: SystemInstructions;
  heap: number;
}

/** All of a sandbox to go back to, hooks and handlers apart. */
export interface SandboxSnapshot extends SnapshotState {
  readonly heap: number;
  readonly objects: readonly LoadedObject[];
  readonly kernelGsBase: bigint;
}

/** Guest code and guest memory, apart from everything else. */
export class Sandbox {
  objects: readonly LoadedObject[] = [];
  #core: Core | null = null;
  #nesting = 0;
  /** Where the last call from outside ends. */
  #until: GuestAddress | null = null;

  private constructor(readonly options: SandboxOptions) {
    if (options.space !== undefined) this.#create(options.space === "high" ? HIGH_SPACE : LOW_SPACE);
  }

  static create(options: SandboxOptions = {}): Sandbox {
    return new Sandbox(options);
  }

  get memory(): GuestMemory {
    return this.#made().memory;
  }

  get cpu(): CpuState {
    return this.#made().cpu;
  }

  get runtime(): Runtime {
    return this.#made().runtime;
  }

  /** Ports and model-specific registers: what instructions that no expression describes ask of the surroundings. */
  get system(): SystemInstructions {
    return this.#made().system;
  }

  get code(): GuestCode {
    return this.#made().code;
  }

  get space(): GuestSpace {
    return this.memory.space;
  }

  get statistics(): { readonly regions: number; readonly guestBytes: number; readonly wasmBytes: number } {
    return this.runtime.translations.statistics;
  }

  map(address: GuestAddress, size: number, protection: Protection, name?: string): void {
    this.memory.map(address, size, protection, name);
  }

  /** Takes mappings away, those that lie in the range whole, and what is known of functions in them. */
  unmap(address: GuestAddress, size: number): void {
    const end = (address + size) as GuestAddress;
    this.memory.unmap(address, size);
    this.runtime.codeChanged(address, end);
    this.code.removeFunctions(address, end);
  }

  protect(address: GuestAddress, size: number, protection: Protection): void {
    this.runtime.codeChanged(address, (address + size) as GuestAddress);
    this.memory.protect(address, size, protection);
  }

  poison(address: GuestAddress, size: number, kind: Poison | null): void {
    this.memory.poison(address, size, kind);
  }

  /** Accesses to addresses outside guest memory go to a handler. */
  handle(start: bigint, size: number, handler: IoHandler): void {
    this.memory.handle(start, size, handler);
  }

  read(address: GuestAddress, size: number): Uint8Array {
    return this.memory.read(address, size);
  }

  write(address: GuestAddress, bytes: Uint8Array): void {
    this.memory.write(address, bytes);
  }

  /** Zeroed bytes with red zones around. 16-byte aligned. */
  allocate(size: number, name = "buffer"): GuestAddress {
    const core = this.#made();
    const address = core.heap as GuestAddress;
    core.heap += Math.ceil((Math.max(size, 1) + HEAP_GAP) / 64) * 64 + HEAP_GAP;
    if (size > 0) core.memory.map(address, size, { read: true, write: true, execute: false }, name);
    core.memory.setShadow((address - HEAP_GAP) as GuestAddress, HEAP_GAP, Shadow.redZone);
    core.memory.setShadow((address + size) as GuestAddress, core.heap - HEAP_GAP - address - size, Shadow.redZone);
    return address;
  }

  /** Gives an allocation back: touching it is a use after free from now on. */
  free(address: GuestAddress): void {
    const mapping = this.memory.mappingAt(address);
    if (mapping === null || mapping.address !== address) {
      throw new InputError("sandbox-free", `${formatGuestAddress(address)} is not the start of an allocation`);
    }
    this.memory.poison(address, mapping.size, "freed");
  }

  /**
   * Loads a relocatable file or an executable.
   * @param resolve addresses of what it imports; what is not resolved matters only when it is called or touched
   * @param base of a relocatable file's sections whose symbols count from elsewhere
   * @throws InputError, UnsupportedError
   */
  load(
    bytes: Uint8Array,
    name = "object",
    resolve: ImportResolver = () => null,
    base: SectionBase = () => null,
  ): LoadedObject {
    const plan = planObject(bytes, name);
    if (this.#core === null) this.#create(plan.space);
    const { memory, code, runtime } = this.#made();
    const place = plan.fixed ? plan.address : this.#placeFor(plan);
    const object = placeObject(plan, memory.space, place, resolve, base);
    for (const { address, size, bytes: content, name: segment, ...protection } of object.segments) {
      memory.map(address, size, protection, segment);
      memory.bytes.set(content, memory.offset(address));
    }
    const taken = object.codeReferences.filter(({ kind }) => kind === "operand" || kind === "data");
    code.addFunctions(object.functions, [...new Set(taken.map(({ address: target }) => target))]);
    this.objects = [...this.objects, object];
    for (const missing of object.imports) {
      runtime.setHook(missing.address, () => {
        throw new GuestFailure(
          this.failure("missing-import", `${missing.name} is called, and nothing that was loaded defines it`),
        );
      });
    }
    return object;
  }

  /** The address of a symbol of what was loaded. @throws InputError */
  symbol(name: string): GuestAddress {
    let failed: unknown = null;
    for (const object of this.objects) {
      try {
        return object.symbols.find(name).address;
      } catch (error) {
        failed ??= error;
      }
    }
    throw failed ?? new InputError("symbol-not-found", `${name} is not there: nothing has been loaded`);
  }

  register(name: RegisterName): bigint {
    return BigInt.asUintN(64, this.#register(name));
  }

  setRegister(name: RegisterName, value: bigint): void {
    const { cpu } = this.#made();
    if (name === "rip") cpu.rip = value;
    else if (name === "rflags") cpu.rflags = value;
    else cpu.setGeneral(REGISTER_NAMES.indexOf(name), value);
  }

  get registers(): Registers {
    const names: readonly RegisterName[] = [...REGISTER_NAMES, "rip", "rflags"];
    return Object.fromEntries(names.map((name) => [name, this.register(name)])) as Registers;
  }

  /**
   * Calls a function by the C calling convention; from within a hook or a handler too, whose registers stay as they are.
   * @returns RAX, unsigned
   * @throws GuestFailure
   */
  call(target: string | GuestAddress, args: readonly bigint[] = []): bigint {
    const address = typeof target === "string" ? this.symbol(target) : target;
    const outer = this.#nesting === 0 ? null : this.#saved();
    try {
      const stop = this.callAt(address, args);
      if (stop.kind === "returned") return this.register("rax");
      throw new GuestFailure(this.explain(stop));
    } finally {
      if (outer !== null) this.memory.bytes.set(outer, 0);
    }
  }

  /**
   * The same, with why it ended as a value. If it did not return, the registers are left as they were there: a call that
   * was suspended, or used up its budget, may go on with `resume`, unless it was made within a hook.
   */
  callAt(address: GuestAddress, args: readonly bigint[] = []): Stop {
    if (args.length > ARGUMENTS.length) {
      throw new UnsupportedError("arguments", `a call takes ${ARGUMENTS.length} arguments at most, not ${args.length}`);
    }
    const { cpu, memory } = this.#made();
    const outer = this.#nesting === 0 ? null : this.#saved();
    const until = (this.space.endMappable + RETURN_STUB + 16 * this.#nesting) as GuestAddress;
    const top = outer !== null ? cpu.general(RSP) - RED_ZONE : BigInt(this.#stackTop());
    // As at the entry of a function: 16-byte aligned before the return address was pushed.
    const sp = BigInt.asUintN(64, (top & -16n) - 8n);
    cpu.ripAddress = address;
    cpu.setGeneral(RSP, sp);
    args.forEach((value, i) => {
      cpu.setGeneral(ARGUMENTS[i], value);
    });
    cpu.setField("df", 0n);
    if (!memory.store(sp, 8, BigInt.asUintN(64, BigInt(until)), 0n)) {
      const { fault } = memory;
      if (fault !== null) return { kind: "fault", fault };
    }
    if (outer === null) this.#until = until;
    const stop = this.#run(until, this.#budget, false);
    if (outer !== null && stop.kind === "returned") {
      const result = cpu.general(RAX);
      memory.bytes.set(outer, 0);
      cpu.setGeneral(RAX, result);
    }
    return stop;
  }

  /** Goes on with a call that stopped, with a new budget. @throws InputError if there is none */
  resume(): Stop {
    if (this.#until === null || this.#nesting > 0) {
      throw new InputError("sandbox-resume", "no call has stopped that could go on: call a function first");
    }
    return this.#run(this.#until, this.#budget, true);
  }

  /** Runs from RIP on, until RIP is at an address or something stops it. */
  run(until: GuestAddress, budget = this.#budget): Stop {
    if (this.#nesting === 0) this.#until = until;
    return this.#run(until, budget, true);
  }

  #run(until: GuestAddress, budget: number, resumed: boolean): Stop {
    this.#nesting++;
    try {
      return this.runtime.run(until, budget, resumed);
    } finally {
      this.#nesting--;
    }
  }

  /** Replaces the function at an address: the handler's answer is what it returns. */
  replace(target: string | GuestAddress, handler: (context: HookContext) => bigint | undefined): void {
    const address = typeof target === "string" ? this.symbol(target) : target;
    this.runtime.setHook(address, () => {
      const result = handler(this.#context());
      if (typeof result === "bigint") this.cpu.setGeneral(RAX, result);
      return "return";
    });
  }

  /** Is told whenever the function at an address is entered. */
  observe(target: string | GuestAddress, handler: (context: HookContext) => void): void {
    const address = typeof target === "string" ? this.symbol(target) : target;
    this.runtime.setHook(address, () => {
      handler(this.#context());
      return "proceed";
    });
  }

  /** A hook in full: see `HookAction`. null takes it away. */
  hook(target: string | GuestAddress, handler: ((context: HookContext) => HookAction) | null): void {
    const address = typeof target === "string" ? this.symbol(target) : target;
    this.runtime.setHook(address, handler === null ? null : () => handler(this.#context()));
  }

  /** Is shown each instruction before it is carried out; null goes back to full speed. */
  trace(listener: ((instruction: Instruction) => void) | null): void {
    this.runtime.trace = listener;
  }

  /** @returns all memory with what may be done to it, the registers, and what was loaded and allocated */
  snapshot(): SandboxSnapshot {
    const { snapshots, heap, system } = this.#made();
    return { ...snapshots.take(), heap, objects: this.objects, kernelGsBase: system.kernelGsBase };
  }

  restore(state: SandboxSnapshot): void {
    const core = this.#made();
    core.snapshots.restore(state);
    core.heap = state.heap;
    core.system.kernelGsBase = state.kernelGsBase;
    this.objects = state.objects;
    core.runtime.stateChanged();
  }

  /**
   * What was translated, for other sandboxes of the same options that load the same things in the same order. Functions that
   * were only carried out step by step are translated for it.
   */
  keepTranslations(): Uint8Array {
    const { runtime, code } = this.#made();
    const { translations, linker } = runtime;
    // What changes, or comes later, shall not make all else useless.
    const called = [...runtime.called].filter((address) => code.startsAt(address)).sort((a, b) => a - b);
    for (let i = 0; i < called.length; ) {
      const object = code.functionAt(called[i])?.object;
      let end = i + 1;
      while (end < called.length && end - i < KEPT_TOGETHER && code.functionAt(called[end])?.object === object) end++;
      translations.translateAll(called.slice(i, end));
      i = end;
    }
    return encodeTranslations({
      slots: linker.places,
      entries: [...code.entries],
      io: [...code.io],
      units: translations.kept,
    });
  }

  /**
   * Takes what an earlier sandbox kept; it is used where the guest's bytes are still the same. Before anything else is
   * loaded, hooked or called. @returns false if it cannot be used
   */
  offerTranslations(stored: Uint8Array): boolean {
    const kept = decodeTranslations(stored);
    const { runtime, code } = this.#made();
    if (kept === null || !runtime.linker.makePlaces(kept.slots)) return false;
    for (const address of kept.entries) code.entries.add(address);
    for (const address of kept.io) code.io.add(address);
    runtime.translations.offer(kept.units);
    return true;
  }

  /** Translates all functions that are known and not translated yet. */
  translateAll(): { readonly guestBytes: number; readonly wasmBytes: number } {
    const { runtime, code } = this.#made();
    const before = { ...this.statistics };
    runtime.translations.translateAll(code.functions.map(({ address }) => address));
    const { guestBytes, wasmBytes } = this.statistics;
    return { guestBytes: guestBytes - before.guestBytes, wasmBytes: wasmBytes - before.wasmBytes };
  }

  backtrace(): readonly BacktraceFrame[] {
    const { cpu, memory, code } = this.#made();
    return backtrace(cpu, memory, code);
  }

  /** All that is known of why a run ended. */
  explain(stop: Stop): Failure {
    switch (stop.kind) {
      case "fault":
        return this.failure(stop.fault.rule, faultText(stop.fault), stop.fault);
      case "trap":
        return this.failure(stop.trap, `${stop.trap.replace("-", " ")} at ${stop.instruction.text()}`);
      case "unsupported":
        return this.failure("unsupported-instruction", `${stop.why}: ${stop.instruction?.text() ?? "bytes unknown"}`);
      case "exhausted":
        return this.failure("out-of-budget", "the budget of instructions is used up");
      case "halted":
        return this.failure("halted", "hlt was executed");
      case "suspended":
        return this.failure("suspended", `waits for ${stop.by}`);
      default:
        return this.failure("returned", "returned");
    }
  }

  failure(rule: string, what: string, access: AccessFault | null = null): Failure {
    const { cpu, code } = this.#made();
    const rip = cpu.ripAddress;
    const symbol = symbolAt(code, rip);
    return {
      rule,
      rip,
      symbol,
      instruction: code.at(rip)?.instruction.text() ?? null,
      access,
      registers: this.registers,
      backtrace: this.backtrace(),
      message: `${what}, at ${symbol ?? formatGuestAddress(rip)}`,
    };
  }

  #register(name: RegisterName): bigint {
    const { cpu } = this.#made();
    if (name === "rip") return cpu.rip;
    if (name === "rflags") return cpu.rflags;
    return cpu.general(REGISTER_NAMES.indexOf(name));
  }

  #context(): HookContext {
    return {
      sandbox: this,
      argument: (index) => BigInt.asUintN(64, this.cpu.general(ARGUMENTS[index])),
    };
  }

  #saved(): Uint8Array {
    return this.memory.bytes.slice(0, CPU.targets);
  }

  #stackTop(): number {
    return PLACES[this.space.name].stackEnd - 64;
  }

  get #budget(): number {
    return this.options.budget ?? DEFAULT_BUDGET;
  }

  #stackBytes(): number {
    const { stackBytes = DEFAULT_STACK } = this.options;
    if (stackBytes <= MOST_STACK) return stackBytes;
    throw new UnsupportedError("stack", `a stack of ${stackBytes} bytes is too large: ${MOST_STACK} at most`);
  }

  /** The first place from where it wants to be on, or where its kind goes in the other space, that has room. */
  #placeFor({ space, address, size, alignment }: ObjectPlan): GuestAddress {
    let at: number = space === this.space ? address : PLACES[this.space.name].object;
    const step = Math.max(alignment, PLACE_ALIGNMENT);
    for (const { address: start, size: taken } of this.memory.mappings) {
      if (start < at + size + step && start + taken + step > at) at = Math.ceil((start + taken) / step) * step + step;
    }
    return at as GuestAddress;
  }

  #made(): Core {
    return this.#core ?? this.#create(HIGH_SPACE);
  }

  #create(space: GuestSpace): Core {
    const { checks = true, elimination = true, conventions = true, count = false, warmUp = 0 } = this.options;
    const memory = new GuestMemory(space);
    const code = new GuestCode(memory);
    const cpu = new CpuState(memory.memory.buffer);
    const runtime = new Runtime(memory, code, cpu, { space, checks, elimination, conventions, count });
    runtime.warmUp = warmUp;
    const snapshots = new Snapshots(memory, cpu, code, (from, to) => runtime.codeChanged(from, to));
    const system = new SystemInstructions(cpu, () => BigInt(Math.trunc(runtime.executed)));
    runtime.system = (instruction) => system.carryOut(instruction);
    const core: Core = { memory, code, cpu, runtime, snapshots, system, heap: PLACES[space.name].heap + 0x10000 };
    this.#core = core;
    memory.onWrite = (address, size) => {
      const last = memory.page((address + size - 1) as GuestAddress);
      for (let page = memory.page(address); page <= last; page++) {
        snapshots.touch(page);
        if (memory.isWatched(page)) runtime.codeChanged(address, (address + size) as GuestAddress);
        else memory.letThrough(page);
      }
    };
    memory.onShadowChange = (first, last) => {
      for (let page = first; page <= last; page++) snapshots.touchShadow(page);
    };
    code.onRead = (address, length) => {
      memory.watch(memory.page(address));
      memory.watch(memory.page((address + length - 1) as GuestAddress));
    };
    cpu.rflags = 0x202n;
    const { stackEnd, thread } = PLACES[space.name];
    const stack = (stackEnd - this.#stackBytes()) as GuestAddress;
    memory.map(stack, this.#stackBytes(), { read: true, write: true, execute: false }, "stack");
    memory.markStack(stack, stackEnd as GuestAddress);
    // Stack protectors read a word at FS:0x28 or GS:0x28.
    memory.map(thread as GuestAddress, 4096, { read: true, write: true, execute: false }, "thread");
    cpu.fsBase = BigInt(thread + 2048);
    cpu.gsBase = BigInt(thread + 2048);
    return core;
  }
}

/** Functions of one object that are translated together to be kept. */
const KEPT_TOGETHER = 48;
const DEFAULT_STACK = 1 << 20;
const DEFAULT_BUDGET = 1e12;

function faultText({ rule, address, access, size }: AccessFault): string {
  const where = `0x${address.toString(16).padStart(16, "0")}`;
  const what = access === "execute" ? "execution" : `${access} of ${size} ${size === 1 ? "byte" : "bytes"}`;
  return `${rule.replaceAll("-", " ")}: ${what} at ${where}`;
}

export { GENERAL_REGISTERS };
