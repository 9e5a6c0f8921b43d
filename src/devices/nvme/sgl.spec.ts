import { describe, expect, it } from "vitest";
import { type Completion, code, NvmeHost } from "../../../test/support/nvme-host.js";
import { MAX_DESCRIPTORS } from "./sgl.js";

const SGL = 0x40; // PSDT = 01b
const BLOCK = 0x00;
const BIT_BUCKET = 0x10;
const SEGMENT = 0x20;
const LAST_SEGMENT = 0x30;

function ready(): NvmeHost {
  const host = new NvmeHost();
  host.enable();
  host.createQueues(1);
  return host;
}

function descriptor(address: number, length: number, type: number): number[] {
  return [address % 2 ** 32, Math.floor(address / 2 ** 32), length, type * 2 ** 24];
}

/** Writes descriptors into the host's memory. @returns their address */
function segment(host: NvmeHost, offset: number, descriptors: number[][]): number {
  descriptors.forEach((words, i) => {
    words.forEach((word, k) => {
      host.data.view.setUint32(offset + 16 * i + 4 * k, word >>> 0, true);
    });
  });
  return host.data.io + offset;
}

function read(host: NvmeHost, sgl: number[], blocks = 1): Completion {
  return host.command(1, 0x02, { flags: SGL, sgl, dw12: blocks - 1 });
}

/** Blocks 0 and 1 of the disk hold 0x11 and 0x22 throughout. */
function filled(): NvmeHost {
  const host = ready();
  host.data.bytes.fill(0x11, 0, 512).fill(0x22, 512, 1024);
  expect(host.command(1, 0x01, { prp1: host.data.io, dw12: 1 }).status).toBe(0);
  host.data.bytes.fill(0, 0, 65_536);
  return host;
}

const LIST = 0x8000;
const NEXT = 0x9000;

describe("scatter gather lists (§4.4)", () => {
  it("takes one data block for the whole transfer, at any byte", () => {
    const host = filled();
    expect(read(host, descriptor(host.data.io + 3, 1024, BLOCK), 2).status).toBe(0);
    expect([host.data.bytes[2], host.data.bytes[3], host.data.bytes[515], host.data.bytes[1027]]).toEqual([
      0, 0x11, 0x22, 0,
    ]);
  });

  it("follows a segment to a last segment, and drops what goes into a bit bucket", () => {
    const host = filled();
    const { io } = host.data;
    const last = segment(host, NEXT, [descriptor(0, 500, BIT_BUCKET), descriptor(io + 0x2000, 24, BLOCK)]);
    const first = segment(host, LIST, [descriptor(io + 0x1001, 500, BLOCK), descriptor(last, 32, LAST_SEGMENT)]);
    expect(read(host, descriptor(first, 32, SEGMENT), 2).status).toBe(0);
    expect(host.data.bytes.subarray(0x1001, 0x1001 + 500).every((byte) => byte === 0x11)).toBe(true);
    expect([...host.data.bytes.subarray(0x2000, 0x2019)]).toEqual([...new Array(24).fill(0x22), 0]);
  });

  it("a bit bucket is empty on the way to the disk", () => {
    const host = filled();
    host.data.bytes.fill(0x33, 0, 512);
    const { io } = host.data;
    const list = segment(host, LIST, [
      descriptor(0, 9, BIT_BUCKET),
      descriptor(io, 256, BLOCK),
      descriptor(io + 256, 256, BLOCK),
    ]);
    expect(host.command(1, 0x01, { flags: SGL, sgl: descriptor(list, 48, LAST_SEGMENT) }).status).toBe(0);
    read(host, descriptor(io + 4096, 512, BLOCK));
    expect(host.data.bytes.subarray(4096, 4608).every((byte) => byte === 0x33)).toBe(true);
  });

  it("compares with what several blocks hold", () => {
    const host = filled();
    const { io } = host.data;
    host.data.bytes.fill(0x11, 0, 512);
    const list = segment(host, LIST, [
      descriptor(io, 100, BLOCK),
      descriptor(io + 100, 0, BLOCK),
      descriptor(io + 90, 412, BLOCK),
    ]);
    const command = { flags: SGL, sgl: descriptor(list, 48, LAST_SEGMENT) };
    expect(host.command(1, 0x05, command).status).toBe(0);
    host.data.bytes[501] = 0;
    expect(code(host.command(1, 0x05, command))).toBe(0x285);
  });

  it.each<[string, number, (host: NvmeHost) => number[]]>([
    ["too short", 0x0f, (host) => descriptor(host.data.io, 511, BLOCK)],
    ["too long", 0x0f, (host) => descriptor(host.data.io, 513, BLOCK)],
    ["a keyed data block", 0x11, (host) => descriptor(host.data.io, 512, 0x40)],
    ["an offset sub type", 0x11, (host) => descriptor(host.data.io, 512, 0x01)],
    ["an empty segment", 0x0d, (host) => descriptor(host.data.io, 0, SEGMENT)],
    ["a segment of odd length", 0x0d, (host) => descriptor(host.data.io, 24, LAST_SEGMENT)],
    [
      "a last segment that leads on",
      0x0d,
      (host) => descriptor(segment(host, LIST, [descriptor(host.data.io, 16, LAST_SEGMENT)]), 16, LAST_SEGMENT),
    ],
    [
      "a segment that does not lead on",
      0x0d,
      (host) => descriptor(segment(host, LIST, [descriptor(host.data.io, 512, BLOCK)]), 16, SEGMENT),
    ],
    [
      "a segment descriptor before the end",
      0x0e,
      (host) =>
        descriptor(
          segment(host, LIST, [descriptor(host.data.io, 16, SEGMENT), descriptor(host.data.io, 512, BLOCK)]),
          32,
          LAST_SEGMENT,
        ),
    ],
    [
      "a segment that leads back to itself",
      0x0e,
      (host) => descriptor(segment(host, LIST, [descriptor(host.data.io + LIST, 16, SEGMENT)]), 16, SEGMENT),
    ],
    [
      "more descriptors than there may be",
      0x0e,
      (host) => descriptor(host.data.io, 16 * (MAX_DESCRIPTORS + 1), LAST_SEGMENT),
    ],
    ["a segment out of reach", 0x04, () => descriptor(0x1000, 16, LAST_SEGMENT)],
    ["a data block out of reach", 0x04, () => descriptor(0x1000, 512, BLOCK)],
    ["lengths beyond every transfer", 0x0f, (host) => descriptor(host.data.io, 0xffff_ffff, BLOCK)],
  ])("refuses %s", (_, status, sgl) => {
    const host = ready();
    expect(code(read(host, sgl(host)))).toBe(status);
  });

  it("is not for admin commands, and PSDT 11b is for none", () => {
    const host = ready();
    expect(code(host.admin(0x06, { flags: SGL, sgl: descriptor(host.data.io, 4096, BLOCK), dw10: 1 }))).toBe(0x02);
    expect(code(host.command(1, 0x02, { flags: 0xc0, prp1: host.data.io }))).toBe(0x02);
  });
});
