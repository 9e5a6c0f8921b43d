import { Completion, Region } from "../../devices/korral-nic/registers.js";
import type { PinnedTransfer } from "../../transfer/pinned.js";
import type { KorralError } from "../../util/errors.js";
import type { DriverDomain } from "../driver-domain.js";
import { LinkDownError } from "../network-service.js";
import { BoardRing } from "./board-queue.js";

const SIZE_LOG2 = 8;

interface Batch {
  readonly transfer: PinnedTransfer;
  readonly pairs: Uint32Array;
  /** What the offsets in the pairs count from. */
  readonly start: number;
  next: number;
  /** Frames that the board has not completed. */
  left: number;
  /** Some frame of it was not sent. */
  error: KorralError | null;
  readonly done: (error: KorralError | null) => void;
}

/** The board's transmit queue (§5): a descriptor a frame, straight from the client's pinned memory. */
export class TransmitQueue {
  readonly #ring: BoardRing;
  readonly #queued: Batch[] = [];
  /** Batches whose frames are with the board, oldest first. */
  readonly #sent: Batch[] = [];

  constructor(domain: DriverDomain) {
    this.#ring = new BoardRing(domain, Region.transmit, SIZE_LOG2, "transmit queue");
  }

  send(transfer: PinnedTransfer, pairs: Uint32Array, start: number, done: Batch["done"]): void {
    this.#queued.push({ transfer, pairs, start, next: 0, left: pairs.length / 2, error: null, done });
    this.#fill();
  }

  /** Takes completions, which come in the order of the frames. */
  reap(): void {
    for (let completion = this.#ring.take(); completion !== null; completion = this.#ring.take()) {
      const batch = this.#sent[0];
      if (batch === undefined) throw new Error("the board completes a frame that it was not given");
      if ((completion.flags & Completion.NOLINK) !== 0) batch.error ??= new LinkDownError();
      else if ((completion.flags & Completion.ERROR) !== 0) throw new Error("the board refuses a frame");
      if (--batch.left > 0) continue;
      this.#sent.shift();
      batch.done(batch.error);
    }
    this.#fill();
    this.#ring.arm();
  }

  #fill(): void {
    let any = false;
    while (this.#queued.length > 0 && this.#ring.room > 0) {
      const batch = this.#queued[0];
      const { pairs, transfer, start } = batch;
      if (batch.next === 0) {
        this.#sent.push(batch);
        transfer.start();
      }
      while (batch.next < pairs.length && this.#ring.room > 0) {
        const at = batch.next;
        this.#ring.post(transfer.io + (pairs[at] - start), pairs[at + 1], 0, true);
        batch.next += 2;
        any = true;
      }
      if (batch.next === pairs.length) this.#queued.shift();
    }
    if (any) this.#ring.kick();
  }
}
