import { describe, expect, it } from "vitest";
import { BROADCAST, counting, ethernet, PEER, STATION } from "../../test/support/e1000.js";
import { PcnetRig } from "../../test/support/pcnet.js";
import { InputError } from "../util/errors.js";
import { frameCheckSequence } from "./frame-check.js";
import { Bcr, Csr, Csr0, Csr4, Csr5, DescriptorStatus, Mode, ReceiveStatus, TransmitError } from "./pcnet/registers.js";
import { Pcnet, PcnetBar } from "./pcnet.js";

const ms = 1_000_000;
const DONE = DescriptorStatus.STP | DescriptorStatus.ENP;
const frame = (seed = 1, length = 46) => ethernet(BROADCAST, 0x88b5, length, seed);
const MULTICAST = Uint8Array.of(0x01, 0x00, 0x5e, 0x7f, 0x12, 0x34);

describe("Am79C970A on the PCI bus", () => {
  it("is 1022:2000 with 32 bytes of I/O and of memory", () => {
    const rig = new PcnetRig();
    const read = (offset: number, size: 1 | 2 | 4) => rig.slot.configRead(offset, size);
    expect([read(0, 4), read(8, 4) >>> 8, read(0x3d, 1)]).toEqual([0x20001022, 0x020000, 1]);
    for (const at of [0x10, 0x14]) rig.slot.configWrite(at, 4, 0xffffffff);
    expect([read(0x10, 4), read(0x14, 4)]).toEqual([0xffffffe1, 0xffffffe0]);
    rig.slot.write(PcnetBar.memory, 0x12, 2, 88);
    expect(rig.slot.read(PcnetBar.memory, 0x10, 2)).toBe(0x1003);
  });

  it("shows what a driver probes: STOP after the reset, the port, the part, the address twice", () => {
    const rig = new PcnetRig({ macAddress: Uint8Array.of(2, 0x11, 0x22, 0x33, 0x44, 0x55) });
    rig.resetPart();
    expect(rig.csr(0)).toBe(4);
    rig.slot.write(PcnetBar.io, 0x12, 2, 88);
    expect(rig.slot.read(PcnetBar.io, 0x12, 2)).toBe(88);
    const id = rig.csr(88) | (rig.csr(89) << 16);
    expect([id & 0xfff, (id >>> 12) & 0xffff]).toEqual([3, 0x2621]);
    expect([12, 13, 14].map((register) => rig.csr(register))).toEqual([0x1102, 0x3322, 0x5544]);
    const aprom = Array.from({ length: 16 }, (_, i) => rig.slot.read(PcnetBar.io, i, 1));
    expect(aprom.slice(0, 10)).toEqual([2, 0x11, 0x22, 0x33, 0x44, 0x55, 0, 0, 0, 0x11]);
    expect([aprom[14], aprom[15]]).toEqual([0x57, 0x57]);
    const sum = aprom.reduce((total, byte) => total + byte, 0) - aprom[12] - aprom[13];
    expect(aprom[12] | (aprom[13] << 8)).toBe(sum);
    expect(rig.slot.read(PcnetBar.io, 4, 2)).toBe(0x5544);
  });

  it("goes into 32-bit accesses by a write of 32 bits to RDP, and stays there", () => {
    const rig = new PcnetRig();
    rig.slot.write(PcnetBar.io, 0x10, 4, 0);
    rig.dwio = true;
    rig.resetPart();
    expect([rig.csr(0), rig.csr(88)]).toEqual([4, 0x1003]);
    expect(rig.bcr(Bcr.BSBC) & 0x80).toBe(0x80);
    expect(rig.slot.read(PcnetBar.io, 0x10, 2)).toBe(0xffff);
    rig.slot.write(PcnetBar.io, 0x12, 2, 1);
    expect(rig.violations.map((each) => each.rule)).toEqual(["register-access-size"]);
    rig.start();
    expect(rig.send(frame())).toEqual([frame()]);
  });

  it("keeps BCRs and the initialization address in a software reset", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.setBcr(Bcr.FDC, 3);
    const address = rig.csr(Csr.IADR_LOW);
    rig.setCsr(Csr.MASK, 0x5f00);
    rig.resetPart();
    expect([rig.bcr(Bcr.FDC), rig.bcr(Bcr.SWS), rig.csr(Csr.IADR_LOW)]).toEqual([3, 0x0302, address]);
    expect([rig.csr(0), rig.csr(Csr.MASK), rig.csr(Csr.TEST), rig.csr(Csr.MISSED)]).toEqual([4, 0, 0x0115, 0]);
    rig.nic.reset();
    expect([rig.bcr(Bcr.FDC), rig.bcr(Bcr.SWS)]).toEqual([0, 0x0200]);
  });

  it("lets CSRs of the running part be written only in suspension", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.setCsr(Csr.MODE, Mode.PROM);
    rig.setBcr(Bcr.SWS, 0);
    expect(rig.csr(Csr.MODE)).toBe(0x80);
    expect(rig.violations.splice(0).map((each) => each.rule)).toEqual(["csr-while-running", "style-while-running"]);
    rig.setCsr(Csr.EXTENDED, Csr5.SPND);
    expect(rig.csr(Csr.EXTENDED)).toBe(Csr5.SPND);
    rig.setCsr(Csr.MODE, Mode.PROM);
    rig.queue(rig.place(frame(5), 0), 60);
    expect(rig.kick()).toEqual([]);
    rig.wire.deliver(frame());
    expect(rig.take()).toBeNull();
    rig.setCsr(Csr.EXTENDED, 0);
    expect(rig.wire.sent).toEqual([frame(5)]);
    rig.wire.deliver(ethernet(PEER, 0x88b5, 46));
    expect(rig.take()?.bytes).toEqual(ethernet(PEER, 0x88b5, 46));
    expect(rig.violations).toEqual([]);
  });

  it("is not made with a multicast address", () => {
    const rig = new PcnetRig();
    const macAddress = Uint8Array.of(1, 0, 0, 0, 0, 0);
    expect(() => rig.pci.plug("pcnet", (host) => new Pcnet(host, { wire: rig.wire, macAddress }))).toThrow(InputError);
  });
});

