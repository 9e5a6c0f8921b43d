import { InputError } from "../util/errors.js";

/** No record may hold more: what libpcap calls its maximum snapshot length. */
export const LONGEST_CAPTURED_BYTES = 262_144;

/** A capture is broken at byte `offset`. Packets before it were delivered. */
export class CaptureError extends InputError {
  constructor(
    readonly file: string,
    readonly offset: number,
    code: string,
    what: string,
  ) {
    super(code, `${file} is broken at byte ${offset}: ${what}`);
  }
}

/**
 * A packet of a capture. Readers reuse one object and its buffer: it is valid until the next packet is asked for, and
 * whoever keeps a packet keeps a `copy()`.
 */
export class CapturedPacket {
  /** Since 1970, UTC. */
  seconds = 0;
  nanoseconds = 0;
  /** How many bytes of it the capture holds. */
  capturedLength = 0;
  /** How many bytes it had on the wire, as the capture claims. */
  originalLength = 0;
  linkType = 0;
  /** Counted from 0 in its section. */
  interfaceIndex = 0;
  /** The packet is `bytes[offset, offset + capturedLength)`. */
  bytes: Uint8Array = new Uint8Array(0);
  offset = 0;

  /** A view of the captured bytes. */
  get data(): Uint8Array {
    return this.bytes.subarray(this.offset, this.offset + this.capturedLength);
  }

  copy(): CapturedPacket {
    const copy = Object.assign(new CapturedPacket(), this);
    copy.bytes = this.data.slice();
    copy.offset = 0;
    return copy;
  }
}

/** Reads a capture from front to end, once. */
export interface CaptureReader extends Iterable<CapturedPacket> {
  /** Name of the file, for messages. */
  readonly name: string;
  readonly format: "pcap" | "pcapng";
  /** Link type of the file, or of the first interface of a pcapng file; null if that has none before its first packet. */
  readonly linkType: number | null;
  /** The most bytes that were captured of a packet; 0 for no limit. */
  readonly snapLength: number;
  /** Whether the times are finer than a microsecond (in pcapng: those of the first interface). */
  readonly fineTimes: boolean;
  /** The next packet (the same object each time), or null at the end. @throws CaptureError, again at every later call. */
  next(): CapturedPacket | null;
}

/** Writes a capture. Times (not before 1970) and lengths as in `CapturedPacket`; what is longer than the snapshot length is cut. */
export interface CaptureWriter {
  /** How many packets were written. */
  readonly packets: number;
  write(
    bytes: Uint8Array,
    offset: number,
    length: number,
    seconds: number,
    nanoseconds: number,
    originalLength?: number,
  ): void;
  /** Passes on to the sink what is still buffered. */
  flush(): void;
  /** Flushes and closes the sink. A second call does nothing. */
  close(): void;
}

/** Turns `next` into iteration, and keeps a reader that failed from going on behind the damage. */
export abstract class PacketIteration {
  protected readonly packet = new CapturedPacket();
  #failure: unknown = null;

  protected abstract advance(): CapturedPacket | null;

  next(): CapturedPacket | null {
    if (this.#failure !== null) throw this.#failure;
    try {
      return this.advance();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  *[Symbol.iterator](): Generator<CapturedPacket, void, undefined> {
    for (let packet = this.next(); packet !== null; packet = this.next()) yield packet;
  }
}
