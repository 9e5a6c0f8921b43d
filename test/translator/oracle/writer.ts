import { RAX, RBX, RCX, RDI, RSI, RSP } from "../../../src/translator/instruction.js";
import { type Random, randomBelow } from "../../../src/util/random.js";
import { AddressWriter } from "./addressing.js";
import type { Draft, Jump } from "./draft.js";
import { encode } from "./encode.js";
import { type Addressing, type Form, HIGH_BYTES, type Slot } from "./form.js";
import { type Preparation, preparationOf } from "./preparations.js";
import { stackPointer, target } from "./targets.js";
import { rflagsOf, undefinedAfter } from "./undefined-flags.js";
import { chance, cornerRegister, cornerValue, littleEndian, pick } from "./values.js";

const IDLE_PREFIXES = [0x26, 0x2e, 0x36, 0x3e];

/** Writes single instructions into a draft: operands, and the registers and memory that they are to find. */
export class InstructionWriter {
  readonly random: Random;

  /** @param fixers forms that read no flags and define all */
  constructor(
    readonly draft: Draft,
    readonly fixers: readonly Form[],
  ) {
    this.random = draft.random;
  }

  /** False if the form cannot be used at this place. */
  write(form: Form): boolean {
    const { draft } = this;
    if ((form.implicitWrites & draft.untouchable) !== 0) return false;
    this.#defineFlags(form);
    const prepared = preparationOf(form, draft);
    if (prepared === null) return false;
    this.#encode(form, prepared);
    return true;
  }

  /** With operands that are chosen already. */
  writePrepared(form: Form, prepared: Preparation): void {
    this.#defineFlags(form);
    this.#encode(form, prepared);
  }

  /** A branch whose displacement is still open. */
  writeBranch(form: Form): Jump {
    const { draft } = this;
    this.#defineFlags(form);
    const start = draft.length;
    const { branchAt, branchBytes } = this.#encode(form, {});
    const undefinedFlags = draft.undefinedFlags;
    return { at: start + branchAt, bytes: branchBytes, from: draft.length, undefinedFlags };
  }