describe("Am79C970A start, stop and interrupts", () => {
  it("reads the initialization block of either size", () => {
    for (const style of [0, 2, 3]) {
      const rig = new PcnetRig();
      rig.start({ style, mode: 0x8080, filter: [1, 2, 3, 4], go: false });
      expect(rig.csr(0)).toBe(Csr0.INIT | Csr0.IDON | Csr0.INTR);
      expect([8, 9, 10, 11, 12, 15].map((register) => rig.csr(register))).toEqual([1, 2, 3, 4, 0x5452, 0x8080]);
      expect([rig.csr(Csr.RCVRL), rig.csr(Csr.XMTRL)]).toEqual([0xfff0, 0xfff0]);
      expect(rig.csr(Csr.BADR) | (rig.csr(Csr.BADR + 1) << 16)).toBe(rig.shared.io + 0x400);
      rig.setCsr(0, Csr0.STRT);
      expect(rig.csr(0) & 0x3f).toBe(Csr0.INIT | Csr0.STRT | Csr0.TXON | Csr0.RXON);
      rig.setCsr(0, Csr0.STOP | Csr0.STRT | Csr0.INIT);
      expect(rig.csr(0)).toBe(Csr0.STOP);
    }
  });

  it("does not switch on what the mode disables", () => {
    const rig = new PcnetRig();
    rig.start({ mode: Mode.DRX | Mode.DTX });
    expect(rig.csr(0) & (Csr0.TXON | Csr0.RXON)).toBe(0);
    rig.wire.deliver(frame());
    expect([rig.send(frame()), rig.take()]).toEqual([[], null]);
  });

  it("asserts INTA by unmasked causes while IENA is set; acknowledging without IENA disables it", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.wire.deliver(frame());
    expect(rig.slot.line.asserted).toBe(true);
    rig.setCsr(Csr.MASK, 0x5f00);
    expect(rig.slot.line.asserted).toBe(false);
    rig.setCsr(Csr.MASK, 0);
    const status = rig.csr(0);
    expect(status & (Csr0.RINT | Csr0.INTR)).toBe(Csr0.RINT | Csr0.INTR);
    rig.setCsr(0, status & ~0x4f);
    expect(rig.csr(0) & (Csr0.RINT | Csr0.INTR | Csr0.IENA)).toBe(0);
    rig.wire.deliver(frame());
    expect(rig.slot.line.asserted).toBe(false);
    rig.setCsr(0, Csr0.IENA);
    expect(rig.slot.line.asserted).toBe(true);
  });

  it("raises the user's interrupt", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.setCsr(Csr.TEST, Csr4.UINTCMD | 0x0115);
    expect([rig.csr(Csr.TEST), rig.slot.line.asserted]).toEqual([0x0155, true]);
    rig.setCsr(Csr.TEST, Csr4.UINT | 0x0115);
    expect([rig.csr(Csr.TEST), rig.slot.line.asserted]).toEqual([0x0115, false]);
  });

  it("shows the link in the LED register", () => {
    const rig = new PcnetRig();
    expect(rig.bcr(Bcr.LNKST)).toBe(0x80c0);
    rig.wire.setCarrier(false);
    expect(rig.bcr(Bcr.LNKST)).toBe(0x00c0);
    rig.setBcr(Bcr.LNKST, rig.bcr(Bcr.LNKST) ^ 0x4000);
    expect(rig.bcr(Bcr.LNKST)).toBe(0x40c0);
    rig.wire.setCarrier(true);
    expect(rig.bcr(Bcr.LNKST)).toBe(0xc0c0);
  });

  it("stands still after a refused access until it is started again", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.queue(0x40, 60);
    expect(rig.kick()).toEqual([]);
    expect([rig.causes(), rig.csr(0) & Csr0.TXON, rig.csr(Csr.EXTENDED)]).toEqual([Csr0.MERR | Csr0.ERR, 0, Csr5.SINT]);
    expect(rig.slot.configRead(6, 2) & 0x2000).toBe(0x2000);
    rig.start();
    expect(rig.send(frame())).toEqual([frame()]);
  });
});

