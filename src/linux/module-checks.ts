import { KernelModule, type ModuleParameter } from "../formats/kernel-module.js";
import { InputError, UnsupportedError, UsageError } from "../util/errors.js";
import { nearNames } from "../util/near-names.js";
import type { KernelImage } from "./image.js";

/** The name of the checksum that says that kernel and module agree on `struct module` itself. */
const MODULE_LAYOUT = "module_layout";
const MOST_NAMES = 8;
const NUMBER = String.raw`(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)`;
const UNSIGNED = new RegExp(String.raw`^\+?${NUMBER}$`, "i");
const SIGNED = new RegExp(`^[+-]?${NUMBER}$`, "i");
const SWITCH = /^([ytnf01]|o[nf])/i;
const ARRAY = "array of ";

interface ParameterKind {
  readonly pattern: RegExp;
  readonly what: string;
  /** Bounds, both inclusive. */
  readonly least?: bigint;
  readonly most?: bigint;
  /** It need not be given a value. */
  readonly mayBeBare?: true;
}

const unsigned = (bits: bigint): ParameterKind => {
  const most = 2n ** bits - 1n;
  return { pattern: UNSIGNED, what: `a number from 0 to ${most}`, least: 0n, most };
};
const signed = (bits: bigint): ParameterKind => {
  const most = 2n ** (bits - 1n) - 1n;
  return { pattern: SIGNED, what: `a number from ${-most - 1n} to ${most}`, least: -most - 1n, most };
};
const onOrOff = (mayBeBare: boolean): ParameterKind => ({
  pattern: SWITCH,
  what: "a switch: y or n, 1 or 0, on or off",
  ...(mayBeBare ? { mayBeBare } : {}),
});

/** The kernel's own types, and what it takes for a value of them. All others are their modules' own. */
const KINDS: Readonly<Record<string, ParameterKind>> = {
  byte: unsigned(8n),
  ushort: unsigned(16n),
  uint: unsigned(32n),
  hexint: unsigned(32n),
  ulong: unsigned(64n),
  ullong: unsigned(64n),
  short: signed(16n),
  int: signed(32n),
  long: signed(64n),
  bool: onOrOff(true),
  bint: onOrOff(true),
  invbool: onOrOff(false),
};

/** A module that was built for another kernel. */
export class ModuleMismatchError extends InputError {}

/** What somebody offers to modules, as far as it can be compared. */
export interface Offer {
  /** Checksum of its prototype, null without CONFIG_MODVERSIONS. */
  readonly crc: number | null;
}

/** A module that is to be loaded. */
export interface ModuleToLoad {
  readonly name: string;
  /** Decompressed. */
  readonly bytes: Uint8Array;
  readonly fileName: string;
}

/**
 * Finds, before anything runs, what loading would find: modules that do not fit the kernel or each other, and parameters
 * that the driver has not.
 * @param files in the order of loading
 * @param driver which of them gets the parameters
 * @throws ModuleMismatchError, UnsupportedError, InputError, UsageError
 */
export function checkModules(
  image: KernelImage,
  files: readonly ModuleToLoad[],
  driver: string,
  parameters: Readonly<Record<string, string>>,
): void {
  const offers = new Map<string, Offer>();
  const loaded = new Set<string>();
  for (const { name: given, bytes, fileName } of files) {
    const file = KernelModule.parse(bytes, fileName);
    const name = nameOf(file, fileName);
    if (given === driver) checkParameters(file, name, parameters);
    checkImports(
      file,
      name,
      image.name,
      (symbol) => image.exports.get(symbol) ?? offers.get(symbol) ?? null,
      (module) => loaded.has(module),
    );
    for (const one of file.exports) offers.set(one.name, one);
    loaded.add(name);
  }
}

