import type { FunctionBody, Label, LocalIndex } from "../translator/wasm-assembler.js";
import type { PlainOperation } from "../translator/wasm-opcodes.js";
import type { BpfInstruction, BpfProgram } from "./bpf.js";
import * as bpf from "./bpf.js";
import type { ProgramFacts } from "./program-facts.js";
import { bytesNeeded, factsOf, successors } from "./program-facts.js";
import { AUTHENTICATION, IPV6_EXTENSIONS } from "./protocol-chain.js";

/** Locals of the function that the code goes into: where the packet is, and the registers of the filter machine. */
export interface Frame {
  readonly offset: LocalIndex;
  readonly capturedLength: LocalIndex;
  readonly wireLength: LocalIndex;
  readonly cells: readonly LocalIndex[];
  readonly temporary: LocalIndex;
}

/** A frame whose packet is in the three given locals. */
export function frameOf(
  body: FunctionBody,
  offset: LocalIndex,
  capturedLength: LocalIndex,
  wireLength: LocalIndex,
): Frame {
  const cells = Array.from({ length: bpf.SCRATCH_WORDS + 2 }, () => body.local("i32"));
  return { offset, capturedLength, wireLength, cells, temporary: body.local("i32") };
}

const BINARY: ReadonlyMap<number, PlainOperation> = new Map([
  [bpf.ADD, "i32.add"],
  [bpf.SUB, "i32.sub"],
  [bpf.MUL, "i32.mul"],
  [bpf.DIV, "i32.div_u"],
  [bpf.MOD, "i32.rem_u"],
  [bpf.OR, "i32.or"],
  [bpf.AND, "i32.and"],
  [bpf.XOR, "i32.xor"],
  [bpf.LSH, "i32.shl"],
  [bpf.RSH, "i32.shr_u"],
]);
const COMPARISONS: ReadonlyMap<number, readonly [PlainOperation, PlainOperation]> = new Map([
  [bpf.JEQ, ["i32.eq", "i32.ne"]],
  [bpf.JGT, ["i32.gt_u", "i32.le_u"]],
  [bpf.JGE, ["i32.ge_u", "i32.lt_u"]],
]);

/** The bytes of a word, or of a half-word in its low bits, in the other order. */
function turned(value: number, width: number): number {
  if (width === 2) return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
  return ((value & 0xff) << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24);
}

/**
 * Translates a verified program to code in `body` that ends with a branch to `accept` or to `reject`. All jumps of a
 * program are forward, so each target is the end of a block that is open from the start.
 */
export function emitProgram(body: FunctionBody, frame: Frame, program: BpfProgram, accept: Label, reject: Label): void {
  new Emitter(body, frame, program, accept, reject).emit();
}

class Emitter {
  private readonly facts: ProgramFacts;
  private readonly labels = new Map<number, Label>();
  private readonly a: LocalIndex;
  private readonly x: LocalIndex;

  constructor(
    private readonly body: FunctionBody,
    private readonly frame: Frame,
    private readonly program: BpfProgram,
    private readonly accept: Label,
    private readonly reject: Label,
  ) {
    this.facts = factsOf(program);
    this.a = frame.cells[bpf.SCRATCH_WORDS];
    this.x = frame.cells[bpf.SCRATCH_WORDS + 1];
  }

  emit(): void {
    const { body, program, facts } = this;
    this.frame.cells.forEach((local, cell) => {
      if (((facts.readAtStart >>> cell) & 1) === 0) return;
      body.i32(0);
      body.set(local);
    });
    const targets = this.targets();
    for (const target of [...targets].reverse()) this.labels.set(target, body.block());
    let next = 0;
    for (let at = 0; at < program.length; at++) {
      if (targets[next] === at) {
        body.end();
        next++;
      }
      if (facts.reached[at]) this.instruction(program[at], at);
    }
  }

  /** Instructions that are jumped to over others, in order. */
  private targets(): number[] {
    const { program, facts } = this;
    const found = new Set<number>();
    program.forEach((_, at) => {
      if (!facts.reached[at]) return;
      for (const to of successors(program, at))
        if (to !== at + 1 && program[to].code !== (bpf.RET | bpf.K)) found.add(to);
    });
    return [...found].sort((a, b) => a - b);
  }

  /** A constant return is branched to its outcome, not to its place. */
  private labelOf(target: number): Label {
    const { code, k } = this.program[target];
    if (code === (bpf.RET | bpf.K)) return k === 0 ? this.reject : this.accept;
    return this.labels.get(target) ?? this.reject;
  }

