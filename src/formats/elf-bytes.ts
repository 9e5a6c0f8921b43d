import { InputError } from "../util/errors.js";
import { type GuestAddress, guestAddress } from "../util/guest-address.js";

/** C++ has names of thousands of bytes. */
const LONGEST_NAME = 65_536;
/** Names share their bytes in string tables: many may be equal, and some end alike. More than this is made to exhaust. */
const SHARED_BYTES_A_NAME = 128;
const MOST_SHARING = 8;
const TWO_TO_32 = 0x1_0000_0000;
const utf8 = new TextDecoder();

/** An ELF file is broken at byte `offset`. */
export class ElfError extends InputError {
  constructor(
    readonly file: string,
    readonly offset: number,
    code: string,
    what: string,
  ) {
    super(code, `${file} is broken at byte ${offset}: ${what}`);
  }
}

/** Little-endian reads at byte offsets of a file; whoever reads has checked with `need` that the bytes are there. */
export class ElfBytes {
  readonly view: DataView;

  constructor(
    readonly bytes: Uint8Array,
    readonly name: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Damage at `offset`, which is the end of the file at most. */
  broken(offset: number, code: string, what: string): ElfError {
    return new ElfError(this.name, Math.min(offset, this.bytes.length), code, what);
  }

  /**
   * Checks that `length` bytes at `offset` lie in the file.
   * @param at the byte that claims so
   */
  need(offset: number, length: number, at: number, what: string): void {
    // Both are exact up to 2^53 and still far too large beyond.
    if (offset + length <= this.bytes.length) return;
    throw this.broken(
      at,
      "elf-truncated",
      `${what} would be ${length} bytes at ${offset}, and the file has ${this.bytes.length}`,
    );
  }

  /** A 64-bit file offset, size or count; only exact up to 2^53, which no file reaches. */
  unsigned64(offset: number): number {
    return this.view.getUint32(offset + 4, true) * TWO_TO_32 + this.view.getUint32(offset, true);
  }

  /** A 64-bit number with its sign. @throws ElfError if it lies beyond ±2^53. */
  signed64(offset: number, what: string): GuestAddress {
    const value = this.#signed64(offset);
    if (Number.isSafeInteger(value)) return value;
    const digits = this.view.getBigUint64(offset, true).toString(16).padStart(16, "0");
    throw this.broken(offset, "elf-address", `${what} 0x${digits} is no x86-64 address`);
  }

  /** The same, but NaN for what lies beyond ±2^53. */
  signed64OrNaN(offset: number): number {
    const value = this.#signed64(offset);
    return Number.isSafeInteger(value) ? value : Number.NaN;
  }

  #signed64(offset: number): GuestAddress {
    return guestAddress(this.view.getUint32(offset + 4, true), this.view.getUint32(offset, true));
  }

  /** The NUL-terminated text at `offset` of a table that lies in `[start, end)`. */
  text(start: number, end: number, offset: number, at: number): string {
    const from = start + offset;
    if (from >= end) {
      if (offset === 0) return "";
      throw this.broken(at, "elf-name", `a name at ${offset} of a string table of ${end - start} bytes`);
    }
    const most = Math.min(end, from + LONGEST_NAME);
    const length = this.bytes.subarray(from, most).indexOf(0);
    if (length >= 0) return utf8.decode(this.bytes.subarray(from, from + length));
    throw this.broken(
      from,
      "elf-name",
      most === end ? "a name without an end" : `a name of more than ${LONGEST_NAME} bytes`,
    );
  }

  /**
   * Checks that `count` names in the string table at `[start, end)` are not much longer than the table and the count:
   * reading all of them takes time and memory linear in the file's size. Names that are broken are not this check's business.
   * @param offsetOf where a name begins in the table
   */
  checkNames(start: number, end: number, count: number, offsetOf: (index: number) => number): void {
    let left = MOST_SHARING * (end - start) + SHARED_BYTES_A_NAME * count;
    const table = this.bytes.subarray(start, end);
    for (let index = 0; index < count; index++) {
      const offset = offsetOf(index);
      left -= Math.max(0, table.indexOf(0, offset) - offset);
      if (left < 0) throw this.broken(start, "elf-name", `${count} names that overlap more than names do`);
    }
  }
}
