import { parseDecnet, parseIpv4, parseIpv6, parseMac, toInt } from "../addresses.js";
import type { Address, Protocol, Qualifier } from "../ast.js";
import type { Test } from "../flow-graph.js";
import type { Token } from "../lexer.js";
import { ETHER_PROTOCOLS, OSI_PROTOCOLS } from "../names/link-layer.js";
import { NETWORKS } from "../names/networks.js";
import { IP_PROTOCOLS } from "../names/protocols.js";
import type { Service } from "../names/services.js";
import { SERVICES } from "../names/services.js";
import type { Context } from "./context.js";
import type { Words } from "./hosts.js";
import { etherHost, ipv4Host, ipv6Host } from "./hosts.js";
import type { Transport } from "./ports.js";
import { port, portTest } from "./ports.js";
import { protocolChainTest, protocolTest } from "./protocols.js";

const ALL_ONES = 0xffffffff;

/** A literal address, number or name, read as its qualifier says. */
export function addressTest(context: Context, { token, prefixLength, mask, qualifier }: Address): Test {
  if (qualifier === undefined)
    return context.refuse(`"${token.text}" does not say what it is; write host, net, port or the like before it`);
  switch (token.kind) {
    case "number":
      return numberTest(context, token.value, qualifier);
    case "address4":
      return prefixLength === undefined && mask === undefined
        ? ipv4Test(context, token, qualifier)
        : ipv4NetworkTest(context, token, prefixLength, mask, qualifier);
    case "address6":
      return ipv6Test(context, token, prefixLength ?? 128, qualifier);
    case "mac":
      if (qualifier.protocol !== "link" || (qualifier.kind !== undefined && qualifier.kind !== "host"))
        return context.refuse(`an Ethernet address goes with "ether host", "ether src" or "ether dst"`);
      return etherHost(context, parseMac(token.text), qualifier.direction);
    case "arcnet":
      return context.refuse("ARCnet addresses are not for Ethernet frames");
    default:
      return nameTest(context, token.text, qualifier);
  }
}

function ipv4Of(context: Context, token: Token): { value: number; bits: number } {
  return parseIpv4(token.text) ?? context.refuse(`"${token.text}" is not an IPv4 address`);
}

function numberTest(context: Context, value: number, qualifier: Qualifier): Test {
  const { protocol, direction, kind } = qualifier;
  switch (kind) {
    case undefined:
    case "host":
      if (protocol === "link") return context.refuse("a number is not an Ethernet address");
      return ipv4Host(context, value, ALL_ONES, protocol, direction, "host");
    case "net": {
      if (protocol === "link") return context.refuse("a number is not an Ethernet address");
      if (protocol === "decnet") return ipv4Host(context, value, 0, protocol, direction, "net");
      const [address, mask] = leftJustified(value);
      return ipv4Host(context, address, mask, protocol, direction, "net");
    }
    case "port":
    case "portrange":
      return portTest(
        context,
        { first: portNumber(context, value), last: value, isRange: kind === "portrange" },
        transportOf(context, qualifier),
        direction,
      );
    case "proto":
      return protocolTest(context, value, protocol);
    case "protochain":
      return protocolChainTest(context, value, protocol);
  }
}

/** `net 10` is 10.0.0.0/8. */
function leftJustified(value: number): [number, number] {
  let [address, mask] = [value, ALL_ONES];
  while (address !== 0 && address <= 0xffffff) {
    address = (address << 8) >>> 0;
    mask = (mask << 8) >>> 0;
  }
  return [address, mask];
}

function ipv4Test(context: Context, token: Token, { protocol, direction, kind }: Qualifier): Test {
  if (kind !== undefined && kind !== "host" && kind !== "net")
    return context.refuse(`"${kind}" cannot stand before an IPv4 address`);
  if (protocol === "decnet") {
    const node = parseDecnet(token.text) ?? context.refuse(`"${token.text}" is not a DECnet address such as 1.23`);
    return ipv4Host(context, node, 0, protocol, direction, "host");
  }
  const { value, bits } = ipv4Of(context, token);
  if (protocol === "link") return context.refuse("an IPv4 address is not an Ethernet address");
  return ipv4Host(
    context,
    shifted(value, 32 - bits),
    shifted(ALL_ONES, 32 - bits),
    protocol,
    direction,
    kind ?? "host",
  );
}

const shifted = (value: number, bits: number): number => (bits >= 32 ? 0 : (value << bits) >>> 0);

function ipv4NetworkTest(
  context: Context,
  token: Token,
  prefixLength: number | undefined,
  maskToken: Token | undefined,
  { protocol, direction, kind }: Qualifier,
): Test {
  const { value, bits } = ipv4Of(context, token);
  const address = shifted(value, 32 - bits);
  let mask: number;
  if (maskToken !== undefined) {
    const given = ipv4Of(context, maskToken);
    mask = shifted(given.value, 32 - given.bits);
  } else {
    if ((prefixLength ?? 0) > 32) context.refuse("an IPv4 prefix has at most 32 bits");
    mask = shifted(ALL_ONES, 32 - (prefixLength ?? 0));
  }
  if ((address & ~mask) !== 0) context.refuse(`"${token.text}" has bits set outside its mask`);
  if (kind !== "net") return context.refuse(`a mask goes with "net" only`);
  return ipv4Host(context, address, mask, protocol, direction, "net");
}

