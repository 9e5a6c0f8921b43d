import { beforeEach, describe, expect, test, vi } from "vitest";
import { type FrameNumber, PAGE_SIZE } from "../util/brand.js";
import { type Bank, FrameState, PhysicalMemory } from "./physical-memory.js";
import { DmaAccess, type Pin } from "./pin.js";
import { type PinAuthority, PinBudget, PinPool } from "./pin-budget.js";

let memory: PhysicalMemory;
let bank: Bank;
let budget: PinBudget;

/** Eight frames for requests, four for posted buffers, two for drivers, two for paging. */
beforeEach(() => {
  memory = new PhysicalMemory();
  bank = memory.addBank(64 * PAGE_SIZE);
  budget = new PinBudget(memory, { bound: 16, posted: 4, reserved: 2, paging: 2 });
});

function frames(count: number): FrameNumber[] {
  return Array.from({ length: count }, () => bank.allocate());
}

function pin(authority: PinAuthority, list: readonly FrameNumber[], pool: PinPool = PinPool.solicited): Pin {
  return authority.tryPin(list, 0, list.length * PAGE_SIZE, DmaAccess.both, pool);
}

function ask(
  authority: PinAuthority,
  list: readonly FrameNumber[],
  pool: PinPool = PinPool.solicited,
  stillValid?: () => void,
): Pin | Promise<Pin> {
  return authority.pin(list, 0, list.length * PAGE_SIZE, DmaAccess.both, pool, stillValid);
}

/** A request that has to wait, and what became of it. */
function waiter(authority: PinAuthority, list: readonly FrameNumber[], pool: PinPool = PinPool.solicited) {
  const outcome: { pin: Pin | null; error: unknown } = { pin: null, error: null };
  const promise = ask(authority, list, pool);
  if (!(promise instanceof Promise)) throw new Error("the request did not have to wait");
  promise.then(
    (granted) => {
      outcome.pin = granted;
    },
    (error: unknown) => {
      outcome.error = error;
    },
  );
  return outcome;
}

async function turn(): Promise<void> {
  for (let i = 0; i < 5; i++) await null;
}

describe("counting", () => {
  test("the budget counts distinct frames: a frame pinned by several, or several times in one pin, counts once", () => {
    const a = budget.authority("a");
    const b = budget.authority("b");
    const [x, y] = frames(2);
    const first = pin(a, [x, y, x, x]);
    expect(first.distinct).toEqual([x, y]);
    expect(budget.pinned).toBe(2);
    expect(bank.pinCount(x)).toBe(1);
    const second = pin(b, [x]);
    const third = pin(a, [x]);
    expect(budget.pinned).toBe(2);
    expect(bank.pinCount(x)).toBe(3);
    a.unpin(first);
    expect(budget.pinned).toBe(1);
    expect([bank.pinCount(x), bank.pinCount(y)]).toEqual([2, 0]);
    b.unpin(second);
    a.unpin(third);
    expect(budget.pinned).toBe(0);
    expect(budget.peak).toBe(2);
  });

  test("long lists are freed of repetitions too", () => {
    const [x, ...rest] = frames(6);
    const made = pin(budget.authority("a"), [x, ...rest, x, x, x, x]);
    expect(made.distinct).toEqual([x, ...rest]);
    expect(made.frames.length).toBe(10);
    expect(budget.pool(PinPool.solicited)).toEqual({ pinned: 6, peak: 6, bound: 8 });
  });

  test("frames of different banks with the same index are different frames", () => {
    const other = memory.addBank(4 * PAGE_SIZE);
    const [x] = frames(1);
    const y = other.allocate();
    pin(budget.authority("a"), [x, y]);
    expect(budget.pinned).toBe(2);
    expect([bank.pinCount(x), other.pinCount(y)]).toEqual([1, 1]);
  });

  test("frames of a bank that was released cannot be pinned, and those of one in its place count afresh", async () => {
    const shared = new WebAssembly.Memory({ initial: 1, maximum: 1 });
    const adopt = (count: number): Bank => memory.adoptBank(shared, count * PAGE_SIZE);
    const a = budget.authority("a", 8);
    const gone = adopt(2);
    const frame = (gone.index << 20) as FrameNumber;
    const held = pin(a, [frame]);
    expect(() => memory.releaseBank(gone)).toThrow(expect.objectContaining({ code: "bank-pinned" }));
    const others = frames(7);
    const all = pin(a, others);
    const late = waiter(a, [frame, (frame + 1) as FrameNumber]);
    a.unpin(held);
    memory.releaseBank(gone);
    const before = budget.pool(PinPool.solicited).pinned;
    expect(() => pin(a, [others[0], frame])).toThrow(expect.objectContaining({ code: "bank-released" }));
    await turn();
    expect(late.error).toMatchObject({ code: "bank-released" });
    a.unpin(all);
    expect([before, budget.pinned, budget.waiting]).toEqual([7, 0, 0]);
    // All other numbers are taken: the next bank gets that one.
    while (memory.adoptBank(shared, PAGE_SIZE).index < 2047);
    const next = adopt(4);
    expect(next.index).toBe(gone.index);
    const pinned = pin(
      a,
      [0, 1, 2, 3].map((i) => (frame + i) as FrameNumber),
    );
    expect(budget.pinned).toBe(4);
    a.unpin(pinned);
    expect(budget.pinned).toBe(0);
  });

  test("a frame pinned more than 65,535 times stays pinned until the last of them ends", () => {
    const a = budget.authority("a");
    const [x] = frames(1);
    const pins = Array.from({ length: 65_537 }, () => pin(a, [x]));
    expect(budget.pinned).toBe(1);
    for (const one of pins.slice(1)) a.unpin(one);
    expect(budget.pinned).toBe(1);
    a.unpin(pins[0]);
    expect(budget.pinned).toBe(0);
  });
});

