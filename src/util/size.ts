import { UsageError } from "./errors.js";

const UNITS: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes of `4096`, `64K`, `256MiB`, `1GB` (units are binary), or of a whole number. @throws UsageError */
export function parseSize(size: number | string): number {
  const bytes = typeof size === "string" ? bytesOf(size) : size;
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw new UsageError(`'${size}' is not a size: write whole bytes, or 64K, 256MiB, 1GiB`, "bad-size");
}

function bytesOf(text: string): number {
  const match = /^(\d+)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  return match === null ? Number.NaN : Number(match[1]) * UNITS[match[2].toUpperCase()];
}
