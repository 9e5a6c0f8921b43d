import type { GuestAddress } from "../util/guest-address.js";
import type { GuestCode } from "./code.js";
import { CPU } from "./cpu-state.js";
import type { EmitOptions, WrittenFunction } from "./emit/function.js";
import { type EmittedModule, emitModule, IMPORTS, type Placed } from "./emit/module.js";
import type { Lifted } from "./flow/effects.js";
import { discoverRegion, type Region } from "./flow/region.js";
import type { GuestMemory } from "./guest-memory.js";
import { checksumOf, type KeptUnit } from "./kept-translations.js";
import type { Linker } from "./linker.js";

/** What was translated so far. */
export interface TranslationStatistics {
  regions: number;
  modules: number;
  guestBytes: number;
  wasmBytes: number;
}

/** What has to be known of regions in one module when something changes. */
interface Unit {
  readonly slots: readonly number[];
  /** To be kept for other runs. */
  readonly kept: KeptUnit;
  /** Guest bytes that they were made of. */
  readonly ranges: readonly { readonly start: GuestAddress; readonly end: GuestAddress }[];
  /** Where they begin, and what they call or jump to. */
  readonly targets: ReadonlySet<GuestAddress>;
}

/** A function is translated with what it calls, and so on, until so many bytes of code or functions are together. */
const MOST_BYTES = 0x4000;
const MOST_TOGETHER = 64;
/** Indirect calls are compared with the functions that they may go to if there are no more than these. */
const MOST_LIKELY = 8;

/** Turns regions of guest code into modules, puts them into the table, and takes them out when their code changes. */
export class Translations {
  readonly statistics: TranslationStatistics = { regions: 0, modules: 0, guestBytes: 0, wasmBytes: 0 };
  /** Slots that lead to translated code. */
  readonly #ready = new Map<number, Unit>();
  readonly #byPage = new Map<number, Set<Unit>>();
  /** Of earlier runs, by the addresses that they have code for. */
  readonly #offered = new Map<GuestAddress, KeptUnit>();
  readonly #loadIo: (low: number, high: number, bytes: number) => number;
  readonly #storeIo: (low: number, high: number, bytes: number, value: number) => number;
  /** Whether what is only called by what is to be translated is worth translating too. */
  isWorth: (address: GuestAddress) => boolean = () => true;

