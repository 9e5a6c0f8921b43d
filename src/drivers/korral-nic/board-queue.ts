import {
  ARM,
  Completion,
  DESCRIPTOR_LAST,
  ENTRY_BYTES,
  INDEX_MASK,
  LENGTH_MASK,
  Load,
  QUEUE_BLOCK,
  Queue,
  Receive,
  Region,
  VERDICT_INDEX_SHIFT,
  Verdict,
  Withdraw,
} from "../../devices/korral-nic/registers.js";
import type { BpfProgram } from "../../filter/bpf.js";
import { DmaAccess } from "../../memory/pin.js";
import { ReservedMemory } from "../../transfer/reserved-memory.js";
import { KorralError } from "../../util/errors.js";
import type { DriverDomain } from "../driver-domain.js";

/** What a completion says. The object is used again for the next one. */
export interface BoardCompletion {
  cookie: number;
  /** Bytes stored or sent. */
  length: number;
  flags: number;
}

/** A queue of the K1 with its two rings (data sheet §3). Receive queues and the transmit queue look alike from here. */
export class BoardRing {
  readonly #domain: DriverDomain;
  readonly #memory: ReservedMemory;
  readonly #block: number;
  readonly #entries: number;
  readonly #completion: BoardCompletion = { cookie: 0, length: 0, flags: 0 };
  #tail = 0;
  #taken = 0;
  /** What the board knows of {@link #taken}. */
  #acknowledged = 0;
  #phase = 1;
  /** Posted and not completed. */
  #outstanding = 0;

  /** @param sizeLog2 of the entries of each ring */
  constructor(domain: DriverDomain, block: number, sizeLog2: number, site: string) {
    this.#domain = domain;
    this.#block = block;
    this.#entries = 1 << sizeLog2;
    this.#memory = new ReservedMemory(domain, 2 * this.#entries * ENTRY_BYTES, site);
    const completions = this.#memory.io + this.#entries * ENTRY_BYTES;
    this.write(Queue.RING, this.#memory.io >>> 0);
    this.write(Queue.RING_HIGH, Math.floor(this.#memory.io / 2 ** 32));
    this.write(Queue.COMPLETIONS, completions >>> 0);
    this.write(Queue.COMPLETIONS_HIGH, Math.floor(completions / 2 ** 32));
    this.write(Queue.SIZE, sizeLog2);
    this.write(Queue.ENABLE, 1);
    this.arm();
  }

  get room(): number {
    return this.#entries - 1 - this.#outstanding;
  }

  get outstanding(): number {
    return this.#outstanding;
  }

  post(io: number, length: number, cookie: number, last: boolean): void {
    const at = 4 * this.#tail;
    const { words } = this.#memory;
    words[at] = io;
    words[at + 1] = io / 2 ** 32;
    words[at + 2] = (length & LENGTH_MASK) | (last ? DESCRIPTOR_LAST : 0);
    words[at + 3] = cookie;
    this.#tail = (this.#tail + 1) & (this.#entries - 1);
    this.#outstanding++;
  }

  /** Completions that were taken make room (§3): the board must know of them before it is given more. */
  kick(): void {
    if (this.#acknowledged !== this.#taken) {
      this.#acknowledged = this.#taken;
      this.write(Queue.TAKEN, this.#taken);
    }
    this.write(Queue.TAIL, this.#tail);
  }

  /** @returns the next completion, or null; the caller arms the queue again when it has taken all */
  take(): BoardCompletion | null {
    const { words } = this.#memory;
    const at = 4 * (this.#entries + this.#taken);
    const flags = words[at + 3];
    if ((flags & Completion.PHASE) !== this.#phase) return null;
    if (this.#outstanding === 0) throw new Error("the board completes more buffers than it was given");
    if (++this.#taken === this.#entries) {
      this.#taken = 0;
      this.#phase ^= 1;
    }
    this.#outstanding--;
    const completion = this.#completion;
    completion.cookie = words[at];
    completion.length = words[at + 1] & INDEX_MASK;
    completion.flags = flags;
    return completion;
  }

  /** Asks for one interrupt, as soon as there is something to take. */
  arm(): void {
    this.#acknowledged = this.#taken;
    this.write(Queue.TAKEN, (ARM | this.#taken) >>> 0);
  }

  /** The board lets go of everything at once. */
  disable(): void {
    this.write(Queue.ENABLE, 0);
    this.#memory.release();
  }

  write(register: number, value: number): void {
    this.#domain.device.write(0, this.#block + register, 4, value);
  }

  read(register: number): number {
    return this.#domain.device.read(0, this.#block + register, 4);
  }
}

export function receiveBlock(queue: number): number {
  return Region.receive + QUEUE_BLOCK * queue;
}

/** Downloads a filter program to a receive queue; the board verifies it itself (§4). @throws KorralError when it refuses */
export function downloadProgram(domain: DriverDomain, ring: BoardRing, program: BpfProgram): void {
  const memory = new ReservedMemory(domain, program.length * 8, "filter program", { access: DmaAccess.read });
  try {
    program.forEach(({ code, jt, jf, k }, i) => {
      memory.view.setUint16(8 * i, code, true);
      memory.view.setUint8(8 * i + 2, jt);
      memory.view.setUint8(8 * i + 3, jf);
      memory.view.setUint32(8 * i + 4, k, true);
    });
    ring.write(Receive.PROGRAM, memory.io >>> 0);
    ring.write(Receive.PROGRAM_HIGH, Math.floor(memory.io / 2 ** 32));
    ring.write(Receive.COUNT, program.length);
    ring.write(Receive.LOAD, Load.VERIFY);
  } finally {
    memory.release();
  }
  const verdict = ring.read(Receive.VERDICT);
  if ((verdict & 0xff) !== Verdict.ACCEPTED) {
    throw new KorralError(
      "board-refuses-filter",
      `the board refuses the filter (code ${verdict & 0xff}, instruction ${verdict >>> VERDICT_INDEX_SHIFT}): filter in software instead`,
      1,
    );
  }
}

export function withdrawOne(ring: BoardRing, cookie: number): void {
  ring.write(Receive.COOKIE, cookie);
  ring.write(Receive.WITHDRAW, Withdraw.ONE);
}
