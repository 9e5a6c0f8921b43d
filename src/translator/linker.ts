import type { GuestAddress } from "../util/guest-address.js";
import { CPU } from "./cpu-state.js";
import { EXIT_STATUS } from "./emit/exits.js";
import { IMPORTS } from "./emit/module.js";
import type { GuestMemory } from "./guest-memory.js";
import type { KeptSlot } from "./kept-translations.js";
import { type FunctionBody, type FunctionIndex, ModuleAssembler } from "./wasm-assembler.js";

/** Functions as the table has them: they take the number of frames that may still be nested, and return a status. */
export type Translated = (depth: number) => bigint;

const CHUNK_SHIFT = 10;
const CHUNK = 1 << CHUNK_SHIFT;
/** So that a guest address of -1, which nothing can be at, is what an unused entry of the cache of targets has. */
const NO_TARGET = -1n;

/** How translated code goes on after a hook: as if the function had returned to RIP, or by leaving all frames. */
export const AfterHook = { returned: -1, left: -2 } as const;

/** What the runtime does for translated code. */
export interface LinkerHost {
  /**
   * Has what is at a slot's address translated, or carries the call out.
   * @param depth how many frames may still be nested
   * @returns an `AfterHook`, or the slot to go on at
   */
  enter(slot: number, depth: number): number;
  /** Carries out the hook of a slot. @returns an `AfterHook`, or the slot to go on at */
  hook(slot: number): number;
}

/**
 * The table that functions of different modules call each other through: a slot for each guest address that code calls or
 * jumps to. A slot leads to translated code, to a stub that has it translated first, or to a hook. Where there is a hook, a
 * second slot leads to the code behind it.
 */
export class Linker {
  readonly table: WebAssembly.Table;
  readonly #slots = new Map<GuestAddress, number>();
  readonly #behind = new Map<GuestAddress, number>();
  readonly #addresses: GuestAddress[] = [];
  readonly #chunks: Chunk[] = [];
  readonly #words: BigInt64Array;

  constructor(
    private readonly memory: GuestMemory,
    private readonly host: LinkerHost,
  ) {
    this.table = new WebAssembly.Table({ element: "anyfunc", initial: 0 });
    this.#words = new BigInt64Array(memory.memory.buffer, CPU.targets, 2 * CPU.targetEntries);
    this.forgetTargets();
  }

  /** All places, in their order. */
  get places(): readonly KeptSlot[] {
    return this.#addresses.map((address, slot) => ({ address, behind: this.isBehind(slot) }));
  }

  /** Makes the places of an earlier run, by their numbers. @returns false if there are some already */
  makePlaces(places: readonly KeptSlot[]): boolean {
    if (this.#addresses.length > 0) return false;
    for (const { address, behind } of places) this.#slotIn(behind ? this.#behind : this.#slots, address);
    return true;
  }

  slotOf(address: GuestAddress): number {
    return this.#slotIn(this.#slots, address);
  }

  /** The slot of the code that is behind a hook. */
  slotBehind(address: GuestAddress): number {
    return this.#slotIn(this.#behind, address);
  }

  isBehind(slot: number): boolean {
    return this.#behind.get(this.addressOf(slot)) === slot;
  }

  knownSlot(address: GuestAddress): number | null {
    return this.#slots.get(address) ?? null;
  }

  addressOf(slot: number): GuestAddress {
    return this.#addresses[slot];
  }

  /** The next call through the slot has its code translated. */
  toStub(slot: number): void {
    this.#chunks[slot >> CHUNK_SHIFT].toStub(slot);
  }

  toHook(slot: number): void {
    this.#chunks[slot >> CHUNK_SHIFT].toHook(slot);
  }

  /** Indirect calls remember where targets are; after a change they look again. */
  remember(address: GuestAddress, slot: number): void {
    const entry = 2 * ((address >> 4) & (CPU.targetEntries - 1));
    this.#words[entry] = BigInt(address);
    this.#words[entry + 1] = BigInt(slot);
  }

  forgetTargets(): void {
    this.#words.fill(NO_TARGET);
  }

  get(slot: number): Translated {
    return this.table.get(slot) as Translated;
  }

  #slotIn(slots: Map<GuestAddress, number>, address: GuestAddress): number {
    let slot = slots.get(address);
    if (slot === undefined) {
      slot = this.#addresses.length;
      slots.set(address, slot);
      this.#addresses.push(address);
      // New slots lead to their stubs.
      if (slot >= this.table.length) this.#grow();
    }
    return slot;
  }

