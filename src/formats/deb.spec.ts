import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import seeds from "../../test/fuzz/compressed-seeds.json" with { type: "json" };
import { arOf, tarOf } from "../../test/support/tar-writer.js";
import { UnsupportedError } from "../util/errors.js";
import { isDebianPackage, openDebianPackage } from "./deb.js";

const control = tarOf([
  { name: "./", type: "5" },
  { name: "./control", content: "Package: tiny\nVersion: 1-2\nDescription: a package\n of two lines\n" },
]);
const data = tarOf([{ name: "./boot/vmlinuz-1", content: "kernel" }]);

function packageOf(...members: [string, string | Uint8Array][]) {
  return openDebianPackage(arOf(members), "a.deb");
}

describe("a Debian package", () => {
  test("as dpkg-deb builds it has fields and entries", () => {
    const archive = openDebianPackage(new Uint8Array(Buffer.from(seeds["p.deb"], "base64")), "p.deb");
    expect([...archive.fields]).toEqual([
      ["Package", "tiny"],
      ["Version", "1-2"],
      ["Architecture", "amd64"],
      ["Maintainer", "nobody <nobody@example.org>"],
      ["Description", "a package\nof two lines"],
    ]);
    const plain = new Uint8Array(Buffer.from(seeds.plain, "base64"));
    for (let time = 0; time < 2; time++) {
      const found = [];
      for (const entry of archive.entries()) {
        found.push([entry.kind, entry.path, entry.target]);
        if (entry.kind === "file") expect(entry.read()).toEqual(plain);
      }
      expect(found).toEqual([
        ["directory", "", undefined],
        ["directory", "boot", undefined],
        ["file", "boot/plain", undefined],
        ["hardlink", "boot/twin", "boot/plain"],
        ["directory", "lib", undefined],
        ["directory", "lib/modules", undefined],
        ["directory", "lib/modules/1", undefined],
        ["directory", `lib/modules/1/${"long-".repeat(30)}`, undefined],
        ["symlink", "lib/link", "boot/plain"],
      ]);
    }
  });

  test("may have its archives compressed or not, and members of no interest", () => {
    for (const [suffix, pack] of [
      ["", (bytes: Uint8Array) => bytes],
      [".gz", gzipSync],
    ] as const) {
      const archive = packageOf(
        ["debian-binary", "2.0\n"],
        ["_odd", "x"],
        [`control.tar${suffix}`, pack(control)],
        [`data.tar${suffix}`, pack(data)],
      );
      expect(archive.fields.get("Package")).toBe("tiny");
      expect([...archive.entries()].map(({ path, size }) => [path, size])).toEqual([["boot/vmlinuz-1", 6]]);
    }
  });

  test("is told from other files", () => {
    expect(isDebianPackage(arOf([]))).toBe(true);
    expect(isDebianPackage(data)).toBe(false);
    expect(() => openDebianPackage(data, "x.tar")).toThrow("x.tar is no ar archive: give a Debian package (.deb)");
  });

  test("is refused if a part is missing", () => {
    expect(() => packageOf()).toThrow("a.deb is no Debian package: it has no debian-binary");
    expect(() => packageOf(["debian-binary", "2.0\n"], ["control.tar", control])).toThrow(
      "a.deb is damaged: it has no data.tar",
    );
    expect(() => packageOf(["debian-binary", "2.0\n"], ["data.tar", data])).toThrow(
      "a.deb is damaged: it has no control.tar",
    );
    expect(() => packageOf(["debian-binary", "2.0\n"], ["data.tar", data], ["control.tar", data])).toThrow(
      "control.tar of a.deb has no file named control",
    );
  });

  test("of a later format is not supported", () => {
    expect(() => packageOf(["debian-binary", "3.0\n"])).toThrow(UnsupportedError);
  });

  test("does not unpack beyond the limit", () => {
    const archive = packageOf(["debian-binary", "2.0\n"], ["control.tar", control], ["data.tar.gz", gzipSync(data)]);
    expect(() => [...archive.entries(1023)]).toThrow("data.tar.gz of a.deb unpacks to more than 1023 bytes");
  });

  test("is refused if cut", () => {
    const whole = arOf([
      ["debian-binary", "2.0\n"],
      ["control.tar", control],
      ["data.tar", data],
    ]);
    for (let length = 8; length < whole.length; length += 7) {
      expect(() => [...openDebianPackage(whole.subarray(0, length), "a.deb").entries()], `${length}`).toThrow(
        /ends too early|it has no/,
      );
    }
  });
});
