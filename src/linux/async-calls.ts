import type { GuestAddress } from "../util/guest-address.js";
import type { Threads } from "./threads.js";

/** Calls that drivers want to happen beside their own way, each in a thread. */
export class AsyncCalls {
  #cookie = 0;
  #running = 0;

  constructor(private readonly threads: Threads) {}

  get idle(): boolean {
    return this.#running === 0;
  }

  /** @returns what stands for the call */
  add(fn: GuestAddress, data: GuestAddress): number {
    const cookie = ++this.#cookie;
    const thread = this.threads.spawn("async", fn, [data, cookie]);
    this.#running++;
    thread.onExit = () => {
      this.#running--;
    };
    return cookie;
  }
}
