import type { ChildProcess } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { seededRandom } from "../../src/util/random.js";
import { arpRequest, payloadOf, ping } from "../support/internet.js";
import { framesOf, GUEST_SESSION, korral, NATIVE, scratch, startKorral } from "./korral.js";

const file = scratch();
/** What `korral start` gives an adapter at the end of a socket. */
const ADAPTER = Uint8Array.of(0x52, 0x54, 0x00, 0x4b, 0x52, 0x4c);

const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
});

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<{ status: number | null; stdout: string; stderr: string }>;
  /** Resolves with the match when standard error has it. */
  told(pattern: RegExp): Promise<RegExpExecArray>;
}

function start(...args: string[]): Run {
  const child = startKorral(["start", ...NATIVE, "--json", ...args]);
  running.push(child);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (data) => {
    stdout += data;
  });
  child.stderr?.on("data", (data) => {
    stderr += data;
  });
  const ended = new Promise<Awaited<Run["ended"]>>((resolve) =>
    child.on("close", (status) => resolve({ status, stdout, stderr })),
  );
  const told = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(stderr);
        if (match !== null) resolve(match);
      };
      child.stderr?.on("data", look);
      child.on("close", () => reject(new Error(`it ended: ${stderr}`)));
      look();
    });
  return { child, ended, told };
}

function framed(bytes: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(bytes.length);
  return Buffer.concat([header, bytes]);
}

/** The far end of a wire, as QEMU or passt would be. */
class Peer {
  readonly frames: Uint8Array[] = [];
  #rest = Buffer.alloc(0);
  #heard = (): void => {};

  constructor(readonly socket: Socket) {
    socket.on("error", () => {});
    socket.on("data", (data: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, data]);
      while (this.#rest.length >= 4 && this.#rest.length >= 4 + this.#rest.readUInt32BE(0)) {
        const end = 4 + this.#rest.readUInt32BE(0);
        this.frames.push(Uint8Array.from(this.#rest.subarray(4, end)));
        this.#rest = this.#rest.subarray(end);
      }
      this.#heard();
    });
  }

  static async attach(at: { path: string } | { port: number; host: string }): Promise<Peer> {
    const socket = connect(at);
    await once(socket, "connect");
    return new Peer(socket);
  }

  send(...frames: Uint8Array[]): void {
    this.socket.write(Buffer.concat(frames.map(framed)));
  }

