import type { GuestAddress } from "../util/guest-address.js";
import { CPU } from "./cpu-state.js";
import { flagValues32, flagValues64 } from "./flags.js";
import type { Field, FlagsOperation, Lane } from "./ir.js";
import { AF, ARITHMETIC_FLAGS, CF, LANES, OF, PF, SF, ZF } from "./ir.js";

/** What `lazyOperation` counts, from 1 on. */
export const LAZY_OPERATIONS: readonly FlagsOperation[] = ["add", "adc", "sub", "sbb", "logic", "inc", "dec", "result"];

/** Where RFLAGS has the arithmetic flags (Intel SDM volume 1, 3.4.3). */
const RFLAGS_LANES: readonly (readonly [Lane, bigint])[] = [
  [CF, 1n << 0n],
  [PF, 1n << 2n],
  [AF, 1n << 4n],
  [ZF, 1n << 6n],
  [SF, 1n << 7n],
  [OF, 1n << 11n],
];
const RFLAGS_ALWAYS = 1n << 1n;
const RFLAGS_IF = 1n << 9n;
const RFLAGS_DF = 1n << 10n;
/** TF, IOPL, NT, RF, VM, AC, VIF, VIP, ID. */
const RFLAGS_SYSTEM = 0x3f7100n;

const FIELD_OFFSETS: Readonly<Record<Field, number>> = {
  fsBase: CPU.fsBase,
  gsBase: CPU.gsBase,
  df: CPU.df,
  if: CPU.if,
  systemFlags: CPU.systemFlags,
};

/** The number of a flag among `LANES`. */
const laneIndex = (lane: Lane): number => 31 - Math.clz32(lane);

/** The processor's state in a sandbox's memory. Bigints that come out are signed; those that go in may be of any sign. */
export class CpuState {
  private readonly words: BigInt64Array;
  private readonly halves: Int32Array;

  /** @param buffer a sandbox's memory: its first 64 KiB are the state */
  constructor(readonly buffer: ArrayBufferLike) {
    this.words = new BigInt64Array(buffer, 0, CPU.end >> 3);
    this.halves = new Int32Array(buffer, 0, CPU.end >> 2);
  }

  general(register: number): bigint {
    return this.words[(CPU.registers >> 3) + register];
  }

  setGeneral(register: number, value: bigint): void {
    this.words[(CPU.registers >> 3) + register] = value;
  }

  /** The low half of a general register, signed. */
  general32(register: number): number {
    return this.halves[(CPU.registers >> 2) + 2 * register];
  }

  /** Sets the low half; the high half becomes zero. */
  setGeneral32(register: number, value: number): void {
    const index = (CPU.registers >> 2) + 2 * register;
    this.halves[index] = value;
    this.halves[index + 1] = 0;
  }

  /** A general register as an address is: signed, and exact up to ±2^53. */
  generalAddress(register: number): GuestAddress {
    const index = (CPU.registers >> 2) + 2 * register;
    return (this.halves[index + 1] * 2 ** 32 + (this.halves[index] >>> 0)) as GuestAddress;
  }

  /** @param value a whole number up to ±2^53 */
  setGeneralAddress(register: number, value: number): void {
    const index = (CPU.registers >> 2) + 2 * register;
    this.halves[index] = value;
    this.halves[index + 1] = Math.floor(value / 2 ** 32);
  }

  /** Sets the bits of the low half that `mask` has, and leaves the others. */
  patchGeneral32(register: number, mask: number, value: number): void {
    const index = (CPU.registers >> 2) + 2 * register;
    this.halves[index] = (this.halves[index] & ~mask) | (value & mask);
  }

  get rip(): bigint {
    return this.words[CPU.rip >> 3];
  }

  set rip(value: bigint) {
    this.words[CPU.rip >> 3] = value;
  }

  /** RIP as a number: exact for canonical addresses up to ±2^53. */
  get ripAddress(): GuestAddress {
    const index = CPU.rip >> 2;
    return (this.halves[index + 1] * 2 ** 32 + (this.halves[index] >>> 0)) as GuestAddress;
  }

  set ripAddress(address: GuestAddress) {
    const index = CPU.rip >> 2;
    this.halves[index] = address | 0;
    this.halves[index + 1] = Math.floor(address / 2 ** 32);
  }

  field(field: Field): bigint {
    return this.words[FIELD_OFFSETS[field] >> 3];
  }

  setField(field: Field, value: bigint): void {
    this.words[FIELD_OFFSETS[field] >> 3] = value;
  }

  get fsBase(): bigint {
    return this.field("fsBase");
  }

  set fsBase(value: bigint) {
    this.setField("fsBase", value);
  }

  get gsBase(): bigint {
    return this.field("gsBase");
  }

  set gsBase(value: bigint) {
    this.setField("gsBase", value);
  }

  xmmLow(register: number): bigint {
    return this.words[(CPU.xmm >> 3) + 2 * register];
  }

  xmmHigh(register: number): bigint {
    return this.words[(CPU.xmm >> 3) + 2 * register + 1];
  }

  setXmm(register: number, low: bigint, high: bigint): void {
    const index = (CPU.xmm >> 3) + 2 * register;
    this.words[index] = low;
    this.words[index + 1] = high;
  }

  /** A flag, 0 or 1: right only while none is left to be computed. */
  lane(lane: Lane): number {
    return this.halves[(CPU.lanes >> 2) + laneIndex(lane)];
  }

  /** @param value 0 or 1 */
  setLane(lane: Lane, value: number): void {
    this.halves[(CPU.lanes >> 2) + laneIndex(lane)] = value;
  }

  /** Sets the flags in `mask` as `values` has them. */
  setLanes(mask: number, values: number): void {
    for (let i = 0; i < LANES.length; i++)
      if (((mask >> i) & 1) !== 0) this.halves[(CPU.lanes >> 2) + i] = (values >> i) & 1;
  }

  get rflags(): bigint {
    this.resolveLazyFlags();
    let value = RFLAGS_ALWAYS | this.field("systemFlags");
    for (const [lane, bit] of RFLAGS_LANES) if (this.lane(lane) !== 0) value |= bit;
    if (this.field("if") !== 0n) value |= RFLAGS_IF;
    if (this.field("df") !== 0n) value |= RFLAGS_DF;
    return value;
  }

  set rflags(value: bigint) {
    this.halves[CPU.lazyOperation >> 2] = 0;
    for (const [lane, bit] of RFLAGS_LANES) this.setLane(lane, (value & bit) === 0n ? 0 : 1);
    this.setField("if", (value & RFLAGS_IF) === 0n ? 0n : 1n);
    this.setField("df", (value & RFLAGS_DF) === 0n ? 0n : 1n);
    this.setField("systemFlags", value & RFLAGS_SYSTEM);
  }

  /** Computes the flags that translated code left to be computed. */
  resolveLazyFlags(): void {
    const { halves, words } = this;
    const lazy = halves[CPU.lazyOperation >> 2];
    if (lazy === 0) return;
    halves[CPU.lazyOperation >> 2] = 0;
    const op = LAZY_OPERATIONS[lazy - 1];
    const bytes = halves[CPU.lazyBytes >> 2];
    const values =
      bytes === 8
        ? flagValues64(op, words[CPU.lazyA >> 3], words[CPU.lazyB >> 3], words[CPU.lazyR >> 3])
        : flagValues32(op, bytes as 1 | 2 | 4, halves[CPU.lazyA >> 2], halves[CPU.lazyB >> 2], halves[CPU.lazyR >> 2]);
    this.setLanes(halves[CPU.lazyMask >> 2] & ARITHMETIC_FLAGS, values);
  }
}
