// Builds captures byte by byte, sound or broken, independently of the writers.

export type Endian = "little" | "big";

/** Bytes of words (numbers: 32 bits), halves ({u16}), and bytes. */
export type Part = number | { u16: number } | Uint8Array;

export function bytesOf(endian: Endian, ...parts: Part[]): Uint8Array {
  const little = endian === "little";
  const chunks = parts.map((part) => {
    if (part instanceof Uint8Array) return part;
    const view = new DataView(new ArrayBuffer(typeof part === "number" ? 4 : 2));
    if (typeof part === "number") view.setUint32(0, part, little);
    else view.setUint16(0, part.u16, little);
    return new Uint8Array(view.buffer);
  });
  return concat(...chunks);
}

export function concat(...chunks: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** A frame whose bytes tell its number. */
export function frame(length: number, number = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + number * 13 + 1) & 0xff);
}

export interface PcapHeader {
  endian?: Endian;
  magic?: number;
  major?: number;
  minor?: number;
  snapLength?: number;
  linkType?: number;
}

export function pcapHeader(header: PcapHeader = {}): Uint8Array {
  const { endian = "little", magic = 0xa1b2c3d4, major = 2, minor = 4, snapLength = 262_144, linkType = 1 } = header;
  return bytesOf(endian, magic, { u16: major }, { u16: minor }, 0, 0, snapLength, linkType);
}

export function pcapRecord(
  data: Uint8Array,
  fields: { endian?: Endian; seconds?: number; fraction?: number; captured?: number; original?: number } = {},
): Uint8Array {
  const { endian = "little", seconds = 1, fraction = 2, captured = data.length, original = captured } = fields;
  return bytesOf(endian, seconds, fraction, captured, original, data);
}

export class PcapngBytes {
  constructor(readonly endian: Endian = "little") {}

  of(...parts: Part[]): Uint8Array {
    return bytesOf(this.endian, ...parts);
  }

  block(type: number, body: Uint8Array, lengths: { front?: number; behind?: number } = {}): Uint8Array {
    const padded = concat(body, new Uint8Array(-body.length & 3));
    const front = lengths.front ?? padded.length + 12;
    return this.of(type, front, padded, lengths.behind ?? front);
  }

  option(code: number, value: Uint8Array, length = value.length): Uint8Array {
    return this.of({ u16: code }, { u16: length }, value, new Uint8Array(-value.length & 3));
  }

  section(minor = 0, options: Uint8Array = new Uint8Array(0)): Uint8Array {
    return this.block(0x0a0d0d0a, this.of(0x1a2b3c4d, { u16: 1 }, { u16: minor }, 0xffffffff, 0xffffffff, options));
  }

  interface(linkType = 1, snapLength = 0, options: Uint8Array = new Uint8Array(0)): Uint8Array {
    return this.block(1, this.of({ u16: linkType }, { u16: 0 }, snapLength, options));
  }

  enhanced(
    data: Uint8Array,
    fields: { index?: number; high?: number; low?: number; captured?: number; options?: Uint8Array } = {},
  ): Uint8Array {
    const { index = 0, high = 0, low = 0, captured = data.length, options = new Uint8Array(0) } = fields;
    const padding = new Uint8Array(-data.length & 3);
    return this.block(6, this.of(index, high, low, captured, data.length, data, padding, options));
  }

  simple(data: Uint8Array, original = data.length): Uint8Array {
    return this.block(3, this.of(original, data));
  }

  obsolete(data: Uint8Array, index = 0): Uint8Array {
    return this.block(2, this.of({ u16: index }, { u16: 9 }, 0, 5_000_001, data.length, data.length, data));
  }
}
