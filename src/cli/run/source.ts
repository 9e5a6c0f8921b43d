import { statSync } from "node:fs";
import { basename } from "node:path";
import { decompress } from "../../formats/compression.js";
import { KernelModule } from "../../formats/kernel-module.js";
import type { DriverSource } from "../../linux/driver.js";
import type { KernelPackage } from "../../linux/kernel-package.js";
import { readFileBytes } from "../../node/file-bytes.js";
import { UsageError } from "../../util/errors.js";

/** What is to be run, and what it says it is for. */
export interface Driver {
  readonly source: DriverSource;
  readonly aliases: readonly string[];
}

/**
 * @param given the name of a module of the kernel, or a path to a .ko
 * @throws InputError, UnsupportedError
 */
export function driverFor(given: string, kernel: KernelPackage): Driver {
  if (!isPath(given)) {
    const name = given.replaceAll("-", "_");
    return { source: { name, file: null }, aliases: kernel.describe(given).aliases };
  }
  const bytes = decompress(readFileBytes(given), given);
  const module = KernelModule.parse(bytes, given);
  const name = (module.name ?? basename(given).replace(/\.ko.*$/, "")).replaceAll("-", "_");
  return { source: { name, file: { bytes, name: given } }, aliases: module.all("alias") };
}

/** Reads `param=value…`. @throws UsageError */
export function parseParameters(given: readonly string[]): Readonly<Record<string, string>> {
  const parameters = new Map<string, string>();
  for (const one of given) {
    const at = one.indexOf("=");
    const name = at < 0 ? one : one.slice(0, at);
    if (!/^\w+$/.test(name)) throw new UsageError(`'${one}' is no parameter: write name=value`);
    if (parameters.has(name)) throw new UsageError(`the parameter ${name} is given twice`);
    // As the kernel has it: a switch that is only named is on.
    parameters.set(name, at < 0 ? "" : one.slice(at + 1));
  }
  return Object.fromEntries(parameters);
}

function isPath(given: string): boolean {
  return /[/.]/.test(given) || statSync(given, { throwIfNoEntry: false })?.isFile() === true;
}
