import type { ElfFile } from "../formats/elf.js";
import { SectionFlag, SymbolType } from "../formats/elf-constants.js";
import type { ElfSection } from "../formats/elf-section.js";
import type { ElfSymbols } from "../formats/elf-symbols.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { LoadedFunction } from "./loaded-object.js";

/** A symbol in executable bytes. */
interface Candidate {
  readonly symbol: number;
  readonly address: number;
  /** 0 if the file does not say. */
  readonly size: number;
  /** One past the last byte of its section. */
  readonly end: number;
}

export const isExecutable = (section: ElfSection): boolean =>
  section.allocated && (section.flags & SectionFlag.executable) !== 0;

/**
 * The functions of a file, ascending. What has no size and begins in no other function reaches to the next one or to the
 * end of its section. Of several names of one address the first by precedence counts.
 * @param addressOf where a symbol lies, null if it is not loaded
 * @param sectionStart where a section lies
 */
export function functionsOf(
  elf: ElfFile,
  table: ElfSymbols | null,
  addressOf: (symbol: number) => GuestAddress | null,
  sectionStart: (section: ElfSection) => GuestAddress,
): LoadedFunction[] {
  if (table === null) return [];
  const candidates: Candidate[] = [];
  for (const symbol of table.ordered) {
    const type = table.type(symbol);
    const section = elf.sections[table.section(symbol)];
    const address = addressOf(symbol);
    if (type === SymbolType.object || section === undefined || !isExecutable(section) || address === null) continue;
    const start = sectionStart(section);
    const end = start + section.size;
    if (address < start || address >= end) continue;
    candidates.push({ symbol, address, size: table.size(symbol), end });
  }
  // Stable: symbols of one address stay in the order of precedence.
  candidates.sort((a, b) => a.address - b.address);
  const functions: LoadedFunction[] = [];
  let covered = Number.NEGATIVE_INFINITY;
  for (const [i, { symbol, address, size, end }] of candidates.entries()) {
    if (address === candidates[i - 1]?.address || (size === 0 && address < covered)) continue;
    const reach = Math.min(end, size === 0 ? (nextAddress(candidates, i) ?? end) : address + size);
    covered = Math.max(covered, reach);
    functions.push({ name: table.name(symbol), address: address as GuestAddress, size: reach - address });
  }
  return functions;
}

function nextAddress(candidates: readonly Candidate[], i: number): number | undefined {
  let next = i + 1;
  while (candidates[next]?.address === candidates[i].address) next++;
  return candidates[next]?.address;
}
