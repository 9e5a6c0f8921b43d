import { InstructionDecoder, isDecodeFailure } from "../../../src/translator/decode.js";
import type { GuestMemory } from "../../../src/translator/guest-memory.js";
import { isCovered } from "../../../src/translator/lift/index.js";
import type { LoadedFunction } from "../../../src/translator/loaded-object.js";
import type { Stop as SandboxStop } from "../../../src/translator/runtime.js";
import { Sandbox, type SandboxOptions } from "../../../src/translator/sandbox.js";
import type { GuestAddress } from "../../../src/util/guest-address.js";
import {
  type Case,
  type Change,
  CODE,
  CODE_BYTES,
  CODE_FILLER,
  DATA,
  DATA_BYTES,
  DATA_WRITABLE,
  IMAGE,
  imageAddress,
  imageOffset,
  type Outcome,
  STACK,
  STACK_BYTES,
  type Stop,
  type Subject,
} from "./case.js";
import { STOP_OF_TRAP } from "./stops.js";

const MOST_INSTRUCTIONS = 1_000_000;
/** An address that nothing jumps to. */
const NOWHERE = 0x108 as GuestAddress;
/** Hosts get slower with every module that shares a table, even with those that are gone. */
const CASES_PER_SANDBOX = 1000;
/** So far before a snippet jumps out of it may lead. */
const BEFORE = 32;
const RFLAGS_IF = 0x200;

const at = (address: number): GuestAddress => address as GuestAddress;

/** Translated code in a sandbox of its own, each snippet as a function. */
export class SandboxSubject implements Subject {
  readonly flags = "convention";
  readonly checks: boolean;
  readonly #decoder = new InstructionDecoder();
  #sandbox: Sandbox;
  #memory: GuestMemory;
  #cases = 0;
  /** Words of memory before a case, and where they lie in the sandbox. */
  readonly #before = IMAGE.slice();

  constructor(
    readonly name: string,
    readonly options: SandboxOptions,
    /** Instructions between two looks at whether to go on; as the sandbox wants if left out. */
    readonly slice?: number,
  ) {
    this.checks = options.checks ?? true;
    this.#sandbox = this.#fresh();
    this.#memory = this.#sandbox.memory;
  }

