import { describe, expect, it } from "vitest";
import { code, type Fields, NvmeHost } from "../../../test/support/nvme-host.js";
import { MemoryDisk } from "../../ports/disk-image.js";
import { type DiskBackend, type DiskDone, DiskError } from "../disk-backend.js";

const READ = 0x02;
const WRITE = 0x01;
const FUA = 2 ** 30;

/** A disk that answers when the test says so. */
class LateDisk implements DiskBackend {
  readonly sectorSize = 512;
  readonly readOnly = false;
  readonly asked: string[] = [];
  readonly #answers: (() => void)[] = [];

  constructor(readonly disk = new MemoryDisk(1024 * 1024)) {}

  get sectors(): number {
    return this.disk.sectors;
  }

  answer(error: DiskError | null = null): void {
    const answer = this.#answers.shift();
    this.error = error;
    answer?.();
  }

  error: DiskError | null = null;

  read(position: number, into: readonly Uint8Array[], done: DiskDone): void {
    this.#ask("read", (late) => this.disk.read(position, into, late), done);
  }

  write(position: number, from: readonly Uint8Array[], done: DiskDone): void {
    this.#ask("write", (late) => this.disk.write(position, from, late), done);
  }

  flush(done: DiskDone): void {
    this.#ask("flush", (late) => this.disk.flush(late), done);
  }

  discard(position: number, length: number, done: DiskDone): void {
    this.#ask("discard", (late) => this.disk.discard(position, length, late), done);
  }

  writeZeroes(position: number, length: number, done: DiskDone): void {
    this.#ask("zeroes", (late) => this.disk.writeZeroes(position, length, late), done);
  }

  #ask(what: string, work: (done: DiskDone) => void, done: DiskDone): void {
    this.asked.push(what);
    this.#answers.push(() => (this.error === null ? work(done) : done(this.error)));
  }
}

function ready(options: ConstructorParameters<typeof NvmeHost>[0] = {}): NvmeHost {
  const host = new NvmeHost(options);
  host.enable();
  host.createQueues(1);
  return host;
}

function pattern(host: NvmeHost, offset: number, length: number, seed = 1): Uint8Array {
  const bytes = host.data.bytes.subarray(offset, offset + length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + seed + (i >>> 9)) & 0xff;
  return bytes.slice();
}

function submit(host: NvmeHost, opcode: number, fields: Fields): number {
  const id = host.enqueue(1, opcode, fields);
  host.ring(1);
  host.rig.settle();
  return id;
}

describe("read and write (§6.9, §6.15)", () => {
  it("moves blocks both ways", () => {
    const host = ready();
    const { io } = host.data;
    const written = pattern(host, 0, 4096);
    expect(host.command(1, WRITE, { prp1: io, dw10: 3, dw12: 7 }).status).toBe(0);
    expect(host.command(1, READ, { prp1: io + 8192, dw10: 3, dw12: 7 }).status).toBe(0);
    expect(host.data.bytes.subarray(8192, 12288)).toEqual(written);
    expect(host.command(1, READ, { prp1: io + 8192, dw10: 4, dw12: 0 }).status).toBe(0);
    expect(host.data.bytes.subarray(8192, 8704)).toEqual(written.subarray(512, 1024));
  });

  it("checks the range of blocks, also beyond 2^53", () => {
    const host = ready();
    const { sectors } = host.disk;
    const { io } = host.data;
    expect(host.command(1, READ, { prp1: io, dw10: sectors - 1 }).status).toBe(0);
    expect(code(host.command(1, READ, { prp1: io, dw10: sectors - 1, dw12: 1 }))).toBe(0x80);
    expect(code(host.command(1, READ, { prp1: io, dw10: 0, dw11: 1 }))).toBe(0x80);
    expect(code(host.command(1, READ, { prp1: io, dw10: 0xffff_ffff, dw11: 0xffff_ffff }))).toBe(0x80);
    expect(host.command(1, READ, { prp1: io, dw10: sectors }).status & 0x6000).toBe(0x6000); // DNR, More
  });

  it("refuses more than MDTS, directives, fused commands, other namespaces, unknown opcodes", () => {
    const host = ready();
    const { io } = host.data;
    expect(code(host.command(1, READ, { prp1: io, dw12: 2048 }))).toBe(0x02);
    expect(code(host.command(1, WRITE, { prp1: io, dw12: 1 << 20 }))).toBe(0x02);
    expect(code(host.command(1, READ, { prp1: io, flags: 1 }))).toBe(0x02);
    expect(code(host.command(1, READ, { prp1: io, nsid: 2 }))).toBe(0x0b);
    expect(code(host.command(1, READ, { prp1: io, nsid: 0xffff_ffff }))).toBe(0x02);
    expect(code(host.command(1, 0x0d, { prp1: io }))).toBe(0x01);
  });

  it("does Data Transfer Error where the I/O MMU refuses, and moves nothing", () => {
    const host = ready();
    pattern(host, 0, 4096);
    const end = host.data.io + 2 * 1024 * 1024;
    expect(code(host.command(1, WRITE, { prp1: end, dw12: 0 }))).toBe(0x04);
    expect(code(host.command(1, READ, { prp1: host.data.io, prp2: end, dw12: 15 }))).toBe(0x04);
    expect(host.data.bytes[1]).toBe(8);
    expect(host.read(0x1c)).toBe(1);
    expect(host.rig.faults.length).toBe(2);
  });

  it("protects a read-only disk", () => {
    const host = ready({ disk: new MemoryDisk(65_536, { readOnly: true }) });
    const { io } = host.data;
    expect(code(host.command(1, WRITE, { prp1: io }))).toBe(0x20);
    expect(code(host.command(1, 0x08, {}))).toBe(0x20);
    expect(code(host.command(1, 0x09, { prp1: io, dw11: 4 }))).toBe(0x20);
    expect(host.command(1, 0x00).status).toBe(0);
    expect(host.command(1, READ, { prp1: io }).status).toBe(0);
  });

  it("works in blocks of 4096 bytes", () => {
    const host = ready({ disk: new MemoryDisk(1024 * 1024, { sectorSize: 4096 }) });
    const written = pattern(host, 0, 8192);
    const { io } = host.data;
    expect(host.command(1, WRITE, { prp1: io, prp2: io + 4096, dw10: 5, dw12: 1 }).status).toBe(0);
    expect(host.command(1, READ, { prp1: io + 65_536, prp2: io + 69_632, dw10: 5, dw12: 1 }).status).toBe(0);
    expect(host.data.bytes.subarray(65_536, 65_536 + 8192)).toEqual(written);
  });
});

