import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { isDebianPackage, openDebianPackage } from "../formats/deb.js";
import { type KernelImage, kernelBanner, openKernelImage } from "../formats/vmlinuz.js";
import { readFileBytes } from "../node/file-bytes.js";
import { inputFileError } from "../node/file-errors.js";
import { CachedKernel } from "../node/kernel-cached.js";
import { flavourOf } from "../node/kernel-reference.js";
import { isKernelPath, KernelStore } from "../node/kernel-store.js";
import { EnvironmentError, InputError } from "../util/errors.js";

/** What `korral kernel info` prints; null where there is no such thing. */
export interface KernelInfo {
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
  /** Of a kernel at hand: where it is kept. */
  readonly directory: string | null;
}

/** The parts that a reference leads to. */
interface Found {
  readonly package?: string | undefined;
  readonly version?: string | undefined;
  readonly image: Uint8Array;
  readonly imageName: string;
  /** Names of the modules' files. */
  readonly modules?: readonly string[];
  readonly directory?: string | undefined;
}

const IMAGE = /^vmlinu[xz]-/;
const MODULE = /\.ko(?:\.(xz|zst|gz))?$/;
const MODULE_COMPRESSION: Readonly<Record<string, string>> = { xz: "xz", zst: "zstd", gz: "gzip" };

/**
 * Of a kernel at hand: of the one that would be taken if there is no reference.
 * @returns null if the reference is one to a file or folder
 * @throws InputError if there is none; nothing is fetched
 */
export function kernelInfoAtHand(ref: string | undefined): KernelInfo | null {
  const store = new KernelStore();
  if (ref === "-" || (ref !== undefined && isKernelPath(ref))) return null;
  const kernel = store.atHand(ref);
  if (kernel === null) {
    throw new EnvironmentError(
      "kernel-missing",
      `${ref === undefined ? "no kernel" : `no kernel ${JSON.stringify(ref)}`} is at hand: korral kernel fetch ${ref ?? ""}`.trim() +
        " gets one",
    );
  }
  if (!(kernel instanceof CachedKernel)) {
    const { places } = kernel;
    const image = readFileBytes(places.image);
    const modules = kernel.modulePaths;
    return infoOf({ image, imageName: places.image, modules, directory: places.modules ?? undefined });
  }
  const { manifest, directory } = kernel;
  return infoOf({
    package: manifest.package,
    version: manifest.version,
    image: kernel.read(manifest.image),
    imageName: `${manifest.image} of ${manifest.package}`,
    modules: kernel.modulePaths.filter((path) => MODULE.test(path)),
    directory,
  });
}

/** Of a file, of standard input (`-`), or of a folder. @throws InputError, UnsupportedError */
export function kernelInfo(ref: string): KernelInfo {
  return infoOf(find(ref));
}

function infoOf(found: Found): KernelInfo {
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
    directory: found.directory ?? null,
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

function summaryOf(modules: readonly string[]): KernelInfo["modules"] {
  const kinds = new Set(modules.map((name) => MODULE_COMPRESSION[MODULE.exec(name)?.[1] ?? ""] ?? "none"));
  return { count: modules.length, compression: kinds.size === 0 ? null : [...kinds].sort().join(", ") };
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
