import { beforeEach, describe, expect, test } from "vitest";
import { KernelRig, pageAt, SlowStore, settled } from "../../test/support/kernel-rig.js";
import { PAGE_SIZE } from "../util/brand.js";
import { type AddressSpaceCapability, resolveRange, slotPagesFor } from "./address-space.js";
import { Restriction } from "./capability.js";
import { PageCapability } from "./page.js";

let rig: KernelRig;

beforeEach(() => {
  rig = new KernelRig(400);
});

function fault(space: AddressSpaceCapability, offset: number, why: string | RegExp): void {
  expect(() => space.read(offset, new Uint8Array(1))).toThrow(why);
  expect(() => space.read(offset, new Uint8Array(1))).toThrow(expect.objectContaining({ code: "address-fault" }));
}

function readAt(space: AddressSpaceCapability, offset: number): number {
  const into = new Uint8Array(1);
  space.read(offset, into);
  return into[0];
}

const one = Uint8Array.of(1);

describe("reading and writing", () => {
  test("across pages, at any offset", () => {
    const space = rig.prime.region({ pages: 20 });
    const data = Uint8Array.from({ length: 3 * PAGE_SIZE }, (_, i) => i % 251);
    space.write(15 * PAGE_SIZE - 7, data);
    const back = new Uint8Array(data.length);
    space.read(15 * PAGE_SIZE - 7, back);
    expect(back).toEqual(data);
    expect(readAt(space, 15 * PAGE_SIZE - 8)).toBe(0);
    expect(readAt(space, 18 * PAGE_SIZE - 7)).toBe(0);
    expect(rig.ram.isDirty(pageAt(space, 14).frame)).toBe(true);
    expect(rig.ram.isDirty(pageAt(space, 13).frame)).toBe(false);
  });

  test("all or nothing: a hole at the end, and nothing is written", () => {
    const space = rig.prime.region({ pages: 3 });
    expect(() => space.write(2 * PAGE_SIZE + 4000, new Uint8Array(200).fill(1))).toThrow(
      expect.objectContaining({ code: "address-fault", offset: 3 * PAGE_SIZE }),
    );
    expect(readAt(space, 2 * PAGE_SIZE + 4000)).toBe(0);
  });

  test.each([-1, 0.5, Number.NaN, 2 ** 44, Number.POSITIVE_INFINITY])("offset %d is no offset", (offset) => {
    const space = rig.prime.region({ pages: 1 });
    expect(() => space.read(offset, new Uint8Array(1))).toThrow(expect.objectContaining({ code: "length" }));
  });

  test("a region of any size has its pages where they should be, and no more", () => {
    for (const pages of [1, 15, 16, 17, 256, 257]) {
      const space = rig.prime.region({ pages });
      const frames = new Set(Array.from({ length: pages }, (_, i) => pageAt(space, i).frame));
      expect(frames.size).toBe(pages);
      fault(space, pages * PAGE_SIZE, pages === 16 || pages === 256 ? "beyond the end" : "has no page");
      expect(space.size).toBe(slotPagesFor(pages) * 16 * PAGE_SIZE);
      fault(space, space.size, "beyond the end");
      rig = new KernelRig(400);
    }
  });
});

describe("Void", () => {
  test("of the space, of a node inside, and of a page inside", () => {
    const space = rig.prime.space(16);
    const inner = rig.prime.space(1);
    const page = rig.prime.page();
    inner.setSlot(0, page);
    space.setSlot(0, inner);
    expect(readAt(space, 0)).toBe(0);
    rig.prime.destroy(page);
    expect(() => readAt(space, 0)).toThrow(expect.objectContaining({ code: "void" }));
    inner.setSlot(0, rig.prime.page());
    expect(readAt(space, 0)).toBe(0);
    rig.prime.destroy(inner);
    expect(() => readAt(space, 0)).toThrow(expect.objectContaining({ code: "void" }));
    rig.prime.destroy(space);
    for (const use of [
      () => space.read(0, new Uint8Array(0)),
      () => space.write(0, new Uint8Array(0)),
      () => space.getSlot(0),
      () => space.setSlot(0, null),
      () => space.setWindow(0, { slot: 1, offset: 0 }),
      () => space.restrict(0),
      () => space.size,
      () => resolveRange(space, 0, 0, false, "pin"),
    ]) {
      expect(use).toThrow(expect.objectContaining({ code: "void" }));
    }
  });
});

