import { describe, expect, it } from "vitest";
import { BROADCAST, counting, E1000Rig, ethernet, PEER } from "../../test/support/e1000.js";
import { MESSAGE_WINDOW } from "../bus/interrupts.js";
import { InputError } from "../util/errors.js";
import { PhyControl, PhyRegister } from "./i82540em/phy.js";
import {
  CAUSES,
  Cause,
  Ctrl,
  FIRST_STATISTIC,
  LAST_STATISTIC,
  Rctl,
  Register,
  Statistic,
} from "./i82540em/registers.js";
import { I82540em, I82540emBar } from "./i82540em.js";

const LEGACY = 0x0b000000;
const ms = 1_000_000;

function running(): E1000Rig {
  const rig = new E1000Rig();
  rig.linkUp();
  rig.startReceiver(Rctl.BAM | Rctl.SECRC);
  rig.startTransmitter();
  rig.get(Register.ICR);
  return rig;
}

function send(rig: E1000Rig, frame: Uint8Array): Uint8Array[] {
  rig.queue({ address: rig.place(frame, 0), command: LEGACY | frame.length });
  return rig.kick();
}

describe("82540EM on the PCI bus", () => {
  it("is 8086:100e with a memory and an I/O BAR, INTA and power management", () => {
    const rig = new E1000Rig();
    const read = (offset: number, size: 1 | 2 | 4) => rig.slot.configRead(offset, size);
    expect(read(0, 4)).toBe(0x100e8086);
    expect(read(8, 4) >>> 8).toBe(0x020000);
    expect(read(0x2c, 4)).toBe(0x001e8086);
    expect([read(0x3d, 1), read(0x3e, 1)]).toEqual([1, 0xff]);
    for (const at of [0x10, 0x18]) rig.slot.configWrite(at, 4, 0xffffffff);
    expect([read(0x10, 4), read(0x14, 4), read(0x18, 4)]).toEqual([0xfffe0000, 0, 0xffffffc1]);
    expect([read(0x34, 1), read(0xdc, 1)]).toEqual([0xdc, 1]);
  });

  it("sends a message instead of asserting INTA while MSI is enabled", () => {
    const rig = running();
    const line = rig.interrupts.message("test");
    rig.slot.configWrite(0xf4, 4, MESSAGE_WINDOW);
    rig.slot.configWrite(0xfc, 2, line.vector);
    rig.set(Register.IMS, CAUSES);
    rig.set(Register.ICS, Cause.LSC);
    expect([rig.slot.line.asserted, line.asserted]).toEqual([true, false]);
    rig.slot.configWrite(0xf2, 2, 1);
    expect(rig.slot.line.asserted).toBe(false);
    rig.get(Register.ICR);
    rig.set(Register.ICS, Cause.LSC);
    expect([rig.slot.line.asserted, line.asserted]).toEqual([false, true]);
    rig.slot.configWrite(0xf2, 2, 0);
    expect(rig.slot.line.asserted).toBe(true);
  });

  it("reaches every register through IOADDR and IODATA, the reset too", () => {
    const rig = running();
    const io = (offset: number, value: number) => rig.slot.write(I82540emBar.io, offset, 4, value);
    io(0, Register.FCTTV * 4);
    io(4, 0x1234);
    expect(rig.get(Register.FCTTV)).toBe(0x1234);
    expect(rig.slot.read(I82540emBar.io, 4, 4)).toBe(0x1234);
    expect(rig.slot.read(I82540emBar.io, 0, 4)).toBe(Register.FCTTV * 4);
    io(0, 0);
    io(4, rig.get(Register.CTRL) | Ctrl.RST);
    expect(rig.get(Register.FCTTV)).toBe(0);
    expect(rig.get(Register.CTRL) & Ctrl.RST).toBe(0);
  });

  it("resets all but PBA, EEPROM, PHY and configuration by CTRL.RST", () => {
    const rig = running();
    rig.set(Register.PBA, 40);
    rig.set(Register.IMS, CAUSES);
    rig.set(Register.MTA + 5, 77);
    rig.writePhy(PhyRegister.GCON, 0x0200);
    rig.receive(ethernet(BROADCAST, 0x88b5, 46));
    rig.set(Register.CTRL, rig.get(Register.CTRL) | Ctrl.RST);
    for (const word of [Register.RCTL, Register.TCTL, Register.IMS, Register.ICR, Register.RDH, Statistic.GPRC]) {
      expect(rig.get(word)).toBe(0);
    }
    expect(rig.get(Register.MTA + 5)).toBe(0);
    expect(rig.get(Register.PBA)).toBe((24 << 16) | 40);
    expect(rig.get(Register.CTRL)).toBe(0x201);
    expect(rig.get(Register.RA)).toBe(0x12005452);
    expect(rig.readPhy(PhyRegister.GCON)).toBe(0x0200);
    expect(rig.slot.configRead(4, 2)).toBe(7);
    expect(rig.slot.line.asserted).toBe(false);
  });

  it("lets a driver's register test pass: written patterns stick where the manual says so", () => {
    const rig = new E1000Rig();
    const masks: [number, number][] = [
      [Register.FCAL, 0xffffffff],
      [Register.FCAH, 0x0000ffff],
      [Register.FCT, 0x0000ffff],
      [Register.VET, 0x0000ffff],
      [Register.RDTR, 0x0000ffff],
      [Register.RDBAH, 0xffffffff],
      [Register.RDBAL, 0xfffffff0],
      [Register.RDLEN, 0x000fff80],
      [Register.RDH, 0x0000ffff],
      [Register.RDT, 0x0000ffff],
      [Register.FCRTH, 0x0000fff8],
      [Register.FCTTV, 0x0000ffff],
      [Register.TIPG, 0x3fffffff],
      [Register.TDBAH, 0xffffffff],
      [Register.TDBAL, 0xfffffff0],
      [Register.TDLEN, 0x000fff80],
      [Register.TIDV, 0x0000ffff],
      [Register.RA + 2, 0xffffffff],
      [Register.RA + 31, 0x8003ffff],
      [Register.MTA + 127, 0xffffffff],
      [Register.VFTA + 127, 0xffffffff],
    ];
    for (const [word, mask] of masks) {
      for (const pattern of [0x5a5a5a5a, 0xa5a5a5a5, 0, 0xffffffff]) {
        rig.set(word, pattern);
        expect(rig.get(word)).toBe((pattern & mask) >>> 0);
      }
    }
    const status = rig.get(Register.STATUS);
    rig.set(Register.STATUS, ~status);
    expect(rig.get(Register.STATUS)).toBe(status);
    rig.set(Register.RCTL, 0x003ffff9);
    expect(rig.get(Register.RCTL) & 0x06dfb3fe).toBe(0x003ffff9 & 0x06dfb3fe);
    expect(rig.violations).toEqual([]);
    expect(rig.faults).toEqual([]);
  });

  it("reads narrow, and refuses narrow writes", () => {
    const rig = new E1000Rig();
    rig.set(Register.FCAL, 0x12345678);
    const at = Register.FCAL * 4;
    expect(rig.slot.read(0, at + 2, 2)).toBe(0x1234);
    expect(rig.slot.read(0, at + 1, 1)).toBe(0x56);
    rig.slot.write(0, at, 2, 0);
    expect(rig.get(Register.FCAL)).toBe(0x12345678);
    expect(rig.violations.map((violation) => violation.rule)).toEqual(["register-access-size"]);
  });

  it("reads zero where nothing is, to the end of the BAR", () => {
    const rig = new E1000Rig();
    rig.set(0x1ffff >> 2, 5);
    expect([rig.get(0x1ffff >> 2), rig.get(0x5b50 >> 2)]).toEqual([0, 0]);
  });
});

