// node test/suites/run.mjs FOLDER… [--modes A,B] [--only PATTERN] [--build FOLDER] [--results FILE]
// Runs prepared tests of other projects in a sandbox, in every mode, and compares. See README.md.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { runImage } from "./image.mjs";
import { knowsFunctions, MODES, makeSandbox } from "./modes.mjs";
import { runProgram } from "./program.mjs";
import { clear, stateDifferences } from "./state.mjs";

const { values, positionals: folders } = parseArgs({
  allowPositionals: true,
  options: {
    modes: { type: "string", default: Object.keys(MODES).join() },
    only: { type: "string", default: "" },
    build: { type: "string", default: fileURLToPath(new URL("../../dist", import.meta.url)) },
    results: { type: "string" },
  },
});
const modes = values.modes.split(",");
const unknown = modes.filter((name) => !(name in MODES));
if (folders.length === 0 || unknown.length > 0) {
  console.error(unknown.length > 0 ? `no such mode: ${unknown.join()}` : "say which folders of tests to run");
  process.exit(2);
}
const { Sandbox } = await import(pathToFileURL(join(resolve(values.build), "translator/sandbox.js")).href);
const only = new RegExp(values.only);

/**
 * What does not hold of a test, by folder and name, and why: `skip` all of it, its `expectation` (modes have to agree
 * still), some `modes`, or that parts of the state do not `differ`.
 */
const exceptions = JSON.parse(readFileSync(new URL("exceptions.json", import.meta.url), "utf8"));

/** One sandbox a mode for all tests of a folder, so that traces of one in the next are found. */
const sandboxes = new Map();

function runIn(mode, folder, test, fresh) {
  if (fresh || !sandboxes.has(mode)) sandboxes.set(mode, makeSandbox(Sandbox, mode));
  const sandbox = sandboxes.get(mode);
  clear(sandbox);
  const { regions } = sandbox.statistics;
  const run = test.program === undefined ? runImage : runProgram;
  const result = run(sandbox, folder, test, knowsFunctions(mode));
  return { ...result, regions: sandbox.statistics.regions - regions };
}

/** @returns the verdict on one test: `passed`, `unsupported` or `failed`, and why */
function judge(folder, test, exception, fresh) {
  let first = null;
  let regions = 0;
  for (const mode of modes.filter((name) => !exception.modes?.includes(name))) {
    let one;
    try {
      one = runIn(mode, folder, test, fresh);
    } catch (error) {
      sandboxes.delete(mode);
      return { verdict: "failed", why: `${mode}: ${error.stack.split("\n").slice(0, 3).join("")}`, regions };
    }
    regions += one.regions;
    if (first === null) {
      first = { mode, ...one };
      continue;
    }
    const apart =
      one.end === first.end && one.why === first.why
        ? stateDifferences(first.state, one.state, exception.differ ?? [])
        : [`${first.end} ${first.why} or ${one.end} ${one.why}`];
    if (apart.length > 0) return { verdict: "failed", why: `${first.mode} or ${mode}: ${apart.join("; ")}`, regions };
  }
  const { mode, end, why, wrong } = first;
  if (end === "unsupported") return { verdict: "unsupported", why, regions };
  if (end !== (test.program === undefined ? "halted" : "exited"))
    return { verdict: "failed", why: `${mode}: ${end} ${why}`, regions };
  if (wrong.length > 0 && exception.expectation !== false)
    return { verdict: "failed", why: `${mode}: ${wrong.join("; ")}`, regions };
  return { verdict: "passed", why: "", regions };
}

const results = {};
for (const folder of folders) {
  sandboxes.clear();
  const counts = { passed: 0, unsupported: 0, failed: 0, skipped: 0 };
  const missing = new Map();
  let translated = 0;
  const files = readdirSync(folder).filter((file) => file.endsWith(".json") && only.test(file));
  for (const file of files.sort()) {
    const name = file.slice(0, -".json".length);
    const test = JSON.parse(readFileSync(join(folder, file), "utf8"));
    const exception = exceptions[`${basename(folder)}/${name}`] ?? {};
    if (exception.skip === true) {
      counts.skipped++;
      continue;
    }
    const result = judge(folder, test, exception, false);
    if (result.verdict === "failed" && judge(folder, test, exception, true).verdict !== "failed") {
      result.why = `after other tests only: ${result.why}`;
    }
    results[`${folder}/${name}`] = result;
    counts[result.verdict]++;
    if (result.regions > 0) translated++;
    if (result.verdict === "unsupported") missing.set(result.why, (missing.get(result.why) ?? 0) + 1);
    if (result.verdict === "failed") console.log(`${name}: ${result.why}`);
  }
  console.log(
    `${folder}: ${files.length} tests in ${modes.length} modes: ${counts.passed} passed, ${counts.failed} failed, ` +
      `${counts.unsupported} stopped at an instruction that is not supported, ${counts.skipped} skipped; ` +
      `${translated} had code translated`,
  );
  const sorted = [...missing].sort((a, b) => b[1] - a[1]).map(([mnemonic, times]) => `${mnemonic} ${times}`);
  if (sorted.length > 0) console.log(`not supported: ${sorted.join(", ")}`);
}
if (values.results !== undefined) writeFileSync(values.results, JSON.stringify(results, null, 1));
process.exitCode = Object.values(results).some(({ verdict }) => verdict === "failed") ? 1 : 0;
