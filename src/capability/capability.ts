import type { MaybePromise } from "../util/maybe-promise.js";
import { ArgumentError, VoidError } from "./errors.js";
import type { SpaceBank } from "./space-bank.js";
import { StallQueue } from "./stall-queue.js";

/** Restrictions that a capability carries; restricting only ever adds some. */
export const Restriction = {
  /** What it names cannot be changed through it. */
  readOnly: 1,
  /** What is fetched through it is read-only and weak in turn. */
  weak: 2,
  /** An address space's slots can be neither seen nor changed through it; its pages can be used. */
  opaque: 4,
} as const;
export type Restrictions = number;
const ALL_RESTRICTIONS = Restriction.readOnly | Restriction.weak | Restriction.opaque;

/** Anything that capabilities name. Storage for it was bought from a space bank. */
export abstract class KernelObject {
  /** Capabilities made for another allocation than this one are Void. */
  allocation = 0;
  destroyed = false;
  /** Invokers that wait for this object. */
  readonly stalled = new StallQueue();
  /** The bank that sold it; changes when a bank is destroyed and its storage goes to the parent. */
  bank: SpaceBank | null = null;
  /** Set while it is being destroyed but has to wait for I/O. */
  dying: Promise<void> | null = null;

  /** Makes every capability to it Void, now. */
  rescind(): void {
    this.allocation++;
  }

  /** Makes every capability Void for ever, to it and to all that goes with it. */
  condemn(): void {
    this.rescind();
    this.destroyed = true;
  }

  /**
   * Gives up what the object holds. Its capabilities are Void already.
   * @returns a promise if it has to wait for I/O that goes on
   */
  abstract release(): MaybePromise<void>;
}

let openCapability: <T extends KernelObject>(capability: Capability<T>, operation: string) => T;
let narrow: <C extends Capability>(from: C, to: C) => C;

/**
 * An unforgeable reference to a kernel object plus the restrictions on its use. Who holds it can invoke the object and
 * nothing else: the object itself is out of reach.
 */
export abstract class Capability<T extends KernelObject = KernelObject> {
  readonly #object: T;
  #allocation: number;

  /** @internal Kernel objects hand out capabilities to themselves. */
  constructor(
    object: T,
    readonly restrictions: Restrictions = 0,
  ) {
    this.#object = object;
    this.#allocation = object.allocation;
  }

  get isVoid(): boolean {
    return this.#object.destroyed || this.#object.allocation !== this.#allocation;
  }

  static {
    openCapability = (capability, operation) => {
      const object = capability.#object;
      if (object.destroyed || object.allocation !== capability.#allocation) throw new VoidError(operation);
      return object;
    };
    narrow = (from, to) => {
      to.#allocation = from.#allocation;
      return to;
    };
  }
}

/**
 * The kernel's own way from a capability to its object; the package does not export it.
 * @throws VoidError
 */
export { openCapability };

export function areRestrictions(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= ALL_RESTRICTIONS;
}

/** @internal A copy of a capability with more restrictions; Void stays Void. */
export function restricted<C extends Capability>(
  from: C,
  make: (restrictions: Restrictions) => C,
  extra: Restrictions,
): C {
  if (!areRestrictions(extra)) {
    throw new ArgumentError("restrict", `${extra} is not a combination of restrictions`);
  }
  return narrow(from, make(from.restrictions | extra));
}
