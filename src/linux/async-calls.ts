import type { GuestAddress } from "../util/guest-address.js";
import type { Threads } from "./threads.js";

/** Calls that drivers want to happen beside their own way, each in a thread. */
export class AsyncCalls {
  #cookie = 0;
  /** Domains of those that have not ended, by cookie. */
  readonly #running = new Map<number, number>();

  constructor(private readonly threads: Threads) {}

  get idle(): boolean {
    return this.#running.size === 0;
  }

  /** Whether all calls of a domain that began before one have ended. @param before its cookie */
  isDone(domain: GuestAddress, before = Number.POSITIVE_INFINITY): boolean {
    for (const [cookie, other] of this.#running) if (other === domain && cookie < before) return false;
    return true;
  }

  /** @param domain of calls that are waited for together. @returns what stands for the call */
  add(fn: GuestAddress, data: GuestAddress, domain: GuestAddress): number {
    const cookie = ++this.#cookie;
    const thread = this.threads.spawn("async", fn, [data, cookie]);
    this.#running.set(cookie, domain);
    thread.onExit = () => {
      this.#running.delete(cookie);
    };
    return cookie;
  }
}
