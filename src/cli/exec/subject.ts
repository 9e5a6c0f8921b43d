import type { AccessFault } from "../../translator/access-fault.js";
import { CPU } from "../../translator/cpu-state.js";
import type { LoadedImport, LoadedObject } from "../../translator/loaded-object.js";
import { type Failure, GuestFailure, REGISTER_NAMES, type Sandbox } from "../../translator/sandbox.js";
import { ExitStatus, InputError, UnsupportedError } from "../../util/errors.js";
import { formatGuestAddress, type GuestAddress } from "../../util/guest-address.js";
import type { Argument } from "./arguments.js";
import { chooseVariants } from "./indirect.js";
import { sandboxWithThunks } from "./thunks.js";

/** Milliseconds after which whatever else happens in the process has its turn: Ctrl-C. */
const SLICE = 100;
const RFLAGS_AT_START = 0x202n;
const XMM_BYTES = 256;
const HLT_LENGTH = 1n;

/** An argument that is in the guest's memory. */
export interface Buffer {
  /** Which argument it is, from 1 on. */
  readonly number: number;
  readonly text: string;
  readonly address: GuestAddress;
  readonly before: Uint8Array;
}

/** Why a function did not return. */
export interface Problem extends Failure {
  readonly status: ExitStatus;
}

export interface Outcome {
  /** RAX, unsigned; null if the function did not return. */
  readonly result: bigint | null;
  readonly problem: Problem | null;
  readonly milliseconds: number;
  readonly instructions: number;
}

export interface SubjectOptions {
  readonly checks: boolean;
  /** Count instructions exactly, at the cost of some speed. */
  readonly count: boolean;
}

/** One function of a file in a sandbox of its own, which can be called again and again: each call finds the same. */
export class Subject {
  readonly sandbox: Sandbox;
  readonly object: LoadedObject;
  readonly buffers: readonly Buffer[];
  readonly #address: GuestAddress;
  readonly #values: readonly bigint[];
  /** All that calls can change but the stack, as it was at first. */
  readonly #writable: readonly { readonly address: GuestAddress; readonly code: boolean; readonly bytes: Uint8Array }[];
  #pauseAt = 0;

