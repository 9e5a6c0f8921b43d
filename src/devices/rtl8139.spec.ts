import { describe, expect, it } from "vitest";
import { BROADCAST, counting, ethernet, PEER, STATION } from "../../test/support/e1000.js";
import { Rtl8139Rig } from "../../test/support/rtl8139.js";
import { InputError } from "../util/errors.js";
import { Bmcr, Bmsr, Cscr } from "./rtl8139/phy.js";
import { Cr, Cr9346, Isr, Rcr, Register, Tcr, Tsd } from "./rtl8139/registers.js";
import { Rtl8139, Rtl8139Bar } from "./rtl8139.js";

const ms = 1_000_000;
const frame = (seed = 1, length = 46) => ethernet(BROADCAST, 0x88b5, length, seed);

describe("RTL8139 on the PCI bus", () => {
  it.each([
    ["RTL8139C+", new Rtl8139Rig(), 0x20, 0x7480_0000],
    ["RTL8139C", Rtl8139Rig.c(), 0x10, 0x7400_0000],
  ])("%s is 10ec:8139 with its revision in both places and the same registers in both BARs", (_, rig, revision, id) => {
    const read = (offset: number, size: 1 | 2 | 4) => rig.slot.configRead(offset, size);
    expect([read(0, 4), read(8, 4)]).toEqual([0x813910ec, 0x02000000 + revision]);
    expect([read(0x2c, 4), read(0x3d, 1), read(0x34, 1), read(0x50, 1)]).toEqual([0x813910ec, 1, 0x50, 1]);
    for (const at of [0x10, 0x14]) rig.slot.configWrite(at, 4, 0xffffffff);
    expect([read(0x10, 4), read(0x14, 4)]).toEqual([0xffffff01, 0xffffff00]);
    expect(rig.get(Register.TCR, 4) & 0x7cc0_0000).toBe(id);
    expect(rig.get(Register.RERID, 1)).toBe(revision);
    rig.slot.write(Rtl8139Bar.io, Register.MAR0, 4, 0x12345678);
    expect(rig.get(Register.MAR0, 4)).toBe(0x12345678);
  });

  it("has all registers after power-on as the data sheet says", () => {
    const rig = Rtl8139Rig.c();
    expect([rig.get(Register.IDR0, 4), rig.get(Register.IDR4, 4)]).toEqual([0x12005452, 0x5634]);
    expect([0, 1, 2, 3].map((i) => rig.get(Register.TSD0 + 4 * i, 4))).toEqual([0x2000, 0x2000, 0x2000, 0x2000]);
    expect([rig.get(Register.CR, 1), rig.get(Register.CAPR, 2), rig.get(Register.CBR, 2)]).toEqual([1, 0xfff0, 0]);
    expect([rig.get(Register.IMR, 2), rig.get(Register.ISR, 2), rig.get(Register.TSAD, 2)]).toEqual([0, 0, 0xf]);
    expect([rig.get(Register.CONFIG1, 1), rig.get(Register.CONFIG3, 1), rig.get(Register.MSR, 1)]).toEqual([
      0x0d, 0x10, 0xc0,
    ]);
    const mii = [Register.BMCR, Register.BMSR, Register.ANAR, Register.ANLPAR, Register.ANER];
    expect(mii.map((register) => rig.get(register, 2))).toEqual([0x3100, 0x782d, 0x05e1, 0x45e1, 1]);
    expect(rig.violations).toEqual([]);
  });

  it("takes accesses of every width and alignment", () => {
    const rig = new Rtl8139Rig();
    rig.set(Register.RBSTART, 4, 0x11223344);
    rig.set(Register.RBSTART + 1, 1, 0x99);
    rig.set(Register.RBSTART + 2, 2, 0xaabb);
    expect([rig.get(Register.RBSTART, 4), rig.get(Register.RBSTART + 1, 2)]).toEqual([0xaabb9944, 0xbb99]);
    rig.set(Register.IMR, 4, 0xffff_0025);
    expect(rig.get(Register.IMR, 4)).toBe(0x25);
    rig.set(Register.IMR, 1, 0x01);
    expect(rig.get(Register.IMR, 2)).toBe(0x01);
    expect(rig.get(Register.ERBCR, 4) >>> 24).toBe(Cr.BUFE);
    expect(rig.slot.read(Rtl8139Bar.memory, 0xfc, 4)).toBe(0);
    rig.nic.write(1, 0xff, 4, 0x1234_5678);
    expect(rig.nic.read(1, 0xff, 4)).toBe(0);
    rig.set(Register.IDR0, 1, 1);
    expect(rig.violations.map((each) => each.rule)).toEqual(["register-access-size"]);
    expect(rig.get(Register.IDR0, 4)).toBe(0x12005452);
  });

  it("keeps addresses, configuration and the transceiver in a software reset, and nothing else", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    rig.set(Register.IDR0, 4, 0x44332211);
    rig.set(Register.MAR4, 4, 77);
    rig.set(Register.CSCR, 4, 0);
    rig.wire.deliver(frame());
    rig.resetPart();
    expect([rig.get(Register.IDR0, 4), rig.get(Register.MAR4, 4)]).toEqual([0x44332211, 77]);
    expect(rig.get(Register.CSCR, 4) & Cscr.WRITABLE).toBe(0);
    for (const register of [Register.RBSTART, Register.RCR, Register.MPC, Register.RDSAR]) {
      expect(rig.get(register, 4)).toBe(0);
    }
    for (const register of [Register.IMR, Register.ISR, Register.CPCR]) expect(rig.get(register, 2)).toBe(0);
    expect(rig.get(Register.TSD0, 4)).toBe(Tsd.OWN);
    expect(rig.slot.configRead(4, 2)).toBe(7);
    expect(rig.slot.line.asserted).toBe(false);
  });

  it("lets CONFIG registers be written only when 9346CR unlocks them, CONFIG5 always", () => {
    const rig = new Rtl8139Rig();
    rig.set(Register.CONFIG1, 1, 0xff);
    expect(rig.get(Register.CONFIG1, 1)).toBe(0x0d);
    expect(rig.violations.splice(0).map((each) => each.rule)).toEqual(["config-locked"]);
    rig.unlock();
    for (const register of [Register.CONFIG0, Register.CONFIG1, Register.CONFIG3, Register.CONFIG4]) {
      rig.set(register, 1, 0xff);
    }
    rig.lock();
    rig.set(Register.CONFIG5, 1, 0x73);
    const all = [Register.CONFIG0, Register.CONFIG1, Register.CONFIG3, Register.CONFIG4, Register.CONFIG5];
    expect(all.map((register) => rig.get(register, 1))).toEqual([0x07, 0xff, 0x70, 0xf5, 0x73]);
    rig.set(Register.CR9346, 1, Cr9346.AUTOLOAD);
    expect([rig.get(Register.CONFIG1, 1), rig.get(Register.CR9346, 1)]).toEqual([0x0d, 0]);
    expect(rig.violations).toEqual([]);
  });

  it("ignores TCR while the transmitter is off", () => {
    const rig = Rtl8139Rig.c();
    rig.set(Register.TCR, 4, Tcr.LOOPBACK);
    expect(rig.get(Register.TCR, 4) & Tcr.LOOPBACK).toBe(0);
    expect(rig.violations.map((each) => each.rule)).toEqual(["tcr-disabled"]);
    rig.set(Register.CR, 1, Cr.TE);
    rig.set(Register.TCR, 4, 0xffff_fffe);
    expect(rig.get(Register.TCR, 4)).toBe((0x7400_0000 | Tcr.WRITABLE) >>> 0);
  });

  it("is not made with a multicast address or another revision", () => {
    const rig = new Rtl8139Rig();
    const make = (options: object) => () =>
      rig.pci.plug("rtl8139", (host) => new Rtl8139(host, { wire: rig.wire, ...options }));
    expect(make({ macAddress: Uint8Array.of(1, 0, 0, 0, 0, 0) })).toThrow(InputError);
    expect(make({ revision: 0x30 })).toThrow(InputError);
  });
});

