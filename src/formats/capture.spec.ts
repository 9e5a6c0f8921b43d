import { describe, expect, test } from "vitest";
import { concat, type Endian, frame, PcapngBytes, pcapHeader, pcapRecord } from "../../test/formats/capture-bytes.js";
import { InputError, UnsupportedError } from "../util/errors.js";
import { type CapturedPacket, CaptureError, MemorySource, openCapture, requireEthernet } from "./capture.js";

/** All packets before the end or the damage, and the damage. */
function readAll(bytes: Uint8Array, wrap = (reader: ReturnType<typeof openCapture>) => reader) {
  const packets: CapturedPacket[] = [];
  try {
    for (const packet of wrap(openCapture(new MemorySource(bytes, 1000), "x"))) packets.push(packet.copy());
    return { packets, error: null };
  } catch (error) {
    return { packets, error };
  }
}

/** The byte that a broken capture names. */
function brokenAt(bytes: Uint8Array): { offset: number; code: string; before: number } {
  const { packets, error } = readAll(bytes);
  if (!(error instanceof CaptureError)) throw new Error(`expected damage, got ${error}`);
  expect(error.exitStatus).toBe(5);
  expect(error.message).toContain(`byte ${error.offset}`);
  return { offset: error.offset, code: error.code, before: packets.length };
}

const times = (packets: CapturedPacket[]) => packets.map((packet) => [packet.seconds, packet.nanoseconds]);

describe("pcap", () => {
  // biome-ignore format: a table
  test.each<[Endian, number, number]>([
    ["little", 0xa1b2c3d4, 123_000],
    ["big",    0xa1b2c3d4, 123_000],
    ["little", 0xa1b23c4d, 123],
    ["big",    0xa1b23c4d, 123],
  ])("%s-endian with magic %x", (endian, magic, nanoseconds) => {
    const record = pcapRecord(frame(60), { endian, seconds: 0xf0000000, fraction: 123, original: 90 });
    const { packets, error } = readAll(concat(pcapHeader({ endian, magic, snapLength: 100 }), record, record));
    expect(error).toBeNull();
    expect(packets).toHaveLength(2);
    expect(packets[1]).toMatchObject({ seconds: 0xf0000000, nanoseconds, capturedLength: 60, originalLength: 90, linkType: 1 });
    expect(packets[1].data).toEqual(frame(60));
  });

  test("says what the header says", () => {
    const reader = openCapture(new MemorySource(pcapHeader({ linkType: 113, snapLength: 96, magic: 0xa1b23c4d })), "x");
    expect(reader).toMatchObject({ format: "pcap", linkType: 113, snapLength: 96, fineTimes: true, name: "x" });
    expect(reader.next()).toBeNull();
    expect(reader.next()).toBeNull();
  });

  test("cuts records at the snapshot length, and finds the next one", () => {
    const { packets } = readAll(concat(pcapHeader({ snapLength: 20 }), pcapRecord(frame(64)), pcapRecord(frame(10))));
    expect(packets.map((packet) => [packet.capturedLength, packet.originalLength])).toEqual([
      [20, 64],
      [10, 10],
    ]);
    expect(packets[1].data).toEqual(frame(10));
  });

  test("no snapshot length and one beyond all measure mean the most there can be", () => {
    for (const snapLength of [0, 0xffffffff]) {
      expect(readAll(concat(pcapHeader({ snapLength }), pcapRecord(frame(64)))).packets[0].capturedLength).toBe(64);
    }
  });

  test("takes records that captured more than there was, and overflowing fractions", () => {
    const record = pcapRecord(frame(64), { original: 60, fraction: 2_000_001 });
    const { packets } = readAll(concat(pcapHeader(), record));
    expect(packets[0]).toMatchObject({ capturedLength: 64, originalLength: 60, seconds: 3, nanoseconds: 1000 });
  });

  test("before version 2.3 the lengths were the other way round, in 2.3 either way", () => {
    for (const [minor, captured, original] of [
      [2, 90, 64],
      [3, 90, 64],
      [3, 64, 90],
      [4, 64, 90],
    ]) {
      const { packets } = readAll(concat(pcapHeader({ minor }), pcapRecord(frame(64), { captured, original })));
      expect(packets[0]).toMatchObject({ capturedLength: 64, originalLength: 90 });
    }
  });

  test("ignores the bits that tell about a frame check sequence", () => {
    expect(openCapture(new MemorySource(pcapHeader({ linkType: 0x24000001 })), "x").linkType).toBe(1);
  });

  test("names the byte at which it is broken, after the packets before it", () => {
    const good = concat(pcapHeader(), pcapRecord(frame(60)));
    const end = good.length;
    expect(brokenAt(pcapHeader().subarray(0, 23))).toEqual({ offset: 0, code: "capture-truncated", before: 0 });
    expect(brokenAt(concat(good, new Uint8Array(7)))).toEqual({ offset: end, code: "capture-truncated", before: 1 });
    expect(brokenAt(concat(good, pcapRecord(frame(60)).subarray(0, 70)))).toEqual({
      offset: end,
      code: "capture-truncated",
      before: 1,
    });
    expect(brokenAt(concat(good, pcapRecord(frame(9), { captured: 262_145 })))).toEqual({
      offset: end,
      code: "capture-length",
      before: 1,
    });
    expect(brokenAt(concat(good, pcapRecord(frame(9), { captured: 0xffffffff })))).toEqual({
      offset: end,
      code: "capture-length",
      before: 1,
    });
  });

  test("goes on failing behind the damage", () => {
    const reader = openCapture(new MemorySource(concat(pcapHeader(), new Uint8Array(3))), "x");
    expect(() => reader.next()).toThrow(CaptureError);
    expect(() => reader.next()).toThrow(CaptureError);
  });

  test("refuses other versions by name", () => {
    expect(() => openCapture(new MemorySource(pcapHeader({ minor: 5 })), "x")).toThrow("pcap file of version 2.5");
    expect(() => openCapture(new MemorySource(pcapHeader({ major: 543, minor: 0 })), "x")).toThrow(UnsupportedError);
  });
});

