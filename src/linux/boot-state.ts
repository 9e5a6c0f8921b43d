import type { GuestAddress } from "../util/guest-address.js";
import type { HeapState } from "./heap.js";
import type { PageState } from "./pages.js";
import type { PercpuState } from "./percpu.js";
import type { ConsoleLine } from "./services.js";
import type { SlabState } from "./slab-caches.js";
import type { WorkQueueState } from "./work.js";

/** What a domain knows of a kernel that has initialised itself, besides its memory. */
export interface BootState {
  readonly hz: number;
  readonly heap: HeapState;
  readonly pages: PageState;
  readonly percpu: PercpuState;
  readonly caches: SlabState;
  readonly work: WorkQueueState;
  readonly initcalls: readonly GuestAddress[];
  readonly console: readonly ConsoleLine[];
}

type Check = (value: unknown) => boolean;

const whole: Check = (value) => Number.isSafeInteger(value);
const natural: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const flag: Check = (value) => typeof value === "boolean";
const text: Check = (value) => typeof value === "string";
const listOf =
  (item: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(item);
const tuple =
  (...items: readonly Check[]): Check =>
  (value) =>
    Array.isArray(value) && value.length === items.length && items.every((item, i) => item(value[i]));
const record =
  (fields: Readonly<Record<string, Check>>): Check =>
  (value) =>
    typeof value === "object" &&
    value !== null &&
    Object.entries(fields).every(([name, check]) => check((value as Record<string, unknown>)[name]));

const block = record({ address: whole, order: natural });

const isBootState = record({
  hz: (value) => natural(value) && value !== 0,
  heap: record({
    next: whole,
    live: natural,
    liveBytes: natural,
    free: listOf(tuple(natural, listOf(whole))),
    open: listOf(tuple(natural, whole, whole)),
  }),
  pages: record({ bottom: whole, free: listOf(listOf(block)), live: listOf(tuple(whole, block)) }),
  percpu: record({ next: whole, live: listOf(tuple(whole, natural)) }),
  caches: listOf(tuple(whole, record({ name: text, size: natural, initialise: whole, live: natural }))),
  work: listOf(tuple(whole, record({ name: text, ordered: flag }))),
  initcalls: listOf(whole),
  console: listOf(record({ level: natural, text, time: natural })),
});

/** @returns null if it is not the text of one */
export function parseBootState(json: string): BootState | null {
  let state: unknown;
  try {
    state = JSON.parse(json);
  } catch {
    return null;
  }
  return isBootState(state) ? (state as BootState) : null;
}
