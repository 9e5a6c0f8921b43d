import { describe, expect, it } from "vitest";
import { E1000Rig } from "../../../test/support/e1000.js";
import { Eecd, Eerd, Register } from "./registers.js";

/** The Microwire protocol as a driver bangs it, bit by bit. */
class Microwire {
  constructor(readonly rig: E1000Rig) {}

  #pins = 0;

  #drive(pins: number): void {
    this.#pins = pins;
    this.rig.set(Register.EECD, pins);
  }

  open(): void {
    this.#drive(Eecd.REQ);
    expect(this.rig.get(Register.EECD) & Eecd.GNT).toBe(Eecd.GNT);
    this.#drive(Eecd.REQ | Eecd.CS);
  }

  out(value: number, bits: number): void {
    for (let bit = bits - 1; bit >= 0; bit--) {
      const pins = Eecd.REQ | Eecd.CS | (((value >>> bit) & 1) !== 0 ? Eecd.DI : 0);
      this.#drive(pins);
      this.#drive(pins | Eecd.SK);
      this.#drive(pins);
    }
  }

  in(bits: number): number {
    let value = 0;
    for (let bit = 0; bit < bits; bit++) {
      this.#drive(Eecd.REQ | Eecd.CS | Eecd.SK);
      value = (value << 1) | ((this.rig.get(Register.EECD) & Eecd.DO) !== 0 ? 1 : 0);
      this.#drive(Eecd.REQ | Eecd.CS);
    }
    return value;
  }

  standby(): void {
    this.#drive(this.#pins & ~(Eecd.CS | Eecd.SK));
    this.#drive(this.#pins | Eecd.SK);
    this.#drive(this.#pins | Eecd.CS);
    this.#drive(this.#pins & ~Eecd.SK);
  }

  close(): void {
    this.#drive(0);
  }

  read(word: number): number {
    this.open();
    this.out(6, 3);
    this.out(word, 6);
    const value = this.in(16);
    this.standby();
    this.close();
    return value;
  }

  write(word: number, value: number): void {
    this.open();
    this.out(0x13, 5);
    this.out(0, 4);
    this.standby();
    this.out(5, 3);
    this.out(word, 6);
    this.out(value, 16);
    this.standby();
    expect(this.rig.get(Register.EECD) & Eecd.DO).toBe(Eecd.DO);
    this.out(0x10, 5);
    this.out(0, 4);
    this.close();
  }
}

describe("82540EM EEPROM", () => {
  it("holds 64 words that add up to 0xbaba, with the hardware address first", () => {
    const rig = new E1000Rig({ macAddress: Uint8Array.of(2, 1, 3, 5, 7, 9) });
    const wire = new Microwire(rig);
    const words = Array.from({ length: 64 }, (_, i) => wire.read(i));
    expect(words.reduce((sum, word) => sum + word) & 0xffff).toBe(0xbaba);
    expect(words.slice(0, 3)).toEqual([0x0102, 0x0503, 0x0907]);
    expect(words.slice(0x0b, 0x0f)).toEqual([0x001e, 0x8086, 0x100e, 0x8086]);
    expect(words[0x0a] >>> 14).toBe(1);
    expect(rig.get(Register.EECD) & ((1 << 8) | (1 << 9) | Eecd.GNT)).toBe(1 << 8);
  });

  it("reads the same through EERD", () => {
    const rig = new E1000Rig();
    const wire = new Microwire(rig);
    for (let i = 0; i < 64; i++) {
      rig.set(Register.EERD, (i << 8) | Eerd.START);
      const value = rig.get(Register.EERD);
      expect(value & Eerd.DONE).toBe(Eerd.DONE);
      expect(value >>> 16).toBe(wire.read(i));
    }
  });

  it("takes writes only when they are enabled, and keeps them over a reset", () => {
    const rig = new E1000Rig();
    const wire = new Microwire(rig);
    wire.open();
    wire.out(5, 3);
    wire.out(0x30, 6);
    wire.out(0x1234, 16);
    wire.close();
    expect(wire.read(0x30)).toBe(0xffff);
    wire.write(0x30, 0x5678);
    expect(wire.read(0x30)).toBe(0x5678);
    rig.nic.reset();
    expect(wire.read(0x30)).toBe(0x5678);
    expect(wire.read(0x31)).toBe(0xffff);
  });

  it("leaves the pins alone without a grant", () => {
    const rig = new E1000Rig();
    rig.set(Register.EECD, Eecd.CS | Eecd.DI);
    expect(rig.get(Register.EECD) & (Eecd.CS | Eecd.DI | Eecd.GNT)).toBe(0);
  });

  it("gives receive address 0 its value at every reset and when it is reloaded", () => {
    const rig = new E1000Rig();
    const wire = new Microwire(rig);
    expect([rig.get(Register.RA), rig.get(Register.RA + 1)]).toEqual([0x12005452, 0x80005634]);
    wire.write(0, 0x0202);
    rig.set(Register.CTRL_EXT, 1 << 13);
    expect(rig.get(Register.RA)).toBe(0x12000202);
  });
});
