import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import { type PciConfigSpace, PciStatus } from "../../bus/pci-config.js";
import type { MsiX } from "../../bus/pci-msix.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";
import type { CompletionQueue, QueueTable } from "./queues.js";

/** Unit of the aggregation time (§5.21.1.8). */
const AGGREGATION_UNIT = 100_000;

export interface InterruptsState {
  mask: number;
  aggregated: number[];
  /** Nanoseconds until the aggregation time is over; Infinity when nothing is being aggregated. */
  aggregation: number;
}

/** Interrupt Coalescing and Interrupt Vector Configuration, as the features have them. */
export interface CoalescingSettings {
  /** Entries to gather, 0's based, and for how long at most, in units of 100 µs. */
  readonly aggregationThreshold: number;
  readonly aggregationTime: number;
  isCoalescingDisabled(vector: number): boolean;
}

/** Interrupts of completion queues (§7.5): a message for each vector, or the pin while MSI-X is off. */
export class Interrupts {
  /** INTMS and INTMC: vectors that do not assert the pin. */
  mask = 0;
  /** Vectors to signal at the next flush. */
  readonly #marked: Uint8Array;
  readonly #markedList: Uint16Array;
  #markedCount = 0;
  /** Entries gathered for a vector since it was last signalled. */
  readonly #aggregated: Uint16Array;
  readonly #aggregation: Timer;

  constructor(
    readonly host: DeviceHost,
    readonly config: PciConfigSpace,
    readonly msix: MsiX,
    readonly queues: QueueTable,
    readonly settings: CoalescingSettings,
  ) {
    this.#marked = new Uint8Array(msix.vectors);
    this.#markedList = new Uint16Array(msix.vectors);
    this.#aggregated = new Uint16Array(msix.vectors);
    this.#aggregation = host.clock.timer(() => this.#aggregationOver());
  }

  /** An entry was posted; {@link flush} will signal it. */
  posted(queue: CompletionQueue): void {
    if (!queue.interrupts) return;
    const { vector } = queue;
    const { settings } = this;
    // The admin queue is never coalesced; either value being 0 turns coalescing off (§5.21.1.8).
    if (queue.id !== 0 && settings.aggregationTime > 0 && settings.aggregationThreshold > 0) {
      if (!settings.isCoalescingDisabled(vector) && ++this.#aggregated[vector] <= settings.aggregationThreshold) {
        if (!this.#aggregation.armed) this.#aggregation.arm(settings.aggregationTime * AGGREGATION_UNIT);
        return;
      }
    }
    this.#mark(vector);
  }

  /** Signals what was marked: one message a vector, however many entries there are. */
  flush(): void {
    if (this.#markedCount === 0) return;
    const count = this.#markedCount;
    this.#markedCount = 0;
    for (let i = 0; i < count; i++) {
      const vector = this.#markedList[i];
      this.#marked[vector] = 0;
      this.msix.notify(vector);
    }
    this.updatePin();
  }

  /** The pin is asserted while a queue with interrupts has entries that the host has not taken (§7.5.1.1). */
  updatePin(): void {
    const pending = !this.msix.enabled && this.#isPending();
    this.config.setStatus(PciStatus.interrupt, pending);
    this.host.interrupt.set(pending);
  }

  reset(): void {
    this.mask = 0;
    this.#clear();
    this.updatePin();
  }

  snapshot(): InterruptsState {
    return {
      mask: this.mask,
      aggregated: [...this.#aggregated],
      aggregation: remaining(this.#aggregation, this.host.clock),
    };
  }

  restore(state: StateReader): void {
    const mask = state.integer("mask", 0, 0xffff_ffff);
    const aggregated = state.numbers("aggregated", this.msix.vectors, this.msix.vectors, 0xffff);
    const aggregation = state.delay("aggregation");
    this.#clear();
    this.mask = mask;
    this.#aggregated.set(aggregated);
    rearm(this.#aggregation, aggregation);
  }

  #clear(): void {
    this.#aggregation.cancel();
    this.#aggregated.fill(0);
    this.#marked.fill(0);
    this.#markedCount = 0;
  }

  #mark(vector: number): void {
    this.#aggregated[vector] = 0;
    if (this.#marked[vector] !== 0) return;
    this.#marked[vector] = 1;
    this.#markedList[this.#markedCount++] = vector;
  }

  #aggregationOver(): void {
    for (let vector = 0; vector < this.#aggregated.length; vector++) {
      if (this.#aggregated[vector] > 0) this.#mark(vector);
    }
    this.flush();
  }

  #isPending(): boolean {
    const { completions } = this.queues;
    for (let i = 0; i < completions.length; i++) {
      const queue = completions[i];
      const masked = queue.vector < 32 && ((this.mask >>> queue.vector) & 1) !== 0;
      if (queue.interrupts && queue.used > 0 && !masked) return true;
    }
    return false;
  }
}
