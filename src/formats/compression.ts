/** Whatever a file is compressed with: recognised by its first bytes. */

import { InputError, UnsupportedError } from "../util/errors.js";
import { GZIP_MAGIC, gzipPieces } from "./gzip.js";
import { LZ4_LEGACY_MAGIC, LZ4_MAGIC, lz4Pieces } from "./lz4.js";
import { XZ_MAGIC, xzPieces } from "./xz.js";
import { ZSTD_MAGIC, zstdPieces } from "./zstd.js";

/** Most that is unpacked unless the caller says otherwise, in bytes. */
const DEFAULT_LIMIT = 2 ** 30;

interface Method {
  readonly name: string;
  readonly magic: readonly number[];
  /** Undefined for those that are only known by name. */
  readonly pieces?: (bytes: Uint8Array, name: string) => Iterable<Uint8Array>;
}

// biome-ignore format: a table
const METHODS: readonly Method[] = [
  { name: "xz",         magic: XZ_MAGIC,                       pieces: xzPieces },
  { name: "zstd",       magic: ZSTD_MAGIC,                     pieces: zstdPieces },
  { name: "gzip",       magic: GZIP_MAGIC,                     pieces: gzipPieces },
  { name: "lz4",        magic: LZ4_MAGIC,                      pieces: lz4Pieces },
  { name: "lz4",        magic: LZ4_LEGACY_MAGIC,               pieces: lz4Pieces },
  { name: "bzip2",      magic: [0x42, 0x5a, 0x68] },
  { name: "lzma-alone", magic: [0x5d, 0x00, 0x00] },
  { name: "lzop",       magic: [0x89, 0x4c, 0x5a, 0x4f, 0x00] },
];

/** @returns `xz`, `zstd`, `gzip`, `lz4`…, or undefined for what is not compressed in a way that is known */
export function compressionOf(bytes: Uint8Array): string | undefined {
  return methodOf(bytes)?.name;
}

/**
 * Decompresses piece by piece, where the method allows it without having the whole at hand.
 * @returns pieces that are valid until the next one is asked for; the bytes themselves if they are not compressed
 * @throws as `decompress` does
 */
export function* decompressPieces(bytes: Uint8Array, name: string, limit = DEFAULT_LIMIT): Generator<Uint8Array, void> {
  const method = methodOf(bytes);
  if (method === undefined) {
    yield bytes;
    return;
  }
  if (method.pieces === undefined) {
    throw new UnsupportedError(
      "compression",
      `${name} is compressed with ${method.name}, which is not supported: give it as xz, zstd, gzip or lz4, or plain`,
    );
  }
  let total = 0;
  for (const piece of method.pieces(bytes, name)) {
    total += piece.length;
    if (total > limit) throw tooLong(name, limit);
    yield piece;
  }
}

/**
 * @param name of the file, for messages
 * @param limit most bytes that may come out; more is refused
 * @returns what was compressed; the bytes themselves, not a copy, if they are not compressed
 * @throws InputError, with the byte offset, if the data is damaged, truncated or exceeds the limit; UnsupportedError for
 * a method that is known by name only
 */
export function decompress(bytes: Uint8Array, name: string, limit = DEFAULT_LIMIT): Uint8Array {
  if (methodOf(bytes) === undefined) return bytes;
  const pieces: Uint8Array[] = [];
  let total = 0;
  for (const piece of decompressPieces(bytes, name, limit)) {
    pieces.push(piece.slice());
    total += piece.length;
  }
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

export function tooLong(name: string, limit: number): InputError {
  return new InputError("decompressed-size", `${name} unpacks to more than ${limit} bytes, the most that is accepted`);
}

function methodOf(bytes: Uint8Array): Method | undefined {
  return METHODS.find(({ magic }) => bytes.length >= magic.length && magic.every((byte, i) => bytes[i] === byte));
}