describe("the other commands", () => {
  it("compares (§6.6)", () => {
    const host = ready();
    const { io } = host.data;
    pattern(host, 0, 4096);
    host.command(1, WRITE, { prp1: io, dw12: 7 });
    expect(host.command(1, 0x05, { prp1: io, dw12: 7 }).status).toBe(0);
    host.data.bytes[4095] ^= 1;
    expect(code(host.command(1, 0x05, { prp1: io, dw12: 7 }))).toBe(0x285);
    expect(host.command(1, 0x05, { prp1: io, dw12: 6 }).status).toBe(0);
  });

  it("writes zeroes (§6.16) and deallocates ranges (§6.7)", () => {
    const host = ready();
    const { io } = host.data;
    pattern(host, 0, 4096);
    host.command(1, WRITE, { prp1: io, dw12: 7 });
    expect(host.command(1, 0x08, { dw10: 1, dw12: 1 }).status).toBe(0);
    host.command(1, READ, { prp1: io + 4096, dw12: 7 });
    expect(host.data.bytes.subarray(4096 + 512, 4096 + 1536).every((byte) => byte === 0)).toBe(true);
    expect(host.data.bytes[4096 + 1536]).toBe(host.data.bytes[1536]);

    const ranges = new DataView(host.data.bytes.buffer, host.data.bytes.byteOffset + 8192, 48);
    for (const [i, blocks, first] of [
      [0, 1, 4],
      [1, 0, 0],
      [2, 2, 6],
    ]) {
      ranges.setUint32(16 * i + 4, blocks, true);
      ranges.setUint32(16 * i + 8, first, true);
    }
    expect(host.command(1, 0x09, { prp1: io + 8192, dw10: 2, dw11: 0 }).status).toBe(0);
    host.command(1, READ, { prp1: io + 4096, dw12: 7 });
    expect(host.data.bytes[4096 + 2048]).toBe(host.data.bytes[2048]);
    expect(host.command(1, 0x09, { prp1: io + 8192, dw10: 2, dw11: 4 }).status).toBe(0);
    host.command(1, READ, { prp1: io + 4096, dw12: 7 });
    expect(host.data.bytes.subarray(4096 + 2048, 4096 + 2560).every((byte) => byte === 0)).toBe(true);
    expect(host.data.bytes[4096 + 2560]).toBe(host.data.bytes[2560]);
    expect(host.data.bytes.subarray(4096 + 3072, 8192).every((byte) => byte === 0)).toBe(true);
    ranges.setUint32(12, 1, true);
    expect(code(host.command(1, 0x09, { prp1: io + 8192, dw10: 2, dw11: 4 }))).toBe(0x80);
  });

  it("flushes after a write only when that is asked for, or the cache is off (§5.21.1.6)", () => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    const { io } = host.data;
    const finish = (fields: Fields, opcode = WRITE): string[] => {
      late.asked.length = 0;
      submit(host, opcode, fields);
      for (let i = 0; i < 3; i++) late.answer();
      host.rig.settle();
      expect(host.reap(1).map((completion) => completion.status)).toEqual([0]);
      return [...late.asked];
    };
    expect(finish({ prp1: io })).toEqual(["write"]);
    expect(finish({ prp1: io, dw12: FUA })).toEqual(["write", "flush"]);
    expect(finish({ dw12: FUA }, 0x08)).toEqual(["zeroes", "flush"]);
    expect(finish({ nsid: 0xffff_ffff }, 0x00)).toEqual(["flush"]);
    host.admin(0x09, { dw10: 6, dw11: 0 });
    expect(finish({ prp1: io })).toEqual(["write", "flush"]);
  });
});

