import * as iced from "iced-x86";
import type { GuestAddress } from "../util/guest-address.js";
import {
  CONDITIONS,
  type ConditionCode,
  type ImmediateOperand,
  type Instruction,
  type MemoryOperand,
  type Operand,
  RDI,
  type RegisterOperand,
  RSI,
  type VectorOperand,
  type Width,
} from "./instruction.js";

/** Why bytes are no instruction; `truncated` may become one if more bytes follow. */
export interface DecodeFailure {
  readonly failure: "invalid opcode" | "truncated";
}

export const isDecodeFailure = (decoded: Decoded | DecodeFailure): decoded is DecodeFailure => "failure" in decoded;

/** The mnemonic that an undecodable byte has in a run. */
export const INVALID = "invalid";

/** Intel SDM volume 2, 2.3.11: longer ones raise #GP. */
export const LONGEST_INSTRUCTION = 15;

const INVALID_OPCODE: DecodeFailure = { failure: "invalid opcode" };
const TRUNCATED: DecodeFailure = { failure: "truncated" };
const FILLERS = [0x00, 0xc0];

/**
 * Decodes 64-bit code. It differs from iced in a few mnemonics, so that width and kind can be told from them alone:
 * `pushw`, `popw`, `enterw`, `leavew` (16-bit operands where no register or memory operand shows it), `loopd`, `looped`,
 * `loopned` (counting ECX) and `callf`, `jmpf` (far, like `retf`).
 */
export class InstructionDecoder {
  readonly #scratch = new iced.Instruction();

