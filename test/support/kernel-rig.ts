import type { AddressSpaceCapability } from "../../src/capability/address-space.js";
import { resolveRange } from "../../src/capability/address-space.js";
import { openCapability } from "../../src/capability/capability.js";
import { Kernel } from "../../src/capability/kernel.js";
import type { Page, PageCapability, PageSource } from "../../src/capability/page.js";
import { PinControl, PinControlCapability } from "../../src/capability/pin-control.js";
import { FrameState, PhysicalMemory } from "../../src/memory/physical-memory.js";
import { PinBudget, type PinBudgetOptions } from "../../src/memory/pin-budget.js";
import { PAGE_SIZE } from "../../src/util/brand.js";

/** A capability kernel with nothing around it. */
export class KernelRig {
  readonly memory = new PhysicalMemory();
  readonly ram;
  readonly budget: PinBudget;
  readonly kernel: Kernel;

  constructor(frames = 64, budget: PinBudgetOptions = { bound: 32, posted: 8, reserved: 4, paging: 4 }, reserve = 0) {
    this.ram = this.memory.addBank(frames * PAGE_SIZE);
    this.budget = new PinBudget(this.memory, budget);
    this.kernel = new Kernel(this.memory, this.budget, this.ram, reserve);
  }

  get prime() {
    return this.kernel.primeBank;
  }

  driver(name = "driver", bound?: number): PinControlCapability {
    return new PinControlCapability(new PinControl(this.budget.authority(name, bound)));
  }
}

/** The page behind a capability. */
export function pageOf(capability: PageCapability): Page {
  return openCapability(capability, "test");
}

/** The page at a page index of a space. */
export function pageAt(space: AddressSpaceCapability, index: number): Page {
  return resolveRange(space, index * 4096, 1, false, "test")[0];
}

/** A store whose disk answers when the test says so. */
export class SlowStore implements PageSource {
  readonly fetches: Page[] = [];
  readonly forgotten: Page[] = [];

  constructor(readonly rig: KernelRig) {}

  fetch(page: Page): void {
    page.fetching = true;
    page.frame = this.rig.kernel.allocateFetchFrame();
    this.fetches.push(page);
  }

  forget(page: Page): void {
    this.forgotten.push(page);
  }

  /** The oldest fetch ends well; its page is full of `byte`. */
  deliver(byte = 0): Page {
    const page = this.#oldest();
    if (this.rig.ram.state(page.frame) !== FrameState.fetching) throw new Error("the frame should be fetching");
    this.rig.memory.frameBytes(page.frame).fill(byte);
    page.arrived();
    return page;
  }

  fail(error: Error): void {
    this.#oldest().failed(error);
  }

  #oldest(): Page {
    const page = this.fetches.shift();
    if (page === undefined) throw new Error("nothing is being fetched");
    return page;
  }
}

/** Lets all promises that can settle do so. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
