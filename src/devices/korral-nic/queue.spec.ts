import { beforeEach, describe, expect, it } from "vitest";
import {
  ACCEPT,
  Bench,
  BUFFER_BYTES,
  ENTRIES,
  etherType,
  frame,
  receive,
  SIZE,
} from "../../../test/support/korral-nic.js";
import {
  ARM,
  Cause,
  Completion,
  ErrorCode,
  Queue,
  Receive,
  Register,
  State,
  Statistic,
  Withdraw,
} from "./registers.js";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("rings", () => {
  it("go round many times, with the phase telling what is new", () => {
    const { rings, buffers } = bench.open(0, ACCEPT, 0);
    const memory = bench.buffer(BUFFER_BYTES);
    expect(buffers).toEqual([]);
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 5; i++) rings.post(memory.io, BUFFER_BYTES, round * 5 + i);
      for (let i = 0; i < 5; i++) bench.arrive(frame(60 + i));
      expect(rings.poll().map(({ cookie, stored }) => [cookie, stored])).toEqual(
        [0, 1, 2, 3, 4].map((i) => [round * 5 + i, 60 + i]),
      );
    }
  });

  it("cut a frame to its buffer, and say so", () => {
    const { rings } = bench.open(0, ACCEPT, 0);
    const memory = bench.buffer(BUFFER_BYTES);
    rings.post(memory.io + 100, 20, 7);
    bench.arrive(frame(60));
    expect(rings.poll()).toEqual([{ cookie: 7, stored: 20, wire: 60, flags: Completion.CUT, code: 0 }]);
    expect(memory.bytes.subarray(100, 120)).toEqual(frame(60).subarray(0, 20));
    expect(memory.bytes[120]).toBe(0);
    expect(bench.get(receive(0) + Receive.CUTS)).toBe(1);
  });

  it("give an empty descriptor back at once", () => {
    const { rings } = bench.open(0, ACCEPT, 0);
    rings.post(0, 0, 9);
    expect(rings.poll()).toEqual([{ cookie: 9, stored: 0, wire: 0, flags: Completion.ERROR, code: ErrorCode.EMPTY }]);
    expect(rings.errorState).toBe(0);
  });

  it("take as much as there is room for, completions counted, and fail beyond", () => {
    const { rings } = bench.open(0, ACCEPT, ENTRIES - 1);
    bench.arrive(frame(60));
    expect(rings.errorState).toBe(0);
    rings.post(0, 64, 99);
    expect(rings.errorState).toBe(ErrorCode.OVERRUN);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-overrun"]);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(rings.poll().length).toBe(ENTRIES - 1);
  });

  it("ignore indexes that cannot be", () => {
    const { rings } = bench.open(0, ACCEPT, 2);
    bench.set(receive(0) + Queue.TAIL, ENTRIES);
    bench.set(receive(0) + Queue.TAKEN, 1);
    bench.set(receive(0) + Queue.TAKEN, ENTRIES);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(Array(3).fill("korral-nic-index"));
    bench.arrive(frame(60));
    expect(rings.poll().length).toBe(1);
  });

  it.each([
    [Queue.SIZE, 0],
    [Queue.SIZE, 13],
    [Queue.RING, 8],
    [Queue.COMPLETIONS, 0x1004],
  ])("do not start with register %i = %i", (register, value) => {
    bench.set(receive(1) + Queue.SIZE, SIZE);
    bench.set(receive(1) + register, value);
    bench.set(receive(1) + Queue.ENABLE, 1);
    expect(bench.get(receive(1) + Queue.ENABLE)).toBe(0);
    expect(bench.get(receive(1) + Queue.STATE)).toBe(ErrorCode.SETUP << State.CODE_SHIFT);
  });

  it("cannot be moved while they are in use", () => {
    const { rings } = bench.open(0, ACCEPT, 1);
    const before = bench.get(receive(0) + Queue.RING);
    bench.set(receive(0) + Queue.RING, 0);
    expect(bench.get(receive(0) + Queue.RING)).toBe(before);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-busy"]);
    bench.arrive(frame(60));
    expect(rings.poll().length).toBe(1);
  });
});

