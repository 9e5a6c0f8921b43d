import type { DmaPort } from "../../bus/io-mmu.js";
import * as bpf from "../../filter/bpf.js";
import { FilterVerifyError } from "../../filter/errors.js";
import { Demultiplexer } from "../../filter/packet-filter.js";
import { verifyProgram } from "../../filter/verify.js";
import type { StateReader } from "../../util/state-reader.js";
import { FILTER_MEMORY, MOST_CHAINS, MOST_QUEUES, NO_INSTRUCTION, Verdict } from "./registers.js";

const INSTRUCTION_BYTES = 8;
const FIELDS = 4;
/** Bytes of a frame up to which copying by hand beats a view and `set`. */
const SHORT = 128;

export interface LoadResult {
  readonly verdict: number;
  /** The one at fault, or NO_INSTRUCTION. */
  readonly instruction: number;
}

const result = (verdict: number, instruction = NO_INSTRUCTION): LoadResult => ({ verdict, instruction });

/** The filter memory of the board: a verified program for each queue, and the decision whose frame it is (§4). */
export class FilterBank {
  readonly #programs: (bpf.BpfProgram | null)[] = Array(MOST_QUEUES).fill(null);
  readonly #enabled = new Uint8Array(MOST_QUEUES);
  /** The frame that is being looked at: one page, more than the longest frame. */
  readonly #memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  readonly #packet = new Uint8Array(this.#memory.buffer);
  readonly #words = new DataView(this.#memory.buffer);
  /** The programs of the enabled queues, translated; null until a frame comes after a change. */
  #demultiplexer: Demultiplexer | null = null;
  /** How many programs are asked, and whose they are. */
  #asked = 0;
  readonly #queues = new Uint8Array(MOST_QUEUES);

  /** Fetches and verifies a program; one that is refused leaves the one before in force. */
  load(queue: number, dma: DmaPort, address: number, count: number): LoadResult {
    if (count === 0 || count > bpf.MAXIMUM_LENGTH) return result(Verdict.LENGTH);
    const bytes = new Uint8Array(count * INSTRUCTION_BYTES);
    if (!dma.read(address, bytes, 0, bytes.length)) return result(Verdict.REFUSED_READ);
    const program = bpf.decodeProgram(bytes);
    const examined = examine(program);
    if (examined.verdict !== Verdict.ACCEPTED) return examined;
    if (this.#usedBeside(queue) + count > FILTER_MEMORY) return result(Verdict.MEMORY);
    this.#put(queue, program);
    return examined;
  }

  clear(queue: number): void {
    this.#put(queue, null);
  }

  setEnabled(queue: number, on: boolean): void {
    const value = on ? 1 : 0;
    if (this.#enabled[queue] === value) return;
    this.#enabled[queue] = value;
    this.#choose();
  }

  isEnabled(queue: number): boolean {
    return this.#enabled[queue] !== 0;
  }

  /** @returns the first enabled queue whose program accepts the frame, or −1 */
  classify(bytes: Uint8Array, offset: number, length: number): number {
    if (this.#asked === 0) return -1;
    this.#demultiplexer ??= this.#translate();
    this.#copyIn(bytes, offset, length);
    const first = this.#demultiplexer.classify(0, length, length);
    return first < 0 ? -1 : this.#queues[first];
  }

  /** The programs as lists of code, jt, jf, k; empty for none. */
  snapshot(): object {
    return this.#programs.map((program) => ({
      program: (program ?? []).flatMap(({ code, jt, jf, k }) => [code, jt, jf, k]),
    }));
  }

  /** @param from one state a queue */
  restore(from: readonly StateReader[]): void {
    from.forEach((state, queue) => {
      const fields = state.numbers("program", 0, FIELDS * bpf.MAXIMUM_LENGTH, 0xffff_ffff);
      const program: bpf.BpfInstruction[] = [];
      for (let i = 0; i + FIELDS <= fields.length; i += FIELDS) {
        program.push({ code: fields[i], jt: fields[i + 1], jf: fields[i + 2], k: fields[i + 3] });
      }
      const fits = this.#usedBeside(queue) + program.length <= FILTER_MEMORY;
      if (!fits || (program.length > 0 && examine(program).verdict !== Verdict.ACCEPTED)) {
        throw state.misfit("program", "one that the board accepts");
      }
      this.#put(queue, program.length > 0 ? program : null);
    });
  }

  #copyIn(bytes: Uint8Array, offset: number, length: number): void {
    if (length > SHORT) {
      this.#packet.set(bytes.subarray(offset, offset + length));
      return;
    }
    // Word by word: for short frames twice as fast as byte by byte, and faster than making a view.
    const whole = length & ~3;
    for (let at = 0, from = offset; at < whole; at += 4, from += 4) {
      const word = bytes[from] | (bytes[from + 1] << 8) | (bytes[from + 2] << 16) | (bytes[from + 3] << 24);
      this.#words.setUint32(at, word, true);
    }
    for (let at = whole; at < length; at++) this.#packet[at] = bytes[offset + at];
  }

  /** Instructions in the filter memory, those of one queue left out. */
  #usedBeside(queue: number): number {
    return this.#programs.reduce((sum, program, i) => (i === queue ? sum : sum + (program?.length ?? 0)), 0);
  }

  #put(queue: number, program: bpf.BpfProgram | null): void {
    this.#programs[queue] = program;
    if (this.isEnabled(queue)) this.#choose();
  }

  /** Notes which programs are asked from now on. */
  #choose(): void {
    this.#demultiplexer = null;
    this.#asked = 0;
    this.#programs.forEach((program, queue) => {
      if (program !== null && this.isEnabled(queue)) this.#queues[this.#asked++] = queue;
    });
  }

  #translate(): Demultiplexer {
    const asked = this.#programs.filter((program, queue) => program !== null && this.isEnabled(queue));
    return new Demultiplexer(
      asked.filter((program) => program !== null),
      this.#memory,
    );
  }
}

function examine(program: bpf.BpfProgram): LoadResult {
  try {
    verifyProgram(program);
  } catch (error) {
    if (!(error instanceof FilterVerifyError)) throw error;
    return result(Verdict.INSTRUCTION, error.index < 0 ? NO_INSTRUCTION : error.index);
  }
  let chains = 0;
  for (let at = 0; at < program.length; at++) {
    // Each may walk the whole frame; the number of walks bounds the work that one frame can cost.
    if (program[at].code === (bpf.MISC | bpf.CHAIN) && ++chains > MOST_CHAINS) return result(Verdict.CHAINS, at);
  }
  return result(Verdict.ACCEPTED);
}
