import { SymbolBinding, SymbolType } from "../formats/elf-constants.js";
import { type ElfSymbols, SymbolSection } from "../formats/elf-symbols.js";
import { SymbolLookupError } from "../formats/kallsyms.js";
import { UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import { nearNames } from "../util/near-names.js";

export interface LoadedSymbol {
  readonly name: string;
  readonly address: GuestAddress;
  /** Bytes, 0 if the file does not say. */
  readonly size: number;
  readonly kind: "function" | "indirect-function" | "object" | "thread-local" | "label";
  readonly binding: "local" | "global" | "weak";
  /** The name of its section; `*ABS*` and `COMMON` are none. */
  readonly section: string;
}

/** What of a file gives its symbols their addresses. */
export interface SymbolPlaces {
  readonly file: string;
  readonly table: ElfSymbols | null;
  /** Null for symbols that are not loaded. */
  readonly address: (symbol: number) => GuestAddress | null;
  readonly section: (symbol: number) => string;
  /** The number of the symbol whose bytes an address is among, -1 for none. */
  readonly at: (address: GuestAddress) => number;
}

const MOST_CHOICES = 8;

// biome-ignore format: a table
const KINDS: Readonly<Record<number, LoadedSymbol["kind"]>> = {
  [SymbolType.object]:           "object",
  [SymbolType.common]:           "object",
  [SymbolType.function]:         "function",
  [SymbolType.indirectFunction]: "indirect-function",
  [SymbolType.tls]:              "thread-local",
};

/** A loaded file's own symbols. Nothing is made but for those that are asked for. */
export class LoadedSymbols implements Iterable<LoadedSymbol> {
  constructor(private readonly places: SymbolPlaces) {}

  /**
   * The symbol of this name: a global one, else a weak one, else the only local one. `file.c:name` asks for the local one
   * of a source file.
   * @throws UnsupportedError if there are several local ones; it tells them apart
   */
  get(name: string): LoadedSymbol | null {
    const { table } = this.places;
    if (table === null) return null;
    const whole = this.#best(table, name, "");
    if (whole !== null) return whole;
    const colon = name.lastIndexOf(":");
    return colon > 0 ? this.#best(table, name.slice(colon + 1), name.slice(0, colon)) : null;
  }

  /** The same, or an error with similar names. @throws SymbolLookupError, and as `get` */
  find(name: string): LoadedSymbol {
    const found = this.get(name);
    if (found !== null) return found;
    throw new SymbolLookupError(this.places.file, name, nearNames(name, this.#names()));
  }

  /** The function or object that an address belongs to. */
  at(address: GuestAddress): LoadedSymbol | null {
    const symbol = this.places.at(address);
    return symbol < 0 ? null : this.#symbol(symbol);
  }

  /** In the order of the file. */
  *[Symbol.iterator](): Generator<LoadedSymbol> {
    const { table } = this.places;
    for (let symbol = 1; symbol < (table?.count ?? 0); symbol++) {
      const made = this.#symbol(symbol);
      if (made !== null && made.name !== "") yield made;
    }
  }

  *#names(): Generator<string> {
    for (const { name } of this) yield name;
  }

  #best(table: ElfSymbols, name: string, file: string): LoadedSymbol | null {
    const locals: number[] = [];
    let found: LoadedSymbol | null = null;
    for (const symbol of table.named(name)) {
      const made = this.#symbol(symbol);
      if (made === null) continue;
      if (made.binding !== "local") {
        if (file === "" && (found === null || made.binding === "global")) found = made;
      } else if (file === "" || this.#sourceFile(table, symbol) === file) locals.push(symbol);
    }
    if (found !== null) return found;
    if (locals.length > 1) throw this.#ambiguous(table, name, locals);
    return locals.length === 1 ? this.#symbol(locals[0]) : null;
  }

  #ambiguous(table: ElfSymbols, name: string, locals: readonly number[]): UnsupportedError {
    const choices = locals.slice(0, MOST_CHOICES).map((symbol) => {
      const address = formatGuestAddress(this.places.address(symbol) ?? (0 as GuestAddress));
      const file = this.#sourceFile(table, symbol);
      return `${file === "" ? name : `${file}:${name}`} at ${address} in ${this.places.section(symbol)}`;
    });
    if (locals.length > MOST_CHOICES) choices.push("…");
    return new UnsupportedError(
      "ambiguous-symbol",
      `${this.places.file} has ${locals.length} local symbols ${name}: give one of ${choices.join(", ")}`,
    );
  }

  /** Local symbols follow the name of the file that they come from (gABI, STT_FILE). */
  #sourceFile(table: ElfSymbols, symbol: number): string {
    for (let before = symbol - 1; before > 0; before--) {
      if (table.type(before) === SymbolType.file) return table.name(before);
    }
    return "";
  }

  /** Null for what names no loaded byte. */
  #symbol(symbol: number): LoadedSymbol | null {
    const { table } = this.places;
    if (table === null || !isNameable(table, symbol)) return null;
    const address = this.places.address(symbol);
    if (address === null) return null;
    const binding = table.binding(symbol);
    return {
      name: table.name(symbol),
      address,
      size: table.size(symbol),
      kind: KINDS[table.type(symbol)] ?? "label",
      binding: binding === SymbolBinding.local ? "local" : binding === SymbolBinding.weak ? "weak" : "global",
      section: this.places.section(symbol),
    };
  }
}

function isNameable(table: ElfSymbols, symbol: number): boolean {
  const type = table.type(symbol);
  return type !== SymbolType.section && type !== SymbolType.file && table.section(symbol) !== SymbolSection.undefined;
}