describe("pcapng", () => {
  const little = new PcapngBytes("little");
  const big = new PcapngBytes("big");

  test.each([little, big])("all packet blocks, $endian-endian", (ng) => {
    const unknown = ng.block(0x0bad, frame(100));
    const file = concat(
      ng.section(),
      ng.interface(1, 80),
      unknown,
      ng.enhanced(frame(61, 1), { high: 1, low: 2, options: ng.option(1, frame(3)) }),
      unknown,
      ng.obsolete(frame(62, 2)),
      ng.simple(frame(63, 3)),
      ng.simple(frame(80, 4), 200),
    );
    const { packets, error } = readAll(file);
    expect(error).toBeNull();
    expect(packets.map((packet) => packet.data)).toEqual([frame(61, 1), frame(62, 2), frame(63, 3), frame(80, 4)]);
    expect(packets.map((packet) => packet.originalLength)).toEqual([61, 62, 63, 200]);
    expect(times(packets)).toEqual([
      [4294, 967_298_000],
      [5, 1000],
      [0, 0],
      [0, 0],
    ]);
  });

  test("sections of either byte order, each with interfaces of its own", () => {
    const { packets, error } = readAll(
      concat(
        little.section(),
        little.interface(1),
        little.interface(1),
        little.enhanced(frame(60), { index: 1 }),
        big.section(2),
        big.interface(101),
        big.enhanced(frame(61)),
        little.section(),
        little.interface(1),
        little.enhanced(frame(62)),
      ),
    );
    expect(error).toBeNull();
    expect(packets.map((packet) => [packet.linkType, packet.interfaceIndex, packet.capturedLength])).toEqual([
      [1, 1, 60],
      [101, 0, 61],
      [1, 0, 62],
    ]);
  });

  // biome-ignore format: a table
  test.each<[string, number, bigint, number, number]>([
    ["seconds",           0, 7n,                                7,             0],
    ["microseconds",      6, 1_700_000_000_123_456n,            1_700_000_000, 123_456_000],
    ["nanoseconds",       9, 1_700_000_000_123_456_789n,        1_700_000_000, 123_456_789],
    ["the last nanosecond", 9, 0xffff_ffff_ffff_ffffn,          18_446_744_073, 709_551_615],
    ["picoseconds",      12, 1_000_123_456_789_999n,            1000,          123_456_789],
    ["10^-19 seconds",   19, 12_345_678_912_345_678_912n,       1,             234_567_891],
    ["2^-10 seconds",  0x8a, 3n * 1024n + 512n,                 3,             500_000_000],
    ["2^-63 seconds",  0xbf, (1n << 63n) + (1n << 62n),         1,             500_000_000],
  ])("ticks of %s", (_, resolution, ticks, seconds, nanoseconds) => {
    const options = little.option(9, Uint8Array.of(resolution));
    const fields = { high: Number(ticks >> 32n), low: Number(ticks & 0xffffffffn) };
    const { packets } = readAll(concat(little.section(), little.interface(1, 0, options), little.enhanced(frame(60), fields)));
    expect(times(packets)).toEqual([[seconds, nanoseconds]]);
  });

  test("if_tsoffset moves the times, also back", () => {
    for (const [offset, seconds] of [
      [1_700_000_000n, 1_700_000_001],
      [-5n, -4],
    ] as const) {
      const value = new Uint8Array(8);
      new DataView(value.buffer).setBigInt64(0, offset, true);
      const options = concat(little.option(2, frame(5)), little.option(14, value), little.option(0, new Uint8Array(0)));
      const { packets } = readAll(
        concat(little.section(), little.interface(1, 0, options), little.enhanced(frame(60), { low: 1_000_000 })),
      );
      expect(times(packets)).toEqual([[seconds, 0]]);
    }
  });

  test("tells the first interface before any packet is read, and null if there is none", () => {
    const options = little.option(9, Uint8Array.of(9));
    const reader = openCapture(new MemorySource(concat(little.section(), little.interface(113, 96, options))), "x");
    expect(reader).toMatchObject({ format: "pcapng", linkType: 113, snapLength: 96, fineTimes: true });
    expect(readAll(little.section())).toEqual({ packets: [], error: null });
    expect(openCapture(new MemorySource(little.section()), "x").linkType).toBeNull();
  });

  test("names the byte at which it is broken, after the packets before it", () => {
    const ng = little;
    const good = concat(ng.section(), ng.interface(1, 100), ng.enhanced(frame(60)));
    const end = good.length;
    const cases: [Uint8Array, string, number?][] = [
      [new Uint8Array(7), "capture-truncated"],
      [ng.enhanced(frame(60)).subarray(0, 90), "capture-truncated"],
      [ng.block(0x77, frame(40)).subarray(0, 30), "capture-truncated"],
      [ng.block(0x77, frame(40)).subarray(0, 49), "capture-truncated"],
      [ng.block(0x77, frame(8), { front: 0xfffffffc }), "capture-truncated"],
      [ng.block(0x77, frame(8), { front: 8 }), "capture-block"],
      [ng.block(0x77, frame(8), { front: 0 }), "capture-block"],
      [ng.block(0x77, frame(8), { front: 21 }), "capture-block"],
      [ng.block(0x77, frame(8), { behind: 24 }), "capture-block"],
      [ng.block(6, frame(60), { behind: 4 }), "capture-block"],
      [ng.block(6, frame(16)), "capture-block"],
      [ng.block(2, frame(16)), "capture-block"],
      [ng.block(3, frame(0)), "capture-block"],
      [ng.block(1, frame(4)), "capture-block"],
      [ng.block(6, new Uint8Array(1 << 20)), "capture-block"],
      [ng.enhanced(frame(60), { captured: 61 }), "capture-length"],
      [ng.enhanced(frame(60), { captured: 101 }), "capture-length"],
      [ng.enhanced(frame(60), { captured: 0xffffffff }), "capture-length"],
      [ng.simple(frame(60), 64), "capture-length"],
      [ng.enhanced(frame(60), { index: 1 }), "capture-interface"],
      [ng.enhanced(frame(60), { index: 0xffffffff }), "capture-interface"],
      [ng.obsolete(frame(60), 0xffff), "capture-interface"],
      [ng.interface(1, 0, ng.option(9, frame(2))), "capture-option", 16],
      [ng.interface(1, 0, ng.option(14, frame(4))), "capture-option", 16],
      [ng.interface(1, 0, concat(ng.option(2, frame(4)), ng.option(2, frame(4), 5))), "capture-option", 24],
      [ng.interface(1, 0, ng.option(9, Uint8Array.of(20))), "capture-option"],
      [ng.interface(1, 0, ng.option(9, Uint8Array.of(0x80 | 64))), "capture-option"],
      [ng.block(0x0a0d0d0a, ng.of(0x11223344, 1, 0, 0)), "capture-section"],
      [ng.block(0x0a0d0d0a, ng.of(0x1a2b3c4d, 1, 0, 0), { front: 24 }), "capture-block"],
      [ng.section().subarray(0, 20), "capture-truncated"],
    ];
    for (const [bytes, code, inside = 0] of cases) {
      expect(brokenAt(concat(good, bytes))).toEqual({ offset: end + inside, code, before: 1 });
    }
    expect(brokenAt(concat(good, ng.section(), ng.enhanced(frame(60)))).code).toBe("capture-interface");
    expect(brokenAt(concat(ng.section(), ng.interface(1, 0), ng.simple(frame(60), 300_000))).code).toBe(
      "capture-length",
    );
  });

  test("describes no more interfaces than it can remember", () => {
    const one = little.interface(1);
    const many = new Uint8Array(one.length * 65_537);
    for (let i = 0; i < 65_537; i++) many.set(one, i * one.length);
    expect(brokenAt(concat(little.section(), many))).toMatchObject({
      code: "capture-interface",
      offset: 28 + 65_536 * 20,
    });
  });

  test("refuses other versions by name", () => {
    expect(readAll(concat(little.section(1))).error).toMatchObject({
      exitStatus: 4,
      message: expect.stringContaining("version 1.1"),
    });
  });
});