describe("bounds", () => {
  test("a pool is filled to its bound and not beyond; the other pools are not touched by that", () => {
    const a = budget.authority("a");
    pin(a, frames(8));
    expect(() => pin(a, frames(1))).toThrow(expect.objectContaining({ code: "pin-busy" }));
    pin(a, frames(4), PinPool.posted);
    expect(() => pin(a, frames(1), PinPool.posted)).toThrow(expect.objectContaining({ code: "pin-busy" }));
    pin(a, frames(2), PinPool.reserved);
    pin(a, frames(2), PinPool.paging);
    expect(budget.pinned).toBe(16);
  });

  test("a full pool still takes pins of frames that it holds already", () => {
    const a = budget.authority("a");
    const list = frames(8);
    pin(a, list);
    const again = pin(budget.authority("b"), list.slice(2, 5));
    expect(budget.pinned).toBe(8);
    expect(again.live).toBe(true);
  });

  test("all or nothing: a request that does not fit whole pins none of its frames", () => {
    const a = budget.authority("a");
    pin(a, frames(7));
    const list = frames(2);
    expect(() => pin(a, list)).toThrow(expect.objectContaining({ code: "pin-busy" }));
    expect(list.map((frame) => bank.pinCount(frame))).toEqual([0, 0]);
    expect(budget.pinned).toBe(7);
  });

  test("what exceeds the pool's bound is refused at once, not queued", () => {
    const a = budget.authority("a");
    expect(() => ask(a, frames(9))).toThrow(expect.objectContaining({ code: "pin-bound" }));
    expect(() => ask(a, frames(5), PinPool.posted)).toThrow(expect.objectContaining({ code: "pin-bound" }));
    expect(budget.waiting).toBe(0);
  });

  test("so is what exceeds the authority's bound; repetitions do not count", () => {
    const a = budget.authority("small", 2);
    const [x, y, z] = frames(3);
    expect(() => ask(a, [x, y, z])).toThrow(/small has a bound of 2/);
    expect(ask(a, [x, y, x, y])).toMatchObject({ distinct: [x, y] });
  });

  test("an authority's bound holds in each pool", () => {
    const a = budget.authority("a", 2);
    pin(a, frames(2));
    expect(() => pin(a, frames(1))).toThrow(expect.objectContaining({ code: "pin-busy" }));
    expect(pin(a, frames(2), PinPool.posted).live).toBe(true);
    expect(pin(budget.authority("b"), frames(6)).live).toBe(true);
  });

  test("an authority's own count of a frame does not end with another's pin", () => {
    const a = budget.authority("a", 2);
    const b = budget.authority("b");
    const [x, y, z] = frames(3);
    pin(a, [x]);
    b.unpin(pin(b, [x]));
    pin(a, [y]);
    expect(() => pin(a, [z])).toThrow(expect.objectContaining({ code: "pin-busy" }));
  });

  test.each([
    [{ bound: 0 }],
    [{ bound: 4, posted: 4 }],
    [{ bound: 8, posted: -1 }],
    [{ bound: 7.5 }],
    [{ bound: Number.NaN }],
  ])("a budget of %j is refused", (options) => {
    expect(() => new PinBudget(memory, options)).toThrow(expect.objectContaining({ code: "pin-budget" }));
  });

  test.each([0, -3, 1.5, Number.NaN])("an authority with a bound of %d is refused", (bound) => {
    expect(() => budget.authority("a", bound)).toThrow(expect.objectContaining({ code: "pin-budget" }));
  });

  test("without other wishes requests get what the other pools leave", () => {
    const usual = new PinBudget(memory, { bound: 4096 });
    const bounds = [PinPool.solicited, PinPool.posted, PinPool.reserved, PinPool.paging].map(
      (p) => usual.pool(p).bound,
    );
    expect(bounds).toEqual([1984, 1024, 1024, 64]);
  });
});

