import type { Random } from "./random.js";
import { HOSTS, HOSTS6, MACS, PORTS } from "./random-expressions.js";

/** A frame as it was captured: `bytes` may be fewer than were on the wire. */
export interface Frame {
  readonly bytes: Uint8Array;
  readonly wireLength: number;
}

type Bytes = number[];

const u16 = (value: number): Bytes => [(value >> 8) & 0xff, value & 0xff];
const u24 = (value: number): Bytes => [(value >> 16) & 0xff, ...u16(value)];
const u32 = (value: number): Bytes => [(value >>> 24) & 0xff, ...u24(value)];

const ipv4Bytes = (text: string): Bytes => text.split(".").map(Number);
const macBytes = (text: string): Bytes => text.split(":").map((byte) => Number.parseInt(byte, 16));

function ipv6Bytes(text: string): Bytes {
  const [before, after = ""] = text.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [head, tail] = [groups(before), groups(after)];
  const zeros = Array<string>(8 - head.length - tail.length).fill("0");
  return [...head, ...zeros, ...tail].flatMap((group) => u16(Number.parseInt(group, 16)));
}

/** Makes frames of every kind that the language of filters speaks of, whole and broken. */
export class Frames {
  constructor(private readonly random: Random) {}

  frames(count: number): Frame[] {
    return Array.from({ length: count }, () => this.frame());
  }

  frame(): Frame {
    const { random } = this;
    const bytes = this.ethernet(2);
    if (random.chance(0.3)) this.mutate(bytes);
    const wireLength = random.chance(0.9) ? bytes.length : bytes.length + random.below(1500);
    const kept = random.chance(0.25) ? random.below(bytes.length + 1) : bytes.length;
    return { bytes: Uint8Array.from(bytes.slice(0, kept)), wireLength: Math.max(wireLength, kept) };
  }

  private mutate(bytes: Bytes): void {
    const { random } = this;
    for (let i = random.between(1, 4); i > 0; i--) {
      const at = random.below(Math.min(bytes.length, 90));
      bytes[at] = random.pick([random.below(256), bytes[at] ^ (1 << random.below(8)), 0, 0xff]);
    }
  }

  private ethernet(depth: number): Bytes {
    const { random } = this;
    const addresses = [...this.mac(), ...this.mac()];
    return random.chance(0.16) ? [...addresses, ...this.llcFrame()] : [...addresses, ...this.typed(depth)];
  }

  private mac(): Bytes {
    return this.random.chance(0.7) ? macBytes(this.random.pick(MACS)) : this.random.bytes(6);
  }

  /** A type field and what belongs to it. */
  private typed(depth: number): Bytes {
    const { random } = this;
    const ip = (): Bytes => [...u16(0x0800), ...this.ipv4(depth)];
    const ip6 = (): Bytes => [...u16(0x86dd), ...this.ipv6(depth)];
    const choices: (() => Bytes)[] = [
      ip,
      ip,
      ip,
      ip,
      ip,
      ip6,
      ip6,
      ip6,
      () => [...u16(0x0806), ...this.arp()],
      () => [...u16(0x8035), ...this.arp()],
      () => [
        ...u16(random.pick([0x8100, 0x8100, 0x88a8, 0x9100])),
        ...u16((random.below(8) << 13) | random.pick([5, 100, 0, random.below(4096)])),
        ...this.typed(depth - 1),
      ],
      () => [...u16(0x8847), ...this.mpls(depth)],
      () => [...u16(0x8863), 0x11, random.pick([9, 7, 0x19]), ...u16(0), ...u16(4), ...random.bytes(12)],
      () => [...u16(0x8864), 0x11, 0, ...u16(random.pick([7, random.below(65536)])), ...u16(40), ...this.ppp(depth)],
      () => [
        ...u16(random.pick([0x809b, 0x80f3, 0x8137, 0x6001, 0x6002, 0x6004, 0x6007, 0x9000, 0x8848, 0x6558])),
        ...random.bytes(30),
      ],
      () => [...u16(0x6003), ...this.decnet()],
    ]; // prettier-ignore
    return depth > 0 ? random.pick(choices)() : random.pick(choices.slice(0, 8))();
  }

  private mpls(depth: number): Bytes {
    const { random } = this;
    const labels = random.between(1, 3);
    const stack = Array.from({ length: labels }, (_, i) =>
      u32(
        ((random.pick([1024, 100, random.below(1 << 20)]) << 12) |
          (random.below(8) << 9) |
          (i === labels - 1 && random.chance(0.95) ? 0x100 : 0) |
          64) >>>
          0,
      ),
    ).flat();
    return [...stack, ...(random.chance(0.6) ? this.ipv4(depth - 1) : this.ipv6(depth - 1))];
  }

