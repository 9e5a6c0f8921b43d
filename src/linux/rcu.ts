import type { GuestAddress } from "../util/guest-address.js";

interface Callback {
  readonly head: GuestAddress;
  readonly function: GuestAddress;
}

/** Callbacks that wait for all readers: since readers do not block, that is whenever nothing runs. */
export class RcuCallbacks {
  readonly #callbacks: Callback[] = [];
  /** One was added. */
  onCallback: () => void = () => {};

  get pending(): number {
    return this.#callbacks.length;
  }

  add(head: GuestAddress, fn: GuestAddress): void {
    this.#callbacks.push({ head, function: fn });
    this.onCallback();
  }

  take(): Callback | null {
    return this.#callbacks.shift() ?? null;
  }
}
