import { ADDRESS_SLOTS, Control, VALID } from "./registers.js";

const GROUP = 0x01;
const BROADCAST_LOW = 0xffff_ffff;
const BROADCAST_HIGH = 0xffff;

/** Which destinations the board takes frames for (§2.1). */
export class AddressFilter {
  /** Two words a slot. */
  readonly words = new Uint32Array(2 * ADDRESS_SLOTS);
  #slotsUsed = 0;

  constructor(readonly stationAddress: Uint8Array) {
    this.reset();
  }

  reset(): void {
    this.words.fill(0);
    const [a, b, c, d, e, f] = this.stationAddress;
    this.setWord(0, (a | (b << 8) | (c << 16) | (d << 24)) >>> 0);
    this.setWord(1, (VALID | (e | (f << 8))) >>> 0);
  }

  setWord(word: number, value: number): void {
    this.words[word] = (word & 1) === 0 ? value : value & (VALID | 0xffff);
    this.#slotsUsed = 0;
    for (let slot = 0; slot < ADDRESS_SLOTS; slot++) {
      if ((this.words[2 * slot + 1] & VALID) !== 0) this.#slotsUsed = slot + 1;
    }
  }

  accepts(frame: Uint8Array, offset: number, control: number): boolean {
    if ((control & Control.PROMISCUOUS) !== 0) return true;
    const low =
      (frame[offset] | (frame[offset + 1] << 8) | (frame[offset + 2] << 16) | (frame[offset + 3] << 24)) >>> 0;
    const high = frame[offset + 4] | (frame[offset + 5] << 8);
    const wanted = (VALID | high) >>> 0;
    for (let slot = 0; slot < this.#slotsUsed; slot++) {
      if (this.words[2 * slot + 1] === wanted && this.words[2 * slot] === low) return true;
    }
    if ((low & GROUP) === 0) return false;
    const broadcast = low === BROADCAST_LOW && high === BROADCAST_HIGH;
    return (control & (broadcast ? Control.BROADCAST : Control.ALLMULTI)) !== 0;
  }
}
