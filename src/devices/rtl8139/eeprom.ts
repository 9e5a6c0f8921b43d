import type { StateReader } from "../../util/state-reader.js";
import { EEPROM_WORDS, SerialEeprom, type SerialEepromState } from "../serial-eeprom.js";
import { Cr9346 } from "./registers.js";

/** Words of the image that the part loads (EEPROM contents chapter). */
const Word = {
  SIGNATURE: 0,
  VENDOR: 1,
  DEVICE: 2,
  SUBVENDOR: 3,
  SUBSYSTEM: 4,
  GRANT: 5,
  MSR: 6,
  MAC: 7,
  CONFIG: 10,
} as const;

/** Image words behind the signature; others are zero. */
const IMAGE: readonly (readonly [word: number, value: number])[] = [
  [Word.SIGNATURE, 0x8129],
  [Word.VENDOR, 0x10ec],
  [Word.DEVICE, 0x8139],
  [Word.SUBVENDOR, 0x10ec],
  [Word.SUBSYSTEM, 0x8139],
  [Word.GRANT, 0x4020], // MNGNT and MXLAT.
  [Word.MSR, 0x10f1], // Flow control both ways, 100 Mb/s, negotiation, full duplex; CONFIG3.
  [Word.CONFIG, 0x0d00], // CONFIG0 without a boot ROM; CONFIG1 with power management.
  [11, 0xf7c2], // PMC.
  [12, 0x0000], // CONFIG4.
];

/** @returns a valid image with this hardware address */
export function eepromImage(macAddress: Uint8Array): Uint16Array {
  const words = new Uint16Array(EEPROM_WORDS);
  for (const [word, value] of IMAGE) words[word] = value;
  for (let i = 0; i < 3; i++) words[Word.MAC + i] = macAddress[2 * i] | (macAddress[2 * i + 1] << 8);
  return words;
}

/** What automatic loading takes out of the image. */
export interface LoadedConfiguration {
  /** The low and the high register of the hardware address. */
  id: readonly [number, number];
  config0: number;
  config1: number;
  config3: number;
  config4: number;
}

export interface EepromState {
  command: number;
  part: SerialEepromState;
}

/** The 93C46 behind 9346CR, which software drives pin by pin in programming mode. */
export class Eeprom {
  readonly #part: SerialEeprom;
  #command = 0;

  constructor(image: Uint16Array) {
    this.#part = new SerialEeprom(image);
  }

  /** 9346CR. */
  get command(): number {
    return this.#command | (this.mode === Cr9346.PROGRAM && this.#part.dataOut ? Cr9346.DO : 0);
  }

  get mode(): number {
    return this.#command & Cr9346.MODE;
  }

  /** @returns whether the configuration is to be loaded again; the part goes back to normal mode then */
  write(value: number): boolean {
    this.#command = value & (Cr9346.MODE | Cr9346.CS | Cr9346.SK | Cr9346.DI);
    const loads = this.mode === Cr9346.AUTOLOAD;
    if (loads) this.#command = Cr9346.NORMAL;
    const driven = this.mode === Cr9346.PROGRAM ? value : 0;
    this.#part.drive((driven & Cr9346.CS) !== 0, (driven & Cr9346.SK) !== 0, (driven & Cr9346.DI) !== 0);
    return loads;
  }

  load(): LoadedConfiguration {
    const { words } = this.#part;
    return {
      id: [words[Word.MAC] | (words[Word.MAC + 1] << 16), words[Word.MAC + 2]],
      config0: words[Word.CONFIG] & 0xff,
      config1: words[Word.CONFIG] >>> 8,
      config3: words[Word.MSR] >>> 8,
      config4: words[12] >>> 8,
    };
  }

  reset(): void {
    this.#command = 0;
    this.#part.reset();
  }

  snapshot(): EepromState {
    return { command: this.#command, part: this.#part.snapshot() };
  }

  restore(state: StateReader): void {
    this.#command = state.integer("command", 0, 0xff) & (Cr9346.MODE | Cr9346.CS | Cr9346.SK | Cr9346.DI);
    this.#part.restore(state.child("part"));
  }
}