describe.each([0, 2, 3])("Am79C970A frames in software style %i", (style) => {
  it("carries every length up to 1514 unharmed, over many rounds", () => {
    const rig = new PcnetRig({ exactFcs: true });
    rig.start({ style });
    for (let length = 60; length <= 1514; length += 7) {
      const each = Uint8Array.of(...STATION, ...PEER, ...counting(length - 12, length));
      expect(rig.send(each)).toEqual([each]);
      rig.wire.deliver(each);
      const received = rig.take();
      expect(received?.bytes).toEqual(each);
      expect((received?.status ?? 0) & 0xff00).toBe(DONE);
    }
    expect([rig.violations, rig.faults]).toEqual([[], []]);
  });

  it("gathers and scatters", () => {
    const rig = new PcnetRig();
    rig.start({ style, bufferSize: 100 });
    const whole = Uint8Array.of(...STATION, ...PEER, ...counting(300));
    const at = rig.place(whole, 0);
    rig.queue(at, 14, DescriptorStatus.STP);
    rig.queue(at + 14, 200, 0);
    rig.queue(at + 214, 98, DescriptorStatus.ENP);
    expect(rig.kick()).toEqual([whole]);
    expect([0, 1, 2].map((index) => rig.status("tx", index).status)).toEqual([
      DescriptorStatus.STP,
      0,
      DescriptorStatus.ENP,
    ]);
    rig.wire.deliver(whole);
    expect(rig.take()).toMatchObject({ bytes: whole, pieces: 4 });
  });

  it("goes on from a snapshot", () => {
    const rig = new PcnetRig();
    rig.start({ style });
    rig.send(frame());
    rig.wire.deliver(frame(3));
    const state = structuredClone(rig.nic.snapshot());
    rig.nic.reset();
    rig.nic.restore(state);
    expect(rig.nic.snapshot()).toEqual(state);
    expect(rig.slot.line.asserted).toBe(true);
    expect([rig.take()?.bytes, rig.send(frame(4))]).toEqual([frame(3), [frame(4)]]);
    expect(() => rig.nic.restore({ ...state, csr: [1] })).toThrow(InputError);
    rig.start({ style });
    expect(rig.send(frame())).toEqual([frame()]);
  });
});

