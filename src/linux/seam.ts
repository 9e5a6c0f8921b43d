import type { CpuState } from "../translator/cpu.js";
import { RAX, RCX, RDI, RDX, RSI, RSP } from "../translator/instruction.js";
import { UnsupportedError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";

const ARGUMENTS = [RDI, RSI, RDX, RCX, 8, 9] as const;

/** The thread is not to go on: registers are those of somebody else now. */
export const SWITCHED = Symbol("switched");
/** Go on with the kernel's own code. */
export const OWN = Symbol("own");

/** What a seam answers: what the function returns, nothing if it returns nothing. */
export type SeamResult = number | bigint | undefined | typeof SWITCHED | typeof OWN;

/** A call of a function of the kernel, as its replacement sees it: C arguments, counted from 0. */
export class Call {
  constructor(
    readonly guest: Guest,
    readonly cpu: CpuState,
  ) {}

  /** A pointer, `size_t`, `unsigned long`: exact up to ±2^53. */
  pointer(index: number): GuestAddress {
    if (index < ARGUMENTS.length) return this.cpu.generalAddress(ARGUMENTS[index]);
    return this.guest.pointer(this.#stacked(index));
  }

  size(index: number): number {
    return this.pointer(index);
  }

  /** An `int`. */
  int(index: number): number {
    if (index < ARGUMENTS.length) return this.cpu.general32(ARGUMENTS[index]);
    return this.guest.read(this.#stacked(index), 4) | 0;
  }

  /** An `unsigned int`. */
  unsigned(index: number): number {
    return this.int(index) >>> 0;
  }

  /** All 64 bits, unsigned. */
  big(index: number): bigint {
    if (index < ARGUMENTS.length) return BigInt.asUintN(64, this.cpu.general(ARGUMENTS[index]));
    return this.guest.readBig(this.#stacked(index));
  }

  /** The words that variable arguments are taken from, from the one with this index on. */
  variable(first: number, count: number): bigint[] {
    return Array.from({ length: count }, (_, i) => this.big(first + i));
  }

  /** Where the call returns to. */
  get caller(): GuestAddress {
    return this.guest.pointer(this.cpu.generalAddress(RSP));
  }

  #stacked(index: number): GuestAddress {
    return (this.cpu.generalAddress(RSP) + 8 * (index - ARGUMENTS.length + 1)) as GuestAddress;
  }
}

/** A function of the kernel that the domain replaces. */
export interface Seam {
  /** What it is called, in this kernel or that. */
  readonly names: readonly string[];
  /** The C types that it may have, as BTF tells them. */
  readonly prototypes: readonly string[];
  readonly handle: (call: Call) => SeamResult;
}

/**
 * @param prototype its C type, or types, if kernels differ in what does not matter here
 * @param names separated by spaces
 */
export function seam(prototype: string | readonly string[], names: string, handle: Seam["handle"]): Seam {
  return {
    prototypes: typeof prototype === "string" ? [prototype] : prototype,
    names: names.split(" "),
    handle,
  };
}

/** Puts seams into a kernel. What it has not is left out; what it has otherwise than the seam expects is refused. */
export class SeamInstaller {
  readonly #call: Call;
  /** Names of seams that are in place, with how often each was called. */
  readonly calls = new Map<string, number>();

  constructor(
    private readonly guest: Guest,
    readonly counting = false,
    /** Functions that need no seam: there is code of ours in their place. */
    private readonly settled: ReadonlySet<string> = new Set(),
  ) {
    this.#call = new Call(guest, guest.sandbox.cpu);
  }

  /**
   * Of several seams of one name, the kernel's prototype tells which it is.
   * @throws UnsupportedError if the kernel's function has another prototype
   */
  install(seams: Iterable<Seam>): void {
    const byName = new Map<string, Seam[]>();
    for (const one of seams) for (const name of one.names) byName.set(name, [...(byName.get(name) ?? []), one]);
    for (const [name, choices] of byName) this.#installOne(name, choices);
  }

  /** Puts a handler at an address. */
  at(address: GuestAddress, name: string, handle: Seam["handle"]): void {
    const { sandbox } = this.guest;
    const { cpu } = sandbox;
    const call = this.#call;
    const { calls, counting } = this;
    calls.set(name, 0);
    sandbox.runtime.setHook(address, () => {
      if (counting) calls.set(name, (calls.get(name) ?? 0) + 1);
      const result = handle(call);
      if (result === undefined) return "return";
      if (typeof result === "number") {
        cpu.setGeneralAddress(RAX, result);
        return "return";
      }
      if (typeof result === "bigint") {
        cpu.setGeneral(RAX, result);
        return "return";
      }
      return result === SWITCHED ? "resume" : "proceed";
    });
  }

  #installOne(name: string, choices: readonly Seam[]): void {
    const { guest } = this;
    const address = guest.find(name);
    if (address === null || this.settled.has(name)) return;
    const actual = guest.prototype(name);
    const fitting = choices.find(({ prototypes }) => actual === null || prototypes.includes(actual));
    if (fitting === undefined) {
      const expected = choices.flatMap(({ prototypes }) => prototypes).join(" or ");
      throw new UnsupportedError(
        "seam-prototype",
        `${guest.image.name}: ${name} is ${actual}, and what replaces it expects ${expected}: this kernel is not supported`,
      );
    }
    this.at(address, name, fitting.handle);
  }
}
