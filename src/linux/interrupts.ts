import type { InterruptLine } from "../bus/interrupts.js";
import { EventSource } from "../util/events.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Execution } from "./execution.js";
import type { ForcedThread, ForcedThreads } from "./forced-threads.js";
import type { Guest } from "./guest.js";
import type { Percpu } from "./percpu.js";
import type { Script } from "./scripts.js";
import type { Threads } from "./threads.js";

const HARDIRQ = 0x1_0000;
const SOFTIRQ = 0x100;
/** Bits of the count that say that softirqs have to wait: softirq, hardirq, NMI. */
const IN_INTERRUPT = 0x0fff_ff00;
const IRQ_WAKE_THREAD = 2;
const IRQ_HANDLED = 1;
const IRQF_NO_AUTOEN = 0x0008_0000;
/** IRQF_PERCPU, IRQF_ONESHOT, IRQF_NO_THREAD: handlers that are not forced into threads. */
const NOT_FORCED = 0x0001_2400;
/** Softirqs raise each other; after so many rounds the host gets its turn. */
const MOST_ROUNDS = 64;

interface Action {
  readonly handler: GuestAddress;
  readonly threadFunction: GuestAddress;
  readonly device: GuestAddress;
  readonly name: string;
  /** It is called in a thread, where the kernel has all that can be called so. */
  readonly forced: boolean;
}

interface Irq {
  readonly number: number;
  readonly line: InterruptLine;
  readonly actions: Action[];
  detach: (() => void) | null;
  /** Times that it was disabled. */
  disabled: number;
  /** Threads of handlers that have not ended. */
  threads: number;
  /** Calls handlers that are forced into a thread. */
  forced: ForcedThread | null;
  /** What those answered last. */
  claimed: boolean;
  /** The line is masked until they have answered. */
  held: boolean;
}

export interface InterruptEvents {
  /** A handler was called. */
  handled: { readonly irq: number; readonly name: string; readonly claimed: boolean };
}

/** Interrupts of the domain: the machine's lines by their numbers, handlers, softirqs. */
export class Interrupts {
  readonly events = new EventSource<InterruptEvents>();
  delivered = 0;
  readonly #irqs = new Map<number, Irq>();
  readonly #pendingAddress: GuestAddress;
  readonly #doSoftirq: GuestAddress;
  /** With PREEMPT_RT. */
  forced: ForcedThreads | null = null;
  /** Before each handler: time is shown, and so on. */
  onEntry: () => void = () => {};
  /** After handlers and softirqs: threads may be ready. */
  onExit: () => void = () => {};
  /** A handler failed: what it threw. */
  onError: (error: unknown) => void = (error) => {
    throw error;
  };

  constructor(
    private readonly guest: Guest,
    private readonly execution: Execution,
    private readonly threads: Threads,
    percpu: Percpu,
  ) {
    this.#pendingAddress = pendingSoftirqs(guest, percpu);
    this.#doSoftirq = guest.symbol("__do_softirq");
  }