  /** Waits until so many frames have come. */
  async heard(count: number): Promise<void> {
    while (this.frames.length < count) {
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }
}

function toAdapter(frame: Uint8Array): Uint8Array {
  const bytes = frame.slice();
  if (bytes[0] !== 0xff) bytes.set(ADAPTER);
  return bytes;
}

/** As on the wire: at least 60 bytes. */
function padded(frames: readonly Uint8Array[]): Buffer {
  return Buffer.concat(frames.map((frame) => Buffer.concat([frame], Math.max(60, frame.length))));
}

describe("a host behind the e1000", () => {
  test.each(["unix", "tcp"] as const)(
    "over %s: answers ARP and ping, and ends when the peer hangs up",
    async (kind) => {
      const path = file("host.sock");
      const listen = kind === "unix" ? `unix:${path}` : "127.0.0.1:0";
      const run = start("--netdev", `stream,listen=${listen}`, "--client", "echo,ip=10.0.2.2/24");
      const [, where] = await run.told(/the wire ends at (\S+),/);
      const peer = await Peer.attach(
        kind === "unix" ? { path } : { host: "127.0.0.1", port: Number(where.split(":")[1]) },
      );
      peer.send(arpRequest());
      await peer.heard(1);
      expect(peer.frames[0].slice(22, 28)).toEqual(ADAPTER);
      const data = Uint8Array.from({ length: 1400 }, (_, i) => i & 0xff);
      for (let i = 0; i < 50; i++) peer.send(toAdapter(ping(data)));
      await peer.heard(51);
      for (const reply of peer.frames.slice(1)) {
        reply.set([2, 0, 0, 0, 0, 1], 6);
        expect(payloadOf(reply, 1).slice(8)).toEqual(data);
      }
      peer.socket.end();
      const { status, stdout } = await run.ended;
      expect(status).toBe(0);
      const { received } = JSON.parse(stdout);
      expect(received).toMatchObject({ frames: 51, recorded: 51, peers: 1, brokenOff: 0 });
      expect(received.clients[0].host).toMatchObject({ arp: 1, pings: 50, malformed: 0, badChecksum: 0 });
      expect(existsSync(path)).toBe(false);
    },
  );

  test("a length that cannot be: the peer is disconnected, and what it had sent was taken", async () => {
    const path = file("hostile.sock");
    const run = start("--netdev", `stream,listen=unix:${path}`, "--client", "echo,ip=10.0.2.2/24");
    await run.told(/the wire ends at/);
    const peer = await Peer.attach({ path });
    peer.send(arpRequest());
    peer.socket.write("GET / HTTP/1.1\r\n\r\n");
    await once(peer.socket, "close");
    const { status, stdout, stderr } = await run.ended;
    expect(status).toBe(0);
    expect(stderr).toMatch(/announced a frame of 1195725856 bytes/);
    expect(JSON.parse(stdout).received).toMatchObject({ frames: 1, violations: 1 });
    expect(existsSync(path)).toBe(false);
  });
});

test("frames of all sizes, both ways at once: every byte", async () => {
  const random = seededRandom(5);
  const frames = Array.from({ length: 3000 }, (_, i) => {
    const frame = new Uint8Array(14 + (random() % 1501)).map(() => random());
    frame.set([...ADAPTER, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    if (frame.length >= 18) new DataView(frame.buffer).setUint32(14, i);
    return frame;
  });
  const out = file("out.pcap");
  const peers: Peer[] = [];
  const server = createServer((socket) => {
    const peer = new Peer(socket);
    peers.push(peer);
    peer.send(...frames);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const run = start(
    "--netdev",
    `stream,connect=127.0.0.1:${port}`,
    "--client",
    `sender,send=${GUEST_SESSION}`,
    "--client",
    `taker,out=${out},post=4096`,
  );
  const session = framesOf(GUEST_SESSION);
  while (peers.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  await peers[0].heard(session.length);
  peers[0].socket.end();
  server.close();
  const { status, stdout, stderr } = await run.ended;
  expect([status, stderr]).toEqual([0, ""]);
  expect(Buffer.compare(padded(framesOf(out)), padded(frames))).toBe(0);
  expect(Buffer.compare(padded(peers[0].frames), padded(session))).toBe(0);
  const { clients } = JSON.parse(stdout).received;
  expect(clients).toMatchObject([
    { name: "sender", delivered: 0, sent: { frames: session.length, linkDown: 0 } },
    { name: "taker", delivered: frames.length, full: 0, cut: 0 },
  ]);
});

test("datagrams: a frame each, until the time is over", async () => {
  const far = createSocket("udp4");
  far.bind(0, "127.0.0.1");
  await once(far, "listening");
  try {
    const remote = `127.0.0.1:${far.address().port}`;
    const args = ["--netdev", `dgram,local=127.0.0.1:0,remote=${remote}`, "--client", "echo,ip=10.0.2.2/24"];
    const run = start(...args, "--duration", "2s");
    const [, port] = await run.told(/the wire ends at 127\.0\.0\.1:(\d+)/);
    const reply = once(far, "message");
    const ask = setInterval(() => far.send(arpRequest(), Number(port), "127.0.0.1"), 50);
    const [message] = await reply;
    clearInterval(ask);
    expect(Uint8Array.from(message.subarray(22, 28))).toEqual(ADAPTER);
    const { status, stdout } = await run.ended;
    expect(status).toBe(0);
    expect(JSON.parse(stdout).received.clients[0].host.arp).toBeGreaterThan(0);
  } finally {
    far.close();
  }
});

describe("what goes wrong", () => {
  test("a place where somebody listens: status 6, and the first goes on; interrupted, it leaves no file", async () => {
    const path = file("taken.sock");
    const netdev = ["--netdev", `stream,listen=unix:${path}`];
    const first = start(...netdev);
    await first.told(/the wire ends at/);
    const { status, stderr } = await korral(["start", ...NATIVE, ...netdev]);
    expect([status, stderr]).toEqual([6, expect.stringContaining("somebody else listens there")]);
    expect(first.child.exitCode).toBe(null);
    first.child.kill("SIGINT");
    expect((await first.ended).status).toBe(130);
    expect(existsSync(path)).toBe(false);
  });

  test.each([
    [["--netdev", "stream,listen=0.0.0.0:80"], 2, /not on the loopback/],
    [["--netdev", "dgram,local=unix:/a,remote=unix:/b"], 2, /no datagram sockets of the unix kind/],
    [["--duration", "1s"], 2, /--duration is for sockets/],
    [["--netdev", "stream,connect=no-such-host.invalid:1"], 6, /no host of that name|cannot be looked up/],
    [["--netdev", "stream,listen=unix:/no/such/directory/x"], 6, /directory does not exist/],
    [["--client", "a,send=/no/such/file"], 5, /no such file/],
  ])("%j: status %i", async (args, expected, sentence) => {
    const { status, stderr } = await korral(["start", ...NATIVE, ...args]);
    expect([status, stderr]).toEqual([expected, expect.stringMatching(sentence)]);
  });
});
