import type { IoMmuContext } from "../bus/io-mmu.js";
import { ObjectIoError, VoidError } from "../capability/errors.js";
import type { Kernel } from "../capability/kernel.js";
import { type Page, PageCapability, type PageSource } from "../capability/page.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import { DmaAccess, type Pin } from "../memory/pin.js";
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
  #hand = 0;

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
    kernel.reclaim = () => this.evictOne();
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
    const pages = [...this.#pages.values()];
    for (let step = 0; step < 2 * pages.length; step++) {
      const page = pages[this.#hand++ % pages.length];
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

  #startFetches(): void {
    while (this.#waitingForFrames.length > 0) {
      const page = this.#waitingForFrames[0];
      if (page.destroyed) {
        this.#waitingForFrames.shift();
        continue;
      }
      try {
        page.frame = this.#kernel.allocateFetchFrame();
      } catch (error) {
        // No frame, and none that could be evicted: one that is written back first may do.
        if (this.#cleanOne()) return;
        this.#waitingForFrames.shift();
        page.failed(error instanceof Error ? error : new ObjectIoError("object pager", String(error)));
        continue;
      }
      this.#waitingForFrames.shift();
      this.#transfer(page, "in", null);
    }
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
    // From now on changed again means: once more.
    page.memoryBank.setDirty(page.frame, false);
    return new Promise<void>((resolve, reject) => {
      this.#transfer(page, "out", (error) => (error === null ? resolve() : reject(error)));
    });
  }

  #transfer(page: Page, direction: "in" | "out", done: Request["done"]): void {
    const access = direction === "in" ? DmaAccess.write : DmaAccess.read;
    const start = (pin: Pin): void => {
      const block = this.#blocks.get(page);
      if (this.#driver === null || block === undefined) {
        this.#finish(page, pin, direction, done, new ObjectIoError("object pager", "no disk driver serves the store"));
        return;
      }
      const io = this.#driver.dma.map(pin, 0, PAGE_SIZE, access, "object pager");
      const requestId = this.#nextId++;
      this.#requests.set(requestId, { page, pin, io, direction, done });
      try {
        this.#driver.submit({ requestId, ioAddress: io, block, direction });
      } catch (error) {
        this.complete(requestId, error instanceof Error ? error : new ObjectIoError("object pager", String(error)));
      }
    };
    const pin = this.#authority.pin([page.frame], 0, PAGE_SIZE, access, PinPool.paging, () => {
      if (page.destroyed) throw new VoidError("paging");
    });
    if (pin instanceof Promise) pin.then(start, (error) => this.#fail(page, direction, done, error));
    else start(pin);
  }

  #finish(page: Page, pin: Pin, direction: "in" | "out", done: Request["done"], error: Error | null): void {
    const { destroyed } = page;
    this.#authority.unpin(pin);
    if (error !== null) {
      this.#fail(page, direction, done, error);
    } else if (direction === "in") {
      this.#statistics.fetched++;
      if (!destroyed) page.arrived();
    } else {
      this.#statistics.cleaned++;
      done?.(null);
    }
    this.#startFetches();
  }

  #fail(page: Page, direction: "in" | "out", done: Request["done"], error: unknown): void {
    this.#statistics.pagingErrors++;
    const wrapped =
      error instanceof KorralError
        ? error
        : new ObjectIoError("object pager", error instanceof Error ? error.message : String(error));
    if (direction === "in") {
      if (!page.destroyed) page.failed(wrapped);
    } else {
      // It is still the only copy of what was written.
      if (page.resident && !page.destroyed) page.memoryBank.setDirty(page.frame, true);
      done?.(wrapped);
    }
  }
}
