import { type Dirent, existsSync, readdirSync, realpathSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { openKernelImage } from "../formats/vmlinuz.js";
import type { KernelFiles } from "../linux/kernel-package.js";
import { InputError } from "../util/errors.js";
import { readFileBytes } from "./file-bytes.js";
import { inputFileError, outputFileError, systemCode } from "./file-errors.js";
import { BUILTIN_INFO, keep, keptOrMade } from "./kernel-cached.js";
import { digestOf, identityOf } from "./kernel-identity.js";
import { newestFirst } from "./kernel-reference.js";

const utf8 = new TextDecoder();
const IMAGE = /^vmlinu[xz]-(.+)$/;
const MODULE = /\.ko(?:\.(?:xz|zst|gz))?$/;
const MODULE_FOLDERS = ["lib/modules", "usr/lib/modules"];

/** Where the parts of an installed or unpacked kernel are. */
export interface KernelPlaces {
  readonly release: string;
  readonly image: string;
  /** Its folder of modules, null if it has none. */
  readonly modules: string | null;
  /** null if it has none. */
  readonly config: string | null;
}

/** A kernel whose files stay where somebody else put them. What is made of them is kept as long as they don't change. */
export class DirectoryKernel implements KernelFiles {
  #modulePaths: readonly string[] | null = null;

  constructor(
    readonly name: string,
    readonly places: KernelPlaces,
    /** The folder for what is made of its files. */
    private readonly made: string,
  ) {}

  get release(): string {
    return this.places.release;
  }

  get modulePaths(): readonly string[] {
    this.#modulePaths ??= this.places.modules === null ? [] : modulesBelow(this.places.modules);
    return this.#modulePaths;
  }

  vmlinux(): Uint8Array {
    const { image } = this.places;
    const identity = digestOf(identityOf(image));
    return this.#kept("vmlinux", identity, () => openKernelImage(readFileBytes(image), image).vmlinux());
  }

  config(): string | null {
    return this.places.config === null ? null : utf8.decode(readFileBytes(this.places.config));
  }

  builtinInfo(): Uint8Array | null {
    const path = this.#file(BUILTIN_INFO);
    return isFile(path) ? readFileBytes(path) : null;
  }

  read(path: string): Uint8Array {
    return readFileBytes(this.#file(path));
  }

  derived(key: string, make: () => Uint8Array, isUsable?: (bytes: Uint8Array) => boolean): Uint8Array {
    const files = [this.places.image, ...this.modulePaths.map((path) => this.#file(path))];
    const identity = digestOf(files.map((file) => `${file} ${identityOf(file)}\n`).join(""));
    return this.#kept(`derived-${key}`, identity, make, isUsable);
  }

  /** What was made of files that have changed since then is removed. */
  #kept(key: string, identity: string, make: () => Uint8Array, isUsable?: (bytes: Uint8Array) => boolean): Uint8Array {
    const remake = (): Uint8Array => {
      const made = make();
      for (const name of existsSync(this.made) ? readdirSync(this.made) : []) {
        if (name.startsWith(`${key}.`)) keep(() => removeFile(join(this.made, name)));
      }
      return made;
    };
    return keptOrMade(join(this.made, `${key}.${identity}`), remake, isUsable);
  }

  #file(path: string): string {
    return join(this.places.modules ?? "", path);
  }
}

/**
 * The kernel that a folder holds.
 * @param directory with `boot/` and `lib/modules/`, or a release's folder in `lib/modules/`
 * @throws InputError if there is none in it, or more than one
 */
export function kernelPlacesIn(directory: string): KernelPlaces {
  const found = kernelsBelow(directory);
  if (found.length === 1) return found[0];
  if (found.length > 1) {
    const names = found.map(({ image }) => relative(directory, image)).join(", ");
    throw new InputError("kernel-ambiguous", `${directory} has several kernel images: give one of ${names}`);
  }
  const installed = kernelPlacesOf(resolve(directory));
  if (installed !== null) return installed;
  throw new InputError(
    "kernel-missing",
    `${directory} has no kernel image: boot/vmlinuz-… is missing. Give a folder with boot/ and lib/modules/`,
  );
}

/** The kernels of a system or an unpacked package, the newest release last; none if there is no `boot/` to be read. */
export function kernelsBelow(root: string): KernelPlaces[] {
  const boot = join(root, "boot");
  return namesIn(boot).flatMap((name) => {
    const release = IMAGE.exec(name)?.[1];
    return release === undefined ? [] : [placesAt(root, release, join(boot, name))];
  });
}

/** Of a system: in its `boot/`, or beside the modules. The newest release last. @throws InputError if one cannot be read */
export function installedKernels(root: string): KernelPlaces[] {
  const found = new Map(kernelsBelow(root).map((places) => [places.release, places]));
  for (const release of namesIn(join(root, "lib/modules"))) {
    const places = found.has(release) ? null : kernelPlacesOf(join(root, "lib/modules", release));
    if (places !== null) found.set(release, places);
  }
  return [...found.values()].sort((a, b) => newestFirst(b.release, a.release));
}

/** The parts that go with the path of an image. */
export function kernelPlacesAt(image: string): KernelPlaces {
  const path = resolve(image);
  const release = IMAGE.exec(basename(path))?.[1] ?? basename(dirname(path));
  return placesAt(join(dirname(path), ".."), release, path);
}

/** Of a folder in `lib/modules/`: some distributions keep the image with the modules, others in `/boot`. */
function kernelPlacesOf(directory: string): KernelPlaces | null {
  const release = basename(directory);
  const root = resolve(directory, "../../..", basename(resolve(directory, "../../..")) === "usr" ? ".." : ".");
  const images = [join(directory, "vmlinuz"), join(directory, "vmlinux"), join(root, "boot", `vmlinuz-${release}`)];
  const image = images.find(isFile);
  const config = [join(directory, "config"), join(root, "boot", `config-${release}`)].find(isFile) ?? null;
  return image === undefined ? null : { release, image, modules: directory, config };
}

function placesAt(root: string, release: string, image: string): KernelPlaces {
  const modules = MODULE_FOLDERS.map((folder) => join(root, folder, release)).find(isDirectory) ?? null;
  const config = join(dirname(image), `config-${release}`);
  return { release, image, modules, config: isFile(config) ? config : null };
}

function modulesBelow(directory: string): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { recursive: true, withFileTypes: true, encoding: "utf8" });
  } catch (error) {
    throw inputFileError(directory, error);
  }
  return entries
    .filter((entry) => entry.isFile() && MODULE.test(entry.name))
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)))
    .sort();
}

function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (error) {
    throw outputFileError(path, error);
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort((a, b) => newestFirst(b, a));
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return [];
    throw inputFileError(directory, error);
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** Where what is made of a folder's kernel is kept. */
export function madeFolder(cache: string, places: KernelPlaces): string {
  return join(cache, "made", digestOf(realpathSync(places.image)));
}
