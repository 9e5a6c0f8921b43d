import * as iced from "iced-x86";
import { ARITHMETIC_FLAGS } from "../../../src/translator/ir.js";
import { encode } from "./encode.js";
import type { Addressing, Chosen, Form, Slot } from "./form.js";

/** Features as iced and as Linux names them; those with none are in every x86-64 processor or do nothing. */
const FEATURES: Readonly<Record<string, readonly string[]>> = {
  INTEL8086: [],
  INTEL186: [],
  INTEL286: [],
  INTEL386: [],
  INTEL486: [],
  X64: [],
  MULTIBYTENOP: [],
  PAUSE: [],
  PREFETCHW: [],
  CET_IBT: [],
  CMOV: ["cmov"],
  CX8: ["cx8"],
  CMPXCHG16B: ["cx16"],
  CLFSH: ["clflush"],
  SSE: ["sse"],
  SSE2: ["sse2"],
  SSE3: ["pni"],
  SSSE3: ["ssse3"],
  SSE4_1: ["sse4_1"],
  SSE4_2: ["sse4_2"],
  POPCNT: ["popcnt"],
  LZCNT: ["abm"],
  BMI1: ["bmi1"],
  BMI2: ["bmi2"],
  ADX: ["adx"],
  MOVBE: ["movbe"],
};

/**
 * What no two processors, or no two rings, agree on: system instructions, segments and far jumps; branches with 16-bit
 * operands (Intel ignores the prefix, AMD cuts RIP); bswap of 16 bits (undefined); movsxd to 16 bits (AMD reads four
 * bytes, Intel two).
 */
const LEFT_OUT =
  /^(Sldt|Str_|Verr|Verw|Sgdt|Sidt|Smsw|Lar|Lsl|Mov_.*Sreg|Mov_Sreg|Push._[FG]S|Pop._[FG]S|Retf|Iret|Call_m16|Jmp_m16|Int_|Int1|L[fgs]s_|Ldmxcsr|Stmxcsr|Bswap_r16|Movsxd_r16|Retnw|Call_rm16|Jmp_rm16|Call_rel16|Jmp_rel16|.*_rel8_16|J.*_rel16|Reservednop|Ud0)/;

const FLOATING_POINT =
  /^(Cvt|Add[sp][sd]_|Mul[sp][sd]_|Sub[sp][sd]_|Div[sp][sd]_|M(in|ax)[sp][sd]_|Sqrt|Rsqrt|Rcp[sp]s_|Cmp[sp][sd]_xmm|Ucomis|Comis|Round|Dpp|Hadd|Hsub|Addsub|Pcmp[ie]str)/;

const UNALIGNED = /^(Movdqu|Movups|Movupd|Lddqu)/;

/** Every form that the translator should know, sorted as iced numbers them. */
export function allForms(): Form[] {
  const factory = new iced.InstructionInfoFactory();
  const forms: Form[] = [];
  for (const [name, code] of Object.entries(iced.Code)) {
    if (typeof code !== "number") continue;
    const info = iced.CodeExt.opCode(code);
    if (isWanted(name, code, info)) forms.push(formOf(name, code, info, factory));
    info.free();
  }
  factory.free();
  return forms;
}

function featuresOf(code: iced.Code): string[] {
  const instruction = new iced.Instruction();
  instruction.code = code;
  const names = Array.from(instruction.cpuidFeatures(), (feature) => iced.CpuidFeature[feature]);
  instruction.free();
  return names;
}

function isWanted(name: string, code: iced.Code, info: iced.OpCodeInfo): boolean {
  if (!info.mode64 || !info.isInstruction || info.isPrivileged || info.isInputOutput) return false;
  if (info.encoding !== iced.EncodingKind.Legacy && info.encoding !== iced.EncodingKind.VEX) return false;
  if (LEFT_OUT.test(name) || FLOATING_POINT.test(name)) return false;
  for (let i = 0; i < info.opCount; i++) if (iced.OpCodeOperandKind[info.opKind(i)].startsWith("mm_")) return false;
  if (name.startsWith("Maskmovq") || name === "Movdq2q_mm_xmm") return false;
  return featuresOf(code).every((feature) => feature in FEATURES);
}

type Template = Omit<Slot, "reads" | "writes">;

const template = (place: Slot["place"], kind: Slot["kind"], bytes: number, more: Partial<Template> = {}): Template => ({
  place,
  kind,
  bytes,
  register: kind === "gpr" || kind === "xmm",
  memory: false,
  fixed: -1,
  ...more,
});