describe("extent", () => {
  test.each([
    ["more bytes than the frames have", 0, PAGE_SIZE + 1, 1],
    ["an offset that needs another frame", 1, PAGE_SIZE, 1],
    ["a frame too many", 0, PAGE_SIZE, 2],
    ["an offset beyond the first frame", PAGE_SIZE, 8, 1],
    ["a negative offset", -1, 8, 1],
    ["no byte", 0, 0, 0],
    ["no number", 0, Number.NaN, 1],
  ])("%s", (_, offset, length, count) => {
    const a = budget.authority("a");
    const list = frames(count);
    expect(() => a.tryPin(list, offset, length, DmaAccess.read, PinPool.solicited)).toThrow(
      expect.objectContaining({ code: "pin-extent" }),
    );
    expect(budget.pinned).toBe(0);
  });
});

describe("waiting", () => {
  test("who does not fit waits, and is granted in the step in which room appears", async () => {
    const a = budget.authority("a");
    const held = pin(a, frames(8));
    const list = frames(3);
    const waiting = waiter(a, list);
    await turn();
    expect(waiting.pin).toBe(null);
    expect(budget.waiting).toBe(1);
    a.unpin(held);
    expect(budget.pinned).toBe(3);
    await turn();
    expect(waiting.pin?.frames).toEqual(list);
    expect(budget.waiting).toBe(0);
  });

  test("first come, first served: a small request does not overtake a big one, nor does a newcomer", async () => {
    const a = budget.authority("a");
    const b = budget.authority("b");
    const one = pin(a, frames(4));
    const two = pin(a, frames(3));
    const big = waiter(a, frames(6));
    const small = waiter(b, frames(1));
    expect(() => pin(b, frames(1))).toThrow(expect.objectContaining({ code: "pin-busy" }));
    a.unpin(two);
    await turn();
    expect([big.pin, small.pin]).toEqual([null, null]);
    a.unpin(one);
    await turn();
    expect(big.pin).not.toBe(null);
    expect(small.pin).not.toBe(null);
  });

  test("not even a request for frames that are pinned anyway overtakes", () => {
    const a = budget.authority("a");
    const list = frames(8);
    pin(a, list);
    waiter(a, frames(1));
    expect(() => pin(budget.authority("b"), [list[0]])).toThrow(expect.objectContaining({ code: "pin-busy" }));
  });

  test("one that waits for its own authority's bound holds up nobody else", async () => {
    const a = budget.authority("a", 2);
    const b = budget.authority("b");
    const own = pin(a, frames(2));
    const blocked = waiter(a, frames(2));
    expect(pin(b, frames(3)).live).toBe(true);
    a.unpin(own);
    await turn();
    expect(blocked.pin).not.toBe(null);
  });

  test("but its own authority's later requests queue behind it, even those that would fit", async () => {
    const a = budget.authority("a", 2);
    const one = pin(a, frames(1));
    const first = waiter(a, frames(2));
    const second = waiter(a, frames(1));
    expect(() => pin(a, one.frames)).toThrow(expect.objectContaining({ code: "pin-busy" }));
    a.unpin(one);
    await turn();
    expect(first.pin).not.toBe(null);
    expect(second.pin).toBe(null);
    if (first.pin !== null) a.unpin(first.pin);
    await turn();
    expect(second.pin).not.toBe(null);
  });

  test("in the queue, too, those behind an authority's waiter pass if they are another's", async () => {
    const a = budget.authority("a", 2);
    const b = budget.authority("b");
    const own = pin(a, frames(2));
    const others = pin(b, frames(6));
    const blocked = waiter(a, frames(2));
    const behind = waiter(b, frames(1));
    const late = waiter(a, frames(1));
    b.unpin(others);
    await turn();
    expect([blocked.pin, late.pin]).toEqual([null, null]);
    expect(behind.pin).not.toBe(null);
    a.unpin(own);
    await turn();
    expect(blocked.pin).not.toBe(null);
    expect(late.pin).toBe(null);
  });

  test("nor does it if the pool has no room for it either: only its own transfers could make some", async () => {
    const a = budget.authority("a", 5);
    const b = budget.authority("b");
    const own = pin(a, frames(5));
    const blocked = waiter(a, frames(5));
    const later = waiter(a, frames(1));
    const one = pin(b, frames(2));
    b.unpin(one);
    const two = pin(b, frames(3));
    a.unpin(own);
    await turn();
    expect(blocked.pin).not.toBe(null);
    expect(later.pin).toBe(null);
    expect([two.live, budget.pinned]).toEqual([true, 8]);
  });

  test("one that has room under its own bound again is not overtaken by what keeps the pool full", async () => {
    const a = budget.authority("a", 4);
    const b = budget.authority("b");
    const own = pin(a, frames(4));
    const others = [pin(b, frames(2)), pin(b, frames(1))];
    const blocked = waiter(a, frames(4));
    others.push(pin(b, frames(1)));
    a.unpin(own);
    await turn();
    expect(blocked.pin).not.toBe(null);

    // The pool is full (four of each): the next in line needs four, so single frames no longer pass.
    const next = waiter(b, frames(4));
    b.unpin(others[1]);
    expect(() => pin(b, frames(1))).toThrow(expect.objectContaining({ code: "pin-busy" }));
    expect(() => pin(budget.authority("c"), frames(1))).toThrow(expect.objectContaining({ code: "pin-busy" }));
    b.unpin(others[0]);
    b.unpin(others[2]);
    await turn();
    expect(next.pin).not.toBe(null);
  });

  test("the pools' queues are apart: paging never waits for requests", () => {
    const a = budget.authority("a");
    pin(a, frames(8));
    waiter(a, frames(8));
    pin(a, frames(4), PinPool.posted);
    waiter(a, frames(4), PinPool.posted);
    expect(pin(a, frames(2), PinPool.paging).live).toBe(true);
  });

  test("a request that is not valid any more when its turn comes fails, pins nothing, and lets the next one on", async () => {
    const a = budget.authority("a");
    const held = pin(a, frames(8));
    const gone = new Error("gone");
    const invalid = ask(a, frames(8), PinPool.solicited, () => {
      throw gone;
    });
    const next = waiter(a, frames(8));
    a.unpin(held);
    await expect(invalid).rejects.toBe(gone);
    await turn();
    expect(next.pin).not.toBe(null);
    expect(budget.pinned).toBe(8);
  });
});

