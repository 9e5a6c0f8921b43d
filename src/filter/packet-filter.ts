import type { FunctionBody } from "../translator/wasm-assembler.js";
import { ModuleAssembler } from "../translator/wasm-assembler.js";
import type { BpfProgram } from "./bpf.js";
import { LONGEST_COMPILED } from "./compile.js";
import { emitProgram, frameOf } from "./emit.js";
import { FilterRangeError, FilterVerifyError } from "./errors.js";
import { verifyProgram } from "./verify.js";

/** Bytes of an entry of an index of packets: offset, captured length, length on the wire; each a u32, little-endian. */
export const INDEX_ENTRY = 12;

/** Instructions that the programs of one demultiplexer may have together. */
const LONGEST_TOGETHER = 4 * LONGEST_COMPILED;
const MOST_PAGES = 65_536;

type Classify = (offset: number, capturedLength: number, wireLength: number) => number;
type Many = (index: number, count: number, bitmap: number) => number;

/**
 * A filter for packets that lie in a WebAssembly memory, where they are read in place. It never reads a byte outside
 * [offset, offset + capturedLength).
 */
export class PacketFilter {
  private readonly one: Classify;
  private readonly many: Many;

  /** @throws FilterVerifyError */
  constructor(
    program: BpfProgram,
    private readonly memory: WebAssembly.Memory,
  ) {
    verifyProgram(program, LONGEST_COMPILED);
    const module = new ModuleAssembler();
    importMemory(module, memory);
    const one = module.function(["i32", "i32", "i32"], ["i32"]);
    emitClassify(one, [program]);
    module.export("one", "function", one.index);
    const many = module.function(["i32", "i32", "i32"], ["i32"]);
    emitMany(many, program);
    module.export("many", "function", many.index);
    const exports = instantiate(module, memory);
    this.one = exports.one as Classify;
    this.many = exports.many as Many;
  }

  /**
   * Whether the filter accepts the packet. Lengths are in bytes; `wireLength` is what `len` means.
   *
   * @throws FilterRangeError if the packet does not lie in the memory
   */
  match(offset: number, capturedLength: number, wireLength: number): boolean {
    try {
      return this.one(offset, capturedLength, wireLength) === 0;
    } catch (error) {
      throw outsideMemory(error, this.memory);
    }
  }

  /**
   * Filters `count` packets in one call. At `index` in the same memory lie their entries (INDEX_ENTRY bytes each); at
   * `bitmap` one bit for each packet is written, lowest first, in whole words of 32 bits; bits after the last are 0.
   *
   * @returns how many packets the filter accepts
   * @throws FilterRangeError if the index, the bitmap or a packet does not lie in the memory
   */
  matchMany(index: number, count: number, bitmap: number): number {
    const size = this.memory.buffer.byteLength;
    if (index < 0 || count < 0 || index + count * INDEX_ENTRY > size)
      throw new FilterRangeError(
        `the index of ${count} packets at ${index} does not lie in the memory of ${size} bytes`,
      );
    if (bitmap < 0 || bitmap + Math.ceil(count / 32) * 4 > size)
      throw new FilterRangeError(`the bitmap at ${bitmap} does not lie in the memory of ${size} bytes`);
    try {
      return this.many(index, count, bitmap);
    } catch (error) {
      throw outsideMemory(error, this.memory);
    }
  }
}

/** Finds the client that a packet is for: the first whose program accepts it. */
export class Demultiplexer {
  private readonly first: Classify;
  private readonly none: number;

  /**
   * @param programs in order of precedence
   * @throws FilterVerifyError
   */
  constructor(
    programs: readonly BpfProgram[],
    private readonly memory: WebAssembly.Memory,
  ) {
    for (const program of programs) verifyProgram(program, LONGEST_COMPILED);
    const together = programs.reduce((sum, program) => sum + program.length, 0);
    if (together > LONGEST_TOGETHER)
      throw new FilterVerifyError(
        -1,
        `together they have ${together} instructions, ${LONGEST_TOGETHER} are allowed`,
        "filter-too-long",
      );
    const module = new ModuleAssembler();
    importMemory(module, memory);
    const first = module.function(["i32", "i32", "i32"], ["i32"]);
    emitClassify(first, programs);
    module.export("first", "function", first.index);
    this.first = instantiate(module, memory).first as Classify;
    this.none = programs.length;
  }

