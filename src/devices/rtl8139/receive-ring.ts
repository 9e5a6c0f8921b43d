import type { DmaPort } from "../../bus/io-mmu.js";
import { Rcr, Register, type RegisterFile } from "./registers.js";

/** What became of a frame. */
export const Stored = { yes: 0, noRoom: 1, refused: 2 } as const;

const SMALLEST_RING = 8192;
const LARGEST_RING = 65_536;
const HEADER_BYTES = 4;
/** CAPR runs so much behind the byte that software reads next. */
const CAPR_LEAD = 16;

/** Reception in C mode: one circular buffer at RBSTART, with CBR for the part's end and CAPR for the driver's. */
export class ReceiveRing {
  readonly #registers: RegisterFile;
  readonly #dma: DmaPort;

  constructor(registers: RegisterFile, dma: DmaPort) {
    this.#registers = registers;
    this.#dma = dma;
  }

  get #bytes(): number {
    return SMALLEST_RING << ((this.#registers.get32(Register.RCR) >>> Rcr.RBLEN_SHIFT) & 3);
  }

  get #read(): number {
    return (this.#registers.get16(Register.CAPR) + CAPR_LEAD) & (this.#bytes - 1);
  }

  /** CR.BUFE. */
  get empty(): boolean {
    return (this.#registers.get16(Register.CBR) & (this.#bytes - 1)) === this.#read;
  }

  reset(): void {
    this.#registers.set16(Register.CBR, 0);
    this.#registers.set16(Register.CAPR, -CAPR_LEAD & 0xffff);
  }

  /**
   * @param stage the frame with its FCS behind room for a header
   * @param length of the frame with its FCS
   * @param status of {@link RxHeader}
   */
  store(stage: Uint8Array, length: number, status: number): number {
    const ring = this.#bytes;
    const head = this.#registers.get16(Register.CBR) & (ring - 1);
    const read = this.#read;
    const free = head === read ? ring : (read - head) & (ring - 1);
    const total = HEADER_BYTES + length;
    const aligned = (total + 3) & ~3;
    if (aligned >= free) return Stored.noRoom;
    stage[0] = status;
    stage[1] = status >>> 8;
    stage[2] = length;
    stage[3] = length >>> 8;
    const base = this.#registers.get32(Register.RBSTART);
    // With WRAP a frame runs on behind the ring's end, where software has room for it.
    const runsOn = (this.#registers.get32(Register.RCR) & Rcr.WRAP) !== 0 && ring < LARGEST_RING;
    const first = runsOn ? total : Math.min(total, ring - head);
    if (!this.#dma.write(base + head, stage, 0, first)) return Stored.refused;
    if (first < total && !this.#dma.write(base, stage, first, total - first)) return Stored.refused;
    this.#registers.set16(Register.CBR, (head + aligned) & (ring - 1));
    return Stored.yes;
  }
}
