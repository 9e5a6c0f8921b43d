import { describe, expect, test } from "vitest";
import { PAGE_SIZE } from "../util/brand.js";
import { IoWindow, NARROWEST, WIDEST } from "./io-window.js";

const PAGES = 64;

function window(): IoWindow {
  return new IoWindow(0x10_0000, PAGES, 32);
}

/** Takes a run and fills it. */
function take(from: IoWindow, count: number, entry: number, aligned = false): number {
  const page = from.findRun(count, aligned);
  for (let i = 0; page >= 0 && i < count; i++) from.set(page + i, entry, i);
  return page;
}

describe("finding runs", () => {
  test("leaves an unmapped page before, between and after runs", () => {
    const space = window();
    const first = take(space, 3, 1);
    const second = take(space, 2, 2);
    expect(first).toBeGreaterThan(0);
    expect(second).toBe(first + 4);
    expect(space.entries[first - 1]).toBe(0);
    expect(space.entries[first + 3]).toBe(0);
  });

  test("goes round: a freed page is not handed out again before the window has been walked through", () => {
    const space = window();
    const seen: number[] = [];
    for (let i = 1; i < 32; i++) {
      const page = take(space, 1, i);
      seen.push(page);
      space.clear(page, 1, i);
    }
    expect(new Set(seen).size).toBe(31);
    expect(take(space, 1, 99)).toBe(seen[0]);
  });

  test("finds the one gap that is left after going round, guard pages included", () => {
    const space = window();
    const runs: number[] = [];
    for (let entry = 1; ; entry++) {
      const page = take(space, 3, entry);
      if (page < 0) break;
      runs.push(page);
    }
    expect(runs.length).toBe(15);
    space.clear(runs[7], 3, 8);
    expect(space.findRun(4, false)).toBe(-1);
    expect(take(space, 3, 77)).toBe(runs[7]);
    expect(space.findRun(3, false)).toBe(-1);
  });

  test("uses what two neighbours leave when both go", () => {
    const space = window();
    const runs: number[] = [];
    for (let page = take(space, 3, 1); page >= 0; page = take(space, 3, 1)) runs.push(page);
    space.clear(runs[3], 3, 1);
    space.clear(runs[4], 3, 1);
    expect(take(space, 7, 2)).toBe(runs[3]);
  });

  test("a run longer than the window, or as long with its guards, is not found", () => {
    expect(window().findRun(PAGES, false)).toBe(-1);
    expect(window().findRun(PAGES - 1, false)).toBe(-1);
    expect(window().findRun(PAGES - 2, false)).toBe(1);
  });

  test.each([1, 2, 3, 4, 5, 8, 9, 16])(
    "aligned runs of %d pages lie at a multiple of the next power of two",
    (count) => {
      const space = window();
      const step = 2 ** Math.ceil(Math.log2(count)) * PAGE_SIZE;
      let found = 0;
      for (let page = take(space, count, 1, true); page >= 0; page = take(space, count, 1, true)) {
        expect((space.base + page * PAGE_SIZE) % step).toBe(0);
        found++;
      }
      expect(found).toBeGreaterThan(0);
    },
  );

  test("aligned search goes round too", () => {
    const space = window();
    const runs: number[] = [];
    for (let page = take(space, 4, 1, true); page >= 0; page = take(space, 4, 1, true)) runs.push(page);
    space.clear(runs[1], 4, 1);
    expect(take(space, 4, 2, true)).toBe(runs[1]);
  });
});

describe("places", () => {
  const widths = Array.from({ length: WIDEST - NARROWEST + 1 }, (_, i) => NARROWEST + i);

  test.each(widths)(
    "a window of %d bits stays below the mask, above 1 MiB, off the BARs and interrupt window",
    (bits) => {
      for (const ordinal of [0, 1, 2, 3, 7, 100, 5000]) {
        const { base, end, pages } = IoWindow.forDevice(bits, ordinal);
        expect(base).toBeGreaterThanOrEqual(0x10_0000);
        expect(end).toBeLessThanOrEqual(2 ** bits);
        expect(base % PAGE_SIZE).toBe(0);
        expect(base < 2 ** 32 && end > 0xe000_0000).toBe(false);
        expect(pages).toBeGreaterThanOrEqual(2048);
      }
    },
  );

  test("windows of one device never overlap, whatever widths it asks for", () => {
    for (const ordinal of [0, 1, 5]) {
      const all = widths.map((bits) => IoWindow.forDevice(bits, ordinal)).sort((a, b) => a.base - b.base);
      for (let i = 1; i < all.length; i++) expect(all[i].base).toBeGreaterThanOrEqual(all[i - 1].end);
    }
  });

  test.each([32, 33, 40, 44])("devices of %d bits get different addresses", (bits) => {
    const windows = [0, 1, 2].map((ordinal) => IoWindow.forDevice(bits, ordinal)).sort((a, b) => a.base - b.base);
    for (let i = 1; i < windows.length; i++) expect(windows[i].base).toBeGreaterThanOrEqual(windows[i - 1].end);
  });
});
