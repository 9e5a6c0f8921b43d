import { type DmaFault, IoMmu, type IoMmuContext } from "../../src/bus/io-mmu.js";
import type { AddressSpaceCapability } from "../../src/capability/address-space.js";
import type { Capability } from "../../src/capability/capability.js";
import type { PageCapability } from "../../src/capability/page.js";
import { PinControl, PinControlCapability } from "../../src/capability/pin-control.js";
import type { SpaceBankCapability } from "../../src/capability/space-bank.js";
import { FrameState } from "../../src/memory/physical-memory.js";
import { Pin, type PinAccess } from "../../src/memory/pin.js";
import type { PinAuthority, PinPool } from "../../src/memory/pin-budget.js";
import type { FrameNumber, IoAddress } from "../../src/util/brand.js";
import { KorralError } from "../../src/util/errors.js";
import type { MaybePromise } from "../../src/util/maybe-promise.js";
import { KernelRig, pageOf, settled } from "../support/kernel-rig.js";
import * as model from "./model.js";

/** One step; the numbers choose among what is there. */
export interface Step {
  readonly kind: Kind;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

/** How often each kind of step is drawn. */
export const KINDS = {
  pin: 14,
  tryPin: 5,
  post: 8,
  unpin: 12,
  acknowledge: 4,
  map: 12,
  unmap: 6,
  access: 20,
  page: 10,
  space: 2,
  bank: 2,
  fill: 3,
  setSlot: 5,
  readOnlySpace: 1,
  touch: 4,
  destroy: 6,
  destroyBankOnly: 1,
  rescind: 2,
  driverDeath: 1,
  teardown: 1,
  busMaster: 2,
} as const;
export type Kind = keyof typeof KINDS;

const FRAMES = 40;
/** Requests, posted buffers, drivers' own, paging. */
const POOLS = [6, 4, 2, 2];
const BOUNDS = [14, 4, 3];
const WIDTHS = [24, 32, 40, 64];

interface Handle<C extends Capability, T extends model.Thing> {
  readonly real: C;
  readonly model: model.Handle<T>;
}

interface Driver {
  authority: PinAuthority;
  pins: PinControlCapability;
  model: model.Driver;
  readonly device: IoMmuContext;
}

interface PinRecord {
  readonly driver: Driver;
  /** Of the driver's incarnation that made the pin. */
  readonly authority: PinAuthority;
  readonly model: model.Pin;
  real: Pin | null;
  code: string | null;
  /** *prompt*: unpins when asked to withdraw; *later*: at the next acknowledgement. */
  readonly withdrawal: "none" | "prompt" | "later";
  asked: number;
}

interface MappingRecord {
  readonly model: model.Mapping;
  readonly pin: PinRecord;
  readonly device: IoMmuContext;
}

/** Runs the same steps on the kernel and on the model, and compares the two after each. */
export class Machine {
  readonly rig = new KernelRig(FRAMES, { bound: 14, posted: POOLS[1], reserved: POOLS[2], paging: POOLS[3] });
  readonly model = new model.Model(FRAMES, POOLS);
  readonly counts = new Map<string, number>();
  readonly #iommu = new IoMmu(this.rig.memory);
  readonly #banks: Handle<SpaceBankCapability, model.Bank>[];
  readonly #pages: Handle<PageCapability, model.Page>[] = [];
  readonly #spaces: Handle<AddressSpaceCapability, model.Space>[] = [];
  readonly #drivers: Driver[];
  readonly #pins: PinRecord[] = [];
  readonly #mappings: MappingRecord[] = [];
  readonly #destructions: { done: boolean; readonly thing: model.Thing }[] = [];
  #fault: DmaFault | null = null;

