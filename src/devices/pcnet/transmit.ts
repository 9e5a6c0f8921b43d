import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";
import type { Wire } from "../wire.js";
import { RingDescriptor } from "./descriptor.js";
import type { Interrupts } from "./interrupts.js";
import { Csr, Csr0, Csr3, Csr4, Csr5, DescriptorStatus, Mode, TransmitError, TransmitStatus } from "./registers.js";
import { Ring } from "./ring.js";

const SHORTEST_FRAME = 60;
const FCS_BYTES = 4;
/** With the FCS: whoever sends more babbles (CSR0.BABL). */
const LONGEST_QUIET_FRAME = 1518;
/** A frame may take several buffers of 4 KiB; beyond this nobody could receive it. */
const LONGEST_FRAME = 16_110;
/** Descriptors done in one go; the rest goes on from the machine loop. */
const BURST = 1024;
/** How often a station that defers looks again whether the medium is free. */
const DEFER_NANOSECONDS = 100_000;

export interface TransmitState {
  /** Whether a frame is being put together. */
  started: boolean;
  tooLong: boolean;
  frame: number[];
  resume: number;
}

/**
 * Transmission: takes descriptors in order when software demands it (CSR0.TDMD), when the part starts, and when it
 * leaves suspension. It waits while others hold the medium.
 */
export class Transmitter {
  readonly ring: Ring;
  readonly #csr: Uint16Array;
  readonly #host: DeviceHost;
  readonly #interrupts: Interrupts;
  readonly #wire: Wire;
  readonly #linkUp: () => boolean;
  readonly #loop: (bytes: Uint8Array, offset: number, length: number) => void;
  readonly #aborted: () => void;
  readonly #descriptor: RingDescriptor;
  readonly #peek: RingDescriptor;
  readonly #frame = new Uint8Array(LONGEST_FRAME);
  readonly #resume: Timer;
  #length = 0;
  #started = false;
  #tooLong = false;
  #running = false;
  #causes = 0;

  /**
   * @param loop takes frames in loopback
   * @param aborted runs when an access was refused
   */
  constructor(
    csr: Uint16Array,
    bcr: Uint16Array,
    host: DeviceHost,
    interrupts: Interrupts,
    wire: Wire,
    linkUp: () => boolean,
    loop: (bytes: Uint8Array, offset: number, length: number) => void,
    aborted: () => void,
  ) {
    this.#csr = csr;
    this.#host = host;
    this.#interrupts = interrupts;
    this.#wire = wire;
    this.#linkUp = linkUp;
    this.#loop = loop;
    this.#aborted = aborted;
    this.ring = Ring.transmit(csr);
    this.#descriptor = new RingDescriptor(csr, bcr, host.dma);
    this.#peek = new RingDescriptor(csr, bcr, host.dma);
    this.#resume = host.clock.timer(() => this.run());
  }

  stop(): void {
    this.#resume.cancel();
    this.#abandon();
  }

  run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#causes = 0;
    let budget = BURST;
    while (budget > 0 && this.#ready() && this.#next()) budget--;
    this.#running = false;
    if (budget === 0) this.#resume.arm(0);
    this.#csr[Csr.STATUS] &= ~Csr0.TDMD;
    if (budget < BURST) this.#interrupts.raise(this.#causes);
  }

