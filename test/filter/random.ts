import type { Random as Source } from "../../src/util/random.js";
import { randomBelow, seededRandom } from "../../src/util/random.js";

/** Choices drawn from a seed: the same seed gives the same expressions and frames everywhere. */
export class Random {
  private readonly source: Source;

  constructor(seed: number) {
    this.source = seededRandom(seed);
  }

  below(limit: number): number {
    return randomBelow(this.source, limit);
  }

  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.source() < probability * 4294967296;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }

  word(): number {
    return this.source();
  }

  bytes(count: number): number[] {
    return Array.from({ length: count }, () => this.below(256));
  }
}
