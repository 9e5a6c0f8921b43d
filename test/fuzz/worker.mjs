// Runs the cases of one target; the runner watches `progress` from outside, since a hanging case cannot report itself.
import { parentPort, workerData } from "node:worker_threads";
import { caseRandom, loadTarget } from "./cases.mjs";

const { file, seed, first, count, progress } = workerData;
const done = new Int32Array(progress);
const target = await loadTarget(file);
for (let number = first; number < first + count; number++) {
  Atomics.store(done, 0, number);
  try {
    await target.run(caseRandom(seed, number));
  } catch (error) {
    parentPort.postMessage({ number, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    process.exit(1);
  }
}