  constructor(
    private readonly memory: GuestMemory,
    private readonly code: GuestCode,
    private readonly linker: Linker,
    private readonly resolve: () => number,
    readonly options: EmitOptions,
  ) {
    const words = new Int32Array(memory.memory.buffer, 0, CPU.end >> 2);
    this.#loadIo = (low, high, bytes) => {
      const value = memory.loadIo(low, high, bytes);
      words[CPU.refused >> 2] = value < 0 ? 1 : 0;
      return value;
    };
    this.#storeIo = (low, high, bytes, value) => (memory.storeIo(low, high, bytes, value) ? 0 : 1);
  }

  isReady(slot: number): boolean {
    return this.#ready.has(slot);
  }

  /** Translates what is at an address together with what it calls. @returns whether there is code */
  translate(address: GuestAddress): boolean {
    if (this.#revived(address)) return true;
    return this.#unit(this.#together(address, MOST_BYTES, MOST_TOGETHER));
  }

  /** Translates what is at some addresses as one, where it is not translated yet. */
  translateAll(addresses: readonly GuestAddress[]): void {
    this.#unit(addresses.filter((at) => !this.#isDone(at)).flatMap((at) => this.#region(at) ?? []));
  }

  /** Translates what is at an address alone: where execution goes on in the middle of a function. */
  translateAlone(address: GuestAddress): boolean {
    if (this.#revived(address)) return true;
    return this.#unit(this.#together(address, 0, 1));
  }

  /** Whether there is code for an address, translated in an earlier run. */
  isOffered(address: GuestAddress): boolean {
    return this.#offered.has(address);
  }

  /** Takes what was translated in an earlier run, to be used where the guest's bytes are the same. */
  offer(units: readonly KeptUnit[]): void {
    for (const unit of units) for (const slot of unit.slots) this.#offered.set(this.linker.addressOf(slot), unit);
  }

  /** What is in force now, for other runs. */
  get kept(): readonly KeptUnit[] {
    return [...new Set([...this.#ready.values()].map(({ kept }) => kept))];
  }

  #revived(address: GuestAddress): boolean {
    const kept = this.#offered.get(address);
    if (kept === undefined) return false;
    for (const slot of kept.slots) this.#offered.delete(this.linker.addressOf(slot));
    if (checksumOf(kept.ranges, (start, length) => this.#bytesAt(start, length)) !== kept.checksum) return false;
    try {
      this.#instantiate(kept);
    } catch (error) {
      // Another engine's, or somebody else's: it is translated anew.
      if (isRefusal(error)) return false;
      throw error;
    }
    return true;
  }

  #bytesAt(start: GuestAddress, length: number): Uint8Array | null {
    if (this.memory.mappingAt(start) === null) return null;
    const at = this.memory.offset(start);
    return this.memory.bytes.subarray(at, at + length);
  }

  /** How the function at an address is written, together with what it calls; nothing comes into force. */
  written(address: GuestAddress): WrittenFunction | null {
    let found: WrittenFunction | null = null;
    this.#emit(this.#placed(this.#together(address, MOST_BYTES, MOST_TOGETHER)), {
      ...this.options,
      onFunction: (written) => {
        if (written.region.entry === address) found = written;
      },
    });
    return found;
  }

  /** What was translated from bytes in a range is void. @returns whether there was any */
  invalidate(from: GuestAddress, to: GuestAddress): boolean {
    this.code.forget(from, to);
    const units = new Set<Unit>();
    for (let page = this.memory.page(from); page <= this.memory.page((to - 1) as GuestAddress); page++) {
      for (const unit of this.#byPage.get(page) ?? []) {
        if (unit.ranges.some(({ start, end }) => start < to && end > from)) units.add(unit);
      }
    }
    for (const unit of units) this.#drop(unit);
    return units.size > 0;
  }

  /** Everything that calls an address directly has to find out anew how: it got a hook, or lost one. */
  invalidateCallers(address: GuestAddress): void {
    // What calls it has asked for its slot; what has it inlined covers its page.
    if (this.linker.knownSlot(address) === null && !this.#byPage.has(this.memory.page(address))) return;
    for (const unit of new Set(this.#ready.values())) {
      const calls =
        unit.targets.has(address) || unit.ranges.some(({ start, end }) => start <= address && end > address);
      if (calls) this.#drop(unit);
    }
  }

  #drop(unit: Unit): void {
    for (const slot of unit.slots) {
      if (this.#ready.get(slot) !== unit) continue;
      this.#ready.delete(slot);
      if (this.linker.isBehind(slot) || !this.code.pinned.has(this.linker.addressOf(slot))) this.linker.toStub(slot);
    }
    for (const [page, units] of this.#byPage) if (units.delete(unit) && units.size === 0) this.#byPage.delete(page);
    this.linker.forgetTargets();
  }

  #region(address: GuestAddress): Region | null {
    return this.code.at(address) === null ? null : discoverRegion(this.code, address);
  }

  /** There is code for it, or a hook in its place. */
  #isDone(address: GuestAddress): boolean {
    const slot = this.linker.knownSlot(address);
    return this.code.pinned.has(address) || (slot !== null && this.#ready.has(slot));
  }

  /** The region at an address and those of functions that it calls or may call, the nearest first. */
  #together(address: GuestAddress, mostBytes: number, most: number): readonly Region[] {
    const regions: Region[] = [];
    const taken = this.code.takenFunctions(address);
    const likely = taken.length <= MOST_LIKELY ? taken : [];
    let bytes = 0;
    const found = new Set<GuestAddress>([address]);
    const want = (target: GuestAddress): void => {
      if (this.code.startsAt(target) && !this.#isDone(target) && this.isWorth(target)) found.add(target);
    };
    for (const at of found) {
      const region = this.#region(at);
      if (region === null) continue;
      regions.push(region);
      bytes += guestBytes(region);
      if (bytes >= mostBytes || regions.length >= most) break;
      for (const { nodes, ending, outside } of region.blocks) {
        for (const { lifted, inlining } of nodes) {
          const { last } = lifted.effects;
          if (last?.kind === "call" && inlining === "none") want(last.target);
          else if (last?.kind === "callIndirect") likely.forEach(want);
          const leads = leadsTo(lifted);
          if (leads !== null) want(leads);
        }
        if (ending.kind === "tail" || ending.kind === "branch") outside.forEach(want);
      }
    }
    return regions;
  }

  #placed(regions: readonly Region[]): readonly Placed[] {
    return regions.map((region) => {
      const { entry } = region;
      return { region, slot: this.code.pinned.has(entry) ? this.linker.slotBehind(entry) : this.linker.slotOf(entry) };
    });
  }

  #emit(placed: readonly Placed[], options: EmitOptions): EmittedModule {
    return emitModule(
      placed,
      (target) => this.linker.slotOf(target),
      (target) => this.code.pinned.has(target),
      placed.length === 0 ? [] : likelyTargets(placed, this.code.takenFunctions(placed[0].region.entry)),
      options,
    );
  }

  #unit(regions: readonly Region[]): boolean {
    const placed = this.#placed(regions);
    if (placed.length === 0) return false;
    const { bytes, sizes } = this.#emit(placed, this.options);
    const ranges = joined(placed.flatMap(({ region }) => region.ranges));
    this.#instantiate({
      bytes,
      slots: placed.map(({ slot }) => slot),
      ranges,
      checksum: checksumOf(ranges, (start, length) => this.#bytesAt(start, length)),
      targets: [...new Set(placed.flatMap(({ region }) => [region.entry, ...targetsOf(region)]))],
      regions: placed.length,
      guestBytes: placed.reduce((sum, { region }) => sum + guestBytes(region), 0),
      wasmBytes: sizes.reduce((sum, size) => sum + size, 0),
    });
    return true;
  }

  #instantiate(kept: KeptUnit): void {
    // An instance puts its functions into the table.
    new WebAssembly.Instance(new WebAssembly.Module(kept.bytes), {
      [IMPORTS.module]: {
        [IMPORTS.memory]: this.memory.memory,
        [IMPORTS.table]: this.linker.table,
        [IMPORTS.resolve]: this.resolve,
        [IMPORTS.load]: this.#loadIo,
        [IMPORTS.store]: this.#storeIo,
      },
    });
    const unit: Unit = { kept, slots: kept.slots, ranges: kept.ranges, targets: new Set(kept.targets) };
    for (const slot of unit.slots) this.#ready.set(slot, unit);
    for (const { start, end } of unit.ranges) this.#cover(unit, start, end);
    this.statistics.modules++;
    this.statistics.regions += kept.regions;
    this.statistics.wasmBytes += kept.wasmBytes;
    this.statistics.guestBytes += kept.guestBytes;
  }

  #cover(unit: Unit, start: GuestAddress, end: GuestAddress): void {
    if (end <= start) return;
    const first = this.memory.page(start);
    const last = this.memory.page((end - 1) as GuestAddress);
    for (let page = first; page <= last; page++) {
      const units = this.#byPage.get(page);
      if (units === undefined) this.#byPage.set(page, new Set([unit]));
      else units.add(unit);
      // Not only instructions: a table of jumps is read once.
      this.memory.watch(page);
    }
  }
}

