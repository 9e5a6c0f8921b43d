import { UnsupportedError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { ElfBytes } from "./elf-bytes.js";
import {
  CLASS_64,
  DATA_LITTLE_ENDIAN,
  ELF_MAGIC,
  ElfType,
  HEADER_BYTES,
  MACHINE_NAMES,
  MACHINE_X86_64,
  PN_XNUM,
  PROGRAM_HEADER_BYTES,
  SECTION_HEADER_BYTES,
  SectionNumber,
  VERSION_CURRENT,
} from "./elf-constants.js";

const IDENTIFICATION_BYTES = 16;

/** What the ELF header says (gABI chapter 4), with the counts that only the first section header has room for. */
export interface ElfHeader {
  readonly type: number;
  readonly entry: GuestAddress;
  readonly sectionOffset: number;
  readonly sectionCount: number;
  /** The section with the sections' names, 0 if there is none. */
  readonly nameSection: number;
  readonly segmentOffset: number;
  readonly segmentCount: number;
}

/** @throws UnsupportedError for another kind of file, ElfError for a broken one. */
export function readElfHeader(file: ElfBytes): ElfHeader {
  checkIdentification(file);
  file.need(0, HEADER_BYTES, file.bytes.length, "the ELF header");
  const { view } = file;
  const machine = view.getUint16(18, true);
  if (machine !== MACHINE_X86_64) {
    throw new UnsupportedError(
      "elf-machine",
      `${file.name} is for ${MACHINE_NAMES[machine] ?? `ELF machine ${machine}`}; only x86-64 can be run`,
    );
  }
  const type = view.getUint16(16, true);
  if (type === ElfType.core) {
    throw new UnsupportedError("elf-type", `${file.name} is a core dump: give an object, a module or an executable`);
  }
  if (type !== ElfType.relocatable && type !== ElfType.executable && type !== ElfType.dynamic) {
    throw file.broken(16, "elf-type", `its type is ${type}`);
  }
  return { type, entry: file.signed64(24, "the entry point"), ...tables(file) };
}

function checkIdentification({ bytes, view, name }: ElfBytes): void {
  if (bytes.length < IDENTIFICATION_BYTES || view.getUint32(0, true) !== ELF_MAGIC) {
    throw new UnsupportedError("elf-magic", `${name} is not an ELF file: give an x86-64 object, module or executable`);
  }
  if (bytes[4] !== CLASS_64) {
    throw new UnsupportedError(
      "elf-class",
      `${name} is ${bytes[4] === 1 ? "a 32-bit ELF file" : `an ELF file of class ${bytes[4]}`}; only 64-bit files of x86-64 can be read`,
    );
  }
  if (bytes[5] !== DATA_LITTLE_ENDIAN) {
    throw new UnsupportedError(
      "elf-byte-order",
      `${name} is ${bytes[5] === 2 ? "a big-endian ELF file" : `an ELF file of byte order ${bytes[5]}`}; only little-endian files of x86-64 can be read`,
    );
  }
  if (bytes[6] !== VERSION_CURRENT) {
    throw new UnsupportedError("elf-version", `${name} is of ELF version ${bytes[6]}; only version 1 is defined`);
  }
}

function tables(file: ElfBytes): Omit<ElfHeader, "type" | "entry"> {
  const { view } = file;
  const segmentOffset = file.unsigned64(32);
  const sectionOffset = file.unsigned64(40);
  let segmentCount = view.getUint16(56, true);
  let sectionCount = view.getUint16(60, true);
  let nameSection = view.getUint16(62, true);
  if (sectionOffset === 0) {
    sectionCount = 0;
    nameSection = 0;
  } else {
    checkEntryBytes(file, 58, SECTION_HEADER_BYTES, "section headers");
    file.need(sectionOffset, SECTION_HEADER_BYTES, 40, "the first section header");
    if (sectionCount === 0) sectionCount = file.unsigned64(sectionOffset + 32);
    if (nameSection === SectionNumber.extended) nameSection = view.getUint32(sectionOffset + 40, true);
    if (segmentCount === PN_XNUM) segmentCount = view.getUint32(sectionOffset + 44, true);
  }
  file.need(sectionOffset, sectionCount * SECTION_HEADER_BYTES, 40, `the table of ${sectionCount} section headers`);
  if (nameSection !== 0 && nameSection >= sectionCount) {
    throw file.broken(62, "elf-section", `section ${nameSection} is to hold names, and there are ${sectionCount}`);
  }
  if (segmentCount > 0) checkEntryBytes(file, 54, PROGRAM_HEADER_BYTES, "program headers");
  file.need(segmentOffset, segmentCount * PROGRAM_HEADER_BYTES, 32, `the table of ${segmentCount} program headers`);
  return { sectionOffset, sectionCount, nameSection, segmentOffset, segmentCount };
}

function checkEntryBytes(file: ElfBytes, at: number, expected: number, what: string): void {
  const bytes = file.view.getUint16(at, true);
  if (bytes !== expected) throw file.broken(at, "elf-entry-size", `${what} of ${bytes} bytes; they have ${expected}`);
}
