import type { MemoryOperation, PlainOperation, VectorAccess, VectorOperation } from "./wasm-opcodes.js";
import { CONTROL, MEMORY_ACCESS, PLAIN, PREFIXED, VECTOR, VECTOR_ACCESS } from "./wasm-opcodes.js";

/**
 * Assembles WebAssembly modules, byte by byte, after the core specification, chapter "Binary Format". It checks
 * nothing that `new WebAssembly.Module` checks anyway.
 */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128" | "funcref" | "externref";

const VALUE_TYPES: Readonly<Record<ValueType, number>> = {
  i32: 0x7f,
  i64: 0x7e,
  f32: 0x7d,
  f64: 0x7c,
  v128: 0x7b,
  funcref: 0x70,
  externref: 0x6f,
};

/** In pages for memories, in elements for tables. A shared memory must have a maximum. */
export interface Limits {
  readonly minimum: number;
  readonly maximum?: number;
  readonly shared?: boolean;
}

/** A number of its kind: of a type, a function, a local, … as the module counts them. */
export type TypeIndex = number;
export type FunctionIndex = number;
export type LocalIndex = number;

/** Bytes that grow, with the numbers of the binary format. */
export class ByteWriter {
  private bytes = new Uint8Array(256);
  private used = 0;

  get length(): number {
    return this.used;
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.used);
  }

  clear(): void {
    this.used = 0;
  }

  byte(value: number): void {
    if (this.used === this.bytes.length) this.grow(1);
    this.bytes[this.used++] = value;
  }

  replace(at: number, value: number): void {
    this.bytes[at] = value;
  }

  raw(values: ArrayLike<number>): void {
    if (this.used + values.length > this.bytes.length) this.grow(values.length);
    this.bytes.set(values, this.used);
    this.used += values.length;
  }

  /** Unsigned LEB128 of 32 bits. */
  u32(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    this.byte(rest);
  }

  /** Signed LEB128 of 32 bits. */
  s32(value: number): void {
    this.s64(value | 0, value >> 31);
  }

  /** Signed LEB128 of 64 bits, given in halves. */
  s64(low: number, high: number): void {
    let l = low | 0;
    let h = high | 0;
    while (h !== l >> 31 || l < -0x40 || l > 0x3f) {
      this.byte((l & 0x7f) | 0x80);
      l = (l >>> 7) | (h << 25);
      h >>= 7;
    }
    this.byte(l & 0x7f);
  }

  f32(value: number): void {
    this.raw(new Uint8Array(new Float32Array([value]).buffer));
  }

  f64(value: number): void {
    this.raw(new Uint8Array(new Float64Array([value]).buffer));
  }

  name(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.u32(encoded.length);
    this.raw(encoded);
  }

  /** A vector: how many, then each. */
  vector<T>(items: readonly T[], write: (item: T) => void): void {
    this.u32(items.length);
    for (const item of items) write(item);
  }

  limits({ minimum, maximum, shared }: Limits): void {
    this.byte((maximum === undefined ? 0 : 1) | (shared === true ? 2 : 0));
    this.u32(minimum);
    if (maximum !== undefined) this.u32(maximum);
  }

  private grow(wanted: number): void {
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.used + wanted));
    larger.set(this.bytes);
    this.bytes = larger;
  }
}

/** A place to branch to: the end of a block or `if`, the start of a loop. */
export type Label = number & { readonly label: unique symbol };

/** The code of one function. Locals count from the parameters on. */
export class FunctionBody {
  readonly code = new ByteWriter();
  private readonly locals: ValueType[] = [];
  private open = 0;
  private lastSet: LocalIndex = -1;
  private lastSetStart = 0;
  private lastSetEnd = 0;

  constructor(
    readonly index: FunctionIndex,
    private readonly parameterCount: number,
  ) {}

  local(type: ValueType): LocalIndex {
    this.locals.push(type);
    return this.parameterCount + this.locals.length - 1;
  }

  op(operation: PlainOperation): void {
    this.code.byte(PLAIN[operation]);
  }

  /** @param alignment the exponent of the alignment that is promised; 0 promises nothing and is never wrong */
  memory(operation: MemoryOperation, offset = 0, alignment = 0): void {
    this.code.byte(MEMORY_ACCESS[operation]);
    this.code.u32(alignment);
    this.code.u32(offset);
  }

  /** @param immediate the lane, the 16 lanes of a shuffle, or the 16 bytes of a constant: what the operation encodes */
  vector(operation: VectorOperation, immediate: readonly number[] = []): void {
    this.code.byte(CONTROL.vectorPrefix);
    this.code.u32(VECTOR[operation]);
    this.code.raw(immediate);
  }

