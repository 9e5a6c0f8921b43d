import type { DeviceHost } from "../../bus/device.js";
import { type PciConfigSpace, PciStatus } from "../../bus/pci-config.js";
import { InputError } from "../../util/errors.js";
import type { StateReader } from "../../util/state-reader.js";
import { frameCheckSequence } from "../frame-check.js";
import type { Interrupts } from "./interrupts.js";
import { PacketFifo, type PacketFifoState } from "./packet-fifo.js";
import { isBroadcast, Match, ReceiveFilter } from "./receive-filter.js";
import { ReceiveOffload } from "./receive-offload.js";
import { Cause, Ctrl, DESCRIPTOR_BYTES, DESCRIPTOR_SHIFT, Rctl, Register, RxStatus, Statistic } from "./registers.js";
import type { Statistics } from "./statistics.js";

/** Sizes without the FCS. */
const SHORTEST_FRAME = 60;
const LONGEST_STANDARD_FRAME = 1518;
const LONGEST_FRAME = 16_380;
const HEADER_BYTES = 14;
const TAG_BYTES = 4;
const FCS_BYTES = 4;
/** Descriptors that the part holds on chip. */
const PREFETCH = 64;
const PAUSE_OPCODE = 1;
/** RCTL.BSIZE without and with RCTL.BSEX (where 00b is reserved). */
const BUFFER_SIZES = [2048, 1024, 512, 256, 2048, 16_384, 8192, 4096];

export interface ReceiveState {
  halted: boolean;
  /** Bytes of the frame at the head of the FIFO that are in host memory already. */
  progress: number;
  /** Prefetched descriptors that have not been used, as bytes. */
  prefetched: number[];
  fifo: PacketFifoState;
}

/**
 * Reception, §3.2: filter → packet FIFO (when no descriptor is free) → buffers of the descriptor ring.
 *
 * A refused access stops the queue until the driver sets it up again (RCTL.EN off, a ring register, or a reset), as a
 * master abort leaves the part's DMA engine; meanwhile frames fill the FIFO and then are missed.
 */
export class Receiver {
  readonly #registers: Uint32Array;
  readonly #host: DeviceHost;
  readonly #config: PciConfigSpace;
  readonly #interrupts: Interrupts;
  readonly #statistics: Statistics;
  readonly #exactFcs: boolean;
  readonly #paused: (quanta: number) => void;
  readonly filter: ReceiveFilter;
  readonly #offload = new ReceiveOffload();
  readonly #fifo = new PacketFifo();
  readonly #descriptors = new Uint8Array(PREFETCH * DESCRIPTOR_BYTES);
  readonly #descriptorWords = new Uint32Array(this.#descriptors.buffer);
  #next = 0;
  #fetched = 0;
  readonly #writeBack = new Uint8Array(8);
  readonly #writeBackWords = new Uint32Array(this.#writeBack.buffer);
  /** A frame that had to be padded or lost its tag. */
  readonly #stage = new Uint8Array(LONGEST_FRAME);
  readonly #stageView = new DataView(this.#stage.buffer);
  readonly #fcs = new Uint8Array(FCS_BYTES);
  readonly #fcsWord = new Uint32Array(this.#fcs.buffer);
  /** The array that the last frame from the wire lay in, and a view of its buffer. */
  #wireBytes: Uint8Array = this.#stage;
  #wireView: DataView = this.#stageView;
  #wireOffset = 0;
  #progress = 0;
  #halted = false;

  /**
   * @param exactFcs whether the FCS that is stored with RCTL.SECRC off is computed (about 1 ns a byte); else it is zero
   * @param paused a PAUSE frame asks to stop transmission for this many quanta
   */
  constructor(
    registers: Uint32Array,
    host: DeviceHost,
    config: PciConfigSpace,
    interrupts: Interrupts,
    statistics: Statistics,
    exactFcs: boolean,
    paused: (quanta: number) => void,
  ) {
    this.#registers = registers;
    this.#host = host;
    this.#config = config;
    this.#interrupts = interrupts;
    this.#statistics = statistics;
    this.#exactFcs = exactFcs;
    this.#paused = paused;
    this.filter = new ReceiveFilter(registers);
  }

