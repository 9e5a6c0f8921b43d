import { describe, expect, it } from "vitest";
import { BROADCAST, counting, ethernet, ipFrame, PEER } from "../../../test/support/e1000.js";
import { RING, Rtl8139Rig } from "../../../test/support/rtl8139.js";
import { Cr, Descriptor, Isr, Register, Tcr, Tppoll, Tsd, TxDescriptor } from "./registers.js";

const frame = (seed = 1, length = 46) => ethernet(BROADCAST, 0x88b5, length, seed);
const WHOLE = Descriptor.FS + Descriptor.LS;

/** As software hands it over: with checksums still to be made. */
function unfinished(bytes: Uint8Array, ipBytes = 20): Uint8Array {
  const copy = bytes.slice();
  const transport = 14 + ipBytes;
  copy.fill(0xaa, 24, 26);
  const field = transport + (copy[23] === 6 ? 16 : 6);
  copy.fill(0xbb, field, field + 2);
  return copy;
}

describe("RTL8139 transmit descriptors that are registers", () => {
  it("are used in turn, and show what became of them", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    for (let i = 0; i < 10; i++) {
      expect(rig.sendClassic(frame(i))).toBe(0x0008_0000 | Tsd.OWN | Tsd.TOK | 60);
      expect(rig.wire.sent.splice(0)).toEqual([frame(i)]);
    }
    expect([rig.causes(), rig.get(Register.TSAD, 2)]).toEqual([Isr.TOK, 0xf00f]);
  });

  it("wait for their turn and for CR.TE", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    rig.place(frame(1), 0);
    rig.place(frame(2), 2048);
    rig.set(Register.TSD0 + 4, 4, 60);
    expect([rig.wire.sent, rig.get(Register.TSAD, 2)]).toEqual([[], 0xd]);
    rig.set(Register.CR, 1, Cr.RE);
    rig.set(Register.TSD0, 4, 60);
    expect(rig.wire.sent).toEqual([]);
    rig.set(Register.CR, 1, Cr.RE | Cr.TE);
    expect(rig.wire.sent).toEqual([frame(1), frame(2)]);
  });

  it("send what they hold: runts unpadded, with the software's FCS where TCR says so", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    rig.sendClassic(frame(1, 10));
    rig.set(Register.TCR, 4, Tcr.CRC);
    rig.sendClassic(Uint8Array.of(...frame(2), 1, 2, 3, 4));
    expect(rig.wire.sent).toEqual([frame(1, 10), frame(2)]);
    rig.sendClassic(frame(1, 1800));
    expect(rig.violations.map((each) => each.rule)).toEqual(["tx-frame-too-long"]);
  });

  it("show lost carrier, and a refused access as a system error", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    rig.wire.setCarrier(false);
    expect(rig.sendClassic(frame()) >>> 31).toBe(1);
    rig.causes();
    rig.set(Register.TSAD0 + 4, 4, 64);
    expect(rig.sendClassic(frame()) & (Tsd.OWN | Tsd.TOK)).toBe(0);
    expect(rig.causes()).toBe(Isr.SERR);
  });
});

describe("RTL8139 transmit rings", () => {
  it("gather, go round, and write status in the command's place", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    for (let i = 0; i < 3 * RING; i++) {
      const whole = frame(i, 200);
      const at = rig.place(whole, 0);
      const first = rig.queuePlus(at, Descriptor.FS + 14);
      rig.queuePlus(at + 14, 100);
      const last = rig.queuePlus(at + 114, Descriptor.LS + 100);
      expect(rig.kickPlus()).toEqual([whole]);
      expect(rig.rings.view.getUint32(first, true) & 0xbfff_ffff).toBe(Descriptor.FS | 14);
      expect(rig.rings.view.getUint32(last, true) & 0xbfff_ffff).toBe(Descriptor.LS | 100);
    }
    expect(rig.causes()).toBe(Isr.TOK | Isr.TDU);
    expect(rig.violations).toEqual([]);
  });

  it("wait for the rest of a frame, and for their poll", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    const at = rig.place(frame(), 0);
    rig.queuePlus(at, Descriptor.FS + 20);
    expect(rig.kickPlus()).toEqual([]);
    rig.queuePlus(at + 20, Descriptor.LS + 40);
    expect(rig.wire.sent).toEqual([]);
    expect(rig.kickPlus(Tppoll.HPQ)).toEqual([]);
    expect(rig.kickPlus()).toEqual([frame()]);
  });

  it("serve high priority first", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    rig.queuePlus(rig.place(frame(2), 100), WHOLE + 60, 0, true);
    rig.queuePlus(rig.place(frame(1), 0), WHOLE + 60);
    expect(rig.kickPlus(Tppoll.HPQ | Tppoll.NPQ)).toEqual([frame(2), frame(1)]);
  });

  it("pad, and put tags in", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    expect(rig.sendPlus(frame(1, 10))).toEqual([Uint8Array.of(...frame(1, 10), ...new Uint8Array(36))]);
    const sent = rig.sendPlus(frame(1), 0, TxDescriptor.TAGC | 0x2361);
    expect(sent).toEqual([Uint8Array.of(...frame(1).subarray(0, 12), 0x81, 0, 0x61, 0x23, ...frame(1).subarray(12))]);
  });

  it("report a lost link", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    rig.wire.setCarrier(false);
    rig.causes();
    const at = rig.queuePlus(rig.place(frame(), 0), WHOLE + 60);
    expect(rig.kickPlus()).toEqual([]);
    expect(rig.rings.view.getUint32(at, true) & TxDescriptor.STATUS).toBe(TxDescriptor.TES | TxDescriptor.LNKF);
    expect([rig.causes(), Number(rig.statistics().getBigUint64(16, true))]).toEqual([Isr.TER | Isr.TDU, 1]);
  });

  it("say so when the flags of a frame's descriptors are wrong, and go on", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    const at = rig.place(frame(), 0);
    rig.queuePlus(at, Descriptor.FS + 60);
    rig.queuePlus(at, WHOLE + 60);
    rig.queuePlus(at, Descriptor.LS + 60);
    expect(rig.kickPlus()).toEqual([frame(), frame()]);
    expect(rig.violations.map((each) => each.rule)).toEqual(["tx-frame-unfinished", "tx-frame-no-start"]);
  });
});

