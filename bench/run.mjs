// npm run bench [-- NAME…] [--json]: what is measured, side by side in one run.
import { cpus } from "node:os";
import { benchDisk } from "./disk.mjs";
import { benchFilter } from "./filter.mjs";
import { benchKernel } from "./kernel.mjs";
import { benchNic } from "./nic.mjs";

const benchmarks = { kernel: benchKernel, filter: benchFilter, nic: benchNic, disk: benchDisk };

const args = process.argv.slice(2);
const json = args.includes("--json");
const wanted = args.filter((arg) => arg !== "--json");
for (const name of wanted) {
  if (!(name in benchmarks)) {
    console.error(`there is no benchmark '${name}': there are ${Object.keys(benchmarks).join(", ")}`);
    process.exit(2);
  }
}
const results = {};
if (!json) console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0].model}`);
for (const [name, run] of Object.entries(benchmarks)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  results[name] = await run();
  if (json) continue;
  console.log(`\n${name}`);
  for (const { name: what, value, unit, note } of results[name]) {
    console.log(
      `  ${what.padEnd(58)} ${value.toFixed(value < 100 ? 2 : 0).padStart(9)} ${unit.padEnd(12)} ${note ?? ""}`,
    );
  }
}
if (json) console.log(JSON.stringify(results));
