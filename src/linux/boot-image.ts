import { CPU } from "../translator/cpu-state.js";
import { SHADOW } from "../translator/guest-space.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { HeapState } from "./heap.js";
import { PERCPU, PERCPU_BYTES, STACKS, STACKS_END, VMALLOC, VMALLOC_END, VMEMMAP, VMEMMAP_END } from "./layout.js";
import type { PageState } from "./pages.js";
import type { PercpuState } from "./percpu.js";
import type { ConsoleLine, Services } from "./services.js";
import type { SlabState } from "./slab-caches.js";
import type { WorkQueueState } from "./work.js";

const PAGE = 4096;
const PAGE_WORDS = PAGE / 8;
/** Header: magic, length of the state's text, counts of the tables' words and of pages and runs. */
const MAGIC = 0x4b42_3031;
const HEADER_WORDS = 6;
const CPU_BYTES = CPU.targets;
/** A run of pages of zeroes with one shadow: page, count, shadow. */
const RUN_WORDS = 3;

interface BootState {
  readonly hz: number;
  readonly heap: HeapState;
  readonly pages: PageState;
  readonly percpu: PercpuState;
  readonly caches: SlabState;
  readonly work: WorkQueueState;
  readonly initcalls: readonly GuestAddress[];
  readonly console: readonly ConsoleLine[];
}

/**
 * A kernel that has initialised itself, as bytes: what its memory differs in from the image, and what the domain knows of
 * it. Null if something is under way that bytes cannot say: a thread, a timer, work.
 */
