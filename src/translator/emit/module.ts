import { formatGuestAddress, type GuestAddress } from "../../util/guest-address.js";
import { CPU, ExitReason } from "../cpu-state.js";
import { planConventions } from "../flow/convention.js";
import type { Region } from "../flow/region.js";
import { SHADOW } from "../guest-space.js";
import { RSP } from "../instruction.js";
import type { PureName } from "../ir.js";
import { emitPure } from "../pure.js";
import { type FunctionBody, ModuleAssembler, type ValueType } from "../wasm-assembler.js";
import { EXIT_STATUS } from "./exits.js";
import { type EmitOptions, FunctionWriter, needsFuel, type WrittenFunction } from "./function.js";
import { type ClosedFunction, eachRegister, type Linkage, signatureOf } from "./linkage.js";

/** Where a module finds what it shares with the others. */
export const IMPORTS = {
  module: "korral",
  memory: "memory",
  table: "table",
  resolve: "resolve",
  load: "load",
  store: "store",
} as const;
/** The table and the memory are as large as the runtime makes them; a module asks for no more than exists. */
const LEAST_TABLE = 1;

export interface EmittedModule {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of code by region, in order. */
  readonly sizes: readonly number[];
}

/**
 * What one function was written with. Engines throw optimised code away once no object of a shape that it was made for is
 * left; then each translation would have to warm up anew.
 */
export let kept: object | null = null;

/** Questions that come up while a module is written. */
interface Outside {
  slotOf: (target: GuestAddress) => number;
  isPinned: (target: GuestAddress) => boolean;
  isIo: (address: GuestAddress) => boolean;
  onFunction: (written: WrittenFunction) => void;
}

const NOBODY: Outside = { slotOf: () => 0, isPinned: () => false, isIo: () => false, onFunction: () => {} };

/** A region and its place in the table. */
export interface Placed {
  readonly region: Region;
  readonly slot: number;
}

/**
 * Writes regions as one module. Each function puts itself into the table; those of the same module call each other
 * directly, all others through their slots.
 *
 * @param slotOf the slot of what is at an address
 * @param isPinned it must be called through its slot, even if it is in this module
 * @param likely where indirect calls may well go
 */
export function emitModule(
  regions: readonly Placed[],
  slotOf: (target: GuestAddress) => number,
  isPinned: (target: GuestAddress) => boolean,
  likely: readonly GuestAddress[],
  options: EmitOptions,
): EmittedModule {
  const { onFunction, isIo = NOBODY.isIo, ...rest } = options;
  const outside: Outside = { slotOf, isPinned, isIo, onFunction: onFunction ?? NOBODY.onFunction };
  const asked: Outside = {
    slotOf: (target) => outside.slotOf(target),
    isPinned: (target) => outside.isPinned(target),
    isIo: (address) => outside.isIo(address),
    onFunction: (written) => outside.onFunction(written),
  };
  // Writers note what they write only for somebody who is to be told.
  const told = onFunction === undefined ? {} : { onFunction: asked.onFunction };
  try {
    return writeModule(regions, asked, likely, { ...rest, ...told, isIo: asked.isIo });
  } finally {
    // What is kept would keep a whole sandbox otherwise.
    Object.assign(outside, NOBODY);
  }
}

function writeModule(
  regions: readonly Placed[],
  { slotOf, isPinned }: Outside,
  likely: readonly GuestAddress[],
  options: EmitOptions,
): EmittedModule {
  const module = new ModuleAssembler();
  const resolve = module.importFunction(IMPORTS.module, IMPORTS.resolve, [], ["i32"]);
  const io = {
    load: module.importFunction(IMPORTS.module, IMPORTS.load, ["i32", "i32", "i32"], ["i32"]),
    store: module.importFunction(IMPORTS.module, IMPORTS.store, ["i32", "i32", "i32", "i32"], ["i32"]),
  };
  module.importMemory(IMPORTS.module, IMPORTS.memory, { minimum: 1 });
  module.importTable(IMPORTS.module, IMPORTS.table, { minimum: LEAST_TABLE });
  const type = module.type(["i32"], ["i64"]);
  const plans = planConventions(
    regions.map(({ region }) => region),
    isPinned,
    likely,
    (_region, order) => needsFuel(order),
    options.conventions,
  );
  const bodies = plans.map(({ convention }) => {
    const signature = convention === null ? OPEN : signatureOf(convention);
    return module.function(signature.parameters, signature.results);
  });
  const indirect = module.function(["i64", "i32"], ["i64"]);
  writeIndirect(indirect, resolve, type);
  const spill = module.function(["i32", "i64"], []);
  writeSpill(spill);
  // What takes registers in parameters has a second function, that others call: it takes them from memory.
  const entries = plans.map(({ convention, region }, i) => {
    if (convention === null) return bodies[i];
    const entry = module.function(OPEN.parameters, OPEN.results);
    writeEntry(entry, { index: bodies[i].index, convention }, region.entry, options);
    return entry;
  });
  const numbers = new Map(regions.map(({ region }, i) => [region.entry, i]));
  const numberOf = (target: GuestAddress): number | undefined => (isPinned(target) ? undefined : numbers.get(target));
  const pures = new Map<PureName, FunctionBody>();
  const linkage: Linkage = {
    type,
    indirect: indirect.index,
    spill: spill.index,
    io,
    callee: (target) => {
      const number = numberOf(target);
      return number === undefined ? { slot: slotOf(target) } : { index: entries[number].index };
    },
    closed: (target) => {
      const number = numberOf(target);
      const convention = number === undefined ? null : plans[number].convention;
      return number === undefined || convention === null ? null : { index: bodies[number].index, convention };
    },
    likely: likely.flatMap((address) => {
      const number = numberOf(address);
      const convention = number === undefined ? null : plans[number].convention;
      return number === undefined || convention === null
        ? []
        : [{ address, target: { index: bodies[number].index, convention } }];
    }),
    pure: (name) => {
      let body = pures.get(name);
      if (body === undefined) {
        body = emitPure(module, name);
        pures.set(name, body);
      }
      return body.index;
    },
  };
  const writers = plans.map((plan, i) => new FunctionWriter(plan, bodies[i], linkage, options));
  for (const writer of writers) writer.write();
  kept = { module, plan: plans[0], writer: writers[0] };
  const { onFunction } = options;
  if (onFunction !== undefined) {
    const names = new Map([
      [resolve, "resolve"],
      [indirect.index, "indirect"],
      [spill.index, "spill"],
      ...[...pures].map(([name, { index }]) => [index, name] as const),
      ...regions.flatMap(({ region: { entry } }, i) =>
        [entries[i], bodies[i]].map(({ index }) => [index, formatGuestAddress(entry)] as const),
      ),
    ]);
    for (const writer of writers) onFunction(writer.written(names));
  }
  regions.forEach(({ slot }, i) => {
    module.element(slot, [entries[i].index]);
  });
  const sizes = bodies.map(({ code }, i) => code.length + (entries[i] === bodies[i] ? 0 : entries[i].code.length));
  return { bytes: module.finish(), sizes };
}

