// The block format, draft-ietf-opsawg-pcapng; section numbers are those of its revision 02.
import { UnsupportedError } from "../util/errors.js";
import type { ByteWindow } from "./byte-window.js";
import {
  type CapturedPacket,
  CaptureError,
  type CaptureReader,
  LONGEST_CAPTURED_BYTES,
  PacketIteration,
} from "./capture-packet.js";
import { type TickClock, tickClock } from "./pcapng-time.js";

// biome-ignore format: a table
export const Block = {
  InterfaceDescription: 0x0000_0001, // 4.2
  ObsoletePacket:       0x0000_0002, // appendix A
  SimplePacket:         0x0000_0003, // 4.4
  EnhancedPacket:       0x0000_0006, // 4.3
  SectionHeader:        0x0a0d_0d0a, // 4.1, the same in both byte orders
} as const;

// biome-ignore format: a table
export const Option = {
  endofopt:     0,
  if_tsresol:   9,
  if_tsoffset: 14,
} as const;

export const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;

/** Type and length in front, the length again behind. */
const BLOCK_FRAME_BYTES = 12;
/** Blocks that must be looked at as a whole are no longer: the longest packet, and plenty of options. */
const LONGEST_BLOCK_BYTES = 1 << 20;
const MOST_INTERFACES = 65_536;
/** Microseconds, if if_tsresol is missing. */
const DEFAULT_RESOLUTION = 6;

interface CaptureInterface {
  readonly linkType: number;
  /** 0: no limit. */
  readonly snapLength: number;
  readonly clock: TickClock;
}

export class PcapngReader extends PacketIteration implements CaptureReader {
  readonly format = "pcapng";
  readonly linkType: number | null;
  readonly snapLength: number;
  readonly fineTimes: boolean;
  #littleEndian = true;
  #interfaces: CaptureInterface[] = [];
  /** Bytes of the block that the current packet lies in: the packet stays in the window until the next is asked for. */
  #held = 0;