describe("what is no capture", () => {
  // biome-ignore format: a table
  test.each<[string, number[]]>([
    ["gzip",            [0x1f, 0x8b, 8, 0]],
    ["zstd",            [0x28, 0xb5, 0x2f, 0xfd]],
    ["'modified' pcap", [0x34, 0xcd, 0xb2, 0xa1, 2, 0, 4, 0]],
    ["'modified' pcap", [0xa1, 0xb2, 0xcd, 0x34, 0, 2, 0, 4]],
    ["snoop",           [0x73, 0x6e, 0x6f, 0x6f, 0x70, 0, 0, 0]],
  ])("%s is refused by name", (what, bytes) => {
    const { error } = readAll(Uint8Array.from(bytes));
    expect(error).toBeInstanceOf(UnsupportedError);
    expect(String(error)).toContain(what);
  });

  test("empty, short and strange files", () => {
    expect(readAll(new Uint8Array(0)).error).toMatchObject({ code: "capture-empty", exitStatus: 5 });
    expect(readAll(Uint8Array.of(0xd4, 0xc3, 0xb2)).error).toMatchObject({ code: "capture-kind", exitStatus: 5 });
    expect(readAll(new TextEncoder().encode("hello")).error).toMatchObject({
      message: expect.stringContaining("68 65 6c 6c"),
    });
    expect(readAll(new Uint8Array(100)).error).toBeInstanceOf(InputError);
  });
});

