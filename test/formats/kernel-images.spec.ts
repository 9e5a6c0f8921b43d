// Debian's kernels: what comes out of an image is what the usual tools make of its payload.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { kernelBanner, openKernelImage } from "../../src/formats/vmlinuz.js";
import { isInstalled } from "../support/binutils.js";
import { type DebianKernel, debianKernel } from "../support/debian-kernel.js";

const MOST_OUTPUT = 1 << 30;
// biome-ignore format: a table
const UNPACKERS: Readonly<Record<string, readonly [tool: string, magic: number[], ...options: string[]]>> = {
  xz:   ["xz",   [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], "-dc"],
  zstd: ["zstd", [0x28, 0xb5, 0x2f, 0xfd],          "-dc", "--long=31"],
  gzip: ["gzip", [0x1f, 0x8b, 8],                   "-dc"],
  lz4:  ["lz4",  [0x02, 0x21, 0x4c, 0x18],          "-dc"],
};

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The tool is given all from the magic up to the size that stands behind the payload. */
function unpackedByTool(image: Buffer, compression: string, payloadSize: number): Buffer {
  const [tool, magic, ...options] = UNPACKERS[compression];
  const from = image.indexOf(Uint8Array.from(magic));
  const end = from + payloadSize - (compression === "gzip" ? 0 : 4);
  return execFileSync(tool, options, { input: image.subarray(from, end), maxBuffer: MOST_OUTPUT, stdio: "pipe" });
}

describe.each([
  ["6.1", "cloud-amd64"],
  ["6.12", "cloud-amd64"],
])("Debian's kernel %s %s", (series, flavour) => {
  const kernel = debianKernel(series, flavour);

  test.skipIf(typeof kernel === "string")("unpacks as the compressor's own tool unpacks it", (context) => {
    const bytes = readFileSync((kernel as DebianKernel).image);
    const image = openKernelImage(bytes, "vmlinuz");
    const compression = image.compression ?? "";
    expect(Object.keys(UNPACKERS)).toContain(compression);
    if (!isInstalled(UNPACKERS[compression][0])) context.skip(`${compression} is not installed`);
    const vmlinux = image.vmlinux();
    expect(sha256(vmlinux)).toBe(sha256(unpackedByTool(bytes, compression, image.payloadSize)));
    const release = (kernel as DebianKernel).packageName.replace("linux-image-", "");
    expect(image.version).toMatch(`${release} (`);
    expect(kernelBanner(vmlinux)).toMatch(
      new RegExp(`^Linux version ${release.replaceAll(/[.+]/g, "\\$&")} .* #\\d+ SMP `),
    );
  });
});