  /** Reads on to the first packet. @throws CaptureError, UnsupportedError for another version than 1.0 and 1.2. */
  constructor(
    private readonly window: ByteWindow,
    readonly name: string,
  ) {
    super();
    this.#sectionHeader();
    while (this.#nextIsInterface()) this.#block();
    const first = this.#interfaces.at(0);
    this.linkType = first?.linkType ?? null;
    this.snapLength = first?.snapLength ?? 0;
    this.fineTimes = first?.clock.fine ?? false;
  }

  protected override advance(): CapturedPacket | null {
    this.window.skip(this.#held);
    this.#held = 0;
    for (;;) {
      if (!this.window.ensure(1)) return null;
      if (this.#block()) return this.packet;
    }
  }

  #nextIsInterface(): boolean {
    if (!this.window.ensure(4)) return false;
    return this.window.view.getUint32(this.window.start, this.#littleEndian) === Block.InterfaceDescription;
  }

  /** Reads the next block; true if it held a packet. */
  #block(): boolean {
    const { window } = this;
    if (!window.ensure(8)) this.#truncated(window.available, 8, "of a block header");
    const type = window.view.getUint32(window.start, this.#littleEndian);
    if (type === Block.SectionHeader) {
      this.#sectionHeader();
      return false;
    }
    const total = window.view.getUint32(window.start + 4, this.#littleEndian);
    this.#checkTotal(total, BLOCK_FRAME_BYTES);
    switch (type) {
      case Block.InterfaceDescription:
        this.#whole(total);
        this.#interfaceDescription(total);
        window.skip(total);
        return false;
      case Block.EnhancedPacket:
        this.#whole(total);
        this.#enhancedPacket(total);
        break;
      case Block.SimplePacket:
        this.#whole(total);
        this.#simplePacket(total);
        break;
      case Block.ObsoletePacket:
        this.#whole(total);
        this.#obsoletePacket(total);
        break;
      default:
        this.#pass(total);
        return false;
    }
    this.#held = total;
    return true;
  }

  /** 4.1: decides the byte order of all that follows, and forgets the interfaces of the section before. */
  #sectionHeader(): void {
    const { window } = this;
    if (!window.ensure(28)) this.#truncated(window.available, 28, "of a section header block");
    const { start } = window;
    const order = window.view.getUint32(start + 8, true);
    this.#littleEndian = order === BYTE_ORDER_MAGIC;
    if (!this.#littleEndian && window.view.getUint32(start + 8, false) !== BYTE_ORDER_MAGIC) {
      this.#broken("capture-section", `the section header has no byte-order magic, but 0x${order.toString(16)}`);
    }
    const total = window.view.getUint32(start + 4, this.#littleEndian);
    this.#checkTotal(total, 28);
    const major = window.view.getUint16(start + 12, this.#littleEndian);
    const minor = window.view.getUint16(start + 14, this.#littleEndian);
    if (major !== 1 || (minor !== 0 && minor !== 2)) {
      throw new UnsupportedError(
        "capture-version",
        `${this.name} has a pcapng section of version ${major}.${minor} at byte ${window.offset}; versions 1.0 and 1.2 can be read`,
      );
    }
    this.#interfaces = [];
    this.#pass(total);
  }

  /** 4.2 */
  #interfaceDescription(total: number): void {
    const { view, start } = this.window;
    const little = this.#littleEndian;
    this.#checkTotal(total, BLOCK_FRAME_BYTES + 8);
    if (this.#interfaces.length === MOST_INTERFACES) {
      this.#broken("capture-interface", `there are more than ${MOST_INTERFACES} interfaces in one section`);
    }
    let resolution = DEFAULT_RESOLUTION;
    let offsetSeconds = 0;
    const end = start + total - 4;
    for (let at = start + 16; at < end; ) {
      const code = view.getUint16(at, little);
      const length = view.getUint16(at + 2, little);
      if (code === Option.endofopt) break;
      if (at + 4 + length > end) {
        this.#broken(
          "capture-option",
          `option ${code} claims ${length} bytes, but its block ends after ${end - at - 4}`,
          at,
        );
      }
      if (code === Option.if_tsresol) {
        if (length !== 1) this.#broken("capture-option", `if_tsresol has ${length} bytes instead of 1`, at);
        resolution = view.getUint8(at + 4);
      } else if (code === Option.if_tsoffset) {
        if (length !== 8) this.#broken("capture-option", `if_tsoffset has ${length} bytes instead of 8`, at);
        offsetSeconds = Number(view.getBigInt64(at + 4, little));
      }
      at += 4 + ((length + 3) & ~3);
    }
    const clock = tickClock(resolution, offsetSeconds);
    if (clock === null) {
      const [base, power] = resolution >= 0x80 ? [2, resolution & 0x7f] : [10, resolution];
      this.#broken("capture-option", `if_tsresol asks for ticks of ${base}^-${power} s, finer than 64 bits can count`);
    }
    this.#interfaces.push({
      linkType: view.getUint16(start + 8, little),
      snapLength: view.getUint32(start + 12, little),
      clock,
    });
  }

  /** 4.3 */
  #enhancedPacket(total: number): void {
    this.#checkTotal(total, BLOCK_FRAME_BYTES + 20);
    const { view, start } = this.window;
    const little = this.#littleEndian;
    this.#timed(
      total,
      view.getUint32(start + 8, little),
      view.getUint32(start + 12, little),
      view.getUint32(start + 16, little),
      view.getUint32(start + 20, little),
      view.getUint32(start + 24, little),
    );
  }

