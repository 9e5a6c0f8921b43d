// Writes the tables of scripts/kallsyms as kernels of two layouts have them, knowing nothing of the reader.

export interface WrittenSymbol {
  readonly name: string;
  readonly type: string;
  /** As 64 bits. */
  readonly address: bigint;
}

export interface KallsymsStyle {
  /** 6.1: the offsets come before the names; 6.5: behind the token index. */
  readonly layout: "6.1" | "6.5";
  /** CONFIG_KALLSYMS_ABSOLUTE_PERCPU. */
  readonly absolutePercpu: boolean;
  /** In 6.1: the table of another order of the symbols between markers and tokens, as stable releases have it. */
  readonly sequence?: boolean;
  /** Bytes before and after the tables. */
  readonly before?: Uint8Array;
  readonly after?: Uint8Array;
}

const RELATIVE_BASE = 0xffff_ffff_8100_0000n;
const encoder = new TextEncoder();

/** Of more letters than one, the packing that the kernel's own tool would work out. */
const PAIRS = ["init", "register", "_device", "net_", "pci_", "Tx", "tx", "__", "alloc"];

function tokens(symbols: readonly WrittenSymbol[]): string[] {
  const used = new Set<string>();
  for (const { type, name } of symbols) for (const letter of type + name) used.add(letter);
  const letters = [...used].filter((letter) => letter.charCodeAt(0) < 128);
  const fillers = Array.from({ length: 256 }, (_, i) => `unused${i}`);
  return [...PAIRS, ...letters, ...fillers].slice(0, 256);
}

function packed(text: string, table: readonly string[]): number[] {
  const bytes: number[] = [];
  let at = 0;
  while (at < text.length) {
    const token = table.findIndex((each) => text.startsWith(each, at));
    bytes.push(token);
    at += table[token].length;
  }
  return bytes.length < 0x80 ? [bytes.length, ...bytes] : [0x80 | (bytes.length & 0x7f), bytes.length >> 7, ...bytes];
}

/** @param symbols ascending, those with small values first */
export function writeKallsyms(symbols: readonly WrittenSymbol[], style: KallsymsStyle): Uint8Array {
  const out: number[] = [...(style.before ?? [])];
  const align = (): void => {
    while (out.length % 8 !== 0) out.push(0);
  };
  const words = (values: readonly number[], bytes = 4): void => {
    align();
    for (const value of values) for (let i = 0; i < bytes; i++) out.push((value >> (8 * i)) & 0xff);
  };
  const text = (pieces: readonly string[]): number[] => {
    align();
    const start = out.length;
    return pieces.map((piece) => {
      const at = out.length - start;
      out.push(...encoder.encode(piece), 0);
      return at;
    });
  };
  const offsets = (): void => {
    const high = (address: bigint): number => {
      const offset = address - RELATIVE_BASE;
      return Number(BigInt.asIntN(32, style.absolutePercpu ? -1n - offset : offset));
    };
    words(symbols.map(({ address }) => (address < 1n << 63n ? Number(address) : high(address))));
    words([Number(RELATIVE_BASE & 0xffff_ffffn), Number(RELATIVE_BASE >> 32n)]);
  };

  if (style.layout === "6.1") offsets();
  words([symbols.length]);
  align();
  const table = tokens(symbols);
  const markers: number[] = [];
  const names = out.length;
  for (const [i, { type, name }] of symbols.entries()) {
    if (i % 256 === 0) markers.push(out.length - names);
    out.push(...packed(type + name, table));
  }
  words(markers);
  const sequence = symbols.flatMap((_, i) => [i >> 16, i >> 8, i]);
  if (style.layout === "6.1" && style.sequence === true) words(sequence, 1);
  const starts = text(table);
  words(starts, 2);
  if (style.layout === "6.5") {
    offsets();
    words(sequence, 1);
  }
  align();
  out.push(...(style.after ?? []));
  return Uint8Array.from(out);
}
