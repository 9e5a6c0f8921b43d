import { type Random, randomBelow } from "../../../src/util/random.js";
import { type Case, CODE, isWritable, type Patch, type Point, RFLAGS } from "./case.js";
import { rflagsOf } from "./undefined-flags.js";
import { cornerRegister, cornerVector, random64 } from "./values.js";

const CODE_START = CODE + 0x800;
const MOST_BYTES = 0x400;
const ARITHMETIC_BITS = [RFLAGS.CF, RFLAGS.PF, RFLAGS.AF, RFLAGS.ZF, RFLAGS.SF, RFLAGS.OF];

/** A displacement that is known only when its target has been written. */
export interface Jump {
  readonly at: number;
  readonly bytes: number;
  /** Where it counts from. */
  readonly from: number;
  readonly undefinedFlags: number;
}

const NO_VECTORS = new Uint8Array(256);

/** A case while it is being made: registers get their first value when an instruction first needs one. */
export class Draft {
  readonly registers = new BigUint64Array(16);
  readonly patches: Patch[] = [];
  readonly functions: (readonly [number, number])[] = [];
  /** Lanes that have no defined value here. */
  undefinedFlags = 0;
  undefinedAtExits = 0;
  /** Registers whose first value is chosen, and those that an instruction so far may have written. */
  decided = 0;
  changed = 0;
  /** Registers that no instruction may write now: they count a loop's turns. */
  untouchable = 0;
  /** Code that runs several times: what holds in its first turn need not hold in the next. */
  inLoop = false;
  vectors = false;
  readonly #code = new Uint8Array(MOST_BYTES);
  readonly #points: Point[] = [];
  #length = 0;
  #fsBase: bigint | null = null;
  #gsBase: bigint | null = null;

  constructor(readonly random: Random) {}

  /** The address of what is written next. */
  get address(): number {
    return CODE_START + this.#length;
  }

  get length(): number {
    return this.#length;
  }

  /** An address that is no part of the snippet, near enough for a displacement of one byte. */
  outside(): number {
    return CODE_START - 1 - randomBelow(this.random, 16);
  }

  /** The register's value here if it is its first, chosen now if none was; null if it may have been written. */
  want(register: number, make: () => bigint): bigint | null {
    const bit = 1 << register;
    if ((this.changed & bit) !== 0) return null;
    if ((this.decided & bit) === 0) {
      this.registers[register] = make();
      this.decided |= bit;
    }
    return this.registers[register];
  }

  isOpen(register: number): boolean {
    return ((this.changed | this.decided) & (1 << register)) === 0;
  }

  /** The value of a register that still has its first. */
  known(register: number): bigint | null {
    return (this.decided & ~this.changed & (1 << register)) === 0 ? null : this.registers[register];
  }

  segmentBase(segment: "fs" | "gs"): bigint {
    const make = (): bigint => {
      const kind = this.random() % 4;
      if (kind === 0) return 0n;
      return kind === 1 ? BigInt(0x1fff0000 + (this.random() & 0xfffff)) : random64(this.random) >> 18n;
    };
    if (segment === "fs") {
      this.#fsBase ??= make();
      return this.#fsBase;
    }
    this.#gsBase ??= make();
    return this.#gsBase;
  }

  /** Bytes to find in memory; where none can be put, what is there stays. */
  patch(address: bigint, bytes: Uint8Array): void {
    const at = Number(address);
    if (isWritable(at) && isWritable(at + bytes.length - 1)) this.patches.push({ address: at, bytes });
  }

  /** Begins an instruction. */
  point(point: Omit<Point, "offset" | "undefinedFlags">): void {
    this.#points.push({ offset: this.#length, undefinedFlags: rflagsOf(this.undefinedFlags), ...point });
  }

  write(bytes: Uint8Array): void {
    this.#code.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Lets the jump lead to what is written next. */
  land(jump: Jump): void {
    this.aim(jump, this.address);
    this.undefinedFlags |= jump.undefinedFlags;
  }

  aim(jump: Jump, address: number): void {
    const displacement = address - CODE_START - jump.from;
    for (let i = 0; i < jump.bytes; i++) this.#code[jump.at + i] = displacement >> (8 * i);
  }

  finish(): Case {
    this.point({ form: "", vagueFault: false, storesInParts: false, undefinedInFault: 0 });
    for (let register = 0; register < 16; register++) {
      if ((this.decided & (1 << register)) === 0) this.registers[register] = cornerRegister(this.random, 8);
    }
    let flags = this.random() % 4 === 0 ? RFLAGS.DF : 0;
    for (const bit of ARITHMETIC_BITS) if ((this.random() & 1) !== 0) flags |= bit;
    return {
      code: this.#code.slice(0, this.#length),
      codeAddress: CODE_START,
      registers: this.registers,
      flags,
      fsBase: this.#fsBase ?? 0n,
      gsBase: this.#gsBase ?? 0n,
      xmm: this.vectors ? vectorNoise(this.random) : NO_VECTORS,
      patches: this.patches,
      points: this.#points,
      functions: this.functions,
      undefinedAtExits: rflagsOf(this.undefinedAtExits),
    };
  }
}

function vectorNoise(random: Random): Uint8Array {
  const bytes = new Uint8Array(256);
  for (let i = 0; i < 256; i += 16) cornerVector(random, bytes, i);
  for (let i = 16; i < 256; i += 16) if (random() % 8 === 0) bytes.copyWithin(i, i - 16, i);
  return bytes;
}
