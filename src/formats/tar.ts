/** tar: ustar (POSIX.1-1988) with GNU's long names and sizes and the records of pax (POSIX.1-2001). */

import { type InputError, UnsupportedError } from "../util/errors.js";
import { type Fault, faultOf } from "./fault.js";
import { PieceReader } from "./piece-reader.js";
import { safePath, safeTarget } from "./tar-path.js";

const BLOCK = 512;
/** Of a long name or of the records of pax, in bytes. */
const LONGEST_EXTRA = 1 << 20;

// biome-ignore format: a table
const KINDS: Readonly<Record<string, TarEntry["kind"]>> = {
  "\0": "file", "0": "file", "7": "file", "1": "hardlink", "2": "symlink", "5": "directory",
};
// biome-ignore format: a table
const REFUSED: Readonly<Record<string, string>> = {
  "3": "a character device", "4": "a block device", "6": "a FIFO",
};

export interface TarEntry {
  /** Relative to the archive's root, without `.` and `..`; the root itself is the empty string. */
  readonly path: string;
  readonly kind: "file" | "directory" | "symlink" | "hardlink";
  /** Permission bits. */
  readonly mode: number;
  /** Of the contents, in bytes; zero but for files. */
  readonly size: number;
  /** What a link leads to, in the same form as `path`, if the archive's root is taken for the file system's. */
  readonly target: string | undefined;
  /** The contents, a copy; to be called before the next entry is asked for, which otherwise passes over them. */
  read(): Uint8Array;
}

/** What earlier headers say about the entry that follows them. */
interface Extra {
  path?: string;
  target?: string;
  size?: number;
}

/**
 * Entries of an archive that comes in pieces, one after the other; nothing but the entry at hand is held.
 * @param name of the archive, for messages
 * @throws InputError where the archive is damaged, or an entry's name or link would lead out of its tree (by `..`, from
 * the root, or through a link that came before); UnsupportedError for sparse files and the like
 */
export function* tarEntries(pieces: Iterable<Uint8Array>, name: string): Generator<TarEntry, void> {
  const reader = new TarReader(pieces, name);
  for (let entry = reader.next(); entry !== undefined; entry = reader.next()) yield entry;
}

class TarReader {
  readonly #reader: PieceReader;
  readonly #name: string;
  readonly #fault: Fault;
  readonly #links = new Set<string>();
  /** Bytes of the entry at hand, with its padding, that have not been read. */
  #unread = 0;

  constructor(pieces: Iterable<Uint8Array>, name: string) {
    this.#reader = new PieceReader(pieces);
    this.#name = name;
    this.#fault = faultOf("tar", name);
  }

  /** @returns undefined at the end */
  next(): TarEntry | undefined {
    let extra: Extra = {};
    for (;;) {
      if (!this.#reader.skip(this.#unread)) throw this.#truncated();
      this.#unread = 0;
      const at = this.#reader.position;
      const header = this.#block();
      if (header.every((byte) => byte === 0)) {
        // What unpacks the archive gets to see its end, and so to check it.
        this.#reader.skip(Number.POSITIVE_INFINITY);
        return undefined;
      }
      this.#verify(header, at);
      const type = String.fromCharCode(header[156]);
      const size = this.#number(header, 124, 12, at);
      if (type === "L") extra.path = this.#long(size, at);
      else if (type === "K") extra.target = this.#long(size, at);
      else if (type === "x") extra = { ...extra, ...this.#pax(size, at) };
      else if (type === "g") this.#extra(size, at);
      else return this.#entry(header, type, { size, ...extra }, at);
    }
  }

  #entry(header: Uint8Array, type: string, extra: Extra & { size: number }, at: number): TarEntry {
    const given = extra.path ?? ustarName(header);
    const kind = given.endsWith("/") && KINDS[type] === "file" ? "directory" : KINDS[type];
    if (kind === undefined) {
      if (REFUSED[type] !== undefined) throw this.#hostile(given, `is ${REFUSED[type]}`);
      throw new UnsupportedError(
        "tar-type",
        `${this.#name} has an entry of a type that is not supported: ${JSON.stringify(type)} at byte ${at}, ${shown(given)}`,
      );
    }
    const path = safePath(given);
    if (path === undefined || (path === "" && kind !== "directory"))
      throw this.#hostile(given, "lies outside its tree");
    for (let end = path.indexOf("/"); end >= 0; end = path.indexOf("/", end + 1)) {
      if (this.#links.has(path.slice(0, end))) throw this.#hostile(given, "lies behind a link");
    }
    const size = kind === "file" ? extra.size : 0;
    this.#unread = Math.ceil(size / BLOCK) * BLOCK;
    return {
      path,
      kind,
      mode: this.#number(header, 100, 8, at) & 0o7777,
      size,
      target: this.#target(kind, path, extra.target ?? text(header, 157, 100)),
      read: () => this.#contents(size),
    };
  }

  #target(kind: TarEntry["kind"], path: string, given: string): string | undefined {
    if (kind !== "symlink" && kind !== "hardlink") return undefined;
    const target = kind === "symlink" ? safeTarget(path, given) : safePath(given);
    if (target === undefined) throw this.#hostile(path, `links to ${shown(given)}, outside its tree`);
    if (kind === "symlink") this.#links.add(path);
    return target;
  }

  #contents(size: number): Uint8Array {
    const padded = Math.ceil(size / BLOCK) * BLOCK;
    if (this.#unread !== padded) throw new RangeError("a tar entry's contents are read once, before the next entry");
    const bytes = this.#reader.read(size);
    if (bytes.length !== size) throw this.#truncated();
    this.#unread -= size;
    return bytes;
  }

  #block(): Uint8Array {
    const block = this.#reader.read(BLOCK);
    if (block.length !== BLOCK) throw this.#truncated();
    return block;
  }

