import type { IoMmuContext } from "../bus/io-mmu.js";
import { ObjectIoError, VoidError } from "../capability/errors.js";
import type { Kernel } from "../capability/kernel.js";
import { type Page, PageCapability, type PageSource } from "../capability/page.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import { DmaAccess, type Pin, type PinAccess } from "../memory/pin.js";
import { type PinAuthority, PinPool } from "../memory/pin-budget.js";
import { type IoAddress, PAGE_SIZE } from "../util/brand.js";
import { KorralError } from "../util/errors.js";
import type { TransferStatistics } from "./statistics.js";

/** What the disk driver is told: enough to move one page, and no capability to it. */
export interface DiskPageRequest {
  readonly requestId: number;
  readonly ioAddress: IoAddress;
  /** Page-sized block on the disk. */
  readonly block: number;
  /** `in`: disk → memory. */
  readonly direction: "in" | "out";
}

/** The disk driver's side of paging: takes requests, and later calls {@link ObjectPager.complete}. */
export interface PagingDriver {
  readonly dma: IoMmuContext;
  submit(request: DiskPageRequest): void;
}

interface Request {
  readonly page: Page;
  readonly pin: Pin;
  readonly io: IoAddress;
  readonly direction: "in" | "out";
  readonly done: ((error: Error | null) => void) | null;
}

/**
 * The disk special case. Objects of the store do not exist in memory until they are loaded, so there is nothing that a
 * requester could pin: the kernel takes a frame, marks it *fetching*, and hands the driver its I/O address; whoever
 * invokes the page meanwhile waits on its stall queue. An error reaches them as an error, and the page is absent again.
 */
export class ObjectPager implements PageSource {
  readonly #kernel: Kernel;
  readonly #bank: SpaceBankCapability;
  readonly #authority: PinAuthority;
  readonly #statistics: TransferStatistics;
  readonly #pages = new Map<number, Page>();
  readonly #blocks = new Map<Page, number>();
  readonly #requests = new Map<number, Request>();
  readonly #waitingForFrames: Page[] = [];
  #driver: PagingDriver | null;
  #nextId = 1;
  /** Where the search for an evictable page goes on. */
  #hand = this.#pages.values();
  #starting = false;
  /** Transfers that have begun, whether or not the driver has them yet, and pages that have just come. */
  #busy = 0;

  /**
   * @param bank pays for the page objects
   * @param blocks size of the disk in pages
   */
  constructor(
    kernel: Kernel,
    bank: SpaceBankCapability,
    driver: PagingDriver,
    readonly blocks: number,
    statistics: TransferStatistics,
  ) {
    this.#kernel = kernel;
    this.#bank = bank;
    this.#driver = driver;
    this.#statistics = statistics;
    this.#authority = kernel.budget.authority("object pager");
    const others = kernel.reclaim;
    kernel.reclaim = () => {
      if (this.evictOne() || others()) return true;
      // Whoever asks cannot wait; who asks later finds a clean page.
      this.#cleanOne();
      return false;
    };
  }

  get inFlight(): number {
    return this.#requests.size;
  }

