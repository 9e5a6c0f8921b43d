// bpftool and libbpf as the oracle for type information.
import { type Btf, BtfKind, type BtfTypeId } from "../../src/formats/btf.js";
import { run } from "./binutils.js";

/** A type as `bpftool -j btf dump` has it. */
interface Dumped {
  readonly id: number;
  readonly kind: string;
  readonly name: string;
  readonly size?: number;
  readonly members?: readonly { name: string; type_id: number; bits_offset: number; bitfield_size?: number }[];
  readonly encoding?: string;
  /** Quoted here: they may have 64 bits. */
  readonly values?: readonly { name: string; val: string }[];
  readonly vars?: readonly { type_id: number; offset: number; size: number }[];
}

// biome-ignore format: a table
const KINDS: Readonly<Record<string, BtfKind>> = {
  INT: BtfKind.int, PTR: BtfKind.pointer, ARRAY: BtfKind.array, STRUCT: BtfKind.struct, UNION: BtfKind.union,
  ENUM: BtfKind.enum, ENUM64: BtfKind.enum64, FWD: BtfKind.forward, TYPEDEF: BtfKind.typedef,
  VOLATILE: BtfKind.volatile, CONST: BtfKind.const, RESTRICT: BtfKind.restrict, FUNC: BtfKind.function,
  FUNC_PROTO: BtfKind.prototype, VAR: BtfKind.variable, DATASEC: BtfKind.section, FLOAT: BtfKind.float,
  DECL_TAG: BtfKind.declarationTag, TYPE_TAG: BtfKind.typeTag,
};

/** What bpftool reads from a file of type information, on top of another one if it is split. */
export function dumpTypes(file: string, base?: string): Dumped[] {
  const text = run("bpftool", [...(base === undefined ? [] : ["-B", base]), "-j", "btf", "dump", "file", file]);
  return JSON.parse(text.replace(/"val":(-?\d+)/g, '"val":"$1"')).types;
}

/** In how far a reader sees something else than bpftool: a line each, ten at most. */
export function differences(btf: Btf, dumped: readonly Dumped[]): string[] {
  const found: string[] = [];
  if (btf.firstId + dumped.length !== btf.endId)
    found.push(`${dumped.length} types, and not ${btf.endId - btf.firstId}`);
  for (const type of dumped) {
    const theirs = JSON.stringify(shownDump(type));
    const ours = JSON.stringify(shown(btf, type.id as BtfTypeId));
    if (ours !== theirs) found.push(`${type.id}: ${ours}, and not ${theirs}`);
    if (found.length >= 10) break;
  }
  return found;
}

const named = (name: string): string => (name === "(anon)" ? "" : name);

function shownDump({ kind, name, size, encoding, members, values, vars }: Dumped): unknown[] {
  const head = [KINDS[kind], named(name)];
  if (members !== undefined) {
    const items = members.map((m) => [named(m.name), m.type_id, m.bits_offset, m.bitfield_size ?? 0]);
    return [...head, size, items];
  }
  if (values !== undefined) {
    // bpftool 7.1 writes unsigned values of 32 bits with the sign that they do not have.
    const cut = encoding === "SIGNED" ? BigInt.asIntN : BigInt.asUintN;
    const bits = kind === "ENUM64" ? 64 : 32;
    return [...head, size, values.map(({ name, val }) => [name, String(cut(bits, BigInt(val)))])];
  }
  if (vars !== undefined) return [...head, size, vars.map((v) => [v.type_id, v.offset, v.size])];
  return kind === "INT" || kind === "FLOAT" ? [...head, size] : head;
}

function shown(btf: Btf, id: BtfTypeId): unknown[] {
  const kind = btf.kind(id);
  const head = [kind, btf.nameOf(id)];
  switch (kind) {
    case BtfKind.struct:
    case BtfKind.union: {
      const { size, members } = btf.struct(id);
      return [...head, size, members.map((m) => [m.name, m.type, m.bitOffset, m.bitField ? m.bitSize : 0])];
    }
    case BtfKind.enum:
    case BtfKind.enum64:
      return [...head, btf.sizeOf(id), btf.enumerators(id).map(({ name, value }) => [name, String(value)])];
    case BtfKind.section:
      return [...head, btf.sizeOf(id), btf.variablesIn(id).map((v) => [v.id, v.offset, v.size])];
    case BtfKind.int:
    case BtfKind.float:
      return [...head, btf.sizeOf(id)];
    default:
      return head;
  }
}