describe("82540EM interrupts", () => {
  it("sets, masks, shows and clears every cause, by reading or by writing ones", () => {
    const rig = new E1000Rig();
    for (let bit = 0; bit < 17; bit++) {
      const cause = 1 << bit;
      rig.set(Register.ICS, cause);
      expect(rig.slot.line.asserted).toBe(false);
      rig.set(Register.IMS, cause);
      expect(rig.slot.line.asserted).toBe(true);
      expect(rig.get(Register.IMS)).toBe(cause);
      rig.set(Register.IMC, cause);
      expect(rig.slot.line.asserted).toBe(false);
      rig.set(Register.IMS, cause);
      expect(rig.get(Register.ICR)).toBe(cause);
      expect(rig.slot.line.asserted).toBe(false);
      rig.set(Register.ICS, cause | 1);
      rig.set(Register.ICR, cause);
      expect(rig.get(Register.ICR)).toBe(bit === 0 ? 0 : 1);
      rig.set(Register.IMC, CAUSES);
    }
    rig.set(Register.ICS, 0xffffffff);
    expect(rig.get(Register.ICR)).toBe(CAUSES);
  });

  it("spaces assertions by ITR", () => {
    const rig = running();
    let served = 0;
    rig.slot.line.attach(() => {
      served++;
      rig.get(Register.ICR);
      return true;
    });
    rig.set(Register.ITR, 400); // 102.4 µs
    rig.set(Register.IMS, Cause.RXT0);
    for (let i = 0; i < 100; i++) {
      rig.receive(ethernet(BROADCAST, 0x88b5, 46));
      rig.set(Register.RDT, (rig.rxNext + 63) % 64);
      rig.pass(10_240);
    }
    // At 0, 102.4 µs, …, 1024 µs: without the throttle it would have been 100.
    expect(served).toBe(11);
    rig.set(Register.ITR, 0);
    served = 0;
    for (let i = 0; i < 20; i++) {
      rig.receive(ethernet(BROADCAST, 0x88b5, 46));
      rig.pass(10_240);
    }
    expect(served).toBe(20);
  });

  it("does not assert for a cause that was acknowledged while ITR held it back", () => {
    const rig = new E1000Rig();
    rig.set(Register.ITR, 1000);
    rig.set(Register.IMS, Cause.TXDW);
    rig.set(Register.ICS, Cause.TXDW);
    rig.get(Register.ICR);
    rig.set(Register.ICS, Cause.TXDW);
    expect(rig.slot.line.asserted).toBe(false);
    rig.get(Register.ICR);
    rig.pass(ms);
    expect(rig.slot.line.asserted).toBe(false);
  });

  it("delays RXT0 by RDTR from the last frame, at most RADV from the first, and flushes by FPD", () => {
    const rig = running();
    const frame = ethernet(BROADCAST, 0x88b5, 46);
    rig.set(Register.RDTR, 20);
    rig.receive(frame);
    rig.pass(19 * 1024);
    rig.receive(frame);
    rig.pass(19 * 1024);
    expect(rig.get(Register.ICR)).toBe(0);
    rig.pass(1024);
    expect(rig.get(Register.ICR)).toBe(Cause.RXT0);
    rig.set(Register.RADV, 30);
    rig.receive(frame);
    rig.pass(15 * 1024);
    rig.receive(frame);
    rig.pass(15 * 1024);
    expect(rig.get(Register.ICR)).toBe(Cause.RXT0);
    rig.pass(ms);
    expect(rig.get(Register.ICR)).toBe(0);
    rig.receive(frame);
    rig.set(Register.RDTR, 0x80000014);
    expect(rig.get(Register.ICR)).toBe(Cause.RXT0);
    expect(rig.get(Register.RDTR)).toBe(20);
  });
});

