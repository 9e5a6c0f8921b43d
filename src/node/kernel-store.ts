import { rmSync, statSync } from "node:fs";
import { release as runningRelease } from "node:os";
import { basename, join } from "node:path";
import { openKernelImage } from "../formats/vmlinuz.js";
import { KernelPackage } from "../linux/kernel-package.js";
import { EnvironmentError, InputError, KorralError } from "../util/errors.js";
import { readFileBytes } from "./file-bytes.js";
import { Apt } from "./kernel-apt.js";
import { type CacheEntry, KernelCache } from "./kernel-cache.js";
import type { CachedKernel } from "./kernel-cached.js";
import {
  DirectoryKernel,
  installedKernels,
  isDirectory,
  type KernelPlaces,
  kernelPlacesAt,
  kernelPlacesIn,
  madeFolder,
} from "./kernel-directory.js";
import { withLock } from "./kernel-lock.js";
import { type KernelProgress, silent } from "./kernel-progress.js";
import { DEFAULT_WISHES, grants, type KernelWish, kernelWish, newestFirst } from "./kernel-reference.js";

export interface KernelStoreOptions {
  /** `KernelCache.default()` unless given. */
  readonly cache?: KernelCache;
  /** Where the system's own kernels are: the root of the file system unless given. */
  readonly root?: string;
  readonly progress?: KernelProgress;
}

/**
 * Opens a kernel: the one that `ref` names, else what is at hand, else a fetched one.
 * @param ref a series (`6.12`, `6.1-cloud`), a package's name, a .deb, or a folder with boot/ and lib/modules/
 * @throws KorralError that says what is missing, and what to do
 */
export async function openKernel(ref?: string, options: KernelStoreOptions = {}): Promise<KernelPackage> {
  return await new KernelStore(options).open(ref);
}

/** Where kernels come from, in this order: what was named, the cache, the system's own, its package client. */
export class KernelStore {
  readonly cache: KernelCache;
  readonly #root: string;
  readonly #progress: KernelProgress;

  constructor({ cache = KernelCache.default(), root = "/", progress = silent }: KernelStoreOptions = {}) {
    this.cache = cache;
    this.#root = root;
    this.#progress = progress;
  }

  /** @throws as `openKernel` */
  async open(ref?: string): Promise<KernelPackage> {
    const kernel = new KernelPackage(await this.files(ref));
    kernel.onIndexing = (part) => this.#progress("index", part, kernel.name);
    return kernel;
  }

  /** What `open` opens. @throws as `openKernel` */
  async files(ref?: string): Promise<CachedKernel | DirectoryKernel> {
    if (ref !== undefined && isKernelPath(ref)) return await this.#at(ref);
    const remarks: string[] = [];
    const found = this.atHand(ref, remarks);
    if (found !== null) return found;
    try {
      return await this.#fetched(wishesOf(ref));
    } catch (error) {
      throw withRemarks(error, remarks);
    }
  }

  /**
   * The kernel that needs no fetching, if there is one: out of the cache, or the system's own.
   * @param ref as for `openKernel`, but for paths
   * @param remarks gets why kernels of the system were passed over
   */
  atHand(ref?: string, remarks: string[] = []): CachedKernel | DirectoryKernel | null {
    const wishes = wishesOf(ref);
    return this.#cached(wishes) ?? this.#installed(ref === undefined ? null : wishes[0], remarks);
  }

