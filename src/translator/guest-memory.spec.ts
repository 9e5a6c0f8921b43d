import { describe, expect, it } from "vitest";
import type { GuestAddress } from "../util/guest-address.js";
import { GuestMemory } from "./guest-memory.js";
import { HIGH_SPACE, LOW_SPACE, SHADOW } from "./guest-space.js";
import type { Bytes } from "./ir.js";
import { Shadow } from "./shadow.js";

const RW = { read: true, write: true, execute: false };
const at = (address: number): GuestAddress => address as GuestAddress;
const AREA = at(0x40_0000);

function memory(): GuestMemory {
  const made = new GuestMemory(LOW_SPACE);
  made.map(AREA, 0x2000, RW, "area");
  return made;
}

describe("Guest memory", () => {
  it("keeps what is stored, by each width and at any alignment", () => {
    const guest = memory();
    const value = 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff01n;
    for (const bytes of [1, 2, 4, 8, 16] as const) {
      for (const offset of [0n, 1n, 7n, 4090n]) {
        const address = BigInt(AREA) + offset;
        const low = BigInt.asUintN(8 * Math.min(bytes, 8), value);
        const high = bytes === 16 ? value >> 64n : 0n;
        expect(guest.store(address, bytes, low, high)).toBe(true);
        expect(guest.load(address, bytes, false)).toBe(true);
        expect([guest.low, bytes === 16 ? guest.high : 0n]).toEqual([low, high]);
      }
    }
  });

  it("refuses the first byte that may not be accessed", () => {
    const guest = memory();
    const refused = (address: bigint, bytes: Bytes, write: boolean): unknown => {
      expect(guest.probe(address, bytes, write)).toBe(false);
      expect(write ? guest.store(address, bytes, 0n, 0n) : guest.load(address, bytes, false)).toBe(false);
      return guest.fault;
    };
    const end = BigInt(AREA) + 0x2000n;
    expect(refused(end - 3n, 8, false)).toEqual({ rule: "unmapped", address: end, access: "read", size: 8 });
    expect(refused(BigInt(AREA) - 1n, 2, true)).toEqual({
      rule: "unmapped",
      address: BigInt(AREA) - 1n,
      access: "write",
      size: 2,
    });
    expect(refused(0n, 1, false)).toMatchObject({ rule: "null-pointer", address: 0n });
    expect(refused(-1n, 4, true)).toMatchObject({ rule: "error-pointer", address: 0xffff_ffff_ffff_ffffn });
    guest.protect(at(AREA + 0x1000), 0x1000, { ...RW, write: false });
    expect(refused(BigInt(AREA) + 0xffcn, 8, true)).toMatchObject({
      rule: "write-to-read-only",
      address: BigInt(AREA) + 0x1000n,
    });
    guest.protect(at(AREA + 0x1800), 0x800, { read: false, write: false, execute: true });
    expect(refused(BigInt(AREA) + 0x1800n, 1, false)).toMatchObject({ rule: "no-access" });
  });

  it("names accesses right below a stack its overflow", () => {
    const guest = memory();
    guest.markStack(AREA, at(AREA + 0x2000));
    guest.load(BigInt(AREA) - 8n, 8, false);
    expect(guest.fault?.rule).toBe("stack-overflow");
    guest.load(BigInt(AREA) - 0x1_0008n, 8, false);
    expect(guest.fault?.rule).toBe("unmapped");
  });

  it("splits mappings that are protected in part, and takes only whole ones away", () => {
    const guest = memory();
    guest.protect(at(AREA + 0x400), 0x400, { read: true, write: false, execute: true });
    expect(guest.mappings.map(({ address, size, write }) => [address - AREA, size, write])).toEqual([
      [0, 0x400, true],
      [0x400, 0x400, false],
      [0x800, 0x1800, true],
    ]);
    expect(guest.isExecutable(at(AREA + 0x7ff))).toBe(true);
    expect(guest.isExecutable(at(AREA + 0x800))).toBe(false);
    expect(() => guest.unmap(at(AREA + 0x500), 0x300)).toThrow("area lies only partly");
    guest.unmap(at(AREA + 0x400), 0x400);
    expect(guest.mappingAt(at(AREA + 0x500))).toBeNull();
    expect(guest.mappingAt(at(AREA + 0x800))?.name).toBe("area");
    expect(() => guest.map(at(AREA + 0x700), 0x200, RW)).toThrow("overlaps area");
    expect(() => guest.protect(at(AREA + 0x700), 0x200, RW)).toThrow("nothing is mapped");
  });

  it("maps nothing where addresses near null, errors or the end could reach", () => {
    for (const space of [LOW_SPACE, HIGH_SPACE]) {
      const guest = new GuestMemory(space);
      expect(() => guest.map(at(space.firstMappable - 1), 16, RW)).toThrow("do not lie in guest memory");
      expect(() => guest.map(at(space.endMappable - 15), 16, RW)).toThrow("do not lie in guest memory");
      expect(() => guest.map(space.firstMappable, 0, RW)).toThrow("do not lie in guest memory");
      guest.map(space.firstMappable, 16, RW);
      guest.map(at(space.endMappable - 16), 16, RW);
      for (const address of [space.firstMappable, at(space.endMappable - 16)]) {
        expect(guest.store(BigInt.asUintN(64, BigInt(address)), 16, 5n, 6n)).toBe(true);
        guest.load(BigInt.asUintN(64, BigInt(address)), 16, false);
        expect([guest.low, guest.high]).toEqual([5n, 6n]);
      }
    }
  });

  it("reads and writes for hosts what is mapped, whatever its protection", () => {
    const guest = memory();
    guest.protect(AREA, 0x1000, { read: false, write: false, execute: false });
    guest.write(at(AREA + 0xffe), Uint8Array.of(1, 2, 3, 4));
    expect([...guest.read(at(AREA + 0xffe), 4)]).toEqual([1, 2, 3, 4]);
    expect(() => guest.read(at(AREA + 0x1ffe), 4)).toThrow("nothing is mapped at 0x0000000000402000");
    expect(() => guest.write(at(AREA - 1), new Uint8Array(2))).toThrow("nothing is mapped");
  });

  it("has stores noticed on pages that are watched: once, or each", () => {
    const guest = memory();
    const noticed: number[] = [];
    guest.onWrite = (address) => {
      noticed.push(address - AREA);
      guest.letThrough(guest.page(address));
    };
    const store = (offset: number): boolean => guest.store(BigInt(AREA + offset), 4, 1n, 0n);
    guest.watch(guest.page(AREA));
    for (const offset of [0, 4, 0x1000, 4]) store(offset);
    expect(noticed).toEqual([0, 4, 4]);
    guest.poison(AREA, 64, "freed");
    guest.poison(AREA, 64, null);
    store(8);
    expect(noticed).toEqual([0, 4, 4, 8]);
    guest.unwatch(guest.page(AREA));
    for (const offset of [12, 16]) store(offset);
    expect(noticed).toEqual([0, 4, 4, 8, 12]);
    guest.write(at(AREA + 0x1000), Uint8Array.of(1));
    expect(noticed.at(-1)).toBe(0x1000);
  });

  it("clears bytes and shadow of what is unmapped", () => {
    const guest = memory();
    guest.write(AREA, Uint8Array.of(1, 2, 3));
    guest.unmap(AREA, 0x2000);
    const offset = guest.offset(AREA);
    expect([...guest.bytes.subarray(offset, offset + 3)]).toEqual([0, 0, 0]);
    expect(guest.bytes[offset + SHADOW]).toBe(Shadow.unmapped);
    guest.map(AREA, 16, RW);
    guest.load(BigInt(AREA), 1, false);
    expect(guest.low).toBe(0n);
  });

  it("sends accesses to handlers whole, and never those that lie in memory", () => {
    const guest = memory();
    const seen: [bigint, Bytes][] = [];
    guest.handle(0xffff_c900_0000_0000n, 16, {
      read: (address, bytes) => {
        seen.push([address, bytes]);
        return 7n;
      },
      write: (address, bytes) => seen.push([address, bytes]),
    });
    expect(guest.load(0xffff_c900_0000_0008n, 8, false)).toBe(true);
    expect(guest.low).toBe(7n);
    expect(guest.probe(0xffff_c900_0000_0008n, 8, true)).toBe(true);
    expect(guest.load(0xffff_c900_0000_0009n, 8, false)).toBe(false);
    expect(guest.store(0xffff_c900_0000_000fn, 1, 1n, 0n)).toBe(true);
    expect(seen).toEqual([
      [0xffff_c900_0000_0008n, 8],
      [0xffff_c900_0000_000fn, 1],
    ]);
  });
});
