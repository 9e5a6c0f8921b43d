import { describe, expect, test } from "vitest";
import { noise, testMachine } from "../../test/support/native.js";
import { seededRandom } from "../util/random.js";
import { PacketRing } from "./packet-ring.js";

async function ringWith(slots: number, slotBytes: number, offset = 0) {
  const { machine } = await testMachine();
  const space = machine.bank.region({ pages: Math.ceil((offset + slots * slotBytes) / 4096) });
  return { machine, space, ring: new PacketRing({ space, offset, slots, slotBytes }) };
}

describe("a packet ring", () => {
  test("of any geometry returns what was put in, in order, and touches nothing else", async () => {
    const random = seededRandom(6);
    for (let round = 0; round < 40; round++) {
      const slots = 1 + (random() % 20);
      const slotBytes = 60 + (random() % 5000);
      const offset = 64 + (random() % 9000);
      const { space, ring } = await ringWith(slots, slotBytes, offset);
      const model: Uint8Array[] = [];
      const originals: number[] = [];
      for (let step = 0; step < 100; step++) {
        if (random() % 3 > 0) {
          const length = 14 + (random() % 6000);
          const frame = noise(length + 10, random());
          const fits = model.length < slots;
          expect(ring.deliver(frame, 10, length)).toBe(fits);
          if (fits) {
            model.push(frame.slice(10, 10 + Math.min(length, slotBytes)));
            originals.push(length);
          }
        } else if (model.length > 0) {
          const expected = model.shift() ?? new Uint8Array(0);
          expect(ring.peek()).toBe(expected.length);
          expect(ring.originalLength).toBe(originals.shift());
          const got = new Uint8Array(expected.length);
          await space.read(ring.offset, got);
          expect(Buffer.compare(got, expected)).toBe(0);
          ring.shift();
        } else {
          expect(ring.peek()).toBe(-1);
          ring.shift();
        }
        expect(ring.waiting).toBe(model.length);
      }
      const before = new Uint8Array(offset);
      await space.read(0, before);
      expect(before.every((byte) => byte === 0)).toBe(true);
    }
  });

  test("marks the pages that it writes as changed", async () => {
    const { machine, ring } = await ringWith(4, 4096);
    ring.deliver(noise(100), 0, 100);
    const frames = machine.memory.bank(0);
    let dirty = 0;
    for (let frame = 0; frame < frames.frames; frame++) if (frames.isDirty(frame as never)) dirty++;
    expect(dirty).toBe(1);
  });

  test("frees a slot only when its frame is done with", async () => {
    const { ring } = await ringWith(1, 100);
    let room = 0;
    ring.onRoom = () => room++;
    expect(ring.deliver(noise(60), 0, 60)).toBe(true);
    expect(ring.deliver(noise(60), 0, 60)).toBe(false);
    expect([ring.full, room]).toEqual([1, 0]);
    ring.shift();
    ring.shift();
    expect(room).toBe(1);
    expect(ring.deliver(noise(60), 0, 60)).toBe(true);
  });
});
