import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import { type PciConfigSpace, PciStatus } from "../../bus/pci-config.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";
import type { Interrupts } from "./interrupts.js";
import {
  Cpcr,
  Cr,
  Descriptor,
  Isr,
  Register,
  type RegisterFile,
  RING_LIMIT,
  Tppoll,
  TxDescriptor,
} from "./registers.js";
import { type Statistics, Tally } from "./statistics.js";
import { TAG_ROOM, TransmitOffload } from "./transmit-offload.js";
import type { Sender } from "./transmit-slots.js";

const SHORTEST_FRAME = 60;
const ADDRESSES_BYTES = 12;
const TAG_BYTES = 4;
const TYPE_VLAN = 0x8100;
/** A large send: all that IP can carry behind a link header with a tag. */
const LONGEST_FRAME = 18 + 65_535;
/** Work done in one go, in descriptors, frames and KiB; the rest goes on from the machine loop. */
const BURST = 4096;

/** The rings, in the order in which they are served. */
const Ring = { high: 0, normal: 1 } as const;
const BASES = [Register.THPDS, Register.TNPDS];
const POLLS = [Tppoll.HPQ, Tppoll.NPQ];

export interface DescriptorState {
  indices: number[];
  pending: number;
  /** Ring of the frame that is being put together, or −1, plus 1. */
  current: number;
  halted: boolean;
  tooLong: boolean;
  frame: number[];
  /** Nanoseconds until transmission goes on after a burst, or Infinity. */
  resume: number;
}

/** Transmission in C+ mode: rings of descriptors at TNPDS and THPDS, looked at when TPPoll is written. */
export class TransmitDescriptors {
  readonly #registers: RegisterFile;
  readonly #host: DeviceHost;
  readonly #config: PciConfigSpace;
  readonly #interrupts: Interrupts;
  readonly #statistics: Statistics;
  readonly #mayRun: () => boolean;
  readonly #send: Sender;
  readonly #offload: TransmitOffload;
  readonly #descriptor = new Uint8Array(Descriptor.BYTES);
  readonly #words = new Uint32Array(this.#descriptor.buffer);
  /** The frame, behind room for a tag. */
  readonly #frame = new Uint8Array(TAG_ROOM + LONGEST_FRAME);
  readonly #view = new DataView(this.#frame.buffer);
  readonly #indices = new Uint32Array(BASES.length);
  readonly #resume: Timer;
  /** TPPoll bits of rings that may have descriptors. */
  #pending = 0;
  /** The ring that the frame in hand comes from, or −1. */
  #current = -1;
  #length = 0;
  #tooLong = false;
  #halted = false;
  #running = false;
  /** Second word of the last descriptor: the tag. */
  #tag = 0;
  #heard = true;
  // Of the running burst: descriptors, frames and KiB, and what to raise at its end.
  #work = 0;
  #causes = 0;

  constructor(
    registers: RegisterFile,
    host: DeviceHost,
    config: PciConfigSpace,
    interrupts: Interrupts,
    statistics: Statistics,
    mayRun: () => boolean,
    send: Sender,
  ) {
    this.#registers = registers;
    this.#host = host;
    this.#config = config;
    this.#interrupts = interrupts;
    this.#statistics = statistics;
    this.#mayRun = mayRun;
    this.#send = send;
    this.#offload = new TransmitOffload(host, (bytes, view, length) => this.#emit(bytes, view, length));
    this.#resume = host.clock.timer(() => this.run());
  }

  /** TPPoll was written. */
  poll(value: number): void {
    this.#pending |= value & (Tppoll.HPQ | Tppoll.NPQ);
    this.run();
  }

  /** CR.TE was switched. */
  restart(): void {
    this.#indices.fill(0);
    this.#pending = 0;
    this.#halted = false;
    this.#resume.cancel();
    this.#abandon();
  }

