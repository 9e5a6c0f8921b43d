import type { Simplified } from "../emit/simplify.js";
import { conditionLanes, definedLanes } from "../flags.js";
import type { Instruction } from "../instruction.js";
import { type Address, ARITHMETIC_FLAGS, type Expr, type Step } from "../ir.js";

/**
 * Which bytes of which general registers something touches, as two words of bits. Register r has in the first bit r for
 * its byte 0 and bit 16 + r for its byte 1, in the second bit r for bytes 2 and 3 and bit 16 + r for bytes 4 to 7.
 */
export interface RegisterBytes {
  low: number;
  high: number;
}

/** What the steps of one instruction read and change: the input of every analysis of a region. */
export interface Effects {
  /** Bytes that are read before the instruction has written them. */
  readonly readLow: number;
  readonly readHigh: number;
  /** Bytes that are written on every way through the instruction. */
  readonly killLow: number;
  readonly killHigh: number;
  /** The same of vector registers, bits 16 to 31. */
  readonly vectorsRead: number;
  readonly vectorsKilled: number;
  /** A bit a register, vectors from bit 16 on: read at all; written at all; written inside an `if` or a `loop`. */
  readonly reads: number;
  readonly writes: number;
  readonly conditionalWrites: number;
  /** A bit a register: after the instruction its high half is known to be zero, or not known to be. */
  readonly zeroes: number;
  readonly fills: number;
  /** The same: read before it is written in full; written in full on every way. */
  readonly uses: number;
  readonly kills: number;
  readonly lanesRead: number;
  readonly lanesKilled: number;
  readonly lanesWritten: number;
  /** Flags are set inside an `if` or a `loop`. */
  readonly conditionalLanes: boolean;
  readonly accessesMemory: boolean;
  readonly branchesInside: boolean;
  readonly traps: boolean;
  /** The last step when it ends a block or calls, else null. */
  readonly last: Step | null;
  /** By the flags of it that are needed: what the emitter makes of the steps. */
  readonly simplified: (Simplified | undefined)[];
}

/** An instruction with what it does. */
export interface Lifted {
  readonly instruction: Instruction;
  readonly steps: readonly Step[];
  readonly effects: Effects;
}

const CONTROL = new Set<Step["kind"]>([
  "jump",
  "branch",
  "jumpIndirect",
  "call",
  "callIndirect",
  "return",
  "system",
  "unsupported",
]);

/** Bits of vector registers follow those of general ones. */
export const VECTORS = 16;
export const GENERAL_MASK = 0xffff;

const BYTE0 = 1;
const BYTE1 = 2;
const BYTES23 = 4;
const BYTES47 = 8;

/** One walk over the steps; reused to spare allocations. */
class Collector {
  readLow = 0;
  readHigh = 0;
  killLow = 0;
  killHigh = 0;
  vectorsRead = 0;
  vectorsKilled = 0;
  reads = 0;
  writes = 0;
  conditionalWrites = 0;
  zeroes = 0;
  fills = 0;
  lanesRead = 0;
  lanesKilled = 0;
  lanesWritten = 0;
  conditionalLanes = false;
  accessesMemory = false;
  branchesInside = false;
  traps = false;

  start(): void {
    this.readLow = 0;
    this.readHigh = 0;
    this.killLow = 0;
    this.killHigh = 0;
    this.vectorsRead = 0;
    this.vectorsKilled = 0;
    this.reads = 0;
    this.writes = 0;
    this.conditionalWrites = 0;
    this.zeroes = 0;
    this.fills = 0;
    this.lanesRead = 0;
    this.lanesKilled = 0;
    this.lanesWritten = 0;
    this.conditionalLanes = false;
    this.accessesMemory = false;
    this.branchesInside = false;
    this.traps = false;
  }

  steps(steps: readonly Step[], conditional: boolean): void {
    for (const step of steps) this.step(step, conditional);
  }

  private step(step: Step, conditional: boolean): void {
    switch (step.kind) {
      case "setXmm":
        this.expr(step.value);
        this.writeVector(1 << (VECTORS + step.register), conditional);
        return;
      case "let":
      case "setField":
        this.expr(step.value);
        return;
      case "load":
      case "probe":
        this.accessesMemory = true;
        this.address(step.address);
        return;
      case "store":
        this.accessesMemory = true;
        this.address(step.address);
        if (step.value.kind === "reg" && step.bytes < 4) this.read(step.value.register, bytesOf(step.bytes));
        else this.expr(step.value);
        return;
      case "set":
        this.expr(step.value);
        this.write(step.register, step.width, step.high, step.value, conditional);
        return;
      case "flags": {
        const { a, b, r, op } = step.flags;
        this.expr(a);
        this.expr(b);
        this.expr(r);
        this.lanes(definedLanes(op), conditional);
        return;
      }
      case "setLane":
        this.expr(step.value);
        this.lanes(step.lane, conditional);
        return;
      case "if":
        this.branchesInside = true;
        this.expr(step.condition);
        this.steps(step.then, true);
        this.steps(step.otherwise, true);
        return;
      case "loop":
        this.branchesInside = true;
        this.steps(step.body, true);
        return;
      case "trap":
        this.traps = true;
        return;
      case "branch":
        this.expr(step.condition);
        return;
      case "jumpIndirect":
      case "callIndirect":
      case "return":
        this.expr(step.target);
        return;
      default:
        return;
    }
  }

