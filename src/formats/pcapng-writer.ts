import type { ByteSink } from "./byte-stream.js";
import type { CaptureWriter } from "./capture-packet.js";
import { LINKTYPE_ETHERNET } from "./link-types.js";
import { Block, BYTE_ORDER_MAGIC, Option } from "./pcapng.js";
import { RecordWriter } from "./record-writer.js";

const NANOSECONDS = 9;
const OPEN = 0xffff_ffff;

export interface PcapngWriterOptions {
  snapLength?: number;
  linkType?: number;
}

/** Writes one little-endian section with one interface, times in nanoseconds, and an enhanced block for each packet. */
export class PcapngWriter extends RecordWriter implements CaptureWriter {
  constructor(sink: ByteSink, options: PcapngWriterOptions = {}) {
    super(sink, options.snapLength);
    // The length of the section is left open: it is not known before the end.
    this.#words(Block.SectionHeader, 28, BYTE_ORDER_MAGIC, 1, OPEN, OPEN, 28);
    const resolution = [Option.if_tsresol | (1 << 16), NANOSECONDS, Option.endofopt];
    const linkType = options.linkType ?? LINKTYPE_ETHERNET;
    this.#words(Block.InterfaceDescription, 32, linkType, this.snapLength, ...resolution, 32);
  }

  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    seconds: number,
    nanoseconds: number,
    originalLength: number = length,
  ): void {
    const captured = Math.min(length, this.snapLength);
    const padding = -captured & 3;
    const total = 32 + captured + padding;
    // seconds × 10^9 + nanoseconds in two halves of 32 bits, each step below 2^53.
    const upper = Math.floor(seconds / 65_536) * 1e9;
    const lower = (upper % 65_536) * 65_536 + (seconds % 65_536) * 1e9 + nanoseconds;
    this.out.word(Block.EnhancedPacket);
    this.out.word(total);
    this.out.word(0);
    this.out.word(Math.floor(upper / 65_536) + Math.floor(lower / 2 ** 32));
    this.out.word(lower);
    this.out.word(captured);
    this.out.word(originalLength);
    this.out.data(bytes, offset, captured);
    this.out.padding(padding);
    this.out.word(total);
    this.written++;
  }

  #words(...words: number[]): void {
    for (const word of words) this.out.word(word);
  }
}
