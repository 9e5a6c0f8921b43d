import type { StateReader } from "../../util/state-reader.js";
import { Eecd } from "./registers.js";

/** Words of the 93C46 that this model carries (EECD.SIZE clear). */
export const EEPROM_WORDS = 64;
const ADDRESS_BITS = 6;
/** Start bit, two bits of opcode, address. */
const COMMAND_BITS = 3 + ADDRESS_BITS;
/** The sum of all 64 words, §5.6.35. */
const CHECKSUM = 0xbaba;
const CHECKSUM_WORD = 0x3f;

/** Image words that have a meaning for hardware or drivers, §5.6; others are 0xffff as in an erased part. */
const IMAGE: readonly (readonly [word: number, value: number])[] = [
  [0x03, 0x0000], // Compatibility.
  [0x04, 0xffff], // LED identification: drivers take their default.
  [0x08, 0x4b4f], // Printed board assembly.
  [0x09, 0x0001],
  [0x0a, 0x4400], // Initialization control 1: signature 01b; power management; 32-bit mappings.
  [0x0b, 0x001e], // Subsystem.
  [0x0c, 0x8086], // Subsystem vendor.
  [0x0d, 0x100e], // Device.
  [0x0e, 0x8086], // Vendor.
  [0x0f, 0x3040], // Initialization control 2: PAUSE and ASM_DIR are advertised; auto-negotiation.
  [0x10, 0x0000],
  [0x13, 0x0000], // Management control: none.
  [0x14, 0x0000],
  [0x20, 0x0000], // Software-defined pins.
  [0x21, 0x0000],
  [0x22, 0x0000], // D0 and D3 power.
  [0x23, 0x0000],
  [0x24, 0x0000], // Initialization control 3: no wake-up from power-off (APM).
];

/** @returns a valid image with this hardware address */
export function eepromImage(macAddress: Uint8Array): Uint16Array {
  const words = new Uint16Array(EEPROM_WORDS).fill(0xffff);
  for (const [word, value] of IMAGE) words[word] = value;
  for (let i = 0; i < 3; i++) words[i] = macAddress[2 * i] | (macAddress[2 * i + 1] << 8);
  let sum = 0;
  for (let i = 0; i < CHECKSUM_WORD; i++) sum += words[i];
  words[CHECKSUM_WORD] = CHECKSUM - sum;
  return words;
}

export interface EepromState {
  words: number[];
  pins: number;
  shift: number;
  bits: number;
  output: number;
  outputBits: number;
  dataOut: boolean;
  writeEnabled: boolean;
}

const Opcode = { extended: 0, write: 1, read: 2, erase: 3 } as const;
/** The two upper address bits of an extended command. */
const Extended = { disable: 0, writeAll: 1, eraseAll: 2, enable: 3 } as const;

/** The serial EEPROM (Microwire, 93C46) behind EECD, which software drives pin by pin (§5.1, §13.4.3). */
export class Eeprom {
  readonly words: Uint16Array;
  /** SK, CS, DI and REQ as last written. */
  #pins = 0;
  #shift = 0;
  /** Bits of the running command so far; 0 while it waits for a start bit. */
  #bits = 0;
  #output = 0;
  #outputBits = 0;
  /** High when idle: the part is ready. */
  #dataOut = true;
  #writeEnabled = false;

  constructor(image: Uint16Array) {
    this.words = image;
  }

  readControl(): number {
    const grant = (this.#pins & Eecd.REQ) !== 0 ? Eecd.GNT : 0;
    return this.#pins | (this.#dataOut ? Eecd.DO : 0) | grant | Eecd.PRES | Eecd.FWE_DISABLED;
  }

  writeControl(value: number): void {
    const before = this.#pins;
    // The pins are the software's only while it holds the grant.
    const driven = (value & Eecd.REQ) !== 0 ? Eecd.SK | Eecd.CS | Eecd.DI | Eecd.REQ : 0;
    this.#pins = value & driven;
    if ((this.#pins & Eecd.CS) === 0) {
      this.#bits = 0;
      this.#outputBits = 0;
      this.#dataOut = true;
    } else if ((this.#pins & Eecd.SK) !== 0 && (before & Eecd.SK) === 0 && (before & Eecd.CS) !== 0) {
      this.#clock((this.#pins & Eecd.DI) !== 0 ? 1 : 0);
    }
  }

  /** Pins back to idle; the content stays. */
  reset(): void {
    this.#pins = 0;
    this.#bits = 0;
    this.#outputBits = 0;
    this.#dataOut = true;
    this.#writeEnabled = false;
  }

  #clock(bit: number): void {
    if (this.#outputBits > 0) {
      this.#outputBits--;
      this.#dataOut = ((this.#output >>> this.#outputBits) & 1) !== 0;
      return;
    }
    if (this.#bits === 0 && bit === 0) return;
    this.#shift = ((this.#bits === 0 ? 0 : this.#shift) << 1) | bit;
    this.#bits++;
    if (this.#bits === COMMAND_BITS) this.#command();
    else if (this.#bits === COMMAND_BITS + 16) this.#store();
  }

  #command(): void {
    const opcode = (this.#shift >>> ADDRESS_BITS) & 3;
    const address = this.#shift & (EEPROM_WORDS - 1);
    if (opcode === Opcode.read) {
      this.#output = this.words[address];
      this.#outputBits = 16;
      // A zero precedes the data.
      this.#dataOut = false;
      this.#bits = 0;
    } else if (opcode === Opcode.erase) {
      if (this.#writeEnabled) this.words[address] = 0xffff;
      this.#bits = 0;
    } else if (opcode === Opcode.extended) {
      this.#extended(address >>> (ADDRESS_BITS - 2));
    }
  }

  #extended(command: number): void {
    if (command === Extended.writeAll) return;
    if (command === Extended.enable) this.#writeEnabled = true;
    else if (command === Extended.disable) this.#writeEnabled = false;
    else if (this.#writeEnabled) this.words.fill(0xffff);
    this.#bits = 0;
  }

  /** WRITE and WRAL, when their sixteen data bits are in. */
  #store(): void {
    const opcode = (this.#shift >>> (16 + ADDRESS_BITS)) & 3;
    const address = (this.#shift >>> 16) & (EEPROM_WORDS - 1);
    const value = this.#shift & 0xffff;
    if (this.#writeEnabled && opcode === Opcode.write) this.words[address] = value;
    else if (this.#writeEnabled) this.words.fill(value);
    this.#bits = 0;
  }

  snapshot(): EepromState {
    return {
      words: [...this.words],
      pins: this.#pins,
      shift: this.#shift,
      bits: this.#bits,
      output: this.#output,
      outputBits: this.#outputBits,
      dataOut: this.#dataOut,
      writeEnabled: this.#writeEnabled,
    };
  }

  restore(state: StateReader): void {
    this.words.set(state.numbers("words", EEPROM_WORDS, EEPROM_WORDS, 0xffff));
    this.#pins = state.integer("pins", 0, Eecd.SK | Eecd.CS | Eecd.DI | Eecd.REQ);
    this.#shift = state.integer("shift", 0, 0x7fff_ffff);
    this.#bits = state.integer("bits", 0, COMMAND_BITS + 15);
    this.#output = state.integer("output", 0, 0xffff);
    this.#outputBits = state.integer("outputBits", 0, 16);
    this.#dataOut = state.flag("dataOut");
    this.#writeEnabled = state.flag("writeEnabled");
  }
}
