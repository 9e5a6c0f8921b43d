import type { Pin } from "../memory/pin.js";
import { DmaAccess } from "../memory/pin.js";
import { PinPool } from "../memory/pin-budget.js";
import type { IoAddress } from "../util/brand.js";
import { KorralError } from "../util/errors.js";
import type { DmaEnvironment } from "./dma-environment.js";
import type { PacketRing } from "./packet-ring.js";
import type { WatchdogToken } from "./watchdog.js";

/** The board's receive queue, as far as posting buffers goes. */
export interface BoardQueue {
  /** Buffers that the board's ring still takes. */
  readonly room: number;
  /** Tells the board about a buffer; `cookie` comes back with its completion. */
  post(io: IoAddress, length: number, cookie: number): void;
  /** The buffers posted so far are the board's now. */
  kick(): void;
  /** Asks for a buffer back; the board answers with a completion, after which it never touches the buffer again. */
  withdraw(cookie: number): void;
}

interface PostedBuffer {
  readonly slot: number;
  readonly pin: Pin;
  readonly io: IoAddress;
  withdrawal: WatchdogToken | null;
}

/**
 * Case 3b: the filter runs on the board, which writes frames straight into pinned buffers of the client. Posted buffers
 * draw on the pool of their own and are withdrawable: to destroy one of its pages the kernel asks for the buffers in it,
 * the board acknowledges, and they are unpinned.
 */
export class OffloadedReceive {
  readonly #environment: DmaEnvironment;
  readonly #posted = new Map<number, PostedBuffer>();
  /** The next slot of the client's ring to post; the board fills them in this order. */
  #next = 0;
  #outstanding = 0;
  #closed = false;
  withdrawn = 0;

  constructor(
    environment: DmaEnvironment,
    readonly ring: PacketRing,
    readonly queue: BoardQueue,
    readonly site: string,
  ) {
    this.#environment = environment;
  }

  get posted(): number {
    return this.#posted.size;
  }

  /** Nothing is posted any more and nothing will be. */
  get ended(): boolean {
    return this.#closed && this.#posted.size === 0;
  }

  /** Whether posting is worth a doorbell: so many slots have come free, or the client has taken all there was. */
  get wantsRefill(): boolean {
    const used = this.ring.waiting + this.#outstanding;
    const { slots } = this.ring.request;
    return !this.#closed && (2 * used <= slots || (this.ring.waiting === 0 && used < slots));
  }

  /**
   * Posts the client's free slots, as many as the board, the bound and the client allow; call again when some are free.
   * @returns why it stopped early, or null
   */
  refill(): KorralError | null {
    try {
      return this.#post();
    } finally {
      this.queue.kick();
    }
  }

  #post(): KorralError | null {
    const { slots, slotBytes, space, offset } = this.ring.request;
    while (!this.#closed && this.queue.room > 0 && this.ring.waiting + this.#outstanding < slots) {
      const slot = this.#next % slots;
      try {
        const pin = this.#environment.pins.tryPin({
          space,
          offset: offset + slot * slotBytes,
          length: slotBytes,
          access: DmaAccess.write,
          pool: PinPool.posted,
        });
        const io = this.#environment.dma.map(pin, 0, slotBytes, DmaAccess.write, this.site);
        const cookie = slot;
        const buffer: PostedBuffer = { slot, pin, io, withdrawal: null };
        pin.onWithdraw = () => this.#withdraw(cookie, buffer);
        this.#posted.set(cookie, buffer);
        this.#next++;
        this.#outstanding++;
        this.queue.post(io, slotBytes, cookie);
      } catch (error) {
        if (error instanceof KorralError) return error;
        throw error;
      }
    }
    return null;
  }

  /**
   * The board is done with a buffer.
   * @param length of the frame in it, or −1 when the buffer was withdrawn unused
   * @param cut whether the frame was longer
   * @throws Error when the board says what cannot be
   */
  complete(cookie: number, length: number, cut: boolean): void {
    const buffer = this.#posted.get(cookie);
    if (buffer === undefined || length > this.ring.request.slotBytes) {
      throw new Error(`the board stores ${length} bytes in buffer ${cookie}, which was not posted for that`);
    }
    this.#posted.delete(cookie);
    this.#outstanding--;
    this.#environment.dma.unmap(buffer.io, this.site);
    if (buffer.withdrawal !== null) this.#environment.watchdog.end(buffer.withdrawal);
    this.#environment.pins.unpin(buffer.pin);
    if (length < 0) {
      this.withdrawn++;
      // Frames are delivered in slot order: after a hole in it the session cannot go on.
      this.close();
      return;
    }
    const slot = this.ring.reserve();
    if (slot < 0) return;
    if (slot !== buffer.slot) throw new Error(`the board fills buffer ${cookie} before those posted earlier`);
    this.ring.commit(slot, length, cut);
    this.#environment.statistics.countZeroCopy(length);
  }

  /** Takes all idle buffers back; the session receives nothing more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const [cookie, buffer] of [...this.#posted]) this.#withdraw(cookie, buffer);
  }

  #withdraw(cookie: number, buffer: PostedBuffer): void {
    if (buffer.withdrawal !== null || this.#posted.get(cookie) !== buffer) return;
    buffer.withdrawal = this.#environment.watchdog.begin();
    this.queue.withdraw(cookie);
  }
}
