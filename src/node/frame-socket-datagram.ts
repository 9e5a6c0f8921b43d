import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import { type DatagramPort, DatagramWire } from "../ports/frame-socket-datagram.js";
import type { PacedWireOptions } from "../ports/frame-socket-paced.js";
import { EnvironmentError } from "../util/errors.js";
import type { SocketAddress } from "./address.js";
import { systemCode } from "./file-errors.js";
import { showAddress } from "./frame-socket-address.js";

/** Hundreds of frames may come before we get to run. */
const RECEIVE_BUFFER_BYTES = 1 << 20;

export interface FrameDatagrams {
  readonly wire: DatagramWire;
  /** Where datagrams are received. */
  readonly address: SocketAddress;
  /** Leaves nothing open behind. */
  close(): Promise<void>;
}

/**
 * Opens a UDP socket whose peer is fixed: what others send is not heard.
 * @throws EnvironmentError if the local port is taken, or an address is none of this machine or leads nowhere
 */
export async function openFrameDatagrams(
  local: SocketAddress,
  remote: SocketAddress,
  options: PacedWireOptions,
): Promise<FrameDatagrams> {
  const socket = createSocket({ type: isIPv6(local.host) || isIPv6(remote.host) ? "udp6" : "udp4" });
  try {
    socket.bind({ address: local.host, port: local.port, exclusive: true });
    await once(socket, "listening");
    socket.connect(remote.port, remote.host);
    await once(socket, "connect");
  } catch (error) {
    socket.close();
    throw datagramError(local, remote, error);
  }
  socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
  // The peer need not be there: what is sent to nobody is lost, as everything may be that travels in datagrams.
  socket.on("error", () => {});
  const peer = socket.remoteAddress();
  const port: DatagramPort = {
    send: (bytes) => socket.send(bytes, () => {}),
    get unsent() {
      return socket.getSendQueueSize();
    },
  };
  const wire = new DatagramWire(port, options);
  // Datagrams of others may have come before the peer was fixed.
  socket.on("message", (bytes: Uint8Array, from) => {
    if (from.port === peer.port && from.address === peer.address) wire.receive(bytes);
  });
  const bound = socket.address();
  return {
    wire,
    address: { host: bound.address, port: bound.port },
    async close() {
      wire.close();
      const closed = once(socket, "close");
      socket.close();
      await closed;
    },
  };
}

function datagramError(local: SocketAddress, remote: SocketAddress, error: unknown): EnvironmentError {
  const code = systemCode(error);
  if (code === null) throw error;
  const [from, to] = [showAddress(local), showAddress(remote)];
  const why =
    code === "EADDRINUSE"
      ? `somebody else receives at ${from}: choose another port`
      : code === "EADDRNOTAVAIL"
        ? `${from} is no address of this machine`
        : code === "EACCES"
          ? `${from} is not permitted: choose a port above 1023`
          : code === "ENOTFOUND" || code === "EAI_AGAIN"
            ? `there is no host of one of these names`
            : `the system reports ${code}`;
  return new EnvironmentError("no-datagrams", `cannot exchange datagrams between ${from} and ${to}: ${why}`);
}
