import type { DmaPort } from "../../bus/io-mmu.js";
import * as bpf from "../../filter/bpf.js";
import { FilterVerifyError } from "../../filter/errors.js";
import { interpret } from "../../filter/interpret.js";
import { verifyProgram } from "../../filter/verify.js";
import type { StateReader } from "../../util/state-reader.js";
import { MOST_CHAINS, MOST_QUEUES, NO_INSTRUCTION, Verdict } from "./registers.js";

const INSTRUCTION_BYTES = 8;
const FIELDS = 4;

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
  /** The programs that are asked, and their queues. */
  #asked: readonly bpf.BpfProgram[] = [];
  readonly #queues = new Uint8Array(MOST_QUEUES);

  /** Fetches and verifies a program; one that is refused leaves the one before in force. */
  load(queue: number, dma: DmaPort, address: number, count: number): LoadResult {
    if (count === 0 || count > bpf.MAXIMUM_LENGTH) return result(Verdict.LENGTH);
    const bytes = new Uint8Array(count * INSTRUCTION_BYTES);
    if (!dma.read(address, bytes, 0, bytes.length)) return result(Verdict.REFUSED_READ);
    const program = bpf.decodeProgram(bytes);
    const verdict = examine(program);
    if (verdict.verdict === Verdict.ACCEPTED) this.#put(queue, program);
    return verdict;
  }

  clear(queue: number): void {
    this.#put(queue, null);
  }

  setEnabled(queue: number, on: boolean): void {
    const value = on ? 1 : 0;
    if (this.#enabled[queue] === value) return;
    this.#enabled[queue] = value;
    this.#rebuild();
  }

  isEnabled(queue: number): boolean {
    return this.#enabled[queue] !== 0;
  }

  /** @returns the first enabled queue whose program accepts the frame, or −1 */
  classify(bytes: Uint8Array, offset: number, length: number): number {
    const asked = this.#asked;
    for (let i = 0; i < asked.length; i++) {
      if (interpret(asked[i], bytes, offset, length, length) !== 0) return this.#queues[i];
    }
    return -1;
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
      if (program.length > 0 && examine(program).verdict !== Verdict.ACCEPTED) {
        throw state.misfit("program", "one that the board accepts");
      }
      this.#put(queue, program.length > 0 ? program : null);
    });
  }

  #put(queue: number, program: bpf.BpfProgram | null): void {
    this.#programs[queue] = program;
    if (this.isEnabled(queue)) this.#rebuild();
  }

  #rebuild(): void {
    const asked: bpf.BpfProgram[] = [];
    this.#programs.forEach((program, queue) => {
      if (program === null || !this.isEnabled(queue)) return;
      this.#queues[asked.length] = queue;
      asked.push(program);
    });
    this.#asked = asked;
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
