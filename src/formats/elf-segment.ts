import type { GuestAddress } from "../util/guest-address.js";
import type { ElfBytes } from "./elf-bytes.js";
import { SegmentType } from "./elf-constants.js";

/** A segment (gABI chapter 5, "Program Header"). Its range was checked against the file. */
export class ElfSegment {
  /** p_type: one of `SegmentType`, or another. */
  readonly type: number;
  /** p_flags: bits of `SegmentFlag`. */
  readonly flags: number;
  readonly offset: number;
  readonly address: GuestAddress;
  readonly physicalAddress: GuestAddress;
  readonly fileSize: number;
  /** What of it lies beyond `fileSize` is zero. */
  readonly memorySize: number;
  readonly alignment: number;

  /** @throws ElfError */
  constructor(
    private readonly file: ElfBytes,
    readonly index: number,
    readonly headerOffset: number,
  ) {
    const { view } = file;
    this.type = view.getUint32(headerOffset, true);
    this.flags = view.getUint32(headerOffset + 4, true);
    this.offset = file.unsigned64(headerOffset + 8);
    this.address = file.signed64(headerOffset + 16, `the address of segment ${index}`);
    this.physicalAddress = file.signed64(headerOffset + 24, `the physical address of segment ${index}`);
    this.fileSize = file.unsigned64(headerOffset + 32);
    this.memorySize = file.unsigned64(headerOffset + 40);
    this.alignment = file.unsigned64(headerOffset + 48);
    file.need(this.offset, this.fileSize, headerOffset + 8, `segment ${index}`);
    if (this.type === SegmentType.load && this.memorySize < this.fileSize) {
      throw file.broken(
        headerOffset + 40,
        "elf-segment",
        `segment ${index} has ${this.fileSize} bytes in the file and only ${this.memorySize} in memory`,
      );
    }
    if (!Number.isSafeInteger(this.memorySize) || !Number.isSafeInteger(this.address + this.memorySize)) {
      throw file.broken(headerOffset + 40, "elf-segment", `segment ${index} has ${this.memorySize} bytes in memory`);
    }
  }

  /** A view of its bytes in the file. */
  get data(): Uint8Array {
    return this.file.bytes.subarray(this.offset, this.offset + this.fileSize);
  }
}
