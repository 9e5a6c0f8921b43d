import { describe, expect, it } from "vitest";
import {
  conditionFromFlags,
  conditionFromLanes,
  conditionLanes,
  definedLanes,
  flagValues32,
  flagValues64,
  laneFromFlags,
} from "./flags.js";
import type { ConditionCode } from "./instruction.js";
import { CONDITIONS } from "./instruction.js";
import type { Expr, Flags, FlagsOperation, Lane } from "./ir.js";
import { AF, CF, i32, LANES, OF, PF, SF, tmp, ZF } from "./ir.js";
import type { FunctionBody } from "./wasm-assembler.js";
import { ModuleAssembler } from "./wasm-assembler.js";

const OPERATIONS: readonly FlagsOperation[] = ["add", "adc", "sub", "sbb", "logic", "inc", "dec", "result"];
const SIZES = [1, 2, 4, 8] as const;

function emit(body: FunctionBody, e: Expr): void {
  if (e.kind === "i32") body.i32(e.value);
  else if (e.kind === "i64") body.i64(Number(BigInt.asIntN(32, e.value)), Number(BigInt.asIntN(32, e.value >> 32n)));
  else if (e.kind === "tmp") body.get(e.index);
  else if (e.kind === "op") {
    emit(body, e.a);
    if (e.b !== null) emit(body, e.b);
    body.op(e.op);
  } else throw new Error(`no ${e.kind} expected`);
}

interface Case {
  readonly a: bigint;
  readonly b: bigint;
  readonly r: bigint;
  readonly flags: ReadonlyMap<Lane, boolean>;
}

/** What the manual says, in exact numbers. */
function reference(op: FlagsOperation, bytes: number, a: bigint, given: bigint, carryIn: bigint): Case {
  const bits = bytes * 8;
  const unsigned = (value: bigint): bigint => BigInt.asUintN(bits, value);
  const signed = (value: bigint): bigint => BigInt.asIntN(bits, value);
  const b = op === "inc" || op === "dec" ? 1n : given;
  const c = op === "adc" || op === "sbb" ? carryIn : 0n;
  const minus = op === "sub" || op === "sbb" || op === "dec";
  const plain = op === "logic" || op === "result";
  const exact = plain ? a & b : minus ? a - b - c : a + b + c;
  const exactSigned = minus ? signed(a) - signed(b) - c : signed(a) + signed(b) + c;
  const nibble = minus ? (a & 15n) - (b & 15n) - c : (a & 15n) + (b & 15n) + c;
  const r = unsigned(exact);
  let odd = false;
  for (let i = 0n; i < 8n; i++) if (((r >> i) & 1n) === 1n) odd = !odd;
  return {
    a,
    b,
    r,
    flags: new Map<Lane, boolean>([
      [OF, !plain && exactSigned !== signed(r)],
      [SF, signed(r) < 0n],
      [ZF, r === 0n],
      [AF, !plain && nibble !== (nibble & 15n)],
      [CF, !plain && exact !== r],
      [PF, !odd],
    ]),
  };
}

function holds(code: ConditionCode, flag: (lane: Lane) => boolean): boolean {
  switch (code) {
    case "o":
      return flag(OF);
    case "b":
      return flag(CF);
    case "e":
      return flag(ZF);
    case "be":
      return flag(CF) || flag(ZF);
    case "s":
      return flag(SF);
    case "p":
      return flag(PF);
    case "l":
      return flag(SF) !== flag(OF);
    case "le":
      return flag(ZF) || flag(SF) !== flag(OF);
    default:
      return !holds(CONDITIONS[CONDITIONS.indexOf(code) ^ 1], flag);
  }
}

function operands(bytes: number): bigint[] {
  const top = 1n << BigInt(bytes * 8 - 1);
  const all = [0n, 1n, 2n, 7n, 8n, 15n, 16n, 17n, 0x55n, top - 2n, top - 1n, top, top + 1n, top + 16n];
  return [...all, ...all.map((v) => BigInt.asUintN(bytes * 8, -v)), 0x123456789abcdef0n].map((v) =>
    BigInt.asUintN(bytes * 8, v),
  );
}

/** A function of (a, b, r) for each lane and condition that the operation defines. */
function compile(op: FlagsOperation, bytes: Flags["bytes"]): Map<Lane | ConditionCode, (c: Case) => boolean> {
  const type = bytes === 8 ? "i64" : "i32";
  const flags: Flags = { op, bytes, a: tmp(0, type), b: tmp(1, type), r: tmp(2, type) };
  const module = new ModuleAssembler();
  const names: (Lane | ConditionCode)[] = [];
  const add = (name: Lane | ConditionCode, e: Expr): void => {
    const body = module.function([type, type, type], ["i32"]);
    emit(body, e);
    module.export(`${name}`, "function", body.index);
    names.push(name);
  };
  for (const lane of LANES) if ((definedLanes(op) & lane) !== 0) add(lane, laneFromFlags(flags, lane));
  for (const code of CONDITIONS) {
    const e = conditionFromFlags(flags, code);
    if (e !== null) add(code, e);
  }
  const exports = new WebAssembly.Instance(new WebAssembly.Module(module.finish())).exports;
  return new Map(
    names.map((name) => {
      const run = exports[`${name}`] as (a: unknown, b: unknown, r: unknown) => number;
      const cast = (v: bigint): unknown => (bytes === 8 ? v : Number(v));
      return [
        name,
        ({ a, b, r }: Case) => {
          const result = run(cast(a), cast(b), cast(r));
          if (result !== 0 && result !== 1) throw new Error(`${name} of ${op} is ${result}`);
          return result === 1;
        },
      ];
    }),
  );
}

