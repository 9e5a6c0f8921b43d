import { beforeEach, describe, expect, it } from "vitest";
import { Bench, frame, Rings, TRANSMIT } from "../../../test/support/korral-nic.js";
import { DmaAccess } from "../../memory/pin.js";
import { Cause, Completion, Control, DESCRIPTOR_LAST, ErrorCode, Queue, Register, Statistic } from "./registers.js";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("transmit queue", () => {
  it("gathers a frame from several descriptors, over doorbells", () => {
    const rings = new Rings(bench, TRANSMIT);
    const memory = bench.buffer(4096);
    const whole = frame(200);
    memory.bytes.set(whole.subarray(0, 14), 10);
    memory.bytes.set(whole.subarray(14), 2000);
    rings.post(memory.io + 10, 14, 1);
    rings.post(memory.io, 0, 2);
    expect(rings.poll()).toEqual([]);
    rings.post(memory.io + 2000, 186 | DESCRIPTOR_LAST, 3);
    expect(bench.wire.sent).toEqual([whole]);
    expect(rings.poll()).toEqual([{ cookie: 3, stored: 200, wire: 200, flags: 0, code: 0 }]);
    expect(bench.counter(Statistic.TX_BYTES)).toBe(200);
  });

  it("waits for TXEN", () => {
    bench.set(Register.CONTROL, Control.RXEN);
    const rings = new Rings(bench, TRANSMIT);
    rings.post(bench.buffer(64).io, 60 | DESCRIPTOR_LAST, 1);
    expect(bench.get(TRANSMIT + Queue.POSTED)).toBe(1);
    expect(bench.wire.sent.length).toBe(0);
    bench.set(Register.CONTROL, Control.TXEN);
    expect(bench.wire.sent.length).toBe(1);
    expect(bench.get(TRANSMIT + Queue.POSTED)).toBe(0);
  });

  it("sends no frame of a length that cannot be, and goes on", () => {
    const rings = new Rings(bench, TRANSMIT);
    const memory = bench.buffer(16_384);
    rings.post(memory.io, 13 | DESCRIPTOR_LAST, 1);
    rings.post(memory.io, 16_000, 2);
    rings.post(memory.io, 111 | DESCRIPTOR_LAST, 3);
    rings.post(memory.io, 16_110 | DESCRIPTOR_LAST, 4);
    expect(rings.poll().map(({ cookie, code }) => [cookie, code])).toEqual([
      [1, ErrorCode.LENGTH],
      [3, ErrorCode.LENGTH],
      [4, 0],
    ]);
    expect(bench.wire.sent.map(({ length }) => length)).toEqual([16_110]);
  });

  it("loses frames without link, and says so", () => {
    const rings = new Rings(bench, TRANSMIT);
    bench.wire.setCarrier(false);
    rings.post(bench.buffer(64).io, 60 | DESCRIPTOR_LAST, 1);
    expect(rings.poll()).toEqual([{ cookie: 1, stored: 0, wire: 60, flags: Completion.NOLINK, code: 0 }]);
  });

  it("stops at memory that it may not read, with HEAD there", () => {
    const rings = new Rings(bench, TRANSMIT);
    const memory = bench.buffer(64, DmaAccess.write);
    rings.put(bench.buffer(64).io, 60 | DESCRIPTOR_LAST, 1);
    rings.put(memory.io, 60 | DESCRIPTOR_LAST, 2);
    rings.put(memory.io, 60 | DESCRIPTOR_LAST, 3);
    rings.doorbell();
    expect(rings.errorState).toBe(ErrorCode.DATA);
    expect(bench.get(TRANSMIT + Queue.HEAD)).toBe(1);
    expect(rings.poll().map(({ cookie }) => cookie)).toEqual([1]);
    expect(bench.get(Register.CAUSE)).toBe(Cause.TXERROR);
    expect(bench.rig.faults[0].reason).toBe("wrong-direction");
  });
});