describe("unpin", () => {
  test("only by the authority that made the pin", () => {
    const a = budget.authority("a");
    const made = pin(a, frames(1));
    expect(() => budget.authority("a").unpin(made)).toThrow(expect.objectContaining({ code: "not-pin-owner" }));
    expect(budget.pinned).toBe(1);
  });

  test("once", () => {
    const a = budget.authority("a");
    const list = frames(1);
    pin(a, list);
    const made = pin(a, list);
    a.unpin(made);
    expect(made.live).toBe(false);
    expect(() => a.unpin(made)).toThrow(expect.objectContaining({ code: "pin-released" }));
    expect(bank.pinCount(list[0])).toBe(1);
  });

  test("not while a device can still reach the frames", () => {
    const a = budget.authority("a");
    const made = pin(a, frames(1));
    made.mappings = 1;
    expect(() => a.unpin(made)).toThrow(expect.objectContaining({ code: "pin-mapped" }));
    expect(made.live).toBe(true);
    made.mappings = 0;
    a.unpin(made);
    expect(budget.pinned).toBe(0);
  });

  test("the last unpin of a dying frame is told, once; of others it is not", () => {
    const told: FrameNumber[] = [];
    budget.onLastUnpin = (frame) => told.push(frame);
    const a = budget.authority("a");
    const b = budget.authority("b");
    const [x, y] = frames(2);
    const one = pin(a, [x, y]);
    const two = pin(b, [x], PinPool.posted);
    bank.setState(x, FrameState.dying);
    a.unpin(one);
    expect(told).toEqual([]);
    b.unpin(two);
    expect(told).toEqual([x]);
  });
});

