import { type FrameNumber, PAGE_SIZE } from "../util/brand.js";
import { KorralError } from "../util/errors.js";
import { BANK_SHIFT, type Bank, FrameState, type PhysicalMemory, pagesSpanned } from "./physical-memory.js";
import { DmaAccess, Pin, type PinAccess } from "./pin.js";

/**
 * What a pin is for. Each pool has a part of the budget to itself, so that none can starve another:
 * - *solicited*: one request's transfer, of bounded duration (case 2);
 * - *posted*: receive buffers that wait for whatever comes (case 3b): long-lived, but withdrawable;
 * - *reserved*: a driver's own rings and buffers, taken when it starts;
 * - *paging*: frames of the single-level store on their way in or out, so that paging never waits for anybody.
 */
export const PinPool = { solicited: 0, posted: 1, reserved: 2, paging: 3 } as const;
export type PinPool = (typeof PinPool)[keyof typeof PinPool];
export const PIN_POOL_NAMES = ["solicited", "posted", "reserved", "paging"] as const;

/** The request is larger than the bound could ever admit: refused at once, never queued. */
export class PinBoundError extends KorralError {
  constructor(frames: number, bound: number, what: string) {
    super(
      "pin-bound",
      `${frames} frames to pin, but ${what} has a bound of ${bound}: split the request, or raise the bound`,
      1,
    );
  }
}

/** The bound is reached now; the same request may be granted later. */
export class PinBusyError extends KorralError {
  constructor() {
    super("pin-busy", "the pin bound is reached at the moment: wait for a transfer to end, or raise the bound", 1);
  }
}

/** A pin was released twice, by another authority, or while a device can still reach its frames. */
export class PinReleaseError extends KorralError {}

/** The authority has ended (its driver died): it can pin nothing more. */
export class PinAuthorityEndedError extends KorralError {
  constructor(name: string) {
    super("pin-authority-ended", `the pin authority of ${name} has ended: its driver is gone`, 1);
  }
}

const INDEX_MASK = (1 << BANK_SHIFT) - 1;

const NO_COUNTS = new Uint32Array(0);

/** Counts, per frame, the pins of one pool or one authority, and how many distinct frames that makes. */
class DistinctFrames {
  distinct = 0;
  peak = 0;
  readonly #counts: (Uint32Array | undefined)[] = [];

  constructor(
    readonly memory: PhysicalMemory,
    readonly bound: number,
  ) {}

  /** Whether frames, without repetitions, would keep within the bound. */
  admits(frames: readonly FrameNumber[]): boolean {
    return this.distinct + frames.length <= this.bound || this.distinct + this.#added(frames) <= this.bound;
  }

  add(frames: readonly FrameNumber[]): void {
    let bank = -1;
    let counts: Uint32Array = NO_COUNTS;
    let added = 0;
    for (let i = 0; i < frames.length; i++) {
      const frame = frames[i];
      if (frame >>> BANK_SHIFT !== bank) {
        bank = frame >>> BANK_SHIFT;
        counts = this.countsOf(bank);
      }
      if (counts[frame & INDEX_MASK]++ === 0) added++;
    }
    this.distinct += added;
    if (this.distinct > this.peak) this.peak = this.distinct;
  }

  remove(frames: readonly FrameNumber[]): void {
    let bank = -1;
    let counts: Uint32Array = NO_COUNTS;
    let removed = 0;
    for (let i = 0; i < frames.length; i++) {
      const frame = frames[i];
      if (frame >>> BANK_SHIFT !== bank) {
        bank = frame >>> BANK_SHIFT;
        counts = this.countsOf(bank);
      }
      if (--counts[frame & INDEX_MASK] === 0) removed++;
    }
    this.distinct -= removed;
  }

  /** A bank is no more: no frame of it is pinned. */
  forget(bank: number): void {
    this.#counts[bank] = undefined;
  }

  protected countsOf(bank: number): Uint32Array {
    return this.#counts[bank] ?? this.#newCounts(bank);
  }

  #newCounts(bank: number): Uint32Array {
    const counts = new Uint32Array(this.memory.bank(bank).frames);
    this.#counts[bank] = counts;
    return counts;
  }

  #added(frames: readonly FrameNumber[]): number {
    let added = 0;
    for (let i = 0; i < frames.length; i++) {
      if (this.countsOf(frames[i] >>> BANK_SHIFT)[frames[i] & INDEX_MASK] === 0) added++;
    }
    return added;
  }
}

/** Counts all pins of a machine, in the frame table itself. */
class PinnedFrames extends DistinctFrames {
  protected override countsOf(bank: number): Uint32Array {
    return this.memory.bank(bank).pinCounts;
  }
}

