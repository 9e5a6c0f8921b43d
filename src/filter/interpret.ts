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
  const packet = bytes.subarray(offset, offset + capturedLength);
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const scratch = new Uint32Array(bpf.SCRATCH_WORDS);
  let a = 0;
  let x = 0;
  for (let at = 0; at < program.length; at++) {
    const { code, jt, jf, k } = program[at];
    switch (bpf.classOf(code)) {
      case bpf.LD: {
        const value = loadA(view, code, k, x, wireLength, scratch);
        if (value < 0) return 0;
        a = value;
        break;
      }
      case bpf.LDX:
        if (bpf.modeOf(code) === bpf.MSH) {
          if (k >= packet.length) return 0;
          x = (packet[k] & 0xf) << 2;
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
          const end = followChain(packet, a, x, k, scratch[jt], jf);
          if (end === undefined) return 0;
          [a, x] = end;
        }
    }
  }
  return 0;
}

function loadA(view: DataView, code: number, k: number, x: number, wireLength: number, scratch: Uint32Array): number {
  const mode = bpf.modeOf(code);
  if (mode === bpf.IMM) return k;
  if (mode === bpf.MEM) return scratch[k];
  if (mode === bpf.LEN) return wireLength >>> 0;
  const at = mode === bpf.IND ? x + k : k;
  if (at + bpf.bytesOf(bpf.sizeOf(code)) > view.byteLength) return -1;
  return bpf.sizeOf(code) === bpf.W
    ? view.getUint32(at)
    : bpf.sizeOf(code) === bpf.H
      ? view.getUint16(at)
      : view.getUint8(at);
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

function followChain(
  packet: Uint8Array,
  first: number,
  start: number,
  base: number,
  sought: number,
  version: number,
): [number, number] | undefined {
  let protocol = first;
  let at = start;
  for (let steps = stepsOfChain(packet.length); steps > 0; steps--) {
    if (protocol === sought || !isChained(protocol, version)) return [protocol, at];
    const header = base + at;
    if (header + 1 >= packet.length) return undefined;
    const length = packet[header + 1];
    at = protocol === AUTHENTICATION ? (length + 2) * 4 : (at + (length + 1) * 8) >>> 0;
    protocol = packet[header];
  }
  return undefined;
}
