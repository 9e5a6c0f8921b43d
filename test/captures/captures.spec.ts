// What the committed captures must hold for those who replay them: see README.md.
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type CapturedPacket, requireEthernet } from "../../src/formats/capture.js";
import { openCaptureFile } from "../../src/node/capture-file.js";

const folder = import.meta.dirname;
const MOST_BYTES = 1_000_000;

function packetsOf(name: string): CapturedPacket[] {
  using capture = openCaptureFile(join(folder, name));
  const packets: CapturedPacket[] = [];
  for (const packet of requireEthernet(capture.reader)) packets.push(packet.copy());
  return packets;
}

const u16 = (bytes: Uint8Array, at: number) => (bytes[at] << 8) | bytes[at + 1];
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("together they stay small", () => {
  const files = readdirSync(folder).filter((name) => /\.pcap(ng)?$/.test(name));
  expect(files).toContain("guest-session.pcap");
  expect(files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)).toBeLessThan(MOST_BYTES);
});

test("guest-session.pcap has frames of all sizes, whole and in order", () => {
  const packets = packetsOf("guest-session.pcap");
  expect(packets.length).toBeGreaterThanOrEqual(300);
  const lengths = packets.map((packet) => packet.capturedLength);
  expect(Math.min(...lengths)).toBe(60);
  expect(lengths.filter((length) => length === 1514).length).toBeGreaterThan(50);
  expect(Math.max(...lengths)).toBe(1518);
  expect(new Set(lengths).size).toBeGreaterThan(50);
  const times = packets.map((packet) => packet.seconds * 1e6 + packet.nanoseconds / 1000);
  expect(times).toEqual([...times].sort((a, b) => a - b));
  expect(packets.every((packet) => packet.capturedLength === packet.originalLength)).toBe(true);
});

test("guest-session.pcap has something of everything", () => {
  const kinds = new Map<string, number>();
  const count = (kind: string) => kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  for (const { data } of packetsOf("guest-session.pcap")) {
    const tagged = u16(data, 12) === 0x8100;
    if (tagged) count("vlan");
    const type = u16(data, tagged ? 16 : 12);
    const ip = tagged ? 18 : 14;
    if (type === 0x0806) count("arp");
    if (type === 0x0800) {
      count(`ip ${data[ip + 9]}`);
      if ((u16(data, ip + 6) & 0x3fff) !== 0) count("ip fragment");
    }
    if (type === 0x86dd) count(`ip6 ${data[ip + 6]}`);
    if (data[0] & 1) count("group");
  }
  const expected = [
    "vlan",
    "arp",
    "ip 1",
    "ip 6",
    "ip 17",
    "ip fragment",
    "ip6 0",
    "ip6 6",
    "ip6 17",
    "ip6 44",
    "ip6 58",
    "group",
  ];
  for (const kind of expected) expect([kind, (kinds.get(kind) ?? 0) >= 3]).toEqual([kind, true]);
});

test("guest-session.pcap tells of no machine but the two guests", () => {
  const guests = ["00005e005301", "00005e005302"];
  const documentation = /^(192\.0\.2\.|198\.51\.100\.|0\.0\.0\.0$|255\.255\.255\.255$)/;
  const documentation6 = /^(20010db8|fe800000000000000200|ff02|0{32}$)/;
  for (const { data } of packetsOf("guest-session.pcap")) {
    expect(guests).toContain(hex(data.subarray(6, 12)));
    if ((data[0] & 1) === 0) expect(guests).toContain(hex(data.subarray(0, 6)));
    const tagged = u16(data, 12) === 0x8100;
    const type = u16(data, tagged ? 16 : 12);
    const ip = tagged ? 18 : 14;
    if (type === 0x0800) {
      expect(data.subarray(ip + 12, ip + 16).join(".")).toMatch(documentation);
      expect(data.subarray(ip + 16, ip + 20).join(".")).toMatch(documentation);
    }
    if (type === 0x86dd) {
      expect(hex(data.subarray(ip + 8, ip + 24))).toMatch(documentation6);
      expect(hex(data.subarray(ip + 24, ip + 40))).toMatch(documentation6);
    }
  }
});