  /** Appendix A: as the enhanced one, but for the interface, which shares its word with a count of drops. */
  #obsoletePacket(total: number): void {
    this.#checkTotal(total, BLOCK_FRAME_BYTES + 20);
    const { view, start } = this.window;
    const little = this.#littleEndian;
    this.#timed(
      total,
      view.getUint16(start + 8, little),
      view.getUint32(start + 12, little),
      view.getUint32(start + 16, little),
      view.getUint32(start + 20, little),
      view.getUint32(start + 24, little),
    );
  }

  #timed(total: number, index: number, high: number, low: number, captured: number, original: number): void {
    const from = this.#interface(index);
    if (captured > LONGEST_CAPTURED_BYTES || (from.snapLength !== 0 && captured > from.snapLength)) {
      const most = Math.min(from.snapLength || LONGEST_CAPTURED_BYTES, LONGEST_CAPTURED_BYTES);
      this.#broken(
        "capture-length",
        `the packet claims ${captured} captured bytes, more than the ${most} of its interface`,
      );
    }
    from.clock.set(high, low);
    this.#deliver(total, 28, from, index, captured, original);
    this.packet.seconds = from.clock.seconds;
    this.packet.nanoseconds = from.clock.nanoseconds;
  }

  /** 4.4: of the first interface, without a time; how much was captured follows from the snapshot length. */
  #simplePacket(total: number): void {
    this.#checkTotal(total, BLOCK_FRAME_BYTES + 4);
    const original = this.window.view.getUint32(this.window.start + 8, this.#littleEndian);
    const from = this.#interface(0);
    const captured = from.snapLength === 0 ? original : Math.min(original, from.snapLength);
    if (captured > LONGEST_CAPTURED_BYTES) {
      this.#broken(
        "capture-length",
        `the packet claims ${captured} captured bytes, more than the ${LONGEST_CAPTURED_BYTES} that any capture holds`,
      );
    }
    this.#deliver(total, 12, from, 0, captured, original);
    this.packet.seconds = 0;
    this.packet.nanoseconds = 0;
  }

  #deliver(
    total: number,
    header: number,
    from: CaptureInterface,
    index: number,
    captured: number,
    original: number,
  ): void {
    const room = total - header - 4;
    if (captured > room) {
      this.#broken(
        "capture-length",
        `the packet claims ${captured} captured bytes, but its block has room for ${room}`,
      );
    }
    const { packet, window } = this;
    packet.linkType = from.linkType;
    packet.interfaceIndex = index;
    packet.capturedLength = captured;
    packet.originalLength = original;
    packet.bytes = window.bytes;
    packet.offset = window.start + header;
  }

  #interface(index: number): CaptureInterface {
    const from = this.#interfaces.at(index);
    if (from === undefined) {
      this.#broken(
        "capture-interface",
        `the packet came from interface ${index}, but its section has described ${this.#interfaces.length} before it`,
      );
    }
    return from;
  }

  #checkTotal(total: number, least: number): void {
    if (total < least)
      this.#broken("capture-block", `the block claims a length of ${total} bytes; its kind has at least ${least}`);
    if (total % 4 !== 0) this.#broken("capture-block", `the block length ${total} is no multiple of 4`);
  }

  /** Makes a block available from its type to the length behind it, which must be that in front. */
  #whole(total: number): void {
    const { window } = this;
    if (total > LONGEST_BLOCK_BYTES) {
      this.#broken(
        "capture-block",
        `the block claims a length of ${total} bytes; its kind has at most ${LONGEST_BLOCK_BYTES}`,
      );
    }
    if (!window.ensure(total)) this.#truncated(window.available, total, "of this block");
    this.#checkTrailer(total, window.view.getUint32(window.start + total - 4, this.#littleEndian), window.offset);
  }

  /** Passes over a block of any length, checking only its frame. */
  #pass(total: number): void {
    const { window } = this;
    const offset = window.offset;
    const skipped = window.skip(total - 4);
    if (skipped < total - 4) this.#truncated(skipped, total, "of this block", offset);
    if (!window.ensure(4)) this.#truncated(skipped + window.available, total, "of this block", offset);
    this.#checkTrailer(total, window.view.getUint32(window.start, this.#littleEndian), offset);
    window.skip(4);
  }

  #checkTrailer(total: number, again: number, offset: number): void {
    if (again === total) return;
    throw new CaptureError(
      this.name,
      offset,
      "capture-block",
      `the block length is ${total} in front and ${again} behind`,
    );
  }

  #truncated(present: number, length: number, what: string, offset = this.window.offset): never {
    const text = `the file ends after ${present} of the ${length} bytes ${what}`;
    throw new CaptureError(this.name, offset, "capture-truncated", text);
  }

  /** @param at the place in the window that the offset tells of; the start of the block if left out. */
  #broken(code: string, what: string, at = this.window.start): never {
    throw new CaptureError(this.name, this.window.offset + at - this.window.start, code, what);
  }
}
