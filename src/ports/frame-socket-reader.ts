import { ETHERNET_HEADER_BYTES, type FrameListener, LONGEST_FRAME_BYTES } from "../devices/wire.js";

const LENGTH_BYTES = 4;
/** The longest packet that QEMU sends over its sockets (64 KiB and a page); what announces more is no such stream. */
export const LONGEST_PACKET_BYTES = 65_536 + 4096;

/**
 * Takes frames out of a byte stream in the framing of QEMU's stream sockets: before each frame its length in bytes, as
 * four bytes, big-endian. Chunks may end anywhere.
 */
export class FrameReader {
  /** Frames that were left out: too short for an Ethernet header. */
  tooShort = 0;
  /** Left out: longer than any adapter takes. */
  tooLong = 0;
  #chunks: Uint8Array[] = [];
  /** Next byte to be read, in the first chunk. */
  #at = 0;
  #buffered = 0;
  /** Of the frame that comes next; −1 before its length was read. */
  #length = -1;
  /** Bytes of a frame that is left out that are still to come. */
  #skip = 0;
  #announced: number | null = null;
  readonly #header = new Uint8Array(LENGTH_BYTES);
  readonly #whole = new Uint8Array(LONGEST_FRAME_BYTES);

  /** Bytes that were pushed and not yet taken out. */
  get buffered(): number {
    return this.#buffered;
  }

  /** Whether the stream stands in the middle of a frame. */
  get partial(): boolean {
    return this.#buffered > 0 || this.#length >= 0 || this.#skip > 0;
  }

  /** A length beyond {@link LONGEST_PACKET_BYTES} that the stream announced, or null. Nothing can be read behind it. */
  get badLength(): number | null {
    return this.#announced;
  }

  /** @param bytes kept as they are until they are taken out: not to be changed */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#announced !== null) return;
    this.#chunks.push(bytes);
    this.#buffered += bytes.length;
  }

  /** Takes the next frame out; its bytes are lent for the length of the call. @returns false if none is complete */
  next(take: FrameListener): boolean {
    if (!this.#findFrame() || this.#buffered < this.#length) return false;
    const length = this.#length;
    this.#length = -1;
    const first = this.#chunks[0];
    const at = this.#at;
    if (first.length - at >= length) {
      this.#consume(length);
      take(first, at, length);
    } else {
      this.#copy(this.#whole, length);
      take(this.#whole, 0, length);
    }
    return true;
  }

  /** Reads lengths up to that of a frame that an adapter can take. @returns false if more bytes are needed for that */
  #findFrame(): boolean {
    while (this.#length < 0) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, this.#buffered);
        this.#consume(skipped);
        this.#skip -= skipped;
      }
      if (this.#skip > 0 || this.#buffered < LENGTH_BYTES) return false;
      this.#copy(this.#header, LENGTH_BYTES);
      const [a, b, c, d] = this.#header;
      const length = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
      if (length > LONGEST_PACKET_BYTES) {
        this.#announced = length;
        this.#consume(this.#buffered);
        return false;
      }
      if (length >= ETHERNET_HEADER_BYTES && length <= LONGEST_FRAME_BYTES) {
        this.#length = length;
      } else {
        if (length < ETHERNET_HEADER_BYTES) this.tooShort++;
        else this.tooLong++;
        this.#skip = length;
      }
    }
    return true;
  }

  /** Copies what comes next, which may lie in several chunks, and consumes it. */
  #copy(into: Uint8Array, length: number): void {
    for (let done = 0; done < length; ) {
      const first = this.#chunks[0];
      const count = Math.min(length - done, first.length - this.#at);
      into.set(first.subarray(this.#at, this.#at + count), done);
      this.#consume(count);
      done += count;
    }
  }

  #consume(count: number): void {
    this.#buffered -= count;
    let at = this.#at + count;
    let used = 0;
    while (used < this.#chunks.length && at >= this.#chunks[used].length) at -= this.#chunks[used++].length;
    if (used > 0) this.#chunks.splice(0, used);
    this.#at = at;
  }
}
