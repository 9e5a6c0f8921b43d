import type { StateReader } from "../../util/state-reader.js";
import { CQ_ENTRY_BYTES, MAX_QUEUE_ENTRIES, SQ_ENTRY_BYTES } from "./registers.js";

/** The longest admin queue (AQA has 12 bits); I/O queues end at CAP.MQES. */
const LARGEST_SIZE = 4096;
/** Entries of a queue that were asked to be aborted before they were fetched; as many as ACL allows. */
const MAX_ABORTS = 4;

export interface CompletionQueueState {
  id: number;
  base: number;
  size: number;
  head: number;
  tail: number;
  phase: number;
  vector: number;
  interrupts: boolean;
}

/** A completion queue (§4.1, §4.6): the controller owns the tail, the host the head. */
export class CompletionQueue {
  head = 0;
  tail = 0;
  /** Written with each entry; inverted on every pass (§4.6, P). */
  phase = 1;
  /** Commands that are at work and will complete here: their places are kept free. */
  reserved = 0;
  /** Submission queues that complete here. */
  users = 0;

  constructor(
    readonly id: number,
    readonly base: number,
    readonly size: number,
    readonly vector: number,
    readonly interrupts: boolean,
  ) {}

  /** Entries posted that the host has not taken yet. */
  get used(): number {
    const used = this.tail - this.head;
    return used < 0 ? used + this.size : used;
  }

  /** Places that are neither taken nor promised; a full queue keeps one place empty. */
  get room(): number {
    return this.size - 1 - this.used - this.reserved;
  }

  get tailAddress(): number {
    return this.base + this.tail * CQ_ENTRY_BYTES;
  }

  advanceTail(): void {
    if (++this.tail === this.size) {
      this.tail = 0;
      this.phase ^= 1;
    }
  }

  snapshot(): CompletionQueueState {
    const { id, base, size, head, tail, phase, vector, interrupts } = this;
    return { id, base, size, head, tail, phase, vector, interrupts };
  }

  static restore(state: StateReader, maxQueues: number, vectors: number): CompletionQueue {
    const id = state.integer("id", 0, maxQueues);
    const size = state.integer("size", 2, id === 0 ? LARGEST_SIZE : MAX_QUEUE_ENTRIES);
    const queue = new CompletionQueue(
      id,
      state.integer("base", 0, 2 ** 64),
      size,
      state.integer("vector", 0, vectors - 1),
      state.flag("interrupts"),
    );
    queue.head = state.integer("head", 0, size - 1);
    queue.tail = state.integer("tail", 0, size - 1);
    queue.phase = state.integer("phase", 0, 1);
    return queue;
  }
}

export interface SubmissionQueueState {
  id: number;
  base: number;
  size: number;
  head: number;
  tail: number;
  completionQueue: number;
  aborts: number[];
}

/** A submission queue (§4.1, §4.2): the host owns the tail, the controller the head. */
export class SubmissionQueue {
  head = 0;
  tail = 0;
  /** Commands fetched whose status is still to come. */
  outstanding = 0;
  /** Entries between head and tail that complete as aborted when they are fetched. */
  readonly aborts: number[] = [];
  /** A bit for each command identifier at work; made when the first command does not complete at once. */
  #identifiers: Uint8Array | null = null;

  constructor(
    readonly id: number,
    readonly base: number,
    readonly size: number,
    readonly completion: CompletionQueue,
  ) {}

  /** Entries submitted that were not fetched yet. */
  get waiting(): number {
    const waiting = this.tail - this.head;
    return waiting < 0 ? waiting + this.size : waiting;
  }

  get headAddress(): number {
    return this.base + this.head * SQ_ENTRY_BYTES;
  }

  /** @returns false if the identifier is in use by a command at work (§4.2, command identifier) */
  isFree(commandId: number): boolean {
    const bits = this.#identifiers;
    return this.outstanding === 0 || bits === null || (bits[commandId >>> 3] & (1 << (commandId & 7))) === 0;
  }

  hold(commandId: number): void {
    this.#identifiers ??= new Uint8Array(8192);
    this.#identifiers[commandId >>> 3] |= 1 << (commandId & 7);
    this.outstanding++;
  }

