import type { FrameNumber } from "../util/brand.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import { AddressSpace, AddressSpaceCapability, MAX_SLOT_PAGES, SLOTS, slotPagesFor } from "./address-space.js";
import { Capability, KernelObject, openCapability } from "./capability.js";
import { Endpoint, EndpointCapability } from "./endpoint.js";
import { ArgumentError, NotSoldHereError, QuotaError } from "./errors.js";
import type { Kernel } from "./kernel.js";
import { Page, PageCapability, type PageSource } from "./page.js";

/** Banks below banks below banks… so deep at the most. */
const MAX_DEPTH = 64;
const UNLIMITED = Number.MAX_SAFE_INTEGER;

/**
 * A seller of storage: pages, address-space nodes, endpoints and further banks, one unit each, against a limit. The most
 * constraining limit up the chain of parents applies. Only the bank destroys what it has sold.
 */
export class SpaceBank extends KernelObject {
  readonly #sold = new Set<KernelObject>();
  /** Objects that this bank and those below it have outstanding. */
  used = 0;

  constructor(
    readonly kernel: Kernel,
    public parent: SpaceBank | null,
    readonly limit: number,
  ) {
    super();
  }

  /** Objects that may still be bought. */
  get available(): number {
    let least = UNLIMITED;
    for (let bank: SpaceBank | null = this; bank !== null; bank = bank.parent) {
      least = Math.min(least, bank.limit - bank.used);
    }
    return least;
  }

  /** @throws QuotaError before anything is bought */
  reserve(units: number): void {
    const left = this.available;
    if (units > left) throw new QuotaError(units, left);
  }

  adopt<T extends KernelObject>(object: T): T {
    object.bank = this;
    this.#sold.add(object);
    this.#charge(1);
    return object;
  }

  /** Makes all capabilities Void now; waits for I/O that goes on before the storage comes back. */
  retire(object: KernelObject): MaybePromise<void> {
    object.condemn();
    return this.#dissolve(object);
  }

  /** The same for several: all are Void before anything is released. */
  retireAll(objects: Iterable<KernelObject>): MaybePromise<void> {
    for (const object of objects) object.condemn();
    return this.#dissolveAll(objects);
  }

  /** All that it sold is Void before anything is released: releasing one lets others' requests go on. */
  override condemn(): void {
    super.condemn();
    for (const object of this.#sold) if (!object.destroyed) object.condemn();
  }

  #dissolveAll(objects: Iterable<KernelObject>): MaybePromise<void> {
    const waits: Promise<void>[] = [];
    for (const object of objects) {
      // One that is being destroyed already waits for its I/O; whoever destroys it with others waits with it.
      const wait = object.dying ?? this.#dissolve(object);
      if (wait !== undefined) waits.push(wait);
    }
    if (waits.length > 0) return Promise.all(waits).then(() => undefined);
  }

  #dissolve(object: KernelObject): MaybePromise<void> {
    const wait = object.release();
    if (wait === undefined) {
      object.bank?.forget(object);
      return;
    }
    object.dying = wait.then(() => object.bank?.forget(object));
    return object.dying;
  }

  /** The object's storage is free again. */
  forget(object: KernelObject): void {
    if (this.#sold.delete(object)) this.#charge(-1);
    object.bank = null;
  }

  /** Everything sold goes with the bank. All of it is Void, and all that is not pinned is free, when this returns. */
  release(): MaybePromise<void> {
    return this.#dissolveAll([...this.#sold]);
  }

  /** What was sold lives on, as the parent's. */
  handOver(): void {
    const heir = this.parent;
    if (heir === null) throw new ArgumentError("destroy bank", "the prime bank cannot be destroyed");
    for (const object of this.#sold) {
      object.bank = heir;
      heir.#sold.add(object);
      if (object instanceof SpaceBank) object.parent = heir;
    }
    this.#sold.clear();
    this.used = 0;
  }

  get depth(): number {
    return this.parent === null ? 0 : this.parent.depth + 1;
  }

  isWithin(other: SpaceBank): boolean {
    for (let bank: SpaceBank | null = this; bank !== null; bank = bank.parent) if (bank === other) return true;
    return false;
  }

  #charge(units: number): void {
    for (let bank: SpaceBank | null = this; bank !== null; bank = bank.parent) bank.used += units;
  }
}

/** A capability to a space bank: the right to buy from it, and to destroy what was bought. */
export class SpaceBankCapability extends Capability<SpaceBank> {
  get available(): number {
    return openCapability(this, "available").available;
  }

  /** Buys a page, filled with zeroes. @throws QuotaError, OutOfMemoryError */
  page(): PageCapability {
    const bank = openCapability(this, "buy page");
    bank.reserve(1);
    return newPage(bank, bank.kernel.allocateFrame());
  }

  /**
   * Buys a page of the store: absent until it is first used.
   * @internal sources are the kernel's
   */
  storePage(source: PageSource): Page {
    const bank = openCapability(this, "buy page");
    bank.reserve(1);
    return bank.adopt(new Page(bank.kernel, source));
  }

