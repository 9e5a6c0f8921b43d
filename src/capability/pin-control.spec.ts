import { beforeEach, describe, expect, test } from "vitest";
import { KernelRig, pageAt, SlowStore, settled } from "../../test/support/kernel-rig.js";
import { FrameState } from "../memory/physical-memory.js";
import { DmaAccess, Pin } from "../memory/pin.js";
import { PinPool } from "../memory/pin-budget.js";
import { PAGE_SIZE } from "../util/brand.js";
import type { AddressSpaceCapability } from "./address-space.js";
import { Restriction } from "./capability.js";
import { PageCapability } from "./page.js";
import { PinControl, PinControlCapability, type PinRequest } from "./pin-control.js";

let rig: KernelRig;
let driver: PinControlCapability;
let region: AddressSpaceCapability;

/** Room for sixteen frames of requests. */
beforeEach(() => {
  rig = new KernelRig();
  driver = rig.driver();
  region = rig.prime.region({ pages: 8 });
});

function request(more: Partial<PinRequest> = {}): PinRequest {
  return { space: region, offset: 0, length: PAGE_SIZE, access: DmaAccess.read, ...more };
}

function now(pin: Pin | Promise<Pin>): Pin {
  if (!(pin instanceof Pin)) throw new Error("the pin should be there at once");
  return pin;
}

/** Fills the pool of requests. */
function hoard(pages = 16): Pin {
  return now(rig.driver("hoarder").pin(request({ space: rig.prime.region({ pages }), length: pages * PAGE_SIZE })));
}

describe("pin", () => {
  test("gives the frames in order, with offset and length; the requester learns nothing", () => {
    const pin = now(driver.pin(request({ offset: PAGE_SIZE + 100, length: 2 * PAGE_SIZE })));
    expect(pin.frames).toEqual([1, 2, 3].map((i) => pageAt(region, i).frame));
    expect([pin.offset, pin.length, pin.access, pin.pool, pin.live]).toEqual([
      100,
      2 * PAGE_SIZE,
      DmaAccess.read,
      PinPool.solicited,
      true,
    ]);
    expect(rig.budget.pinned).toBe(3);
    driver.unpin(pin);
    expect(rig.budget.pinned).toBe(0);
  });

  test("a region that shows the same page several times pins its frame once, and lists it as often", () => {
    for (const slot of [3, 4, 5]) region.setWindow(slot, { slot: 2, offset: 0 });
    const pin = now(driver.pin(request({ offset: 2 * PAGE_SIZE, length: 4 * PAGE_SIZE })));
    expect(new Set(pin.frames).size).toBe(1);
    expect([pin.frames.length, rig.budget.pinned, rig.ram.pinCount(pin.frames[0])]).toEqual([4, 1, 1]);
  });

  test("device → memory needs a writable region, memory → device takes a read-only one", () => {
    for (const restriction of [Restriction.readOnly, Restriction.weak]) {
      const space = region.restrict(restriction);
      expect(now(driver.pin(request({ space }))).live).toBe(true);
      for (const access of [DmaAccess.write, DmaAccess.both]) {
        expect(() => driver.pin(request({ space, access }))).toThrow(expect.objectContaining({ code: "rights" }));
        expect(() => driver.tryPin(request({ space, access }))).toThrow(expect.objectContaining({ code: "rights" }));
      }
    }
    const opaque = region.restrict(Restriction.opaque);
    expect(now(driver.pin(request({ space: opaque, access: DmaAccess.write }))).live).toBe(true);
  });

  test("one page of a range that may not be written, or is not there, and none is pinned", () => {
    region.setSlot(2, region.getSlot(2)?.restrict(Restriction.readOnly) ?? null);
    const range = request({ length: 4 * PAGE_SIZE, access: DmaAccess.write });
    expect(() => driver.pin(range)).toThrow(expect.objectContaining({ code: "rights" }));
    region.setSlot(2, null);
    expect(() => driver.pin(range)).toThrow(expect.objectContaining({ code: "address-fault", offset: 2 * PAGE_SIZE }));
    expect(rig.budget.pinned).toBe(0);
  });

  test("what the device may write counts as changed from then on; what it only reads does not", () => {
    driver.pin(request({ access: DmaAccess.read }));
    expect(rig.ram.isDirty(pageAt(region, 0).frame)).toBe(false);
    driver.pin(request({ access: DmaAccess.write }));
    driver.tryPin(request({ offset: PAGE_SIZE, access: DmaAccess.both }));
    expect([0, 1, 2].map((i) => rig.ram.isDirty(pageAt(region, i).frame))).toEqual([true, true, false]);
  });

  test.each([
    ["length", { length: 0 }],
    ["length", { length: -1 }],
    ["length", { length: 0.5 }],
    ["length", { offset: -1 }],
    ["argument", { access: 0 as never }],
    ["argument", { access: 4 as never }],
    ["argument", { pool: 4 as never }],
    ["length", { length: 2 ** 40 }],
  ])("%s: %j is refused", (code, wrong) => {
    expect(() => driver.pin(request(wrong))).toThrow(expect.objectContaining({ code }));
    expect(() => driver.tryPin(request(wrong))).toThrow(expect.objectContaining({ code }));
  });

  test("neither capability suffices alone: both must be alive", () => {
    const control = new PinControl(rig.budget.authority("mortal"));
    const mortal = new PinControlCapability(control);
    const held = now(mortal.pin(request()));
    control.rescind();
    for (const use of [() => mortal.pin(request()), () => mortal.tryPin(request()), () => mortal.unpin(held)]) {
      expect(use).toThrow(expect.objectContaining({ code: "void" }));
    }
    control.release();
    expect(held.live).toBe(false);
    rig.prime.destroy(region);
    expect(() => driver.pin(request())).toThrow(expect.objectContaining({ code: "void" }));
  });

  test("is bounded: too large is refused at once, too much for now waits or is told", async () => {
    expect(() => driver.pin(request({ space: rig.prime.region({ pages: 17 }), length: 17 * PAGE_SIZE }))).toThrow(
      expect.objectContaining({ code: "pin-bound" }),
    );
    const other = hoard();
    expect(() => driver.tryPin(request())).toThrow(expect.objectContaining({ code: "pin-busy" }));
    const waiting = driver.pin(request({ access: DmaAccess.write }));
    expect(waiting).toBeInstanceOf(Promise);
    expect(rig.ram.isDirty(pageAt(region, 0).frame)).toBe(false);
    expect(pageAt(region, 0).interest).toBe(1);
    other.authority.unpin(other);
    expect((await waiting).frames).toEqual([pageAt(region, 0).frame]);
    expect([rig.ram.isDirty(pageAt(region, 0).frame), pageAt(region, 0).interest]).toEqual([true, 0]);
  });
});

