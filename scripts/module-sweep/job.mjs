// One trial: a module with a blank device of its own.
import { BlankFunction } from "../../dist/devices/blank-function.js";
import { tryModule } from "../../dist/findings/module-trial.js";
import { Machine } from "../../dist/machine.js";

const PCI_ALIAS =
  /^pci:v([0-9A-F]{8}|\*)d([0-9A-F]{8}|\*)sv([0-9A-F]{8}|\*)sd([0-9A-F]{8}|\*)bc([0-9A-F]{2}|\*)sc([0-9A-F]{2}|\*)i([0-9A-F]{2}|\*)$/;
/** Frames: more than any driver asks for. */
const PIN_BUDGET = 0x2_0000;
const ANY_VENDOR = 0x1b36;
const ANY_DEVICE = 0x0005;
/** Base class and subclass where an alias leaves them open, by the folder of the module. */
const CLASSES = [
  ["/net/", 0x020000],
  ["/ata/", 0x010185],
  ["/nvme/", 0x010802],
  ["/scsi/", 0x010000],
  ["/usb/", 0x0c0330],
  ["/gpu/", 0x030000],
  ["/sound/", 0x040100],
  ["/media/", 0x040000],
];

/** What a function that the module wants says it is; null if it wants none. */
export function identityFor(aliases, path) {
  const found = aliases.map((alias) => PCI_ALIAS.exec(alias)).filter((match) => match !== null);
  if (found.length === 0) return null;
  // Rather a device of its own than any of a class; modules list theirs from the last to the first.
  const [, vendor, device, subVendor, subDevice, base, sub, programming] =
    found.findLast((match) => match[1] !== "*" && match[2] !== "*") ?? found[0];
  const number = (text, other) => (text === "*" ? other : Number.parseInt(text, 16) & 0xffff);
  const usual = CLASSES.find(([folder]) => path.includes(folder))?.[1] ?? 0xff0000;
  return {
    vendorId: number(vendor, ANY_VENDOR),
    deviceId: number(device, ANY_DEVICE),
    subsystemVendorId: number(subVendor, number(vendor, ANY_VENDOR)),
    subsystemId: number(subDevice, number(device, ANY_DEVICE)),
    classCode:
      (number(base, usual >>> 16) << 16) | (number(sub, (usual >>> 8) & 0xff) << 8) | number(programming, usual & 0xff),
  };
}

/** Drivers know where their registers are: a device that does not fit in that is tried with its BARs in other places. */
const LAYOUTS = ["memory", "ports", "memory64"];

export async function runJob(kernel, image, { module, fill }) {
  const identity = identityFor(kernel.describe(module).aliases, kernel.path(module));
  const path = kernel.path(module).replace(/^.*\/kernel\//, "");
  let first = null;
  for (const layout of identity === null ? [null] : LAYOUTS) {
    const machine = await Machine.create({ memory: "1MiB", pinBudget: PIN_BUDGET });
    const slot =
      identity === null ? null : machine.plug("blank", (host) => new BlankFunction(host, { identity, fill, layout }));
    const result = { fill, path, layout, ...(await tryModule(machine, kernel, image, module, slot)) };
    if (result.outcome === "clean") return result;
    first ??= result;
  }
  return first;
}
