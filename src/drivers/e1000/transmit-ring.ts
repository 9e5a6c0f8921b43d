import type { PinnedTransfer } from "../../transfer/pinned.js";
import { ReservedMemory } from "../../transfer/reserved-memory.js";
import type { WatchdogToken } from "../../transfer/watchdog.js";
import type { KorralError } from "../../util/errors.js";
import type { DriverDomain } from "../driver-domain.js";
import { Reg, TX_DESCRIPTOR_BYTES, TxCommand, TxStatus } from "./registers.js";

const DESCRIPTORS = 256;
/** Ask for a status at least so often: completions are then noticed in time to keep the ring busy. */
const REPORT_EVERY = 64;
const COPY_BUFFERS = 64;
const COPY_BUFFER_BYTES = 2048;

/** How a batch or a copied frame ended: `null` means that the device has read it. */
export type Sent = (error: KorralError | null) => void;

/** Frames of one client that are sent together: zero-copy from its pinned memory. */
interface Batch {
  readonly kind: "batch";
  readonly transfer: PinnedTransfer;
  readonly pairs: Uint32Array;
  /** What the offsets in the pairs count from. */
  readonly start: number;
  /** Next pair to be queued. */
  next: number;
  readonly done: Sent;
}

/** One frame by value, which waits for a buffer of the driver's own. */
interface Copy {
  readonly kind: "copy";
  readonly frame: Uint8Array;
  /** Runs when the frame is in a buffer. */
  readonly taken: Sent;
}

/** A buffer of the driver's own, with the watch on the frame in it. */
interface CopyBuffer {
  readonly kind: "buffer";
  readonly at: number;
  watch: WatchdogToken;
}

/** The transmit descriptor ring (SDM §3.3–3.4): frames in, completions out, in order. */
export class TransmitRing {
  readonly #domain: DriverDomain;
  readonly #ring: ReservedMemory;
  readonly #copies: ReservedMemory;
  /** First come, first served. */
  readonly #waiting: (Batch | Copy)[] = [];
  readonly #freeCopies: CopyBuffer[] = [];
  /** Per descriptor: what ends when it is done. */
  readonly #ends: (Batch | CopyBuffer | null)[] = new Array<Batch | CopyBuffer | null>(DESCRIPTORS).fill(null);
  #tail = 0;
  #clean = 0;
  #sinceReport = 0;
  /** Descriptors that asked for a status, oldest first, as a ring of indices. */
  readonly #reports = new Uint16Array(DESCRIPTORS);
  #reportHead = 0;
  #reportTail = 0;

  constructor(domain: DriverDomain) {
    this.#domain = domain;
    this.#ring = new ReservedMemory(domain, DESCRIPTORS * TX_DESCRIPTOR_BYTES, "transmit ring");
    this.#copies = new ReservedMemory(domain, COPY_BUFFERS * COPY_BUFFER_BYTES, "transmit buffers");
    for (let i = 0; i < COPY_BUFFERS; i++) {
      this.#freeCopies.push({ kind: "buffer", at: i * COPY_BUFFER_BYTES, watch: 0 });
    }
  }

