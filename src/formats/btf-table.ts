import { UnsupportedError } from "../util/errors.js";
import {
  BTF_HEADER_BYTES,
  BTF_MAGIC,
  BTF_SHAPES,
  BTF_TYPE_BYTES,
  BTF_VERSION,
  BtfError,
  BtfKind,
  type BtfTypeId,
} from "./btf-format.js";
import { hashName, NAME_HASH_START, NameIndex } from "./name-index.js";
import { type Kept, keptAs, PackedArrays, packArrays } from "./packed-arrays.js";

const SWAPPED_MAGIC = 0x9feb;
const KIND_SHIFT = 24;
const KIND_MASK = 0x1f;
const ITEM_COUNT_MASK = 0xffff;
const LONGEST_INTEGER_BYTES = 16;
/** To be changed with what is kept. */
const KEPT_FORMAT = 0x6274_0002;
/** Bytes of the section, the two tables of the index of names. */
const KEPT_ARRAYS = 3;

const utf8 = new TextDecoder();
const toUtf8 = new TextEncoder();

/**
 * The records of one `.BTF` section, on top of those of its base if it is split. Every record, and every type and name
 * that one refers to, is checked once; after that nothing is stored but where each record starts.
 */
export class BtfTable {
  /** The first type that stands here and not in the base. */
  readonly firstId: number;
  /** One more than the last type. */
  readonly endId: number;
  readonly #view: DataView;
  readonly #offsets: Uint32Array;
  readonly #stringsAt: number;
  readonly #firstString: number;
  readonly #endString: number;
  #names: NameIndex | null = null;

  /**
   * @param bytes the section; must not change
   * @param source for messages, such as "vmlinux"
   * @param isChecked whether what its records refer to was checked before
   * @throws BtfError, UnsupportedError for another version or byte order
   */
  constructor(
    private readonly bytes: Uint8Array,
    readonly base: BtfTable | null,
    readonly source: string,
    isChecked = false,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const header = this.#header();
    this.#stringsAt = header.stringsAt;
    this.#firstString = base === null ? 0 : base.#endString;
    this.#endString = this.#firstString + header.stringsLength;
    this.firstId = base === null ? 1 : base.endId;
    this.#offsets = this.#index(header.typesAt, header.typesAt + header.typesLength);
    this.endId = this.firstId + this.#offsets.length;
    if (!isChecked) for (const offset of this.#offsets) this.#check(offset);
  }

  /** @param kept where what was found in this section is kept for the next time */
  static ofImage(bytes: Uint8Array, source: string, kept: Kept | null): BtfTable {
    if (kept === null) return new BtfTable(bytes, null, source);
    return keptAs(kept, "types", {
      read: (packed) => BtfTable.#unpack(packed, bytes, source),
      make: () => {
        const table = new BtfTable(bytes, null, source);
        return [table.#pack(), table];
      },
    });
  }

  #pack(): Uint8Array {
    const index = this.#nameIndex();
    return packArrays(KEPT_FORMAT, [Uint32Array.of(this.bytes.length), ...index.tables]);
  }

  static #unpack(kept: Uint8Array, bytes: Uint8Array, source: string): BtfTable | null {
    const packed = PackedArrays.of(kept, KEPT_FORMAT, KEPT_ARRAYS);
    if (packed === null) return null;
    const length = packed.uint32(0);
    if (length.length !== 1 || length[0] !== bytes.length) return null;
    const table = new BtfTable(bytes, null, source, true);
    table.#names = NameIndex.of([packed.int32(1), packed.int32(2)], table.#offsets.length);
    return table.#names === null ? null : table;
  }

  kind(id: number): BtfKind {
    if (id === 0) return BtfKind.void;
    const table = this.#holder(id);
    return table.#kindAt(table.#offsets[id - table.firstId]);
  }

  kindFlag(id: number): boolean {
    const table = this.#holder(id);
    return table.#view.getInt32(table.#offsets[id - table.firstId] + 4, true) < 0;
  }

  /** Members, values, parameters or variables; of a function its linkage. */
  itemCount(id: number): number {
    return this.#word(id, 4) & ITEM_COUNT_MASK;
  }

  /** The third word: bytes, where the kind has a size. */
  size(id: number): number {
    return this.#word(id, 8);
  }

  /** The third word: the type that this one refers to, where the kind does. */
  target(id: number): BtfTypeId {
    return this.#word(id, 8) as BtfTypeId;
  }

  /** A word of what follows the record's three, at this byte offset. */
  extra(id: number, offset: number): number {
    return this.#word(id, BTF_TYPE_BYTES + offset);
  }

