import type { StateReader } from "../../util/state-reader.js";
import { EEPROM_WORDS, SerialEeprom, type SerialEepromState } from "../serial-eeprom.js";
import { Eecd } from "./registers.js";

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
  pins: number;
  part: SerialEepromState;
}

/** The 93C46 behind EECD (EECD.SIZE clear), which software drives pin by pin (§5.1, §13.4.3). */
export class Eeprom {
  readonly #part: SerialEeprom;
  /** SK, CS, DI and REQ as last written. */
  #pins = 0;

  constructor(image: Uint16Array) {
    this.#part = new SerialEeprom(image);
  }

  get words(): Uint16Array {
    return this.#part.words;
  }

  readControl(): number {
    const grant = (this.#pins & Eecd.REQ) !== 0 ? Eecd.GNT : 0;
    return this.#pins | (this.#part.dataOut ? Eecd.DO : 0) | grant | Eecd.PRES | Eecd.FWE_DISABLED;
  }

  writeControl(value: number): void {
    // The pins are the software's only while it holds the grant.
    const driven = (value & Eecd.REQ) !== 0 ? Eecd.SK | Eecd.CS | Eecd.DI | Eecd.REQ : 0;
    this.#pins = value & driven;
    this.#part.drive((this.#pins & Eecd.CS) !== 0, (this.#pins & Eecd.SK) !== 0, (this.#pins & Eecd.DI) !== 0);
  }

  /** Pins back to idle; the content stays. */
  reset(): void {
    this.#pins = 0;
    this.#part.reset();
  }

  snapshot(): EepromState {
    return { pins: this.#pins, part: this.#part.snapshot() };
  }

  restore(state: StateReader): void {
    this.#pins = state.integer("pins", 0, Eecd.SK | Eecd.CS | Eecd.DI | Eecd.REQ);
    this.#part.restore(state.child("part"));
  }
}
