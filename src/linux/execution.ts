import { CPU } from "../translator/cpu-state.js";
import { RAX, RCX, RDI, RDX, RSI, RSP } from "../translator/instruction.js";
import type { Stop } from "../translator/runtime.js";
import { GuestFailure } from "../translator/sandbox.js";
import { Shadow } from "../translator/shadow.js";
import { KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";
import type { GuestAddress } from "../util/guest-address.js";
import { Exceptions } from "./exceptions.js";
import type { Guest } from "./guest.js";

const ARGUMENTS = [RDI, RSI, RDX, RCX, 8, 9] as const;
/** Where calls from outside return to, and where threads leave to: never mapped. */
const RETURN_BASE = 0x1000;
const LEAVE = 0x800;
const STACK_GAP = 256;
/** Registers, flags and segment bases: what a call within a call must leave as it was. */
const STATE_BYTES = 0x300;
const DEEPEST = 40;
/** After so many instructions of one entry time passes: loops may look at the clock until it is late enough. */
const SLICE = 250_000;

/** A WARN in the kernel or a module; it goes on. */
export interface KernelWarning {
  readonly file: string;
  readonly line: number;
  readonly symbol: string;
  readonly backtrace: readonly string[];
}

export interface ExecutionEvents {
  warning: KernelWarning;
  /** Memory was touched that a device owns: it is let through, once it was told. */
  refusedAccess: GuestFailure;
}

/** Runs kernel code for the host: calls that return, and threads until they block. */
export class Execution {
  readonly events = new EventSource<ExecutionEvents>();
  readonly exceptions: Exceptions;
  /** Instructions that one entry may take. */
  budget = 2_000_000_000;
  /** An entry has taken long: so many slices of instructions. */
  onSlice: (slices: number) => void = () => {};
  /** Guest code is running: what the host does happens within a seam. */
  depth = 0;
  readonly #saved: Uint8Array[] = [];

  constructor(
    readonly guest: Guest,
    /** The stack of calls that are made while no guest code runs. */
    private readonly stackTop: GuestAddress,
  ) {
    this.exceptions = new Exceptions(guest);
  }

  get busy(): boolean {
    return this.depth > 0;
  }

  /** Where a thread's registers have to point for the host to go on. */
  get leaveAddress(): GuestAddress {
    return (this.guest.memory.space.endMappable + LEAVE) as GuestAddress;
  }

  /**
   * Calls a function of the kernel; within a seam too, whose registers stay as they are. It must not block.
   * @returns RAX, as an address
   * @throws GuestFailure
   */
  call(target: GuestAddress | string, ...args: readonly (number | bigint)[]): GuestAddress {
    const { guest, depth } = this;
    const { cpu } = guest.sandbox;
    if (depth >= DEEPEST)
      throw new KorralError("calls-nested", "seams call the kernel, which calls seams, too deep", 1);
    const saved = depth === 0 ? null : this.#save(depth);
    let sp = saved === null ? this.stackTop : cpu.generalAddress(RSP) - STACK_GAP;
    const onStack = Math.max(0, args.length - ARGUMENTS.length);
    sp = Math.floor(sp / 16) * 16 - 16 * Math.ceil(onStack / 2) - 8;
    for (let i = 0; i < args.length; i++) {
      const value = args[i];
      if (i >= ARGUMENTS.length) {
        guest.writeBig((sp + 8 * (i - ARGUMENTS.length + 1)) as GuestAddress, BigInt(value));
      } else if (typeof value === "bigint") cpu.setGeneral(ARGUMENTS[i], value);
      else cpu.setGeneralAddress(ARGUMENTS[i], value);
    }
    const until = (guest.memory.space.endMappable + RETURN_BASE + 16 * depth) as GuestAddress;
    guest.write(sp as GuestAddress, 8, until);
    cpu.setGeneralAddress(RSP, sp);
    cpu.setGeneral(RAX, 0n);
    cpu.ripAddress = typeof target === "string" ? guest.symbol(target) : target;
    cpu.setField("df", 0n);
    if (saved === null) cpu.setField("if", 1n);
    this.run(until);
    const result = cpu.generalAddress(RAX);
    if (saved !== null) guest.memory.bytes.set(saved, 0);
    return result;
  }

  /** Runs from RIP on until RIP is `until`. @throws GuestFailure */
  run(until: GuestAddress): void {
    const { runtime } = this.guest.sandbox;
    let resumed = false;
    let left = this.budget;
    let slices = 0;
    this.depth++;
    try {
      for (;;) {
        const stop = runtime.run(until, Math.min(left, SLICE), resumed);
        if (stop.kind === "returned") return;
        if (stop.kind === "exhausted" && left > SLICE) {
          left -= SLICE;
          this.onSlice(++slices);
        } else if (!this.#goesOn(stop)) throw new GuestFailure(this.guest.sandbox.explain(stop));
        resumed = true;
      }
    } finally {
      this.depth--;
    }
  }

  /** The kernel's own answer to an exception: a WARN, or the fix-up of an access that may fail. */
  #goesOn(stop: Stop): boolean {
    const { sandbox } = this.guest;
    const { cpu } = sandbox;
    if (stop.kind === "trap" && stop.trap === "invalid-opcode") {
      const bug = this.exceptions.bugAt(cpu.ripAddress);
      if (bug === null || !bug.isWarning) return false;
      const frames = sandbox.backtrace().map(({ symbol, address }) => symbol ?? `0x${(address >>> 0).toString(16)}`);
      this.events.emit("warning", { file: bug.file, line: bug.line, symbol: frames[0] ?? "", backtrace: frames });
      cpu.ripAddress = (cpu.ripAddress + bug.length) as GuestAddress;
      return true;
    }
    if (stop.kind !== "fault") return false;
    if (stop.fault.rule !== "device-owned") return this.exceptions.fixUp(cpu);
    this.events.emit("refusedAccess", new GuestFailure(sandbox.explain(stop)));
    const { address, size } = stop.fault;
    const start = Number(BigInt.asIntN(64, address)) as GuestAddress;
    this.guest.memory.setShadow(start, Math.max(1, size), Shadow.accessible);
    return true;
  }

  #save(depth: number): Uint8Array {
    this.guest.sandbox.cpu.resolveLazyFlags();
    let saved = this.#saved[depth];
    if (saved === undefined) {
      saved = new Uint8Array(STATE_BYTES);
      this.#saved[depth] = saved;
    }
    saved.set(this.guest.memory.bytes.subarray(0, STATE_BYTES));
    return saved;
  }
}

/** What a thread's registers are while it does not run. */
export class Registers {
  readonly bytes = new Uint8Array(STATE_BYTES);

  save(guest: Guest): void {
    guest.sandbox.cpu.resolveLazyFlags();
    this.bytes.set(guest.memory.bytes.subarray(0, STATE_BYTES));
  }

  load(guest: Guest): void {
    // What the runtime counts is not the thread's.
    const { bytes } = guest.memory;
    bytes.set(this.bytes.subarray(0, CPU.reason), 0);
    bytes.set(this.bytes.subarray(CPU.lanes, CPU.depth), CPU.lanes);
    bytes.set(this.bytes.subarray(CPU.fsBase, CPU.spilled), CPU.fsBase);
    bytes.set(this.bytes.subarray(CPU.xmm, STATE_BYTES), CPU.xmm);
  }
}
