import { expect, test } from "vitest";
import { HistoryWindow } from "./history-window.js";

test("a window keeps its reach of history, however often it slides", () => {
  const window = new HistoryWindow(100);
  const all: number[] = [];
  for (let round = 0; round < 200; round++) {
    const size = (round * 37) % 90;
    window.room(size);
    const fresh = Array.from({ length: size }, (_, i) => (round * 11 + i) & 0xff);
    window.bytes.set(fresh, window.end);
    all.push(...fresh);
    expect([...window.take(size)]).toEqual(fresh);
    expect(window.history).toBe(Math.min(100, all.length));
    expect([...window.bytes.subarray(window.end - window.history, window.end)]).toEqual(
      all.slice(all.length - window.history),
    );
  }
  expect(window.bytes.length).toBeLessThanOrEqual(2 * (100 + 90));
});

test("what is forgotten is no history", () => {
  const window = new HistoryWindow(10);
  window.room(5);
  window.take(5);
  window.forget();
  expect(window.history).toBe(0);
});