describe("82540EM statistics", () => {
  it("counts what comes and goes, by kind and size, and clears by reading", () => {
    const rig = running();
    rig.set(Register.RCTL, rig.get(Register.RCTL) | Rctl.MPE | Rctl.LPE);
    const multicast = Uint8Array.of(1, 0, 0, 0, 0, 9);
    const sizes = [60, 61, 123, 124, 251, 252, 507, 508, 1019, 1020, 1514, 3000];
    const classes = [1, 2, 2, 2, 2, 3];
    let octets = 0;
    for (const size of sizes) {
      for (const destination of [BROADCAST, multicast]) {
        const frame = ethernet(destination, 0x88b5, size - 14);
        rig.receive(frame);
        rig.set(Register.RDT, (rig.rxNext + 63) % 64);
        expect(send(rig, frame)).toEqual([frame]);
        octets += size + 4;
      }
    }
    rig.receive(ethernet(PEER, 0x88b5, 46));
    const count = sizes.length;
    const read = (...words: number[]) => words.map((word) => rig.get(word));
    const classesOf = (first: number) => classes.map((_, i) => rig.get(first + i));
    expect(classesOf(Statistic.PRC64)).toEqual(classes.map((n) => 2 * n));
    expect(classesOf(Statistic.PTC64)).toEqual(classes.map((n) => 2 * n));
    expect(read(Statistic.GPRC, Statistic.BPRC, Statistic.MPRC)).toEqual([2 * count, count, count]);
    expect(read(Statistic.GPTC, Statistic.BPTC, Statistic.MPTC)).toEqual([2 * count, count, count]);
    expect(read(Statistic.TPR, Statistic.TPT)).toEqual([2 * count + 1, 2 * count]);
    expect(read(Statistic.GORCL, Statistic.GORCH)).toEqual([octets, 0]);
    expect(read(Statistic.GOTCL, Statistic.GOTCH)).toEqual([octets, 0]);
    expect(read(Statistic.TORL, Statistic.TORH)).toEqual([octets + 64, 0]);
    expect(read(Statistic.TOTL, Statistic.TOTH)).toEqual([octets, 0]);
    for (let word = FIRST_STATISTIC; word <= LAST_STATISTIC; word++) expect(rig.get(word)).toBe(0);
  });

  it("carries octets into the high word, and sticks at all ones", () => {
    const rig = running();
    const state = rig.nic.snapshot();
    state.registers.push(Statistic.GORCL, 0xffffffe0, Statistic.GPRC, 0xffffffff);
    state.registers.push(Statistic.TORL, 0xffffffe0, Statistic.TORH, 0xffffffff);
    rig.nic.restore(state);
    rig.receive(ethernet(BROADCAST, 0x88b5, 46));
    expect([rig.get(Statistic.GORCL), rig.get(Statistic.GORCH)]).toEqual([0x20, 1]);
    expect([rig.get(Statistic.GORCL), rig.get(Statistic.GPRC)]).toEqual([0, 0xffffffff]);
    expect([rig.get(Statistic.TORL), rig.get(Statistic.TORH)]).toEqual([0xffffffff, 0xffffffff]);
  });
});

