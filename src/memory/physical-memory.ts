import { type FrameNumber, type MachinePhysical, PAGE_MASK, PAGE_SIZE } from "../util/brand.js";
import { EnvironmentError, KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";

/** Frames per 4 GiB of machine-physical space: a frame number is bank × 2^20 + index. */
export const BANK_SHIFT = 20;
const BANK_INDEX_MASK = (1 << BANK_SHIFT) - 1;
const BANK_BYTES = 2 ** 32;
const MAX_BANKS = 1 << 11;
const WASM_PAGE = 65536;

export class OutOfMemoryError extends KorralError {
  /** @param available frames that could be had, @param kind says so if they had to be of a kind */
  constructor(wanted: number, available: number, kind = "") {
    super(
      "out-of-frames",
      `${wanted}${kind} frames were asked for, ${available} can be had: give the machine more memory or destroy something`,
      1,
    );
  }
}

/**
 * What a frame holds.
 * - *free*: nothing; may be handed out.
 * - *fetching*: an object of the store is on its way in; nobody has a capability to the frame.
 * - *resident*: an object.
 * - *dying*: its object is destroyed, but the frame is still pinned for I/O and must not be reused.
 */
export const FrameState = { free: 0, fetching: 1, resident: 2, dying: 3 } as const;
export type FrameState = (typeof FrameState)[keyof typeof FrameState];

/**
 * A bank of machine-physical memory with its part of the frame table. Bank 0 is the machine's RAM (clients and native
 * drivers); each Linux domain owns a bank of its own, so that its code cannot even name another's frames.
 */
export class Bank {
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly frames: number;
  /** Pins of each frame, whoever holds them. */
  readonly pinCounts: Uint32Array;
  readonly #states: Uint8Array;
  readonly #dirty: Uint8Array;
  readonly #freeList: Int32Array;
  #free: number;

  /** @param adopted memory that somebody else hands out: no frame of it is free */
  constructor(
    readonly index: number,
    byteLength: number,
    adopted: WebAssembly.Memory | null = null,
  ) {
    if (!Number.isInteger(byteLength) || byteLength < PAGE_SIZE || byteLength >= BANK_BYTES) {
      throw new KorralError(
        "bank-size",
        `a bank of ${byteLength} bytes is not possible: choose 4 KiB or more, and less than 4 GiB`,
        2,
      );
    }
    this.memory = adopted ?? reserved(byteLength);
    this.bytes = new Uint8Array(this.memory.buffer);
    this.words = new Int32Array(this.memory.buffer);
    this.frames = Math.floor(byteLength / PAGE_SIZE);
    this.pinCounts = new Uint32Array(this.frames);
    this.#states = new Uint8Array(this.frames);
    this.#dirty = new Uint8Array(this.frames);
    this.#free = adopted === null ? this.frames : 0;
    this.#freeList = new Int32Array(this.#free);
    for (let i = 0; i < this.#free; i++) this.#freeList[i] = this.frames - 1 - i;
    if (adopted !== null) this.#states.fill(FrameState.resident);
  }

  get freeFrames(): number {
    return this.#free;
  }

  /** Takes a free frame, filled with zeroes. */
  allocate(state: FrameState = FrameState.resident): FrameNumber {
    if (this.#free === 0) throw new OutOfMemoryError(1, 0);
    const at = this.#freeList[--this.#free];
    this.#states[at] = state;
    this.#dirty[at] = 0;
    this.bytes.fill(0, at * PAGE_SIZE, (at + 1) * PAGE_SIZE);
    return ((this.index << BANK_SHIFT) | at) as FrameNumber;
  }

  /**
   * Takes neighbouring free frames, filled with zeroes: rings that a driver looks at as one piece. Not for hot paths.
   * @throws OutOfMemoryError when there is no such run
   */
  allocateRun(count: number): FrameNumber[] {
    let run = 0;
    for (let at = 0; at < this.frames; at++) {
      run = this.#states[at] === FrameState.free ? run + 1 : 0;
      if (run < count) continue;
      const first = at - count + 1;
      // The free list in its order, without the run.
      let kept = 0;
      for (let i = 0; i < this.#free; i++) {
        const free = this.#freeList[i];
        if (free < first || free > at) this.#freeList[kept++] = free;
      }
      this.#free = kept;
      this.#states.fill(FrameState.resident, first, at + 1);
      this.#dirty.fill(0, first, at + 1);
      this.bytes.fill(0, first * PAGE_SIZE, (at + 1) * PAGE_SIZE);
      return Array.from({ length: count }, (_, i) => ((this.index << BANK_SHIFT) | (first + i)) as FrameNumber);
    }
    throw new OutOfMemoryError(count, this.#free, " neighbouring");
  }

  /** Gives a frame back; it must not be pinned. */
  release(frame: FrameNumber): void {
    const at = frame & BANK_INDEX_MASK;
    if (this.#states[at] === FrameState.free) throw new KorralError("double-free", `frame ${frame} is free already`);
    if (this.pinCounts[at] !== 0) throw new KorralError("frame-pinned", `frame ${frame} is pinned and cannot be freed`);
    this.#states[at] = FrameState.free;
    this.#freeList[this.#free++] = at;
  }

  pinCount(frame: FrameNumber): number {
    return this.pinCounts[frame & BANK_INDEX_MASK];
  }

  state(frame: FrameNumber): FrameState {
    return this.#states[frame & BANK_INDEX_MASK] as FrameState;
  }

  setState(frame: FrameNumber, state: FrameState): void {
    this.#states[frame & BANK_INDEX_MASK] = state;
  }

  isDirty(frame: FrameNumber): boolean {
    return this.#dirty[frame & BANK_INDEX_MASK] !== 0;
  }

  setDirty(frame: FrameNumber, dirty: boolean): void {
    this.#dirty[frame & BANK_INDEX_MASK] = dirty ? 1 : 0;
  }
}

function reserved(byteLength: number): WebAssembly.Memory {
  const pages = Math.ceil(byteLength / WASM_PAGE);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages });
  } catch {
    throw new EnvironmentError(
      "no-address-space",
      `the host refuses ${byteLength} bytes of memory: ask for less, or raise its limits (ulimit -v)`,
    );
  }
}

export interface MemoryEvents {
  /** A bank is no more; its number may go to another one. */
  released: Bank;
}

/** All banks: what machine-physical addresses and frame numbers mean. */
export class PhysicalMemory {
  readonly events = new EventSource<MemoryEvents>();
  /** By number; null in the place of a bank that was released. */
  readonly #banks: (Bank | null)[] = [];
  /** Numbers of banks that were released, longest ago first. */
  readonly #released: number[] = [];

  /** @param byteLength bytes, rounded down to whole frames */
  addBank(byteLength: number): Bank {
    return this.#added(new Bank(this.#nextIndex(), byteLength));
  }

  /**
   * Makes a bank of memory that exists, whose owner hands out its frames: a Linux domain's. Its counterpart is
   * {@link releaseBank}.
   */
  adoptBank(memory: WebAssembly.Memory, byteLength: number): Bank {
    return this.#added(new Bank(this.#nextIndex(), byteLength, memory));
  }

  /**
   * Takes a bank away: its frames mean nothing any more. Its number is given to another bank only when no fresh one is
   * left, so that a frame number that outlived it is recognised for what it is.
   * @throws KorralError, with no effect, while frames of it are pinned: nobody could release such a pin
   */
  releaseBank(bank: Bank): void {
    const { index } = bank;
    if (this.#banks[index] !== bank) throw releasedBank(index);
    const pinned = bank.pinCounts.reduce((sum, count) => sum + (count === 0 ? 0 : 1), 0);
    if (pinned > 0) {
      throw new KorralError("bank-pinned", `${pinned} frames of bank ${index} are pinned: release these pins first`);
    }
    this.#banks[index] = null;
    this.#released.push(index);
    this.events.emit("released", bank);
  }

  /** @throws KorralError if it was released, or never was */
  bank(index: number): Bank {
    return this.#banks[index] ?? missing(index);
  }

  /** @throws KorralError if its bank was released */
  bankOf(frame: FrameNumber): Bank {
    return this.#banks[frame >>> BANK_SHIFT] ?? missing(frame >>> BANK_SHIFT);
  }

  /** @throws KorralError if the bank of one of them was released */
  assertThere(frames: readonly FrameNumber[]): void {
    let bank: Bank | null = null;
    for (let i = 0; i < frames.length; i++) {
      if (bank === null || frames[i] >>> BANK_SHIFT !== bank.index) bank = this.bankOf(frames[i]);
    }
  }

  /** The content of these frames is going to change. */
  setDirty(frames: readonly FrameNumber[]): void {
    let bank: Bank | null = null;
    for (let i = 0; i < frames.length; i++) {
      if (bank === null || frames[i] >>> BANK_SHIFT !== bank.index) bank = this.bankOf(frames[i]);
      bank.setDirty(frames[i], true);
    }
  }

  #nextIndex(): number {
    if (this.#banks.length < MAX_BANKS) return this.#banks.length;
    const [index] = this.#released;
    if (index !== undefined) return index;
    throw new KorralError("too-many-banks", `a machine has at most ${MAX_BANKS} banks: end some drivers`);
  }

  #added(bank: Bank): Bank {
    if (this.#released[0] === bank.index) this.#released.shift();
    this.#banks[bank.index] = bank;
    return bank;
  }

  /** The bytes of a frame: a fresh view, so not for hot paths. */
  frameBytes(frame: FrameNumber): Uint8Array {
    const start = frameOffset(frame);
    return this.bankOf(frame).bytes.subarray(start, start + PAGE_SIZE);
  }
}

function missing(index: number): never {
  throw releasedBank(index);
}

function releasedBank(index: number): KorralError {
  return new KorralError("bank-released", `there is no bank ${index} of memory: what it was made for has ended`);
}

/** Byte offset of a frame in its bank. */
export function frameOffset(frame: FrameNumber): number {
  return (frame & BANK_INDEX_MASK) * PAGE_SIZE;
}

export function frameAddress(frame: FrameNumber): MachinePhysical {
  return ((frame >>> BANK_SHIFT) * BANK_BYTES + frameOffset(frame)) as MachinePhysical;
}

/** Number of 4 KiB pages that `length` bytes from `offset` touch. */
export function pagesSpanned(offset: number, length: number): number {
  return Math.floor(((offset & PAGE_MASK) + length + PAGE_MASK) / PAGE_SIZE);
}