describe("RTL8139 transmit offloads", () => {
  const IPCS_TCPCS = TxDescriptor.IPCS | TxDescriptor.TCPCS;
  const IPCS_UDPCS = TxDescriptor.IPCS | TxDescriptor.UDPCS;

  it.each([
    ["TCP", 6 as const, IPCS_TCPCS, 0],
    ["UDP", 17 as const, IPCS_UDPCS, 0],
    ["UDP behind IP options", 17 as const, IPCS_UDPCS, 12],
  ])("put in checksums of %s, and leave no trace in the status", (_, protocol, options, ipOptions) => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    for (const length of [1, 46, 101, 1400]) {
      const right = ipFrame({ version: 4, protocol, payload: counting(length), options: ipOptions });
      const raw = unfinished(right, 20 + ipOptions);
      const at = rig.queuePlus(rig.place(raw, 0), WHOLE + options + raw.length);
      const [sent] = rig.kickPlus();
      expect(sent.subarray(0, right.length)).toEqual(right);
      expect(rig.rings.view.getUint32(at, true) & TxDescriptor.STATUS).toBe(0);
    }
    expect(rig.violations).toEqual([]);
  });

  it("leave alone what is no IPv4", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    const raw = ethernet(PEER, 0x86dd, 60);
    expect(rig.sendPlus(raw, IPCS_TCPCS)).toEqual([raw]);
    expect(rig.violations.map((each) => each.rule)).toEqual(["tx-checksum-no-ip"]);
  });

  it.each([
    [1460, 1, 4000],
    [1460, 4, 64_000],
    [536, 3, 5000],
    [2047, 2, 2047],
    [1, 1, 70],
  ])("cut large sends: MSS %i, %i payload descriptors, %i bytes", (mss, pieces, length) => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    const payload = counting(length);
    const header = ipFrame({
      version: 4,
      protocol: 6,
      payload: payload.subarray(0, 0),
      identification: 0xfffe,
      sequence: 0xffff_f000,
      flags: 0x19,
    });
    const large = TxDescriptor.LGSEN + mss * 2 ** TxDescriptor.MSS_SHIFT;
    const from = rig.place(payload, 4096);
    rig.queuePlus(rig.place(unfinished(header), 0), Descriptor.FS + large + header.length);
    const piece = Math.ceil(length / pieces);
    for (let done = 0; done < length; done += piece) {
      const size = Math.min(piece, length - done);
      rig.queuePlus(from + done, (done + size === length ? Descriptor.LS : 0) + large + size);
    }
    const sent = rig.kickPlus();
    expect(sent.length).toBe(Math.ceil(length / mss));
    sent.forEach((each, i) => {
      const part = payload.subarray(i * mss, (i + 1) * mss);
      const expected = ipFrame({
        version: 4,
        protocol: 6,
        payload: part,
        identification: (0xfffe + i) & 0xffff,
        sequence: (0xffff_f000 + i * mss) % 2 ** 32,
        flags: i === sent.length - 1 ? 0x19 : 0x10,
      });
      expect(each.subarray(0, expected.length)).toEqual(expected);
    });
    expect([rig.violations, Number(rig.statistics().getBigUint64(0, true))]).toEqual([[], 1]);
  });

  it("tag every frame of a large send, and refuse one that cannot be", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    const raw = ipFrame({ version: 4, protocol: 6, payload: counting(1500) });
    const sent = rig.sendPlus(raw, TxDescriptor.LGSEN + 1000 * 2 ** 16, TxDescriptor.TAGC | 0x0100);
    expect(sent.map((each) => [...each.subarray(12, 18)])).toEqual([
      [0x81, 0, 0, 1, 8, 0],
      [0x81, 0, 0, 1, 8, 0],
    ]);
    expect(rig.sendPlus(raw, TxDescriptor.LGSEN)).toEqual([]);
    expect(rig.sendPlus(frame(), TxDescriptor.LGSEN + 1000 * 2 ** 16)).toEqual([]);
    expect(rig.violations.map((each) => each.rule)).toEqual(["tx-large-send", "tx-large-send"]);
  });

  it("go on from the machine loop after a burst, so that a driver gets its thread back", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    const raw = ipFrame({ version: 4, protocol: 6, payload: counting(5000) });
    const at = rig.place(raw, 0);
    for (let i = 0; i < 4; i++) rig.queuePlus(at, WHOLE + TxDescriptor.LGSEN + 2 ** 16 + raw.length);
    expect(rig.kickPlus().length).toBe(5000);
    rig.settle();
    expect(rig.wire.sent.length).toBe(15_000);
    expect(rig.causes()).toBe(Isr.TOK | Isr.TDU);
  });
});
