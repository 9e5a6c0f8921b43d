import { SymbolBinding } from "../formats/elf-constants.js";
import { R_X86_64_PC32, R_X86_64_PLT32, RELOCATION_RULES } from "../formats/elf-relocation-types.js";
import type { ElfRelocations } from "../formats/elf-relocations.js";
import type { ElfSymbols } from "../formats/elf-symbols.js";
import type { GuestAddress } from "../util/guest-address.js";
import { lastNotAbove } from "./load-layout.js";
import type { CodeReference } from "./loaded-object.js";

/**
 * Sections that describe code to the kernel, which may patch or unwind it: they refer to the middle of functions, and
 * nothing jumps there because of them.
 */
const DESCRIPTIONS =
  /^(\.altinstructions|\.parainstructions|\.smp_locks|\.orc_|\.(return|retpoline|call|static_call)_sites|\.ibt_endbr_seal|\.cfi_sites|\.eh_frame|\.gcc_except_table|__mcount_loc|__patchable_function_entries|__bug_table|__jump_table)/;

/** A place where relocations are. */
export interface ReferringSection {
  readonly name: string;
  readonly address: GuestAddress;
  /** As in the file. */
  readonly bytes: Uint8Array;
  readonly execute: boolean;
  readonly lists: readonly ElfRelocations[];
}

interface Range {
  readonly start: number;
  readonly end: number;
}

/** A word of data that holds the distance to something. */
interface Distance {
  readonly place: number;
  readonly sum: number;
}

/** What refers to executable bytes, other than direct calls and jumps. */
export class ReferenceCollector {
  readonly #code: readonly Range[];
  /** Addresses by kind and section. */
  readonly #found = new Map<string, { kind: CodeReference["kind"]; section: string; addresses: Set<number> }>();

  /** @param code where executable bytes are */
  constructor(code: readonly { readonly address: number; readonly size: number }[]) {
    const ranges = code.map(({ address, size }) => ({ start: address, end: address + size }));
    this.#code = ranges.sort((a, b) => a.start - b.start);
  }

  /** Notes an address if it is one of code. */
  add(address: number, kind: CodeReference["kind"], section: string): void {
    if (!this.isCode(address)) return;
    const key = `${kind} ${section}`;
    const entry = this.#found.get(key);
    if (entry === undefined) this.#found.set(key, { kind, section, addresses: new Set([address]) });
    else entry.addresses.add(address);
  }

  isCode(address: number): boolean {
    const range = this.#code[lastNotAbove(this.#code, ({ start }) => start, address)];
    return range !== undefined && address < range.end;
  }

  /** Takes the relocations of a relocatable file. @throws ElfError */
  addSections(sections: readonly ReferringSection[], addressOf: (symbol: number) => number): void {
    /** Data that operands refer to: where tables begin. */
    const starts = new Set<number>();
    for (const section of sections) if (section.execute) this.#addOperands(section, addressOf, starts);
    for (const section of sections) {
      if (!section.execute && !DESCRIPTIONS.test(section.name)) this.#addData(section, addressOf, starts);
    }
  }

  list(): CodeReference[] {
    const references: CodeReference[] = [];
    for (const { kind, section, addresses } of this.#found.values()) {
      for (const address of addresses) references.push({ address: address as GuestAddress, kind, section });
    }
    return references.sort((a, b) => a.address - b.address);
  }

  #addOperands(section: ReferringSection, addressOf: (symbol: number) => number, starts: Set<number>): void {
    for (const list of section.lists) {
      for (let i = 0; i < list.count; i++) {
        const rule = RELOCATION_RULES[list.type(i)];
        if (rule === undefined || isDirectBranch(list, i, section.bytes)) continue;
        let target = addressOf(list.symbol(i));
        if (rule.target === "symbol" || rule.target === "symbol-offset") target += list.addend(i);
        // RIP is past the four bytes; what more immediate bytes follow matters only to accesses of data.
        if (rule.target === "symbol" && rule.relative && rule.bytes === 4) target += 4;
        if (this.isCode(target)) this.add(target, "operand", section.name);
        else starts.add(target);
      }
    }
  }

  #addData(section: ReferringSection, addressOf: (symbol: number) => number, starts: ReadonlySet<number>): void {
    const distances: Distance[] = [];
    for (const list of section.lists) {
      for (let i = 0; i < list.count; i++) {
        const rule = RELOCATION_RULES[list.type(i)];
        if (rule?.target !== "symbol") continue;
        const sum = addressOf(list.symbol(i)) + list.addend(i);
        if (rule.relative) distances.push({ place: section.address + list.offset(i), sum });
        else this.add(sum, "data", section.name);
      }
    }
    distances.sort((a, b) => a.place - b.place);
    // A run of distances, one every four bytes, from a place on that code refers to, is relative to its start: that is how
    // compilers make tables for switches in code that may lie anywhere. Any other distance is relative to itself.
    let table = Number.NaN;
    let previous = Number.NaN;
    for (const { place, sum } of distances) {
      if (starts.has(place)) table = place;
      else if (place !== previous + 4) table = Number.NaN;
      previous = place;
      if (Number.isNaN(table)) this.add(sum, "data", section.name);
      else this.add(sum - (place - table), "jump-table", section.name);
    }
  }
}

/** Adds the symbols that others may know. @throws ElfError */
export function addGlobals(
  collector: ReferenceCollector,
  table: ElfSymbols | null,
  addressOf: (symbol: number) => GuestAddress | null,
  sectionOf: (symbol: number) => string,
): void {
  if (table === null) return;
  for (const symbol of table.ordered) {
    if (table.binding(symbol) === SymbolBinding.local) continue;
    const address = addressOf(symbol);
    if (address !== null) collector.add(address, "symbol", sectionOf(symbol));
  }
}

/**
 * The relocation is the operand of `call`, `jmp` or `jcc` with a 32-bit displacement. The byte before any other operand
 * that is relative to RIP is its ModRM, 05 to 3d, which none of these opcodes is.
 */
function isDirectBranch(list: ElfRelocations, i: number, bytes: Uint8Array): boolean {
  const type = list.type(i);
  if (type !== R_X86_64_PC32 && type !== R_X86_64_PLT32) return false;
  const at = list.offset(i);
  const opcode = bytes[at - 1];
  if (opcode === 0xe8 || opcode === 0xe9) return true;
  return (opcode & 0xf0) === 0x80 && bytes[at - 2] === 0x0f;
}
