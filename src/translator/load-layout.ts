import { ElfError } from "../formats/elf-bytes.js";
import { UnsupportedError } from "../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../util/guest-address.js";
import { type GuestSpace, isMappable } from "./guest-space.js";

export const PAGE = 4096;
/** Most bytes of addresses that one file may take. */
export const MOST_BYTES = 2 ** 30;
/** Largest alignment: a huge page's. */
const MOST_ALIGNMENT = 2 ** 21;

/** A part of a file, and the byte that says what is being checked. */
export interface Claim {
  readonly file: string;
  readonly part: string;
  readonly offset: number;
}

/** Not with bits, since addresses and sizes may be larger than 32. */
export const alignUp = (value: number, alignment: number): number => Math.ceil(value / alignment) * alignment;
export const alignDown = (value: number, alignment: number): number => Math.floor(value / alignment) * alignment;

export function checkAlignment({ file, part, offset }: Claim, alignment: number): void {
  if (!Number.isInteger(Math.log2(alignment))) {
    throw new ElfError(file, offset, "load-alignment", `${part} is aligned to ${alignment}, which is no power of two`);
  }
  if (alignment <= MOST_ALIGNMENT) return;
  throw new UnsupportedError(
    "load-alignment",
    `${file}: ${part} is to be aligned to ${alignment} bytes (byte ${offset}); at most ${MOST_ALIGNMENT} are supported`,
  );
}

/** @param size of the image up to the end of this part */
export function checkImageSize({ file, part, offset }: Claim, size: number): void {
  if (size <= MOST_BYTES) return;
  throw new UnsupportedError(
    "load-size",
    `${file} takes ${size} bytes of addresses up to ${part} (byte ${offset}); at most ${MOST_BYTES} are supported`,
  );
}

/**
 * Parts that are copied must not be larger together than the file: a small one could ask for gigabytes else.
 * @param copied up to the end of this part
 */
export function checkCopies({ file, part, offset }: Claim, copied: number, fileBytes: number): void {
  if (copied <= fileBytes) return;
  throw new ElfError(
    file,
    offset,
    "load-overlap",
    `${part} overlaps another: they have ${copied} bytes together, and the file ${fileBytes}`,
  );
}

/** All of `[start, end)` can be mapped in `space`. */
export function checkPlace(file: string, space: GuestSpace, start: number, end: number): void {
  if (isMappable(space, start as GuestAddress) && end <= space.endMappable) return;
  const [from, to] = [space.firstMappable, space.endMappable].map(formatGuestAddress);
  throw new UnsupportedError(
    "load-place",
    `${file} would be ${end - start} bytes at ${formatGuestAddress(start as GuestAddress)}, and guest memory reaches from ${from} to ${to}`,
  );
}

/** The index of the last of ascending things whose `start` is not above `value`, -1 for none. */
export function lastNotAbove<T>(things: readonly T[], start: (thing: T) => number, value: number): number {
  let low = 0;
  let high = things.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (start(things[middle]) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
