import type { GuestAddress } from "../util/guest-address.js";

/**
 * A sandbox's guest addresses are 2 GiB: the top of the address space, where kernels live, or the bottom, where programs
 * do. They lie in one WebAssembly memory of 4 GiB, with a byte of shadow for each byte:
 *
 * | wasm offset             | what                                        |
 * |-------------------------|---------------------------------------------|
 * | 0 … 0xffff              | processor state                             |
 * | 0x20000 … 0x7fffffff    | guest memory: low 32 bits of address + bias |
 * | 0x80000000 … 0xffffffff | its shadow: wasm offset + 0x7ffe0000        |
 *
 * The first 64 KiB and the last 128 KiB of guest space are never mapped, so that an address that passed the test of its
 * high part and any displacement of up to ±32 KiB finds a shadow of zero and never leaves the memory.
 */
export const SHADOW = 0x7ffe0000;
/** Displacements below this need no test of their own. */
export const NEAR = 0x8000;
export const WASM_PAGES = 65536;

export interface GuestSpace {
  readonly name: "high" | "low";
  /** wasm offset = low 32 bits of a guest address + bias, modulo 2^32. */
  readonly bias: number;
  /** The first and one past the last address that passes the test of the high part. */
  readonly first: GuestAddress;
  readonly end: GuestAddress;
  /** The first and one past the last address that may be mapped. */
  readonly firstMappable: GuestAddress;
  readonly endMappable: GuestAddress;
}

const at = (address: number): GuestAddress => address as GuestAddress;

/** 0xffffffff80010000 to the top: kernels and their modules. */
export const HIGH_SPACE: GuestSpace = {
  name: "high",
  bias: 0x80010000 | 0,
  first: at(-0x7fff0000),
  end: at(0),
  firstMappable: at(-0x7ffe0000),
  endMappable: at(-0x20000),
};

/** 0 to 0x7ffeffff: programs. */
export const LOW_SPACE: GuestSpace = {
  name: "low",
  bias: 0x20000,
  first: at(0),
  end: at(0x7fff0000),
  firstMappable: at(0x10000),
  endMappable: at(0x7ffd0000),
};

export const isMappable = (space: GuestSpace, address: GuestAddress): boolean =>
  address >= space.firstMappable && address < space.endMappable;

/** @param address one for which `isMappable` holds */
export const wasmOffset = (space: GuestSpace, address: GuestAddress): number => (address + space.bias) >>> 0;
