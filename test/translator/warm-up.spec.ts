import { afterAll, describe, expect, it } from "vitest";
import { Sandbox } from "../../src/translator/sandbox.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
typedef unsigned long u64;
__attribute__((noipa)) u64 leaf(u64 n) { return n * 3 + 1; }
__attribute__((noipa)) u64 other(u64 n) { return leaf(n) ^ leaf(n + 1); }
u64 (*chosen)(u64) = other;
u64 down(u64 n) { return n == 0 ? 1 : down(n - 1) * 3 + chosen(n); }
u64 around(u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum = sum * 31 + down(i & 7) + leaf(i); return sum; }
u64 reads(u64 *p) { return leaf(*p) + *p; }
u64 goes(u64 n, u64 *p) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += reads(i + 1 == n ? p : &sum); return sum; }
`;

describe.skipIf(!isInstalled("gcc"))("Cold code", () => {
  const object = isInstalled("gcc") ? compiled(workshop, SOURCE, "-O1") : new Uint8Array();
  const loaded = (warmUp: number): Sandbox => {
    const sandbox = Sandbox.create({ warmUp });
    sandbox.load(object);
    return sandbox;
  };

  it.each([1, 2, 8, 100])("is carried out step by step, with the same results, up to %i calls", (warmUp) => {
    const [cold, eager] = [loaded(warmUp), loaded(0)];
    for (const sandbox of [cold, eager]) sandbox.runtime.slice = 50;
    for (let n = 0n; n < 12n; n++) {
      expect(cold.call("around", [n]), `${n} turns`).toBe(eager.call("around", [n]));
      expect(cold.register("rsp")).toBe(eager.register("rsp"));
      expect(cold.register("rbx")).toBe(eager.register("rbx"));
    }
  });

  it("is not translated before it was called often", () => {
    const sandbox = loaded(10);
    for (let i = 0; i < 4; i++) sandbox.call("other", [1n]);
    expect(sandbox.statistics.regions).toBe(0);
    for (let i = 0; i < 4; i++) sandbox.call("other", [1n]);
    expect(sandbox.runtime.isTranslated(sandbox.symbol("leaf"))).toBe(true);
  });

  it.each([0, 3])("calls a hook once a call, and lets it replace (warm-up of %i)", (warmUp) => {
    const sandbox = loaded(warmUp);
    const seen: bigint[] = [];
    sandbox.observe("down", ({ argument }) => {
      seen.push(argument(0));
    });
    sandbox.replace("other", ({ argument }) => argument(0));
    const expected = (n: bigint): bigint => (n === 0n ? 1n : expected(n - 1n) * 3n + n);
    for (let i = 0; i < 10; i++) {
      seen.length = 0;
      expect(sandbox.call("down", [6n])).toBe(expected(6n));
      expect(seen).toEqual([6n, 5n, 4n, 3n, 2n, 1n, 0n]);
    }
  });

  it("faults where it is, and goes on from there", () => {
    for (const turns of [1n, 3n, 30n]) {
      const [cold, eager] = [loaded(10), loaded(0)];
      const stops = [cold, eager].map((sandbox) => sandbox.callAt(sandbox.symbol("goes"), [turns, 0x10n]));
      expect(stops[0]).toMatchObject({ kind: "fault", fault: { address: 0x10n, access: "read", size: 8 } });
      expect(stops[0]).toEqual(stops[1]);
      // Flags that nobody may read any more are not kept.
      expect({ ...cold.registers, rflags: 0n }).toEqual({ ...eager.registers, rflags: 0n });
      expect(cold.backtrace()).toEqual(eager.backtrace());
    }
  });

  it("leaves and goes on when a hook suspends, frames of either kind in between", () => {
    const sandbox = loaded(3);
    const wanted = loaded(0).call("around", [20n]);
    let calls = 0;
    sandbox.hook("leaf", () => (++calls % 5 === 0 ? { suspend: "a turn" } : "proceed"));
    let stop = sandbox.callAt(sandbox.symbol("around"), [20n]);
    let rounds = 0;
    for (; stop.kind === "suspended"; rounds++) stop = sandbox.resume();
    expect(stop.kind).toBe("returned");
    expect(rounds).toBeGreaterThan(10);
    expect(sandbox.register("rax")).toBe(wanted);
  });
});
