import type { Timer } from "../../bus/clock.js";
import type { DeviceHost } from "../../bus/device.js";
import { type PciConfigSpace, PciStatus } from "../../bus/pci-config.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";
import type { Interrupts } from "./interrupts.js";
import { Cause, DESCRIPTOR_BYTES, DESCRIPTOR_SHIFT, Register, Tctl, TxCommand } from "./registers.js";
import type { Packet, PacketState } from "./transmit-packet.js";

/** Descriptors that the part holds on chip. */
const PREFETCH = 64;
/**
 * Work done in one go, in descriptors, KiB and frames: a driver that hands over more gets its thread back first, and the
 * rest goes on from the machine loop.
 */
const BURST = 4096;
const DESCRIPTOR_DONE = 1;
const TXDCTL_LWTHRESH_SHIFT = 25;

export interface TransmitState {
  halted: boolean;
  /** Nanoseconds until transmission goes on after a burst, or Infinity. */
  resume: number;
  /** Nanoseconds until a received PAUSE ends, or Infinity. */
  pause: number;
  packet: PacketState;
}

/**
 * Transmission, §3.3 and §3.4: takes descriptors between TDH and TDT, in order, when the driver writes TDT.
 *
 * Status is written back for whole batches, before TDH moves and before the interrupt. A refused access stops the queue
 * until the driver sets it up again (TCTL.EN off, a ring register, or a reset), with TDH at the descriptor.
 */
export class Transmitter {
  readonly #registers: Uint32Array;
  readonly #host: DeviceHost;
  readonly #config: PciConfigSpace;
  readonly #interrupts: Interrupts;
  readonly #linkUp: () => boolean;
  readonly #packet: Packet;
  readonly #descriptors = new Uint8Array(PREFETCH * DESCRIPTOR_BYTES);
  readonly #words = new Uint32Array(this.#descriptors.buffer);
  readonly #resume: Timer;
  readonly #pause: Timer;
  #halted = false;
  #running = false;
  /** Of the running burst: descriptors with RS were done, and one of them had IDE clear. */
  #reported = false;
  #prompt = false;

  /** @param linkUp whether frames can leave: without a link the part does not fetch descriptors */
  constructor(
    registers: Uint32Array,
    host: DeviceHost,
    config: PciConfigSpace,
    interrupts: Interrupts,
    packet: Packet,
    linkUp: () => boolean,
  ) {
    this.#registers = registers;
    this.#host = host;
    this.#config = config;
    this.#interrupts = interrupts;
    this.#packet = packet;
    this.#linkUp = linkUp;
    this.#resume = host.clock.timer(() => this.run());
    this.#pause = host.clock.timer(() => this.run());
  }

  get paused(): boolean {
    return this.#pause.armed;
  }

