import type { EventSource } from "../util/events.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Random } from "../util/random.js";
import type { AsyncCalls } from "./async-calls.js";
import type { DmaMappings } from "./dma.js";
import type { Execution } from "./execution.js";
import type { Guest } from "./guest.js";
import type { Heap } from "./heap.js";
import type { Initcalls } from "./initcalls.js";
import type { Interrupts } from "./interrupts.js";
import type { JumpLabels } from "./jump-labels.js";
import type { LentFrames } from "./lent-frames.js";
import type { MessageInterrupts } from "./message-interrupts.js";
import type { PageAllocator } from "./pages.js";
import type { PciBridge } from "./pci.js";
import type { Percpu } from "./percpu.js";
import type { RcuCallbacks } from "./rcu.js";
import type { Seam, SeamInstaller } from "./seam.js";
import type { SlabCaches } from "./slab-caches.js";
import type { Threads } from "./threads.js";
import type { Time } from "./time.js";
import type { Vmalloc } from "./vmalloc.js";
import type { WorkQueues } from "./work.js";

/** A line of the kernel's log. */
export interface ConsoleLine {
  /** 0 (emergency) to 7 (debug). */
  readonly level: number;
  readonly text: string;
  /** Nanoseconds of machine time. */
  readonly time: number;
}

/** Memory that was given back wrongly. */
export interface MemoryMisuse {
  readonly rule: string;
  readonly message: string;
  readonly site: string;
}

export interface LinuxEvents {
  console: ConsoleLine;
  memory: MemoryMisuse;
  /** Memory was asked for that the domain has not: whoever asked was told so. */
  exhausted: { readonly message: string };
  /** The domain has ended: it holds nothing of the machine any more. */
  ended: { readonly why: string };
}

/** What seams are made of: the parts of a domain. */
export interface Services {
  readonly guest: Guest;
  readonly events: EventSource<LinuxEvents>;
  readonly execution: Execution;
  readonly heap: Heap;
  readonly caches: SlabCaches;
  readonly pages: PageAllocator;
  readonly vmalloc: Vmalloc;
  readonly percpu: Percpu;
  readonly threads: Threads;
  readonly time: Time;
  readonly work: WorkQueues;
  readonly rcu: RcuCallbacks;
  readonly async: AsyncCalls;
  readonly interrupts: Interrupts;
  readonly messages: MessageInterrupts;
  readonly dma: DmaMappings;
  readonly lent: LentFrames;
  /** Who takes what devices receive, by their `struct net_device`; buffers are freed after it. */
  readonly receivers: Map<GuestAddress, (skb: GuestAddress) => void>;
  readonly pci: PciBridge;
  readonly random: Random;
  readonly seams: SeamInstaller;
  readonly jumpLabels: JumpLabels;
  readonly initcalls: Initcalls;
  /** Who called what is running: the nearest function of a module, else of the kernel. */
  site(): string;
  /** Formats as the kernel's printf does. */
  format(format: GuestAddress, argumentWords: readonly bigint[]): string;
  /** The same with a `va_list`. */
  formatList(format: GuestAddress, list: GuestAddress): string;
}

export type SeamFile = (services: Services) => readonly Seam[];
