import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

/** What Vite and Rollup take as a plugin. */
export interface BundlerPlugin {
  readonly name: string;
  readonly enforce: "pre";
  config(): { optimizeDeps: { exclude: string[] } };
  resolveId(source: string): string | null;
  load(id: string): Promise<string> | null;
}

const PACKAGE = "iced-x86";
const SOURCE = "iced_x86.js";
const BINARY = "iced_x86_bg.wasm";
/** Rollup's convention: other plugins leave names that begin with a zero byte alone. */
const ID = `\0${PACKAGE}-for-browsers`;

/**
 * Makes bundles of Korral run in browsers and their workers: the decoder that the translator uses is published for Node
 * alone, as CommonJS that reads its WebAssembly from a file. The bundle gets it as a module with the WebAssembly inside.
 * With Vite it belongs into `plugins`, and into `worker.plugins` if Korral runs in a worker that Vite bundles.
 */
export function icedForBrowsers(): BundlerPlugin {
  return {
    name: "korral:iced-for-browsers",
    enforce: "pre",
    // Vite's development server would bundle it beforehand, and without this plugin.
    config: () => ({ optimizeDeps: { exclude: [PACKAGE] } }),
    resolveId: (source) => (source === PACKAGE ? ID : null),
    load: (id) => (id === ID ? browserModule() : null),
  };
}

async function browserModule(): Promise<string> {
  const require = createRequire(import.meta.url);
  const names = Object.keys(require(PACKAGE)).filter((name) => !name.startsWith("__"));
  const directory = join(require.resolve(PACKAGE), "..");
  const source = await readFile(join(directory, SOURCE), "utf8");
  const binary = await readFile(join(directory, BINARY), "base64");
  return `
const bytes = Uint8Array.from(atob("${binary}"), (character) => character.charCodeAt(0));
const modules = {
  util: { TextDecoder, TextEncoder },
  path: { join: (...parts) => parts.join("/") },
  fs: { readFileSync: () => bytes },
};
const module = { exports: {} };
((module, require, __dirname) => {
${source}
})(module, (name) => modules[name], "");
export const { ${names.join(", ")} } = module.exports;
`;
}
