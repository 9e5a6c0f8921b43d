import { beforeEach, describe, expect, test } from "vitest";
import { KernelRig, pageAt, pageOf, SlowStore, settled } from "../../test/support/kernel-rig.js";
import { FrameState } from "../memory/physical-memory.js";
import { DmaAccess, type Pin } from "../memory/pin.js";
import { type PinAuthority, PinPool } from "../memory/pin-budget.js";
import { PAGE_SIZE } from "../util/brand.js";
import type { PageCapability } from "./page.js";

let rig: KernelRig;
let authority: PinAuthority;

beforeEach(() => {
  rig = new KernelRig();
  authority = rig.budget.authority("driver");
});

function pin(page: PageCapability): Pin {
  return authority.tryPin([pageOf(page).frame], 0, PAGE_SIZE, DmaAccess.both, PinPool.solicited);
}

const quota = expect.objectContaining({ code: "quota" });
const isVoid = expect.objectContaining({ code: "void" });

describe("quota", () => {
  test("pages, spaces, endpoints and banks cost one unit each; destroying gives it back", () => {
    const bank = rig.prime.bank(4);
    const bought = [bank.page(), bank.space(), bank.endpoint(), bank.bank()];
    for (const buy of [
      () => bank.page(),
      () => bank.space(),
      () => bank.endpoint(),
      () => bank.bank(),
      () => bank.region({ pages: 1 }),
      () => bank.storePage(new SlowStore(rig)),
    ]) {
      expect(buy).toThrow(quota);
    }
    for (const [i, object] of bought.entries()) {
      bank.destroy(object);
      expect(bank.available).toBe(i + 1);
    }
  });

  test("the most constraining limit up the chain applies", () => {
    const top = rig.prime.bank(5);
    const middle = top.bank(100);
    const bottom = middle.bank(2);
    // The two banks count against the top.
    expect([top.available, middle.available, bottom.available]).toEqual([3, 3, 2]);
    bottom.page();
    bottom.page();
    expect(() => bottom.page()).toThrow(quota);
    top.page();
    expect([top.available, middle.available]).toEqual([0, 0]);
    expect(() => middle.page()).toThrow(/has 0 left/);
  });

  test("a region counts its pages and its nodes, and is bought whole or not at all", () => {
    // 17 pages: two leaf nodes and one above them.
    const bank = rig.prime.bank(19);
    const free = rig.ram.freeFrames;
    expect(() => bank.region({ pages: 17 })).toThrow(quota);
    expect([bank.available, rig.ram.freeFrames]).toEqual([19, free]);
    const enough = rig.prime.bank(20);
    enough.region({ pages: 17 });
    expect(enough.available).toBe(0);
  });

  test("too few frames for a region: nothing is bought", () => {
    const before = rig.prime.available;
    for (const contiguous of [false, true]) {
      expect(() => rig.prime.region({ pages: 65, contiguous })).toThrow(
        expect.objectContaining({ code: "out-of-frames" }),
      );
    }
    expect(() => rig.prime.region({ pages: 2 ** 40 })).toThrow(expect.objectContaining({ code: "out-of-frames" }));
    expect([rig.prime.available, rig.ram.freeFrames]).toEqual([before, 64]);
    rig.prime.region({ pages: 64 });
  });

  test("a contiguous region lies in neighbouring frames; without such a run nothing is bought", () => {
    const region = rig.prime.region({ pages: 20, contiguous: true });
    const first = pageAt(region, 0).frame;
    for (let i = 0; i < 20; i++) expect(pageAt(region, i).frame).toBe(first + i);
    const rest = Array.from({ length: 44 }, () => rig.prime.page());
    for (const page of rest.filter((_, i) => i % 2 === 0)) rig.prime.destroy(page);
    const before = rig.prime.available;
    expect(() => rig.prime.region({ pages: 2, contiguous: true })).toThrow(
      expect.objectContaining({ code: "out-of-frames" }),
    );
    expect(rig.prime.available).toBe(before);
  });

  test("clean pages make room for pages and whole regions", () => {
    const hoard = Array.from({ length: 60 }, () => rig.prime.page());
    let asked = 0;
    rig.kernel.reclaim = () => {
      asked++;
      const victim = hoard.pop();
      if (victim === undefined) return false;
      rig.prime.destroy(victim);
      return true;
    };
    rig.prime.region({ pages: 10 });
    expect([asked, rig.ram.freeFrames]).toEqual([6, 0]);
    rig.prime.page();
    expect(asked).toBe(7);
  });

  test.each([0, -1, 1.5, Number.NaN])("a region of %d pages is refused", (pages) => {
    expect(() => rig.prime.region({ pages })).toThrow(expect.objectContaining({ code: "argument" }));
  });

  test.each([0, 2, 1 / 16, 8, 16 ** 8, 16 ** 40, -16, Number.NaN])("slots of %d pages are refused", (slotPages) => {
    expect(() => rig.prime.space(slotPages)).toThrow(expect.objectContaining({ code: "argument" }));
  });

  test.each([-1, Number.NaN])("a bank with a limit of %d is refused", (limit) => {
    expect(() => rig.prime.bank(limit)).toThrow(expect.objectContaining({ code: "argument" }));
  });
});

