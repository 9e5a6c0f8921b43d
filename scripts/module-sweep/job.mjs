// One trial: a module, with a blank device of its own if it is for devices on PCI.
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
/** Who reads registers so often, and still did a second before the end, waits for the device. */
const MANY_READS = 1000;
const LATE = 1_000_000_000;
/** Of all trials of this process. */
const shared = { bytes: null };

/** A blank device that knows when it was read. */
class WatchedFunction extends BlankFunction {
  reads = 0;
  lastRead = 0;
  #clock;

  constructor(host, options) {
    super(host, options);
    this.#clock = host.clock;
  }

  read(bar, offset, size) {
    this.reads++;
    this.lastRead = this.#clock.now();
    return super.read(bar, offset, size);
  }
}

/** @param fill what the device's registers read as; `none`: there is no device */
export async function runJob(kernel, image, { module, fill }) {
  const identity = fill === "none" ? null : deviceFor(kernel.describe(module).aliases, kernel.path(module));
  const path = kernel.path(module).replace(/^.*\/kernel\//, "");
  let first = null;
  for (const layout of identity === null ? [null] : LAYOUTS) {
    const machine = await Machine.create({ memory: "1MiB", pinBudget: PIN_BUDGET });
    let device = null;
    const plug = (host) => {
      device = new WatchedFunction(host, { identity, fill, layout });
      return device;
    };
    const slot = identity === null ? null : machine.plug("blank", plug);
    const result = { fill, path, layout, ...(await tryModule(machine, kernel, image, module, slot, { shared })) };
    if (result.outcome === "hang" && waits(device, result.time)) result.outcome = "waits";
    if (!isMisfit(result, device)) return result;
    first ??= result;
  }
  return first;
}

function waits(device, end) {
  return device !== null && device.reads >= MANY_READS && device.lastRead > end - LATE;
}

/**
 * Registers were looked for where there are none, or the number that stands for a port was taken for an address; or the
 * driver gave up before it read any.
 */
function isMisfit({ outcome, findings, detail }, device) {
  if (outcome === "clean") return false;
  if (device !== null && device.reads === 0) return true;
  return findings.some(({ rule }) => rule === "mmio-stray") || /at 0x0{11}1[0-9a-f]{4},/.test(detail[0] ?? "");
}
