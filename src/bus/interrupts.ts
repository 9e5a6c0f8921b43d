import { KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";

/** @returns true if the interrupt was this handler's */
export type InterruptHandler = () => boolean;

export class InterruptError extends KorralError {}

export interface InterruptEvents {
  /** A level stayed asserted though no handler wanted it, again and again; the line has been masked. */
  unhandled: { line: InterruptLine; times: number };
  /** A message was written to the interrupt window, but no line has that vector. */
  stray: { address: number; data: number };
}

/** After so many deliveries in a row that nobody claims, a level-triggered line is masked: it would never end. */
const UNHANDLED_LIMIT = 1000;

/** The message-signalled interrupt window of the PC: writes here are interrupts, not memory. */
export const MESSAGE_WINDOW = 0xfee0_0000;
const MESSAGE_WINDOW_END = 0xfef0_0000;
const FIRST_MESSAGE_VECTOR = 0x30;
const LAST_MESSAGE_VECTOR = 0xfe;

/**
 * One interrupt as its handlers see it. *Level* lines (INTx) may be shared by several sources and handlers and are
 * delivered again until nobody asserts them; *edge* lines (MSI, MSI-X, legacy ISA) are delivered once per raise, with
 * raises before the delivery merged into one.
 */
export class InterruptLine {
  readonly #controller: InterruptController;
  /** Replaced, never changed: handlers attach and detach others while they run. */
  #handlers: readonly InterruptHandler[] = [];
  #sources = 0;
  #latched = false;
  #masked = false;
  #unhandled = 0;
  /** @internal */ queued = false;
  delivered = 0;

  constructor(
    controller: InterruptController,
    readonly name: string,
    readonly trigger: "level" | "edge",
    /** Message vector, or −1 for a wired line. */
    readonly vector: number,
  ) {
    this.#controller = controller;
  }

  get asserted(): boolean {
    return this.#sources > 0 || this.#latched;
  }

  get masked(): boolean {
    return this.#masked;
  }

  /** Gives a source its own end of a (shareable) level-triggered wire. */
  pin(): InterruptPin {
    return new InterruptPin(this);
  }

  /** Delivers once (edge). */
  raise(): void {
    this.#latched = true;
    this.#controller.queue(this);
  }

  attach(handler: InterruptHandler): () => void {
    let live = true;
    const attached: InterruptHandler = () => live && handler();
    this.#handlers = [...this.#handlers, attached];
    this.#unhandled = 0;
    if (this.asserted) this.#controller.queue(this);
    return () => {
      live = false;
      this.#handlers = this.#handlers.filter((other) => other !== attached);
    };
  }

  mask(): void {
    this.#masked = true;
  }

  unmask(): void {
    this.#masked = false;
    this.#unhandled = 0;
    if (this.asserted) this.#controller.queue(this);
  }

  /** @internal */
  sourceChanged(level: boolean): void {
    this.#sources += level ? 1 : -1;
    if (level) this.#controller.queue(this);
  }

  /** @internal @returns whether the line must be delivered again */
  deliver(): boolean {
    const handlers = this.#handlers;
    if (this.#masked || !this.asserted || handlers.length === 0) return false;
    this.#latched = false;
    this.delivered++;
    let handled = false;
    for (let i = 0; i < handlers.length; i++) handled = handlers[i]() || handled;
    if (handled || this.trigger === "edge") {
      this.#unhandled = 0;
    } else if (++this.#unhandled >= UNHANDLED_LIMIT) {
      this.#masked = true;
      this.#controller.events.emit("unhandled", { line: this, times: this.#unhandled });
    }
    return this.asserted && !this.#masked;
  }
}

/** A source's end of a level-triggered wire. */
export class InterruptPin {
  #level = false;
  #connected = true;

  constructor(readonly line: InterruptLine) {}

  get level(): boolean {
    return this.#level;
  }

  set(level: boolean): void {
    if (level === this.#level) return;
    this.#level = level;
    if (this.#connected) this.line.sourceChanged(level);
  }

  /** Whether the level reaches the line. */
  connect(on: boolean): void {
    if (on === this.#connected) return;
    this.#connected = on;
    if (this.#level) this.line.sourceChanged(on);
  }
}

/** All interrupt lines of a machine, delivered in the order of their assertion, from the machine loop only. */
export class InterruptController {
  readonly events = new EventSource<InterruptEvents>();
  readonly #byVector = new Map<number, InterruptLine>();
  #pending: InterruptLine[] = [];
  #delivering: InterruptLine[] = [];

  wire(name: string, trigger: "level" | "edge" = "level"): InterruptLine {
    return new InterruptLine(this, name, trigger, -1);
  }

  /** @returns an edge line with a free message vector; its device is to write `data = vector` to {@link MESSAGE_WINDOW} */
  message(name: string): InterruptLine {
    for (let vector = FIRST_MESSAGE_VECTOR; vector <= LAST_MESSAGE_VECTOR; vector++) {
      if (this.#byVector.has(vector)) continue;
      const line = new InterruptLine(this, name, "edge", vector);
      this.#byVector.set(vector, line);
      return line;
    }
    throw new InterruptError("no-vector", `no interrupt vector is left for ${name}: release some first`);
  }

  release(line: InterruptLine): void {
    if (this.#byVector.get(line.vector) === line) this.#byVector.delete(line.vector);
  }

  isMessageAddress(address: number): boolean {
    return address >= MESSAGE_WINDOW && address < MESSAGE_WINDOW_END;
  }

  /** A device's memory write into the interrupt window. */
  deliverMessage(address: number, data: number): void {
    const line = this.#byVector.get(data & 0xff);
    if (line === undefined) this.events.emit("stray", { address, data });
    else line.raise();
  }

  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  /** @internal */
  queue(line: InterruptLine): void {
    if (line.queued) return;
    line.queued = true;
    this.#pending.push(line);
  }

  /** Runs the handlers of what is pending, each line once. @returns how many lines were looked at */
  dispatch(): number {
    const batch = this.#pending;
    if (batch.length === 0) return 0;
    this.#pending = this.#delivering;
    this.#delivering = batch;
    for (let i = 0; i < batch.length; i++) {
      const line = batch[i];
      line.queued = false;
      if (line.deliver()) this.queue(line);
    }
    const count = batch.length;
    batch.length = 0;
    return count;
  }
}
