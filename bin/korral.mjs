#!/usr/bin/env node
import { existsSync } from "node:fs";

const built = new URL("../dist/cli/main.js", import.meta.url);
if (!existsSync(built)) {
  process.stderr.write("korral: not built yet; run `npm run build` (`npm ci` does it too)\n");
  process.exit(6);
}
const { main } = await import(built.href);
process.exitCode = await main(process.argv.slice(2));
