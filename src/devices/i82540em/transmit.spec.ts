import { describe, expect, it } from "vitest";
import {
  BROADCAST,
  counting,
  E1000Rig,
  ethernet,
  internetChecksum,
  ipFrame,
  PEER,
} from "../../../test/support/e1000.js";
import { frameCheckSequence } from "../frame-check.js";
import { Cause, Ctrl, Register, Statistic, Tctl } from "./registers.js";

const EOP = 1 << 24;
const IFCS = 1 << 25;
const IC = 1 << 26;
const TSE = 1 << 26;
const RS = 1 << 27;
const DEXT = 1 << 29;
const VLE = 1 << 30;
const IDE = 1 << 31;
const LEGACY = EOP | IFCS | RS;
const DATA = DEXT | (1 << 20);
const CONTEXT = DEXT;
const TXSM = 0x200;
const IXSM = 0x100;

function transmitter(ctrl = 0, txCount = 64): E1000Rig {
  const rig = new E1000Rig({}, txCount);
  rig.linkUp(ctrl);
  rig.set(Register.VET, 0x8100);
  rig.startTransmitter();
  rig.get(Register.ICR);
  return rig;
}

interface Offload {
  version: 4 | 6;
  protocol: 6 | 17;
  link?: number;
  options?: number;
  mss?: number;
  headerLength?: number;
  payloadLength?: number;
}

function context(o: Offload): { address: number; command: number; upper: number } {
  const ip = o.link ?? 14;
  const transport = ip + (o.version === 4 ? 20 + (o.options ?? 0) : 40);
  const field = transport + (o.protocol === 6 ? 16 : 6);
  const low = ip | ((ip + 10) << 8) | ((o.version === 4 ? transport - 1 : 0) << 16);
  const high = transport | (field << 8);
  const flags =
    (o.protocol === 6 ? 1 << 24 : 0) | (o.version === 4 ? 1 << 25 : 0) | (o.mss === undefined ? 0 : 1 << 26);
  return {
    address: (high >>> 0) * 2 ** 32 + (low >>> 0),
    command: CONTEXT | flags | (o.payloadLength ?? 0),
    upper: ((o.headerLength ?? 0) << 8) | ((o.mss ?? 0) << 16),
  };
}

/** What software hands over for checksum offload: pseudo-header sum in the transport field, zero in IP's. */
function unfinished(frame: Uint8Array, o: Offload, withLength: boolean): Uint8Array {
  const bytes = frame.slice();
  const ip = o.link ?? 14;
  const transport = ip + (o.version === 4 ? 20 + (o.options ?? 0) : 40);
  if (o.version === 4) bytes.fill(0, ip + 10, ip + 12);
  const addresses = o.version === 4 ? bytes.subarray(ip + 12, ip + 20) : bytes.subarray(ip + 8, ip + 40);
  const length = withLength ? bytes.length - transport : 0;
  const sum = 0xffff - internetChecksum(addresses, Uint8Array.of(0, o.protocol, length >>> 8, length & 0xff));
  bytes[transport + (o.protocol === 6 ? 16 : 6)] = sum >>> 8;
  bytes[transport + (o.protocol === 6 ? 17 : 7)] = sum & 0xff;
  return bytes;
}

