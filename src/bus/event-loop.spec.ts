import { describe, expect, test, vi } from "vitest";
import { Clock } from "./clock.js";
import { EventLoop } from "./event-loop.js";
import { InterruptController } from "./interrupts.js";

function machine(source: (() => number) | null = null) {
  const clock = new Clock(source);
  const interrupts = new InterruptController();
  const turn = vi.fn(() => new Promise<void>((resolve) => setImmediate(resolve)));
  const sleep = vi.fn((_: number, woken: Promise<void>) => woken);
  return { clock, interrupts, turn, sleep, loop: new EventLoop(clock, interrupts, { turn, sleep }) };
}

describe("virtual time", () => {
  test("jumps from timer to timer and ends when nothing can happen any more", async () => {
    const { clock, loop, sleep } = machine();
    const log: number[] = [];
    for (const delay of [3e9, 1e9, 2e9]) clock.timer(() => log.push(clock.now())).arm(delay);
    expect(await loop.run(() => false)).toBe(false);
    expect(log).toEqual([1e9, 2e9, 3e9]);
    expect(sleep).not.toHaveBeenCalled();
  });

  test("interrupts come before timers, and both before time moves", async () => {
    const { clock, interrupts, loop } = machine();
    const log: string[] = [];
    const line = interrupts.wire("INTA", "edge");
    line.attach(() => {
      log.push(`interrupt@${clock.now()}`);
      return true;
    });
    clock.timer(() => log.push(`timer@${clock.now()}`)).arm(0);
    clock
      .timer(() => {
        log.push(`late@${clock.now()}`);
        line.raise();
      })
      .arm(10);
    line.raise();
    await loop.run(() => false);
    expect(log).toEqual(["interrupt@0", "timer@0", "late@10", "interrupt@10"]);
  });

  test("clients run before time moves", async () => {
    const { clock, loop } = machine();
    const log: string[] = [];
    clock.timer(() => log.push(`timer@${clock.now()}`)).arm(10);
    const client = async (): Promise<void> => {
      for (let i = 0; i < 5; i++) {
        await new Promise((resolve) => setImmediate(resolve));
        clock.timer(() => {}).arm(0);
      }
      log.push(`client@${clock.now()}`);
      clock.timer(() => log.push(`client's@${clock.now()}`)).arm(5);
    };
    const work = client();
    const release = loop.hold();
    void work.then(release);
    await loop.run(() => false);
    expect(log).toEqual(["client@0", "client's@5", "timer@10"]);
  });

  test("stands still while somebody outside holds the loop; each hold counts once", async () => {
    const { clock, loop, sleep } = machine();
    const releases = [loop.hold(), loop.hold()];
    let fired = false;
    clock
      .timer(() => {
        fired = true;
      })
      .arm(1);
    sleep.mockImplementation(async (nanoseconds, woken) => {
      expect([nanoseconds, fired]).toEqual([Number.POSITIVE_INFINITY, false]);
      const release = releases.pop();
      release?.();
      release?.();
      await woken;
    });
    await loop.run(() => false);
    expect([fired, clock.now(), sleep.mock.calls.length]).toEqual([true, 1, 2]);
  });
});

describe("real time", () => {
  test("sleeps until the next timer, or until woken", async () => {
    let now = 0;
    const { clock, loop, sleep } = machine(() => now);
    sleep.mockImplementation(async (nanoseconds) => {
      now += nanoseconds;
    });
    let fired = 0;
    clock.timer(() => fired++).arm(1000);
    expect(await loop.run(() => fired > 0)).toBe(true);
    expect(sleep.mock.calls.map(([nanoseconds]) => nanoseconds)).toEqual([1000]);
  });

  test("a wake-up that comes before the sleep is not slept over", async () => {
    const { loop, sleep, turn } = machine(() => 0);
    const release = loop.hold();
    let woken = false;
    turn.mockImplementation(async () => {
      if (sleep.mock.calls.length > 0 || woken) return;
      woken = true;
      loop.wake();
    });
    sleep.mockImplementationOnce((_, alarm) => alarm).mockImplementationOnce(async () => release());
    expect(await loop.run(() => false)).toBe(false);
    expect(sleep).toHaveBeenCalledTimes(2);
  });
});

describe("busy for ever", () => {
  test("timers without delay: the host gets its turns, and time passes", async () => {
    const { clock, loop, turn } = machine();
    const timer = clock.timer(() => timer.arm(0));
    timer.arm(0);
    const watchdog = vi.fn();
    clock.timer(watchdog).arm(30_000_000);
    expect(await loop.run(() => watchdog.mock.calls.length > 0)).toBe(true);
    expect(turn.mock.calls.length).toBeGreaterThan(1);
  });

  test("an interrupt that is always claimed and never ends", async () => {
    const { clock, interrupts, loop } = machine();
    const line = interrupts.wire("INTA");
    line.attach(() => true);
    const pin = line.pin();
    pin.set(true);
    clock.timer(() => pin.set(false)).arm(50_000_000);
    expect(await loop.run(() => false)).toBe(false);
    expect(line.asserted).toBe(false);
  });

  test("short bursts cost no time", async () => {
    const { clock, loop } = machine();
    let left = 5000;
    const timer = clock.timer(() => {
      if (--left > 0) timer.arm(0);
    });
    timer.arm(0);
    expect(loop.runReady()).toBe(true);
    await loop.run(() => false);
    expect([left, clock.now()]).toEqual([0, 0]);
  });
});

describe("running until a promise has settled", () => {
  test("passes on the result", async () => {
    const { clock, loop } = machine();
    const work = new Promise<string>((resolve) => clock.timer(() => resolve("done")).arm(7));
    expect(await loop.runUntil(work, () => new Error("idle"))).toBe("done");
  });

  test("passes on the error", async () => {
    const { clock, loop } = machine();
    const broken = new Error("broken");
    const work = new Promise<string>((_, reject) => clock.timer(() => reject(broken)).arm(7));
    await expect(loop.runUntil(work, () => new Error("idle"))).rejects.toBe(broken);
  });

  test("fails when nothing can ever happen again", async () => {
    const { loop } = machine();
    await expect(loop.runUntil(new Promise(() => {}), () => new Error("idle"))).rejects.toThrow("idle");
  });

  test("does not wait for timers beyond that", async () => {
    const { clock, loop } = machine();
    clock.timer(() => expect.unreachable()).arm(1e12);
    await loop.runUntil(Promise.resolve(), () => new Error("idle"));
    expect(clock.now()).toBe(0);
  });
});
