import type { PinnedTransfer } from "../../transfer/pinned.js";
import { ReservedMemory } from "../../transfer/reserved-memory.js";
import type { DriverDomain } from "../driver-domain.js";
import { Reg, TX_DESCRIPTOR_BYTES, TxCommand, TxStatus } from "./registers.js";

const DESCRIPTORS = 256;
/** Ask for a status at least so often: completions are then noticed in time to keep the ring busy. */
const REPORT_EVERY = 64;
const COPY_BUFFERS = 64;
const COPY_BUFFER_BYTES = 2048;

/** Frames of one client that are sent together: zero-copy from its pinned memory. */
interface Batch {
  readonly transfer: PinnedTransfer;
  readonly pairs: Uint32Array;
  /** What the offsets in the pairs count from. */
  readonly start: number;
  /** Next pair to be queued. */
  next: number;
  readonly done: () => void;
}

/** The transmit descriptor ring (SDM §3.3–3.4): batches in, completions out, in order. */
export class TransmitRing {
  readonly #domain: DriverDomain;
  readonly #ring: ReservedMemory;
  readonly #copies: ReservedMemory;
  readonly #waiting: Batch[] = [];
  readonly #freeCopies: number[] = [];
  readonly #copyWaiters: (() => void)[] = [];
  /** Per descriptor: what ends when it is done. */
  readonly #ends: (Batch | number | null)[] = new Array<Batch | number | null>(DESCRIPTORS).fill(null);
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
    for (let i = 0; i < COPY_BUFFERS; i++) this.#freeCopies.push(i);
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
  send(transfer: PinnedTransfer, pairs: Uint32Array, start: number, done: () => void): void {
    this.#waiting.push({ transfer, pairs, start, next: 0, done });
    this.#fill();
  }

  /** Queues one frame by value: into a buffer of the driver's own, as soon as there is one and room for it. */
  async sendCopy(frame: Uint8Array): Promise<void> {
    while (this.#freeCopies.length === 0 || this.#room === 0) {
      await new Promise<void>((resolve) => this.#copyWaiters.push(resolve));
    }
    const buffer = this.#freeCopies.pop() ?? 0;
    this.#copies.bytes.set(frame, buffer * COPY_BUFFER_BYTES);
    this.#domain.statistics.countCopy(frame.length);
    this.#describe(this.#copies.io + buffer * COPY_BUFFER_BYTES, frame.length, true, buffer);
    this.#domain.device.write(0, Reg.tdt, 4, this.#tail);
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
        const end = this.#ends[at];
        if (end !== null) {
          this.#ends[at] = null;
          if (typeof end === "number") this.#freeCopies.push(end);
          else end.done();
        }
        if (at === last) break;
      }
    }
    if (any) {
      this.#fill();
      for (const wake of this.#copyWaiters.splice(0)) wake();
    }
    return any;
  }

  get #room(): number {
    return (this.#clean + DESCRIPTORS - this.#tail - 1) % DESCRIPTORS;
  }

  #fill(): void {
    const before = this.#tail;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting[0];
      const { pairs, transfer, start } = batch;
      let room = this.#room;
      while (room > 0 && batch.next < pairs.length) {
        const at = batch.next;
        batch.next += 2;
        room--;
        const isLast = batch.next === pairs.length;
        this.#describe(transfer.io + (pairs[at] - start), pairs[at + 1], isLast || room === 0, isLast ? batch : null);
      }
      if (batch.next < pairs.length) break;
      this.#waiting.shift();
    }
    if (this.#tail !== before) this.#domain.device.write(0, Reg.tdt, 4, this.#tail);
  }

  /** Writes one legacy descriptor (§3.3.3). */
  #describe(address: number, length: number, report: boolean, end: Batch | number | null): void {
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
