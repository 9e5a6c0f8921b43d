import { RAX, RCX, RDI, RDX, RSI, RSP } from "../translator/instruction.js";
import { Shadow } from "../translator/shadow.js";
import { KorralError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import { type Execution, Registers } from "./execution.js";
import { type Field, Guest } from "./guest.js";
import type { Heap } from "./heap.js";
import { HeapExhaustedError } from "./heap.js";
import { STACKS, STACKS_END } from "./layout.js";
import type { Percpu } from "./percpu.js";

const ARGUMENTS = [RDI, RSI, RDX, RCX, 8, 9] as const;
const STACK_BYTES = 0x4000;
/** Between stacks, never mapped. */
const STACK_GUARD = 0x1000;
/** What calls from the host run on. */
export const HOST_STACK_TOP = (STACKS + 0x10000) as GuestAddress;
const FIRST_STACK = STACKS + 0x20000;

const TASK_RUNNING = 0;
const TASK_UNINTERRUPTIBLE = 2;
const PF_KTHREAD = 0x0020_0000;
const FIRST_PID = 100;
/** What a task has only while it runs: none of it is for a copy. */
const OF_RUNNING = [
  "rcu_read_lock_nesting",
  "migration_disabled",
  "softirq_disable_cnt",
  "saved_state",
  "pi_blocked_on",
  "pi_top_task",
  "pi_waiters.rb_root.rb_node",
  "pi_waiters.rb_leftmost",
  "on_cpu",
] as const;
/** In atomic context: nothing may block. */
const PREEMPT_COUNT_MASK = 0x7fff_ffff;

export interface Thread {
  readonly name: string;
  readonly pid: number;
  /** The function that it began with. */
  readonly entry: GuestAddress;
  /** Its `struct task_struct`. */
  readonly task: GuestAddress;
  readonly stack: GuestAddress;
  readonly registers: Registers;
  /** Asked before it goes on; null if only its state in the kernel matters. */
  waits: (() => boolean) | null;
  /** Machine time at which it goes on at the latest. */
  wake: number;
  /** What the function that blocked returns. */
  result: (() => number) | null;
  /** What it returned in the end; null while it lives. */
  exit: number | null;
  /** It has run. */
  started: boolean;
  onExit: (() => void) | null;
}

/** References that a task has while its thread has not ended. */
const USERS_OF_ITSELF = 2;

/** Cooperative threads of the kernel: each has a stack and a task of its own, and runs until it blocks. */
export class Threads {
  current: Thread | null = null;
  readonly all: Thread[] = [];
  switches = 0;
  readonly #state: Field;
  /** References to a task. */
  readonly #usage: Field;
  /** With PREEMPT_RT: the state that a task has to go back to when it has a lock that it waits for. */
  readonly #savedState: Field | null;
  /** How many read-side critical sections of RCU a task is in, where that is counted. */
  readonly #readers: Field | null;
  readonly #stacks: GuestAddress[] = [];
  #nextStack = FIRST_STACK;
  #nextPid = FIRST_PID;
  #nextThread = 0;
  readonly #idleTask: GuestAddress;
  readonly #currentTask: GuestAddress;
  readonly #preemptCount: GuestAddress;

  constructor(
    private readonly guest: Guest,
    private readonly execution: Execution,
    private readonly heap: Heap,
    percpu: Percpu,
    /** Where a thread's function returns to; a seam there calls `exited`. */
    private readonly exitStub: GuestAddress,
    private readonly now: () => number,
  ) {
    this.#state = guest.field("task_struct.__state");
    const fieldOf = (path: string): Field | null => (guest.hasField(path) ? guest.field(path) : null);
    this.#savedState = fieldOf("task_struct.saved_state");
    this.#readers = fieldOf("task_struct.rcu_read_lock_nesting");
    this.#usage = guest.field("task_struct.usage.refs.counter");
    this.#idleTask = guest.symbol("init_task");
    const hot = percpu.has("pcpu_hot") ? percpu.address("pcpu_hot") : null;
    this.#currentTask =
      hot === null ? percpu.address("current_task") : ((hot + guest.offset("pcpu_hot.current_task")) as GuestAddress);
    this.#preemptCount =
      hot === null
        ? percpu.address("__preempt_count")
        : ((hot + guest.offset("pcpu_hot.preempt_count")) as GuestAddress);
    guest.memory.setShadow((HOST_STACK_TOP - 0xf000) as GuestAddress, 0xf000, Shadow.accessible);
  }

  get preemptCount(): number {
    return this.guest.read(this.#preemptCount, 4);
  }

  set preemptCount(count: number) {
    this.guest.write(this.#preemptCount, 4, count);
  }

  /** The task that the kernel takes for the current one. */
  get currentTask(): GuestAddress {
    return this.guest.pointer(this.#currentTask);
  }

  find(task: GuestAddress): Thread | null {
    return this.all.find((thread) => thread.task === task) ?? null;
  }

  /** Makes a thread that runs `fn` with arguments when it is its turn. @throws HeapExhaustedError */
  spawn(name: string, fn: GuestAddress, args: readonly number[], asleep = false): Thread {
    const { guest } = this;
    const stack = this.#takeStack();
    const pid = this.#nextPid++;
    const task = this.#newTask(name, pid, stack);
    const registers = new Registers();
    const { cpu } = guest.sandbox;
    const outer = new Registers();
    outer.save(guest);
    for (let register = 0; register < 16; register++) cpu.setGeneral(register, 0n);
    const sp = (stack + STACK_BYTES - 64 - 8) as GuestAddress;
    guest.write(sp, 8, this.exitStub);
    cpu.setGeneralAddress(RSP, sp);
    args.slice(0, ARGUMENTS.length).forEach((value, i) => {
      cpu.setGeneralAddress(ARGUMENTS[i], value);
    });
    cpu.ripAddress = fn;
    cpu.rflags = 0x202n;
    registers.save(guest);
    outer.load(guest);
    if (asleep) this.#state.set(task, TASK_UNINTERRUPTIBLE);
    const thread: Thread = {
      name,
      pid,
      entry: fn,
      task,
      stack,
      registers,
      waits: null,
      wake: Number.POSITIVE_INFINITY,
      result: null,
      exit: null,
      started: false,
      onExit: null,
    };
    this.all.push(thread);
    return thread;
  }

  /** Whether any thread could run now. */
  get ready(): boolean {
    return this.all.some((thread) => this.#isReady(thread));
  }

  /** Machine time at which a thread that sleeps goes on at the latest. */
  get nextWake(): number {
    return this.all.reduce((least, { wake }) => Math.min(least, wake), Number.POSITIVE_INFINITY);
  }

  /** Runs one thread until it blocks, those that are ready in turn. @returns false if none is ready */
  runNext(): boolean {
    const { all } = this;
    for (let i = 0; i < all.length; i++) {
      const at = (this.#nextThread + i) % all.length;
      const thread = all[at];
      if (!this.#isReady(thread)) continue;
      this.#nextThread = at + 1;
      this.#run(thread);
      return true;
    }
    return false;
  }

  /**
   * Has the running thread wait. To be returned by a seam as `SWITCHED`.
   * @param waits what it waits for besides being woken in the kernel's own way; null if that is all
   * @param wake machine time at which it goes on at the latest
   * @param result what the function that blocks is to return
   */
  block(waits: (() => boolean) | null, wake = Number.POSITIVE_INFINITY, result: (() => number) | null = null): void {
    const thread = this.#blockable();
    const { sandbox } = this.guest;
    sandbox.runtime.popReturn();
    thread.registers.save(this.guest);
    thread.waits = waits;
    thread.wake = wake;
    thread.result = result;
    sandbox.cpu.ripAddress = this.execution.leaveAddress;
  }

  /** The function of the running thread returned, or the thread ended itself. */
  exited(result: number): void {
    const thread = this.#blockable();
    this.end(thread, result);
    this.guest.sandbox.cpu.ripAddress = this.execution.leaveAddress;
  }

  /** Wakes a thread if its state is one of `states`. @returns whether it slept */
  wake(task: GuestAddress, states: number): boolean {
    const state = this.#state.get(task);
    if ((state & states) !== 0) {
      this.#state.set(task, TASK_RUNNING);
      return true;
    }
    // It waits for a lock, and will find that it was woken when it has it.
    const saved = this.#savedState;
    if (saved === null || (saved.get(task) & states) === 0) return false;
    saved.set(task, TASK_RUNNING);
    return true;
  }

  /** Whether a thread other than the running one reads what RCU protects. */
  get hasReaders(): boolean {
    const readers = this.#readers;
    return readers !== null && this.all.some((thread) => thread !== this.current && (readers.get(thread.task) | 0) > 0);
  }

  end(thread: Thread, result: number): void {
    thread.exit = result;
    const at = this.all.indexOf(thread);
    if (at < 0) return;
    this.all.splice(at, 1);
    if (at < this.#nextThread) this.#nextThread--;
    this.guest.memory.setShadow(thread.stack, STACK_BYTES, Shadow.freed);
    this.#stacks.push(thread.stack);
    const holders = this.#usage.get(thread.task) - USERS_OF_ITSELF;
    this.#usage.set(thread.task, holders);
    if (holders <= 0) this.freeTask(thread.task);
    thread.onExit?.();
  }

  /** Nobody refers to a task any more. */
  freeTask(task: GuestAddress): void {
    if (this.find(task) !== null) return;
    this.heap.free(this.guest.field("task_struct.worker_private").pointer(task));
    this.heap.free(task);
  }

  #isReady(thread: Thread): boolean {
    if (thread.wake <= this.now()) return true;
    if (thread.waits !== null) return thread.waits();
    return this.#state.get(thread.task) === TASK_RUNNING;
  }

  #run(thread: Thread): void {
    const { guest } = this;
    this.switches++;
    this.#state.set(thread.task, TASK_RUNNING);
    const { result } = thread;
    thread.started = true;
    thread.waits = null;
    thread.wake = Number.POSITIVE_INFINITY;
    thread.result = null;
    thread.registers.load(guest);
    if (result !== null) guest.sandbox.cpu.setGeneralAddress(RAX, result());
    guest.setPointer(this.#currentTask, thread.task);
    this.current = thread;
    try {
      this.execution.run(this.execution.leaveAddress);
    } finally {
      this.current = null;
      guest.setPointer(this.#currentTask, this.#idleTask);
    }
  }

  #blockable(): Thread {
    const thread = this.current;
    if (thread === null || this.execution.depth !== 1) {
      throw new KorralError(
        "sleep-in-atomic",
        `something that must not sleep has to wait: ${this.guest.sandbox
          .backtrace()
          .slice(0, 12)
          .map(({ symbol }) => symbol)
          .join(" < ")}`,
        1,
      );
    }
    return thread;
  }

  #takeStack(): GuestAddress {
    let stack = this.#stacks.pop();
    if (stack === undefined) {
      stack = this.#nextStack as GuestAddress;
      this.#nextStack += STACK_BYTES + STACK_GUARD;
      if (this.#nextStack > STACKS_END) throw new HeapExhaustedError("threads", "too many threads", 1);
      this.guest.memory.markStack(stack, (stack + STACK_BYTES) as GuestAddress);
    }
    this.guest.memory.setShadow(stack, STACK_BYTES, Shadow.accessible);
    return stack;
  }

  /** A task is a copy of the first one, as far as anything looks at it. */
  #newTask(name: string, pid: number, stack: GuestAddress): GuestAddress {
    const { guest } = this;
    const bytes = guest.sizeOf("task_struct");
    const task = this.heap.allocate(bytes);
    guest.setBytes(task, guest.bytes(this.#idleTask, bytes));
    const kthread = this.heap.allocate(guest.sizeOf("kthread"));
    guest.field("task_struct.worker_private").set(task, kthread);
    guest.field("task_struct.flags").set(task, PF_KTHREAD);
    guest.field("task_struct.pid").set(task, pid);
    guest.field("task_struct.tgid").set(task, pid);
    guest.field("task_struct.stack").set(task, stack);
    for (const member of OF_RUNNING) {
      const path = `task_struct.${member}`;
      if (guest.hasField(path)) guest.field(path).set(task, 0);
    }
    if (guest.hasField("task_struct.cpus_ptr")) {
      guest.field("task_struct.cpus_ptr").set(task, task + guest.offset("task_struct.cpus_mask"));
    }
    const comm = Guest.encode(name.slice(0, 15));
    guest.setBytes((task + guest.offset("task_struct.comm")) as GuestAddress, comm);
    this.#state.set(task, TASK_RUNNING);
    this.#usage.set(task, USERS_OF_ITSELF);
    return task;
  }

  /** Calls a function that must not block, from within a seam. */
  callNow(fn: GuestAddress, argument: number): number {
    return this.execution.call(fn, argument) | 0;
  }

  /** Whether the kernel believes that it must not sleep. */
  get isAtomic(): boolean {
    return (this.preemptCount & PREEMPT_COUNT_MASK) !== 0;
  }
}
