// What a sandbox costs before and beside the code that runs in it: translating a whole driver, a fault, snapshots.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { decompress } from "../dist/formats/compression.js";
import { row } from "./measure.mjs";
import { compileObject, whyNoPrograms } from "./translator-programs.mjs";
import { openSandbox, sandboxExists } from "./translator-sandbox.mjs";

const NOT_THERE = "not there yet";
const REPEATS = 5;
/** Nobody's in every address space: what a null pointer to a structure leads to. */
const NOWHERE = 0x10;
const FAULTS = 500;
const MEBIBYTE = 1 << 20;
/** The only flavour of the series that is small and has the driver. */
const KERNEL = ["6.1", "rt-amd64"];

/** @param directory for what is compiled */
export async function measureStart(directory) {
  const why = whyNoPrograms();
  const probe =
    sandboxExists && why === undefined ? new Uint8Array(readFileSync(compileObject("probe", directory))) : null;
  const absent = sandboxExists ? why : NOT_THERE;
  return [...(await translation()), ...(await faults(probe, absent)), ...(await snapshots(probe, absent))];
}

async function translation() {
  const rows = (time, ratio, note) => [
    row("translating all of e1000.ko", time, "ms", note),
    row("  its code", ratio, "wasm B/B"),
  ];
  if (!sandboxExists) return rows(null, null, NOT_THERE);
  const module = await driverModule();
  if (typeof module === "string") return rows(null, null, module);
  let first, best;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    const sandbox = await openSandbox(module);
    const result = sandbox.translateAll();
    first ??= result;
    if (best === undefined || result.milliseconds < best.milliseconds) best = result;
    globalThis.gc?.();
  }
  const { guestBytes, wasmBytes, milliseconds } = first;
  const note = `in a new process; the best of ${REPEATS} in one: ${best.milliseconds.toFixed(0)} ms; ${guestBytes} bytes of code`;
  return rows(milliseconds, wasmBytes / guestBytes, note);
}

/** @returns the module's bytes, or why there are none */
async function driverModule() {
  // How kernels are fetched is the tests' business, and in TypeScript.
  const { runnerImport } = await import("vite");
  const file = fileURLToPath(new URL("../test/support/debian-kernel.ts", import.meta.url));
  const { module } = await runnerImport(file);
  const kernel = module.debianKernel(...KERNEL);
  if (typeof kernel === "string") return `not measured: ${kernel}`;
  const path = kernel.modules.find((name) => /\/e1000\.ko(\.|$)/.test(name));
  return path === undefined
    ? `not measured: ${kernel.packageName} has no e1000.ko`
    : decompress(new Uint8Array(readFileSync(path)), path);
}

async function faults(probe, absent) {
  const name = "a fault, from the access to the caller";
  if (probe === null) return [row(name, null, "us", absent)];
  const sandbox = await openSandbox(probe);
  const fails = sandbox.fails("peek");
  const best = {
    plain: Number.POSITIVE_INFINITY,
    faulting: Number.POSITIVE_INFINITY,
    explained: Number.POSITIVE_INFINITY,
  };
  const ways = {
    plain: () => !fails(0n),
    faulting: () => fails(BigInt(NOWHERE)),
    explained: () => refused(() => sandbox.call("peek", NOWHERE)),
  };
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    for (const [way, work] of Object.entries(ways)) {
      const time = await milliseconds(() => {
        for (let i = 0; i < FAULTS; i++)
          if (!work()) throw new Error("a read through a null pointer was not refused, or another was");
      });
      best[way] = Math.min(best[way], (time / FAULTS) * 1000);
    }
  }
  if (sandbox.call("peek", 0) !== 42n) throw new Error("the sandbox did not survive the faults");
  const note = `beyond a call without one: ${best.plain.toFixed(2)} us; ${best.explained.toFixed(0)} us with a report of it`;
  return [row(name, best.faulting - best.plain, "us", note)];
}

function refused(work) {
  try {
    work();
    return false;
  } catch {
    return true;
  }
}

async function snapshots(probe, absent) {
  const rows = (taken, restored, note) => [
    row("base snapshot with 64 MiB", taken, "ms", note),
    row("restoring it when 1 MiB is dirty", restored, "ms", note),
  ];
  if (probe === null) return rows(null, null, absent);
  const sandbox = await openSandbox(probe);
  sandbox.call("fill");
  const before = sandbox.call("sum", MEBIBYTE);
  let snapshot;
  const taken = await milliseconds(async () => {
    snapshot = sandbox.snapshot();
  });
  let restored = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    sandbox.call("dirty", MEBIBYTE);
    if (sandbox.call("sum", MEBIBYTE) === before) throw new Error("nothing became dirty");
    restored = Math.min(restored, await milliseconds(() => sandbox.restore(snapshot)));
    if (sandbox.call("sum", MEBIBYTE) !== before) throw new Error("restoring did not bring the memory back");
  }
  return rows(taken, restored);
}

async function milliseconds(work) {
  const start = process.hrtime.bigint();
  await work();
  return Number(process.hrtime.bigint() - start) / 1e6;
}
