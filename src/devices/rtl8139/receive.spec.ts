import { describe, expect, it } from "vitest";
import { BROADCAST, counting, ethernet, ipFrame, PEER, STATION } from "../../../test/support/e1000.js";
import { RING, Rtl8139Rig } from "../../../test/support/rtl8139.js";
import { frameCheckSequence } from "../frame-check.js";
import { hashBit } from "./receive-filter.js";
import { Cpcr, Cr, Isr, Rcr, Register, RxDescriptor, RxHeader } from "./registers.js";

const MULTICAST = Uint8Array.of(0x01, 0x00, 0x5e, 0x7f, 0x12, 0x34);
const RING_BYTES = 32 * 1024;
const frame = (seed = 1, length = 46) => ethernet(BROADCAST, 0x88b5, length, seed);
const PID = RxDescriptor.PID_IP;

describe("RTL8139 receive filter", () => {
  it("takes by APM, AAP, AB and AM with the hash table, and says which in both modes", () => {
    const cases: [number, Uint8Array, number, number][] = [
      [Rcr.APM, STATION, RxHeader.PAM, RxDescriptor.PAM],
      [Rcr.AAP, PEER, 0, 0],
      [Rcr.AAP | Rcr.APM, STATION, RxHeader.PAM, RxDescriptor.PAM],
      [Rcr.AB, BROADCAST, RxHeader.BAR, RxDescriptor.BAR],
      [Rcr.AM, MULTICAST, RxHeader.MAR, RxDescriptor.MAR],
    ];
    const others = [STATION, PEER, BROADCAST, MULTICAST];
    for (const [rcr, wanted, header, descriptor] of cases) {
      const classic = Rtl8139Rig.c();
      const plus = new Rtl8139Rig();
      classic.startClassic(rcr);
      plus.startPlus(0, rcr);
      const bit = hashBit(new DataView(MULTICAST.buffer), 0);
      for (const rig of [classic, plus]) rig.set(Register.MAR0 + 4 * (bit >>> 5), 4, 1 << (bit & 31));
      for (const destination of others) {
        for (const rig of [classic, plus]) rig.wire.deliver(ethernet(destination, 0x88b5, 46));
        const taken = destination === wanted;
        const any = (rcr & Rcr.AAP) !== 0 && (destination[0] & 1) === 0;
        const [old, now] = [classic.takeClassic(), plus.takePlus()];
        expect([old !== null, now !== null]).toEqual([taken || any, taken || any]);
        if (!taken) continue;
        expect(old?.status).toBe(header | RxHeader.ROK);
        expect((now?.status ?? 0) & 0x0700_0000).toBe(descriptor);
      }
    }
  });

  it("hashes as drivers do: the upper six bits of the CRC, most significant bit first", () => {
    const ether = (address: Uint8Array) => {
      let crc = 0xffff_ffff;
      for (const byte of address) {
        for (let bit = 0; bit < 8; bit++) {
          const carry = (crc >>> 31) ^ ((byte >>> bit) & 1);
          crc = (crc << 1) ^ (carry === 0 ? 0 : 0x04c1_1db7);
        }
      }
      return crc >>> 26;
    };
    for (let i = 0; i < 50; i++) {
      const address = Uint8Array.of(1, 0, 0x5e, ...counting(3, i * 7));
      expect(hashBit(new DataView(address.buffer), 0)).toBe(ether(address));
    }
  });
});

