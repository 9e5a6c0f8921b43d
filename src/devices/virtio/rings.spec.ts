import { describe, expect, test } from "vitest";
import { ethernet, PEER } from "../../../test/support/e1000.js";
import { EVENT_INDEX, INDIRECT, PACKED, RX, TX, VirtioNetRig } from "../../../test/support/virtio-net.js";
import { DeviceStatus } from "./device-core.js";
import { hasPassed } from "./ring.js";

const NEXT = 1;
const WRITE = 2;
const TABLE = 4;
const AVAILABLE = 1 << 7;
const FRAME = ethernet(PEER, 0x0800, 60);

/** A driver whose transmit ring is written by hand. */
class BrokenRing {
  readonly rig: VirtioNetRig;
  readonly io: number;
  readonly view: DataView;
  readonly descriptors: DataView;

  constructor(readonly features: readonly number[]) {
    this.rig = new VirtioNetRig({}, { features });
    this.rig.driver.start();
    this.io = this.rig.bigMemory.io;
    this.view = this.rig.bigMemory.view;
    this.descriptors = this.rig.tx.areas[0].view;
    this.rig.bigMemory.bytes.set(FRAME, 12);
  }

  /** A descriptor in the ring, or in the table at `view`. Fields behind the length: as the format has them. */
  put(index: number, address: number, length: number, low: number, high: number, view = this.descriptors): void {
    view.setUint32(16 * index, address % 2 ** 32, true);
    view.setUint32(16 * index + 4, Math.floor(address / 2 ** 32), true);
    view.setUint32(16 * index + 8, length, true);
    view.setUint16(16 * index + 12, low, true);
    view.setUint16(16 * index + 14, high, true);
  }

  /** Entry of an indirect table, which lies at 16 KiB. */
  entry(index: number, address: number, length: number, low: number, high: number): void {
    const { bytes } = this.rig.bigMemory;
    this.put(index, address, length, low, high, new DataView(bytes.buffer, bytes.byteOffset + 16_384));
  }

  get table(): number {
    return this.io + 16_384;
  }

  /** Makes heads available in a split ring. */
  available(...heads: number[]): void {
    const { view } = this.rig.tx.areas[1];
    heads.forEach((head, i) => {
      view.setUint16(4 + 2 * i, head, true);
    });
    view.setUint16(2, heads.length, true);
  }

  /** What comes of it: frames, rules, and whether the device needs a reset. */
  run(): { frames: number; rules: string[]; broken: boolean } {
    this.rig.driver.notify(TX);
    const frames = this.rig.wire.sent.length;
    const broken = (this.rig.driver.status & DeviceStatus.NEEDS_RESET) !== 0;
    expect(this.rig.driver.takeInterrupts(0)).toBe(broken ? 1 : 0);
    return { frames, rules: this.rig.rules, broken };
  }
}

const LENGTH = 12 + FRAME.length;
const fine = { frames: 1, rules: [], broken: false };
const broken = (rule: string): object => ({ frames: 0, rules: [rule], broken: true });

