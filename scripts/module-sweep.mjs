// Loads modules of a kernel's package, each into a fresh domain beside a device whose registers read as all zeroes and then
// as all ones, lets time pass, and unloads them; modules that are for no device on PCI are tried once, without any. One
// line of JSON for each trial; a sweep that was interrupted goes on where it was.
//
// usage: node scripts/module-sweep.mjs [--kernel REF] [--only REGEX] [--out FILE.jsonl] [--workers N] [--limit SECONDS]
//          [--sample N] [--again] [--report FILE.md]
//   --only    of paths below kernel/; the six folders of drivers unless given
//   --sample  so many of them, the same each time, in an order of which each part is a sample, too
//   --again   trials that are in FILE already and did not end cleanly are carried out again
import { fork } from "node:child_process";
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { deviceFor } from "../dist/findings/trial-device.js";
import { openKernel } from "../dist/node/kernel-store.js";
import { report } from "./module-sweep/report.mjs";

const SIX = "^drivers/(net/ethernet|ata|nvme|scsi|virtio|usb/host)/";
/** A worker is replaced after so many trials: memory of domains goes late. */
const TRIALS_A_WORKER = 100;

const { values } = parseArgs({
  options: {
    kernel: { type: "string" },
    only: { type: "string", default: SIX },
    out: { type: "string", default: "module-sweep.jsonl" },
    workers: { type: "string", default: "1" },
    limit: { type: "string", default: "120" },
    sample: { type: "string" },
    again: { type: "boolean", default: false },
    report: { type: "string" },
  },
});
const kernel = await openKernel(values.kernel);
const known = existsSync(values.out)
  ? readFileSync(values.out, "utf8").split("\n").filter(Boolean).map(JSON.parse)
  : [];
const done = new Map(known.map((result) => [key(result), result]));
const jobs = chosen().flatMap((module) => fills(module).map((fill) => ({ module, fill })));
const queue = jobs.filter((job) => {
  const before = done.get(key(job));
  return before === undefined || (values.again && before.outcome !== "clean");
});
console.error(`${jobs.length} trials, ${queue.length} of them to do`);
let count = 0;
await Promise.all(Array.from({ length: Number(values.workers) }, work));
const results = jobs.flatMap((job) => done.get(key(job)) ?? []);
const text = report(results, kernel.name);
if (values.report === undefined) process.stdout.write(text);
else writeFileSync(values.report, text);

function key({ module, fill }) {
  return `${module} ${fill}`;
}

function fills(module) {
  return deviceFor(kernel.describe(module).aliases, kernel.path(module)) === null ? ["none"] : ["zeroes", "ones"];
}

function chosen() {
  const only = new RegExp(values.only);
  const names = kernel.modules
    .filter(({ path }) => only.test(path.replace(/^.*\/kernel\//, "")))
    .map(({ name }) => name);
  if (values.sample === undefined) return names;
  // By a hash of the name: the same modules each time, and spread over all folders.
  const weight = (name) =>
    [...name].reduce((hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 0x01000193) >>> 0, 0x811c9dc5);
  return names.sort((a, b) => weight(a) - weight(b)).slice(0, Number(values.sample));
}

async function work() {
  let worker = null;
  let trials = 0;
  for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
    if (worker === null || trials >= TRIALS_A_WORKER) {
      worker?.kill();
      worker = await started();
      trials = 0;
    }
    trials++;
    const result = await carriedOut(worker, job);
    if (result.outcome === "lost") worker = null;
    done.set(key(job), result);
    appendFileSync(values.out, `${JSON.stringify(result)}\n`);
    const { module, fill, outcome, stage, reason, seconds } = result;
    console.error(`${++count} ${module} ${fill}: ${outcome} ${stage} ${reason} (${seconds} s)`);
  }
  worker?.kill();
}

async function started() {
  const worker = fork(new URL("./module-sweep/worker.mjs", import.meta.url), [values.kernel ?? kernel.name], {
    execArgv: ["--max-old-space-size=1500", "--max-semi-space-size=64"],
  });
  await new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("exit", (code) => reject(new Error(`a worker does not start: exit status ${code}`)));
  });
  worker.removeAllListeners("exit");
  return worker;
}

/** The worker's answer; if it takes too long or dies, that. */
function carriedOut(worker, job) {
  return new Promise((resolve) => {
    const path = kernel.path(job.module).replace(/^.*\/kernel\//, "");
    const lost = (reason) => {
      clearTimeout(timer);
      worker.removeAllListeners();
      worker.kill("SIGKILL");
      resolve({ ...job, path, outcome: "lost", stage: "run", reason, detail: [] });
    };
    const timer = setTimeout(() => lost(`no end after ${values.limit} s`), 1000 * Number(values.limit));
    worker.once("exit", (code, signal) => lost(`the process ended: ${signal ?? code}`));
    worker.once("message", (result) => {
      clearTimeout(timer);
      worker.removeAllListeners();
      resolve(result);
    });
    worker.send(job);
  });
}
