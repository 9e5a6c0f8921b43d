import { ElfError } from "../formats/elf-bytes.js";
import { SymbolBinding, SymbolType } from "../formats/elf-constants.js";
import type { ElfSymbols } from "../formats/elf-symbols.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { ImportResolver, LoadedImport, LoadedSegment, PlannedImport } from "./loaded-object.js";

/** Room for each import: displacements into a structure that is imported mostly stay within it. */
export const IMPORT_STRIDE = 256;
/** int3: whoever executes an import without looking is stopped. */
const FILLER = 0xcc;
/** What linkers define by themselves. */
export const OFFSET_TABLE = "_GLOBAL_OFFSET_TABLE_";

/** Addresses of what a file imports; for what nobody defines they are made up. */
export class ImportArea {
  /** Ascending. */
  readonly list: LoadedImport[] = [];
  /** What `resolve` said. */
  readonly #answers = new Map<string, GuestAddress | null>();
  readonly #undefined = new Map<string, GuestAddress>();
  readonly #indirect = new Map<string, GuestAddress>();

  constructor(
    private readonly file: string,
    private readonly start: GuestAddress,
    private readonly resolve: ImportResolver,
  ) {}

  /** @returns null for a weak symbol that nobody defines. @throws ElfError */
  addressOf(table: ElfSymbols, symbol: number): GuestAddress | null {
    const name = table.name(symbol);
    if (name === "") {
      throw new ElfError(
        this.file,
        table.fileOffset(symbol),
        "load-symbol",
        "a symbol without name or definition is used",
      );
    }
    let answer = this.#answers.get(name);
    if (answer === undefined) {
      answer = this.resolve(name);
      this.#answers.set(name, answer);
    }
    if (answer !== null || table.binding(symbol) === SymbolBinding.weak) return answer;
    return this.#stub(this.#undefined, name, "undefined");
  }

  /** Stands for a function of which only the resolver is there. */
  addressOfIndirect(name: string): GuestAddress {
    return this.#stub(this.#indirect, name, "indirect-function");
  }

  #stub(known: Map<string, GuestAddress>, name: string, why: LoadedImport["why"]): GuestAddress {
    const address = known.get(name) ?? ((this.start + IMPORT_STRIDE * this.list.length) as GuestAddress);
    if (!known.has(name)) this.list.push({ name, address, why });
    known.set(name, address);
    return address;
  }

  at(address: GuestAddress): LoadedImport | null {
    return this.list[Math.floor((address - this.start) / IMPORT_STRIDE)] ?? null;
  }

  /** What is to be mapped: nothing if nothing is imported. */
  get segments(): LoadedSegment[] {
    const size = IMPORT_STRIDE * this.list.length;
    if (size === 0) return [];
    const bytes = new Uint8Array(size).fill(FILLER);
    return [{ name: "imports", address: this.start, bytes, size, read: false, write: false, execute: true }];
  }
}

/** The undefined symbols of a table, each name once, but for `own`. @throws ElfError */
export function plannedImports(table: ElfSymbols | null, own = ""): PlannedImport[] {
  const imports = new Map<string, PlannedImport>();
  if (table === null) return [];
  for (const symbol of table.undefined()) {
    const name = table.name(symbol);
    const weak = table.binding(symbol) === SymbolBinding.weak;
    if (name !== own && imports.get(name)?.weak !== false) imports.set(name, { name, weak });
  }
  return [...imports.values()];
}

/** How many symbols are indirect functions. */
export function indirectFunctions(table: ElfSymbols | null): number {
  let count = 0;
  for (let symbol = 1; symbol < (table?.count ?? 0); symbol++) {
    if (table?.type(symbol) === SymbolType.indirectFunction) count++;
  }
  return count;
}