  /** @param alignment like that of `memory` */
  vectorMemory(operation: VectorAccess, offset = 0, alignment = 0): void {
    this.code.byte(CONTROL.vectorPrefix);
    this.code.u32(VECTOR_ACCESS[operation]);
    this.code.u32(alignment);
    this.code.u32(offset);
  }

  i32(value: number): void {
    this.code.byte(CONTROL["i32.const"]);
    this.code.s32(value);
  }

  /** A 64-bit constant in halves. */
  i64(low: number, high = low >> 31): void {
    this.code.byte(CONTROL["i64.const"]);
    this.code.s64(low, high);
  }

  f32(value: number): void {
    this.code.byte(CONTROL["f32.const"]);
    this.code.f32(value);
  }

  f64(value: number): void {
    this.code.byte(CONTROL["f64.const"]);
    this.code.f64(value);
  }

  get(local: LocalIndex): void {
    // What has just been taken off the stack is wanted back.
    if (this.lastSet === local && this.lastSetEnd === this.code.length) {
      this.code.replace(this.lastSetStart, CONTROL["local.tee"]);
      this.lastSet = -1;
    } else this.indexed("local.get", local);
  }

  set(local: LocalIndex): void {
    this.lastSet = local;
    this.lastSetStart = this.code.length;
    this.indexed("local.set", local);
    this.lastSetEnd = this.code.length;
  }

  tee(local: LocalIndex): void {
    this.indexed("local.tee", local);
  }

  globalGet(global: number): void {
    this.indexed("global.get", global);
  }

  globalSet(global: number): void {
    this.indexed("global.set", global);
  }

  /** @param type what the block leaves: nothing, one value, or what a function type with several says */
  block(type?: ValueType | TypeIndex): Label {
    return this.enter("block", type);
  }

  loop(type?: ValueType | TypeIndex): Label {
    return this.enter("loop", type);
  }

  if(type?: ValueType | TypeIndex): Label {
    return this.enter("if", type);
  }

  else(): void {
    this.code.byte(CONTROL.else);
  }

  end(): void {
    this.open--;
    this.code.byte(CONTROL.end);
  }

  br(label: Label): void {
    this.indexed("br", this.depthOf(label));
  }

  brIf(label: Label): void {
    this.indexed("br_if", this.depthOf(label));
  }

  brTable(labels: readonly Label[], otherwise: Label): void {
    this.code.byte(CONTROL.br_table);
    this.code.vector(labels, (label) => this.code.u32(this.depthOf(label)));
    this.code.u32(this.depthOf(otherwise));
  }

  call(callee: FunctionIndex): void {
    this.indexed("call", callee);
  }

  callIndirect(type: TypeIndex, table = 0): void {
    this.indexed("call_indirect", type);
    this.code.u32(table);
  }

  returnCall(callee: FunctionIndex): void {
    this.indexed("return_call", callee);
  }

  returnCallIndirect(type: TypeIndex, table = 0): void {
    this.indexed("return_call_indirect", type);
    this.code.u32(table);
  }

  tableGet(table: number): void {
    this.indexed("table.get", table);
  }

  tableSet(table: number): void {
    this.indexed("table.set", table);
  }

  refFunc(callee: FunctionIndex): void {
    this.indexed("ref.func", callee);
  }

  memorySize(memory = 0): void {
    this.indexed("memory.size", memory);
  }

  memoryGrow(memory = 0): void {
    this.indexed("memory.grow", memory);
  }

  memoryCopy(to = 0, from = 0): void {
    this.prefixed("memory.copy", to, from);
  }

  memoryFill(memory = 0): void {
    this.prefixed("memory.fill", memory);
  }

  memoryInit(segment: number, memory = 0): void {
    this.prefixed("memory.init", segment, memory);
  }

  /** @param segment of elements; how many, where from and where to are on the stack */
  tableInit(segment: number, table = 0): void {
    this.prefixed("table.init", segment, table);
  }

  dataDrop(segment: number): void {
    this.prefixed("data.drop", segment);
  }

  /** The function as the code section has it. */
  finish(): Uint8Array {
    const writer = new ByteWriter();
    const groups: { type: ValueType; count: number }[] = [];
    for (const type of this.locals) {
      const last = groups.at(-1);
      if (last?.type === type) last.count++;
      else groups.push({ type, count: 1 });
    }
    writer.vector(groups, ({ type, count }) => {
      writer.u32(count);
      writer.byte(VALUE_TYPES[type]);
    });
    writer.raw(this.code.finish());
    writer.byte(CONTROL.end);
    return writer.finish();
  }

