import { describe, expect, it } from "vitest";
import {
  BROADCAST,
  counting,
  E1000Rig,
  ethernet,
  internetChecksum,
  ipFrame,
  STATION,
} from "../../../test/support/e1000.js";
import { frameCheckSequence } from "../frame-check.js";
import { Cause, Ctrl, Rah, Rctl, Register, Rxcsum, RxError, RxStatus, Statistic } from "./registers.js";

const BASE = Rctl.BAM | Rctl.SECRC;
const MULTICAST = Uint8Array.of(0x01, 0x00, 0x5e, 0x7f, 0x12, 0x34);

function receiver(rctl: number = BASE, ctrl = 0): E1000Rig {
  const rig = new E1000Rig();
  rig.linkUp(ctrl);
  rig.set(Register.VET, 0x8100);
  rig.startReceiver(rctl);
  return rig;
}

describe("82540EM receive filters", () => {
  it("takes its own address and no other unicast", () => {
    const rig = receiver();
    expect(rig.receive(ethernet(STATION, 0x88b5, 46))?.bytes).toEqual(ethernet(STATION, 0x88b5, 46));
    const other = STATION.slice();
    other[5] ^= 1;
    expect(rig.receive(ethernet(other, 0x88b5, 46))).toBeNull();
  });

  it("compares with all sixteen receive addresses that are valid", () => {
    const rig = receiver();
    for (let entry = 1; entry < 16; entry++) {
      const address = Uint8Array.of(2, 0, 0, 0, 1, entry);
      rig.set(Register.RA + 2 * entry, 0x00000002);
      rig.set(Register.RA + 2 * entry + 1, 0x01 | (entry << 8));
      expect(rig.receive(ethernet(address, 0x88b5, 46))).toBeNull();
      rig.set(Register.RA + 2 * entry + 1, (0x01 | (entry << 8) | Rah.AV) >>> 0);
      expect(rig.receive(ethernet(address, 0x88b5, 46))?.status).toBe(RxStatus.DD | RxStatus.EOP | RxStatus.IXSM);
    }
  });

  it("can select by the source address", () => {
    const rig = receiver();
    rig.set(Register.RA + 2, 0xaa005452);
    rig.set(Register.RA + 3, (0xccbb | (1 << Rah.AS_SHIFT) | Rah.AV) >>> 0);
    expect(rig.receive(ethernet(Uint8Array.of(2, 9, 9, 9, 9, 9), 0x88b5, 46))).not.toBeNull();
  });

  it("takes broadcast by BAM, multicast by MPE, unicast by UPE", () => {
    const stranger = Uint8Array.of(2, 2, 2, 2, 2, 2);
    const cases: [number, Uint8Array][] = [
      [Rctl.BAM, BROADCAST],
      [Rctl.MPE, MULTICAST],
      [Rctl.UPE, stranger],
    ];
    for (const [bit, address] of cases) {
      for (const rctl of [Rctl.BAM, Rctl.MPE, Rctl.UPE]) {
        const wanted = rctl === bit || (rctl === Rctl.MPE && address === BROADCAST);
        const rig = receiver(rctl | Rctl.SECRC);
        expect(rig.receive(ethernet(address, 0x88b5, 46)) !== null).toBe(wanted);
      }
    }
  });

  it.each([0, 1, 2, 3])("hashes multicast with offset %i, hit and miss, and says so by PIF", (offset) => {
    const rig = receiver(BASE | (offset << Rctl.MO_SHIFT));
    const last16 = MULTICAST[4] | (MULTICAST[5] << 8);
    const hash = (last16 >>> [4, 3, 2, 0][offset]) & 0xfff;
    expect(rig.receive(ethernet(MULTICAST, 0x88b5, 46))).toBeNull();
    rig.set(Register.MTA + (hash >>> 5), 1 << (hash & 31));
    expect(rig.receive(ethernet(MULTICAST, 0x88b5, 46))?.status).toBe(
      RxStatus.DD | RxStatus.EOP | RxStatus.IXSM | RxStatus.PIF,
    );
    rig.set(Register.MTA + (hash >>> 5), ~(1 << (hash & 31)));
    expect(rig.receive(ethernet(MULTICAST, 0x88b5, 46))).toBeNull();
  });

  it("filters VLANs by table and CFI, tagged frames only", () => {
    const rig = receiver(BASE | Rctl.VFE);
    const tagged = (tag: number) => ipFrame({ version: 4, protocol: 17, payload: counting(40), vlan: tag });
    expect(rig.receive(tagged(0x123))).toBeNull();
    rig.set(Register.VFTA + (0x123 >>> 5), 1 << (0x123 & 31));
    expect(rig.receive(tagged(0xe123))?.bytes).toEqual(tagged(0xe123));
    expect(rig.receive(tagged(0x124))).toBeNull();
    expect(rig.receive(ethernet(STATION, 0x88b5, 46))).not.toBeNull();
    rig.set(Register.RCTL, rig.get(Register.RCTL) | Rctl.CFIEN);
    expect(rig.receive(tagged(0x1123))).toBeNull();
    rig.set(Register.RCTL, rig.get(Register.RCTL) | Rctl.CFI);
    expect(rig.receive(tagged(0x1123))).not.toBeNull();
    expect(rig.receive(tagged(0x0123))).toBeNull();
  });

  it("takes nothing while it is off, without a link, or in D3", () => {
    const rig = receiver();
    const frame = ethernet(BROADCAST, 0x88b5, 46);
    rig.set(Register.RCTL, BASE);
    expect(rig.receive(frame)).toBeNull();
    rig.set(Register.RCTL, BASE | Rctl.EN);
    rig.set(Register.CTRL, 0);
    expect(rig.receive(frame)).toBeNull();
    rig.linkUp();
    rig.slot.configWrite(0xe0, 2, 3);
    expect(rig.receive(frame)).toBeNull();
    rig.slot.configWrite(0xe0, 2, 0);
    expect(rig.receive(frame)).not.toBeNull();
  });
});