describe("split rings", () => {
  const ring = (): BrokenRing => new BrokenRing([INDIRECT]);

  test("a chain in any order of descriptors", () => {
    const split = ring();
    split.put(200, split.io, 12, NEXT, 3);
    split.put(3, split.io + 12, 1, NEXT, 100);
    split.put(100, split.io + 13, FRAME.length - 1, 0, 77);
    split.available(200);
    expect(split.run()).toEqual(fine);
    expect(split.rig.wire.sent).toEqual([FRAME]);
  });

  test("a chain that ends in an indirect table, whose entries are in any order", () => {
    const split = ring();
    split.put(5, split.io, 12, NEXT, 6);
    split.put(6, split.table, 16 * 100, TABLE | WRITE, 0);
    split.entry(0, split.io + 12, 1, NEXT, 99);
    split.entry(99, split.io + 13, FRAME.length - 1, 0, 0);
    split.available(5);
    expect(split.run()).toEqual(fine);
    expect(split.rig.wire.sent).toEqual([FRAME]);
  });

  test("elements of no bytes are passed over", () => {
    const split = ring();
    split.put(0, 0x1000, 0, NEXT, 1);
    split.put(1, split.io, LENGTH, 0, 0);
    split.available(0);
    expect(split.run()).toEqual(fine);
  });

  test("the index wraps at 2^16", () => {
    const split = ring();
    for (let i = 0; i < 70_000; i += 250) {
      for (let k = 0; k < 250; k++) split.rig.tx.add([{ address: split.io, length: LENGTH, writable: false }]);
      split.rig.driver.notify(TX);
      for (let k = 0; k < 250; k++) expect(split.rig.tx.take()).not.toBeNull();
    }
    expect(split.rig.wire.sent).toHaveLength(70_000);
    expect(split.rig.rules).toEqual([]);
  });

  test.each<[string, (split: BrokenRing) => void, string]>([
    ["a head beyond the table", (s) => s.available(256), "virtio-descriptor-index"],
    [
      "a successor beyond the table",
      (s) => {
        s.put(0, s.io, 12, NEXT, 256);
        s.available(0);
      },
      "virtio-descriptor-index",
    ],
    [
      "a loop",
      (s) => {
        s.put(0, s.io, 1, NEXT, 1);
        s.put(1, s.io, 1, NEXT, 0);
        s.available(0);
      },
      "virtio-descriptor-loop",
    ],
    ["an index that jumps", (s) => s.rig.tx.areas[1].view.setUint16(2, 257, true), "virtio-available-index"],
    ["an index that goes back", (s) => s.rig.tx.areas[1].view.setUint16(2, 0xffff, true), "virtio-available-index"],
    [
      "an element to read behind one to write",
      (s) => {
        s.put(0, s.io, 12, WRITE | NEXT, 1);
        s.put(1, s.io, 12, 0, 0);
        s.available(0);
      },
      "virtio-descriptor-order",
    ],
    [
      "an indirect descriptor with a successor",
      (s) => {
        s.put(0, s.table, 16, TABLE | NEXT, 1);
        s.available(0);
      },
      "virtio-indirect-next",
    ],
    [
      "a table in a table",
      (s) => {
        s.put(0, s.table, 16, TABLE, 0);
        s.entry(0, s.table, 16, TABLE, 0);
        s.available(0);
      },
      "virtio-indirect-nested",
    ],
    [
      "a table of no whole entries",
      (s) => {
        s.put(0, s.table, 24, TABLE, 0);
        s.available(0);
      },
      "virtio-indirect-length",
    ],
    [
      "an empty table",
      (s) => {
        s.put(0, s.table, 0, TABLE, 0);
        s.available(0);
      },
      "virtio-indirect-length",
    ],
    [
      "an entry beyond its table",
      (s) => {
        s.put(0, s.table, 32, TABLE, 0);
        s.entry(0, s.io, 12, NEXT, 2);
        s.available(0);
      },
      "virtio-descriptor-index",
    ],
    [
      "a loop in a table",
      (s) => {
        s.put(0, s.table, 32, TABLE, 0);
        s.entry(0, s.io, 1, NEXT, 0);
        s.available(0);
      },
      "virtio-descriptor-loop",
    ],
    [
      "2^32 bytes and more",
      (s) => {
        s.put(0, s.io, 0xffff_ffff, NEXT, 1);
        s.put(1, s.io, 2, 0, 0);
        s.available(0);
      },
      "virtio-chain-length",
    ],
  ])("%s breaks the queue", (_, lay, rule) => {
    const split = ring();
    lay(split);
    expect(split.run()).toEqual(broken(rule));
  });

  test("an indirect table that was not negotiated breaks the queue", () => {
    const split = new BrokenRing([]);
    split.put(0, split.table, 16, TABLE, 0);
    split.available(0);
    expect(split.run()).toEqual(broken("virtio-indirect"));
  });

  test("a table that is not mapped is refused", () => {
    const split = ring();
    split.put(0, 0x7000_0000, 16, TABLE, 0);
    split.available(0);
    expect(split.run()).toEqual({ frames: 0, rules: [], broken: true });
    expect(split.rig.faults).toHaveLength(1);
  });
});