describe("requireEthernet", () => {
  test("refuses another link type by number and name, at once", () => {
    expect(readAll(pcapHeader({ linkType: 113 }), requireEthernet).error).toMatchObject({
      exitStatus: 4,
      message: expect.stringContaining("link type 113 (LINUX_SLL)"),
    });
    expect(String(readAll(pcapHeader({ linkType: 149 }), requireEthernet).error)).toContain("149 (USER2)");
    expect(String(readAll(pcapHeader({ linkType: 4711 }), requireEthernet).error)).toContain("link type 4711;");
  });

  test("in pcapng every interface that has packets must be Ethernet", () => {
    const ng = new PcapngBytes();
    const file = concat(ng.section(), ng.interface(1), ng.interface(101), ng.enhanced(frame(60)));
    expect(readAll(file, requireEthernet)).toMatchObject({ packets: [{ capturedLength: 60 }], error: null });
    const { packets, error } = readAll(concat(file, ng.enhanced(frame(60), { index: 1 })), requireEthernet);
    expect(packets).toHaveLength(1);
    expect(error).toMatchObject({ code: "link-type", message: expect.stringContaining("101 (RAW)") });
  });
});

test("a packet is valid until the next one, a copy for ever", () => {
  const reader = openCapture(
    new MemorySource(concat(pcapHeader(), pcapRecord(frame(60, 1)), pcapRecord(frame(70, 2)))),
    "x",
  );
  const first = reader.next();
  const copy = first?.copy();
  const second = reader.next();
  expect(second).toBe(first);
  expect(copy?.data).toEqual(frame(60, 1));
  expect(second?.data).toEqual(frame(70, 2));
});
