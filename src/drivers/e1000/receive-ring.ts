import type { Bank } from "../../memory/physical-memory.js";
import type { ReceiveDemultiplexer } from "../../transfer/demultiplexed.js";
import { ReservedMemory } from "../../transfer/reserved-memory.js";
import type { DriverDomain } from "../driver-domain.js";
import { Reg, RX_DESCRIPTOR_BYTES, RxStatus } from "./registers.js";

const DESCRIPTORS = 256;
/** Receive buffer size with BSIZE 00 (§13.4.22). */
const BUFFER_BYTES = 2048;
/** Descriptors are given back to the device in lots: a doorbell each would cost more than the copy. */
const RETURN_LOT = 32;

/** The driver-reserved ring that the adapter delivers into (SDM §3.2), and the way from there to the demultiplexer. */
export class ReceiveRing {
  readonly #domain: DriverDomain;
  readonly #descriptors: ReservedMemory;
  readonly #buffers: ReservedMemory;
  readonly #demultiplexer: ReceiveDemultiplexer;
  #next = 0;
  #toReturn = 0;
  #inFragment = false;
  /** Pieces of frames longer than a buffer: the driver configures the adapter so that none arrive. */
  fragments = 0;
  /** Frames that the adapter reports as damaged, or with a length that cannot be. */
  errors = 0;

  constructor(domain: DriverDomain, demultiplexer: (bank: Bank) => ReceiveDemultiplexer) {
    this.#domain = domain;
    this.#descriptors = new ReservedMemory(domain, DESCRIPTORS * RX_DESCRIPTOR_BYTES, "receive ring");
    this.#buffers = new ReservedMemory(domain, DESCRIPTORS * BUFFER_BYTES, "receive buffers");
    this.#demultiplexer = demultiplexer(this.#buffers.memoryBank);
    const { words } = this.#descriptors;
    for (let i = 0; i < DESCRIPTORS; i++) {
      const address = this.#buffers.io + i * BUFFER_BYTES;
      words[4 * i] = address;
      words[4 * i + 1] = address / 2 ** 32;
    }
  }

  get demultiplexer(): ReceiveDemultiplexer {
    return this.#demultiplexer;
  }

  /** Initialisation of receive (§14.4): base, length, head, tail; one descriptor stays with the driver. */
  program(write: (register: number, value: number) => void): void {
    write(Reg.rdbal, this.#descriptors.io >>> 0);
    write(Reg.rdbah, Math.floor(this.#descriptors.io / 2 ** 32));
    write(Reg.rdlen, DESCRIPTORS * RX_DESCRIPTOR_BYTES);
    write(Reg.rdh, 0);
    write(Reg.rdt, DESCRIPTORS - 1);
  }

  /** Hands on everything that has arrived. @returns whether there was anything */
  drain(): boolean {
    const { words } = this.#descriptors;
    const base = this.#buffers.offset;
    let any = false;
    for (;;) {
      const at = 4 * this.#next;
      const status = words[at + 3];
      if ((status & RxStatus.done) === 0) break;
      any = true;
      const length = words[at + 2] & 0xffff;
      const whole = (status & RxStatus.endOfPacket) !== 0;
      if (!whole || this.#inFragment) this.fragments++;
      else if ((status & RxStatus.errors) !== 0 || length > BUFFER_BYTES) this.errors++;
      else this.#demultiplexer.deliver(base + this.#next * BUFFER_BYTES, length);
      this.#inFragment = !whole;
      words[at + 3] = 0;
      this.#next = (this.#next + 1) % DESCRIPTORS;
      if (++this.#toReturn === RETURN_LOT) this.#giveBack();
    }
    if (this.#toReturn > 0) this.#giveBack();
    return any;
  }

  #giveBack(): void {
    this.#toReturn = 0;
    this.#domain.device.write(0, Reg.rdt, 4, (this.#next + DESCRIPTORS - 1) % DESCRIPTORS);
  }
}