describe("a request that waits for the bound", () => {
  test.each([
    ["a page of it is destroyed", "void", () => rig.prime.destroy(region.getSlot(1) ?? region)],
    ["the space is destroyed", "void", () => rig.prime.destroy(region)],
    ["the capability is rescinded", "void", () => rig.prime.rescind(region)],
    ["a page is taken out", "address-fault", () => region.setSlot(1, null)],
    ["a page is exchanged", "argument", () => region.setSlot(1, rig.prime.page())],
    ["a page becomes read-only", "rights", () => region.setSlot(1, region.getSlot(1)?.restrict(1) ?? null)],
  ])("%s meanwhile: it fails when its turn comes, and pins nothing", async (_, code, change) => {
    const other = hoard();
    const waiting = driver.pin(request({ length: 2 * PAGE_SIZE, access: DmaAccess.write }));
    const next = driver.pin(request({ offset: 4 * PAGE_SIZE }));
    change();
    if (code !== "void" || region.isVoid === false) expect(rig.budget.pinned).toBe(16);
    other.authority.unpin(other);
    await expect(waiting).rejects.toMatchObject({ code });
    if (region.isVoid) await expect(next).rejects.toMatchObject({ code: "void" });
    else expect((await next).live).toBe(true);
    expect(rig.budget.pinned).toBe(region.isVoid ? 0 : 1);
    expect(rig.budget.waiting).toBe(0);
  });

  test("fails when its driver ends", async () => {
    hoard();
    const control = new PinControl(rig.budget.authority("mortal"));
    const waiting = new PinControlCapability(control).pin(request());
    control.release();
    await expect(waiting).rejects.toMatchObject({ code: "pin-authority-ended" });
    expect(pageAt(region, 0).interest).toBe(0);
  });
});

describe("absent pages", () => {
  test("are brought in before anything is pinned; the promise gives all of them", async () => {
    const store = new SlowStore(rig);
    const space = rig.prime.space();
    for (let i = 0; i < 3; i++)
      space.setSlot(i, i === 1 ? rig.prime.page() : new PageCapability(rig.prime.storePage(store)));
    const waiting = driver.pin(request({ space, length: 3 * PAGE_SIZE, access: DmaAccess.write }));
    store.deliver(1);
    await settled();
    expect(rig.budget.pinned).toBe(0);
    store.deliver(2);
    const pin = await waiting;
    expect(pin.frames).toEqual([0, 1, 2].map((i) => pageAt(space, i).frame));
    expect(rig.budget.pinned).toBe(3);
    expect(pin.frames.every((frame) => rig.ram.state(frame) === FrameState.resident && rig.ram.isDirty(frame))).toBe(
      true,
    );
  });

  test("that cannot be read: the error reaches the caller", async () => {
    const store = new SlowStore(rig);
    const space = rig.prime.space();
    space.setSlot(0, new PageCapability(rig.prime.storePage(store)));
    const waiting = driver.pin(request({ space }));
    store.fail(new Error("unreadable"));
    await expect(waiting).rejects.toThrow("unreadable");
    expect(rig.budget.pinned).toBe(0);
  });

  test("are not waited for by who cannot wait", () => {
    const space = rig.prime.space();
    space.setSlot(0, new PageCapability(rig.prime.storePage(new SlowStore(rig))));
    expect(() => driver.tryPin(request({ space }))).toThrow(expect.objectContaining({ code: "argument" }));
  });
});

describe("I/O that goes on", () => {
  test("outlives the capability that it was started with, but not the object's destruction: that waits", async () => {
    const page = rig.prime.page();
    const space = rig.prime.space();
    space.setSlot(0, page);
    const pin = now(driver.pin(request({ space, access: DmaAccess.write })));
    space.setSlot(0, null);
    rig.prime.destroy(space);
    const fresh = rig.prime.rescind(page);
    expect(pin.live).toBe(true);
    const wait = rig.prime.destroy(fresh);
    expect(wait).toBeInstanceOf(Promise);
    expect(rig.ram.state(pin.frames[0])).toBe(FrameState.dying);
    driver.unpin(pin);
    await wait;
    expect(rig.ram.state(pin.frames[0])).toBe(FrameState.free);
  });

  test("destroying the whole region waits for the one page in flight", async () => {
    const bank = rig.prime.bank();
    const space = bank.region({ pages: 8 });
    const free = rig.ram.freeFrames;
    const pin = now(driver.pin(request({ space, offset: 5 * PAGE_SIZE })));
    const wait = rig.prime.destroy(bank);
    expect(rig.ram.freeFrames).toBe(free + 7);
    driver.unpin(pin);
    expect(rig.ram.freeFrames).toBe(free + 8);
    await wait;
  });
});
