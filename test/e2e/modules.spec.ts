import { writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { isInstalled, Workshop } from "../support/binutils.js";
import { korral, scratch } from "./korral.js";

const file = scratch();
const workshop = new Workshop();
afterAll(() => workshop.close());

const MODULE = `
.section .modinfo,"a"
.asciz "description=clears \\033[2J the screen"
.asciz "license=GPL"
.asciz "parmtype=debug:int"
.asciz "parm=debug:Level"
.text
.globl init_module
.type init_module,@function
init_module: call kfree
ret
.size init_module, . - init_module
`;

describe.skipIf(!isInstalled("gcc"))("modinfo and symbols", () => {
  const module = () => workshop.gcc("sample.ko", "sample.s", MODULE, "-c");

  test("modinfo, for people: what the module says cannot reach the terminal's controls", async () => {
    const path = module();
    const { status, stdout, stderr } = await korral(["modinfo", path]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout.split("\n")).toEqual([
      `filename:       ${path}`,
      "description:    clears \\x1b[2J the screen",
      "license:        GPL",
      "signature:      none",
      "parm:           debug:Level (int)",
      expect.stringMatching(/^sections: {7}\d+$/),
      expect.stringMatching(/^size: {11}\d+ bytes loaded: 6 code, \d+ read-only, 0 data$/),
      "symbols:        1 imported, 0 exported",
      "",
    ]);
  });

  test("modinfo, as JSON, from standard input, compressed", async () => {
    const { status, stdout } = await korral(["modinfo", "-", "--json"], gzipSync(workshop.read(module())));
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      filename: "standard input",
      name: null,
      license: "GPL",
      description: "clears \u001b[2J the screen",
      authors: [],
      depends: [],
      info: { license: ["GPL"], parm: ["debug:Level"], parmtype: ["debug:int"] },
      parameters: [{ name: "debug", description: "Level", type: "int", permissions: null }],
      signature: null,
      init: "init_module",
      exit: null,
      imports: 1,
      exports: 0,
    });
  });

  test("symbols of a module, an object and an executable", async () => {
    const sample = JSON.parse((await korral(["symbols", module(), "--json"])).stdout);
    expect(sample).toEqual({
      file: expect.stringMatching(/sample\.ko$/),
      kind: "module",
      imports: [{ name: "kfree", weak: false, crc: null }],
      exports: [],
      functions: [{ name: "init_module", section: ".text", address: "0x0000000000000000", size: 6, binding: "global" }],
      relocations: { R_X86_64_PLT32: 1 },
    });
    const object = workshop.gcc("object.o", "object.c", "int far(int); int near(int x) { return far(x) + 1; }\n", "-c");
    const shown = await korral(["symbols", object]);
    expect(shown.stdout).toMatch(
      /^1 imported\n {14}far\n0 exported\n1 functions\n {2}0x0{16} +\d+ {2}global {2}\.text {2}near\n/,
    );
    const program = workshop.gcc("program", "program.c", "int main(void) { return 0; }\n", "-static");
    const executable = JSON.parse((await korral(["symbols", program, "--json"])).stdout);
    expect(executable.kind).toBe("executable");
    expect(executable.functions.find((row: { name: string }) => row.name === "main").address).toMatch(/^0x00000000004/);
  });

  test("refusals: status and a sentence", async () => {
    const path = module();
    writeFileSync(file("text"), "not an ELF file, but long enough to be one\n");
    writeFileSync(file("cut.ko"), workshop.read(path).subarray(0, 300));
    const arm = workshop.read(path).slice();
    arm[18] = 183;
    writeFileSync(file("arm.ko"), arm);
    const object = workshop.gcc("object.o", "object.c", "int x;\n", "-c");
    const stripped = workshop.gcc("stripped", "program.c", "int main(void) { return 0; }\n", "-s");
    for (const [args, status, message] of [
      [["modinfo", file("text")], 4, /is not an ELF file/],
      [["symbols", file("text")], 4, /is not an ELF file/],
      [["modinfo", file("arm.ko")], 4, /is for AArch64; only x86-64/],
      [["modinfo", file("cut.ko")], 5, /cut\.ko is broken at byte 40: .*the file has 300/],
      [["modinfo", object], 4, /is no kernel module: it has no section \.modinfo/],
      [["symbols", stripped], 4, /has no symbols/],
      [["modinfo", file("nowhere")], 5, /there is no such file/],
      [["symbols", file("")], 5, /is a directory/],
      [["modinfo"], 2, /missing required argument/],
    ] as const) {
      const outcome = await korral(args);
      expect([outcome.status, outcome.stdout, outcome.stderr], args.join(" ")).toEqual([
        status,
        "",
        expect.stringMatching(message),
      ]);
      if (status !== 2) expect(outcome.stderr).toMatch(/^korral: [^\n]+\n$/);
    }
  });
});
