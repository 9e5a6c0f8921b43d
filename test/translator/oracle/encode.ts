import { type Addressing, type Chosen, type Form, HIGH_BYTES } from "./form.js";

const MOST_BYTES = 32;
const NO_REGISTER = -1;
const RIP = -2;

/** Where in an instruction a branch's displacement lies, and how long it is. */
export interface Encoded {
  readonly bytes: Uint8Array;
  readonly branchAt: number;
  readonly branchBytes: number;
}

/**
 * Encodes without asking whether a shorter encoding exists (Intel SDM volume 2, chapter 2).
 * @param address where it will lie, which RIP-relative operands depend on
 */
export function encode(form: Form, chosen: Chosen, address: number): Encoded {
  return new Encoder(form, chosen).encode(address);
}

class Encoder {
  readonly #bytes = new Uint8Array(MOST_BYTES);
  #length = 0;
  #reg = 0;
  #rm = NO_REGISTER;
  #vvvv = 0;
  #low = 0;
  #rexNeeded = false;

  constructor(
    readonly form: Form,
    readonly chosen: Chosen,
  ) {
    form.slots.forEach((slot, i) => {
      if (slot.kind === "immediate" || slot.fixed >= 0) return;
      if (slot.place === "rm" && this.chosen.addressing !== null && slot.memory) return;
      const register = Number(chosen.values[i]);
      // SPL to DIL are what AH to BH become if there is a REX prefix.
      if (slot.kind === "gpr" && slot.bytes === 1 && register >= 4 && register < 8) this.#rexNeeded = true;
      const number = register >= HIGH_BYTES ? register - HIGH_BYTES + 4 : register;
      if (slot.place === "reg") this.#reg = number;
      else if (slot.place === "rm") this.#rm = number;
      else if (slot.place === "vvvv") this.#vvvv = number;
      else if (slot.place === "opcode") this.#low = number;
    });
    if (form.extension >= 0) this.#reg = form.extension;
  }

  encode(address: number): Encoded {
    const { form, chosen } = this;
    const memory = chosen.addressing;
    for (const prefix of chosen.idle) this.#byte(prefix);
    if (memory?.segment === "fs") this.#byte(0x64);
    if (memory?.segment === "gs") this.#byte(0x65);
    if (form.addressSizePrefix || memory?.short) this.#byte(0x67);
    if (chosen.lock) this.#byte(0xf0);
    if (chosen.repeat !== 0) this.#byte(chosen.repeat);
    if (form.operandSizePrefix) this.#byte(0x66);
    if (form.vex) this.#vex();
    else this.#legacy();
    let ripAt = -1;
    if (form.modrm) ripAt = this.#modrm();
    else if (memory !== null && form.slots.some((slot) => slot.place === "moffs"))
      this.#value(memory.displacement, memory.short ? 4 : 8);
    let branchAt = -1;
    let branchBytes = 0;
    form.slots.forEach((slot, i) => {
      if (slot.place === "branch") {
        branchAt = this.#length;
        branchBytes = slot.bytes;
      }
      if (slot.kind === "immediate" && slot.fixed < 0) this.#value(BigInt(chosen.values[i]), slot.bytes);
    });
    if (ripAt >= 0 && memory !== null) {
      const displacement = memory.displacement - BigInt(address + this.#length);
      const end = this.#length;
      this.#length = ripAt;
      this.#value(displacement, 4);
      this.#length = end;
    }
    return { bytes: this.#bytes.slice(0, this.#length), branchAt, branchBytes };
  }

  /** R, X and B as in REX: bits 2, 1 and 0. */
  #extensions(): number {
    const memory = this.chosen.addressing;
    const beyond = (register: number, bit: number): number => (register >= 8 ? bit : 0);
    const rm = memory === null ? beyond(this.#rm, 1) : beyond(memory.base, 1) | beyond(memory.index, 2);
    return beyond(this.#reg, 4) | rm | beyond(this.#low, 1);
  }

  #legacy(): void {
    const { form } = this;
    if (form.mandatoryPrefix !== 0) this.#byte(form.mandatoryPrefix);
    const rex = this.#extensions() | (form.rexW ? 8 : 0);
    if (rex !== 0 || this.#rexNeeded || this.chosen.idleRex) this.#byte(0x40 | rex);
    for (const byte of form.opcode) this.#byte(byte);
    this.#bytes[this.#length - 1] += this.#low & 7;
  }

  #vex(): void {
    const { form } = this;
    const inverted = ~this.#extensions() & 7;
    const prefix = [0, 0x66, 0xf3, 0xf2].indexOf(form.mandatoryPrefix);
    this.#byte(0xc4);
    this.#byte((inverted << 5) | form.map);
    this.#byte((form.rexW ? 0x80 : 0) | ((~this.#vvvv & 15) << 3) | prefix);
    for (const byte of form.opcode) this.#byte(byte);
  }

  /** Where a RIP-relative displacement is still to be filled in, or -1. */
  #modrm(): number {
    const reg = (this.#reg & 7) << 3;
    const memory = this.chosen.addressing;
    if (memory === null) {
      this.#byte(0xc0 | reg | (this.#rm & 7));
      return -1;
    }
    if (memory.base === RIP) {
      this.#byte(reg | 5);
      this.#length += 4;
      return this.#length - 4;
    }
    const mod = memory.base === NO_REGISTER ? 0 : memory.displacementBytes === 4 ? 2 : memory.displacementBytes;
    if (needsSib(memory)) {
      this.#byte((mod << 6) | reg | 4);
      const index = memory.index === NO_REGISTER ? 4 : memory.index & 7;
      const base = memory.base === NO_REGISTER ? 5 : memory.base & 7;
      this.#byte((Math.log2(memory.scale) << 6) | (index << 3) | base);
    } else {
      this.#byte((mod << 6) | reg | (memory.base & 7));
    }
    this.#value(memory.displacement, memory.base === NO_REGISTER ? 4 : memory.displacementBytes);
    return -1;
  }

  #byte(byte: number): void {
    this.#bytes[this.#length++] = byte;
  }

  #value(value: bigint, bytes: number): void {
    let rest = BigInt.asUintN(64, value);
    for (let i = 0; i < bytes; i++) {
      this.#byte(Number(rest & 0xffn));
      rest >>= 8n;
    }
  }
}

const needsSib = (memory: Addressing): boolean =>
  memory.index !== NO_REGISTER || memory.base === NO_REGISTER || (memory.base & 7) === 4;
