import type { Clock } from "./clock.js";
import type { InterruptController } from "./interrupts.js";

/** Devices and drivers may keep each other busy for long: after so many rounds clients may run, too. */
const ROUNDS_BEFORE_CLIENTS = 64;
/** Who is busy for so many rounds is busy for ever: virtual time then passes, so that watchdogs get to see it. */
const ROUNDS_BEFORE_TIME = 10_000;
const NANOSECONDS_A_ROUND = 1000;
/** A client's way from a reply to its next request takes some steps of promises: cheaper to wait for than a host's turn. */
const CLIENT_STEPS = 12;
/** The host has its turn at least this often, however busy the machine is. */
const PASSES_BEFORE_TURN = 1024;

export interface EventLoopOptions {
  /** Lets everything that the host has ready (promises, I/O) run: one turn of its own event loop. */
  turn: () => Promise<void>;
  /** Waits for real time to pass, or until {@link EventLoop.wake}; only used when the clock is not virtual. */
  sleep: (nanoseconds: number, woken: Promise<void>) => Promise<void>;
}

/**
 * The machine's one loop: interrupts, then timers, then clients (as promises), and only when all are idle does time move.
 * Deterministic as long as nothing outside the machine takes part.
 */
export class EventLoop {
  #wake: () => void = () => {};
  #woken: Promise<void> = Promise.resolve();
  #external = 0;

  constructor(
    readonly clock: Clock,
    readonly interrupts: InterruptController,
    readonly options: EventLoopOptions,
  ) {
    this.#newAlarm();
  }

  /**
   * Declares that something outside (a socket, a file being read) may still cause events: the loop waits for it, and
   * virtual time stands still meanwhile, lest a time-out beats an answer that is only slow outside.
   */
  hold(): () => void {
    this.#external++;
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      this.#external--;
      this.wake();
    };
  }

  /** Something happened outside the loop. */
  wake(): void {
    this.#wake();
  }

  /**
   * Runs interrupts and due timers without letting time or clients pass.
   * @returns false if there was still something to do after so many rounds
   */
  runReady(rounds = ROUNDS_BEFORE_TIME): boolean {
    for (let round = 0; round < rounds; round++) {
      if (this.interrupts.dispatch() + this.clock.runDue() === 0) return true;
    }
    return false;
  }

  /**
   * Runs the machine until `done` answers true, or nothing can ever happen again.
   * @returns false if it went idle before `done`
   */
  async run(done: () => boolean): Promise<boolean> {
    let passes = 0;
    let busy = 0;
    for (;;) {
      busy = this.runReady(ROUNDS_BEFORE_CLIENTS) ? 0 : busy + ROUNDS_BEFORE_CLIENTS;
      if (busy >= ROUNDS_BEFORE_TIME) {
        this.clock.advance(busy * NANOSECONDS_A_ROUND);
        busy = 0;
        passes = PASSES_BEFORE_TURN;
      }
      for (let step = 0; step < CLIENT_STEPS; step++) {
        await null;
        if (this.#ready) break;
      }
      if (done()) return true;
      if (this.#ready && ++passes < PASSES_BEFORE_TURN) continue;
      passes = 0;
      await this.options.turn();
      if (done()) return true;
      if (this.#ready) continue;
      const deadline = this.clock.nextDeadline();
      if (deadline !== Number.POSITIVE_INFINITY && !this.clock.isVirtual) {
        await this.#sleepUntil(deadline);
      } else if (deadline !== Number.POSITIVE_INFINITY && this.#external === 0) {
        this.clock.skipToNextTimer();
      } else if (this.#external > 0) {
        await this.#sleepUntil(Number.POSITIVE_INFINITY);
      } else {
        return false;
      }
    }
  }

  /**
   * Runs the machine until `work` has settled, and passes its result or error on.
   * @param onIdle makes the error for the case that nothing can ever happen again, but `work` still waits
   */
  async runUntil<T>(work: Promise<T>, onIdle: () => Error): Promise<T> {
    let settled = false;
    const watched = work.finally(() => {
      settled = true;
      this.wake();
    });
    watched.catch(() => {});
    if (!(await this.run(() => settled))) throw onIdle();
    return watched;
  }

  /** Whether there is anything to do at this very time. */
  get #ready(): boolean {
    return this.interrupts.hasPending || this.clock.nextDeadline() <= this.clock.now();
  }

  async #sleepUntil(deadline: number): Promise<void> {
    await this.options.sleep(deadline - this.clock.now(), this.#woken);
    this.#newAlarm();
  }

  #newAlarm(): void {
    this.#woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}