  private address(address: Address): void {
    if (address.base !== null) this.expr(address.base);
    if (address.index !== null) this.expr(address.index);
  }

  private expr(e: Expr): void {
    switch (e.kind) {
      case "reg":
        this.read(e.register, e.type === "i64" ? 15 : 7);
        return;
      case "xmm": {
        const bit = 1 << (VECTORS + e.register);
        this.reads |= bit;
        this.vectorsRead |= bit & ~this.vectorsKilled;
        return;
      }
      case "op":
        if (e.op === "i32.and" && e.a.kind === "reg" && e.b?.kind === "i32" && e.b.value >= 0 && e.b.value <= 0xffff) {
          this.read(e.a.register, e.b.value <= 0xff ? BYTE0 : BYTE0 | BYTE1);
          return;
        }
        this.expr(e.a);
        if (e.b !== null) this.expr(e.b);
        return;
      case "vop":
      case "pure":
        for (const a of e.args) this.expr(a);
        return;
      case "select":
        this.expr(e.c);
        this.expr(e.a);
        this.expr(e.b);
        return;
      case "lane":
        this.lanesRead |= e.lane & ~this.lanesKilled;
        return;
      case "condition":
        this.lanesRead |= conditionLanes(e.code) & ~this.lanesKilled;
        return;
      default:
        return;
    }
  }

  private read(register: number, bytes: number): void {
    this.reads |= 1 << register;
    this.readLow |= lowBits(register, bytes) & ~this.killLow;
    this.readHigh |= highBits(register, bytes) & ~this.killHigh;
  }

  private write(register: number, width: 1 | 2 | 4 | 8, high: boolean, value: Expr, conditional: boolean): void {
    const bit = 1 << register;
    this.writes |= bit;
    // What is only partly or perhaps written keeps something of what it was.
    if (conditional || width < 4) this.read(register, 15);
    if (conditional) {
      this.conditionalWrites |= bit;
      this.fills |= bit;
      this.zeroes &= ~bit;
      return;
    }
    const bytes = width >= 4 ? 15 : high ? BYTE1 : bytesOf(width);
    this.killLow |= lowBits(register, bytes);
    this.killHigh |= highBits(register, bytes);
    if (width < 4) return;
    if (width === 4 || isZeroExtended(value)) {
      this.zeroes |= bit;
      this.fills &= ~bit;
    } else {
      this.fills |= bit;
      this.zeroes &= ~bit;
    }
  }

  private writeVector(bit: number, conditional: boolean): void {
    this.writes |= bit;
    if (conditional) {
      this.conditionalWrites |= bit;
      this.vectorsRead |= bit & ~this.vectorsKilled;
    } else this.vectorsKilled |= bit;
  }

  private lanes(mask: number, conditional: boolean): void {
    this.lanesWritten |= mask;
    if (conditional) this.conditionalLanes = true;
    else this.lanesKilled |= mask;
  }
}

const COLLECTOR = new Collector();

/** A value of 64 bits that the emitter keeps as 32. */
export const isZeroExtended = (e: Expr): boolean => e.kind === "op" && e.op === "i64.extend_i32_u";

const bytesOf = (width: number): number => (width === 1 ? BYTE0 : width === 2 ? BYTE0 | BYTE1 : 7);

const lowBits = (register: number, bytes: number): number =>
  ((bytes & BYTE0) === 0 ? 0 : 1 << register) | ((bytes & BYTE1) === 0 ? 0 : 0x10000 << register);

const highBits = (register: number, bytes: number): number =>
  ((bytes & BYTES23) === 0 ? 0 : 1 << register) | ((bytes & BYTES47) === 0 ? 0 : 0x10000 << register);

const everyByte = (low: number, high: number): number => low & (low >>> 16) & high & (high >>> 16) & GENERAL_MASK;
const anyByte = (low: number, high: number): number => (low | (low >>> 16) | high | (high >>> 16)) & GENERAL_MASK;

export function effectsOf(steps: readonly Step[]): Effects {
  const c = COLLECTOR;
  c.start();
  c.steps(steps, false);
  const last = steps.at(-1);
  return {
    readLow: c.readLow,
    readHigh: c.readHigh,
    killLow: c.killLow,
    killHigh: c.killHigh,
    vectorsRead: c.vectorsRead,
    vectorsKilled: c.vectorsKilled,
    reads: c.reads,
    writes: c.writes,
    conditionalWrites: c.conditionalWrites,
    zeroes: c.zeroes,
    fills: c.fills,
    uses: anyByte(c.readLow, c.readHigh) | c.vectorsRead,
    kills: everyByte(c.killLow, c.killHigh) | c.vectorsKilled,
    lanesRead: c.lanesRead & ARITHMETIC_FLAGS,
    lanesKilled: c.lanesKilled,
    lanesWritten: c.lanesWritten,
    conditionalLanes: c.conditionalLanes,
    accessesMemory: c.accessesMemory,
    branchesInside: c.branchesInside,
    traps: c.traps,
    last: last !== undefined && (CONTROL.has(last.kind) || last.kind === "trap") ? last : null,
    simplified: [],
  };
}