describe("82540EM receive buffers", () => {
  const sizes: [bytes: number, bits: number][] = [
    [256, 3 << Rctl.BSIZE_SHIFT],
    [512, 2 << Rctl.BSIZE_SHIFT],
    [1024, 1 << Rctl.BSIZE_SHIFT],
    [2048, 0],
    [4096, (3 << Rctl.BSIZE_SHIFT) | Rctl.BSEX],
    [8192, (2 << Rctl.BSIZE_SHIFT) | Rctl.BSEX],
    [16384, (1 << Rctl.BSIZE_SHIFT) | Rctl.BSEX],
  ];

  it.each(sizes)("spreads frames over buffers of %i bytes, EOP on the last", (size, bits) => {
    for (const secrc of [Rctl.SECRC, 0]) {
      const rig = new E1000Rig({ exactFcs: true });
      rig.linkUp();
      rig.startReceiver(Rctl.BAM | Rctl.LPE | bits | secrc, size);
      for (const length of [60, size - 4, size - 3, size - 1, size, size + 1, 2 * size, 9000]) {
        if (length > 16110 || length < 60) continue;
        const frame = ethernet(BROADCAST, 0x88b5, length - 14, length);
        const fcs = new Uint8Array(4);
        new DataView(fcs.buffer).setUint32(0, frameCheckSequence(new DataView(frame.buffer), 0, length), true);
        const stored = secrc !== 0 ? frame : Uint8Array.of(...frame, ...fcs);
        const got = rig.receive(frame);
        expect(got?.bytes).toEqual(stored);
        expect(got?.pieces.slice(0, -1).every((piece) => piece === size)).toBe(true);
        expect(got?.pieces.length).toBe(Math.ceil(stored.length / size));
        expect(got?.checksum).toBe(internetChecksum(stored));
        rig.set(Register.RDT, (rig.rxNext + rig.rxCount - 1) % rig.rxCount);
      }
    }
  });

  it("pads what is shorter than a frame on the wire", () => {
    const rig = receiver();
    const short = ethernet(BROADCAST, 0x0806, 28);
    expect(rig.receive(short)?.bytes).toEqual(Uint8Array.of(...short, ...new Uint8Array(18)));
    expect(rig.get(Statistic.PRC64)).toBe(1);
    expect(rig.receive(new Uint8Array(13))).toBeNull();
    expect(rig.get(Statistic.RUC)).toBe(1);
  });

  it("takes frames above 1522 bytes only with LPE, and counts them", () => {
    const rig = receiver();
    expect(rig.receive(ethernet(BROADCAST, 0x88b5, 1504))?.bytes.length).toBe(1518);
    expect(rig.receive(ethernet(BROADCAST, 0x88b5, 1505))).toBeNull();
    expect(rig.get(Statistic.ROC)).toBe(1);
    rig.set(Register.RCTL, rig.get(Register.RCTL) | Rctl.LPE);
    expect(rig.receive(ethernet(BROADCAST, 0x88b5, 1505))?.bytes.length).toBe(1519);
  });

  it("wraps at the end of the ring, RDH always at the next descriptor", () => {
    const rig = receiver();
    for (let i = 0; i < 200; i++) {
      expect(rig.get(Register.RDH)).toBe(i % 64);
      const frame = ethernet(BROADCAST, 0x88b5, 46 + (i % 30), i);
      expect(rig.receive(frame)?.bytes).toEqual(frame);
      rig.set(Register.RDT, (rig.rxNext + 63) % 64);
    }
  });

  it("keeps frames in the FIFO when descriptors run out, then misses them", () => {
    const rig = receiver();
    rig.set(Register.RCTL, 0);
    rig.startReceiver(BASE, 2048, 2);
    const frame = (i: number) => ethernet(BROADCAST, 0x88b5, 1486, i);
    for (let i = 0; i < 40; i++) rig.wire.deliver(frame(i));
    const missed = rig.get(Statistic.MPC);
    const held = 40 - 2 - missed;
    // 48 KiB of packet buffer: about 32 frames of 1.5 KB.
    expect(held).toBeGreaterThan(28);
    expect(held).toBeLessThanOrEqual(32);
    expect(rig.get(Statistic.RNBC)).toBe(38);
    expect(rig.get(Statistic.GPRC)).toBe(40 - missed);
    expect(rig.get(Statistic.TPR)).toBe(40);
    expect(rig.get(Register.ICR) & Cause.RXO).toBe(Cause.RXO);
    rig.set(Register.RDT, 63);
    for (let i = 0; i < 2 + held; i++) expect(rig.takeReceived()?.bytes).toEqual(frame(i));
    expect(rig.takeReceived()).toBeNull();
    expect(rig.receive(frame(99))?.bytes).toEqual(frame(99));
  });

  it("holds less when PBA gives reception less", () => {
    const rig = receiver();
    rig.set(Register.PBA, 8);
    expect(rig.get(Register.PBA)).toBe((56 << 16) | 8);
    rig.startReceiver(BASE, 2048, 0);
    for (let i = 0; i < 10; i++) rig.wire.deliver(ethernet(BROADCAST, 0x88b5, 1486, i));
    expect(rig.get(Statistic.MPC)).toBe(5);
  });

  it("goes on with a frame that spans descriptors when new ones come", () => {
    const rig = new E1000Rig();
    rig.linkUp();
    rig.startReceiver(BASE | (3 << Rctl.BSIZE_SHIFT), 256, 2);
    const frame = ethernet(BROADCAST, 0x88b5, 1000);
    rig.wire.deliver(frame);
    expect(rig.get(Register.RDH)).toBe(2);
    expect(rig.takeReceived()).toBeNull();
    expect(rig.get(Register.ICR) & Cause.RXT0).toBe(0);
    rig.set(Register.RDT, 5);
    expect(rig.takeReceived()?.bytes).toEqual(frame);
    expect(rig.get(Register.ICR) & Cause.RXT0).toBe(Cause.RXT0);
  });

  it("raises RXDMT0 once when the free descriptors fall to the threshold", () => {
    for (const rdmts of [0, 1, 2]) {
      const rig = receiver(BASE | (rdmts << Rctl.RDMTS_SHIFT));
      const free = 64 >>> (rdmts + 1);
      for (let left = 62; left > 2; left--) {
        rig.receive(ethernet(BROADCAST, 0x88b5, 46));
        expect(rig.get(Register.ICR) & Cause.RXDMT0).toBe(left === free ? Cause.RXDMT0 : 0);
      }
    }
  });

  it("reports small packets by RSRPD", () => {
    const rig = receiver();
    rig.set(Register.RSRPD, 100);
    rig.get(Register.ICR);
    rig.receive(ethernet(BROADCAST, 0x88b5, 82));
    expect(rig.get(Register.ICR)).toBe(Cause.RXT0 | Cause.SRPD);
    rig.receive(ethernet(BROADCAST, 0x88b5, 83));
    expect(rig.get(Register.ICR)).toBe(Cause.RXT0);
  });

  it("stops at a refused access until the ring is set up again, and shows the master abort", () => {
    const rig = receiver();
    rig.rx.view.setUint32(4, 0x7fff, true);
    expect(rig.receive(ethernet(BROADCAST, 0x88b5, 46))).toBeNull();
    expect(rig.faults.length).toBe(1);
    expect(rig.slot.configRead(6, 2) & 0x2000).toBe(0x2000);
    rig.postReceive(0);
    expect(rig.receive(ethernet(BROADCAST, 0x88b5, 46))).toBeNull();
    expect(rig.faults.length).toBe(1);
    rig.set(Register.RCTL, 0);
    rig.set(Register.RCTL, BASE | Rctl.EN);
    expect(rig.takeReceived()).not.toBeNull();
  });

  it("calls doorbells for a ring that is not there, or not that long, violations", () => {
    const rig = receiver();
    rig.set(Register.RDT, 64);
    rig.set(Register.RDLEN, 0);
    rig.set(Register.RDT, 1);
    expect(rig.violations.map((violation) => violation.rule)).toEqual(["rx-tail-beyond-ring", "rx-no-ring"]);
    rig.wire.deliver(ethernet(BROADCAST, 0x88b5, 46));
    expect(rig.faults).toEqual([]);
  });
});