  /** Initialisation of transmit (§14.5). */
  program(write: (register: number, value: number) => void): void {
    write(Reg.tdbal, this.#ring.io >>> 0);
    write(Reg.tdbah, Math.floor(this.#ring.io / 2 ** 32));
    write(Reg.tdlen, DESCRIPTORS * TX_DESCRIPTOR_BYTES);
    write(Reg.tdh, 0);
    write(Reg.tdt, 0);
  }

  /** Queues a batch; `done` runs when the device has read every frame of it. */
  send(transfer: PinnedTransfer, pairs: Uint32Array, start: number, done: Sent): void {
    this.#waiting.push({ kind: "batch", transfer, pairs, start, next: 0, done });
    this.#fill();
  }

  /** Queues one frame by value: into a buffer of the driver's own, as soon as there is one and room for it. */
  sendCopy(frame: Uint8Array, taken: Sent): void {
    this.#waiting.push({ kind: "copy", frame, taken });
    this.#fill();
  }

  /** Without a link nothing leaves: all that waits ends with the error. The device must not be transmitting. */
  abandon(error: KorralError): void {
    for (let at = this.#clean; at !== this.#tail; at = (at + 1) % DESCRIPTORS) this.#end(at, error);
    this.#tail = 0;
    this.#clean = 0;
    this.#sinceReport = 0;
    this.#reportHead = 0;
    this.#reportTail = 0;
    const waiting = this.#waiting.splice(0);
    for (const one of waiting) (one.kind === "batch" ? one.done : one.taken)(error);
  }

  /** Takes what the device is done with. @returns whether there was anything */
  reap(): boolean {
    const { words } = this.#ring;
    let any = false;
    while (this.#reportHead !== this.#reportTail) {
      const last = this.#reports[this.#reportHead % DESCRIPTORS];
      if ((words[4 * last + 3] & TxStatus.done) === 0) break;
      this.#reportHead = (this.#reportHead + 1) & 0xffff;
      any = true;
      for (;;) {
        const at = this.#clean;
        this.#clean = (at + 1) % DESCRIPTORS;
        this.#end(at, null);
        if (at === last) break;
      }
    }
    if (any) this.#fill();
    return any;
  }

  #end(at: number, error: KorralError | null): void {
    const end = this.#ends[at];
    if (end === null) return;
    this.#ends[at] = null;
    if (end.kind === "batch") {
      end.done(error);
      return;
    }
    this.#domain.watchdog.end(end.watch);
    this.#freeCopies.push(end);
  }

  get #room(): number {
    return (this.#clean + DESCRIPTORS - this.#tail - 1) % DESCRIPTORS;
  }

  #fill(): void {
    const before = this.#tail;
    while (this.#waiting.length > 0) {
      const first = this.#waiting[0];
      if (!(first.kind === "batch" ? this.#takeBatch(first) : this.#takeCopy(first))) break;
      this.#waiting.shift();
    }
    if (this.#tail !== before) this.#domain.device.write(0, Reg.tdt, 4, this.#tail);
  }

  /** @returns whether all of it is in the ring */
  #takeBatch(batch: Batch): boolean {
    const { pairs, transfer, start } = batch;
    let room = this.#room;
    if (room > 0) transfer.start();
    while (room > 0 && batch.next < pairs.length) {
      const at = batch.next;
      batch.next += 2;
      room--;
      const isLast = batch.next === pairs.length;
      this.#describe(transfer.io + (pairs[at] - start), pairs[at + 1], isLast || room === 0, isLast ? batch : null);
    }
    return batch.next === pairs.length;
  }

  /** @returns whether it is in the ring */
  #takeCopy({ frame, taken }: Copy): boolean {
    const buffer = this.#room === 0 ? undefined : this.#freeCopies.pop();
    if (buffer === undefined) return false;
    this.#copies.bytes.set(frame, buffer.at);
    this.#domain.statistics.countCopy(frame.length);
    buffer.watch = this.#domain.watchdog.begin();
    this.#describe(this.#copies.io + buffer.at, frame.length, true, buffer);
    taken(null);
    return true;
  }

  /** Writes one legacy descriptor (§3.3.3). */
  #describe(address: number, length: number, report: boolean, end: Batch | CopyBuffer | null): void {
    const { words } = this.#ring;
    const at = this.#tail;
    const reports = report || ++this.#sinceReport >= REPORT_EVERY;
    words[4 * at] = address;
    words[4 * at + 1] = address / 2 ** 32;
    words[4 * at + 2] = length | TxCommand.endOfPacket | TxCommand.insertFcs | (reports ? TxCommand.reportStatus : 0);
    words[4 * at + 3] = 0;
    this.#ends[at] = end;
    if (reports) {
      this.#sinceReport = 0;
      this.#reports[this.#reportTail % DESCRIPTORS] = at;
      this.#reportTail = (this.#reportTail + 1) & 0xffff;
    }
    this.#tail = (at + 1) % DESCRIPTORS;
  }
}
