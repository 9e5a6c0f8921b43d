import { beforeEach, describe, expect, test } from "vitest";
import { type Bank, frameOffset, PhysicalMemory } from "../memory/physical-memory.js";
import { DmaAccess, type Pin, type PinAccess } from "../memory/pin.js";
import { type PinAuthority, PinBudget, PinPool } from "../memory/pin-budget.js";
import { type FrameNumber, type IoAddress, PAGE_SIZE } from "../util/brand.js";
import { type DmaFault, IoMmu, type IoMmuContext } from "./io-mmu.js";

let memory: PhysicalMemory;
let bank: Bank;
let authority: PinAuthority;
let iommu: IoMmu;
let device: IoMmuContext;
let faults: DmaFault[];

beforeEach(() => {
  memory = new PhysicalMemory();
  bank = memory.addBank(1024 * PAGE_SIZE);
  authority = new PinBudget(memory, { bound: 16384, posted: 0, reserved: 0, paging: 0 }).authority("test driver");
  iommu = new IoMmu(memory);
  device = iommu.attach("nic");
  device.busMaster = true;
  faults = [];
  iommu.events.on("fault", (fault) => faults.push(fault));
});

function frames(count: number): FrameNumber[] {
  return Array.from({ length: count }, () => bank.allocate());
}

function pin(list: readonly FrameNumber[], offset: number, length: number, access: PinAccess = DmaAccess.both): Pin {
  return authority.tryPin(list, offset, length, access, PinPool.solicited);
}

/** Pins fresh memory and maps all of it. */
function map(offset: number, length: number, access: PinAccess = DmaAccess.both, bits = 64): IoAddress {
  const made = pin(frames(Math.ceil((offset + length) / PAGE_SIZE)), offset, length, access);
  return device.map(made, 0, length, access, "probe", bits);
}

const scratch = new Uint8Array(8 * PAGE_SIZE);

function read(address: number, length: number, context = device): boolean {
  return context.read(address, scratch, 0, length);
}

function write(address: number, length: number, context = device): boolean {
  return context.write(address, scratch, 0, length);
}

/** The one fault since the last call. */
function theFault(): DmaFault {
  expect(faults.length).toBe(1);
  return faults.splice(0)[0];
}

describe("transfers", () => {
  test.each([
    ["within a page", 100, 8],
    ["a byte", 4095, 1],
    ["a whole page", 0, PAGE_SIZE],
    ["over a page's end", 4000, 200],
    ["over several pages", 1234, 3 * PAGE_SIZE],
  ])("%s: what the device writes lands in the pinned bytes, in order, and nowhere else", (_, offset, length) => {
    const count = Math.ceil((offset + length) / PAGE_SIZE);
    // Neighbouring I/O pages, but frames in reverse.
    const list = frames(count + 2)
      .slice(1, -1)
      .reverse();
    const address = device.map(pin(list, offset, length), 0, length, DmaAccess.both, "probe");
    const data = Uint8Array.from({ length }, (_, i) => 1 + (i % 255));
    const before = bank.bytes.slice();
    expect(device.write(address, data, 0, length)).toBe(true);
    const expected = before.slice();
    for (let i = 0; i < length; i++) {
      const at = offset + i;
      expected[frameOffset(list[Math.floor(at / PAGE_SIZE)]) + (at % PAGE_SIZE)] = data[i];
    }
    expect(Buffer.compare(bank.bytes, expected)).toBe(0);
    const back = new Uint8Array(length + 2).fill(0xaa);
    expect(device.read(address, back, 1, length)).toBe(true);
    expect(back.subarray(1, length + 1)).toEqual(data);
    expect([back[0], back[length + 1]]).toEqual([0xaa, 0xaa]);
    expect([device.bytesRead, device.bytesWritten]).toEqual([length, length]);
    expect(faults).toEqual([]);
  });

  test("frames of several banks behind one mapping", () => {
    const other = memory.addBank(4 * PAGE_SIZE);
    const list = [bank.allocate(), other.allocate(), bank.allocate()];
    const address = device.map(pin(list, 0, 3 * PAGE_SIZE), 0, 3 * PAGE_SIZE, DmaAccess.both, "probe");
    scratch.fill(5, 0, 3 * PAGE_SIZE);
    expect(write(address, 3 * PAGE_SIZE)).toBe(true);
    for (const frame of list) expect(memory.frameBytes(frame).every((byte) => byte === 5)).toBe(true);
    expect(device.spans(address, 3 * PAGE_SIZE, DmaAccess.read)?.length).toBe(3);
  });

  test("the address keeps the offset in the page, and a part of a pin is mapped by its own offset", () => {
    const list = frames(3);
    const made = pin(list, 0x123, 2 * PAGE_SIZE);
    const whole = device.map(made, 0, 2 * PAGE_SIZE, DmaAccess.both, "probe");
    expect(whole % PAGE_SIZE).toBe(0x123);
    const part = device.map(made, 4000, 100, DmaAccess.both, "probe");
    expect(part % PAGE_SIZE).toBe((0x123 + 4000) % PAGE_SIZE);
    scratch.fill(9, 0, 100);
    expect(write(part, 100)).toBe(true);
    expect(read(whole + 4000, 100)).toBe(true);
    expect(scratch.subarray(0, 100).every((byte) => byte === 9)).toBe(true);
    expect(bank.bytes[frameOffset(list[1]) + 0x123 + 4000 - PAGE_SIZE]).toBe(9);
    expect(made.mappings).toBe(2);
  });

  test("a transfer of no bytes does nothing and is no fault", () => {
    const address = map(0, 16);
    expect(read(address + 16, 0)).toBe(true);
    expect(device.spans(address, 0, DmaAccess.read)).toEqual([]);
    expect(faults).toEqual([]);
  });
});

