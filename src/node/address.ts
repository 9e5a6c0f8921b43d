import { isIPv4, isIPv6 } from "node:net";
import { UsageError } from "../util/errors.js";

export interface SocketAddress {
  host: string;
  port: number;
}

/**
 * Reads `HOST:PORT`, `[IPV6]:PORT`, or a bare `PORT`, which means 127.0.0.1.
 * @throws UsageError if it is none of these, or no address of this machine's loopback: what Korral serves has no
 * password.
 */
export function loopbackAddress(text: string): SocketAddress {
  const match = /^(?:(?:\[([^\]]*)\]|([^:]*)):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new UsageError(`'${text}' is no HOST:PORT (say 127.0.0.1:2323, [::1]:2323 or 2323)`);
  }
  const host = match[1] ?? (match[2] || "127.0.0.1");
  const onLoopback = host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
  if (!onLoopback || (match[1] !== undefined && !isIPv6(host))) {
    throw new UsageError(`${host} is not on the loopback: only 127.0.0.0/8, ::1 and localhost may be served`);
  }
  return { host, port };
}
