import { frameOffset } from "../memory/physical-memory.js";
import { PAGE_MASK, PAGE_SIZE } from "../util/brand.js";
import { copyBytes } from "../util/bytes.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import {
  areRestrictions,
  Capability,
  KernelObject,
  openCapability,
  openPage,
  openSpace,
  Restriction,
  type Restrictions,
  restricted,
} from "./capability.js";
import { AddressFault, AlignmentError, ArgumentError, LengthError, RightsError } from "./errors.js";
import { type Page, PageCapability } from "./page.js";

export const SLOTS = 16;
/** A tree deeper than this is malformed (a space that contains itself). */
const MAX_DEPTH = 16;
/** Pages a space can have at the most: 16 TiB, well inside exact integers. */
const MAX_PAGES = 2 ** 32;
/** Pages a slot can have at the most. */
export const MAX_SLOT_PAGES = MAX_PAGES / SLOTS;
/** Pages of one operation, 1 GiB: windows can make a small space look so large that listing its pages never ends. */
const MAX_RANGE_PAGES = 2 ** 18;

const NO_CHANGE = Restriction.readOnly | Restriction.weak;

/** A slot that shows part of another slot of the same node. */
export interface Window {
  readonly slot: number;
  /** First page shown, counted from the start of that slot. */
  readonly offsetPages: number;
  readonly restrictions: Restrictions;
}

type Slot = PageCapability | AddressSpaceCapability | Window | null;

/** A node of an address space: sixteen slots of `slotPages` pages each. */
export class AddressSpace extends KernelObject {
  readonly slots: Slot[] = new Array<Slot>(SLOTS).fill(null);

  constructor(readonly slotPages: number) {
    super();
  }

  release(): void {
    this.slots.fill(null);
  }
}

/** A capability to an address space, or to a part of one further up. */
export class AddressSpaceCapability extends Capability<AddressSpace> {
  restrict(restrictions: Restrictions): AddressSpaceCapability {
    return restricted(this, (all) => new AddressSpaceCapability(openCapability(this, "restrict"), all), restrictions);
  }

  /** Bytes that the node can hold. */
  get size(): number {
    return openCapability(this, "size").slotPages * SLOTS * PAGE_SIZE;
  }

  /** @returns what a slot holds, weakened if this capability is weak */
  getSlot(index: number): PageCapability | AddressSpaceCapability | null {
    const node = openCapability(this, "getSlot");
    checkSlot("getSlot", index);
    this.#refuse("getSlot", Restriction.opaque, "the space is opaque");
    const slot = node.slots[index];
    if (slot === null || !(slot instanceof Capability)) return null;
    return (this.restrictions & Restriction.weak) === 0 ? slot : slot.restrict(NO_CHANGE);
  }

  setSlot(index: number, capability: PageCapability | AddressSpaceCapability | null): void {
    const node = openCapability(this, "setSlot");
    checkSlot("setSlot", index);
    this.#refuse("setSlot", Restriction.opaque, "the space is opaque");
    this.#refuse("setSlot", NO_CHANGE, "the space is read-only");
    node.slots[index] = capability;
  }

  /** Lets a slot show another slot of this node from a page offset on, with further restrictions. */
  setWindow(index: number, window: { slot: number; offset: number; restrictions?: Restrictions }): void {
    const node = openCapability(this, "setWindow");
    checkSlot("setWindow", index);
    checkSlot("setWindow", window.slot);
    if (window.offset % PAGE_SIZE !== 0 || window.offset < 0 || window.offset >= node.slotPages * PAGE_SIZE) {
      throw new AlignmentError("setWindow", `the offset ${window.offset} is not a page of a slot`);
    }
    if (!areRestrictions(window.restrictions ?? 0)) {
      throw new ArgumentError("setWindow", `${window.restrictions} is not a combination of restrictions`);
    }
    if (window.slot === index) throw new ArgumentError("setWindow", "a window cannot show itself");
    this.#refuse("setWindow", Restriction.opaque, "the space is opaque");
    this.#refuse("setWindow", NO_CHANGE, "the space is read-only");
    node.slots[index] = {
      slot: window.slot,
      offsetPages: window.offset / PAGE_SIZE,
      restrictions: window.restrictions ?? 0,
    };
  }

  /** Copies bytes out of the space. @throws VoidError, AddressFault, ArgumentError, ObjectIoError */
  read(offset: number, into: Uint8Array): MaybePromise<void> {
    return transfer(this, offset, into, false);
  }

  /** Copies bytes into the space. @throws VoidError, RightsError, AddressFault, ArgumentError, ObjectIoError */
  write(offset: number, from: Uint8Array): MaybePromise<void> {
    return transfer(this, offset, from, true);
  }

  #refuse(operation: string, restriction: Restrictions, why: string): void {
    if ((this.restrictions & restriction) !== 0) throw new RightsError(operation, why);
  }
}

function checkSlot(operation: string, index: number): void {
  if (!Number.isInteger(index) || index < 0 || index >= SLOTS) {
    throw new ArgumentError(operation, `there is no slot ${index}: slots are 0…${SLOTS - 1}`);
  }
}

/**
 * Finds the page at a page index of a space, with every restriction on the way respected, and those right behind it that
 * the same leaf node holds.
 * @param into gets the pages, from `from` on, `most` at the most
 * @returns how many: at least one
 * @throws VoidError, AddressFault, RightsError
 */