export interface PinBudgetOptions {
  /** Distinct frames that may be pinned at any time, all pools together. */
  bound: number;
  /** Parts of the bound; `solicited` gets the rest. Defaults: a quarter, a quarter, 64 (or a sixteenth if that is less). */
  posted?: number;
  reserved?: number;
  paging?: number;
}

/** A request that waits for room. Its place in the queue is its age. */
export interface PinWaiter {
  readonly authority: PinAuthority;
  readonly pool: PinPool;
  readonly frames: readonly FrameNumber[];
  readonly grant: () => void;
}

/**
 * The bound on pinned memory. Requests are admitted whole or not at all, counted in distinct frames, against the bound
 * of their pool and of their authority. Who does not fit waits in order of arrival: nobody overtakes a request of the
 * same pool that waits for the pool; one that waits for its own authority's bound holds up that authority only.
 */
export class PinBudget {
  /** Called when the last pin of a frame is released whose object is being destroyed. */
  onLastUnpin: (frame: FrameNumber) => void = () => {};
  readonly bound: number;
  readonly #pools: readonly DistinctFrames[];
  readonly #total: PinnedFrames;
  readonly #queues: PinWaiter[][] = [[], [], [], []];
  readonly #authorities = new Set<PinAuthority>();

  constructor(
    readonly memory: PhysicalMemory,
    options: PinBudgetOptions,
  ) {
    const { bound } = options;
    const posted = options.posted ?? Math.floor(bound / 4);
    const reserved = options.reserved ?? Math.floor(bound / 4);
    const paging = options.paging ?? Math.min(64, Math.floor(bound / 16));
    const solicited = bound - posted - reserved - paging;
    if (![bound, posted, reserved, paging].every((n) => Number.isInteger(n) && n >= 0) || solicited < 1) {
      throw new KorralError(
        "pin-budget",
        `a pin budget of ${bound} frames with ${posted} posted, ${reserved} reserved and ${paging} for paging leaves nothing for requests: raise it`,
        2,
      );
    }
    this.bound = bound;
    this.#pools = [solicited, posted, reserved, paging].map((part) => new DistinctFrames(memory, part));
    this.#total = new PinnedFrames(memory, bound);
    memory.events.on("released", ({ index }) => this.#forgetBank(index));
  }

  get pinned(): number {
    return this.#total.distinct;
  }

  get peak(): number {
    return this.#total.peak;
  }

  get waiting(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.length, 0);
  }

  pool(pool: PinPool): { readonly pinned: number; readonly peak: number; readonly bound: number } {
    const { distinct, peak, bound } = this.#pools[pool];
    return { pinned: distinct, peak, bound };
  }

  /**
   * @param name of the driver, for messages
   * @param bound distinct frames that this authority may pin in one pool at a time
   */
  authority(name: string, bound = this.bound): PinAuthority {
    if (!Number.isInteger(bound) || bound < 1) {
      throw new KorralError("pin-budget", `${bound} is not a bound of frames for ${name}: choose 1 or more`, 2);
    }
    const authority = new PinAuthority(this, name, bound);
    this.#authorities.add(authority);
    return authority;
  }