  #ready(): boolean {
    const csr = this.#csr;
    return (csr[Csr.STATUS] & Csr0.TXON) !== 0 && (csr[Csr.EXTENDED] & Csr5.SPND) === 0 && this.ring.length !== 0;
  }

  /** Does the next descriptor. @returns false if there is none, or it has to wait */
  #next(): boolean {
    const descriptor = this.#descriptor;
    if (!descriptor.load(this.ring.base, this.ring.index)) return this.#abort();
    if (!descriptor.owned) return false;
    if (this.#defers()) return false;
    if ((descriptor.status & DescriptorStatus.STP) !== 0) {
      this.#abandon();
      this.#started = true;
    }
    // A buffer that belongs to no frame is skipped.
    if (this.#started && !this.#gather()) return this.#abort();
    const ends = (descriptor.status & DescriptorStatus.ENP) !== 0;
    if (this.#started && ends) return this.#finish();
    if (this.#started && !this.#nextIsOwned()) return this.#underflow();
    return this.#release(0);
  }

  /** Whether the medium is busy. Looks again in a while then. */
  #defers(): boolean {
    const loops = (this.#csr[Csr.MODE] & Mode.LOOP) !== 0;
    if (loops || this.#wire.busy !== true) return false;
    this.#resume.arm(DEFER_NANOSECONDS);
    return true;
  }

  #gather(): boolean {
    const { address, count } = this.#descriptor;
    if (this.#length + count > LONGEST_FRAME) {
      this.#tooLong = true;
      return true;
    }
    if (!this.#host.dma.read(address, this.#frame, this.#length, count)) return false;
    this.#length += count;
    return true;
  }

  #nextIsOwned(): boolean {
    return this.ring.length > 1 && this.#peek.load(this.ring.base, this.ring.after(1)) && this.#peek.owned;
  }

  /** The last buffer of a frame is in: puts it on the wire. */
  #finish(): boolean {
    const loops = (this.#csr[Csr.MODE] & Mode.LOOP) !== 0;
    let errors = 0;
    if (this.#tooLong) {
      this.#host.violation("tx-frame-too-long", `a frame to transmit is longer than ${LONGEST_FRAME} bytes`);
    } else if (!loops && !this.#linkUp()) {
      errors = TransmitError.LCAR;
      this.#causes |= Csr0.CERR;
    } else {
      this.#emit(loops);
    }
    this.#abandon();
    this.#csr[Csr.TEST] |= Csr4.TXSTRT;
    if (errors !== 0 || this.#reportsSuccess()) this.#causes |= Csr0.TINT;
    return this.#release(errors);
  }

  /** CSR5.TOKINTD keeps success to itself; with LTINTEN descriptors have a say. */
  #reportsSuccess(): boolean {
    const extended = this.#csr[Csr.EXTENDED];
    if ((extended & Csr5.LTINTEN) !== 0) return (this.#descriptor.status & TransmitStatus.LTINT) !== 0;
    return (extended & Csr5.TOKINTD) === 0;
  }

  /** Padding and FCS, then the wire. */
  #emit(loops: boolean): void {
    const mode = this.#csr[Csr.MODE];
    let length = this.#length;
    const pads = (this.#csr[Csr.TEST] & Csr4.APAD_XMT) !== 0 && length < SHORTEST_FRAME;
    if (pads) {
      this.#frame.fill(0, length, SHORTEST_FRAME);
      length = SHORTEST_FRAME;
    } else if ((mode & Mode.DXMTFCS) !== 0 && (this.#descriptor.status & TransmitStatus.ADD_FCS) === 0) {
      // Software brought its own.
      length -= FCS_BYTES;
    }
    if (length <= 0) return;
    if (length + FCS_BYTES > LONGEST_QUIET_FRAME) this.#causes |= Csr0.BABL;
    if (loops) this.#loop(this.#frame, 0, length);
    else this.#wire.send(this.#frame, 0, length);
  }

  /** The frame goes on in a descriptor that is the host's: the FIFO runs dry. */
  #underflow(): boolean {
    this.#abandon();
    this.#causes |= Csr0.TINT;
    if ((this.#csr[Csr.MASK] & Csr3.DXSUFLO) === 0) this.#csr[Csr.STATUS] &= ~Csr0.TXON;
    return this.#release((TransmitError.BUFF | TransmitError.UFLO) >>> 0);
  }

  #release(errors: number): boolean {
    const descriptor = this.#descriptor;
    const kept = descriptor.status & (DescriptorStatus.STP | DescriptorStatus.ENP | TransmitStatus.ADD_FCS | 0xff);
    descriptor.status = kept | (errors !== 0 ? DescriptorStatus.ERR : 0);
    descriptor.detail = errors;
    if (!descriptor.store()) return this.#abort();
    this.ring.advance();
    return true;
  }

  #abandon(): void {
    this.#length = 0;
    this.#started = false;
    this.#tooLong = false;
  }

  #abort(): false {
    this.#abandon();
    this.#aborted();
    return false;
  }

  snapshot(): TransmitState {
    return {
      started: this.#started,
      tooLong: this.#tooLong,
      frame: [...this.#frame.subarray(0, this.#length)],
      resume: remaining(this.#resume, this.#host.clock),
    };
  }

  restore(state: StateReader): void {
    this.#started = state.flag("started");
    this.#tooLong = state.flag("tooLong");
    const frame = state.numbers("frame", 0, LONGEST_FRAME, 0xff);
    this.#frame.set(frame);
    this.#length = frame.length;
    rearm(this.#resume, state.delay("resume"));
  }
}
