// The oracle as a target of the fuzz runner.
import { loadOracle, RUNNER } from "./load.mjs";

/** `run`, `runBatch` and `close` of a target that compares a subject with the processor at hand. */
export function targetOf(subject) {
  let opened;

  async function open() {
    const oracle = await loadOracle();
    const why = oracle.whyNotNative();
    if (why !== null) {
      console.warn(`${subject}: nothing to compare with: ${why}`);
      return null;
    }
    return oracle.openCampaign({ runner: RUNNER, subject });
  }

  async function runBatch(rngs) {
    opened ??= open();
    const [failure] = (await opened)?.campaign.run(rngs) ?? [];
    if (failure === undefined) return;
    throw Object.assign(new Error(`${failure.form}\n${failure.text}`), { index: failure.index });
  }

  async function close() {
    (await opened)?.[Symbol.dispose]();
    opened = undefined;
  }

  return { runBatch, run: (rng) => runBatch([rng]), close };
}
