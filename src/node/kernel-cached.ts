import { dirname, join, resolve } from "node:path";
import { openKernelImage } from "../formats/vmlinuz.js";
import type { KernelFiles } from "../linux/kernel-package.js";
import { EnvironmentError, KorralError } from "../util/errors.js";
import { checkOf, type FileCheck, readChecked, readSealed, replaceFile, writeSealed } from "./kernel-checked-file.js";
import { makeFolder } from "./kernel-folder.js";
import { type KernelManifest, VMLINUX } from "./kernel-manifest.js";
import { unpackFile } from "./kernel-unpack.js";

export const BUILTIN_INFO = "modules.builtin.modinfo";
const utf8 = new TextDecoder();

/** A kernel unpacked in the cache. What is not as it was written there is made again from its archive. */
export class CachedKernel implements KernelFiles {
  constructor(
    /** The folder that the kernel has to itself. */
    readonly directory: string,
    readonly manifest: KernelManifest,
  ) {}

  get name(): string {
    return this.manifest.package;
  }

  get release(): string {
    return this.manifest.release;
  }

  get modulePaths(): readonly string[] {
    return [...this.manifest.files.keys()];
  }

  vmlinux(): Uint8Array {
    const path = join(this.directory, VMLINUX);
    return (
      readChecked(path, this.manifest.vmlinux) ??
      this.#remade(path, this.manifest.vmlinux, () => {
        return openKernelImage(this.read(this.manifest.image), `${this.manifest.image} of ${this.name}`).vmlinux();
      })
    );
  }

  config(): string | null {
    return this.manifest.config === null ? null : utf8.decode(this.read(this.manifest.config));
  }

  builtinInfo(): Uint8Array | null {
    const path = this.modulePaths.find((one) => one.endsWith(`/${BUILTIN_INFO}`));
    return path === undefined ? null : this.read(path);
  }

  read(path: string): Uint8Array {
    const check = this.manifest.files.get(path);
    if (check === undefined) throw new RangeError(`${this.name} has no file ${path}`);
    const file = join(this.directory, path);
    return readChecked(file, check) ?? this.#remade(file, check, () => unpackFile(this.#archive(), this.name, path));
  }

  derived(key: string, make: () => Uint8Array, isUsable?: (bytes: Uint8Array) => boolean): Uint8Array {
    return keptOrMade(join(this.directory, `derived-${key}`), make, isUsable);
  }

  #archive(): Uint8Array {
    const { archive } = this.manifest;
    const bytes = readChecked(resolve(this.directory, archive.path), archive);
    if (bytes === null) throw this.#damaged("and so is the archive that it came from");
    return bytes;
  }

  #remade(path: string, check: FileCheck, make: () => Uint8Array | null): Uint8Array {
    const bytes = make();
    if (bytes === null) throw this.#damaged("and its archive does not hold it");
    const made = checkOf(bytes);
    if (made.size !== check.size || made.crc !== check.crc) throw this.#damaged("and making it again gives another");
    keep(() => replaceFile(path, bytes));
    return bytes;
  }

  #damaged(why: string): EnvironmentError {
    return new EnvironmentError(
      "cache-damaged",
      `a file of ${this.name} in the cache is damaged, ${why}: remove ${this.directory}, and run the command again`,
    );
  }
}

/** What `make` makes, kept in a file for the next time. @param isUsable whether what is there is to be taken */
export function keptOrMade(
  path: string,
  make: () => Uint8Array,
  isUsable: (bytes: Uint8Array) => boolean = () => true,
): Uint8Array {
  const kept = readSealed(path);
  if (kept !== null && isUsable(kept)) return kept;
  const made = make();
  keep(() => {
    makeFolder(dirname(path));
    writeSealed(path, made);
  });
  return made;
}

/** A cache that cannot be written to, for want of room or of permission, costs time and nothing else. */
export function keep(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof KorralError)) throw error;
  }
}
