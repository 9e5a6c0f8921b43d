import type { DeviceHost } from "../../bus/device.js";
import { hex } from "../../util/bytes.js";
import type { StateReader } from "../../util/state-reader.js";
import { CompletionRing } from "./completion-ring.js";
import { ARM, ENTRY_BYTES, ErrorCode, INDEX_MASK, MOST_SIZE, Queue, State } from "./registers.js";
import type { Statistics } from "./statistics.js";

/** What a queue is given of the board that it is on. */
export interface Board {
  readonly host: DeviceHost;
  readonly statistics: Statistics;
  /** Signals an MSI-X vector. */
  notify(vector: number): void;
  /** The queue was enabled or disabled, or went into the error state. */
  stateChanged(queue: KorralQueue): void;
}

/** Descriptors are read from the ring in batches of at most so many. */
const BATCH = 64;
const SETUP_WORDS = Queue.SIZE / 4 + 1;
const HIGH = 2 ** 32;

/** The registers and the life cycle that receive and transmit queues share (§3). */
export abstract class KorralQueue {
  enabled = false;
  /** §6; the error state is any code while enabled. */
  error = 0;
  protected entries = 1;
  protected head = 0;
  protected tail = 0;
  protected readonly completions = new CompletionRing();
  /** RING, COMPLETIONS and SIZE, a word each. */
  readonly #setup = new Uint32Array(SETUP_WORDS);
  #ring = 0;
  #fault = 0;
  readonly #batch = new Uint8Array(BATCH * ENTRY_BYTES);
  readonly #words = new DataView(this.#batch.buffer);

  constructor(
    protected readonly board: Board,
    /** For messages: `receive queue 3`. */
    readonly name: string,
    readonly vector: number,
  ) {}

  get failed(): boolean {
    return this.enabled && this.error !== ErrorCode.NONE;
  }

  /** Buffers that the board holds beside those that still wait in the ring. */
  protected abstract get held(): number;
  /** Takes one descriptor. */
  protected abstract takeDescriptor(address: number, lengthAndFlags: number, cookie: number): void;
  /** Whether there are descriptors that the board should take now. */
  protected abstract get mayTake(): boolean;
  /** The queue begins anew: nothing is held. */
  protected abstract begin(): void;
  /** Lets go of everything that the board holds. */
  protected abstract letGo(): void;

