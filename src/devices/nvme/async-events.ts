import type { StateReader } from "../../util/state-reader.js";
import { LogPage } from "./registers.js";
import { HELD, Status } from "./status.js";

/** Asynchronous event requests that may be outstanding; AERL is one less. */
export const MAX_EVENT_REQUESTS = 4;

/** Asynchronous event type (figure 147). */
export const EventType = { error: 0, health: 1, notice: 2 } as const;

/** Asynchronous event information of error events (figure 148). */
export const ErrorEvent = { invalidDoorbellRegister: 0, invalidDoorbellValue: 1 } as const;
/** …of SMART / health events (figure 149). */
export const HealthEvent = { temperatureThreshold: 1 } as const;
/** …of notices (figure 150). */
export const NoticeEvent = { namespaceAttributeChanged: 0 } as const;

/** Each event is kept once, and there are this many kinds. */
const MAX_PENDING = 8;

export interface AsyncEventsState {
  requests: number[];
  pending: number[];
  maskedTypes: number;
}

/**
 * Asynchronous event requests (§5.2): kept without a status until there is an event to report. Once an event of a type
 * was reported, no other of that type is until the host has read the log page that goes with it.
 */
export class AsyncEvents {
  /** Identifiers of the requests outstanding, oldest first. */
  #requests: number[] = [];
  /** What completions will say in doubleword 0, oldest first. */
  #pending: number[] = [];
  #maskedTypes = 0;

  /** @param complete posts a completion on the admin queue; false when there is no room now */
  constructor(readonly complete: (commandId: number, status: number, result: number) => boolean) {}

  request(commandId: number): number {
    if (this.#requests.includes(commandId)) return Status.commandIdConflict;
    if (this.#requests.length === MAX_EVENT_REQUESTS) return Status.tooManyEventRequests;
    this.#requests.push(commandId);
    return HELD;
  }

  /** @param page the log page that tells more */
  raise(type: number, information: number, page: number): void {
    const event = (page << 16) | (information << 8) | type;
    if (this.#pending.includes(event) || this.#pending.length === MAX_PENDING) return;
    this.#pending.push(event);
    this.deliver();
  }

  /** Reports what can be reported: to be called when there may be room, a request or an unmasked type. */
  deliver(): void {
    for (let i = 0; i < this.#pending.length && this.#requests.length > 0; ) {
      const event = this.#pending[i];
      const type = 1 << (event & 7);
      if ((this.#maskedTypes & type) !== 0) {
        i++;
        continue;
      }
      if (!this.complete(this.#requests[0], Status.success, event)) return;
      this.#requests.shift();
      this.#pending.splice(i, 1);
      this.#maskedTypes |= type;
    }
  }

  /** The host has read a log page and did not ask to retain the event. */
  pageRead(page: number): void {
    if (page === LogPage.errorInformation) this.#unmask(EventType.error);
    else if (page === LogPage.health) this.#unmask(EventType.health);
    else if (page === LogPage.changedNamespaces) this.#unmask(EventType.notice);
  }

  /** Takes back an outstanding request (Abort, §5.1). @returns false if there is none with that identifier */
  abort(commandId: number): boolean {
    const at = this.#requests.indexOf(commandId);
    if (at < 0 || !this.complete(commandId, Status.abortRequested, 0)) return false;
    this.#requests.splice(at, 1);
    return true;
  }

  isOutstanding(commandId: number): boolean {
    return this.#requests.length > 0 && this.#requests.includes(commandId);
  }

  reset(): void {
    this.#requests = [];
    this.#pending = [];
    this.#maskedTypes = 0;
  }

  snapshot(): AsyncEventsState {
    return { requests: [...this.#requests], pending: [...this.#pending], maskedTypes: this.#maskedTypes };
  }

  restore(state: StateReader): void {
    this.#requests = state.numbers("requests", 0, MAX_EVENT_REQUESTS, 0xffff);
    this.#pending = state.numbers("pending", 0, MAX_PENDING, 0xff_ffff);
    this.#maskedTypes = state.integer("maskedTypes", 0, 0xff);
  }

  #unmask(type: number): void {
    this.#maskedTypes &= ~(1 << type);
    this.deliver();
  }
}
