import { KorralError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { CpuState } from "./cpu.js";
import { conditionFromLanes, definedLanes, flagValues32, flagValues64 } from "./flags.js";
import type { ConditionCode, Instruction } from "./instruction.js";
import { CONDITIONS, nextAddress } from "./instruction.js";
import type { Address, Bytes, Expr, Flags, Step, TrapName } from "./ir.js";
import { laneOf } from "./ir.js";
import { I32_OF_I32, I32_OF_I64, I64_OF_I32, I64_OF_I64 } from "./plain-values.js";
import { PURE_SIGNATURES, pureValue } from "./pure.js";
import { LANE_VIEWS, shuffle, VECTOR_FUNCTIONS, VECTOR_REDUCTIONS, VECTOR_SHIFTS, Vector } from "./vector-values.js";
import type { VectorOperation } from "./wasm-opcodes.js";

/** Guest memory as an evaluator wants it. Addresses are unsigned. What answers false has faulted, and done nothing. */
export interface MemoryPort {
  /** What the last load read, of any sign; `high` counts for 16 bytes only. */
  readonly low: bigint;
  readonly high: bigint;
  /** @param forWrite whether a store of the same bytes follows, which must not fault then */
  load(address: bigint, bytes: Bytes, forWrite: boolean): boolean;
  /** @param low, high the bytes, unsigned; `high` is 0 for less than 16 */
  store(address: bigint, bytes: Bytes, low: bigint, high: bigint): boolean;
  probe(address: bigint, bytes: Bytes, write: boolean): boolean;
}

/** How an instruction ended. Only after `next` and `jump` has RIP changed. */
export type Outcome =
  | { readonly kind: "next" }
  /** `flow` tells back-traces about calls and returns. */
  | { readonly kind: "jump"; readonly target: GuestAddress; readonly flow: "jump" | "call" | "return" }
  | { readonly kind: "trap"; readonly trap: TrapName }
  | { readonly kind: "system" }
  | { readonly kind: "unsupported"; readonly why: string }
  /** An access faulted: the registers are as before the instruction, or before this turn of its loop. */
  | { readonly kind: "fault" }
  /** All turns are used up: go on with the same instruction. */
  | { readonly kind: "paused" };

const NEXT: Outcome = { kind: "next" };
const SYSTEM: Outcome = { kind: "system" };
const FAULT: Outcome = { kind: "fault" };
const PAUSED: Outcome = { kind: "paused" };

const CONDITION_EXPRS: ReadonlyMap<ConditionCode, Expr> = new Map(
  CONDITIONS.map((code) => [code, conditionFromLanes(code, laneOf)]),
);

const SCALE_SHIFTS = { 1: 0n, 2: 1n, 4: 2n, 8: 3n } as const;

/**
 * Carries out one instruction after the other, exactly and slowly: after translated code has come back, and for single
 * steps. It keeps the flags computed. Memory must not call back into it.
 */
export class Evaluator {
  /** Turns of loops that may still be begun; counts down. */
  turnsLeft = Number.POSITIVE_INFINITY;
  private readonly numbers: number[] = [];
  private readonly bigints: bigint[] = [];
  private readonly vectors: Vector[] = [];
  /** Vectors for operands, and how many are in use. */
  private readonly pool: Vector[] = [];
  private used = 0;

  constructor(
    private readonly cpu: CpuState,
    private readonly memory: MemoryPort,
  ) {}

  evaluate(steps: readonly Step[], instruction: Instruction): Outcome {
    this.cpu.resolveLazyFlags();
    this.used = 0;
    const outcome = this.run(steps);
    if (outcome === null || outcome.kind === "next") {
      this.cpu.ripAddress = nextAddress(instruction);
      return NEXT;
    }
    if (outcome.kind === "leave") throw unexpected("a leave without a loop");
    return outcome;
  }

  /** null: went through all steps. */
  private run(steps: readonly Step[]): Outcome | { readonly kind: "leave" } | null {
    for (const step of steps) {
      switch (step.kind) {
        case "let":
          this.setTemporary(step.index, step.value);
          break;
        case "load":
          if (!this.memory.load(this.address(step.address), step.bytes, step.forWrite)) return FAULT;
          this.loaded(step.index, step.type, step.bytes, step.signed);
          break;
        case "store":
          if (!this.store(step.address, step.bytes, step.value)) return FAULT;
          break;
        case "probe":
          if (!this.memory.probe(this.address(step.address), step.bytes, step.write)) return FAULT;
          break;
        case "set":
          this.setRegister(step.register, step.width, step.high, step.value);
          break;
        case "setXmm": {
          const vector = this.operand();
          this.vector(step.value, vector);
          this.cpu.setXmm(step.register, vector.i64[0], vector.i64[1]);
          this.used--;
          break;
        }
        case "flags":
          this.setFlags(step.flags);
          break;
        case "setLane":
          this.cpu.setLane(step.lane, this.i32(step.value));
          break;
        case "setField":
          this.cpu.setField(step.field, this.i64(step.value));
          break;
        case "if": {
          const outcome = this.run(this.i32(step.condition) !== 0 ? step.then : step.otherwise);
          if (outcome !== null) return outcome;
          break;
        }
        case "loop": {
          const outcome = this.loop(step.body);
          if (outcome !== null) return outcome;
          break;
        }
        case "leave":
          return step;
        case "trap":
          return { kind: "trap", trap: step.trap };
        case "system":
          return SYSTEM;
        case "unsupported":
          return { kind: "unsupported", why: step.why };
        case "jump":
          return this.jump(step.target, "jump");
        case "branch":
          return this.i32(step.condition) !== 0 ? this.jump(step.taken, "jump") : NEXT;
        case "jumpIndirect":
          return this.jumpTo(this.i64(step.target), "jump");
        case "call":
          return this.jump(step.target, "call");
        case "callIndirect":
          return this.jumpTo(this.i64(step.target), "call");
        case "return":
          return this.jumpTo(this.i64(step.target), "return");
      }
    }
    return null;
  }

  private loop(body: readonly Step[]): Outcome | null {
    for (;;) {
      if (this.turnsLeft <= 0) return PAUSED;
      this.turnsLeft--;
      const outcome = this.run(body);
      if (outcome === null) continue;
      return outcome.kind === "leave" ? null : outcome;
    }
  }

  private jump(target: GuestAddress, flow: "jump" | "call" | "return"): Outcome {
    this.cpu.ripAddress = target;
    return { kind: "jump", target, flow };
  }

  private jumpTo(target: bigint, flow: "jump" | "call" | "return"): Outcome {
    this.cpu.rip = target;
    return { kind: "jump", target: this.cpu.ripAddress, flow };
  }

  private setTemporary(index: number, value: Expr): void {
    if (value.type === "i32") this.numbers[index] = this.i32(value);
    else if (value.type === "i64") this.bigints[index] = this.i64(value);
    else {
      // By way of another one: the value may be of the temporary that it replaces.
      const vector = this.operand();
      this.vector(value, vector);
      this.temporaryVector(index).copy(vector);
      this.used--;
    }
  }

  private loaded(index: number, type: Expr["type"], bytes: Bytes, isSigned: boolean): void {
    const { low, high } = this.memory;
    if (bytes === 16) {
      const vector = this.temporaryVector(index);
      vector.i64[0] = low;
      vector.i64[1] = high;
      return;
    }
    const value = isSigned ? BigInt.asIntN(bytes * 8, low) : BigInt.asUintN(bytes * 8, low);
    if (type === "i32") this.numbers[index] = Number(value) | 0;
    else if (type === "i64") this.bigints[index] = BigInt.asIntN(64, value);
    else {
      const vector = this.temporaryVector(index);
      vector.i64[0] = value;
      vector.i64[1] = 0n;
    }
  }

  private store(to: Address, bytes: Bytes, value: Expr): boolean {
    const address = this.address(to);
    if (value.type === "i32") {
      const number = this.i32(value) >>> 0;
      return this.memory.store(address, bytes, BigInt(bytes < 4 ? number & ((1 << (bytes * 8)) - 1) : number), 0n);
    }
    if (value.type === "i64") return this.memory.store(address, bytes, BigInt.asUintN(bytes * 8, this.i64(value)), 0n);
    const vector = this.operand();
    this.vector(value, vector);
    this.used--;
    return bytes === 16
      ? this.memory.store(address, 16, vector.u64[0], vector.u64[1])
      : this.memory.store(address, bytes, BigInt.asUintN(bytes * 8, vector.u64[0]), 0n);
  }

  private setRegister(register: number, width: 1 | 2 | 4 | 8, high: boolean, value: Expr): void {
    if (width === 8) this.cpu.setGeneral(register, this.i64(value));
    else if (width === 4) this.cpu.setGeneral32(register, this.i32(value));
    else if (width === 2) this.cpu.patchGeneral32(register, 0xffff, this.i32(value));
    else if (high) this.cpu.patchGeneral32(register, 0xff00, this.i32(value) << 8);
    else this.cpu.patchGeneral32(register, 0xff, this.i32(value));
  }

  private setFlags({ op, bytes, a, b, r }: Flags): void {
    const plain = op === "logic" || op === "result";
    const values =
      bytes === 8
        ? flagValues64(op, plain ? 0n : this.i64(a), plain ? 0n : this.i64(b), this.i64(r))
        : flagValues32(op, bytes, plain ? 0 : this.i32(a), plain ? 0 : this.i32(b), this.i32(r));
    this.cpu.setLanes(definedLanes(op), values);
  }

  private address({ base, index, scale, displacement, segment, short }: Address): bigint {
    let sum = displacement;
    if (base !== null) sum += this.i64(base);
    if (index !== null) sum += this.i64(index) << SCALE_SHIFTS[scale];
    if (short) sum = BigInt.asUintN(32, sum);
    if (segment !== "none") sum += this.cpu.field(segment === "fs" ? "fsBase" : "gsBase");
    return BigInt.asUintN(64, sum);
  }

  private i32(e: Expr): number {
    switch (e.kind) {
      case "i32":
        return e.value;
      case "reg":
        return this.cpu.general32(e.register);
      case "tmp":
        return this.numbers[e.index];
      case "op": {
        if (e.a.type === "i64") {
          const apply = I32_OF_I64.get(e.op);
          if (apply !== undefined) return apply(this.i64(e.a), e.b === null ? 0n : this.i64(e.b));
        } else {
          const apply = I32_OF_I32.get(e.op);
          if (apply !== undefined) return apply(this.i32(e.a), e.b === null ? 0 : this.i32(e.b));
        }
        throw unexpected(e.op);
      }
      case "select":
        return this.i32(this.i32(e.c) !== 0 ? e.a : e.b);
      case "lane":
        return this.cpu.lane(e.lane);
      case "condition":
        return this.i32(CONDITION_EXPRS.get(e.code) as Expr);
      case "vop":
        return Number(this.scalarOfVector(e));
      case "pure":
        return Number(this.pure(e));
      default:
        throw unexpected(e.kind);
    }
  }

  private i64(e: Expr): bigint {
    switch (e.kind) {
      case "i64":
        return e.value;
      case "reg":
        return this.cpu.general(e.register);
      case "tmp":
        return this.bigints[e.index];
      case "op": {
        if (e.a.type === "i64") {
          const apply = I64_OF_I64.get(e.op);
          if (apply !== undefined) return apply(this.i64(e.a), e.b === null ? 0n : this.i64(e.b));
        } else {
          const apply = I64_OF_I32.get(e.op);
          if (apply !== undefined) return apply(this.i32(e.a));
        }
        throw unexpected(e.op);
      }
      case "select":
        return this.i64(this.i32(e.c) !== 0 ? e.a : e.b);
      case "field":
        return this.cpu.field(e.field);
      case "vop":
        return BigInt(this.scalarOfVector(e));
      case "pure":
        return this.pure(e);
      default:
        throw unexpected(e.kind);
    }
  }

  private pure({ name, args }: Expr & { readonly kind: "pure" }): bigint {
    const { parameters } = PURE_SIGNATURES[name];
    const value = (i: number): bigint => {
      if (i >= parameters.length) return 0n;
      return parameters[i] === "i32" ? BigInt(this.i32(args[i])) : this.i64(args[i]);
    };
    return pureValue(name, value(0), value(1), value(2));
  }

  /** A vector from the pool; whoever takes one counts `used` down again. */
  private operand(): Vector {
    if (this.used === this.pool.length) this.pool.push(new Vector());
    return this.pool[this.used++];
  }

  private temporaryVector(index: number): Vector {
    this.vectors[index] ??= new Vector();
    return this.vectors[index];
  }

  private vectorOperand(e: Expr): Vector {
    const vector = this.operand();
    this.vector(e, vector);
    return vector;
  }

  private scalarOfVector({ op, args, immediate }: Expr & { readonly kind: "vop" }): number | bigint {
    const a = this.vectorOperand(args[0]);
    this.used--;
    const reduce = VECTOR_REDUCTIONS.get(op as VectorOperation);
    if (reduce !== undefined) return reduce(a);
    const view = LANE_VIEWS.get(op as VectorOperation);
    if (view === undefined) throw unexpected(op);
    return a[view][immediate[0]];
  }

  /** @param out none of the pool's vectors from `used` on, and no temporary */
  private vector(e: Expr, out: Vector): void {
    switch (e.kind) {
      case "xmm":
        out.i64[0] = this.cpu.xmmLow(e.register);
        out.i64[1] = this.cpu.xmmHigh(e.register);
        return;
      case "tmp":
        out.copy(this.vectors[e.index]);
        return;
      case "vop": {
        const before = this.used;
        this.vectorOperation(e, out);
        this.used = before;
        return;
      }
      default:
        throw unexpected(e.kind);
    }
  }

  private vectorOperation({ op, args, immediate }: Expr & { readonly kind: "vop" }, out: Vector): void {
    if (op === "v128.const") {
      out.u8.set(immediate);
      return;
    }
    const name = op as VectorOperation;
    const apply = VECTOR_FUNCTIONS.get(name);
    if (apply !== undefined) {
      const a = this.vectorOperand(args[0]);
      const b = args.length > 1 ? this.vectorOperand(args[1]) : a;
      apply(out, a, b, args.length > 2 ? this.vectorOperand(args[2]) : b);
      return;
    }
    const shift = VECTOR_SHIFTS.get(name);
    if (shift !== undefined) {
      shift(out, this.vectorOperand(args[0]), this.i32(args[1]));
      return;
    }
    if (op === "i8x16.shuffle") {
      shuffle(out, this.vectorOperand(args[0]), this.vectorOperand(args[1]), immediate);
      return;
    }
    const view = LANE_VIEWS.get(name);
    if (view === undefined) throw unexpected(op);
    const splat = args.length === 1;
    if (!splat) this.vector(args[0], out);
    const lane = args[args.length - 1];
    const first = splat ? 0 : immediate[0];
    const end = splat ? out[view].length : first + 1;
    if (view === "i64") out.i64.fill(this.i64(lane), first, end);
    else out[view].fill(this.i32(lane), first, end);
  }
}

const unexpected = (what: string): KorralError =>
  new KorralError("evaluator", `the evaluator does not know ${what} here: please report it with the driver's name`);
