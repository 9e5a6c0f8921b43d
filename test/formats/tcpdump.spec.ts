// tcpdump as the oracle: it must read what we write, and see the same packets in odd captures.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  type CapturedPacket,
  type CaptureFormat,
  createCaptureWriter,
  MemorySink,
  MemorySource,
  openCapture,
} from "../../src/formats/capture.js";
import { concat, frame, PcapngBytes, pcapHeader, pcapRecord } from "./capture-bytes.js";

const hasTcpdump = spawnSync("tcpdump", ["--version"]).error === undefined;
const mustRun = Boolean(process.env.CI);
const oracle = hasTcpdump || mustRun ? test : test.skip;
const named = (name: string) => (hasTcpdump ? name : `${name} (needs the Debian package tcpdump)`);

const folder = mkdtempSync(join(tmpdir(), "korral-tcpdump-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What tcpdump makes of a capture: its packets, up to the first damage, and whether there was any. */
function tcpdump(bytes: Uint8Array): { packets: CapturedPacket[]; broken: boolean } {
  const input = join(folder, "in");
  const output = join(folder, "out");
  writeFileSync(input, bytes);
  rmSync(output, { force: true });
  // As root tcpdump would give up its rights before it writes.
  const { status, error } = spawnSync("tcpdump", ["-Z", "root", "-n", "-r", input, "-w", output], { encoding: "utf8" });
  if (error !== undefined) throw error;
  const written = status === 0 ? readFileSync(output) : readIfThere(output);
  return { packets: written.length === 0 ? [] : ours(written).packets, broken: status !== 0 };
}

function readIfThere(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch {
    return new Uint8Array(0);
  }
}

function ours(bytes: Uint8Array): { packets: CapturedPacket[]; broken: boolean } {
  const packets: CapturedPacket[] = [];
  try {
    for (const packet of openCapture(new MemorySource(bytes), "x")) packets.push(packet.copy());
    return { packets, broken: false };
  } catch {
    return { packets, broken: true };
  }
}

const seen = ({ packets, broken }: { packets: CapturedPacket[]; broken: boolean }) => ({
  broken,
  packets: packets.map((packet) => [
    packet.seconds,
    Math.floor(packet.nanoseconds / 1000),
    packet.originalLength,
    Buffer.from(packet.data).toString("hex"),
  ]),
});

oracle.each<[string, CaptureFormat, boolean]>([
  [named("pcap in microseconds"), "pcap", false],
  [named("pcap in nanoseconds"), "pcap", true],
  [named("pcapng"), "pcapng", true],
])("tcpdump reads what we write: %s", (_, format, fineTimes) => {
  const sink = new MemorySink();
  const writer = createCaptureWriter(sink, format, { fineTimes });
  for (let i = 0; i < 100; i++) {
    const length = 14 + i * 15;
    writer.write(frame(length, i), 0, length, 1_700_000_000 + i, 999_999_000 - i * 1000, length + (i % 3));
  }
  writer.close();
  const theirs = seen(tcpdump(sink.bytes));
  expect(theirs.broken).toBe(false);
  expect(theirs.packets).toHaveLength(100);
  expect(theirs).toEqual(seen(ours(sink.bytes)));
});

const ng = new PcapngBytes();
const big = new PcapngBytes("big");
const pcap = (...rest: Uint8Array[]) => concat(pcapHeader(), ...rest);
const section = concat(ng.section(), ng.interface());
const one = ng.enhanced(frame(60), { low: 1_234_567 });

// biome-ignore format: a table
const odd: [string, Uint8Array][] = [
  ["pcap, big-endian",                     concat(pcapHeader({ endian: "big" }), pcapRecord(frame(64), { endian: "big" }))],
  ["pcap, records beyond the snap length", concat(pcapHeader({ snapLength: 20 }), pcapRecord(frame(64)), pcapRecord(frame(10)))],
  ["pcap, no snap length",                 concat(pcapHeader({ snapLength: 0 }), pcapRecord(frame(64)))],
  ["pcap, negative snap length",           concat(pcapHeader({ snapLength: 0xffffffff }), pcapRecord(frame(64)))],
  ["pcap, captured more than there was",   pcap(pcapRecord(frame(64), { original: 60 }))],
  ["pcap, version 2.2",                    concat(pcapHeader({ minor: 2 }), pcapRecord(frame(64), { captured: 90, original: 64 }))],
  ["pcap, version 2.3, odd lengths",       concat(pcapHeader({ minor: 3 }), pcapRecord(frame(64), { captured: 90, original: 64 }))],
  ["pcap, version 2.5",                    concat(pcapHeader({ minor: 5 }), pcapRecord(frame(64)))],
  ["pcap, record too long",                pcap(pcapRecord(frame(64)), pcapRecord(frame(9), { captured: 262_145 }))],
  ["pcap, record cut",                     pcap(pcapRecord(frame(64)), pcapRecord(frame(64)).subarray(0, 70))],
  ["pcap, record header cut",              pcap(pcapRecord(frame(64)), new Uint8Array(3))],
  ["pcap, zero packets",                   pcapHeader()],
  ["pcap, an empty packet",                pcap(pcapRecord(frame(0)), pcapRecord(frame(64)))],
  ["pcapng",                               concat(section, one, one)],
  ["pcapng, big-endian",                   concat(big.section(), big.interface(), big.enhanced(frame(60), { high: 1 }))],
  ["pcapng, all packet blocks",            concat(section, one, ng.obsolete(frame(60)), ng.simple(frame(61)), ng.block(0x99, frame(5)))],
  ["pcapng, simple packets, snap length",  concat(ng.section(), ng.interface(1, 20), ng.simple(frame(20), 64))],
  ["pcapng, version 1.2",                  concat(ng.section(2), ng.interface(), one)],
  ["pcapng, version 1.1",                  concat(ng.section(1), ng.interface(), one)],
  ["pcapng, beyond the snap length",       concat(ng.section(), ng.interface(1, 20), one)],
  ["pcapng, lengths differ",               concat(section, one, ng.block(6, frame(60), { behind: 4 }))],
  ["pcapng, length no multiple of 4",      concat(section, one, ng.block(0x99, frame(3), { front: 15 }))],
  ["pcapng, interface out of range",       concat(section, one, ng.enhanced(frame(60), { index: 1 }))],
  ["pcapng, an interface later",           concat(section, one, ng.interface(), ng.enhanced(frame(60), { index: 1 }))],
  ["pcapng, a section without interfaces", concat(section, one, ng.section(), one)],
  ["pcapng, captured more than the block", concat(section, one, ng.enhanced(frame(60), { captured: 61 }))],
  ["pcapng, simple packet too short",      concat(section, one, ng.simple(frame(60), 64))],
  ["pcapng, ticks of 10^-9 s",             concat(ng.section(), ng.interface(1, 0, ng.option(9, Uint8Array.of(9))), ng.enhanced(frame(60), { high: 400_000_000, low: 5 }))],
  ["pcapng, ticks of 2^-20 s",             concat(ng.section(), ng.interface(1, 0, ng.option(9, Uint8Array.of(0x94))), ng.enhanced(frame(60), { high: 7, low: 55 }))],
  ["pcapng, ticks of 10^-20 s",            concat(ng.section(), ng.interface(1, 0, ng.option(9, Uint8Array.of(20))), one)],
  ["pcapng, if_tsresol of 2 bytes",        concat(ng.section(), ng.interface(1, 0, ng.option(9, frame(2))), one)],
  ["pcapng, an option beyond its block",   concat(ng.section(), ng.interface(1, 0, ng.option(2, frame(4), 100)), one)],
];

oracle.each(odd.map(([name, bytes]) => [named(name), bytes] as const))("tcpdump sees the same in: %s", (_, bytes) => {
  expect(seen(ours(bytes))).toEqual(seen(tcpdump(bytes)));
});

oracle(named("a copy of a capture is the one that tcpdump makes, byte for byte"), () => {
  const input = join(import.meta.dirname, "../captures/guest-session.pcap");
  const reader = openCapture(new MemorySource(readFileSync(input)), "x");
  const sink = new MemorySink();
  const { fineTimes, snapLength } = reader;
  const writer = createCaptureWriter(sink, "pcap", { fineTimes, snapLength });
  for (const packet of reader) {
    const { bytes, offset, capturedLength, seconds, nanoseconds, originalLength } = packet;
    writer.write(bytes, offset, capturedLength, seconds, nanoseconds, originalLength);
  }
  writer.close();
  const { stdout } = spawnSync("tcpdump", ["-Z", "root", "-n", "-r", input, "-w", "-"], { maxBuffer: 1 << 24 });
  expect(Buffer.compare(stdout, sink.bytes)).toBe(0);
});
