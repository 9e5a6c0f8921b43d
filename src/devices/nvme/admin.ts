import type { AsyncEvents } from "./async-events.js";
import type { Command } from "./command.js";
import type { Engine } from "./engine.js";
import { Feature, Features } from "./features.js";
import { IDENTIFY_BYTES, type Identify } from "./identify.js";
import type { LogPages } from "./log-pages.js";
import type { QueueCommands } from "./queue-commands.js";
import type { QueueTable } from "./queues.js";
import { AdminOpcode, ALL_NAMESPACES, LogPage, SQ_ENTRY_BYTES, wide } from "./registers.js";
import { Status } from "./status.js";
import { MAX_TRANSFER, type Transfer } from "./transfer.js";

/** Abort, doubleword 0 of the completion: the command was not aborted. */
const NOT_ABORTED = 1;
/** Get Log Page, doubleword 10: Retain Asynchronous Event. */
const RAE = 1 << 15;
/** Set Features, doubleword 10: Save. */
const SV = 2 ** 31;

/** What the admin commands work on. */
export interface AdminParts {
  readonly queues: QueueTable;
  readonly queueCommands: QueueCommands;
  readonly engine: Engine;
  readonly transfer: Transfer;
  readonly identify: Identify;
  readonly logPages: LogPages;
  readonly features: Features;
  readonly events: AsyncEvents;
  /** A threshold may have been moved across the temperature, or the event been asked for. */
  readonly checkTemperature: () => void;
}

/** The admin command set (§5). Firmware, format, security and namespace management are not offered (OACS). */
export class AdminCommands {
  readonly #entryHead = new Uint32Array(1);
  readonly #entryHeadBytes = new Uint8Array(this.#entryHead.buffer);

  constructor(readonly parts: AdminParts) {}

  /** @returns a status, or HELD for an asynchronous event request */
  execute(command: Command): number {
    if (command.fuse !== 0) return Status.invalidField;
    const { queueCommands, events } = this.parts;
    switch (command.opcode) {
      case AdminOpcode.createCompletionQueue:
        return queueCommands.createCompletion(command);
      case AdminOpcode.createSubmissionQueue:
        return queueCommands.createSubmission(command);
      case AdminOpcode.deleteCompletionQueue:
        return queueCommands.deleteCompletion(command);
      case AdminOpcode.deleteSubmissionQueue:
        return queueCommands.deleteSubmission(command);
      case AdminOpcode.identify:
        return this.#identify(command);
      case AdminOpcode.getLogPage:
        return this.#getLogPage(command);
      case AdminOpcode.getFeatures:
        return this.#getFeatures(command);
      case AdminOpcode.setFeatures:
        return this.#setFeatures(command);
      case AdminOpcode.asynchronousEventRequest:
        return events.request(command.id);
      case AdminOpcode.abort:
        return this.#abort(command);
      default:
        return Status.invalidOpcode;
    }
  }

  /** §5.15. */
  #identify(command: Command): number {
    const status = this.parts.transfer.map(command, IDENTIFY_BYTES, true, false);
    if (status !== Status.success) return status;
    const data = command.bounce(IDENTIFY_BYTES).fill(0);
    const filled = this.parts.identify.fill(command.dword(10) & 0xff, command.nsid, data);
    return filled === Status.success ? this.parts.transfer.toHost(command, data) : filled;
  }

  /** §5.14. */
  #getLogPage(command: Command): number {
    const { transfer, logPages, events } = this.parts;
    const id = command.dword(10) & 0xff;
    const dwords = (command.dword(10) >>> 16) + (command.dword(11) & 0xffff) * 65_536 + 1;
    const offset = wide(command.dword(12), command.dword(13));
    if (dwords * 4 > MAX_TRANSFER || offset % 4 !== 0) return Status.invalidField;
    const page = logPages.page(id);
    if (page === null) return Status.invalidLogPage;
    // There is one set of logs for the whole controller (LPA).
    if (command.nsid !== 0 && command.nsid !== ALL_NAMESPACES) return Status.invalidField;
    if (offset > page.length) return Status.invalidField;
    const status = transfer.map(command, dwords * 4, true, false);
    if (status !== Status.success) return status;
    const data = command.bounce(dwords * 4).fill(0);
    data.set(page.subarray(offset, Math.min(page.length, offset + data.length)));
    const moved = transfer.toHost(command, data);
    if (moved === Status.success && (command.dword(10) & RAE) === 0) {
      if (id === LogPage.changedNamespaces) logPages.namespaceChanged = false;
      events.pageRead(id);
    }
    return moved;
  }

  /** §5.13. */
  #getFeatures(command: Command): number {
    const { features, transfer } = this.parts;
    const id = command.dword(10) & 0xff;
    const select = (command.dword(10) >>> 8) & 7;
    const checked = features.check(id, select, command.nsid);
    if (checked !== Status.success) return checked;
    const value = features.get(id, select, command.dword(11));
    if (value < 0) return Status.invalidField;
    command.result = value;
    const length = select === 3 ? 0 : Features.dataBytes(id);
    if (length === 0) return Status.success;
    const status = transfer.map(command, length, true, false);
    if (status !== Status.success) return status;
    const data = command.bounce(length);
    features.writeTimestamp(data, select);
    return transfer.toHost(command, data);
  }

  /** §5.21. */
  #setFeatures(command: Command): number {
    const { features, transfer, queues } = this.parts;
    const id = command.dword(10) & 0xff;
    const save = command.dword(10) >= SV;
    const checked = features.checkSet(id, save, command.nsid, command.dword(11));
    if (checked !== Status.success) return checked;
    // Only between the enabling of the controller and the first I/O queue (§5.21.1.7).
    if (id === Feature.numberOfQueues && queues.completions.length > 1) return Status.commandSequenceError;
    const length = Features.dataBytes(id);
    if (length > 0) {
      const status = transfer.map(command, length, false, false);
      if (status !== Status.success) return status;
      const data = command.bounce(length);
      if (transfer.fromHost(command, data) !== Status.success) return Status.dataTransferError;
      features.setTimestamp(data);
    }
    command.result = features.set(id, save, command.dword(11));
    if (id === Feature.temperatureThreshold || id === Feature.asyncEvents) this.parts.checkTemperature();
    return Status.success;
  }

  /** §5.1: a command at work, an asynchronous event request, or one that was submitted and not fetched yet. */
  #abort(command: Command): number {
    const { queues, engine, events } = this.parts;
    const queue = queues.submission(command.dword(10) & 0xffff);
    const id = command.dword(10) >>> 16;
    const aborted =
      queue !== null &&
      ((queue.id === 0 && events.abort(id)) ||
        engine.abort(queue, id, Status.abortRequested) ||
        this.#abortSubmitted(queue.id, id));
    command.result = aborted ? 0 : NOT_ABORTED;
    return Status.success;
  }

  #abortSubmitted(queueId: number, commandId: number): boolean {
    const { queues, engine } = this.parts;
    const queue = queues.submission(queueId);
    if (queue === null) return false;
    for (let i = 0; i < queue.waiting; i++) {
      const index = (queue.head + i) % queue.size;
      const address = queue.base + index * SQ_ENTRY_BYTES;
      if (!engine.host.dma.read(address, this.#entryHeadBytes, 0, 4)) return false;
      if (this.#entryHead[0] >>> 16 === commandId) return queue.abortAt(index);
    }
    return false;
  }
}