describe("Am79C970A reception", () => {
  it("matches its address, broadcast and the logical filter, and says which", () => {
    const rig = new PcnetRig();
    const crc = ~frameCheckSequence(new DataView(MULTICAST.buffer), 0, 6) >>> 26;
    const filter = [0, 1, 2, 3].map((word) => (crc >>> 4 === word ? 1 << (crc & 15) : 0));
    rig.start({ filter });
    const status = (destination: Uint8Array) => {
      rig.wire.deliver(ethernet(destination, 0x88b5, 46));
      return rig.take()?.status ?? null;
    };
    expect([status(STATION), status(BROADCAST), status(MULTICAST)]).toEqual([
      DONE | ReceiveStatus.PAM,
      DONE | ReceiveStatus.BAM,
      DONE | ReceiveStatus.LAFM,
    ]);
    expect([status(PEER), status(Uint8Array.of(1, 0, 0x5e, 0, 0, 1))]).toEqual([null, null]);
    rig.start({ mode: Mode.DRCVPA | Mode.DRCVBC });
    expect([status(STATION), status(BROADCAST)]).toEqual([null, null]);
    rig.start({ mode: Mode.PROM });
    expect([status(PEER), status(STATION), status(MULTICAST)]).toEqual([DONE, DONE, DONE]);
  });

  it("pads what is short, and strips IEEE 802.3 padding when told", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.wire.deliver(frame(1, 3));
    expect(rig.take()?.bytes).toEqual(Uint8Array.of(...frame(1, 3), ...new Uint8Array(43)));
    rig.start({ test: 0x0915 | Csr4.ASTRP_RCV });
    rig.wire.deliver(ethernet(BROADCAST, 10, 46));
    expect(rig.take(0)?.bytes).toEqual(ethernet(BROADCAST, 10, 46).subarray(0, 24));
    rig.wire.deliver(frame());
    expect(rig.take()?.bytes).toEqual(frame());
  });

  it("counts frames that find no descriptor, and goes on when there is one", () => {
    const rig = new PcnetRig();
    rig.start();
    for (let i = 0; i < 19; i++) rig.wire.deliver(frame(i));
    expect([rig.csr(Csr.MISSED), rig.causes()]).toEqual([3, Csr0.ERR | Csr0.MISS | Csr0.RINT]);
    for (let i = 0; i < 16; i++) expect(rig.take()?.bytes).toEqual(frame(i));
    rig.wire.deliver(frame(77));
    expect(rig.take()?.bytes).toEqual(frame(77));
    rig.setCsr(0, Csr0.STOP);
    rig.setCsr(Csr.MISSED, 0xffff);
    rig.setCsr(0, Csr0.STRT | Csr0.IENA);
    for (let i = 0; i < 17; i++) rig.wire.deliver(frame(i));
    expect([rig.csr(Csr.MISSED), rig.csr(Csr.TEST) & Csr4.MFCO]).toEqual([0, Csr4.MFCO]);
  });

  it("marks a frame that descriptors end under", () => {
    const rig = new PcnetRig();
    rig.start({ bufferSize: 64 });
    for (let i = 0; i < 14; i++) rig.wire.deliver(frame(i));
    rig.wire.deliver(frame(1, 500));
    expect(rig.status("rx", 15).status).toBe(DescriptorStatus.ERR | ReceiveStatus.BUFF | ReceiveStatus.OFLO);
    expect(rig.status("rx", 14).status).toBe(DescriptorStatus.STP);
  });

  it("hears nothing without a link", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.wire.setCarrier(false);
    rig.wire.deliver(frame());
    expect(rig.take()).toBeNull();
  });
});

