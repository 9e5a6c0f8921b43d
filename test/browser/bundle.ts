import { fileURLToPath } from "node:url";
import { build } from "vite";
import { icedForBrowsers } from "../../src/node/iced-for-browsers.js";
import type { ServedFile } from "../support/chromium.js";

// What fails before the page's own code runs, the decoder above all, is reported too.
const PAGE = `<!doctype html>
<meta charset="utf-8">
<script>
addEventListener("error", ({ message }) => {
  fetch("/failure", { method: "POST", body: message ?? "a script does not load" });
}, true);
</script>
<script type="module" src="/page.js"></script>
`;

/** The page and its worker as files to serve, by path; what both need is a third. */
export async function bundlePage(): Promise<Map<string, ServedFile>> {
  const here = fileURLToPath(new URL(".", import.meta.url));
  const built = await build({
    root: here,
    configFile: false,
    logLevel: "error",
    plugins: [icedForBrowsers()],
    build: {
      write: false,
      target: "es2023",
      minify: false,
      modulePreload: false,
      rollupOptions: {
        input: { page: `${here}page.ts`, worker: `${here}worker.ts` },
        output: { entryFileNames: "[name].js", chunkFileNames: "[name].js" },
      },
    },
  });
  if (!("output" in built)) throw new Error("one build was asked for");
  const files = new Map<string, ServedFile>();
  for (const file of built.output) {
    if (file.type === "chunk") files.set(`/${file.fileName}`, { type: "text/javascript", content: file.code });
  }
  return files.set("/", { type: "text/html", content: PAGE });
}
