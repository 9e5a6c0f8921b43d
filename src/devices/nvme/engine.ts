import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import type { StateReader } from "../../util/state-reader.js";
import { Command, SQE_WORDS } from "./command.js";
import type { Health } from "./health.js";
import type { Interrupts } from "./interrupts.js";
import type { QueueTable, SubmissionQueue } from "./queues.js";
import { CQ_ENTRY_BYTES, SQ_ENTRY_BYTES } from "./registers.js";
import { HELD, isMediaError, MORE, PENDING, Status } from "./status.js";
import { MAX_TRANSFER } from "./transfer.js";

/** Submission queue entries fetched at a time. */
const FETCH_ENTRIES = 64;
/** Commands executed before the machine's other business gets its turn; long ones count as several. */
const ROUND_COMMANDS = 256;
const COUNTED_BYTES = 65_536;
/** I/O commands at work at a time, and the controller's memory that they may use together. */
const MAX_AT_WORK = 256;
const MAX_BOUNCE = 16 * MAX_TRANSFER;

/** Executes commands of one kind. */
export interface CommandSet {
  /** @returns a status, PENDING or HELD */
  execute(command: Command): number;
}

/** I/O commands wait for the disk. */
export interface IoCommandSet extends CommandSet {
  resume(command: Command): number;
}

/** A command that was fetched and has not completed. */
export interface CommandState {
  queue: number;
  sqe: number[];
  /** What to report, or −1: the command is executed again. */
  status: number;
  result: number;
  /** Nanoseconds until the report. */
  remaining: number;
}

export interface EngineState {
  /** A doorbell was rung and not looked at yet. */
  armed: boolean;
  next: number;
  commandCount: number;
  commands: CommandState[];
}

/**
 * Fetches commands, has them executed and posts their completions (§7.2). Submission queues take turns (§4.13.1), each
 * with at most a burst of commands. A place in the completion queue is reserved before a command is fetched, so a full
 * one holds its submission queues up and nothing is ever lost.
 */
export class Engine {
  running = false;
  /** Commands at the disk or delayed. */
  outstanding = 0;
  admin: CommandSet = { execute: () => Status.invalidOpcode };
  io: IoCommandSet = { execute: () => Status.invalidOpcode, resume: () => Status.invalidOpcode };
  /** Called when a queue cannot be reached: the controller has failed. */
  onFatal: () => void = () => {};
  /** Called when the last command at work has completed. */
  onIdle: () => void = () => {};
  /** Called when a command was HELD. */
  onHeld: () => void = () => {};
  /** Whether an asynchronous event request holds the identifier. */
  isHeld: (commandId: number) => boolean = () => false;

  readonly #work: Timer;
  readonly #delay: Timer;
  readonly #entries = new Uint32Array(FETCH_ENTRIES * SQE_WORDS);
  readonly #entryBytes = new Uint8Array(this.#entries.buffer);
  readonly #completion = new Uint32Array(CQ_ENTRY_BYTES / 4);
  readonly #completionBytes = new Uint8Array(this.#completion.buffer);
  readonly #pool: Command[] = [];
  /** The outstanding ones, in the order in which they became so. */
  readonly #active: Command[] = [];
  readonly #delayed: Command[] = [];
  #bounce = 0;
  #next = 0;
  #budget = 0;
  /** Some commands are waiting for a place in a completion queue, or for others to end. */
  #heldUp = false;
  #busySince = 0;

  constructor(
    readonly host: DeviceHost,
    readonly queues: QueueTable,
    readonly interrupts: Interrupts,
    readonly health: Health,
    readonly burst: () => number,
    /** Nanoseconds from the execution of an I/O command to its completion. */
    readonly latency: number,
  ) {
    this.#work = host.clock.timer(() => this.#process());
    this.#delay = host.clock.timer(() => this.#delayOver());
  }

