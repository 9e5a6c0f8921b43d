import type { Clock, Timer } from "../bus/clock.js";

/** What {@link Watchdog.begin} returns; given back when the transfer ends. */
export type WatchdogToken = 0 | 1;

/**
 * Notices transfers that do not end. Time is cut into periods of the limit's length; what was begun in the period before
 * last is late, so a transfer is caught after one to two limits, and keeping watch costs two counters.
 */
export class Watchdog {
  readonly #counts = [0, 0];
  readonly #timer: Timer;
  #period: WatchdogToken = 0;

  constructor(
    clock: Clock,
    /** Nanoseconds. */
    readonly limit: number,
    readonly onLate: () => void,
  ) {
    this.#timer = clock.timer(() => this.#turn());
  }

  get inFlight(): number {
    return this.#counts[0] + this.#counts[1];
  }

  begin(): WatchdogToken {
    this.#counts[this.#period]++;
    if (!this.#timer.armed) this.#timer.arm(this.limit);
    return this.#period;
  }

  end(token: WatchdogToken): void {
    this.#counts[token]--;
    if (this.inFlight === 0) this.#timer.cancel();
  }

  stop(): void {
    this.#counts.fill(0);
    this.#timer.cancel();
  }

  #turn(): void {
    const before = this.#period === 0 ? 1 : 0;
    if (this.#counts[before] > 0) {
      this.stop();
      this.onLate();
      return;
    }
    this.#period = before;
    this.#timer.arm(this.limit);
  }
}
