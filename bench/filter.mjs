// Filters: packets per second of the WebAssembly translation, one call a packet and one call for all, against libpcap's
// interpreter over the same packets in memory.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { compileFilter } from "../dist/filter/compile.js";
import { INDEX_ENTRY, PacketFilter } from "../dist/filter/packet-filter.js";

const PACKETS = 1024;
const REPEATS = 25;
/** How long one measurement should take, in nanoseconds. */
const SLICE = 8e6;

const hosts = Array.from({ length: 20 }, (_, i) => `host 10.0.${i}.${200 - i}`).join(" or ");
const EXPRESSIONS = [
  ["ip", "ip"],
  ["tcp port 80", "tcp port 80"],
  ["udp port 53 or arp", "udp port 53 or arp"],
  ["host and SYN", "host 10.0.0.1 and tcp[tcpflags] & tcp-syn != 0"],
  ["20 hosts", hosts],
];

/** A mix as on an office network: mostly TCP over IPv4, some UDP, ARP and IPv6. */
function packets() {
  let state = 1;
  const below = (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * limit);
  };
  const u16 = (value) => [value >> 8, value & 0xff];
  const address = () => [10, 0, below(24), below(4) === 0 ? 1 : below(256)];
  const ports = () => [...u16(below(3) === 0 ? 80 : 1024 + below(60000)), ...u16([80, 443, 53, 22][below(4)])];
  const ip = (protocol, body) => [
    0x08,
    0,
    0x45,
    0,
    ...u16(20 + body.length),
    0,
    1,
    0x40,
    0,
    64,
    protocol,
    0,
    0,
    ...address(),
    ...address(),
    ...body,
  ];
  const tcp = () => [...ports(), 0, 0, 0, 1, 0, 0, 0, 1, 0x50, [2, 16, 18, 24][below(4)], 0xff, 0xff, 0, 0, 0, 0];
  return Array.from({ length: PACKETS }, () => {
    const kind = below(10);
    const payload = Array(below(1000)).fill(0x55);
    const rest =
      kind < 6
        ? ip(6, [...tcp(), ...payload])
        : kind < 8
          ? ip(17, [...ports(), ...u16(8 + payload.length), 0, 0, ...payload])
          : kind === 8
            ? [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, ...address(), 0, 0, 0, 0, 0, 0, ...address()]
            : [0x86, 0xdd, 0x60, 0, 0, 0, ...u16(20), 6, 64, ...Array(32).fill(1), ...tcp()];
    const frame = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, ...rest];
    return Uint8Array.from(frame.length < 60 ? [...frame, ...Array(60 - frame.length).fill(0)] : frame);
  });
}

/** The frames in a memory of their own: frames, index, bitmap. */
function place(frames) {
  const memory = new WebAssembly.Memory({ initial: 64 });
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  const offsets = new Int32Array(frames.length);
  const lengths = new Int32Array(frames.length);
  let at = 0;
  frames.forEach((frame, i) => {
    bytes.set(frame, at);
    offsets[i] = at;
    lengths[i] = frame.length;
    at += frame.length;
  });
  const index = (at + 3) & ~3;
  frames.forEach((frame, i) => {
    view.setUint32(index + i * INDEX_ENTRY, offsets[i], true);
    view.setUint32(index + i * INDEX_ENTRY + 4, frame.length, true);
    view.setUint32(index + i * INDEX_ENTRY + 8, frame.length, true);
  });
  return { memory, offsets, lengths, index, bitmap: index + frames.length * INDEX_ENTRY };
}

function captureFile(frames) {
  const file = Buffer.alloc(24 + frames.reduce((sum, frame) => sum + 16 + frame.length, 0));
  file.writeUInt32LE(0xa1b2c3d4, 0);
  file.writeUInt16LE(2, 4);
  file.writeUInt16LE(4, 6);
  file.writeUInt32LE(65535, 16);
  file.writeUInt32LE(1, 20);
  let at = 24;
  for (const frame of frames) {
    file.writeUInt32LE(frame.length, at + 8);
    file.writeUInt32LE(frame.length, at + 12);
    file.set(frame, at + 16);
    at += 16 + frame.length;
  }
  return file;
}

