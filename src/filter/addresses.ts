/** Readings of literal addresses; each returns undefined for text that is no such address. */

export interface ShortAddress {
  /** The numbers that were written, in the low bits. */
  readonly value: number;
  /** Bits that were written: 8 for each number. */
  readonly bits: number;
}

/** Two to four decimal numbers with dots, each at most 255. */
export function parseIpv4(text: string): ShortAddress | undefined {
  const numbers = text.split(".");
  if (numbers.length > 4 || !numbers.every((number) => /^0*[0-9]{1,3}$/.test(number) && Number(number) <= 255))
    return undefined;
  return { value: numbers.reduce((value, number) => value * 256 + Number(number), 0), bits: numbers.length * 8 };
}

/** The four 32-bit words of an IPv6 address, RFC 4291 section 2.2. */
export function parseIpv6(text: string): [number, number, number, number] | undefined {
  const tail = /(?<=:)[^:]*\.[^:]*$/.exec(text)?.[0];
  if (tail !== undefined && !/^(?:(?:0|[1-9][0-9]{0,2})(?:\.(?!$)|$)){4}$/.test(tail)) return undefined;
  const last = tail === undefined ? undefined : parseIpv4(tail);
  if (tail !== undefined && last === undefined) return undefined;
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const words =
    last === undefined
      ? text
      : `${text.slice(0, text.length - (tail?.length ?? 0))}${(last.value >>> 16).toString(16)}:${(last.value & 0xffff).toString(16)}`;
  const parts = words.split("::");
  const [before, after] = [groups(parts[0]), groups(parts[1] ?? "")];
  const missing = 8 - before.length - after.length;
  if (parts.length > 2 || (parts.length === 2 ? missing < 1 : missing !== 0)) return undefined;
  const all = [...before, ...Array<string>(missing).fill("0"), ...after];
  if (!all.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) return undefined;
  const half = all.map((group) => Number.parseInt(group, 16));
  const word = (i: number): number => half[2 * i] * 0x10000 + half[2 * i + 1];
  return [word(0), word(1), word(2), word(3)];
}

/** Six bytes: with colons, dashes or dots between them; as three words with dots; or without anything between. */
export function parseMac(text: string): number[] {
  const separated = text.split(/[:.-]/);
  const bytes = separated.length === 6 ? separated : (separated.join("").match(/../g) ?? []);
  return bytes.map((byte) => Number.parseInt(byte, 16));
}

/** DECnet Phase IV: area in 6 bits, node in 10. */
export function parseDecnet(text: string): number | undefined {
  const match = /^([0-9]+)\.([0-9]+)/.exec(text);
  if (match === null) return undefined;
  return ((toInt(match[1]) << 10) & 0xfc00) | (toInt(match[2]) & 0x3ff);
}

/** A decimal number as the C library reads it into 32 bits: saturated at 64 bits, then cut. */
export function toInt(digits: string): number {
  const wide = BigInt(digits);
  const limit = 0x7fffffffffffffffn;
  return Number(BigInt.asIntN(32, wide > limit ? limit : wide < -limit - 1n ? -limit - 1n : wide));
}
