/**
 * The instruction set of the classic BSD Packet Filter (McCanne and Jacobson, USENIX Winter 1993, section 3.3):
 * a 32-bit accumulator A, an index register X, 16 words of scratch memory M[], the packet P[] (big-endian loads).
 */
export interface BpfInstruction {
  /** Operation: class, size, mode, operator or source, or-ed together. */
  readonly code: number;
  /** Instructions to skip when the comparison holds, 0 … 255. */
  readonly jt: number;
  /** Instructions to skip when it does not, 0 … 255. */
  readonly jf: number;
  /** Generic field, an unsigned 32-bit number. */
  readonly k: number;
}

export type BpfProgram = readonly BpfInstruction[];

/** Words of scratch memory. */
export const SCRATCH_WORDS = 16;

/** The longest program that a kernel or a network board takes. */
export const MAXIMUM_LENGTH = 4096;

export const LD = 0x00;
export const LDX = 0x01;
export const ST = 0x02;
export const STX = 0x03;
export const ALU = 0x04;
export const JMP = 0x05;
export const RET = 0x06;
export const MISC = 0x07;

export const W = 0x00;
export const H = 0x08;
export const B = 0x10;

export const IMM = 0x00;
export const ABS = 0x20;
export const IND = 0x40;
export const MEM = 0x60;
export const LEN = 0x80;
export const MSH = 0xa0;

export const ADD = 0x00;
export const SUB = 0x10;
export const MUL = 0x20;
export const DIV = 0x30;
export const OR = 0x40;
export const AND = 0x50;
export const LSH = 0x60;
export const RSH = 0x70;
export const NEG = 0x80;
export const MOD = 0x90;
export const XOR = 0xa0;

export const JA = 0x00;
export const JEQ = 0x10;
export const JGT = 0x20;
export const JGE = 0x30;
export const JSET = 0x40;

export const K = 0x00;
export const X = 0x08;
export const A = 0x10;

export const TAX = 0x00;
export const TXA = 0x80;

/**
 * Korral's one extension, so that programs stay free of loops: follow a chain of protocol headers (`protochain`).
 * Entered with A = the first protocol number and X = the offset of its header from P[k]; `jt` names the
 * scratch word that holds the protocol number sought, `jf` is 4 or 6, the version of IP. Left with A = the number
 * where the chain ended (the one sought, or the first that is no header that can be skipped) and X = its offset.
 */
export const CHAIN = 0x40;

export const classOf = (code: number): number => code & 0x07;
export const sizeOf = (code: number): number => code & 0x18;
export const modeOf = (code: number): number => code & 0xe0;
export const operatorOf = (code: number): number => code & 0xf0;
export const sourceOf = (code: number): number => code & 0x08;

/** Bytes that a load of this size code reads. */
export const bytesOf = (size: number): number => (size === W ? 4 : size === H ? 2 : 1);

const INSTRUCTION_BYTES = 8;

/** The program as an array of `struct bpf_insn`, little-endian: what is downloaded to a board. */
export function encodeProgram(program: BpfProgram): Uint8Array {
  const bytes = new Uint8Array(program.length * INSTRUCTION_BYTES);
  const view = new DataView(bytes.buffer);
  program.forEach((instruction, i) => {
    view.setUint16(i * INSTRUCTION_BYTES, instruction.code, true);
    view.setUint8(i * INSTRUCTION_BYTES + 2, instruction.jt);
    view.setUint8(i * INSTRUCTION_BYTES + 3, instruction.jf);
    view.setUint32(i * INSTRUCTION_BYTES + 4, instruction.k, true);
  });
  return bytes;
}

/** The inverse of `encodeProgram`; bytes after the last whole instruction are ignored. Verify the result before use. */
export function decodeProgram(bytes: Uint8Array): BpfProgram {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / INSTRUCTION_BYTES) }, (_, i) => ({
    code: view.getUint16(i * INSTRUCTION_BYTES, true),
    jt: view.getUint8(i * INSTRUCTION_BYTES + 2),
    jf: view.getUint8(i * INSTRUCTION_BYTES + 3),
    k: view.getUint32(i * INSTRUCTION_BYTES + 4, true),
  }));
}