  private instruction(instruction: BpfInstruction, at: number): void {
    const { body } = this;
    const { code, k } = instruction;
    switch (bpf.classOf(code)) {
      case bpf.LD:
        this.load(instruction, at, this.a);
        return;
      case bpf.LDX:
        this.load(instruction, at, this.x);
        return;
      case bpf.ST:
        body.get(this.a);
        body.set(this.frame.cells[k]);
        return;
      case bpf.STX:
        body.get(this.x);
        body.set(this.frame.cells[k]);
        return;
      case bpf.ALU:
        this.arithmetic(instruction, at);
        return;
      case bpf.JMP:
        this.jump(instruction, at);
        return;
      case bpf.RET:
        this.result(instruction);
        return;
      default:
        if (code === (bpf.MISC | bpf.CHAIN)) this.chain(instruction);
        else {
          const toX = (code & 0xf8) === bpf.TAX;
          body.get(toX ? this.a : this.x);
          body.set(toX ? this.x : this.a);
        }
    }
  }

  private result({ code, k }: BpfInstruction): void {
    const { body } = this;
    if ((code & 0x18) === bpf.A) {
      body.get(this.a);
      body.brIf(this.accept);
      body.br(this.reject);
    } else body.br(k === 0 ? this.reject : this.accept);
  }

  private load(instruction: BpfInstruction, at: number, to: LocalIndex): void {
    const { body, frame } = this;
    const { code, k } = instruction;
    switch (bpf.modeOf(code)) {
      case bpf.IMM:
        body.i32(k);
        break;
      case bpf.MEM:
        body.get(frame.cells[k]);
        break;
      case bpf.LEN:
        body.get(frame.wireLength);
        break;
      default:
        this.packetLoad(instruction, at);
    }
    body.set(to);
  }

  /** Rejects the packet unless it has the bytes, then leaves them on the stack. */
  private packetLoad(instruction: BpfInstruction, at: number): void {
    const { body, frame } = this;
    const { code, k } = instruction;
    const needed = bytesNeeded(instruction);
    if (needed > 0xffffffff) {
      body.br(this.reject);
      body.op("unreachable");
      return;
    }
    if (this.facts.known[at] < needed) {
      body.get(frame.capturedLength);
      body.i32(needed);
      body.op("i32.lt_u");
      body.brIf(this.reject);
    }
    body.get(frame.offset);
    if (bpf.modeOf(code) === bpf.IND) {
      // The captured length is at least what is needed with X = 0, so the difference is what X may be at most.
      body.get(this.x);
      body.get(frame.capturedLength);
      body.i32(needed);
      body.op("i32.sub");
      body.op("i32.gt_u");
      body.brIf(this.reject);
      body.get(this.x);
      body.op("i32.add");
    }
    this.bytes(code, k, this.facts.reversed[at] !== 0);
  }

  private bytes(code: number, k: number, asTheyAre: boolean): void {
    const { body } = this;
    if (bpf.modeOf(code) === bpf.MSH) {
      body.memory("i32.load8_u", k);
      body.i32(0xf);
      body.op("i32.and");
      body.i32(2);
      body.op("i32.shl");
      return;
    }
    switch (bpf.sizeOf(code)) {
      case bpf.B:
        body.memory("i32.load8_u", k);
        return;
      case bpf.H:
        body.memory("i32.load16_u", k);
        if (!asTheyAre) this.turnHalf();
        return;
      default:
        body.memory("i32.load", k);
        if (!asTheyAre) this.turnWord();
    }
  }

  private turnHalf(): void {
    const { body, frame } = this;
    body.tee(frame.temporary);
    body.i32(8);
    body.op("i32.shr_u");
    body.get(frame.temporary);
    body.i32(0xff);
    body.op("i32.and");
    body.i32(8);
    body.op("i32.shl");
    body.op("i32.or");
  }

  private turnWord(): void {
    const { body, frame } = this;
    body.tee(frame.temporary);
    body.i32(8);
    body.op("i32.rotl");
    body.i32(0x00ff00ff);
    body.op("i32.and");
    body.get(frame.temporary);
    body.i32(8);
    body.op("i32.rotr");
    body.i32(0xff00ff00);
    body.op("i32.and");
    body.op("i32.or");
  }