describe("refusals", () => {
  test("byte-exact at both ends", () => {
    const address = map(100, 50);
    expect(read(address, 50)).toBe(true);
    for (const [start, length] of [
      [-1, 1],
      [-1, 51],
      [0, 51],
      [49, 2],
      [50, 1],
      [-100, 100],
      [-10, 100],
    ]) {
      expect(read(address + start, length)).toBe(false);
      const fault = theFault();
      expect(fault).toMatchObject({ reason: "out-of-bounds", address: address + start, length, device: "nic" });
      expect(fault.mapping).toMatchObject({ address, length: 50, site: "probe", unmapSite: null });
    }
    expect(iommu.faults).toBe(7);
  });

  test("a refused write moves no byte, not even those that were allowed", () => {
    const address = map(0, PAGE_SIZE + 10);
    scratch.fill(0xee);
    expect(write(address + PAGE_SIZE, 11)).toBe(false);
    expect(write(address, PAGE_SIZE + 11)).toBe(false);
    expect(bank.bytes.includes(0xee)).toBe(false);
    expect(device.bytesWritten).toBe(0);
  });

  test("byte-exact over page ends: the last page of a mapping ends where its bytes do", () => {
    const address = map(4090, PAGE_SIZE + 10);
    expect(read(address + PAGE_SIZE + 9, 1)).toBe(true);
    expect(read(address + PAGE_SIZE + 10, 1)).toBe(false);
    expect(theFault().reason).toBe("out-of-bounds");
    expect(read(address - 1, 1)).toBe(false);
    expect(theFault().reason).toBe("out-of-bounds");
  });

  test("direction", () => {
    const toDevice = map(0, 64, DmaAccess.read);
    const fromDevice = map(0, 64, DmaAccess.write);
    expect([read(toDevice, 64), write(fromDevice, 64)]).toEqual([true, true]);
    expect(write(toDevice, 64)).toBe(false);
    expect(theFault()).toMatchObject({
      reason: "wrong-direction",
      access: DmaAccess.write,
      mapping: { site: "probe" },
    });
    expect(read(fromDevice, 64)).toBe(false);
    expect(theFault().reason).toBe("wrong-direction");
    expect(device.spans(toDevice, 64, DmaAccess.both)).toBe(null);
    expect(theFault().reason).toBe("wrong-direction");
  });

  test("a mapping may allow less than its pin, not more", () => {
    const made = pin(frames(1), 0, 64, DmaAccess.read);
    expect(() => device.map(made, 0, 64, DmaAccess.both, "probe")).toThrow(
      expect.objectContaining({ code: "map-direction" }),
    );
    const both = pin(frames(1), 0, 64, DmaAccess.both);
    expect(write(device.map(both, 0, 64, DmaAccess.read, "probe"), 1)).toBe(false);
  });

  test("bus mastering off", () => {
    const address = map(0, 64);
    device.busMaster = false;
    expect([read(address, 4), write(address, 4), device.spans(address, 4, DmaAccess.read)]).toEqual([
      false,
      false,
      null,
    ]);
    expect(faults.map((fault) => fault.reason)).toEqual(["bus-master-off", "bus-master-off", "bus-master-off"]);
    device.busMaster = true;
    expect(read(address, 4)).toBe(true);
  });

  test("never mapped: anywhere, also at odd addresses", () => {
    const address = map(0, 64);
    for (const wild of [
      0,
      1,
      -1,
      0xfee0_0000,
      address + 2 * PAGE_SIZE,
      2 ** 63,
      Number.NaN,
      Number.POSITIVE_INFINITY,
    ]) {
      expect(read(wild, 4)).toBe(false);
      expect(theFault()).toMatchObject({ reason: "unmapped", mapping: null });
    }
  });

  test("after unmap, with both sites", () => {
    const address = map(10, 2 * PAGE_SIZE);
    device.unmap(address, "remove");
    for (const at of [address, address + 5, address + 2 * PAGE_SIZE - 1]) {
      expect(write(at, 1)).toBe(false);
      expect(theFault()).toMatchObject({
        reason: "after-unmap",
        mapping: { address, length: 2 * PAGE_SIZE, site: "probe", unmapSite: "remove" },
      });
    }
  });

  test("history outlives thousands of later mappings, and when it is gone no other mapping is named instead", () => {
    const old = map(0, 64);
    device.unmap(old, "remove");
    const made = pin(frames(1), 0, 64);
    const cycle = (count: number): void => {
      for (let i = 0; i < count; i++) device.unmap(device.map(made, 0, 64, DmaAccess.both, "later"), "later");
    };
    cycle(4000);
    read(old, 4);
    expect(theFault()).toMatchObject({ reason: "after-unmap", mapping: { site: "probe" } });
    cycle(1000);
    read(old, 4);
    expect(theFault()).toMatchObject({ reason: "after-unmap", mapping: null });
    cycle(20_000);
    expect(device.live).toBe(1 - 1);
    expect([device.maps, device.unmaps]).toEqual([25_001, 25_001]);
  });

  test("another device's address", () => {
    const address = map(0, 64);
    const other = iommu.attach("disk");
    other.busMaster = true;
    expect(read(address, 4, other)).toBe(false);
    expect(theFault()).toMatchObject({ device: "disk", reason: "other-device", mapping: { address, site: "probe" } });
    device.unmap(address, "remove");
    expect(read(address, 4, other)).toBe(false);
    expect(theFault()).toMatchObject({ reason: "unmapped", mapping: null });
  });

  test("a device that is plugged in later gets addresses of its own, also after others were removed", () => {
    const second = iommu.attach("second");
    const made = pin(frames(1), 0, 64);
    const theirs = second.map(made, 0, 64, DmaAccess.both, "probe");
    iommu.detach(device);
    const third = iommu.attach("third");
    third.busMaster = true;
    third.map(made, 0, 64, DmaAccess.both, "probe");
    expect(read(theirs, 4, third)).toBe(false);
    expect(theFault().reason).toBe("other-device");
  });
});

