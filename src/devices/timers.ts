import type { Clock, Timer } from "../bus/clock.js";

/** Nanoseconds until a timer fires, for a snapshot; Infinity if it is not armed. */
export function remaining(timer: Timer, clock: Clock): number {
  return timer.armed ? Math.max(0, timer.deadline - clock.now()) : Number.POSITIVE_INFINITY;
}

/** Puts a timer back to where {@link remaining} found it. */
export function rearm(timer: Timer, delay: number): void {
  timer.cancel();
  if (delay !== Number.POSITIVE_INFINITY) timer.arm(delay);
}