  #defineFlags(form: Form): void {
    if ((form.flagsRead & this.draft.undefinedFlags) !== 0) this.write(pick(this.random, this.fixers));
  }

  #encode(form: Form, prepared: Preparation): { branchAt: number; branchBytes: number } {
    const { draft, random } = this;
    const high =
      !form.rexW &&
      !form.vex &&
      form.slots.some((slot) => slot.bytes === 1 && slot.kind === "gpr") &&
      chance(random, 25) &&
      prepared.values === undefined;
    const addresses = new AddressWriter(draft, high ? 8 : 16);
    const lock = form.lockable && !prepared.registersOnly && chance(random, 25);
    const inMemory = this.#usesMemory(form, prepared, lock);
    const values = form.slots.map((slot, i) => {
      if (slot.place === "rm" && inMemory) return 0;
      return prepared.values?.[i] ?? this.#value(form, slot, high);
    });
    let addressing: Addressing | null = null;
    if (form.mnemonic === "xlatb") this.#translate(addresses);
    else if (form.string) addressing = this.#stringPointers(form, addresses, prepared);
    else if (form.mnemonic === "maskmovdqu") addressing = this.#maskedStore(form, addresses);
    else if (inMemory) addressing = this.#memory(form, addresses, prepared, lock || form.mnemonic === "xchg");
    const bytes = encode(
      form,
      {
        values,
        addressing,
        lock: inMemory && form.lockable ? lock : !form.vex && !form.control && random() % 500 === 0,
        repeat: prepared.repeat ?? 0,
        idle: chance(random, 3) ? [pick(random, IDLE_PREFIXES)] : [],
        idleRex: chance(random, 4) && !high,
      },
      draft.address,
    );
    draft.point({
      form: form.name,
      // Of two accesses, either may come first; some check an address before they add a segment's base to it.
      vagueFault: accessesTwoPlaces(form, inMemory) || (addressing !== null && addressing.segment !== "none"),
      storesInParts: form.mnemonic === "enter",
      // Intel's go back to what they were before the first turn, AMD's stay as the last turn left them.
      undefinedInFault: prepared.repeat === undefined ? 0 : rflagsOf(form.flagsDefined),
    });
    draft.write(bytes.bytes);
    this.#remember(form, values, inMemory, prepared);
    return bytes;
  }

  #usesMemory(form: Form, prepared: Preparation, lock: boolean): boolean {
    const slot = form.slots.find(({ place, memory }) => memory && (place === "rm" || place === "moffs"));
    if (slot === undefined) return false;
    if (!slot.register || lock || prepared.memoryOnly) return true;
    return !prepared.registersOnly && chance(this.random, 50);
  }

  #value(form: Form, slot: Slot, high: boolean): number | bigint {
    const { draft, random } = this;
    if (slot.kind === "immediate") {
      if (slot.place !== "immediate") return slot.fixed >= 0 ? slot.fixed : 0;
      return cornerValue(random, slot.bytes);
    }
    if (slot.kind === "memory") return 0;
    if (slot.kind === "xmm") {
      draft.vectors = true;
      return random() & 15;
    }
    const register = slot.fixed >= 0 ? slot.fixed : this.#register(form, slot, high);
    const full = register >= HIGH_BYTES ? register - HIGH_BYTES : register;
    if (slot.reads) this.draft.want(full, () => this.#first(full, slot.bytes));
    return register;
  }

  #register(form: Form, slot: Slot, high: boolean): number {
    const { draft, random } = this;
    for (;;) {
      let register = random() & (high ? 7 : 15);
      // What an instruction before has written is read more often than chance would have it.
      if (slot.reads && chance(random, 25)) {
        for (let i = 0; i < 8 && (draft.changed & (1 << register)) === 0; i++) register = random() & (high ? 7 : 15);
      }
      if (high && slot.bytes === 1) register = (register & 3) | (chance(random, 60) ? HIGH_BYTES : 0);
      const full = register >= HIGH_BYTES ? register - HIGH_BYTES : register;
      const spared = full === RSP && !chance(random, slot.writes ? 10 : 40);
      if (spared || (slot.writes && (draft.untouchable & (1 << full)) !== 0)) continue;
      // xchg of the accumulator with itself is encoded as another instruction: nop.
      if (slot.place === "opcode" && form.mnemonic === "xchg" && full === RAX) continue;
      return register;
    }
  }

  /** A first value: a corner of the width, or that of another register, or near it. */
  #first(register: number, bytes: number): bigint {
    const { draft, random } = this;
    if (register === RSP) return stackPointer(random);
    if (chance(random, 15)) {
      const other = draft.known(randomBelow(random, 16));
      if (other !== null) return BigInt.asUintN(64, other + BigInt((random() % 3) - 1));
    }
    return cornerRegister(random, bytes);
  }

  #memory(form: Form, addresses: AddressWriter, prepared: Preparation, atomic: boolean): Addressing {
    const { draft, random } = this;
    const { memoryBytes: bytes } = form;
    if (bytes === 0 || /^(nop|ud1|prefetch.*)$/.test(form.mnemonic)) {
      if (form.slots.every(({ place }) => place !== "moffs")) return addresses.anywhere();
    }
    const address = prepared.target ?? target(random, { bytes, aligned: form.aligned, atomic });
    const known = prepared.memory ?? (chance(random, 50) ? this.#content(bytes) : null);
    if (known !== null) draft.patch(address, known);
    if (form.slots.some(({ place }) => place === "moffs")) return moffs(draft, address);
    return addresses.reach(address);
  }

  #content(bytes: number): Uint8Array {
    const width = Math.min(bytes, 8);
    const content = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i += width) content.set(littleEndian(cornerValue(this.random, width), width), i);
    return content;
  }

  #translate(addresses: AddressWriter): void {
    const index = this.draft.want(RAX, () => cornerRegister(this.random, 1));
    const address = target(this.random, { bytes: 1, aligned: false, atomic: false });
    addresses.point(RBX, BigInt.asUintN(64, address - ((index ?? 0n) & 0xffn)), false);
  }

  #maskedStore(form: Form, addresses: AddressWriter): Addressing | null {
    addresses.point(RDI, target(this.random, { bytes: form.memoryBytes, aligned: false, atomic: false }), false);
    return null;
  }

  /** RSI, RDI and RCX; the addressing carries no more than the prefixes. */
  #stringPointers(form: Form, addresses: AddressWriter, prepared: Preparation): Addressing | null {
    const { draft, random } = this;
    const bytes = form.memoryBytes;
    const short = chance(random, 10);
    const uses = (register: number): boolean => (form.implicitReads & (1 << register)) !== 0;
    const segment = uses(RSI) && chance(random, 10) ? pick(random, ["fs", "gs"] as const) : "none";
    const base = segment === "none" ? 0n : draft.segmentBase(segment);
    const aim = { bytes, aligned: false, atomic: false };
    const to = target(random, aim);
    // Often near each other: overlapping moves, equal strings.
    const from = chance(random, 30) ? BigInt.asUintN(64, to + BigInt((random() % 64) - 32)) : target(random, aim);
    if (uses(RDI)) addresses.point(RDI, to, short);
    if (uses(RSI)) addresses.point(RSI, BigInt.asUintN(64, from - base), short);
    if (prepared.repeat !== undefined) {
      const count = chance(random, 4) ? random() & 0xfff : random() % 24;
      addresses.point(RCX, BigInt(chance(random, 12) ? 0 : count), short);
    }
    this.#equalStrings(form, to, from);
    const none = { base: -1, index: -1, scale: 1, displacement: 0n, displacementBytes: 0 } as const;
    return short || segment !== "none" ? { segment, short, ...none } : null;
  }

  /** Makes comparisons go on for a while. */
  #equalStrings(form: Form, to: bigint, from: bigint): void {
    const { draft, random } = this;
    const count = form.memoryBytes * (1 + (random() & 7));
    if (form.mnemonic.startsWith("scas") && chance(random, 60)) {
      const value = littleEndian(draft.want(RAX, () => cornerRegister(random, form.memoryBytes)) ?? 0n, 8);
      draft.patch(
        to,
        Uint8Array.from({ length: count }, (_, i) => value[i % form.memoryBytes]),
      );
    } else if (form.mnemonic.startsWith("cmps") && chance(random, 60)) {
      const content = this.#content(form.memoryBytes);
      const same = Uint8Array.from({ length: count }, (_, i) => content[i % form.memoryBytes]);
      draft.patch(to, same);
      draft.patch(from, same);
    }
  }

  #remember(form: Form, values: readonly (number | bigint)[], inMemory: boolean, prepared: Preparation): void {
    const { draft } = this;
    draft.undefinedFlags = undefinedAfter(form, draft.undefinedFlags, {
      count: prepared.count ?? null,
      repeated: prepared.repeat !== undefined,
    });
    draft.changed |= form.implicitWrites;
    if (prepared.repeat !== undefined) draft.changed |= 1 << RCX;
    form.slots.forEach((slot, i) => {
      if (slot.kind !== "gpr" || !slot.writes || (slot.place === "rm" && inMemory)) return;
      const register = Number(values[i]);
      draft.changed |= 1 << (register >= HIGH_BYTES ? register - HIGH_BYTES : register);
    });
  }
}

function accessesTwoPlaces(form: Form, inMemory: boolean): boolean {
  const usesStack = (form.implicitWrites & (1 << RSP)) !== 0;
  return (
    form.mnemonic === "enter" ||
    form.slots.filter(({ kind }) => kind === "memory").length > 1 ||
    (usesStack && inMemory)
  );
}

function moffs(draft: Draft, address: bigint): Addressing {
  const segment = chance(draft.random, 10) ? pick(draft.random, ["fs", "gs"] as const) : "none";
  const offset = BigInt.asUintN(64, address - (segment === "none" ? 0n : draft.segmentBase(segment)));
  const short = offset < 1n << 32n && chance(draft.random, 10);
  return { segment, short, base: -1, index: -1, scale: 1, displacement: offset, displacementBytes: 4 };
}
