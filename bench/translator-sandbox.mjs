// Everything that the benchmarks know of Korral's sandbox: when its interface changes, this file does.
import { existsSync } from "node:fs";

const MODULE = new URL("../dist/translator/sandbox.js", import.meta.url);

export const sandboxExists = existsSync(MODULE);

/**
 * A sandbox with an object file or a program in it. What the sandbox cannot do yet is `undefined`.
 * @param bytes ELF, relocatable or executable
 */
export async function openSandbox(bytes, { checks = true } = {}) {
  const { Sandbox } = await import(MODULE.href);
  const sandbox = await Sandbox.create({ checks });
  await sandbox.load(bytes);
  const optional = (name) => (typeof sandbox[name] === "function" ? (...args) => sandbox[name](...args) : undefined);
  return {
    /** Calls a function of the guest's with whole numbers; @returns what it leaves in RAX, unsigned */
    call: async (name, ...args) => BigInt.asUintN(64, await sandbox.call(name, args.map(BigInt))),
    /** @returns { guestBytes, wasmBytes, milliseconds } */
    translateAll: optional("translateAll"),
    /** @returns what `restore` takes */
    snapshot: optional("snapshot"),
    restore: optional("restore"),
  };
}
