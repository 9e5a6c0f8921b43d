import { beforeEach, describe, expect, it } from "vitest";
import { ACCEPT, Bench, etherType, frame, Rings, receive, TRANSMIT } from "../../test/support/korral-nic.js";
import { Control, DESCRIPTOR_LAST, Queue, Register } from "./korral-nic/registers.js";
import { KorralNic } from "./korral-nic.js";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("registers", () => {
  it("identify the board", () => {
    expect(bench.slot.configRead(0, 4)).toBe(0x4b31_1209);
    expect(bench.slot.configRead(8, 4)).toBe(0x0200_0001);
    expect(bench.get(Register.ID)).toBe(0x4b31_0001);
    expect(bench.get(Register.CAPS)).toBe(0x1000_0c04);
    expect(bench.slot.read(0, 2, 2)).toBe(0x4b31);
    expect(bench.slot.read(0, 3, 1)).toBe(0x4b);
    expect(bench.slot.read(0, 2, 4)).toBe(0xffff_ffff);
    expect(bench.get(receive(4))).toBe(0);
  });

  it("take whole words only", () => {
    bench.slot.write(0, Register.MASK, 1, 7);
    bench.slot.write(0, Register.MASK + 2, 2, 7);
    expect(bench.get(Register.MASK)).toBe(0);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-width", "korral-nic-width"]);
  });

  it("come back to power-on values by RESET, with all buffers let go", () => {
    const { buffers } = bench.open(0, ACCEPT, 2);
    bench.set(Register.DEFAULT, 0x8000_0000);
    bench.set(Register.CONTROL, Control.RESET | Control.RXEN);
    const all = (): number[] => Array.from({ length: 0x5000 / 4 }, (_, i) => bench.get(4 * i));
    const after = all();
    bench = new Bench();
    bench.set(Register.CONTROL, 0);
    expect(after).toEqual(all());
    expect(buffers[0].bytes.every((byte) => byte === 0)).toBe(true);
  });
});

describe("making one", () => {
  it.each([0, 3, 128, 1.5])("refuses %d queues", (queues) => {
    expect(() => new Bench(queues)).toThrow("power of two");
  });

  it.each([[[2, 0, 0, 0, 1]], [[1, 0, 0x5e, 0, 0, 1]]])("refuses the station address %j", (bytes) => {
    const { host } = bench.nic;
    const options = { wire: bench.wire, macAddress: Uint8Array.from(bytes) };
    expect(() => new KorralNic(host, options)).toThrow(expect.objectContaining({ code: "korral-nic-address" }));
  });
});

describe("snapshot", () => {
  it("goes on where it was, in another board", () => {
    const { rings } = bench.open(0, etherType(0x0800), 5);
    const transmit = new Rings(bench, TRANSMIT);
    const half = bench.buffer(64);
    half.bytes.fill(0x55);
    transmit.post(half.io, 30, 1);
    bench.arrive(frame(60));
    rings.poll();
    const saved = structuredClone(bench.nic.snapshot());
    bench.nic.reset();
    bench.arrive(frame(60));
    expect(rings.poll()).toEqual([]);

    bench.nic.restore(saved);
    expect(bench.nic.snapshot()).toEqual(saved);
    bench.arrive(frame(61));
    transmit.post(half.io, 31 | DESCRIPTOR_LAST, 2);
    expect(rings.poll().map(({ cookie, stored }) => [cookie, stored])).toEqual([[2, 61]]);
    expect(bench.wire.sent.map(({ length }) => length)).toEqual([61]);
  });

  it.each([
    [(state: Record<string, unknown>) => ({ ...state, receive: [] }), "receive"],
    [(state: Record<string, unknown>) => ({ ...state, statistics: [1] }), "statistics"],
    [
      (state: Record<string, unknown>) => ({ ...state, filters: Array(64).fill({ program: [0xffff, 0, 0, 0] }) }),
      "filters 0: program",
    ],
    [
      (state: Record<string, unknown>) => ({ ...state, transmit: { ...(state.transmit as object), enabled: true } }),
      "setup",
    ],
    [(state: Record<string, unknown>) => ({ ...state, config: null }), "config"],
  ])("refuses one that does not fit, by name", (change, name) => {
    bench.open(0, ACCEPT, 5);
    const state = bench.nic.snapshot() as Record<string, unknown>;
    expect(() => bench.nic.restore(change(state))).toThrow(name);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
  });
});
