/** Splits the 64-bit time stamps of a pcapng interface. Decimal resolutions down to a nanosecond take no BigInt. */
export interface TickClock {
  seconds: number;
  nanoseconds: number;
  /** Whether a tick is shorter than a microsecond. */
  readonly fine: boolean;
  /** Sets `seconds` and `nanoseconds` from the two halves of a time stamp. */
  set(high: number, low: number): void;
}

/**
 * @param resolution the value of if_tsresol: a negative power of 10, or of 2 if the top bit is set; null if it is not
 * representable in 64 bits.
 * @param offsetSeconds the value of if_tsoffset.
 */
export function tickClock(resolution: number, offsetSeconds: number): TickClock | null {
  const exponent = resolution & 0x7f;
  if (resolution >= 0x80) return exponent > 63 ? null : new ExactClock(2n ** BigInt(exponent), offsetSeconds);
  if (exponent > 19) return null;
  return exponent > 9
    ? new ExactClock(10n ** BigInt(exponent), offsetSeconds)
    : new DecimalClock(exponent, offsetSeconds);
}

class DecimalClock implements TickClock {
  seconds = 0;
  nanoseconds = 0;
  readonly fine: boolean;
  readonly #perSecond: number;
  readonly #nanosecondsPerTick: number;

  constructor(
    exponent: number,
    private readonly offset: number,
  ) {
    this.fine = exponent > 6;
    this.#perSecond = 10 ** exponent;
    this.#nanosecondsPerTick = 10 ** (9 - exponent);
  }

  set(high: number, low: number): void {
    // Long division in digits of 16 bits: a remainder is below 2^30, so that every step is exact.
    const perSecond = this.#perSecond;
    const top = Math.floor(high / perSecond);
    let rest = (high % perSecond) * 65_536 + (low >>> 16);
    const middle = Math.floor(rest / perSecond);
    rest = (rest % perSecond) * 65_536 + (low & 0xffff);
    this.seconds = top * 2 ** 32 + middle * 65_536 + Math.floor(rest / perSecond) + this.offset;
    this.nanoseconds = (rest % perSecond) * this.#nanosecondsPerTick;
  }
}

class ExactClock implements TickClock {
  seconds = 0;
  nanoseconds = 0;
  readonly fine: boolean;

  constructor(
    private readonly perSecond: bigint,
    private readonly offset: number,
  ) {
    this.fine = perSecond > 1_000_000n;
  }

  set(high: number, low: number): void {
    const ticks = (BigInt(high) << 32n) | BigInt(low);
    this.seconds = Number(ticks / this.perSecond) + this.offset;
    this.nanoseconds = Number(((ticks % this.perSecond) * 1_000_000_000n) / this.perSecond);
  }
}
