/**
 * The rules of pages, banks, pins and device mappings once more, as plainly as they can be written: sets, lists, and
 * everything derived from them by counting. Shares no code with the kernel.
 */

export const SLOTS = 16;
export const PAGE = 4096;
export const READ = 1;
export const WRITE = 2;

export interface Bank {
  readonly kind: "bank";
  parent: Bank | null;
  readonly limit: number;
  generation: number;
  destroyed: boolean;
  gone: boolean;
}

export interface Page {
  readonly kind: "page";
  bank: Bank;
  readonly frame: number;
  generation: number;
  destroyed: boolean;
  gone: boolean;
}

export interface Space {
  readonly kind: "space";
  bank: Bank;
  readonly slots: (Slot | null)[];
  generation: number;
  destroyed: boolean;
  gone: boolean;
}

export type Thing = Bank | Page | Space;

/** A capability: Void as soon as the object's generation is another one. */
export interface Handle<T extends Thing> {
  readonly thing: T;
  readonly generation: number;
  readonly readOnly: boolean;
}

export type Slot = Handle<Page>;

export interface Driver {
  readonly bound: number;
  alive: boolean;
}

export interface Request {
  readonly driver: Driver;
  readonly space: Handle<Space>;
  readonly offset: number;
  readonly length: number;
  readonly access: number;
  readonly pool: number;
}

export interface Pin {
  readonly request: Request;
  readonly pages: readonly Page[];
  state: "waiting" | "live" | "released" | "failed";
  /** Its turn among all grants. */
  turn: number;
  /** Why it failed. */
  code: string | null;
}

export interface Mapping {
  readonly device: number;
  readonly address: number;
  readonly length: number;
  readonly access: number;
  readonly pin: Pin;
  /** Of the first byte, in the pin. */
  readonly offset: number;
  live: boolean;
}

/** A refusal by rule; `code` is the error's. */
export class Refusal {
  constructor(readonly code: string) {}
}

export class Model {
  readonly prime: Bank = {
    kind: "bank",
    parent: null,
    limit: Number.MAX_SAFE_INTEGER,
    generation: 0,
    destroyed: false,
    gone: false,
  };
  readonly things: Thing[] = [];
  readonly pins: Pin[] = [];
  readonly queues: Pin[][] = [[], [], [], []];
  readonly mappings: Mapping[] = [];
  readonly dirty = new Set<number>();
  readonly memory: Uint8Array;
  #turns = 0;

  constructor(
    readonly frames: number,
    readonly pools: readonly number[],
  ) {
    this.memory = new Uint8Array(frames * PAGE);
  }

  // Objects.

  isVoid(handle: Handle<Thing>): boolean {
    return handle.thing.destroyed || handle.thing.generation !== handle.generation;
  }

  handle<T extends Thing>(thing: T, readOnly = false): Handle<T> {
    return { thing, generation: thing.generation, readOnly };
  }

  /** Objects that a bank and those below it have outstanding. */
  used(bank: Bank): number {
    let used = 0;
    for (const thing of this.things) {
      const owner = thing.kind === "bank" ? thing.parent : thing.bank;
      if (!thing.gone && owner !== null && this.within(owner, bank)) used++;
    }
    return used;
  }

  available(bank: Bank): number {
    const own = bank.limit - this.used(bank);
    return bank.parent === null ? own : Math.min(own, this.available(bank.parent));
  }

  within(inner: Bank, outer: Bank): boolean {
    return inner === outer || (inner.parent !== null && this.within(inner.parent, outer));
  }

  /** Frames that no page has and no pin holds. */
  get free(): number {
    return this.frames - this.heldFrames().size;
  }

  heldFrames(): Set<number> {
    const held = new Set<number>();
    for (const thing of this.things) if (thing.kind === "page" && !thing.gone) held.add(thing.frame);
    return held;
  }

  buy(seller: Handle<Bank>): void {
    if (this.isVoid(seller)) throw new Refusal("void");
    if (this.available(seller.thing) < 1) throw new Refusal("quota");
  }

  addPage(bank: Bank, frame: number): Page {
    if (this.heldFrames().has(frame)) throw new Error(`frame ${frame} is in use and was handed out again`);
    if (this.pinsOf(frame).length > 0) throw new Error(`frame ${frame} is pinned and was handed out again`);
    this.memory.fill(0, frame * PAGE, (frame + 1) * PAGE);
    this.dirty.delete(frame);
    const page: Page = { kind: "page", bank, frame, generation: 0, destroyed: false, gone: false };
    this.things.push(page);
    return page;
  }