describe("82540EM transmission", () => {
  it("sends legacy frames, from one buffer or several, and reports where RS asks", () => {
    const rig = transmitter();
    const frame = ethernet(PEER, 0x88b5, 400);
    const at = rig.place(frame, 100);
    rig.queue({ address: at, command: LEGACY | frame.length });
    expect(rig.kick()).toEqual([frame]);
    rig.queue(
      { address: at, command: IFCS | 14 },
      { address: at + 14, command: IFCS | 0 },
      { address: at + 14, command: IFCS | RS | 100 },
      { address: at + 114, command: EOP | IFCS | (frame.length - 114) },
    );
    expect(rig.kick()).toEqual([frame]);
    expect([0, 1, 2, 3, 4].map((i) => rig.txStatus(i))).toEqual([1, 0, 0, 1, 0]);
    expect(rig.get(Register.TDH)).toBe(5);
    expect(rig.get(Register.ICR)).toBe(Cause.TXDW | Cause.TXQE);
  });

  it("pads short frames when TCTL.PSP is set", () => {
    const rig = transmitter();
    const frame = ethernet(BROADCAST, 0x0806, 28);
    const at = rig.place(frame, 0);
    rig.place(new Uint8Array(64).fill(0xee), 42);
    rig.queue({ address: at, command: LEGACY | 42 });
    expect(rig.kick()).toEqual([Uint8Array.of(...frame, ...new Uint8Array(18))]);
    rig.set(Register.TCTL, Tctl.EN);
    rig.queue({ address: at, command: LEGACY | 42 });
    expect(rig.kick()).toEqual([frame]);
  });

  it("wraps at the end of the ring and leaves other descriptors alone", () => {
    const rig = transmitter(0, 8);
    for (let round = 0; round < 30; round++) {
      const frames = [0, 1, 2].map((i) => ethernet(PEER, 0x88b5, 50 + round, round + i));
      for (const [i, frame] of frames.entries()) {
        rig.queue({ address: rig.place(frame, i * 2048), command: LEGACY | frame.length });
      }
      expect(rig.kick()).toEqual(frames);
      expect(rig.get(Register.TDH)).toBe(((round + 1) * 3) % 8);
    }
  });

  it("finishes more than a burst from the machine loop, in order", () => {
    const rig = transmitter(0, 32768);
    const frame = ethernet(PEER, 0x88b5, 46);
    const address = rig.place(frame, 0);
    for (let i = 0; i < 10_000; i++) rig.queue({ address, command: LEGACY | frame.length });
    const atOnce = rig.kick().length;
    expect(atOnce).toBeGreaterThan(0);
    expect(atOnce).toBeLessThan(10_000);
    rig.settle();
    expect(atOnce + rig.wire.sent.length).toBe(10_000);
    expect(rig.get(Register.TDH)).toBe(10_000);
  });

  it("waits for link and TCTL.EN", () => {
    const rig = transmitter();
    const frame = ethernet(PEER, 0x88b5, 60);
    rig.wire.setCarrier(false);
    rig.queue({ address: rig.place(frame, 0), command: LEGACY | frame.length });
    expect(rig.kick()).toEqual([]);
    expect(rig.get(Register.TDH)).toBe(0);
    rig.wire.setCarrier(true);
    rig.pass(1_000_000_000);
    expect(rig.wire.sent.splice(0)).toEqual([frame]);
    rig.set(Register.TCTL, 0);
    rig.queue({ address: rig.data.io, command: LEGACY | frame.length });
    expect(rig.kick()).toEqual([]);
    rig.set(Register.TCTL, Tctl.EN);
    expect(rig.wire.sent.splice(0)).toEqual([frame]);
  });

  it("inserts a legacy checksum from CSS to the end at CSO", () => {
    const rig = transmitter();
    const frame = ethernet(PEER, 0x88b5, 101);
    const at = rig.place(frame, 0);
    rig.queue({ address: at, command: LEGACY | IC | (20 << 16) | frame.length, upper: 16 << 8 });
    const expected = frame.slice();
    new DataView(expected.buffer).setUint16(20, internetChecksum(frame.subarray(16)));
    expect(rig.kick()).toEqual([expected]);
    rig.queue({ address: at, command: LEGACY | IC | (200 << 16) | frame.length, upper: 16 << 8 });
    rig.queue({ address: at, command: LEGACY | IC | (20 << 16) | frame.length, upper: 200 << 8 });
    expect(rig.kick()).toEqual([frame, frame]);
  });

  it("inserts IP, TCP and UDP checksums by context", () => {
    const rig = transmitter();
    for (const version of [4, 6] as const) {
      for (const protocol of [6, 17] as const) {
        for (const options of version === 4 ? [0, 8] : [0]) {
          for (const length of [0, 1, 6, 111, 1400]) {
            const offload = { version, protocol, options };
            const frame = ipFrame({ ...offload, payload: counting(length, length) });
            const raw = unfinished(frame, offload, true);
            const at = rig.place(raw, 0);
            const popts = TXSM | (version === 4 ? IXSM : 0);
            rig.queue(
              context(offload),
              { address: at, command: DATA | IFCS | 30, upper: popts },
              { address: at + 30, command: DATA | LEGACY | (raw.length - 30) },
            );
            const [sent] = rig.kick();
            expect(sent.subarray(0, frame.length)).toEqual(frame);
          }
        }
      }
    }
    const plain = ipFrame({ version: 4, protocol: 6, payload: counting(200) });
    rig.queue({ address: rig.place(plain, 0), command: DATA | LEGACY | plain.length });
    expect(rig.kick()).toEqual([plain]);
  });

  it("sends a UDP checksum of zero as all ones", () => {
    const rig = transmitter();
    const offload = { version: 4, protocol: 17 } as const;
    const payload = counting(2);
    const first = ipFrame({ ...offload, payload });
    // The payload takes the checksum's place in the sum: what is left is zero.
    payload.fill(0);
    const zero = ipFrame({ ...offload, payload });
    payload.set(zero.subarray(40, 42));
    const frame = ipFrame({ ...offload, payload });
    expect([...frame.subarray(40, 42)]).toEqual([0xff, 0xff]);
    expect(first).not.toEqual(frame);
    rig.queue(context(offload), {
      address: rig.place(unfinished(frame, offload, true), 0),
      command: DATA | LEGACY | frame.length,
      upper: TXSM | IXSM,
    });
    expect(rig.kick()[0].subarray(0, frame.length)).toEqual(frame);
  });

  it("inserts a VLAN tag with VLE and CTRL.VME only", () => {
    const bare = ipFrame({ version: 4, protocol: 17, payload: counting(300) });
    const tagged = ipFrame({ version: 4, protocol: 17, payload: counting(300), vlan: 0x6abc });
    tagged.set(bare.subarray(0, 12));
    for (const [ctrl, expected] of [
      [Ctrl.VME, tagged],
      [0, bare],
    ] as const) {
      const rig = transmitter(ctrl);
      const at = rig.place(bare, 0);
      rig.queue({ address: at, command: LEGACY | VLE | bare.length, upper: 0x6abc << 16 });
      rig.queue({ address: at, command: DATA | LEGACY | VLE | bare.length, upper: 0x6abc << 16 });
      rig.queue({ address: at, command: LEGACY | bare.length, upper: 0x6abc << 16 });
      expect(rig.kick()).toEqual([expected, expected, bare]);
    }
  });

  it("takes the frame check sequence that software brings without IFCS, if it is right", () => {
    const rig = transmitter();
    const frame = ethernet(PEER, 0x88b5, 60);
    const fcs = new Uint8Array(4);
    new DataView(fcs.buffer).setUint32(0, frameCheckSequence(new DataView(frame.buffer), 0, frame.length), true);
    const whole = Uint8Array.of(...frame, ...fcs);
    rig.queue({ address: rig.place(whole, 0), command: EOP | RS | whole.length });
    expect(rig.kick()).toEqual([frame]);
    whole[whole.length - 1] ^= 1;
    rig.queue({ address: rig.place(whole, 0), command: EOP | RS | whole.length });
    expect(rig.kick()).toEqual([]);
    expect(rig.violations.map((violation) => violation.rule)).toEqual(["tx-bad-fcs"]);
    expect(rig.txStatus(1)).toBe(1);
  });

  it("drops endless and overlong frames, bounded, and goes on", () => {
    const rig = transmitter();
    for (let i = 0; i < 40; i++) rig.queue({ address: rig.data.io, command: IFCS | 1500 });
    rig.queue({ address: rig.data.io, command: LEGACY | 1500 });
    expect(rig.kick()).toEqual([]);
    expect(rig.violations.map((violation) => violation.rule)).toEqual(["tx-frame-too-long"]);
    const frame = ethernet(PEER, 0x88b5, 60);
    rig.queue({ address: rig.place(frame, 0), command: LEGACY | frame.length });
    expect(rig.kick()).toEqual([frame]);
    rig.queue({ address: rig.data.io, command: DATA | LEGACY | 0xfffff });
    rig.queue({ address: rig.data.io, command: DEXT | (7 << 20) | RS });
    expect(rig.kick()).toEqual([]);
    expect(rig.violations.map((violation) => violation.rule).slice(1)).toEqual([
      "tx-frame-too-long",
      "tx-descriptor-type",
    ]);
    expect(rig.faults).toEqual([]);
  });

  it("stops at a refused access with TDH there, until it is set up again", () => {
    const rig = transmitter();
    const frame = ethernet(PEER, 0x88b5, 60);
    const good = { address: rig.place(frame, 0), command: LEGACY | frame.length };
    rig.queue(good, { address: 0x10, command: LEGACY | 60 }, good);
    expect(rig.kick()).toEqual([frame]);
    expect(rig.faults.length).toBe(1);
    expect([rig.get(Register.TDH), rig.txStatus(0), rig.txStatus(1)]).toEqual([1, 1, 0]);
    expect(rig.slot.configRead(6, 2) & 0x2000).toBe(0x2000);
    rig.queue(good);
    expect(rig.kick()).toEqual([]);
    expect(rig.faults.length).toBe(1);
    rig.set(Register.TDH, 2);
    expect(rig.kick()).toEqual([frame, frame]);
  });

  it("calls doorbells for a ring that is not there, or not that long, violations", () => {
    const rig = transmitter();
    rig.set(Register.TDT, 64);
    rig.set(Register.TDT, 0);
    rig.set(Register.TDH, 70);
    rig.set(Register.TDT, 1);
    rig.set(Register.TDLEN, 0);
    rig.set(Register.TDT, 1);
    expect(rig.violations.map((violation) => violation.rule)).toEqual([
      "tx-tail-beyond-ring",
      "tx-head-beyond-ring",
      "tx-no-ring",
    ]);
    expect(rig.faults).toEqual([]);
  });
});

