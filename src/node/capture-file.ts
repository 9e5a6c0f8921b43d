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
 * A capture file that comes into being with its first frame, or when it is asked for: what fails before leaves none
 * behind, and overwrites none.
 */
export class LateCapture implements CaptureWriter {
  #writer: CaptureWriter | null = null;
  #isClosed = false;

  /** @param inputs as for `createCaptureFile` */
  constructor(
    private readonly name: string,
    private readonly inputs: readonly string[],
  ) {}

  get packets(): number {
    return this.#writer?.packets ?? 0;
  }

  /** @throws as `createCaptureFile` */
  create(): void {
    if (!this.#isClosed) this.#writer ??= createCaptureFile(this.name, {}, this.inputs);
  }

  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    seconds: number,
    nanoseconds: number,
    originalLength?: number,
  ): void {
    this.create();
    this.#writer?.write(bytes, offset, length, seconds, nanoseconds, originalLength);
  }

  flush(): void {
    this.#writer?.flush();
  }

  close(): void {
    this.#isClosed = true;
    this.#writer?.close();
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
