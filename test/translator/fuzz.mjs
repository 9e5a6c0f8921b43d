// node test/translator/fuzz.mjs [--seed N] [--cases N] [--case N] [--subject NAME] [--forms PATTERN] [--most N]
// Compares the translator with the processor at hand, goes on after differences, and sums them up by instruction.
import { parseArgs } from "node:util";
import { caseRandom } from "../fuzz/cases.mjs";
import { loadOracle, RUNNER } from "./oracle/load.mjs";

const BATCH = 2000;
const MOST_FORMS_SHOWN = 40;

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    cases: { type: "string", default: "100000" },
    case: { type: "string" },
    subject: { type: "string", default: "evaluator" },
    forms: { type: "string" },
    most: { type: "string", default: "10" },
  },
});
const [seed, cases, most] = [values.seed, values.cases, values.most].map(Number);
const first = Number(values.case ?? 0);
const end = values.case === undefined ? cases : first + 1;
if (![seed, first, end, most].every(Number.isSafeInteger)) {
  console.error("--seed, --cases, --case and --most take whole numbers");
  process.exit(2);
}

const oracle = await loadOracle();
const why = oracle.whyNotNative();
if (why !== null) {
  console.error(`The processor cannot be asked: ${why}.`);
  process.exit(6);
}
const options = { runner: RUNNER, subject: values.subject };
const opened = oracle.openCampaign(values.forms ? { ...options, wanted: new RegExp(values.forms) } : options);
const { campaign } = opened;

const byForm = new Map();
let found = 0;
const started = performance.now();
for (let start = first; start < end; start += BATCH) {
  const numbers = Array.from({ length: Math.min(BATCH, end - start) }, (_, i) => start + i);
  for (const failure of campaign.run(numbers.map((number) => caseRandom(seed, number)))) {
    if (found++ < most) console.log(`case ${start + failure.index} (${failure.form})\n${failure.text}\n`);
    byForm.set(failure.form, (byForm.get(failure.form) ?? 0) + 1);
  }
}
const seconds = (performance.now() - started) / 1000;
opened[Symbol.dispose]();

const count = end - first;
const used = [...campaign.counts.values()].filter((times) => times > 0).length;
console.log(
  `${count} cases in ${seconds.toFixed(1)} s, ${Math.round(count / seconds)} cases/s, seed ${seed}: ${found} differ`,
);
console.log(`${used} of ${campaign.counts.size} forms used, ${campaign.skipped} cases not comparable`);
if (campaign.lacking.length > 0) console.log(`not in this processor: ${campaign.lacking.join(" ")}`);
if (campaign.uncovered.length > 0) console.log(`not in the ${values.subject}: ${campaign.uncovered.join(" ")}`);
const sorted = [...byForm].sort((a, b) => b[1] - a[1]);
for (const [form, times] of sorted.slice(0, MOST_FORMS_SHOWN)) console.log(`${String(times).padStart(7)}  ${form}`);
process.exitCode = found === 0 ? 0 : 1;
