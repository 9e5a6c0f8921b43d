import { requireEthernet } from "../formats/capture.js";
import type { Machine } from "../machine.js";
import type { SocketAddress } from "../node/address.js";
import { LateCapture, openCaptureFile } from "../node/capture-file.js";
import { connectForFrames, type FrameSocket, listenForFrames } from "../node/frame-socket.js";
import {
  hostAndPort,
  listenAddress,
  type StreamAddress,
  showAddress,
  streamAddress,
} from "../node/frame-socket-address.js";
import { openFrameDatagrams } from "../node/frame-socket-datagram.js";
import { CaptureWire } from "../ports/capture-wire.js";
import type { WireEnd } from "../ports/wire-end.js";
import { type KorralError, UsageError } from "../util/errors.js";
import { onInterrupt } from "./interrupt.js";
import { parseOptionList } from "./option-list.js";
import { stderr } from "./output.js";

/** What `--netdev` asks for. */
export type NetdevSpec =
  | { readonly kind: "pcap"; readonly rx: string | null; readonly tx: string | null }
  | { readonly kind: "stream"; readonly role: "connect" | "listen"; readonly address: StreamAddress }
  | { readonly kind: "dgram"; readonly local: SocketAddress; readonly remote: SocketAddress };

/** The far end of the adapter's wire. */
export interface Netdev {
  readonly wire: WireEnd;
  /**
   * The address that the adapter should have, or null for its usual one: at the other end of a socket there may be a
   * guest of QEMU, whose first adapter has the very address that the models here have.
   */
  readonly macAddress: Uint8Array | null;
  /** Lets frames come in: starts the replay of a capture, and lets through what has come over a socket meanwhile. */
  start(): void;
  /**
   * Resolves when nothing comes any more: a replay has delivered its last frame, the peer of a stream has hung up. Of
   * datagrams nobody knows.
   */
  readonly ended: Promise<void>;
  /** Why a replay ended before its time, or null. */
  readonly error: KorralError | null;
  /** Frames and bytes to the adapter and from it, and what went wrong, for JSON. */
  readonly figures: NetdevFigures;
  /** Lets out what was sent, and leaves nothing open. */
  close(): Promise<void>;
}

export interface NetdevFigures {
  readonly toAdapter: { readonly frames: number; readonly bytes: number };
  readonly fromAdapter: { readonly frames: number; readonly bytes: number };
  readonly [what: string]: unknown;
}

const FORMS =
  "pcap,rx=FILE,tx=FILE · stream,connect=ADDR or stream,listen=ADDR · dgram,local=HOST:PORT,remote=HOST:PORT (ADDR: unix:/path or HOST:PORT)";
/** Locally administered, and not among those that QEMU gives out. */
const FAR_FROM_QEMU = Uint8Array.of(0x52, 0x54, 0x00, 0x4b, 0x52, 0x4c);

/** @throws UsageError */
export function parseNetdev(text: string): NetdevSpec {
  const kind = text.split(",", 1)[0];
  if (kind === "pcap") {
    const { values } = parseOptionList("--netdev", text, ["rx", "tx"]);
    return { kind, rx: values.get("rx") ?? null, tx: values.get("tx") ?? null };
  }
  if (kind === "stream") {
    const { values } = parseOptionList("--netdev", text, ["connect", "listen"]);
    const connect = values.get("connect");
    const listen = values.get("listen");
    if ((connect === undefined) === (listen === undefined)) {
      throw new UsageError(`--netdev ${text}: give either connect=ADDR or listen=ADDR`);
    }
    return connect !== undefined
      ? { kind, role: "connect", address: explained(text, () => streamAddress(connect)) }
      : { kind, role: "listen", address: explained(text, () => listenAddress(listen ?? "")) };
  }
  if (kind === "dgram") {
    const { values } = parseOptionList("--netdev", text, ["local", "remote"]);
    return { kind, local: datagramAddress(text, values, "local"), remote: datagramAddress(text, values, "remote") };
  }
  throw new UsageError(`--netdev ${text}: there is no '${kind}'; possible are ${FORMS}`);
}

/** Whether somebody outside takes part: the machine then has to run in real time. */
export function isInteractive(spec: NetdevSpec): boolean {
  return spec.kind !== "pcap";
}

/** Files that are read, and files that are written. */
export function filesOf(spec: NetdevSpec): { readonly inputs: readonly string[]; readonly outputs: readonly string[] } {
  const named = (name: string | null): string[] => (name === null ? [] : [name]);
  return spec.kind === "pcap" ? { inputs: named(spec.rx), outputs: named(spec.tx) } : { inputs: [], outputs: [] };
}

/**
 * Opens the far end of a machine's wire.
 * @param inputs files that are read: none of them may be written
 * @throws InputError, UnsupportedError for captures; EnvironmentError for sockets and outputs
 */
export function openNetdev(machine: Machine, spec: NetdevSpec, inputs: readonly string[]): Promise<Netdev> {
  if (spec.kind === "pcap") return openCaptures(machine, spec.rx, spec.tx, inputs);
  return spec.kind === "stream"
    ? openStream(machine, spec.role, spec.address)
    : openDatagrams(machine, spec.local, spec.remote);
}

