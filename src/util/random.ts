/** A source of 32-bit unsigned random numbers; everything random in a machine draws from one that was seeded. */
export type Random = () => number;

/**
 * Seeded generator (sfc32: 128 bits of state, a small fast counting generator): same seed, same sequence, anywhere.
 * @param seed any integer; only its low 32 bits count
 */
export function seededRandom(seed: number): Random {
  let a = seed | 0;
  let b = 0x9e3779b9 | 0;
  let c = 0x243f6a88 | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  // The first outputs still show the seed's bits.
  for (let i = 0; i < 12; i++) next();
  return next;
}

/** Whether an event of this probability (0 to 1; left out: 0) happens now; draws no number for one that cannot. */
export function happens(random: Random, probability: number | undefined): boolean {
  return probability !== undefined && probability > 0 && random() < probability * 2 ** 32;
}

/** Uniform integer in [0, bound), bound ≤ 2^32, without the bias of a bare remainder. */
export function randomBelow(random: Random, bound: number): number {
  const limit = 0x1_0000_0000 - (0x1_0000_0000 % bound);
  let value = random();
  while (value >= limit) value = random();
  return value % bound;
}
