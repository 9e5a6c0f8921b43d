// The classic capture format, draft-ietf-opsawg-pcap.
import { UnsupportedError } from "../util/errors.js";
import type { ByteSink } from "./byte-stream.js";
import type { ByteWindow } from "./byte-window.js";
import {
  type CapturedPacket,
  CaptureError,
  type CaptureReader,
  type CaptureWriter,
  LONGEST_CAPTURED_BYTES,
  PacketIteration,
} from "./capture-packet.js";
import { LINKTYPE_ETHERNET } from "./link-types.js";
import { RecordWriter } from "./record-writer.js";

export const PCAP_MICROSECONDS = 0xa1b2c3d4;
export const PCAP_NANOSECONDS = 0xa1b23c4d;

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
const VERSION_MAJOR = 2;
const VERSION_MINOR = 4;
/** Bits 26 and up of the link type field tell about a frame check sequence. */
const LINK_TYPE_MASK = 0x03ff_ffff;

export class PcapReader extends PacketIteration implements CaptureReader {
  readonly format = "pcap";
  readonly linkType: number;
  readonly snapLength: number;
  readonly fineTimes: boolean;
  readonly #minor: number;
  readonly #nanosecondsPerUnit: number;
  /** Captured bytes of the current record beyond the snapshot length of the file. */
  #cut = 0;

  /** @throws CaptureError, UnsupportedError for another version than 2.0 to 2.4. */
  constructor(
    private readonly window: ByteWindow,
    readonly name: string,
    private readonly littleEndian: boolean,
  ) {
    super();
    if (!window.ensure(FILE_HEADER_BYTES)) {
      throw this.#broken(0, "capture-truncated", `the file ends within its header of ${FILE_HEADER_BYTES} bytes`);
    }
    const { view, start } = window;
    this.fineTimes = view.getUint32(start, littleEndian) === PCAP_NANOSECONDS;
    this.#nanosecondsPerUnit = this.fineTimes ? 1 : 1000;
    const major = view.getUint16(start + 4, littleEndian);
    this.#minor = view.getUint16(start + 6, littleEndian);
    if (major !== VERSION_MAJOR || this.#minor > VERSION_MINOR) {
      throw new UnsupportedError(
        "capture-version",
        `${name} is a pcap file of version ${major}.${this.#minor}; versions 2.0 to 2.4 can be read`,
      );
    }
    const snapLength = view.getUint32(start + 16, littleEndian);
    this.snapLength = snapLength === 0 ? LONGEST_CAPTURED_BYTES : Math.min(snapLength, LONGEST_CAPTURED_BYTES);
    this.linkType = view.getUint32(start + 20, littleEndian) & LINK_TYPE_MASK;
    window.skip(FILE_HEADER_BYTES);
    this.packet.linkType = this.linkType;
  }

  protected override advance(): CapturedPacket | null {
    const { window, littleEndian, packet } = this;
    window.skip(packet.capturedLength + this.#cut);
    this.#cut = 0;
    packet.capturedLength = 0;
    const offset = window.offset;
    if (!window.ensure(RECORD_HEADER_BYTES)) {
      if (window.available === 0) return null;
      throw this.#broken(
        offset,
        "capture-truncated",
        `the file ends after ${window.available} of the ${RECORD_HEADER_BYTES} bytes of a record header`,
      );
    }
    const { start, view } = window;
    const seconds = view.getUint32(start, littleEndian);
    const fraction = view.getUint32(start + 4, littleEndian) * this.#nanosecondsPerUnit;
    let captured = view.getUint32(start + 8, littleEndian);
    let original = view.getUint32(start + 12, littleEndian);
    // Version 2.3 had the two lengths in either order, earlier ones the other way round.
    if (this.#minor < 3 || (this.#minor === 3 && captured > original)) [captured, original] = [original, captured];
    if (captured > LONGEST_CAPTURED_BYTES) {
      throw this.#broken(
        offset,
        "capture-length",
        `the record claims ${captured} captured bytes, more than the ${LONGEST_CAPTURED_BYTES} that any capture holds`,
      );
    }
    if (!window.ensure(RECORD_HEADER_BYTES + captured)) {
      throw this.#broken(
        offset,
        "capture-truncated",
        `the file ends after ${window.available - RECORD_HEADER_BYTES} of the ${captured} bytes of this record`,
      );
    }
    window.skip(RECORD_HEADER_BYTES);
    packet.seconds = seconds + Math.floor(fraction / 1e9);
    packet.nanoseconds = fraction % 1e9;
    packet.capturedLength = Math.min(captured, this.snapLength);
    this.#cut = captured - packet.capturedLength;
    packet.originalLength = original;
    packet.bytes = window.bytes;
    packet.offset = window.start;
    return packet;
  }

  #broken(offset: number, code: string, what: string): CaptureError {
    return new CaptureError(this.name, offset, code, what);
  }
}

export interface PcapWriterOptions {
  /** Write nanoseconds instead of microseconds. */
  fineTimes?: boolean;
  snapLength?: number;
  linkType?: number;
}

/** Writes little-endian pcap 2.4. Seconds are stored modulo 2^32, as the format has it. */
export class PcapWriter extends RecordWriter implements CaptureWriter {
  readonly #nanosecondsPerUnit: number;

  constructor(sink: ByteSink, options: PcapWriterOptions = {}) {
    super(sink, options.snapLength);
    this.#nanosecondsPerUnit = options.fineTimes ? 1 : 1000;
    this.out.word(options.fineTimes ? PCAP_NANOSECONDS : PCAP_MICROSECONDS);
    this.out.word(VERSION_MAJOR | (VERSION_MINOR << 16));
    this.out.word(0);
    this.out.word(0);
    this.out.word(this.snapLength);
    this.out.word(options.linkType ?? LINKTYPE_ETHERNET);
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
    this.out.word(seconds);
    this.out.word(nanoseconds / this.#nanosecondsPerUnit);
    this.out.word(captured);
    this.out.word(originalLength);
    this.out.data(bytes, offset, captured);
    this.written++;
  }
}
