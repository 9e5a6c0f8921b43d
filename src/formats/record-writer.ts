import { UsageError } from "../util/errors.js";
import type { ByteSink } from "./byte-stream.js";
import { LONGEST_CAPTURED_BYTES } from "./capture-packet.js";
import { RecordBuffer } from "./record-buffer.js";

/** What writers of all formats share: a buffer in front of the sink, the snapshot length, the count. */
export abstract class RecordWriter {
  protected readonly out: RecordBuffer;
  protected readonly snapLength: number;
  protected written = 0;

  /** @param snapLength the most bytes to keep of a packet; 0: as many as any capture holds. @throws UsageError */
  constructor(sink: ByteSink, snapLength = 0) {
    if (!Number.isSafeInteger(snapLength) || snapLength < 0) {
      throw new UsageError(`a snapshot length of ${snapLength} bytes: choose a whole number, 0 for no limit`);
    }
    this.out = new RecordBuffer(sink);
    this.snapLength = Math.min(snapLength === 0 ? LONGEST_CAPTURED_BYTES : snapLength, LONGEST_CAPTURED_BYTES);
  }

  get packets(): number {
    return this.written;
  }

  flush(): void {
    this.out.flush();
  }

  close(): void {
    this.out.close();
  }
}
