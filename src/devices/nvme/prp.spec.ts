import { describe, expect, it } from "vitest";
import { NvmeHost } from "../../../test/support/nvme-host.js";
import type { DmaPort } from "../../bus/io-mmu.js";
import { DataMap } from "./data-map.js";
import { PrpReader } from "./prp.js";

/** Memory of 64 KiB at address 0 that counts what is read. */
class FlatMemory implements DmaPort {
  readonly bytes = new Uint8Array(65_536);
  readonly view = new DataView(this.bytes.buffer);
  readonly reads: [address: number, length: number][] = [];

  read(address: number, into: Uint8Array, offset: number, length: number): boolean {
    this.reads.push([address, length]);
    if (address + length > this.bytes.length) return false;
    into.set(this.bytes.subarray(address, address + length), offset);
    return true;
  }

  write(): boolean {
    return false;
  }

  spans(): null {
    return null;
  }
}

function pieces(map: DataMap): [number, number][] {
  return Array.from({ length: map.count }, (_, i) => [map.addresses[i], map.lengths[i]]);
}

function walk(
  memory: FlatMemory,
  prp1: number,
  prp2: number,
  length: number,
  page = 4096,
): [number, [number, number][]] {
  const map = new DataMap();
  const sqe = new Uint32Array([prp1, 0, prp2, 0]);
  const status = new PrpReader(memory).map(sqe, 0, length, page, map);
  return [status & 0x7ff, pieces(map)];
}

function list(memory: FlatMemory, at: number, entries: number[]): void {
  entries.forEach((entry, i) => {
    memory.view.setUint32(at + 8 * i, entry, true);
  });
}

describe("physical region pages (§4.3)", () => {
  it("needs one entry within a page, two across one boundary", () => {
    const memory = new FlatMemory();
    expect(walk(memory, 0x1004, 0xdead, 4092)).toEqual([0, [[0x1004, 4092]]]);
    expect(walk(memory, 0x1004, 0x5000, 4096)).toEqual([
      0,
      [
        [0x1004, 4092],
        [0x5000, 4],
      ],
    ]);
    expect(memory.reads).toEqual([]);
  });

  it("joins pages that lie side by side", () => {
    expect(walk(new FlatMemory(), 0x1800, 0x2000, 4096)).toEqual([0, [[0x1800, 4096]]]);
  });

  it("reads of a list what the length asks for, from any quadword on", () => {
    const memory = new FlatMemory();
    list(memory, 0x3100, [0x5000, 0x7000, 0x9000]);
    expect(walk(memory, 0x1000, 0x3100, 3 * 4096 + 512)).toEqual([
      0,
      [
        [0x1000, 4096],
        [0x5000, 4096],
        [0x7000, 4096],
        [0x9000, 512],
      ],
    ]);
    expect(memory.reads).toEqual([[0x3100, 24]]);
  });

  it("follows the chain in the last quadword of a page when there is more", () => {
    const memory = new FlatMemory();
    list(memory, 0x3ff0, [0x5000, 0x8000]);
    list(memory, 0x8000, [0x6000, 0x9000]);
    expect(walk(memory, 0x1000, 0x3ff0, 4 * 4096)).toEqual([
      0,
      [
        [0x1000, 4096],
        [0x5000, 8192],
        [0x9000, 4096],
      ],
    ]);
    list(memory, 0x3ff0, [0x5000, 0x8000]);
    expect(walk(memory, 0x1000, 0x3ff0, 3 * 4096)).toEqual([
      0,
      [
        [0x1000, 4096],
        [0x5000, 4096],
        [0x8000, 4096],
      ],
    ]);
  });

  it("takes a page that is only a chain pointer", () => {
    const memory = new FlatMemory();
    list(memory, 0x3ff8, [0x8000]);
    list(memory, 0x8000, [0x6000, 0x9000]);
    expect(walk(memory, 0x1000, 0x3ff8, 3 * 4096)).toEqual([
      0,
      [
        [0x1000, 4096],
        [0x6000, 4096],
        [0x9000, 4096],
      ],
    ]);
  });

  it("ends a chain that leads back to itself with the transfer", () => {
    const memory = new FlatMemory();
    list(memory, 0x4000, new Array(512).fill(0x4000));
    const [status] = walk(memory, 0x1000, 0x4000, 1024 * 1024);
    expect(status).toBe(0);
    expect(memory.reads.length).toBe(1);
    list(memory, 0x3ff8, [0x4000]);
    expect(walk(memory, 0x1000, 0x3ff8, 1024 * 1024, 4096)[0]).toBe(0);
  });

  it.each([
    ["PRP1 that is not a doubleword", 0x1002, 0, 512],
    ["a second page with an offset", 0x1000, 0x2004, 8192],
    ["a list that is not a quadword", 0x1000, 0x3004, 12_288],
    ["a list entry with an offset", 0x1000, 0x3000, 12_288],
    ["a chain pointer with an offset", 0x1000, 0x4ff8, 12_288],
  ])("PRP Offset Invalid: %s", (_, prp1, prp2, length) => {
    const memory = new FlatMemory();
    list(memory, 0x3000, [0x5000, 0x6010]);
    list(memory, 0x4ff8, [0x6008]);
    expect(walk(memory, prp1, prp2, length)[0]).toBe(0x13);
  });

  it("is a Data Transfer Error when the list cannot be read", () => {
    expect(walk(new FlatMemory(), 0x1000, 0x7000_0000, 12_288)[0]).toBe(0x04);
  });

  it("works in larger memory pages (CC.MPS)", () => {
    const memory = new FlatMemory();
    expect(walk(memory, 0x1000, 0x2_0000, 65_536, 65_536)).toEqual([
      0,
      [
        [0x1000, 0xf000],
        [0x2_0000, 0x1000],
      ],
    ]);
  });
});

describe("with the controller", () => {
  it("reads 1 MiB through a list of two pages into scattered frames", () => {
    const host = new NvmeHost();
    host.enable();
    host.createQueues(1);
    const lists = host.rig.dmaBuffer(host.slot, 8192);
    const { data } = host;
    for (let i = 0; i < 1024 * 1024; i++) data.bytes[i] = (i >>> 12) ^ i;
    const expected = data.bytes.slice(0, 1024 * 1024);
    const entry = (at: number, address: number): void => {
      lists.view.setUint32(at, address % 2 ** 32, true);
      lists.view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
    };
    // Every second page, backwards, starting shortly before the end of a list page.
    const start = 4096 - 16;
    const page = (i: number): number => data.io + 4096 * (511 - 2 * i);
    entry(start, page(1));
    entry(start + 8, lists.io + 4096);
    for (let i = 2; i < 256; i++) entry(4096 + 8 * (i - 2), page(i));
    const flat = host.rig.dmaBuffer(host.slot, 4096);
    for (let i = 0; i < 256; i++) {
      flat.bytes.set(expected.subarray(4096 * i, 4096 * (i + 1)));
      expect(host.command(1, 0x01, { prp1: flat.io, dw10: 8 * i, dw12: 7 }).status).toBe(0);
    }
    data.bytes.fill(0);
    expect(host.command(1, 0x02, { prp1: page(0), prp2: lists.io + start, dw12: 2047 }).status).toBe(0);
    for (let i = 0; i < 256; i++) {
      const at = page(i) - data.io;
      expect(data.bytes.subarray(at, at + 4096)).toEqual(expected.subarray(4096 * i, 4096 * (i + 1)));
    }
    expect(data.bytes[0]).toBe(0);
  });
});
