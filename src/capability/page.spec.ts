import { beforeEach, describe, expect, test } from "vitest";
import { KernelRig, pageOf, SlowStore, settled } from "../../test/support/kernel-rig.js";
import { FrameState } from "../memory/physical-memory.js";
import { DmaAccess } from "../memory/pin.js";
import { PinPool } from "../memory/pin-budget.js";
import { PAGE_SIZE } from "../util/brand.js";
import { Restriction } from "./capability.js";
import { PageCapability } from "./page.js";

let rig: KernelRig;

beforeEach(() => {
  rig = new KernelRig();
});

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe("an ordinary page", () => {
  test("is there at once, filled with zeroes, and keeps what is written", () => {
    const page = rig.prime.page();
    const into = new Uint8Array(4).fill(9);
    expect(page.read(0, into)).toBe(undefined);
    expect(into).toEqual(bytes(0, 0, 0, 0));
    expect(page.write(PAGE_SIZE - 2, bytes(1, 2))).toBe(undefined);
    page.read(PAGE_SIZE - 4, into);
    expect(into).toEqual(bytes(0, 0, 1, 2));
  });

  test("writing marks its frame dirty, reading does not", () => {
    const page = rig.prime.page();
    page.read(0, new Uint8Array(1));
    expect(rig.ram.isDirty(pageOf(page).frame)).toBe(false);
    page.write(0, bytes(1));
    expect(rig.ram.isDirty(pageOf(page).frame)).toBe(true);
  });

  test.each([
    [-1, 1],
    [PAGE_SIZE, 1],
    [PAGE_SIZE - 1, 2],
    [0.5, 1],
    [Number.NaN, 1],
  ])("offset %d with %d bytes is refused", (offset, length) => {
    const page = rig.prime.page();
    expect(() => page.read(offset, new Uint8Array(length))).toThrow(expect.objectContaining({ code: "length" }));
    expect(() => page.write(offset, new Uint8Array(length))).toThrow(expect.objectContaining({ code: "length" }));
  });

  test("read-only and weak capabilities read and do not write; restricting only adds", () => {
    const page = rig.prime.page();
    for (const restriction of [Restriction.readOnly, Restriction.weak]) {
      const less = page.restrict(restriction);
      less.read(0, new Uint8Array(1));
      expect(() => less.write(0, bytes(1))).toThrow(expect.objectContaining({ code: "rights" }));
      expect(() => less.restrict(0).write(0, bytes(1))).toThrow(expect.objectContaining({ code: "rights" }));
    }
    expect(page.restrict(1).restrict(2).restrictions).toBe(3);
    for (const nonsense of [8, -1, 0.5, Number.NaN]) {
      expect(() => page.restrict(nonsense)).toThrow(expect.objectContaining({ code: "argument" }));
    }
  });
});

describe("Void", () => {
  test("destroying makes every capability Void, restricted copies too, and frees the frame", () => {
    const page = rig.prime.page();
    const copy = page.restrict(Restriction.readOnly);
    expect(rig.prime.destroy(page)).toBe(undefined);
    expect(rig.ram.freeFrames).toBe(rig.ram.frames);
    expect([page.isVoid, copy.isVoid]).toEqual([true, true]);
    for (const use of [
      () => page.read(0, new Uint8Array(1)),
      () => page.write(0, bytes(1)),
      () => copy.read(0, new Uint8Array(0)),
      () => page.restrict(0),
      () => rig.prime.destroy(page),
    ]) {
      expect(use).toThrow(expect.objectContaining({ code: "void" }));
    }
  });

  test("a capability to what the frame held before never matches what it holds now", () => {
    const small = new KernelRig(1);
    const old = small.prime.page();
    const { frame } = pageOf(old);
    small.prime.destroy(old);
    const fresh = small.prime.page();
    expect(pageOf(fresh).frame).toBe(frame);
    expect(() => old.write(0, bytes(1))).toThrow(expect.objectContaining({ code: "void" }));
  });

  test("rescinding makes them Void without destroying: the bank's holder has the only new one", () => {
    const page = rig.prime.page();
    page.write(0, bytes(7));
    const readOnly = page.restrict(Restriction.readOnly);
    const fresh = rig.prime.rescind(readOnly);
    expect([page.isVoid, readOnly.isVoid, fresh.isVoid]).toEqual([true, true, false]);
    const into = new Uint8Array(1);
    fresh.read(0, into);
    expect(into).toEqual(bytes(7));
    fresh.write(0, bytes(8));
    expect(() => rig.prime.rescind(page)).toThrow(expect.objectContaining({ code: "void" }));
  });
});