export function captureBoot(services: Services, console: readonly ConsoleLine[]): Uint8Array | null {
  const { threads, time, work, rcu, vmalloc, guest } = services;
  const isIdle = threads.all.length === 0 && time.pending === 0 && work.live === 0 && rcu.pending === 0;
  if (!isIdle || vmalloc.live > 0 || time.now() !== 0) return null;
  guest.sandbox.cpu.resolveLazyFlags();
  const state: BootState = {
    hz: time.hz,
    heap: services.heap.snapshot(),
    pages: services.pages.snapshot(),
    percpu: services.percpu.snapshot(),
    caches: services.caches.snapshot(),
    work: work.snapshot(),
    initcalls: services.initcalls.done,
    console,
  };
  const text = new TextEncoder().encode(JSON.stringify(state));
  const [sizes, slots] = services.heap.tables;
  const { pages, runs } = differences(services);
  const parts: Uint8Array[] = [
    bytesOf(Int32Array.of(MAGIC, text.length, sizes.length, pages.length, runs.length, 0)),
    padded(text),
    bytesOf(sizes),
    bytesOf(slots),
    guest.memory.bytes.slice(0, CPU_BYTES),
    bytesOf(Int32Array.from(runs)),
    bytesOf(Int32Array.from(pages)),
    ...pages.map((page) => guest.memory.bytes.slice(page * PAGE, (page + 1) * PAGE)),
    ...pages.map((page) => guest.memory.bytes.slice(page * PAGE + SHADOW, (page + 1) * PAGE + SHADOW)),
  ];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Makes a fresh domain what it was when the bytes were captured. @returns what the console said; null if they are not usable */
export function restoreBoot(services: Services, stored: Uint8Array): readonly ConsoleLine[] | null {
  const bytes = stored.byteOffset % 8 === 0 ? stored : stored.slice();
  if (bytes.length < 4 * HEADER_WORDS) return null;
  const words = (at: number, count: number): Int32Array => new Int32Array(bytes.buffer, bytes.byteOffset + at, count);
  const [magic, textBytes, granules, pageCount, runWords] = words(0, HEADER_WORDS);
  if (magic !== MAGIC) return null;
  let at = 4 * HEADER_WORDS;
  const text = bytes.subarray(at, at + textBytes);
  at += padding(textBytes);
  const size = at + 8 * granules + CPU_BYTES + 4 * runWords + 4 * pageCount + 2 * PAGE * pageCount;
  if (size !== bytes.length) return null;
  const state: BootState = JSON.parse(new TextDecoder().decode(text));
  const sizes = words(at, granules);
  const slots = words(at + 4 * granules, granules);
  at += 8 * granules;
  const { memory } = services.guest;
  memory.bytes.set(bytes.subarray(at, at + CPU_BYTES), 0);
  at += CPU_BYTES;
  const runs = words(at, runWords);
  at += 4 * runWords;
  const pages = words(at, pageCount);
  at += 4 * pageCount;
  for (let i = 0; i < runs.length; i += RUN_WORDS) {
    const start = runs[i] * PAGE;
    memory.bytes.fill(runs[i + 2], start + SHADOW, start + SHADOW + runs[i + 1] * PAGE);
  }
  for (let i = 0; i < pageCount; i++) {
    const target = pages[i] * PAGE;
    memory.bytes.set(bytes.subarray(at + i * PAGE, at + (i + 1) * PAGE), target);
    const shadow = at + (pageCount + i) * PAGE;
    memory.bytes.set(bytes.subarray(shadow, shadow + PAGE), target + SHADOW);
  }
  services.time.hz = state.hz;
  services.heap.restore(state.heap, sizes, slots);
  services.pages.restore(state.pages);
  services.percpu.restore(state.percpu);
  services.caches.restore(state.caches);
  services.work.restore(state.work);
  services.initcalls.restore(state.initcalls);
  services.guest.sandbox.runtime.stateChanged();
  return state.console;
}

/** Pages of memory that are not as they were mapped. */
function differences(services: Services): { readonly pages: number[]; readonly runs: number[] } {
  const { guest, heap, pages: allocator } = services;
  const { memory, image } = guest;
  const words = new BigUint64Array(memory.memory.buffer);
  const pages: number[] = [];
  const runs: number[] = [];
  const page = (address: number): number => memory.page(address as GuestAddress);
  for (const section of image.sections) {
    const original = section.data;
    const end = page(section.address + section.size - 1);
    for (let number = page(section.address); number <= end; number++) {
      const start = number * PAGE;
      const offset = start - memory.offset(section.address);
      if (differs(memory.bytes, start, original, offset, section.size) && pages.at(-1) !== number) pages.push(number);
    }
  }
  const seen = new Set(pages);
  for (const [from, to] of [
    [PERCPU, PERCPU + PERCPU_BYTES],
    [STACKS, STACKS_END],
    [heap.start, heap.top],
    [allocator.bottom, allocator.end],
    [VMEMMAP, VMEMMAP_END],
    [VMALLOC, VMALLOC_END],
  ]) {
    if (to <= from) continue;
    const end = page(to - 1);
    for (let number = page(from); number <= end; number++) {
      const shadow = uniform(words, (number * PAGE + SHADOW) / 8);
      if (shadow === 0) continue;
      const isZero = uniform(words, (number * PAGE) / 8) === 0;
      if (shadow < 0 || !isZero) {
        if (!seen.has(number)) pages.push(number);
      } else if (
        runs.length > 0 &&
        runs[runs.length - 3] + runs[runs.length - 2] === number &&
        runs[runs.length - 1] === shadow
      ) {
        runs[runs.length - 2]++;
      } else {
        runs.push(number, 1, shadow);
      }
    }
  }
  return { pages, runs };
}

/** Whether a page's part of a section is other than in the file. */
function differs(bytes: Uint8Array, start: number, original: Uint8Array, offset: number, size: number): boolean {
  const from = Math.max(0, -offset);
  const to = Math.min(PAGE, size - offset);
  for (let i = from; i < to; i++) {
    if (bytes[start + i] !== (offset + i < original.length ? original[offset + i] : 0)) return true;
  }
  return false;
}

/** The byte that all bytes of a page are, -1 if they differ. */
function uniform(words: BigUint64Array, at: number): number {
  const first = words[at];
  const byte = first & 0xffn;
  if (first !== byte * 0x0101_0101_0101_0101n) return -1;
  for (let i = 1; i < PAGE_WORDS; i++) if (words[at + i] !== first) return -1;
  return Number(byte);
}

const padding = (length: number): number => Math.ceil(length / 8) * 8;

function padded(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(padding(bytes.length));
  result.set(bytes);
  return result;
}

const bytesOf = (words: Int32Array): Uint8Array =>
  new Uint8Array(words.buffer, words.byteOffset, words.byteLength).slice();
