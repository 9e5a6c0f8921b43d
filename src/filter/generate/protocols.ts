import type { Protocol } from "../ast.js";
import * as bpf from "../bpf.js";
import type { Test } from "../flow-graph.js";
import { both, branch, either, statement } from "../flow-graph.js";
import { ETHERTYPE, ISIS_TYPES, OSI, SAP } from "../names/link-layer.js";
import { FRAGMENT } from "../protocol-chain.js";
import type { Context } from "./context.js";
import { carries } from "./link-type.js";

/** Protocols that the link layer names itself. */
const LINK_PROTOCOLS: ReadonlyMap<Protocol, number> = new Map<Protocol, number>([
  ["ip", ETHERTYPE.IP],
  ["ip6", ETHERTYPE.IP6],
  ["arp", ETHERTYPE.ARP],
  ["rarp", ETHERTYPE.RARP],
  ["atalk", ETHERTYPE.ATALK],
  ["aarp", ETHERTYPE.AARP],
  ["decnet", ETHERTYPE.DECNET],
  ["sca", ETHERTYPE.SCA],
  ["lat", ETHERTYPE.LAT],
  ["mopdl", ETHERTYPE.MOPDL],
  ["moprc", ETHERTYPE.MOPRC],
  ["iso", SAP.OSI],
  ["stp", SAP.STP],
  ["ipx", SAP.IPX],
  ["netbeui", SAP.NETBEUI],
]);

/** Protocols that IP carries, and the version of IP that is looked at; undefined: both. */
const IP_CARRIED: ReadonlyMap<Protocol, readonly [number, "ip" | "ip6" | undefined]> = new Map<
  Protocol,
  readonly [number, "ip" | "ip6" | undefined]
>([
  ["sctp", [132, undefined]],
  ["tcp", [6, undefined]],
  ["udp", [17, undefined]],
  ["icmp", [1, "ip"]],
  ["igmp", [2, "ip"]],
  ["igrp", [9, "ip"]],
  ["pim", [103, undefined]],
  ["vrrp", [112, "ip"]],
  ["carp", [112, "ip"]],
  ["icmp6", [58, "ip6"]],
  ["ah", [51, undefined]],
  ["esp", [50, undefined]],
]);

const OSI_CARRIED: ReadonlyMap<Protocol, number> = new Map<Protocol, number>([
  ["esis", OSI.ESIS],
  ["isis", OSI.ISIS],
  ["clnp", OSI.CLNP],
]);

/** A protocol alone, such as `tcp`. */
export function isProtocol(context: Context, protocol: Protocol): Test {
  const link = LINK_PROTOCOLS.get(protocol);
  if (link !== undefined) return carries(context, link);
  const ip = IP_CARRIED.get(protocol);
  if (ip !== undefined) return protocolTest(context, ip[0], ip[1]);
  const osi = OSI_CARRIED.get(protocol);
  if (osi !== undefined) return protocolTest(context, osi, "iso");
  const types = ISIS_TYPES.get(protocol);
  if (types === undefined) return context.refuse(`"ether" alone is no test; write what is sought after it`);
  return types
    .map((type) => protocolTest(context, type, "isis"))
    .reduce((sum, next, i) => (i === 1 ? either(sum, next) : either(next, sum)));
}

/** `ip proto 6`: what the layer `over` says that it carries. */
export function protocolTest(context: Context, number: number, over: Protocol | undefined): Test {
  switch (over) {
    case undefined: {
      const v4 = protocolTest(context, number, "ip");
      return either(v4, protocolTest(context, number, "ip6"));
    }
    case "link":
      return carries(context, number);
    case "ip":
      return both(carries(context, ETHERTYPE.IP), context.equals("network", 9, bpf.B, number));
    case "ip6": {
      const inFragment = both(
        context.equals("network", 6, bpf.B, FRAGMENT),
        context.equals("network", 40, bpf.B, number),
      );
      return both(carries(context, ETHERTYPE.IP6), either(context.equals("network", 6, bpf.B, number), inFragment));
    }
    case "iso":
      return both(carries(context, SAP.OSI), context.equals("network after llc", 0, bpf.B, number));
    case "isis":
      return both(protocolTest(context, OSI.ISIS, "iso"), context.equals("network after llc", 4, bpf.B, number));
    default:
      return context.refuse(`"${over} proto" cannot be told; "proto" goes with ether, ip, ip6, iso and isis`);
  }
}

/** `ip6 protochain 6`: a header of this protocol at the end of the chain of headers. */
export function protocolChainTest(context: Context, number: number, over: Protocol | undefined): Test {
  const register = context.allocate();
  if (over === undefined) {
    const v4 = protocolChainTest(context, number, "ip");
    return either(v4, protocolChainTest(context, number, "ip6"));
  }
  if (over !== "ip" && over !== "ip6") return context.refuse(`"protochain" goes with ip and ip6, not with ${over}`);
  const { payload, network } = context.layout;
  if (payload.register !== undefined) return context.refuse(`"protochain" cannot follow headers of variable length`);
  context.keepAsIs = true;
  const base = payload.constant + network;
  const version = over === "ip" ? 4 : 6;
  const chain = branch(bpf.JEQ | bpf.K, number, [
    statement(bpf.LD | bpf.IMM, number),
    statement(bpf.ST, register),
    statement(bpf.LD | bpf.ABS | bpf.B, base + (version === 4 ? 9 : 6)),
    version === 4 ? statement(bpf.LDX | bpf.MSH | bpf.B, base) : statement(bpf.LDX | bpf.IMM, 40),
    { ...statement(bpf.MISC | bpf.CHAIN, base), scratch: register, version },
  ]);
  context.free(register);
  return both(carries(context, version === 4 ? ETHERTYPE.IP : ETHERTYPE.IP6), chain);
}
