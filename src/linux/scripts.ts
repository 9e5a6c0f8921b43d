import { RAX, RCX, RDI, RDX, RSI, RSP } from "../translator/instruction.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";
import { type Call, type SeamResult, SWITCHED } from "./seam.js";
import type { Thread, Threads } from "./threads.js";

const ARGUMENTS = [RDI, RSI, RDX, RCX, 8, 9] as const;

/** A call of the kernel's that a script makes: a symbol or an address, and arguments. */
export type ScriptCall = readonly [target: string | GuestAddress, ...args: number[]];
/** What the host does in a thread of the kernel: each call may block, and its answer comes back. */
export type Script<T> = Generator<ScriptCall, T, GuestAddress>;

interface Running {
  readonly steps: Script<unknown>;
  readonly stack: GuestAddress;
  readonly done: (result: unknown) => void;
}

/**
 * Runs scripts in threads of their own. A thread starts at a stub of the host's; each call that a script makes returns to
 * the stub, which goes on with the script.
 */
export class Scripts {
  readonly #running = new Map<Thread, Running>();
  readonly #stub: GuestAddress;

  constructor(
    private readonly guest: Guest,
    private readonly threads: Threads,
    makeStub: (name: string, handle: (call: Call) => SeamResult) => GuestAddress,
  ) {
    this.#stub = makeStub("script", () => this.#goOn());
  }

  /** @param done is told what the script returned */
  start<T>(name: string, steps: Script<T>, done: (result: T) => void): Thread {
    const thread = this.threads.spawn(name, this.#stub, []);
    this.#pending.set(thread, { steps, done: (result) => done(result as T) });
    return thread;
  }

  readonly #pending = new Map<Thread, Omit<Running, "stack">>();

  #goOn(): SeamResult {
    const { guest } = this;
    const { cpu } = guest.sandbox;
    const thread = this.threads.current;
    if (thread === null) return undefined;
    let running = this.#running.get(thread);
    const pending = this.#pending.get(thread);
    if (running === undefined && pending !== undefined) {
      this.#pending.delete(thread);
      running = { ...pending, stack: cpu.generalAddress(RSP) };
      this.#running.set(thread, running);
    }
    if (running === undefined) return undefined;
    const { steps, stack, done } = running;
    const next = steps.next(cpu.generalAddress(RAX));
    if (next.done === true) {
      this.#running.delete(thread);
      cpu.setGeneralAddress(RSP, stack);
      done(next.value);
      return 0;
    }
    const [target, ...args] = next.value;
    const sp = (stack - 16) as GuestAddress;
    guest.write(sp, 8, this.#stub);
    cpu.setGeneralAddress(RSP, sp);
    args.forEach((value, i) => {
      cpu.setGeneralAddress(ARGUMENTS[i], value);
    });
    cpu.setGeneral(RAX, 0n);
    cpu.ripAddress = typeof target === "string" ? guest.symbol(target) : target;
    return SWITCHED;
  }
}