describe("RTL8139 EEPROM", () => {
  it("tells a driver by what it reads with eight address bits that it has six", () => {
    const rig = new Rtl8139Rig({ macAddress: Uint8Array.of(2, 0x11, 0x22, 0x33, 0x44, 0x55) });
    expect(rig.readEeprom(0, 8)).not.toBe(0x8129);
    expect([0, 1, 2, 7, 8, 9].map((word) => rig.readEeprom(word, 6))).toEqual([
      0x8129, 0x10ec, 0x8139, 0x1102, 0x3322, 0x5544,
    ]);
  });

  it("can be programmed, and loads the address from there", () => {
    const rig = new Rtl8139Rig();
    rig.writeEeprom(7, 0xbeea);
    expect(rig.readEeprom(7, 6)).toBe(0xbeea);
    expect(rig.get(Register.IDR0, 2)).toBe(0x5452);
    rig.set(Register.CR9346, 1, Cr9346.AUTOLOAD);
    expect(rig.get(Register.IDR0, 2)).toBe(0xbeea);
  });
});

describe("RTL8139 link", () => {
  it("raises a link change when the carrier goes and when negotiation has brought it back", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    rig.causes();
    rig.get(Register.CSCR, 2);
    rig.wire.setCarrier(false);
    expect(rig.slot.line.asserted).toBe(true);
    expect(rig.get(Register.CSCR, 2) & (Cscr.LINK_CHANGED | Cscr.LINK_OK)).toBe(Cscr.LINK_CHANGED);
    expect(rig.get(Register.CSCR, 2) & Cscr.LINK_CHANGED).toBe(0);
    expect(rig.causes()).toBe(Isr.LINK_CHANGE);
    expect([rig.get(Register.BMSR, 2), rig.get(Register.ANLPAR, 2), rig.get(Register.MSR, 1) & 4]).toEqual([
      0x7809, 0, 4,
    ]);
    rig.wire.deliver(frame());
    expect(rig.takeClassic()).toBeNull();
    rig.wire.setCarrier(true);
    rig.pass(5 * ms);
    expect(rig.causes()).toBe(Isr.LINK_CHANGE);
    expect(rig.get(Register.BMSR, 2)).toBe(0x782d);
    rig.wire.setCarrier(false);
    rig.wire.setCarrier(true);
    rig.pass(5 * ms);
    expect([rig.get(Register.BMSR, 2), rig.get(Register.BMSR, 2)]).toEqual([0x7829, 0x782d]);
  });

  it("negotiates again when software asks, and follows forced modes only when unlocked", () => {
    const rig = new Rtl8139Rig();
    rig.set(Register.BMCR, 2, Bmcr.RESTART | Bmcr.AUTONEG);
    expect([rig.get(Register.BMSR, 2) & Bmsr.COMPLETE, rig.get(Register.BMCR, 2)]).toEqual([0, 0x3100]);
    rig.pass(5 * ms);
    expect(rig.get(Register.BMSR, 2) & Bmsr.COMPLETE).toBe(Bmsr.COMPLETE);
    rig.unlock();
    rig.set(Register.BMCR, 2, 0);
    expect([rig.get(Register.MSR, 1) & 0x0c, rig.get(Register.BMCR, 2)]).toEqual([8, 0]);
    rig.set(Register.BMCR, 2, Bmcr.RESET);
    rig.pass(5 * ms);
    expect([rig.get(Register.MSR, 1) & 0x0c, rig.get(Register.BMCR, 2)]).toEqual([0, 0x3100]);
  });

  it("does not transmit while a PAUSE lasts, so that drivers see no progress", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    const pause = new Uint8Array(60);
    pause.set([0x01, 0x80, 0xc2, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x88, 0x08, 0, 1, 0x00, 0x10]);
    rig.wire.deliver(pause);
    expect(rig.takePlus()).toBeNull();
    expect(rig.sendPlus(frame())).toEqual([]);
    expect(rig.get(Register.MSR, 1) & 1).toBe(1);
    rig.pass(16 * 5120 - 1);
    expect(rig.wire.sent).toEqual([]);
    rig.pass(1);
    expect(rig.wire.sent.splice(0)).toEqual([frame()]);
    rig.wire.deliver(pause);
    rig.set(Register.TCR, 4, 0);
    rig.set(Register.MSR, 1, 0);
    rig.pass(ms);
    rig.wire.deliver(pause);
    expect(rig.sendPlus(frame())).toEqual([frame()]);
  });
});