describe("interrupts", () => {
  it("come once for each arming, at once if something waits already", () => {
    const line = bench.vector(3);
    const { rings } = bench.open(1, ACCEPT, 6);
    bench.arrive(frame(60));
    bench.rig.settle();
    expect(line.delivered).toBe(0);
    bench.set(receive(1) + Queue.TAKEN, ARM);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    rings.poll(true);
    for (let i = 0; i < 3; i++) {
      bench.arrive(frame(60));
      bench.rig.settle();
    }
    expect(line.delivered).toBe(2);
  });

  it("tell of the link, behind a mask", () => {
    const line = bench.vector(0);
    expect(bench.get(Register.STATUS)).toBe(1);
    bench.wire.setCarrier(false);
    bench.rig.settle();
    expect(line.delivered).toBe(0);
    expect(bench.get(Register.STATUS)).toBe(0);
    expect(bench.get(Register.CAUSE)).toBe(Cause.LINK);
    bench.set(Register.MASK, Cause.LINK);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    bench.set(Register.CAUSE, Cause.LINK);
    expect(bench.get(Register.CAUSE)).toBe(0);
    bench.wire.setCarrier(true);
    bench.rig.settle();
    expect(line.delivered).toBe(2);
  });
});

describe("refused accesses", () => {
  it("put one queue into the error state, and the others go on", () => {
    const line = bench.vector(0);
    bench.set(Register.MASK, Cause.RXERROR);
    const bad = bench.open(0, etherType(0x0800), 0);
    const good = bench.open(1, ACCEPT, 2);
    bad.rings.post(0xdead_0000, 2048, 1);
    bad.rings.post(bench.buffer(BUFFER_BYTES).io, BUFFER_BYTES, 2);
    bench.arrive(frame(60));
    expect(bad.rings.errorState).toBe(ErrorCode.DATA);
    expect(bench.get(receive(0) + Queue.FAULT)).toBe(0xdead_0000);
    expect(bench.get(Register.ERRORS)).toBe(1);
    expect(bench.get(Register.STATUS) & 2).toBe(2);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    bench.arrive(frame(60));
    bench.arrive(frame(60, 0x86dd));
    expect(good.rings.poll().length).toBe(1);
    expect(bench.counter(Statistic.RX_FAULT)).toBe(1);
    expect(bench.counter(Statistic.RX_NO_BUFFER)).toBe(1);

    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(bad.rings.poll().map(({ cookie, flags, code }) => [cookie, flags, code])).toEqual([
      [1, Completion.ERROR, ErrorCode.DATA],
      [2, Completion.WITHDRAWN, 0],
    ]);
    bench.set(receive(0) + Queue.ENABLE, 0);
    expect(bench.get(Register.ERRORS)).toBe(0);
    const again = bench.open(0, etherType(0x0800), 1);
    bench.arrive(frame(60));
    expect(again.rings.poll().length).toBe(1);
  });

  it("of a descriptor leave it, and those behind it, to the driver", () => {
    const { rings } = bench.open(0, ACCEPT, 2);
    bench.slot.dma.unmap(rings.ring.io, "test");
    rings.doorbell();
    rings.tail = 3;
    rings.doorbell();
    expect(rings.errorState).toBe(ErrorCode.DESCRIPTOR);
    expect(bench.get(receive(0) + Queue.HEAD)).toBe(2);
    expect(bench.rig.faults[0].reason).toBe("after-unmap");
  });

  it("of a completion make the board let go of everything", () => {
    const { rings, buffers } = bench.open(0, ACCEPT, 3);
    bench.slot.dma.unmap(rings.completions.io, "test");
    bench.arrive(frame(60));
    expect(rings.errorState).toBe(ErrorCode.COMPLETION);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
    bench.arrive(frame(60));
    expect(buffers[1].bytes.every((byte) => byte === 0)).toBe(true);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(0);
  });

  it("happen when bus mastering is off", () => {
    const { rings } = bench.open(0, ACCEPT, 1);
    bench.slot.configWrite(4, 2, 2);
    bench.arrive(frame(60));
    expect(rings.errorState).toBe(ErrorCode.COMPLETION);
    expect(bench.rig.faults.every(({ reason }) => reason === "bus-master-off")).toBe(true);
  });
});
