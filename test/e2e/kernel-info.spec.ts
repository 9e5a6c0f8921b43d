import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { bzImageOf, vmlinuxOf } from "../support/bzimage.js";
import { arOf, tarOf } from "../support/tar-writer.js";
import { korral, scratch } from "./korral.js";

const file = scratch();
const IMAGE = bzImageOf({ payload: new Uint8Array(gzipSync(vmlinuxOf())) });
const BANNER = "Linux version 1.2.3-4-test (nobody) #1 SMP";

function write(name: string, bytes: Uint8Array | string): string {
  mkdirSync(dirname(file(name)), { recursive: true });
  writeFileSync(file(name), bytes);
  return file(name);
}

function packageOf(...paths: [string, Uint8Array | string][]): Uint8Array {
  return arOf([
    ["debian-binary", "2.0\n"],
    ["control.tar", tarOf([{ name: "./control", content: "Package: linux-image-test\nVersion: 1.2.3-4\n" }])],
    ["data.tar.gz", gzipSync(tarOf(paths.map(([name, content]) => ({ name, content }))))],
  ]);
}

const MODULES = "./lib/modules/1.2.3-4-test/kernel";
const PACKAGE = packageOf(
  ["./boot/System.map-1.2.3-4-test", "x"],
  ["./boot/vmlinuz-1.2.3-4-test", IMAGE],
  [`${MODULES}/a.ko`, "a"],
  [`${MODULES}/net/b.ko.xz`, "b"],
  [`${MODULES}/net/c.komedy`, "c"],
);

describe("korral kernel info", () => {
  const image = { kind: "bzImage", compression: "gzip", size: IMAGE.length, unpackedSize: 4096 };
  const common = { release: "1.2.3-4-test", banner: BANNER, flavour: "test", architecture: "x86-64", directory: null };

  test("of a package, for people", async () => {
    const { status, stdout, stderr } = await korral(["kernel", "info", write("linux.deb", PACKAGE)]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout.split("\n")).toEqual([
      "package:      linux-image-test",
      "version:      1.2.3-4",
      "release:      1.2.3-4-test",
      "flavour:      test",
      "architecture: x86-64",
      `banner:       ${BANNER}`,
      `image:        bzImage, ${IMAGE.length} bytes, 4096 unpacked, compression gzip`,
      "modules:      2, compression none, xz",
      "",
    ]);
  });

  test("of a package, for programs", async () => {
    const { status, stdout } = await korral(["kernel", "info", "--json", write("linux.deb", PACKAGE)]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      package: "linux-image-test",
      version: "1.2.3-4",
      ...common,
      image,
      modules: { count: 2, compression: "none, xz" },
    });
  });

  test("of an image on standard input", async () => {
    const { status, stdout } = await korral(["kernel", "info", "--json", "-"], IMAGE);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ package: null, version: null, ...common, image, modules: null });
  });

  test("of a directory", async () => {
    write("root/boot/vmlinuz-1.2.3-4-test", IMAGE);
    write("root/lib/modules/1.2.3-4-test/kernel/a.ko.zst", "a");
    write("root/lib/modules/9.9.9/kernel/other.ko", "b");
    const { status, stdout } = await korral(["kernel", "info", "--json", file("root")]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      package: null,
      version: null,
      ...common,
      image,
      modules: { count: 1, compression: "zstd" },
    });
  });

  test.each<[string, number, string, () => string]>([
    ["a file that is not there", 5, "there is no such file", () => file("nowhere")],
    [
      "something else",
      5,
      "is no kernel image: give a vmlinuz (bzImage) or an ELF vmlinux",
      () => write("text", "hello"),
    ],
    ["a cut package", 5, "ends too early", () => write("cut.deb", PACKAGE.subarray(0, PACKAGE.length - 100))],
    [
      "a package without a kernel",
      5,
      "has no kernel image: boot/vmlinuz-… is missing",
      () => write("no.deb", packageOf(["./x", "x"])),
    ],
    ["an empty directory", 5, "there is no such file", () => dirname(write("empty/x", ""))],
    [
      "a directory with two kernels",
      5,
      "has several kernel images: give one of boot/vmlinuz-1, boot/vmlinuz-2",
      () => dirname(dirname([write("two/boot/vmlinuz-1", IMAGE), write("two/boot/vmlinuz-2", IMAGE)][0])),
    ],
    [
      "a package that climbs out",
      5,
      'an entry is refused: "../x" lies outside its tree',
      () => write("bad.deb", packageOf(["../x", "x"])),
    ],
    [
      "a kernel for another machine",
      4,
      "is a kernel for arm64: give one for x86-64",
      () => write("arm", vmlinuxOf(BANNER, 183)),
    ],
  ])("refuses %s", async (_, expected, message, make) => {
    const { status, stdout, stderr } = await korral(["kernel", "info", make()]);
    expect([status, stdout]).toEqual([expected, ""]);
    expect(stderr).toMatch(/^korral: .*\n$/);
    expect(stderr).toContain(message);
  });
});
