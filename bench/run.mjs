// npm run bench [-- NAME…] [--json]: what is measured, side by side in one run.
// Each benchmark has a process of its own: what one does to the types that V8 has seen must not slow the next one down.
import { spawnSync } from "node:child_process";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { benchDisk } from "./disk.mjs";
import { benchFilter } from "./filter.mjs";
import { benchKernel } from "./kernel.mjs";
import { benchNic } from "./nic.mjs";
import { show } from "./show.mjs";
import { benchTranslator } from "./translator.mjs";

const benchmarks = {
  kernel: benchKernel,
  filter: benchFilter,
  nic: benchNic,
  disk: benchDisk,
  translator: benchTranslator,
};

const args = process.argv.slice(2);
const json = args.includes("--json");
const wanted = args.filter((arg) => arg !== "--json");
for (const name of wanted) {
  if (!(name in benchmarks)) {
    console.error(`there is no benchmark '${name}': there are ${Object.keys(benchmarks).join(", ")}`);
    process.exit(2);
  }
}
const names = wanted.length > 0 ? wanted : Object.keys(benchmarks);
if (json && names.length === 1) {
  console.log(JSON.stringify({ [names[0]]: await benchmarks[names[0]]() }));
} else {
  if (!json) console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0].model}`);
  const results = {};
  for (const name of names) {
    const self = [...process.execArgv, fileURLToPath(import.meta.url), name, "--json"];
    const { status, stdout } = spawnSync(process.execPath, self, {
      stdio: ["ignore", "pipe", "inherit"],
      encoding: "utf8",
    });
    if (status !== 0) process.exit(status ?? 1);
    Object.assign(results, JSON.parse(stdout));
    if (!json) show(name, results[name]);
  }
  if (json) console.log(JSON.stringify(results));
}