describe("who may destroy", () => {
  test("the bank that sold it, and those above; nobody else", () => {
    const bank = rig.prime.bank();
    const below = bank.bank();
    const beside = rig.prime.bank();
    const page = below.page();
    for (const stranger of [beside, beside.bank()]) {
      expect(() => stranger.destroy(page)).toThrow(expect.objectContaining({ code: "not-sold-here" }));
      expect(() => stranger.rescind(page)).toThrow(expect.objectContaining({ code: "not-sold-here" }));
    }
    expect(() => below.destroy(bank)).toThrow(expect.objectContaining({ code: "not-sold-here" }));
    expect(() => bank.destroy(bank)).toThrow(expect.objectContaining({ code: "not-sold-here" }));
    expect(() => rig.prime.destroy(rig.prime)).toThrow(expect.objectContaining({ code: "not-sold-here" }));
    expect(() => bank.destroyBankOnly(bank)).toThrow(expect.objectContaining({ code: "not-sold-here" }));
    expect(page.isVoid).toBe(false);
    bank.destroy(page);
    expect(page.isVoid).toBe(true);
  });

  test("what a bank did not sell at all is nobody's to destroy", () => {
    expect(() => rig.prime.destroy(rig.driver())).toThrow(expect.objectContaining({ code: "not-sold-here" }));
  });
});