  constructor() {
    this.#banks = [{ real: this.rig.prime, model: this.model.handle(this.model.prime) }];
    this.#drivers = BOUNDS.map((bound, i) => {
      const device = this.#iommu.attach(`device ${i}`);
      device.busMaster = true;
      return { ...this.#incarnate(bound), device };
    });
    this.#iommu.events.on("fault", (fault) => {
      this.#fault = fault;
    });
    // Something to work with, so that short sequences get somewhere.
    for (let i = 0; i < 2; i++) {
      this.step({ kind: "bank", a: 0, b: 60, c: 0, d: 0 });
      for (let page = 0; page < 14; page++) this.step({ kind: "page", a: 9 + 8 * i, b: 0, c: 0, d: 0 });
      this.step({ kind: "space", a: 9 + 8 * i, b: 0, c: 0, d: 0 });
    }
  }

  #incarnate(bound: number) {
    const authority = this.rig.budget.authority("driver", bound);
    const pins = new PinControlCapability(new PinControl(authority));
    return { authority, pins, model: { bound, alive: true } satisfies model.Driver };
  }

  step({ kind, a, b, c, d }: Step): void {
    this.#count(`step ${kind}`);
    this.#actions[kind](a, b, c, d);
  }

  readonly #actions: Record<Kind, (a: number, b: number, c: number, d: number) => void> = {
    pin: (a, b, c, d) => this.#pin(a, b, c, d, true, d % 4 === 3 ? c % 4 : 0, "none"),
    tryPin: (a, b, c, d) => this.#pin(a, b, c, d, false, b % 4, "none"),
    post: (a, b, c, d) => this.#pin(a, b, c, d, d % 3 === 0, 1, (["none", "prompt", "later"] as const)[c % 3]),
    unpin: (a, b) => this.#unpin(a, b),
    acknowledge: (a) => this.#acknowledge(a),
    map: (a, b, c, d) => this.#map(a, b, c, d),
    unmap: (a) => this.#unmap(a),
    access: (a, b, c, d) => this.#access(a, b, c, d),
    page: (a) => this.#buyPage(a),
    space: (a, b) => this.#buySpace(a, b),
    bank: (a, b) => this.#buyBank(a, b),
    fill: (a, b, c) => {
      this.#buyPage(a);
      if (this.#spaces.length > 0) this.#setSlot(b % this.#spaces.length, c, this.#pages.length - 1, 0, true);
    },
    setSlot: (a, b, c, d) => this.#setSlot(a, b, c, d),
    readOnlySpace: (a) => this.#restrictSpace(a),
    touch: (a, b, c, d) => this.#touch(a, b, c, d),
    destroy: (a, b, c) => this.#destroy(a, b, c),
    destroyBankOnly: (a, b) => this.#destroyBankOnly(a, b),
    rescind: (a, b, c) => this.#rescind(a, b, c),
    driverDeath: (a) => this.#driverDeath(a),
    teardown: (a) => this.#teardown(a),
    busMaster: (a, b) => {
      pick(this.#drivers, a).device.busMaster = b % 5 !== 0;
    },
  };

  // Objects.

  #buyPage(a: number): void {
    const bank = this.#pick(this.#banks, a);
    const page = this.#both(
      () => {
        this.model.buy(bank.model);
        if (this.model.free === 0) throw new model.Refusal("out-of-frames");
      },
      () => bank.real.page(),
    );
    if (page === null) return;
    const thing = this.model.addPage(bank.model.thing, pageOf(page).frame);
    this.#pages.push({ real: page, model: this.model.handle(thing) });
  }

  /** With the pages that there are in its first slots. */
  #buySpace(a: number, b: number): void {
    const bank = this.#pick(this.#banks, a);
    const space = this.#both(
      () => this.model.buy(bank.model),
      () => bank.real.space(),
    );
    if (space === null) return;
    this.#spaces.push({ real: space, model: this.model.handle(this.model.addSpace(bank.model.thing)) });
    const alive = this.#pages.filter((page) => !this.model.isVoid(page.model));
    for (let slot = 0; slot < Math.min(alive.length, 12); slot++) {
      this.#setSlot(this.#spaces.length - 1, slot, this.#pages.indexOf(pick(alive, b + slot)), 0, true);
    }
  }

  #buyBank(a: number, b: number): void {
    const parent = this.#pick(this.#banks, a);
    const limit = b % 80;
    const bank = this.#both(
      () => this.model.buy(parent.model),
      () => parent.real.bank(limit),
    );
    if (bank === null) return;
    this.#banks.push({ real: bank, model: this.model.handle(this.model.addBank(parent.model.thing, limit)) });
  }

  #setSlot(a: number, b: number, c: number, d: number, exactly = false): void {
    if (this.#spaces.length === 0 || this.#pages.length === 0) return;
    const space = exactly ? this.#spaces[a] : this.#pick(this.#spaces, a);
    const page = exactly ? this.#pages[c] : d % 16 === 7 ? null : this.#pick(this.#pages, c);
    const readOnly = d % 4 === 3;
    if (page !== null && readOnly && this.model.isVoid(page.model)) return;
    const slot = page === null ? null : { ...page.model, readOnly };
    this.#both(
      () => {
        if (this.model.isVoid(space.model)) throw new model.Refusal("void");
        if (space.model.readOnly) throw new model.Refusal("rights");
        space.model.thing.slots[b % model.SLOTS] = slot;
      },
      () => {
        space.real.setSlot(b % model.SLOTS, page === null || !readOnly ? (page?.real ?? null) : page.real.restrict(1));
      },
    );
  }

  #restrictSpace(a: number): void {
    if (this.#spaces.length === 0) return;
    const space = this.#pick(this.#spaces, a);
    if (this.model.isVoid(space.model)) return;
    this.#spaces.push({ real: space.real.restrict(1), model: { ...space.model, readOnly: true } });
  }

  /** A client's own access. */
  #touch(a: number, b: number, c: number, d: number): void {
    if (this.#spaces.length === 0) return;
    const space = this.#pick(this.#spaces, a);
    const offset = (b % (6 * model.PAGE + 100)) as number;
    const bytes = new Uint8Array(1 + (c % (2 * model.PAGE))).fill(d);
    const write = d % 2 === 0;
    this.#both(
      () => {
        const pages = this.model.resolve(space.model, offset, bytes.length, write);
        if (!write) return;
        for (let i = 0; i < bytes.length; i++) {
          const page = pages[Math.floor((offset + i) / model.PAGE) - Math.floor(offset / model.PAGE)];
          this.model.memory[page.frame * model.PAGE + ((offset + i) % model.PAGE)] = d;
          this.model.dirty.add(page.frame);
        }
      },
      () => {
        if (write) space.real.write(offset, bytes);
        else space.real.read(offset, bytes);
      },
    );
  }

  #target(b: number, c: number): Handle<Capability, model.Thing> | null {
    const list: Handle<Capability, model.Thing>[] =
      b % 12 === 0 ? this.#banks : b % 12 === 1 ? this.#spaces : this.#pages;
    return list.length === 0 ? null : this.#pick(list, c);
  }

  #destroy(a: number, b: number, c: number): void {
    const by = a % 3 === 0 ? this.#pick(this.#banks, a) : this.#banks[0];
    const target = this.#target(b, c);
    if (target === null) return;
    const { thing } = target.model;
    // Marked beforehand, since holders of withdrawable pins are called back in the midst of it.
    const wait = this.#both(
      () => {
        this.model.authorise(by.model, target.model);
        this.model.condemn(thing);
      },
      () => ({ wait: by.real.destroy(target.real) }),
    );
    if (wait !== null) this.#watch(wait.wait, thing);
  }

  #watch(wait: MaybePromise<void>, thing: model.Thing): void {
    const destruction = { done: wait === undefined, thing };
    if (wait !== undefined) {
      this.#count("destroy that waited");
      void wait.then(() => {
        destruction.done = true;
      });
    }
    this.#destructions.push(destruction);
  }

  #destroyBankOnly(a: number, b: number): void {
    const by = a % 3 === 0 ? this.#pick(this.#banks, a) : this.#banks[0];
    const target = this.#pick(this.#banks, b);
    this.#both(
      () => {
        this.model.authorise(by.model, target.model);
        this.model.handOver(target.model.thing);
      },
      () => by.real.destroyBankOnly(target.real),
    );
  }

  #rescind(a: number, b: number, c: number): void {
    const by = a % 3 === 0 ? this.#pick(this.#banks, a) : this.#banks[0];
    const target = this.#target(b, c);
    if (target === null) return;
    const fresh = this.#both(
      () => {
        this.model.authorise(by.model, target.model);
        target.model.thing.generation++;
      },
      () => by.real.rescind(target.real),
    );
    if (fresh === null) return;
    const handle = { real: fresh, model: this.model.handle(target.model.thing) };
    const lists = { page: this.#pages, space: this.#spaces, bank: this.#banks } as const;
    (lists[handle.model.thing.kind] as Handle<Capability, model.Thing>[]).push(handle);
  }

  // Pins.

  #pin(a: number, b: number, c: number, d: number, mayWait: boolean, pool: number, how: PinRecord["withdrawal"]): void {
    if (this.#spaces.length === 0) return;
    const driver = pick(this.#drivers, a);
    const space = this.#pick(this.#spaces, b);
    const within = d % model.PAGE;
    const offset = (b % 8) * model.PAGE + within;
    const length = 1 + (c % (4 * model.PAGE));
    const access = 1 + (d % 3);
    const request: model.Request = { driver: driver.model, space: space.model, offset, length, access, pool };
    let expected: model.Pin | null = null;
    const got = this.#both(
      () => {
        expected = this.model.request(request, mayWait);
      },
      () => {
        const asked = { space: space.real, offset, length, access: access as PinAccess, pool: pool as PinPool };
        return mayWait ? driver.pins.pin(asked) : driver.pins.tryPin(asked);
      },
    );
    if (got === null || expected === null) return;
    const record: PinRecord = {
      driver,
      authority: driver.authority,
      model: expected,
      real: null,
      code: null,
      withdrawal: how,
      asked: 0,
    };
    this.#pins.push(record);
    if (got instanceof Pin) {
      this.#granted(record, got);
    } else {
      this.#count("pin that waited");
      got.then(
        (pin) => this.#granted(record, pin),
        (error: unknown) => {
          record.code = codeOf(error);
          this.#count(`waiter failed: ${record.code}`);
        },
      );
    }
  }

  #granted(record: PinRecord, pin: Pin): void {
    record.real = pin;
    this.#count("pin granted");
    if (record.withdrawal === "none") return;
    pin.onWithdraw = () => {
      record.asked++;
      this.#count("withdrawal");
      if (record.withdrawal === "prompt") this.#giveUp(record);
    };
  }

  /** Unmaps and unpins, as a driver whose transfer has ended. */
  #giveUp(record: PinRecord): void {
    for (const mapping of this.#mappings) {
      if (mapping.pin !== record || !mapping.model.live) continue;
      mapping.device.unmap(mapping.model.address as IoAddress, "give up");
      mapping.model.live = false;
    }
    if (record.real !== null) record.authority.unpin(record.real);
    this.model.unpin(record.model.request.driver, record.model);
  }

  #unpin(a: number, b: number): void {
    if (this.#pins.length === 0) return;
    // Mostly the recent ones, mostly by their owner.
    const record = recent(this.#pins, a);
    const stranger = pick(this.#drivers, b);
    const { real } = record;
    if (real === null) return;
    const [authority, owner] =
      b % 8 === 7 ? [stranger.authority, stranger.model] : [record.authority, record.model.request.driver];
    this.#both(
      () => this.model.unpin(owner, record.model),
      () => authority.unpin(real),
    );
  }

  #acknowledge(a: number): void {
    const asked = this.#pins.filter((pin) => pin.asked > 0 && pin.model.state === "live");
    if (asked.length > 0) this.#giveUp(pick(asked, a));
  }

  #driverDeath(a: number): void {
    const driver = pick(this.#drivers, a);
    if (this.#mappings.some((mapping) => mapping.model.live && mapping.pin.authority === driver.authority)) {
      const early = this.#both(
        () => {
          throw new model.Refusal("pin-mapped");
        },
        () => driver.authority.end(),
      );
      if (early !== null) throw new Error("an authority ended while its device could reach memory");
    }
    driver.device.teardown("death");
    for (const { model: mapping, device } of this.#mappings) if (device === driver.device) mapping.live = false;
    // Another's device may map a pin, too.
    for (const mapping of this.#mappings) {
      if (!mapping.model.live || mapping.pin.authority !== driver.authority) continue;
      mapping.device.unmap(mapping.model.address as IoAddress, "death");
      mapping.model.live = false;
    }
    driver.authority.end();
    this.model.end(driver.model);
    this.#both(
      () => {
        throw new model.Refusal("pin-authority-ended");
      },
      () => driver.authority.tryPin([0 as FrameNumber], 0, 1, 1, 0),
    );
    Object.assign(driver, this.#incarnate(driver.model.bound));
  }

  #teardown(a: number): void {
    const { device } = pick(this.#drivers, a);
    device.teardown("teardown");
    for (const mapping of this.#mappings) if (mapping.device === device) mapping.model.live = false;
  }

  // Devices.

  #map(a: number, b: number, c: number, d: number): void {
    if (this.#pins.length === 0) return;
    const live = this.#pins.filter((pin) => pin.model.state === "live");
    const record = a % 8 === 0 || live.length === 0 ? recent(this.#pins, a) : pick(live, a >>> 3);
    const { real } = record;
    if (real === null) return;
    const index = d % 5 === 4 ? b % this.#drivers.length : this.#drivers.indexOf(record.driver);
    const { device } = this.#drivers[index];
    const { length: whole, access: allowed } = record.model.request;
    const offset = b % 2 === 0 ? 0 : b % whole;
    const length = c % 8 === 7 ? whole - offset + 1 : 1 + (c % (whole - offset));
    const access = d % 7 === 6 ? 1 + (d % 3) : allowed;
    const bits = WIDTHS[c % WIDTHS.length];
    const aligned = b % 5 === 0;
    const address = this.#both(
      () => {
        if (record.model.state !== "live") throw new model.Refusal("map-not-pinned");
        if (offset + length > whole) throw new model.Refusal("map-bounds");
        if ((access & ~allowed) !== 0) throw new model.Refusal("map-direction");
      },
      () => device.map(real, offset, length, access as PinAccess, "map", bits, aligned),
    );
    if (address === null) return;
    const mapping: model.Mapping = { device: index, address, length, access, pin: record.model, offset, live: true };
    this.model.addMapping(mapping, bits, aligned);
    this.#mappings.push({ model: mapping, pin: record, device });
  }

  #unmap(a: number): void {
    if (this.#mappings.length === 0) return;
    const mapping = recent(this.#mappings, a);
    const { address, device: index } = mapping.model;
    const before = this.model.mappings.some((m) => m.live && m.device === index && m.address === address);
    // A dead one's address may lie in a page that has a live one by now.
    const inPage = this.model.mappings.find(
      (m) =>
        m.live &&
        m.device === index &&
        Math.floor(m.address / model.PAGE) <= Math.floor(address / model.PAGE) &&
        Math.floor((m.address + m.length - 1) / model.PAGE) >= Math.floor(address / model.PAGE),
    );
    const got = this.#both(
      () => {
        if (!before) throw new model.Refusal(inPage === undefined ? "unmap-unmapped" : "unmap-inside");
      },
      () => mapping.device.unmap(address as IoAddress, "unmap"),
    );
    if (got === null) return;
    for (const m of this.model.mappings) if (m.device === index && m.address === address) m.live = false;
  }

  #access(a: number, b: number, c: number, d: number): void {
    if (this.#mappings.length === 0) return;
    const live = this.#mappings.filter((mapping) => mapping.model.live);
    const near = a % 4 === 0 || live.length === 0 ? recent(this.#mappings, a) : pick(live, a >>> 2);
    const index = d % 6 === 5 ? b % this.#drivers.length : near.model.device;
    const { device } = this.#drivers[index];
    const write = c % 2 === 0;
    // Mostly inside, often right at an edge, sometimes a page away.
    const start = [0, 0, b % near.model.length, -1, -(b % 5000), b % 9000][d % 6];
    const length = Math.max(
      1,
      [near.model.length - start, near.model.length, 1 + (c % 300), near.model.length + 1][b % 4],
    );
    const address = near.model.address + start;
    const access = write ? model.WRITE : model.READ;
    const expected = this.model.access(index, address, length, access, device.busMaster);
    const bytes = new Uint8Array(length).fill(1 + (d % 255));
    this.#fault = null;
    const viaSpans = d % 4 === 0;
    const spans = viaSpans ? device.spans(address, length, access as PinAccess) : null;
    const allowed = viaSpans
      ? spans !== null
      : write
        ? device.write(address, bytes, 0, length)
        : device.read(address, bytes, 0, length);
    if (typeof expected === "string") {
      this.#count(`refused: ${expected}`);
      equal(allowed, false, "a device's access that the rules refuse");
      equal((this.#fault as DmaFault | null)?.reason, expected, "the reason of a refusal");
      return;
    }
    this.#count(write ? "device write" : "device read");
    equal(allowed, true, "a device's access that the rules allow");
    let done = 0;
    for (const span of spans ?? []) {
      if (write) span.set(bytes.subarray(done, done + span.length));
      else bytes.set(span, done);
      done += span.length;
    }
    if (viaSpans) equal(done, length, "length of all spans");
    for (let i = 0; i < length; i++) {
      const at = this.model.locate(expected, address + i);
      if (write) this.model.memory[at] = bytes[i];
      else equal(bytes[i], this.model.memory[at], "a byte that a device reads");
    }
  }

  // Comparison.

  /** Lets the promises settle and compares everything. */
  async check(): Promise<void> {
    await settled();
    this.model.sweep();
    const { rig, model: rules } = this;
    const { budget, ram } = rig;
    for (let pool = 0; pool < POOLS.length; pool++) {
      const pinned = rules.pooled(pool);
      equal(budget.pool(pool as PinPool).pinned, pinned, `frames in pool ${pool}`);
      atMost(pinned, POOLS[pool], `bound of pool ${pool}`);
      for (const driver of this.#drivers)
        atMost(rules.owned(driver.model, pool), driver.model.bound, "authority's bound");
    }
    const pinned = rules.distinct(() => true);
    equal(budget.pinned, pinned, "frames pinned");
    atMost(pinned, budget.bound, "the whole bound");
    equal(
      budget.waiting,
      rules.queues.reduce((sum, queue) => sum + queue.length, 0),
      "requests that wait",
    );
    equal(ram.freeFrames, rules.free, "free frames");
    const held = new Map<number, model.Page>();
    for (const thing of rules.things) if (thing.kind === "page" && !thing.gone) held.set(thing.frame, thing);
    for (let frame = 0; frame < FRAMES; frame++) {
      const page = held.get(frame);
      const state = page === undefined ? FrameState.free : page.destroyed ? FrameState.dying : FrameState.resident;
      equal(ram.state(frame as FrameNumber), state, `state of frame ${frame}`);
      equal(ram.pinCount(frame as FrameNumber), rules.pinsOf(frame).length, `pins of frame ${frame}`);
      if (page !== undefined) equal(ram.isDirty(frame as FrameNumber), rules.dirty.has(frame), `dirty ${frame}`);
    }
    if (Buffer.compare(ram.bytes.subarray(0, FRAMES * model.PAGE), rules.memory) !== 0)
      throw new Error("memory differs");
    for (const pin of this.#pins) {
      equal(pin.code, pin.model.code, "why a waiting request failed");
      equal(
        pin.real?.live ?? null,
        pin.model.state === "waiting" || pin.code !== null ? null : pin.model.state === "live",
        "a pin lives",
      );
      const mappings = rules.mappings.filter((mapping) => mapping.live && mapping.pin === pin.model).length;
      if (pin.real !== null) equal(pin.real.mappings, mappings, "mappings of a pin");
      if (mappings > 0) equal(pin.model.state, "live", "a mapping rests on a live pin");
      const dying = pin.model.state === "live" && pin.model.pages.some((page) => page.destroyed);
      if (pin.withdrawal === "later" && dying) equal(pin.asked, 1, "asked to withdraw");
      atMost(pin.asked, 1, "asked to withdraw");
    }
    for (const [i, { device }] of this.#drivers.entries()) {
      equal(device.live, rules.mappings.filter((mapping) => mapping.live && mapping.device === i).length, "mappings");
    }
    for (const bank of this.#banks) {
      equal(bank.real.isVoid, rules.isVoid(bank.model), "a bank is Void");
      if (!bank.real.isVoid) equal(bank.real.available, rules.available(bank.model.thing), "quota that is left");
    }
    for (const handle of [...this.#pages, ...this.#spaces])
      equal(handle.real.isVoid, rules.isVoid(handle.model), "Void");
    for (const { done, thing } of this.#destructions) equal(done, thing.gone, "a destruction has ended");
  }

  /** All transfers end, then everything is destroyed: nobody is left waiting, and nothing is left behind. */
  async end(): Promise<void> {
    for (
      let round = 0;
      this.#pins.some((pin) => pin.model.state === "live" || pin.model.state === "waiting");
      round++
    ) {
      if (round > this.#pins.length) throw new Error("a request waits for ever");
      const oldest = this.#pins.find((pin) => pin.model.state === "live");
      if (oldest === undefined) throw new Error("requests wait, but nothing is pinned");
      this.#giveUp(oldest);
      await this.check();
    }
    for (const { model: handle, real } of [...this.#pages, ...this.#spaces, ...this.#banks.slice(1)]) {
      if (this.model.isVoid(handle)) continue;
      this.model.condemn(handle.thing);
      this.#watch(this.rig.prime.destroy(real), handle.thing);
    }
    await this.check();
    equal(this.rig.ram.freeFrames, FRAMES, "free frames at the end");
    equal(this.rig.prime.available, Number.MAX_SAFE_INTEGER, "quota at the end");
    equal(this.rig.budget.pinned, 0, "pins at the end");
    equal(this.rig.budget.waiting, 0, "waiters at the end");
    for (const { authority, device } of this.#drivers)
      equal([authority.pins, device.live].join(), "0,0", "a driver's end");
  }

  /** Does the same on both sides; the refusals must agree. @returns the kernel's answer, or null if both refused */
  #both<T>(rules: () => void, kernel: () => T): T | null {
    let expected: string | null = null;
    try {
      rules();
    } catch (error) {
      if (!(error instanceof model.Refusal)) throw error;
      expected = error.code;
    }
    let answer: T | null = null;
    let code: string | null = null;
    try {
      answer = kernel();
    } catch (error) {
      code = codeOf(error);
      this.#count(`error: ${code}`);
    }
    equal(code, expected, "the error");
    return answer;
  }

  /** Mostly one that is not Void. */
  #pick<H extends Handle<Capability, model.Thing>>(list: readonly H[], at: number): H {
    const alive = at % 8 === 0 ? list : list.filter((handle) => !this.model.isVoid(handle.model));
    return pick(alive.length === 0 ? list : alive, at >>> 3);
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }
}

function codeOf(error: unknown): string {
  if (error instanceof KorralError) return error.code;
  throw error;
}

function pick<T>(list: readonly T[], at: number): T {
  return list[at % list.length];
}

/** One of the last dozen. */
function recent<T>(list: readonly T[], at: number): T {
  return list[list.length - 1 - (at % Math.min(list.length, 12))];
}

function equal(got: unknown, expected: unknown, what: string): void {
  if (got !== expected) throw new Error(`${what}: ${got} instead of ${expected}`);
}

function atMost(got: number, bound: number, what: string): void {
  if (got > bound) throw new Error(`${what}: ${got} is more than ${bound}`);
}