describe("RTL8139 ring buffer", () => {
  it("stores header, frame and FCS, aligned, and moves CBR behind it", () => {
    const rig = Rtl8139Rig.c({ exactFcs: true });
    rig.startClassic();
    const odd = ethernet(STATION, 0x88b5, 50);
    odd[50] = 0x77;
    const whole = Uint8Array.of(...odd, 0x55);
    rig.wire.deliver(whole);
    expect(rig.rxBuffer.view.getUint32(0, true)).toBe(((whole.length + 4) << 16) | RxHeader.ROK | RxHeader.PAM);
    const fcs = frameCheckSequence(new DataView(whole.buffer), 0, whole.length);
    expect(rig.rxBuffer.view.getUint32(4 + whole.length, true)).toBe(fcs);
    expect([rig.get(Register.CBR, 2), rig.get(Register.CR, 1) & Cr.BUFE]).toEqual([76, 0]);
    expect(rig.causes()).toBe(Isr.ROK);
    expect(rig.takeClassic()?.bytes).toEqual(whole);
    expect(rig.get(Register.CR, 1) & Cr.BUFE).toBe(Cr.BUFE);
  });

  it.each([
    ["runs on behind the end with WRAP", Rcr.WRAP],
    ["goes on at the start without", 0],
  ])("%s, for several rounds", (_, wrap) => {
    const rig = Rtl8139Rig.c();
    rig.startClassic(Rcr.AB, wrap);
    for (let i = 0; i < 200; i++) {
      const each = frame(i, 46 + ((i * 131) % 1450));
      rig.wire.deliver(each);
      expect(rig.takeClassic()?.bytes).toEqual(each);
    }
    expect(rig.faults).toEqual([]);
  });

  it("overflows, counts what it missed, and goes on where there is room again", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    const count = Math.floor((RING_BYTES - 1) / 1520);
    for (let i = 0; i < count + 2; i++) rig.wire.deliver(frame(i, 1498));
    expect([rig.causes(), rig.get(Register.MPC, 4)]).toEqual([Isr.ROK | Isr.RXOVW, 2]);
    rig.set(Register.MPC, 4, 5);
    expect(rig.get(Register.MPC, 4)).toBe(0);
    for (let i = 0; i < count; i++) expect(rig.takeClassic()?.bytes).toEqual(frame(i, 1498));
    expect(rig.takeClassic()).toBeNull();
    rig.wire.deliver(frame(99));
    expect(rig.takeClassic()?.bytes).toEqual(frame(99));
  });

  it("reports an underrun when CAPR is written while there is nothing to read", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    rig.set(Register.CAPR, 2, 0xfff0);
    expect(rig.causes()).toBe(Isr.LINK_CHANGE);
  });

  it("starts over when CR.RE is switched off and on, as after an error", () => {
    const rig = Rtl8139Rig.c();
    rig.startClassic();
    rig.wire.deliver(frame());
    rig.set(Register.CR, 1, Cr.TE);
    rig.wire.deliver(frame());
    expect(rig.get(Register.CBR, 2)).toBe(68);
    rig.set(Register.CR, 1, Cr.TE | Cr.RE);
    expect([rig.get(Register.CBR, 2), rig.get(Register.CAPR, 2)]).toEqual([0, 0xfff0]);
  });
});

