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

/**
 * What capabilities hold: an object from its sale, or from a rescind, to the next rescind or its destruction. Clearing one
 * field makes all of them Void, and asking whether one is takes a single look.
 */
export interface Incarnation<T extends KernelObject = KernelObject> {
  object: T | null;
}

/** Anything that capabilities name. Storage for it was bought from a space bank. */
export abstract class KernelObject {
  destroyed = false;
  /** Capabilities made for another incarnation than this one are Void. */
  incarnation: Incarnation = { object: this };
  /** Invokers that wait for this object. */
  readonly stalled = new StallQueue();
  /** The bank that sold it; changes when a bank is destroyed and its storage goes to the parent. */
  bank: SpaceBank | null = null;
  /** Set while it is being destroyed but has to wait for I/O. */
  dying: Promise<void> | null = null;

  /** Makes every capability to it Void, now. */
  rescind(): void {
    this.incarnation.object = null;
    this.incarnation = { object: this };
  }

  /** Makes every capability Void for ever, to it and to all that goes with it. */
  condemn(): void {
    this.incarnation.object = null;
    this.destroyed = true;
  }

  /**
   * Gives up what the object holds. Its capabilities are Void already.
   * @returns a promise if it has to wait for I/O that goes on
   */
  abstract release(): MaybePromise<void>;
}

type Open = <T extends KernelObject>(capability: Capability<T>, operation: string) => T;
let openCapability: Open;
let openPage: Open;
let openSpace: Open;
let openRing: Open;
let narrow: <C extends Capability>(from: C, to: C) => C;

/**
 * An unforgeable reference to a kernel object plus the restrictions on its use. Who holds it can invoke the object and
 * nothing else: the object itself is out of reach.
 */
export abstract class Capability<T extends KernelObject = KernelObject> {
  #incarnation: Incarnation<T>;

  /** @internal Kernel objects hand out capabilities to themselves. */
  constructor(
    object: T,
    readonly restrictions: Restrictions = 0,
  ) {
    this.#incarnation = object.incarnation as Incarnation<T>;
  }

  get isVoid(): boolean {
    return this.#incarnation.object === null;
  }

  static {
    openCapability = (capability, operation) => capability.#incarnation.object ?? fail(operation);
    // The same, once for each kind that is opened for every packet: an access site that sees one class only is several
    // times as fast (bench/kernel, "read of 60 bytes").
    openPage = (capability, operation) => capability.#incarnation.object ?? fail(operation);
    openSpace = (capability, operation) => capability.#incarnation.object ?? fail(operation);
    openRing = (capability, operation) => capability.#incarnation.object ?? fail(operation);
    narrow = (from, to) => {
      to.#incarnation = from.#incarnation;
      return to;
    };
  }
}

function fail(operation: string): never {
  throw new VoidError(operation);
}

/**
 * The kernel's own way from a capability to its object; the package does not export it.
 * @throws VoidError
 */
export { openCapability, openPage, openRing, openSpace };

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
