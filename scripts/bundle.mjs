// Makes one file of the command and what it imports, dist/cli/bundle.js: a start reads hundreds of files less.
// Run by `npm run build`.
import { fileURLToPath } from "node:url";
import { build } from "vite";

const DECODER = "iced-x86";
const DECODER_ID = `\0${DECODER}`;
const path = (name) => fileURLToPath(new URL(name, import.meta.url));

/** The decoder stays a file of its own, and is required: `import` would search all of its text for names first. */
const requireDecoder = {
  name: "korral:require-decoder",
  enforce: "pre",
  resolveId: (source) => (source === DECODER ? DECODER_ID : null),
  load: async (id) => {
    if (id !== DECODER_ID) return null;
    const names = Object.keys(await import(DECODER)).filter((name) => /^[A-Z]\w*$/.test(name));
    return `import { createRequire } from "node:module";
export const { ${names.join(", ")} } = createRequire(import.meta.url)("${DECODER}");`;
  },
};

await build({
  configFile: false,
  logLevel: "warn",
  root: path(".."),
  plugins: [requireDecoder],
  ssr: { noExternal: true },
  esbuild: { minifyIdentifiers: false, minifySyntax: true, minifyWhitespace: true },
  build: {
    ssr: path("../dist/cli/main.js"),
    outDir: path("../dist/cli"),
    emptyOutDir: false,
    target: "node20",
    minify: "esbuild",
    rollupOptions: { output: { entryFileNames: "bundle.js", inlineDynamicImports: true } },
  },
});
