import type { Direction } from "../ast.js";
import * as bpf from "../bpf.js";
import type { Test } from "../flow-graph.js";
import { both, either, not } from "../flow-graph.js";
import { ETHERTYPE } from "../names/link-layer.js";
import type { Context, Origin } from "./context.js";
import { inDirection } from "./hosts.js";
import { carries } from "./link-type.js";

/** Numbers of the transport protocols that have ports, in the order in which they are tested. */
export const TRANSPORTS = { tcp: 6, udp: 17, sctp: 132 } as const;

export type Transport = keyof typeof TRANSPORTS;

/** One port, or all from the lower to the higher. */
export interface Ports {
  readonly first: number;
  readonly last: number;
  readonly isRange: boolean;
}

export const port = (number: number): Ports => ({ first: number, last: number, isRange: false });

/** These ports of this transport protocol (undefined: of any), over IPv6 or IPv4. */
export function portTest(
  context: Context,
  ports: Ports,
  transport: Transport | undefined,
  direction: Direction | undefined,
): Test {
  const v4 = portTest4(context, ports, transport, direction);
  return either(portTest6(context, ports, transport, direction), v4);
}

export function portTest4(
  context: Context,
  ports: Ports,
  transport: Transport | undefined,
  direction: Direction | undefined,
): Test {
  const any = overTransports(transport, (number) => {
    const unfragmented = both(context.equals("network", 9, bpf.B, number), isFirstFragment(context));
    return both(
      unfragmented,
      inDirection(direction, (end) => portField(context, "transport", end, ports)),
    );
  });
  return both(carries(context, ETHERTYPE.IP), any);
}

/** Only where the transport header follows the IPv6 header at once. */
export function portTest6(
  context: Context,
  ports: Ports,
  transport: Transport | undefined,
  direction: Direction | undefined,
): Test {
  const any = overTransports(transport, (number) =>
    both(
      context.equals("network", 6, bpf.B, number),
      inDirection(direction, (end) => portField(context, "transport6", end, ports)),
    ),
  );
  return both(carries(context, ETHERTYPE.IP6), any);
}

/** Not a later fragment: the fragment offset (RFC 791 section 3.1) is zero. */
export const isFirstFragment = (context: Context): Test => not(context.hasBits("network", 6, bpf.H, 0x1fff));

function overTransports(transport: Transport | undefined, one: (number: number) => Test): Test {
  if (transport !== undefined) return one(TRANSPORTS[transport]);
  const tcpOrUdp = either(one(TRANSPORTS.tcp), one(TRANSPORTS.udp));
  return either(one(TRANSPORTS.sctp), tcpOrUdp);
}

function portField(context: Context, origin: Origin, end: "src" | "dst", { first, last, isRange }: Ports): Test {
  const offset = end === "src" ? 0 : 2;
  if (!isRange) return context.equals(origin, offset, bpf.H, first);
  const atLeast = context.compare(origin, offset, bpf.H, bpf.JGE, Math.min(first, last));
  return both(atLeast, context.atMost(origin, offset, bpf.H, Math.max(first, last)));
}
