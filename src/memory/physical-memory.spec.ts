import { describe, expect, test } from "vitest";
import { type FrameNumber, PAGE_SIZE } from "../util/brand.js";
import { Bank, FrameState, frameAddress, frameOffset, PhysicalMemory, pagesSpanned } from "./physical-memory.js";

test("a bank hands out every frame once, zeroed, and then says that it is empty", () => {
  const bank = new Bank(0, 8 * PAGE_SIZE);
  bank.bytes.fill(0xee);
  const frames = Array.from({ length: 8 }, () => bank.allocate());
  expect(new Set(frames).size).toBe(8);
  expect(bank.freeFrames).toBe(0);
  for (const frame of frames) {
    expect(bank.bytes.subarray(frameOffset(frame), frameOffset(frame) + PAGE_SIZE).every((byte) => byte === 0)).toBe(
      true,
    );
    expect(bank.state(frame)).toBe(FrameState.resident);
  }
  expect(() => bank.allocate()).toThrow(expect.objectContaining({ code: "out-of-frames" }));
});

test("a frame that comes back is zeroed and clean for its next owner", () => {
  const bank = new Bank(0, PAGE_SIZE);
  const frame = bank.allocate();
  bank.bytes.fill(7, 0, PAGE_SIZE);
  bank.setDirty(frame, true);
  bank.release(frame);
  expect(bank.state(frame)).toBe(FrameState.free);
  expect(bank.allocate(FrameState.fetching)).toBe(frame);
  expect(bank.state(frame)).toBe(FrameState.fetching);
  expect(bank.isDirty(frame)).toBe(false);
  expect(bank.bytes[0]).toBe(0);
});

test("a frame is freed neither twice nor while pinned", () => {
  const bank = new Bank(0, 2 * PAGE_SIZE);
  const frame = bank.allocate();
  bank.pinCounts[frame] = 1;
  expect(() => bank.release(frame)).toThrow(expect.objectContaining({ code: "frame-pinned" }));
  expect(bank.state(frame)).toBe(FrameState.resident);
  bank.pinCounts[frame] = 0;
  bank.release(frame);
  expect(() => bank.release(frame)).toThrow(expect.objectContaining({ code: "double-free" }));
  expect(bank.freeFrames).toBe(2);
});

test.each([0, -1, 4095, 2 ** 32, 1.5, Number.NaN])("a bank of %d bytes is refused", (bytes) => {
  expect(() => new Bank(0, bytes)).toThrow(expect.objectContaining({ code: "bank-size" }));
});

test("a bank's odd bytes at the end are no frame", () => {
  expect(new Bank(0, 3 * PAGE_SIZE + 1).frames).toBe(3);
});

test("a run of neighbouring frames is found between used ones, and is taken from the free frames", () => {
  const bank = new Bank(0, 8 * PAGE_SIZE);
  const all = Array.from({ length: 8 }, () => bank.allocate());
  bank.bytes.fill(0xee);
  for (const at of [0, 1, 3, 4, 5, 7]) bank.release(all[at]);
  expect(bank.allocateRun(3)).toEqual([all[3], all[4], all[5]]);
  expect(bank.freeFrames).toBe(3);
  expect(bank.bytes.subarray(3 * PAGE_SIZE, 6 * PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
  expect(() => bank.allocateRun(3)).toThrow(expect.objectContaining({ code: "out-of-frames" }));
  const rest = [bank.allocate(), bank.allocate(), bank.allocate()];
  expect(rest.toSorted((a, b) => a - b)).toEqual([all[0], all[1], all[7]]);
});

test("frame numbers and addresses of different banks never coincide", () => {
  const memory = new PhysicalMemory();
  const banks = [memory.addBank(2 * PAGE_SIZE), memory.addBank(2 * PAGE_SIZE), memory.addBank(PAGE_SIZE)];
  const frames = [banks[0].allocate(), banks[1].allocate(), banks[2].allocate()];
  expect(frames.map(frameAddress)).toEqual([0, 2 ** 32, 2 * 2 ** 32]);
  for (const [i, frame] of frames.entries()) {
    expect(memory.bankOf(frame)).toBe(banks[i]);
    memory.frameBytes(frame).fill(i + 1);
  }
  expect(banks.map((bank) => bank.bytes[0])).toEqual([1, 2, 3]);
});

test("pages spanned counts every page that is touched", () => {
  expect(pagesSpanned(0, 1)).toBe(1);
  expect(pagesSpanned(0, 4096)).toBe(1);
  expect(pagesSpanned(1, 4096)).toBe(2);
  expect(pagesSpanned(4095, 2)).toBe(2);
  expect(pagesSpanned(4095, 1)).toBe(1);
  expect(pagesSpanned(5 * 4096 + 4095, 4098)).toBe(3);
  expect(pagesSpanned(0, 2 ** 33)).toBe(2 ** 21);
});

describe("a bank that is released", () => {
  const shared = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const adopt = (memory: PhysicalMemory, frames = 2): Bank => memory.adoptBank(shared, frames * PAGE_SIZE);
  const released = expect.objectContaining({ code: "bank-released" });

  test("leaves frame numbers that are refused, and other banks as they were", () => {
    const memory = new PhysicalMemory();
    const ram = memory.addBank(2 * PAGE_SIZE);
    const bank = adopt(memory);
    const frame = (1 << 20) as FrameNumber;
    expect(memory.bankOf(frame)).toBe(bank);
    memory.releaseBank(bank);
    expect(() => memory.bankOf(frame)).toThrow(released);
    expect(() => memory.bank(1)).toThrow(released);
    expect(() => memory.frameBytes(frame)).toThrow(released);
    expect(() => memory.setDirty([frame])).toThrow(released);
    expect(() => memory.releaseBank(bank)).toThrow(released);
    expect(memory.bank(0)).toBe(ram);
  });

  test("has no pinned frames", () => {
    const memory = new PhysicalMemory();
    const bank = adopt(memory);
    bank.pinCounts[1] = 2;
    expect(() => memory.releaseBank(bank)).toThrow(/^1 frames of bank 0 are pinned/);
    expect(memory.bank(0)).toBe(bank);
    bank.pinCounts[1] = 0;
    memory.releaseBank(bank);
    expect(() => memory.bank(0)).toThrow(released);
  });

  test("gives its number away only when there is no fresh one, the oldest first", () => {
    const memory = new PhysicalMemory();
    const ram = memory.addBank(PAGE_SIZE);
    for (let index = 1; index < 2048; index++) {
      const bank = adopt(memory);
      expect(bank.index).toBe(index);
      if (index < 3) memory.releaseBank(bank);
    }
    const again = [adopt(memory, 3), adopt(memory, 3)];
    expect(again.map(({ index }) => index)).toEqual([1, 2]);
    expect(memory.bankOf(((1 << 20) | 2) as FrameNumber)).toBe(again[0]);
    expect(() => adopt(memory)).toThrow(expect.objectContaining({ code: "too-many-banks" }));
    memory.releaseBank(again[1]);
    expect(adopt(memory).index).toBe(2);
    expect(memory.bank(0)).toBe(ram);
  });
});