describe("82540EM TCP segmentation", () => {
  const cases = [
    { version: 4, protocol: 6 },
    { version: 6, protocol: 6 },
    { version: 4, protocol: 17 },
    { version: 6, protocol: 17 },
  ] as const;

  /** The segments as a stack without offload would have made them. */
  function segments(o: Offload, payload: Uint8Array, mss: number, vlan?: number): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let at = 0, index = 0; at < payload.length; at += mss, index++) {
      const last = at + mss >= payload.length;
      const tag = vlan === undefined ? {} : { vlan };
      frames.push(
        ipFrame({
          version: o.version,
          protocol: o.protocol,
          payload: payload.subarray(at, at + mss),
          identification: (0xfffe + index) & 0xffff,
          sequence: (0xffff_f000 + at) >>> 0,
          // ACK, PSH and FIN; the last two only on the last one.
          flags: last ? 0x19 : 0x10,
          ...tag,
        }),
      );
    }
    return frames;
  }

  function prototype(o: Offload, payload: Uint8Array): Uint8Array {
    const whole = ipFrame({
      version: o.version,
      protocol: o.protocol,
      payload: payload.subarray(0, 0),
      identification: 0xfffe,
      sequence: 0xffff_f000,
      flags: 0x19,
    });
    if (o.version === 4) whole.fill(0, 16, 18);
    else whole.fill(0, 18, 20);
    return unfinished(whole, o, false);
  }

  for (const offload of cases) {
    const name = `IPv${offload.version} ${offload.protocol === 6 ? "TCP" : "UDP"}`;
    it.each([
      [1448, 1, 14480],
      [1448, 3, 14481],
      [536, 2, 5000],
      [1000, 5, 999],
      [9000, 4, 65000],
      [1, 1, 70],
    ])(`cuts ${name}: MSS %i, %i data descriptors, %i bytes`, (mss, pieces, length) => {
      const rig = transmitter();
      const payload = counting(length, mss);
      const header = prototype(offload, payload);
      const at = rig.place(header, 0);
      const from = rig.place(payload, 4096);
      const popts = TXSM | (offload.version === 4 ? IXSM : 0);
      rig.queue(context({ ...offload, mss, headerLength: header.length, payloadLength: length }));
      rig.queue({ address: at, command: DATA | TSE | IFCS | header.length, upper: popts });
      const piece = Math.ceil(length / pieces);
      for (let done = 0; done < length; done += piece) {
        const size = Math.min(piece, length - done);
        const end = done + size === length ? EOP | RS : 0;
        rig.queue({ address: from + done, command: DATA | TSE | IFCS | end | size });
      }
      const sent = rig.kick();
      const expected = segments(offload, payload, mss);
      expect(sent.length).toBe(expected.length);
      for (const [i, frame] of expected.entries()) expect(sent[i].subarray(0, frame.length)).toEqual(frame);
      expect([rig.get(Statistic.TSCTC), rig.get(Statistic.TSCTFC)]).toEqual([1, 0]);
      expect(rig.violations).toEqual([]);
    });
  }

  it("tags every segment, by the first data descriptor", () => {
    const rig = transmitter(Ctrl.VME);
    const offload = cases[0];
    const payload = counting(3000);
    const header = prototype(offload, payload);
    const whole = Uint8Array.of(...header, ...payload);
    rig.queue(context({ ...offload, mss: 1000, headerLength: header.length, payloadLength: 3000 }));
    const at = rig.place(whole, 0);
    rig.queue({ address: at, command: DATA | TSE | IFCS | VLE | 100, upper: (0x123 << 16) | TXSM | IXSM });
    rig.queue({ address: at + 100, command: DATA | TSE | EOP | RS | (whole.length - 100) });
    expect(rig.kick()).toEqual(segments(offload, payload, 1000, 0x123));
  });

  it("keeps the checksum context apart", () => {
    const rig = transmitter();
    const offload = cases[0];
    const plain = ipFrame({ version: 6, protocol: 17, payload: counting(100) });
    const payload = counting(2000);
    const header = prototype(offload, payload);
    rig.queue(context({ version: 6, protocol: 17 }));
    rig.queue(context({ ...offload, mss: 1000, headerLength: header.length, payloadLength: 2000 }));
    const at = rig.place(Uint8Array.of(...header, ...payload), 0);
    rig.queue({ address: at, command: DATA | TSE | LEGACY | (header.length + 2000), upper: TXSM | IXSM });
    const raw = unfinished(plain, { version: 6, protocol: 17 }, true);
    rig.queue({ address: rig.place(raw, 8192), command: DATA | LEGACY | raw.length, upper: TXSM });
    expect(rig.kick()).toEqual([...segments(offload, payload, 1000), plain]);
  });

  it.each([
    ["MSS 0", { mss: 0 }],
    ["no header", { headerLength: 0 }],
    ["a header that ends early", { headerLength: 50 }],
    ["no payload", { payloadLength: 0 }],
    ["frames beyond the FIFO", { mss: 0xffff }],
    ["too many segments", { mss: 1, payloadLength: 0xfffff }],
  ])("refuses %s, and goes on", (_, wrong) => {
    const rig = transmitter();
    rig.queue(context({ version: 4, protocol: 6, mss: 1000, headerLength: 54, payloadLength: 2000, ...wrong }));
    rig.queue({ address: rig.data.io, command: DATA | TSE | LEGACY | 2054, upper: TXSM | IXSM });
    const frame = ethernet(PEER, 0x88b5, 60);
    rig.queue({ address: rig.place(frame, 8192), command: LEGACY | frame.length });
    expect(rig.kick()).toEqual([frame]);
    expect(rig.violations.map((violation) => violation.rule)).toEqual(["tx-segmentation-context"]);
    expect([rig.get(Statistic.TSCTC), rig.get(Statistic.TSCTFC)]).toEqual([0, 1]);
    expect(rig.txStatus(1)).toBe(1);
  });

  it("notices when the data are more, or less, than PAYLEN", () => {
    const rig = transmitter();
    const offload = { ...cases[0], mss: 1000, headerLength: 54 };
    rig.queue(context({ ...offload, payloadLength: 1500 }));
    rig.queue({ address: rig.data.io, command: DATA | TSE | LEGACY | 2054 });
    expect(rig.kick().map((frame) => frame.length)).toEqual([1054, 554]);
    rig.queue(context({ ...offload, payloadLength: 2500 }));
    rig.queue({ address: rig.data.io, command: DATA | TSE | LEGACY | 2154 });
    expect(rig.kick().map((frame) => frame.length)).toEqual([1054, 1054, 154]);
    rig.queue({ address: rig.data.io, command: DATA | IFCS | 100 }, context({ ...offload, payloadLength: 1 }));
    rig.kick();
    expect(rig.violations.map((violation) => violation.rule)).toEqual([
      "tx-segmentation-excess",
      "tx-segmentation-short",
      "tx-context-inside-frame",
    ]);
    expect(rig.get(Statistic.TSCTFC)).toBe(2);
  });
});