  /** The sum of the header's bytes, its own field taken for spaces. */
  #verify(header: Uint8Array, at: number): void {
    let sum = 8 * 0x20;
    for (let i = 0; i < BLOCK; i++) if (i < 148 || i >= 156) sum += header[i];
    if (this.#number(header, 148, 8, at) !== sum)
      throw this.#fault(at, "the check of an entry's header does not agree");
  }

  /** Octal digits, or GNU's binary form. */
  #number(header: Uint8Array, from: number, length: number, at: number): number {
    if (header[from] === 0x80) {
      let value = 0;
      for (let i = from + 1; i < from + length; i++) value = value * 256 + header[i];
      if (value > Number.MAX_SAFE_INTEGER) throw this.#fault(at + from, "a number is out of range");
      return value;
    }
    const digits = text(header, from, length).trim();
    if (!/^[0-7]*$/.test(digits)) throw this.#fault(at + from, "a number is not one");
    return digits === "" ? 0 : Number.parseInt(digits, 8);
  }

  #extra(size: number, at: number): Uint8Array {
    if (size > LONGEST_EXTRA) throw this.#fault(at, `a name or record is longer than ${LONGEST_EXTRA} bytes`);
    this.#unread = Math.ceil(size / BLOCK) * BLOCK;
    return this.#contents(size);
  }

  #long(size: number, at: number): string {
    const bytes = this.#extra(size, at);
    return text(bytes, 0, bytes.length);
  }

  /** Records of the form `length key=value\n`. */
  #pax(size: number, at: number): Extra {
    const bytes = this.#extra(size, at);
    const extra: Extra = {};
    for (let from = 0; from < bytes.length; ) {
      const space = bytes.indexOf(0x20, from);
      const length = Number(text(bytes, from, Math.max(0, space - from)));
      const to = from + length;
      if (space < 0 || !Number.isInteger(length) || length < 5 || to > bytes.length || bytes[to - 1] !== 0x0a) {
        throw this.#fault(at, "the records of pax are damaged");
      }
      const record = new TextDecoder().decode(bytes.subarray(space + 1, to - 1));
      const value = record.slice(record.indexOf("=") + 1);
      if (record.startsWith("path=")) extra.path = value;
      else if (record.startsWith("linkpath=")) extra.target = value;
      else if (record.startsWith("size=")) {
        if (!/^\d{1,15}$/.test(value)) throw this.#fault(at, "a size of pax is not one");
        extra.size = Number(value);
      } else if (record.startsWith("GNU.sparse.")) {
        throw new UnsupportedError("tar-type", `${this.#name} has a sparse file at byte ${at}: none is supported`);
      }
      from = to;
    }
    return extra;
  }

  #truncated(): InputError {
    return this.#fault(this.#reader.position, "the archive ends too early");
  }

  #hostile(path: string, what: string): InputError {
    return this.#fault(this.#reader.position - BLOCK, `an entry is refused: ${shown(path)} ${what}`);
  }
}

function ustarName(header: Uint8Array): string {
  const name = text(header, 0, 100);
  // GNU's own variant, whose magic goes on with a space, keeps other things where the prefix would be.
  const prefix = text(header, 257, 6) === "ustar" ? text(header, 345, 155) : "";
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Up to a zero. */
function text(bytes: Uint8Array, from: number, length: number): string {
  const field = bytes.subarray(from, from + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

/** Quoted, so that nothing in it reaches a terminal as it is. */
function shown(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}
