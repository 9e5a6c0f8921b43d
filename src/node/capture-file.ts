import {
  type CaptureReader,
  type CaptureWriter,
  type CaptureWriterOptions,
  createCaptureWriter,
  openCapture,
} from "../formats/capture.js";
import { FileSink } from "./file-sink.js";
import { FileSource } from "./file-source.js";

export interface OpenCapture extends Disposable {
  readonly reader: CaptureReader;
  close(): void;
}

/**
 * Opens a capture file, or standard input if its name is `-`.
 * @throws InputError, UnsupportedError as `openCapture` and `FileSource`.
 */
export function openCaptureFile(name: string): OpenCapture {
  const source = new FileSource(name);
  try {
    const reader = openCapture(source, name === "-" ? "standard input" : name);
    return { reader, close: () => source.close(), [Symbol.dispose]: () => source.close() };
  } catch (error) {
    source.close();
    throw error;
  }
}

/**
 * Creates a capture file, or writes to standard output if its name is `-`: pcapng if the name ends in .pcapng or .ntar,
 * else pcap.
 * @param inputs files that are still being read: none of them may be the output.
 */
export function createCaptureFile(
  name: string,
  options: CaptureWriterOptions = {},
  inputs: readonly string[] = [],
): CaptureWriter {
  return createCaptureWriter(new FileSink(name, inputs), /\.(pcapng|ntar)$/i.test(name) ? "pcapng" : "pcap", options);
}
