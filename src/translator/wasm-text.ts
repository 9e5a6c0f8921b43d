import { CONTROL, MEMORY_ACCESS, PLAIN, PREFIXED, VECTOR, VECTOR_ACCESS } from "./wasm-opcodes.js";

/** One instruction of a function's code, as the text format of WebAssembly has it. */
export interface WasmLine {
  /** In the code, which follows the declarations of locals. */
  readonly offset: number;
  /** How many blocks are open around it. */
  readonly depth: number;
  readonly text: string;
}

export interface WasmNames {
  readonly local: (index: number) => string;
  readonly callee: (index: number) => string;
}

const inverse = (table: Readonly<Record<string, number>>): ReadonlyMap<number, string> =>
  new Map(Object.entries(table).map(([name, opcode]) => [opcode, name]));

const PLAIN_NAMES = inverse(PLAIN);
const MEMORY_NAMES = inverse(MEMORY_ACCESS);
const CONTROL_NAMES = inverse(CONTROL);
const PREFIXED_NAMES = inverse(PREFIXED);
const VECTOR_NAMES = inverse(VECTOR);
const VECTOR_ACCESS_NAMES = inverse(VECTOR_ACCESS);
const EMPTY_BLOCK = 0x40;
const BLOCK_TYPES: ReadonlyMap<number, string> = new Map([
  [0x7f, " (result i32)"],
  [0x7e, " (result i64)"],
  [0x7b, " (result v128)"],
]);
const LANE_OPERATION = /(extract_lane|replace_lane)/;

class Reader {
  at = 0;

  constructor(readonly bytes: Uint8Array) {}

  byte(): number {
    return this.bytes[this.at++] ?? 0;
  }

  unsigned(): number {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = this.byte();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
    }
  }

  signed(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return (byte & 0x40) === 0 ? value : value - (1n << (shift + 7n));
    }
  }
}

/**
 * Reads what the assembler of this folder writes.
 *
 * @param body a function as the code section has it: declarations of locals, then code
 */
export function disassembleWasm(body: Uint8Array, names: WasmNames): WasmLine[] {
  const declarations = new Reader(body);
  for (let groups = declarations.unsigned(); groups > 0; groups--) {
    declarations.unsigned();
    declarations.byte();
  }
  const reader = new Reader(body.subarray(declarations.at));
  const lines: WasmLine[] = [];
  let depth = 0;
  while (reader.at < reader.bytes.length) {
    const offset = reader.at;
    const { text, opens, closes } = one(reader, names);
    if (closes) depth = Math.max(0, depth - 1);
    lines.push({ offset, depth, text });
    if (opens) depth++;
  }
  return lines;
}

interface One {
  readonly text: string;
  readonly opens: boolean;
  readonly closes: boolean;
}

function one(reader: Reader, names: WasmNames): One {
  const opcode = reader.byte();
  const said = (text: string): One => ({ text, opens: false, closes: false });
  const plain = PLAIN_NAMES.get(opcode);
  if (plain !== undefined) return said(plain);
  const access = MEMORY_NAMES.get(opcode);
  if (access !== undefined) return said(access + place(reader));
  const name = CONTROL_NAMES.get(opcode);
  switch (name) {
    case "block":
    case "loop":
    case "if": {
      const type = reader.byte();
      return { text: name + (type === EMPTY_BLOCK ? "" : (BLOCK_TYPES.get(type) ?? "")), opens: true, closes: false };
    }
    case "else":
      return { text: name, opens: true, closes: true };
    case "end":
      return { text: name, opens: false, closes: true };
    case "br_table": {
      const labels = Array.from({ length: reader.unsigned() + 1 }, () => reader.unsigned());
      return said(`br_table ${labels.join(" ")}`);
    }
    case "call":
    case "return_call":
      return said(`${name} ${names.callee(reader.unsigned())}`);
    case "call_indirect":
    case "return_call_indirect":
      reader.unsigned();
      reader.unsigned();
      return said(name);
    case "local.get":
    case "local.set":
    case "local.tee":
      return said(`${name} ${names.local(reader.unsigned())}`);
    case "i32.const":
    case "i64.const":
      return said(`${name} ${constant(reader.signed())}`);
    case "prefix":
      return said(PREFIXED_NAMES.get(reader.unsigned()) ?? "?");
    case "vectorPrefix":
      return said(vector(reader));
    case undefined:
      return said(`0x${opcode.toString(16)}?`);
    default:
      return said(`${name} ${reader.unsigned()}`);
  }
}

const constant = (value: bigint): string => {
  const size = value < 0n ? -value : value;
  return size < 0x1000n ? `${value}` : `${value < 0n ? "-" : ""}0x${size.toString(16)}`;
};

function place(reader: Reader): string {
  reader.unsigned();
  const offset = reader.unsigned();
  return offset === 0 ? "" : ` offset=0x${offset.toString(16)}`;
}

function vector(reader: Reader): string {
  const opcode = reader.unsigned();
  const access = VECTOR_ACCESS_NAMES.get(opcode);
  if (access !== undefined) return access + place(reader);
  const name = VECTOR_NAMES.get(opcode) ?? `v128 0x${opcode.toString(16)}?`;
  const immediates = name === "i8x16.shuffle" || name === "v128.const" ? 16 : LANE_OPERATION.test(name) ? 1 : 0;
  const values = Array.from({ length: immediates }, () => reader.byte());
  return [name, ...values].join(" ");
}
