import type { Clock, Timer } from "../bus/clock.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Field, Guest } from "./guest.js";

/** INITIAL_JIFFIES: five minutes before 32 bits are full, so that drivers that forget about it are found out. */
const INITIAL_SECONDS = -300;
const SECOND = 1_000_000_000;
/** What real-time clocks of the domain show at its start: the same in every run. */
const BOOT_TIME_SECONDS = 1_700_000_000;
/** struct hlist_node: a timer is pending while its `pprev` is set. */
const PPREV = 8;
/** Longest time that one timer of the clock is armed for. */
const FOREVER = Number.POSITIVE_INFINITY;
const HRTIMER_ENQUEUED = 1;
const HRTIMER_RESTART = 1;

/** What is due: a timer of the kernel, with its function. */
export interface DueTimer {
  readonly timer: GuestAddress;
  readonly kind: "timer" | "hrtimer";
  readonly function: GuestAddress;
}

/** The domain's time: jiffies, clocks and timers, on the machine's clock. */
export class Time {
  /** Ticks a second; known once the kernel can be asked. */
  hz = 250;
  /** The function of a timer waits for something: no other is called before it has ended. */
  held = false;
  readonly #timers = new Map<GuestAddress, number>();
  readonly #hrtimers = new Map<GuestAddress, number>();
  readonly #alarm: Timer;
  readonly #jiffies: GuestAddress;
  readonly #expires: Field;
  readonly #function: Field;
  readonly #hrExpires: Field;
  readonly #hrSoftExpires: Field;
  readonly #hrFunction: Field;
  readonly #hrState: Field;

  constructor(
    private readonly guest: Guest,
    readonly clock: Clock,
    /** Called when something may be due. */
    onDue: () => void,
  ) {
    this.#alarm = clock.timer(onDue);
    this.#jiffies = guest.symbol("jiffies_64");
    this.#expires = guest.field("timer_list.expires");
    this.#function = guest.field("timer_list.function");
    this.#hrExpires = guest.field("hrtimer.node.expires");
    this.#hrSoftExpires = guest.field("hrtimer._softexpires");
    this.#hrFunction = guest.field("hrtimer.function");
    this.#hrState = guest.field("hrtimer.state");
  }

  /** Nanoseconds. */
  now(): number {
    return this.clock.now();
  }

  /** Nanoseconds since 1970. */
  realNow(): number {
    return BOOT_TIME_SECONDS * SECOND + this.now();
  }

  get jiffies(): number {
    // As unsigned 32-bit numbers start, with the carry into the upper half kept.
    return INITIAL_SECONDS * this.hz + 2 ** 32 + Math.floor((this.now() * this.hz) / SECOND);
  }

  /** Machine time at which a number of jiffies is reached. */
  timeOf(jiffies: number): number {
    return Math.ceil(((jiffies - (INITIAL_SECONDS * this.hz + 2 ** 32)) * SECOND) / this.hz);
  }

  nanoseconds(jiffies: number): number {
    return (jiffies * SECOND) / this.hz;
  }

  /** Lets the kernel see what time it is. */
  show(): void {
    this.guest.write(this.#jiffies, 8, this.jiffies);
  }

  /** Time passes while code runs, and what devices do meanwhile happens. @param nanoseconds whole */
  pass(nanoseconds: number): void {
    this.clock.advance(nanoseconds);
    this.clock.runDue();
    this.show();
  }

  get pending(): number {
    return this.#timers.size + this.#hrtimers.size;
  }

  /** The functions of all pending timers. */
  get functions(): readonly GuestAddress[] {
    const plain = [...this.#timers.keys()].map((timer) => this.#function.pointer(timer));
    return [...plain, ...[...this.#hrtimers.keys()].map((timer) => this.#hrFunction.pointer(timer))];
  }

  isPending(timer: GuestAddress): boolean {
    return this.#timers.has(timer);
  }

  /** @returns whether it was pending */
  start(timer: GuestAddress, expires: number): boolean {
    const was = this.#timers.has(timer);
    this.#expires.set(timer, expires);
    this.guest.setPointer((timer + PPREV) as GuestAddress, timer);
    this.#timers.set(timer, this.timeOf(expires));
    this.arm();
    return was;
  }

  expiresOf(timer: GuestAddress): number {
    return this.#expires.get(timer);
  }

  /** @returns whether it was pending */
  stop(timer: GuestAddress): boolean {
    if (!this.#timers.delete(timer)) return false;
    this.guest.setPointer((timer + PPREV) as GuestAddress, 0);
    return true;
  }

  /** @param at machine time */
  startHigh(timer: GuestAddress, at: number): void {
    this.#hrExpires.set(timer, at);
    this.#hrSoftExpires.set(timer, at);
    this.#hrState.set(timer, HRTIMER_ENQUEUED);
    this.#hrtimers.set(timer, at);
    this.arm();
  }

  stopHigh(timer: GuestAddress): boolean {
    if (!this.#hrtimers.delete(timer)) return false;
    this.#hrState.set(timer, 0);
    return true;
  }

  /** Goes on with a timer whose function asked for it. */
  restartHigh(timer: GuestAddress, answer: number): void {
    if ((answer | 0) === HRTIMER_RESTART) this.startHigh(timer, this.#hrExpires.get(timer));
  }

  get isDue(): boolean {
    const now = this.now();
    for (const at of this.#timers.values()) if (at <= now) return true;
    for (const at of this.#hrtimers.values()) if (at <= now) return true;
    return false;
  }

  /** Takes the earliest timer that is due; null if none is. */
  takeDue(): DueTimer | null {
    const now = this.now();
    const timer = earliest(this.#timers);
    const high = earliest(this.#hrtimers);
    const timerAt = timer === null ? FOREVER : (this.#timers.get(timer) ?? FOREVER);
    const highAt = high === null ? FOREVER : (this.#hrtimers.get(high) ?? FOREVER);
    if (timer !== null && timerAt <= now && timerAt <= highAt) {
      this.stop(timer);
      return { timer, kind: "timer", function: this.#function.pointer(timer) };
    }
    if (high === null || highAt > now) return null;
    this.stopHigh(high);
    return { timer: high, kind: "hrtimer", function: this.#hrFunction.pointer(high) };
  }

  /** Nothing is due any more. */
  stopAll(): void {
    this.#timers.clear();
    this.#hrtimers.clear();
    this.#alarm.cancel();
  }

  /** Wakes the domain when the earliest of its timers, or of `others`, is due. */
  arm(others = FOREVER): void {
    let least = others;
    if (!this.held) {
      for (const at of this.#timers.values()) if (at < least) least = at;
      for (const at of this.#hrtimers.values()) if (at < least) least = at;
    }
    if (least === FOREVER) this.#alarm.cancel();
    else this.#alarm.arm(Math.max(0, least - this.now()));
  }
}

function earliest(timers: ReadonlyMap<GuestAddress, number>): GuestAddress | null {
  let found: GuestAddress | null = null;
  let least = FOREVER;
  for (const [timer, at] of timers) {
    if (at >= least) continue;
    least = at;
    found = timer;
  }
  return found;
}
