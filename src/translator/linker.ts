import type { GuestAddress } from "../util/guest-address.js";
import { CPU } from "./cpu-state.js";
import { EXIT_STATUS } from "./emit/exits.js";
import { IMPORTS } from "./emit/module.js";
import type { GuestMemory } from "./guest-memory.js";
import { ModuleAssembler } from "./wasm-assembler.js";

/** Functions as the table has them: they take the number of frames that may still be nested, and return a status. */
export type Translated = (depth: number) => bigint;

const CHUNK = 1024;
/** So that a guest address of -1, which nothing can be at, is what an unused entry of the cache of targets has. */
const NO_TARGET = -1n;

/** How translated code goes on after a hook: as if the function had returned to RIP, or by leaving all frames. */
export const AfterHook = { returned: -1, left: -2 } as const;

/** What the runtime does for translated code. */
export interface LinkerHost {
  /** Translates what is at a slot's address; the slot then leads there. */
  enter(slot: number): void;
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
  readonly #stubFunctions: WebAssembly.ExportValue[] = [];
  readonly #hookFunctions: WebAssembly.ExportValue[] = [];
  readonly #words: BigInt64Array;

  constructor(
    private readonly memory: GuestMemory,
    private readonly host: LinkerHost,
  ) {
    this.table = new WebAssembly.Table({ element: "anyfunc", initial: 0 });
    this.#words = new BigInt64Array(memory.memory.buffer, CPU.targets, 2 * CPU.targetEntries);
    this.forgetTargets();
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
    this.table.set(slot, this.#stubFunctions[slot]);
  }

  toHook(slot: number): void {
    this.table.set(slot, this.#hookFunctions[slot]);
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
      if (slot >= this.table.length) this.#grow();
      this.toStub(slot);
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
        enter: (slot: number) => this.host.enter(slot),
        hook: (slot: number) => this.host.hook(slot),
      },
    });
    for (let i = 0; i < CHUNK; i++) {
      this.#stubFunctions.push(exports[`stub${i}`]);
      this.#hookFunctions.push(exports[`hook${i}`]);
    }
  }
}

let compiled: WebAssembly.Module | null = null;

/** The same in all sandboxes. */
function stubs(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(stubModule());
  return compiled;
}

/** A stub and a hook for each slot of a chunk. */
function stubModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleAssembler();
  const enter = module.importFunction(IMPORTS.module, "enter", ["i32"], []);
  const hook = module.importFunction(IMPORTS.module, "hook", ["i32"], ["i32"]);
  module.importMemory(IMPORTS.module, IMPORTS.memory, { minimum: 1 });
  module.importTable(IMPORTS.module, IMPORTS.table, { minimum: 1 });
  const base = module.importGlobal(IMPORTS.module, "base", "i32", false);
  const type = module.type(["i32"], ["i64"]);
  for (let i = 0; i < CHUNK; i++) {
    const stub = module.function(["i32"], ["i64"]);
    const slot = (): void => {
      stub.globalGet(base);
      stub.i32(i);
      stub.op("i32.add");
    };
    slot();
    stub.call(enter);
    stub.get(0);
    slot();
    stub.returnCallIndirect(type);
    module.export(`stub${i}`, "function", stub.index);

    const hooked = module.function(["i32"], ["i64"]);
    hooked.globalGet(base);
    hooked.i32(i);
    hooked.op("i32.add");
    const after = hooked.local("i32");
    hooked.call(hook);
    hooked.tee(after);
    hooked.i32(0);
    hooked.op("i32.ge_s");
    hooked.if();
    hooked.get(0);
    hooked.get(after);
    hooked.returnCallIndirect(type);
    hooked.end();
    hooked.get(after);
    hooked.i32(AfterHook.returned);
    hooked.op("i32.eq");
    hooked.if("i64");
    hooked.i32(0);
    hooked.memory("i64.load", CPU.rip, 3);
    hooked.else();
    hooked.i64(EXIT_STATUS);
    hooked.end();
    module.export(`hook${i}`, "function", hooked.index);
  }
  return module.finish();
}
