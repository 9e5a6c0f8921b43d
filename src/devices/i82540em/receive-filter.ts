import { Rah, Rctl, Register } from "./registers.js";

/** What the address filter says of a frame. */
export const Match = {
  none: 0,
  /** A receive address, broadcast, or everything is wanted. */
  exact: 1,
  /** Only the multicast hash: software has to look (PIF). */
  hash: 2,
} as const;

const RECEIVE_ADDRESSES = 16;
/** RCTL.MO: the destination's bits 47:36, 46:35, 45:34 or 43:32 select the bit in the multicast table. */
const HASH_SHIFTS = [4, 3, 2, 0];

/** The receive filters of §3.2.1 and §13.5: receive addresses, multicast table, promiscuous modes, VLAN table. */
export class ReceiveFilter {
  readonly #registers: Uint32Array;
  // The valid receive addresses, so that a frame is compared with those only.
  readonly #low = new Uint32Array(RECEIVE_ADDRESSES);
  readonly #high = new Uint32Array(RECEIVE_ADDRESSES);
  readonly #offset = new Uint32Array(RECEIVE_ADDRESSES);
  #valid = 0;

  constructor(registers: Uint32Array) {
    this.#registers = registers;
  }

  /** Takes over the receive address registers. */
  addressesChanged(): void {
    this.#valid = 0;
    for (let entry = 0; entry < RECEIVE_ADDRESSES; entry++) {
      const high = this.#registers[Register.RA + 2 * entry + 1];
      const select = (high >>> Rah.AS_SHIFT) & 3;
      if ((high & Rah.AV) === 0 || select > 1) continue;
      this.#low[this.#valid] = this.#registers[Register.RA + 2 * entry];
      this.#high[this.#valid] = high & 0xffff;
      // Address select: the destination, or the source that follows it.
      this.#offset[this.#valid] = 6 * select;
      this.#valid++;
    }
  }

  /** @returns a value of {@link Match} */
  address(view: DataView, at: number): number {
    const rctl = this.#registers[Register.RCTL];
    for (let i = 0; i < this.#valid; i++) {
      const address = at + this.#offset[i];
      if (view.getUint32(address, true) === this.#low[i] && view.getUint16(address + 4, true) === this.#high[i]) {
        return Match.exact;
      }
    }
    if ((view.getUint8(at) & 1) === 0) return (rctl & Rctl.UPE) !== 0 ? Match.exact : Match.none;
    if ((rctl & Rctl.MPE) !== 0) return Match.exact;
    if (isBroadcast(view, at)) {
      if ((rctl & Rctl.BAM) !== 0) return Match.exact;
    }
    const hash = (view.getUint16(at + 4, true) >>> HASH_SHIFTS[(rctl >>> Rctl.MO_SHIFT) & 3]) & 0xfff;
    return ((this.#registers[Register.MTA + (hash >>> 5)] >>> (hash & 31)) & 1) !== 0 ? Match.hash : Match.none;
  }

  /** Whether a frame with this tag control information passes (§9.3). */
  vlan(tag: number): boolean {
    const rctl = this.#registers[Register.RCTL];
    if ((rctl & Rctl.VFE) === 0) return true;
    if ((rctl & Rctl.CFIEN) !== 0 && ((tag & 0x1000) !== 0) !== ((rctl & Rctl.CFI) !== 0)) return false;
    const id = tag & 0xfff;
    return ((this.#registers[Register.VFTA + (id >>> 5)] >>> (id & 31)) & 1) !== 0;
  }
}

export function isBroadcast(view: DataView, at: number): boolean {
  return view.getUint32(at, true) === 0xffff_ffff && view.getUint16(at + 4, true) === 0xffff;
}
