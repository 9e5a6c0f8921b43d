// Runs the cases of one target; the runner watches `progress` from outside, since a hanging case cannot report itself.
import { parentPort, workerData } from "node:worker_threads";
import { caseRandom, loadTarget } from "./cases.mjs";

const BATCH = 500;

const { file, seed, first, count, progress } = workerData;
const done = new Int32Array(progress);
const { run, runBatch, close } = await loadTarget(file);
const step = runBatch === undefined ? 1 : BATCH;
for (let number = first; number < first + count; number += step) {
  Atomics.store(done, 0, number);
  try {
    if (runBatch === undefined) await run(caseRandom(seed, number));
    else await runBatch(randoms(number, Math.min(number + step, first + count)));
  } catch (error) {
    parentPort.postMessage({
      number: number + (error?.index ?? 0),
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    await close?.();
    process.exit(1);
  }
}
await close?.();

function randoms(from, to) {
  return Array.from({ length: to - from }, (_, i) => caseRandom(seed, from + i));
}
