// Everything that the benchmarks know of Korral's sandbox: when its interface changes, this file does.
import { existsSync } from "node:fs";

const MODULE = new URL("../dist/translator/sandbox.js", import.meta.url);

export const sandboxExists = existsSync(MODULE);

/**
 * A sandbox with an object file or a program in it.
 * @param bytes ELF, relocatable or executable
 */
export async function openSandbox(bytes, { checks = true } = {}) {
  const { Sandbox } = await import(MODULE.href);
  const sandbox = Sandbox.create({ checks });
  sandbox.load(bytes);
  return {
    /** Calls a function of the guest's with whole numbers; @returns what it leaves in RAX, unsigned */
    call: (name, ...args) => BigInt.asUintN(64, sandbox.call(name, args.map(BigInt))),
    /** A function that does so. @returns whether the call of an address with one number did not return */
    fails: (name) => {
      const address = sandbox.symbol(name);
      return (argument) => sandbox.callAt(address, [argument]).kind !== "returned";
    },
    /** @returns { guestBytes, wasmBytes, milliseconds } */
    translateAll: () => {
      const cpu = process.cpuUsage();
      const start = process.hrtime.bigint();
      const { guestBytes, wasmBytes } = sandbox.translateAll();
      const elapsed = Number(process.hrtime.bigint() - start) / 1e6;
      const { user, system } = process.cpuUsage(cpu);
      // Others may be busy, and the engine has threads of its own: both are more than it takes on an idle machine.
      return { guestBytes, wasmBytes, milliseconds: Math.min(elapsed, (user + system) / 1000) };
    },
    /** @returns what `restore` takes */
    snapshot: () => sandbox.snapshot(),
    restore: (state) => sandbox.restore(state),
  };
}