describe("RTL8139 receive descriptors", () => {
  it("scatters a frame over as many as it takes", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus(0, Rcr.AB, 256);
    for (let i = 0; i < 20; i++) {
      const each = frame(i, 986);
      rig.wire.deliver(each);
      expect(rig.takePlus()).toMatchObject({ bytes: each, pieces: 4 });
    }
    expect(rig.causes()).toBe(Isr.ROK);
  });

  it("misses frames that do not fit into what the part owns, and leaves that alone", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus();
    for (let i = 0; i < RING + 3; i++) rig.wire.deliver(frame(i));
    expect([rig.causes(), rig.get(Register.MPC, 4)]).toEqual([Isr.ROK | Isr.RXOVW, 3]);
    for (let i = 0; i < RING; i++) expect(rig.takePlus()?.bytes).toEqual(frame(i));
    rig.wire.deliver(frame(50));
    expect(rig.takePlus()?.bytes).toEqual(frame(50));
    rig.startPlus(0, Rcr.AB, 64);
    rig.wire.deliver(frame(1, 1500));
    expect([rig.takePlus(), rig.causes()]).toEqual([null, Isr.RXOVW]);
  });

  it("takes 4 KiB of payload with a tag; what is longer only by AER, as an error", () => {
    const rig = new Rtl8139Rig();
    const longest = ethernet(BROADCAST, 0x88b5, 4100);
    rig.startPlus(0, Rcr.AB, 8184);
    rig.wire.deliver(longest);
    expect(rig.takePlus()?.bytes).toEqual(longest);
    const tooLong = ethernet(BROADCAST, 0x88b5, 4101);
    rig.wire.deliver(tooLong);
    expect(rig.takePlus()).toBeNull();
    rig.set(Register.RCR, 4, Rcr.AB | Rcr.AER);
    rig.causes();
    rig.wire.deliver(tooLong);
    expect((rig.takePlus()?.status ?? 0) & 0x0030_0000).toBe(RxDescriptor.RES | RxDescriptor.RWT);
    expect(rig.causes()).toBe(Isr.RER);
    expect(rig.statistics().getUint32(24, true)).toBe(2);
  });

  it("takes a tag out and keeps its order of bytes", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus(Cpcr.RX_VLAN);
    const inner = ethernet(BROADCAST, 0x88b5, 50);
    const tagged = Uint8Array.of(...inner.subarray(0, 12), 0x81, 0x00, 0x61, 0x23, ...inner.subarray(12));
    rig.wire.deliver(tagged);
    expect(rig.takePlus()).toMatchObject({ bytes: inner, tag: RxDescriptor.TAVA | 0x2361 });
    rig.wire.deliver(inner);
    expect(rig.takePlus()).toMatchObject({ bytes: inner, tag: 0 });
    rig.startPlus();
    rig.wire.deliver(tagged);
    expect(rig.takePlus()).toMatchObject({ bytes: tagged, tag: 0 });
  });

  it("judges IPv4, TCP and UDP checksums", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus(Cpcr.RX_CHECKSUM);
    const verdict = (bytes: Uint8Array, damage = -1) => {
      const sent = bytes.slice();
      if (damage >= 0) sent[damage] ^= 0x40;
      rig.wire.deliver(sent);
      return (rig.takePlus()?.status ?? 0) & (PID | RxDescriptor.IPF | RxDescriptor.TCPF | RxDescriptor.UDPF);
    };
    const tcp = ipFrame({ version: 4, protocol: 6, payload: counting(101) });
    const udp = ipFrame({ version: 4, protocol: 17, payload: counting(100), options: 8 });
    const fragment = ipFrame({ version: 4, protocol: 17, payload: counting(64), fragment: 0x2000 });
    expect([verdict(tcp), verdict(tcp, 60), verdict(tcp, 26)]).toEqual([
      RxDescriptor.PID_TCP,
      RxDescriptor.PID_TCP | RxDescriptor.TCPF,
      RxDescriptor.PID_TCP | RxDescriptor.IPF | RxDescriptor.TCPF,
    ]);
    expect([verdict(udp), verdict(udp, 70), verdict(fragment), verdict(frame())]).toEqual([
      RxDescriptor.PID_UDP,
      RxDescriptor.PID_UDP | RxDescriptor.UDPF,
      PID,
      0,
    ]);
    expect(verdict(ipFrame({ version: 6, protocol: 6, payload: counting(64) }))).toBe(0);
    rig.startPlus();
    expect(verdict(tcp)).toBe(0);
  });

  it("counts for the dump", () => {
    const rig = new Rtl8139Rig();
    rig.startPlus(0, Rcr.AB | Rcr.APM | Rcr.AM);
    rig.set(Register.MAR0, 4, 0xffff_ffff);
    rig.set(Register.MAR4, 4, 0xffff_ffff);
    for (const destination of [STATION, STATION, BROADCAST, MULTICAST, PEER]) {
      rig.wire.deliver(ethernet(destination, 0x88b5, 46));
    }
    rig.sendPlus(frame());
    const dump = rig.statistics();
    const counted = [0, 8, 16, 40, 48].map((at) => Number(dump.getBigUint64(at, true)));
    expect([...counted, dump.getUint32(56, true), dump.getUint16(28, true)]).toEqual([1, 4, 0, 2, 1, 1, 0]);
  });
});
