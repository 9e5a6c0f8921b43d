// The translator's instructions one by one against the processor that this runs on: registers, flags, memory and faults
// after snippets of random instructions. test/translator/fuzz.mjs goes on after differences and sums them up.
import { loadOracle, RUNNER } from "../translator/oracle/load.mjs";

export const name = "translator";

let opened;

async function open() {
  const oracle = await loadOracle();
  const why = oracle.whyNotNative();
  if (why !== null) {
    console.warn(`translator: nothing to compare with: ${why}`);
    return null;
  }
  const campaign = oracle.openCampaign({ runner: RUNNER, subject: "evaluator" });
  process.once("exit", () => campaign[Symbol.dispose]());
  return campaign.campaign;
}

export async function runBatch(rngs) {
  opened ??= open();
  const [failure] = (await opened)?.run(rngs) ?? [];
  if (failure !== undefined)
    throw Object.assign(new Error(`${failure.form}\n${failure.text}`), { index: failure.index });
}

export const run = (rng) => runBatch([rng]);
