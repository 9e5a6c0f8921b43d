import { RSP } from "../../../src/translator/instruction.js";
import { randomBelow } from "../../../src/util/random.js";
import type { Draft } from "./draft.js";
import type { Addressing } from "./form.js";
import { stackPointer } from "./targets.js";
import { chance, pick, random64 } from "./values.js";

const SCALES = [1, 2, 4, 8] as const;
const NONE = -1;
const RIP = -2;
/** An instruction's length and more: displacements from RIP count from its end. */
const SLACK = 64n;

const fits = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;

/** Writes down memory operands in all the ways there are to reach an address. */
export class AddressWriter {
  /** @param registers those below may be used: 8 if there must be no REX prefix, else 16 */
  constructor(
    readonly draft: Draft,
    readonly registers: 8 | 16,
  ) {}

  /** Any operand at all, wherever it leads. */
  anywhere(): Addressing {
    const { random } = this.draft;
    const value = (register: number): number => {
      this.draft.want(register, () =>
        register === RSP ? stackPointer(random) : random64(random) >> BigInt(random() % 64),
      );
      return register;
    };
    const index = chance(random, 50) ? this.#index() : NONE;
    const base = index === NONE || chance(random, 70) ? randomBelow(random, this.registers) : NONE;
    return this.#finish({
      segment: "none",
      short: chance(random, 15),
      base: base === NONE ? NONE : value(base),
      index: index === NONE ? NONE : value(index),
      scale: index === NONE ? 1 : pick(random, SCALES),
      displacement: this.#displacement(),
    });
  }

  /** An operand whose address is `target`, if the registers that are still free allow it. */
  reach(target: bigint): Addressing {
    const { draft } = this;
    const { random } = draft;
    const segment = chance(random, 10) ? pick(random, ["fs", "gs"] as const) : "none";
    const offset = BigInt.asUintN(64, target - (segment === "none" ? 0n : draft.segmentBase(segment)));
    const short = chance(random, 8) && offset < 1n << 32n;
    const kind = random() % 100;
    const relative = offset - BigInt(draft.address);
    if (kind < 8 && (short || (fits(relative + SLACK, 32) && fits(relative - SLACK, 32)))) {
      return { segment, short, base: RIP, index: NONE, scale: 1, displacement: offset, displacementBytes: 4 };
    }
    if (kind < 16) {
      const absolute = this.#absolute(segment, short, offset);
      if (absolute !== null) return absolute;
    }
    if (kind < 24) {
      const indexed = this.#indexOnly(segment, short, offset);
      if (indexed !== null) return indexed;
    }
    return (
      this.#based(segment, short, offset) ??
      this.#absolute(segment, short, offset) ?? { ...this.anywhere(), segment, short }
    );
  }

  /** An address in a register, such as string instructions take. */
  point(register: number, target: bigint, short: boolean): void {
    const { random } = this.draft;
    this.draft.want(register, () =>
      short ? (random64(random) & 0xffffffff00000000n) | BigInt.asUintN(32, target) : target,
    );
  }

  #absolute(segment: Addressing["segment"], short: boolean, offset: bigint): Addressing | null {
    const signed = BigInt.asIntN(64, offset);
    if (!short && !fits(signed, 32)) return null;
    return { segment, short, base: NONE, index: NONE, scale: 1, displacement: signed, displacementBytes: 4 };
  }

  #index(): number {
    const index = randomBelow(this.draft.random, this.registers);
    return index === RSP ? NONE : index;
  }

  #displacement(): bigint {
    const { random } = this.draft;
    const kind = random() % 8;
    if (kind < 2) return 0n;
    return kind < 5 ? BigInt((random() << 24) >> 24) : kind < 7 ? BigInt((random() << 20) >> 20) : BigInt(random() | 0);
  }

  #indexOnly(segment: Addressing["segment"], short: boolean, offset: bigint): Addressing | null {
    const { draft } = this;
    const index = this.#index();
    if (index === NONE || !draft.isOpen(index)) return null;
    const scale = pick(draft.random, SCALES);
    const start = this.#displacement();
    const displacement = start + ((((offset - start) % BigInt(scale)) + BigInt(scale)) % BigInt(scale));
    if (!fits(displacement, 32)) return null;
    const bits = BigInt((short ? 32 : 64) - Math.log2(scale));
    const low = BigInt.asUintN(Number(bits), (offset - displacement) / BigInt(scale));
    // What the scale or the prefix shifts out may be anything.
    draft.want(index, () => BigInt.asUintN(64, (random64(draft.random) << bits) | low));
    return { segment, short, base: NONE, index, scale, displacement, displacementBytes: 4 };
  }

  #based(segment: Addressing["segment"], short: boolean, offset: bigint): Addressing | null {
    const { draft } = this;
    const { random } = draft;
    const base = this.#base();
    if (base === NONE) return null;
    let index: number = chance(random, 40) ? this.#index() : NONE;
    let scaled = 0n;
    let scale: Addressing["scale"] = 1;
    if (index !== NONE) {
      const value =
        index === base && draft.isOpen(base)
          ? null
          : draft.want(index, () => (chance(random, 60) ? BigInt(random() & 0x1ff) : random64(random)));
      if (value === null) index = NONE;
      else {
        scale = pick(random, SCALES);
        scaled = value * BigInt(scale);
      }
    }
    const rest = offset - scaled;
    let displacement: bigint;
    if (draft.isOpen(base)) {
      displacement = this.#displacement();
      const value = BigInt.asUintN(short ? 32 : 64, rest - displacement);
      draft.want(base, () => (short ? (random64(random) & 0xffffffff00000000n) | value : value));
    } else {
      displacement = BigInt.asIntN(short ? 32 : 64, rest - (draft.known(base) ?? 0n));
      if (!fits(displacement, 32)) return null;
    }
    return this.#finish({ segment, short, base, index, scale, displacement });
  }

  /** A register whose value can be chosen, or is known. */
  #base(): number {
    const { draft } = this;
    // Instructions that move RSP have rules of their own for it.
    if (draft.known(RSP) !== null && chance(draft.random, 15)) return RSP;
    for (let tries = 0; tries < 4; tries++) {
      const register = randomBelow(draft.random, this.registers);
      if (draft.isOpen(register) && register !== RSP) return register;
      if (tries > 1 && draft.known(register) !== null) return register;
    }
    return NONE;
  }

  #finish(addressing: Omit<Addressing, "displacementBytes">): Addressing {
    const { displacement, base } = addressing;
    const least = displacement === 0n && (base & 7) !== 5 ? 0 : fits(displacement, 8) ? 1 : 4;
    const displacementBytes = base === NONE || chance(this.draft.random, 15) ? 4 : least;
    return { ...addressing, displacementBytes };
  }
}
