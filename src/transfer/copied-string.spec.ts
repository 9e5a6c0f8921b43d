import { expect, test } from "vitest";
import { noise } from "../../test/support/native.js";
import type { Message } from "../capability/endpoint.js";
import { seededRandom } from "../util/random.js";
import { CopiedStringQueue } from "./copied-string.js";
import { TransferStatistics } from "./statistics.js";

function bytesOf(reply: Message | Promise<Message>): number[] {
  if (reply instanceof Promise) throw new Error("it would wait");
  return [...(reply.string ?? [])];
}

test("bytes come out in the order in which they went in, across the end of the ring", () => {
  const queue = new CopiedStringQueue(new Uint8Array(37), new TransferStatistics());
  const random = seededRandom(4);
  const model: number[] = [];
  for (let step = 0; step < 5000; step++) {
    const count = random() % 20;
    const act = random() % 4;
    if (act === 0) {
      const bytes = noise(count, step + 1);
      const taken = queue.pushAll(bytes);
      expect(taken).toBe(Math.min(count, 37 - model.length));
      model.push(...bytes.subarray(0, taken));
    } else if (act === 1) {
      expect(queue.push(count)).toBe(model.length < 37);
      if (model.length < 37) model.push(count);
    } else if (act === 2) {
      expect(queue.shift()).toBe(model.shift() ?? -1);
    } else if (model.length > 0) {
      expect(bytesOf(queue.read(0, count + 1))).toEqual(model.splice(0, count + 1));
    }
    expect([queue.length, queue.free]).toEqual([model.length, 37 - model.length]);
  }
});

test("what finds no room is counted, and nothing else", () => {
  const statistics = new TransferStatistics();
  const queue = new CopiedStringQueue(new Uint8Array(2), statistics);
  expect([queue.push(1), queue.push(2), queue.push(3)]).toEqual([true, true, false]);
  expect(queue.overruns).toBe(1);
  expect(statistics.copies).toBe(0);
  expect(bytesOf(queue.read(0, 10))).toEqual([1, 2]);
  expect(statistics).toMatchObject({ copies: 1, copiedBytes: 2 });
});

test("readers wait in turn, and a newcomer does not overtake them", async () => {
  const queue = new CopiedStringQueue(new Uint8Array(16), new TransferStatistics());
  const first = queue.read(7, 2);
  const second = queue.read(7, 2);
  queue.pushAll(Uint8Array.of(1, 2, 3));
  const third = queue.read(7, 2);
  expect(third).toBeInstanceOf(Promise);
  queue.serve(7);
  expect((await first).string).toEqual(Uint8Array.of(1, 2));
  expect((await second).string).toEqual(Uint8Array.of(3));
  queue.push(4);
  queue.serve(7);
  expect(await third).toEqual({ label: 7, string: Uint8Array.of(4) });
});
