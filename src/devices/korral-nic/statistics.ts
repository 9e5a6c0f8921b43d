import { STATISTICS } from "./registers.js";

const HIGH = 2 ** 32;

/** The board's counters (§2.2): exact up to 2^53. */
export class Statistics {
  readonly counters = new Float64Array(STATISTICS);

  /** @param word 0 … 2 × STATISTICS − 1, low words first */
  readWord(word: number): number {
    const counter = this.counters[word >>> 1] ?? 0;
    return (word & 1) === 0 ? counter % HIGH : Math.floor(counter / HIGH);
  }
}