describe("withdrawal", () => {
  test("asks every holder of a withdrawable pin of the frame, once", () => {
    const a = budget.authority("a");
    const b = budget.authority("b");
    const [x, y] = frames(2);
    const asked = vi.fn<(pin: Pin) => void>();
    const one = pin(a, [x, y], PinPool.posted);
    one.onWithdraw = asked;
    const two = pin(b, [x], PinPool.posted);
    two.onWithdraw = asked;
    const other = pin(b, [y], PinPool.posted);
    other.onWithdraw = () => expect.unreachable();
    pin(a, [x]);
    budget.withdraw(x);
    expect(asked.mock.calls).toEqual([[one], [two]]);
    other.onWithdraw = null;
    budget.withdraw(y);
    budget.withdraw(x);
    expect(asked).toHaveBeenCalledTimes(2);
  });

  test("who learns only after the destruction that its pin may be withdrawn is asked then", () => {
    const a = budget.authority("a");
    const [x] = frames(1);
    const made = pin(a, [x], PinPool.posted);
    budget.withdraw(x);
    const asked = vi.fn<(pin: Pin) => void>();
    made.onWithdraw = asked;
    expect(asked.mock.calls).toEqual([[made]]);
  });

  test("a holder may unpin in the very call", () => {
    const a = budget.authority("a");
    const list = frames(1);
    for (let i = 0; i < 3; i++) pin(a, list, PinPool.posted).onWithdraw = (made) => a.unpin(made);
    budget.withdraw(list[0]);
    expect(budget.pinned).toBe(0);
  });
});

describe("end of an authority", () => {
  test("releases everything once, fails what waits, and pins nothing more", async () => {
    const a = budget.authority("a");
    const b = budget.authority("b");
    const made = pin(a, frames(5));
    pin(a, frames(2), PinPool.posted);
    const others = pin(b, frames(3));
    const own = waiter(a, frames(4));
    const second = waiter(a, frames(1));
    const next = waiter(b, frames(5));
    a.end();
    await turn();
    expect(own.error).toMatchObject({ code: "pin-authority-ended" });
    expect(second.error).toMatchObject({ code: "pin-authority-ended" });
    expect(next.pin).not.toBe(null);
    expect([a.pins, a.ended, made.live, others.live]).toEqual([0, true, false, true]);
    expect([budget.pinned, budget.waiting]).toEqual([8, 0]);
    expect(() => pin(a, frames(1))).toThrow(expect.objectContaining({ code: "pin-authority-ended" }));
    expect(() => ask(a, frames(1))).toThrow(expect.objectContaining({ code: "pin-authority-ended" }));
    expect(() => a.unpin(made)).toThrow(expect.objectContaining({ code: "pin-released" }));
    a.end();
    expect(budget.pinned).toBe(8);
  });

  test("a request of the ended authority is not granted in the place of one before it", async () => {
    const a = budget.authority("a");
    const b = budget.authority("b");
    pin(b, frames(4));
    pin(b, frames(1));
    const big = waiter(a, frames(8));
    const small = waiter(a, frames(1));
    a.end();
    await turn();
    expect([big.pin, small.pin]).toEqual([null, null]);
    expect(small.error).toMatchObject({ code: "pin-authority-ended" });
  });

  test("is refused, with no effect, while a device can still reach its frames; and can be repeated", async () => {
    const a = budget.authority("a");
    const list = frames(8);
    const one = pin(a, list.slice(0, 4));
    const two = pin(a, list.slice(4));
    const waiting = waiter(a, frames(1));
    two.mappings = 1;
    expect(() => a.end()).toThrow(expect.objectContaining({ code: "pin-mapped" }));
    await turn();
    expect([one.live, two.live, a.ended, waiting.error, budget.pinned]).toEqual([true, true, false, null, 8]);
    two.mappings = 0;
    a.end();
    await turn();
    expect(budget.pinned).toBe(0);
    expect(waiting.error).not.toBe(null);
  });

  test("an ended authority is asked for nothing more", () => {
    const a = budget.authority("a");
    const list = frames(1);
    pin(a, list, PinPool.posted).onWithdraw = () => expect.unreachable();
    a.end();
    budget.withdraw(list[0]);
  });
});

test("a released pin can be used again, a live one or another's cannot", () => {
  const authority = budget.authority("one");
  const first = pin(authority, frames(2));
  const [frame] = frames(1);
  const beside = authority.tryPin([frame], 5, 10, DmaAccess.read, PinPool.solicited, first);
  expect(beside).not.toBe(first);
  authority.unpin(first);
  const asked = vi.fn();
  first.onWithdraw = asked;
  const again = authority.tryPin([frame], 7, 20, DmaAccess.write, PinPool.posted, first);
  expect(again).toBe(first);
  expect(again).toMatchObject({ live: true, frames: [frame], offset: 7, length: 20, pool: PinPool.posted });
  expect([budget.pinned, budget.pool(PinPool.posted).pinned, bank.pinCount(frame)]).toEqual([1, 1, 2]);
  authority.withdraw(frame);
  expect(asked).not.toHaveBeenCalled();
  authority.unpin(again);
  const other = budget.authority("other");
  expect(other.tryPin([frame], 0, 1, DmaAccess.read, PinPool.solicited, again)).not.toBe(again);
});
