import type { StateReader } from "../util/state-reader.js";

/** Words of a 93C46 in its 16-bit organisation. */
export const EEPROM_WORDS = 64;
const ADDRESS_BITS = 6;
/** Start bit, two bits of opcode, address. */
const COMMAND_BITS = 3 + ADDRESS_BITS;

export interface SerialEepromState {
  words: number[];
  selected: boolean;
  clock: boolean;
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

/** A 93C46 on its Microwire bus: chip select, clock and data pins that software drives one by one. */
export class SerialEeprom {
  readonly words: Uint16Array;
  #selected = false;
  #clock = false;
  #shift = 0;
  /** Bits of the running command so far; 0 while it waits for a start bit. */
  #bits = 0;
  #output = 0;
  #outputBits = 0;
  /** High when idle: the part is ready. */
  #dataOut = true;
  #writeEnabled = false;

  /** @param image {@link EEPROM_WORDS} words, which the part changes when it is programmed */
  constructor(image: Uint16Array) {
    this.words = image;
  }

  get dataOut(): boolean {
    return this.#dataOut;
  }

  /** New levels of the pins; the part acts on a rising clock while it is selected. */
  drive(selected: boolean, clock: boolean, dataIn: boolean): void {
    const rises = clock && !this.#clock && this.#selected;
    this.#selected = selected;
    this.#clock = clock;
    if (!selected) {
      this.#bits = 0;
      this.#outputBits = 0;
      this.#dataOut = true;
    } else if (rises) {
      this.#takeBit(dataIn ? 1 : 0);
    }
  }

  /** Pins back to idle; the content stays. */
  reset(): void {
    this.drive(false, false, false);
    this.#writeEnabled = false;
  }

  #takeBit(bit: number): void {
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

  snapshot(): SerialEepromState {
    return {
      words: [...this.words],
      selected: this.#selected,
      clock: this.#clock,
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
    this.#selected = state.flag("selected");
    this.#clock = state.flag("clock");
    this.#shift = state.integer("shift", 0, 0x7fff_ffff);
    this.#bits = state.integer("bits", 0, COMMAND_BITS + 15);
    this.#output = state.integer("output", 0, 0xffff);
    this.#outputBits = state.integer("outputBits", 0, 16);
    this.#dataOut = state.flag("dataOut");
    this.#writeEnabled = state.flag("writeEnabled");
  }
}
