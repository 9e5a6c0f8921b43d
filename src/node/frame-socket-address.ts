import { isIPv6 } from "node:net";
import { resolve } from "node:path";
import { UsageError } from "../util/errors.js";
import { loopbackAddress, type SocketAddress } from "./address.js";

/** Where a stream socket is: a file, or a host and its port. */
export type StreamAddress = { readonly path: string } | SocketAddress;

/** `sun_path` of unix(7), with the zero behind it. */
const LONGEST_PATH_BYTES = 107;

/**
 * Reads `unix:PATH`, `HOST:PORT`, `[IPV6]:PORT`, or a bare `PORT`, which means 127.0.0.1.
 * @throws UsageError
 */
export function streamAddress(text: string): StreamAddress {
  return text.startsWith("unix:") ? unixPath(text) : hostAndPort(text);
}

/** The same where a peer is waited for. @throws UsageError also for a host that is not this machine's loopback */
export function listenAddress(text: string): StreamAddress {
  return text.startsWith("unix:") ? unixPath(text) : loopbackAddress(text);
}

/** @throws UsageError if it is no `HOST:PORT` */
export function hostAndPort(text: string): SocketAddress {
  const match = /^(?:(?:\[([^\]]*)\]|([^:\s]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535 || (match[1] !== undefined && !isIPv6(match[1]))) {
    throw new UsageError(`'${text}' is no address: unix:/path, HOST:PORT and [IPV6]:PORT are possible`);
  }
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}

/** As a user writes it. */
export function showAddress(address: StreamAddress): string {
  if ("path" in address) return `unix:${address.path}`;
  const { host, port } = address;
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function unixPath(text: string): { path: string } {
  const name = text.slice("unix:".length);
  if (name === "" || name.includes("\0")) throw new UsageError(`'${text}' has no path: unix:/path`);
  const path = resolve(name);
  const length = Buffer.byteLength(path);
  if (length > LONGEST_PATH_BYTES) {
    throw new UsageError(
      `${path} has ${length} bytes, and the path of a unix socket ${LONGEST_PATH_BYTES} at the most: choose a shorter one`,
    );
  }
  return { path };
}
