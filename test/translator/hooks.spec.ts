import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestFailure, type Sandbox } from "../../src/translator/sandbox.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, PLAIN, sandboxOf, type Variant } from "./programs/guest.js";
import { assembled, compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
typedef unsigned long u64;
extern u64 outside(u64);
volatile u64 calls;
__attribute__((noinline)) u64 leaf(u64 x) { calls++; return x * 3 + 1; }
__attribute__((noinline)) u64 middle(u64 x) { return leaf(x) + leaf(x + 1) * 2; }
u64 top(u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += middle(i) ^ i; return sum; }
u64 (*pointer)(u64) = leaf;
u64 indirect(u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += pointer(i); return sum; }
__attribute__((noinline)) u64 jumpsTo(u64 x) { return leaf(x + 5); }
u64 tail(u64 n) { u64 sum = 0; for (u64 i = 0; i < n; i++) sum += jumpsTo(i); return sum; }
u64 depth(u64 n) { return n == 0 ? leaf(0) : depth(n - 1) + 1; }
u64 missing(u64 x) { return outside(x) + 1; }
u64 reads(u64 *p) { return *p; }
`;
/** A loop that goes back to the function's first instruction, and a tail call of oneself. */
const LOOP = {
  countdown: "dec rdi\njnz countdown\nmov rax, 77\nret",
  twice: "push rdi\nmov rdi, 1000\ncall countdown\npop rdi\ncall countdown\nret",
  flagged: "mov eax, 5\ncmp eax, edi\nret",
};

const top = (n: number, leaf: (x: bigint) => bigint): bigint => {
  let sum = 0n;
  for (let i = 0n; i < n; i++) sum = BigInt.asUintN(64, sum + ((leaf(i) + leaf(i + 1n) * 2n) ^ i));
  return sum;
};
const plainLeaf = (x: bigint): bigint => x * 3n + 1n;

describe.skipIf(!isInstalled("gcc"))("Hooks", () => {
  let object: Uint8Array;
  let loops: Uint8Array;
  beforeAll(() => {
    object = compiled(workshop, SOURCE, "-O2");
    loops = assembled(workshop, LOOP);
  });
  const loaded = (variant: Variant): Sandbox => {
    const sandbox = sandboxOf(variant);
    sandbox.load(object);
    return sandbox;
  };

  describe.each(CHECKED)("$name", (variant) => {
    it("replaces a function, before and after what calls it was translated, and puts it back", () => {
      const sandbox = loaded(variant);
      expect(sandbox.call("top", [50n])).toBe(top(50, plainLeaf));
      sandbox.replace("leaf", ({ argument }) => argument(0) * 7n);
      expect(sandbox.call("top", [50n])).toBe(top(50, (x) => x * 7n));
      sandbox.hook("leaf", null);
      expect(sandbox.call("top", [50n])).toBe(top(50, plainLeaf));
      sandbox.replace("middle", ({ argument }) => argument(0));
      expect(sandbox.call("top", [50n])).toBe(0n);
    });

    it("replaces what is reached through a pointer, by a tail jump and by recursion", () => {
      const sandbox = loaded(variant);
      for (const round of [1, 2]) {
        expect(sandbox.call("indirect", [10n])).toBe(round === 1 ? 145n : 90n);
        expect(sandbox.call("tail", [10n])).toBe(round === 1 ? 295n : 190n);
        expect(sandbox.call("depth", [30n])).toBe(round === 1 ? 31n : 30n);
        sandbox.replace("leaf", ({ argument }) => argument(0) * 2n);
      }
    });

    it("observes each call once, and the function does what it did", () => {
      const sandbox = loaded(variant);
      const seen: bigint[] = [];
      for (const when of ["before", "after"]) {
        sandbox.hook("leaf", null);
        if (when === "after") sandbox.call("top", [5n]);
        sandbox.observe("leaf", ({ argument }) => seen.push(argument(0)));
        seen.length = 0;
        expect(sandbox.call("top", [100n])).toBe(top(100, plainLeaf));
        expect(seen).toEqual(Array.from({ length: 200 }, (_, i) => BigInt((i + 1) >> 1)));
        seen.length = 0;
        expect(sandbox.call("tail", [40n])).toBe(40n * 16n + 3n * 780n);
        expect(seen.length).toBe(40);
        seen.length = 0;
        sandbox.call("indirect", [40n]);
        sandbox.call("leaf", [9n]);
        expect(seen.length).toBe(41);
      }
    });

    it("observes recursion at each depth", () => {
      const sandbox = loaded(variant);
      const seen: bigint[] = [];
      sandbox.observe("depth", ({ argument }) => seen.push(argument(0)));
      // gcc makes a loop of it, or does not: what counts is that all ways agree.
      const reference = loaded(PLAIN);
      const expected: bigint[] = [];
      reference.observe("depth", ({ argument }) => expected.push(argument(0)));
      expect(sandbox.call("depth", [700n])).toBe(reference.call("depth", [700n]));
      expect(seen).toEqual(expected);
    });

    it("takes a loop back to the first instruction for no call", () => {
      const sandbox = sandboxOf(variant);
      sandbox.load(loops);
      let seen = 0;
      sandbox.observe("countdown", () => seen++);
      expect(sandbox.call("twice", [500n])).toBe(77n);
      expect(seen).toBe(2);
    });

    it("lets a hook call functions, which run into hooks that call functions", () => {
      const sandbox = loaded(variant);
      sandbox.replace("leaf", ({ argument }) => {
        const x = argument(0);
        return x > 20n ? x : sandbox.call("middle", [x + 10n]) + argument(0);
      });
      const leaf = (x: bigint): bigint => (x > 20n ? x : leaf(x + 10n) + leaf(x + 11n) * 2n + x);
      expect(sandbox.call("top", [12n])).toBe(top(12, leaf));
    });

    it("leaves the registers of what it interrupted as they were, whatever is called", () => {
      const sandbox = loaded(variant);
      sandbox.observe("leaf", () => {
        const before = sandbox.registers;
        expect(sandbox.call("indirect", [0n])).toBe(0n);
        expect(() => sandbox.call("reads", [0n])).toThrow(GuestFailure);
        expect(sandbox.registers).toEqual(before);
      });
      expect(sandbox.call("top", [30n])).toBe(top(30, plainLeaf));
    });

    it("carries what a hook throws to whoever called, and goes on after that", () => {
      const sandbox = loaded(variant);
      let left = 7;
      sandbox.observe("leaf", () => {
        if (--left === 0) throw new RangeError("enough");
      });
      expect(() => sandbox.call("top", [100n])).toThrow("enough");
      expect(sandbox.call("top", [3n])).toBe(top(3, plainLeaf));
      sandbox.observe("middle", () => {
        left = 3;
        expect(() => sandbox.call("tail", [9n])).toThrow("enough");
        left = 1000;
      });
      expect(sandbox.call("top", [4n])).toBe(top(4, plainLeaf));
    });

    it("suspends in the middle of frames, and goes on where it was", () => {
      const sandbox = loaded(variant);
      let waits = 0;
      sandbox.hook("leaf", ({ argument }) => {
        if (argument(0) % 10n !== 0n || waits++ % 2 === 1) return "proceed";
        return { suspend: `turn ${argument(0)}` };
      });
      let stop = sandbox.callAt(sandbox.symbol("top"), [35n]);
      const reasons: string[] = [];
      while (stop.kind === "suspended") {
        reasons.push(stop.by);
        expect(sandbox.backtrace().map(({ symbol }) => symbol?.replace(/\+.*/, ""))).toEqual(["leaf", "middle", "top"]);
        stop = sandbox.resume();
      }
      expect(stop.kind).toBe("returned");
      expect(sandbox.register("rax")).toBe(top(35, plainLeaf));
      expect(reasons.slice(0, 3)).toEqual(["turn 0", "turn 10", "turn 10"]);
      expect(reasons.length).toBe(7);
    });

    it("sets and takes hooks from within hooks, while what calls them runs", () => {
      const sandbox = loaded(variant);
      let calls = 0;
      sandbox.observe("middle", ({ argument }) => {
        if (argument(0) === 10n) sandbox.replace("leaf", () => 0n);
        if (argument(0) === 20n) sandbox.hook("leaf", null);
        if (argument(0) === 25n) sandbox.hook("middle", null);
        calls++;
      });
      let sum = 0n;
      for (let i = 0n; i < 40n; i++) {
        const leaf = i >= 10n && i < 20n ? () => 0n : plainLeaf;
        sum += (leaf(i) + leaf(i + 1n) * 2n) ^ i;
      }
      expect(sandbox.call("top", [40n])).toBe(sum);
      expect(calls).toBe(26);
    });

    it("lets a hook take itself away when the function is called from outside", () => {
      const sandbox = loaded(variant);
      let calls = 0;
      sandbox.observe("top", () => {
        calls++;
        sandbox.hook("top", null);
      });
      expect(sandbox.call("top", [5n])).toBe(top(5, plainLeaf));
      expect(sandbox.call("top", [6n])).toBe(top(6, plainLeaf));
      expect(calls).toBe(1);
    });

    it("goes on where a hook says", () => {
      const sandbox = loaded(variant);
      const elsewhere = sandbox.symbol("jumpsTo");
      sandbox.hook("leaf", ({ argument }) => {
        if (argument(0) >= 100n) return "proceed";
        sandbox.setRegister("rdi", argument(0) + 100n);
        sandbox.setRegister("rip", BigInt(elsewhere));
        return "resume";
      });
      expect(sandbox.call("top", [9n])).toBe(top(9, (x) => plainLeaf(x + 105n)));
    });

    it("calls a hook in the middle of a function each time that execution comes there", () => {
      const sandbox = sandboxOf(variant);
      sandbox.load(loops);
      let seen = 0;
      sandbox.observe((sandbox.symbol("countdown") + 3) as GuestAddress, () => seen++);
      expect(sandbox.call("twice", [50n])).toBe(77n);
      expect(seen).toBe(1050);
    });

    it("names what is called and not there", () => {
      const sandbox = loaded(variant);
      expect(() => sandbox.call("missing", [1n])).toThrow(/outside is called, and nothing that was loaded defines it/);
      sandbox.replace(sandbox.objects[0].imports[0].address, ({ argument }) => argument(0) * 100n);
      expect(sandbox.call("missing", [4n])).toBe(401n);
    });

    it("reports a return address that cannot be read", () => {
      const sandbox = loaded(variant);
      sandbox.hook("leaf", () => {
        sandbox.setRegister("rsp", 0n);
        return "return";
      });
      const stop = sandbox.callAt(sandbox.symbol("middle"), [1n]);
      expect(stop).toMatchObject({
        kind: "fault",
        fault: { rule: "null-pointer", address: 0n, access: "read", size: 8 },
      });
    });
  });

  it("bounds how deep hooks call guest code that runs into hooks", () => {
    const sandbox = loaded(PLAIN);
    sandbox.replace("leaf", ({ argument }) => sandbox.call("middle", [argument(0) + 1n]));
    expect(() => sandbox.call("top", [1n])).toThrow(/hooks call guest code that runs into hooks/);
    sandbox.hook("leaf", null);
    expect(sandbox.call("top", [9n])).toBe(top(9, plainLeaf));
  });

  it("runs what is observed translated: its instructions are not carried out one by one", () => {
    const sandbox = loaded(PLAIN);
    sandbox.observe("top", () => {});
    sandbox.observe("leaf", () => {});
    sandbox.call("top", [10n]);
    let decoded = 0;
    const at = sandbox.code.at.bind(sandbox.code);
    sandbox.code.at = (address) => {
      decoded++;
      return at(address);
    };
    sandbox.call("top", [1000n]);
    // Once a call: whether there is code behind the hook.
    expect(decoded).toBeLessThan(2010);
  });
});