  #grow(): void {
    const first = this.table.length;
    this.table.grow(CHUNK);
    const base = new WebAssembly.Global({ value: "i32" }, first);
    const { exports } = new WebAssembly.Instance(stubs(), {
      [IMPORTS.module]: {
        [IMPORTS.memory]: this.memory.memory,
        [IMPORTS.table]: this.table,
        base,
        enter: (slot: number, depth: number) => this.host.enter(slot, depth),
        hook: (slot: number) => this.host.hook(slot),
      },
    });
    this.#chunks.push(exports as unknown as Chunk);
  }
}

/** Exports of a module of stubs: what puts a slot's own functions into the table. */
interface Chunk {
  toStub(slot: number): void;
  toHook(slot: number): void;
}

let compiled: WebAssembly.Module | null = null;

/** The same in all sandboxes. */
function stubs(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(stubModule());
  return compiled;
}

/** A stub and a hook for each slot of a chunk. The stubs are in the table once it is instantiated. */
function stubModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleAssembler();
  const enter = module.importFunction(IMPORTS.module, "enter", ["i32", "i32"], ["i32"]);
  const hook = module.importFunction(IMPORTS.module, "hook", ["i32"], ["i32"]);
  module.importMemory(IMPORTS.module, IMPORTS.memory, { minimum: 1 });
  module.importTable(IMPORTS.module, IMPORTS.table, { minimum: 1 });
  const base = module.importGlobal(IMPORTS.module, "base", "i32", false);
  const type = module.type(["i32"], ["i64"]);

  const [depth, slot] = [0, 1];
  /** Goes on as the host says that is on the stack. */
  const goOn = (body: FunctionBody): void => {
    const after = body.local("i32");
    body.tee(after);
    body.i32(0);
    body.op("i32.ge_s");
    body.if();
    body.get(depth);
    body.get(after);
    body.returnCallIndirect(type);
    body.end();
    body.get(after);
    body.i32(AfterHook.returned);
    body.op("i32.eq");
    body.if("i64");
    body.i32(0);
    body.memory("i64.load", CPU.rip, 3);
    body.else();
    body.i64(EXIT_STATUS);
    body.end();
  };
  const entering = module.function(["i32", "i32"], ["i64"]);
  entering.get(slot);
  entering.get(depth);
  entering.call(enter);
  goOn(entering);
  const hooking = module.function(["i32", "i32"], ["i64"]);
  hooking.get(slot);
  hooking.call(hook);
  goOn(hooking);

  const each = (common: FunctionIndex): number => {
    const functions: FunctionIndex[] = [];
    for (let i = 0; i < CHUNK; i++) {
      const body = module.function(["i32"], ["i64"]);
      body.get(depth);
      body.globalGet(base);
      body.i32(i);
      body.op("i32.add");
      body.returnCall(common);
      functions.push(body.index);
    }
    return module.passiveElements(functions);
  };
  const put = (name: string, segment: number): void => {
    const body = module.function(["i32"], []);
    body.get(0);
    body.get(0);
    body.globalGet(base);
    body.op("i32.sub");
    body.i32(1);
    body.tableInit(segment);
    module.export(name, "function", body.index);
  };
  const stubs = each(entering.index);
  put("toStub", stubs);
  put("toHook", each(hooking.index));

  const start = module.function([], []);
  start.globalGet(base);
  start.i32(0);
  start.i32(CHUNK);
  start.tableInit(stubs);
  module.start(start.index);
  return module.finish();
}
