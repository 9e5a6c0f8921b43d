import type { StateReader } from "../../util/state-reader.js";
import { ETHERNET_HEADER_BYTES, LONGEST_FRAME_BYTES, type Wire } from "../wire.js";
import { type Board, KorralQueue } from "./queue.js";
import { Completion, DESCRIPTOR_LAST, ErrorCode, LENGTH_MASK, Statistic, Vector } from "./registers.js";

/** The transmit queue: gathers frames from descriptors (§5). */
export class TransmitQueue extends KorralQueue {
  readonly #wire: Wire;
  #on = false;
  readonly #frame = new Uint8Array(LONGEST_FRAME_BYTES);
  /** Bytes gathered; above the longest frame the rest is only counted. */
  #gathered = 0;

  constructor(board: Board, wire: Wire) {
    super(board, "transmit queue", Vector.transmit);
    this.#wire = wire;
  }

  /** TXEN. */
  setOn(on: boolean): void {
    this.#on = on;
    this.takeWaiting();
  }

  snapshot(): object {
    return { ...this.snapshotQueue(), gathered: this.#gathered, frame: [...this.#frame.subarray(0, this.#kept)] };
  }

  /** @param on TXEN */
  restore(from: StateReader, on: boolean): void {
    this.#on = on;
    this.restoreQueue(from);
    this.#gathered = from.integer("gathered", 0, LONGEST_FRAME_BYTES + 1);
    this.#frame.set(from.numbers("frame", this.#kept, this.#kept, 0xff));
  }

  /** Bytes gathered that matter: a frame that is too long will not be sent. */
  get #kept(): number {
    return this.#gathered > LONGEST_FRAME_BYTES ? 0 : this.#gathered;
  }

  protected override get held(): number {
    return 0;
  }

  protected override get mayTake(): boolean {
    return this.#on && this.enabled && this.error === ErrorCode.NONE;
  }

  protected override begin(): void {
    this.#gathered = 0;
  }

  protected override letGo(): void {
    this.#gathered = 0;
  }

  protected override takeDescriptor(address: number, lengthAndFlags: number, cookie: number): void {
    const length = lengthAndFlags & LENGTH_MASK;
    if (!this.#gather(address, length)) {
      this.letGo();
      this.fail(ErrorCode.DATA, address);
      return;
    }
    if ((lengthAndFlags & DESCRIPTOR_LAST) !== 0) this.#send(cookie);
  }

  /** @returns false if reading was refused */
  #gather(address: number, length: number): boolean {
    const at = this.#gathered;
    if (at + length > LONGEST_FRAME_BYTES) {
      this.#gathered = LONGEST_FRAME_BYTES + 1;
      return true;
    }
    this.#gathered = at + length;
    return length === 0 || this.board.host.dma.read(address, this.#frame, at, length);
  }

  #send(cookie: number): void {
    const length = this.#gathered;
    this.#gathered = 0;
    const { counters } = this.board.statistics;
    if (length < ETHERNET_HEADER_BYTES || length > LONGEST_FRAME_BYTES) {
      counters[Statistic.TX_BAD]++;
      this.complete(cookie, 0, 0, Completion.ERROR | (ErrorCode.LENGTH << Completion.CODE_SHIFT));
    } else if (!this.#wire.carrier) {
      counters[Statistic.TX_NO_LINK]++;
      this.complete(cookie, 0, length, Completion.NOLINK);
    } else {
      counters[Statistic.TX_FRAMES]++;
      counters[Statistic.TX_BYTES] += length;
      this.#wire.send(this.#frame, 0, length);
      this.complete(cookie, length, length, 0);
    }
  }
}
