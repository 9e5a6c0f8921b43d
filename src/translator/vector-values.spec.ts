import { describe, expect, it } from "vitest";
import { seededRandom } from "../util/random.js";
import { LANE_VIEWS, shuffle, VECTOR_FUNCTIONS, VECTOR_REDUCTIONS, VECTOR_SHIFTS, Vector } from "./vector-values.js";
import type { FunctionBody } from "./wasm-assembler.js";
import { ModuleAssembler } from "./wasm-assembler.js";
import { VECTOR } from "./wasm-opcodes.js";

const random = seededRandom(2);
/** Many extreme lanes, and the rest random. */
const EXTREMES = [0, 0xff, 0x80, 0x7f, 1];
function randomVector(): Vector {
  const vector = new Vector();
  if ((random() & 7) === 0) return vector;
  for (let i = 0; i < 16; i++) vector.u8[i] = (random() & 1) === 0 ? random() : EXTREMES[random() % 5];
  if ((random() & 3) === 0) vector.u16.fill(vector.u16[0]);
  return vector;
}

const OPERANDS = 16;
const RESULT = 64;

class Machine {
  private readonly module = new ModuleAssembler();
  private exports: WebAssembly.Exports = {};
  private memory = new Uint8Array();

  constructor() {
    this.module.export("memory", "memory", this.module.memory({ minimum: 1 }));
  }

  /** A function of (i32 count, i64 lane) that finds its operands in memory; what `write` leaves is the result. */
  add(name: string, results: "v128" | "i32" | "i64", write: (body: FunctionBody) => void): void {
    const body = this.module.function(["i32", "i64"], results === "v128" ? [] : [results]);
    if (results === "v128") body.i32(0);
    write(body);
    if (results === "v128") body.vectorMemory("v128.store", RESULT);
    this.module.export(name, "function", body.index);
  }

  start(): void {
    this.exports = new WebAssembly.Instance(new WebAssembly.Module(this.module.finish())).exports;
    this.memory = new Uint8Array((this.exports.memory as WebAssembly.Memory).buffer);
  }

  run(name: string, operands: readonly Vector[], count = 0, lane = 0n): number | bigint | undefined {
    operands.forEach((operand, i) => {
      this.memory.set(operand.u8, OPERANDS + 16 * i);
    });
    return (this.exports[name] as (count: number, lane: bigint) => number | bigint | undefined)(count, lane);
  }

  get result(): number[] {
    return [...this.memory.slice(RESULT, RESULT + 16)];
  }
}

const load = (body: FunctionBody, operands: number): void => {
  for (let i = 0; i < operands; i++) {
    body.i32(0);
    body.vectorMemory("v128.load", OPERANDS + 16 * i);
  }
};

/** How many vectors an operation takes. */
const arity = (name: string): number => {
  if (name === "v128.bitselect") return 3;
  return /\.(not|neg|abs|popcnt|extend_|extadd_)/.test(name) ? 1 : 2;
};

const bytes = (vector: Vector): number[] => [...vector.u8];

describe("operations on vectors", () => {
  it("are all known", () => {
    const known = [
      "v128.const",
      "i8x16.shuffle",
      ...VECTOR_FUNCTIONS.keys(),
      ...VECTOR_SHIFTS.keys(),
      ...VECTOR_REDUCTIONS.keys(),
      ...LANE_VIEWS.keys(),
    ];
    expect(known.sort()).toEqual(Object.keys(VECTOR).sort());
  });

  it("are those of WebAssembly", () => {
    const machine = new Machine();
    for (const name of VECTOR_FUNCTIONS.keys())
      machine.add(name, "v128", (body) => {
        load(body, arity(name));
        body.vector(name);
      });
    for (const name of VECTOR_SHIFTS.keys())
      machine.add(name, "v128", (body) => {
        load(body, 1);
        body.get(0);
        body.vector(name);
      });
    for (const name of VECTOR_REDUCTIONS.keys())
      machine.add(name, "i32", (body) => {
        load(body, 1);
        body.vector(name);
      });
    machine.start();
    const out = new Vector();
    for (let turn = 0; turn < 100; turn++) {
      const [a, b, c] = [randomVector(), randomVector(), randomVector()];
      for (const [name, apply] of VECTOR_FUNCTIONS) {
        apply(out, a, b, c);
        machine.run(name, [a, b, c]);
        expect(bytes(out), name).toEqual(machine.result);
      }
      const count = random() % 140;
      for (const [name, apply] of VECTOR_SHIFTS) {
        apply(out, a, count);
        machine.run(name, [a], count);
        expect(bytes(out), `${name} by ${count}`).toEqual(machine.result);
      }
      for (const [name, apply] of VECTOR_REDUCTIONS) expect(apply(a), name).toBe(machine.run(name, [a]));
    }
  });

  it("access the lanes of WebAssembly", () => {
    const machine = new Machine();
    for (const [name, view] of LANE_VIEWS) {
      const wide = view === "i64";
      machine.add(name, name.includes("extract") ? (wide ? "i64" : "i32") : "v128", (body) => {
        if (!name.endsWith("splat")) load(body, 1);
        if (!name.includes("extract")) body.get(wide ? 1 : 0);
        body.vector(name, name.endsWith("splat") ? [] : [1]);
      });
    }
    machine.start();
    for (let turn = 0; turn < 20; turn++) {
      const a = randomVector();
      const value = random() | 0;
      for (const [name, view] of LANE_VIEWS) {
        const result = machine.run(name, [a], value, BigInt(value) << 16n);
        const expected = new Vector();
        expected.copy(a);
        const lanes = expected[view];
        if (name.includes("extract")) {
          expect(result, name).toBe(lanes[1]);
          continue;
        }
        for (let i = 0; i < lanes.length; i++)
          if (name.endsWith("splat") || i === 1)
            if (view === "i64") expected.i64[i] = BigInt(value) << 16n;
            else lanes[i] = value;
        expect(machine.result, name).toEqual(bytes(expected));
      }
    }
  });

  it("shuffle and have constants", () => {
    const lanes = [31, 0, 16, 15, 1, 1, 20, 21, 22, 23, 8, 9, 10, 11, 30, 2];
    const machine = new Machine();
    machine.add("shuffle", "v128", (body) => {
      load(body, 2);
      body.vector("i8x16.shuffle", lanes);
    });
    machine.add("const", "v128", (body) => body.vector("v128.const", lanes));
    machine.start();
    const [a, b, out] = [randomVector(), randomVector(), new Vector()];
    shuffle(out, a, b, lanes);
    machine.run("shuffle", [a, b]);
    expect(machine.result).toEqual(bytes(out));
    machine.run("const", []);
    expect(machine.result).toEqual(lanes);
  });
});