const gpr = (place: Slot["place"], bytes: number, more?: Partial<Template>): Template =>
  template(place, "gpr", bytes, more);
const immediate = (bytes: number, more?: Partial<Template>): Template =>
  template("immediate", "immediate", bytes, more);
const either = { memory: true };
const TEMPLATES: Readonly<Record<string, Template>> = {
  r8_or_mem: gpr("rm", 1, either),
  r16_or_mem: gpr("rm", 2, either),
  r32_or_mem: gpr("rm", 4, either),
  r64_or_mem: gpr("rm", 8, either),
  xmm_or_mem: template("rm", "xmm", 16, either),
  mem: template("rm", "memory", 0, either),
  r8_reg: gpr("reg", 1),
  r16_reg: gpr("reg", 2),
  r32_reg: gpr("reg", 4),
  r64_reg: gpr("reg", 8),
  r16_rm: gpr("rm", 2),
  r32_rm: gpr("rm", 4),
  r64_rm: gpr("rm", 8),
  r8_opcode: gpr("opcode", 1),
  r16_opcode: gpr("opcode", 2),
  r32_opcode: gpr("opcode", 4),
  r64_opcode: gpr("opcode", 8),
  r32_vvvv: gpr("vvvv", 4),
  r64_vvvv: gpr("vvvv", 8),
  xmm_reg: template("reg", "xmm", 16),
  xmm_rm: template("rm", "xmm", 16),
  al: gpr("fixed", 1, { fixed: 0 }),
  cl: gpr("fixed", 1, { fixed: 1 }),
  ax: gpr("fixed", 2, { fixed: 0 }),
  eax: gpr("fixed", 4, { fixed: 0 }),
  rax: gpr("fixed", 8, { fixed: 0 }),
  imm8: immediate(1),
  imm8_const_1: immediate(0, { place: "fixed", fixed: 1 }),
  imm8sex16: immediate(1),
  imm8sex32: immediate(1),
  imm8sex64: immediate(1),
  imm16: immediate(2),
  imm32: immediate(4),
  imm32sex64: immediate(4),
  imm64: immediate(8),
  br64_1: immediate(1, { place: "branch" }),
  br64_4: immediate(4, { place: "branch" }),
  mem_offs: template("moffs", "memory", 0, either),
  seg_rSI: template("fixed", "memory", 0, either),
  es_rDI: template("fixed", "memory", 0, either),
  seg_rDI: template("fixed", "memory", 0, either),
  seg_rBX_al: template("fixed", "memory", 0, either),
};

const ESCAPES: Readonly<Record<number, readonly number[]>> = {
  [iced.OpCodeTableKind.Normal]: [],
  [iced.OpCodeTableKind.T0F]: [0x0f],
  [iced.OpCodeTableKind.T0F38]: [0x0f, 0x38],
  [iced.OpCodeTableKind.T0F3A]: [0x0f, 0x3a],
};

const MANDATORY: Readonly<Record<number, number>> = {
  [iced.MandatoryPrefix.P66]: 0x66,
  [iced.MandatoryPrefix.PF3]: 0xf3,
  [iced.MandatoryPrefix.PF2]: 0xf2,
};

function formOf(name: string, code: iced.Code, info: iced.OpCodeInfo, factory: iced.InstructionInfoFactory): Form {
  const templates = Array.from({ length: info.opCount }, (_, i) => {
    const kind = iced.OpCodeOperandKind[info.opKind(i)];
    const found = TEMPLATES[kind];
    if (found === undefined) throw new Error(`${name} has an operand of a kind without a template: ${kind}`);
    return found;
  });
  const vex = info.encoding === iced.EncodingKind.VEX;
  const opcode = info.opCodeLength === 2 ? [info.opCode >> 8, info.opCode & 0xff] : [info.opCode];
  const size = info.operandSize;
  const draft: Form = {
    name,
    mnemonic: iced.Mnemonic[info.mnemonic].toLowerCase(),
    needs: featuresOf(code).flatMap((feature) => FEATURES[feature]),
    vex,
    mandatoryPrefix: MANDATORY[info.mandatoryPrefix] ?? 0,
    operandSizePrefix: size === 16,
    addressSizePrefix: info.addressSize === 32,
    rexW: vex ? info.W === 1 : size === 64 && !info.defaultOpSize64 && !info.forceOpSize64,
    opcode: vex ? opcode : [...ESCAPES[info.table], ...opcode],
    map: info.table,
    modrm: info.isGroup || templates.some((slot) => slot.place === "rm" || slot.place === "reg"),
    extension: info.isGroup ? info.groupIndex : -1,
    slots: templates.map((slot) => ({ ...slot, reads: false, writes: false })),
    memoryBytes: iced.MemorySizeExt.size(info.memorySize),
    aligned: false,
    lockable: info.canUseLockPrefix,
    string: /^(Movs|Cmps|Stos|Lods|Scas)._(m|AL|AX|EAX|RAX)/.test(name),
    repeats: info.canUseRepPrefix ? (info.canUseRepnePrefix ? "repe-repne" : "rep") : "no",
    implicitReads: 0,
    implicitWrites: 0,
    flagsRead: 0,
    flagsDefined: 0,
    flagsUndefined: 0,
    vector: templates.some((slot) => slot.kind === "xmm"),
    control: templates.some((slot) => slot.place === "branch") || /^(Call|Jmp|Ret)/.test(name),
  };
  return { ...draft, ...effectsOf(draft, code, factory) };
}