/** Captures, each opened as late as possible: a driver that does not start leaves no output behind. */
export interface CapturesNetdev extends Netdev {
  readonly wire: CaptureWire;
  /** Creates the capture of what is sent; frames that come earlier do so, too. @throws UsageError, EnvironmentError */
  record(): void;
}

/** @throws as {@link openNetdev} */
export async function openCaptures(
  machine: Machine,
  rx: string | null,
  tx: string | null,
  inputs: readonly string[],
): Promise<CapturesNetdev> {
  const capture = rx === null ? null : openCaptureFile(rx);
  let record: LateCapture | null = null;
  let forget = (): void => {};
  const close = async (): Promise<void> => {
    forget();
    wire?.pause();
    capture?.close();
    record?.close();
    record = null;
  };
  let wire: CaptureWire | null = null;
  try {
    const replay = capture === null ? null : requireEthernet(capture.reader);
    record = tx === null ? null : new LateCapture(tx, inputs);
    // A capture is complete to the last frame also when the user interrupts the command.
    forget = onInterrupt(() => record?.close());
    wire = new CaptureWire({
      clock: machine.clock,
      ...(replay === null ? {} : { replay }),
      ...(record === null ? {} : { record }),
    });
  } catch (error) {
    await close();
    throw error;
  }
  const opened = wire;
  opened.events.on("warning", ({ message }) => tell(message));
  const ended = new Promise<void>((resolve) => {
    if (opened.ended) resolve();
    opened.events.on("end", () => resolve());
  });
  return {
    wire: opened,
    macAddress: null,
    ended,
    record: () => record?.create(),
    start: () => {
      record?.create();
      opened.playByTime();
    },
    get error() {
      return opened.error;
    },
    get figures() {
      const { frames, bytes, ...odd } = opened.replayed;
      return { toAdapter: { frames, bytes }, fromAdapter: opened.recorded, ...odd };
    },
    close,
  };
}

async function openStream(machine: Machine, role: "connect" | "listen", address: StreamAddress): Promise<Netdev> {
  const options = { clock: machine.clock, wake: () => machine.loop.wake(), tell, waits: true };
  const release = machine.loop.hold();
  let socket: FrameSocket;
  try {
    socket = await (role === "listen" ? listenForFrames : connectForFrames)(address, options);
  } catch (error) {
    release();
    throw error;
  }
  const forget = onInterrupt(() => socket.abandon());
  const { wire } = socket;
  if (role === "listen") tell(`the wire ends at ${showAddress(socket.address)}, where a peer is waited for`);
  const ended = new Promise<void>((resolve) => {
    // Who never said anything was only looking whether anybody is here.
    wire.events.on("detached", ({ frames }) => {
      if (frames > 0) resolve();
    });
  });
  return {
    wire,
    macAddress: FAR_FROM_QEMU,
    ended,
    start: () => wire.start(),
    error: null,
    get figures() {
      const { received, sent, peers, unplugged, congested, violations, brokenOff, tooShort, tooLong } = wire;
      const odd = { peers, unplugged, congested, violations, brokenOff, tooShort, tooLong };
      return { toAdapter: received, fromAdapter: sent, ...odd };
    },
    close: async () => {
      await socket.close();
      forget();
      release();
    },
  };
}

async function openDatagrams(machine: Machine, local: SocketAddress, remote: SocketAddress): Promise<Netdev> {
  const options = { clock: machine.clock, wake: () => machine.loop.wake(), waits: true };
  const datagrams = await openFrameDatagrams(local, remote, options);
  const release = machine.loop.hold();
  const { wire } = datagrams;
  tell(`the wire ends at ${showAddress(datagrams.address)}, its peer is ${showAddress(remote)}`);
  return {
    wire,
    macAddress: FAR_FROM_QEMU,
    ended: new Promise(() => {}),
    start: () => wire.start(),
    error: null,
    get figures() {
      const { received, sent, unplugged, congested, overrun, tooShort, tooLong } = wire;
      return { toAdapter: received, fromAdapter: sent, unplugged, congested, overrun, tooShort, tooLong };
    },
    close: async () => {
      await datagrams.close();
      release();
    },
  };
}

function datagramAddress(text: string, values: ReadonlyMap<string, string>, key: "local" | "remote"): SocketAddress {
  const value = values.get(key);
  if (value === undefined) throw new UsageError(`--netdev ${text}: '${key}' is missing: ${key}=HOST:PORT`);
  if (value.startsWith("unix:")) {
    throw new UsageError(
      `--netdev ${text}: Node.js has no datagram sockets of the unix kind: use ${key}=HOST:PORT, or stream,connect=unix:…`,
    );
  }
  const address = explained(text, () => hostAndPort(value));
  if (key === "remote" && address.port === 0) {
    throw new UsageError(`--netdev ${text}: nobody can be sent to at port 0: say which`);
  }
  return address;
}

function explained<T>(text: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`--netdev ${text}: ${error.message}`);
    throw error;
  }
}

function tell(message: string): void {
  stderr(`korral: ${message}\n`);
}