describe("destroying a pinned page", () => {
  test("is Void at once, waits for the last unpin of all authorities, and only then is the frame used again", async () => {
    const small = new KernelRig(1);
    const page = small.prime.page();
    const { frame } = pageOf(page);
    const a = small.budget.authority("a");
    const b = small.budget.authority("b");
    const pins = [
      a.tryPin([frame], 0, 8, DmaAccess.write, PinPool.solicited),
      a.tryPin([frame], 0, 8, DmaAccess.write, PinPool.posted),
      b.tryPin([frame], 0, 8, DmaAccess.read, PinPool.solicited),
    ];
    const wait = small.prime.destroy(page);
    expect(wait).toBeInstanceOf(Promise);
    let done = false;
    void Promise.resolve(wait).then(() => {
      done = true;
    });
    expect(page.isVoid).toBe(true);
    for (const [i, pin] of pins.entries()) {
      await settled();
      expect([done, small.ram.state(frame), small.ram.freeFrames]).toEqual([false, FrameState.dying, 0]);
      expect(() => small.prime.page()).toThrow(expect.objectContaining({ code: "out-of-frames" }));
      pin.authority.unpin(pin);
      expect(small.ram.freeFrames).toBe(i === 2 ? 1 : 0);
    }
    await settled();
    expect(done).toBe(true);
    expect(pageOf(small.prime.page()).frame).toBe(frame);
  });

  test("other clients of the bank go on meanwhile; the page counts against the quota until it is gone", async () => {
    const bank = rig.prime.bank(2);
    const page = bank.page();
    const authority = rig.budget.authority("a");
    const pin = authority.tryPin([pageOf(page).frame], 0, 8, DmaAccess.write, PinPool.solicited);
    const wait = bank.destroy(page);
    const other = bank.page();
    other.write(0, bytes(1));
    expect(() => bank.page()).toThrow(expect.objectContaining({ code: "quota" }));
    expect(bank.destroy(other)).toBe(undefined);
    authority.unpin(pin);
    await wait;
    expect(bank.available).toBe(2);
  });

  test("the driver's death releases it", async () => {
    const page = rig.prime.page();
    const authority = rig.budget.authority("a");
    authority.tryPin([pageOf(page).frame], 0, 8, DmaAccess.write, PinPool.solicited);
    const wait = rig.prime.destroy(page);
    authority.end();
    await wait;
    expect(rig.ram.freeFrames).toBe(rig.ram.frames);
  });

  test("posted, idle buffers are asked for first; destroy waits until they are given up", async () => {
    const page = rig.prime.page();
    const authority = rig.budget.authority("a");
    const pin = authority.tryPin([pageOf(page).frame], 0, 8, DmaAccess.write, PinPool.posted);
    let asked = 0;
    pin.onWithdraw = () => asked++;
    const wait = rig.prime.destroy(page);
    await settled();
    expect([asked, pin.live]).toEqual([1, true]);
    authority.unpin(pin);
    await wait;
  });

  test("one that is given up in the very call is destroyed in it", async () => {
    const page = rig.prime.page();
    const authority = rig.budget.authority("a");
    authority.tryPin([pageOf(page).frame], 0, 8, DmaAccess.write, PinPool.posted).onWithdraw = (pin) =>
      authority.unpin(pin);
    const wait = rig.prime.destroy(page);
    expect(rig.ram.freeFrames).toBe(rig.ram.frames);
    await wait;
    expect(rig.prime.available).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe("a page of the store", () => {
  let store: SlowStore;

  beforeEach(() => {
    store = new SlowStore(rig);
  });

  function absent(): PageCapability {
    return new PageCapability(rig.prime.storePage(store));
  }

  test("is absent until it is used; all its invokers wait for one fetch, and are served in order", async () => {
    const page = absent();
    expect(rig.ram.freeFrames).toBe(rig.ram.frames);
    const log: string[] = [];
    const invoke = async (name: string): Promise<void> => {
      const into = new Uint8Array(1);
      await page.read(0, into);
      log.push(`${name} ${into[0]}`);
    };
    const all = [invoke("a"), invoke("b"), invoke("c")];
    expect(store.fetches.length).toBe(1);
    expect(pageOf(page).stalled.length).toBe(3);
    await settled();
    expect(log).toEqual([]);
    store.deliver(5);
    await Promise.all(all);
    expect(log).toEqual(["a 5", "b 5", "c 5"]);
    expect(page.read(0, new Uint8Array(1))).toBe(undefined);
  });

  test("a failed fetch reaches all who wait; the next invocation tries again", async () => {
    const page = absent();
    const all = [page.read(0, new Uint8Array(1)), page.write(0, bytes(1))];
    const broken = new Error("unreadable");
    store.fail(broken);
    const results = await Promise.allSettled(all);
    expect(results.map((result) => (result.status === "rejected" ? result.reason : null))).toEqual([broken, broken]);
    expect(rig.ram.freeFrames).toBe(rig.ram.frames);
    const again = page.read(0, new Uint8Array(1));
    store.deliver();
    await again;
  });

  test("a fetch that fails before it has a frame leaves the page absent, not fetching for ever", async () => {
    const page = absent();
    store.fetch = (victim) => {
      victim.fetching = true;
      setImmediate(() => victim.failed(new Error("no frame")));
    };
    await expect(page.read(0, new Uint8Array(1))).rejects.toThrow("no frame");
    await expect(page.read(0, new Uint8Array(1))).rejects.toThrow("no frame");
  });

  test("a fetch that throws fails those who wait, and nobody is left behind", async () => {
    const page = absent();
    store.fetch = () => {
      throw new Error("no driver");
    };
    await expect(page.read(0, new Uint8Array(1))).rejects.toThrow("no driver");
    expect(pageOf(page).stalled.length).toBe(0);
  });

  test("an evicted page is fetched again", async () => {
    const page = absent();
    const first = page.read(0, new Uint8Array(1));
    store.deliver(1);
    await first;
    pageOf(page).evict();
    const into = new Uint8Array(1);
    const second = page.read(0, into);
    store.deliver(2);
    await second;
    expect(into[0]).toBe(2);
  });

  test("destroyed while absent or fetching: who waits gets Void, the store forgets it, a late arrival is nothing", async () => {
    const page = absent();
    const read = page.read(0, new Uint8Array(1));
    const object = pageOf(page);
    expect(rig.prime.destroy(page)).toBe(undefined);
    await expect(read).rejects.toMatchObject({ code: "void" });
    expect(store.forgotten).toEqual([object]);
    object.arrived();
    object.failed(new Error("late"));
    expect(rig.ram.freeFrames).toBe(rig.ram.frames);
    expect(object.resident).toBe(false);
  });

  test.each(["arrives", "fails"])(
    "destroyed while its frame is pinned for the fetch: waits, also if it %s before the unpin",
    async (how) => {
      const page = absent();
      const read = page.read(0, new Uint8Array(1));
      const object = pageOf(page);
      const pager = rig.budget.authority("pager");
      const pin = pager.tryPin([object.frame], 0, PAGE_SIZE, DmaAccess.write, PinPool.paging);
      const wait = rig.prime.destroy(page);
      await expect(read).rejects.toMatchObject({ code: "void" });
      if (how === "arrives") object.arrived();
      else object.failed(new Error("late"));
      expect(rig.ram.freeFrames).toBe(rig.ram.frames - 1);
      pager.unpin(pin);
      await wait;
      expect(rig.ram.freeFrames).toBe(rig.ram.frames);
    },
  );

  test("may take the frames that are kept back for fetching", async () => {
    const tight = new KernelRig(4, { bound: 4, posted: 0, reserved: 0, paging: 1 }, 2);
    const pages = [tight.prime.page(), tight.prime.page()];
    expect(pages.length).toBe(2);
    expect(() => tight.prime.page()).toThrow(expect.objectContaining({ code: "out-of-frames" }));
    const tightStore = new SlowStore(tight);
    const page = new PageCapability(tight.prime.storePage(tightStore));
    const read = page.read(0, new Uint8Array(1));
    tightStore.deliver();
    await read;
  });
});