  /** TDT was written. */
  tailWritten(): void {
    if ((this.#registers[Register.TCTL] & Tctl.EN) === 0) return;
    const ring = this.#registers[Register.TDLEN] >>> DESCRIPTOR_SHIFT;
    const tail = this.#registers[Register.TDT];
    const head = this.#registers[Register.TDH];
    if (ring === 0) this.#host.violation("tx-no-ring", "TDT was written before TDLEN: there is no transmit ring");
    else if (tail >= ring) {
      this.#host.violation("tx-tail-beyond-ring", `TDT is ${tail}, but the transmit ring has ${ring} descriptors`);
    } else if (head >= ring) {
      this.#host.violation("tx-head-beyond-ring", `TDH is ${head}, but the transmit ring has ${ring} descriptors`);
    } else this.run();
  }

  ringChanged(): void {
    this.#halted = false;
  }

  controlChanged(before: number): void {
    const enabled = (this.#registers[Register.TCTL] & Tctl.EN) !== 0;
    if (!enabled) this.#halted = false;
    else if ((before & Tctl.EN) === 0) this.run();
  }

  /** A PAUSE frame was received. @param nanoseconds 0 to go on */
  pauseFor(nanoseconds: number): void {
    this.#pause.cancel();
    if (nanoseconds > 0) this.#pause.arm(nanoseconds);
    else if (!this.#running && !this.#resume.armed) this.#resume.arm(0);
  }

  reset(): void {
    this.#resume.cancel();
    this.#pause.cancel();
    this.#halted = false;
    this.#packet.reset();
  }

  /** Transmits what is between TDH and TDT, at most a burst of it now. */
  run(): void {
    if (this.#running) return;
    const registers = this.#registers;
    const ring = registers[Register.TDLEN] >>> DESCRIPTOR_SHIFT;
    const base = registers[Register.TDBAL] + registers[Register.TDBAH] * 0x1_0000_0000;
    const first = registers[Register.TDH];
    if (first === registers[Register.TDT] || !this.#mayRun(ring)) return;
    this.#running = true;
    this.#reported = false;
    this.#prompt = false;
    const low = (registers[Register.TXDCTL] >>> TXDCTL_LWTHRESH_SHIFT) * 8;
    const before = this.#pending(ring);
    let budget = BURST;
    while (budget > 0 && registers[Register.TDH] !== registers[Register.TDT] && this.#mayRun(ring)) {
      budget -= this.#batch(base, ring, budget);
    }
    this.#running = false;
    const after = this.#pending(ring);
    let causes = after === 0 ? Cause.TXQE : 0;
    if (low !== 0 && before > low && after <= low) causes |= Cause.TXD_LOW;
    if (this.#reported) this.#interrupts.descriptorsDone(this.#prompt, causes);
    else if (causes !== 0) this.#interrupts.raise(causes);
    if (after !== 0 && budget <= 0) this.#resume.arm(0);
  }

  #mayRun(ring: number): boolean {
    const registers = this.#registers;
    if (this.#halted || (registers[Register.TCTL] & Tctl.EN) === 0 || this.#pause.armed || !this.#linkUp())
      return false;
    return registers[Register.TDH] < ring && registers[Register.TDT] < ring;
  }

  #pending(ring: number): number {
    const count = this.#registers[Register.TDT] - this.#registers[Register.TDH];
    return count >= 0 ? count : count + ring;
  }

  /** Fetches descriptors up to the tail or the ring's end, does them, and writes status back. @returns the work done */
  #batch(base: number, ring: number, budget: number): number {
    const registers = this.#registers;
    const { dma } = this.#host;
    const head = registers[Register.TDH];
    const tail = registers[Register.TDT];
    const count = Math.min(PREFETCH, (tail > head ? tail : ring) - head);
    const address = base + head * DESCRIPTOR_BYTES;
    if (!dma.read(address, this.#descriptors, 0, count * DESCRIPTOR_BYTES)) return this.#halt();
    const words = this.#words;
    const packet = this.#packet;
    let firstDone = -1;
    let lastDone = -1;
    let done = 0;
    let work = -packet.frames;
    for (; done < count && work + packet.frames < budget; done++) {
      const word = done * (DESCRIPTOR_BYTES / 4);
      const command = words[word + 2];
      if (!packet.descriptor(words, word)) {
        this.#halt();
        break;
      }
      work += 1 + ((command & 0xf_ffff) >>> 10);
      if ((command & TxCommand.RS) === 0) continue;
      words[word + 3] |= DESCRIPTOR_DONE;
      if (firstDone < 0) firstDone = done;
      lastDone = done;
      this.#reported = true;
      if ((command & TxCommand.IDE) === 0) this.#prompt = true;
    }
    if (firstDone >= 0) {
      const from = firstDone * DESCRIPTOR_BYTES;
      if (!dma.write(address + from, this.#descriptors, from, (lastDone + 1 - firstDone) * DESCRIPTOR_BYTES))
        this.#halt();
    }
    const after = head + done;
    registers[Register.TDH] = after >= ring ? 0 : after;
    return Math.max(1, work + packet.frames);
  }

  /** @returns more than any burst has */
  #halt(): number {
    this.#config.setStatus(PciStatus.receivedMasterAbort, true);
    this.#packet.abort();
    this.#halted = true;
    return BURST;
  }

  snapshot(): TransmitState {
    const { clock } = this.#host;
    return {
      halted: this.#halted,
      resume: remaining(this.#resume, clock),
      pause: remaining(this.#pause, clock),
      packet: this.#packet.snapshot(),
    };
  }

  restore(state: StateReader): void {
    this.#halted = state.flag("halted");
    rearm(this.#resume, state.delay("resume"));
    rearm(this.#pause, state.delay("pause"));
    this.#packet.restore(state.child("packet"));
  }
}
