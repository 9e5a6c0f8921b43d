import { nearNames } from "../util/near-names.js";
import { BtfKind, BtfLookupError, type BtfTypeId } from "./btf-format.js";
import { type BtfField, BtfLayout, type BtfStruct } from "./btf-layout.js";
import { BtfTable } from "./btf-table.js";
import { type BtfEnumerator, BtfText, type BtfTextOptions, enumerators, integerName } from "./btf-text.js";
import type { Kept } from "./packed-arrays.js";

export { BtfError, BtfKind, BtfLookupError, type BtfTypeId } from "./btf-format.js";
export type { BtfField, BtfMember, BtfStruct } from "./btf-layout.js";
export type { BtfEnumerator, BtfTextOptions } from "./btf-text.js";

/** A type by its C name ("sk_buff", "struct sk_buff", "u64", "unsigned long") or by its number. */
export type BtfTypeName = string | BtfTypeId;

/** A variable and where it stands in its section; the kernel describes its per-CPU ones. */
export interface BtfVariable {
  /** Of the variable itself. */
  readonly id: BtfTypeId;
  readonly name: string;
  readonly type: BtfTypeId;
  readonly section: string;
  /** Bytes from the start of the section. */
  readonly offset: number;
  readonly size: number;
}

type Kinds = readonly BtfKind[];

const STRUCTS: Kinds = [BtfKind.struct, BtfKind.union];
const ENUMS: Kinds = [BtfKind.enum, BtfKind.enum64];
const TAGS: Readonly<Record<string, Kinds>> = { struct: [BtfKind.struct], union: [BtfKind.union], enum: ENUMS };
/** What a name without `struct`, `union` or `enum` means, the first that there is. */
const PLAIN: readonly Kinds[] = [STRUCTS, ENUMS, [BtfKind.typedef], [BtfKind.int, BtfKind.float]];

const PATH = /^((?:(?:struct|union) )?[^.[\]]+)((?:\.[^.[\]]+|\[\d{1,9}\])*)$/;
const STEP = /\.([^.[\]]+)|\[(\d+)\]/g;

/**
 * The types of a kernel image, or of a module on top of it. Made in one pass without an object per type; layouts and
 * texts are worked out when they are asked for. Of several types of one name the first counts, the kernel's before a
 * module's; `all` tells every one, and each method also takes the number of a type.
 *
 * Methods throw BtfLookupError with code `no-such-type`, `no-such-member` or `incomplete-type`, naming what is missing
 * and what is like it, and BtfError where the type information contradicts itself.
 */
export class Btf {
  readonly #table: BtfTable;
  readonly #layout: BtfLayout;
  #constants: Map<string, bigint> | null = null;
  #variables: Map<string, BtfVariable> | null = null;

  private constructor(
    table: BtfTable,
    /** What this one is split from: the kernel's, for a module's. */
    readonly base: Btf | null,
  ) {
    this.#table = table;
    this.#layout = new BtfLayout(table);
  }

  /**
   * @param bytes the `.BTF` section of a kernel image; must not change
   * @param source for messages
   * @param kept for the same section: what was found is kept there, and taken from there the next time
   * @throws BtfError, UnsupportedError
   */
  static parse(bytes: Uint8Array, source: string, kept: Kept | null = null): Btf {
    return new Btf(BtfTable.ofImage(bytes, source, kept), null);
  }