  release(commandId: number): void {
    if (this.#identifiers !== null) this.#identifiers[commandId >>> 3] &= ~(1 << (commandId & 7));
    this.outstanding--;
  }

  /** Marks an entry that was not fetched yet. @returns false when too many are marked already */
  abortAt(index: number): boolean {
    if (this.aborts.includes(index)) return true;
    if (this.aborts.length === MAX_ABORTS) return false;
    this.aborts.push(index);
    return true;
  }

  /** Whether the entry was marked; forgets the mark. */
  takeAbort(index: number): boolean {
    const at = this.aborts.indexOf(index);
    if (at >= 0) this.aborts.splice(at, 1);
    return at >= 0;
  }

  snapshot(): SubmissionQueueState {
    const { id, base, size, head, tail, completion, aborts } = this;
    return { id, base, size, head, tail, completionQueue: completion.id, aborts: [...aborts] };
  }

  static restore(state: StateReader, maxQueues: number, completions: QueueTable): SubmissionQueue {
    const id = state.integer("id", 0, maxQueues);
    const completion = completions.completion(state.integer("completionQueue", 0, maxQueues));
    if (completion === null) throw state.misfit("completionQueue", "a completion queue that exists");
    const size = state.integer("size", 2, id === 0 ? LARGEST_SIZE : MAX_QUEUE_ENTRIES);
    const queue = new SubmissionQueue(id, state.integer("base", 0, 2 ** 64), size, completion);
    queue.head = state.integer("head", 0, size - 1);
    queue.tail = state.integer("tail", 0, size - 1);
    queue.aborts.push(...state.numbers("aborts", 0, MAX_ABORTS, size - 1));
    return queue;
  }
}

export interface QueueTableState {
  completionCount: number;
  completions: CompletionQueueState[];
  submissionCount: number;
  submissions: SubmissionQueueState[];
}

/** The queues that exist, by identifier and in the order of their creation. */
export class QueueTable {
  readonly submissions: SubmissionQueue[] = [];
  readonly completions: CompletionQueue[] = [];
  readonly #submission: (SubmissionQueue | null)[] = [];
  readonly #completion: (CompletionQueue | null)[] = [];

  submission(id: number): SubmissionQueue | null {
    return this.#submission[id] ?? null;
  }

  completion(id: number): CompletionQueue | null {
    return this.#completion[id] ?? null;
  }

  addSubmission(queue: SubmissionQueue): void {
    this.#submission[queue.id] = queue;
    this.submissions.push(queue);
    queue.completion.users++;
  }

  addCompletion(queue: CompletionQueue): void {
    this.#completion[queue.id] = queue;
    this.completions.push(queue);
  }

  removeSubmission(queue: SubmissionQueue): void {
    this.#submission[queue.id] = null;
    this.submissions.splice(this.submissions.indexOf(queue), 1);
    queue.completion.users--;
  }

  removeCompletion(queue: CompletionQueue): void {
    this.#completion[queue.id] = null;
    this.completions.splice(this.completions.indexOf(queue), 1);
  }

  clear(): void {
    this.submissions.length = 0;
    this.completions.length = 0;
    this.#submission.length = 0;
    this.#completion.length = 0;
  }

  snapshot(): QueueTableState {
    return {
      completionCount: this.completions.length,
      completions: this.completions.map((queue) => queue.snapshot()),
      submissionCount: this.submissions.length,
      submissions: this.submissions.map((queue) => queue.snapshot()),
    };
  }

  restore(state: StateReader, maxQueues: number, vectors: number): void {
    this.clear();
    const completions = state.integer("completionCount", 0, maxQueues + 1);
    for (const one of state.children("completions", completions)) {
      const queue = CompletionQueue.restore(one, maxQueues, vectors);
      if (this.completion(queue.id) !== null) throw one.misfit("id", "different from the others'");
      this.addCompletion(queue);
    }
    const submissions = state.integer("submissionCount", 0, maxQueues + 1);
    for (const one of state.children("submissions", submissions)) {
      const queue = SubmissionQueue.restore(one, maxQueues, this);
      if (this.submission(queue.id) !== null) throw one.misfit("id", "different from the others'");
      this.addSubmission(queue);
    }
  }
}
