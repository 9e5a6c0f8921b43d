import { BtfKind, type BtfTypeId } from "./btf-format.js";
import { type BtfLayout, DEEPEST_NESTING, isAlias } from "./btf-layout.js";
import type { BtfTable } from "./btf-table.js";

const MOST_CHARACTERS = 1 << 20;
const MOST_NESTED = 4 * DEEPEST_NESTING;
const INDENT = "  ";
const INTEGER_WORDS = new Set(["signed", "unsigned", "char", "short", "int", "long", "__int128"]);

/**
 * `typedefs: "keep"` writes them by name; `"expand"` writes what they stand for, so that only what the calling
 * convention sees is left. Those of anonymous structures, unions and enumerations keep their name, their only one.
 */
export interface BtfTextOptions {
  readonly typedefs?: "keep" | "expand";
}

interface Style {
  readonly expand: boolean;
  /** Names of parameters, and tags of types. */
  readonly full: boolean;
}

/** C text of types. One object writes one text, of bounded length however types are nested. */
export class BtfText {
  readonly #style: Style;
  #characters = 0;
  #depth = 0;

  constructor(
    private readonly table: BtfTable,
    private readonly layout: BtfLayout,
    style: Style,
    private readonly subject: number,
  ) {
    this.#style = style;
  }

  /** The declaration that defines type `id`, or its abstract declarator if no name is defined by it. */
  declaration(id: number): string {
    const { table } = this;
    const name = table.name(id);
    switch (table.kind(id)) {
      case BtfKind.struct:
      case BtfKind.union:
      case BtfKind.enum:
      case BtfKind.enum64:
        return `${this.#body(id, "")};`;
      case BtfKind.forward:
        return `${this.#base(id, "")};`;
      case BtfKind.typedef:
        return `typedef ${this.#declarator(table.target(id), name, "", "")};`;
      // Linkage is left out: encoders call every function static.
      case BtfKind.function:
      case BtfKind.variable:
        return `${this.#declarator(table.target(id), name, "", "")};`;
      case BtfKind.section:
        return this.#section(id);
      case BtfKind.declarationTag:
        return `__attribute__((btf_decl_tag(${JSON.stringify(name)})))`;
      default:
        return this.type(id);
    }
  }

  /** As a cast would name it. */
  type(id: number): string {
    return this.#declarator(id, "", "", "");
  }

  /**
   * @param inner what the declarator holds so far
   * @param qualifiers of `id`, to be written
   */
  #declarator(id: BtfTypeId | number, inner: string, qualifiers: string, indent: string): string {
    const { table } = this;
    this.#spend(inner.length + qualifiers.length + indent.length);
    if (++this.#depth > MOST_NESTED) throw this.#tooLong();
    const text = this.#declaratorOf(id, table.kind(id), inner, qualifiers, indent);
    this.#depth--;
    return text;
  }

  #declaratorOf(id: number, kind: BtfKind, inner: string, qualifiers: string, indent: string): string {
    const { table } = this;
    switch (kind) {
      case BtfKind.const:
        return this.#declarator(table.target(id), inner, withWord(qualifiers, "const"), indent);
      case BtfKind.volatile:
        return this.#declarator(table.target(id), inner, withWord(qualifiers, "volatile"), indent);
      case BtfKind.restrict:
        return this.#declarator(table.target(id), inner, withWord(qualifiers, "restrict"), indent);
      case BtfKind.typeTag: {
        const tag = `__attribute__((btf_type_tag(${JSON.stringify(table.name(id))})))`;
        return this.#declarator(
          table.target(id),
          inner,
          this.#style.full ? withWord(qualifiers, tag) : qualifiers,
          indent,
        );
      }
      case BtfKind.typedef:
        if (this.#expands(id)) return this.#declarator(table.target(id), inner, qualifiers, indent);
        break;
      case BtfKind.pointer: {
        const target = table.target(id);
        const pointer = `*${withWord(qualifiers, inner)}`;
        return this.#declarator(target, this.#bindsTighter(target) ? `(${pointer})` : pointer, "", indent);
      }
      case BtfKind.array:
        return this.#declarator(table.extra(id, 0), `${inner}[${table.extra(id, 8)}]`, qualifiers, indent);
      case BtfKind.prototype:
        return this.#declarator(table.target(id), `${inner}(${this.#parameters(id, indent)})`, "", indent);
      case BtfKind.function:
        return this.#declarator(table.target(id), inner, "", indent);
      default:
    }
    const base = withWord(qualifiers, this.#base(id, indent));
    return inner === "" ? base : `${base} ${inner}`;
  }

  /** Whether what a pointer points to binds to the name before its `*` does. */
  #bindsTighter(id: number): boolean {
    const { table } = this;
    let type = id;
    for (let depth = 0; depth <= MOST_NESTED; depth++) {
      const kind = table.kind(type);
      if (!isAlias(kind) || (kind === BtfKind.typedef && !this.#expands(type))) {
        return kind === BtfKind.array || kind === BtfKind.prototype;
      }
      type = table.target(type);
    }
    throw this.#tooLong();
  }

  #expands(typedef: number): boolean {
    if (!this.#style.expand) return false;
    const { table } = this;
    const type = this.layout.resolve(typedef);
    switch (table.kind(type)) {
      case BtfKind.struct:
      case BtfKind.union:
      case BtfKind.enum:
      case BtfKind.enum64:
        return table.name(type) !== "";
      default:
        return true;
    }
  }

