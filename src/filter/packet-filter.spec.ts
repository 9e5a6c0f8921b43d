import { describe, expect, it } from "vitest";
import * as bpf from "./bpf.js";
import { compileFilter } from "./compile.js";
import { FilterRangeError, FilterVerifyError } from "./errors.js";
import { Demultiplexer, INDEX_ENTRY, PacketFilter } from "./packet-filter.js";

const PAGE = 65_536;
const memoryWith = (bytes: readonly number[], at: number): WebAssembly.Memory => {
  const memory = new WebAssembly.Memory({ initial: 1 });
  new Uint8Array(memory.buffer).set(bytes, at);
  return memory;
};
const ETHERNET = Array<number>(12).fill(2);
const ARP = [...ETHERNET, 0x08, 0x06, ...Array<number>(28).fill(0)];
const IP_UDP_53 = [
  ...ETHERNET,
  0x08,
  0x00,
  0x45,
  ...Array<number>(8).fill(0),
  17,
  ...Array<number>(10).fill(1),
  0,
  53,
  4,
  0,
  ...Array<number>(8).fill(0),
];

describe("PacketFilter", () => {
  it("takes what was captured for the packet, not what lies behind it", () => {
    const memory = memoryWith(ARP, PAGE - ARP.length);
    const filter = new PacketFilter(compileFilter("arp"), memory);
    expect(filter.match(PAGE - ARP.length, ARP.length, ARP.length)).toBe(true);
    expect(filter.match(PAGE - ARP.length, 14, 42)).toBe(true);
    expect(filter.match(PAGE - ARP.length, 13, 42)).toBe(false);
    expect(filter.match(PAGE - ARP.length, 0, 42)).toBe(false);
  });

  it("rejects a load whose place does not fit 32 bits", () => {
    const memory = memoryWith(ARP, 0);
    for (const text of [
      "ether[0xffffffff] = 2",
      "ether[len * 0x80000000 + 0xfffffffe:4] = 0",
      "ether[0xfffffffc:4] >= 0",
    ]) {
      const filter = new PacketFilter(compileFilter(`${text} or arp`), memory);
      expect([text, filter.match(0, ARP.length, 43)]).toEqual([text, false]);
    }
  });

  it("compares with the length on the wire", () => {
    const filter = new PacketFilter(compileFilter("len > 100"), memoryWith(ARP, 0));
    expect([filter.match(0, 42, 100), filter.match(0, 42, 101), filter.match(0, 0, 0xffffffff)]).toEqual([
      false,
      true,
      true,
    ]);
  });

  it("says when a packet, an index or a bitmap is outside the memory", () => {
    const memory = memoryWith(ARP, 0);
    const filter = new PacketFilter(compileFilter("arp"), memory);
    expect(() => filter.match(PAGE - 4, 60, 60)).toThrow(FilterRangeError);
    expect(() => filter.matchMany(PAGE - INDEX_ENTRY, 2, 0)).toThrow(FilterRangeError);
    expect(() => filter.matchMany(0, 1, PAGE)).toThrow(FilterRangeError);
    expect(() => filter.matchMany(-1, 1, 0)).toThrow(FilterRangeError);
    new DataView(memory.buffer).setUint32(1024, PAGE - 4, true);
    new DataView(memory.buffer).setUint32(1028, 60, true);
    expect(() => filter.matchMany(1024, 1, 0)).toThrow(FilterRangeError);
  });

  it("filters many packets in one call, and writes whole words of the bitmap only", () => {
    const memory = memoryWith(ARP, 0);
    const bytes = new Uint8Array(memory.buffer);
    bytes.set(IP_UDP_53, 100);
    const view = new DataView(memory.buffer);
    const filter = new PacketFilter(compileFilter("arp"), memory);
    for (const count of [0, 1, 31, 32, 33, 64, 70]) {
      for (let i = 0; i < count; i++) {
        const isArp = i % 3 === 0;
        view.setUint32(1024 + i * INDEX_ENTRY, isArp ? 0 : 100, true);
        view.setUint32(1028 + i * INDEX_ENTRY, isArp ? ARP.length : IP_UDP_53.length, true);
        view.setUint32(1032 + i * INDEX_ENTRY, 60, true);
      }
      bytes.fill(0xee, 8192, 8224);
      expect(filter.matchMany(1024, count, 8192)).toBe(Math.ceil(count / 3));
      const words = Math.ceil(count / 32);
      for (let bit = 0; bit < words * 32; bit++)
        expect((bytes[8192 + (bit >> 3)] >> (bit & 7)) & 1).toBe(Number(bit < count && bit % 3 === 0));
      expect(bytes[8192 + words * 4]).toBe(0xee);
    }
  });

  it("works in shared memory", () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
    new Uint8Array(memory.buffer).set(ARP, 7);
    expect(new PacketFilter(compileFilter("arp"), memory).match(7, ARP.length, ARP.length)).toBe(true);
  });

  it("runs no program that was not verified", () => {
    const program = [{ code: bpf.JMP | bpf.JA, jt: 0, jf: 0, k: 0xffffffff }];
    expect(() => new PacketFilter(program, memoryWith([], 0))).toThrow(FilterVerifyError);
    expect(() => new Demultiplexer([program], memoryWith([], 0))).toThrow(FilterVerifyError);
  });

  it("starts each packet of a batch with empty registers", () => {
    const memory = memoryWith([1], 0);
    const view = new DataView(memory.buffer);
    for (let i = 0; i < 3; i++) view.setUint32(1028 + i * INDEX_ENTRY, 1, true);
    const op = (code: number, k = 0) => ({ code, jt: 0, jf: 0, k });
    const counts = [
      op(bpf.LD | bpf.MEM, 3),
      op(bpf.ALU | bpf.ADD | bpf.K, 1),
      op(bpf.ST, 3),
      op(bpf.MISC | bpf.TAX),
      op(bpf.ALU | bpf.SUB | bpf.K, 1),
      op(bpf.RET | bpf.A),
    ];
    expect(new PacketFilter(counts, memory).matchMany(1024, 3, 8192)).toBe(0);
  });
});

