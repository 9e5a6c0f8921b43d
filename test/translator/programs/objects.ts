import type { Sandbox } from "../../../src/translator/sandbox.js";
import type { Workshop } from "../../support/binutils.js";

/** As kernels are compiled: no vectors, no calls of a C library that nobody wrote down. */
const PLAIN_C = [
  "-w",
  "-c",
  "-fwrapv",
  "-fno-strict-aliasing",
  "-mgeneral-regs-only",
  "-fno-pic",
  "-ffreestanding",
  "-fno-tree-loop-distribute-patterns",
];

let files = 0;

/** The path of an object file made of C. */
export function compiledAt(workshop: Workshop, text: string, ...flags: string[]): string {
  const name = `c${files++}`;
  return workshop.gcc(`${name}.o`, `${name}.c`, text, ...PLAIN_C, ...flags);
}

export const compiled = (workshop: Workshop, text: string, ...flags: string[]): Uint8Array =>
  workshop.read(compiledAt(workshop, text, ...flags));

/** An object file of functions in assembler, Intel's syntax, by name. */
export function assembled(workshop: Workshop, functions: Readonly<Record<string, string>>, more = ""): Uint8Array {
  const name = `s${files++}`;
  const text = Object.entries(functions).map(([symbol, body]) =>
    [
      `.p2align 4`,
      `.globl ${symbol}`,
      `.type ${symbol}, @function`,
      `${symbol}:`,
      body,
      `.size ${symbol}, . - ${symbol}`,
    ].join("\n"),
  );
  const source = [".intel_syntax noprefix", ".text", ...text, more, '.section .note.GNU-stack,"",@progbits', ""].join(
    "\n",
  );
  return workshop.read(workshop.gcc(`${name}.o`, `${name}.s`, source, "-c"));
}

/** General registers, in the order of their encoding. */
export const generalRegisters = (sandbox: Sandbox): bigint[] =>
  Array.from({ length: 16 }, (_, register) => BigInt.asUintN(64, sandbox.cpu.general(register)));
