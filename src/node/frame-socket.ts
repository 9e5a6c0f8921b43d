import { existsSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { StreamWire } from "../ports/frame-socket.js";
import type { PacedWireOptions } from "../ports/frame-socket-paced.js";
import { EnvironmentError } from "../util/errors.js";
import { systemCode } from "./file-errors.js";
import { type StreamAddress, showAddress } from "./frame-socket-address.js";

/** How long a peer may take over the last of what was written. */
const LAST_WORDS_MILLISECONDS = 1000;
const FIRST_RETRY_MILLISECONDS = 100;
const LONGEST_RETRY_MILLISECONDS = 5000;
/** A peer that is not there yet, or not at the moment: what another attempt may heal. */
const NOT_THERE = new Set([
  "ECONNREFUSED",
  "ENOENT",
  "ECONNRESET",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EAGAIN",
]);

export interface FrameSocketOptions extends PacedWireOptions {
  /** Something the user should know; told once for each spell of it. */
  tell?: (message: string) => void;
}

/** A wire whose other end is a stream socket: see {@link StreamWire} for what travels on it. */
export interface FrameSocket {
  readonly wire: StreamWire;
  /** Where it listens, or what it connects to. */
  readonly address: StreamAddress;
  /** Lets what was sent reach the peer, if it reads, and leaves nothing open behind. */
  close(): Promise<void>;
  /** The process is about to end: removes what would outlive it. */
  abandon(): void;
}

/** What both ends have in common: the peer. */
class Peer {
  readonly wire: StreamWire;
  readonly tell: (message: string) => void;
  #socket: Socket | null = null;
  #gone: Promise<void> = Promise.resolve();

  constructor(options: FrameSocketOptions) {
    this.wire = new StreamWire(options);
    this.tell = options.tell ?? (() => {});
    this.wire.events.on("violation", ({ message }) => this.tell(message));
  }

  get attached(): boolean {
    return this.#socket !== null;
  }

  /** @param onLoss hears once when the peer has gone */
  attach(socket: Socket, onLoss: () => void): void {
    const { wire } = this;
    this.#socket = socket;
    socket.setNoDelay(true);
    wire.attach({
      write: (bytes) => socket.write(bytes),
      get unsent() {
        return socket.writableLength;
      },
      hold: (on) => {
        if (on) socket.pause();
        else socket.resume();
      },
      close: () => socket.destroy(),
    });
    socket.on("data", (data: Uint8Array) => {
      if (this.#socket === socket) wire.receive(data);
    });
    socket.on("error", () => socket.destroy());
    this.#gone = new Promise((resolve) => {
      socket.on("close", () => {
        resolve();
        if (this.#socket !== socket) return;
        this.#socket = null;
        wire.detach();
        onLoss();
      });
    });
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    this.#socket = null;
    this.wire.flush();
    if (socket !== null) {
      // Who still sends must not keep us: only what was written counts now.
      socket.resume();
      socket.setTimeout(LAST_WORDS_MILLISECONDS, () => socket.destroy());
      const late = setTimeout(() => socket.destroy(), LAST_WORDS_MILLISECONDS);
      socket.destroySoon();
      await this.#gone;
      clearTimeout(late);
    }
    this.wire.close();
  }
}

/**
 * Waits for a peer, one at a time; when it has left, for the next one. The file of a unix socket goes with `close`; one
 * that nobody listens on any more is replaced.
 * @throws EnvironmentError if somebody else listens there, or the system does not permit it
 */
export async function listenForFrames(address: StreamAddress, options: FrameSocketOptions): Promise<FrameSocket> {
  const peer = new Peer(options);
  const server = createServer((socket) => {
    if (!peer.attached) {
      peer.attach(socket, () => {});
      return;
    }
    socket.on("error", () => {});
    socket.destroy();
    peer.tell(`somebody else wanted to attach to ${showAddress(address)} and was turned away: one peer at a time`);
  });
  await listen(server, address);
  let closed = false;
  return {
    wire: peer.wire,
    address: boundAddress(server, address),
    async close() {
      if (closed) return;
      closed = true;
      const ended = new Promise<void>((resolve) => server.close(() => resolve()));
      await peer.close();
      await ended;
    },
    abandon() {
      if (!closed && "path" in address) removeSocket(address.path);
    },
  };
}

/**
 * Connects to a peer, and again whenever it has gone; one that is not there (yet) is tried again and again, more and
 * more seldom.
 * @throws EnvironmentError for what waiting cannot heal: no such host, not permitted
 */
export async function connectForFrames(address: StreamAddress, options: FrameSocketOptions): Promise<FrameSocket> {
  const peer = new Peer(options);
  let closed = false;
  let timer: NodeJS.Timeout | null = null;
  let trying: Socket | null = null;
  let delay = FIRST_RETRY_MILLISECONDS;
  let told = false;

  const attempt = (): Promise<EnvironmentError | null> =>
    new Promise((resolve) => {
      const socket = connect("path" in address ? { path: address.path } : { ...address });
      trying = socket;
      const failed = (error: Error): void => {
        trying = null;
        const code = systemCode(error) ?? "?";
        if (!NOT_THERE.has(code)) {
          resolve(connectError(address, code));
          return;
        }
        if (!told && !closed) peer.tell(`nobody listens at ${showAddress(address)} yet: it is tried again and again`);
        told = true;
        again();
        resolve(null);
      };
      socket.once("error", failed);
      socket.once("connect", () => {
        trying = null;
        socket.off("error", failed);
        told = false;
        const { violations } = peer.wire;
        peer.attach(socket, () => {
          // Who speaks something else will speak it again: no hurry then.
          if (peer.wire.violations === violations) delay = FIRST_RETRY_MILLISECONDS;
          again();
        });
        resolve(null);
      });
      socket.once("close", () => resolve(null));
    });
  const again = (): void => {
    if (closed) return;
    timer = setTimeout(async () => {
      timer = null;
      const error = await attempt();
      if (error === null) return;
      peer.tell(error.message);
      again();
    }, delay);
    delay = Math.min(2 * delay, LONGEST_RETRY_MILLISECONDS);
  };

  const error = await attempt();
  if (error !== null) throw error;
  return {
    wire: peer.wire,
    address,
    async close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      trying?.destroy();
      await peer.close();
    },
    abandon() {},
  };
}

