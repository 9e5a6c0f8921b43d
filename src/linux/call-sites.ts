import type { BacktraceFrame } from "../translator/backtrace.js";
import { RSP } from "../translator/instruction.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Guest } from "./guest.js";

const WORD = 8;
/** That are remembered for each place that a seam returns to. */
const MOST_WAYS = 16;

/** How the kernel came to a seam: return addresses by their place on the stack, as far as they tell the site. */
interface Way {
  readonly offsets: readonly number[];
  readonly addresses: readonly GuestAddress[];
  /** Where there is no module among the callers the whole stack counts; null if any stack will do. */
  readonly stack: GuestAddress | null;
  readonly site: string;
}

/** Which function of a module calls the kernel, or has it call. A back-trace tells; each is made once. */
export class CallSites {
  /** By where the seam returns to. */
  readonly #ways = new Map<GuestAddress, Way[]>();

  constructor(
    private readonly guest: Guest,
    private readonly moduleAt: (address: GuestAddress) => string | null,
  ) {}

  /** Modules are no longer where they were. */
  forget(): void {
    this.#ways.clear();
  }

  /** The nearest function of a module among the callers of the seam that runs, with its module; else the kernel's. */
  ofSeam(): string {
    const { guest } = this;
    const sp = guest.sandbox.cpu.generalAddress(RSP);
    const caller = guest.pointer(sp);
    let ways = this.#ways.get(caller);
    if (ways === undefined) {
      ways = [];
      this.#ways.set(caller, ways);
    }
    for (let i = 0; i < ways.length; i++) if (this.#isWay(ways[i], sp)) return ways[i].site;
    const frames = guest.sandbox.backtrace();
    const last = frames.findIndex(({ address }) => this.moduleAt(address) !== null);
    const site = this.#name(frames, last);
    if (ways.length >= MOST_WAYS) ways.shift();
    ways.push(this.#wayTo(last < 0 ? frames.slice(1) : frames.slice(1, last + 1), sp, last < 0 ? sp : null, site));
    return site;
  }

  /** The same for whatever runs. */
  ofAll(): string {
    const frames = this.guest.sandbox.backtrace();
    return this.#name(
      frames,
      frames.findIndex(({ address }) => this.moduleAt(address) !== null),
    );
  }

  #name(frames: readonly BacktraceFrame[], at: number): string {
    if (at < 0) return frames[1]?.symbol ?? frames[0]?.symbol ?? "the kernel";
    const { address, symbol } = frames[at];
    return `${symbol ?? "unknown"} [${this.moduleAt(address)}]`;
  }

  /** A frame's place is the first word above the one before that has its address. */
  #wayTo(frames: readonly BacktraceFrame[], sp: GuestAddress, stack: GuestAddress | null, site: string): Way {
    const offsets: number[] = [];
    let at = 0;
    for (const { address } of frames) {
      while (this.guest.pointer((sp + at) as GuestAddress) !== address) at += WORD;
      offsets.push(at);
      at += WORD;
    }
    return { offsets, addresses: frames.map(({ address }) => address), stack, site };
  }

  #isWay({ offsets, addresses, stack }: Way, sp: GuestAddress): boolean {
    if (stack !== null && stack !== sp) return false;
    const { memory } = this.guest;
    const { view } = memory;
    const start = memory.offset(sp);
    for (let i = 0; i < offsets.length; i++) {
      const at = start + offsets[i];
      // All of the sandbox's addresses have the same upper half.
      if (view.getInt32(at, true) !== addresses[i] || view.getInt32(at + 4, true) !== -1) return false;
    }
    return true;
  }
}
