import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import type { Interrupts } from "./interrupts.js";
import type { RcuCallbacks } from "./rcu.js";
import type { Script, ScriptCall, Scripts } from "./scripts.js";
import { type SeamResult, SWITCHED } from "./seam.js";
import type { Thread, Threads } from "./threads.js";
import type { Time } from "./time.js";

/** Only kernels whose spin locks are mutexes have it. */
const SIGN = "rt_spin_lock";
/** SOFTIRQ_DISABLE_OFFSET. */
const SOFTIRQ_DISABLED = 0x200;

interface Parts {
  readonly interrupts: Interrupts;
  readonly threads: Threads;
  readonly time: Time;
  readonly rcu: RcuCallbacks;
  readonly scripts: Scripts;
  readonly makeStub: (name: string, handle: () => SeamResult) => GuestAddress;
}

/** One line's handlers, called in a thread. */
export interface ForcedThread {
  /** Calls the handlers, soon. */
  raise(): void;
  /** The handlers were called, or are being called, and that has not ended. */
  readonly busy: boolean;
  /** There are no handlers any more: the thread ends. */
  end(): void;
}

/**
 * With PREEMPT_RT spin locks may block. So handlers of interrupts, softirqs, timers and RCU callbacks run in threads, as
 * the kernel has it.
 */
export class ForcedThreads {
  #softirqs: Thread | null = null;
  #timer: GuestAddress | null = null;
  #callbacks = false;
  readonly #nothing: GuestAddress;
  readonly #wait: GuestAddress;
  #waits: () => boolean = () => true;

  /** @returns null if the kernel's spin locks spin */
  static of(guest: Guest, parts: Parts): ForcedThreads | null {
    return guest.find(SIGN) === null ? null : new ForcedThreads(parts);
  }

  private constructor(private readonly parts: Parts) {
    const { threads, makeStub } = parts;
    this.#nothing = makeStub("nothing", () => undefined);
    this.#wait = makeStub("wait", () => {
      threads.block(this.#waits);
      return SWITCHED;
    });
  }

  /** Has a thread for what softirqs do, if there is any of it. */
  prepare(): void {
    if (this.#softirqs !== null || !this.#hasWork()) return;
    this.#softirqs = this.parts.scripts.start("ksoftirqd/0", this.#work(), () => {});
  }

  /** Whether a timer's function runs, and somebody else has to wait for it. */
  isRunning(timer: GuestAddress): boolean {
    return this.#timer === timer && this.parts.threads.current !== this.#softirqs;
  }

  /** All RCU callbacks so far were called. */
  get isDrained(): boolean {
    return this.parts.rcu.pending === 0 && !this.#callbacks;
  }

  /** @param handle the calls for one interrupt */
  forLine(number: number, handle: () => Script<void>): ForcedThread {
    let raised = false;
    let isHandling = false;
    let isOver = false;
    let isAlive = false;
    const steps = function* (this: ForcedThreads): Script<void> {
      while (!isOver) {
        while (raised) {
          raised = false;
          isHandling = true;
          yield* handle();
          isHandling = false;
        }
        if (!isOver) yield this.#until(() => raised || isOver);
      }
      isAlive = false;
    };
    return {
      raise: () => {
        raised = true;
        isOver = false;
        if (!isAlive) this.parts.scripts.start(`irq/${number}`, steps.call(this), () => {});
        isAlive = true;
      },
      get busy() {
        return raised || isHandling;
      },
      end: () => {
        isOver = true;
        raised = false;
      },
    };
  }

  /** Calls with softirqs disabled; those that were raised meanwhile run afterwards. */
  *withoutSoftirqs(call: ScriptCall): Script<GuestAddress> {
    yield ["__local_bh_disable_ip", 0, SOFTIRQ_DISABLED];
    const answer = yield call;
    yield ["__local_bh_enable_ip", 0, SOFTIRQ_DISABLED];
    return answer;
  }

  /** One thing a turn: others have theirs in between. */
  *#work(): Script<void> {
    for (;;) {
      yield* this.#step();
      yield this.#until(() => this.#hasWork());
    }
  }

  *#step(): Script<void> {
    const { interrupts, time, rcu, threads } = this.parts;
    // Those that are pending run when they are not disabled any more.
    if (interrupts.softirqsPending) yield* this.withoutSoftirqs([this.#nothing]);
    const due = time.takeDue();
    if (due !== null) {
      this.#timer = due.timer;
      time.held = true;
      const answer = yield* this.withoutSoftirqs([due.function, due.timer]);
      time.held = false;
      this.#timer = null;
      if (due.kind === "hrtimer") time.restartHigh(due.timer, answer);
      return;
    }
    const callback = threads.hasReaders ? null : rcu.take();
    if (callback === null) return;
    this.#callbacks = true;
    yield* this.withoutSoftirqs([callback.function, callback.head]);
    this.#callbacks = false;
  }

  #hasWork(): boolean {
    const { interrupts, time, rcu, threads } = this.parts;
    return interrupts.softirqsPending || time.isDue || (rcu.pending > 0 && !threads.hasReaders);
  }

  #until(isSo: () => boolean): readonly [GuestAddress] {
    this.#waits = isSo;
    return [this.#wait];
  }
}