  private ppp(depth: number): Bytes {
    const { random } = this;
    switch (random.below(4)) {
      case 0:
        return [...u16(0x0057), ...this.ipv6(depth - 1)];
      case 1:
        return [...u16(random.pick([0xc021, 0x0023, 0x002b, 0x0281, 0x0029])), ...random.bytes(20)];
      default:
        return [...u16(0x0021), ...this.ipv4(depth - 1)];
    }
  }

  private arp(): Bytes {
    const { random } = this;
    return [
      ...u16(1),
      ...u16(0x0800),
      6,
      4,
      ...u16(random.between(1, 4)),
      ...this.mac(),
      ...this.host(),
      ...this.mac(),
      ...this.host(),
    ];
  }

  private decnet(): Bytes {
    const { random } = this;
    const node = (): Bytes => random.pick([[0x02, 0x04], [0x17, 0x04], random.bytes(2)]);
    const pad = random.chance(0.5) ? [0x81] : [];
    const header = random.chance(0.5)
      ? [0x02, ...node(), ...node(), 0]
      : [0x26, 0, 0, 0xaa, 0, 4, 0, ...node(), 0, 0, 0xaa, 0, 4, 0, ...node(), 0, 0, 0, 0];
    return [...u16(header.length + pad.length), ...pad, ...header, ...random.bytes(8)];
  }

  private llcFrame(): Bytes {
    const { random } = this;
    const payload = random.pick([
      () => [0x42, 0x42, 0x03, ...random.bytes(35)],
      () => [
        0xfe,
        0xfe,
        0x03,
        random.pick([0x81, 0x82, 0x83, 0x83, 0x83]),
        ...random.bytes(3),
        random.between(14, 28),
        ...random.bytes(20),
      ],
      () => [0xe0, 0xe0, 0x03, 0xff, 0xff, ...random.bytes(28)],
      () => [0xff, 0xff, ...random.bytes(28)],
      () => [0xf0, 0xf0, 0x03, ...random.bytes(30)],
      () => [0x06, 0x06, 0x03, ...this.ipv4(0)],
      () => [0xaa, 0xaa, 0x03, 0, 0, 0, ...u16(random.pick([0x0800, 0x80f3, 0x8137, 0x86dd])), ...this.ipv4(0)],
      () => [0xaa, 0xaa, 0x03, 0x08, 0x00, 0x07, ...u16(0x809b), ...random.bytes(20)],
      () => [
        random.below(256),
        random.below(256),
        random.pick([
          0x00, 0x02, 0x01, 0x05, 0x09, 0x11, 0x63, 0x73, 0x43, 0x0f, 0x1f, 0x6f, 0xe3, 0xf3, 0xaf, 0xbf, 0x87,
        ]),
        ...random.bytes(20),
      ],
    ])(); // prettier-ignore
    return [...u16(random.chance(0.9) ? payload.length : random.pick([1500, 1501, 1536, 0])), ...payload];
  }

  private host(): Bytes {
    return this.random.chance(0.85) ? ipv4Bytes(this.random.pick(HOSTS)) : this.random.bytes(4);
  }

  private host6(): Bytes {
    return this.random.chance(0.85) ? ipv6Bytes(this.random.pick(HOSTS6)) : this.random.bytes(16);
  }

  private ipv4(depth: number): Bytes {
    const { random } = this;
    const [protocol, body] = this.transport(depth, 4);
    const options = random.chance(0.2) ? random.bytes(4 * random.between(1, 10)) : [];
    const fragment = random.chance(0.15) ? random.pick([0x2000, 0x2010, 0x0010, 0x1fff, 0x4000]) : 0x4000;
    const length = 20 + options.length + body.length;
    return [
      0x45 + options.length / 4,
      0,
      ...u16(length),
      ...random.bytes(2),
      ...u16(fragment),
      64,
      protocol,
      ...u16(0),
      ...this.host(),
      ...this.host(),
      ...options,
      ...body,
    ];
  }

  private ipv6(depth: number): Bytes {
    const { random } = this;
    const [last, transport] = this.transport(depth, 6);
    let next = last;
    let body = transport;
    for (let i = random.chance(0.35) ? random.between(1, 4) : 0; i > 0; i--) {
      const kind = random.pick([0, 43, 44, 60, 51]);
      const units = kind === 44 ? 0 : random.below(3);
      const bytes = kind === 51 ? 4 * (units + 2) : 8 * (units + 1);
      body = [next, units, ...random.bytes(bytes - 2), ...body];
      next = kind;
    }
    return [0x60, ...random.bytes(3), ...u16(body.length), next, 64, ...this.host6(), ...this.host6(), ...body];
  }