describe("82540EM loopback", () => {
  it.each([
    ["the MAC", (rig: E1000Rig) => rig.set(Register.RCTL, rig.get(Register.RCTL) | (1 << Rctl.LBM_SHIFT))],
    ["the PHY", (rig: E1000Rig) => rig.writePhy(PhyRegister.PCTRL, 0x0140 | PhyControl.LOOPBACK)],
  ])("brings frames back in %s, with or without a cable, and lets none out or in", (_, loop) => {
    const rig = running();
    loop(rig);
    rig.wire.setCarrier(false);
    const frame = ethernet(BROADCAST, 0x88b5, 1000);
    expect(send(rig, frame)).toEqual([]);
    expect(rig.takeReceived()?.bytes).toEqual(frame);
    expect(rig.receive(frame)).toBeNull();
  });
});

describe("82540EM snapshot", () => {
  it("is plain data, and a twin that takes it behaves the same", () => {
    const make = () => {
      const rig = running();
      rig.set(Register.RCTL, 0);
      rig.startReceiver(Rctl.BAM | (3 << Rctl.BSIZE_SHIFT), 256, 3);
      return rig;
    };
    const play = (rig: E1000Rig) => {
      rig.set(Register.RDT, 63);
      rig.queue({ address: rig.data.io + 200, command: LEGACY | 100 });
      const frames = rig.kick();
      rig.pass(50_000);
      const received = [rig.takeReceived(), rig.takeReceived(), rig.takeReceived()];
      rig.pass(100 * ms);
      return {
        frames,
        received,
        icr: rig.get(Register.ICR),
        status: rig.get(Register.STATUS),
        end: rig.nic.snapshot(),
      };
    };
    const original = make();
    const twin = make();
    for (const rig of [original, twin]) {
      rig.place(counting(400), 0);
      // In the FIFO: the tail of one frame, and another.
      rig.wire.deliver(ethernet(BROADCAST, 0x88b5, 1000, 5));
      rig.wire.deliver(ethernet(BROADCAST, 0x88b5, 300, 6));
      // Half a frame to transmit, a delayed interrupt, a throttled one, a negotiation.
      rig.queue({ address: rig.data.io, command: 0x02000000 | 150 });
      rig.kick();
    }
    original.set(Register.RDTR, 30);
    original.set(Register.ITR, 500);
    original.set(Register.IMS, CAUSES);
    original.set(Register.ICS, Cause.TXDW);
    original.pass(1000);
    original.writePhy(PhyRegister.PCTRL, 0x1340);
    original.pass(1000);
    const state = original.nic.snapshot();
    expect(structuredClone(state)).toEqual(state);
    twin.nic.restore(structuredClone(state));
    expect(twin.nic.snapshot()).toEqual(state);
    expect(twin.slot.line.asserted).toBe(original.slot.line.asserted);
    const [a, b] = [play(original), play(twin)];
    expect(a.frames).toEqual([]);
    expect(a.received.filter((frame) => frame !== null).length).toBe(2);
    expect(b).toEqual(a);
    expect(original.wire.sent.length).toBe(1);
    expect(twin.wire.sent).toEqual(original.wire.sent);
  });

  it("names what does not fit, and leaves an adapter that works", () => {
    const rig = running();
    const state = rig.nic.snapshot();
    expect(() => rig.nic.restore({})).toThrow(InputError);
    expect(() => rig.nic.restore({ ...state, phy: { ...state.phy, link: 3 } })).toThrow(/e1000 phy.*link/);
    expect(() => rig.nic.restore({ ...state, receive: { ...state.receive, fifo: { content: [1, 2, 3] } } })).toThrow(
      InputError,
    );
    rig.nic.restore(state);
    expect(rig.receive(ethernet(BROADCAST, 0x88b5, 46))).not.toBeNull();
  });

  it("is not made with a multicast address", () => {
    const rig = new E1000Rig();
    const macAddress = Uint8Array.of(1, 0, 0, 0, 0, 0);
    expect(() => rig.pci.plug("e1000", (host) => new I82540em(host, { wire: rig.wire, macAddress }))).toThrow(
      InputError,
    );
  });
});