/** Whether the engine does not take a module, or what it is to be linked with. */
function isRefusal(error: unknown): boolean {
  const { CompileError, LinkError, RuntimeError } = WebAssembly;
  return error instanceof CompileError || error instanceof LinkError || error instanceof RuntimeError;
}

/**
 * Functions that indirect calls may well go to: those whose addresses are taken, if they are few enough to be compared
 * with one by one.
 */
function likelyTargets(placed: readonly Placed[], taken: readonly GuestAddress[]): readonly GuestAddress[] {
  const entries = new Set(placed.map(({ region }) => region.entry));
  const found = new Set(taken.filter((address) => entries.has(address)));
  for (const { region } of placed) {
    for (const { nodes } of region.blocks) {
      for (const { lifted } of nodes) {
        const address = leadsTo(lifted);
        if (address !== null && entries.has(address)) found.add(address);
      }
    }
  }
  return found.size <= MOST_LIKELY ? [...found] : [];
}

/** The same bytes in as few ranges as can be, ascending. */
function joined(ranges: Unit["ranges"]): Unit["ranges"] {
  const result: { start: GuestAddress; end: GuestAddress }[] = [];
  for (const { start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = result.at(-1);
    if (last === undefined || start > last.end) result.push({ start, end });
    else if (end > last.end) last.end = end;
  }
  return result;
}

/** Where a region calls or jumps to. */
function targetsOf({ blocks }: Region): GuestAddress[] {
  const targets: GuestAddress[] = [];
  for (const { ending, outside, nodes } of blocks) {
    if (ending.kind === "tail") targets.push(ending.target);
    targets.push(...outside);
    for (const { lifted } of nodes) {
      const { last } = lifted.effects;
      if (last?.kind === "call") targets.push(last.target);
    }
  }
  return targets;
}

/** The address that a `lea` relative to RIP makes, null for anything else. */
function leadsTo({ instruction: { mnemonic, operands } }: Lifted): GuestAddress | null {
  const [, source] = operands;
  const isAddress = mnemonic === "lea" && source?.kind === "memory" && source.base < 0 && source.index < 0;
  return isAddress ? (Number(source.displacement) as GuestAddress) : null;
}

function guestBytes(region: Region): number {
  return region.blocks.reduce(
    (sum, block) =>
      sum + block.nodes.reduce((n, node) => n + (node.inlining === "none" ? node.lifted.instruction.length : 0), 0),
    0,
  );
}