  /**
   * The index of the first program that accepts the packet, -1 if none does.
   *
   * @throws FilterRangeError if the packet does not lie in the memory
   */
  classify(offset: number, capturedLength: number, wireLength: number): number {
    try {
      const index = this.first(offset, capturedLength, wireLength);
      return index === this.none ? -1 : index;
    } catch (error) {
      throw outsideMemory(error, this.memory);
    }
  }
}

function importMemory(module: ModuleAssembler, memory: WebAssembly.Memory): void {
  const shared = typeof SharedArrayBuffer !== "undefined" && memory.buffer instanceof SharedArrayBuffer;
  module.importMemory("env", "memory", shared ? { minimum: 0, maximum: MOST_PAGES, shared } : { minimum: 0 });
}

function instantiate(module: ModuleAssembler, memory: WebAssembly.Memory): WebAssembly.Exports {
  return new WebAssembly.Instance(new WebAssembly.Module(module.finish()), { env: { memory } }).exports;
}

function outsideMemory(error: unknown, memory: WebAssembly.Memory): unknown {
  if (!(error instanceof WebAssembly.RuntimeError)) return error;
  return new FilterRangeError(`a packet does not lie in the memory of ${memory.buffer.byteLength} bytes`);
}

/** (offset, captured length, wire length) → index of the first program that accepts, or how many there are. */
function emitClassify(body: FunctionBody, programs: readonly BpfProgram[]): void {
  const frame = frameOf(body, 0, 1, 2);
  programs.forEach((program, index) => {
    const reject = body.block();
    const accept = body.block();
    emitProgram(body, frame, program, accept, reject);
    body.end();
    body.i32(index);
    body.op("return");
    body.end();
  });
  body.i32(programs.length);
}

/** (index, count, bitmap) → how many packets are accepted. */
function emitMany(body: FunctionBody, program: BpfProgram): void {
  const [entry, count, bitmap] = [0, 1, 2];
  const [offset, capturedLength, wireLength] = [body.local("i32"), body.local("i32"), body.local("i32")];
  const [accepted, bits, bit] = [body.local("i32"), body.local("i32"), body.local("i32")];
  const frame = frameOf(body, offset, capturedLength, wireLength);
  const add = (local: number, value: number): void => {
    body.get(local);
    body.i32(value);
    body.op("i32.add");
    body.set(local);
  };
  const store = (): void => {
    body.get(bitmap);
    body.get(bits);
    body.memory("i32.store");
  };
  body.i32(1);
  body.set(bit);
  const done = body.block();
  const next = body.loop();
  body.get(count);
  body.op("i32.eqz");
  body.brIf(done);
  [offset, capturedLength, wireLength].forEach((local, field) => {
    body.get(entry);
    body.memory("i32.load", field * 4);
    body.set(local);
  });
  const reject = body.block();
  const accept = body.block();
  emitProgram(body, frame, program, accept, reject);
  body.end();
  add(accepted, 1);
  body.get(bits);
  body.get(bit);
  body.op("i32.or");
  body.set(bits);
  body.end();
  add(entry, INDEX_ENTRY);
  add(count, -1);
  body.get(bit);
  body.i32(1);
  body.op("i32.rotl");
  body.tee(bit);
  body.i32(1);
  body.op("i32.ne");
  body.brIf(next);
  store();
  add(bitmap, 4);
  body.i32(0);
  body.set(bits);
  body.br(next);
  body.end();
  body.end();
  body.get(bit);
  body.i32(1);
  body.op("i32.ne");
  body.if();
  store();
  body.end();
  body.get(accepted);
}
