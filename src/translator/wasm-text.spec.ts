import { describe, expect, it } from "vitest";
import { ModuleAssembler } from "./wasm-assembler.js";
import { disassembleWasm } from "./wasm-text.js";

describe("The text of WebAssembly code", () => {
  it("names operations, locals, offsets and constants, and tells how deep they are", () => {
    const body = new ModuleAssembler().function(["i32"], ["i64"]);
    const value = body.local("i64");
    const label = body.block();
    body.get(0);
    body.op("i32.eqz");
    body.brIf(label);
    body.get(0);
    body.memory("i64.load", 0x7ffe0000, 3);
    body.set(value);
    body.i64(-1, 0);
    body.op("drop");
    body.end();
    body.get(0);
    body.vectorMemory("v128.load", 16);
    body.vector("i8x16.bitmask");
    body.op("drop");
    body.i32(-5);
    body.op("drop");
    body.get(value);
    body.call(3);
    const lines = disassembleWasm(body.finish(), {
      local: (index) => ["depth", "value"][index],
      callee: (index) => `f${index}`,
    });
    expect(lines.map(({ depth, text }) => `${"  ".repeat(depth)}${text}`)).toEqual([
      "block",
      "  local.get depth",
      "  i32.eqz",
      "  br_if 0",
      "  local.get depth",
      "  i64.load offset=0x7ffe0000",
      "  local.set value",
      "  i64.const 0xffffffff",
      "  drop",
      "end",
      "local.get depth",
      "v128.load offset=0x10",
      "i8x16.bitmask",
      "drop",
      "i32.const -5",
      "drop",
      "local.get value",
      "call f3",
      "end",
    ]);
    expect(lines.map(({ offset }) => offset)).toEqual([...lines.map(({ offset }) => offset)].sort((a, b) => a - b));
  });
});