  addSpace(bank: Bank): Space {
    const slots = new Array<Slot | null>(SLOTS).fill(null);
    const space: Space = { kind: "space", bank, slots, generation: 0, destroyed: false, gone: false };
    this.things.push(space);
    return space;
  }

  addBank(parent: Bank, limit: number): Bank {
    const bank: Bank = { kind: "bank", parent, limit, generation: 0, destroyed: false, gone: false };
    this.things.push(bank);
    return bank;
  }

  /** Whether a bank may destroy or rescind something. */
  authorise(by: Handle<Bank>, target: Handle<Thing>): void {
    if (this.isVoid(by) || this.isVoid(target)) throw new Refusal("void");
    const { thing } = target;
    const owner = thing.kind === "bank" ? thing.parent : thing.bank;
    if (owner === null || !this.within(owner, by.thing)) throw new Refusal("not-sold-here");
  }

  /** Marks as destroyed; {@link sweep} sees to what that frees. */
  condemn(thing: Thing): void {
    thing.destroyed = true;
    if (thing.kind !== "bank") return;
    for (const other of this.things) {
      const owner = other.kind === "bank" ? other.parent : other.bank;
      if (owner === thing && !other.destroyed) this.condemn(other);
    }
  }

  handOver(victim: Bank): void {
    for (const thing of this.things) {
      if (thing.gone || victim.parent === null) continue;
      if (thing.kind === "bank") {
        if (thing.parent === victim) thing.parent = victim.parent;
      } else if (thing.bank === victim) {
        thing.bank = victim.parent;
      }
    }
    victim.destroyed = true;
  }

  /** What is destroyed is gone as soon as no pin holds it; a bank, when all is gone that it sold. */
  sweep(): void {
    for (const thing of this.things) {
      if (!thing.destroyed || thing.gone) continue;
      if (thing.kind === "space") thing.gone = true;
      if (thing.kind === "page") thing.gone = this.pinsOf(thing.frame).length === 0;
    }
    for (let again = true; again; ) {
      again = false;
      for (const thing of this.things) {
        if (thing.kind !== "bank" || !thing.destroyed || thing.gone || this.used(thing) > 0) continue;
        thing.gone = true;
        again = true;
      }
    }
  }

  /** The pages of a range, or the first reason why not. */
  resolve(space: Handle<Space>, offset: number, length: number, write: boolean): Page[] {
    if (this.isVoid(space)) throw new Refusal("void");
    const pages: Page[] = [];
    for (let index = Math.floor(offset / PAGE); index * PAGE < offset + length; index++) {
      const slot = index < SLOTS ? space.thing.slots[index] : null;
      if (slot === null) throw new Refusal("address-fault");
      if (this.isVoid(slot)) throw new Refusal("void");
      if (write && (space.readOnly || slot.readOnly)) throw new Refusal("rights");
      pages.push(slot.thing);
    }
    return pages;
  }

  // Pins.

  pinsOf(frame: number): Pin[] {
    return this.pins.filter((pin) => pin.state === "live" && pin.pages.some((page) => page.frame === frame));
  }

  /** Distinct frames of live pins, and of `more`. */
  distinct(filter: (pin: Pin) => boolean, more: readonly Page[] = []): number {
    const frames = new Set(more.map((page) => page.frame));
    for (const pin of this.pins) {
      if (pin.state === "live" && filter(pin)) for (const page of pin.pages) frames.add(page.frame);
    }
    return frames.size;
  }

  pooled(pool: number, more: readonly Page[] = []): number {
    return this.distinct((pin) => pin.request.pool === pool, more);
  }

  owned(driver: Driver, pool: number, more: readonly Page[] = []): number {
    return this.distinct((pin) => pin.request.driver === driver && pin.request.pool === pool, more);
  }

  request(request: Request, mayWait: boolean): Pin {
    const { driver, space, offset, length, access, pool } = request;
    const pages = this.resolve(space, offset, length, (access & WRITE) !== 0);
    if (!driver.alive) throw new Refusal("pin-authority-ended");
    const distinct = new Set(pages).size;
    if (distinct > this.pools[pool] || distinct > driver.bound) throw new Refusal("pin-bound");
    const pin: Pin = { request, pages, state: "waiting", turn: 0, code: null };
    this.queues[pool].push(pin);
    this.pins.push(pin);
    this.settle(pool);
    if (pin.state === "waiting" && !mayWait) {
      this.queues[pool].pop();
      this.pins.pop();
      throw new Refusal("pin-busy");
    }
    return pin;
  }

