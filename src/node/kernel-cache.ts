import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { readFileBytes } from "./file-bytes.js";
import { inputFileError, outputFileError, systemCode } from "./file-errors.js";
import { CachedKernel } from "./kernel-cached.js";
import { readSealed, syncDirectory, writeDurably, writeSealed } from "./kernel-checked-file.js";
import { ARCHIVE, readManifest } from "./kernel-manifest.js";
import { type UnpackProgress, unpackKernel } from "./kernel-unpack.js";

/** Kernels that the package client fetched, whose signatures it checked, or that were put there on purpose. */
const KERNELS = "kernels";
/** Kernels out of archives that somebody named. They are found by those archives only. */
const IMPORTED = "imported";
const UNFINISHED = ".unfinished-";
/** What a process that was killed has left behind is removed after this time. */
const ABANDONED_MILLISECONDS = 3_600_000;

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

  /** Kernels that may be taken without being named. */
  kernels(): CachedKernel[] {
    const found: CachedKernel[] = [];
    for (const name of namesIn(join(this.directory, KERNELS))) {
      const kernel = name.startsWith(".") ? null : opened(join(this.directory, KERNELS, name));
      if (kernel !== null) found.push(kernel);
    }
    return found;
  }

  /** Unpacks an archive that was fetched, or is put into the cache on purpose, unless it is there already. */
  async add(archive: string, progress: UnpackProgress): Promise<CachedKernel> {
    const bytes = readFileBytes(archive);
    return await this.#unpacked(join(KERNELS, digest(bytes)), archive, bytes, ARCHIVE, progress);
  }

  /** The kernel in an archive that somebody names, unpacked at the first time. @throws as `unpackKernel` */
  async import(archive: string, progress: UnpackProgress): Promise<CachedKernel> {
    const path = resolve(archive);
    const memo = join(this.directory, IMPORTED, `known-${digest(new TextEncoder().encode(path))}`);
    const identity = identityOf(path);
    const known = recall(memo, identity);
    const kernel = known === null ? null : opened(join(this.directory, IMPORTED, known));
    if (kernel !== null) return kernel;
    const bytes = readFileBytes(path);
    const key = digest(bytes);
    const made = await this.#unpacked(join(IMPORTED, key), archive, bytes, path, progress);
    writeSealed(memo, new TextEncoder().encode(JSON.stringify([identity, key])));
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
    const parent = join(directory, "..");
    makeDirectory(parent);
    removeAbandoned(parent);
    const scratch = join(parent, `${UNFINISHED}${randomBytes(8).toString("hex")}`);
    const remove = () => rmSync(scratch, { recursive: true, force: true });
    process.on("exit", remove);
    try {
      makeDirectory(scratch);
      if (archive === ARCHIVE) writeDurably(join(scratch, ARCHIVE), bytes);
      await unpackKernel({ bytes, name, path: archive }, scratch, progress);
      return moved(scratch, directory);
    } finally {
      process.off("exit", remove);
      remove();
    }
  }
}

/** Puts a whole kernel in its place. Of two that were unpacked at once the first stays. */
function moved(scratch: string, directory: string): CachedKernel {
  // What is there and cannot be opened is damaged, or of another version of Korral.
  if (existsSync(directory) && opened(directory) === null) rmSync(directory, { recursive: true, force: true });
  try {
    renameSync(scratch, directory);
    syncDirectory(join(directory, ".."));
  } catch (error) {
    if (systemCode(error) !== "ENOTEMPTY" && systemCode(error) !== "EEXIST") throw outputFileError(directory, error);
  }
  const kernel = opened(directory);
  if (kernel === null) throw outputFileError(directory, new Error("a kernel vanished as it was unpacked"));
  return kernel;
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

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw outputFileError(path, error);
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

/** What changes when a file does. */
function identityOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
  } catch (error) {
    throw inputFileError(path, error);
  }
}

function recall(memo: string, identity: string): string | null {
  const bytes = readSealed(memo);
  if (bytes === null) return null;
  const [known, key]: [string, string] = JSON.parse(new TextDecoder().decode(bytes));
  return known === identity ? key : null;
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 32);
}