  /** The instruction at `bytes[offset]`, of which at most `length` bytes may be read. */
  decode(bytes: Uint8Array, offset: number, length: number, address: GuestAddress): Decoded | DecodeFailure {
    const code = bytes.slice(offset, offset + Math.min(length, LONGEST_INSTRUCTION));
    const decoder = decoderAt(code, address);
    try {
      decoder.decodeOut(this.#scratch);
      if (this.#scratch.code !== iced.Code.INVALID) return new Decoded(this.#scratch, address, code, 0);
      return this.#ends(decoder, code, 0) ? TRUNCATED : INVALID_OPCODE;
    } finally {
      decoder.free();
    }
  }

  /**
   * The instructions one after the other. A byte that begins none appears under the mnemonic `INVALID`; an instruction
   * that does not end within `length` is left out.
   */
  decodeRun(bytes: Uint8Array, offset: number, length: number, address: GuestAddress): Decoded[] {
    const code = bytes.slice(offset, offset + length);
    const decoder = decoderAt(code, address);
    const scratch = this.#scratch;
    const instructions: Decoded[] = [];
    try {
      for (let position = 0; position < code.length; position += scratch.length) {
        decoder.decodeOut(scratch);
        const at = (address + position) as GuestAddress;
        if (scratch.code === iced.Code.INVALID) {
          if (this.#ends(decoder, code, position)) break;
          scratch.code = iced.Code.INVALID;
          scratch.length = 1;
          decoder.position = position + 1;
          decoder.ip = unsigned(at + 1);
        }
        instructions.push(new Decoded(scratch, at, code, position));
      }
    } finally {
      decoder.free();
    }
    return instructions;
  }

  /**
   * Whether the bytes from `position` on are the beginning of an instruction. iced also asks for more bytes where none
   * could help, so a few are offered: a memory operand and a register operand.
   */
  #ends(decoder: iced.Decoder, code: Uint8Array, position: number): boolean {
    if (decoder.lastError !== iced.DecoderError.NoMoreBytes) return false;
    return FILLERS.some((filler) => {
      const longer = new Uint8Array(LONGEST_INSTRUCTION).fill(filler);
      longer.set(code.subarray(position));
      const retry = decoderAt(longer, 0 as GuestAddress);
      try {
        retry.decodeOut(this.#scratch);
        return this.#scratch.code !== iced.Code.INVALID;
      } finally {
        retry.free();
      }
    });
  }

  [Symbol.dispose](): void {
    this.#scratch.free();
  }
}

function decoderAt(code: Uint8Array, address: GuestAddress): iced.Decoder {
  const decoder = new iced.Decoder(64, code, iced.DecoderOptions.None);
  decoder.ip = unsigned(address);
  return decoder;
}

const unsigned = (address: number): bigint => BigInt.asUintN(64, BigInt(address));

/** An instruction as it was decoded. */
export class Decoded implements Instruction {
  readonly address: GuestAddress;
  readonly length: number;
  readonly mnemonic: string;
  readonly operands: readonly Operand[];
  readonly rep: boolean;
  readonly repne: boolean;
  readonly lock: boolean;
  readonly condition: ConditionCode | null;
  /** The bytes it was decoded from, shared by a run, and where in them. */
  readonly #code: Uint8Array;
  readonly #offset: number;

  constructor(source: iced.Instruction, address: GuestAddress, code: Uint8Array, offset: number) {
    const form = FORMS[source.code] ?? formOf(source);
    this.address = address;
    this.length = source.length;
    this.mnemonic = form.mnemonic;
    this.operands = form.operands === 0 ? NO_OPERANDS : operandsOf(source, form.operands);
    this.rep = source.hasRepPrefix;
    this.repne = source.hasRepnePrefix;
    this.lock = source.hasLockPrefix;
    this.condition = form.condition;
    this.#code = code;
    this.#offset = offset;
  }

  text(): string {
    return this.textAt(this.address, 0, 0);
  }

  /** The text of the same bytes elsewhere, the last `relative` of them being `distance`. */
  textAt(address: GuestAddress, relative: number, distance: number): string {
    const code = this.#code.slice(this.#offset, this.#offset + this.length);
    for (let i = 0; i < relative; i++) code[code.length - relative + i] = distance >> (8 * i);
    const decoder = decoderAt(code, address);
    const instruction = decoder.decode();
    try {
      return instruction.toString();
    } finally {
      instruction.free();
      decoder.free();
    }
  }
}

/** What all instructions of one iced `Code` share. */
interface Form {
  readonly mnemonic: string;
  readonly operands: number;
  readonly condition: ConditionCode | null;
}

const NO_OPERANDS: readonly Operand[] = [];
const FORMS: (Form | undefined)[] = [];

const RENAMED: readonly (readonly [RegExp, string])[] = [
  [/^Push(w_imm8|_imm16|w_[FG]S)$/, "pushw"],
  [/^Popw_[FG]S$/, "popw"],
  [/^Enterw_/, "enterw"],
  [/^Leavew$/, "leavew"],
  [/^Loop_rel8_64_ECX$/, "loopd"],
  [/^Loope_rel8_64_ECX$/, "looped"],
  [/^Loopne_rel8_64_ECX$/, "loopned"],
  [/^Call_m16/, "callf"],
  [/^Jmp_m16/, "jmpf"],
];

function formOf(source: iced.Instruction): Form {
  const code = iced.Code[source.code] ?? "";
  const mnemonic =
    RENAMED.find(([pattern]) => pattern.test(code))?.[1] ?? iced.Mnemonic[source.mnemonic]?.toLowerCase();
  const suffix = /^(?:j|set|cmov)(.+)$/.exec(mnemonic ?? "")?.[1];
  const form: Form = {
    mnemonic: mnemonic ?? INVALID,
    operands: source.opCount,
    condition: CONDITIONS.find((name) => name === suffix) ?? null,
  };
  FORMS[source.code] = form;
  return form;
}

function operandsOf(source: iced.Instruction, count: number): readonly Operand[] {
  const first = operandOf(source, 0, source.op0Kind);
  if (count === 1) return [first];
  const second = operandOf(source, 1, source.op1Kind);
  if (count === 2) return [first, second];
  const third = operandOf(source, 2, source.op2Kind);
  if (count === 3) return [first, second, third];
  const fourth = operandOf(source, 3, source.op3Kind);
  return count === 4
    ? [first, second, third, fourth]
    : [first, second, third, fourth, operandOf(source, 4, source.op4Kind)];
}

function registerAt(source: iced.Instruction, position: number): iced.Register {
  switch (position) {
    case 0:
      return source.op0Register;
    case 1:
      return source.op1Register;
    case 2:
      return source.op2Register;
    case 3:
      return source.op3Register;
    default:
      return source.op4Register;
  }
}

function operandOf(source: iced.Instruction, position: number, kind: iced.OpKind): Operand {
  switch (kind) {
    case iced.OpKind.Register:
      return REGISTERS[registerAt(source, position)] ?? special(source);
    case iced.OpKind.Memory:
      return memoryOf(source);
    case iced.OpKind.NearBranch64:
      return { kind: "branch", target: Number(BigInt.asIntN(64, source.nearBranchTarget)) as GuestAddress };
    case iced.OpKind.Immediate8:
      return immediate(source.immediate8);
    case iced.OpKind.Immediate8_2nd:
      return immediate(source.immediate8_2nd);
    case iced.OpKind.Immediate8to16:
      return immediate(source.immediate8to16);
    case iced.OpKind.Immediate8to32:
      return immediate(source.immediate8to32);
    case iced.OpKind.Immediate8to64:
      return { kind: "immediate", value: source.immediate8to64 };
    case iced.OpKind.Immediate16:
      return immediate((source.immediate16 << 16) >> 16);
    case iced.OpKind.Immediate32:
      return immediate(source.immediate32 | 0);
    case iced.OpKind.Immediate32to64:
      return { kind: "immediate", value: source.immediate32to64 };
    case iced.OpKind.Immediate64:
      return { kind: "immediate", value: BigInt.asIntN(64, source.immediate64) };
    case iced.OpKind.MemorySegRSI:
      return stringOperand(source, RSI, false, segmentOf(source.memorySegment));
    case iced.OpKind.MemorySegESI:
      return stringOperand(source, RSI, true, segmentOf(source.memorySegment));
    case iced.OpKind.MemorySegRDI:
      return stringOperand(source, RDI, false, segmentOf(source.memorySegment));
    case iced.OpKind.MemorySegEDI:
      return stringOperand(source, RDI, true, segmentOf(source.memorySegment));
    case iced.OpKind.MemoryESRDI:
      return stringOperand(source, RDI, false, "none");
    case iced.OpKind.MemoryESEDI:
      return stringOperand(source, RDI, true, "none");
    default:
      return special(source);
  }
}

const special = (source: iced.Instruction): Operand => ({ kind: "special", text: source.toString() });

const SMALL: readonly ImmediateOperand[] = Array.from({ length: 512 }, (_, i) => ({
  kind: "immediate",
  value: BigInt(i - 128),
}));

const immediate = (value: number): ImmediateOperand =>
  SMALL[value + 128] ?? { kind: "immediate", value: BigInt(value) };

const segmentOf = (segment: iced.Register): MemoryOperand["segment"] =>
  segment === iced.Register.FS ? "fs" : segment === iced.Register.GS ? "gs" : "none";

function stringOperand(
  source: iced.Instruction,
  base: number,
  short: boolean,
  segment: MemoryOperand["segment"],
): MemoryOperand {
  const bytes = MEMORY_BYTES[source.memorySize] ?? 0;
  return { kind: "memory", base, index: -1, scale: 1, displacement: 0n, segment, short, bytes };
}

function memoryOf(source: iced.Instruction): Operand {
  const base = source.memoryBase;
  const index = source.memoryIndex;
  const indexNumber = index === iced.Register.None ? -1 : ADDRESS_REGISTERS[index];
  // Gather instructions index by a vector register.
  if (indexNumber === undefined) return special(source);
  const short = source.memoryDisplSize === 4 || isShort(base) || isShort(index);
  return {
    kind: "memory",
    base: ADDRESS_REGISTERS[base] ?? -1,
    index: indexNumber,
    scale: index === iced.Register.None ? 1 : (source.memoryIndexScale as MemoryOperand["scale"]),
    displacement: BigInt.asIntN(short ? 32 : 64, source.memoryDisplacement),
    segment: segmentOf(source.memorySegment),
    short,
    bytes: MEMORY_BYTES[source.memorySize] ?? 0,
  };
}

const isShort = (register: iced.Register): boolean =>
  (register >= iced.Register.EAX && register <= iced.Register.R15D) || register === iced.Register.EIP;

/** Operands are never changed, so all uses of a register share one. */
const REGISTERS: (RegisterOperand | VectorOperand | undefined)[] = [];
/** Numbers of the registers that addresses are computed from; AL is the index of xlatb. */
const ADDRESS_REGISTERS: (number | undefined)[] = [];
const MEMORY_BYTES: number[] = [];

function addRegisters(first: iced.Register, count: number, width: Width, register: number, high = false): void {
  for (let i = 0; i < count; i++) REGISTERS[first + i] = { kind: "register", register: register + i, width, high };
}

function fillTables(): void {
  const { AL, AH, SPL, AX, EAX, RAX, XMM0 } = iced.Register;
  addRegisters(AL, 4, 1, 0);
  addRegisters(AH, 4, 1, 0, true);
  addRegisters(SPL, 12, 1, 4);
  addRegisters(AX, 16, 2, 0);
  addRegisters(EAX, 16, 4, 0);
  addRegisters(RAX, 16, 8, 0);
  for (let i = 0; i < 16; i++) {
    REGISTERS[XMM0 + i] = { kind: "vector", register: i };
    ADDRESS_REGISTERS[EAX + i] = i;
    ADDRESS_REGISTERS[RAX + i] = i;
  }
  ADDRESS_REGISTERS[AL] = 0;
  for (let size = 0; iced.MemorySize[size] !== undefined; size++) MEMORY_BYTES[size] = iced.MemorySizeExt.size(size);
}

fillTables();
