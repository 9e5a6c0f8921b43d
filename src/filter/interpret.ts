import type { BpfProgram } from "./bpf.js";
import * as bpf from "./bpf.js";
import { AUTHENTICATION, isChained, stepsOfChain } from "./protocol-chain.js";

/**
 * Runs a verified program over one packet: the plain reading of the instruction set, against which the translation to
 * WebAssembly is tested. Registers and scratch memory start as zero. A load outside the captured bytes, and a division
 * by zero, reject the packet.
 *
 * @param offset where the packet begins in `bytes`
 * @param capturedLength bytes of it that are there
 * @param wireLength bytes that it had on the wire, what `len` means
 * @returns how many bytes of the packet to keep; 0 rejects it
 */
export function interpret(
  program: BpfProgram,
  bytes: Uint8Array,
  offset: number,
  capturedLength: number,
  wireLength: number,
): number {
  scratch.fill(0);
  let a = 0;
  let x = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, jt, jf, k } = program[at];
    switch (bpf.classOf(code)) {
      case bpf.LD: {
        const mode = bpf.modeOf(code);
        if (mode === bpf.ABS || mode === bpf.IND) {
          const from = mode === bpf.IND ? x + k : k;
          if (from + bpf.bytesOf(bpf.sizeOf(code)) > capturedLength) return 0;
          a = loadBytes(bytes, offset + from, bpf.sizeOf(code));
        } else a = mode === bpf.IMM ? k : mode === bpf.MEM ? scratch[k] : wireLength >>> 0;
        break;
      }
      case bpf.LDX:
        if (bpf.modeOf(code) === bpf.MSH) {
          if (k >= capturedLength) return 0;
          x = (bytes[offset + k] & 0xf) << 2;
        } else x = bpf.modeOf(code) === bpf.IMM ? k : bpf.modeOf(code) === bpf.MEM ? scratch[k] : wireLength >>> 0;
        break;
      case bpf.ST:
        scratch[k] = a;
        break;
      case bpf.STX:
        scratch[k] = x;
        break;
      case bpf.ALU: {
        const operand = bpf.sourceOf(code) === bpf.X ? x : k;
        const operator = bpf.operatorOf(code);
        if ((operator === bpf.DIV || operator === bpf.MOD) && operand === 0) return 0;
        a = calculate(operator, a, operand);
        break;
      }
      case bpf.JMP:
        if (bpf.operatorOf(code) === bpf.JA) at += k;
        else at += holds(bpf.operatorOf(code), a, bpf.sourceOf(code) === bpf.X ? x : k) ? jt : jf;
        break;
      case bpf.RET:
        return (code & 0x18) === bpf.A ? a : k;
      default:
        if ((code & 0xf8) === bpf.TAX) x = a;
        else if ((code & 0xf8) === bpf.TXA) a = x;
        else {
          if (!followChain(bytes, offset, capturedLength, a, x, k, scratch[jt], jf)) return 0;
          a = chainEnd.protocol;
          x = chainEnd.at;
        }
    }
  }
  return 0;
}

/** Kept between calls, so that filtering a packet allocates nothing. */
const scratch = new Uint32Array(bpf.SCRATCH_WORDS);
const chainEnd = { protocol: 0, at: 0 };

function loadBytes(bytes: Uint8Array, at: number, size: number): number {
  if (size === bpf.B) return bytes[at];
  const high = (bytes[at] << 8) | bytes[at + 1];
  return size === bpf.H ? high : ((high << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

/** An arithmetic operator on unsigned 32-bit words; the divisor is not zero. Shifting by 32 or more leaves nothing. */
export function calculate(operator: number, a: number, operand: number): number {
  switch (operator) {
    case bpf.ADD:
      return (a + operand) >>> 0;
    case bpf.SUB:
      return (a - operand) >>> 0;
    case bpf.MUL:
      return Math.imul(a, operand) >>> 0;
    case bpf.DIV:
      return Math.trunc(a / operand);
    case bpf.MOD:
      return a % operand;
    case bpf.AND:
      return (a & operand) >>> 0;
    case bpf.OR:
      return (a | operand) >>> 0;
    case bpf.XOR:
      return (a ^ operand) >>> 0;
    case bpf.LSH:
      return operand < 32 ? (a << operand) >>> 0 : 0;
    case bpf.RSH:
      return operand < 32 ? a >>> operand : 0;
    default:
      return (0 - a) >>> 0;
  }
}

/** A comparison of unsigned 32-bit words. */
export function holds(operator: number, a: number, operand: number): boolean {
  switch (operator) {
    case bpf.JEQ:
      return a === operand;
    case bpf.JGT:
      return a > operand;
    case bpf.JGE:
      return a >= operand;
    default:
      return (a & operand) !== 0;
  }
}

/** Leaves in `chainEnd` where the chain ends; returns false if it leaves the packet or goes in circles. */
function followChain(
  bytes: Uint8Array,
  offset: number,
  capturedLength: number,
  first: number,
  start: number,
  base: number,
  sought: number,
  version: number,
): boolean {
  let protocol = first;
  let at = start;
  for (let steps = stepsOfChain(capturedLength); steps > 0; steps--) {
    if (protocol === sought || !isChained(protocol, version)) {
      chainEnd.protocol = protocol;
      chainEnd.at = at;
      return true;
    }
    const header = base + at;
    if (header + 1 >= capturedLength) return false;
    const length = bytes[offset + header + 1];
    at = protocol === AUTHENTICATION ? (length + 2) * 4 : at + (length + 1) * 8;
    protocol = bytes[offset + header];
  }
  return false;
}
