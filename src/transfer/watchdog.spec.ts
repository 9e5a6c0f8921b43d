import { describe, expect, test } from "vitest";
import { Clock } from "../bus/clock.js";
import { Watchdog } from "./watchdog.js";

function rig() {
  const clock = new Clock();
  let barks = 0;
  const watchdog = new Watchdog(clock, 1000, () => barks++);
  const pass = (nanoseconds: number): void => {
    const end = clock.now() + nanoseconds;
    while (clock.nextDeadline() <= end) {
      clock.skipToNextTimer();
      clock.runDue();
    }
    clock.advance(end - clock.now());
  };
  return { clock, watchdog, pass, barks: () => barks };
}

describe("a watchdog", () => {
  test("barks after one to two limits, once", () => {
    for (const start of [0, 1, 500, 999]) {
      const { watchdog, pass, barks } = rig();
      // Something else keeps it awake, so that the transfer begins anywhere in a period.
      const other = watchdog.begin();
      pass(start);
      watchdog.begin();
      watchdog.end(other);
      pass(999);
      expect(barks()).toBe(0);
      pass(1001);
      expect(barks()).toBe(1);
      pass(10_000);
      expect(barks()).toBe(1);
    }
  });

  test("is silent as long as every transfer ends in time, however many there are", () => {
    const { watchdog, pass, barks, clock } = rig();
    let tokens = [watchdog.begin()];
    for (let i = 0; i < 100; i++) {
      pass(300);
      const next = [watchdog.begin(), watchdog.begin()];
      for (const token of tokens) watchdog.end(token);
      tokens = next;
    }
    for (const token of tokens) watchdog.end(token);
    expect(barks()).toBe(0);
    expect(watchdog.inFlight).toBe(0);
    expect(clock.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  test("notices the one that does not end among many that do", () => {
    const { watchdog, pass, barks } = rig();
    watchdog.begin();
    for (let i = 0; i < 20; i++) {
      const token = watchdog.begin();
      pass(100);
      watchdog.end(token);
    }
    expect(barks()).toBe(1);
  });

  test("stopped, it sleeps", () => {
    const { watchdog, pass, barks, clock } = rig();
    watchdog.begin();
    watchdog.stop();
    pass(10_000);
    expect(barks()).toBe(0);
    expect(clock.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });
});
