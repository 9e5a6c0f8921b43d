import type { Command } from "./command.js";
import type { Engine } from "./engine.js";
import type { Features } from "./features.js";
import { CompletionQueue, type QueueTable, SubmissionQueue } from "./queues.js";
import { CC, CQ_ENTRY_SHIFT, MAX_QUEUE_ENTRIES, SQ_ENTRY_SHIFT, wide } from "./registers.js";
import { Status } from "./status.js";
import type { Transfer } from "./transfer.js";

/** Doubleword 11 of both creations: Physically Contiguous; of a completion queue's: Interrupts Enabled. */
const PC = 1 << 0;
const IEN = 1 << 1;
const PRP1 = 6;

/** Create and Delete I/O Completion and Submission Queue (§5.3 to §5.6). */
export class QueueCommands {
  constructor(
    readonly queues: QueueTable,
    readonly engine: Engine,
    readonly features: Features,
    readonly transfer: Transfer,
    readonly configuration: () => number,
    /** Vectors that a queue may have: one while MSI-X is off. */
    readonly vectors: () => number,
  ) {}

  createCompletion(command: Command): number {
    const id = command.dword(10) & 0xffff;
    const vector = command.dword(11) >>> 16;
    const interrupts = (command.dword(11) & IEN) !== 0;
    if (!this.#isPossible(id) || this.queues.completion(id) !== null) return Status.invalidQueueId;
    const status = this.#checkMemory(command, CC.iocqes(this.configuration()) === CQ_ENTRY_SHIFT);
    if (status !== Status.success) return status;
    if (interrupts && vector >= this.vectors()) return Status.invalidVector;
    this.queues.addCompletion(
      new CompletionQueue(id, base(command), entries(command), interrupts ? vector : 0, interrupts),
    );
    return Status.success;
  }

  createSubmission(command: Command): number {
    const id = command.dword(10) & 0xffff;
    const completionId = command.dword(11) >>> 16;
    if (!this.#isPossible(completionId)) return Status.invalidQueueId;
    const completion = this.queues.completion(completionId);
    if (completion === null) return Status.invalidCompletionQueue;
    if (!this.#isPossible(id) || this.queues.submission(id) !== null) return Status.invalidQueueId;
    const status = this.#checkMemory(command, CC.iosqes(this.configuration()) === SQ_ENTRY_SHIFT);
    if (status !== Status.success) return status;
    this.queues.addSubmission(new SubmissionQueue(id, base(command), entries(command), completion));
    return Status.success;
  }

  deleteCompletion(command: Command): number {
    const id = command.dword(10) & 0xffff;
    const queue = id === 0 ? null : this.queues.completion(id);
    if (queue === null) return Status.invalidQueueId;
    if (queue.users > 0) return Status.invalidQueueDeletion;
    this.queues.removeCompletion(queue);
    this.engine.interrupts.updatePin();
    return Status.success;
  }

  deleteSubmission(command: Command): number {
    const id = command.dword(10) & 0xffff;
    const queue = id === 0 ? null : this.queues.submission(id);
    if (queue === null) return Status.invalidQueueId;
    this.engine.abort(queue, null, Status.abortedBySqDeletion);
    this.queues.removeSubmission(queue);
    return Status.success;
  }

  #isPossible(id: number): boolean {
    return id > 0 && id <= this.features.ioQueues;
  }

  #checkMemory(command: Command, entrySizeFits: boolean): number {
    const size = entries(command);
    if (size < 2 || size > MAX_QUEUE_ENTRIES || !entrySizeFits) return Status.invalidQueueSize;
    // CAP.CQR: queues are contiguous.
    if ((command.dword(11) & PC) === 0) return Status.invalidField;
    return command.dword(PRP1) % this.transfer.pageSize === 0 ? Status.success : Status.invalidPrpOffset;
  }
}

function base(command: Command): number {
  return wide(command.dword(PRP1), command.dword(PRP1 + 1));
}

function entries(command: Command): number {
  return (command.dword(10) >>> 16) + 1;
}