describe("packed rings", () => {
  const ring = (): BrokenRing => new BrokenRing([PACKED, INDIRECT, EVENT_INDEX]);

  test("an indirect table: its entries stand in a row, and only their direction counts", () => {
    const packed = ring();
    packed.entry(0, packed.io, 12, 9, NEXT | TABLE);
    packed.entry(1, packed.io + 12, FRAME.length, 9, AVAILABLE);
    packed.put(0, packed.table, 32, 77, TABLE | WRITE | AVAILABLE);
    expect(packed.run()).toEqual(fine);
    expect(packed.rig.wire.sent).toEqual([FRAME]);
    expect(packed.descriptors.getUint16(12, true)).toBe(77);
    expect(packed.descriptors.getUint16(14, true)).toBe(0x8080);
  });

  test("a descriptor of the last round is not available", () => {
    const packed = ring();
    packed.put(0, packed.io, LENGTH, 0, 1 << 15);
    expect(packed.run()).toEqual({ ...fine, frames: 0 });
    packed.put(0, packed.io, LENGTH, 0, AVAILABLE | (1 << 15));
    expect(packed.run()).toEqual({ ...fine, frames: 0 });
  });

  test.each<[string, (packed: BrokenRing) => void, string]>([
    ["a chain whose rest is not available", (p) => p.put(0, p.io, 12, 0, NEXT | AVAILABLE), "virtio-chain-open"],
    [
      "a chain without an end",
      (p) => {
        for (let i = 0; i < 256; i++) p.put(i, p.io, 1, 0, NEXT | AVAILABLE);
      },
      "virtio-descriptor-loop",
    ],
    [
      "an indirect descriptor in a chain",
      (p) => {
        p.put(0, p.io, 12, 0, NEXT | AVAILABLE);
        p.put(1, p.table, 16, 0, TABLE | AVAILABLE);
      },
      "virtio-indirect-next",
    ],
    [
      "an indirect descriptor with a successor",
      (p) => p.put(0, p.table, 16, 0, TABLE | NEXT | AVAILABLE),
      "virtio-indirect-next",
    ],
    [
      "a table longer than the queue",
      (p) => {
        for (let i = 0; i < 300; i++) p.entry(i, p.io, 1, 0, 0);
        p.put(0, p.table, 16 * 300, 0, TABLE | AVAILABLE);
      },
      "virtio-descriptor-loop",
    ],
    [
      "an element to read behind one to write",
      (p) => {
        p.put(0, p.io, 12, 0, WRITE | NEXT | AVAILABLE);
        p.put(1, p.io, 12, 0, AVAILABLE);
      },
      "virtio-descriptor-order",
    ],
  ])("%s breaks the queue", (_, lay, rule) => {
    const packed = ring();
    lay(packed);
    expect(packed.run()).toEqual(broken(rule));
  });
});

test.each([[[]], [[EVENT_INDEX]], [[PACKED]]])(
  "buffers that are given back can be taken again and again (features %j)",
  (features) => {
    const rig = new VirtioNetRig({}, { features: [15, ...features] });
    rig.driver.start();
    rig.post(1, 50);
    rig.wire.deliver(FRAME);
    for (let i = 0; i < 600; i++) rig.driver.notify(RX);
    expect(rig.take()).toBeNull();
    rig.post(1, 50);
    expect(rig.take()).toEqual({ bytes: FRAME, flags: 0, buffers: 2 });
    expect(rig.rules).toEqual([]);
  },
);

test("an event index is passed once, also across the wrap", () => {
  expect(hasPassed(5, 6, 5)).toBe(true);
  expect(hasPassed(5, 7, 6)).toBe(false);
  expect(hasPassed(5, 5, 4)).toBe(false);
  expect(hasPassed(0xffff, 2, 0xfffe)).toBe(true);
  expect(hasPassed(0xfffd, 2, 0xfffe)).toBe(false);
});
