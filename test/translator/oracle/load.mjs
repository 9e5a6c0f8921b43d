// Bundles the oracle, which is TypeScript on top of src, for those who run without vitest.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "vite";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** What index.ts exports. */
export async function loadOracle() {
  const folder = mkdtempSync(join(tmpdir(), "korral-oracle-"));
  try {
    await build({
      configFile: false,
      root: here("../../.."),
      logLevel: "warn",
      build: {
        ssr: here("index.ts"),
        outDir: folder,
        emptyOutDir: false,
        rollupOptions: {
          external: ["iced-x86"],
          output: { entryFileNames: "oracle.mjs", paths: { "iced-x86": import.meta.resolve("iced-x86") } },
        },
      },
    });
    return await import(pathToFileURL(join(folder, "oracle.mjs")).href);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export const RUNNER = here("runner.c");
