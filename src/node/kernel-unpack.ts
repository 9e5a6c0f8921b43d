import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { openDebianPackage } from "../formats/deb.js";
import type { TarEntry } from "../formats/tar.js";
import { openKernelImage } from "../formats/vmlinuz.js";
import { InputError, UnsupportedError } from "../util/errors.js";
import { outputFileError } from "./file-errors.js";
import { checkOf, type FileCheck, writeDurably } from "./kernel-checked-file.js";
import { type KernelManifest, VMLINUX, writeManifest } from "./kernel-manifest.js";

/** Bounds on what an archive may claim: a distribution's largest stay below a fifth of each. */
const LARGEST_FILE = 256 << 20;
const MOST_FILES = 50_000;
const MOST_BYTES = 3 * 2 ** 30;
/** How long the event loop waits for the unpacking at most: signals and timers get their turn. */
const TURN_MILLISECONDS = 50;

const IMAGE = /^boot\/vmlinuz-(.+)$/;
const KEPT = /^boot\/(?:vmlinuz|config)-[^/]+$|^(?:usr\/)?lib\/modules\/[^/]+\/.+$/;

/** A package's archive. */
export interface Archive {
  readonly bytes: Uint8Array;
  /** What messages call it. */
  readonly name: string;
  /** Where it can be read again, from the folder that it is unpacked to. */
  readonly path: string;
}

/** Hears of the unpacking: a part of the whole between 0 and 1. */
export type UnpackProgress = (part: number) => void;

/**
 * Unpacks a kernel package into an empty folder: its image, compressed and not, its configuration and its modules. All
 * that has to outlive a crash is on the disk when it returns; modules that are not are found out when they are read.
 * @throws InputError for what is damaged, hostile or holds no kernel; UnsupportedError for another architecture's
 */
export async function unpackKernel(
  archive: Archive,
  directory: string,
  progress: UnpackProgress,
): Promise<KernelManifest> {
  const { bytes, name } = archive;
  const opened = openDebianPackage(bytes, name);
  const field = (key: string) => opened.fields.get(key) ?? "";
  if (field("Architecture") !== "amd64") {
    throw new UnsupportedError(
      "kernel-machine",
      `${name} is a package for ${field("Architecture") || "an unknown architecture"}: give one for amd64`,
    );
  }
  const total = Number(field("Installed-Size")) * 1024 || bytes.length * 4;
  const files = new Map<string, FileCheck>();
  const folders = new Folders(directory);
  let image: { path: string; bytes: Uint8Array } | undefined;
  let done = 0;
  let turn = performance.now();
  for (const entry of opened.entries(MOST_BYTES)) {
    done += entry.size;
    if (entry.kind === "file" && KEPT.test(entry.path)) {
      if (files.has(entry.path)) throw hostile(name, `${JSON.stringify(entry.path)} is in it twice`);
      if (files.size >= MOST_FILES) throw hostile(name, `it has more than ${MOST_FILES} files`);
      if (entry.size > LARGEST_FILE) throw hostile(name, `${JSON.stringify(entry.path)} has ${entry.size} bytes`);
      const contents = entry.read();
      if (IMAGE.test(entry.path)) {
        if (image !== undefined) throw new InputError("kernel-ambiguous", `${name} has several kernel images`);
        image = { path: entry.path, bytes: contents };
      }
      folders.write(entry, contents, name);
      files.set(entry.path, checkOf(contents));
    }
    if (performance.now() - turn < TURN_MILLISECONDS) continue;
    progress(Math.min(1, done / total));
    await new Promise(setImmediate);
    turn = performance.now();
  }
  const release = image === undefined ? undefined : IMAGE.exec(image.path)?.[1];
  if (image === undefined || release === undefined) {
    throw new InputError(
      "kernel-missing",
      `${name} has no kernel image, boot/vmlinuz-…: give a package like linux-image-6.1.0-44-amd64`,
    );
  }
  const vmlinux = openKernelImage(image.bytes, `${image.path} of ${name}`).vmlinux();
  writeDurably(join(directory, VMLINUX), vmlinux);
  const manifest: KernelManifest = {
    package: field("Package"),
    version: field("Version"),
    release,
    image: image.path,
    config: files.has(`boot/config-${release}`) ? `boot/config-${release}` : null,
    vmlinux: checkOf(vmlinux),
    archive: { path: archive.path, ...checkOf(bytes) },
    files,
  };
  writeManifest(directory, manifest);
  progress(1);
  return manifest;
}

/** One file out of an archive, null if it is not there. @throws as `unpackKernel` */
export function unpackFile(archive: Uint8Array, name: string, path: string): Uint8Array | null {
  for (const entry of openDebianPackage(archive, name).entries(MOST_BYTES)) {
    if (entry.path === path && entry.kind === "file" && entry.size <= LARGEST_FILE) return entry.read();
  }
  return null;
}

/** Makes folders as they are needed. */
class Folders {
  readonly #made = new Set<string>();

  constructor(private readonly root: string) {}

  write(entry: TarEntry, contents: Uint8Array, archive: string): void {
    const folder = dirname(entry.path);
    try {
      if (!this.#made.has(folder)) {
        mkdirSync(join(this.root, folder), { recursive: true });
        this.#made.add(folder);
      }
      writeFileSync(join(this.root, entry.path), contents, { flag: "wx", mode: 0o644 });
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EEXIST" || code === "ENOTDIR" || code === "EISDIR") {
        throw hostile(archive, `${JSON.stringify(entry.path)} is both a file and a directory`);
      }
      throw outputFileError(join(this.root, entry.path), error);
    }
  }
}

function hostile(name: string, what: string): InputError {
  return new InputError("deb", `${name} is refused: ${what}`);
}
