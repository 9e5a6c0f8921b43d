import { afterAll, describe, expect, test } from "vitest";
import { Sandbox } from "../../src/translator/sandbox.js";
import { isInstalled, Workshop } from "../support/binutils.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
volatile unsigned long turns;
void endless(void) { for (;;) turns++; }
void slow(void) { for (;;) { unsigned a = 0, b, c, d; __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d)); turns++; } }
unsigned long sum(unsigned long n) { unsigned long s = 0; for (unsigned long i = 0; i < n; i++) s = s * 31 + i; return s; }
`;

describe.skipIf(!isInstalled("gcc"))("a run pauses when it is asked to", () => {
  const open = (): Sandbox => {
    const sandbox = Sandbox.create();
    sandbox.load(workshop.read(workshop.gcc("pause.o", "pause.c", SOURCE, "-O1", "-c")));
    return sandbox;
  };

  test.each(["endless", "slow"])("%s: loops that never end", (name) => {
    const sandbox = open();
    let questions = 0;
    sandbox.runtime.pause = () => ++questions % 3 === 0;
    const turns = () => new DataView(sandbox.read(sandbox.symbol("turns"), 8).buffer).getBigUint64(0, true);
    expect(sandbox.callAt(sandbox.symbol(name))).toEqual({ kind: "exhausted" });
    expect(questions).toBe(3);
    const before = turns();
    expect(sandbox.resume()).toEqual({ kind: "exhausted" });
    expect(questions).toBe(6);
    expect(turns()).toBeGreaterThan(before);
    expect(before).toBeGreaterThan(1000n);
  });

  test("and goes on where it was", () => {
    const n = 50_000_000n;
    const expected = open().call("sum", [n]);
    const sandbox = open();
    sandbox.runtime.pause = () => true;
    let pauses = 0;
    for (let stop = sandbox.callAt(sandbox.symbol("sum"), [n]); stop.kind !== "returned"; stop = sandbox.resume()) {
      expect(stop.kind).toBe("exhausted");
      pauses++;
    }
    expect(sandbox.register("rax")).toBe(expected);
    expect(pauses).toBeGreaterThan(3);
  });
});
