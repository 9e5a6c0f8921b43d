import { expect, test } from "vitest";
import { type ByteSource, MemorySink, MemorySource } from "./byte-stream.js";
import { ByteWindow } from "./byte-window.js";

const counting = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i & 0xff);

test.each([1, 3, 1000, Number.POSITIVE_INFINITY])("walks a source that gives at most %d bytes at once", (most) => {
  const window = new ByteWindow(new MemorySource(counting(5000), most));
  for (let at = 0; at < 5000; at += 50) {
    expect(window.ensure(50)).toBe(true);
    expect(window.offset).toBe(at);
    expect(window.bytes[window.start]).toBe(at & 0xff);
    expect(window.bytes[window.start + 49]).toBe((at + 49) & 0xff);
    expect(window.skip(50)).toBe(50);
  }
  expect(window.ensure(1)).toBe(false);
  expect(window.skip(1)).toBe(0);
  expect(window.offset).toBe(5000);
});

test("says how much there is if the source ends too early, and loses none of it", () => {
  const window = new ByteWindow(new MemorySource(counting(10)));
  window.skip(3);
  expect(window.ensure(8)).toBe(false);
  expect(window.available).toBe(7);
  expect(window.bytes[window.start]).toBe(3);
});

test("grows for a long request, keeps the view in step, and not for a long skip", () => {
  const window = new ByteWindow(new MemorySource(counting(3_000_000), 100_000));
  window.skip(5);
  expect(window.ensure(600_000)).toBe(true);
  expect(window.view.buffer).toBe(window.bytes.buffer);
  expect(window.bytes[window.start + 599_999]).toBe((5 + 599_999) & 0xff);
  const grown = window.bytes.length;
  expect(grown).toBeLessThanOrEqual(1 << 20);
  expect(window.skip(2_900_000)).toBe(2_900_000);
  expect(window.bytes.length).toBe(grown);
  expect(window.ensure(1) && window.bytes[window.start]).toBe(2_900_005 & 0xff);
});

test("holds no more than its first capacity while a long source streams through", () => {
  let left = 50_000_000;
  const source: ByteSource = {
    read(into) {
      const length = Math.min(left, into.length);
      left -= length;
      return length;
    },
  };
  const window = new ByteWindow(source);
  const capacity = window.bytes.length;
  while (window.ensure(1500)) window.skip(1500);
  expect(window.offset + window.available).toBe(50_000_000);
  expect(window.bytes.length).toBe(capacity);
});

test("a memory sink keeps what was written, in order", () => {
  const sink = new MemorySink();
  const chunk = counting(1000);
  for (let i = 0; i < 20; i++) {
    chunk[0] = i;
    sink.write(chunk);
  }
  sink.close();
  expect(sink.bytes.length).toBe(20_000);
  expect([...Array(20).keys()].map((i) => sink.bytes[i * 1000])).toEqual([...Array(20).keys()]);
  expect(sink.closed).toBe(true);
});