  /** @throws InputError, UnsupportedError */
  constructor(
    bytes: Uint8Array,
    readonly name: string,
    readonly symbol: string,
    args: readonly Argument[],
    options: SubjectOptions,
  ) {
    const { sandbox, resolve } = sandboxWithThunks(bytes, name, options);
    this.sandbox = sandbox;
    this.object = sandbox.load(bytes, name, resolve);
    this.#address = functionAddress(sandbox, this.object, symbol);
    chooseVariants(sandbox, this.object);
    const buffers: Buffer[] = [];
    this.#values = args.map((argument, i) => {
      if (argument.kind === "number") return argument.value;
      const { text, bytes: before } = argument;
      const address = sandbox.allocate(before.length, `argument ${i + 1}, ${text}`);
      sandbox.write(address, before);
      buffers.push({ number: i + 1, text, address, before });
      return BigInt(address);
    });
    this.buffers = buffers;
    this.#writable = sandbox.memory.mappings
      .filter(({ write, name: mapping }) => write && mapping !== "stack")
      .map(({ address, size, execute }) => ({ address, code: execute, bytes: sandbox.read(address, size) }));
    sandbox.runtime.pause = () => performance.now() >= this.#pauseAt;
    sandbox.runtime.translations.translate(this.#address);
  }

  /** What a buffer holds now. */
  content({ address, before }: Buffer): Uint8Array {
    return before.length === 0 ? before : this.sandbox.read(address, before.length);
  }

  /** @param limit milliseconds after which the function is given up */
  async call(limit: number): Promise<Outcome> {
    const { sandbox } = this;
    this.#reset();
    const executed = sandbox.runtime.executed;
    let milliseconds = 0;
    const outcome = (failure: Failure | null): Outcome => ({
      result: failure === null ? sandbox.register("rax") : null,
      problem: failure === null ? null : this.#problem(failure, limit),
      milliseconds,
      instructions: sandbox.runtime.executed - executed,
    });
    for (let first = true; ; first = false) {
      const start = performance.now();
      this.#pauseAt = start + SLICE;
      try {
        const stop = first ? sandbox.callAt(this.#address, this.#values) : sandbox.resume();
        milliseconds += performance.now() - start;
        if (stop.kind === "returned") return outcome(null);
        if (stop.kind === "halted") sandbox.setRegister("rip", sandbox.register("rip") - HLT_LENGTH);
        if (stop.kind !== "exhausted" || milliseconds >= limit) return outcome(sandbox.explain(stop));
      } catch (error) {
        if (!(error instanceof GuestFailure)) throw error;
        milliseconds += performance.now() - start;
        return outcome(error.failure);
      }
      await othersTurn();
    }
  }

  #reset(): void {
    const { sandbox } = this;
    const { memory } = sandbox;
    for (const { address, code, bytes } of this.#writable) {
      if (code) sandbox.write(address, bytes);
      else memory.bytes.set(bytes, memory.offset(address));
    }
    for (const name of REGISTER_NAMES) sandbox.setRegister(name, 0n);
    sandbox.setRegister("rflags", RFLAGS_AT_START);
    memory.bytes.fill(0, CPU.xmm, CPU.xmm + XMM_BYTES);
  }

  #problem(failure: Failure, limit: number): Problem {
    const { rule, rip, symbol, access } = failure;
    const called = this.object.importAt(rip);
    if (called !== null) return this.#missing(failure, called, "called");
    switch (rule) {
      case "unsupported-instruction":
        return { ...failure, status: ExitStatus.unsupported };
      case "out-of-budget": {
        const where = symbol ?? formatGuestAddress(rip);
        const message = `${this.symbol} has not returned after ${limit / 1000} s, it was at ${where}; --timeout gives it longer`;
        return { ...failure, message, status: ExitStatus.timedOut };
      }
      case "halted": {
        const message = `hlt at ${symbol ?? formatGuestAddress(rip)}: the processor sleeps, and nothing can wake it`;
        return { ...failure, message, status: ExitStatus.findings };
      }
      default: {
        const touched = access === null ? null : this.object.importAt(signed(access));
        if (touched !== null && access !== null) return this.#missing(failure, touched, PAST[access.access]);
        return { ...failure, status: ExitStatus.findings };
      }
    }
  }

  #missing(failure: Failure, { name, why }: LoadedImport, what: string): Problem {
    const isCall = failure.access === null;
    const [top, ...callers] = failure.backtrace;
    const backtrace = isCall ? [{ ...top, symbol: name }, ...callers] : failure.backtrace;
    const from = backtrace.slice(isCall ? 1 : 0).find(({ symbol }) => symbol !== null)?.symbol;
    const reason =
      why === "indirect-function"
        ? "which of its variants is meant cannot be found out: call one of them by its name"
        : `${this.name} only imports it: link the file that defines it to this one (ld -r)`;
    return {
      ...failure,
      rule: "missing-import",
      symbol: isCall ? name : failure.symbol,
      instruction: isCall ? null : failure.instruction,
      backtrace,
      message: `${name} is ${what}, ${from === undefined ? `somewhere below ${this.symbol}` : `at ${from}`}, and ${reason}`,
      status: ExitStatus.unsupported,
    };
  }
}

const PAST = { read: "read", write: "written to", execute: "executed" } as const;

const signed = ({ address }: AccessFault): GuestAddress => Number(BigInt.asIntN(64, address)) as GuestAddress;

/** Lets whatever waits in the process happen: signals above all. */
export const othersTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * The address of a function by its name, or as it is written.
 * @throws InputError if it is no function or not there, UnsupportedError for names that are not enough
 */
export function functionAddress(sandbox: Sandbox, object: LoadedObject, symbol: string): GuestAddress {
  if (/^0x[\da-f]{1,16}$/i.test(symbol)) {
    const address = Number(BigInt.asIntN(64, BigInt(symbol))) as GuestAddress;
    if (sandbox.memory.isExecutable(address)) return address;
    throw new InputError("not-code", `${object.name} has no code at ${symbol}: disasm shows where its functions are`);
  }
  const { address, kind, section } = found(object, symbol);
  if (kind === "indirect-function") {
    throw new UnsupportedError(
      "indirect-function",
      `${symbol} is an indirect function: its code only chooses between variants; give the name of one of them`,
    );
  }
  if (!sandbox.memory.isExecutable(address)) {
    const what = kind === "object" ? "data" : kind === "thread-local" ? "thread-local data" : "not code";
    throw new InputError("not-a-function", `${symbol} is ${what}, in ${section}: give the name of a function`);
  }
  return address;
}

function found(object: LoadedObject, symbol: string) {
  try {
    return object.symbols.find(symbol);
  } catch (error) {
    if (object.imports.some(({ name }) => name === symbol)) {
      throw new InputError("only-imported", `${object.name} imports ${symbol} and does not define it`);
    }
    throw error;
  }
}
