import { CPU } from "../cpu-state.js";
import type { Expr, PureName } from "../ir.js";
import type { FunctionBody, FunctionIndex } from "../wasm-assembler.js";
import type { VectorOperation } from "../wasm-opcodes.js";
import type { LazyFlags } from "./lazy-flags.js";
import type { Locals } from "./locals.js";
import type { Registers } from "./registers.js";

/** Writes expressions: code that leaves their value on the stack. */
export class Expressions {
  /** Expressions to write in place of temporaries: those of the instruction at hand. */
  inlined: readonly (Expr | undefined)[] = [];
  /** Code that leaves the value of a temporary, for a load that happens where it is used. */
  readonly deferred = new Map<number, () => void>();

  constructor(
    private readonly body: FunctionBody,
    private readonly locals: Locals,
    private readonly registers: Registers,
    private readonly flags: () => LazyFlags,
    private readonly pure: (name: PureName) => FunctionIndex,
  ) {}

  readonly emit = (e: Expr): void => {
    const { body } = this;
    switch (e.kind) {
      case "i32":
        body.i32(e.value);
        return;
      case "i64":
        body.i64(Number(BigInt.asIntN(32, e.value)), Number(BigInt.asIntN(32, e.value >> 32n)));
        return;
      case "reg":
        if (e.type === "i64") this.registers.get64(e.register);
        else this.registers.get32(e.register);
        return;
      case "xmm":
        this.registers.getVector(e.register);
        return;
      case "tmp":
        this.#temporary(e.index, e);
        return;
      case "op":
        this.emit(e.a);
        if (e.b !== null) this.emit(e.b);
        body.op(e.op);
        return;
      case "vop":
        for (const a of e.args) this.emit(a);
        body.vector(e.op as VectorOperation, e.immediate);
        return;
      case "select":
        this.emit(e.a);
        this.emit(e.b);
        this.emit(e.c);
        body.op("select");
        return;
      case "lane":
        this.flags().lane(e.lane);
        return;
      case "condition":
        this.flags().condition(e.code);
        return;
      case "field":
        body.i32(0);
        body.memory("i64.load", CPU[e.field], 3);
        return;
      case "pure":
        for (const a of e.args) this.emit(a);
        body.call(this.pure(e.name));
        return;
    }
  };

  #temporary(index: number, e: Expr): void {
    const deferred = this.deferred.get(index);
    const inlined = this.inlined[index];
    if (deferred !== undefined) deferred();
    else if (inlined !== undefined) this.emit(inlined);
    else this.body.get(this.locals.temporary(index, e.type));
  }
}

/** Whether an i32 has only its lowest `bytes` bytes set, seen from its shape. */
export function fits(e: Expr, bytes: 1 | 2): boolean {
  const most = bytes === 1 ? 0xff : 0xffff;
  switch (e.kind) {
    case "i32":
      return e.value >= 0 && e.value <= most;
    case "lane":
    case "condition":
      return true;
    case "op":
      if (e.op === "i32.and") return isSmall(e.a, most) || (e.b !== null && isSmall(e.b, most));
      return /\.(eqz?|ne|[lg][te]_[su])$/.test(e.op);
    default:
      return false;
  }
}

const isSmall = (e: Expr, most: number): boolean => e.kind === "i32" && e.value >= 0 && e.value <= most;