  /** There may be something to do: it is done when the driver's access to the bus is over. */
  wake(): void {
    if (this.running && !this.#work.armed) this.#work.arm(0);
  }

  /** A place became free in a completion queue, or a command has ended: what was held up by that goes on. */
  resumeHeldUp(): void {
    if (this.#heldUp) this.wake();
  }

  /** Stops at once and for good, until a reset (§9.5, controller fatal status). */
  halt(): void {
    this.running = false;
    this.#work.cancel();
    this.#delay.cancel();
  }

  /** Forgets all commands; late answers of the disk go nowhere. */
  stop(): void {
    this.halt();
    if (this.outstanding > 0) this.#countBusy();
    this.outstanding = 0;
    for (const command of this.#active) this.#retire(command);
    this.#active.length = 0;
    this.#delayed.length = 0;
    this.#bounce = 0;
    this.#next = 0;
  }

  /**
   * Posts a completion (§4.6) without a reserved place.
   * @returns false when the queue has no room
   */
  postUnreserved(queue: SubmissionQueue, commandId: number, status: number, result: number): boolean {
    if (!this.running || queue.completion.room <= 0) return false;
    this.#post(queue, commandId, status, result);
    this.interrupts.flush();
    return true;
  }

  /** Completes commands at work of a queue, or one of them, as aborted. @returns whether there was one */
  abort(queue: SubmissionQueue, commandId: number | null, status: number): boolean {
    const found = this.#active.filter(
      (command) => command.queue === queue && (commandId === null || command.id === commandId),
    );
    for (const command of found) {
      this.#drop(command);
      if (command.state === "delayed") this.#delayed.splice(this.#delayed.indexOf(command), 1);
      this.#complete(command, status);
    }
    if (found.length > 0) this.#completedLate();
    return found.length > 0;
  }

  snapshot(): EngineState {
    const now = this.host.clock.now();
    return {
      armed: this.#work.armed,
      next: this.#next,
      commandCount: this.#active.length,
      commands: this.#active.map((command) => {
        const delayed = command.state === "delayed";
        return {
          queue: command.queue.id,
          sqe: [...command.sqe],
          status: delayed ? command.status : -1,
          result: command.result,
          remaining: delayed ? Math.max(0, command.due - now) : 0,
        };
      }),
    };
  }

  /** Takes the commands of a snapshot up again; those that were at the disk are executed once more. */
  restore(state: EngineState): void {
    this.#next = state.next;
    this.#heldUp = true;
    if (!this.running) return;
    const again: Command[] = [];
    for (const saved of state.commands) {
      const queue = this.queues.submission(saved.queue);
      if (queue === null) continue;
      const command = this.#begin(queue);
      command.sqe.set(saved.sqe);
      if (saved.status < 0) {
        again.push(command);
        continue;
      }
      command.result = saved.result;
      this.#postpone(command, saved.status, saved.remaining);
    }
    for (const command of again) this.#execute(command);
    this.interrupts.flush();
    if (state.armed) this.wake();
  }

  static readState(state: StateReader): EngineState {
    const commandCount = state.integer("commandCount", 0, MAX_AT_WORK + 1);
    const commands = state.children("commands", commandCount).map((command) => ({
      queue: command.integer("queue", 0, 0xffff),
      sqe: command.numbers("sqe", SQE_WORDS, SQE_WORDS, 0xffff_ffff),
      status: command.integer("status", -1, 0x7fff),
      result: command.integer("result", 0, 0xffff_ffff),
      remaining: command.delay("remaining"),
    }));
    return { armed: state.flag("armed"), next: state.integer("next", 0, 0xffff), commandCount, commands };
  }

  #process(): void {
    const { submissions } = this.queues;
    const burst = this.burst();
    this.#budget = ROUND_COMMANDS;
    this.#heldUp = false;
    for (let idle = 0; this.running && this.#budget > 0 && idle < submissions.length; this.#next++) {
      if (this.#next >= submissions.length) this.#next = 0;
      idle = this.#serve(submissions[this.#next], burst) ? 0 : idle + 1;
    }
    this.interrupts.flush();
    if (this.#budget <= 0) this.wake();
  }

  /** Executes up to `limit` commands of a queue. @returns whether there was any */
  #serve(queue: SubmissionQueue, limit: number): boolean {
    let done = 0;
    while (done < limit && this.#budget > 0) {
      const { waiting } = queue;
      if (waiting === 0) break;
      const count = Math.min(waiting, limit - done, queue.completion.room, queue.size - queue.head, FETCH_ENTRIES);
      if (count <= 0 || !this.#hasCapacity(queue)) {
        this.#heldUp = true;
        break;
      }
      if (!this.host.dma.read(queue.headAddress, this.#entryBytes, 0, count * SQ_ENTRY_BYTES)) {
        this.onFatal();
        return true;
      }
      for (let i = 0; i < count; i++) {
        // What was fetched and cannot be executed now is fetched again.
        if (this.#budget <= 0) return true;
        if (!this.#hasCapacity(queue)) break;
        this.#take(queue, i * SQE_WORDS);
        done++;
        if (!this.running) return true;
      }
    }
    return done > 0;
  }

  #hasCapacity(queue: SubmissionQueue): boolean {
    return queue.id === 0 || (this.outstanding < MAX_AT_WORK && this.#bounce <= MAX_BOUNCE - MAX_TRANSFER);
  }

  #take(queue: SubmissionQueue, at: number): void {
    const command = this.#begin(queue);
    const entries = this.#entries;
    for (let i = 0; i < SQE_WORDS; i++) command.sqe[i] = entries[at + i];
    const index = queue.head;
    queue.head = index + 1 === queue.size ? 0 : index + 1;
    if (queue.aborts.length > 0 && queue.takeAbort(index)) {
      this.#complete(command, Status.abortRequested);
    } else if (!queue.isFree(command.id) || (queue.id === 0 && this.isHeld(command.id))) {
      this.#complete(command, Status.commandIdConflict);
    } else {
      this.#execute(command);
    }
    this.#budget -= 1 + Math.floor(command.length / COUNTED_BYTES);
  }

  #begin(queue: SubmissionQueue): Command {
    const command = this.#pool.pop() ?? new Command((answered) => this.#resume(answered));
    command.begin(queue);
    queue.completion.reserved++;
    return command;
  }

  #execute(command: Command): void {
    const { queue } = command;
    const status = (queue.id === 0 ? this.admin : this.io).execute(command);
    if (status === PENDING) {
      this.#bounce += command.map.total;
      this.#hold(command);
    } else if (status === HELD) {
      queue.completion.reserved--;
      this.#retire(command);
      this.onHeld();
    } else {
      this.#finish(command, status);
    }
  }

