import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import {
  arpRequest,
  ethernet,
  HOST,
  HOST_MAC,
  HostRig,
  ipv4,
  PEER,
  PEER_MAC,
  payloadOf,
  ping,
  udp,
} from "../../../test/support/internet.js";
import { UsageError } from "../../util/errors.js";
import { seededRandom } from "../../util/random.js";
import { interfaceAddress, showAddress } from "./address.js";
import { addWords, checksum } from "./checksum.js";
import { get16, get32, put16 } from "./packet.js";

const data = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 7) & 0xff);
const sha256 = (...pieces: Uint8Array[]) => {
  const hash = createHash("sha256");
  for (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
};

describe("addresses and checksums", () => {
  test("an interface's address", () => {
    expect(interfaceAddress("10.0.2.2/24")).toEqual({ address: HOST, prefix: 24 });
    expect(interfaceAddress("192.168.255.254/16").address).toBe(0xc0a8_fffe);
    expect(showAddress(interfaceAddress("203.0.113.77").address)).toBe("203.0.113.77");
  });

  // biome-ignore format: a list
  test.each(["", "10.0.2", "10.0.2.256", "10.0.2.2/31", "10.0.2.2/7", "10.0.2.0/24", "10.0.2.255/24", "127.0.0.1",
    "224.0.0.1", "0.0.0.1", "10.0.2.2/", "a.b.c.d"])("not '%s'", (text) => {
    expect(() => interfaceAddress(text)).toThrow(UsageError);
  });

  test("the example of RFC 1071, and an odd length", () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(checksum(addWords(0, bytes, 0, 8))).toBe(~0xddf2 & 0xffff);
    expect(checksum(addWords(0, Uint8Array.of(0x12, 0x34, 0x56), 0, 3))).toBe(~(0x1234 + 0x5600) & 0xffff);
  });
});

describe("ARP", () => {
  test("the host's address is told to whoever asks", () => {
    const rig = new HostRig();
    const [reply, ...rest] = rig.hear(arpRequest());
    expect(rest).toEqual([]);
    expect(reply.slice(0, 14)).toEqual(Uint8Array.of(...PEER_MAC, ...HOST_MAC, 8, 6));
    expect(reply.slice(14, 22)).toEqual(Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 2));
    expect(reply.slice(22)).toEqual(Uint8Array.of(...HOST_MAC, 10, 0, 2, 2, ...PEER_MAC, 10, 0, 2, 15));
    expect(rig.host.counters.arp).toBe(1);
  });

  test("nothing else is answered", () => {
    const rig = new HostRig();
    const reply = arpRequest();
    reply[21] = 2;
    const other = arpRequest();
    other[19] = 5;
    const group = arpRequest();
    group[22] = 1;
    expect(rig.hear(arpRequest(PEER), reply, other, group, arpRequest().subarray(0, 41))).toEqual([]);
    expect(rig.host.counters).toMatchObject({ arp: 0, ignored: 2, malformed: 3 });
  });
});

describe("ping", () => {
  test.each([0, 1, 56, 1472])("%i bytes come back", (length) => {
    const rig = new HostRig();
    const request = ping(data(length));
    const replies = rig.hear(request);
    expect(replies.length).toBe(1);
    const message = payloadOf(replies[0], 1);
    expect([message[0], message[1], get32(message, 4)]).toEqual([0, 0, 0x1234_0001]);
    expect(checksum(addWords(0, message, 0, message.length))).toBe(0);
    expect(message.slice(8)).toEqual(data(length));
  });

  test("options in the header are skipped", () => {
    const rig = new HostRig();
    const plain = ping(data(20));
    const packet = new Uint8Array(24 + 28);
    packet.set(plain.subarray(14, 34));
    packet[0] = 0x46;
    put16(packet, 2, packet.length);
    packet.fill(1, 20, 24);
    put16(packet, 10, 0);
    put16(packet, 10, checksum(addWords(0, packet, 0, 24)));
    packet.set(plain.subarray(34, 62), 24);
    expect(payloadOf(rig.hear(ethernet(0x0800, packet))[0], 1).slice(8)).toEqual(data(20));
  });
});

describe("UDP", () => {
  test("port 7 echoes, with and without a checksum", () => {
    const rig = new HostRig();
    for (const summed of [true, false]) {
      const [reply] = rig.hear(udp(5000, 7, data(99), summed));
      const datagram = payloadOf(reply, 17);
      expect([get16(datagram, 0), get16(datagram, 2), get16(datagram, 4)]).toEqual([7, 5000, 107]);
      expect(datagram.slice(8)).toEqual(data(99));
    }
  });

  test("two echo services do not keep each other busy", () => {
    expect(new HostRig().hear(udp(7, 7, data(10)), udp(0, 7, data(10)))).toEqual([]);
  });

  test("port 9 takes in, and shows each peer's bytes at the end", () => {
    const rig = new HostRig();
    const sent = rig.hear(
      udp(5000, 9, data(500)),
      udp(5001, 9, data(1)),
      udp(5000, 9, data(501)),
      udp(5000, 9, data(0)),
    );
    expect(sent).toEqual([]);
    rig.host.close();
    expect(rig.host.transfers).toEqual([
      {
        protocol: "udp",
        port: 9,
        peer: "10.0.2.15:5000",
        bytes: 1001,
        sha256: sha256(data(500), data(501)),
        end: "open",
      },
      { protocol: "udp", port: 9, peer: "10.0.2.15:5001", bytes: 1, sha256: sha256(data(1)), end: "open" },
    ]);
  });

  test("so many peers, and no more", () => {
    const rig = new HostRig();
    for (let port = 1000; port < 1100; port++) rig.hear(udp(port, 9, data(1)));
    rig.host.close();
    expect([rig.host.transfers.length, rig.host.forgotten]).toEqual([64, 36]);
  });
});

