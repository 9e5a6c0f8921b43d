import { InputError, UnsupportedError } from "../util/errors.js";
import type { ByteSink, ByteSource } from "./byte-stream.js";
import { ByteWindow } from "./byte-window.js";
import type { CaptureReader, CaptureWriter } from "./capture-packet.js";
import { PCAP_MICROSECONDS, PCAP_NANOSECONDS, PcapReader, PcapWriter, type PcapWriterOptions } from "./pcap.js";
import { Block, PcapngReader } from "./pcapng.js";
import { PcapngWriter } from "./pcapng-writer.js";

export * from "./byte-stream.js";
export * from "./capture-packet.js";
export * from "./link-types.js";

/** What files begin with that are no capture we read, but are taken for one. */
// biome-ignore format: a table
const RECOGNISED: readonly (readonly [bytes: readonly number[], what: string, advice: string])[] = [
  [[0x1f, 0x8b],                         "compressed with gzip",         "unpack it first: gunzip"],
  [[0x28, 0xb5, 0x2f, 0xfd],             "compressed with zstd",         "unpack it first: unzstd"],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "compressed with xz",           "unpack it first: unxz"],
  [[0x04, 0x22, 0x4d, 0x18],             "compressed with lz4",          "unpack it first: unlz4"],
  [[0x42, 0x5a, 0x68],                   "compressed with bzip2",        "unpack it first: bunzip2"],
  [[0x50, 0x4b, 0x03, 0x04],             "a ZIP archive",                "unpack it first: unzip"],
  [[0x34, 0xcd, 0xb2, 0xa1],             "a 'modified' pcap file",       "convert it first: editcap -F pcap"],
  [[0xa1, 0xb2, 0xcd, 0x34],             "a 'modified' pcap file",       "convert it first: editcap -F pcap"],
  [[0xcd, 0x34, 0xb2, 0xa1],             "a 'modified' pcap file",       "convert it first: editcap -F pcap"],
  [[0xa1, 0xb2, 0x34, 0xcd],             "a 'modified' pcap file",       "convert it first: editcap -F pcap"],
  [[0x73, 0x6e, 0x6f, 0x6f, 0x70, 0x00], "a snoop capture",              "convert it first: editcap -F pcap"],
  [[0x47, 0x4d, 0x42, 0x55],             "a Network Monitor capture",    "convert it first: editcap -F pcap"],
];

/**
 * Opens a pcap or pcapng capture of any byte order and time resolution; memory use does not depend on its length.
 *
 * @param name for messages.
 * @throws InputError if it is no capture, CaptureError if it is broken before its first packet, UnsupportedError if it
 * is of a kind or version that is not read.
 */
export function openCapture(source: ByteSource, name: string): CaptureReader {
  const window = new ByteWindow(source);
  if (!window.ensure(1)) throw new InputError("capture-empty", `${name} is empty: a capture has at least a header`);
  if (window.ensure(4)) {
    const little = window.view.getUint32(window.start, true);
    const big = window.view.getUint32(window.start, false);
    if (little === Block.SectionHeader) return new PcapngReader(window, name);
    if (little === PCAP_MICROSECONDS || little === PCAP_NANOSECONDS) return new PcapReader(window, name, true);
    if (big === PCAP_MICROSECONDS || big === PCAP_NANOSECONDS) return new PcapReader(window, name, false);
  }
  for (const [magic, what, advice] of RECOGNISED) {
    if (window.ensure(magic.length) && magic.every((byte, i) => window.bytes[window.start + i] === byte)) {
      throw new UnsupportedError("capture-kind", `${name} is ${what}, which is not read (${advice})`);
    }
  }
  const start = [...window.bytes.subarray(window.start, window.start + Math.min(4, window.available))];
  const shown = start.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  throw new InputError(
    "capture-kind",
    `${name} is no capture: it begins with ${shown}, neither a pcap header nor a pcapng section`,
  );
}

export type CaptureFormat = "pcap" | "pcapng";

export type CaptureWriterOptions = PcapWriterOptions;

/** `fineTimes` concerns pcap only: pcapng files are always written in nanoseconds. */
export function createCaptureWriter(
  sink: ByteSink,
  format: CaptureFormat,
  options: CaptureWriterOptions = {},
): CaptureWriter {
  return format === "pcap" ? new PcapWriter(sink, options) : new PcapngWriter(sink, options);
}
