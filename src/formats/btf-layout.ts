import { nearNames } from "../util/near-names.js";
import { BtfKind, BtfLookupError, type BtfTypeId } from "./btf-format.js";
import type { BtfTable } from "./btf-table.js";

/** As deep as the kernel itself follows types (MAX_RESOLVE_DEPTH). */
export const DEEPEST_NESTING = 32;
/** Pointers of x86-64. */
const POINTER_BYTES = 8;
const LARGEST_SIZE = 0xffff_ffff;
const INCOMPLETE = -1;

export interface BtfMember {
  /** "" for an anonymous structure or union, or for padding. */
  readonly name: string;
  /** From the start of the structure. */
  readonly bitOffset: number;
  readonly bitSize: number;
  readonly type: BtfTypeId;
  /** Declared with a width. */
  readonly bitField: boolean;
}

export interface BtfStruct {
  readonly id: BtfTypeId;
  readonly kind: "struct" | "union";
  /** "" if it is anonymous. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  readonly members: readonly BtfMember[];
}

/** Where a path of members leads. */
export interface BtfField {
  /** From the start of the outermost type. */
  readonly bitOffset: number;
  readonly bitSize: number;
  readonly type: BtfTypeId;
  readonly bitField: boolean;
}

/** Sizes, members and paths, as x86-64 lays them out. */
export class BtfLayout {
  readonly #structs = new Map<number, BtfStruct>();

  constructor(private readonly table: BtfTable) {}

  /** What is behind typedefs, qualifiers and tags. @throws BtfError for a cycle of them */
  resolve(id: number): BtfTypeId {
    let type = id;
    for (let depth = 0; depth <= DEEPEST_NESTING; depth++) {
      if (!isAlias(this.table.kind(type))) return type as BtfTypeId;
      type = this.table.target(type);
    }
    throw this.table.broken(id, "btf-cycle", `more than ${DEEPEST_NESTING} typedefs and qualifiers in a row`);
  }

  /**
   * Bytes.
   * @throws BtfLookupError (`incomplete-type`) for void, functions, and what is only declared; BtfError
   */
  sizeOf(id: number): number {
    const size = this.#sizeOf(id, 0);
    if (size !== INCOMPLETE) return size;
    const name = this.table.name(this.resolve(id));
    throw new BtfLookupError(
      this.table.source,
      "incomplete-type",
      `gives no size for type ${id} (${name || "unnamed"})`,
    );
  }

  /** @throws BtfLookupError (`no-such-type`) if the type is neither structure nor union; BtfError */
  struct(id: number): BtfStruct {
    const resolved = this.resolve(id);
    const known = this.#structs.get(resolved);
    if (known !== undefined) return known;
    const { table } = this;
    if (!this.#hasMembers(resolved)) {
      throw new BtfLookupError(
        table.source,
        "no-such-type",
        `has no structure or union as type ${id} (${table.name(id)})`,
      );
    }
    const size = table.size(resolved);
    const members: BtfMember[] = [];
    for (let i = 0; i < table.itemCount(resolved); i++) members.push(this.#member(resolved, i, size));
    const kind = table.kind(resolved) === BtfKind.struct ? "struct" : "union";
    const struct = { id: resolved, kind, name: table.name(resolved), size, members } as const;
    this.#structs.set(resolved, struct);
    return struct;
  }

  /**
   * Follows `.member` and `[index]` steps from type `id`. Members of anonymous structures and unions are members of what
   * holds those.
   * @param path for messages
   * @throws BtfLookupError (`no-such-member`), BtfError
   */
  field(id: number, steps: readonly (string | number)[], path: string): BtfField {
    let field: BtfField = { bitOffset: 0, bitSize: 0, type: id as BtfTypeId, bitField: false };
    for (const step of steps) {
      field = typeof step === "number" ? this.#element(field, step, path) : this.#step(field, step, path);
    }
    return steps.length === 0 ? { ...field, bitSize: this.sizeOf(id) * 8 } : field;
  }

  #sizeOf(id: number, depth: number): number {
    const { table } = this;
    const type = this.resolve(id);
    switch (table.kind(type)) {
      case BtfKind.int:
      case BtfKind.float:
      case BtfKind.enum:
      case BtfKind.enum64:
      case BtfKind.struct:
      case BtfKind.union:
      case BtfKind.section:
        return table.size(type);
      case BtfKind.pointer:
        return POINTER_BYTES;
      case BtfKind.variable:
      case BtfKind.array: {
        if (depth > DEEPEST_NESTING)
          throw table.broken(id, "btf-cycle", `arrays in arrays, more than ${DEEPEST_NESTING}`);
        if (table.kind(type) === BtfKind.variable) return this.#sizeOf(table.target(type), depth + 1);
        const element = this.#sizeOf(table.extra(type, 0), depth + 1);
        const size = element * table.extra(type, 8);
        if (element === INCOMPLETE) throw table.broken(type, "btf-array", "an array of something without a size");
        if (size <= LARGEST_SIZE) return size;
        throw table.broken(type, "btf-array", `an array of ${table.extra(type, 8)} times ${element} bytes`);
      }
      default:
        return INCOMPLETE;
    }
  }

