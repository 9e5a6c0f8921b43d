import { UsageError } from "./errors.js";

const UNITS: Readonly<Record<string, number>> = { "": 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** Bytes of `4096`, `64K`, `256MiB`, `1GB` (units are binary). @throws UsageError */
export function parseSize(size: number | string): number {
  if (typeof size === "number") return size;
  const match = /^(\d+)\s*([KMGT]?)(?:i?B)?$/i.exec(size.trim());
  if (match === null) throw new UsageError(`'${size}' is not a size: write bytes, or 64K, 256MiB, 1GiB`, "bad-size");
  return Number(match[1]) * UNITS[match[2].toUpperCase()];
}