  #resume(command: Command): void {
    if (!this.running) return;
    const status = this.io.resume(command);
    if (status === PENDING) return;
    this.#drop(command);
    this.#finish(command, status);
    this.#completedLate();
  }

  #finish(command: Command, status: number): void {
    if (this.latency > 0 && command.queue.id !== 0) this.#postpone(command, status, this.latency);
    else this.#complete(command, status);
  }

  #postpone(command: Command, status: number, delay: number): void {
    command.state = "delayed";
    command.status = status;
    command.due = this.host.clock.now() + delay;
    this.#hold(command);
    this.#delayed.push(command);
    if (!this.#delay.armed) this.#delay.arm(delay);
  }

  #delayOver(): void {
    const now = this.host.clock.now();
    while (this.#delayed.length > 0) {
      const command = this.#delayed[0];
      if (command.due > now) {
        this.#delay.arm(command.due - now);
        break;
      }
      this.#delayed.shift();
      this.#drop(command);
      this.#complete(command, command.status);
      if (!this.running) return;
    }
    this.#completedLate();
  }

  /** The command does not complete at once. */
  #hold(command: Command): void {
    this.#active.push(command);
    command.queue.hold(command.id);
    if (this.outstanding++ === 0) this.#busySince = this.host.clock.now();
  }

  #drop(command: Command): void {
    this.#active.splice(this.#active.indexOf(command), 1);
    if (command.state === "working") this.#bounce -= command.map.total;
    command.queue.release(command.id);
    if (--this.outstanding === 0) this.#countBusy();
  }

  #countBusy(): void {
    this.health.counters.busyNanoseconds += this.host.clock.now() - this.#busySince;
  }

  /** Commands have completed late: signals that, and goes on with what was held up by them. */
  #completedLate(): void {
    this.interrupts.flush();
    this.resumeHeldUp();
    if (this.outstanding === 0) this.onIdle();
  }

  #complete(command: Command, status: number): void {
    const { queue } = command;
    queue.completion.reserved--;
    this.#post(queue, command.id, this.#logged(command, status), command.result);
    this.#retire(command);
  }

  /** Back to the pool, unless the disk may still answer: then nothing but that answer knows the context. */
  #retire(command: Command): void {
    const awaited = command.waiting;
    command.end();
    if (!awaited) this.#pool.push(command);
  }

  #logged(command: Command, status: number): number {
    if (status === Status.success || status === Status.abortRequested || status === Status.abortedBySqDeletion) {
      return status;
    }
    if (isMediaError(status)) this.health.counters.mediaErrors++;
    const lba = command.queue.id === 0 ? 0 : command.slba;
    this.health.recordError(command.queue.id, command.id, status | MORE, lba, command.nsid);
    return status | MORE;
  }

  #post(queue: SubmissionQueue, commandId: number, status: number, result: number): void {
    if (!this.running) return;
    const { completion } = queue;
    const words = this.#completion;
    words[0] = result;
    words[1] = 0;
    words[2] = (queue.id << 16) | queue.head;
    words[3] = (((status << 1) | completion.phase) << 16) | commandId;
    if (!this.host.dma.write(completion.tailAddress, this.#completionBytes, 0, CQ_ENTRY_BYTES)) {
      this.onFatal();
      return;
    }
    completion.advanceTail();
    this.interrupts.posted(completion);
  }
}
