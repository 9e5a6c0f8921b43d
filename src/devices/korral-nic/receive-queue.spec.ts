import { beforeEach, describe, expect, it } from "vitest";
import { ACCEPT, Bench, BUFFER_BYTES, frame, receive } from "../../../test/support/korral-nic.js";
import { Completion, Queue, Receive, Withdraw } from "./registers.js";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("withdrawal", () => {
  it("acknowledges one buffer by its cookie, and keeps the order of the others", () => {
    const { rings, buffers } = bench.open(0, ACCEPT, 5);
    bench.set(receive(0) + Receive.COOKIE, 3);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ONE);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(1);
    expect(rings.poll()).toEqual([{ cookie: 3, stored: 0, wire: 0, flags: Completion.WITHDRAWN, code: 0 }]);
    for (let i = 0; i < 5; i++) bench.arrive(frame(60));
    expect(rings.poll().map(({ cookie }) => cookie)).toEqual([1, 2, 4, 5]);
    expect(buffers[2].bytes.every((byte) => byte === 0)).toBe(true);
    expect(bench.get(receive(0) + Receive.DROPS)).toBe(1);
  });

  it("says when the buffer is not posted any more", () => {
    const { rings } = bench.open(0, ACCEPT, 2);
    bench.arrive(frame(60));
    bench.set(receive(0) + Receive.COOKIE, 1);
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ONE);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(0);
    expect(rings.poll()).toEqual([{ cookie: 1, stored: 60, wire: 60, flags: 0, code: 0 }]);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(1);
  });

  it("takes all back, around the end of the circle too, with one signal", () => {
    const line = bench.vector(2);
    const { rings, buffers } = bench.open(0, ACCEPT, 6);
    for (let i = 0; i < 6; i++) bench.arrive(frame(60));
    rings.poll(true);
    buffers.forEach((buffer, i) => {
      rings.post(buffer.io, BUFFER_BYTES, 100 + i);
    });
    bench.set(receive(0) + Receive.WITHDRAW, Withdraw.ALL);
    expect(bench.get(receive(0) + Receive.WITHDRAWN)).toBe(6);
    bench.rig.settle();
    expect(line.delivered).toBe(1);
    expect(rings.poll().map(({ cookie, flags }) => [cookie, flags])).toEqual(
      [100, 101, 102, 103, 104, 105].map((cookie) => [cookie, Completion.WITHDRAWN]),
    );
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
  });

  it("lets go of everything when the queue is disabled", () => {
    const { buffers } = bench.open(0, ACCEPT, 5);
    bench.set(receive(0) + Queue.ENABLE, 0);
    expect(bench.get(receive(0) + Queue.POSTED)).toBe(0);
    bench.arrive(frame(60));
    expect(buffers.every(({ bytes }) => bytes.every((byte) => byte === 0))).toBe(true);
  });
});
