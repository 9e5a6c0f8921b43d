import type { GuestAddress } from "../util/guest-address.js";
import { InstructionDecoder, isDecodeFailure, LONGEST_INSTRUCTION } from "./decode.js";
import type { Lifted } from "./flow/effects.js";
import type { CodeSource, InlinedLeaf, JumpTargets } from "./flow/region.js";
import type { GuestMemory } from "./guest-memory.js";
import { nextAddress, RSP } from "./instruction.js";
import { findJumpTargets } from "./jump-tables.js";
import { KNOWN_ENCODINGS } from "./known-encodings.js";
import type { LoadedFunction } from "./loaded-object.js";

const COLD = /\.cold(\.\d+)?$/;
/** Without symbols, jumps further than this lead out of the function. */
const FAR = 0x10000;
/** A leaf of up to so many instructions is written in place of calls to it. */
const SMALL_LEAF = 12;

/** A function of up to so many bytes becomes part of those that jump to it. */
const SMALL_TAIL = 256;

/** So many instructions are kept; most are read again at no great cost. */
const MOST_KEPT = 1 << 17;

export interface KnownFunction extends LoadedFunction {
  /** The function that it is a part of, by name. */
  readonly whole: string;
  /** Which object it came with: names are unique only there, if at all. */
  readonly object: number;
}

/** Functions of something large, which are told one at a time. */
export interface FunctionLibrary {
  readonly start: GuestAddress;
  readonly end: GuestAddress;
  /** The function that an address in the range lies in. */
  functionAt(address: GuestAddress): LoadedFunction | null;
}

interface KnownLibrary {
  readonly library: FunctionLibrary;
  readonly object: number;
  /** Those that were asked for, by their first address. */
  readonly known: Map<GuestAddress, KnownFunction>;
}

/** The guest's code: instructions by address, and which of them belong together. */
export class GuestCode implements CodeSource {
  readonly #decoder = new InstructionDecoder();
  readonly #lifted = new Map<GuestAddress, Lifted>();
  #functions: readonly KnownFunction[] = [];
  #objects = 0;
  readonly #libraries: KnownLibrary[] = [];
  readonly #taken = new Map<number, readonly GuestAddress[]>();
  /** Addresses that must be entered through the table: hooks. */
  readonly pinned = new Set<GuestAddress>();
  /** Addresses that code elsewhere calls, where no symbol says so. */
  readonly entries = new Set<GuestAddress>();
  /** Instructions that have accessed registers of devices: translated code asks the host for these accesses. */
  readonly io = new Set<GuestAddress>();
  inlining = true;
  /** Told where instructions are read: what is known of them has to be forgotten when the bytes change. */
  onRead: ((address: GuestAddress, length: number) => void) | null = null;

  constructor(private readonly memory: GuestMemory) {}

