import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { isDebianPackage, openDebianPackage } from "../formats/deb.js";
import { type KernelImage, kernelBanner, openKernelImage } from "../formats/vmlinuz.js";
import { readFileBytes } from "../node/file-bytes.js";
import { inputFileError } from "../node/file-errors.js";
import { InputError } from "../util/errors.js";
import { stdout } from "./output.js";
import { printable } from "./printable.js";

/** What a `korral kernel info` prints; null where there is no such thing. */
interface KernelInfo {
  readonly package: string | null;
  readonly version: string | null;
  readonly release: string | null;
  /** As in /proc/version. */
  readonly banner: string | null;
  readonly flavour: string | null;
  readonly architecture: string;
  readonly image: {
    readonly kind: KernelImage["kind"];
    readonly compression: string;
    readonly size: number;
    readonly unpackedSize: number;
  };
  readonly modules: { readonly count: number; readonly compression: string | null } | null;
}

/** The parts that a reference leads to. */
interface Found {
  readonly package?: string | undefined;
  readonly version?: string | undefined;
  readonly image: Uint8Array;
  readonly imageName: string;
  /** Names of the modules' files. */
  readonly modules?: readonly string[];
}

const IMAGE = /^vmlinu[xz]-/;
const MODULE = /\.ko(?:\.(xz|zst|gz))?$/;
const MODULE_COMPRESSION: Readonly<Record<string, string>> = { xz: "xz", zst: "zstd", gz: "gzip" };

export function addKernel(program: Command): void {
  const kernel = program.command("kernel").description("Kernels: what they are.");
  kernel
    .command("info")
    .description("Show what a kernel is: its release, image, modules and how they are compressed.")
    .argument("<ref>", "a linux-image .deb, a vmlinuz or vmlinux, or a directory with boot/ and lib/modules/")
    .option("--json", "print one JSON document")
    .action((ref: string, options: { json?: true }) => {
      const info = kernelInfo(ref);
      stdout(options.json === true ? `${JSON.stringify(info)}\n` : text(info));
    });
}

function kernelInfo(ref: string): KernelInfo {
  const found = find(ref);
  const image = openKernelImage(found.image, found.imageName);
  const vmlinux = image.vmlinux();
  const banner = kernelBanner(vmlinux);
  const release = (image.version ?? banner?.slice("Linux version ".length))?.split(" ")[0];
  return {
    package: found.package ?? null,
    version: found.version ?? null,
    release: release ?? null,
    banner: banner ?? null,
    flavour: release === undefined ? null : flavourOf(release),
    architecture: "x86-64",
    image: {
      kind: image.kind,
      compression: image.compression ?? "none",
      size: found.image.length,
      unpackedSize: vmlinux.length,
    },
    modules: found.modules === undefined ? null : summaryOf(found.modules),
  };
}

function find(ref: string): Found {
  if (ref !== "-" && isDirectory(ref)) return findInDirectory(ref);
  const name = ref === "-" ? "standard input" : ref;
  const bytes = readFileBytes(ref);
  return isDebianPackage(bytes) ? findInPackage(bytes, name) : { image: bytes, imageName: name };
}

function findInPackage(bytes: Uint8Array, name: string): Found {
  const archive = openDebianPackage(bytes, name);
  const images: { path: string; bytes: Uint8Array }[] = [];
  const modules: string[] = [];
  for (const entry of archive.entries()) {
    if (entry.kind !== "file") continue;
    const folder = entry.path.slice(0, entry.path.lastIndexOf("/") + 1);
    if (MODULE.test(entry.path)) modules.push(entry.path);
    else if (folder === "boot/" && IMAGE.test(entry.path.slice(folder.length))) {
      images.push({ path: entry.path, bytes: entry.read() });
    }
  }
  const { path, bytes: image } = only(images, name, (one) => one.path);
  const { fields } = archive;
  return {
    package: fields.get("Package"),
    version: fields.get("Version"),
    image,
    imageName: `${path} of ${name}`,
    modules,
  };
}

function findInDirectory(directory: string): Found {
  const boot = join(directory, "boot");
  const images = namesIn(boot).filter((name) => IMAGE.test(name));
  const image = join(
    boot,
    only(images, directory, (name) => join("boot", name)),
  );
  const release = image.slice(image.indexOf("-", boot.length) + 1);
  const folder = ["lib/modules", "usr/lib/modules"]
    .map((place) => join(directory, place, release))
    .find((place) => isDirectory(place));
  const modules = folder === undefined ? [] : namesIn(folder, true).filter((name) => MODULE.test(name));
  return { image: readFileBytes(image), imageName: image, modules };
}

function only<T>(images: readonly T[], where: string, nameOf: (image: T) => string): T {
  if (images.length === 1) return images[0];
  if (images.length === 0) {
    throw new InputError("kernel-missing", `${where} has no kernel image: boot/vmlinuz-… is missing`);
  }
  const names = images.map(nameOf).join(", ");
  throw new InputError("kernel-ambiguous", `${where} has several kernel images: give one of ${names}`);
}

/** `cloud-amd64` of `6.12.115+deb12-cloud-amd64`: what follows the version, with or without an ABI number. */
function flavourOf(release: string): string | null {
  return /^\d[\w.+~]*(?:-\d[\w.]*)*-([a-z].*)$/.exec(release)?.[1] ?? null;
}

function summaryOf(modules: readonly string[]): KernelInfo["modules"] {
  const kinds = new Set(modules.map((name) => MODULE_COMPRESSION[MODULE.exec(name)?.[1] ?? ""] ?? "none"));
  return { count: modules.length, compression: kinds.size === 0 ? null : [...kinds].sort().join(", ") };
}

function text(info: KernelInfo): string {
  const { image, modules } = info;
  const lines: [string, string | null][] = [
    ["package", info.package],
    ["version", info.version],
    ["release", info.release],
    ["flavour", info.flavour],
    ["architecture", info.architecture],
    ["banner", info.banner],
    ["image", `${image.kind}, ${image.size} bytes, ${image.unpackedSize} unpacked, compression ${image.compression}`],
    ["modules", modules === null ? null : `${modules.count}, compression ${modules.compression ?? "-"}`],
  ];
  return lines.map(([key, value]) => `${`${key}:`.padEnd(14)}${value === null ? "-" : printable(value)}\n`).join("");
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function namesIn(directory: string, recursive = false): string[] {
  try {
    return readdirSync(directory, { recursive, encoding: "utf8" }).sort();
  } catch (error) {
    throw inputFileError(directory, error);
  }
}