  /** "" if it has none. */
  name(id: number): string {
    return id === 0 ? "void" : this.string(this.#word(id, 0));
  }

  /** The text at this offset of the string sections; the base's come first. */
  string(offset: number): string {
    const table = this.#stringHolder(offset);
    const start = table.#stringsAt + offset - table.#firstString;
    return utf8.decode(table.bytes.subarray(start, table.bytes.indexOf(0, start)));
  }

  /** All types of this name, ascending. */
  named(name: string): BtfTypeId[] {
    if (name === "") return [];
    const key = toUtf8.encode(name);
    const found: BtfTypeId[] = [];
    this.#collect(key, hashName(NAME_HASH_START, key, 0, key.length), found);
    return found;
  }

  /** Damage that shows when type `id` is looked at more closely. */
  broken(id: number, code: string, what: string): BtfError {
    const table = this.#holder(id);
    return new BtfError(table.source, table.#offsets[id - table.firstId], code, what);
  }

  #word(id: number, offset: number): number {
    const table = this.#holder(id);
    return table.#view.getUint32(table.#offsets[id - table.firstId] + offset, true);
  }

  #holder(id: number): BtfTable {
    let table: BtfTable = this;
    while (id < table.firstId && table.base !== null) table = table.base;
    return table;
  }

  #stringHolder(offset: number): BtfTable {
    let table: BtfTable = this;
    while (offset < table.#firstString && table.base !== null) table = table.base;
    return table;
  }

  #kindAt(offset: number): BtfKind {
    return ((this.#view.getUint32(offset + 4, true) >>> KIND_SHIFT) & KIND_MASK) as BtfKind;
  }

  #collect(key: Uint8Array, hash: number, found: BtfTypeId[]): void {
    if (this.base !== null) this.base.#collect(key, hash, found);
    this.#names ??= this.#nameIndex();
    for (let entry = this.#names.first(hash); entry >= 0; entry = this.#names.after(entry)) {
      if (this.#isNamed(entry, key)) found.push((entry + this.firstId) as BtfTypeId);
    }
  }

  #nameIndex(): NameIndex {
    const index = NameIndex.forEntries(this.#offsets.length);
    for (let entry = this.#offsets.length - 1; entry >= 0; entry--) {
      const name = this.#view.getUint32(this.#offsets[entry], true);
      const table = this.#stringHolder(name);
      const start = table.#stringsAt + name - table.#firstString;
      const { bytes } = table;
      if (bytes[start] === 0) continue;
      let end = start;
      while (bytes[end] !== 0) end++;
      index.put(entry, hashName(NAME_HASH_START, bytes, start, end));
    }
    return index;
  }

  #isNamed(entry: number, key: Uint8Array): boolean {
    const name = this.#view.getUint32(this.#offsets[entry], true);
    const table = this.#stringHolder(name);
    const start = table.#stringsAt + name - table.#firstString;
    for (let i = 0; i < key.length; i++) if (table.bytes[start + i] !== key[i]) return false;
    return table.bytes[start + key.length] === 0;
  }