  /** The `.BTF` section of a module that was built against this kernel. @throws as `parse` does */
  split(bytes: Uint8Array, source: string): Btf {
    return new Btf(new BtfTable(bytes, this.#table, source), this);
  }

  get source(): string {
    return this.#table.source;
  }

  /** Types have the numbers from 0 (void) to one less than this. */
  get endId(): number {
    return this.#table.endId;
  }

  /** The first type of its own: 1, or the first that the base has not. */
  get firstId(): number {
    return this.#table.firstId;
  }

  kind(id: BtfTypeId): BtfKind {
    return this.#table.kind(this.#valid(id));
  }

  /** "" if it has none. */
  nameOf(id: BtfTypeId): string {
    return this.#table.name(this.#valid(id));
  }

  /** Every type of this name, of any kind (functions and variables too) or of these, ascending. */
  all(name: string, ...kinds: BtfKind[]): BtfTypeId[] {
    const found = this.#table.named(name);
    return kinds.length === 0 ? found : found.filter((id) => kinds.includes(this.#table.kind(id)));
  }

  /** The type of this name. Without a tag: a structure or union, else an enumeration, else a typedef, else an integer. */
  type(name: BtfTypeName): BtfTypeId {
    return typeof name === "number" ? this.#valid(name) : this.#find(name);
  }

  /** Whether `type` would find it. */
  hasType(name: string): boolean {
    return this.#lookUp(name) !== null;
  }

  /** What is behind typedefs, qualifiers and tags. */
  resolve(name: BtfTypeName): BtfTypeId {
    return this.#layout.resolve(this.type(name));
  }

  /** A structure or union, also by a typedef of it. */
  struct(name: BtfTypeName): BtfStruct {
    return this.#layout.struct(this.type(name));
  }

  /** Bytes. */
  sizeOf(name: BtfTypeName): number {
    return this.#layout.sizeOf(this.type(name));
  }

  /**
   * Where a path such as `net_device.stats.rx_packets` or `sk_buff.cb[3]` leads: through typedefs, anonymous structures
   * and unions, and elements of arrays (encoders make one dimension of several: `int a[2][3]` is an array of 6).
   */
  field(path: string): BtfField {
    const { type, steps } = this.#path(path);
    return this.#layout.field(this.type(type), steps, path);
  }

  /** Whether `field` would find it. @throws BtfLookupError if it is no path */
  hasField(path: string): boolean {
    const { type, steps } = this.#path(path);
    if (!this.hasType(type)) return false;
    try {
      this.#layout.field(this.type(type), steps, path);
      return true;
    } catch (error) {
      if (error instanceof BtfLookupError) return false;
      throw error;
    }
  }

  /** Bytes from the start of the type that the path begins with. @throws BtfLookupError (`bit-field`): ask `field` then */
  offsetOf(path: string): number {
    const { bitOffset, bitField } = this.field(path);
    if (!bitField) return bitOffset / 8;
    throw new BtfLookupError(this.source, "bit-field", `has ${path} as a bit field, at bit ${bitOffset}`);
  }

  /** The names and values of an enumeration, in its order. */
  enumerators(name: BtfTypeName): BtfEnumerator[] {
    const id = this.resolve(name);
    if (ENUMS.includes(this.#table.kind(id))) return enumerators(this.#table, id);
    throw new BtfLookupError(this.source, "no-such-type", `has no enumeration ${this.#shown(name)}`);
  }

  /** The value of an enumerator of any enumeration, the unnamed ones too. @throws BtfLookupError (`no-such-constant`) */
  constant(name: string): bigint {
    this.#constants ??= this.#allConstants();
    const value = this.#constants.get(name);
    if (value !== undefined) return value;
    const near = nearNames(name, this.#constants.keys());
    throw new BtfLookupError(this.source, "no-such-constant", `has no enumerator ${JSON.stringify(name)}`, near);
  }

  /** A variable that stands in a section. @throws BtfLookupError (`no-such-variable`) */
  variable(name: string): BtfVariable {
    this.#variables ??= this.#allVariables();
    const variable = this.#variables.get(name);
    if (variable !== undefined) return variable;
    const near = nearNames(name, this.#variables.keys());
    throw new BtfLookupError(this.source, "no-such-variable", `has no variable ${JSON.stringify(name)}`, near);
  }

  /** The variables of a section such as `.data..percpu`, in its order. */
  variablesIn(section: BtfTypeName): BtfVariable[] {
    const table = this.#table;
    const id = typeof section === "number" ? this.#valid(section) : this.all(section, BtfKind.section)[0];
    if (id === undefined || table.kind(id) !== BtfKind.section) {
      throw new BtfLookupError(
        this.source,
        "no-such-variable",
        `has no variables of a section ${this.#shown(section)}`,
      );
    }
    const variables: BtfVariable[] = [];
    for (let i = 0; i < table.itemCount(id); i++) {
      const variable = table.extra(id, 12 * i) as BtfTypeId;
      if (table.kind(variable) !== BtfKind.variable) continue;
      const [offset, size] = [table.extra(id, 12 * i + 4), table.extra(id, 12 * i + 8)];
      const [name, type] = [table.name(variable), table.target(variable)];
      variables.push({ id: variable, name, type, section: table.name(id), offset, size });
    }
    return variables;
  }

  /**
   * The C type of a function, without its name and those of its parameters: `int (struct net_device *, const char *)`.
   * Integers are spelt in one way, and qualifiers of the parameters themselves are left out, as C does when it compares.
   * @throws BtfLookupError (`no-such-function`)
   */
  prototype(name: BtfTypeName, options: BtfTextOptions = {}): string {
    const id = typeof name === "number" ? this.#valid(name) : this.all(name, BtfKind.function)[0];
    if (id !== undefined && this.#table.kind(id) === BtfKind.function) {
      return this.#text(id, false, options).type(id);
    }
    const near = typeof name === "string" ? nearNames(name, this.#namesOf([BtfKind.function])) : [];
    throw new BtfLookupError(this.source, "no-such-function", `has no function ${this.#shown(name)}`, near);
  }

  /**
   * C text: what defines a type, function or variable of this name, down to anonymous members, or the abstract
   * declarator of a type without a name.
   */
  describe(name: BtfTypeName, options: BtfTextOptions = {}): string {
    const id =
      typeof name === "number" ? this.#valid(name) : (this.#lookUp(name) ?? this.all(name)[0] ?? this.#find(name));
    return this.#text(id, true, options).declaration(id);
  }

  #text(id: number, full: boolean, { typedefs }: BtfTextOptions): BtfText {
    return new BtfText(this.#table, this.#layout, { expand: typedefs === "expand", full }, id);
  }

  #valid(id: BtfTypeId): BtfTypeId {
    if (Number.isInteger(id) && id >= 0 && id < this.endId) return id;
    throw new BtfLookupError(this.source, "no-such-type", `has no type ${id}; its last is ${this.endId - 1}`);
  }

  #find(name: string): BtfTypeId {
    const found = this.#lookUp(name);
    if (found !== null) return found;
    const { kinds, plain } = split(name);
    if (this.all(plain, BtfKind.forward).length > 0) {
      throw new BtfLookupError(this.source, "incomplete-type", `only declares ${name}, and does not tell its members`);
    }
    const near = nearNames(plain, this.#namesOf(kinds.flat()));
    throw new BtfLookupError(this.source, "no-such-type", `has no type ${JSON.stringify(name)}`, near);
  }

  #lookUp(name: string): BtfTypeId | null {
    const { kinds, plain } = split(name);
    const named = this.#table.named(plain);
    for (const wanted of kinds) {
      const id = named.find((each) => wanted.includes(this.#table.kind(each)));
      if (id !== undefined) return id;
    }
    return kinds === PLAIN ? this.#integer(name) : null;
  }

  /** Integers are called as DWARF calls them, `long unsigned int`. */
  #integer(name: string): BtfTypeId | null {
    const table = this.#table;
    const wanted = integerName(name);
    if (!/^(un)?signed|^char|^short|^int|^long|^__int128/.test(wanted)) return null;
    for (let id = 1; id < table.endId; id++) {
      if (table.kind(id) === BtfKind.int && integerName(table.name(id)) === wanted) return id as BtfTypeId;
    }
    return null;
  }

  #path(path: string): { type: string; steps: (string | number)[] } {
    const [, type, rest] = PATH.exec(path) ?? [];
    if (type === undefined) {
      throw new BtfLookupError(
        this.source,
        "no-such-member",
        `has no ${JSON.stringify(path)}: a path is type.member[index].member`,
      );
    }
    const steps = [...rest.matchAll(STEP)].map(([, member, index]) => member ?? Number(index));
    return { type, steps };
  }

  *#namesOf(kinds: Kinds): Iterable<string> {
    for (let id = 1; id < this.#table.endId; id++) {
      if (kinds.includes(this.#table.kind(id))) yield this.#table.name(id);
    }
  }

  #allConstants(): Map<string, bigint> {
    const table = this.#table;
    const constants = new Map<string, bigint>();
    for (let id = 1; id < table.endId; id++) {
      if (!ENUMS.includes(table.kind(id))) continue;
      for (const { name, value } of enumerators(table, id)) if (!constants.has(name)) constants.set(name, value);
    }
    return constants;
  }

  #allVariables(): Map<string, BtfVariable> {
    const variables = new Map<string, BtfVariable>();
    for (let id = 1; id < this.#table.endId; id++) {
      if (this.#table.kind(id) !== BtfKind.section) continue;
      for (const variable of this.variablesIn(id as BtfTypeId)) {
        if (!variables.has(variable.name)) variables.set(variable.name, variable);
      }
    }
    return variables;
  }

  #shown(name: BtfTypeName): string {
    return typeof name === "number" ? `as type ${name}` : JSON.stringify(name);
  }
}

function split(name: string): { kinds: readonly Kinds[]; plain: string } {
  const space = name.indexOf(" ");
  const tag = space < 0 ? "" : name.slice(0, space);
  return Object.hasOwn(TAGS, tag)
    ? { kinds: [TAGS[tag]], plain: name.slice(space + 1) }
    : { kinds: PLAIN, plain: name };
}
