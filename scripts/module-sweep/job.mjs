// One trial: a module with a blank device of its own.
import { BlankFunction } from "../../dist/devices/blank-function.js";
import { tryModule } from "../../dist/findings/module-trial.js";
import { deviceFor } from "../../dist/findings/trial-device.js";
import { Machine } from "../../dist/machine.js";

/** Frames: more than any driver asks for. */
const PIN_BUDGET = 0x2_0000;
/**
 * Drivers know where their registers are. If one takes ports for memory, or the other way round, the device is none of
 * its own, and has to have its BARs in other places.
 */
const LAYOUTS = ["memory", "ports", "memory64"];

export async function runJob(kernel, image, { module, fill }) {
  const identity = deviceFor(kernel.describe(module).aliases, kernel.path(module));
  const path = kernel.path(module).replace(/^.*\/kernel\//, "");
  let first = null;
  for (const layout of identity === null ? [null] : LAYOUTS) {
    const machine = await Machine.create({ memory: "1MiB", pinBudget: PIN_BUDGET });
    const slot =
      identity === null ? null : machine.plug("blank", (host) => new BlankFunction(host, { identity, fill, layout }));
    const result = { fill, path, layout, ...(await tryModule(machine, kernel, image, module, slot)) };
    if (!isMisfit(result)) return result;
    first ??= result;
  }
  return first;
}

/** Registers were looked for where there are none, or the number that stands for a port was taken for an address. */
function isMisfit({ outcome, findings, detail }) {
  if (outcome === "clean") return false;
  return findings.some(({ rule }) => rule === "mmio-stray") || /at 0x0{11}1[0-9a-f]{4},/.test(detail[0] ?? "");
}
