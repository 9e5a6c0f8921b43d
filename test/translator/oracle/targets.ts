import { type Random, randomBelow } from "../../../src/util/random.js";
import { DATA, DATA_BYTES, DATA_WRITABLE, STACK, STACK_BYTES } from "./case.js";
import { chance, pick, random64 } from "./values.js";

/** What an access needs of its address. */
export interface Aim {
  readonly bytes: number;
  /** Aligned by `bytes`, nearly always. */
  readonly aligned: boolean;
  /** Never across a cache line: locked accesses that are take some processors into a slow trap. */
  readonly atomic: boolean;
}

/** Where things change for the processor or for a memory in software: addresses that are no one's. */
const WILD: readonly bigint[] = [
  0n,
  0xffffn,
  0x10000n,
  0x7ffdfff8n,
  0x7ffefff8n,
  0x7fff0000n,
  0x80000000n,
  0xfffffff8n,
  0x100000000n,
  0x7ffffffffff8n,
  0x800000000000n,
  0x8000000000000000n,
  0xffff800000000000n,
  0xffffffff7ffffff8n,
  0xffffffff80000000n,
  0xffffffff80010000n,
  0xfffffffffffe0000n,
  0xfffffffffffffff8n,
];

/** An address to access: mostly inside the data, now and then across a page's end, read-only or nowhere. */
export function target(random: Random, aim: Aim): bigint {
  const size = Math.max(aim.bytes, 1);
  let address = chance(random, 86) ? BigInt(writable(random, size)) : odd(random, size);
  if (aim.atomic || (aim.aligned && chance(random, 92))) address &= -BigInt(powerOfTwo(size));
  return BigInt.asUintN(64, address);
}

const powerOfTwo = (size: number): number => 1 << (31 - Math.clz32(size));

function writable(random: Random, size: number): number {
  if (chance(random, 8)) return DATA + 0x1000 - randomBelow(random, size);
  // Few places, so that accesses of one snippet meet.
  if (chance(random, 40)) return DATA + 0x200 + (random() & 0x3f);
  return DATA + randomBelow(random, DATA_WRITABLE - 64);
}

function odd(random: Random, size: number): bigint {
  const across = randomBelow(random, size + 1);
  switch (random() % 8) {
    case 0:
    case 1:
      return BigInt(DATA + DATA_WRITABLE + randomBelow(random, DATA_BYTES - DATA_WRITABLE - 64));
    case 2:
      return BigInt(DATA + DATA_WRITABLE - across);
    case 3:
      return BigInt(DATA + DATA_BYTES - across);
    case 4:
      return BigInt(DATA - across);
    case 5:
      return BigInt(STACK + randomBelow(random, STACK_BYTES));
    case 6:
      return BigInt(DATA + randomBelow(random, DATA_WRITABLE)) + (BigInt(random() & 0xff) << 32n);
    default:
      return chance(random, 20) ? random64(random) : pick(random, WILD) + BigInt(across) - 4n;
  }
}

/** A stack pointer with room on both sides, save now and then. */
export function stackPointer(random: Random): bigint {
  if (chance(random, 4)) return BigInt(pick(random, [STACK, STACK + STACK_BYTES]) + (random() & 31) - 16);
  const skew = chance(random, 10) ? random() & 7 : 0;
  return BigInt(STACK + 0x400 + (random() & 0x7f8) + skew);
}
