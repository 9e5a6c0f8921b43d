import type { Clock } from "../../bus/clock.js";
import type { StateReader } from "../../util/state-reader.js";
import type { CoalescingSettings } from "./interrupts.js";
import { ALL_NAMESPACES, NAMESPACE } from "./registers.js";
import { Status } from "./status.js";

/** Feature identifiers (§5.21.1, figure 271). */
export const Feature = {
  arbitration: 0x01,
  powerManagement: 0x02,
  temperatureThreshold: 0x04,
  errorRecovery: 0x05,
  volatileWriteCache: 0x06,
  numberOfQueues: 0x07,
  interruptCoalescing: 0x08,
  interruptVector: 0x09,
  writeAtomicity: 0x0a,
  asyncEvents: 0x0b,
  timestamp: 0x0e,
  softwareProgressMarker: 0x80,
} as const;

/** Select field of Get Features (figure 186). */
const Select = { current: 0, default: 1, saved: 2, capabilities: 3 } as const;

interface FeatureKind {
  /** Bits of doubleword 11 that are kept. */
  readonly mask: number;
  readonly initial: number;
  readonly saveable: boolean;
  readonly perNamespace: boolean;
}

/** Commands that one submission queue may have fetched in its turn: 2^AB, and 7 for no limit (§4.13). */
const DEFAULT_BURST = 5;
/** 70 °C in kelvins, and the lowest value there is. */
const DEFAULT_OVER = 343;
const DEFAULT_UNDER = 0;

/** SMART / health warnings that an event can be asked for, and namespace attribute notices (§5.21.1.11). */
const EVENTS = 0x0000_011f;
export const EventConfiguration = { temperature: 1 << 1, namespaceAttributes: 1 << 8 } as const;

// biome-ignore format: a table
const KINDS: Readonly<Record<number, FeatureKind>> = {
  [Feature.arbitration]:            { mask: 0xffff_ff07, initial: DEFAULT_BURST, saveable: true,  perNamespace: false },
  [Feature.powerManagement]:        { mask: 0x0000_00ff, initial: 0,             saveable: false, perNamespace: false },
  [Feature.temperatureThreshold]:   { mask: 0x0000_ffff, initial: DEFAULT_OVER,  saveable: false, perNamespace: false },
  [Feature.errorRecovery]:          { mask: 0x0000_ffff, initial: 0,             saveable: true,  perNamespace: true  },
  [Feature.volatileWriteCache]:     { mask: 0x0000_0001, initial: 1,             saveable: true,  perNamespace: false },
  [Feature.numberOfQueues]:         { mask: 0xffff_ffff, initial: 0,             saveable: false, perNamespace: false },
  [Feature.interruptCoalescing]:    { mask: 0x0000_ffff, initial: 0,             saveable: true,  perNamespace: false },
  [Feature.interruptVector]:        { mask: 0x0001_ffff, initial: 0,             saveable: false, perNamespace: false },
  [Feature.writeAtomicity]:         { mask: 0x0000_0001, initial: 0,             saveable: true,  perNamespace: false },
  [Feature.asyncEvents]:            { mask: EVENTS,      initial: 0,             saveable: false, perNamespace: false },
  [Feature.timestamp]:              { mask: 0,           initial: 0,             saveable: false, perNamespace: false },
  [Feature.softwareProgressMarker]: { mask: 0x0000_00ff, initial: 0,             saveable: true,  perNamespace: false },
};
const IDENTIFIERS = Object.keys(KINDS).map(Number);
/** Vectors without coalescing are kept as bits; the admin queue's never coalesces. */
const COALESCING_DISABLED = 1 << 16;
const NANOSECONDS_PER_MILLISECOND = 1_000_000;
/** Timestamp origin: cleared by a reset, or set by the host (§5.21.1.14). */
const TimestampOrigin = { reset: 0, host: 1 } as const;

export interface FeaturesState {
  /** One value a feature, in ascending order of the identifiers. */
  current: number[];
  saved: number[];
  overThreshold: number;
  underThreshold: number;
  uncoalesced: number[];
  ioQueues: number;
  timestamp: number;
  timestampAge: number;
  timestampOrigin: number;
}

