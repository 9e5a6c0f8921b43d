import type { PciIdentity } from "../bus/pci-config.js";

const WORD = "([0-9A-F]{8}|\\*)";
const BYTE = "([0-9A-F]{2}|\\*)";
const PCI_ALIAS = new RegExp(`^pci:v${WORD}d${WORD}sv${WORD}sd${WORD}bc${BYTE}sc${BYTE}i${BYTE}$`);
const ANY_VENDOR = 0x1b36;
const ANY_DEVICE = 0x0005;
/** Class, subclass and interface where an alias leaves them open, by the folder of the module. */
const CLASSES: readonly (readonly [folder: string, code: number])[] = [
  ["/net/", 0x020000],
  ["/ata/", 0x010185],
  ["/nvme/", 0x010802],
  ["/scsi/", 0x010000],
  ["/usb/", 0x0c0330],
  ["/gpu/", 0x030000],
  ["/sound/", 0x040100],
  ["/media/", 0x040000],
];
const UNASSIGNED = 0xff0000;

/**
 * What a PCI function that a module wants says it is; null if it wants none.
 * @param aliases of the module: what it is for
 * @param path of its file
 */
export function deviceFor(aliases: readonly string[], path: string): PciIdentity | null {
  const found = aliases.flatMap((alias) => {
    const match = PCI_ALIAS.exec(alias);
    return match === null ? [] : [match.slice(1)];
  });
  if (found.length === 0) return null;
  // Rather a device of its own than any of a class; modules list theirs from the last to the first.
  const own = found.filter(([vendor, device]) => vendor !== "*" && device !== "*");
  const [vendor, device, subVendor, subDevice, base, sub, programming] = own.at(-1) ?? found[0];
  const number = (text: string, other: number): number => (text === "*" ? other : Number.parseInt(text, 16) & 0xffff);
  const usual = CLASSES.find(([folder]) => path.includes(folder))?.[1] ?? UNASSIGNED;
  const vendorId = number(vendor, ANY_VENDOR);
  const deviceId = number(device, ANY_DEVICE);
  return {
    vendorId,
    deviceId,
    subsystemVendorId: number(subVendor, vendorId),
    subsystemId: number(subDevice, deviceId),
    classCode:
      (number(base, usual >>> 16) << 16) | (number(sub, (usual >>> 8) & 0xff) << 8) | number(programming, usual & 0xff),
  };
}
