import type { GuestAddress } from "../../util/guest-address.js";
import { CPU } from "../cpu-state.js";
import type { Region } from "../flow/region.js";
import type { PureName } from "../ir.js";
import { emitPure } from "../pure.js";
import { type FunctionBody, ModuleAssembler } from "../wasm-assembler.js";
import { type EmitOptions, FunctionWriter, type Linkage } from "./function.js";

/** Where a module finds what it shares with the others. */
export const IMPORTS = { module: "korral", memory: "memory", table: "table", resolve: "resolve" } as const;
/** The table and the memory are as large as the runtime makes them; a module asks for no more than exists. */
const LEAST_TABLE = 1;

export interface EmittedModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of code by region, in order. */
  readonly sizes: readonly number[];
}

/** A region and its place in the table. */
export interface Placed {
  readonly region: Region;
  readonly slot: number;
}

/**
 * Writes regions as one module. Each function puts itself into the table; those of the same module call each other
 * directly, all others through their slots.
 *
 * @param slotOf the slot of what is at an address, and whether it may be called directly when it is in this module
 */
export function emitModule(
  regions: readonly Placed[],
  slotOf: (target: GuestAddress) => number,
  isPinned: (target: GuestAddress) => boolean,
  options: EmitOptions,
): EmittedModule {
  const module = new ModuleAssembler();
  const resolve = module.importFunction(IMPORTS.module, IMPORTS.resolve, [], ["i32"]);
  module.importMemory(IMPORTS.module, IMPORTS.memory, { minimum: 1 });
  module.importTable(IMPORTS.module, IMPORTS.table, { minimum: LEAST_TABLE });
  const type = module.type(["i32"], ["i64"]);
  const bodies = regions.map(() => module.function(["i32"], ["i64"]));
  const indirect = module.function(["i64", "i32"], ["i64"]);
  writeIndirect(indirect, resolve, type);
  const byAddress = new Map(regions.map(({ region }, i) => [region.entry, bodies[i]]));
  const pures = new Map<PureName, FunctionBody>();
  const linkage: Linkage = {
    type,
    indirect: indirect.index,
    callee: (target) => {
      const body = isPinned(target) ? undefined : byAddress.get(target);
      return body === undefined ? { slot: slotOf(target) } : { index: body.index };
    },
    pure: (name) => {
      let body = pures.get(name);
      if (body === undefined) {
        body = emitPure(module, name);
        pures.set(name, body);
      }
      return body.index;
    },
  };
  regions.forEach(({ region }, i) => {
    new FunctionWriter(region, bodies[i], linkage, options).write();
  });
  regions.forEach(({ slot }, i) => {
    module.element(slot, [bodies[i].index]);
  });
  return { bytes: module.finish(), sizes: bodies.map((body) => body.code.length) };
}

/**
 * (i64 target, i32 depth) → i64: calls what is at a guest address, by a direct-mapped cache of slots in memory. What is
 * no code is where execution goes on, for the runtime to find out.
 */
function writeIndirect(body: FunctionBody, resolve: number, type: number): void {
  const target = 0;
  const depth = 1;
  const entry = body.local("i32");
  const slot = body.local("i32");
  body.get(target);
  body.op("i32.wrap_i64");
  // Entries of 16 bytes for targets that are mostly aligned to 16: the hash is the offset.
  body.i32((CPU.targetEntries - 1) << 4);
  body.op("i32.and");
  body.tee(entry);
  body.memory("i64.load", CPU.targets, 3);
  body.get(target);
  body.op("i64.eq");
  body.if();
  body.get(depth);
  body.get(entry);
  body.memory("i32.load", CPU.targets + 8, 2);
  body.returnCallIndirect(type);
  body.end();
  body.i32(0);
  body.get(target);
  body.memory("i64.store", CPU.rip, 3);
  body.call(resolve);
  body.tee(slot);
  body.i32(0);
  body.op("i32.lt_s");
  body.if();
  body.get(target);
  body.op("return");
  body.end();
  body.get(depth);
  body.get(slot);
  body.returnCallIndirect(type);
}
