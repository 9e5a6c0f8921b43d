import { statSync } from "node:fs";
import { decompress } from "../formats/compression.js";
import type { KernelPackage } from "../linux/kernel-package.js";
import { readFileBytes } from "../node/file-bytes.js";
import { KernelStore } from "../node/kernel-store.js";
import { withKernelProgress } from "./kernel-progress.js";

export const KERNEL_OPTION = "--kernel <ref>";
export const KERNEL_HELP =
  "the kernel: a series (6.12, 6.1-cloud), a package's name, a .deb, a folder with boot/ and lib/modules/";

/** A module or another object: a file's, or one out of a kernel package. */
export interface ObjectFile {
  /** Decompressed. */
  readonly bytes: Uint8Array;
  /** What messages and lists call it. */
  readonly name: string;
  /** The kernel that was asked for, or that had to be. */
  readonly kernel: KernelPackage | null;
}

/** Gets a kernel, with progress on standard error. @throws as `openKernel` */
export function kernelFor(ref: string | undefined): Promise<KernelPackage> {
  return withKernelProgress((progress) => new KernelStore({ progress }).open(ref));
}

/**
 * @param given a file's path, - for standard input, or the name of a module of the kernel
 * @param ref of the kernel; one at hand is taken for a name without it, none for a file
 */
export async function objectFile(given: string, ref: string | undefined): Promise<ObjectFile> {
  if (isPath(given)) {
    const name = given === "-" ? "standard input" : given;
    const bytes = decompress(readFileBytes(given), name);
    return { bytes, name, kernel: ref === undefined ? null : await kernelFor(ref) };
  }
  const kernel = await kernelFor(ref);
  return { bytes: kernel.moduleBytes(given), name: `${kernel.path(given)} of ${kernel.name}`, kernel };
}

/** What looks like a file's name, or is one; all else is the name of a module. */
function isPath(given: string): boolean {
  return given === "-" || /[/.]/.test(given) || statSync(given, { throwIfNoEntry: false })?.isFile() === true;
}
