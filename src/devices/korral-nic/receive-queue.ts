import type { StateReader } from "../../util/state-reader.js";
import type { FilterBank } from "./filter-bank.js";
import { type Board, KorralQueue } from "./queue.js";
import {
  Completion,
  ErrorCode,
  LENGTH_MASK,
  Load,
  Receive,
  Statistic,
  VERDICT_INDEX_SHIFT,
  Vector,
  Withdraw,
} from "./registers.js";

const HIGH = 2 ** 32;

/** A receive queue: filter program, posted buffers, withdrawal (§4). */
export class ReceiveQueue extends KorralQueue {
  readonly #filters: FilterBank;
  // The posted buffers, in the order of posting from #first on, around a circle of as many places as the ring has.
  #address = new Float64Array(0);
  #length = new Uint16Array(0);
  #cookie = new Uint32Array(0);
  #first = 0;
  #count = 0;

  #programLow = 0;
  #programHigh = 0;
  #programCount = 0;
  #verdict = 0;
  #withdrawCookie = 0;
  #withdrawn = 0;
  #frames = 0;
  #drops = 0;
  #cuts = 0;

  constructor(
    board: Board,
    readonly index: number,
    filters: FilterBank,
  ) {
    super(board, `receive queue ${index}`, Vector.receive + index);
    this.#filters = filters;
  }

  override readRegister(offset: number): number {
    switch (offset) {
      case Receive.PROGRAM:
        return this.#programLow;
      case Receive.PROGRAM_HIGH:
        return this.#programHigh;
      case Receive.COUNT:
        return this.#programCount;
      case Receive.VERDICT:
        return this.#verdict;
      case Receive.COOKIE:
        return this.#withdrawCookie;
      case Receive.WITHDRAWN:
        return this.#withdrawn;
      case Receive.FRAMES:
        return this.#frames;
      case Receive.DROPS:
        return this.#drops;
      case Receive.CUTS:
        return this.#cuts;
      default:
        return super.readRegister(offset);
    }
  }

  override writeRegister(offset: number, value: number): void {
    switch (offset) {
      case Receive.PROGRAM:
        this.#programLow = value;
        break;
      case Receive.PROGRAM_HIGH:
        this.#programHigh = value;
        break;
      case Receive.COUNT:
        this.#programCount = value;
        break;
      case Receive.LOAD:
        this.#load(value);
        break;
      case Receive.COOKIE:
        this.#withdrawCookie = value;
        break;
      case Receive.WITHDRAW:
        this.#withdraw(value);
        break;
      default:
        super.writeRegister(offset, value);
    }
  }

  override reset(): void {
    super.reset();
    this.#programLow = 0;
    this.#programHigh = 0;
    this.#programCount = 0;
    this.#verdict = 0;
    this.#withdrawCookie = 0;
    this.#withdrawn = 0;
    this.#frames = 0;
    this.#drops = 0;
    this.#cuts = 0;
  }