describe("82540EM receive offload", () => {
  const all = Rxcsum.IPOFLD | Rxcsum.TUOFLD;
  const flags = (rig: E1000Rig, frame: Uint8Array): [number, number] => {
    const got = rig.receive(frame);
    return [(got?.status ?? 0) & (RxStatus.IPCS | RxStatus.TCPCS | RxStatus.IXSM), got?.errors ?? 0];
  };

  it("verifies IPv4, TCP and UDP, with options, tags and padding", () => {
    const rig = receiver();
    rig.set(Register.RXCSUM, all);
    for (const version of [4, 6] as const) {
      for (const protocol of [6, 17] as const) {
        for (const length of [0, 1, 7, 40, 1000]) {
          for (const vlan of [undefined, 5]) {
            for (const options of version === 4 ? [0, 12] : [0]) {
              const good = ipFrame({ version, protocol, payload: counting(length), options, vlan } as never);
              const ip = version === 4 ? RxStatus.IPCS : 0;
              expect(flags(rig, good)).toEqual([ip | RxStatus.TCPCS, 0]);
              const bad = good.slice();
              bad[bad.length - 1] ^= 0x10;
              expect(flags(rig, bad)).toEqual([ip | RxStatus.TCPCS, RxError.TCPE]);
              rig.set(Register.RDT, (rig.rxNext + 63) % 64);
            }
          }
        }
      }
    }
    const header = ipFrame({ version: 4, protocol: 6, payload: counting(9) });
    header[14 + 8] ^= 1;
    expect(flags(rig, header)).toEqual([RxStatus.IPCS | RxStatus.TCPCS, RxError.IPE]);
  });

  it("does only what RXCSUM asks for, and leaves out fragments, UDP without checksum and what is no IP", () => {
    const rig = receiver();
    const frame = ipFrame({ version: 4, protocol: 6, payload: counting(50) });
    expect(flags(rig, frame)).toEqual([RxStatus.IXSM, 0]);
    rig.set(Register.RXCSUM, Rxcsum.IPOFLD);
    expect(flags(rig, frame)).toEqual([RxStatus.IPCS, 0]);
    rig.set(Register.RXCSUM, Rxcsum.TUOFLD);
    expect(flags(rig, frame)).toEqual([RxStatus.TCPCS, 0]);
    rig.set(Register.RXCSUM, all);
    expect(flags(rig, ipFrame({ version: 4, protocol: 6, payload: counting(50), fragment: 0x2000 }))).toEqual([
      RxStatus.IPCS,
      0,
    ]);
    expect(flags(rig, ipFrame({ version: 4, protocol: 6, payload: counting(50), fragment: 3 }))).toEqual([
      RxStatus.IPCS,
      0,
    ]);
    const udp = ipFrame({ version: 4, protocol: 17, payload: counting(50) });
    udp.fill(0, 40, 42);
    expect(flags(rig, udp)).toEqual([RxStatus.IPCS, 0]);
    expect(flags(rig, ethernet(STATION, 0x88b5, 46))).toEqual([RxStatus.IXSM, 0]);
    const lying = ipFrame({ version: 4, protocol: 6, payload: counting(50) });
    lying[16] = 0x7f;
    expect(flags(rig, lying)).toEqual([RxStatus.IPCS, RxError.IPE]);
  });

  it("looks behind SNAP", () => {
    const rig = receiver();
    rig.set(Register.RXCSUM, all);
    const plain = ipFrame({ version: 4, protocol: 17, payload: counting(80) });
    const snap = Uint8Array.of(
      ...plain.subarray(0, 12),
      0,
      plain.length - 6,
      0xaa,
      0xaa,
      3,
      0,
      0,
      0,
      ...plain.subarray(12),
    );
    expect(flags(rig, snap)).toEqual([RxStatus.IPCS | RxStatus.TCPCS, 0]);
  });

  it("gives the packet checksum from PCSS on, whatever else it verifies", () => {
    const rig = receiver();
    for (const bits of [0, all]) {
      for (const start of [0, 14, 15, 34, 35, 200]) {
        for (const length of [3, 30, 31]) {
          rig.set(Register.RXCSUM, bits | start);
          const frame = ipFrame({ version: 4, protocol: 17, payload: counting(length) });
          const stored = Uint8Array.of(...frame, ...new Uint8Array(Math.max(0, 60 - frame.length)));
          expect(rig.receive(frame)?.checksum).toBe(internetChecksum(stored.subarray(start)));
          rig.set(Register.RDT, (rig.rxNext + 63) % 64);
        }
      }
    }
  });

  it("strips the tag into the descriptor with VME, and leaves it without", () => {
    const tagged = ipFrame({ version: 4, protocol: 6, payload: counting(100), vlan: 0x6123 });
    const bare = ipFrame({ version: 4, protocol: 6, payload: counting(100) });
    const kept = receiver().receive(tagged);
    expect(kept?.bytes).toEqual(tagged);
    expect((kept?.status ?? 0) & RxStatus.VP).toBe(0);
    const rig = receiver(BASE, Ctrl.VME);
    rig.set(Register.RXCSUM, all | 14);
    const stripped = rig.receive(tagged);
    expect(stripped?.bytes).toEqual(bare);
    expect(stripped?.special).toBe(0x6123);
    expect(stripped?.status).toBe(RxStatus.DD | RxStatus.EOP | RxStatus.VP | RxStatus.IPCS | RxStatus.TCPCS);
    expect(stripped?.checksum).toBe(internetChecksum(bare.subarray(14)));
    expect(rig.get(Statistic.GORCL)).toBe(tagged.length + 4);
    const untagged = rig.receive(bare);
    expect([untagged?.special, (untagged?.status ?? 0) & RxStatus.VP]).toEqual([0, 0]);
    const short = Uint8Array.of(...STATION, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7, 0x88, 0xb5, 1, 2, 3);
    expect(rig.receive(short)?.bytes).toEqual(
      Uint8Array.of(...STATION, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, 2, 3, ...new Uint8Array(39)),
    );
  });
});

