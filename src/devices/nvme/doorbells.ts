import type { DeviceHost } from "../../bus/device.js";
import { type AsyncEvents, ErrorEvent, EventType } from "./async-events.js";
import type { Engine } from "./engine.js";
import type { Interrupts } from "./interrupts.js";
import type { CompletionQueue, QueueTable, SubmissionQueue } from "./queues.js";
import { LogPage } from "./registers.js";

/**
 * Doorbells (§3.1.24, §3.1.25): submission queue tails and completion queue heads. A value that cannot be is ignored
 * and raises an error event (figure 148).
 */
export class Doorbells {
  constructor(
    readonly host: DeviceHost,
    readonly queues: QueueTable,
    readonly engine: Engine,
    readonly interrupts: Interrupts,
    readonly events: AsyncEvents,
  ) {}

  /** @param index counted from SQ0TDBL: even ones are tails, odd ones heads */
  write(index: number, value: number): void {
    const id = index >>> 1;
    if ((index & 1) === 0) {
      const queue = this.queues.submission(id);
      if (queue === null) this.#unknown("submission", id);
      else this.#tail(queue, value & 0xffff);
    } else {
      const queue = this.queues.completion(id);
      if (queue === null) this.#unknown("completion", id);
      else this.#head(queue, value & 0xffff);
    }
  }

  #tail(queue: SubmissionQueue, tail: number): void {
    const added = (tail - queue.tail + queue.size) % queue.size;
    if (tail >= queue.size || added === 0 || queue.waiting + added >= queue.size) {
      this.#invalid(`tail of submission queue ${queue.id}`, tail, queue.tail, queue.size);
      return;
    }
    queue.tail = tail;
    this.engine.wake();
  }

  #head(queue: CompletionQueue, head: number): void {
    const taken = (head - queue.head + queue.size) % queue.size;
    if (head >= queue.size || taken === 0 || taken > queue.used) {
      this.#invalid(`head of completion queue ${queue.id}`, head, queue.head, queue.size);
      return;
    }
    queue.head = head;
    this.interrupts.updatePin();
    if (queue.id === 0) this.events.deliver();
    this.engine.resumeHeldUp();
  }

  #unknown(kind: string, id: number): void {
    this.host.violation("doorbell-without-queue", `a doorbell was rung for ${kind} queue ${id}, which does not exist`);
    this.events.raise(EventType.error, ErrorEvent.invalidDoorbellRegister, LogPage.errorInformation);
  }

  #invalid(which: string, value: number, before: number, size: number): void {
    this.host.violation(
      "doorbell-value",
      `the ${which} (${size} entries) went from ${before} to ${value}, which it cannot`,
    );
    this.events.raise(EventType.error, ErrorEvent.invalidDoorbellValue, LogPage.errorInformation);
  }
}