  /**
   * The end of a block around the whole body that is not there yet: number 0 is the innermost. `surround` writes them
   * when it is known how many there are.
   */
  outer(number: number): Label {
    return (-1 - number) as Label;
  }

  /**
   * Puts what was written so far inside blocks, one for each of `tails`, which write what follows the end of theirs:
   * the first is the innermost. They may branch to later ones, whose labels they are given by number.
   *
   * @returns by how many bytes what was written so far has moved
   */
  surround(tails: readonly ((label: (number: number) => Label) => void)[]): number {
    const inner = this.code.finish();
    this.code.clear();
    this.lastSet = -1;
    for (const _ of tails) this.enter("block", undefined);
    const moved = this.code.length;
    this.code.raw(inner);
    const label = (number: number): Label => (tails.length - 1 - number) as Label;
    for (const tail of tails) {
      this.end();
      tail(label);
    }
    return moved;
  }

  private indexed(operation: keyof typeof CONTROL, index: number): void {
    this.code.byte(CONTROL[operation]);
    this.code.u32(index);
  }

  private prefixed(operation: keyof typeof PREFIXED, ...operands: number[]): void {
    this.code.byte(CONTROL.prefix);
    this.code.u32(PREFIXED[operation]);
    for (const operand of operands) this.code.u32(operand);
  }

  private enter(kind: "block" | "loop" | "if", type: ValueType | TypeIndex | undefined): Label {
    this.code.byte(CONTROL[kind]);
    if (type === undefined) this.code.byte(0x40);
    else if (typeof type === "number") this.code.s32(type);
    else this.code.byte(VALUE_TYPES[type]);
    return this.open++ as Label;
  }

  private depthOf(label: Label): number {
    return this.open - 1 - label;
  }
}

/** The only kind of elements that there is. */
const FUNCTION_REFERENCES = 0x00;

const KIND = { function: 0, table: 1, memory: 2, global: 3 } as const;
type Kind = keyof typeof KIND;

const SECTION = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  element: 9,
  code: 10,
  data: 11,
  dataCount: 12,
};

type Write = (writer: ByteWriter) => void;

/** A module under construction. Imports of a kind must be declared before definitions of it. */
export class ModuleAssembler {
  private readonly types = new Map<
    string,
    { index: TypeIndex; parameters: readonly ValueType[]; results: readonly ValueType[] }
  >();
  private readonly counts: Record<Kind, number> = { function: 0, table: 0, memory: 0, global: 0 };
  private readonly imports: Write[] = [];
  private readonly bodies: { type: TypeIndex; body: FunctionBody }[] = [];
  private readonly tables: Write[] = [];
  private readonly memories: Write[] = [];
  private readonly globals: Write[] = [];
  private readonly exports: Write[] = [];
  private readonly elements: Write[] = [];
  private readonly segments: Write[] = [];
  private readonly customs: Write[] = [];
  private startFunction: FunctionIndex | undefined;

  type(parameters: readonly ValueType[], results: readonly ValueType[]): TypeIndex {
    const key = `${parameters.join()}:${results.join()}`;
    const known = this.types.get(key);
    if (known !== undefined) return known.index;
    const index = this.types.size;
    this.types.set(key, { index, parameters, results });
    return index;
  }

  importFunction(
    module: string,
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): FunctionIndex {
    const type = this.type(parameters, results);
    return this.import(module, name, "function", (writer) => writer.u32(type));
  }

  importMemory(module: string, name: string, limits: Limits): number {
    return this.import(module, name, "memory", (writer) => writer.limits(limits));
  }

  importTable(module: string, name: string, limits: Limits): number {
    return this.import(module, name, "table", (writer) => {
      writer.byte(VALUE_TYPES.funcref);
      writer.limits(limits);
    });
  }

  importGlobal(module: string, name: string, type: ValueType, mutable: boolean): number {
    return this.import(module, name, "global", (writer) => {
      writer.byte(VALUE_TYPES[type]);
      writer.byte(Number(mutable));
    });
  }

  /** Declares a function; write its body at any time before `finish`. */
  function(parameters: readonly ValueType[], results: readonly ValueType[]): FunctionBody {
    const body = new FunctionBody(this.counts.function++, parameters.length);
    this.bodies.push({ type: this.type(parameters, results), body });
    return body;
  }

  memory(limits: Limits): number {
    this.memories.push((writer) => writer.limits(limits));
    return this.counts.memory++;
  }

