import { join } from "node:path";
import { type FileCheck, readSealed, writeSealed } from "./kernel-checked-file.js";

const FILE = "korral-kernel";
/** To be raised when the form changes: what has another is made anew. */
const FORMAT = 1;

/** Where the archive and the unpacked image stand in a kernel's folder, beside the package's own files. */
export const ARCHIVE = "package.deb";
export const VMLINUX = "vmlinux";

/** What a folder of the cache holds: one unpacked kernel package. */
export interface KernelManifest {
  readonly package: string;
  readonly version: string;
  /** As `uname -r` says it. */
  readonly release: string;
  /** Path of the compressed image. */
  readonly image: string;
  readonly config: string | null;
  readonly vmlinux: FileCheck;
  /** What was unpacked. `path` is where it is, in the folder itself or elsewhere. */
  readonly archive: FileCheck & { readonly path: string };
  /** The package's own files, by path. */
  readonly files: ReadonlyMap<string, FileCheck>;
}

/** @throws EnvironmentError */
export function writeManifest(directory: string, manifest: KernelManifest): void {
  const files = [...manifest.files].map(([path, { size, crc }]) => [path, size, crc]);
  const text = JSON.stringify({ ...manifest, format: FORMAT, files });
  writeSealed(join(directory, FILE), new TextEncoder().encode(text));
}

/** @returns null if the folder holds no whole kernel of this form */
export function readManifest(directory: string): KernelManifest | null {
  const bytes = readSealed(join(directory, FILE));
  if (bytes === null) return null;
  try {
    const parsed: Stored = JSON.parse(new TextDecoder().decode(bytes));
    if (parsed.format !== FORMAT) return null;
    return { ...parsed, files: new Map(parsed.files.map(([path, size, crc]) => [path, { size, crc }])) };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
}

type Stored = Omit<KernelManifest, "files"> & { format: number; files: [path: string, size: number, crc: number][] };