  /**
   * The newest kernel that the package client has for a wish, or an archive's, into the cache.
   * @param ref as for `openKernel`, but for folders
   */
  async fetch(ref?: string): Promise<CachedKernel> {
    if (ref !== undefined && isKernelPath(ref)) {
      if (isDirectory(ref)) {
        throw new InputError("file-directory", `${ref} is a folder: it needs no fetching, give it with --kernel`);
      }
      return await this.cache.add(ref, (part) => this.#progress("unpack", part, ref));
    }
    return await this.#fetched(wishesOf(ref));
  }

  /** All that is at hand: the cache's, then the system's own that can be read. */
  list(): (CachedKernel | DirectoryKernel)[] {
    const cached = this.cache
      .entries()
      .sort(newerEntry)
      .flatMap((entry) => this.cache.open(entry) ?? []);
    const own = attempt([], () => installedKernels(this.#root).map((places) => this.#directory(places)));
    return [...cached, ...own.reverse()];
  }

  async #at(ref: string): Promise<CachedKernel | DirectoryKernel> {
    if (isDirectory(ref)) return this.#directory(kernelPlacesIn(ref));
    if (/^vmlinu[xz]/.test(basename(ref))) return this.#directory(kernelPlacesAt(ref));
    return await this.cache.import(ref, (part) => this.#progress("unpack", part, ref));
  }

  #cached(wishes: readonly KernelWish[]): CachedKernel | null {
    const entries = this.cache.entries().sort(newerEntry);
    // Of those that nobody wished for, what somebody put there is still better than nothing.
    const tests: ((name: string) => boolean)[] = wishes.map((wish) => (name) => grants(wish, name));
    if (wishes === DEFAULT_WISHES) tests.push(() => true);
    for (const test of tests) {
      for (const entry of entries) {
        const kernel = test(entry.name) ? this.cache.open(entry) : null;
        if (kernel !== null) return kernel;
      }
    }
    return null;
  }

  /** @param remarks gets why kernels of the system were passed over */
  #installed(wish: KernelWish | null, remarks: string[]): DirectoryKernel | null {
    const running = runningRelease();
    const rank = ({ release }: KernelPlaces) => (release === running ? 0 : 1);
    const found = attempt(remarks, () => installedKernels(this.#root).reverse());
    for (const places of found.sort((a, b) => rank(a) - rank(b))) {
      if (wish !== null && !grants(wish, `linux-image-${places.release}`)) continue;
      const usable = attempt(remarks, () => {
        openKernelImage(readFileBytes(places.image), places.image);
        return places.modules === null ? [] : [this.#directory(places)];
      });
      if (usable.length > 0) return usable[0];
    }
    return null;
  }

  async #fetched(wishes: readonly KernelWish[]): Promise<CachedKernel> {
    const state = join(this.cache.directory, "apt");
    const lock = `${state}.lock`;
    return await withLock(
      lock,
      () => this.#progress("wait", 0, ""),
      async () => {
        const apt = new Apt(state, this.#progress);
        const complaints = await apt.update();
        let problem: unknown;
        for (const candidate of await apt.candidates(wishes, complaints)) {
          const known = this.#known(candidate);
          if (known !== null) return known;
          try {
            const archive = await apt.download(candidate);
            const kernel = await this.cache.add(archive, (part) => this.#progress("unpack", part, candidate.name));
            rmSync(archive, { force: true });
            return kernel;
          } catch (error) {
            problem ??= error;
            if (!(error instanceof EnvironmentError) || error.code !== "package-gone") throw error;
          }
        }
        throw problem;
      },
    );
  }

  #known({ name, version }: { name: string; version: string }): CachedKernel | null {
    const entry = this.cache.entries().find((one) => one.name === name && one.version === version);
    return entry === undefined ? null : this.cache.open(entry);
  }

  #directory(places: KernelPlaces): DirectoryKernel {
    return new DirectoryKernel(places.release, places, madeFolder(this.cache.directory, places));
  }
}

function wishesOf(ref: string | undefined): readonly KernelWish[] {
  return ref === undefined ? DEFAULT_WISHES : [kernelWish(ref)];
}

/** What has a slash or is there is a file or folder; all else is the name of something. */
export function isKernelPath(ref: string): boolean {
  return ref.includes("/") || ref.endsWith(".deb") || statSync(ref, { throwIfNoEntry: false }) !== undefined;
}

function newerEntry(a: CacheEntry, b: CacheEntry): number {
  return newestFirst(`${a.name} ${a.version}`, `${b.name} ${b.version}`);
}

/** The result, or none and a remark why. */
function attempt<T>(remarks: string[], action: () => T[]): T[] {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof KorralError)) throw error;
    remarks.push(error.message);
    return [];
  }
}

function withRemarks(error: unknown, remarks: readonly string[]): unknown {
  if (!(error instanceof KorralError) || remarks.length === 0) return error;
  return new EnvironmentError(error.code, `${error.message}. Passed over: ${remarks.join("; ")}`);
}
