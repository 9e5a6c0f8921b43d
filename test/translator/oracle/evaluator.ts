import { CpuState } from "../../../src/translator/cpu.js";
import { CPU } from "../../../src/translator/cpu-state.js";
import { InstructionDecoder, isDecodeFailure } from "../../../src/translator/decode.js";
import { Evaluator, type MemoryPort } from "../../../src/translator/evaluate.js";
import type { Instruction } from "../../../src/translator/instruction.js";
import type { Bytes, Step } from "../../../src/translator/ir.js";
import { isCovered, lift } from "../../../src/translator/lift/index.js";
import type { GuestAddress } from "../../../src/util/guest-address.js";
import {
  type Case,
  type Change,
  CODE_BYTES,
  CODE_FILLER,
  IMAGE,
  IMAGE_BYTES,
  imageAddress,
  imageOffset,
  isWritable,
  type Outcome,
  type Stop,
  type Subject,
} from "./case.js";
import { STOP_OF_TRAP } from "./stops.js";

/** More than any snippet needs that ends. */
const MOST_INSTRUCTIONS = 20_000;
const MOST_TURNS = 100_000;
const RFLAGS_IF = 0x200;

interface Lifted {
  readonly instruction: Instruction;
  readonly steps: readonly Step[];
}

/** The decoder, the lifters and the evaluator of single instructions. */
export class EvaluatorSubject implements Subject {
  readonly name = "evaluator";
  readonly flags = "exact";
  readonly checks = true;
  readonly #decoder = new InstructionDecoder();
  readonly #cpu = new CpuState(new ArrayBuffer(CPU.end));
  readonly #memory = new ImageMemory();
  readonly #evaluator = new Evaluator(this.#cpu, this.#memory);

  covers(code: Uint8Array): boolean {
    const decoded = this.#decoder.decode(code, 0, code.length, 0 as GuestAddress);
    return !isDecodeFailure(decoded) && isCovered(decoded);
  }

  run(test: Case): Outcome {
    const cpu = this.#cpu;
    this.#memory.begin(test);
    for (let i = 0; i < 16; i++) cpu.setGeneral(i, test.registers[i]);
    cpu.rflags = BigInt(test.flags | RFLAGS_IF);
    cpu.fsBase = test.fsBase;
    cpu.gsBase = test.gsBase;
    const vectors = new BigUint64Array(test.xmm.slice().buffer);
    for (let i = 0; i < 16; i++) cpu.setXmm(i, vectors[2 * i], vectors[2 * i + 1]);
    cpu.rip = BigInt(test.codeAddress);
    const { stop, note } = this.#tryToExecute(test);
    for (let i = 0; i < 16; i++) {
      vectors[2 * i] = cpu.xmmLow(i);
      vectors[2 * i + 1] = cpu.xmmHigh(i);
    }
    return {
      stop,
      rip: BigInt.asUintN(64, cpu.rip),
      registers: BigUint64Array.from({ length: 16 }, (_, i) => BigInt.asUintN(64, cpu.general(i))),
      flags: Number(cpu.rflags),
      xmm: new Uint8Array(vectors.buffer),
      changes: this.#memory.end(test),
      faultAddress: stop === "memory" ? this.#memory.faultAddress : null,
      note,
    };
  }

  #tryToExecute(test: Case): { stop: Stop; note: string } {
    try {
      return this.#execute(test);
    } catch (error) {
      return { stop: "defect", note: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
  }

  #execute(test: Case): { stop: Stop; note: string } {
    const seen = new Map<number, Lifted | null>();
    for (let count = 0; count < MOST_INSTRUCTIONS; count++) {
      const offset = this.#cpu.ripAddress - test.codeAddress;
      if (offset < 0 || offset >= test.code.length) return { stop: "end", note: "" };
      let lifted = seen.get(offset);
      if (lifted === undefined) {
        lifted = this.#lift(test, offset);
        seen.set(offset, lifted);
      }
      if (lifted === null) return { stop: "invalid-opcode", note: "cannot be decoded" };
      this.#evaluator.turnsLeft = MOST_TURNS;
      const outcome = this.#evaluator.evaluate(lifted.steps, lifted.instruction);
      switch (outcome.kind) {
        case "next":
        case "jump":
        case "paused":
          break;
        case "fault":
          return { stop: "memory", note: `access of ${this.#memory.faultAddress.toString(16)}` };
        case "trap":
          return { stop: STOP_OF_TRAP[outcome.trap], note: outcome.trap };
        case "system":
          return { stop: "unsupported", note: "for the runtime" };
        case "unsupported":
          return { stop: "unsupported", note: outcome.why };
      }
    }
    return { stop: "endless", note: "" };
  }