describe("restrictions", () => {
  test("read-only: anywhere on the way makes the page read-only, and slots cannot be changed", () => {
    const page = rig.prime.page();
    const paths: AddressSpaceCapability[] = [];
    const inner = rig.prime.space();
    inner.setSlot(0, page.restrict(Restriction.readOnly));
    paths.push(inner);
    const plain = rig.prime.space();
    plain.setSlot(0, page);
    paths.push(plain.restrict(Restriction.readOnly));
    const outer = rig.prime.space(16);
    outer.setSlot(0, plain.restrict(Restriction.readOnly));
    paths.push(outer);
    for (const space of paths) {
      expect(readAt(space, 0)).toBe(0);
      expect(() => space.write(0, one)).toThrow(expect.objectContaining({ code: "rights" }));
    }
    const readOnly = plain.restrict(Restriction.readOnly);
    expect(() => readOnly.setSlot(1, page)).toThrow(expect.objectContaining({ code: "rights" }));
    expect(() => readOnly.setWindow(1, { slot: 0, offset: 0 })).toThrow(expect.objectContaining({ code: "rights" }));
    expect(readOnly.getSlot(0)?.restrictions).toBe(0);
    plain.write(0, one);
    expect(readAt(readOnly, 0)).toBe(1);
  });

  test("weak: what is fetched through it comes back read-only and weak, however deep", () => {
    const page = rig.prime.page();
    const inner = rig.prime.space();
    inner.setSlot(3, page);
    const outer = rig.prime.space(16);
    outer.setSlot(2, inner);
    const weak = outer.restrict(Restriction.weak);
    expect(() => weak.setSlot(0, page)).toThrow(expect.objectContaining({ code: "rights" }));
    expect(() => weak.write((2 * 16 + 3) * PAGE_SIZE, one)).toThrow(expect.objectContaining({ code: "rights" }));
    const fetched = weak.getSlot(2);
    expect(fetched?.restrictions).toBe(Restriction.readOnly | Restriction.weak);
    if (fetched === null || fetched instanceof PageCapability) throw new Error("a space was put there");
    const leaf = fetched.getSlot(3);
    if (!(leaf instanceof PageCapability)) throw new Error("a page was put there");
    expect(() => leaf.write(0, one)).toThrow(expect.objectContaining({ code: "rights" }));
    leaf.read(0, new Uint8Array(1));
    expect(outer.getSlot(2)?.restrictions).toBe(0);
    expect(weak.getSlot(0)).toBe(null);
  });

  test("opaque: slots can be neither seen nor changed, pages can be used", () => {
    const space = rig.prime.region({ pages: 2 });
    const opaque = space.restrict(Restriction.opaque);
    for (const use of [
      () => opaque.getSlot(0),
      () => opaque.setSlot(0, null),
      () => opaque.setWindow(3, { slot: 0, offset: 0 }),
    ]) {
      expect(use).toThrow(expect.objectContaining({ code: "rights" }));
    }
    opaque.write(PAGE_SIZE, one);
    expect(readAt(space, PAGE_SIZE)).toBe(1);
  });
});

describe("slots", () => {
  test.each([-1, 16, 0.5, Number.NaN])("there is no slot %d", (slot) => {
    const space = rig.prime.space();
    for (const use of [
      () => space.getSlot(slot),
      () => space.setSlot(slot, null),
      () => space.setWindow(slot, { slot: 0, offset: 0 }),
      () => space.setWindow(0, { slot, offset: 0 }),
    ]) {
      expect(use).toThrow(expect.objectContaining({ code: "argument" }));
    }
  });

  test("emptying a slot takes the page away from everybody who uses the node", () => {
    const space = rig.prime.region({ pages: 2 });
    const other = space.restrict(Restriction.readOnly);
    space.setSlot(1, null);
    fault(other, PAGE_SIZE, "has no page");
    expect(space.getSlot(1)).toBe(null);
  });

  test("a space smaller than its slot ends early, a bigger one is cut off", () => {
    const page = rig.prime.page();
    const small = rig.prime.space(1);
    small.setSlot(15, page);
    const big = rig.prime.space(256);
    big.setSlot(1, small);
    expect(readAt(big, (256 + 15) * PAGE_SIZE)).toBe(0);
    fault(big, (256 + 16) * PAGE_SIZE, "beyond the end");
    const cut = rig.prime.space(1);
    cut.setSlot(2, small);
    fault(cut, 2 * PAGE_SIZE, "has no page");
    fault(cut, 3 * PAGE_SIZE, "has no page");
  });

  test("a page in a slot of many fills only the first", () => {
    const space = rig.prime.space(16);
    space.setSlot(1, rig.prime.page());
    expect(readAt(space, 16 * PAGE_SIZE)).toBe(0);
    fault(space, 17 * PAGE_SIZE, "has no page");
  });
});