/** Get Features and Set Features (§5.13, §5.21): current, default and saved values. */
export class Features implements CoalescingSettings {
  readonly #current = new Uint32Array(256);
  readonly #saved = new Uint32Array(256);
  readonly #uncoalesced: Uint8Array;
  overThreshold = DEFAULT_OVER;
  underThreshold = DEFAULT_UNDER;
  /** I/O submission and completion queues that the host may create. */
  ioQueues: number;
  #timestamp = 0;
  /** Machine time at which the timestamp had that value. */
  #timestampAt = 0;
  #timestampOrigin: number = TimestampOrigin.reset;

  /** @param maxQueues I/O queues of each kind that the controller has */
  constructor(
    readonly clock: Clock,
    readonly maxQueues: number,
    readonly vectors: number,
  ) {
    this.#uncoalesced = new Uint8Array(vectors);
    this.ioQueues = maxQueues;
    for (const id of IDENTIFIERS) this.#saved[id] = KINDS[id].initial;
    this.reset();
  }

  /** Most commands that a submission queue may have fetched in one turn. */
  get burst(): number {
    return 1 << Math.min(6, this.#current[Feature.arbitration] & 7);
  }

  get writeCache(): boolean {
    return this.#current[Feature.volatileWriteCache] !== 0;
  }

  get aggregationThreshold(): number {
    return this.#current[Feature.interruptCoalescing] & 0xff;
  }

  get aggregationTime(): number {
    return this.#current[Feature.interruptCoalescing] >>> 8;
  }

  isCoalescingDisabled(vector: number): boolean {
    return this.#uncoalesced[vector] !== 0;
  }

  isEventEnabled(bit: number): boolean {
    return (this.#current[Feature.asyncEvents] & bit) !== 0;
  }

  /** A controller level reset makes the saved values the current ones (§7.8). */
  reset(): void {
    this.#current.set(this.#saved);
    this.#uncoalesced.fill(0);
    this.overThreshold = DEFAULT_OVER;
    this.underThreshold = DEFAULT_UNDER;
    this.ioQueues = this.maxQueues;
    this.#timestamp = 0;
    this.#timestampAt = this.clock.now();
    this.#timestampOrigin = TimestampOrigin.reset;
  }

  /** Bytes of the data that a feature is got or set with (§5.21, figure 271). */
  static dataBytes(id: number): number {
    return id === Feature.timestamp ? 8 : 0;
  }

  /** Whether Get Features may go on. @returns a status */
  check(id: number, select: number, nsid: number): number {
    const kind = KINDS[id];
    if (kind === undefined || select > Select.capabilities) return Status.invalidField;
    if (kind.perNamespace && nsid !== NAMESPACE) return Status.invalidNamespace;
    return Status.success;
  }

  /** Doubleword 0 of the completion of a Get Features that {@link check} let pass, or −1 for an invalid field. */
  get(id: number, select: number, dword11: number): number {
    const kind = KINDS[id];
    if (select === Select.capabilities) return (kind.saveable ? 1 : 0) | (kind.perNamespace ? 2 : 0) | 4;
    const current = select === Select.current;
    switch (id) {
      case Feature.temperatureThreshold:
        return this.#threshold(current, dword11);
      case Feature.numberOfQueues: {
        const count = (current ? this.ioQueues : this.maxQueues) - 1;
        return (count << 16) | count;
      }
      case Feature.interruptVector: {
        const vector = dword11 & 0xffff;
        if (vector >= this.vectors) return -1;
        return vector | (current && this.#uncoalesced[vector] !== 0 ? COALESCING_DISABLED : 0);
      }
      default:
        if (current) return this.#current[id];
        return select === Select.saved ? this.#saved[id] : kind.initial;
    }
  }

  /** Whether Set Features may go on. @returns a status */
  checkSet(id: number, save: boolean, nsid: number, dword11: number): number {
    const kind = KINDS[id];
    if (kind === undefined) return Status.invalidField;
    if (save && !kind.saveable) return Status.featureNotSaveable;
    if (nsid !== 0 && nsid !== NAMESPACE && nsid !== ALL_NAMESPACES) return Status.invalidNamespace;
    if (kind.perNamespace && nsid === 0) return Status.invalidNamespace;
    if (!kind.perNamespace && nsid === NAMESPACE) return Status.featureNotPerNamespace;
    return this.#isValid(id, dword11) ? Status.success : Status.invalidField;
  }

  /** Carries out a Set Features that {@link checkSet} let pass. @returns doubleword 0 of the completion */
  set(id: number, save: boolean, dword11: number): number {
    const value = (dword11 & KINDS[id].mask) >>> 0;
    switch (id) {
      case Feature.temperatureThreshold:
        if (((dword11 >>> 20) & 3) === 0) this.overThreshold = value;
        else this.underThreshold = value;
        return 0;
      case Feature.numberOfQueues: {
        const wanted = Math.max(dword11 & 0xffff, dword11 >>> 16) + 1;
        this.ioQueues = Math.min(wanted, this.maxQueues);
        return this.get(id, Select.current, 0);
      }
      case Feature.interruptVector:
        this.#uncoalesced[dword11 & 0xffff] = (dword11 & COALESCING_DISABLED) === 0 ? 0 : 1;
        return 0;
      default:
        this.#current[id] = value;
        if (save) this.#saved[id] = value;
        return 0;
    }
  }

  /** Writes the timestamp's data structure (figure 290): 48 bits of milliseconds, then its attributes. */
  writeTimestamp(into: Uint8Array, select: number): void {
    const elapsed = Math.floor((this.clock.now() - this.#timestampAt) / NANOSECONDS_PER_MILLISECOND);
    let value = select === Select.current ? (this.#timestamp + elapsed) % 2 ** 48 : 0;
    for (let i = 0; i < 6; i++) {
      into[i] = value & 0xff;
      value = Math.floor(value / 256);
    }
    into[6] = select === Select.current ? this.#timestampOrigin << 1 : 0;
    into[7] = 0;
  }

  setTimestamp(from: Uint8Array): void {
    this.#timestamp = 0;
    for (let i = 5; i >= 0; i--) this.#timestamp = this.#timestamp * 256 + from[i];
    this.#timestampAt = this.clock.now();
    this.#timestampOrigin = TimestampOrigin.host;
  }

  snapshot(): FeaturesState {
    return {
      current: IDENTIFIERS.map((id) => this.#current[id]),
      saved: IDENTIFIERS.map((id) => this.#saved[id]),
      overThreshold: this.overThreshold,
      underThreshold: this.underThreshold,
      uncoalesced: [...this.#uncoalesced],
      ioQueues: this.ioQueues,
      timestamp: this.#timestamp,
      timestampAge: this.clock.now() - this.#timestampAt,
      timestampOrigin: this.#timestampOrigin,
    };
  }

  restore(state: StateReader): void {
    const count = IDENTIFIERS.length;
    const current = state.numbers("current", count, count, 0xffff_ffff);
    const saved = state.numbers("saved", count, count, 0xffff_ffff);
    this.overThreshold = state.integer("overThreshold", 0, 0xffff);
    this.underThreshold = state.integer("underThreshold", 0, 0xffff);
    this.#uncoalesced.set(state.numbers("uncoalesced", this.vectors, this.vectors, 1));
    this.ioQueues = state.integer("ioQueues", 1, this.maxQueues);
    this.#timestamp = state.integer("timestamp", 0, 2 ** 48 - 1);
    this.#timestampAt = this.clock.now() - state.delay("timestampAge");
    this.#timestampOrigin = state.integer("timestampOrigin", 0, 1);
    for (let i = 0; i < count; i++) {
      const { mask } = KINDS[IDENTIFIERS[i]];
      this.#current[IDENTIFIERS[i]] = current[i] & mask;
      this.#saved[IDENTIFIERS[i]] = saved[i] & mask;
    }
  }

  #isValid(id: number, dword11: number): boolean {
    switch (id) {
      case Feature.powerManagement:
        // There is power state 0 only.
        return (dword11 & 31) === 0;
      case Feature.temperatureThreshold: {
        const select = (dword11 >>> 16) & 15;
        return (select === 0 || select === 15) && ((dword11 >>> 20) & 3) <= 1;
      }
      case Feature.errorRecovery:
        // Deallocated or Unwritten Logical Block Error Enable is not offered (NSFEAT).
        return (dword11 & (1 << 16)) === 0;
      case Feature.numberOfQueues:
        return (dword11 & 0xffff) !== 0xffff && dword11 >>> 16 !== 0xffff;
      case Feature.interruptVector:
        return (dword11 & 0xffff) < this.vectors;
      default:
        return true;
    }
  }

  #threshold(current: boolean, dword11: number): number {
    const type = (dword11 >>> 20) & 3;
    if (((dword11 >>> 16) & 15) !== 0 || type > 1) return -1;
    if (type === 0) return current ? this.overThreshold : DEFAULT_OVER;
    return current ? this.underThreshold : DEFAULT_UNDER;
  }
}