  /** A table of functions. */
  table(limits: Limits): number {
    this.tables.push((writer) => {
      writer.byte(VALUE_TYPES.funcref);
      writer.limits(limits);
    });
    return this.counts.table++;
  }

  /** A global of an integer type, with the low and high half of its first value. */
  global(type: "i32" | "i64", mutable: boolean, low: number, high = low >> 31): number {
    this.globals.push((writer) => {
      writer.byte(VALUE_TYPES[type]);
      writer.byte(Number(mutable));
      writer.byte(type === "i32" ? CONTROL["i32.const"] : CONTROL["i64.const"]);
      writer.s64(low, type === "i32" ? low >> 31 : high);
      writer.byte(CONTROL.end);
    });
    return this.counts.global++;
  }

  export(name: string, kind: Kind, index: number): void {
    this.exports.push((writer) => {
      writer.name(name);
      writer.byte(KIND[kind]);
      writer.u32(index);
    });
  }

  /** Puts functions into table 0 from `offset` on, when the module is instantiated. */
  element(offset: number, functions: readonly FunctionIndex[]): void {
    this.elements.push((writer) => {
      writer.u32(0);
      this.constantOffset(writer, offset);
      writer.vector(functions, (index) => writer.u32(index));
    });
  }

  /** Functions for `table.init`. @returns the number of the segment */
  passiveElements(functions: readonly FunctionIndex[]): number {
    this.elements.push((writer) => {
      writer.u32(1);
      writer.byte(FUNCTION_REFERENCES);
      writer.vector(functions, (index) => writer.u32(index));
    });
    return this.elements.length - 1;
  }

  /** Puts bytes into memory 0 when the module is instantiated; without an offset, when `memory.init` says so. */
  data(bytes: Uint8Array, offset?: number): number {
    this.segments.push((writer) => {
      writer.u32(offset === undefined ? 1 : 0);
      if (offset !== undefined) this.constantOffset(writer, offset);
      writer.u32(bytes.length);
      writer.raw(bytes);
    });
    return this.segments.length - 1;
  }

  start(index: FunctionIndex): void {
    this.startFunction = index;
  }

  custom(name: string, bytes: Uint8Array): void {
    this.customs.push((writer) => {
      writer.name(name);
      writer.raw(bytes);
    });
  }

  finish(): Uint8Array<ArrayBuffer> {
    const writer = new ByteWriter();
    writer.raw([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
    const types = [...this.types.values()].map(
      ({ parameters, results }): Write =>
        (to) => {
          to.byte(0x60);
          to.vector(parameters, (type) => to.byte(VALUE_TYPES[type]));
          to.vector(results, (type) => to.byte(VALUE_TYPES[type]));
        },
    );
    const functions = this.bodies.map(
      ({ type }): Write =>
        (to) =>
          to.u32(type),
    );
    const codes = this.bodies.map(
      ({ body }): Write =>
        (to) => {
          const code = body.finish();
          to.u32(code.length);
          to.raw(code);
        },
    );
    section(writer, SECTION.type, types);
    section(writer, SECTION.import, this.imports);
    section(writer, SECTION.function, functions);
    section(writer, SECTION.table, this.tables);
    section(writer, SECTION.memory, this.memories);
    section(writer, SECTION.global, this.globals);
    section(writer, SECTION.export, this.exports);
    const { startFunction, segments } = this;
    if (startFunction !== undefined) wrapped(writer, SECTION.start, (to) => to.u32(startFunction));
    section(writer, SECTION.element, this.elements);
    if (segments.length > 0) wrapped(writer, SECTION.dataCount, (to) => to.u32(segments.length));
    section(writer, SECTION.code, codes);
    section(writer, SECTION.data, segments);
    for (const custom of this.customs) wrapped(writer, SECTION.custom, custom);
    return writer.finish();
  }

  private import(module: string, name: string, kind: Kind, write: Write): number {
    this.imports.push((writer) => {
      writer.name(module);
      writer.name(name);
      writer.byte(KIND[kind]);
      write(writer);
    });
    return this.counts[kind]++;
  }

  private constantOffset(writer: ByteWriter, offset: number): void {
    writer.byte(CONTROL["i32.const"]);
    writer.s32(offset);
    writer.byte(CONTROL.end);
  }
}

function wrapped(writer: ByteWriter, id: number, write: Write): void {
  const content = new ByteWriter();
  write(content);
  writer.byte(id);
  writer.u32(content.length);
  writer.raw(content.finish());
}

function section(writer: ByteWriter, id: number, items: readonly Write[]): void {
  if (items.length === 0) return;
  wrapped(writer, id, (to) => to.vector(items, (write) => write(to)));
}
