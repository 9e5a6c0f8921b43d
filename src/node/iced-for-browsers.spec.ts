import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as iced from "iced-x86";
import { expect, test } from "vitest";
import { icedForBrowsers } from "./iced-for-browsers.js";

const plugin = icedForBrowsers();

test("only the decoder is replaced", () => {
  expect(plugin.resolveId("vite")).toBeNull();
  expect(plugin.resolveId("./iced-x86")).toBeNull();
  expect(plugin.load("iced-x86")).toBeNull();
});

test("by a module that imports nothing, exports the same and decodes", async () => {
  const source = await plugin.load(plugin.resolveId("iced-x86") ?? "");
  expect(source).not.toMatch(/^import /m);
  const directory = await mkdtemp(join(tmpdir(), "korral-iced-"));
  try {
    const path = join(directory, "module.mjs");
    await writeFile(path, source ?? "");
    const module = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as typeof iced;
    const isPublic = (name: string): boolean => !name.startsWith("__") && !["default", "module.exports"].includes(name);
    expect(Object.keys(module).sort()).toEqual(Object.keys(iced).filter(isPublic).sort());
    const decoder = new module.Decoder(64, Uint8Array.of(0x48, 0x89, 0xe5), module.DecoderOptions.None);
    expect(decoder.decode().toString()).toBe("mov rbp,rsp");
    expect(iced.Mnemonic.Mov).toBe(module.Mnemonic.Mov);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