function walk(
  space: AddressSpaceCapability,
  pageIndex: number,
  forWriting: boolean,
  operation: string,
  into: Page[],
  from: number,
  most: number,
): number {
  let current = space;
  let index = pageIndex;
  let restrictions = 0;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const node = openSpace(current, operation);
    restrictions |= current.restrictions;
    const at = Math.floor(index / node.slotPages);
    if (at >= SLOTS) throw new AddressFault(operation, pageIndex * PAGE_SIZE, "lies beyond the end of the space");
    index -= at * node.slotPages;
    let slot = node.slots[at];
    for (let hops = 0; slot !== null && !(slot instanceof Capability); hops++) {
      if (hops > SLOTS) throw new AddressFault(operation, pageIndex * PAGE_SIZE, "is a window onto itself");
      restrictions |= slot.restrictions;
      index += slot.offsetPages;
      if (index >= node.slotPages) throw new AddressFault(operation, pageIndex * PAGE_SIZE, "lies beyond its window");
      slot = node.slots[slot.slot];
    }
    if (slot === null) throw new AddressFault(operation, pageIndex * PAGE_SIZE, "has no page");
    if (slot instanceof PageCapability) {
      if (index !== 0) throw new AddressFault(operation, pageIndex * PAGE_SIZE, "has no page");
      into[from] = usable(slot, restrictions, forWriting, operation, pageIndex);
      let found = 1;
      if (node.slotPages > 1) return found;
      for (; found < most && at + found < SLOTS; found++) {
        const next = node.slots[at + found];
        if (!(next instanceof PageCapability)) break;
        into[from + found] = usable(next, restrictions, forWriting, operation, pageIndex + found);
      }
      return found;
    }
    current = slot;
  }
  throw new AddressFault(operation, pageIndex * PAGE_SIZE, "is in a malformed space: it contains itself");
}

function usable(
  slot: PageCapability,
  restrictions: Restrictions,
  forWriting: boolean,
  operation: string,
  pageIndex: number,
): Page {
  const page = openPage(slot, operation);
  if (forWriting && ((restrictions | slot.restrictions) & NO_CHANGE) !== 0) {
    throw new RightsError(operation, `the page at offset ${pageIndex * PAGE_SIZE} is read-only here`);
  }
  return page;
}

/**
 * The pages that a byte range touches, in order; all of them exist and allow the access, or nothing is returned.
 * @throws VoidError, AddressFault, RightsError, ArgumentError
 */
export function resolveRange(
  space: AddressSpaceCapability,
  offset: number,
  length: number,
  forWriting: boolean,
  operation: string,
): Page[] {
  openCapability(space, operation);
  if (!Number.isInteger(offset) || offset < 0 || !Number.isInteger(length) || length < 0) {
    throw new LengthError(operation, `${length} bytes at offset ${offset} is not a range`);
  }
  const first = Math.floor(offset / PAGE_SIZE);
  const count = length === 0 ? 0 : Math.floor((offset + length - 1) / PAGE_SIZE) - first + 1;
  if (first + count > MAX_PAGES) throw new LengthError(operation, `offset ${offset} is beyond any space`);
  if (count > MAX_RANGE_PAGES) {
    throw new LengthError(
      operation,
      `${length} bytes are too many at once: ${MAX_RANGE_PAGES * PAGE_SIZE} are possible`,
    );
  }
  const pages = new Array<Page>(count);
  for (let i = 0; i < count; ) i += walk(space, first + i, forWriting, operation, pages, i, count - i);
  return pages;
}

/** Where a walk for a single page puts it. */
const single: Page[] = [];

function transfer(
  space: AddressSpaceCapability,
  offset: number,
  bytes: Uint8Array,
  forWriting: boolean,
): MaybePromise<void> {
  const operation = forWriting ? "space write" : "space read";
  const start = offset & PAGE_MASK;
  if (
    Number.isInteger(offset) &&
    offset >= 0 &&
    offset < MAX_PAGES * PAGE_SIZE &&
    bytes.length > 0 &&
    start + bytes.length <= PAGE_SIZE
  ) {
    walk(space, Math.floor(offset / PAGE_SIZE), forWriting, operation, single, 0, 1);
    if (single[0].resident) {
      copyPart(single[0], start, bytes, 0, bytes.length, forWriting);
      return;
    }
  }
  const pages = resolveRange(space, offset, bytes.length, forWriting, operation);
  for (const page of pages) {
    if (!page.resident) return demandAll(pages, operation).then(() => transfer(space, offset, bytes, forWriting));
  }
  let done = 0;
  for (const page of pages) {
    const within = (offset + done) & PAGE_MASK;
    const chunk = Math.min(PAGE_SIZE - within, bytes.length - done);
    copyPart(page, within, bytes, done, chunk, forWriting);
    done += chunk;
  }
}

function copyPart(
  page: Page,
  within: number,
  bytes: Uint8Array,
  at: number,
  length: number,
  forWriting: boolean,
): void {
  const bank = page.memoryBank;
  const offset = frameOffset(page.frame) + within;
  page.referenced = true;
  if (forWriting) {
    bank.setDirty(page.frame, true);
    copyBytes(bank.bytes, offset, bytes, at, length);
  } else {
    copyBytes(bytes, at, bank.bytes, offset, length);
  }
}

/** Brings all pages in and keeps them there until the last one has come. */
export async function demandAll(pages: readonly Page[], operation: string): Promise<void> {
  for (const page of pages) page.interest++;
  try {
    for (const page of pages) await page.demand(operation);
  } finally {
    for (const page of pages) page.interest--;
  }
}

/** Smallest slot size, in pages, with which a node of sixteen slots covers `pages` pages. */
export function slotPagesFor(pages: number): number {
  let slotPages = 1;
  while (slotPages * SLOTS < pages) slotPages *= SLOTS;
  return slotPages;
}