  /** TNPDS or THPDS was written. */
  ringMoved(register: number): void {
    const ring = register < Register.THPDS ? Ring.normal : Ring.high;
    this.#indices[ring] = 0;
    this.#halted = false;
    if (this.#current === ring) this.#abandon();
  }

  run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#causes = 0;
    this.#work = 0;
    while (this.#work < BURST && this.#ready()) {
      const ring = this.#current >= 0 ? this.#current : (this.#pending & Tppoll.HPQ) !== 0 ? Ring.high : Ring.normal;
      this.#next(ring);
      this.#work++;
    }
    this.#running = false;
    if (this.#work >= BURST) this.#resume.arm(0);
    if (this.#causes !== 0) this.#interrupts.raise(this.#causes);
  }

  #ready(): boolean {
    // A frame that goes on waits for the rest of it, whatever the other ring has.
    const wanted = this.#current >= 0 ? POLLS[this.#current] : Tppoll.HPQ | Tppoll.NPQ;
    if ((this.#pending & wanted) === 0 || this.#halted || !this.#mayRun()) return false;
    if ((this.#registers.get16(Register.CPCR) & Cpcr.TX) === 0) return false;
    return (this.#registers.get8(Register.CR) & Cr.TE) !== 0;
  }

  /** Does a ring's next descriptor, if it is the part's. */
  #next(ring: number): void {
    const words = this.#words;
    const place = this.#registers.address(BASES[ring]) + this.#indices[ring] * Descriptor.BYTES;
    if (!this.#host.dma.read(place, this.#descriptor, 0, Descriptor.BYTES)) {
      this.#halt();
      return;
    }
    const command = words[0];
    if (command < Descriptor.OWN) {
      this.#pending &= ~POLLS[ring];
      this.#causes |= Isr.TDU;
      return;
    }
    if ((command & Descriptor.FS) !== 0 || this.#current < 0) this.#begin(ring, command);
    if (!this.#gather(words[2] + words[3] * 0x1_0000_0000, command & TxDescriptor.LENGTH)) {
      this.#halt();
      return;
    }
    let status = 0;
    if ((command & Descriptor.LS) !== 0) {
      this.#tag = words[1];
      status = this.#finish(command);
    }
    // What was a command is status now: an offload's bits would mean collisions.
    words[0] = (command & ~(Descriptor.OWN | TxDescriptor.STATUS)) | status;
    if (!this.#host.dma.write(place, this.#descriptor, 0, 4)) {
      this.#halt();
      return;
    }
    const index = this.#indices[ring] + 1;
    this.#indices[ring] = (command & Descriptor.EOR) !== 0 || index >= RING_LIMIT ? 0 : index;
  }

  #begin(ring: number, command: number): void {
    if (this.#current >= 0) {
      this.#host.violation("tx-frame-unfinished", "a descriptor with FS stands where the frame before has had no LS");
    } else if ((command & Descriptor.FS) === 0) {
      this.#host.violation("tx-frame-no-start", "the first descriptor of a frame has no FS");
    }
    this.#abandon();
    this.#current = ring;
  }

  #gather(address: number, length: number): boolean {
    if (this.#length + length > LONGEST_FRAME) {
      this.#tooLong = true;
      return true;
    }
    if (!this.#host.dma.read(address, this.#frame, TAG_ROOM + this.#length, length)) return false;
    this.#length += length;
    this.#work += length >>> 10;
    return true;
  }

  /** Sends the frame in hand. @returns the status for its last descriptor */
  #finish(command: number): number {
    const length = this.#length;
    this.#heard = true;
    if (this.#tooLong) {
      this.#host.violation("tx-frame-too-long", `a frame to transmit is longer than ${LONGEST_FRAME} bytes`);
    } else if ((command & TxDescriptor.LGSEN) !== 0) {
      this.#offload.largeSend(this.#frame, this.#view, length, (command >>> TxDescriptor.MSS_SHIFT) & TxDescriptor.MSS);
    } else if (length > 0) {
      if ((command & (TxDescriptor.IPCS | TxDescriptor.TCPCS | TxDescriptor.UDPCS)) !== 0) {
        this.#offload.insertChecksums(this.#view, length, command);
      }
      this.#emit(this.#frame, this.#view, length);
    }
    this.#abandon();
    this.#statistics.count(this.#heard ? Tally.TxOk : Tally.TxEr);
    this.#causes |= this.#heard ? Isr.TOK : Isr.TER;
    return this.#heard ? 0 : TxDescriptor.TES | TxDescriptor.LNKF;
  }

  /** The frame behind {@link TAG_ROOM}: tag, padding, wire. */
  #emit(bytes: Uint8Array, view: DataView, frameLength: number): void {
    let start = TAG_ROOM;
    let length = frameLength;
    if ((this.#tag & TxDescriptor.TAGC) !== 0 && length >= ADDRESSES_BYTES) {
      bytes.copyWithin(0, TAG_ROOM, TAG_ROOM + ADDRESSES_BYTES);
      view.setUint16(ADDRESSES_BYTES, TYPE_VLAN);
      // The tag keeps its order of bytes.
      view.setUint16(ADDRESSES_BYTES + 2, this.#tag & 0xffff, true);
      start = 0;
      length += TAG_BYTES;
    }
    if (length < SHORTEST_FRAME) {
      bytes.fill(0, start + length, start + SHORTEST_FRAME);
      length = SHORTEST_FRAME;
    }
    this.#work++;
    if (!this.#send(bytes, start, length)) this.#heard = false;
  }

  #abandon(): void {
    this.#current = -1;
    this.#length = 0;
    this.#tooLong = false;
  }

  #halt(): void {
    this.#halted = true;
    this.#abandon();
    this.#config.setStatus(PciStatus.receivedMasterAbort, true);
    this.#causes |= Isr.SERR;
  }

  snapshot(): DescriptorState {
    return {
      indices: [...this.#indices],
      pending: this.#pending,
      current: this.#current + 1,
      halted: this.#halted,
      tooLong: this.#tooLong,
      frame: [...this.#frame.subarray(TAG_ROOM, TAG_ROOM + this.#length)],
      resume: remaining(this.#resume, this.#host.clock),
    };
  }

  restore(state: StateReader): void {
    this.#indices.set(state.numbers("indices", BASES.length, BASES.length, RING_LIMIT - 1));
    this.#pending = state.integer("pending", 0, 0xff) & (Tppoll.HPQ | Tppoll.NPQ);
    this.#current = state.integer("current", 0, BASES.length) - 1;
    this.#halted = state.flag("halted");
    this.#tooLong = state.flag("tooLong");
    const frame = state.numbers("frame", 0, LONGEST_FRAME, 0xff);
    this.#frame.set(frame, TAG_ROOM);
    this.#length = frame.length;
    rearm(this.#resume, state.delay("resume"));
  }
}
