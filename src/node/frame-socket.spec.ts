import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { frame } from "../../test/formats/capture-bytes.js";
import { Clock } from "../bus/clock.js";
import { UsageError } from "../util/errors.js";
import { connectForFrames, type FrameSocket, listenForFrames } from "./frame-socket.js";
import { hostAndPort, listenAddress, showAddress, streamAddress } from "./frame-socket-address.js";
import { openFrameDatagrams } from "./frame-socket-datagram.js";

const directory = mkdtempSync(join(tmpdir(), "korral-frames-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
let files = 0;
const path = () => join(directory, `${files++}.sock`);

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A machine's part of it: a clock that runs as soon as there is something to do. */
function near() {
  const clock = new Clock();
  const told: string[] = [];
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      clock.runDue();
      clock.skipToNextTimer();
      await turn();
    }
  };
  return { clock, told, until, options: { clock, wake: () => {}, tell: (message: string) => told.push(message) } };
}

function taps(socket: FrameSocket): number[] {
  const got: number[] = [];
  closing.push(() => socket.close());
  socket.wire.onFrame((_bytes, _offset, length) => got.push(length));
  return got;
}

function framed(bytes: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(bytes.length);
  return Buffer.concat([header, bytes]);
}

async function attached(address: FrameSocket["address"]): Promise<Socket> {
  const socket = connect("path" in address ? { path: address.path } : { ...address });
  closing.push(() => socket.destroy());
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

async function serving(at: { path: string } | { port: number; host: string }, onSocket: (socket: Socket) => void) {
  const server: Server = createServer(onSocket);
  server.listen(at);
  await once(server, "listening");
  closing.push(() => server.close());
  return server;
}

describe("addresses", () => {
  test.each([
    ["unix:/run/x.sock", { path: "/run/x.sock" }],
    ["unix:/with:colon", { path: "/with:colon" }],
    ["127.0.0.1:80", { host: "127.0.0.1", port: 80 }],
    ["[2001:db8::1]:80", { host: "2001:db8::1", port: 80 }],
    ["example.org:65535", { host: "example.org", port: 65_535 }],
    ["80", { host: "127.0.0.1", port: 80 }],
  ])("%s", (text, address) => {
    expect(streamAddress(text)).toEqual(address);
    expect(streamAddress(showAddress(address))).toEqual(address);
  });

  test.each([
    "",
    "x",
    "x:",
    "::1:80",
    "[::1]",
    "[x]:80",
    "x:65536",
    "x:-1",
    "x:1 ",
    "unix:",
    `unix:/${"x".repeat(107)}`,
  ])("not '%s'", (text) => {
    expect(() => streamAddress(text)).toThrow(UsageError);
  });

  test("only the loopback is listened on; datagrams have hosts and ports", () => {
    expect(listenAddress("unix:/x")).toEqual({ path: "/x" });
    expect(() => listenAddress("0.0.0.0:80")).toThrow(UsageError);
    expect(() => hostAndPort("unix:/x")).toThrow(UsageError);
  });
});

describe.each(["unix", "tcp"] as const)("over %s", (kind) => {
  const where = () => (kind === "unix" ? { path: path() } : { host: "127.0.0.1", port: 0 });

  test("listening: frames both ways, then the next peer", async () => {
    const { options, until } = near();
    const socket = await listenForFrames(where(), options);
    const got = taps(socket);
    for (const length of [60, 1514]) {
      const peer = await attached(socket.address);
      await until(() => socket.wire.carrier);
      peer.write(framed(frame(length)));
      await until(() => got.at(-1) === length);
      const heard: Buffer[] = [];
      peer.on("data", (data: Buffer) => heard.push(data));
      socket.wire.send(frame(length), 0, length);
      await until(() => Buffer.concat(heard).length === 4 + length);
      expect(Buffer.compare(Buffer.concat(heard), framed(frame(length)))).toBe(0);
      peer.end();
      await until(() => !socket.wire.carrier);
    }
    expect(got).toEqual([60, 1514]);
  });

  test("a second peer is turned away, and the first stays", async () => {
    const { options, until, told } = near();
    const socket = await listenForFrames(where(), options);
    const got = taps(socket);
    const first = await attached(socket.address);
    await until(() => socket.wire.attached);
    const second = await attached(socket.address);
    await once(second, "close");
    expect(told).toEqual([expect.stringContaining("one peer at a time")]);
    first.write(framed(frame(60)));
    await until(() => got.length === 1);
  });

  test("a hostile length: the peer is disconnected", async () => {
    const { options, until, told } = near();
    const socket = await listenForFrames(where(), options);
    taps(socket);
    const peer = await attached(socket.address);
    peer.write("GET / HTTP/1.1\r\n\r\n");
    let closed = false;
    peer.on("close", () => {
      closed = true;
    });
    await until(() => closed && !socket.wire.carrier);
    expect([socket.wire.violations, told]).toEqual([1, [expect.stringContaining("framing")]]);
  });

  test("what was sent last reaches a peer that reads", async () => {
    const { options, until } = near();
    const socket = await listenForFrames(where(), options);
    taps(socket);
    const peer = await attached(socket.address);
    await until(() => socket.wire.attached);
    let heard = 0;
    peer.on("data", (data: Buffer) => {
      heard += data.length;
    });
    for (let i = 0; i < 500; i++) socket.wire.send(frame(1514), 0, 1514);
    const ended = once(peer, "end");
    await socket.close();
    await ended;
    expect(heard).toBe(500 * 1518);
  });

  test("connecting: to a peer that comes later, and again when it has gone", async () => {
    const { options, until, told } = near();
    let at = where();
    if ("port" in at) {
      const free = await serving(at, () => {});
      const bound = free.address();
      at = { host: "127.0.0.1", port: typeof bound === "object" && bound !== null ? bound.port : 0 };
      await new Promise((resolve) => free.close(resolve));
    }
    const socket = await connectForFrames(at, options);
    const got = taps(socket);
    expect([socket.wire.carrier, told.length]).toEqual([false, 1]);
    const peers: Socket[] = [];
    await serving(at, (peer) => {
      peers.push(peer);
      peer.on("error", () => {});
      peer.write(framed(frame(60 + peers.length)));
    });
    await until(() => got.length === 1);
    peers[0].destroy();
    await until(() => got.length === 2);
    expect([got, socket.wire.peers]).toEqual([[61, 62], 2]);
    peers[1].destroy();
  });

  test("a place where somebody listens is an error of the surroundings", async () => {
    const first = await listenForFrames(where(), near().options);
    taps(first);
    await expect(listenForFrames(first.address, near().options)).rejects.toThrow(
      expect.objectContaining({ exitStatus: 6, message: expect.stringContaining("somebody else listens") }),
    );
  });
});

describe("the file of a unix socket", () => {
  test("goes with the listener, also when the process ends in a hurry", async () => {
    const socket = await listenForFrames({ path: path() }, near().options);
    const name = "path" in socket.address ? socket.address.path : "";
    expect(statSync(name).isSocket()).toBe(true);
    await socket.close();
    expect(existsSync(name)).toBe(false);
    await socket.close();
    const other = await listenForFrames({ path: name }, near().options);
    other.abandon();
    expect(existsSync(name)).toBe(false);
    await other.close();
  });

  test("is replaced when nobody listens there any more", async () => {
    const name = path();
    const script = `require("node:net").createServer().listen(${JSON.stringify(name)}, () => process.kill(process.pid, "SIGKILL"))`;
    spawnSync(process.execPath, ["-e", script]);
    expect(statSync(name).isSocket()).toBe(true);
    const socket = await listenForFrames({ path: name }, near().options);
    taps(socket);
    await attached(socket.address);
  });

  test("is not made in the place of another file, nor where there is no directory", async () => {
    const name = path();
    writeFileSync(name, "precious");
    await expect(listenForFrames({ path: name }, near().options)).rejects.toThrow(/there is a file of that name/);
    expect(statSync(name).size).toBe(8);
    const nowhere = listenForFrames({ path: join(directory, "no", "x") }, near().options);
    await expect(nowhere).rejects.toThrow(/directory does not exist/);
    await expect(connectForFrames({ path: join(name, "x") }, near().options)).rejects.toThrow(/part of its path/);
  });
});

describe("datagrams", () => {
  const open = async () => {
    const far = createSocket("udp4");
    far.bind(0, "127.0.0.1");
    await once(far, "listening");
    closing.push(() => far.close());
    const heard: Buffer[] = [];
    far.on("message", (bytes) => heard.push(bytes));
    const machine = near();
    const remote = { host: "127.0.0.1", port: far.address().port };
    const local = { host: "127.0.0.1", port: 0 };
    const datagrams = await openFrameDatagrams(local, remote, machine.options);
    const got: number[] = [];
    datagrams.wire.onFrame((_bytes, _offset, length) => got.push(length));
    return { ...machine, far, heard, datagrams, got, remote };
  };

  test("a frame each, with the one peer", async () => {
    const { far, heard, datagrams, got, until } = await open();
    closing.push(() => datagrams.close());
    const stranger = createSocket("udp4");
    closing.push(() => stranger.close());
    await new Promise<void>((resolve) =>
      stranger.send(frame(99), datagrams.address.port, "127.0.0.1", () => resolve()),
    );
    far.send(frame(60), datagrams.address.port, "127.0.0.1");
    await until(() => got.length > 0);
    expect(got).toEqual([60]);
    datagrams.wire.send(frame(1514), 0, 1514);
    await until(() => heard.length > 0);
    expect(Uint8Array.from(heard[0])).toEqual(frame(1514));
  });

  test("a port that is taken; a peer that is not there is no error", async () => {
    const { datagrams, remote, until, far } = await open();
    await expect(openFrameDatagrams(remote, datagrams.address, near().options)).rejects.toThrow(
      expect.objectContaining({ exitStatus: 6, message: expect.stringContaining("somebody else receives") }),
    );
    closing.pop();
    far.close();
    for (let i = 0; i < 20; i++) {
      datagrams.wire.send(frame(60), 0, 60);
      await turn();
    }
    await until(() => datagrams.wire.unsent === 0);
    await datagrams.close();
  });
});