describe("destroying a bank", () => {
  test("takes everything that it and those below it sold", () => {
    const bank = rig.prime.bank();
    const below = bank.bank();
    const objects = [bank.page(), bank.space(), below.page(), below.endpoint(), below.bank(), below];
    const survivor = rig.prime.page();
    expect(rig.prime.destroy(bank)).toBe(undefined);
    expect(objects.every((object) => object.isVoid)).toBe(true);
    expect(survivor.isVoid).toBe(false);
    expect(rig.ram.freeFrames).toBe(63);
    expect(() => bank.page()).toThrow(isVoid);
    expect(() => below.page()).toThrow(isVoid);
    expect(() => bank.available).toThrow(isVoid);
    expect(rig.prime.available).toBe(Number.MAX_SAFE_INTEGER - 1);
  });

  test("with pinned pages inside, and in banks below: all is Void and free at once, but those; it waits for them", async () => {
    const bank = rig.prime.bank(20);
    const below = bank.bank();
    const pinned = [bank.page(), below.page(), below.bank().page()];
    const others = [bank.page(), below.page()];
    const pins = pinned.map(pin);
    const wait = rig.prime.destroy(bank);
    let done = false;
    void Promise.resolve(wait).then(() => {
      done = true;
    });
    expect([...pinned, ...others].every((page) => page.isVoid)).toBe(true);
    expect(rig.ram.freeFrames).toBe(61);
    for (const one of pins) {
      await settled();
      expect(done).toBe(false);
      authority.unpin(one);
    }
    expect(rig.ram.freeFrames).toBe(64);
    await settled();
    expect(done).toBe(true);
    expect(rig.prime.available).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("waits for pages, too, whose own destruction waited already", async () => {
    const bank = rig.prime.bank();
    const page = bank.page();
    const one = pin(page);
    const first = bank.destroy(page);
    const second = rig.prime.destroy(bank);
    expect(second).toBeInstanceOf(Promise);
    let done = 0;
    for (const wait of [first, second]) void Promise.resolve(wait).then(() => done++);
    await settled();
    expect(done).toBe(0);
    authority.unpin(one);
    await settled();
    expect([done, rig.ram.freeFrames]).toEqual([2, 64]);
    expect(rig.prime.available).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("is Void as a whole before anything is released: what that makes room for is not pinned in the midst of it", async () => {
    const bank = rig.prime.bank();
    const space = rig.prime.space();
    for (let i = 0; i < 16; i++) space.setSlot(i, bank.page());
    const driver = rig.driver();
    const request = { space, length: 8 * PAGE_SIZE, access: DmaAccess.write, pool: PinPool.posted };
    const posted = await driver.pin({ ...request, offset: 0 });
    posted.onWithdraw = (one) => driver.unpin(one);
    const waiting = driver.pin({ ...request, offset: 8 * PAGE_SIZE });
    const wait = rig.prime.destroy(bank);
    expect([rig.budget.pinned, rig.ram.freeFrames]).toEqual([0, 64]);
    await expect(waiting).rejects.toMatchObject({ code: "void" });
    await wait;
  });

  test("the parent's other clients do not wait", () => {
    const bank = rig.prime.bank();
    pin(bank.page());
    expect(rig.prime.destroy(bank)).toBeInstanceOf(Promise);
    const page = rig.prime.page();
    page.write(0, Uint8Array.of(1));
    expect(rig.prime.destroy(page)).toBe(undefined);
  });
});

describe("destroying a bank only", () => {
  test("what it sold lives on, as the parent's, and counts against it", () => {
    const parent = rig.prime.bank(10);
    const bank = parent.bank(3);
    const page = bank.page();
    const below = bank.bank();
    const deep = below.page();
    expect(parent.available).toBe(6);
    parent.destroyBankOnly(bank);
    expect([bank.isVoid, page.isVoid, below.isVoid, deep.isVoid]).toEqual([true, false, false, false]);
    expect(parent.available).toBe(7);
    // The victim's limit went with it.
    expect(below.available).toBe(7);
    below.page();
    expect(parent.available).toBe(6);
    parent.destroy(page);
    parent.destroy(below);
    expect([deep.isVoid, parent.available]).toEqual([true, 10]);
  });

  test("by a bank further up: the heir is the victim's own parent", () => {
    const parent = rig.prime.bank(10);
    const bank = parent.bank();
    const page = bank.page();
    rig.prime.destroyBankOnly(bank);
    expect(parent.available).toBe(9);
    parent.destroy(page);
    expect(parent.available).toBe(10);
  });

  test("a page that waits for its I/O is inherited, and gone when that ends", async () => {
    const parent = rig.prime.bank(10);
    const bank = parent.bank();
    const page = bank.page();
    const { frame } = pageOf(page);
    const one = pin(page);
    const wait = bank.destroy(page);
    parent.destroyBankOnly(bank);
    expect(rig.ram.state(frame)).toBe(FrameState.dying);
    expect(parent.available).toBe(9);
    authority.unpin(one);
    await wait;
    expect([parent.available, rig.ram.freeFrames]).toEqual([10, 64]);
  });

  test("of something else than a bank is refused", () => {
    const page = rig.prime.page();
    expect(() => rig.prime.destroyBankOnly(page as never)).toThrow(expect.objectContaining({ code: "argument" }));
    expect(page.isVoid).toBe(false);
  });
});

describe("rescinding", () => {
  test("keeps the object's kind, content and place in the quota", () => {
    const bank = rig.prime.bank(3);
    const space = bank.space();
    const page = bank.page();
    space.setSlot(0, page);
    const fresh = bank.rescind(space);
    expect([space.isVoid, fresh.isVoid, bank.available]).toEqual([true, false, 1]);
    fresh.write(0, Uint8Array.of(3));
    const sub = bank.bank(1);
    const renewed = bank.rescind(sub);
    expect(() => sub.page()).toThrow(isVoid);
    expect(() => renewed.page()).toThrow(quota);
    bank.destroy(fresh);
    expect(fresh.isVoid).toBe(true);
  });

  test("does not cancel I/O that goes on", () => {
    const page = rig.prime.page();
    const one = pin(page);
    const { frame } = pageOf(page);
    rig.prime.rescind(page);
    expect([one.live, rig.ram.state(frame), rig.ram.pinCount(frame)]).toEqual([true, FrameState.resident, 1]);
  });
});

describe("destroyRegion", () => {
  test("takes every page and node, and gives all of it back", async () => {
    const bank = rig.prime.bank();
    const [units, frames] = [bank.available, rig.ram.freeFrames];
    const region = bank.region({ pages: 40 });
    const page = pageAt(region, 39);
    await bank.destroyRegion(region);
    expect([region.isVoid, page.destroyed]).toEqual([true, true]);
    expect([bank.available, rig.ram.freeFrames]).toEqual([units, frames]);
  });

  test("all of it is Void at once, but a pinned page is waited for", async () => {
    const free = rig.ram.freeFrames;
    const region = rig.prime.region({ pages: 20 });
    const slot = region.getSlot(1);
    const held = authority.tryPin([pageAt(region, 18).frame], 0, PAGE_SIZE, DmaAccess.both, PinPool.solicited);
    const gone = rig.prime.destroyRegion(region);
    expect([region.isVoid, slot?.isVoid]).toEqual([true, true]);
    expect(rig.ram.freeFrames).toBe(free - 1);
    authority.unpin(held);
    await gone;
    expect(rig.ram.freeFrames).toBe(free);
  });

  test("what others sold stays, and a space that contains itself is walked once", async () => {
    const bank = rig.prime.bank();
    const foreign = rig.prime.page();
    const space = bank.space(16);
    space.setSlot(0, foreign);
    space.setSlot(1, space);
    await bank.destroyRegion(space);
    expect([space.isVoid, foreign.isVoid]).toEqual([true, false]);
    expect(() => rig.prime.bank().destroyRegion(rig.prime.region({ pages: 1 }))).toThrow(
      expect.objectContaining({ code: "not-sold-here" }),
    );
  });
});

test("banks go 64 deep at the most", () => {
  let bank = rig.prime;
  for (let depth = 0; depth < 64; depth++) bank = bank.bank();
  expect(() => bank.bank()).toThrow(expect.objectContaining({ code: "argument" }));
  expect(() => rig.prime.bank()).not.toThrow();
});