describe("errors of the disk", () => {
  it.each([
    ["read", 0x281],
    ["write", 0x280],
    ["out-of-range", 0x80],
    ["no-space", 0x81],
    ["read-only", 0x20],
  ] as const)("%s is status %i", (kind, status) => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    submit(host, READ, { prp1: host.data.io, dw10: 77 });
    late.answer(new DiskError(kind, "test"));
    expect(host.reap(1).map(code)).toEqual([status]);
    host.admin(0x02, { prp1: host.data.io, dw10: (15 << 16) | 1 });
    const { view } = host.data;
    expect([view.getUint16(8, true), (view.getUint16(12, true) >>> 1) & 0x7ff, view.getUint32(16, true)]).toEqual([
      1,
      status,
      77,
    ]);
    expect(view.getUint32(24, true)).toBe(1);
  });
});

describe("a disk that answers late", () => {
  it("lets commands complete out of order, each once", () => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    const first = submit(host, READ, { prp1: host.data.io });
    const second = submit(host, 0x0d, {});
    expect(host.reap(1).map((completion) => completion.id)).toEqual([second]);
    late.answer();
    expect(host.reap(1).map((completion) => completion.id)).toEqual([first]);
  });

  it("finds out that the mapping has gone before the answer came", () => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    const buffer = host.rig.dmaBuffer(host.slot, 4096);
    submit(host, READ, { prp1: buffer.io });
    host.slot.dma.unmap(buffer.io, "test");
    late.answer();
    expect(host.reap(1).map(code)).toEqual([0x04]);
    expect(host.rig.faults[0].reason).toBe("after-unmap");
  });

  it("takes a write's data before the write completes", () => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    const written = pattern(host, 0, 512);
    submit(host, WRITE, { prp1: host.data.io });
    host.data.bytes.fill(0);
    late.answer();
    const stored = new Uint8Array(512);
    late.disk.read(0, [stored], () => {});
    expect(stored).toEqual(written);
  });

  it("discards an answer that a reset has overtaken", () => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    host.data.bytes.fill(9, 0, 512);
    submit(host, READ, { prp1: host.data.io });
    host.write(0x14, 0);
    host.rig.pass(1_000_000);
    host.enable();
    host.createQueues(1);
    late.answer();
    host.rig.settle();
    expect(host.data.bytes[0]).toBe(9);
    expect(host.reap(1)).toEqual([]);
    const id = submit(host, READ, { prp1: host.data.io });
    late.answer();
    expect(host.reap(1).map((completion) => completion.id)).toEqual([id]);
    expect(host.data.bytes[0]).toBe(0);
  });

  it("executes commands at the disk again after a snapshot", () => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    const id = submit(host, READ, { prp1: host.data.io });
    const state = structuredClone(host.controller.snapshot());
    host.controller.restore(state);
    late.answer();
    expect(host.reap(1)).toEqual([]);
    late.answer();
    expect(host.reap(1).map((completion) => completion.id)).toEqual([id]);
  });

  it("refuses an identifier that is at work (§4.2)", () => {
    const late = new LateDisk();
    const host = ready({ disk: late });
    submit(host, READ, { prp1: host.data.io, id: 5 });
    submit(host, READ, { prp1: host.data.io, id: 5 });
    expect(host.reap(1).map(code)).toEqual([0x03]);
    late.answer();
    expect(host.reap(1).map((completion) => completion.status)).toEqual([0]);
    submit(host, READ, { prp1: host.data.io, id: 5 });
    late.answer();
    expect(host.reap(1).map((completion) => completion.status)).toEqual([0]);
  });

  it("bounds what is at work, and goes on when there is room", () => {
    const late = new LateDisk(new MemoryDisk(4 * 1024 * 1024));
    const host = ready({ disk: late });
    const list = host.rig.dmaBuffer(host.slot, 4096);
    for (let i = 0; i < 255; i++) list.view.setUint32(8 * i, host.data.io + 4096 * (i + 1), true);
    for (let i = 0; i < 255; i++) list.view.setUint32(8 * i + 4, Math.floor(host.data.io / 2 ** 32), true);
    for (let i = 0; i < 20; i++) host.enqueue(1, READ, { prp1: host.data.io, prp2: list.io, dw12: 2047 });
    host.ring(1);
    host.rig.settle();
    expect(late.asked.length).toBe(16);
    for (let i = 0; i < 20; i++) {
      late.answer();
      host.rig.settle();
    }
    expect(host.reap(1).map((completion) => completion.status)).toEqual(new Array(20).fill(0));
  });
});
