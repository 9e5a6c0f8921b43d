// node translator-child.mjs checked|unchecked OBJECT: a program in a sandbox, in a process of its own, which speaks as
// programs/main.c does: "ITERATIONS" in, {"nanoseconds": …, "checksum": "…"} or {"error": "…"} out.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { openSandbox } from "./translator-sandbox.mjs";

const [mode, path] = process.argv.slice(2);
const opened = openSandbox(new Uint8Array(readFileSync(path)), { checks: mode === "checked" });
// Whoever asks first is told why there is none.
opened.catch(() => {});

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const sandbox = await opened;
    const start = process.hrtime.bigint();
    const checksum = sandbox.call("run", line);
    const nanoseconds = Number(process.hrtime.bigint() - start);
    console.log(JSON.stringify({ nanoseconds, checksum: String(checksum) }));
  } catch (error) {
    console.log(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
  }
}