describe("RTL8139 interrupts and timer", () => {
  it("asserts INTA while an unmasked cause is pending, and clears by ones", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    rig.set(Register.IMR, 2, 0);
    rig.wire.deliver(frame());
    rig.sendPlus(frame());
    expect(rig.slot.line.asserted).toBe(false);
    expect(rig.get(Register.ISR, 2)).toBe(Isr.ROK | Isr.TOK | Isr.TDU);
    rig.set(Register.IMR, 2, Isr.TOK);
    expect(rig.slot.line.asserted).toBe(true);
    rig.set(Register.ISR, 2, Isr.TOK | Isr.TDU);
    expect([rig.get(Register.ISR, 2), rig.slot.line.asserted]).toEqual([Isr.ROK, false]);
    rig.set(Register.ISR + 1, 1, 0xff);
    expect(rig.get(Register.ISR, 2)).toBe(Isr.ROK);
    rig.set(Register.TPPOLL, 1, 1);
    expect(rig.get(Register.ISR, 2) & Isr.SW_INT).toBe(Isr.SW_INT);
  });

  it("counts the PCI clock, and interrupts when the count is TimerInt", () => {
    const rig = Rtl8139Rig.c();
    rig.set(Register.IMR, 2, Isr.TIMEOUT);
    rig.set(Register.TCTR, 4, 5);
    expect(rig.get(Register.TCTR, 4)).toBe(0);
    rig.set(Register.TIMERINT, 4, 1000);
    rig.pass(29_999);
    expect([rig.get(Register.TCTR, 4), rig.slot.line.asserted]).toEqual([999, false]);
    rig.pass(1);
    expect([rig.get(Register.TCTR, 4), rig.causes()]).toEqual([1000, Isr.TIMEOUT]);
    rig.set(Register.TCTR, 4, 0);
    rig.set(Register.TIMERINT, 4, 0);
    rig.pass(ms);
    expect(rig.causes()).toBe(0);
  });
});

