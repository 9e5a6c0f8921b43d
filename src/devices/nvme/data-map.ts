/** Stands for an address where bytes are dropped (SGL bit bucket). */
export const BIT_BUCKET = -1;

/** Where in the host's memory the data of a command lies: pieces in order, neighbours joined. */
export class DataMap {
  addresses = new Float64Array(16);
  lengths = new Float64Array(16);
  count = 0;
  /** Bytes of all pieces. */
  total = 0;

  clear(): void {
    this.count = 0;
    this.total = 0;
  }

  add(address: number, length: number): void {
    const last = this.count - 1;
    this.total += length;
    if (last >= 0 && address !== BIT_BUCKET && this.addresses[last] + this.lengths[last] === address) {
      this.lengths[last] += length;
      return;
    }
    if (this.count === this.addresses.length) this.#grow();
    this.addresses[this.count] = address;
    this.lengths[this.count] = length;
    this.count++;
  }

  #grow(): void {
    const addresses = new Float64Array(this.addresses.length * 4);
    const lengths = new Float64Array(this.lengths.length * 4);
    addresses.set(this.addresses);
    lengths.set(this.lengths);
    this.addresses = addresses;
    this.lengths = lengths;
  }
}