describe("mapping", () => {
  test.each([
    ["beyond the pin's end", 0, 101],
    ["past it with an offset", 60, 41],
    ["before its start", -1, 4],
    ["nothing", 0, 0],
    ["less than nothing", 0, -4],
    ["half a byte", 0, 0.5],
    ["at half a byte", 0.5, 4],
    ["no number", Number.NaN, 4],
    ["no number of bytes", 0, Number.NaN],
  ])("refuses %s", (_, offset, length) => {
    const made = pin(frames(1), 0, 100);
    expect(() => device.map(made, offset, length, DmaAccess.both, "probe")).toThrow(
      expect.objectContaining({ code: "map-bounds" }),
    );
    expect([made.mappings, device.live]).toEqual([0, 0]);
  });

  test("refuses a pin that was released", () => {
    const made = pin(frames(1), 0, 100);
    authority.unpin(made);
    expect(() => device.map(made, 0, 100, DmaAccess.both, "probe")).toThrow(
      expect.objectContaining({ code: "map-not-pinned" }),
    );
  });

  test("unmap gives the pin back, which can be released then and not before", () => {
    const made = pin(frames(1), 0, 100);
    const address = device.map(made, 0, 100, DmaAccess.both, "probe");
    expect(() => authority.unpin(made)).toThrow(expect.objectContaining({ code: "pin-mapped" }));
    expect(device.unmap(address, "remove")).toBe(made);
    authority.unpin(made);
  });

  test("unmap of what is not mapped says what is known about it", () => {
    expect(() => device.unmap(0x1234 as IoAddress, "remove")).toThrow(/remove unmaps 0x1234 .* nothing is known/);
    const address = map(0, 2 * PAGE_SIZE);
    expect(() => device.unmap((address + PAGE_SIZE) as IoAddress, "remove")).toThrow(
      expect.objectContaining({ code: "unmap-inside" }),
    );
    expect(() => device.unmap((address + 8) as IoAddress, "remove")).toThrow(
      expect.objectContaining({ code: "unmap-inside" }),
    );
    device.unmap(address, "close");
    expect(() => device.unmap(address, "remove")).toThrow(/it was unmapped by close/);
    expect(device.unmaps).toBe(1);
  });

  test("teardown takes everything away, in all windows, and leaves the history", () => {
    const addresses = [
      map(0, 64),
      map(0, 3 * PAGE_SIZE),
      map(0, 64, DmaAccess.both, 32),
      map(0, 64, DmaAccess.both, 24),
    ];
    device.teardown("driver died");
    expect(device.live).toBe(0);
    for (const address of addresses) {
      expect(read(address, 1)).toBe(false);
      expect(theFault()).toMatchObject({ reason: "after-unmap", mapping: { unmapSite: "driver died" } });
    }
    authority.end();
    expect(authority.pins).toBe(0);
    device.teardown("again");
  });
});