describe("RTL8139 snapshots", () => {
  it.each([["C"], ["C+"]])("%s mode goes on where it was", (mode) => {
    const options = { revision: mode === "C" ? 0x10 : 0x20 };
    const rig = new Rtl8139Rig(options);
    if (mode === "C") rig.startClassic();
    else rig.startPlus();
    rig.wire.deliver(frame(3));
    rig.wire.setCarrier(false);
    rig.set(Register.TIMERINT, 4, 100_000);
    const state = structuredClone(rig.nic.snapshot());
    rig.nic.reset();
    rig.nic.restore(state);
    expect(rig.nic.snapshot()).toEqual(state);
    rig.wire.setCarrier(true);
    rig.pass(6 * ms);
    expect(rig.causes()).toBe(Isr.ROK | Isr.LINK_CHANGE | Isr.TIMEOUT);
    const received = mode === "C" ? rig.takeClassic() : rig.takePlus();
    expect(received?.bytes).toEqual(frame(3));
  });

  it("names what does not fit, and is usable afterwards", () => {
    const rig = new Rtl8139Rig();
    const state = rig.nic.snapshot();
    expect(() => rig.nic.restore({ ...state, registers: [1] })).toThrow(InputError);
    expect(() => rig.nic.restore({ ...state, descriptors: { ...state.descriptors, indices: [64, 0] } })).toThrow(
      InputError,
    );
    rig.startPlus();
    expect(rig.sendPlus(frame())).toEqual([frame()]);
  });
});

describe("RTL8139 in both modes", () => {
  it("carries frames of every length up to 1514 unharmed, over many rounds of the rings", () => {
    const classic = Rtl8139Rig.c({ exactFcs: true });
    const plus = new Rtl8139Rig({ exactFcs: true });
    classic.startClassic();
    plus.startPlus();
    for (let length = 60; length <= 1514; length += 7) {
      const each = Uint8Array.of(...STATION, ...PEER, ...counting(length - 12, length));
      classic.sendClassic(each);
      expect(classic.wire.sent.splice(0)).toEqual([each]);
      expect(plus.sendPlus(each)).toEqual([each]);
      classic.wire.deliver(each);
      plus.wire.deliver(each);
      expect(classic.takeClassic()?.bytes).toEqual(each);
      expect(plus.takePlus()?.bytes).toEqual(each);
    }
    for (const rig of [classic, plus]) expect([rig.violations, rig.faults]).toEqual([[], []]);
  });

  it("loops frames back before the wire", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    rig.set(Register.TCR, 4, Tcr.LOOPBACK);
    rig.sendClassic(frame(9));
    expect(rig.wire.sent).toEqual([]);
    expect(rig.takeClassic()?.bytes).toEqual(frame(9));
  });

  it("does nothing in D3", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    rig.nic.config.write(0x54, 2, 3);
    rig.wire.deliver(frame());
    rig.nic.config.write(0x54, 2, 0);
    expect(rig.takePlus()).toBeNull();
    rig.wire.deliver(frame());
    expect(rig.takePlus()?.bytes).toEqual(frame());
  });

  it("reports a refused access as a system error and stops until it is set up again", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    rig.queuePlus(0x10, 0x3000_0000 + 60);
    expect(rig.kickPlus()).toEqual([]);
    expect(rig.causes() & Isr.SERR).toBe(Isr.SERR);
    expect(rig.slot.configRead(6, 2) & 0x2000).toBe(0x2000);
    expect(rig.faults.length).toBe(1);
    expect(rig.sendPlus(frame())).toEqual([]);
    rig.startPlus(0, Rcr.AB);
    expect(rig.sendPlus(frame())).toEqual([frame()]);
  });
});
