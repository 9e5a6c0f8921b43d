/**
 * Looks up what was kept under a key, or keeps what `make` makes, also in place of what is not usable. Whoever keeps it
 * sees to it that it comes back as it was; it may still be something else's.
 */
export type Kept = (key: string, make: () => Uint8Array, isUsable: (bytes: Uint8Array) => boolean) => Uint8Array;

/**
 * What was kept, if it can be read, else what is made, and kept from then on.
 * @param read null for what is something else, or broken
 * @param make what is kept of it, and itself
 */
export function keptAs<T>(
  kept: Kept,
  key: string,
  { read, make }: { read: (bytes: Uint8Array) => T | null; make: () => readonly [bytes: Uint8Array, made: T] },
): T {
  const found: { value: T | null } = { value: null };
  const fresh = (): Uint8Array => {
    const [bytes, made] = make();
    found.value = made;
    return bytes;
  };
  const bytes = kept(key, fresh, (bytes) => {
    found.value = read(bytes);
    return found.value !== null;
  });
  return found.value ?? read(bytes) ?? make()[1];
}

type Numbers = Int32Array | Uint32Array | Float64Array;

const ALIGNMENT = 8;
const align = (size: number): number => Math.ceil(size / ALIGNMENT) * ALIGNMENT;

/** Arrays as one piece of bytes, to be kept: a format, how many there are, the bytes of each, then the arrays. */
export function packArrays(format: number, arrays: readonly Numbers[]): Uint8Array {
  const header = align(4 * (2 + arrays.length));
  const size = arrays.reduce((sum, { byteLength }) => sum + align(byteLength), header);
  const packed = new Uint8Array(size);
  new Uint32Array(packed.buffer).set([format, arrays.length, ...arrays.map(({ byteLength }) => byteLength)]);
  let at = header;
  for (const { buffer, byteOffset, byteLength } of arrays) {
    packed.set(new Uint8Array(buffer, byteOffset, byteLength), at);
    at += align(byteLength);
  }
  return packed;
}

/** What was packed. */
export class PackedArrays {
  private constructor(private readonly pieces: readonly Uint8Array[]) {}

  /** @returns null if it is not of this format */
  static of(bytes: Uint8Array, format: number, count: number): PackedArrays | null {
    // Arrays of doubles have to be aligned.
    const packed = bytes.byteOffset % ALIGNMENT === 0 ? bytes : bytes.slice();
    const header = align(4 * (2 + count));
    if (packed.length < header) return null;
    const words = new Uint32Array(packed.buffer, packed.byteOffset, 2 + count);
    if (words[0] !== format || words[1] !== count) return null;
    const pieces: Uint8Array[] = [];
    let at = header;
    for (const size of words.subarray(2)) {
      if (at + size > packed.length) return null;
      pieces.push(packed.subarray(at, at + size));
      at += align(size);
    }
    return new PackedArrays(pieces);
  }

  int32(index: number): Int32Array {
    const { buffer, byteOffset, byteLength } = this.pieces[index];
    return new Int32Array(buffer, byteOffset, byteLength >> 2);
  }

  uint32(index: number): Uint32Array {
    const { buffer, byteOffset, byteLength } = this.pieces[index];
    return new Uint32Array(buffer, byteOffset, byteLength >> 2);
  }

  float64(index: number): Float64Array {
    const { buffer, byteOffset, byteLength } = this.pieces[index];
    return new Float64Array(buffer, byteOffset, byteLength >> 3);
  }
}
