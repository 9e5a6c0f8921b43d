import type { GuestAddress } from "../util/guest-address.js";
import type { Field, Guest } from "./guest.js";
import type { Heap } from "./heap.js";
import type { Thread, Threads } from "./threads.js";
import type { Time } from "./time.js";

/** The first bit of `work_struct.data`: it is pending. */
const PENDING = 1;
/** Work items that may run at a time, whatever their queues allow. */
const MOST_RUNNING = 32;
const WQ_ORDERED = 1 << 17;
const WQ_ORDERED_EXPLICIT = 1 << 19;

export type WorkQueueState = readonly (readonly [queue: GuestAddress, description: Queue])[];

interface Queue {
  readonly name: string;
  /** One at a time, in order. */
  readonly ordered: boolean;
}

interface Item {
  readonly work: GuestAddress;
  readonly queue: GuestAddress;
  /** In order of their queueing. */
  readonly sequence: number;
}

/** Work queues: each item runs in a thread of its own when its turn comes. */
export class WorkQueues {
  readonly #queues = new Map<GuestAddress, Queue>();
  readonly #pending: Item[] = [];
  readonly #running = new Map<GuestAddress, { readonly item: Item; readonly thread: Thread }>();
  /** Delayed work by machine time; the key is the address of its work. */
  readonly #delayed = new Map<GuestAddress, { readonly queue: GuestAddress; readonly at: number }>();
  #sequence = 0;
  readonly #data: Field;
  readonly #function: Field;
  /** Something was queued. */
  onWork: () => void = () => {};

  constructor(
    private readonly guest: Guest,
    private readonly heap: Heap,
    private readonly threads: Threads,
    private readonly time: Time,
  ) {
    this.#data = guest.field("work_struct.data.counter");
    this.#function = guest.field("work_struct.func");
  }

  /** The queues; items are not part of it. */
  snapshot(): WorkQueueState {
    return [...this.#queues];
  }

  restore(state: WorkQueueState): void {
    for (const [queue, description] of state) this.#queues.set(queue, description);
  }

  create(name: string, flags: number, mostActive: number): GuestAddress {
    const queue = this.heap.allocate(Math.max(512, this.guest.sizeOf("workqueue_struct")));
    this.#queues.set(queue, { name, ordered: (flags & (WQ_ORDERED | WQ_ORDERED_EXPLICIT)) !== 0 && mostActive === 1 });
    return queue;
  }

  destroy(queue: GuestAddress): void {
    if (this.#queues.delete(queue)) this.heap.free(queue);
  }

  /** Items that are pending, running or delayed: those that keep a module from being unloaded. */
  get live(): number {
    return this.#pending.length + this.#running.size + this.#delayed.size;
  }

  /** The functions of what is left. */
  get leftovers(): readonly GuestAddress[] {
    const works = [...this.#pending.map(({ work }) => work), ...this.#running.keys(), ...this.#delayed.keys()];
    return works.map((work) => this.#function.pointer(work));
  }

  get nextDelayed(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const { at } of this.#delayed.values()) if (at < least) least = at;
    return least;
  }

  /** @returns whether it was not pending yet */
  queue(queue: GuestAddress, work: GuestAddress): boolean {
    if (this.isPending(work)) return false;
    this.#mark(work, true);
    this.#pending.push({ work, queue, sequence: this.#sequence++ });
    this.onWork();
    return true;
  }

  /** @param delay in jiffies */
  queueDelayed(queue: GuestAddress, work: GuestAddress, delay: number): boolean {
    if (this.isPending(work)) return false;
    if (delay === 0) return this.queue(queue, work);
    this.#mark(work, true);
    this.#delayed.set(work, { queue, at: this.time.timeOf(this.time.jiffies + delay) });
    this.onWork();
    return true;
  }

  /** @returns whether it was pending */
  modifyDelayed(queue: GuestAddress, work: GuestAddress, delay: number): boolean {
    const was = this.cancel(work);
    this.queueDelayed(queue, work, delay);
    return was;
  }

  /** Has delayed work run now, if it waits. @returns whether it did */
  hurry(work: GuestAddress): boolean {
    const delayed = this.#delayed.get(work);
    if (delayed === undefined) return false;
    this.#delayed.delete(work);
    this.#pending.push({ work, queue: delayed.queue, sequence: this.#sequence++ });
    this.onWork();
    return true;
  }

  /** @returns whether it was pending */
  cancel(work: GuestAddress): boolean {
    const at = this.#pending.findIndex((item) => item.work === work);
    if (at >= 0) this.#pending.splice(at, 1);
    const was = at >= 0 || this.#delayed.delete(work);
    if (was) this.#mark(work, false);
    return was;
  }

  isPending(work: GuestAddress): boolean {
    return this.#delayed.has(work) || this.#pending.some((item) => item.work === work);
  }

  isRunning(work: GuestAddress): boolean {
    return this.#running.has(work);
  }

  /** Whether the running thread is the one that carries out this item: it cannot wait for itself. */
  isOwn(work: GuestAddress): boolean {
    const running = this.#running.get(work);
    return running !== undefined && running.thread === this.threads.current;
  }

  /** Whether anything of a queue that was queued so far has not ended. Delayed work that is not due does not count. */
  isBusy(queue: GuestAddress, before: number): boolean {
    if (this.#pending.some((item) => item.queue === queue && item.sequence < before)) return true;
    for (const { item } of this.#running.values()) {
      if (item.queue === queue && item.sequence < before) return true;
    }
    return false;
  }

  /** A mark in time, for `isBusy`. */
  get mark(): number {
    return this.#sequence;
  }

  /** Gives threads to items whose turn it is. @returns whether there were any */
  dispatch(): boolean {
    const now = this.time.now();
    for (const [work, { at }] of this.#delayed) if (at <= now) this.hurry(work);
    let started = false;
    for (let i = 0; i < this.#pending.length && this.#running.size < MOST_RUNNING; ) {
      const item = this.#pending[i];
      if (!this.#mayStart(item)) {
        i++;
        continue;
      }
      this.#pending.splice(i, 1);
      this.#start(item);
      started = true;
    }
    return started;
  }

  #mayStart({ work, queue }: Item): boolean {
    if (this.#running.has(work)) return false;
    if (this.#queues.get(queue)?.ordered !== true) return true;
    for (const { item } of this.#running.values()) if (item.queue === queue) return false;
    return true;
  }

  #start(item: Item): void {
    const { work } = item;
    this.#mark(work, false);
    const thread = this.threads.spawn("kworker", this.#function.pointer(work), [work]);
    this.#running.set(work, { item, thread });
    thread.onExit = () => {
      this.#running.delete(work);
      this.onWork();
    };
  }

  #mark(work: GuestAddress, pending: boolean): void {
    const at = (work + this.#data.offset) as GuestAddress;
    const low = this.guest.read(at, 4);
    this.guest.write(at, 4, pending ? low | PENDING : low & ~PENDING);
  }
}