describe("addresses", () => {
  test.each([24, 25, 28, 30, 31, 32, 33, 36, 40, 43, 44, 48, 52, 64])("of %d bits fit the mask", (bits) => {
    for (let i = 0; i < 20; i++) {
      const address = map(8, PAGE_SIZE, DmaAccess.both, bits);
      expect(address + PAGE_SIZE).toBeLessThanOrEqual(2 ** bits);
      expect(address).toBeGreaterThanOrEqual(0x10_0000);
      expect(address % PAGE_SIZE).toBe(8);
      expect([read(address, PAGE_SIZE), read(address, PAGE_SIZE + 1)]).toEqual([true, false]);
    }
  });

  test.each([0, 16, 23, 31.5, Number.NaN])("of %d bits are refused", (bits) => {
    expect(() => map(0, 64, DmaAccess.both, bits)).toThrow(expect.objectContaining({ code: "address-bits" }));
  });

  test.each([
    ["falling", [64, 43, 40, 36, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24]],
    ["rising", [24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 36, 40, 43, 64]],
  ])("of many widths side by side in one device, in %s order", (_, order) => {
    const mapped = order.map((bits, i) => ({ address: map(i, 100, DmaAccess.both, bits), mark: i + 1 }));
    for (const { address, mark } of mapped) {
      scratch.fill(mark, 0, 100);
      expect(write(address, 100)).toBe(true);
    }
    for (const { address, mark } of mapped) {
      expect(read(address, 100)).toBe(true);
      expect(scratch.subarray(0, 100).every((byte) => byte === mark)).toBe(true);
    }
    for (let i = 0; i < 50; i++) for (const bits of order) map(0, PAGE_SIZE, DmaAccess.both, bits);
    expect(device.live).toBe(mapped.length * 51);
  });

  test("neighbouring mappings leave a gap that faults", () => {
    const one = map(0, PAGE_SIZE);
    const two = map(0, PAGE_SIZE);
    expect(two - one).toBeGreaterThanOrEqual(2 * PAGE_SIZE);
    expect(read(one + PAGE_SIZE - 1, 2)).toBe(false);
    expect(theFault().reason).toBe("out-of-bounds");
    expect(read(one + PAGE_SIZE, 1)).toBe(false);
    expect(theFault().reason).toBe("unmapped");
  });

  test.each([1, 2, 3, 5, 8, 16])("coherent memory of %d pages is aligned to its size", (pages) => {
    for (const bits of [24, 32, 64]) {
      const made = pin(frames(pages), 0, pages * PAGE_SIZE);
      for (let i = 0; i < 3; i++) {
        const address = device.map(made, 0, pages * PAGE_SIZE, DmaAccess.both, "alloc", bits, true);
        expect(address % (2 ** Math.ceil(Math.log2(pages)) * PAGE_SIZE)).toBe(0);
      }
    }
  });

  test("a 24-bit window fills up with a clear error, and goes on when something is unmapped", () => {
    const made = pin(frames(1), 0, 64);
    const addresses: IoAddress[] = [];
    expect(() => {
      for (;;) addresses.push(device.map(made, 0, 64, DmaAccess.both, "fill", 24));
    }).toThrow(expect.objectContaining({ code: "no-io-address" }));
    expect(addresses.length).toBe(1919);
    expect(new Set(addresses).size).toBe(addresses.length);
    device.unmap(addresses[700], "free");
    expect(device.map(made, 0, 64, DmaAccess.both, "again", 24)).toBe(addresses[700]);
    expect(device.map(made, 0, 64, DmaAccess.both, "other width", 32)).toBeGreaterThan(2 ** 24);
  });

  test("round and round a 24-bit window: an address comes back only after all others, and stale ones are known", () => {
    const long = device.map(pin(frames(1), 0, 64), 0, 64, DmaAccess.both, "long-lived", 24);
    const made = pin(frames(2), 0, 2 * PAGE_SIZE);
    const lastUse = new Map<number, number>();
    let nearest = Number.POSITIVE_INFINITY;
    let stale = -1;
    for (let i = 0; i < 10_000; i++) {
      const address = device.map(made, 0, 2 * PAGE_SIZE, DmaAccess.both, "short-lived", 24);
      const before = lastUse.get(address);
      if (before !== undefined) nearest = Math.min(nearest, i - before);
      lastUse.set(address, i);
      device.unmap(address, "short-lived");
      if (stale >= 0 && i % 100 === 0) {
        expect(read(stale, 1)).toBe(false);
        expect(theFault().reason).toBe("after-unmap");
      }
      stale = address;
    }
    expect(nearest).toBeGreaterThan(1200);
    expect(read(long, 64)).toBe(true);
  });
});

