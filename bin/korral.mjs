#!/usr/bin/env node
import { existsSync, statSync } from "node:fs";

const file = (name) => new URL(`../dist/${name}`, import.meta.url);
const built = file("cli/main.js");
if (!existsSync(built)) {
  process.stderr.write("korral: not built yet; run `npm run build` (`npm ci` does it too)\n");
  process.exit(6);
}
// The compiler alone may have run since the bundle was made.
const changed = (name) => statSync(file(name), { throwIfNoEntry: false })?.mtimeMs ?? 0;
const bundle = "cli/bundle.js";
const isCurrent = existsSync(file(bundle)) && changed(bundle) >= changed(".tsbuildinfo");
const { main } = await import(isCurrent ? file(bundle).href : built.href).catch((error) => {
  // The decoder is WebAssembly, for which engines reserve addresses.
  if (!(error instanceof RangeError)) throw error;
  process.stderr.write(
    `korral: this host refuses address space (${error.message}); lift its limit (ulimit -v unlimited)\n`,
  );
  process.exit(6);
});
process.exitCode = await main(process.argv.slice(2));