  /** Asks all holders of withdrawable pins of a frame to give them up (its object is being destroyed). */
  withdraw(frame: FrameNumber): void {
    for (const authority of [...this.#authorities]) authority.withdraw(frame);
  }

  /** @internal @throws PinBoundError when the request could never be granted */
  assertPossible(authority: PinAuthority, pool: PinPool, frames: readonly FrameNumber[]): void {
    const part = this.#pools[pool];
    if (frames.length > part.bound)
      throw new PinBoundError(frames.length, part.bound, `the ${PIN_POOL_NAMES[pool]} pool`);
    if (frames.length > authority.bound) throw new PinBoundError(frames.length, authority.bound, authority.name);
  }

  /** @internal Whether a request may be granted now without overtaking anybody. */
  mayAdmit(authority: PinAuthority, pool: PinPool, frames: readonly FrameNumber[]): boolean {
    const queue = this.#queues[pool];
    return (
      authority.counters[pool].admits(frames) &&
      this.#pools[pool].admits(frames) &&
      (queue.length === 0 || mayPass(queue, authority))
    );
  }

  /** @internal */
  enqueue(waiter: PinWaiter): void {
    this.#queues[waiter.pool].push(waiter);
  }

  /** @internal An authority has ended: none of its requests waits any more, and those behind them may go on. */
  abandon(authority: PinAuthority): void {
    for (const queue of this.#queues) {
      for (let i = queue.length - 1; i >= 0; i--) if (queue[i].authority === authority) queue.splice(i, 1);
    }
    for (let pool = 0; pool < this.#queues.length; pool++) this.settle(pool as PinPool);
  }

  /** @internal @throws KorralError, with no effect, if frames are of a bank that was released */
  count(authority: PinAuthority, pool: PinPool, frames: readonly FrameNumber[]): void {
    this.memory.assertThere(frames);
    this.#pools[pool].add(frames);
    if (authority.limited) authority.counters[pool].add(frames);
    this.#total.add(frames);
  }

  /** @internal */
  uncount(authority: PinAuthority, pool: PinPool, frames: readonly FrameNumber[]): void {
    this.#pools[pool].remove(frames);
    if (authority.limited) authority.counters[pool].remove(frames);
    this.#total.remove(frames);
    let bank: Bank | null = null;
    for (let i = 0; i < frames.length; i++) {
      const frame = frames[i];
      if (bank === null || frame >>> BANK_SHIFT !== bank.index) bank = this.memory.bankOf(frame);
      if (bank.state(frame) === FrameState.dying && bank.pinCount(frame) === 0) this.onLastUnpin(frame);
    }
    this.settle(pool);
  }

  /** @internal Grants what fits, oldest first. */
  settle(pool: PinPool): void {
    const queue = this.#queues[pool];
    if (queue.length === 0) return;
    const heldUp = new Set<PinAuthority>();
    for (let i = 0; i < queue.length; ) {
      const waiter = queue[i];
      if (heldUp.has(waiter.authority)) {
        i++;
      } else if (!waiter.authority.counters[pool].admits(waiter.frames)) {
        heldUp.add(waiter.authority);
        i++;
      } else if (this.#pools[pool].admits(waiter.frames)) {
        queue.splice(i, 1);
        waiter.grant();
      } else {
        return;
      }
    }
  }

  #forgetBank(index: number): void {
    for (const counters of [this.#pools, ...[...this.#authorities].map((authority) => authority.counters)]) {
      for (const counter of counters) counter.forget(index);
    }
    // Requests for its frames find out when they are granted.
    const isOf = (frame: FrameNumber): boolean => frame >>> BANK_SHIFT === index;
    const hopeless = this.#queues.flatMap((queue) => queue.filter(({ frames }) => frames.some(isOf)));
    for (const waiter of hopeless) {
      const queue = this.#queues[waiter.pool];
      queue.splice(queue.indexOf(waiter), 1);
      waiter.grant();
    }
    for (let pool = 0; pool < this.#queues.length; pool++) this.settle(pool as PinPool);
  }

  /** @internal */
  forget(authority: PinAuthority): void {
    this.#authorities.delete(authority);
  }
}

/** A newcomer may pass those who wait for their own authority's bound, unless that is the newcomer's authority too. */
function mayPass(queue: readonly PinWaiter[], authority: PinAuthority): boolean {
  const heldUp = new Set<PinAuthority>();
  for (const waiter of queue) {
    if (heldUp.has(waiter.authority)) continue;
    if (waiter.authority.counters[waiter.pool].admits(waiter.frames)) return false;
    heldUp.add(waiter.authority);
  }
  return !heldUp.has(authority);
}

/**
 * One driver's right to pin (the budget's side of a `PinControl` capability). It keeps a list of what it pinned, so that
 * everything is released, exactly once, when the driver dies.
 */
export class PinAuthority {
  /** @internal One counter a pool. */
  readonly counters: readonly DistinctFrames[];
  /** @internal Whether its own bound can ever matter; if not, nothing is counted against it. */
  readonly limited: boolean;
  readonly #pins: Pin[] = [];
  readonly #waiters = new Set<(error: KorralError) => void>();
  #ended = false;

  /** @internal Made by {@link PinBudget.authority}. */
  constructor(
    readonly budget: PinBudget,
    readonly name: string,
    readonly bound: number,
  ) {
    this.limited = bound < budget.bound;
    this.counters = PIN_POOL_NAMES.map(() => new DistinctFrames(budget.memory, bound));
  }

  get pins(): number {
    return this.#pins.length;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Pins at once or not at all: for callers that cannot wait (a DMA mapping call).
   * @param frames one a page, in order of the transfer; may repeat
   * @param offset of the first byte in the first frame
   * @param released a pin of this authority that the caller has released and nobody else knows of: it is used again
   * @throws PinBoundError, PinBusyError, PinAuthorityEndedError; KorralError if frames and extent do not agree
   */
  tryPin(
    frames: readonly FrameNumber[],
    offset: number,
    length: number,
    access: PinAccess,
    pool: PinPool,
    released: Pin | null = null,
  ): Pin {
    const distinct = this.#admissible(frames, offset, length, pool);
    if (!this.budget.mayAdmit(this, pool, distinct)) throw new PinBusyError();
    return this.#pin(frames, distinct, offset, length, access, pool, released);
  }

  /**
   * Pins now if the bound allows, else as soon as it does, in order of arrival.
   * @param stillValid asked when the turn comes; an error there fails the request instead
   * @throws PinBoundError, PinAuthorityEndedError
   */
  pin(
    frames: readonly FrameNumber[],
    offset: number,
    length: number,
    access: PinAccess,
    pool: PinPool,
    stillValid: () => void = nothing,
  ): Pin | Promise<Pin> {
    const distinct = this.#admissible(frames, offset, length, pool);
    if (this.budget.mayAdmit(this, pool, distinct)) return this.#pin(frames, distinct, offset, length, access, pool);
    return new Promise<Pin>((resolve, reject) => {
      this.#waiters.add(reject);
      this.budget.enqueue({
        authority: this,
        pool,
        frames: distinct,
        grant: () => {
          this.#waiters.delete(reject);
          try {
            stillValid();
            resolve(this.#pin(frames, distinct, offset, length, access, pool));
          } catch (error) {
            reject(error);
          }
        },
      });
    });
  }

  /** @throws PinReleaseError when it is not this authority's, is released already, or is still mapped for a device */
  unpin(pin: Pin): void {
    if (pin.authority !== this)
      throw new PinReleaseError("not-pin-owner", `${this.name} did not make this pin and cannot release it`);
    if (!pin.live) throw new PinReleaseError("pin-released", `this pin of ${this.name} was released before`);
    if (pin.mappings > 0) {
      throw new PinReleaseError(
        "pin-mapped",
        "a device can still reach these frames: unmap them from its I/O MMU first",
      );
    }
    this.#release(pin);
  }

  /** @internal */
  withdraw(frame: FrameNumber): void {
    for (const pin of [...this.#pins]) if (pin.live && pin.distinct.includes(frame)) pin.withdraw();
  }

  /**
   * The driver died: what waits fails, what is pinned is released. Its device must be unable to reach memory already.
   * @throws PinReleaseError, with no effect, if it is not
   */
  end(): void {
    if (this.#ended) return;
    for (const pin of this.#pins) {
      if (pin.mappings > 0)
        throw new PinReleaseError("pin-mapped", `${this.name} died, but its device can still reach memory`);
    }
    this.#ended = true;
    const waiting = [...this.#waiters];
    this.#waiters.clear();
    for (const fail of waiting) fail(new PinAuthorityEndedError(this.name));
    this.budget.abandon(this);
    for (const pin of [...this.#pins]) this.#release(pin);
    this.budget.forget(this);
  }

  #admissible(frames: readonly FrameNumber[], offset: number, length: number, pool: PinPool): readonly FrameNumber[] {
    if (this.#ended) throw new PinAuthorityEndedError(this.name);
    if (!(offset >= 0 && offset < PAGE_SIZE && length > 0) || pagesSpanned(offset, length) !== frames.length) {
      throw new KorralError(
        "pin-extent",
        `${this.name} pins ${length} bytes from offset ${offset} of a frame: that is not the extent of ${frames.length} frames`,
      );
    }
    const distinct = withoutRepetitions(frames);
    this.budget.assertPossible(this, pool, distinct);
    return distinct;
  }

  #pin(
    frames: readonly FrameNumber[],
    distinct: readonly FrameNumber[],
    offset: number,
    length: number,
    access: PinAccess,
    pool: PinPool,
    released: Pin | null = null,
  ): Pin {
    this.budget.count(this, pool, distinct);
    // A device's write goes past every page table: the frames count as changed from the moment it may happen.
    if ((access & DmaAccess.write) !== 0) this.budget.memory.setDirty(distinct);
    let pin = released;
    if (pin === null || pin.live || pin.authority !== this) {
      pin = new Pin(this, pool, frames, distinct, offset, length, access);
    } else {
      pin.renew(pool, frames, distinct, offset, length, access);
    }
    pin.place = this.#pins.push(pin) - 1;
    return pin;
  }

  #release(pin: Pin): void {
    pin.live = false;
    // Whoever wrote the frames back meanwhile may have missed what the device wrote since.
    if ((pin.access & DmaAccess.write) !== 0) this.budget.memory.setDirty(pin.distinct);
    const last = this.#pins.pop();
    if (last !== undefined && last !== pin) {
      this.#pins[pin.place] = last;
      last.place = pin.place;
    }
    this.budget.uncount(this, pin.pool, pin.distinct);
  }
}

function nothing(): void {}

/** The array itself in the usual case that no frame occurs twice. */
function withoutRepetitions(frames: readonly FrameNumber[]): readonly FrameNumber[] {
  let at = 1;
  while (at < frames.length && frames[at] > frames[at - 1]) at++;
  if (at >= frames.length) return frames;
  const set = new Set(frames);
  return set.size === frames.length ? frames : [...set];
}