  #member(struct: number, index: number, structSize: number): BtfMember {
    const { table } = this;
    const name = table.string(table.extra(struct, 12 * index));
    const type = table.extra(struct, 12 * index + 4) as BtfTypeId;
    const word = table.extra(struct, 12 * index + 8);
    const described = `member ${index} (${name || "unnamed"})`;
    const size = this.#sizeOf(type, 0);
    if (size === INCOMPLETE) throw table.broken(struct, "btf-member", `${described} is of a type without a size`);
    let bitOffset = word;
    let bitSize = size * 8;
    let bitField = false;
    // Section 2.2.4: with kind_flag, 24 bits of offset and 8 of width; without it, widths are those of odd integers.
    if (table.kindFlag(struct)) {
      bitOffset = word & 0xff_ffff;
      const width = word >>> 24;
      if (width > bitSize) throw table.broken(struct, "btf-member", `${described} has ${width} of ${bitSize} bits`);
      if (width > 0) {
        bitField = true;
        bitSize = width;
      }
    } else if (table.kind(this.resolve(type)) === BtfKind.int) {
      const integer = table.extra(this.resolve(type), 0);
      bitField = (integer & 0xff) !== bitSize || ((integer >>> 16) & 0xff) !== 0;
      if (bitField) {
        bitOffset += (integer >>> 16) & 0xff;
        bitSize = integer & 0xff;
      }
    }
    if (!bitField && bitOffset % 8 !== 0) {
      throw table.broken(struct, "btf-member", `${described} starts at bit ${bitOffset}, and is no bit field`);
    }
    if (bitOffset + bitSize > structSize * 8) {
      throw table.broken(
        struct,
        "btf-member",
        `${described} of ${bitSize} bits at bit ${bitOffset} lies outside its ${structSize} bytes`,
      );
    }
    return { name, bitOffset, bitSize, type, bitField };
  }

  #step(from: BtfField, name: string, path: string): BtfField {
    const { table } = this;
    const holder = this.resolve(from.type);
    const where = table.name(holder) || "an unnamed type";
    if (!this.#hasMembers(holder)) {
      const why =
        table.kind(holder) === BtfKind.pointer ? "a pointer, which a path cannot follow" : "no structure or union";
      throw new BtfLookupError(table.source, "no-such-member", `has no ${path}: what stands before .${name} is ${why}`);
    }
    const found = this.#find(holder, name, new Set());
    if (found !== null) return moved(found, from.bitOffset);
    const names = new Set<string>();
    this.#gatherNames(holder, names, new Set());
    throw new BtfLookupError(
      table.source,
      "no-such-member",
      `has no ${path}: ${where} has no member ${name}`,
      nearNames(name, names),
    );
  }

  #element(from: BtfField, index: number, path: string): BtfField {
    const { table } = this;
    const array = this.resolve(from.type);
    if (table.kind(array) !== BtfKind.array) {
      throw new BtfLookupError(
        table.source,
        "no-such-member",
        `has no ${path}: what stands before [${index}] is no array`,
      );
    }
    const count = table.extra(array, 8);
    // An array without a length, at the end of a structure, has as many elements as there is room for.
    if (index >= count && count > 0) {
      throw new BtfLookupError(table.source, "no-such-member", `has no ${path}: the array has ${count} elements`);
    }
    const type = table.extra(array, 0) as BtfTypeId;
    const bitSize = this.sizeOf(type) * 8;
    return { bitOffset: from.bitOffset + index * bitSize, bitSize, type, bitField: false };
  }

  /** `seen`: what was searched once needs no second search, however often it is a member. */
  #find(holder: number, name: string, seen: Set<number>): BtfField | null {
    seen.add(holder);
    const { members } = this.struct(holder);
    for (const member of members) if (member.name === name) return moved(member, 0);
    for (const member of members) {
      const inner = this.#anonymous(member, seen);
      if (inner === null) continue;
      const found = this.#find(inner, name, seen);
      if (found !== null) return moved(found, member.bitOffset);
    }
    return null;
  }

  #gatherNames(holder: number, names: Set<string>, seen: Set<number>): void {
    seen.add(holder);
    for (const member of this.struct(holder).members) {
      names.add(member.name);
      const inner = this.#anonymous(member, seen);
      if (inner !== null) this.#gatherNames(inner, names, seen);
    }
  }

  #anonymous(member: BtfMember, seen: ReadonlySet<number>): BtfTypeId | null {
    if (member.name !== "") return null;
    const inner = this.resolve(member.type);
    if (!this.#hasMembers(inner) || seen.has(inner)) return null;
    if (seen.size <= DEEPEST_NESTING * DEEPEST_NESTING) return inner;
    throw this.table.broken(inner, "btf-cycle", "too many anonymous structures in each other");
  }

  #hasMembers(id: number): boolean {
    const kind = this.table.kind(id);
    return kind === BtfKind.struct || kind === BtfKind.union;
  }
}

function moved({ bitOffset, bitSize, type, bitField }: BtfField, bits: number): BtfField {
  return { bitOffset: bitOffset + bits, bitSize, type, bitField };
}

/** Kinds that only stand for another type. */
export function isAlias(kind: BtfKind): boolean {
  switch (kind) {
    case BtfKind.typedef:
    case BtfKind.volatile:
    case BtfKind.const:
    case BtfKind.restrict:
    case BtfKind.typeTag:
      return true;
    default:
      return false;
  }
}
