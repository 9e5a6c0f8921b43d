// Writes BTF as "BPF Type Format (BTF)" of the kernel's documentation says, knowing nothing of the reader.

export interface WrittenMember {
  readonly name: string;
  readonly type: number;
  readonly bit: number;
  /** Of a bit field; makes the whole structure one with kind_flag. */
  readonly width?: number;
}

const encoder = new TextEncoder();

export class BtfWriter {
  readonly #strings: number[] = [];
  readonly #stringsBefore: number;
  readonly #words: number[] = [];
  #next: number;

  constructor(base?: BtfWriter) {
    this.#stringsBefore = base === undefined ? 0 : base.#stringsBefore + base.#strings.length;
    this.#next = base === undefined ? 1 : base.#next;
    if (base === undefined) this.#strings.push(0);
  }

  string(text: string): number {
    if (text === "") return 0;
    const at = this.#stringsBefore + this.#strings.length;
    this.#strings.push(...encoder.encode(text), 0);
    return at;
  }

  int(name: string, size: number, bits = size * 8, bitOffset = 0, encoding = 0): number {
    return this.#add(name, 1, 0, false, size, (encoding << 24) | (bitOffset << 16) | bits);
  }

  pointer(type: number): number {
    return this.#add("", 2, 0, false, type);
  }

  array(type: number, index: number, count: number): number {
    return this.#add("", 3, 0, false, 0, type, index, count);
  }

  struct(name: string, size: number, members: readonly WrittenMember[], union = false): number {
    const flag = members.some((member) => member.width !== undefined);
    const words = members.flatMap(({ name, type, bit, width }) => {
      return [this.string(name), type, flag ? ((width ?? 0) << 24) | bit : bit];
    });
    return this.#add(name, union ? 5 : 4, members.length, flag, size, ...words);
  }

  union(name: string, size: number, members: readonly WrittenMember[]): number {
    return this.struct(name, size, members, true);
  }

  enum(name: string, values: Readonly<Record<string, number>>, signed = false): number {
    const words = Object.entries(values).flatMap(([name, value]) => [this.string(name), value]);
    return this.#add(name, 6, words.length / 2, signed, 4, ...words);
  }

  enum64(name: string, values: Readonly<Record<string, bigint>>, signed = false): number {
    const words = Object.entries(values).flatMap(([name, value]) => {
      return [this.string(name), Number(value & 0xffff_ffffn), Number((value >> 32n) & 0xffff_ffffn)];
    });
    return this.#add(name, 19, words.length / 3, signed, 8, ...words);
  }

  forward(name: string, union = false): number {
    return this.#add(name, 7, 0, union, 0);
  }

  typedef(name: string, type: number): number {
    return this.#add(name, 8, 0, false, type);
  }

  volatile(type: number): number {
    return this.#add("", 9, 0, false, type);
  }

  const(type: number): number {
    return this.#add("", 10, 0, false, type);
  }

  restrict(type: number): number {
    return this.#add("", 11, 0, false, type);
  }

  func(name: string, prototype: number, linkage = 0): number {
    return this.#add(name, 12, linkage, false, prototype);
  }

  /** `["", 0]` as the last parameter is the ellipsis. */
  prototype(result: number, parameters: readonly (readonly [name: string, type: number])[]): number {
    const words = parameters.flatMap(([name, type]) => [this.string(name), type]);
    return this.#add("", 13, parameters.length, false, result, ...words);
  }

  variable(name: string, type: number, linkage = 1): number {
    return this.#add(name, 14, 0, false, type, linkage);
  }

  section(
    name: string,
    size: number,
    variables: readonly (readonly [type: number, offset: number, size: number])[],
  ): number {
    return this.#add(name, 15, variables.length, false, size, ...variables.flat());
  }

  float(name: string, size: number): number {
    return this.#add(name, 16, 0, false, size);
  }

  declarationTag(tag: string, type: number, component = -1): number {
    return this.#add(tag, 17, 0, false, type, component);
  }

  typeTag(tag: string, type: number): number {
    return this.#add(tag, 18, 0, false, type);
  }

  /** A record word by word, for what the methods above would never write. */
  raw(...words: number[]): number {
    this.#words.push(...words);
    return this.#next++;
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(24 + 4 * this.#words.length + this.#strings.length);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 0xeb9f, true);
    view.setUint8(2, 1);
    const header = [24, 0, 4 * this.#words.length, 4 * this.#words.length, this.#strings.length];
    for (const [i, word] of header.entries()) view.setUint32(4 + 4 * i, word, true);
    for (const [i, word] of this.#words.entries()) view.setUint32(24 + 4 * i, word, true);
    bytes.set(this.#strings, 24 + 4 * this.#words.length);
    return bytes;
  }

  #add(name: string, kind: number, items: number, flag: boolean, third: number, ...words: number[]): number {
    return this.raw(this.string(name), (flag ? 0x8000_0000 : 0) | (kind << 24) | items, third, ...words);
  }
}
