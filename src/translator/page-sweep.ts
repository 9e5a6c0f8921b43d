import { ModuleAssembler } from "./wasm-assembler.js";

const VECTOR_BYTES = 16;
/** Above this, `memory.fill` is the faster way. */
const LOOP_LIMIT = 512;

/** Loops over bytes of a sandbox's memory that JavaScript would be slow at. */
export interface PageSweep {
  /**
   * Makes all bytes of a range, which may begin and end anywhere, one value. Measured, `TypedArray.fill` takes 2 to 7 times
   * as long up to 512 bytes.
   */
  fill(start: number, end: number, value: number): void;
  // The ranges of the others begin and end at multiples of 16.
  /** Makes every byte of one value one of another. */
  turn(start: number, end: number, from: number, to: number): void;
  /** Whether all bytes are like the first. */
  isUniform(start: number, end: number): boolean;
}

export function pageSweep(memory: WebAssembly.Memory): PageSweep {
  compiled ??= new WebAssembly.Module(sweepModule());
  const { exports } = new WebAssembly.Instance(compiled, { korral: { memory } });
  const fill = exports.fill as PageSweep["fill"];
  const turn = exports.turn as PageSweep["turn"];
  const uniform = exports.uniform as (start: number, end: number) => number;
  return { fill, turn, isUniform: (start, end) => uniform(start, end) === 1 };
}

let compiled: WebAssembly.Module | null = null;

function sweepModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleAssembler();
  module.importMemory("korral", "memory", { minimum: 1 });
  const at = 0;
  const end = 1;

  const fill = module.function(["i32", "i32", "i32"], []);
  const value = 2;
  const splat = fill.local("v128");
  const size = fill.local("i32");
  fill.get(end);
  fill.get(at);
  fill.op("i32.sub");
  fill.tee(size);
  fill.i32(LOOP_LIMIT);
  fill.op("i32.gt_u");
  fill.if();
  fill.get(at);
  fill.get(value);
  fill.get(size);
  fill.memoryFill();
  fill.op("return");
  fill.end();
  fill.get(size);
  fill.i32(VECTOR_BYTES);
  fill.op("i32.ge_u");
  fill.if();
  fill.get(value);
  fill.vector("i8x16.splat");
  fill.set(splat);
  // The last one ends with the range, and may overlap the one before it.
  fill.get(end);
  fill.i32(VECTOR_BYTES);
  fill.op("i32.sub");
  fill.tee(end);
  fill.get(splat);
  fill.vectorMemory("v128.store");
  const vectors = fill.block();
  const vectorsMore = fill.loop();
  fill.get(at);
  fill.get(end);
  fill.op("i32.ge_u");
  fill.brIf(vectors);
  fill.get(at);
  fill.get(splat);
  fill.vectorMemory("v128.store");
  fill.get(at);
  fill.i32(VECTOR_BYTES);
  fill.op("i32.add");
  fill.set(at);
  fill.br(vectorsMore);
  fill.end();
  fill.end();
  fill.op("return");
  fill.end();
  const bytesDone = fill.block();
  const bytesMore = fill.loop();
  fill.get(at);
  fill.get(end);
  fill.op("i32.ge_u");
  fill.brIf(bytesDone);
  fill.get(at);
  fill.get(value);
  fill.memory("i32.store8");
  fill.get(at);
  fill.i32(1);
  fill.op("i32.add");
  fill.set(at);
  fill.br(bytesMore);
  fill.end();
  fill.end();
  module.export("fill", "function", fill.index);

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
