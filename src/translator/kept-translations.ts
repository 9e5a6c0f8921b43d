import { crc32 } from "../formats/crc.js";
import type { GuestAddress } from "../util/guest-address.js";

/** Code that was translated together, in a form that outlasts its run. */
export interface KeptUnit {
  /** The WebAssembly module. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Places in the table that it fills. */
  readonly slots: readonly number[];
  /** Guest bytes that it was made of, and their checksum. */
  readonly ranges: readonly { readonly start: GuestAddress; readonly end: GuestAddress }[];
  readonly checksum: number;
  readonly targets: readonly GuestAddress[];
  readonly regions: number;
  readonly guestBytes: number;
  readonly wasmBytes: number;
}

/** The table's places: modules refer to them by number. */
export interface KeptSlot {
  readonly address: GuestAddress;
  /** It leads to the code behind a hook. */
  readonly behind: boolean;
}

/** All that a sandbox has translated, and what that depends on. */
export interface KeptTranslations {
  readonly slots: readonly KeptSlot[];
  /** Entries of code that no symbol tells, and instructions that access registers of devices. */
  readonly entries: readonly GuestAddress[];
  readonly io: readonly GuestAddress[];
  readonly units: readonly KeptUnit[];
}

const MAGIC = 0x4b54_3031;
const HEADER_BYTES = 12;

/** @param bytesAt guest bytes; null where there is no memory */
export function checksumOf(
  ranges: KeptUnit["ranges"],
  bytesAt: (start: GuestAddress, length: number) => Uint8Array | null,
): number {
  let sum = 0;
  for (const { start, end } of ranges) {
    const bytes = end > start ? bytesAt(start, end - start) : null;
    if (bytes !== null) sum = crc32(bytes, sum);
  }
  return sum;
}

export function encodeTranslations({ slots, entries, io, units }: KeptTranslations): Uint8Array {
  const text = new TextEncoder().encode(
    JSON.stringify({
      slots,
      entries,
      io,
      units: units.map(({ bytes, ...rest }) => ({ ...rest, bytes: bytes.length })),
    }),
  );
  const total = units.reduce((sum, { bytes }) => sum + bytes.length, HEADER_BYTES + text.length);
  const result = new Uint8Array(total);
  const view = new DataView(result.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, text.length, true);
  result.set(text, HEADER_BYTES);
  let at = HEADER_BYTES + text.length;
  for (const { bytes } of units) {
    result.set(bytes, at);
    at += bytes.length;
  }
  view.setUint32(8, crc32(result.subarray(HEADER_BYTES)), true);
  return result;
}

/** @returns null for bytes that are no such thing, or damaged */
export function decodeTranslations(stored: Uint8Array): KeptTranslations | null {
  if (stored.length < HEADER_BYTES) return null;
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  const textBytes = view.getUint32(4, true);
  if (view.getUint32(0, true) !== MAGIC || HEADER_BYTES + textBytes > stored.length) return null;
  if (view.getUint32(8, true) !== crc32(stored.subarray(HEADER_BYTES))) return null;
  const kept = parsed(stored.subarray(HEADER_BYTES, HEADER_BYTES + textBytes));
  if (kept === null) return null;
  let at = HEADER_BYTES + textBytes;
  if (kept.units.reduce((sum, unit) => sum + unit.bytes, at) !== stored.length) return null;
  const units = kept.units.map((unit) => {
    const bytes = Uint8Array.from(stored.subarray(at, at + unit.bytes));
    at += unit.bytes;
    return { ...unit, bytes };
  });
  return { ...kept, units };
}

/** The same, with lengths in place of modules. */
interface StoredText extends Omit<KeptTranslations, "units"> {
  readonly units: readonly (Omit<KeptUnit, "bytes"> & { readonly bytes: number })[];
}

/** Null for what another version, or somebody else, has written. */
function parsed(text: Uint8Array): StoredText | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(text));
  } catch {
    return null;
  }
  return isStoredText(value) ? value : null;
}

function isStoredText(value: unknown): value is StoredText {
  if (!isRecord(value)) return false;
  const { slots, entries, io, units } = value;
  if (!isListOf(slots, isSlot) || !isListOf(entries, isAddress) || !isListOf(io, isAddress)) return false;
  return isListOf(units, (unit) => isUnit(unit, slots.length));
}

function isSlot(value: unknown): boolean {
  return isRecord(value) && isAddress(value.address) && typeof value.behind === "boolean";
}

function isUnit(value: unknown, slots: number): boolean {
  if (!isRecord(value)) return false;
  const { bytes, checksum, regions, guestBytes, wasmBytes } = value;
  return (
    [bytes, checksum, regions, guestBytes, wasmBytes].every((number) => isWhole(number, 0, 2 ** 32)) &&
    isListOf(value.slots, (slot) => isWhole(slot, 0, slots - 1)) &&
    isListOf(value.ranges, (range) => isRecord(range) && isAddress(range.start) && isAddress(range.end)) &&
    isListOf(value.targets, isAddress)
  );
}

const isAddress = (value: unknown): boolean => Number.isSafeInteger(value);
const isWhole = (value: unknown, least: number, most: number): boolean =>
  isAddress(value) && Number(value) >= least && Number(value) <= most;
const isListOf = (value: unknown, test: (item: unknown) => boolean): value is unknown[] =>
  Array.isArray(value) && [...value].every(test);
const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null;
