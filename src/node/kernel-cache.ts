import { randomBytes } from "node:crypto";
import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { openDebianPackage } from "../formats/deb.js";
import { EnvironmentError } from "../util/errors.js";
import { readFileBytes } from "./file-bytes.js";
import { outputFileError, systemCode } from "./file-errors.js";
import { CachedKernel, keep } from "./kernel-cached.js";
import { readSealed, syncDirectory, writeDurably, writeSealed } from "./kernel-checked-file.js";
import { makeFolder, withCacheHint } from "./kernel-folder.js";
import { digestOf, identityOf } from "./kernel-identity.js";
import { ARCHIVE, readManifest } from "./kernel-manifest.js";
import { type UnpackProgress, unpackKernel } from "./kernel-unpack.js";

/** Kernels that the package client fetched, whose signatures it checked, or that were put there on purpose. */
const KERNELS = "kernels";
/** Kernels out of archives that somebody named. They are found by those archives only. */
const IMPORTED = "imported";
const UNFINISHED = ".unfinished-";
const FOLDER = /^([^_.][^_]*)_([^_]+)_[0-9a-f]{32}$/;
/** What a process that was killed has left behind is removed after this time. */
const ABANDONED_MILLISECONDS = 3_600_000;

/** A kernel's folder. */
export interface CacheEntry {
  /** Of the package. */
  readonly name: string;
  readonly version: string;
  readonly directory: string;
}

/**
 * Where kernels are kept: `KORRAL_CACHE`, else the folder `korral` of the XDG cache. Each is a folder that appears whole
 * or not at all, whoever else is at work and whenever the process ends.
 */
export class KernelCache {
  constructor(readonly directory: string) {}

  static default(environment: NodeJS.ProcessEnv = process.env): KernelCache {
    const { KORRAL_CACHE: own, XDG_CACHE_HOME: xdg } = environment;
    if (own !== undefined && own !== "") return new KernelCache(resolve(own));
    // The specification: relative paths are to be ignored.
    const base = xdg?.startsWith("/") ? xdg : join(homedir(), ".cache");
    return new KernelCache(join(base, "korral"));
  }

  /** Kernels that may be taken without being named, by what their folders are called: nothing is opened yet. */
  entries(): CacheEntry[] {
    return namesIn(join(this.directory, KERNELS)).flatMap((folder) => {
      const [, name, version] = FOLDER.exec(folder) ?? [];
      return name === undefined ? [] : [{ name, version, directory: join(this.directory, KERNELS, folder) }];
    });
  }

  /** @returns null if what is there is no whole kernel, or one of another version of Korral's */
  open({ directory }: CacheEntry): CachedKernel | null {
    return opened(directory);
  }

  /** Unpacks an archive that was fetched, or is put into the cache on purpose, unless it is there already. */
  async add(archive: string, progress: UnpackProgress): Promise<CachedKernel> {
    const bytes = readFileBytes(archive);
    const folder = folderOf(bytes, archive);
    return await this.#unpacked(join(KERNELS, folder), archive, bytes, ARCHIVE, progress);
  }

  /** The kernel in an archive that somebody names, unpacked at the first time. @throws as `unpackKernel` */
  async import(archive: string, progress: UnpackProgress): Promise<CachedKernel> {
    const path = resolve(archive);
    const memo = join(this.directory, IMPORTED, `known-${digestOf(path)}`);
    const identity = identityOf(path);
    const known = recall(memo, identity);
    const kernel = known === null ? null : opened(join(this.directory, IMPORTED, known));
    if (kernel !== null) return kernel;
    const bytes = readFileBytes(path);
    const folder = folderOf(bytes, archive);
    const made = await this.#unpacked(join(IMPORTED, folder), archive, bytes, path, progress);
    keep(() => writeSealed(memo, new TextEncoder().encode(JSON.stringify([identity, folder]))));
    return made;
  }

  async #unpacked(
    place: string,
    name: string,
    bytes: Uint8Array,
    archive: string,
    progress: UnpackProgress,
  ): Promise<CachedKernel> {
    const directory = join(this.directory, place);
    const kernel = opened(directory);
    if (kernel !== null) return kernel;
    const parent = dirname(directory);
    removeAbandoned(parent);
    const scratch = join(parent, `${UNFINISHED}${randomBytes(8).toString("hex")}`);
    const remove = () => {
      if (existsSync(scratch)) rmSync(scratch, { recursive: true, force: true });
    };
    process.on("exit", remove);
    try {
      makeFolder(scratch);
      if (archive === ARCHIVE) writeDurably(join(scratch, ARCHIVE), bytes);
      await unpackKernel({ bytes, name, path: archive }, scratch, progress);
      return moved(scratch, directory);
    } catch (error) {
      throw withCacheHint(error);
    } finally {
      process.off("exit", remove);
      remove();
    }
  }
}

/** `linux-image-6.1.0-56-amd64_6.1.192-2_` and what tells archives of the same name apart. */
function folderOf(archive: Uint8Array, name: string): string {
  const { fields } = openDebianPackage(archive, name);
  const plain = (field: string) => (fields.get(field) ?? "").replace(/[^\w.+~-]|_/g, "-").slice(0, 80) || "unnamed";
  return `${plain("Package")}_${plain("Version")}_${digestOf(archive)}`;
}

/** Puts a whole kernel in its place. Of two that were unpacked at once the first stays. */
function moved(scratch: string, directory: string): CachedKernel {
  // What is there and cannot be opened is damaged, or of another version of Korral.
  if (existsSync(directory) && opened(directory) === null) rmSync(directory, { recursive: true, force: true });
  try {
    renameSync(scratch, directory);
    syncDirectory(dirname(directory));
  } catch (error) {
    if (systemCode(error) !== "ENOTEMPTY" && systemCode(error) !== "EEXIST") throw outputFileError(directory, error);
  }
  const kernel = opened(directory);
  if (kernel !== null) return kernel;
  throw new EnvironmentError("cache-changed", `${directory} was removed meanwhile: run the command again`);
}

function opened(directory: string): CachedKernel | null {
  const manifest = readManifest(directory);
  return manifest === null ? null : new CachedKernel(directory, manifest);
}

function removeAbandoned(parent: string): void {
  for (const name of namesIn(parent)) {
    const path = join(parent, name);
    const since = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
    if (name.startsWith(UNFINISHED) && Date.now() - since > ABANDONED_MILLISECONDS) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

/** Sorted; none if there is no such folder. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return [];
  }
}

function recall(memo: string, identity: string): string | null {
  const bytes = readSealed(memo);
  if (bytes === null) return null;
  const [known, key]: [string, string] = JSON.parse(new TextDecoder().decode(bytes));
  return known === identity ? key : null;
}
