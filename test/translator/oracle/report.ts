import * as iced from "iced-x86";
import type { Case, Outcome } from "./case.js";
import { flagsText, REGISTER_NAMES } from "./compare.js";

const hex = (value: bigint | number): string => value.toString(16);
const hexBytes = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** A case for people to read: code, what it starts from as far as it matters, and what was found. */
export function describeCase(test: Case, expected: Outcome, differences: readonly string[]): string {
  const { lines, used } = disassemble(test);
  const registers = REGISTER_NAMES.flatMap((name, i) => (used.has(name) ? [`${name}=${hex(test.registers[i])}`] : []));
  const vectors = Array.from({ length: 16 }, (_, i) => i)
    .filter((i) => used.has(`xmm${i}`))
    .map((i) => `xmm${i}=${hexBytes(test.xmm.slice(16 * i, 16 * i + 16).reverse())}`);
  const bases = [
    ...(test.fsBase === 0n ? [] : [`fs=${hex(test.fsBase)}`]),
    ...(test.gsBase === 0n ? [] : [`gs=${hex(test.gsBase)}`]),
  ];
  return [
    ...lines.map((line) => `    ${line}`),
    `  from ${[...registers, ...bases, flagsText(test.flags)].join(" ")}`,
    ...vectors.map((text) => `       ${text}`),
    ...test.patches.map(({ address, bytes }) => `       [${hex(address)}] = ${hexBytes(bytes)}`),
    `  the processor stops at ${hex(expected.rip)}: ${expected.stop}`,
    ...differences.map((text) => `  ${text}`),
  ].join("\n");
}

/** Lines of address, bytes and text; names of the registers that any instruction uses. */
function disassemble(test: Case): { lines: string[]; used: Set<string> } {
  const decoder = new iced.Decoder(64, test.code, iced.DecoderOptions.None);
  decoder.ip = BigInt(test.codeAddress);
  const factory = new iced.InstructionInfoFactory();
  const instruction = new iced.Instruction();
  const lines: string[] = [];
  const used = new Set<string>();
  while (decoder.canDecode) {
    const start = decoder.position;
    decoder.decodeOut(instruction);
    const bytes = hexBytes(test.code.subarray(start, decoder.position));
    lines.push(`${hex(test.codeAddress + start)}  ${bytes.padEnd(24)}  ${instruction.toString()}`);
    const info = factory.info(instruction);
    for (const { register } of info.usedRegisters() as iced.UsedRegister[]) {
      const full = iced.RegisterExt.isXMM(register) ? register : iced.RegisterExt.fullRegister(register);
      used.add(iced.Register[full].toLowerCase());
    }
    info.free();
  }
  instruction.free();
  factory.free();
  decoder.free();
  return { lines, used };
}