describe("82540EM flow control", () => {
  const pause = (quanta: number): Uint8Array => {
    const frame = new Uint8Array(60);
    frame.set([0x01, 0x80, 0xc2, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x88, 0x08, 0, 1, quanta >>> 8, quanta & 0xff]);
    return frame;
  };
  const controlled = (ctrl: number): E1000Rig => {
    const rig = receiver(BASE | Rctl.DPF, ctrl);
    rig.set(Register.FCAL, 0x00c28001);
    rig.set(Register.FCAH, 0x0100);
    rig.set(Register.FCT, 0x8808);
    return rig;
  };

  it("stops transmission for the time that a PAUSE frame asks for", () => {
    const rig = controlled(Ctrl.RFCE);
    rig.startTransmitter();
    rig.wire.deliver(pause(1000));
    expect(rig.get(Register.STATUS) & (1 << 4)).toBe(1 << 4);
    rig.queue({ address: rig.place(counting(60), 0), command: 0x0b000000 | 60 });
    expect(rig.kick()).toEqual([]);
    rig.pass(1000 * 512 - 1);
    expect(rig.wire.sent.length).toBe(0);
    rig.pass(1);
    expect(rig.wire.sent.length).toBe(1);
    rig.wire.deliver(pause(1000));
    rig.queue({ address: rig.data.io, command: 0x0b000000 | 60 });
    rig.kick();
    rig.wire.deliver(pause(0));
    rig.settle();
    expect(rig.wire.sent.length).toBe(1);
    expect([rig.get(Statistic.XOFFRXC), rig.get(Statistic.XONRXC), rig.get(Statistic.FCRUC)]).toEqual([2, 1, 0]);
    expect(rig.takeReceived()).toBeNull();
  });

  it("counts PAUSE frames that it does not obey", () => {
    const rig = controlled(0);
    rig.wire.deliver(pause(1000));
    expect(rig.get(Register.STATUS) & (1 << 4)).toBe(0);
    expect([rig.get(Statistic.XOFFRXC), rig.get(Statistic.FCRUC)]).toEqual([0, 1]);
  });
});
