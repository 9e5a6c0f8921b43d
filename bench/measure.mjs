// What all benchmarks share: minima of interleaved runs, so that candidates meet the same weather.

/** @returns nanoseconds a call of `work` takes, per unit of the work it says it does */
export function once(work, units) {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / units;
}

export async function onceAsync(work, units) {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / units;
}

/**
 * Runs candidates in turn, several rounds, and keeps each one's best.
 * @param candidates { name: { run, units } }; run may be async
 * @returns { name: nanoseconds a unit }
 */
export async function interleaved(candidates, rounds = 7) {
  const best = {};
  for (const name of Object.keys(candidates)) best[name] = Number.POSITIVE_INFINITY;
  // The first round warms up; it counts too, a minimum takes no harm.
  for (let round = 0; round <= rounds; round++) {
    for (const [name, { run, units }] of Object.entries(candidates)) {
      best[name] = Math.min(best[name], await onceAsync(run, units));
    }
  }
  return best;
}

/** A result row. */
export function row(name, value, unit, note = "") {
  return { name, value, unit, note };
}