  /** A frame comes in from the wire (or from the own transmitter in loopback). */
  frame(bytes: Uint8Array, offset: number, length: number): void {
    const rctl = this.#registers[Register.RCTL];
    if ((rctl & Rctl.EN) === 0) return;
    if (length < HEADER_BYTES) {
      this.#statistics.count(Statistic.RUC);
      return;
    }
    let source = bytes;
    let start = offset;
    let size = length;
    if (length < SHORTEST_FRAME) {
      // The sender's MAC pads; far sides that deliver what software has seen (captures, sockets) have not done so.
      source = this.#stage;
      source.set(bytes.subarray(offset, offset + length));
      source.fill(0, length, SHORTEST_FRAME);
      start = 0;
      size = SHORTEST_FRAME;
    }
    const staged = source === this.#stage;
    const view = staged ? this.#stageView : this.#viewOf(source);
    const at = staged ? 0 : this.#wireOffset + start;
    this.#statistics.total(size + FCS_BYTES);
    const type = view.getUint16(at + 12);
    if (type === this.#registers[Register.FCT] && type !== 0 && this.#controlFrame(view, at)) return;
    const match = this.filter.address(view, at);
    if (match === Match.none) return;
    const tagged = type === this.#registers[Register.VET] && type !== 0;
    if (tagged && !this.filter.vlan(view.getUint16(at + 14))) return;
    if (size > LONGEST_FRAME || (size > LONGEST_STANDARD_FRAME && (rctl & (Rctl.LPE | Rctl.SBP)) === 0)) {
      this.#statistics.count(Statistic.ROC);
      return;
    }
    const status = match === Match.hash ? RxStatus.PIF : 0;
    if (tagged && (this.#registers[Register.CTRL] & Ctrl.VME) !== 0) {
      this.#strip(source, start, size, status, view.getUint16(at + 14));
    } else {
      this.#accept(source, start, view, at, size, size + FCS_BYTES, status, 0);
    }
  }

  /** RDT was written: there may be room for what waits in the FIFO. */
  tailWritten(): void {
    if ((this.#registers[Register.RCTL] & Rctl.EN) === 0) return;
    const ring = this.#registers[Register.RDLEN] >>> DESCRIPTOR_SHIFT;
    const tail = this.#registers[Register.RDT];
    if (ring === 0) this.#host.violation("rx-no-ring", "RDT was written before RDLEN: there is no receive ring");
    else if (tail >= ring) {
      this.#host.violation("rx-tail-beyond-ring", `RDT is ${tail}, but the receive ring has ${ring} descriptors`);
    } else if (!this.#fifo.empty) this.#drain();
  }

  /** The ring's place, size or head was written: nothing prefetched is valid. */
  ringChanged(): void {
    this.#next = 0;
    this.#fetched = 0;
    this.#halted = false;
  }

  controlChanged(before: number): void {
    const enabled = (this.#registers[Register.RCTL] & Rctl.EN) !== 0;
    if (!enabled) this.ringChanged();
    else if ((before & Rctl.EN) === 0 && !this.#fifo.empty) this.#drain();
  }

  reset(): void {
    this.ringChanged();
    this.#fifo.clear();
    this.#progress = 0;
  }

  /** MAC control frames, §8.7: @returns whether the frame ends here */
  #controlFrame(view: DataView, at: number): boolean {
    const registers = this.#registers;
    const rctl = registers[Register.RCTL];
    const pause = view.getUint16(at + 14) === PAUSE_OPCODE;
    const toMulticast =
      view.getUint32(at, true) === registers[Register.FCAL] &&
      view.getUint16(at + 4, true) === registers[Register.FCAH];
    if (!pause || !toMulticast) return !pause && (rctl & Rctl.PMCF) === 0;
    if ((registers[Register.CTRL] & Ctrl.RFCE) === 0) {
      this.#statistics.count(Statistic.FCRUC);
    } else {
      const quanta = view.getUint16(at + 16);
      this.#statistics.count(quanta === 0 ? Statistic.XONRXC : Statistic.XOFFRXC);
      this.#paused(quanta);
    }
    return (rctl & Rctl.DPF) !== 0;
  }

  /** Takes the tag out of the frame; the descriptor's special field gets it (§9.2). */
  #strip(source: Uint8Array, start: number, size: number, status: number, tag: number): void {
    const stage = this.#stage;
    if (source === stage) {
      stage.copyWithin(12, 16, size);
    } else {
      stage.set(source.subarray(start, start + 12));
      stage.set(source.subarray(start + 12 + TAG_BYTES, start + size), 12);
    }
    this.#accept(stage, 0, this.#stageView, 0, size - TAG_BYTES, size + FCS_BYTES, status | RxStatus.VP, tag);
  }

  /**
   * The frame is `source[start, start + size)`, which is `view` from `at` on.
   * @param octets on the wire, for the statistics
   */
  #accept(
    source: Uint8Array,
    start: number,
    view: DataView,
    at: number,
    size: number,
    octets: number,
    status: number,
    special: number,
  ): void {
    if (this.#fifo.empty && this.#store(source, start, view, at, size, status, special)) {
      this.#statistics.received(octets, view.getUint8(at), isBroadcast(view, at));
      return;
    }
    if (this.#registers[Register.RDH] === this.#registers[Register.RDT]) this.#statistics.count(Statistic.RNBC);
    if (this.#fifo.push(source, start, size, status, special, this.#registers[Register.PBA] & 0x7f)) {
      this.#statistics.received(octets, view.getUint8(at), isBroadcast(view, at));
      return;
    }
    this.#statistics.count(Statistic.MPC);
    this.#progress = 0;
    this.#interrupts.raise(Cause.RXO);
  }

  #drain(): void {
    const fifo = this.#fifo;
    while (
      !fifo.empty &&
      this.#store(fifo.bytes, fifo.start, fifo.view, fifo.start, fifo.length, fifo.status, fifo.special)
    ) {
      fifo.shift();
    }
  }

  /** Moves a frame (what is left of it) to host memory. @returns false if descriptors run out or the queue is stopped */
  #store(
    source: Uint8Array,
    start: number,
    view: DataView,
    at: number,
    size: number,
    status: number,
    special: number,
  ): boolean {
    const registers = this.#registers;
    const rctl = registers[Register.RCTL];
    const fcsBytes = (rctl & Rctl.SECRC) !== 0 ? 0 : FCS_BYTES;
    // Software may have switched SECRC in the middle of a frame.
    const total = Math.max(size + fcsBytes, this.#progress);
    const bufferSize = BUFFER_SIZES[((rctl >>> Rctl.BSIZE_SHIFT) & 3) | ((rctl & Rctl.BSEX) !== 0 ? 4 : 0)];
    let more = 0;
    while (this.#hasDescriptor()) {
      const word = this.#next * (DESCRIPTOR_BYTES / 4);
      const address = this.#descriptorWords[word] + this.#descriptorWords[word + 1] * 0x1_0000_0000;
      const piece = Math.min(bufferSize, total - this.#progress);
      if (fcsBytes !== 0 && this.#progress + piece > size) this.#prepareFcs(view, at, size);
      if (!this.#write(address, source, start, size, piece)) return this.#halt();
      this.#progress += piece;
      const last = this.#progress === total;
      if (last) {
        const fcs = fcsBytes === 0 ? 0 : this.#fcsWord[0];
        const verdict = this.#offload.inspect(view, at, size, registers[Register.RXCSUM], registers[Register.VET], fcs);
        this.#writeBackWords[0] = piece | (this.#offload.packetChecksum << 16);
        this.#writeBackWords[1] = RxStatus.DD | RxStatus.EOP | status | verdict | (special << 16);
      } else {
        this.#writeBackWords[0] = piece;
        this.#writeBackWords[1] = RxStatus.DD;
      }
      const head = registers[Register.RDH];
      const descriptor = this.#base() + head * DESCRIPTOR_BYTES;
      if (!this.#host.dma.write(descriptor + 8, this.#writeBack, 0, 8)) return this.#halt();
      more |= this.#consume(head);
      if (last) {
        this.#progress = 0;
        if (registers[Register.RSRPD] >= size + FCS_BYTES) more |= Cause.SRPD;
        this.#interrupts.frameStored(more);
        return true;
      }
    }
    if (more !== 0) this.#interrupts.raise(more);
    return false;
  }

  #write(address: number, source: Uint8Array, start: number, size: number, piece: number): boolean {
    const { dma } = this.#host;
    const fromFrame = Math.max(0, Math.min(piece, size - this.#progress));
    if (fromFrame > 0 && !dma.write(address, source, start + this.#progress, fromFrame)) return false;
    if (fromFrame === piece) return true;
    return dma.write(address + fromFrame, this.#fcs, this.#progress + fromFrame - size, piece - fromFrame);
  }

  #prepareFcs(view: DataView, at: number, size: number): void {
    this.#fcsWord[0] = this.#exactFcs ? frameCheckSequence(view, at, size) : 0;
  }

  /** @returns RXDMT0 when as many free descriptors are left as RCTL.RDMTS says */
  #consume(head: number): number {
    const registers = this.#registers;
    const ring = registers[Register.RDLEN] >>> DESCRIPTOR_SHIFT;
    const after = head + 1 >= ring ? 0 : head + 1;
    registers[Register.RDH] = after;
    this.#next++;
    const tail = registers[Register.RDT];
    const free = tail >= after ? tail - after : tail - after + ring;
    const threshold = ring >>> (1 + ((registers[Register.RCTL] >>> Rctl.RDMTS_SHIFT) & 3));
    return free === threshold ? Cause.RXDMT0 : 0;
  }

  #hasDescriptor(): boolean {
    if (this.#next < this.#fetched) return true;
    const registers = this.#registers;
    const head = registers[Register.RDH];
    const tail = registers[Register.RDT];
    if (this.#halted || head === tail) return false;
    const ring = registers[Register.RDLEN] >>> DESCRIPTOR_SHIFT;
    if (head >= ring || tail >= ring) return false;
    const count = Math.min(PREFETCH, (tail > head ? tail : ring) - head);
    const bytes = count * DESCRIPTOR_BYTES;
    if (!this.#host.dma.read(this.#base() + head * DESCRIPTOR_BYTES, this.#descriptors, 0, bytes)) return this.#halt();
    this.#next = 0;
    this.#fetched = count;
    return true;
  }

  #viewOf(source: Uint8Array): DataView {
    if (source !== this.#wireBytes) {
      this.#wireBytes = source;
      this.#wireOffset = source.byteOffset;
      if (this.#wireView.buffer !== source.buffer) this.#wireView = new DataView(source.buffer);
    }
    return this.#wireView;
  }

  #base(): number {
    return this.#registers[Register.RDBAL] + this.#registers[Register.RDBAH] * 0x1_0000_0000;
  }

  /** @returns that there is no going on */
  #halt(): false {
    this.#config.setStatus(PciStatus.receivedMasterAbort, true);
    this.ringChanged();
    this.#progress = 0;
    this.#halted = true;
    return false;
  }

  snapshot(): ReceiveState {
    const from = this.#next * DESCRIPTOR_BYTES;
    return {
      halted: this.#halted,
      progress: this.#progress,
      prefetched: [...this.#descriptors.subarray(from, this.#fetched * DESCRIPTOR_BYTES)],
      fifo: this.#fifo.snapshot(),
    };
  }

  restore(state: StateReader): void {
    this.#halted = state.flag("halted");
    this.#progress = state.integer("progress", 0, LONGEST_FRAME + FCS_BYTES);
    const prefetched = state.numbers("prefetched", 0, PREFETCH * DESCRIPTOR_BYTES, 0xff);
    this.#descriptors.set(prefetched);
    this.#next = 0;
    this.#fetched = Math.floor(prefetched.length / DESCRIPTOR_BYTES);
    this.#fifo.restore(state.child("fifo"));
    if (this.#progress > (this.#fifo.empty ? 0 : this.#fifo.length + FCS_BYTES)) {
      throw new InputError("snapshot-misfit", "the snapshot does not fit e1000 receive: progress is beyond the frame");
    }
    this.filter.addressesChanged();
  }
}