async function listen(server: Server, address: StreamAddress): Promise<void> {
  const first = await tryToListen(server, address);
  if (first === null) return;
  if (first !== "EADDRINUSE" || !("path" in address)) throw listenError(address, first);
  if (!lstatSync(address.path, { throwIfNoEntry: false })?.isSocket()) {
    throw new EnvironmentError("socket-path", `cannot listen on ${showAddress(address)}: there is a file of that name`);
  }
  if (await isListenedOn(address.path)) throw listenError(address, first);
  removeSocket(address.path);
  const second = await tryToListen(server, address);
  if (second !== null) throw listenError(address, second);
}

/** @returns null, or the system's error code */
function tryToListen(server: Server, address: StreamAddress): Promise<string | null> {
  return new Promise((resolve) => {
    const failed = (error: Error): void => resolve(systemCode(error) ?? "?");
    server.once("error", failed);
    server.listen({ ...address, exclusive: true }, () => {
      server.off("error", failed);
      resolve(null);
    });
  });
}

/** Whether anybody answers at a unix socket; when in doubt, yes. */
function isListenedOn(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", (error) => resolve(systemCode(error) !== "ECONNREFUSED"));
  });
}

function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw listenError({ path }, systemCode(error) ?? "?");
  }
}

function boundAddress(server: Server, asked: StreamAddress): StreamAddress {
  const bound = server.address();
  return bound === null || typeof bound === "string" ? asked : { host: bound.address, port: bound.port };
}

const WHY: Readonly<Record<string, string>> = {
  EADDRINUSE: "somebody else listens there: choose another one",
  EADDRNOTAVAIL: "this machine has no such address",
  EACCES: "not permitted: choose a place where you may write, or a port above 1023",
  ENOENT: "its directory does not exist: create it first",
  ENOTDIR: "a part of its path is no directory: check the path",
  EROFS: "the file system is read-only: choose another place",
  ENOTFOUND: "there is no host of that name",
  EAI_AGAIN: "the host's name cannot be looked up now",
};

function listenError(address: StreamAddress, code: string): EnvironmentError {
  // Node.js reports a directory that is missing as one that is not permitted.
  const isMissing = code === "EACCES" && "path" in address && !existsSync(dirname(address.path));
  const why = WHY[isMissing ? "ENOENT" : code] ?? `the system reports ${code}`;
  return new EnvironmentError("port-taken", `cannot listen on ${showAddress(address)}: ${why}`);
}

function connectError(address: StreamAddress, code: string): EnvironmentError {
  const why = WHY[code] ?? (code === "ENOTSOCK" ? "it is no socket" : `the system reports ${code}`);
  return new EnvironmentError("no-connection", `cannot connect to ${showAddress(address)}: ${why}`);
}