  private arithmetic({ code, k }: BpfInstruction, at: number): void {
    const { body } = this;
    const operator = bpf.operatorOf(code);
    if (operator === bpf.NEG) {
      body.i32(0);
      body.get(this.a);
      body.op("i32.sub");
      body.set(this.a);
      return;
    }
    const byX = bpf.sourceOf(code) === bpf.X;
    if (byX && (operator === bpf.DIV || operator === bpf.MOD)) {
      body.get(this.x);
      body.op("i32.eqz");
      body.brIf(this.reject);
    }
    const width = this.facts.reversed[at];
    body.get(this.a);
    if (byX) body.get(this.x);
    else body.i32(width === 0 ? k : turned(k, width));
    body.op(BINARY.get(operator) ?? "unreachable");
    if (byX && (operator === bpf.LSH || operator === bpf.RSH)) {
      body.i32(0);
      body.get(this.x);
      body.i32(32);
      body.op("i32.lt_u");
      body.op("select");
    }
    body.set(this.a);
  }

  private jump({ code, jt, jf, k }: BpfInstruction, at: number): void {
    const { body } = this;
    if (bpf.operatorOf(code) === bpf.JA || jt === jf) {
      const to = bpf.operatorOf(code) === bpf.JA ? at + 1 + k : at + 1 + jt;
      if (to !== at + 1) body.br(this.labelOf(to));
      return;
    }
    const inverted = jt === 0;
    this.condition(code, k, inverted, at);
    body.brIf(this.labelOf(at + 1 + (inverted ? jf : jt)));
    if (!inverted && jf !== 0) body.br(this.labelOf(at + 1 + jf));
  }

  private condition(code: number, k: number, inverted: boolean, at: number): void {
    const { body } = this;
    const width = this.facts.reversed[at];
    const operator = bpf.operatorOf(code);
    body.get(this.a);
    if (bpf.sourceOf(code) === bpf.X) body.get(this.x);
    else if (width === 0 || (operator === bpf.JEQ && width === 2 && k > 0xffff)) body.i32(k);
    else body.i32(turned(k, width));
    const comparison = COMPARISONS.get(operator);
    if (comparison !== undefined) {
      body.op(comparison[inverted ? 1 : 0]);
      return;
    }
    body.op("i32.and");
    if (inverted) body.op("i32.eqz");
  }

  /** The loop of `protochain`, bounded as the interpreter's. */
  private chain({ jt, jf, k }: BpfInstruction): void {
    const { body, frame, a, x } = this;
    const steps = body.local("i32");
    const header = body.local("i32");
    body.get(frame.capturedLength);
    body.i32(1);
    body.op("i32.shl");
    body.i32(16);
    body.op("i32.add");
    body.set(steps);
    const done = body.block();
    const again = body.loop();
    body.get(a);
    body.get(frame.cells[jt]);
    body.op("i32.eq");
    body.brIf(done);
    this.isProtocol(AUTHENTICATION);
    for (const protocol of jf === 6 ? IPV6_EXTENSIONS : []) {
      this.isProtocol(protocol);
      body.op("i32.or");
    }
    body.op("i32.eqz");
    body.brIf(done);
    body.get(steps);
    body.op("i32.eqz");
    body.brIf(this.reject);
    body.get(steps);
    body.i32(1);
    body.op("i32.sub");
    body.set(steps);
    this.checkHeader(k + 2);
    body.get(frame.offset);
    body.get(x);
    body.op("i32.add");
    body.set(header);
    this.isProtocol(AUTHENTICATION);
    body.if("i32");
    this.headerLength(header, k, 2, 4);
    body.else();
    this.headerLength(header, k, 1, 8);
    body.get(x);
    body.op("i32.add");
    body.end();
    body.set(x);
    body.get(header);
    body.memory("i32.load8_u", k);
    body.set(a);
    body.br(again);
    body.end();
    body.end();
  }

  private isProtocol(protocol: number): void {
    this.body.get(this.a);
    this.body.i32(protocol);
    this.body.op("i32.eq");
  }

  /** Rejects unless X + `needed` bytes are there. */
  private checkHeader(needed: number): void {
    const { body, frame, x } = this;
    body.get(x);
    body.op("i64.extend_i32_u");
    body.i64(needed, 0);
    body.op("i64.add");
    body.get(frame.capturedLength);
    body.op("i64.extend_i32_u");
    body.op("i64.gt_u");
    body.brIf(this.reject);
  }

  private headerLength(header: LocalIndex, k: number, more: number, unit: number): void {
    const { body } = this;
    body.get(header);
    body.memory("i32.load8_u", k + 1);
    body.i32(more);
    body.op("i32.add");
    body.i32(unit);
    body.op("i32.mul");
  }
}