  private port(): Bytes {
    const { random } = this;
    return u16(random.chance(0.8) ? random.pick(PORTS) : random.below(65536));
  }

  /** A protocol number and what it stands for. */
  private transport(depth: number, version: 4 | 6): [number, Bytes] {
    const { random } = this;
    const payload = random.bytes(random.below(24));
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
        return [
          6,
          [
            ...this.port(),
            ...this.port(),
            ...random.bytes(8),
            0x50 + random.below(3) * 16,
            random.pick([0x02, 0x10, 0x12, 0x18, 0x04, random.below(256)]),
            ...random.bytes(6),
            ...payload,
          ],
        ];
      case 3:
      case 4:
        return [17, [...this.port(), ...this.port(), ...u16(8 + payload.length), ...u16(0), ...payload]];
      case 5:
        return depth > 0 ? [17, this.geneve(depth)] : [17, [...this.port(), ...u16(6081), ...u16(8), ...u16(0)]];
      case 6:
        return [132, [...this.port(), ...this.port(), ...random.bytes(8), ...payload]];
      case 7:
        return version === 4
          ? [1, [random.pick([0, 3, 5, 8, 11]), random.below(4), ...random.bytes(6), ...payload]]
          : [58, [random.pick([1, 128, 129, 135, 136]), 0, ...random.bytes(6), ...payload]];
      case 8:
        return [
          51,
          [
            random.pick([6, 17, 50, 51, 59]),
            random.below(5),
            ...random.bytes(14),
            ...this.port(),
            ...this.port(),
            ...payload,
          ],
        ];
      case 9:
        return [random.pick([50, 103, 112, 2, 9, 89, 47, 4, 59]), [...random.bytes(8), ...payload]];
      default:
        return [random.below(256), [...random.bytes(12), ...payload]];
    }
  }

  /** A UDP datagram with a Geneve header, options, and a frame or a bare packet inside. */
  private geneve(depth: number): Bytes {
    const { random } = this;
    const options = random.chance(0.5) ? random.below(4) : 0;
    const isEthernet = random.chance(0.7);
    const inside = isEthernet ? this.ethernet(depth - 1) : this.ipv4(depth - 1);
    const type = isEthernet ? 0x6558 : 0x0800;
    const version = random.chance(0.05) ? 0x40 : 0;
    const header = [
      version | options,
      0,
      ...u16(type),
      ...u24(random.pick([5, random.below(1 << 24)])),
      0,
      ...random.bytes(4 * options),
    ];
    return [
      ...this.port(),
      ...u16(random.chance(0.95) ? 6081 : 80),
      ...u16(8 + header.length + inside.length),
      ...u16(0),
      ...header,
      ...inside,
    ];
  }
}

/**
 * Whether libpcap would follow the frame's chain of IP headers for ever: it takes the length of an authentication header
 * for the place of the next.
 */
export function goesInCircles({ bytes }: Frame): boolean {
  const type = (bytes[12] << 8) | bytes[13];
  if (type !== 0x0800 && type !== 0x86dd) return false;
  let at = type === 0x0800 ? (bytes[14] & 0xf) * 4 : 40;
  let protocol = bytes[type === 0x0800 ? 23 : 20];
  const seen = new Set<string>();
  while (14 + at + 1 < bytes.length && (protocol === 51 || (type === 0x86dd && [0, 43, 44, 60].includes(protocol)))) {
    const state = `${protocol} ${at}`;
    if (seen.has(state)) return true;
    seen.add(state);
    const length = bytes[14 + at + 1];
    const next = bytes[14 + at];
    at = protocol === 51 ? (length + 2) * 4 : at + (length + 1) * 8;
    protocol = next;
  }
  return false;
}

/** The frames as a capture file (libpcap format, little-endian), each with its number for a time in seconds. */
export function captureFile(frames: readonly Frame[], snapLength = 262_144): Uint8Array {
  const size = frames.reduce((sum, { bytes }) => sum + 16 + bytes.length, 24);
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  view.setUint32(0, 0xa1b2c3d4, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(16, snapLength, true);
  view.setUint32(20, 1, true);
  let at = 24;
  frames.forEach(({ bytes, wireLength }, i) => {
    view.setUint32(at, i, true);
    view.setUint32(at + 8, bytes.length, true);
    view.setUint32(at + 12, wireLength, true);
    file.set(bytes, at + 16);
    at += 16 + bytes.length;
  });
  return file;
}

/** The times, in seconds, of the packets of a capture file that `tcpdump -w` wrote. */
export function timesIn(file: Uint8Array): number[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const times: number[] = [];
  for (let at = 24; at + 16 <= file.length; at += 16 + view.getUint32(at + 8, true))
    times.push(view.getUint32(at, true));
  return times;
}
