import type { StateReader } from "../../util/state-reader.js";

const ADDRESS_BYTES = 6;
/** More addresses than these, and all of their kind are let through (§5.1.6.5.2). */
const MOST_ADDRESSES = 64;
const VLAN_WORDS = 4096 / 32;
const TYPE_VLAN = 0x8100;
const MULTICAST = 1;

export interface ReceiveFilterState {
  promiscuous: boolean;
  allMulticast: boolean;
  tooManyUnicast: boolean;
  tooManyMulticast: boolean;
  /** Low words and high half-words of the table's addresses, alternating. */
  addresses: number[];
  vlans: number[];
}

/** Which frames the driver wants (VIRTIO 1.2, §5.1.6.5.1 to §5.1.6.5.3). */
export class ReceiveFilter {
  promiscuous = false;
  allMulticast = false;
  readonly #vlans = new Uint32Array(VLAN_WORDS);
  // The device's own address comes first.
  readonly #low = new Uint32Array(1 + 2 * MOST_ADDRESSES);
  readonly #high = new Uint16Array(1 + 2 * MOST_ADDRESSES);
  #count = 1;
  #tooManyUnicast = false;
  #tooManyMulticast = false;

  /** @param vlanFilter whether the driver filters by VLAN */
  accepts(view: DataView, at: number, length: number, vlanFilter: boolean): boolean {
    if (this.promiscuous) return true;
    if (
      vlanFilter &&
      view.getUint16(at + 12) === TYPE_VLAN &&
      !(length >= 16 && this.#hasVlan(view.getUint16(at + 14)))
    )
      return false;
    const low = view.getUint32(at, true);
    const high = view.getUint16(at + 4, true);
    for (let i = 0; i < this.#count; i++) if (this.#low[i] === low && this.#high[i] === high) return true;
    if ((low & MULTICAST) === 0) return this.#tooManyUnicast;
    return this.allMulticast || this.#tooManyMulticast || (low === 0xffff_ffff && high === 0xffff);
  }

  /** Sets the device's own address, the six bytes from `at` on. */
  setAddress(view: DataView, at: number): void {
    this.#low[0] = view.getUint32(at, true);
    this.#high[0] = view.getUint16(at + 4, true);
  }

  /** Empties the table of addresses. */
  clearTable(): void {
    this.#count = 1;
    this.#tooManyUnicast = false;
    this.#tooManyMulticast = false;
  }

  /** Adds `count` addresses, one behind the other from `at` on; more than the table takes open it for all of their kind. */
  addAddresses(view: DataView, at: number, count: number, multicast: boolean): void {
    if (count > MOST_ADDRESSES) {
      if (multicast) this.#tooManyMulticast = true;
      else this.#tooManyUnicast = true;
      return;
    }
    for (let i = 0; i < count; i++, this.#count++) {
      this.#low[this.#count] = view.getUint32(at + ADDRESS_BYTES * i, true);
      this.#high[this.#count] = view.getUint16(at + ADDRESS_BYTES * i + 4, true);
    }
  }

  setVlan(id: number, on: boolean): void {
    const bit = 1 << (id & 31);
    if (on) this.#vlans[id >>> 5] |= bit;
    else this.#vlans[id >>> 5] &= ~bit;
  }

  /** Everything but the device's own address. */
  reset(): void {
    this.promiscuous = false;
    this.allMulticast = false;
    this.clearTable();
    this.#vlans.fill(0);
  }

  snapshot(): ReceiveFilterState {
    const addresses: number[] = [];
    for (let i = 1; i < this.#count; i++) addresses.push(this.#low[i], this.#high[i]);
    return {
      promiscuous: this.promiscuous,
      allMulticast: this.allMulticast,
      tooManyUnicast: this.#tooManyUnicast,
      tooManyMulticast: this.#tooManyMulticast,
      addresses,
      vlans: [...this.#vlans],
    };
  }

  restore(state: StateReader): void {
    const words = state.numbers("addresses", 0, 4 * MOST_ADDRESSES, 0xffff_ffff);
    if (words.length % 2 !== 0 || words.some((word, i) => i % 2 === 1 && word > 0xffff)) {
      throw state.misfit("addresses", "pairs of a word and a half-word");
    }
    this.#vlans.set(state.numbers("vlans", VLAN_WORDS, VLAN_WORDS, 0xffff_ffff));
    this.promiscuous = state.flag("promiscuous");
    this.allMulticast = state.flag("allMulticast");
    this.#tooManyUnicast = state.flag("tooManyUnicast");
    this.#tooManyMulticast = state.flag("tooManyMulticast");
    this.#count = 1 + words.length / 2;
    for (let i = 1; i < this.#count; i++) {
      this.#low[i] = words[2 * i - 2];
      this.#high[i] = words[2 * i - 1];
    }
  }

  #hasVlan(tag: number): boolean {
    const id = tag & 0xfff;
    return ((this.#vlans[id >>> 5] >>> (id & 31)) & 1) !== 0;
  }
}