describe.each(OPERATIONS)("flags of %s", (op) => {
  it.each(SIZES)("on %i bytes are those of the manual, lane by lane and condition by condition", (bytes) => {
    const compiled = compile(op, bytes);
    const wrong: string[] = [];
    for (const a of operands(bytes))
      for (const b of operands(bytes))
        for (const carryIn of [0n, 1n]) {
          const sample = reference(op, bytes, a, b, carryIn);
          const flag = (lane: Lane): boolean => sample.flags.get(lane) === true;
          for (const [name, run] of compiled) {
            const expected = typeof name === "number" ? flag(name) : holds(name, flag);
            if (run(sample) !== expected) wrong.push(`${name} of ${a}, ${b}, ${carryIn}`);
          }
        }
    expect(wrong).toEqual([]);
  });

  it.each(SIZES)("on %i bytes are the same in numbers", (bytes) => {
    const wrong: string[] = [];
    for (const a of operands(bytes))
      for (const b of operands(bytes)) {
        const { r, flags, ...sample } = reference(op, bytes, a, b, 1n);
        const mask =
          bytes === 8
            ? flagValues64(op, BigInt.asIntN(64, a), sample.b, r)
            : flagValues32(op, bytes, Number(a), Number(sample.b), Number(r));
        const expected = LANES.reduce((sum, lane) => sum | (flags.get(lane) === true ? lane : 0), 0) & definedLanes(op);
        if (mask !== expected) wrong.push(`${mask} of ${a}, ${b}`);
      }
    expect(wrong).toEqual([]);
  });

  it("are null exactly for conditions that read others", () => {
    const flags: Flags = { op, bytes: 4, a: tmp(0, "i32"), b: tmp(1, "i32"), r: tmp(2, "i32") };
    for (const code of CONDITIONS) {
      const unknown = (conditionLanes(code) & ~definedLanes(op)) !== 0;
      expect(conditionFromFlags(flags, code) === null, code).toBe(unknown);
    }
  });
});

describe("conditions", () => {
  const printed = (op: FlagsOperation, bytes: Flags["bytes"], b: Expr, code: ConditionCode): string => {
    const print = (e: Expr): string => {
      if (e.kind === "tmp") return "abr"[e.index];
      if (e.kind === "i32") return `${e.value}`;
      if (e.kind === "op") return `${e.op}(${[e.a, e.b].flatMap((x) => (x === null ? [] : [print(x)])).join()})`;
      throw new Error(e.kind);
    };
    const e = conditionFromFlags({ op, bytes, a: tmp(0, "i32"), b, r: tmp(2, "i32") }, code);
    return e === null ? "null" : print(e);
  };

  it("are one comparison where one suffices", () => {
    const b = tmp(1, "i32");
    expect(printed("sub", 4, b, "l")).toBe("i32.lt_s(a,b)");
    expect(printed("sub", 4, b, "ge")).toBe("i32.ge_s(a,b)");
    expect(printed("sub", 4, b, "be")).toBe("i32.le_u(a,b)");
    expect(printed("sub", 4, b, "ne")).toBe("i32.ne(a,b)");
    expect(printed("sub", 4, i32(0), "e")).toBe("i32.eqz(a)");
    expect(printed("sub", 1, i32(0xff), "g")).toBe("i32.gt_s(i32.extend8_s(a),-1)");
    expect(printed("logic", 4, b, "le")).toBe("i32.le_s(r,0)");
    expect(printed("logic", 4, b, "ae")).toBe("1");
    expect(printed("add", 4, b, "b")).toBe("i32.lt_u(r,a)");
    expect(printed("dec", 4, b, "g")).toBe("i32.gt_s(a,1)");
  });

  it("follow from lanes", () => {
    const module = new ModuleAssembler();
    for (const code of CONDITIONS) {
      const body = module.function(
        LANES.map(() => "i32" as const),
        ["i32"],
      );
      const read: Lane[] = [];
      emit(
        body,
        conditionFromLanes(code, (lane) => {
          read.push(lane);
          return tmp(LANES.indexOf(lane), "i32");
        }),
      );
      expect(read.reduce((mask, lane) => mask | lane, 0)).toBe(conditionLanes(code));
      module.export(code, "function", body.index);
    }
    const exports = new WebAssembly.Instance(new WebAssembly.Module(module.finish())).exports;
    for (let mask = 0; mask < 64; mask++)
      for (const code of CONDITIONS) {
        const lanes = LANES.map((lane) => Number((mask & lane) !== 0));
        const expected = holds(code, (lane) => (mask & lane) !== 0);
        expect((exports[code] as (...lanes: number[]) => number)(...lanes), `${code} of ${mask}`).toBe(
          Number(expected),
        );
      }
  });
});
