/**
 * The kernel's image: a bzImage (the x86 boot protocol, "The real-mode kernel header") around a compressed ELF vmlinux, or
 * that vmlinux itself.
 */

import { InputError, UnsupportedError } from "../util/errors.js";
import { compressionOf, decompress } from "./compression.js";

const BOOT_FLAG = 0x1fe;
const HEADER_MAGIC = 0x202;
const PROTOCOL = 0x206;
const KERNEL_VERSION = 0x20e;
const XLOADFLAGS = 0x236;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const HEADER_END = 0x250;
const HDRS = 0x53726448;
/** Bit 0 of xloadflags: the kernel has a 64-bit entry point. */
const XLF_KERNEL_64 = 1;
/** payload_offset and payload_length exist from this version on; xloadflags from 2.12. */
const PROTOCOL_WITH_PAYLOAD = 0x208;
const PROTOCOL_WITH_XLOADFLAGS = 0x20c;
const SECTOR = 512;
const LONGEST_TEXT = 512;

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];
const ELF_HEADER_SIZE = 64;
const EM_X86_64 = 62;
// biome-ignore format: a table
const MACHINES: Readonly<Record<number, string>> = {
  3: "i386", 8: "mips", 20: "powerpc", 21: "powerpc64", 22: "s390x", 40: "arm", 183: "arm64", 243: "riscv", 258: "loongarch",
};
/** `ARM\x64` and `RSC\x05` at byte 56: the boot images of these architectures. */
const OTHER_IMAGES: Readonly<Record<number, string>> = { 1682788929: "arm64", 88298322: "riscv" };
const OTHER_IMAGE_MAGIC = 56;

const BANNER = "Linux version ";

/** What an image says before it is unpacked. */
export interface KernelImage {
  readonly kind: "bzImage" | "vmlinux";
  /** What the bzImage's header names as its version: the release, who built it, and when; undefined in a vmlinux. */
  readonly version: string | undefined;
  /** Of the payload; undefined if it is not compressed. */
  readonly compression: string | undefined;
  /** The payload with what stands behind it, in bytes. */
  readonly payloadSize: number;
  /**
   * Unpacks the ELF vmlinux; a copy, unless the image is one already.
   * @param limit most bytes that may come out
   * @throws as `decompress` does; InputError if no ELF image comes out, UnsupportedError if it is for another machine
   */
  vmlinux(limit?: number): Uint8Array;
}

/**
 * Takes an image for what it is; nothing is unpacked yet.
 * @param name of the file, for messages
 * @throws InputError for what is no kernel image, UnsupportedError for one of another architecture
 */
export function openKernelImage(bytes: Uint8Array, name: string): KernelImage {
  if (isElf(bytes)) {
    requireX86(bytes, name);
    return {
      kind: "vmlinux",
      version: undefined,
      compression: undefined,
      payloadSize: bytes.length,
      vmlinux: () => bytes,
    };
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < HEADER_END) throw notAnImage(name);
  const other = OTHER_IMAGES[view.getUint32(OTHER_IMAGE_MAGIC, true)];
  if (other !== undefined) throw wrongMachine(name, other);
  if (view.getUint32(HEADER_MAGIC, true) !== HDRS || view.getUint16(BOOT_FLAG, true) !== 0xaa55) throw notAnImage(name);
  const protocol = view.getUint16(PROTOCOL, true);
  if (protocol < PROTOCOL_WITH_PAYLOAD) {
    const version = `${protocol >> 8}.${String(protocol & 0xff).padStart(2, "0")}`;
    throw new UnsupportedError(
      "vmlinuz-protocol",
      `${name} follows boot protocol ${version}: 2.08 is the oldest supported`,
    );
  }
  if (protocol >= PROTOCOL_WITH_XLOADFLAGS && (view.getUint16(XLOADFLAGS, true) & XLF_KERNEL_64) === 0) {
    throw wrongMachine(name, "i386");
  }
  const setup = ((bytes[0x1f1] || 4) + 1) * SECTOR;
  const from = setup + view.getUint32(PAYLOAD_OFFSET, true);
  const to = from + view.getUint32(PAYLOAD_LENGTH, true);
  if (to > bytes.length) {
    throw new InputError(
      "vmlinuz",
      `${name} is truncated: its payload ends at byte ${to}, the file at ${bytes.length}`,
    );
  }
  const payload = bytes.subarray(from, to);
  return {
    kind: "bzImage",
    version: textAt(bytes, SECTOR + view.getUint16(KERNEL_VERSION, true), Math.min(setup, bytes.length)),
    compression: compressionOf(payload),
    payloadSize: payload.length,
    vmlinux: (limit) => unpack(payload, name, limit),
  };
}

