import { afterAll, describe, expect, it } from "vitest";
import { SHADOW } from "../../src/translator/guest-space.js";
import type { Sandbox } from "../../src/translator/sandbox.js";
import { Shadow } from "../../src/translator/shadow.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { Random } from "../filter/random.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { CHECKED, PLAIN, sandboxOf } from "./programs/guest.js";
import { compiled } from "./programs/objects.js";

const workshop = new Workshop();
afterAll(() => workshop.close());

const SOURCE = `
typedef unsigned long u64;
u64 state[4] = { 1, 2, 3, 4 };
u64 step(u64 x) { for (int i = 0; i < 4; i++) state[i] = state[i] * 31 + state[(i + 1) & 3] + x; return state[0]; }
u64 fill(unsigned char *p, u64 n, u64 x) { for (u64 i = 0; i < n; i++) p[i] = x + i; return n; }
u64 sum(const unsigned char *p, u64 n) { u64 s = 0; for (u64 i = 0; i < n; i++) s = s * 31 + p[i]; return s; }
u64 pushes(u64 n) { volatile u64 a[64]; for (u64 i = 0; i < 64; i++) a[i] = n * i; return n ? pushes(n - 1) + a[5] : 0; }
`;
const SMALL = { stackBytes: 0x8000 };
const RW = { read: true, write: true, execute: false };
const AREA = 0x2100_0000 as GuestAddress;

/** All that guest code can see, and what it may do to it: pages that are to be noticed count as writable. */
function seen(sandbox: Sandbox): unknown {
  const { memory, registers } = sandbox;
  const pages: [number, string][] = [];
  for (const mapping of memory.mappings) {
    const first = memory.page(mapping.address) - 1;
    const last = memory.page((mapping.address + mapping.size - 1) as GuestAddress) + 1;
    for (let page = first; page <= last; page++) {
      const at = page * 4096;
      const shadow = memory.bytes.slice(at + SHADOW, at + SHADOW + 4096);
      shadow.forEach((value, i) => {
        if (value === Shadow.watched) shadow[i] = Shadow.accessible;
      });
      pages.push([page, hash(memory.bytes.subarray(at, at + 4096)) + hash(shadow)]);
    }
  }
  const vectors = Array.from({ length: 16 }, (_, i) => [sandbox.cpu.xmmLow(i), sandbox.cpu.xmmHigh(i)]);
  return { registers, vectors, mappings: memory.mappings, pages, fs: sandbox.cpu.fsBase };
}

function hash(bytes: Uint8Array): string {
  let low = 0x811c9dc5;
  for (const byte of bytes) low = Math.imul(low ^ byte, 0x01000193);
  return (low >>> 0).toString(16);
}

