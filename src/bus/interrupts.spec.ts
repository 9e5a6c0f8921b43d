import { beforeEach, describe, expect, test, vi } from "vitest";
import { InterruptController, type InterruptEvents, MESSAGE_WINDOW } from "./interrupts.js";

let controller: InterruptController;

beforeEach(() => {
  controller = new InterruptController();
});

/** Dispatches until nothing is pending. @returns rounds in which something was */
function settle(): number {
  let rounds = 0;
  while (controller.dispatch() > 0) rounds++;
  return rounds;
}

describe("level", () => {
  test("is delivered again until the source lets go", () => {
    const line = controller.wire("INTA");
    const pin = line.pin();
    let left = 3;
    line.attach(() => {
      if (--left === 0) pin.set(false);
      return true;
    });
    pin.set(true);
    pin.set(true);
    expect(controller.hasPending).toBe(true);
    settle();
    expect([left, line.delivered, line.asserted, controller.hasPending]).toEqual([0, 3, false, false]);
  });

  test("handlers run from dispatch only, never from the source's own call", () => {
    const line = controller.wire("INTA");
    const pin = line.pin();
    const handler = vi.fn(() => {
      pin.set(false);
      return true;
    });
    line.attach(handler);
    pin.set(true);
    expect(handler).not.toHaveBeenCalled();
    settle();
    expect(handler).toHaveBeenCalledTimes(1);
  });

  test("taken back before it was delivered is not delivered", () => {
    const line = controller.wire("INTA");
    const pin = line.pin();
    line.attach(() => expect.unreachable());
    pin.set(true);
    pin.set(false);
    settle();
    expect(line.delivered).toBe(0);
  });

  test("on a shared line every handler is asked, and it stays asserted until the last source lets go", () => {
    const line = controller.wire("INTA");
    const pins = [line.pin(), line.pin()];
    const log: string[] = [];
    const handler = (i: number) => () => {
      log.push(`${i}:${pins[i].level}`);
      const mine = pins[i].level;
      pins[i].set(false);
      return mine;
    };
    line.attach(handler(0));
    line.attach(handler(1));
    pins[1].set(true);
    settle();
    expect(log).toEqual(["0:false", "1:true"]);
    pins[0].set(true);
    pins[1].set(true);
    settle();
    expect(log.slice(2)).toEqual(["0:true", "1:true"]);
    expect(line.asserted).toBe(false);
  });

  test("waits for a handler, and for being unmasked", () => {
    const line = controller.wire("INTA");
    const pin = line.pin();
    pin.set(true);
    settle();
    line.mask();
    const handler = vi.fn(() => {
      pin.set(false);
      return true;
    });
    const detach = line.attach(handler);
    settle();
    expect(handler).not.toHaveBeenCalled();
    line.unmask();
    settle();
    expect(handler).toHaveBeenCalledTimes(1);
    detach();
    pin.set(true);
    settle();
    expect(handler).toHaveBeenCalledTimes(1);
  });

  test("a storm that nobody claims is masked, once, and told", () => {
    const line = controller.wire("INTA");
    const told: InterruptEvents["unhandled"][] = [];
    controller.events.on("unhandled", (event) => told.push(event));
    line.attach(() => false);
    line.pin().set(true);
    expect(settle()).toBe(1000);
    expect(told).toEqual([{ line, times: 1000 }]);
    expect([line.masked, line.asserted]).toEqual([true, true]);
    line.unmask();
    settle();
    expect([told.length, line.delivered]).toEqual([2, 2000]);
  });

  test("deliveries that somebody claims start the count anew", () => {
    const line = controller.wire("INTA");
    line.pin().set(true);
    let calls = 0;
    line.attach(() => ++calls % 999 === 0);
    for (let i = 0; i < 5000; i++) controller.dispatch();
    expect(line.masked).toBe(false);
  });

  test("a handler may detach another, which then is not called, or itself, and the rest still are", () => {
    const line = controller.wire("INTA", "edge");
    const log: string[] = [];
    const detachSelf = line.attach(() => {
      log.push("self");
      detachSelf();
      detachOther();
      return true;
    });
    const detachOther = line.attach(() => {
      log.push("other");
      return true;
    });
    line.attach(() => {
      log.push("rest");
      return true;
    });
    line.raise();
    settle();
    line.raise();
    settle();
    expect(log).toEqual(["self", "rest", "rest"]);
  });

  test("the same handler attached twice is two handlers, each detached by its own end", () => {
    const line = controller.wire("INTA", "edge");
    const handler = vi.fn(() => true);
    const first = line.attach(handler);
    line.attach(handler);
    first();
    first();
    line.raise();
    settle();
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe("edge", () => {
  test("once a raise; raises before the delivery are one", () => {
    const line = controller.wire("serial", "edge");
    const handler = vi.fn(() => false);
    line.attach(handler);
    line.raise();
    line.raise();
    settle();
    expect(handler).toHaveBeenCalledTimes(1);
    line.raise();
    settle();
    expect(handler).toHaveBeenCalledTimes(2);
  });

  test("one that is raised while masked, unattended, or by its own handler is not lost", () => {
    const line = controller.wire("serial", "edge");
    line.raise();
    settle();
    let again = true;
    const handler = vi.fn(() => {
      if (again) line.raise();
      again = false;
      return true;
    });
    line.attach(handler);
    settle();
    expect(handler).toHaveBeenCalledTimes(2);
    line.mask();
    line.raise();
    settle();
    expect(handler).toHaveBeenCalledTimes(2);
    line.unmask();
    settle();
    expect(handler).toHaveBeenCalledTimes(3);
  });

  test("unclaimed ones are no storm", () => {
    const line = controller.wire("serial", "edge");
    line.attach(() => false);
    for (let i = 0; i < 3000; i++) {
      line.raise();
      controller.dispatch();
    }
    expect([line.masked, line.delivered]).toEqual([false, 3000]);
  });
});

describe("order", () => {
  test("lines are delivered in the order of their assertion; what is raised meanwhile in the next round", () => {
    const log: string[] = [];
    const lines = ["a", "b", "c"].map((name) => {
      const line = controller.wire(name, "edge");
      line.attach(() => {
        log.push(name);
        if (name === "c" && log.length === 1) lines[0].raise();
        return true;
      });
      return line;
    });
    lines[2].raise();
    lines[1].raise();
    expect(controller.dispatch()).toBe(2);
    expect(log).toEqual(["c", "b"]);
    expect(controller.dispatch()).toBe(1);
    expect(log).toEqual(["c", "b", "a"]);
    expect(controller.dispatch()).toBe(0);
  });
});

describe("messages", () => {
  test("go to the line of their vector, whatever the destination in the window", () => {
    const first = controller.message("rx");
    const second = controller.message("tx");
    const handler = vi.fn(() => true);
    second.attach(handler);
    first.attach(() => expect.unreachable());
    expect(first.vector).not.toBe(second.vector);
    controller.deliverMessage(MESSAGE_WINDOW + 0x1000, second.vector);
    settle();
    expect(handler).toHaveBeenCalledTimes(1);
  });

  test("stray ones are told and go nowhere", () => {
    const stray: InterruptEvents["stray"][] = [];
    controller.events.on("stray", (event) => stray.push(event));
    const line = controller.message("rx");
    controller.release(line);
    controller.deliverMessage(MESSAGE_WINDOW, line.vector);
    controller.deliverMessage(MESSAGE_WINDOW, 0x1_0000);
    expect(stray).toEqual([
      { address: MESSAGE_WINDOW, data: line.vector },
      { address: MESSAGE_WINDOW, data: 0x1_0000 },
    ]);
    expect(controller.dispatch()).toBe(0);
  });

  test("vectors are few, and free again when released, by their owner only", () => {
    const lines = Array.from({ length: 207 }, (_, i) => controller.message(`queue ${i}`));
    expect(new Set(lines.map((line) => line.vector)).size).toBe(207);
    expect(() => controller.message("one more")).toThrow(expect.objectContaining({ code: "no-vector" }));
    controller.release(lines[100]);
    const heir = controller.message("heir");
    expect(heir.vector).toBe(lines[100].vector);
    controller.release(lines[100]);
    heir.attach(() => true);
    controller.deliverMessage(MESSAGE_WINDOW, heir.vector);
    settle();
    expect(heir.delivered).toBe(1);
  });

  test("the window", () => {
    expect([0xfedf_ffff, 0xfee0_0000, 0xfeef_ffff, 0xfef0_0000].map((a) => controller.isMessageAddress(a))).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });
});