describe("82540EM transmit interrupts", () => {
  it("delays TXDW for descriptors with IDE by TIDV, at most TADV", () => {
    const rig = transmitter();
    rig.set(Register.TIDV, 10);
    const frame = ethernet(PEER, 0x88b5, 60);
    const delayed = { address: rig.place(frame, 0), command: LEGACY | IDE | frame.length };
    const txdw = () => rig.get(Register.ICR) & Cause.TXDW;
    rig.queue(delayed);
    rig.kick();
    rig.pass(10 * 1024 - 1);
    expect(txdw()).toBe(0);
    rig.pass(1);
    expect(txdw()).toBe(Cause.TXDW);
    rig.set(Register.TADV, 15);
    for (let i = 0; i < 2; i++) {
      rig.queue(delayed);
      rig.kick();
      rig.pass(7 * 1024);
      expect(txdw()).toBe(0);
    }
    rig.pass(1024);
    expect(txdw()).toBe(Cause.TXDW);
    rig.pass(1_000_000);
    expect(txdw()).toBe(0);
    rig.queue(delayed, { address: rig.data.io, command: LEGACY | frame.length });
    rig.kick();
    expect(txdw()).toBe(Cause.TXDW);
    rig.pass(1_000_000);
    expect(txdw()).toBe(0);
  });

  it("raises TXD_LOW when the queue falls to LWTHRESH", () => {
    const rig = transmitter();
    rig.set(Register.TXDCTL, 1 << 25);
    const frame = ethernet(PEER, 0x88b5, 60);
    const descriptor = { address: rig.place(frame, 0), command: LEGACY | frame.length };
    rig.queue(...Array.from({ length: 8 }, () => descriptor));
    rig.kick();
    expect(rig.get(Register.ICR) & Cause.TXD_LOW).toBe(0);
    rig.queue(...Array.from({ length: 9 }, () => descriptor));
    rig.kick();
    expect(rig.get(Register.ICR) & Cause.TXD_LOW).toBe(Cause.TXD_LOW);
  });
});
