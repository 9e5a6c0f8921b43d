import type { GuestAddress } from "../util/guest-address.js";
import type { Decoded } from "./decode.js";
import { type Effects, effectsOf, type Lifted } from "./flow/effects.js";
import type { BranchOperand, ConditionCode, Instruction, Operand } from "./instruction.js";
import type { Step } from "./ir.js";
import { lift } from "./lift/index.js";

/** Bytes that have been decoded before: what they mean at any address. */
interface Encoding {
  readonly decoded: Decoded;
  /** Bytes at its end that are a distance from the next instruction. */
  readonly relative: 0 | 1 | 4;
  /** What it does, if that does not depend on where it stands. */
  readonly meaning: { readonly steps: readonly Step[]; readonly effects: Effects } | null;
}

/** So many bytes of different encodings are kept; then all are forgotten. */
const MOST_EDGES = 1 << 18;

/**
 * Compilers write the same few thousand encodings over and over: they are decoded and lifted once. No encoding is the
 * beginning of another, so a walk along the bytes ends at the one that they begin with.
 */
class KnownEncodings {
  /** From a state and a byte to the next state; below zero, to the complement of a place in `#encodings`. */
  readonly #edges = new Map<number, number>();
  #encodings: Encoding[] = [];
  #states = 1;

  /** The instruction at `bytes[from]`, if its encoding is known and ends before `to`. */
  find(bytes: Uint8Array, from: number, to: number, address: GuestAddress): Lifted | null {
    let state = 0;
    for (let at = from; at < to; at++) {
      const next = this.#edges.get(state * 256 + bytes[at]);
      if (next === undefined) return null;
      if (next < 0) {
        const encoding = this.#encodings[~next];
        return at + 1 + encoding.relative <= to ? placed(encoding, address, bytes, at + 1) : null;
      }
      state = next;
    }
    return null;
  }

  /** Keeps what was decoded at `bytes[from]`, unless it cannot be told from its bytes alone. */
  learn(decoded: Decoded, bytes: Uint8Array, from: number): Lifted {
    const { address } = decoded;
    const relative = relativeBytes(decoded, bytes, from);
    if (relative === null) return lifted(decoded);
    const steps = lift(decoded);
    const isShared = relative === 0 && decoded.mnemonic !== "call";
    const encoding: Encoding = { decoded, relative, meaning: isShared ? { steps, effects: effectsOf(steps) } : null };
    this.#insert(encoding, bytes, from);
    return placed(encoding, address, bytes, from + decoded.length - relative);
  }

  #insert(encoding: Encoding, bytes: Uint8Array, from: number): void {
    if (this.#edges.size > MOST_EDGES) {
      this.#edges.clear();
      this.#encodings = [];
      this.#states = 1;
    }
    const last = from + encoding.decoded.length - encoding.relative - 1;
    let state = 0;
    for (let at = from; at < last; at++) {
      const key = state * 256 + bytes[at];
      let next = this.#edges.get(key);
      if (next === undefined) {
        next = this.#states++;
        this.#edges.set(key, next);
      }
      state = next;
    }
    this.#edges.set(state * 256 + bytes[last], ~this.#encodings.length);
    this.#encodings.push(encoding);
  }
}

/** Of all sandboxes. */
export const KNOWN_ENCODINGS = new KnownEncodings();

const lifted = (instruction: Instruction): Lifted => {
  const steps = lift(instruction);
  return { instruction, steps, effects: effectsOf(steps) };
};

function placed(
  { decoded, relative, meaning }: Encoding,
  address: GuestAddress,
  bytes: Uint8Array,
  at: number,
): Lifted {
  if (meaning !== null) {
    const { steps, effects } = meaning;
    return { instruction: new PlacedInstruction(decoded, address, decoded.operands, 0, 0), steps, effects };
  }
  if (relative === 0) return lifted(new PlacedInstruction(decoded, address, decoded.operands, 0, 0));
  const distance =
    relative === 1
      ? (bytes[at] << 24) >> 24
      : bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
  const target: BranchOperand = { kind: "branch", target: (address + decoded.length + distance) as GuestAddress };
  return lifted(new PlacedInstruction(decoded, address, [target], relative, distance));
}

/** How many bytes at the end are relative to where it stands; null if its operands depend on that in any other way. */
function relativeBytes({ operands, mnemonic, length }: Decoded, bytes: Uint8Array, from: number): 0 | 1 | 4 | null {
  if (operands.some(({ kind }) => kind === "special")) return null;
  if (operands.some(({ kind }) => kind === "branch")) {
    // Without prefixes: jcc, jmp and call, the only ones that are frequent.
    const [first, second] = [bytes[from], bytes[from + 1]];
    if (length === 2 && (first === 0xeb || (first & 0xf0) === 0x70)) return 1;
    if (length === 5 && (first === 0xe8 || first === 0xe9)) return 4;
    return length === 6 && first === 0x0f && (second & 0xf0) === 0x80 ? 4 : null;
  }
  if (mnemonic === "invalid") return null;
  // Relative to RIP is what has neither a base nor an index, but for absolute operands, which are rare.
  const isPlaced = operands.some((operand) => operand.kind === "memory" && operand.base < 0 && operand.index < 0);
  return isPlaced ? null : 0;
}

/** An instruction like one that was decoded elsewhere. */
class PlacedInstruction implements Instruction {
  readonly length: number;
  readonly #like: Decoded;
  readonly #relative: number;
  readonly #distance: number;

  constructor(
    like: Decoded,
    readonly address: GuestAddress,
    readonly operands: readonly Operand[],
    relative: number,
    distance: number,
  ) {
    this.#like = like;
    this.length = like.length;
    this.#relative = relative;
    this.#distance = distance;
  }

  get mnemonic(): string {
    return this.#like.mnemonic;
  }

  get rep(): boolean {
    return this.#like.rep;
  }

  get repne(): boolean {
    return this.#like.repne;
  }

  get lock(): boolean {
    return this.#like.lock;
  }

  get condition(): ConditionCode | null {
    return this.#like.condition;
  }

  text(): string {
    return this.#like.textAt(this.address, this.#relative, this.#distance);
  }
}
