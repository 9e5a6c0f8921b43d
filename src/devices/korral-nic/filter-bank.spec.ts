import { beforeEach, describe, expect, it } from "vitest";
import { ACCEPT, Bench, etherType, frame, instruction, receive } from "../../../test/support/korral-nic.js";
import * as bpf from "../../filter/bpf.js";
import { Load, Queue, Receive, Register, Statistic, Verdict } from "./registers.js";

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe("filters on the board", () => {
  it("puts a frame straight into the next buffer of the first queue that accepts it", () => {
    const one = bench.open(1, etherType(0x0800), 2);
    const two = bench.open(2, ACCEPT, 2);
    const frames = [frame(60, 0x0800, 1), frame(1514, 0x86dd, 2), frame(61, 0x0800, 3)];
    for (const each of frames) bench.arrive(each);
    expect(one.rings.poll()).toEqual([
      { cookie: 1, stored: 60, wire: 60, flags: 0, code: 0 },
      { cookie: 2, stored: 61, wire: 61, flags: 0, code: 0 },
    ]);
    expect(two.rings.poll()).toEqual([{ cookie: 1, stored: 1514, wire: 1514, flags: 0, code: 0 }]);
    expect(one.buffers[0].bytes.subarray(0, 60)).toEqual(frames[0]);
    expect(one.buffers[1].bytes.subarray(0, 61)).toEqual(frames[2]);
    expect(two.buffers[0].bytes.subarray(0, 1514)).toEqual(frames[1]);
    expect(two.buffers[0].bytes.subarray(1514).every((byte) => byte === 0)).toBe(true);
    expect(bench.counter(Statistic.RX_FRAMES)).toBe(3);
    expect(bench.counter(Statistic.RX_BYTES)).toBe(60 + 1514 + 61);
    expect(bench.get(receive(1) + Receive.FRAMES)).toBe(2);
  });

  it("drops on the accepting queue when that has no buffer, and never goes on to another", () => {
    const one = bench.open(0, etherType(0x0800), 1);
    const two = bench.open(1, ACCEPT, 3);
    for (let i = 0; i < 3; i++) bench.arrive(frame(60));
    expect(one.rings.poll().length).toBe(1);
    expect(two.rings.poll()).toEqual([]);
    expect(bench.get(receive(0) + Receive.DROPS)).toBe(2);
    expect(bench.counter(Statistic.RX_NO_BUFFER)).toBe(2);
  });

  it("gives what nobody accepts to the default queue, else to nobody", () => {
    const one = bench.open(3, etherType(0x0806), 2);
    bench.arrive(frame(60));
    expect(bench.counter(Statistic.RX_UNCLAIMED)).toBe(1);
    bench.set(Register.DEFAULT, 0x8000_0003);
    bench.arrive(frame(60));
    expect(one.rings.poll().length).toBe(1);
    bench.set(receive(3) + Queue.ENABLE, 0);
    bench.arrive(frame(60));
    expect(bench.counter(Statistic.RX_UNCLAIMED)).toBe(2);
    bench.set(Register.DEFAULT, 0x8000_0004);
    expect(bench.get(Register.DEFAULT)).toBe(4);
    expect(bench.rig.violations.map(({ rule }) => rule)).toEqual(["korral-nic-default"]);
  });

  it.each([
    ["nothing", new Uint8Array(8), 0, Verdict.LENGTH, 0xffff],
    ["too much", new Uint8Array(8), 4097, Verdict.LENGTH, 0xffff],
    ["what it cannot read", new Uint8Array(8), 4096, Verdict.REFUSED_READ, 0xffff],
    ["a jump out of the program", [instruction(0x15, 0, 0, 9), ...ACCEPT], undefined, Verdict.INSTRUCTION, 0],
    [
      "an unknown operation",
      [...etherType(1).slice(0, 2), instruction(0xffff), ...ACCEPT],
      undefined,
      Verdict.INSTRUCTION,
      2,
    ],
    ["no way to return", [instruction(bpf.LD | bpf.IMM)], undefined, Verdict.INSTRUCTION, 0],
    ["a scratch word that is not there", [instruction(bpf.ST, 16), ...ACCEPT], undefined, Verdict.INSTRUCTION, 0],
    [
      "too many header chains",
      [...Array(33).fill(instruction(bpf.MISC | bpf.CHAIN, 14, 0, 4)), ...ACCEPT],
      undefined,
      Verdict.CHAINS,
      32,
    ],
  ])("refuses %s, and keeps the program before", (_, program, count, verdict, at) => {
    const { rings } = bench.open(0, etherType(0x0800), 3);
    expect(bench.load(0, program, count)).toBe(((at << 16) | verdict) >>> 0);
    bench.arrive(frame(60, 0x0800));
    bench.arrive(frame(60, 0x86dd));
    expect(rings.poll().length).toBe(1);
  });

  it("has a filter memory that is full some time, and free again after a clear", () => {
    const long = [...Array(4095).fill(instruction(bpf.JMP | bpf.JEQ | bpf.K, 1)), instruction(bpf.RET | bpf.K, 1)];
    bench = new Bench(8);
    for (let queue = 4; queue < 8; queue++) expect(bench.load(queue, long) & 0xff).toBe(Verdict.ACCEPTED);
    expect(bench.load(0, ACCEPT)).toBe(((0xffff << 16) | Verdict.MEMORY) >>> 0);
    expect(bench.load(4, long) & 0xff).toBe(Verdict.ACCEPTED);
    bench.set(receive(7) + Receive.LOAD, Load.CLEAR);
    const { rings } = bench.open(7, ACCEPT, 1);
    const before = bench.open(4, long, 1);
    bench.arrive(frame(60));
    expect(before.rings.poll().length).toBe(1);
    bench.set(receive(4) + Queue.ENABLE, 0);
    bench.arrive(frame(60));
    expect(rings.poll().length).toBe(1);
  });

  it.each([14, 15, 63, 64, 127, 128, 129, 130, 16_110])(
    "sees every byte of a frame of %i bytes, and none beyond",
    (length) => {
      const last = instruction(bpf.LD | bpf.B | bpf.ABS, length - 1);
      const beyond = instruction(bpf.LD | bpf.B | bpf.ABS, length);
      const { rings } = bench.open(0, [beyond, ...ACCEPT], 1);
      const other = bench.open(
        1,
        [last, instruction(bpf.JMP | bpf.JEQ | bpf.K, 0xa5, 0, 1), ...ACCEPT, instruction(bpf.RET | bpf.K, 0)],
        1,
      );
      const bytes = frame(length);
      bytes[length - 1] = 0xa5;
      bench.arrive(new Uint8Array(16_110).fill(0xa5));
      rings.poll();
      bench.arrive(bytes);
      expect(rings.poll().length).toBe(0);
      expect(other.rings.poll().length).toBe(1);
    },
  );

  it("replaces and clears programs between two frames", () => {
    const { rings } = bench.open(0, etherType(0x0800), 4);
    expect(bench.load(0, etherType(0x0806)) & 0xff).toBe(Verdict.ACCEPTED);
    bench.arrive(frame(60, 0x0800));
    expect(rings.poll()).toEqual([]);
    bench.arrive(frame(60, 0x0806));
    expect(rings.poll().length).toBe(1);
    bench.set(receive(0) + Receive.LOAD, Load.CLEAR);
    expect(bench.get(receive(0) + Receive.VERDICT)).toBe(Verdict.NONE);
    bench.arrive(frame(60, 0x0806));
    expect(rings.poll()).toEqual([]);
  });
});
