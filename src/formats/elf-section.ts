import type { GuestAddress } from "../util/guest-address.js";
import type { ElfBytes } from "./elf-bytes.js";
import { SectionFlag, SectionType } from "./elf-constants.js";

/** Where a string table lies in the file. */
export interface StringTable {
  readonly start: number;
  readonly end: number;
}

/** A section (gABI chapter 4, "Sections"). Its range was checked against the file. */
export class ElfSection {
  /** sh_type: one of `SectionType`, or another. */
  readonly type: number;
  /** Bits 0 to 31 of sh_flags, which are all that is defined: `SectionFlag`. */
  readonly flags: number;
  /** 0 in a relocatable file. */
  readonly address: GuestAddress;
  /** Where its bytes begin in the file. */
  readonly offset: number;
  /** Bytes in memory, and in the file unless the type is `noBits`. */
  readonly size: number;
  readonly link: number;
  readonly info: number;
  /** A power of two. */
  readonly alignment: number;
  readonly entrySize: number;

  /** @throws ElfError */
  constructor(
    private readonly file: ElfBytes,
    readonly index: number,
    /** Where its header lies in the file. */
    readonly headerOffset: number,
    private readonly names: StringTable | null,
  ) {
    const { view } = file;
    this.type = view.getUint32(headerOffset + 4, true);
    this.flags = view.getUint32(headerOffset + 8, true);
    this.address = file.signed64(headerOffset + 16, `the address of section ${index}`);
    this.offset = file.unsigned64(headerOffset + 24);
    this.size = this.type === SectionType.null ? 0 : file.unsigned64(headerOffset + 32);
    this.link = view.getUint32(headerOffset + 40, true);
    this.info = view.getUint32(headerOffset + 44, true);
    this.alignment = Math.max(1, file.unsigned64(headerOffset + 48));
    this.entrySize = file.unsigned64(headerOffset + 56);
    if (this.hasBytes) file.need(this.offset, this.size, headerOffset + 24, `section ${index}`);
    if (!Number.isSafeInteger(this.size) || !Number.isSafeInteger(this.address + this.size)) {
      throw file.broken(headerOffset + 32, "elf-section", `section ${index} has ${this.size} bytes`);
    }
    if (!Number.isInteger(Math.log2(this.alignment))) {
      throw file.broken(
        headerOffset + 48,
        "elf-alignment",
        `section ${index} is aligned to ${this.alignment}, which is no power of two`,
      );
    }
  }

  /** Its name; read when asked for. @throws ElfError */
  get name(): string {
    if (this.names === null) return "";
    const offset = this.file.view.getUint32(this.headerOffset, true);
    return this.file.text(this.names.start, this.names.end, offset, this.headerOffset);
  }

  /** It occupies bytes of the file. */
  get hasBytes(): boolean {
    return this.type !== SectionType.noBits && this.type !== SectionType.null;
  }

  /** It takes part in the running program. */
  get allocated(): boolean {
    return (this.flags & SectionFlag.allocated) !== 0;
  }

  /** A view of its bytes in the file; empty for `noBits`. */
  get data(): Uint8Array {
    return this.hasBytes ? this.file.bytes.subarray(this.offset, this.offset + this.size) : new Uint8Array(0);
  }

  /** The NUL-terminated text at `offset` of its bytes. @throws ElfError */
  text(offset: number): string {
    const end = this.hasBytes ? this.offset + this.size : this.offset;
    return this.file.text(this.offset, end, offset, this.headerOffset + 24);
  }
}
