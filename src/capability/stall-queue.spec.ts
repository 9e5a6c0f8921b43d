import { expect, test } from "vitest";
import { StallQueue } from "./stall-queue.js";

test("all who wait are woken in the order in which they came, once", async () => {
  const queue = new StallQueue();
  const log: string[] = [];
  const all = ["a", "b", "c"].map((name) => queue.wait().then(() => log.push(name)));
  expect(queue.length).toBe(3);
  queue.wake();
  expect(queue.length).toBe(0);
  await Promise.all(all);
  expect(log).toEqual(["a", "b", "c"]);
});

test("all who wait get the error; who comes later does not", async () => {
  const queue = new StallQueue();
  const error = new Error("gone");
  const all = Promise.allSettled([queue.wait(), queue.wait()]);
  queue.fail(error);
  const later = queue.wait();
  expect(await all).toEqual([
    { status: "rejected", reason: error },
    { status: "rejected", reason: error },
  ]);
  queue.wake();
  await later;
});