describe("Demultiplexer", () => {
  it("finds the first program that accepts", () => {
    const memory = memoryWith(ARP, 0);
    new Uint8Array(memory.buffer).set(IP_UDP_53, 100);
    const programs = ["udp port 54", "arp", "udp port 53", "arp or ip"].map((text) => compileFilter(text));
    const demultiplexer = new Demultiplexer(programs, memory);
    expect(demultiplexer.classify(0, ARP.length, 60)).toBe(1);
    expect(demultiplexer.classify(100, IP_UDP_53.length, 60)).toBe(2);
    expect(demultiplexer.classify(100, 20, 60)).toBe(3);
    expect(demultiplexer.classify(200, 60, 60)).toBe(-1);
    expect(() => demultiplexer.classify(PAGE - 4, 60, 60)).toThrow(FilterRangeError);
  });

  it("has nobody to find without programs", () => {
    expect(new Demultiplexer([], memoryWith(ARP, 0)).classify(0, 42, 42)).toBe(-1);
  });

  it("keeps the programs' registers apart", () => {
    const op = (code: number, k = 0) => ({ code, jt: 0, jf: 0, k });
    const leaves = [op(bpf.LD | bpf.IMM, 5), op(bpf.ST, 2), op(bpf.MISC | bpf.TAX), op(bpf.RET | bpf.K, 0)];
    const reads = [op(bpf.LD | bpf.MEM, 2), op(bpf.ALU | bpf.ADD | bpf.X), op(bpf.RET | bpf.A)];
    expect(new Demultiplexer([leaves, reads], memoryWith([], 0)).classify(0, 0, 0)).toBe(-1);
  });
});