/** As the kernel calls it. */
export function nameOf(file: KernelModule, fileName: string): string {
  return (file.name ?? fileName.replace(/^.*\//, "").replace(/\.ko.*$/, "")).replaceAll("-", "_");
}

/**
 * What the module was built against has to be what is there.
 * @param offered by the kernel or a module that is loaded before
 * @throws ModuleMismatchError, UnsupportedError
 */
export function checkImports(
  file: KernelModule,
  name: string,
  kernel: string,
  offered: (symbol: string) => Offer | null,
  isLoaded: (module: string) => boolean,
): void {
  const layout = offered(MODULE_LAYOUT);
  const wanted = file.versions.get(MODULE_LAYOUT);
  if (layout?.crc != null && wanted !== undefined && layout.crc !== wanted) {
    throw mismatch(file, name, MODULE_LAYOUT, wanted, layout.crc, kernel);
  }
  for (const { name: symbol, weak, crc } of file.imports) {
    const found = offered(symbol);
    if (found === null) {
      if (weak) continue;
      const missing = file.depends.filter((each) => !isLoaded(each.replaceAll("-", "_")));
      const needs = missing.length === 0 ? "" : `: it depends on ${missing.join(", ")}`;
      throw new UnsupportedError(
        "module-import",
        `${name} imports ${symbol}, which neither ${kernel} nor a module that is loaded before it offers${needs}`,
      );
    }
    if (crc !== null && found.crc !== null && crc !== found.crc) {
      throw mismatch(file, name, symbol, crc, found.crc, kernel);
    }
  }
}

/**
 * Whether the module has these parameters, and takes such values. Values of types of its own are for it to judge.
 * @throws UsageError
 */
export function checkParameters(
  file: Pick<KernelModule, "parameters">,
  name: string,
  parameters: Readonly<Record<string, string>>,
): void {
  const known = new Map(file.parameters.map((parameter) => [parameter.name, parameter]));
  for (const [given, value] of Object.entries(parameters)) {
    const parameter = known.get(given);
    if (parameter === undefined) throw unknownParameter(name, given, [...known.keys()]);
    checkValue(name, parameter, value);
  }
}

function unknownParameter(name: string, given: string, known: readonly string[]): UsageError {
  const near = nearNames(given, known);
  const hint =
    known.length === 0 ? "it has none" : `it has ${(near.length > 0 ? near : known.slice(0, MOST_NAMES)).join(", ")}`;
  return new UsageError(`${name} has no parameter ${given}: ${hint}`, "module-parameter");
}

function checkValue(name: string, { name: parameter, type }: ModuleParameter, value: string): void {
  if (type === null) return;
  const isArray = type.startsWith(ARRAY);
  const kind = Object.hasOwn(KINDS, type.replace(ARRAY, "")) ? KINDS[type.replace(ARRAY, "")] : undefined;
  if (kind === undefined || (value === "" && kind.mayBeBare === true && !isArray)) return;
  const values = isArray ? value.split(",") : [value];
  if (values.every((one) => isOf(kind, one))) return;
  const what = isArray ? `${kind.what}, or several with commas between` : kind.what;
  throw new UsageError(`${name} does not take ${parameter}=${value}: it is ${what}`, "module-parameter");
}

function isOf({ pattern, least, most }: ParameterKind, value: string): boolean {
  if (!pattern.test(value)) return false;
  if (least === undefined || most === undefined) return true;
  const number = numberOf(value);
  return least <= number && number <= most;
}

/** As the kernel reads it: a leading zero makes it octal. */
function numberOf(text: string): bigint {
  const digits = text.replace(/^[+-]/, "");
  const size = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits.toLowerCase());
  return text.startsWith("-") ? -size : size;
}

function mismatch(
  file: KernelModule,
  name: string,
  symbol: string,
  wanted: number,
  actual: number,
  kernel: string,
): ModuleMismatchError {
  const hex = (crc: number): string => `0x${crc.toString(16).padStart(8, "0")}`;
  const vermagic = file.get("vermagic") ?? "it does not say which";
  return new ModuleMismatchError(
    "module-crc",
    `${name} was built for another kernel (${vermagic}): it wants ${symbol} with checksum ${hex(wanted)}, and ${kernel} has ${hex(actual)}; take the module from this kernel's package`,
  );
}
