import { describe, expect, it } from "vitest";
import { ByteWriter, ModuleAssembler } from "./wasm-assembler.js";

function instantiate(
  module: ModuleAssembler,
  imports: WebAssembly.Imports = {},
): Record<string, (...values: unknown[]) => unknown> {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish()), imports);
  return instance.exports as Record<string, (...values: unknown[]) => unknown>;
}

describe("numbers of the binary format", () => {
  it("are LEB128", () => {
    const bytes = (write: (writer: ByteWriter) => void): number[] => {
      const writer = new ByteWriter();
      write(writer);
      return [...writer.finish()];
    };
    expect(bytes((w) => w.u32(624485))).toEqual([0xe5, 0x8e, 0x26]);
    expect(bytes((w) => w.u32(0xffffffff))).toEqual([0xff, 0xff, 0xff, 0xff, 0x0f]);
    expect(bytes((w) => w.s32(-123456))).toEqual([0xc0, 0xbb, 0x78]);
    expect(bytes((w) => w.s32(63))).toEqual([63]);
    expect(bytes((w) => w.s32(64))).toEqual([0xc0, 0x00]);
    expect(bytes((w) => w.s32(-64))).toEqual([0x40]);
    expect(bytes((w) => w.s32(0x80000000))).toEqual([0x80, 0x80, 0x80, 0x80, 0x78]);
  });

  it("are the constants that the engine reads back", () => {
    const module = new ModuleAssembler();
    const values = [
      0n,
      1n,
      -1n,
      63n,
      64n,
      -64n,
      -65n,
      0x7fffffffn,
      0x80000000n,
      -0x80000000n,
      0x123456789abcdefn,
      -(2n ** 63n),
      2n ** 63n - 1n,
    ];
    for (const value of values) {
      const body = module.function([], ["i64"]);
      body.i64(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
      module.export(`${value}`, "function", body.index);
    }
    const exports = instantiate(module);
    for (const value of values) expect(exports[`${value}`]()).toBe(value);
  });
});

describe("a module", () => {
  it("has loops, locals and branches", () => {
    const module = new ModuleAssembler();
    const body = module.function(["i32"], ["i32"]);
    const sum = body.local("i32");
    const out = body.block();
    const again = body.loop();
    body.get(0);
    body.op("i32.eqz");
    body.brIf(out);
    body.get(sum);
    body.get(0);
    body.op("i32.add");
    body.set(sum);
    body.get(0);
    body.i32(1);
    body.op("i32.sub");
    body.set(0);
    body.br(again);
    body.end();
    body.end();
    body.get(sum);
    module.export("sum", "function", body.index);
    expect(instantiate(module).sum(100)).toBe(5050);
  });

  it("branches by table", () => {
    const module = new ModuleAssembler();
    const body = module.function(["i32"], ["i32"]);
    const other = body.block();
    const second = body.block();
    const first = body.block();
    body.get(0);
    body.brTable([first, second], other);
    body.end();
    body.i32(10);
    body.op("return");
    body.end();
    body.i32(20);
    body.op("return");
    body.end();
    body.i32(30);
    module.export("choose", "function", body.index);
    const { choose } = instantiate(module);
    expect([0, 1, 2, 99].map((i) => choose(i))).toEqual([10, 20, 30, 30]);
  });

  it("calls through a table, and jumps with tail calls", () => {
    const module = new ModuleAssembler();
    module.table({ minimum: 2 });
    const double = module.function(["i32"], ["i32"]);
    double.get(0);
    double.i32(1);
    double.op("i32.shl");
    const square = module.function(["i32"], ["i32"]);
    square.get(0);
    square.get(0);
    square.op("i32.mul");
    module.element(0, [double.index, square.index]);
    const caller = module.function(["i32", "i32"], ["i32"]);
    caller.get(1);
    caller.get(0);
    caller.callIndirect(module.type(["i32"], ["i32"]));
    const jumper = module.function(["i32"], ["i32"]);
    jumper.get(0);
    jumper.returnCall(square.index);
    module.export("call", "function", caller.index);
    module.export("jump", "function", jumper.index);
    const { call, jump } = instantiate(module);
    expect([call(0, 7), call(1, 7), jump(9)]).toEqual([14, 49, 81]);
    expect(() => call(2, 7)).toThrow(WebAssembly.RuntimeError);
  });

  it("imports memory, functions and globals, and copies memory in bulk", () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const seen: number[] = [];
    const module = new ModuleAssembler();
    module.importMemory("env", "memory", { minimum: 1 });
    const report = module.importFunction("env", "report", ["i32"], []);
    const base = module.importGlobal("env", "base", "i32", false);
    const count = module.global("i32", true, 41);
    const segment = module.data(Uint8Array.of(1, 2, 3, 4));
    module.data(Uint8Array.of(9, 9), 100);
    const body = module.function([], []);
    body.globalGet(base);
    body.i32(0);
    body.i32(4);
    body.memoryInit(segment);
    body.i32(32);
    body.globalGet(base);
    body.i32(4);
    body.memoryCopy();
    body.i32(40);
    body.i32(0xaa);
    body.i32(3);
    body.memoryFill();
    body.globalGet(count);
    body.i32(1);
    body.op("i32.add");
    body.globalSet(count);
    body.globalGet(count);
    body.call(report);
    module.start(body.index);
    module.custom("note", new TextEncoder().encode("hello"));
    const compiled = new WebAssembly.Module(module.finish());
    new WebAssembly.Instance(compiled, { env: { memory, report: (n: number) => seen.push(n), base: 16 } });
    const bytes = new Uint8Array(memory.buffer);
    expect([...bytes.slice(16, 20)]).toEqual([1, 2, 3, 4]);
    expect([...bytes.slice(32, 36)]).toEqual([1, 2, 3, 4]);
    expect([...bytes.slice(39, 44)]).toEqual([0, 0xaa, 0xaa, 0xaa, 0]);
    expect([...bytes.slice(100, 102)]).toEqual([9, 9]);
    expect(seen).toEqual([42]);
    expect(new TextDecoder().decode(WebAssembly.Module.customSections(compiled, "note")[0])).toBe("hello");
  });

  it("returns several values, from functions and from blocks", () => {
    const module = new ModuleAssembler();
    const body = module.function(["i64", "i64"], ["i64", "i64"]);
    body.block(module.type([], ["i64", "i64"]));
    body.get(0);
    body.get(1);
    body.op("i64.div_u");
    body.get(0);
    body.get(1);
    body.op("i64.rem_u");
    body.end();
    module.export("divide", "function", body.index);
    expect(instantiate(module).divide(17n, 5n)).toEqual([3n, 2n]);
  });

  it("accesses memory at an offset, in every width", () => {
    const module = new ModuleAssembler();
    module.memory({ minimum: 1, maximum: 2 });
    const store = module.function(["i32", "i64"], []);
    store.get(0);
    store.get(1);
    store.memory("i64.store", 8);
    const load = module.function(["i32"], ["i32", "i32", "i64"]);
    load.get(0);
    load.memory("i32.load8_s", 15);
    load.get(0);
    load.memory("i32.load16_u", 8);
    load.get(0);
    load.memory("i64.load32_u", 12);
    module.export("store", "function", store.index);
    module.export("load", "function", load.index);
    const exports = instantiate(module);
    exports.store(3, BigInt.asIntN(64, 0xfedcba9876543210n));
    expect(exports.load(3)).toEqual([-2, 0x3210, 0xfedcba98n]);
  });
});