describe("spans", () => {
  test("of neighbouring frames are one piece, of scattered ones several, and they are the memory itself", () => {
    const list = frames(6);
    const order = [list[1], list[2], list[3], list[0], list[5]];
    const address = device.map(pin(order, 100, 4 * PAGE_SIZE + 1000), 0, 4 * PAGE_SIZE + 1000, DmaAccess.both, "probe");
    const spans = device.spans(address, 4 * PAGE_SIZE + 1000, DmaAccess.write);
    expect(spans?.map((span) => [span.byteOffset, span.length])).toEqual([
      [frameOffset(list[1]) + 100, 3 * PAGE_SIZE - 100],
      [frameOffset(list[0]), PAGE_SIZE],
      [frameOffset(list[5]), 1100],
    ]);
    spans?.[1].fill(3);
    expect(memory.frameBytes(list[0]).every((byte) => byte === 3)).toBe(true);
    expect(device.bytesWritten).toBe(4 * PAGE_SIZE + 1000);
    expect(device.bytesRead).toBe(0);
  });

  test("neighbours in number but in different banks are not one piece", () => {
    const small = new PhysicalMemory();
    const first = small.addBank(PAGE_SIZE);
    const second = small.addBank(PAGE_SIZE);
    const own = new PinBudget(small, { bound: 4, posted: 0, reserved: 0, paging: 0 }).authority("a");
    const made = own.tryPin([first.allocate(), second.allocate()], 0, 2 * PAGE_SIZE, DmaAccess.both, PinPool.solicited);
    const context = new IoMmu(small).attach("nic");
    context.busMaster = true;
    const spans = context.spans(
      context.map(made, 0, 2 * PAGE_SIZE, DmaAccess.both, "probe"),
      2 * PAGE_SIZE,
      DmaAccess.read,
    );
    expect(spans?.map((span) => span.buffer)).toEqual([first.memory.buffer, second.memory.buffer]);
  });

  test("null, and a fault, if any byte is refused", () => {
    const address = map(0, 64);
    expect(device.spans(address, 65, DmaAccess.read)).toBe(null);
    expect(theFault().reason).toBe("out-of-bounds");
  });
});

test("a live mapping has a number of its own, where it begins", () => {
  const [first, second] = [map(100, 5000), map(0, 10)];
  expect(device.entryAt(first)).toBeGreaterThan(0);
  expect(device.entryAt(second)).toBeGreaterThan(0);
  expect(device.entryAt(second)).not.toBe(device.entryAt(first));
  expect([first + 1, first + 4096, 0, -1, 2 ** 60].map((address) => device.entryAt(address))).toEqual([0, 0, 0, 0, 0]);
  device.unmap(first, "probe");
  expect(device.entryAt(first)).toBe(0);
});