  #parameters(prototype: number, indent: string): string {
    const { table } = this;
    const count = table.itemCount(prototype);
    const parameters: string[] = [];
    for (let i = 0; i < count; i++) {
      const name = this.#style.full ? table.string(table.extra(prototype, 8 * i)) : "";
      const type = table.extra(prototype, 8 * i + 4);
      // Section 2.2.13: the last parameter, without name and type, is the ellipsis.
      if (type === 0 && i === count - 1) parameters.push("...");
      else parameters.push(this.#declarator(this.#style.full ? type : this.#unqualified(type), name, "", indent));
    }
    return parameters.length === 0 ? "void" : parameters.join(", ");
  }

  /** Qualifiers of a parameter itself, not of what it points to, are no part of its function's type. */
  #unqualified(id: number): BtfTypeId {
    const { table } = this;
    let type = id;
    for (let depth = 0; depth <= MOST_NESTED; depth++) {
      const kind = table.kind(type);
      if (!isAlias(kind) || (kind === BtfKind.typedef && !this.#expands(type))) return type as BtfTypeId;
      type = table.target(type);
    }
    throw this.#tooLong();
  }

  #base(id: number, indent: string): string {
    const { table } = this;
    const name = table.name(id);
    this.#spend(name.length);
    switch (table.kind(id)) {
      case BtfKind.int:
        return integerName(name);
      case BtfKind.struct:
      case BtfKind.union:
      case BtfKind.enum:
      case BtfKind.enum64:
        return name === "" ? this.#body(id, indent) : `${this.#keyword(id)} ${name}`;
      case BtfKind.forward:
        return `${this.#keyword(id)} ${name}`;
      default:
        return name;
    }
  }

  #keyword(id: number): string {
    switch (this.table.kind(id)) {
      case BtfKind.struct:
        return "struct";
      case BtfKind.union:
        return "union";
      case BtfKind.forward:
        return this.table.kindFlag(id) ? "union" : "struct";
      default:
        return "enum";
    }
  }

  #body(id: number, indent: string): string {
    const { table } = this;
    const kind = table.kind(id);
    const head = [this.#keyword(id), table.name(id)].filter((word) => word !== "").join(" ");
    const lines =
      kind === BtfKind.struct || kind === BtfKind.union ? this.#members(id, indent) : this.#values(id, indent);
    return lines.length === 0 ? `${head} {}` : `${head} {\n${lines.join("")}${indent}}`;
  }

  #members(id: number, indent: string): string[] {
    const inside = indent + INDENT;
    return this.layout.struct(id).members.map(({ name, type, bitField, bitSize }) => {
      const member = this.#declarator(type, name, "", inside);
      return `${inside}${member}${bitField ? ` : ${bitSize}` : ""};\n`;
    });
  }

  #values(id: number, indent: string): string[] {
    return enumerators(this.table, id).map(({ name, value }) => {
      this.#spend(name.length);
      return `${indent}${INDENT}${name} = ${value},\n`;
    });
  }

  #section(id: number): string {
    const { table } = this;
    const lines: string[] = [`/* section ${table.name(id)} */\n`];
    for (let i = 0; i < table.itemCount(id); i++) {
      const type = table.extra(id, 12 * i);
      this.#spend(table.name(type).length);
      const declared =
        table.kind(type) === BtfKind.variable
          ? this.#declarator(table.target(type), table.name(type), "", "")
          : table.name(type);
      lines.push(`${declared}; /* at ${table.extra(id, 12 * i + 4)} */\n`);
    }
    return lines.join("");
  }

  #spend(characters: number): void {
    this.#characters += characters + 1;
    if (this.#characters > MOST_CHARACTERS) throw this.#tooLong();
  }

  #tooLong(): Error {
    return this.table.broken(this.subject, "btf-cycle", "nested so deep, or so long, that it cannot be C");
  }
}

export interface BtfEnumerator {
  readonly name: string;
  readonly value: bigint;
}

/** Section 2.2.6 and 2.2.19: 32 or 64 bits, signed if the kind flag says so. */
export function enumerators(table: BtfTable, id: number): BtfEnumerator[] {
  const wide = table.kind(id) === BtfKind.enum64;
  const signed = table.kindFlag(id);
  const values: BtfEnumerator[] = [];
  for (let i = 0; i < table.itemCount(id); i++) {
    const at = i * (wide ? 12 : 8);
    const high = wide ? BigInt(table.extra(id, at + 8)) << 32n : 0n;
    const bits = high | BigInt(table.extra(id, at + 4));
    const value = signed ? BigInt.asIntN(wide ? 64 : 32, bits) : bits;
    values.push({ name: table.string(table.extra(id, at)), value });
  }
  return values;
}

/** How C declares the integer that DWARF calls, say, `long unsigned int`: `unsigned long`. Other names stay. */
export function integerName(name: string): string {
  const words = name.split(" ");
  if (!words.every((word) => INTEGER_WORDS.has(word))) return name;
  const sign = words.includes("unsigned") ? "unsigned " : "";
  if (words.includes("char")) return words.includes("signed") ? "signed char" : `${sign}char`;
  for (const word of ["__int128", "short"]) if (words.includes(word)) return sign + word;
  const longs = words.filter((word) => word === "long").join(" ");
  return sign + (longs || "int");
}

function withWord(text: string, word: string): string {
  return text === "" || word === "" ? text + word : `${text} ${word}`;
}
