/**
 * Undoes xz's x86 filter: near calls and jumps (opcodes 0xe8, 0xe9), whose targets the encoder made absolute so that
 * calls of one function look alike, get their relative targets back.
 */

const OPCODE_AND_OPERAND = 5;

export class X86Filter {
  /** Offset in the whole stream of the next byte, modulo 2^32. */
  #position: number;
  /** Bytes that may be the beginning of an instruction that has not come whole. */
  #rest = new Uint8Array(0);
  /** Bit n is set where an opcode that was left alone lies n + 1 bytes before the next byte. */
  #opcodes = 0;

  /** @param start what the encoder took the offset of the first byte for */
  constructor(start: number) {
    this.#position = start | 0;
  }

  /** @returns what is certain by now, a copy; up to four bytes are held back */
  push(chunk: Uint8Array): Uint8Array {
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    const done = this.#undo(bytes);
    this.#position = (this.#position + done) | 0;
    this.#rest = bytes.slice(done);
    return bytes.subarray(0, done);
  }

  /** @returns what was held back, which the encoder too left alone */
  finish(): Uint8Array {
    return this.#rest;
  }

  /** @returns how many bytes of the beginning are done */
  #undo(bytes: Uint8Array): number {
    const end = bytes.length - OPCODE_AND_OPERAND + 1;
    let opcodes = this.#opcodes;
    /** Where `opcodes` counts from. */
    let counted = 0;
    let i = 0;
    while (i < end) {
      if ((bytes[i] & 0xfe) !== 0xe8) {
        i++;
        continue;
      }
      opcodes = passed(opcodes, i - counted);
      counted = i;
      if (isTarget(bytes[i + 4]) && isConverted(bytes, i, opcodes)) {
        const absolute = bytes[i + 1] | (bytes[i + 2] << 8) | (bytes[i + 3] << 16) | (bytes[i + 4] << 24);
        const target = relative(absolute, (this.#position + i + OPCODE_AND_OPERAND) | 0, opcodes);
        bytes[i + 1] = target;
        bytes[i + 2] = target >>> 8;
        bytes[i + 3] = target >>> 16;
        // 25 bits of a target count; the uppermost is its sign.
        bytes[i + 4] = target & 0x1000000 ? 0xff : 0;
        opcodes = 0;
        i += OPCODE_AND_OPERAND;
      } else {
        opcodes = passed(opcodes, 1) | 1;
        i++;
      }
      counted = i;
    }
    this.#opcodes = passed(opcodes, i - counted);
    return i;
  }
}

function passed(opcodes: number, bytes: number): number {
  return bytes > 2 ? 0 : (opcodes << bytes) & 7;
}

/** The uppermost byte of a target within ±16 MiB. */
function isTarget(byte: number): boolean {
  return byte === 0 || byte === 0xff;
}

/** Distance of the one opcode before, 0 if there is none. */
function distance(opcodes: number): number {
  return opcodes === 4 ? 3 : opcodes;
}

/** An opcode close behind others was converted only behind a single one, whose own target cannot have been one. */
function isConverted(bytes: Uint8Array, at: number, opcodes: number): boolean {
  if (opcodes === 0) return true;
  const isSingle = (opcodes & (opcodes - 1)) === 0;
  return isSingle && !isTarget(bytes[at + 4 - distance(opcodes)]);
}

/**
 * If the byte that the opcode before takes for its target's uppermost came to look like one, the encoder turned those
 * bits round and went once more. Twice is never needed: it would arrive where it began, which `isConverted` excludes.
 */
function relative(absolute: number, origin: number, opcodes: number): number {
  let target = (absolute - origin) | 0;
  if (opcodes === 0) return target;
  const shift = 24 - 8 * distance(opcodes);
  if (isTarget((target >>> shift) & 0xff)) target = ((target ^ ((1 << (shift + 8)) - 1)) - origin) | 0;
  return target;
}
