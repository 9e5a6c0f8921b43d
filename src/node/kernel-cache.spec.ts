import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { kernelDeb, PLAIN, vmlinuxOfPackage } from "../../test/support/kernel-deb.js";
import { arOf, tarOf } from "../../test/support/tar-writer.js";
import { KernelPackage } from "../linux/kernel-package.js";
import { ExitStatus, KorralError } from "../util/errors.js";
import { KernelCache } from "./kernel-cache.js";
import type { CachedKernel } from "./kernel-cached.js";

const RELEASE = "6.1.0-1-amd64";
const root = mkdtempSync(join(tmpdir(), "korral-cache-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folder: string;
let cache: KernelCache;
let count = 0;
const quiet = () => {};

beforeEach(() => {
  folder = join(root, String(count++));
  mkdirSync(folder);
  cache = new KernelCache(join(folder, "cache"));
});

function debFile(bytes: Uint8Array, name = "linux.deb"): string {
  writeFileSync(join(folder, name), bytes);
  return join(folder, name);
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile())
    .sort();
}

/** All that anybody may ask of the kernel is as it was packed. */
function expectWhole(kernel: CachedKernel): void {
  expect(kernel.release).toBe(RELEASE);
  expect(kernel.vmlinux()).toEqual(vmlinuxOfPackage(RELEASE));
  const opened = new KernelPackage(kernel);
  expect(opened.modules.map(({ name }) => name)).toEqual(["e1000", "mii"]);
  for (const { name } of opened.modules) expect(opened.module(name).get("license")).toBe("GPL");
  expect(opened.config()).toEqual(new Map([["CONFIG_SMP", "y"]]));
  expect(kernel.read(kernel.manifest.image).length).toBeGreaterThan(1024);
  expect(opened.builtin.has("8250")).toBe(true);
  expect(opened.modulesFor("nothing")).toEqual([]);
}

const DEB = kernelDeb({ release: RELEASE, modules: { "net/e1000": PLAIN, mii: PLAIN } });

describe("the cache of kernels", () => {
  test("its place: KORRAL_CACHE, else the XDG cache, else that of the home", () => {
    const place = (environment: NodeJS.ProcessEnv) => KernelCache.default(environment).directory;
    expect(place({ KORRAL_CACHE: "/c", XDG_CACHE_HOME: "/x" })).toBe("/c");
    expect(place({ XDG_CACHE_HOME: "/x" })).toBe("/x/korral");
    expect(place({ KORRAL_CACHE: "", XDG_CACHE_HOME: "relative" })).toMatch(/^\/.*\.cache\/korral$/);
  });

  test("what is unpacked is what was packed, and stays", async () => {
    const file = debFile(DEB);
    const parts: number[] = [];
    expectWhole(await cache.import(file, (part) => parts.push(part)));
    expect(parts.at(-1)).toBe(1);
    const before = filesBelow(cache.directory);
    expect(before.filter((path) => /readme|unfinished|\.new-/.test(path))).toEqual([]);
    const again: number[] = [];
    const kernel = await cache.import(file, (part) => again.push(part));
    expectWhole(kernel);
    expect(again, "nothing is unpacked").toEqual([]);
    expect(filesBelow(cache.directory)).toEqual(before);
  });

  test("a file that somebody names is not taken when nobody does; one that was added is", async () => {
    const file = debFile(DEB);
    await cache.import(file, quiet);
    expect(cache.entries()).toEqual([]);
    const added = await cache.add(file, quiet);
    rmSync(file);
    const [entry, ...others] = cache.entries();
    expect([entry.name, entry.version, entry.directory, others]).toEqual([
      `linux-image-${RELEASE}`,
      "1-1",
      added.directory,
      [],
    ]);
    const kernel = cache.open(entry);
    expect(kernel).not.toBeNull();
    if (kernel !== null) expectWhole(kernel);
  });

  test("another archive under the same name and path is another kernel", async () => {
    const file = debFile(DEB);
    const first = await cache.import(file, quiet);
    debFile(kernelDeb({ release: RELEASE, modules: { other: PLAIN } }));
    const second = await cache.import(file, quiet);
    expect(second.directory).not.toBe(first.directory);
    expect(new KernelPackage(second).modules.map(({ name }) => name)).toEqual(["other"]);
  });

  test.each<[string, (path: string) => void]>([
    ["gone", (path) => rmSync(path)],
    ["empty", (path) => truncateSync(path)],
    ["cut", (path) => truncateSync(path, Math.floor(statSync(path).size / 2))],
    ["longer", (path) => writeFileSync(path, "x", { flag: "a" })],
    [
      "changed by one bit",
      (path) => {
        const bytes = readFileSync(path);
        bytes[bytes.length >> 1] ^= 4;
        writeFileSync(path, bytes);
      },
    ],
    [
      "a directory",
      (path) => {
        rmSync(path);
        mkdirSync(path);
      },
    ],
  ])("any file of it that is %s is made again", async (_, harm) => {
    const file = debFile(DEB);
    expectWhole(await cache.import(file, quiet));
    const victims = filesBelow(cache.directory);
    expect(victims.length).toBeGreaterThan(7);
    for (const victim of victims) {
      harm(victim);
      expectWhole(await cache.import(file, quiet));
      expect(statSync(victim, { throwIfNoEntry: false })?.isFile(), victim).toBe(true);
    }
  });

  test("an added kernel makes its files again out of its own archive; without it, it says what to do", async () => {
    const kernel = await cache.add(debFile(DEB), quiet);
    rmSync(join(folder, "linux.deb"));
    const module = join(kernel.directory, "lib/modules", RELEASE, "kernel/mii.ko");
    truncateSync(module, 3);
    expectWhole(kernel);
    expect(statSync(module).size).toBeGreaterThan(3);
    truncateSync(module, 3);
    truncateSync(join(kernel.directory, "package.deb"), 99);
    expect(() => new KernelPackage(kernel).moduleBytes("mii")).toThrow(
      expect.objectContaining({
        code: "cache-damaged",
        exitStatus: ExitStatus.environment,
        message: expect.stringMatching(/remove .*, and run/),
      }),
    );
  });

  test("two at once: both have it, once", async () => {
    const file = debFile(DEB);
    const kernels = await Promise.all([cache.add(file, quiet), new KernelCache(cache.directory).add(file, quiet)]);
    for (const kernel of kernels) expectWhole(kernel);
    expect(readdirSync(join(cache.directory, "kernels"))).toHaveLength(1);
  });

  test("what a process that was killed left behind is in nobody's way, and goes when it is old", async () => {
    const parent = join(cache.directory, "kernels");
    for (const name of [".unfinished-old", ".unfinished-new"]) {
      mkdirSync(join(parent, name, "boot"), { recursive: true });
      writeFileSync(join(parent, name, "boot/vmlinuz-x"), "half");
    }
    utimesSync(join(parent, ".unfinished-old"), 1, 1);
    expect(cache.entries()).toEqual([]);
    expectWhole(await cache.add(debFile(DEB), quiet));
    expect(readdirSync(parent).filter((name) => name.startsWith("."))).toEqual([".unfinished-new"]);
    expect(cache.entries()).toHaveLength(1);
  });

  test("a folder of another version of Korral, or half of one, is replaced", async () => {
    const kernel = await cache.add(debFile(DEB), quiet);
    writeFileSync(join(kernel.directory, "korral-kernel"), "{}");
    rmSync(join(kernel.directory, "boot"), { recursive: true });
    expect(cache.open(cache.entries()[0])).toBeNull();
    expectWhole(await cache.add(debFile(DEB), quiet));
  });

  test("what cannot be kept is made each time", async () => {
    const kernel = await cache.import(debFile(DEB), quiet);
    rmSync(join(kernel.directory, "vmlinux"));
    renameSync(kernel.directory, `${kernel.directory}-moved`);
    writeFileSync(kernel.directory, "no directory any more");
    expect(kernel.derived("x-1", () => Uint8Array.of(1, 2))).toEqual(Uint8Array.of(1, 2));
  });

  test("what was derived comes back, unless it is damaged", async () => {
    const kernel = await cache.import(debFile(DEB), quiet);
    let made = 0;
    const make = () => Uint8Array.of(++made);
    expect(kernel.derived("n", make)).toEqual(Uint8Array.of(1));
    expect(kernel.derived("n", make)).toEqual(Uint8Array.of(1));
    const [file] = filesBelow(kernel.directory).filter((path) => path.endsWith("derived-n"));
    writeFileSync(
      file,
      readFileSync(file).map((byte, i) => (i === 0 ? byte ^ 1 : byte)),
    );
    expect(kernel.derived("n", make)).toEqual(Uint8Array.of(2));
    const isThird = (bytes: Uint8Array): boolean => bytes[0] === 3;
    expect(kernel.derived("n", make, isThird), "nor what whoever asks cannot use").toEqual(Uint8Array.of(3));
    expect(kernel.derived("n", make, isThird)).toEqual(Uint8Array.of(3));
  });
});

describe("archives that are refused", () => {
  const packed = (...members: Parameters<typeof tarOf>[0][number][]): Uint8Array =>
    arOf([
      ["debian-binary", "2.0\n"],
      ["control.tar", tarOf([{ name: "./control", content: "Package: ../../x\nVersion: /\nArchitecture: amd64\n" }])],
      ["data.tar.gz", gzipSync(tarOf(members))],
    ]);
  const release = "6.1.0-1-amd64";
  const extra = (...extra: Parameters<typeof tarOf>[0][number][]) => kernelDeb({ release, extra });

  test.each<[string, () => Uint8Array, number, string]>([
    ["no kernel", () => packed({ name: "./x", content: "x" }), 5, "has no kernel image"],
    ["nothing", () => new Uint8Array(0), 5, "is no ar archive: give a Debian package"],
    [
      "another architecture",
      () => kernelDeb({ release, architecture: "arm64" }),
      4,
      "is a package for arm64: give one for amd64",
    ],
    ["two kernels", () => extra({ name: "./boot/vmlinuz-2", content: "x" }), 5, "has several kernel images"],
    ["one file twice", () => extra({ name: `./boot/config-${release}`, content: "x" }), 5, "is in it twice"],
    [
      "a file that is a directory, too",
      () => extra({ name: "./lib/modules/a/b", content: "x" }, { name: "./lib/modules/a/b/c", content: "x" }),
      5,
      "is both a file and a directory",
    ],
    ["a way out", () => extra({ name: "./lib/modules/../../../x", content: "x" }), 5, "lies outside its tree"],
    [
      "a way out through a link",
      () => extra({ name: "./lib/modules/l", type: "2", link: "../.." }, { name: "./lib/modules/l/x", content: "x" }),
      5,
      "lies behind a link",
    ],
    [
      "a file of a size beyond all bounds",
      () => extra({ name: "./lib/modules/a/x", content: "", size: 2 ** 32 - 1 }),
      5,
      "has 4294967295 bytes",
    ],
    ["its end missing", () => DEB.subarray(0, DEB.length - 300), 5, "ends too early"],
    [
      "a module of a changed byte",
      () => DEB.map((byte, i) => (i === DEB.length - 200 ? byte ^ 1 : byte)),
      5,
      "damaged",
    ],
    ["an image that is none", () => packed({ name: "./boot/vmlinuz-1", content: "hello" }), 5, "is no kernel image"],
  ])("%s", async (_, make, status, message) => {
    const error = await cache.add(debFile(make()), quiet).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(KorralError);
    if (!(error instanceof KorralError)) return;
    expect([error.exitStatus, error.message]).toEqual([status, expect.stringContaining(message)]);
    expect(existsSync(join(cache.directory, "kernels")) ? readdirSync(join(cache.directory, "kernels")) : []).toEqual(
      [],
    );
    expect(readdirSync(folder).sort(), "nothing beside the cache").toEqual(
      ["linux.deb", ...(existsSync(cache.directory) ? ["cache"] : [])].sort(),
    );
  });
});

test("a cache that cannot be written to", async () => {
  writeFileSync(join(folder, "cache"), "a file");
  await expect(cache.add(debFile(DEB), quiet)).rejects.toMatchObject({ exitStatus: ExitStatus.environment });
});