  #header(): { typesAt: number; typesLength: number; stringsAt: number; stringsLength: number } {
    const view = this.#view;
    const length = view.byteLength;
    if (length < BTF_HEADER_BYTES) {
      throw this.#damage(0, "btf-header", `it has ${length} bytes, and its header alone ${BTF_HEADER_BYTES}`);
    }
    const magic = view.getUint16(0, true);
    if (magic === SWAPPED_MAGIC) {
      throw new UnsupportedError(
        "btf-byte-order",
        `the type information of ${this.source} is that of a big-endian machine`,
      );
    }
    if (magic !== BTF_MAGIC) {
      throw this.#damage(
        0,
        "btf-header",
        `it starts with 0x${magic.toString(16)} and not with 0x${BTF_MAGIC.toString(16)}`,
      );
    }
    const version = view.getUint8(2);
    if (version !== BTF_VERSION) {
      throw new UnsupportedError(
        "btf-version",
        `the type information of ${this.source} has version ${version}; version ${BTF_VERSION} can be read`,
      );
    }
    const headerLength = view.getUint32(4, true);
    if (headerLength < BTF_HEADER_BYTES || headerLength > length) {
      throw this.#damage(4, "btf-header", `a header of ${headerLength} bytes in a section of ${length}`);
    }
    const typesOffset = view.getUint32(8, true);
    const typesLength = view.getUint32(12, true);
    const stringsOffset = view.getUint32(16, true);
    const stringsLength = view.getUint32(20, true);
    if (typesOffset % 4 !== 0 || headerLength + typesOffset + typesLength > length) {
      throw this.#damage(8, "btf-header", `types of ${typesLength} bytes at ${typesOffset} do not fit into ${length}`);
    }
    if (headerLength + stringsOffset + stringsLength > length) {
      throw this.#damage(
        16,
        "btf-header",
        `strings of ${stringsLength} bytes at ${stringsOffset} do not fit into ${length}`,
      );
    }
    const stringsAt = headerLength + stringsOffset;
    // A split section may have no strings of its own, and its first one needs not be empty.
    if (this.base === null && (stringsLength === 0 || this.bytes[stringsAt] !== 0)) {
      throw this.#damage(stringsAt, "btf-strings", "the strings do not start with an empty one");
    }
    if (stringsLength > 0 && this.bytes[stringsAt + stringsLength - 1] !== 0) {
      throw this.#damage(stringsAt + stringsLength - 1, "btf-strings", "the last string has no end");
    }
    return { typesAt: headerLength + typesOffset, typesLength, stringsAt, stringsLength };
  }

  #index(start: number, end: number): Uint32Array {
    const view = this.#view;
    const offsets = new Uint32Array(Math.floor((end - start) / BTF_TYPE_BYTES));
    let count = 0;
    let offset = start;
    while (offset < end) {
      const room = end - offset;
      if (room < BTF_TYPE_BYTES) throw this.#damage(offset, "btf-type", `the types end after ${room} bytes of one`);
      const kind = this.#kindAt(offset);
      if (kind === BtfKind.void || kind >= BTF_SHAPES.length) {
        throw this.#damage(offset + 4, "btf-kind", `a type of the unknown kind ${kind}`);
      }
      const { fixed, item } = BTF_SHAPES[kind];
      const items = view.getUint32(offset + 4, true) & ITEM_COUNT_MASK;
      const length = BTF_TYPE_BYTES + fixed + items * item;
      if (length > room) {
        throw this.#damage(offset, "btf-type", `a type of ${length} bytes, and there are ${room} left for types`);
      }
      offsets[count++] = offset;
      offset += length;
    }
    return offsets.subarray(0, count);
  }

  #check(offset: number): void {
    const view = this.#view;
    const kind = this.#kindAt(offset);
    const shape = BTF_SHAPES[kind];
    const name = this.#checkName(offset);
    if (shape.named && this.#isEmpty(name))
      throw this.#damage(offset, "btf-name", `a type of kind ${kind} without a name`);
    if (shape.refers) this.#checkType(offset + 8);
    const items = view.getUint32(offset + 4, true) & ITEM_COUNT_MASK;
    const first = offset + BTF_TYPE_BYTES + shape.fixed;
    if (shape.itemName >= 0) {
      for (let i = 0, at = first + shape.itemName; i < items; i++, at += shape.item) this.#checkName(at);
    }
    if (shape.itemType >= 0) {
      for (let i = 0, at = first + shape.itemType; i < items; i++, at += shape.item) this.#checkType(at);
    }
    if (kind === BtfKind.int) this.#checkInteger(offset);
    if (kind === BtfKind.array) {
      this.#checkType(offset + BTF_TYPE_BYTES);
      this.#checkType(offset + BTF_TYPE_BYTES + 4);
    }
    if (kind === BtfKind.function && this.kind(view.getUint32(offset + 8, true)) !== BtfKind.prototype) {
      throw this.#damage(offset + 8, "btf-type", "the type of a function is no prototype");
    }
  }

  #checkName(at: number): number {
    const name = this.#view.getUint32(at, true);
    if (name < this.#endString) return name;
    throw this.#damage(at, "btf-string-range", `a name at ${name} of ${this.#endString} bytes of strings`);
  }

  #checkType(at: number): void {
    const type = this.#view.getUint32(at, true);
    if (type >= this.endId)
      throw this.#damage(at, "btf-type-range", `type ${type}, and the last one is ${this.endId - 1}`);
  }

  #checkInteger(offset: number): void {
    const size = this.#view.getUint32(offset + 8, true);
    const bits = this.#view.getUint8(offset + BTF_TYPE_BYTES);
    const bitOffset = this.#view.getUint8(offset + BTF_TYPE_BYTES + 2);
    if (
      size > 0 &&
      size <= LONGEST_INTEGER_BYTES &&
      (size & (size - 1)) === 0 &&
      bits > 0 &&
      bitOffset + bits <= size * 8
    ) {
      return;
    }
    throw this.#damage(offset, "btf-integer", `an integer of ${bits} bits at bit ${bitOffset} of ${size} bytes`);
  }

  #isEmpty(name: number): boolean {
    const table = this.#stringHolder(name);
    return table.bytes[table.#stringsAt + name - table.#firstString] === 0;
  }

  #damage(offset: number, code: string, what: string): BtfError {
    return new BtfError(this.source, offset, code, what);
  }
}