  #fresh(): Sandbox {
    const sandbox = Sandbox.create({ ...this.options, space: "low" });
    if (this.slice !== undefined) {
      sandbox.runtime.slice = this.slice;
      sandbox.runtime.longestSlice = this.slice;
    }
    for (const { address, size } of [...sandbox.memory.mappings]) sandbox.unmap(address, size);
    const data = { read: true, write: true, execute: false };
    sandbox.map(at(CODE), CODE_BYTES, { read: true, write: false, execute: true });
    sandbox.map(at(DATA), DATA_WRITABLE, data);
    sandbox.map(at(DATA + DATA_WRITABLE), DATA_BYTES - DATA_WRITABLE, { ...data, write: false });
    sandbox.map(at(STACK), STACK_BYTES, data);
    sandbox.write(at(CODE), new Uint8Array(CODE_BYTES).fill(CODE_FILLER));
    sandbox.write(at(DATA), IMAGE.subarray(0, DATA_BYTES));
    sandbox.write(at(STACK), IMAGE.subarray(DATA_BYTES));
    return sandbox;
  }

  covers(code: Uint8Array): boolean {
    const decoded = this.#decoder.decode(code, 0, code.length, at(0));
    return !isDecodeFailure(decoded) && isCovered(decoded);
  }

  run(test: Case): Outcome {
    if (++this.#cases % CASES_PER_SANDBOX === 0) {
      this.#sandbox = this.#fresh();
      this.#memory = this.#sandbox.memory;
    }
    const { cpu } = this.#sandbox;
    this.#prepare(test);
    for (let i = 0; i < 16; i++) cpu.setGeneral(i, test.registers[i]);
    cpu.rflags = BigInt(test.flags | RFLAGS_IF);
    cpu.fsBase = test.fsBase;
    cpu.gsBase = test.gsBase;
    const vectors = new BigUint64Array(test.xmm.slice().buffer);
    for (let i = 0; i < 16; i++) cpu.setXmm(i, vectors[2 * i], vectors[2 * i + 1]);
    cpu.rip = BigInt(test.codeAddress);
    const { stop, note, faultAddress } = this.#tryToRun(test);
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
      changes: this.#takeBack(test),
      faultAddress,
      note,
    };
  }

  #prepare(test: Case): void {
    const { code, runtime } = this.#sandbox;
    const start = at(test.codeAddress);
    for (const { address, bytes } of test.patches) {
      this.#sandbox.write(at(address), bytes);
      this.#before.set(bytes, imageOffset(address));
    }
    this.#sandbox.write(start, test.code);
    runtime.codeChanged(at(CODE), at(CODE + CODE_BYTES));
    code.removeFunctions(at(CODE), at(CODE + CODE_BYTES));
    code.entries.clear();
    code.addFunctions(functionsOf(test));
  }

  #tryToRun(test: Case): Pick<Outcome, "stop" | "note" | "faultAddress"> {
    try {
      return this.#told(test, this.#sandbox.run(NOWHERE, MOST_INSTRUCTIONS));
    } catch (error) {
      const note = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return { stop: "defect", note, faultAddress: null };
    }
  }

  #told(test: Case, stop: SandboxStop): Pick<Outcome, "stop" | "note" | "faultAddress"> {
    const rip = this.#sandbox.cpu.ripAddress;
    const inside = rip >= test.codeAddress && rip < test.codeAddress + test.code.length;
    const plain = (kind: Stop, note = ""): Pick<Outcome, "stop" | "note" | "faultAddress"> => ({
      stop: inside ? kind : "end",
      note,
      faultAddress: null,
    });
    switch (stop.kind) {
      case "trap":
        return plain(STOP_OF_TRAP[stop.trap], stop.trap);
      case "fault":
        if (stop.fault.access === "execute") return plain("memory", stop.fault.rule);
        return { stop: "memory", note: stop.fault.rule, faultAddress: stop.fault.address };
      case "exhausted":
        return { stop: "endless", note: "", faultAddress: null };
      case "unsupported":
        return plain(stop.instruction === null ? "invalid-opcode" : "unsupported", stop.why);
      default:
        return plain("unsupported", stop.kind);
    }
  }

  /** What has changed; memory is as in `IMAGE` again. */
  #takeBack(test: Case): Change[] {
    const changes: Change[] = [];
    this.#compare(0, DATA_WRITABLE, changes);
    this.#compare(DATA_BYTES, DATA_BYTES + STACK_BYTES, changes);
    for (const { address, bytes } of test.patches) {
      const offset = imageOffset(address);
      const original = IMAGE.subarray(offset, offset + bytes.length);
      this.#sandbox.write(at(address), original);
      this.#before.set(original, offset);
    }
    this.#sandbox.write(at(test.codeAddress), new Uint8Array(test.code.length).fill(CODE_FILLER));
    return changes;
  }

  /** Bytes of `IMAGE` from and to an offset. */
  #compare(from: number, to: number, changes: Change[]): void {
    const { bytes, view } = this.#memory;
    const start = this.#memory.offset(at(imageAddress(from)));
    if (Buffer.compare(bytes.subarray(start, start + to - from), this.#before.subarray(from, to)) === 0) return;
    for (let offset = from; offset < to; offset += 8) {
      const place = start + offset - from;
      if (bytes.subarray(place, place + 8).every((byte, i) => byte === this.#before[offset + i])) continue;
      changes.push({ address: imageAddress(offset), value: view.getBigUint64(place, true) });
      bytes.set(IMAGE.subarray(offset, offset + 8), place);
    }
  }

  close(): void {
    this.#decoder[Symbol.dispose]();
  }
}

/**
 * The snippet, its parts around those that are called, and these. The int3 around the snippet belong to it, so that to
 * leave it for them is no call of another.
 */
function functionsOf(test: Case): LoadedFunction[] {
  const functions: LoadedFunction[] = [];
  const add = (name: string, start: number, end: number): void => {
    if (end > start) functions.push({ name, address: at(test.codeAddress + start), size: end - start });
  };
  add("snippet.cold", -BEFORE, 0);
  let from = 0;
  for (const [start, end] of test.functions) {
    add(from === 0 ? "snippet" : "snippet.cold", from, start);
    add(`called${start}`, start, end);
    from = end;
  }
  add(from === 0 ? "snippet" : "snippet.cold", from, test.code.length + 1);
  return functions;
}
