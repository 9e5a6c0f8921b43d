import { run, type Workshop } from "../../support/binutils.js";

/** Calls functions of an object file on the processor at hand, in order. @returns what each returned, unsigned */
export function callNatively(
  workshop: Workshop,
  object: string,
  calls: readonly { readonly name: string; readonly args: readonly bigint[] }[],
): bigint[] {
  const names = [...new Set(calls.map(({ name }) => name))];
  const lines = calls.map(
    ({ name, args }) => `  printf("%lx\\n", ${name}(${args.map((arg) => `0x${arg.toString(16)}ul`).join(", ")}));`,
  );
  const text = [
    "int printf(const char *, ...);",
    ...names.map((name) => `unsigned long ${name}();`),
    "int main(void) {",
    ...lines,
    "}",
  ].join("\n");
  const source = workshop.write(`${object.replace(/.*\//, "")}.main.c`, text);
  const program = `${object}.native`;
  run("gcc", ["-w", "-O0", "-no-pie", "-o", program, source, object]);
  return run(program, [])
    .trim()
    .split("\n")
    .map((line) => BigInt(`0x${line}`));
}
