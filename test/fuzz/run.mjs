// npm run fuzz -- [TARGET…] [--seed N] [--cases N] [--case N]
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { loadTarget, targetFiles } from "./cases.mjs";

const HANG_SECONDS = 30;
const HEAP_MEBIBYTES = 512;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seed: { type: "string", default: "1" },
    cases: { type: "string", default: "20000" },
    case: { type: "string" },
  },
});
const seed = Number(values.seed);
const first = values.case === undefined ? 0 : Number(values.case);
const count = values.case === undefined ? Number(values.cases) : 1;
if (![seed, first, count].every((value) => Number.isSafeInteger(value) && value >= 0)) {
  console.error("--seed, --cases and --case take whole numbers");
  process.exit(2);
}

const targets = [];
for (const file of targetFiles()) targets.push({ file, name: (await loadTarget(file)).name });
const unknown = positionals.filter((name) => !targets.some((target) => target.name === name));
if (unknown.length > 0) {
  console.error(
    `no such target: ${unknown.join(", ")} (there are: ${targets.map((target) => target.name).join(", ")})`,
  );
  process.exit(2);
}

/** The failure of one target, or null. */
function runTarget(file) {
  const progress = new SharedArrayBuffer(4);
  const at = new Int32Array(progress);
  const worker = new Worker(new URL("./worker.mjs", import.meta.url), {
    workerData: { file, seed, first, count, progress },
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MEBIBYTES },
  });
  return new Promise((resolve) => {
    let seen = -1;
    let failure = null;
    const watch = setInterval(() => {
      const now = Atomics.load(at, 0);
      if (now !== seen) {
        seen = now;
        return;
      }
      failure = { number: now, error: `no end after ${HANG_SECONDS} seconds` };
      worker.terminate();
    }, HANG_SECONDS * 1000);
    worker.on("message", (message) => {
      failure = message;
    });
    worker.on("error", (error) => {
      failure = { number: Atomics.load(at, 0), error: error.stack ?? String(error) };
    });
    worker.on("exit", () => {
      clearInterval(watch);
      resolve(failure);
    });
  });
}

let failed = false;
for (const { file, name } of targets) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  const started = performance.now();
  const failure = await runTarget(file);
  const seconds = (performance.now() - started) / 1000;
  if (failure === null) {
    console.log(
      `${name}: ${count} cases in ${seconds.toFixed(1)} s, ${Math.round(count / seconds)} cases/s, seed ${seed}`,
    );
    continue;
  }
  failed = true;
  console.error(
    `${name}: case ${failure.number} failed (npm run fuzz -- ${name} --seed ${seed} --case ${failure.number})`,
  );
  console.error(failure.error);
}
process.exitCode = failed ? 1 : 0;