/**
 * @returns what /proc/version would say, from a vmlinux; undefined if it has no banner. One that lacks the number of the
 * build, which is what the linker's first pass left behind, counts only if there is no other.
 */
export function kernelBanner(vmlinux: Uint8Array): string | undefined {
  const pattern = Uint8Array.from(BANNER, (letter) => letter.charCodeAt(0));
  let first: string | undefined;
  for (let at = vmlinux.indexOf(pattern[0]); at >= 0; at = vmlinux.indexOf(pattern[0], at + 1)) {
    const number = vmlinux[at + pattern.length];
    // A number follows in the banner itself, a % in the formats that print one.
    if (number < 0x30 || number > 0x39 || pattern.some((byte, i) => vmlinux[at + i] !== byte)) continue;
    const banner = textAt(vmlinux, at, vmlinux.length);
    if (banner !== undefined && /#\d/.test(banner)) return banner;
    first ??= banner;
  }
  return first;
}

/** The unpacked size stands behind the payload, which in gzip's own format it does anyway. */
function unpack(payload: Uint8Array, name: string, limit: number | undefined): Uint8Array {
  if (isElf(payload)) {
    requireX86(payload, name);
    return payload;
  }
  const compression = compressionOf(payload);
  if (compression === undefined) {
    throw new UnsupportedError(
      "vmlinuz-payload",
      `${name} has a payload of no kind that is known: xz, zstd, gzip and lz4 are`,
    );
  }
  const end = payload.length - 4;
  const size = new DataView(payload.buffer, payload.byteOffset + end, 4).getUint32(0, true);
  const vmlinux = decompress(
    compression === "gzip" ? payload : payload.subarray(0, end),
    `the payload of ${name}`,
    limit,
  );
  if (vmlinux.length !== size) {
    throw new InputError(
      "vmlinuz",
      `${name} is damaged: its payload unpacks to ${vmlinux.length} bytes, not to ${size}`,
    );
  }
  if (!isElf(vmlinux))
    throw new InputError("vmlinuz", `${name} is damaged: what its payload unpacks to is no ELF image`);
  requireX86(vmlinux, name);
  return vmlinux;
}

function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= ELF_HEADER_SIZE && ELF_MAGIC.every((byte, i) => bytes[i] === byte);
}

function requireX86(elf: Uint8Array, name: string): void {
  const bigEndian = elf[5] === 2;
  const machine = bigEndian ? (elf[18] << 8) | elf[19] : elf[18] | (elf[19] << 8);
  if (machine !== EM_X86_64) throw wrongMachine(name, MACHINES[machine] ?? `ELF machine ${machine}`);
}

function wrongMachine(name: string, machine: string): UnsupportedError {
  return new UnsupportedError("kernel-machine", `${name} is a kernel for ${machine}: give one for x86-64 (amd64)`);
}

function notAnImage(name: string): InputError {
  return new InputError("vmlinuz", `${name} is no kernel image: give a vmlinuz (bzImage) or an ELF vmlinux`);
}

/** Printable text up to a zero or the end of a line; undefined where there is none. */
function textAt(bytes: Uint8Array, from: number, end: number): string | undefined {
  let text = "";
  for (let i = from; i < Math.min(end, from + LONGEST_TEXT) && bytes[i] >= 0x20 && bytes[i] < 0x7f; i++) {
    text += String.fromCharCode(bytes[i]);
  }
  return text === "" ? undefined : text;
}