  /** A frame that is this queue's: into the next posted buffer, or lost. */
  receive(bytes: Uint8Array, offset: number, length: number): void {
    const { counters } = this.board.statistics;
    if (this.#count === 0 || this.error !== ErrorCode.NONE) {
      this.#drops = (this.#drops + 1) >>> 0;
      counters[Statistic.RX_NO_BUFFER]++;
      return;
    }
    const place = this.#first;
    const room = this.#length[place];
    const stored = Math.min(length, room);
    const address = this.#address[place];
    this.#dropFirst();
    if (!this.board.host.dma.write(address, bytes, offset, stored)) {
      counters[Statistic.RX_FAULT]++;
      const flags = Completion.ERROR | (ErrorCode.DATA << Completion.CODE_SHIFT);
      if (this.complete(this.#cookie[place], 0, length, flags)) this.fail(ErrorCode.DATA, address);
      return;
    }
    counters[Statistic.RX_FRAMES]++;
    counters[Statistic.RX_BYTES] += stored;
    this.#frames = (this.#frames + 1) >>> 0;
    if (stored < length) this.#cuts = (this.#cuts + 1) >>> 0;
    this.complete(this.#cookie[place], stored, length, stored < length ? Completion.CUT : 0);
  }

  snapshot(): object {
    const places = Array.from({ length: this.#count }, (_, i) => (this.#first + i) & (this.entries - 1));
    return {
      ...this.snapshotQueue(),
      addresses: places.flatMap((at) => [this.#address[at] % HIGH, Math.floor(this.#address[at] / HIGH)]),
      lengths: places.map((at) => this.#length[at]),
      cookies: places.map((at) => this.#cookie[at]),
      program: [this.#programLow, this.#programHigh, this.#programCount],
      verdict: this.#verdict,
      withdraw: [this.#withdrawCookie, this.#withdrawn],
      counters: [this.#frames, this.#drops, this.#cuts],
    };
  }

  restore(from: StateReader): void {
    this.restoreQueue(from);
    const most = this.enabled ? this.entries - 1 - this.completions.unread : 0;
    const lengths = from.numbers("lengths", 0, Math.max(most, 0), LENGTH_MASK);
    const addresses = from.numbers("addresses", 2 * lengths.length, 2 * lengths.length, HIGH - 1);
    const cookies = from.numbers("cookies", lengths.length, lengths.length, HIGH - 1);
    [this.#programLow, this.#programHigh, this.#programCount] = from.numbers("program", 3, 3, HIGH - 1);
    this.#verdict = from.integer("verdict", 0, HIGH - 1);
    [this.#withdrawCookie, this.#withdrawn] = from.numbers("withdraw", 2, 2, HIGH - 1);
    [this.#frames, this.#drops, this.#cuts] = from.numbers("counters", 3, 3, HIGH - 1);
    lengths.forEach((length, i) => {
      this.#post(addresses[2 * i + 1] * HIGH + addresses[2 * i], length, cookies[i]);
    });
  }

  protected override get held(): number {
    return this.#count;
  }

  protected override get mayTake(): boolean {
    return this.enabled && this.error === ErrorCode.NONE;
  }

  protected override begin(): void {
    if (this.#address.length !== this.entries) {
      this.#address = new Float64Array(this.entries);
      this.#length = new Uint16Array(this.entries);
      this.#cookie = new Uint32Array(this.entries);
    }
    this.letGo();
  }

  protected override letGo(): void {
    this.#first = 0;
    this.#count = 0;
  }

  protected override takeDescriptor(address: number, lengthAndFlags: number, cookie: number): void {
    const length = lengthAndFlags & LENGTH_MASK;
    if (length > 0) this.#post(address, length, cookie);
    else this.complete(cookie, 0, 0, Completion.ERROR | (ErrorCode.EMPTY << Completion.CODE_SHIFT));
  }

  #post(address: number, length: number, cookie: number): void {
    const place = (this.#first + this.#count) & (this.entries - 1);
    this.#address[place] = address;
    this.#length[place] = length;
    this.#cookie[place] = cookie;
    this.#count++;
  }

  #dropFirst(): void {
    this.#first = (this.#first + 1) & (this.entries - 1);
    this.#count--;
  }

  #load(command: number): void {
    if (command === Load.CLEAR) {
      this.#filters.clear(this.index);
      this.#verdict = 0;
    } else if (command === Load.VERIFY) {
      const address = this.#programHigh * HIGH + this.#programLow;
      const { verdict, instruction } = this.#filters.load(this.index, this.board.host.dma, address, this.#programCount);
      this.#verdict = ((instruction << VERDICT_INDEX_SHIFT) | verdict) >>> 0;
    }
  }

  #withdraw(command: number): void {
    this.#withdrawn = 0;
    if (command === Withdraw.ONE) {
      if (this.#moveToFront(this.#withdrawCookie)) this.#withdrawFirst();
    } else if (command === Withdraw.ALL) {
      while (this.#count > 0) this.#withdrawFirst();
    }
  }

  #withdrawFirst(): void {
    const cookie = this.#cookie[this.#first];
    this.#dropFirst();
    if (this.complete(cookie, 0, 0, Completion.WITHDRAWN)) this.#withdrawn++;
  }

  /** Makes the oldest buffer with this cookie the first one; the order of the others stays. */
  #moveToFront(cookie: number): boolean {
    const mask = this.entries - 1;
    let found = 0;
    while (found < this.#count && this.#cookie[(this.#first + found) & mask] !== cookie) found++;
    if (found === this.#count) return false;
    const at = (this.#first + found) & mask;
    const address = this.#address[at];
    const length = this.#length[at];
    for (let i = found; i > 0; i--) {
      const to = (this.#first + i) & mask;
      const from = (to - 1) & mask;
      this.#address[to] = this.#address[from];
      this.#length[to] = this.#length[from];
      this.#cookie[to] = this.#cookie[from];
    }
    this.#address[this.#first] = address;
    this.#length[this.#first] = length;
    this.#cookie[this.#first] = cookie;
    return true;
  }
}
