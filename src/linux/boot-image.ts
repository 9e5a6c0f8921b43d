import { crc32 } from "../formats/crc.js";
import { type Kept, keptAs } from "../formats/packed-arrays.js";
import { CPU } from "../translator/cpu-state.js";
import { SHADOW } from "../translator/guest-space.js";
import type { GuestAddress } from "../util/guest-address.js";
import { type BootState, parseBootState } from "./boot-state.js";
import {
  PERCPU,
  PERCPU_BYTES,
  PHYSICAL_BASE,
  STACKS,
  STACKS_END,
  VMALLOC,
  VMALLOC_END,
  VMEMMAP,
  VMEMMAP_END,
} from "./layout.js";
import type { ConsoleLine, Services } from "./services.js";

const PAGE = 4096;
const PAGE_WORDS = PAGE / 8;
/** Header: magic, length of the state's text, counts of the tables' words and of pages and runs, the image. */
const MAGIC = 0x4b42_3032;
const HEADER_WORDS = 6;
const CPU_BYTES = CPU.targets;
/** A run of pages of zeroes with one shadow: page, count, shadow. */
const RUN_WORDS = 3;

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
    bytesOf(Int32Array.of(MAGIC, text.length, sizes.length, pages.length, runs.length, identityOf(services))),
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

/** What `captureBoot` made, and fits a domain. */
export interface CapturedBoot {
  readonly state: BootState;
  readonly sizes: Int32Array;
  readonly slots: Int32Array;
  readonly cpu: Uint8Array;
  readonly runs: Int32Array;
  readonly pages: Int32Array;
  /** Of each page, and then of the shadow of each. */
  readonly contents: Uint8Array;
}

/** @returns null if the bytes are not what was made of a kernel with this image */
export function parseBoot(services: Services, stored: Uint8Array): CapturedBoot | null {
  const bytes = stored.byteOffset % 8 === 0 ? stored : stored.slice();
  if (bytes.length < 4 * HEADER_WORDS) return null;
  const words = (at: number, count: number): Int32Array => new Int32Array(bytes.buffer, bytes.byteOffset + at, count);
  const header = words(0, HEADER_WORDS);
  const [magic, textBytes, granules, pageCount, runWords, identity] = header;
  if (magic !== MAGIC || identity !== identityOf(services) || header.some((word, i) => i < 5 && word < 0)) return null;
  const sizesAt = 4 * HEADER_WORDS + padding(textBytes);
  const cpuAt = sizesAt + 8 * granules;
  const runsAt = cpuAt + CPU_BYTES;
  const pagesAt = runsAt + 4 * runWords;
  const contentsAt = pagesAt + 4 * pageCount;
  if (contentsAt + 2 * PAGE * pageCount !== bytes.length) return null;
  const text = bytes.subarray(4 * HEADER_WORDS, 4 * HEADER_WORDS + textBytes);
  const state = parseBootState(new TextDecoder().decode(text));
  if (state === null) return null;
  const captured: CapturedBoot = {
    state,
    sizes: words(sizesAt, granules),
    slots: words(sizesAt + 4 * granules, granules),
    cpu: bytes.subarray(cpuAt, runsAt),
    runs: words(runsAt, runWords),
    pages: words(pagesAt, pageCount),
    contents: bytes.subarray(contentsAt),
  };
  return areMapped(services, captured) && isPlausible(services, captured) ? captured : null;
}

/**
 * Makes a fresh domain what it was when it was kept, or has it boot, and keeps what came of that.
 * @param make boots, and captures; empty if that is not possible
 * @returns what the console said then; null if the kernel is known as one that cannot be kept, and has to be booted
 */
export function restoreKept(
  services: Services,
  kept: Kept,
  key: string,
  make: () => Uint8Array,
): readonly ConsoleLine[] | null {
  const found = keptAs<CapturedBoot | "not kept" | "booted">(kept, key, {
    read: (bytes) => (bytes.length === 0 ? "not kept" : parseBoot(services, bytes)),
    make: () => [make(), "booted"],
  });
  if (found === "not kept") return null;
  return found === "booted" ? [] : restoreBoot(services, found);
}

/** Makes a fresh domain what it was when the bytes were captured. @returns what the console said */
function restoreBoot(services: Services, captured: CapturedBoot): readonly ConsoleLine[] {
  const { state, runs, pages, contents } = captured;
  const { memory } = services.guest;
  memory.bytes.set(captured.cpu, 0);
  for (let i = 0; i < runs.length; i += RUN_WORDS) {
    const start = runs[i] * PAGE;
    memory.bytes.fill(runs[i + 2], start + SHADOW, start + SHADOW + runs[i + 1] * PAGE);
  }
  for (let i = 0; i < pages.length; i++) {
    const target = pages[i] * PAGE;
    memory.bytes.set(contents.subarray(i * PAGE, (i + 1) * PAGE), target);
    const shadow = (pages.length + i) * PAGE;
    memory.bytes.set(contents.subarray(shadow, shadow + PAGE), target + SHADOW);
  }
  services.time.hz = state.hz;
  services.heap.restore(state.heap, captured.sizes, captured.slots);
  services.pages.restore(state.pages);
  services.percpu.restore(state.percpu);
  services.caches.restore(state.caches);
  services.work.restore(state.work);
  services.initcalls.restore(state.initcalls);
  services.guest.sandbox.runtime.stateChanged();
  return state.console;
}

/** Whether all pages are of guest memory, and none of the processor's own. */
function areMapped({ guest }: Services, { runs, pages }: CapturedBoot): boolean {
  const first = guest.memory.page(PHYSICAL_BASE);
  const end = guest.memory.page((VMALLOC_END - 1) as GuestAddress) + 1;
  const isMapped = (page: number, count: number): boolean => page >= first && count > 0 && page + count <= end;
  if (runs.length % RUN_WORDS !== 0 || !pages.every((page) => isMapped(page, 1))) return false;
  for (let i = 0; i < runs.length; i += RUN_WORDS) if (!isMapped(runs[i], runs[i + 1])) return false;
  return true;
}

/** Whether what was allocated lies where it can. */
function isPlausible({ heap, pages }: Services, { state, sizes }: CapturedBoot): boolean {
  return (
    heap.holds(state.heap, sizes.length) &&
    state.pages.bottom >= state.heap.next &&
    state.pages.bottom <= pages.end &&
    state.percpu.next >= PERCPU &&
    state.percpu.next <= PERCPU + PERCPU_BYTES
  );
}

/** Tells images from each other: by where their sections lie, and by how long they are. */
function identityOf({ guest }: Services): number {
  const places = guest.image.sections.map(({ name, address, size }) => [name, address, size]);
  return crc32(new TextEncoder().encode(JSON.stringify(places))) | 0;
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
