import { afterAll, describe, expect, test } from "vitest";
import { isInstalled, Workshop } from "../support/binutils.js";
import { korral } from "./korral.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
int table[4];
static int helper(int *p) { return *p + 1; }
int first(int *p) { return helper(p) * 3; }
int sum(int *p, int n) { int s = 0; for (int i = 0; i < n; i++) s += p[i]; return s; }
`;

describe.skipIf(!isInstalled("gcc"))("disasm", () => {
  const object = () => workshop.gcc("sample.o", "sample.c", SOURCE, "-c", "-O2", "-fno-tree-vectorize");

  test("shows guest code, steps and WebAssembly side by side", async () => {
    const { status, stdout, stderr } = await korral(["disasm", object(), "first"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^first: \d+ bytes of guest code, \d+ bytes of WebAssembly$/m);
    expect(stdout).toMatch(/mov eax,\[rdi\] +t0: i32 = load 4 \[rdi\] +\S/);
    expect(stdout).toMatch(/i64\.load offset=0x38/);
    expect(stdout).toMatch(/^ways out$/m);
  });

  test("as JSON, with every byte of the function and nothing checked when checks are off", async () => {
    const path = object();
    const document = async (checks: string) => {
      const { status, stdout } = await korral(["disasm", path, "sum", "--checks", checks, "--json"]);
      expect(status).toBe(0);
      return JSON.parse(stdout);
    };
    const [on, off] = [await document("on"), await document("off")];
    const rows = (found: { blocks: { rows: { bytes: string }[] }[] }) => found.blocks.flatMap((block) => block.rows);
    expect(rows(on).reduce((sum, { bytes }) => sum + bytes.length / 2, 0)).toBe(on.guestBytes);
    expect(JSON.stringify(on)).toContain("0x7ffe0000");
    expect(JSON.stringify(off)).not.toContain("0x7ffe0000");
    expect(off.wasmBytes).toBeLessThan(on.wasmBytes);
  });

  test("says what is no function", async () => {
    const missing = await korral(["disasm", object(), "nothing"]);
    expect([missing.status, missing.stderr]).toEqual([4, expect.stringContaining('has no symbol "nothing"')]);
    const data = await korral(["disasm", object(), "table"]);
    expect([data.status, data.stderr]).toEqual([5, "korral: table is not code: name a function\n"]);
  });
});
