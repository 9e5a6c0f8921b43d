import type { DeviceFactory, PciDevice } from "../../bus/device.js";
import { I82540em } from "../../devices/i82540em.js";
import { Pcnet } from "../../devices/pcnet.js";
import { Rtl8139 } from "../../devices/rtl8139.js";
import { VirtioNet } from "../../devices/virtio-net.js";
import type { Wire } from "../../devices/wire.js";
import type { KernelPackage } from "../../linux/kernel-package.js";
import { matchesAlias, pciAlias } from "../../linux/kernel-package-alias.js";
import { InputError, UnsupportedError, UsageError } from "../../util/errors.js";
import { nearNames } from "../../util/near-names.js";
import { parseOptionList } from "../option-list.js";

/** What a model is plugged with. */
export interface ModelSurroundings {
  readonly wire: Wire;
  readonly macAddress: Uint8Array | null;
}

/** A device on the command line: `--device MODEL[,key=value…]`. */
export interface DeviceChoice {
  readonly model: string;
  readonly kind: "network";
  /** What asks for drivers: the PCI function, and what is behind it. */
  readonly aliases: readonly string[];
  /** Modules of the buses that are behind the PCI function. */
  readonly buses: readonly string[];
  readonly make: (surroundings: ModelSurroundings) => DeviceFactory<PciDevice>;
}

interface Model {
  readonly name: string;
  readonly keys: readonly string[];
  readonly choose: (values: ReadonlyMap<string, string>, text: string) => Omit<DeviceChoice, "model" | "kind">;
}

const ETHERNET = 0x02_0000;
const REALTEK_C_PLUS = 0x20;

const MODELS: readonly Model[] = [
  {
    name: "e1000",
    keys: ["mac"],
    choose: (values, text) => ({
      aliases: [alias(0x8086, 0x100e, 0x8086, 0x001e)],
      buses: [],
      make: (surroundings) => (host) => new I82540em(host, withAddress(surroundings, values, text)),
    }),
  },
  {
    name: "rtl8139",
    keys: ["mac", "rev"],
    choose: (values, text) => {
      const revision = numberOf(values, "rev", REALTEK_C_PLUS, text);
      return {
        aliases: [alias(0x10ec, 0x8139, 0x10ec, 0x8139)],
        buses: [],
        make: (surroundings) => (host) => new Rtl8139(host, { ...withAddress(surroundings, values, text), revision }),
      };
    },
  },
  {
    name: "pcnet",
    keys: ["mac"],
    choose: (values, text) => ({
      aliases: [alias(0x1022, 0x2000, 0x0000, 0x0000)],
      buses: [],
      make: (surroundings) => (host) => new Pcnet(host, withAddress(surroundings, values, text)),
    }),
  },
  {
    name: "virtio-net-pci",
    keys: ["mac", "packed", "mrg_rxbuf", "mtu"],
    choose: (values, text) => {
      const packed = switchOf(values, "packed", text);
      const mergeable = switchOf(values, "mrg_rxbuf", text);
      const mtu = values.has("mtu") ? numberOf(values, "mtu", 1500, text) : undefined;
      return {
        aliases: [alias(0x1af4, 0x1041, 0x1af4, 0x1100), "virtio:d00000001v00001AF4"],
        buses: ["virtio_pci"],
        make: (surroundings) => (host) =>
          new VirtioNet(host, {
            ...withAddress(surroundings, values, text),
            ...(packed === undefined ? {} : { packed }),
            ...(mergeable === undefined ? {} : { mergeable }),
            ...(mtu === undefined ? {} : { mtu }),
          }),
      };
    },
  },
];

/** Names of all models. */
export const modelNames = (): readonly string[] => MODELS.map(({ name }) => name);

/** Reads `--device MODEL[,key=value…]`. @throws UsageError, and so does making the device if a value is none that it has */
export function parseDevice(text: string): DeviceChoice {
  const [name] = text.split(",", 1);
  const model = MODELS.find((one) => one.name === name);
  if (model === undefined) {
    const near = nearNames(name, modelNames());
    const hint = near.length > 0 ? `did you mean ${near.join(" or ")}?` : `there are ${modelNames().join(", ")}`;
    throw new UsageError(`--device ${text}: there is no model '${name}'; ${hint}`, "device-model");
  }
  const { values } = parseOptionList("--device", text, [...model.keys]);
  const { make, ...choice } = model.choose(values, text);
  const makeOrBlame = (surroundings: ModelSurroundings): DeviceFactory<PciDevice> => {
    const factory = make(surroundings);
    return (host) => {
      try {
        return factory(host);
      } catch (error) {
        throw error instanceof InputError ? new UsageError(`--device ${text}: ${error.message}`, error.code) : error;
      }
    };
  };
  return { model: name, kind: "network", ...choice, make: makeOrBlame };
}

/**
 * The model that a driver binds to.
 * @param aliases that the driver's module has
 * @throws UnsupportedError if there is none
 */
export function modelFor(driver: string, aliases: readonly string[]): DeviceChoice {
  // The older of two parts of one number has a driver of its own.
  const texts = driver === "8139too" ? ["rtl8139,rev=0x10", ...modelNames()] : modelNames();
  for (const text of texts) {
    const choice = parseDevice(text);
    if (choice.aliases.some((one) => aliases.some((pattern) => matchesAlias(pattern, one)))) return choice;
  }
  throw new UnsupportedError(
    "no-model",
    `there is no model of a device that ${driver} drives: the models are ${modelNames().join(", ")}`,
  );
}

/** Modules besides the driver that a device asks for: those of the buses between. */
export function busModules(kernel: KernelPackage, choice: DeviceChoice, driverAliases: readonly string[]): string[] {
  const [pci] = choice.aliases;
  if (driverAliases.some((pattern) => matchesAlias(pattern, pci))) return [];
  return choice.buses.filter((name) => kernel.has(name) || kernel.builtin.has(name));
}

function alias(vendor: number, device: number, subsystemVendor: number, subsystemDevice: number): string {
  return pciAlias({ vendor, device, subsystemVendor, subsystemDevice, class: ETHERNET });
}

function withAddress(
  { wire, macAddress }: ModelSurroundings,
  values: ReadonlyMap<string, string>,
  text: string,
): { wire: Wire; macAddress?: Uint8Array } {
  const given = values.get("mac");
  if (given === undefined) return macAddress === null ? { wire } : { wire, macAddress };
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(given)) {
    throw new UsageError(`--device ${text}: 'mac' is an address such as 52:54:00:12:34:56`);
  }
  return { wire, macAddress: Uint8Array.from(given.split(":"), (byte) => Number.parseInt(byte, 16)) };
}

function numberOf(values: ReadonlyMap<string, string>, key: string, otherwise: number, text: string): number {
  const given = values.get(key);
  if (given === undefined) return otherwise;
  if (/^(0x[0-9a-f]{1,4}|\d{1,5})$/i.test(given)) return Number(given);
  throw new UsageError(`--device ${text}: '${key}' is a number such as 0x20 or 32`);
}

function switchOf(values: ReadonlyMap<string, string>, key: string, text: string): boolean | undefined {
  const given = values.get(key);
  if (given === undefined) return undefined;
  if (given === "on" || given === "off") return given === "on";
  throw new UsageError(`--device ${text}: '${key}' is on or off`);
}
