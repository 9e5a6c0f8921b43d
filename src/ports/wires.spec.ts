import { describe, expect, test } from "vitest";
import { frame } from "../../test/formats/capture-bytes.js";
import type { Wire } from "../devices/wire.js";
import { seededRandom } from "../util/random.js";
import { LoopWire } from "./wire-end.js";
import { FaultyWire, type WireFaults } from "./wire-faulty.js";
import { HashWire } from "./wire-hash.js";

/** What an adapter gets from a wire: lengths and first bytes. */
function listen(wire: Wire): Uint8Array[] {
  const frames: Uint8Array[] = [];
  wire.onFrame((bytes, offset, length) => frames.push(bytes.slice(offset, offset + length)));
  return frames;
}

test("a loop gives back what was sent, unless the cable is out", () => {
  const wire = new LoopWire();
  const frames = listen(wire);
  const carrier: boolean[] = [];
  wire.onCarrier((up) => carrier.push(up));
  wire.send(frame(100), 10, 60);
  wire.setCarrier(false);
  wire.setCarrier(false);
  wire.send(frame(100), 10, 60);
  wire.setCarrier(true);
  expect(frames).toEqual([frame(100).slice(10, 70)]);
  expect(carrier).toEqual([false, true]);
});

describe("HashWire", () => {
  const digest = (...frames: [Uint8Array, number, number][]): number => {
    const wire = new HashWire();
    for (const one of frames) wire.send(...one);
    return wire.digest;
  };

  test("depends on every byte, on the lengths and on the order, not on where a frame lies", () => {
    const base = frame(67, 1);
    const reference = digest([base, 0, 67]);
    const shifted = new Uint8Array(100);
    shifted.set(base, 13);
    expect(digest([shifted, 13, 67])).toBe(reference);
    expect(digest([shifted.subarray(5), 8, 67])).toBe(reference);
    for (let i = 0; i < 67; i++) {
      const changed = base.slice();
      changed[i] ^= 1;
      expect(digest([changed, 0, 67])).not.toBe(reference);
    }
    expect(digest([base, 0, 30], [base, 30, 37])).not.toBe(reference);
    expect(digest([base, 0, 30], [base, 30, 30])).not.toBe(digest([base, 30, 30], [base, 0, 30]));
    expect(digest([new Uint8Array(60), 0, 60])).not.toBe(digest([new Uint8Array(61), 0, 61]));
  });

  test("counts what is sent while there is carrier", () => {
    const wire = new HashWire();
    wire.send(frame(60), 0, 60);
    const { digest } = wire;
    wire.setCarrier(false);
    wire.send(frame(60), 0, 60);
    expect([wire.frames, wire.bytes, wire.digest]).toEqual([1, 60, digest]);
  });
});

describe("FaultyWire", () => {
  const run = (faults: WireFaults, frames = 200, seed = 1) => {
    const wire = new FaultyWire(new LoopWire(), seededRandom(seed), {}, faults);
    const got = listen(wire);
    for (let i = 0; i < frames; i++) wire.send(Uint8Array.of(99, i, ...new Uint8Array(58)), 1, 59);
    wire.flush();
    return { got, order: got.map((bytes) => bytes[0]), counters: wire.counters };
  };
  const inOrder = [...Array(200).keys()];

  test("without faults it is the wire behind it", () => {
    expect(run({}).order).toEqual(inOrder);
  });

  test("drops", () => {
    const { order, counters } = run({ drop: 0.3 });
    expect(order.length).toBe(200 - counters.dropped);
    expect(counters.dropped).toBeGreaterThan(30);
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  test("duplicates", () => {
    const { order, counters } = run({ duplicate: 0.3 });
    expect(order.length).toBe(200 + counters.duplicated);
    expect([...new Set(order)]).toEqual(inOrder);
  });

  test("reorders, and loses nothing", () => {
    const { order, counters } = run({ reorder: 0.3 });
    expect(counters.reordered).toBeGreaterThan(30);
    expect(order).not.toEqual(inOrder);
    expect([...order].sort((a, b) => a - b)).toEqual(inOrder);
    expect(run({ reorder: 1 }, 1).order).toEqual([0]);
  });

  test("flips one bit", () => {
    const bits = (byte: number) => byte.toString(2).replaceAll("0", "").length;
    const { got, counters } = run({ corrupt: 1 });
    expect(counters.corrupted).toBe(200);
    for (const [i, bytes] of got.entries()) {
      expect(bytes.length).toBe(59);
      expect(bytes.reduce((sum, byte, at) => sum + bits(byte ^ (at === 0 ? i : 0)), 0)).toBe(1);
    }
  });

  test("truncates to at least a byte", () => {
    const { got, counters } = run({ truncate: 1 });
    expect(counters.truncated).toBe(200);
    const lengths = got.map((bytes) => bytes.length);
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(1);
    expect(Math.max(...lengths)).toBeLessThan(59);
    expect(new Set(lengths).size).toBeGreaterThan(20);
  });

  test("acts in either direction by itself, the same for the same seed, and never on the lent bytes", () => {
    const loop = new LoopWire();
    const wire = new FaultyWire(loop, seededRandom(1), { drop: 1 });
    const got = listen(wire);
    loop.deliver(frame(60), 0, 60);
    wire.send(frame(60), 0, 60);
    expect(got).toEqual([]);
    expect(wire.counters.dropped).toBe(2);

    const everything = { drop: 0.1, duplicate: 0.1, reorder: 0.1, corrupt: 0.1, truncate: 0.1 };
    expect(run(everything, 200, 5)).toEqual(run(everything, 200, 5));
    const lent = frame(60);
    new FaultyWire(new LoopWire(), seededRandom(1), { corrupt: 1 }).send(lent, 0, 60);
    expect(lent).toEqual(frame(60));
  });

  test("shows the carrier of the wire behind it", () => {
    const loop = new LoopWire();
    const wire = new FaultyWire(loop, seededRandom(1), {});
    const seen: boolean[] = [];
    wire.onCarrier((up) => seen.push(up));
    loop.setCarrier(false);
    expect([wire.carrier, seen]).toEqual([false, [false]]);
  });
});