  /** @param taken addresses that relocations other than those of calls refer to */
  addFunctions(functions: readonly LoadedFunction[], taken: readonly GuestAddress[] = []): void {
    const object = this.#objects++;
    const starts = new Set(functions.map(({ address }) => address));
    this.#taken.set(
      object,
      taken.filter((address) => starts.has(address)),
    );
    const added = functions.map((f) => ({ ...f, whole: f.name.replace(COLD, ""), object }));
    this.#functions = [...this.#functions, ...added].sort((a, b) => a.address - b.address);
  }

  /** Functions in a range that no others are added to. */
  addLibrary(library: FunctionLibrary): void {
    this.#libraries.push({ library, object: this.#objects++, known: new Map() });
  }

  /** All functions that are known, but for those of libraries: what `functions` takes back. */
  get functions(): readonly KnownFunction[] {
    return this.#functions;
  }

  set functions(functions: readonly KnownFunction[]) {
    this.#functions = functions;
  }

  removeFunctions(from: GuestAddress, to: GuestAddress): void {
    this.#functions = this.#functions.filter((f) => f.address < from || f.address >= to);
  }

  functionAt(address: GuestAddress): KnownFunction | null {
    for (const one of this.#libraries) {
      if (address >= one.library.start && address < one.library.end) return libraryFunction(one, address);
    }
    let low = 0;
    let high = this.#functions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#functions[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    const found = this.#functions[low - 1];
    return found !== undefined && address < found.address + Math.max(1, found.size) ? found : null;
  }

  /** Whether a function is entered at an address, that is, no part of it that is kept elsewhere. */
  startsFunction(address: GuestAddress): boolean {
    const found = this.functionAt(address);
    return found !== null && found.address === address && found.name === found.whole;
  }

  /** Functions of the object that an address belongs to whose addresses relocations gave away. */
  takenFunctions(address: GuestAddress): readonly GuestAddress[] {
    const own = this.functionAt(address);
    return own === null ? [] : (this.#taken.get(own.object) ?? []);
  }

  /** Whether a function that is known, or a part of one that is kept elsewhere, begins at an address. */
  startsAt(address: GuestAddress): boolean {
    return this.functionAt(address)?.address === address;
  }

  at(address: GuestAddress): Lifted | null {
    const known = this.#lifted.get(address);
    if (known !== undefined) return known;
    const lifted = this.#read(address);
    if (lifted === null) return null;
    if (this.#lifted.size >= MOST_KEPT) this.#lifted.clear();
    this.#lifted.set(address, lifted);
    return lifted;
  }

  /** Instructions that touch changed bytes are read anew. */
  forget(from: GuestAddress, to: GuestAddress): void {
    if (to - from > 4096) {
      for (const address of this.#lifted.keys()) {
        if (address < to && address > from - LONGEST_INSTRUCTION) this.#lifted.delete(address);
      }
      return;
    }
    for (let at = from - LONGEST_INSTRUCTION; at < to; at++) this.#lifted.delete(at as GuestAddress);
  }

  belongs(entry: GuestAddress, target: GuestAddress): boolean {
    const own = this.functionAt(entry);
    const other = this.functionAt(target);
    const isSame = own !== null && other !== null && own.object === other.object && own.whole === other.whole;
    // A jump back to the start of a function is no call of it; any other way to the address of a hook is one for the hook.
    if (this.pinned.has(target)) return isSame && this.startsFunction(target);
    if (target === entry) return true;
    if (own !== null) return isSame;
    return other === null && !this.entries.has(target) && Math.abs(target - entry) < FAR;
  }

  merges(entry: GuestAddress, target: GuestAddress): boolean {
    if (this.pinned.has(target)) return false;
    const own = this.functionAt(entry);
    const other = this.functionAt(target);
    return own !== null && other?.address === target && own.object === other.object && other.size <= SMALL_TAIL;
  }

  jumpTargets(path: readonly Lifted[], entry: GuestAddress): JumpTargets {
    return findJumpTargets(path, this.memory, (target) => this.belongs(entry, target));
  }

  inlined(target: GuestAddress, caller: GuestAddress): InlinedLeaf | null {
    if (!this.inlining || this.pinned.has(target)) return null;
    const own = this.functionAt(caller);
    const leaf = this.functionAt(target);
    if (leaf === null || leaf.address !== target || own === leaf || own?.object !== leaf.object) return null;
    const body: Lifted[] = [];
    let stores = false;
    let at = target;
    while (body.length <= SMALL_LEAF) {
      const one = this.at(at);
      if (one === null) return null;
      const { last, branchesInside } = one.effects;
      if (last?.kind === "return") return { body, ret: one, stores };
      if (last !== null || branchesInside) return null;
      // What a system call or a change of a segment base does is for the runtime to see in its place.
      // With another RSP, it returns to what is there.
      stores ||= (one.effects.writes & (1 << RSP)) !== 0 || one.steps.some((step) => step.kind === "store");
      body.push(one);
      at = nextAddress(one.instruction);
    }
    return null;
  }

  #read(address: GuestAddress): Lifted | null {
    const mapping = this.memory.mappingAt(address);
    if (mapping === null || !mapping.execute) return null;
    // An instruction may reach into the next mapping, if code goes on there.
    const end = mapping.address + mapping.size;
    const next = end - address < LONGEST_INSTRUCTION ? this.memory.mappingAt(end as GuestAddress) : null;
    const more = next?.execute === true ? LONGEST_INSTRUCTION : 0;
    const length = Math.min(LONGEST_INSTRUCTION, end + more - address);
    const { bytes } = this.memory;
    const offset = this.memory.offset(address);
    let lifted = KNOWN_ENCODINGS.find(bytes, offset, offset + length, address);
    if (lifted === null) {
      const decoded = this.#decoder.decode(bytes, offset, length, address);
      if (isDecodeFailure(decoded)) return null;
      lifted = KNOWN_ENCODINGS.learn(decoded, bytes, offset);
    }
    this.onRead?.(address, lifted.instruction.length);
    return lifted;
  }
}

function libraryFunction({ library, object, known }: KnownLibrary, address: GuestAddress): KnownFunction | null {
  const found = library.functionAt(address);
  if (found === null) return null;
  let one = known.get(found.address);
  if (one === undefined) {
    one = { ...found, whole: found.name.replace(COLD, ""), object };
    known.set(found.address, one);
  }
  return one;
}