/** libpcap's side as a child that measures on demand, or why there is none. */
function startPeer(frames, directory) {
  const binary = join(directory, "filter");
  const source = fileURLToPath(new URL("native/filter.c", import.meta.url));
  const compiled = spawnSync("gcc", ["-O2", "-o", binary, source, "-lpcap"], { encoding: "utf8" });
  if (compiled.status !== 0) return { missing: "not compared: needs the packages gcc and libpcap-dev" };
  const capture = join(directory, "packets.pcap");
  writeFileSync(capture, captureFile(frames));
  const child = spawn(binary, [capture, ...EXPRESSIONS.map(([, text]) => text)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async measure(expression, rounds) {
      child.stdin.write(`${expression} ${rounds}\n`);
      const { value } = await lines.next();
      return JSON.parse(value);
    },
    stop: () => child.stdin.end(),
  };
}

function timed(work) {
  const start = process.hrtime.bigint();
  const matched = work();
  return { nanoseconds: Number(process.hrtime.bigint() - start), matched };
}

export async function benchFilter() {
  const frames = packets();
  const { memory, offsets, lengths, index, bitmap } = place(frames);
  const directory = mkdtempSync(join(tmpdir(), "korral-bench-"));
  const peer = startPeer(frames, directory);
  const rows = [];
  try {
    for (const [number, [name, text]] of EXPRESSIONS.entries()) {
      const filter = new PacketFilter(compileFilter(text), memory);
      const one = (rounds) => {
        let matched = 0;
        for (let round = 0; round < rounds; round++)
          for (let i = 0; i < PACKETS; i++) if (filter.match(offsets[i], lengths[i], lengths[i])) matched++;
        return matched / rounds;
      };
      const many = (rounds) => {
        let matched = 0;
        for (let round = 0; round < rounds; round++) matched += filter.matchMany(index, PACKETS, bitmap);
        return matched / rounds;
      };
      const ways = [
        { measure: async (rounds) => timed(() => one(rounds)) },
        { measure: async (rounds) => timed(() => many(rounds)) },
        ...(peer.missing === undefined ? [{ measure: (rounds) => peer.measure(number, rounds) }] : []),
      ];
      const found = new Set();
      for (const way of ways) {
        const { nanoseconds } = await way.measure(400);
        way.rounds = Math.max(1, Math.round((SLICE / nanoseconds) * 400));
        way.best = Number.POSITIVE_INFINITY;
      }
      for (let repeat = 0; repeat < REPEATS; repeat++)
        for (const way of ways) {
          const { nanoseconds, matched } = await way.measure(way.rounds);
          way.best = Math.min(way.best, nanoseconds / way.rounds);
          found.add(matched);
        }
      if (found.size !== 1) throw new Error(`${name}: the filters disagree: ${[...found].join(", ")} packets`);
      const [single, batch, pcap] = ways.map(({ best }) => (PACKETS / best) * 1000);
      const ratio = (rate) => (pcap === undefined ? peer.missing : `${(rate / pcap).toFixed(2)} × libpcap`);
      rows.push({ name: `filter ${name}, a call each`, value: single, unit: "Mpackets/s", note: ratio(single) });
      rows.push({
        name: `filter ${name}, one call for ${PACKETS}`,
        value: batch,
        unit: "Mpackets/s",
        note: ratio(batch),
      });
      if (pcap !== undefined) rows.push({ name: `filter ${name}, libpcap`, value: pcap, unit: "Mpackets/s" });
    }
  } finally {
    peer.stop?.();
    rmSync(directory, { recursive: true, force: true });
  }
  return rows;
}
