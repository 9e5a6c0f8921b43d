import { execFileSync } from "node:child_process";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { isInstalled } from "../../test/support/binutils.js";
import { bzImageOf, vmlinuxOf, withSize } from "../../test/support/bzimage.js";
import { InputError, UnsupportedError } from "../util/errors.js";
import { kernelBanner, openKernelImage } from "./vmlinuz.js";

const BANNER = "Linux version 1.2.3-4-test (nobody) #1 SMP";
const vmlinux = vmlinuxOf();
const gzipped = new Uint8Array(gzipSync(vmlinux));

const open = (bytes: Uint8Array) => openKernelImage(bytes, "vmlinuz");

describe("a kernel image", () => {
  test("that is an ELF file already is left alone", () => {
    const image = open(vmlinux);
    expect(image).toMatchObject({ kind: "vmlinux", version: undefined, compression: undefined, payloadSize: 4096 });
    expect(image.vmlinux()).toBe(vmlinux);
  });

  test("of one setup sector says what it is, and unpacks", () => {
    const image = open(bzImageOf({ payload: gzipped }));
    expect(image).toMatchObject({ kind: "bzImage", version: "1.2.3-4-test (nobody) #1 SMP", compression: "gzip" });
    expect(image.payloadSize).toBe(gzipped.length);
    expect(image.vmlinux()).toEqual(vmlinux);
  });

  test("may have a payload that is not compressed", () => {
    const image = open(bzImageOf({ payload: vmlinux }));
    expect(image.compression).toBeUndefined();
    expect(image.vmlinux()).toEqual(vmlinux);
  });

  test.each([
    ["xz", ["--check=crc32", "--x86", "--lzma2=dict=32MiB", "-c"]],
    ["zstd", ["-19", "-c"]],
    ["lz4", ["-l", "-9", "-c"]],
  ])("packed with %s unpacks too", (tool, options) => {
    if (!isInstalled(tool)) return;
    const packed = execFileSync(tool, options, { input: vmlinux, stdio: "pipe" });
    const image = open(bzImageOf({ payload: withSize(packed, vmlinux.length) }));
    expect(image.compression).toBe(tool);
    expect(image.vmlinux()).toEqual(vmlinux);
    const wrong = open(bzImageOf({ payload: withSize(packed, 4097) }));
    expect(() => wrong.vmlinux()).toThrow("vmlinuz is damaged: its payload unpacks to 4096 bytes, not to 4097");
  });

  test("does not unpack beyond the limit", () => {
    expect(() => open(bzImageOf({ payload: gzipped })).vmlinux(4095)).toThrow(
      "the payload of vmlinuz unpacks to more than 4095 bytes",
    );
  });

  test("whose payload leaves the file is truncated", () => {
    for (const wrong of [{ payloadLength: gzipped.length + 1 }, { payloadOffset: 1 }, { payloadLength: 0xffffffff }]) {
      expect(() => open(bzImageOf({ payload: gzipped, ...wrong }))).toThrow(
        "vmlinuz is truncated: its payload ends at byte",
      );
    }
  });

  test("whose payload is of no kind that is known is unsupported", () => {
    for (const payload of [new Uint8Array(0), Uint8Array.of(1, 2, 3), new Uint8Array(100)]) {
      expect(() => open(bzImageOf({ payload })).vmlinux()).toThrow(UnsupportedError);
    }
  });

  test("whose payload is no ELF file is damaged", () => {
    const payload = new Uint8Array(gzipSync(new Uint8Array(100)));
    expect(() => open(bzImageOf({ payload })).vmlinux()).toThrow("what its payload unpacks to is no ELF image");
  });

  test.each([
    ["i386 by its flags", bzImageOf({ payload: gzipped, xloadflags: 0 }), "i386"],
    ["arm64 by its ELF header", vmlinuxOf(BANNER, 183), "arm64"],
    ["a machine without a name", vmlinuxOf(BANNER, 77), "ELF machine 77"],
    [
      "arm64 by its boot image",
      new Uint8Array(4096).fill(0x41, 56, 57).fill(0x52, 57, 58).fill(0x4d, 58, 59).fill(0x64, 59, 60),
      "arm64",
    ],
  ])("for %s is unsupported", (_, bytes, machine) => {
    expect(() => open(bytes)).toThrow(UnsupportedError);
    expect(() => open(bytes)).toThrow(`vmlinuz is a kernel for ${machine}: give one for x86-64 (amd64)`);
  });

  test("for another machine inside is unsupported", () => {
    const payload = new Uint8Array(gzipSync(vmlinuxOf(BANNER, 3)));
    expect(() => open(bzImageOf({ payload })).vmlinux()).toThrow("vmlinuz is a kernel for i386");
  });

  test("of an old boot protocol is unsupported, by its number", () => {
    expect(() => open(bzImageOf({ payload: gzipped, protocol: 0x207 }))).toThrow("follows boot protocol 2.07: 2.08 is");
  });

  test("is refused if it is something else", () => {
    for (const bytes of [new Uint8Array(0), new Uint8Array(5000), gzipped, vmlinux.subarray(0, 63)]) {
      expect(() => open(bytes)).toThrow(InputError);
    }
  });

  test("is refused wherever it is cut", () => {
    const whole = bzImageOf({ payload: gzipped });
    for (let length = 0; length < whole.length; length++) {
      expect(() => open(whole.subarray(0, length)).vmlinux(), `${length} bytes`).toThrow(InputError);
    }
  });
});

describe("the banner", () => {
  test("is found behind formats that print one", () => expect(kernelBanner(vmlinux)).toBe(BANNER));

  test("without the build's number is the second choice", () => {
    const early = new TextEncoder().encode("Linux version 1.2.3 (nobody) # SMP\n");
    expect(kernelBanner(early)).toBe("Linux version 1.2.3 (nobody) # SMP");
    expect(kernelBanner(new Uint8Array(Buffer.concat([early, vmlinux])))).toBe(BANNER);
  });

  test("may be missing", () => {
    expect(kernelBanner(new Uint8Array(100))).toBeUndefined();
    expect(kernelBanner(new TextEncoder().encode("Linux version"))).toBeUndefined();
  });
});
