import type { GuestAddress } from "../util/guest-address.js";
import type { GuestCode } from "./code.js";
import type { EmitOptions, WrittenFunction } from "./emit/function.js";
import { type EmittedModule, emitModule, IMPORTS, type Placed } from "./emit/module.js";
import { discoverRegion, type Region } from "./flow/region.js";
import type { GuestMemory } from "./guest-memory.js";
import type { Linker } from "./linker.js";

/** What was translated so far. */
export interface TranslationStatistics {
  regions: number;
  modules: number;
  guestBytes: number;
  wasmBytes: number;
}

interface Unit {
  readonly regions: readonly Region[];
  readonly slots: readonly number[];
}

/** Code that is called without a whole object being known is translated with so many of its callees. */
const MOST_TOGETHER = 64;
const MOST_LIKELY = 8;
/** Objects with more functions than this are translated in parts. */
const MOST_FUNCTIONS = 4000;

/** Turns regions of guest code into modules, puts them into the table, and takes them out when their code changes. */
export class Translations {
  readonly statistics: TranslationStatistics = { regions: 0, modules: 0, guestBytes: 0, wasmBytes: 0 };
  /** Slots that lead to translated code. */
  readonly #ready = new Map<number, Unit>();
  readonly #byPage = new Map<number, Set<Unit>>();

  constructor(
    private readonly memory: GuestMemory,
    private readonly code: GuestCode,
    private readonly linker: Linker,
    private readonly resolve: () => number,
    readonly options: EmitOptions,
  ) {}

  isReady(slot: number): boolean {
    return this.#ready.has(slot);
  }

  /** Translates what is at an address together with what it belongs to. @returns whether there is code */
  translate(address: GuestAddress): boolean {
    if (this.code.functionAt(address)?.address !== address) return this.#unit([address]);
    const all = this.code.siblings(address).map((f) => f.address);
    const together = all.length <= MOST_FUNCTIONS ? all : this.#callees(address);
    const missing = together.filter((at) => {
      if (at === address) return true;
      const slot = this.linker.knownSlot(at);
      return !this.code.pinned.has(at) && (slot === null || !this.#ready.has(slot));
    });
    return this.#unit(missing);
  }

  /** Translates what is at an address alone: where execution goes on in the middle of a function. */
  translateAlone(address: GuestAddress): boolean {
    return this.#unit([address]);
  }

  /** How the function at an address is written, together with what it belongs to; nothing comes into force. */
  written(address: GuestAddress): WrittenFunction | null {
    const own = this.code.functionAt(address)?.address === address;
    const placed = this.#placed(own ? this.code.siblings(address).map((f) => f.address) : [address]);
    let found: WrittenFunction | null = null;
    this.#emit(placed, {
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
        if (unit.regions.some(({ ranges }) => ranges.some(({ start, end }) => start < to && end > from)))
          units.add(unit);
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
      const calls = unit.regions.some(
        (region) =>
          region.entry === address ||
          region.ranges.some(({ start, end }) => start <= address && end > address) ||
          region.blocks.some(
            (block) =>
              (block.ending.kind === "tail" && block.ending.target === address) ||
              block.outside.includes(address) ||
              block.nodes.some(
                ({ lifted: { effects } }) => effects.last?.kind === "call" && effects.last.target === address,
              ),
          ),
      );
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

  #callees(address: GuestAddress): GuestAddress[] {
    const found = new Set<GuestAddress>([address]);
    for (const at of found) {
      if (found.size >= MOST_TOGETHER) break;
      for (const { nodes } of discoverRegion(this.code, at).blocks) {
        for (const { lifted } of nodes) {
          const { last } = lifted.effects;
          if (last?.kind === "call" && found.size < MOST_TOGETHER && this.code.functionAt(last.target) !== null) {
            found.add(last.target);
          }
        }
      }
    }
    return [...found];
  }

  #placed(addresses: readonly GuestAddress[]): readonly Placed[] {
    const placed: Placed[] = [];
    for (const address of addresses) {
      if (this.code.at(address) === null) continue;
      const slot = this.code.pinned.has(address) ? this.linker.slotBehind(address) : this.linker.slotOf(address);
      placed.push({ region: discoverRegion(this.code, address), slot });
    }
    return placed;
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

  #unit(addresses: readonly GuestAddress[]): boolean {
    const placed = this.#placed(addresses);
    if (placed.length === 0) return false;
    const { bytes, sizes } = this.#emit(placed, this.options);
    // An instance puts its functions into the table.
    new WebAssembly.Instance(new WebAssembly.Module(bytes), {
      [IMPORTS.module]: {
        [IMPORTS.memory]: this.memory.memory,
        [IMPORTS.table]: this.linker.table,
        [IMPORTS.resolve]: this.resolve,
      },
    });
    const unit: Unit = { regions: placed.map(({ region }) => region), slots: placed.map(({ slot }) => slot) };
    for (const { slot, region } of placed) {
      this.#ready.set(slot, unit);
      for (const { start, end } of region.ranges) this.#cover(unit, start, end);
    }
    this.statistics.modules++;
    this.statistics.regions += placed.length;
    this.statistics.wasmBytes += sizes.reduce((sum, size) => sum + size, 0);
    this.statistics.guestBytes += placed.reduce((sum, { region }) => sum + guestBytes(region), 0);
    return true;
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
        const { mnemonic, operands } = lifted.instruction;
        const [, source] = operands;
        if (mnemonic !== "lea" || source?.kind !== "memory" || source.base >= 0 || source.index >= 0) continue;
        const address = Number(source.displacement) as GuestAddress;
        if (entries.has(address)) found.add(address);
      }
    }
  }
  return found.size <= MOST_LIKELY ? [...found] : [];
}

function guestBytes(region: Region): number {
  return region.blocks.reduce(
    (sum, block) =>
      sum + block.nodes.reduce((n, node) => n + (node.inlining === "none" ? node.lifted.instruction.length : 0), 0),
    0,
  );
}