  /** Grants whatever the rules of the queue allow, oldest first. */
  settle(pool: number): void {
    const queue = this.queues[pool];
    const waitForTheirOwn = new Set<Driver>();
    for (const pin of [...queue]) {
      const { driver } = pin.request;
      if (waitForTheirOwn.has(driver)) continue;
      if (this.owned(driver, pool, pin.pages) > driver.bound) {
        waitForTheirOwn.add(driver);
        continue;
      }
      if (this.pooled(pool, pin.pages) > this.pools[pool]) return;
      queue.splice(queue.indexOf(pin), 1);
      this.#grant(pin);
    }
  }

  #grant(pin: Pin): void {
    const { space, offset, length, access } = pin.request;
    try {
      const pages = this.resolve(space, offset, length, (access & WRITE) !== 0);
      if (pages.some((page, i) => page !== pin.pages[i])) throw new Refusal("argument");
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      pin.state = "failed";
      pin.code = error.code;
      return;
    }
    pin.state = "live";
    pin.turn = ++this.#turns;
    if ((access & WRITE) !== 0) for (const page of pin.pages) this.dirty.add(page.frame);
  }

  unpin(driver: Driver, pin: Pin): void {
    if (pin.request.driver !== driver) throw new Refusal("not-pin-owner");
    if (pin.state !== "live") throw new Refusal("pin-released");
    if (this.mappings.some((mapping) => mapping.live && mapping.pin === pin)) throw new Refusal("pin-mapped");
    pin.state = "released";
    this.settle(pin.request.pool);
  }

  /** Its device can reach nothing any more already. */
  end(driver: Driver): void {
    driver.alive = false;
    for (const queue of this.queues) {
      for (const pin of [...queue]) {
        if (pin.request.driver !== driver) continue;
        queue.splice(queue.indexOf(pin), 1);
        pin.state = "failed";
        pin.code = "pin-authority-ended";
      }
    }
    for (let pool = 0; pool < this.queues.length; pool++) this.settle(pool);
    const own = this.pins.filter((pin) => pin.state === "live" && pin.request.driver === driver);
    for (const pin of own.sort((a, b) => a.turn - b.turn)) this.unpin(driver, pin);
  }

  // Devices.

  /** Records a mapping and checks the promises about its address. */
  addMapping(mapping: Mapping, bits: number, aligned: boolean): void {
    const { address, length, device, pin, offset } = mapping;
    const first = Math.floor(address / PAGE);
    const last = Math.floor((address + length - 1) / PAGE);
    if (address + length > 2 ** Math.min(bits, 53)) throw new Error("the address is beyond the mask");
    if (address % PAGE !== (pin.request.offset + offset) % PAGE) throw new Error("the offset in the page was lost");
    if (aligned && first % 2 ** Math.ceil(Math.log2(last - first + 1)) !== 0) throw new Error("it is not aligned");
    for (const other of this.mappings) {
      if (!other.live || other.device !== device) continue;
      const otherFirst = Math.floor(other.address / PAGE);
      const otherLast = Math.floor((other.address + other.length - 1) / PAGE);
      if (first <= otherLast + 1 && last >= otherFirst - 1) throw new Error("there is no gap between two mappings");
    }
    this.mappings.push(mapping);
  }

  /** @returns the mapping that allows an access, or why it is refused */
  access(device: number, address: number, length: number, access: number, busMaster: boolean): Mapping | string {
    if (!busMaster) return "bus-master-off";
    const page = Math.floor(address / PAGE);
    const touching = this.mappings.filter(
      (m) => Math.floor(m.address / PAGE) <= page && Math.floor((m.address + m.length - 1) / PAGE) >= page,
    );
    const own = touching.filter((mapping) => mapping.device === device);
    const live = own.find((mapping) => mapping.live);
    if (live !== undefined) {
      if (address < live.address || address + length > live.address + live.length) return "out-of-bounds";
      return (access & ~live.access) === 0 ? live : "wrong-direction";
    }
    if (own.length > 0) return "after-unmap";
    return touching.some((mapping) => mapping.live) ? "other-device" : "unmapped";
  }

  /** Where a byte of a mapping lies in memory. */
  locate(mapping: Mapping, address: number): number {
    const at = (mapping.pin.request.offset % PAGE) + mapping.offset + (address - mapping.address);
    return mapping.pin.pages[Math.floor(at / PAGE)].frame * PAGE + (at % PAGE);
  }
}