  /** Buys an address-space node of sixteen slots. @param slotPages pages a slot: a power of sixteen */
  space(slotPages = 1): AddressSpaceCapability {
    const bank = openCapability(this, "buy space");
    if (!Number.isInteger(Math.log2(slotPages) / 4) || slotPages < 1 || slotPages > MAX_SLOT_PAGES) {
      throw new ArgumentError(
        "buy space",
        `${slotPages} pages a slot: it must be a power of sixteen, ${MAX_SLOT_PAGES} at the most`,
      );
    }
    bank.reserve(1);
    return new AddressSpaceCapability(bank.adopt(new AddressSpace(slotPages)));
  }

  /**
   * Buys a whole region: `pages` fresh pages from offset 0 of a space of their own. All or nothing.
   * @param request `contiguous`: in neighbouring frames, for a driver's rings
   */
  region(request: { pages: number; contiguous?: boolean }): AddressSpaceCapability {
    const bank = openCapability(this, "buy region");
    const { pages } = request;
    if (!Number.isInteger(pages) || pages < 1)
      throw new ArgumentError("buy region", `${pages} is not a number of pages`);
    bank.reserve(pages + nodesFor(pages));
    bank.kernel.makeRoom(pages);
    const frames = request.contiguous === true ? bank.kernel.ram.allocateRun(pages) : null;
    return this.#tree(bank, pages, slotPagesFor(pages), frames?.values() ?? null);
  }

  endpoint(): EndpointCapability {
    const bank = openCapability(this, "buy endpoint");
    bank.reserve(1);
    return new EndpointCapability(bank.adopt(new Endpoint()));
  }

  /** A bank below this one. @param limit objects that it may have outstanding */
  bank(limit = UNLIMITED): SpaceBankCapability {
    const bank = openCapability(this, "buy bank");
    if (!(limit >= 0)) throw new ArgumentError("buy bank", `${limit} is not a limit`);
    bank.reserve(1);
    if (bank.depth >= MAX_DEPTH) throw new ArgumentError("buy bank", `banks go ${MAX_DEPTH} deep at the most`);
    return new SpaceBankCapability(bank.adopt(new SpaceBank(bank.kernel, bank, limit)));
  }

  /**
   * Destroys an object bought here or below. Every capability to it is Void when this returns; if a page is pinned for
   * I/O the returned promise waits for the last unpin, and only then is its frame used again.
   * A bank is destroyed with all that it sold.
   * @throws VoidError, NotSoldHereError
   */
  destroy(target: Capability): MaybePromise<void> {
    const bank = openCapability(this, "destroy");
    return bank.retire(this.#own(bank, target, "destroy"));
  }

  /**
   * Destroys a space with all that its slots hold, so far as it was bought here or below: what {@link region} sold, say.
   * All of it is Void when this returns; the promise waits for the last unpin of any of its pages.
   * @throws VoidError, NotSoldHereError
   */
  destroyRegion(space: AddressSpaceCapability): MaybePromise<void> {
    const bank = openCapability(this, "destroy region");
    const found = new Set<KernelObject>([this.#own(bank, space, "destroy region")]);
    // A set hands out what is added while it is walked, each object once: spaces may contain each other.
    for (const object of found) {
      if (!(object instanceof AddressSpace)) continue;
      for (const slot of object.slots) {
        if (!(slot instanceof Capability) || slot.isVoid) continue;
        const held: KernelObject = openCapability<Page | AddressSpace>(slot, "destroy region");
        if (held.bank?.isWithin(bank) === true) found.add(held);
      }
    }
    return bank.retireAll(found);
  }

  /** Destroys a bank below, but what it sold lives on and counts against its parent. */
  destroyBankOnly(target: SpaceBankCapability): void {
    const bank = openCapability(this, "destroy bank");
    const victim = this.#own(bank, target, "destroy bank");
    if (!(victim instanceof SpaceBank)) throw new ArgumentError("destroy bank", "the capability is not to a bank");
    victim.handOver();
    bank.retire(victim);
  }

  /** Makes all capabilities to an object Void, without destroying it. @returns a new one, unrestricted, for the bank's holder */
  rescind<C extends Capability>(target: C): C {
    const bank = openCapability(this, "rescind");
    const object = this.#own(bank, target, "rescind");
    object.rescind();
    const Kind = target.constructor as new (object: KernelObject) => C;
    return new Kind(object);
  }

  #own(bank: SpaceBank, target: Capability, operation: string): KernelObject {
    const object = openCapability(target, operation);
    if (object.bank === null || !object.bank.isWithin(bank)) throw new NotSoldHereError();
    return object;
  }

  #tree(
    bank: SpaceBank,
    pages: number,
    slotPages: number,
    frames: Iterator<FrameNumber> | null,
  ): AddressSpaceCapability {
    const node = this.space(slotPages);
    for (let slot = 0, left = pages; left > 0; slot++, left -= slotPages) {
      const child =
        slotPages === 1
          ? newPage(bank, frames?.next().value ?? bank.kernel.allocateFrame())
          : this.#tree(bank, Math.min(left, slotPages), slotPages / SLOTS, frames);
      node.setSlot(slot, child);
    }
    return node;
  }
}

function newPage(bank: SpaceBank, frame: FrameNumber): PageCapability {
  const page = new Page(bank.kernel, null);
  page.frame = frame;
  return new PageCapability(bank.adopt(page));
}

/** Nodes of the smallest tree over so many pages. */
function nodesFor(pages: number): number {
  const nodes = Math.ceil(pages / SLOTS);
  return nodes === 1 ? 1 : nodes + nodesFor(nodes);
}
