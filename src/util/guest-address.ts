import type { Brand } from "./brand.js";

/**
 * An x86-64 address as a signed number: what the 64 bits are in two's complement. Canonical addresses of 48 and 57
 * bits up to ±2^53 are exact, sums and comparisons of them are plain arithmetic, and an address in the top 2 GiB,
 * where kernels live, is a small negative integer: 0xffffffff81000000 is -0x7f000000, and `address | 0` changes nothing.
 */
export type GuestAddress = Brand<"GuestAddress">;

const TWO_TO_32 = 0x1_0000_0000;

/** The address with these halves; their signs do not matter. Not exact, and so not safe, beyond ±2^53. */
export function guestAddress(high: number, low: number): GuestAddress {
  return ((high | 0) * TWO_TO_32 + (low >>> 0)) as GuestAddress;
}

/** `0x` and 16 hexadecimal digits. */
export function formatGuestAddress(address: GuestAddress): string {
  const high = Math.floor(address / TWO_TO_32) >>> 0;
  return `0x${high.toString(16).padStart(8, "0")}${(address >>> 0).toString(16).padStart(8, "0")}`;
}