  #lift(test: Case, offset: number): Lifted | null {
    const address = (test.codeAddress + offset) as GuestAddress;
    const instruction = this.#decoder.decode(test.code, offset, test.code.length - offset, address);
    return isDecodeFailure(instruction) ? null : { instruction, steps: lift(instruction) };
  }

  close(): void {
    this.#decoder[Symbol.dispose]();
  }
}

/** Data, stack and code as bytes, which remember what they were. */
class ImageMemory implements MemoryPort {
  low = 0n;
  high = 0n;
  faultAddress = 0n;
  readonly #bytes = new Uint8Array(IMAGE_BYTES + CODE_BYTES).fill(CODE_FILLER);
  readonly #view = new DataView(this.#bytes.buffer);
  /** Words that were stored to, and what they held before. */
  readonly #before = new Map<number, bigint>();

  constructor() {
    this.#bytes.set(IMAGE);
  }

  begin(test: Case): void {
    this.faultAddress = 0n;
    this.#bytes.set(test.code, imageOffset(test.codeAddress));
    for (const { address, bytes } of test.patches) this.#bytes.set(bytes, imageOffset(address));
  }

  /** What has changed; all is as in `IMAGE` again. */
  end(test: Case): Change[] {
    const changes: Change[] = [];
    for (const [offset, before] of this.#before) {
      const value = this.#view.getBigUint64(offset, true);
      if (value !== before) changes.push({ address: imageAddress(offset), value });
      this.#bytes.set(IMAGE.subarray(offset, offset + 8), offset);
    }
    for (const { address, bytes } of test.patches) {
      const offset = imageOffset(address);
      this.#bytes.set(IMAGE.subarray(offset, offset + bytes.length), offset);
    }
    const code = imageOffset(test.codeAddress);
    this.#bytes.fill(CODE_FILLER, code, code + test.code.length);
    this.#before.clear();
    return changes.sort((a, b) => a.address - b.address);
  }

  load(address: bigint, bytes: Bytes, forWrite: boolean): boolean {
    const offset = this.#access(address, bytes, forWrite);
    if (offset < 0) return false;
    const view = this.#view;
    switch (bytes) {
      case 1:
        this.low = BigInt(view.getUint8(offset));
        break;
      case 2:
        this.low = BigInt(view.getUint16(offset, true));
        break;
      case 4:
        this.low = BigInt(view.getUint32(offset, true));
        break;
      case 8:
        this.low = view.getBigUint64(offset, true);
        break;
      case 16:
        this.low = view.getBigUint64(offset, true);
        this.high = view.getBigUint64(offset + 8, true);
    }
    return true;
  }

  store(address: bigint, bytes: Bytes, low: bigint, high: bigint): boolean {
    const offset = this.#access(address, bytes, true);
    if (offset < 0) return false;
    for (let word = offset & ~7; word < offset + bytes; word += 8) {
      if (!this.#before.has(word)) this.#before.set(word, this.#view.getBigUint64(word, true));
    }
    for (let i = 0, rest = low; i < Math.min(bytes, 8); i++, rest >>= 8n)
      this.#bytes[offset + i] = Number(rest & 0xffn);
    if (bytes === 16) this.#view.setBigUint64(offset + 8, high, true);
    return true;
  }

  probe(address: bigint, bytes: Bytes, write: boolean): boolean {
    return this.#access(address, bytes, write) >= 0;
  }

  /** Where the bytes lie, or -1; the areas are not neighbours of each other. */
  #access(address: bigint, bytes: Bytes, write: boolean): number {
    const first = Number(address);
    const last = first + bytes - 1;
    const offset = imageOffset(first);
    const allowed = write ? isWritable(first) && isWritable(last) : offset >= 0 && imageOffset(last) >= 0;
    if (allowed) return offset;
    this.faultAddress = address;
    return -1;
  }
}
