import { ModuleAssembler } from "./wasm-assembler.js";

const VECTOR_BYTES = 16;

/** Loops over bytes of a sandbox's memory that JavaScript would be slow at. Ranges begin and end at multiples of 16. */
export interface PageSweep {
  /** Makes every byte of one value one of another. */
  turn(start: number, end: number, from: number, to: number): void;
  /** Whether all bytes are like the first. */
  isUniform(start: number, end: number): boolean;
}

export function pageSweep(memory: WebAssembly.Memory): PageSweep {
  compiled ??= new WebAssembly.Module(sweepModule());
  const { exports } = new WebAssembly.Instance(compiled, { korral: { memory } });
  const turn = exports.turn as (start: number, end: number, from: number, to: number) => void;
  const uniform = exports.uniform as (start: number, end: number) => number;
  return { turn, isUniform: (start, end) => uniform(start, end) === 1 };
}

let compiled: WebAssembly.Module | null = null;

function sweepModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleAssembler();
  module.importMemory("korral", "memory", { minimum: 1 });
  const at = 0;
  const end = 1;

  const turn = module.function(["i32", "i32", "i32", "i32"], []);
  const from = turn.local("v128");
  const to = turn.local("v128");
  const bytes = turn.local("v128");
  turn.get(2);
  turn.vector("i8x16.splat");
  turn.set(from);
  turn.get(3);
  turn.vector("i8x16.splat");
  turn.set(to);
  const turnMore = turn.loop();
  turn.get(at);
  turn.get(to);
  turn.get(at);
  turn.vectorMemory("v128.load");
  turn.tee(bytes);
  turn.get(bytes);
  turn.get(from);
  turn.vector("i8x16.eq");
  turn.vector("v128.bitselect");
  turn.vectorMemory("v128.store");
  turn.get(at);
  turn.i32(VECTOR_BYTES);
  turn.op("i32.add");
  turn.tee(at);
  turn.get(end);
  turn.op("i32.ne");
  turn.brIf(turnMore);
  turn.end();
  module.export("turn", "function", turn.index);

  const uniform = module.function(["i32", "i32"], ["i32"]);
  const first = uniform.local("v128");
  uniform.get(at);
  uniform.memory("i32.load8_u");
  uniform.vector("i8x16.splat");
  uniform.set(first);
  const uniformMore = uniform.loop();
  uniform.get(at);
  uniform.vectorMemory("v128.load");
  uniform.get(first);
  uniform.vector("i8x16.eq");
  uniform.vector("i8x16.all_true");
  uniform.op("i32.eqz");
  uniform.if();
  uniform.i32(0);
  uniform.op("return");
  uniform.end();
  uniform.get(at);
  uniform.i32(VECTOR_BYTES);
  uniform.op("i32.add");
  uniform.tee(at);
  uniform.get(end);
  uniform.op("i32.ne");
  uniform.brIf(uniformMore);
  uniform.end();
  uniform.i32(1);
  module.export("uniform", "function", uniform.index);
  return module.finish();
}
