// The oracle as a target of the fuzz runner.
import { loadOracle, RUNNER } from "./load.mjs";

/** `run` and `runBatch` of a target that compares a subject with the processor at hand. */
export function targetOf(subject) {
  let opened;

  async function open() {
    const oracle = await loadOracle();
    const why = oracle.whyNotNative();
    if (why !== null) {
      console.warn(`${subject}: nothing to compare with: ${why}`);
      return null;
    }
    const open = oracle.openCampaign({ runner: RUNNER, subject });
    process.once("exit", () => open[Symbol.dispose]());
    return open.campaign;
  }

  async function runBatch(rngs) {
    opened ??= open();
    const [failure] = (await opened)?.run(rngs) ?? [];
    if (failure === undefined) return;
    throw Object.assign(new Error(`${failure.form}\n${failure.text}`), { index: failure.index });
  }

  return { runBatch, run: (rng) => runBatch([rng]) };
}
