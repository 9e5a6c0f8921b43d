import type { Expr } from "../ir.js";

/** A value by where it was made: a root that never changes, and a distance from it. */
export interface Version {
  readonly root: number;
  readonly offset: number;
}

/** The state that changes when shadow may change, counted as a 17th variable. */
export const EPOCH = 16;
export const EPOCH_BIT = 1 << EPOCH;
const ABSOLUTE = 0;

interface Interval {
  readonly low: number;
  readonly high: number;
  readonly write: boolean;
  readonly epoch: number;
}

interface Tested {
  /** The high part of root + offset was tested. */
  high: number | null;
  readonly intervals: Interval[];
}

const isExact = (value: bigint): boolean => value < 1n << 40n && value > -(1n << 40n);

/** What is known where a block ends, to go on from in the blocks that it dominates. */
export interface Snapshot {
  readonly roots: readonly number[];
  readonly offsets: readonly number[];
  readonly logged: number;
}

/**
 * What checks have already shown. The high part of a value, once tested, stays tested, as values never change; bytes of
 * shadow stay tested until the shadow could change: that starts a new epoch. Only what was tested on every way to a place
 * is known there: knowledge follows the dominator tree.
 */
export class Facts {
  #roots: number[] = new Array<number>(17).fill(0);
  #offsets: number[] = new Array<number>(17).fill(0);
  readonly #tested = new Map<number, Tested>();
  /** What was tested, in order, to be taken back; and what was known of the high part before, undefined for shadow. */
  readonly #log: Tested[] = [];
  readonly #before: (number | null | undefined)[] = [];
  readonly #sums = new Map<number, number>();
  #temporaries: (Version | null)[] = [];
  #next = 1;

  constructor(private readonly enabled: boolean) {
    this.renew(0x1ffff);
  }

  fresh(): Version {
    return { root: this.#next++, offset: 0 };
  }

  /** New versions for variables, a bit each. */
  renew(variables: number): void {
    for (let i = 0; i < 17; i++) {
      if ((variables & (1 << i)) === 0) continue;
      this.#roots[i] = this.#next++;
      this.#offsets[i] = 0;
    }
  }

  register(register: number): Version {
    return { root: this.#roots[register], offset: this.#offsets[register] };
  }

  setRegister(register: number, version: Version): void {
    this.#roots[register] = version.root;
    this.#offsets[register] = version.offset;
  }

  startInstruction(): void {
    if (this.#temporaries.length > 0) this.#temporaries = [];
  }

  setTemporary(index: number, version: Version | null): void {
    this.#temporaries[index] = version;
  }

  /** The version of an i64, or null if it is new. */
  versionOf(e: Expr): Version | null {
    switch (e.kind) {
      case "reg":
        return e.type === "i64" ? this.register(e.register) : null;
      case "tmp":
        return this.#temporaries[e.index] ?? null;
      case "i64":
        return isExact(e.value) ? { root: ABSOLUTE, offset: Number(e.value) } : null;
      case "op": {
        if ((e.op !== "i64.add" && e.op !== "i64.sub") || e.b?.kind !== "i64") return null;
        if (!isExact(e.b.value)) return null;
        const distance = Number(e.b.value);
        const from = this.versionOf(e.a);
        return from === null
          ? null
          : { root: from.root, offset: from.offset + (e.op === "i64.add" ? distance : -distance) };
      }
      default:
        return null;
    }
  }

  /** The root that stands for base + index × scale. */
  sum(base: Version | null, index: Version, scale: number): Version {
    // A function has far fewer roots than 2^24.
    const key = ((base?.root ?? ABSOLUTE) * 2 ** 24 + index.root) * 16 + scale;
    let root = this.#sums.get(key);
    if (root === undefined) {
      root = this.#next++;
      this.#sums.set(key, root);
    }
    return { root, offset: (base?.offset ?? 0) + index.offset * scale };
  }

  /** Whether the high part of a value near this one was tested: within `reach` of it. */
  isHighTested(version: Version, reach: number): boolean {
    if (!this.enabled) return false;
    const high = this.#tested.get(version.root)?.high ?? null;
    return high !== null && Math.abs(version.offset - high) < reach;
  }

  highTested({ root, offset }: Version): void {
    const tested = this.#of(root);
    this.#log.push(tested);
    this.#before.push(tested.high);
    tested.high = offset;
  }

  isShadowTested({ root, offset }: Version, bytes: number, write: boolean): boolean {
    if (!this.enabled) return false;
    const tested = this.#tested.get(root);
    if (tested === undefined) return false;
    const epoch = this.#roots[EPOCH];
    let low = offset;
    // Several intervals may cover the bytes together.
    for (let progress = true; progress && low < offset + bytes; ) {
      progress = false;
      for (const interval of tested.intervals) {
        if (interval.epoch !== epoch || (write && !interval.write)) continue;
        if (interval.low <= low && interval.high > low) {
          low = interval.high;
          progress = true;
        }
      }
    }
    return low >= offset + bytes;
  }

  shadowTested({ root, offset }: Version, bytes: number, write: boolean): void {
    const tested = this.#of(root);
    tested.intervals.push({ low: offset, high: offset + bytes, write, epoch: this.#roots[EPOCH] });
    this.#log.push(tested);
    this.#before.push(undefined);
  }

  snapshot(): Snapshot {
    return { roots: this.#roots.slice(), offsets: this.#offsets.slice(), logged: this.#log.length };
  }

  /** Goes back to what was known at a snapshot. */
  restore({ roots, offsets, logged }: Snapshot): void {
    this.#roots = roots.slice();
    this.#offsets = offsets.slice();
    while (this.#log.length > logged) {
      const tested = this.#log.pop();
      const before = this.#before.pop();
      if (tested === undefined) break;
      if (before === undefined) tested.intervals.pop();
      else tested.high = before;
    }
  }

  #of(root: number): Tested {
    let tested = this.#tested.get(root);
    if (tested === undefined) {
      tested = { high: null, intervals: [] };
      this.#tested.set(root, tested);
    }
    return tested;
  }
}