/** Functions that take and leave the state in memory: the number of frames that may be nested, and a status. */
const OPEN: { readonly parameters: ValueType[]; readonly results: ValueType[] } = {
  parameters: ["i32"],
  results: ["i64"],
};

/** Calls a closed function for one that has its state in memory. */
function writeEntry(body: FunctionBody, callee: ClosedFunction, at: GuestAddress, options: EmitOptions): void {
  const { parameters, results, deep } = callee.convention;
  const { space } = options;
  const load = (r: number): void => {
    body.i32(0);
    body.memory("i64.load", CPU.registers + 8 * r, 3);
  };
  const status = body.local("i64");
  const sp = body.local("i64");
  load(RSP);
  body.set(sp);
  if (options.checks) {
    // It takes for granted that its return address may be read and written.
    const failed = body.block();
    const fine = body.block();
    body.get(sp);
    if (space.name === "high") body.i64(space.first, -1);
    else body.i64(space.end, 0);
    body.op(space.name === "high" ? "i64.lt_u" : "i64.ge_u");
    body.brIf(failed);
    body.get(sp);
    body.op("i32.wrap_i64");
    body.i32(space.bias);
    body.op("i32.add");
    body.memory("i64.load", SHADOW);
    body.i64(-1);
    body.op("i64.eq");
    body.brIf(fine);
    body.br(failed);
    body.end();
    writeCall();
    body.end();
    body.i32(0);
    body.i64(at);
    body.memory("i64.store", CPU.rip, 3);
    body.i32(0);
    body.i32(ExitReason.step);
    body.memory("i32.store", CPU.reason, 2);
    body.i64(EXIT_STATUS);
    return;
  }
  writeCall();
  body.op("unreachable");

  function writeCall(): void {
    if (deep) body.get(0);
    eachRegister(parameters, (r) => {
      if (r === RSP) body.get(sp);
      else load(r);
    });
    body.call(callee.index);
    const returned: { register: number; local: number }[] = [];
    eachRegister(results, (register) => returned.push({ register, local: body.local("i64") }));
    for (const { local } of [...returned].reverse()) body.set(local);
    body.tee(status);
    body.i64(EXIT_STATUS);
    body.op("i64.eq");
    body.if();
    body.i32(0);
    body.memory("i32.load", CPU.reason, 2);
    body.if();
    body.i64(EXIT_STATUS);
    body.op("return");
    body.end();
    body.end();
    for (const { register, local } of returned) {
      body.i32(0);
      body.get(local);
      body.memory("i64.store", CPU.registers + 8 * register, 3);
    }
    body.i32(0);
    body.get(sp);
    body.i64(8);
    body.op("i64.add");
    body.memory("i64.store", CPU.registers + 8 * RSP, 3);
    body.get(status);
    body.op("return");
  }
}

/** (i32 register, i64 value): see `ExitShape`. */
function writeSpill(body: FunctionBody): void {
  const register = 0;
  const value = 1;
  const bit = body.local("i32");
  body.i32(1);
  body.get(register);
  body.op("i32.shl");
  body.tee(bit);
  body.i32(0);
  body.memory("i32.load", CPU.spilled, 2);
  body.op("i32.and");
  body.if();
  body.op("return");
  body.end();
  body.get(register);
  body.i32(3);
  body.op("i32.shl");
  body.get(value);
  body.memory("i64.store", CPU.registers, 3);
  body.i32(0);
  body.i32(0);
  body.memory("i32.load", CPU.spilled, 2);
  body.get(bit);
  body.op("i32.or");
  body.memory("i32.store", CPU.spilled, 2);
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