  readRegister(offset: number): number {
    switch (offset) {
      case Queue.ENABLE:
        return this.enabled ? 1 : 0;
      case Queue.STATE:
        return (this.enabled ? State.ENABLED : 0) | (this.failed ? State.ERROR : 0) | (this.error << State.CODE_SHIFT);
      case Queue.FAULT:
        return this.#fault % HIGH;
      case Queue.FAULT_HIGH:
        return Math.floor(this.#fault / HIGH);
      case Queue.HEAD:
        return this.head;
      case Queue.TAIL:
        return this.tail;
      case Queue.WRITTEN:
        return this.completions.written;
      case Queue.POSTED:
        return this.held + this.waiting;
      default:
        return offset <= Queue.SIZE ? this.#setup[offset >>> 2] : 0;
    }
  }

  writeRegister(offset: number, value: number): void {
    switch (offset) {
      case Queue.ENABLE:
        if ((value & 1) === 0) this.disable();
        else if (!this.enabled) this.#enable();
        break;
      case Queue.TAIL:
        this.#ringTail(value);
        break;
      case Queue.TAKEN:
        this.#ringTaken(value);
        break;
      default:
        if (offset <= Queue.SIZE) this.#setUp(offset, value);
    }
  }

  disable(): void {
    this.letGo();
    this.enabled = false;
    this.error = ErrorCode.NONE;
    this.#fault = 0;
    this.entries = 1;
    this.head = 0;
    this.tail = 0;
    this.completions.start(0, this.entries);
    this.board.stateChanged(this);
  }

  reset(): void {
    this.disable();
    this.#setup.fill(0);
  }

  /** Takes the descriptors up to the tail, unless the queue must wait or fails on the way. */
  protected takeWaiting(): void {
    while (this.mayTake && this.head !== this.tail) {
      const first = this.head;
      const run = (this.tail > first ? this.tail : this.entries) - first;
      const count = Math.min(run, BATCH);
      const address = this.#ring + first * ENTRY_BYTES;
      if (!this.board.host.dma.read(address, this.#batch, 0, count * ENTRY_BYTES)) {
        this.fail(ErrorCode.DESCRIPTOR, address);
        return;
      }
      this.#takeBatch(count);
    }
  }

  /** @returns false if it could not be written, and the queue has failed */
  protected complete(cookie: number, stored: number, wire: number, flags: number): boolean {
    const { completions } = this;
    const address = completions.base + completions.written * ENTRY_BYTES;
    if (!completions.write(this.board.host.dma, cookie, stored, wire, flags)) {
      this.letGo();
      this.fail(ErrorCode.COMPLETION, address);
      return false;
    }
    if (completions.armed) this.#signal();
    return true;
  }

  protected fail(code: number, fault = 0): void {
    this.error = code;
    this.#fault = fault;
    this.board.stateChanged(this);
  }

  /** Descriptors that the board may take, but has not yet. */
  protected get waiting(): number {
    if (!this.enabled || this.error !== ErrorCode.NONE) return 0;
    return (this.tail - this.head) & (this.entries - 1);
  }

  protected snapshotQueue(): object {
    return {
      setup: [...this.#setup],
      fault: [this.#fault % HIGH, Math.floor(this.#fault / HIGH)],
      enabled: this.enabled,
      error: this.error,
      head: this.head,
      tail: this.tail,
      ...this.completions.snapshot(),
    };
  }

  /** Sets the queue up as it was; what it holds is the heir's to restore after that. */
  protected restoreQueue(from: StateReader): void {
    const enabled = from.flag("enabled");
    const [fault, faultHigh] = from.numbers("fault", 2, 2, HIGH - 1);
    this.#setup.set(from.numbers("setup", SETUP_WORDS, SETUP_WORDS, HIGH - 1));
    if (enabled && !this.#isSetUp) throw from.misfit("setup", "that of an enabled queue");
    if (enabled) this.#start();
    this.enabled = enabled;
    this.error = from.integer("error", 0, 0xff);
    this.#fault = faultHigh * HIGH + fault;
    const last = this.entries - 1;
    this.head = from.integer("head", 0, last);
    this.tail = from.integer("tail", 0, last);
    this.completions.restore({
      written: from.integer("written", 0, last),
      unread: from.integer("unread", 0, last),
      phase: from.flag("phase"),
      armed: from.flag("armed"),
    });
    this.board.stateChanged(this);
  }

  get #size(): number {
    return this.#setup[Queue.SIZE >>> 2];
  }

  get #isSetUp(): boolean {
    const bits = this.#setup[Queue.RING >>> 2] | this.#setup[Queue.COMPLETIONS >>> 2];
    return bits % ENTRY_BYTES === 0 && this.#size >= 1 && this.#size <= MOST_SIZE;
  }

  #setUp(offset: number, value: number): void {
    if (this.enabled) {
      this.board.host.violation(
        "korral-nic-busy",
        `set-up register ${hex(offset)} of the ${this.name} is written while the queue is enabled`,
      );
    } else {
      this.#setup[offset >>> 2] = value;
    }
  }

  #enable(): void {
    if (!this.#isSetUp) {
      this.error = ErrorCode.SETUP;
      this.board.host.violation(
        "korral-nic-setup",
        `the ${this.name} is enabled with SIZE ${this.#size} or a ring that is not aligned: 1 to ${MOST_SIZE} and 16 bytes are possible`,
      );
      return;
    }
    this.#start();
    this.enabled = true;
    this.error = ErrorCode.NONE;
    this.board.stateChanged(this);
  }

  #start(): void {
    this.entries = 1 << this.#size;
    this.head = 0;
    this.tail = 0;
    this.#ring = this.#setup[1] * HIGH + this.#setup[0];
    this.completions.start(this.#setup[3] * HIGH + this.#setup[2], this.entries);
    this.begin();
  }

  #takeBatch(count: number): void {
    for (let i = 0; i < count && this.mayTake; i++) {
      const at = i * ENTRY_BYTES;
      const address = this.#words.getUint32(at + 4, true) * HIGH + this.#words.getUint32(at, true);
      const next = (this.head + 1) & (this.entries - 1);
      this.takeDescriptor(address, this.#words.getUint32(at + 8, true), this.#words.getUint32(at + 12, true));
      if (!this.mayTake) return;
      this.head = next;
    }
  }

  #ringTail(index: number): void {
    if (!this.enabled || this.error !== ErrorCode.NONE) return;
    if (index >= this.entries) {
      this.board.host.violation(
        "korral-nic-index",
        `TAIL of the ${this.name} is set to ${index}, but its ring has ${this.entries} entries`,
      );
      return;
    }
    this.tail = index;
    if (this.held + this.waiting + this.completions.unread >= this.entries) {
      this.board.host.violation("korral-nic-overrun", `TAIL of the ${this.name} posts more than there is room for`);
      this.fail(ErrorCode.OVERRUN);
      return;
    }
    this.takeWaiting();
  }

  #ringTaken(value: number): void {
    if (!this.enabled) return;
    if (!this.completions.take(value & INDEX_MASK)) {
      this.board.host.violation(
        "korral-nic-index",
        `TAKEN of the ${this.name} is set to ${value & INDEX_MASK}, beyond the completions that were written`,
      );
      return;
    }
    this.completions.armed = (value & ARM) !== 0;
    if (this.completions.armed && this.completions.unread > 0) this.#signal();
  }

  #signal(): void {
    this.completions.armed = false;
    this.board.notify(this.vector);
  }
}
