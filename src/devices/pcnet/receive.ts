import type { DeviceHost } from "../../bus/device.js";
import { copyBytes } from "../../util/bytes.js";
import { frameCheckSequence } from "../frame-check.js";
import { RingDescriptor } from "./descriptor.js";
import type { Interrupts } from "./interrupts.js";
import { Csr, Csr0, Csr4, Csr5, DescriptorStatus, Mode, ReceiveStatus } from "./registers.js";
import { Ring } from "./ring.js";

const SHORTEST_FRAME = 60;
const HEADER_BYTES = 14;
const FCS_BYTES = 4;
const SHORTEST_PAYLOAD = 46;
/** MCNT has twelve bits. */
const LONGEST_FRAME = 4095 - FCS_BYTES;
const REJECTED = -1;

/** Reception: address match, then as many descriptors of the ring as the frame takes. */
export class Receiver {
  readonly ring: Ring;
  readonly #csr: Uint16Array;
  readonly #host: DeviceHost;
  readonly #interrupts: Interrupts;
  readonly #exactFcs: boolean;
  readonly #aborted: () => void;
  readonly #descriptor: RingDescriptor;
  readonly #stage = new Uint8Array(LONGEST_FRAME + FCS_BYTES);
  readonly #view = new DataView(this.#stage.buffer);

  /**
   * @param exactFcs whether the FCS that is stored behind frames is computed; else it is zero
   * @param aborted runs when an access was refused
   */
  constructor(
    csr: Uint16Array,
    bcr: Uint16Array,
    host: DeviceHost,
    interrupts: Interrupts,
    exactFcs: boolean,
    aborted: () => void,
  ) {
    this.#csr = csr;
    this.#host = host;
    this.#interrupts = interrupts;
    this.#exactFcs = exactFcs;
    this.#aborted = aborted;
    this.ring = Ring.receive(csr);
    this.#descriptor = new RingDescriptor(csr, bcr, host.dma);
  }

  /** A frame comes in from the wire (or from the own transmitter in loopback). */
  frame(bytes: Uint8Array, offset: number, length: number): void {
    const csr = this.#csr;
    const ready = (csr[Csr.STATUS] & Csr0.RXON) !== 0 && (csr[Csr.EXTENDED] & Csr5.SPND) === 0;
    if (!ready || length < HEADER_BYTES || length > LONGEST_FRAME) return;
    const stage = this.#stage;
    copyBytes(stage, 0, bytes, offset, length);
    let size = length;
    if (size < SHORTEST_FRAME) {
      // The sender's MAC pads; far sides that deliver what software has seen (captures, sockets) have not done so.
      stage.fill(0, size, SHORTEST_FRAME);
      size = SHORTEST_FRAME;
    }
    const match = this.#match();
    if (match === REJECTED) return;
    this.#store(this.#trailer(size), match);
  }

  /** @returns how the destination address matches, as receive status, or {@link REJECTED} */
  #match(): number {
    const csr = this.#csr;
    const view = this.#view;
    const mode = csr[Csr.MODE];
    if ((mode & Mode.PROM) !== 0) return 0;
    const low = view.getUint16(0, true);
    const middle = view.getUint16(2, true);
    const high = view.getUint16(4, true);
    if ((low & 1) === 0) {
      const own = low === csr[Csr.PADR] && middle === csr[Csr.PADR + 1] && high === csr[Csr.PADR + 2];
      return own && (mode & Mode.DRCVPA) === 0 ? ReceiveStatus.PAM : REJECTED;
    }
    const broadcast = low === 0xffff && middle === 0xffff && high === 0xffff;
    if (broadcast && (mode & Mode.DRCVBC) === 0) return ReceiveStatus.BAM;
    const bit = ~frameCheckSequence(view, 0, 6) >>> 26;
    return ((csr[Csr.LADRF + (bit >>> 4)] >>> (bit & 15)) & 1) !== 0 ? ReceiveStatus.LAFM : REJECTED;
  }

  /** Puts the FCS behind the frame, or strips the padding of IEEE 802.3 frames. @returns the length to store */
  #trailer(size: number): number {
    const field = this.#view.getUint16(12);
    if ((this.#csr[Csr.TEST] & Csr4.ASTRP_RCV) !== 0 && field < SHORTEST_PAYLOAD) return HEADER_BYTES + field;
    this.#view.setUint32(size, this.#exactFcs ? frameCheckSequence(this.#view, 0, size) : 0, true);
    return size + FCS_BYTES;
  }

  #store(length: number, match: number): void {
    const descriptor = this.#descriptor;
    const ring = this.ring;
    if (ring.length === 0 || !this.#load(0)) return;
    if (!descriptor.owned) {
      this.#missed();
      return;
    }
    let position: number = DescriptorStatus.STP;
    for (let done = 0; done < length; ) {
      const piece = Math.min(descriptor.count, length - done);
      if (!this.#host.dma.write(descriptor.address, this.#stage, done, piece)) {
        this.#aborted();
        return;
      }
      done += piece;
      let status = position;
      position = 0;
      if (done === length) status |= DescriptorStatus.ENP | match;
      else if (this.#nextIsHost()) {
        // There is nowhere to put the rest.
        status |= DescriptorStatus.ERR | ReceiveStatus.BUFF | ReceiveStatus.OFLO;
        done = length;
      }
      if (!this.#release(status, (status & DescriptorStatus.ENP) !== 0 ? length : 0)) return;
      if (done < length && !this.#load(0)) return;
    }
    this.#interrupts.raise(Csr0.RINT);
  }

  #load(steps: number): boolean {
    if (this.#descriptor.load(this.ring.base, this.ring.after(steps))) return true;
    this.#aborted();
    return false;
  }

  /** Whether the descriptor behind the current one is the host's; the current one stays in hand. */
  #nextIsHost(): boolean {
    if (this.ring.length === 1) return true;
    const passed = this.#load(1);
    const isHost = !passed || !this.#descriptor.owned;
    return !this.#load(0) || isHost;
  }

  #release(status: number, length: number): boolean {
    this.#descriptor.status = status;
    if (!this.#descriptor.store(length)) {
      this.#aborted();
      return false;
    }
    this.ring.advance();
    return true;
  }

  #missed(): void {
    const csr = this.#csr;
    csr[Csr.MISSED]++;
    if (csr[Csr.MISSED] === 0) csr[Csr.TEST] |= Csr4.MFCO;
    this.#interrupts.raise(Csr0.MISS);
  }
}
