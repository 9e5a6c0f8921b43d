import fc from "fast-check";
import { expect, test } from "vitest";
import { Clock, type Timer } from "./clock.js";

/** Lets virtual time pass from timer to timer. */
function runAll(clock: Clock): void {
  while (clock.skipToNextTimer()) clock.runDue();
}

test("timers fire in the order of their deadlines, those due together in the order in which they were armed", () => {
  const clock = new Clock();
  const log: string[] = [];
  const timer = (name: string, delay: number): void => clock.timer(() => log.push(`${name}@${clock.now()}`)).arm(delay);
  timer("c", 30);
  timer("a", 10);
  timer("b1", 20);
  timer("b2", 20);
  timer("now", 0);
  expect(clock.nextDeadline()).toBe(0);
  runAll(clock);
  expect(log).toEqual(["now@0", "a@10", "b1@20", "b2@20", "c@30"]);
  expect(clock.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  expect(clock.skipToNextTimer()).toBe(false);
});

test("time stands still until it is let pass", () => {
  const clock = new Clock();
  const timer = clock.timer(() => expect.unreachable());
  timer.arm(5);
  expect(clock.runDue()).toBe(0);
  clock.advance(4);
  expect([clock.runDue(), clock.now(), timer.armed, timer.deadline]).toEqual([0, 4, true, 5]);
});

test("a timer that arms itself in its callback fires in a later round, also without delay", () => {
  const clock = new Clock();
  let fired = 0;
  const timer: Timer = clock.timer(() => {
    fired++;
    expect(timer.armed).toBe(false);
    timer.arm(0);
  });
  timer.arm(0);
  expect(clock.runDue()).toBe(1);
  expect(clock.runDue()).toBe(1);
  expect([fired, timer.armed]).toEqual([2, true]);
});

test("a callback may cancel or re-arm others that are due in the same round", () => {
  const clock = new Clock();
  const log: string[] = [];
  const b = clock.timer(() => log.push("b"));
  const c = clock.timer(() => log.push("c"));
  const a = clock.timer(() => {
    log.push("a");
    b.cancel();
    c.arm(10);
  });
  a.arm(1);
  b.arm(1);
  c.arm(1);
  clock.advance(1);
  expect(clock.runDue()).toBe(1);
  runAll(clock);
  expect(log).toEqual(["a", "c"]);
  expect(clock.now()).toBe(11);
});

test("re-arming replaces the deadline; cancelling twice is nothing; negative delays are none", () => {
  const clock = new Clock();
  let fired = 0;
  const timer = clock.timer(() => fired++);
  timer.arm(5);
  timer.arm(50);
  clock.advance(10);
  expect(clock.runDue()).toBe(0);
  timer.cancel();
  timer.cancel();
  expect(clock.skipToNextTimer()).toBe(false);
  timer.arm(-5);
  expect(timer.deadline).toBe(10);
  expect([clock.runDue(), fired]).toEqual([1, 1]);
});

test("a timer armed for never does not move time", () => {
  const clock = new Clock();
  clock.timer(() => expect.unreachable()).arm(Number.POSITIVE_INFINITY);
  expect(clock.skipToNextTimer()).toBe(false);
  expect([clock.runDue(), clock.now()]).toEqual([0, 0]);
});

test("with a source time follows it, from zero, and is neither skipped nor advanced", () => {
  let nanoseconds = 1000;
  const clock = new Clock(() => nanoseconds);
  let fired = 0;
  clock.timer(() => fired++).arm(10);
  expect([clock.isVirtual, clock.now(), clock.skipToNextTimer()]).toEqual([false, 0, false]);
  clock.advance(100);
  expect(clock.now()).toBe(0);
  nanoseconds = 1009;
  expect(clock.runDue()).toBe(0);
  nanoseconds = 1010;
  expect([clock.runDue(), fired, clock.now()]).toEqual([1, 1, 10]);
});

test("any mixture of arming, cancelling and passing of time agrees with a sorted list", () => {
  const step = fc.record({
    timer: fc.integer({ min: 0, max: 19 }),
    action: fc.constantFrom("arm", "arm", "arm", "cancel", "pass"),
    delay: fc.integer({ min: 0, max: 30 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const clock = new Clock();
      const fired: number[] = [];
      const timers = Array.from({ length: 20 }, (_, i) => clock.timer(() => fired.push(i)));
      let model: { timer: number; deadline: number; age: number }[] = [];
      for (const [age, { timer, action, delay }] of steps.entries()) {
        if (action === "pass") {
          clock.advance(delay);
          clock.runDue();
          const now = clock.now();
          const due = model
            .filter((one) => one.deadline <= now)
            .sort((a, b) => a.deadline - b.deadline || a.age - b.age);
          model = model.filter((one) => one.deadline > now);
          expect(fired.splice(0)).toEqual(due.map((one) => one.timer));
        } else {
          model = model.filter((one) => one.timer !== timer);
          if (action === "arm") {
            timers[timer].arm(delay);
            model.push({ timer, deadline: clock.now() + delay, age });
          } else {
            timers[timer].cancel();
          }
        }
        expect(timers.map((one) => one.armed)).toEqual(timers.map((_, i) => model.some((one) => one.timer === i)));
        expect(clock.nextDeadline()).toBe(Math.min(...model.map((one) => one.deadline)));
      }
    }),
    { numRuns: 200, seed: 1 },
  );
});