function ipv6Test(
  context: Context,
  token: Token,
  prefixLength: number,
  { protocol, direction, kind }: Qualifier,
): Test {
  const address = parseIpv6(token.text) ?? context.refuse(`"${token.text}" is not an IPv6 address`);
  if (prefixLength > 128) context.refuse("an IPv6 prefix has at most 128 bits");
  const word = (i: number): number => shifted(ALL_ONES, Math.min(32, Math.max(0, 32 * (i + 1) - prefixLength)));
  const mask: Words = [word(0), word(1), word(2), word(3)];
  if (address.some((part, i) => (part & ~mask[i]) !== 0))
    context.refuse(`"${token.text}" has bits set outside its prefix of ${prefixLength}`);
  if (kind !== undefined && kind !== "host" && kind !== "net")
    return context.refuse(`"${kind}" cannot stand before an IPv6 address`);
  if (kind !== "net" && prefixLength !== 128) return context.refuse(`a prefix goes with "net" only`);
  return ipv6Host(context, address, mask, protocol, direction, kind ?? "host");
}

function nameTest(context: Context, name: string, qualifier: Qualifier): Test {
  const { protocol, direction, kind } = qualifier;
  switch (kind) {
    case undefined:
    case "host":
      return hostNameTest(context, name, qualifier);
    case "net": {
      const network = NETWORKS.get(name) ?? context.refuse(`there is no network "${name}"; write its number`);
      return ipv4Host(context, network, ALL_ONES, protocol, direction, "net");
    }
    case "port": {
      const wanted = transportOf(context, qualifier);
      const { port: number, transport } = serviceOf(context, name);
      return portTest(context, port(number), agreed(context, name, wanted, transport), direction);
    }
    case "portrange":
      return portRangeTest(context, name, qualifier);
    case "proto":
      return protocolTest(context, protocolNumber(context, name, protocol), protocol);
    case "protochain":
      return protocolChainTest(context, protocolNumber(context, name, protocol), protocol);
  }
}

/** Names are not looked up; an address that was escaped by a backslash comes here too. */
function hostNameTest(context: Context, name: string, { protocol, direction }: Qualifier): Test {
  const v4 = protocol === "link" || protocol === "decnet" ? undefined : parseIpv4(name);
  if (v4?.bits === 32) return ipv4Host(context, v4.value, ALL_ONES, protocol, direction, "host");
  const v6 = protocol === "link" || protocol === "decnet" ? undefined : parseIpv6(name);
  if (v6 !== undefined)
    return ipv6Host(context, v6, [ALL_ONES, ALL_ONES, ALL_ONES, ALL_ONES], protocol, direction, "host");
  return context.refuse(`"${name}" is no address; hosts are numeric here, names are not looked up`, "filter-host-name");
}

function transportOf(context: Context, { protocol, kind }: Qualifier): Transport | undefined {
  if (protocol === undefined || protocol === "tcp" || protocol === "udp" || protocol === "sctp") return protocol;
  return context.refuse(`"${kind}" goes with tcp, udp and sctp, not with ${protocol}`);
}

function portNumber(context: Context, number: number): number {
  if (number < 0 || number > 0xffff) context.refuse(`there is no port ${number}; 65535 is the largest`);
  return number;
}

/** A decimal number counts as a name for both transports; it is cut to 16 bits, as the C library does. */
function serviceOf(context: Context, name: string): Service {
  if (/^[0-9]+$/.test(name)) return { port: Number(BigInt(name) & 0xffffn), transport: "both" };
  return SERVICES.get(name) ?? context.refuse(`there is no port named "${name}"; write its number`);
}

/** The transport that a name of a port and the qualifier agree on; undefined: any. */
function agreed(
  context: Context,
  name: string,
  wanted: Transport | undefined,
  named: Service["transport"],
): Transport | undefined {
  if (wanted !== undefined && named !== "both" && named !== wanted)
    context.refuse(`port "${name}" is ${named}, not ${wanted}`);
  return wanted ?? (named === "both" ? undefined : named);
}

function portRangeTest(context: Context, text: string, qualifier: Qualifier): Test {
  const wanted = transportOf(context, qualifier);
  const numeric = /^(-?[0-9]+)-(-?[0-9]+)/.exec(text);
  const dash = text.indexOf("-");
  let ends: [Service, Service];
  if (numeric !== null)
    ends = [
      { port: toInt(numeric[1]), transport: "both" },
      { port: toInt(numeric[2]), transport: "both" },
    ];
  else if (dash < 0) return context.refuse(`"${text}" is no range of ports such as 80-90`);
  else ends = [serviceOf(context, text.slice(0, dash)), serviceOf(context, text.slice(dash + 1))];
  const [low, high] = ends;
  const transport = agreed(context, text, wanted, low.transport === high.transport ? low.transport : "both");
  const range = { first: portNumber(context, low.port), last: portNumber(context, high.port), isRange: true };
  return portTest(context, range, transport, qualifier.direction);
}

function protocolNumber(context: Context, name: string, over: Protocol | undefined): number {
  const table = over === "link" ? ETHER_PROTOCOLS : over === "iso" ? OSI_PROTOCOLS : IP_PROTOCOLS;
  if (over !== undefined && over !== "link" && over !== "iso" && over !== "ip" && over !== "ip6")
    return context.refuse(`names of protocols go with ether, iso, ip and ip6, not with ${over}`);
  return (
    table.get(name) ??
    context.refuse(
      `there is no protocol named "${name}" over ${over === "link" ? "ether" : (over ?? "ip")}; write its number`,
    )
  );
}