describe("what nobody should send", () => {
  const changed = (frame: Uint8Array, at: number, value: number): Uint8Array => {
    const bytes = frame.slice();
    bytes[at] = value;
    return bytes;
  };
  /** With the header's checksum put right. */
  const header = (at: number, value: number): Uint8Array => {
    const frame = changed(ping(data(20)), 14 + at, value);
    put16(frame, 24, 0);
    put16(frame, 24, checksum(addWords(0, frame, 14, 20)));
    return frame;
  };
  const foreign = Uint8Array.of(2, 0, 0, 0, 0, 9);

  // biome-ignore format: a table
  test.each([
    ["a frame for somebody else",           ethernet(0x0800, ping(data(20)).subarray(14), foreign),  "ignored"],
    ["a sender that is a group",            ethernet(0x0800, ping(data(20)).subarray(14), HOST_MAC, HOST_MAC.map((b) => b | 1)), "ignored"],
    ["IPv6",                                ethernet(0x86dd, new Uint8Array(40)),                     "ignored"],
    ["a packet for somebody else",          ping(data(20), { destination: HOST + 1 }),                "ignored"],
    ["a broadcast",                         ping(data(20), { destination: 0x0a00_02ff }),             "ignored"],
    ["an unknown protocol",                 ipv4(132, data(20)),                                      "ignored"],
    ["a ping reply",                        changed(changed(ping(data(20)), 34, 0), 36, ping(data(20))[36] + 8), "ignored"],
    ["our own address as the source",       ping(data(20), { source: HOST }),                         "malformed"],
    ["a multicast source",                  ping(data(20), { source: 0xe000_0001 }),                  "malformed"],
    ["the loopback as the source",          ping(data(20), { source: 0x7f00_0001 }),                  "malformed"],
    ["the network's broadcast as source",   ping(data(20), { source: 0x0a00_02ff }),                  "malformed"],
    ["version 5",                           header(0, 0x55),                                          "malformed"],
    ["a header of 16 bytes",                header(0, 0x44),                                          "malformed"],
    ["a total length beyond the frame",     header(2, 0x10),                                          "malformed"],
    ["a total length below the header's",   header(3, 19),                                            "malformed"],
    ["a header that is cut",                ping(data(20)).subarray(0, 33),                           "malformed"],
    ["a wrong header checksum",             changed(ping(data(20)), 24, 0xaa),                        "badChecksum"],
    ["a wrong ICMP checksum",               changed(ping(data(20)), 50, 0xaa),                        "badChecksum"],
    ["a wrong UDP checksum",                changed(udp(5000, 7, data(20)), 50, 0xaa),                "badChecksum"],
    ["a first fragment",                    ping(data(20), { fragment: 0x2000 }),                     "fragments"],
    ["a last fragment",                     ping(data(20), { fragment: 0x0001 }),                     "fragments"],
    ["ICMP of seven bytes",                 ipv4(1, data(7)),                                         "malformed"],
    ["UDP of seven bytes",                  ipv4(17, data(7)),                                        "malformed"],
    ["a UDP length beyond the packet",      changed(udp(5000, 7, data(20)), 38, 1),                   "malformed"],
    ["a UDP length below its header",       changed(udp(5000, 7, data(20)), 39, 7),                   "malformed"],
    ["13 bytes",                            new Uint8Array(13),                                       "malformed"],
  ] as const)("%s: dropped, and counted", (_, frame, counter) => {
    const rig = new HostRig();
    expect(rig.hear(frame)).toEqual([]);
    expect(rig.host.counters).toEqual({ ...new HostRig().host.counters, [counter]: 1 });
  });

  test("noise in sound frames: nothing breaks, and each frame counts once", () => {
    const rig = new HostRig();
    const random = seededRandom(7);
    const seeds = [arpRequest(), ping(data(64)), udp(5000, 7, data(30)), udp(5001, 9, data(30))];
    const count = 20_000;
    for (let i = 0; i < count; i++) {
      const frame = seeds[i % seeds.length].slice();
      for (let flips = random() % 4; flips > 0; flips--) frame[random() % frame.length] = random();
      rig.hear(random() % 8 === 0 ? frame.subarray(0, random() % frame.length) : frame);
    }
    const { counters } = rig.host;
    expect(Object.values(counters).reduce((sum, one) => sum + one, 0)).toBe(count);
    for (const value of [counters.arp, counters.pings, counters.udpEchoed, counters.badChecksum]) {
      expect(value).toBeGreaterThan(100);
    }
  });
});
