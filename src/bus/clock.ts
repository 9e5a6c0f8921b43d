import type { Nanoseconds } from "../util/brand.js";

/**
 * Something that will happen at a machine time. Made once and armed again and again, so that a busy device allocates
 * nothing.
 */
export interface Timer {
  readonly armed: boolean;
  /** Machine time at which it fires; meaningless while not armed. */
  readonly deadline: Nanoseconds;
  /** (Re)arms the timer to fire `delay` nanoseconds from now (0: as soon as the machine loop runs; Infinity: never). */
  arm(delay: number): void;
  cancel(): void;
}

class ClockTimer implements Timer {
  deadline = 0 as Nanoseconds;
  sequence = 0;
  heapIndex = -1;

  constructor(
    readonly clock: Clock,
    readonly fire: () => void,
  ) {}

  get armed(): boolean {
    return this.heapIndex >= 0;
  }

  arm(delay: number): void {
    this.clock.arm(this, delay);
  }

  cancel(): void {
    this.clock.cancel(this);
  }
}

/**
 * The machine's clock: nanoseconds since power-on and the timers that wait for them.
 *
 * Virtual by default: time stands still while events run and jumps to the next timer when the machine is idle.
 * With an injected `source` (a monotonic nanosecond counter) time follows that source instead.
 * Timers due at the same time fire in the order in which they were armed.
 */
export class Clock {
  readonly #heap: ClockTimer[] = [];
  readonly #source: (() => number) | null;
  readonly #origin: number;
  #virtualNow = 0;
  #sequence = 0;

  constructor(source: (() => number) | null = null) {
    this.#source = source;
    this.#origin = source === null ? 0 : source();
  }

  get isVirtual(): boolean {
    return this.#source === null;
  }

  now(): Nanoseconds {
    return (this.#source === null ? this.#virtualNow : this.#source() - this.#origin) as Nanoseconds;
  }

  timer(fire: () => void): Timer {
    return new ClockTimer(this, fire);
  }

  /** Deadline of the earliest armed timer, or Infinity. */
  nextDeadline(): number {
    return this.#heap.length === 0 ? Number.POSITIVE_INFINITY : this.#heap[0].deadline;
  }

  /** Lets virtual time jump forward to the next timer. @returns false when there is none, or time is not virtual */
  skipToNextTimer(): boolean {
    const deadline = this.nextDeadline();
    if (deadline === Number.POSITIVE_INFINITY || this.#source !== null) return false;
    this.#virtualNow = Math.max(this.#virtualNow, deadline);
    return true;
  }

  /** Lets virtual time pass without waiting for a timer (a driver that busy-waits). */
  advance(nanoseconds: number): void {
    if (this.#source === null) this.#virtualNow += nanoseconds;
  }

  /** Fires the timers that are due now, those armed meanwhile for a later round. @returns how many fired */
  runDue(): number {
    const now = this.now();
    const round = this.#sequence;
    let fired = 0;
    while (this.#heap.length > 0) {
      const timer = this.#heap[0];
      if (timer.deadline > now || timer.sequence >= round) break;
      this.#remove(timer);
      timer.fire();
      fired++;
    }
    return fired;
  }

  /** @internal */
  arm(timer: ClockTimer, delay: number): void {
    if (timer.heapIndex >= 0) this.#remove(timer);
    timer.deadline = (this.now() + (delay > 0 ? delay : 0)) as Nanoseconds;
    timer.sequence = this.#sequence++;
    timer.heapIndex = this.#heap.length;
    this.#heap.push(timer);
    this.#siftUp(timer);
  }

  /** @internal */
  cancel(timer: ClockTimer): void {
    if (timer.heapIndex >= 0) this.#remove(timer);
  }

  #remove(timer: ClockTimer): void {
    const hole = timer.heapIndex;
    timer.heapIndex = -1;
    const last = this.#heap.pop();
    if (last === undefined || last === timer) return;
    last.heapIndex = hole;
    this.#heap[hole] = last;
    this.#siftUp(last);
    this.#siftDown(last);
  }

  #siftUp(timer: ClockTimer): void {
    while (timer.heapIndex > 0) {
      const parent = this.#heap[(timer.heapIndex - 1) >> 1];
      if (!isBefore(timer, parent)) return;
      this.#swap(timer, parent);
    }
  }

  #siftDown(timer: ClockTimer): void {
    for (;;) {
      const left = 2 * timer.heapIndex + 1;
      if (left >= this.#heap.length) return;
      let least = this.#heap[left];
      if (left + 1 < this.#heap.length && isBefore(this.#heap[left + 1], least)) least = this.#heap[left + 1];
      if (!isBefore(least, timer)) return;
      this.#swap(timer, least);
    }
  }

  #swap(a: ClockTimer, b: ClockTimer): void {
    const at = a.heapIndex;
    a.heapIndex = b.heapIndex;
    b.heapIndex = at;
    this.#heap[a.heapIndex] = a;
    this.#heap[b.heapIndex] = b;
  }
}

function isBefore(a: ClockTimer, b: ClockTimer): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.sequence < b.sequence);
}
