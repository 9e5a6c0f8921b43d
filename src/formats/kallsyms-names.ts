import { InputError } from "../util/errors.js";
import { type KallsymsTables, LONGEST_SYMBOL_BYTES, MARKER_INTERVAL, packedLength } from "./kallsyms-search.js";
import { hashName, NAME_HASH_START } from "./name-index.js";

const TOKENS = 256;
const utf8 = new TextDecoder();

/** The packed symbols: each a type and a name, as a string of tokens. */
export class KallsymsNames {
  readonly count: number;
  readonly #starts: Uint32Array;
  readonly #tokenStarts = new Uint32Array(TOKENS);
  readonly #tokenLengths = new Uint32Array(TOKENS);
  readonly #expanded = new Uint8Array(LONGEST_SYMBOL_BYTES);

  /**
   * @param starts where each symbol starts and the last one ends, if that was found out before
   * @throws InputError (`kallsyms-broken`) if the names do not fit their markers or their bounds
   */
  constructor(
    private readonly bytes: Uint8Array,
    tables: KallsymsTables,
    private readonly source: string,
    starts: Uint32Array | null = null,
  ) {
    this.count = tables.count;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let token = 0; token < TOKENS; token++) {
      const start = tables.tokensAt + view.getUint16(tables.tokenIndexAt + 2 * token, true);
      this.#tokenStarts[token] = start;
      this.#tokenLengths[token] = bytes.indexOf(0, start) - start;
    }
    this.#starts = starts ?? this.#walk(view, tables);
  }

  /** @param starts as another one of the same bytes had them. @returns null if they cannot be those */
  static checked(bytes: Uint8Array, tables: KallsymsTables, source: string, starts: Uint32Array): KallsymsNames | null {
    const { count, namesAt, namesEnd, tokensAt, tokenIndexAt } = tables;
    if (starts.length !== count + 1 || starts[0] !== namesAt || namesEnd > bytes.length) return null;
    if (tokensAt >= bytes.length || tokenIndexAt + 2 * TOKENS > bytes.length) return null;
    for (let index = 0; index < count; index++) {
      const length = packedLength(bytes, starts[index], namesEnd);
      if (length === 0 || starts[index + 1] !== starts[index] + length) return null;
    }
    return new KallsymsNames(bytes, tables, source, starts);
  }

  get starts(): Uint32Array {
    return this.#starts;
  }

  /** The letter of the type, then the name. */
  text(index: number): string {
    return utf8.decode(this.#expanded.subarray(0, this.#expand(index)));
  }

  /** Of the name alone. */
  hash(index: number): number {
    return hashName(NAME_HASH_START, this.#expanded, 1, this.#expand(index));
  }

  isNamed(index: number, name: Uint8Array): boolean {
    if (this.#expand(index) !== name.length + 1) return false;
    for (let i = 0; i < name.length; i++) if (this.#expanded[i + 1] !== name[i]) return false;
    return true;
  }

  /** @returns how many bytes there are in #expanded now */
  #expand(index: number): number {
    const { bytes } = this;
    const expanded = this.#expanded;
    const start = this.#starts[index];
    const end = this.#starts[index + 1];
    let length = 0;
    for (let at = start + (bytes[start] < 0x80 ? 1 : 2); at < end; at++) {
      let from = this.#tokenStarts[bytes[at]];
      for (const to = from + this.#tokenLengths[bytes[at]]; from < to; from++) expanded[length++] = bytes[from];
    }
    return length;
  }

  /** Where each symbol starts, and where the last one ends. */
  #walk(view: DataView, { count, namesAt, namesEnd, markersAt }: KallsymsTables): Uint32Array {
    const { bytes } = this;
    const starts = new Uint32Array(count + 1);
    let at = namesAt;
    for (let index = 0; index < count; index++) {
      starts[index] = at;
      if (
        index % MARKER_INTERVAL === 0 &&
        view.getUint32(markersAt + index / (MARKER_INTERVAL / 4), true) !== at - namesAt
      ) {
        throw this.#broken(at, `symbol ${index} is not where its marker says`);
      }
      const length = packedLength(bytes, at, namesEnd);
      if (length === 0) throw this.#broken(at, `symbol ${index} has no or too many bytes`);
      let expanded = 0;
      for (let i = at + (bytes[at] < 0x80 ? 1 : 2); i < at + length; i++) expanded += this.#tokenLengths[bytes[i]];
      if (expanded < 2 || expanded >= LONGEST_SYMBOL_BYTES) {
        throw this.#broken(at, `symbol ${index} has ${expanded} letters with its type`);
      }
      at += length;
    }
    starts[count] = at;
    return starts;
  }

  #broken(offset: number, what: string): InputError {
    return new InputError("kallsyms-broken", `the symbols of ${this.source} are broken at byte ${offset}: ${what}`);
  }
}