  get residentPages(): number {
    let count = 0;
    for (const page of this.#pages.values()) if (page.resident) count++;
    return count;
  }

  /** A capability to the page that lives in a block; absent until it is used. @throws QuotaError, ObjectIoError */
  page(block: number): PageCapability {
    if (!Number.isInteger(block) || block < 0 || block >= this.blocks) {
      throw new ObjectIoError(`object ${block}`, `the store has ${this.blocks} blocks`);
    }
    let page = this.#pages.get(block);
    if (page === undefined) {
      page = this.#bank.storePage(this);
      this.#pages.set(block, page);
      this.#blocks.set(page, block);
    }
    return new PageCapability(page);
  }

  fetch(page: Page): void {
    page.fetching = true;
    this.#waitingForFrames.push(page);
    this.#startFetches();
  }

  forget(page: Page): void {
    const block = this.#blocks.get(page);
    if (block !== undefined) this.#pages.delete(block);
    this.#blocks.delete(page);
  }

  /** The driver's report: `error` null means that the data was moved. Unknown ids are refused. */
  complete(requestId: number, error: Error | null): void {
    const request = this.#requests.get(requestId);
    if (request === undefined) throw new ObjectIoError(`request ${requestId}`, "it is not in flight");
    this.#requests.delete(requestId);
    const { page, pin, io, direction, done } = request;
    this.#driver?.dma.unmap(io, "object pager");
    this.#finish(page, pin, direction, done, error);
  }

  /** The driver died: its device can reach nothing any more, and what was in flight has failed. */
  driverGone(why: string): void {
    this.#driver = null;
    const error = new ObjectIoError("object pager", `the disk driver died: ${why}`);
    const requests = [...this.#requests.values()];
    this.#requests.clear();
    for (const { page, pin, direction, done } of requests) this.#finish(page, pin, direction, done, error);
    for (const page of this.#waitingForFrames.splice(0)) page.failed(error);
  }

  /** A new driver serves the same disk. */
  attach(driver: PagingDriver): void {
    this.#driver = driver;
    this.#startFetches();
  }

  /** Writes all changed pages back. @throws ObjectIoError for the first that failed, after all were tried */
  async sync(): Promise<void> {
    const results = await Promise.allSettled([...this.#pages.values()].map((page) => this.#clean(page)));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  /** Gives one clean, unpinned page's frame back, longest unused first (second chance). @returns false if there is none */
  evictOne(): boolean {
    for (let step = 2 * this.#pages.size; step > 0; step--) {
      const page = this.#nextPage();
      if (!page.resident || page.interest > 0 || page.memoryBank.pinCount(page.frame) > 0) continue;
      if (page.memoryBank.isDirty(page.frame)) continue;
      if (page.referenced) {
        page.referenced = false;
        continue;
      }
      page.evict();
      return true;
    }
    return false;
  }

  #nextPage(): Page {
    let next = this.#hand.next();
    if (next.done === true) {
      this.#hand = this.#pages.values();
      next = this.#hand.next();
    }
    return next.value as Page;
  }

  /** A transfer that ends at once leads back to here: one call at a time does the work. */
  #startFetches(): void {
    if (this.#starting) return;
    this.#starting = true;
    while (this.#waitingForFrames.length > 0 && this.#startFetch(this.#waitingForFrames[0])) {
      this.#waitingForFrames.shift();
    }
    this.#starting = false;
  }

  /** @returns false if the page has to wait for a frame that a transfer is going to free */
  #startFetch(page: Page): boolean {
    if (page.destroyed) return true;
    try {
      page.frame = this.#kernel.allocateFetchFrame();
    } catch (error) {
      // None that could be evicted; one that is on its way may do, or one that is written back first.
      if (this.#busy > 0 || this.#cleanOne()) return false;
      page.failed(asError(error));
      return true;
    }
    this.#transfer(page, "in", null);
    return true;
  }

  /** Starts writing back a changed page that nobody pins, unless one is on its way already. */
  #cleanOne(): boolean {
    for (const request of this.#requests.values()) if (request.direction === "out") return true;
    for (const page of this.#pages.values()) {
      if (!page.resident || page.interest > 0 || !page.memoryBank.isDirty(page.frame)) continue;
      if (page.memoryBank.pinCount(page.frame) > 0) continue;
      page.referenced = false;
      this.#clean(page).catch(() => {});
      return true;
    }
    return false;
  }

  #clean(page: Page): Promise<void> {
    if (!page.resident || page.destroyed || !page.memoryBank.isDirty(page.frame)) return Promise.resolve();
    // From now on changed again means: once more. Until it is written it must not be evicted as unchanged.
    page.memoryBank.setDirty(page.frame, false);
    page.interest++;
    return new Promise<void>((resolve, reject) => {
      this.#transfer(page, "out", (error) => {
        page.interest--;
        if (error === null || page.destroyed) resolve();
        else reject(error);
      });
    });
  }

  #transfer(page: Page, direction: "in" | "out", done: Request["done"]): void {
    const access = direction === "in" ? DmaAccess.write : DmaAccess.read;
    this.#busy++;
    const start = (pin: Pin): void => this.#submit(page, pin, access, direction, done);
    const pin = this.#authority.pin([page.frame], 0, PAGE_SIZE, access, PinPool.paging, () => {
      if (page.destroyed) throw new VoidError("paging");
    });
    if (!(pin instanceof Promise)) {
      start(pin);
      return;
    }
    pin.then(start, (error) => {
      this.#busy--;
      this.#fail(page, direction, done, error);
      this.#startFetches();
    });
  }

  #submit(page: Page, pin: Pin, access: PinAccess, direction: "in" | "out", done: Request["done"]): void {
    const block = this.#blocks.get(page);
    if (this.#driver === null || block === undefined) {
      this.#finish(page, pin, direction, done, new ObjectIoError("object pager", "no disk driver serves the store"));
      return;
    }
    let io: IoAddress;
    try {
      io = this.#driver.dma.map(pin, 0, PAGE_SIZE, access, "object pager");
    } catch (error) {
      this.#finish(page, pin, direction, done, asError(error));
      return;
    }
    const requestId = this.#nextId++;
    this.#requests.set(requestId, { page, pin, io, direction, done });
    try {
      this.#driver.submit({ requestId, ioAddress: io, block, direction });
    } catch (error) {
      this.complete(requestId, asError(error));
    }
  }

  #finish(page: Page, pin: Pin, direction: "in" | "out", done: Request["done"], error: Error | null): void {
    const { destroyed } = page;
    this.#busy--;
    this.#authority.unpin(pin);
    if (error !== null) {
      this.#fail(page, direction, done, error);
    } else if (direction === "in") {
      this.#statistics.fetched++;
      if (!destroyed) void this.#arrived(page);
    } else {
      this.#statistics.cleaned++;
      done?.(null);
    }
    this.#startFetches();
  }

  /** Invokers resume as promises: the page stays until they have had their turn, or they would only fetch it again. */
  async #arrived(page: Page): Promise<void> {
    this.#busy++;
    page.interest++;
    const behindThem = page.stalled.wait();
    page.arrived();
    await behindThem;
    await null;
    page.interest--;
    this.#busy--;
    this.#startFetches();
  }

  #fail(page: Page, direction: "in" | "out", done: Request["done"], error: unknown): void {
    this.#statistics.pagingErrors++;
    const wrapped = error instanceof KorralError ? error : new ObjectIoError("object pager", asError(error).message);
    if (direction === "in") {
      if (!page.destroyed) page.failed(wrapped);
    } else {
      // It is still the only copy of what was written.
      if (page.resident && !page.destroyed) page.memoryBank.setDirty(page.frame, true);
      done?.(wrapped);
    }
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
