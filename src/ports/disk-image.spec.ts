import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Clock } from "../bus/clock.js";
import { InputError } from "../util/errors.js";
import { seededRandom } from "../util/random.js";
import { FaultyDisk } from "./disk-faulty.js";
import { type DiskError, MemoryDisk } from "./disk-image.js";

const SIZE = 512 * 1024;

/** The outcome of a request that finishes during its call. */
function outcome(request: (done: (error: DiskError | null) => void) => void): string {
  let result = "unfinished";
  request((error) => {
    result = result === "unfinished" ? (error?.kind ?? "ok") : "finished twice";
  });
  return result;
}

const read = (disk: { read: MemoryDisk["read"] }, position: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length).fill(0xee);
  expect(outcome((done) => disk.read(position, [bytes], done))).toBe("ok");
  return bytes;
};

describe("MemoryDisk", () => {
  test("behaves as an array of bytes would", () => {
    const range = fc.record({
      position: fc.nat(SIZE - 1),
      length: fc.nat(200_000),
      fill: fc.nat(255),
      kind: fc.constantFrom("write", "zero", "read"),
    });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 20 }), (steps) => {
        const disk = new MemoryDisk(SIZE);
        const model = new Uint8Array(SIZE);
        for (const step of steps) {
          const length = Math.min(step.length, SIZE - step.position);
          const end = step.position + length;
          const cut = Math.floor(length / 3);
          if (step.kind === "write") {
            const bytes = new Uint8Array(length).map((_, i) => step.fill + i);
            model.set(bytes, step.position);
            expect(
              outcome((done) => disk.write(step.position, [bytes.subarray(0, cut), bytes.subarray(cut)], done)),
            ).toBe("ok");
          } else if (step.kind === "zero") {
            model.fill(0, step.position, end);
            expect(outcome((done) => disk.writeZeroes(step.position, length, done))).toBe("ok");
          } else {
            expect(Buffer.compare(read(disk, step.position, length), model.subarray(step.position, end))).toBe(0);
          }
        }
        expect(Buffer.compare(read(disk, 0, SIZE), model)).toBe(0);
      }),
      { numRuns: 50, seed: 3 },
    );
  });

  test("takes up room only for what is not zero", () => {
    const disk = new MemoryDisk(2 ** 40, { sectorSize: 4096 });
    expect(disk.sectors).toBe(2 ** 28);
    expect(outcome((done) => disk.write(2 ** 39, [new Uint8Array(4096).fill(1)], done))).toBe("ok");
    expect(disk.resident).toBe(65_536);
    expect(outcome((done) => disk.discard(0, 2 ** 40, done))).toBe("ok");
    expect(disk.resident).toBe(0);
    expect(read(disk, 2 ** 39, 4)).toEqual(new Uint8Array(4));
  });

  test("refuses what leaves the disk, without effect", () => {
    const disk = new MemoryDisk(1024);
    const bytes = new Uint8Array(512).fill(7);
    for (const position of [513, 1024, 2 ** 53, -512, Number.NaN, 0.5, Number.POSITIVE_INFINITY]) {
      expect(outcome((done) => disk.read(position, [bytes], done))).toBe("out-of-range");
      expect(outcome((done) => disk.write(position, [bytes], done))).toBe("out-of-range");
      expect(outcome((done) => disk.writeZeroes(position, 512, done))).toBe("out-of-range");
      expect(outcome((done) => disk.discard(position, 512, done))).toBe("out-of-range");
    }
    expect(outcome((done) => disk.discard(0, -1, done))).toBe("out-of-range");
    expect(read(disk, 0, 1024)).toEqual(new Uint8Array(1024));
    expect(outcome((done) => disk.read(1024, [], done))).toBe("ok");
  });

  test("read-only", () => {
    const disk = new MemoryDisk(1024, { readOnly: true });
    expect(outcome((done) => disk.write(0, [new Uint8Array(512)], done))).toBe("read-only");
    expect(outcome((done) => disk.writeZeroes(0, 512, done))).toBe("read-only");
    expect(outcome((done) => disk.discard(0, 512, done))).toBe("read-only");
    expect(outcome((done) => disk.flush(done))).toBe("ok");
  });

  test("has whole sectors", () => {
    expect(() => new MemoryDisk(0)).toThrow(InputError);
    expect(() => new MemoryDisk(1000)).toThrow("has 1000 bytes, which is no multiple of the sector size 512");
    expect(() => new MemoryDisk(512, { sectorSize: 4096 })).toThrow("make it 4096 bytes long");
  });
});

describe("FaultyDisk", () => {
  const make = (faults: ConstructorParameters<typeof FaultyDisk>[3], seed = 1) => {
    const clock = new Clock();
    const memory = new MemoryDisk(65_536);
    return { clock, memory, disk: new FaultyDisk(memory, clock, seededRandom(seed), faults) };
  };

  test("without faults it is the disk behind it", () => {
    const { disk } = make({});
    expect(outcome((done) => disk.write(512, [new Uint8Array(512).fill(5)], done))).toBe("ok");
    expect(read(disk, 0, 1024)[600]).toBe(5);
    expect([disk.sectors, disk.sectorSize, disk.readOnly]).toEqual([128, 512, false]);
    expect(disk.counters).toEqual({ errors: 0, torn: 0, delayed: 0 });
  });

  test("fails what it is told to fail", () => {
    const { disk } = make({ readError: 1, writeError: 1, flushError: 1 });
    expect(outcome((done) => disk.read(0, [new Uint8Array(512)], done))).toBe("read");
    expect(outcome((done) => disk.write(0, [new Uint8Array(512)], done))).toBe("write");
    expect(outcome((done) => disk.discard(0, 512, done))).toBe("write");
    expect(outcome((done) => disk.writeZeroes(0, 512, done))).toBe("write");
    expect(outcome((done) => disk.flush(done))).toBe("write");
    expect(disk.counters.errors).toBe(5);
  });

  test("fails about as often as asked, and the same requests for the same seed", () => {
    const pattern = (seed: number) => {
      const { disk } = make({ readError: 0.25 }, seed);
      return Array.from({ length: 400 }, () => outcome((done) => disk.read(0, [], done)));
    };
    const failures = pattern(1).filter((result) => result === "read").length;
    expect(failures).toBeGreaterThan(60);
    expect(failures).toBeLessThan(140);
    expect(pattern(1)).toEqual(pattern(1));
    expect(pattern(1)).not.toEqual(pattern(2));
  });

  test("a torn write leaves its first sectors, all of the others as before, and fails", () => {
    const lengths = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const { disk, memory } = make({ tornWrite: 1 }, seed);
      const spans = [new Uint8Array(700).fill(9), new Uint8Array(1348).fill(9)];
      expect(outcome((done) => disk.write(0, spans, done))).toBe("write");
      const content = read(memory, 0, 4096);
      const written = content.indexOf(0);
      expect(written % 512).toBe(0);
      expect(written).toBeLessThan(2048);
      expect(content.subarray(written).every((byte) => byte === 0)).toBe(true);
      lengths.add(written);
    }
    expect(lengths.size).toBe(4);
  });

  test("delayed requests are overtaken, and all finish", () => {
    const { disk, clock } = make({ delay: 0.5, longestDelay: 1000 });
    const order: number[] = [];
    for (let i = 0; i < 30; i++) disk.read(0, [new Uint8Array(512)], () => order.push(i));
    while (clock.skipToNextTimer()) clock.runDue();
    expect(order).toHaveLength(30);
    expect(order).not.toEqual([...order].sort((a, b) => a - b));
    expect(disk.counters.delayed).toBeGreaterThan(5);
  });
});