const SAMPLE_ADDRESSING: Addressing = {
  segment: "none",
  short: false,
  base: 12,
  index: -1,
  scale: 1,
  displacement: 0n,
  displacementBytes: 0,
};

/** Encodes a form with registers that no instruction uses unasked, and reads what iced knows of the effects. */
function effectsOf(form: Form, code: iced.Code, factory: iced.InstructionInfoFactory): Partial<Form> {
  let next = 9;
  const values = form.slots.map((slot) => (slot.kind === "immediate" ? 2 : slot.kind === "memory" ? 0 : next++));
  const inMemory = form.slots.some((slot) => !slot.register && slot.memory && slot.place !== "fixed");
  const chosen: Chosen = {
    values,
    addressing: inMemory ? SAMPLE_ADDRESSING : null,
    lock: false,
    repeat: 0,
    idle: [],
    idleRex: false,
  };
  const decoder = new iced.Decoder(64, encode(form, chosen, 0).bytes, iced.DecoderOptions.None);
  const instruction = decoder.decode();
  if (instruction.code !== code)
    throw new Error(`${form.name} was encoded as ${iced.Code[instruction.code]}: ${instruction.toString()}`);
  const info = factory.info(instruction);
  const explicit = form.slots.map((slot, i) => (slot.kind === "gpr" && slot.fixed < 0 ? Number(values[i]) : -1));
  let implicitReads = 0;
  let implicitWrites = 0;
  for (const used of info.usedRegisters() as iced.UsedRegister[]) {
    const full = iced.RegisterExt.fullRegister(used.register);
    const number = full >= iced.Register.RAX && full <= iced.Register.R15 ? full - iced.Register.RAX : -1;
    if (number < 0 || explicit.includes(number) || (inMemory && number === SAMPLE_ADDRESSING.base)) continue;
    if (READS.has(used.access)) implicitReads |= 1 << number;
    if (WRITES.has(used.access)) implicitWrites |= 1 << number;
  }
  const effects = {
    slots: form.slots.map((slot, i) => ({
      ...slot,
      reads: READS.has(info.opAccess(i)),
      writes: WRITES.has(info.opAccess(i)),
    })),
    aligned: (form.vector || form.mnemonic === "cmpxchg16b") && form.memoryBytes === 16 && !UNALIGNED.test(form.name),
    implicitReads,
    implicitWrites,
    flagsRead: instruction.rflagsRead & ARITHMETIC_FLAGS,
    flagsDefined: (instruction.rflagsWritten | instruction.rflagsCleared | instruction.rflagsSet) & ARITHMETIC_FLAGS,
    flagsUndefined: instruction.rflagsUndefined & ARITHMETIC_FLAGS,
  };
  info.free();
  instruction.free();
  decoder.free();
  return effects;
}

const READS: ReadonlySet<iced.OpAccess> = new Set([
  iced.OpAccess.Read,
  iced.OpAccess.CondRead,
  iced.OpAccess.ReadWrite,
  iced.OpAccess.ReadCondWrite,
]);
const WRITES: ReadonlySet<iced.OpAccess> = new Set([
  iced.OpAccess.Write,
  iced.OpAccess.CondWrite,
  iced.OpAccess.ReadWrite,
  iced.OpAccess.ReadCondWrite,
]);