describe("Am79C970A transmission", () => {
  it("pads by APAD_XMT, and sends runts without", () => {
    const rig = new PcnetRig();
    rig.start();
    expect(rig.send(frame(1, 10))).toEqual([Uint8Array.of(...frame(1, 10), ...new Uint8Array(36))]);
    rig.start({ test: 0x0115 });
    expect(rig.send(frame(1, 10))).toEqual([frame(1, 10)]);
  });

  it("takes the FCS from software where the mode says so", () => {
    const rig = new PcnetRig();
    rig.start({ mode: Mode.DXMTFCS });
    const withFcs = Uint8Array.of(...frame(), 1, 2, 3, 4);
    expect(rig.send(withFcs)).toEqual([frame()]);
    expect(rig.send(withFcs, 0x2300)).toEqual([withFcs]);
  });

  it("reports lost carrier, and babble", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.wire.setCarrier(false);
    expect(rig.send(frame())).toEqual([]);
    expect(rig.status("tx", 0)).toEqual({ status: DescriptorStatus.ERR | DONE, detail: TransmitError.LCAR });
    expect(rig.causes()).toBe(Csr0.ERR | Csr0.CERR | Csr0.TINT);
    rig.wire.setCarrier(true);
    expect(rig.send(ethernet(PEER, 0x88b5, 1501))).toHaveLength(1);
    expect(rig.causes()).toBe(Csr0.ERR | Csr0.BABL | Csr0.TINT);
  });

  it("stops by an underflow, unless DXSUFLO lets it go on", () => {
    for (const mask of [0, 0x40]) {
      const rig = new PcnetRig();
      rig.start();
      rig.setCsr(Csr.MASK, mask);
      rig.queue(rig.place(frame(), 0), 30, DescriptorStatus.STP);
      expect(rig.kick()).toEqual([]);
      const { status, detail } = rig.status("tx", 0);
      expect([status, detail]).toEqual([
        DescriptorStatus.ERR | DescriptorStatus.STP,
        TransmitError.BUFF + TransmitError.UFLO,
      ]);
      expect(rig.csr(0) & Csr0.TXON).toBe(mask === 0 ? 0 : Csr0.TXON);
      expect(rig.send(frame()).length).toBe(mask === 0 ? 0 : 1);
    }
  });

  it("keeps success to itself by TOKINTD, but for descriptors with LTINT", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.setCsr(Csr.EXTENDED, Csr5.TOKINTD);
    rig.send(frame());
    expect(rig.causes()).toBe(0);
    rig.setCsr(Csr.EXTENDED, Csr5.TOKINTD | Csr5.LTINTEN);
    rig.send(frame());
    expect(rig.causes()).toBe(0);
    rig.send(frame(), 0x1300);
    expect(rig.causes()).toBe(Csr0.TINT);
  });

  it("interrupts for the start of a transmission when CSR4 does not mask it", () => {
    const rig = new PcnetRig();
    rig.start({ test: 0x0911 });
    rig.setCsr(Csr.EXTENDED, Csr5.TOKINTD);
    rig.send(frame());
    expect([rig.csr(Csr.TEST) & Csr4.TXSTRT, rig.slot.line.asserted]).toEqual([Csr4.TXSTRT, true]);
  });

  it("waits while the medium is busy, so that drivers see no progress, and goes on by itself", () => {
    const rig = new PcnetRig();
    rig.start();
    rig.wire.busy = true;
    expect(rig.send(frame())).toEqual([]);
    rig.pass(10_000 * ms);
    expect([rig.wire.sent, rig.status("tx", 0).status & 0x8000]).toEqual([[], 0x8000]);
    rig.wire.busy = false;
    rig.pass(ms);
    expect(rig.wire.sent).toEqual([frame()]);
    rig.wire.busy = true;
    rig.send(frame());
    rig.setCsr(0, Csr0.STOP);
    expect(rig.clock.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });

  it("loops back inside, as a driver's self-test does", () => {
    const rig = new PcnetRig();
    rig.start({ go: false });
    rig.setCsr(0, Csr0.STOP);
    for (let i = 0; i < 4; i++) rig.queue(rig.place(ethernet(STATION, 0x0806, 61, i), 100 * i), 75);
    rig.setBcr(32, rig.bcr(32) | 2);
    rig.setCsr(Csr.MODE, (rig.csr(Csr.MODE) & 0xfffc) | 0x44);
    rig.setCsr(0, Csr0.STRT);
    expect(rig.wire.sent).toEqual([]);
    for (let i = 0; i < 4; i++) expect(rig.take()?.bytes).toEqual(ethernet(STATION, 0x0806, 61, i));
  });
});
