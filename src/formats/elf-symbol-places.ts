/** Columns of which the first `length` rows count. */
export interface PlacedSymbols {
  readonly symbols: Uint32Array;
  readonly sections: Uint32Array;
  readonly values: Float64Array;
  readonly sizes: Float64Array;
  /** Of several symbols at one value the highest names it. */
  readonly ranks: Uint8Array;
  readonly length: number;
}

/** From places to symbols: rows sorted by section and value. */
export class SymbolPlaceIndex {
  /** In order. */
  readonly symbols: Uint32Array;
  readonly #sections: Uint32Array;
  readonly #values: Float64Array;
  readonly #sizes: Float64Array;

  constructor(
    rows: PlacedSymbols,
    private readonly bySection: boolean,
  ) {
    const { symbols, sections, values, sizes, ranks, length } = rows;
    const order = new Uint32Array(length).map((_, row) => row);
    order.sort(
      (a, b) => (bySection ? sections[a] - sections[b] : 0) || values[a] - values[b] || ranks[b] - ranks[a] || a - b,
    );
    this.symbols = order.map((row) => symbols[row]);
    this.#sections = order.map((row) => sections[row]);
    this.#values = new Float64Array(length);
    this.#sizes = new Float64Array(length);
    for (let i = 0; i < length; i++) {
      this.#values[i] = values[order[i]];
      this.#sizes[i] = sizes[order[i]];
    }
  }

  /** The symbol whose bytes `value` is among, -1 if there is none. */
  at(value: number, section: number): number {
    let low = 0;
    let high = this.symbols.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isAfter(middle, value, section)) high = middle;
      else low = middle + 1;
    }
    if (low === 0) return -1;
    // The last row at or before it; the best of its equals comes first.
    let row = low - 1;
    if (this.bySection && this.#sections[row] !== section) return -1;
    row = this.#firstEqual(row);
    const size = this.#sizes[row];
    return size > 0 && value - this.#values[row] >= size ? -1 : this.symbols[row];
  }

  #isAfter(row: number, value: number, section: number): boolean {
    if (this.bySection && this.#sections[row] !== section) return this.#sections[row] > section;
    return this.#values[row] > value;
  }

  #firstEqual(row: number): number {
    let low = 0;
    let high = row;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isBefore(middle, row)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #isBefore(row: number, other: number): boolean {
    if (this.bySection && this.#sections[row] !== this.#sections[other]) {
      return this.#sections[row] < this.#sections[other];
    }
    return this.#values[row] < this.#values[other];
  }
}
