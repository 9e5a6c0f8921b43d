import { beforeEach, describe, expect, it } from "vitest";
import { ACCEPT, Bench, frame } from "../../../test/support/korral-nic.js";
import { Control, Region, Register, Statistic } from "./registers.js";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("address filter", () => {
  it.each([
    [[0x02, 0x4b, 0x31, 0, 0, 1], 0, true],
    [[0x02, 0x4b, 0x31, 0, 0, 2], 0, false],
    [[0x02, 0x4b, 0x31, 0, 0, 2], Control.PROMISCUOUS, true],
    [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 0, false],
    [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Control.ALLMULTI, false],
    [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Control.BROADCAST, true],
    [[0x01, 0, 0x5e, 0, 0, 0xfb], Control.BROADCAST, false],
    [[0x01, 0, 0x5e, 0, 0, 0xfb], Control.ALLMULTI, true],
    [[0x33, 0x33, 0, 0, 0, 1], 0, true],
    [[0, 0, 0, 0, 0, 0], 0, false],
  ])("passes %j with control %i: %s", (destination, control, passes) => {
    const { rings } = bench.open(0, ACCEPT, 1);
    bench.set(Region.addresses + 8 * 5, 0x0000_3333);
    bench.set(Region.addresses + 8 * 5 + 4, 0x8000_0100);
    bench.set(Register.CONTROL, Control.RXEN | control);
    const bytes = frame(60);
    bytes.set(destination);
    bench.arrive(bytes);
    expect(rings.poll().length).toBe(passes ? 1 : 0);
    expect(bench.counter(Statistic.RX_FOREIGN)).toBe(passes ? 0 : 1);
  });

  it("does not see what cannot be a frame, or comes while the receiver is off", () => {
    bench.open(0, ACCEPT, 3);
    bench.arrive(frame(13));
    bench.arrive(new Uint8Array(16_111));
    bench.set(Register.CONTROL, Control.PROMISCUOUS);
    bench.arrive(frame(60));
    expect(bench.counter(Statistic.RX_BAD)).toBe(2);
    expect(bench.counter(Statistic.RX_OFF)).toBe(1);
  });
});