  /** Gives a line of the machine a number. */
  add(number: number, line: InterruptLine): void {
    this.#irqs.set(number, {
      number,
      line,
      actions: [],
      detach: null,
      disabled: 0,
      threads: 0,
      forced: null,
      claimed: false,
      held: false,
    });
  }

  remove(number: number): void {
    const irq = this.#irqs.get(number);
    if (irq === undefined) return;
    irq.detach?.();
    // Threads that have not ended never will.
    for (; irq.threads > 0; irq.threads--) irq.line.unmask();
    irq.forced?.end();
    if (irq.held) irq.line.unmask();
    this.#irqs.delete(number);
  }

  /** The end of the domain: none of its handlers is called any more. */
  removeAll(): void {
    for (const number of [...this.#irqs.keys()]) this.remove(number);
  }

  has(number: number): boolean {
    return this.#irqs.has(number);
  }

  /** Handlers that are there: those that have not been freed. */
  get requested(): readonly { readonly irq: number; readonly name: string; readonly handler: GuestAddress }[] {
    return [...this.#irqs.values()].flatMap(({ number, actions }) =>
      actions.map(({ name, handler }) => ({ irq: number, name, handler })),
    );
  }

  /** @returns false if there is no such interrupt */
  request(number: number, action: Omit<Action, "forced">, flags: number): boolean {
    const irq = this.#irqs.get(number);
    if (irq === undefined) return false;
    const forced = this.forced !== null && action.handler !== 0 && (flags & NOT_FORCED) === 0;
    irq.actions.push({ ...action, forced });
    if (forced) irq.forced ??= this.forced?.forLine(number, () => this.#callForced(irq)) ?? null;
    if ((flags & IRQF_NO_AUTOEN) !== 0) irq.disabled++;
    this.#apply(irq);
    return true;
  }

  /** @returns whether there was such a handler */
  free(number: number, device: GuestAddress): boolean {
    const irq = this.#irqs.get(number);
    const at = irq?.actions.findIndex((action) => action.device === device) ?? -1;
    if (irq === undefined || at < 0) return false;
    irq.actions.splice(at, 1);
    if (irq.actions.length === 0) irq.disabled = 0;
    if (!irq.actions.some(({ forced }) => forced)) irq.forced?.end();
    this.#apply(irq);
    return true;
  }

  disable(number: number): void {
    const irq = this.#irqs.get(number);
    if (irq === undefined) return;
    irq.disabled++;
    this.#apply(irq);
  }

  enable(number: number): void {
    const irq = this.#irqs.get(number);
    if (irq === undefined || irq.disabled === 0) return;
    irq.disabled--;
    this.#apply(irq);
  }

  /** Whether threads of its handlers have not ended. */
  isBusy(number: number): boolean {
    return (this.#irqs.get(number)?.threads ?? 0) > 0 || this.isHandling(number);
  }

  /** Whether a handler that was forced into a thread was called, and waits for something. */
  isHandling(number: number): boolean {
    return this.#irqs.get(number)?.forced?.busy === true;
  }

  get softirqsPending(): boolean {
    return this.guest.read(this.#pendingAddress, 2) !== 0;
  }

  /** Runs softirqs that are pending, unless the kernel is in one. */
  runSoftirqs(): void {
    for (let round = 0; round < MOST_ROUNDS && this.softirqsPending; round++) {
      if ((this.threads.preemptCount & IN_INTERRUPT) !== 0) return;
      this.execution.call(this.#doSoftirq);
    }
  }

  /** Calls a function as a softirq calls it: timers, RCU. */
  callInSoftirq(fn: GuestAddress, argument: number): GuestAddress {
    const { threads } = this;
    const before = threads.preemptCount;
    threads.preemptCount = before + SOFTIRQ;
    try {
      return this.execution.call(fn, argument);
    } finally {
      threads.preemptCount = before;
    }
  }

  #apply(irq: Irq): void {
    const wanted = irq.actions.length > 0 && irq.disabled === 0;
    if (wanted && irq.detach === null) irq.detach = irq.line.attach(() => this.#deliver(irq));
    if (!wanted) {
      irq.detach?.();
      irq.detach = null;
    }
  }

  #deliver(irq: Irq): boolean {
    try {
      this.delivered++;
      this.onEntry();
      const claimed = this.#callHandlers(irq);
      irq.claimed = false;
      irq.forced?.raise();
      if (this.forced === null) this.runSoftirqs();
      this.onExit();
      if (irq.forced?.busy !== true) return claimed || irq.claimed;
      // The domain has died of it: the line may be another's.
      if (this.#irqs.get(irq.number) !== irq) return true;
      // Its thread waits for something: it has the line back when it has ended.
      irq.held = true;
      irq.line.mask();
      return true;
    } catch (error) {
      this.onError(error);
      return true;
    }
  }

  #callHandlers(irq: Irq): boolean {
    const { threads, execution } = this;
    const before = threads.preemptCount;
    threads.preemptCount = before + HARDIRQ;
    let claimed = false;
    try {
      for (const action of [...irq.actions]) {
        if (action.forced) continue;
        const answer =
          action.handler === 0 ? IRQ_WAKE_THREAD : execution.call(action.handler, irq.number, action.device);
        if ((answer & IRQ_WAKE_THREAD) !== 0 && action.threadFunction !== 0) this.#wakeThread(irq, action);
        claimed ||= (answer & (IRQ_HANDLED | IRQ_WAKE_THREAD)) !== 0;
      }
    } finally {
      threads.preemptCount = before;
    }
    return claimed;
  }

  /** As `irq_forced_thread_fn` and its like do it. */
  *#callForced(irq: Irq): Script<void> {
    const { forced } = this;
    if (forced === null) return;
    for (const { handler, threadFunction, device } of irq.actions.filter((action) => action.forced)) {
      let answer = yield* forced.withoutSoftirqs([handler, irq.number, device]);
      if ((answer & IRQ_WAKE_THREAD) !== 0 && threadFunction !== 0) {
        answer = yield [threadFunction, irq.number, device];
      }
      irq.claimed ||= (answer & IRQ_HANDLED) !== 0;
    }
    if (irq.held) irq.line.unmask();
    irq.held = false;
  }

  /** The line stays masked until the thread has ended, as with IRQF_ONESHOT. */
  #wakeThread(irq: Irq, action: Action): void {
    irq.threads++;
    irq.line.mask();
    const thread = this.threads.spawn(`irq/${irq.number}`, action.threadFunction, [irq.number, action.device]);
    thread.onExit = () => {
      irq.threads--;
      irq.line.unmask();
    };
  }
}

/** The processor's pending softirqs, which have moved twice. */
function pendingSoftirqs(guest: Guest, percpu: Percpu): GuestAddress {
  if (percpu.has("__softirq_pending")) return percpu.address("__softirq_pending");
  const [variable, member] = percpu.has("pcpu_hot")
    ? ["pcpu_hot", "pcpu_hot.softirq_pending"]
    : ["irq_stat", "irq_cpustat_t.__softirq_pending"];
  return (percpu.address(variable) + guest.offset(member)) as GuestAddress;
}