describe("windows", () => {
  test("show part of another slot from an offset on, to that slot's end", () => {
    const space = rig.prime.space(16);
    const inner = rig.prime.space(1);
    for (let i = 0; i < 16; i++) {
      const page = rig.prime.page();
      page.write(0, Uint8Array.of(100 + i));
      inner.setSlot(i, page);
    }
    space.setSlot(0, inner);
    space.setWindow(5, { slot: 0, offset: 4 * PAGE_SIZE });
    expect(readAt(space, 5 * 16 * PAGE_SIZE)).toBe(104);
    expect(readAt(space, (5 * 16 + 11) * PAGE_SIZE)).toBe(115);
    fault(space, (5 * 16 + 12) * PAGE_SIZE, "beyond its window");
    space.write(5 * 16 * PAGE_SIZE, Uint8Array.of(55));
    expect(readAt(space, 4 * PAGE_SIZE)).toBe(55);
    expect(space.getSlot(5)).toBe(null);
  });

  test("with restrictions of their own, which add up along a chain", () => {
    const space = rig.prime.region({ pages: 1 });
    space.setWindow(1, { slot: 0, offset: 0, restrictions: Restriction.readOnly });
    space.setWindow(2, { slot: 1, offset: 0 });
    for (const slot of [1, 2]) {
      expect(readAt(space, slot * PAGE_SIZE)).toBe(0);
      expect(() => space.write(slot * PAGE_SIZE, one)).toThrow(expect.objectContaining({ code: "rights" }));
    }
    space.write(0, one);
  });

  test("onto each other, or in a circle, are malformed: a fault, not a hang", () => {
    const space = rig.prime.space();
    space.setWindow(0, { slot: 1, offset: 0 });
    space.setWindow(1, { slot: 2, offset: 0 });
    space.setWindow(2, { slot: 0, offset: 0 });
    fault(space, 0, "window onto itself");
    expect(() => space.setWindow(3, { slot: 3, offset: 0 })).toThrow(expect.objectContaining({ code: "argument" }));
  });

  test.each([
    ["alignment", { slot: 1, offset: 1 }],
    ["alignment", { slot: 1, offset: -PAGE_SIZE }],
    ["alignment", { slot: 1, offset: 16 * PAGE_SIZE }],
    ["alignment", { slot: 1, offset: Number.NaN }],
    ["argument", { slot: 1, offset: 0, restrictions: 8 }],
    ["argument", { slot: 1, offset: 0, restrictions: -1 }],
    ["argument", { slot: 1, offset: 0, restrictions: 0.5 }],
  ])("%s: %j is refused", (code, window) => {
    const space = rig.prime.space(16);
    expect(() => space.setWindow(0, window)).toThrow(expect.objectContaining({ code }));
  });
});

describe("malformed and hostile spaces", () => {
  test("a space that contains itself is a fault, not a hang", () => {
    const space = rig.prime.space();
    space.setSlot(0, space);
    fault(space, 0, "contains itself");
    const a = rig.prime.space(1);
    const b = rig.prime.space(1);
    a.setSlot(0, b);
    b.setSlot(0, a);
    fault(a, 0, "contains itself");
  });

  test("one page seen a billion times cannot be listed: refused at once", () => {
    const page = rig.prime.page();
    let space = rig.prime.space(1);
    for (let i = 0; i < 16; i++) space.setSlot(i, page);
    for (let slotPages = 16; slotPages <= 16 ** 6; slotPages *= 16) {
      const outer = rig.prime.space(slotPages);
      for (let i = 0; i < 16; i++) outer.setSlot(i, space);
      space = outer;
    }
    expect(readAt(space, (16 ** 7 - 1) * PAGE_SIZE)).toBe(0);
    expect(resolveRange(space, 5, PAGE_SIZE, false, "pin").length).toBe(2);
    expect(() => resolveRange(space, 0, 16 ** 7 * PAGE_SIZE, false, "pin")).toThrow(
      expect.objectContaining({ code: "length" }),
    );
    expect(() => resolveRange(space, 0, Number.MAX_SAFE_INTEGER, false, "pin")).toThrow(
      expect.objectContaining({ code: "length" }),
    );
  });
});

describe("absent pages", () => {
  test("are all brought in before a byte is moved, and held until then", async () => {
    const store = new SlowStore(rig);
    const space = rig.prime.space();
    for (let i = 0; i < 3; i++) space.setSlot(i, new PageCapability(rig.prime.storePage(store)));
    const data = new Uint8Array(3 * PAGE_SIZE).fill(7);
    const write = space.write(0, data);
    expect(write).toBeInstanceOf(Promise);
    for (let i = 0; i < 3; i++) {
      expect(store.fetches.length).toBe(1);
      const page = store.deliver(1);
      expect(page.interest).toBe(1);
      await settled();
      if (i < 2) expect(rig.memory.frameBytes(page.frame)[0]).toBe(1);
    }
    await write;
    expect(readAt(space, 3 * PAGE_SIZE - 1)).toBe(7);
    expect(pageAt(space, 0).interest).toBe(0);
  });

  test("an error on the way reaches the caller, and nothing stays held", async () => {
    const store = new SlowStore(rig);
    const space = rig.prime.space();
    for (let i = 0; i < 2; i++) space.setSlot(i, new PageCapability(rig.prime.storePage(store)));
    const read = space.read(0, new Uint8Array(2 * PAGE_SIZE));
    store.deliver();
    await settled();
    store.fail(new Error("unreadable"));
    await expect(read).rejects.toThrow("unreadable");
    expect([pageAt(space, 0).interest, pageAt(space, 1).interest]).toEqual([0, 0]);
  });

  test("rights are looked at again when they are there: rescinded meanwhile means Void", async () => {
    const store = new SlowStore(rig);
    const space = rig.prime.space();
    space.setSlot(0, new PageCapability(rig.prime.storePage(store)));
    const write = space.write(0, one);
    rig.prime.rescind(space);
    store.deliver();
    await expect(write).rejects.toMatchObject({ code: "void" });
  });
});