describe.skipIf(!isInstalled("gcc"))("Snapshots", () => {
  const object = compiled(workshop, SOURCE, "-O2", "-fno-inline");

  describe.each(CHECKED)("$name", (variant) => {
    it("are gone back to exactly, whatever happened since, as often as wanted", () => {
      const sandbox = sandboxOf(variant, SMALL);
      sandbox.load(object);
      const buffer = sandbox.allocate(5000, "buffer");
      const other = sandbox.allocate(100, "other");
      sandbox.call("step", [3n]);
      sandbox.call("fill", [BigInt(buffer), 5000n, 9n]);
      sandbox.free(other);
      sandbox.cpu.setXmm(3, 77n, 88n);
      const state = sandbox.snapshot();
      const before = seen(sandbox);
      const expected = [sandbox.call("step", [1n]), sandbox.call("step", [2n])];
      for (let round = 0; round < 4; round++) {
        sandbox.call("fill", [BigInt(buffer), 4000n, BigInt(round)]);
        sandbox.call("pushes", [20n]);
        sandbox.allocate(10_000);
        sandbox.map(AREA, 0x5000, RW);
        sandbox.call("fill", [BigInt(AREA), 0x5000n, 1n]);
        sandbox.poison(buffer, 64, "device-owned");
        sandbox.poison(other, 100, null);
        sandbox.cpu.setXmm(3, 1n, 2n);
        sandbox.cpu.fsBase = 5n;
        if (round === 2) sandbox.unmap(buffer, 5000);
        if (round === 3) sandbox.protect(buffer, 4096, { ...RW, write: false });
        expect(seen(sandbox)).not.toEqual(before);
        sandbox.restore(state);
        expect(seen(sandbox)).toEqual(before);
        expect(sandbox.callAt(sandbox.symbol("sum"), [BigInt(other), 1n])).toMatchObject({
          fault: { rule: "use-after-free" },
        });
        sandbox.restore(state);
        expect([sandbox.call("step", [1n]), sandbox.call("step", [2n])]).toEqual(expected);
      }
      sandbox.restore(state);
      expect(seen(sandbox)).toEqual(before);
    });

    it("may be several, gone back to in any order", () => {
      const sandbox = sandboxOf(variant, SMALL);
      sandbox.load(object);
      const buffer = sandbox.allocate(9000, "buffer");
      const r = new Random(5);
      const states = [{ state: sandbox.snapshot(), as: seen(sandbox), next: sandbox.call("step", [9n]) }];
      sandbox.restore(states[0].state);
      for (let i = 0; i < 30; i++) {
        switch (r.below(5)) {
          case 0: {
            const state = sandbox.snapshot();
            const as = seen(sandbox);
            states.push({ state, as, next: sandbox.call("step", [9n]) });
            break;
          }
          case 1: {
            const { state, as, next } = r.pick(states);
            sandbox.restore(state);
            expect(seen(sandbox)).toEqual(as);
            expect(sandbox.call("step", [9n])).toBe(next);
            break;
          }
          case 2:
            sandbox.call("fill", [BigInt(buffer + r.below(8000)), 900n, BigInt(i)]);
            break;
          case 3:
            sandbox.poison((buffer + 4096) as GuestAddress, 100, r.chance(0.5) ? null : "to-device");
            sandbox.poison((buffer + 4096) as GuestAddress, 100, null);
            break;
          default:
            sandbox.allocate(r.between(1, 9000));
        }
      }
      for (const { state, as } of states) {
        sandbox.restore(state);
        expect(seen(sandbox)).toEqual(as);
      }
    });

    it("take code back that was written or loaded since", () => {
      const sandbox = sandboxOf(variant, SMALL);
      sandbox.load(object);
      sandbox.map(AREA, 0x1000, { read: true, write: true, execute: true });
      const returns = (n: number): Uint8Array => Uint8Array.of(0xb8, n, 0, 0, 0, 0xc3);
      sandbox.write(AREA, returns(1));
      for (let i = 0; i < 4; i++) expect(sandbox.call(AREA)).toBe(1n);
      const state = sandbox.snapshot();
      for (let round = 0; round < 3; round++) {
        sandbox.write(AREA, returns(2));
        for (let i = 0; i < 4; i++) expect(sandbox.call(AREA)).toBe(2n);
        const late = sandbox.load(
          compiled(workshop, `int late(int x) { return x + ${round}; }`, "-O2"),
          `late${round}`,
        );
        expect(sandbox.call("late", [5n])).toBe(BigInt(5 + round));
        sandbox.restore(state);
        for (let i = 0; i < 4; i++) expect(sandbox.call(AREA)).toBe(1n);
        expect(() => sandbox.symbol("late")).toThrow(/late/);
        expect(sandbox.callAt(late.functions[0].address)).toMatchObject({ kind: "fault" });
      }
    });

    it("allocate again where they allocated before", () => {
      const sandbox = sandboxOf(variant, SMALL);
      sandbox.load(object);
      const state = sandbox.snapshot();
      const first = sandbox.allocate(100);
      sandbox.restore(state);
      expect(sandbox.allocate(100)).toBe(first);
    });
  });

  it("are taken and gone back to within a hook", () => {
    const sandbox = sandboxOf(PLAIN);
    sandbox.load(object);
    let state = null as ReturnType<Sandbox["snapshot"]> | null;
    let rounds = 0;
    sandbox.hook("step", () => {
      state ??= sandbox.snapshot();
      return "proceed";
    });
    const first = sandbox.call("step", [4n]);
    sandbox.hook("sum", () => {
      if (state !== null && rounds++ < 3) {
        sandbox.restore(state);
        return "resume";
      }
      return "return";
    });
    expect(sandbox.call("sum", [0n, 0n])).toBe(first);
    expect(rounds).toBe(1);
  });

  it("belong to their own sandbox: two run side by side", () => {
    const sandboxes = [sandboxOf(PLAIN), sandboxOf(PLAIN)];
    for (const sandbox of sandboxes) sandbox.load(object);
    const [one, two] = sandboxes;
    one.observe("pushes", () => {
      two.call("step", [1n]);
    });
    expect(one.call("pushes", [30n])).toBe(two.call("pushes", [30n]));
    const fresh = sandboxOf(PLAIN);
    fresh.load(object);
    for (let i = 0; i < 31; i++) fresh.call("step", [1n]);
    expect(two.call("step", [2n])).toBe(fresh.call("step", [2n]));
    expect(one.call("step", [1n])).not.toBe(fresh.call("step", [1n]));
  });
});
