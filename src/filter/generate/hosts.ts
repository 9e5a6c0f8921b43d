import type { Direction, Protocol } from "../ast.js";
import * as bpf from "../bpf.js";
import type { Test } from "../flow-graph.js";
import { both, either } from "../flow-graph.js";
import { ETHERTYPE } from "../names/link-layer.js";
import type { Context } from "./context.js";
import { carries, hasLinkHeader } from "./link-type.js";

export type Words = readonly [number, number, number, number];

/** Runs `one` for the source, the destination, either or both, as the direction says; without one: either. */
export function inDirection(direction: Direction | undefined, one: (end: "src" | "dst") => Test): Test {
  if (direction === "src" || direction === "dst") return one(direction);
  const source = one("src");
  const destination = one("dst");
  return direction === "src and dst" ? both(source, destination) : either(source, destination);
}

/** An IPv4 host or network, in IPv4, ARP and RARP unless the protocol says which. `what`: for messages. */
export function ipv4Host(
  context: Context,
  address: number,
  mask: number,
  protocol: Protocol | undefined,
  direction: Direction | undefined,
  what: string,
): Test {
  const field = (type: number, source: number, destination: number): Test =>
    inDirection(direction, (end) =>
      both(
        carries(context, type),
        context.matches("network", end === "src" ? source : destination, bpf.W, address, mask),
      ),
    );
  const ip = (): Test => field(ETHERTYPE.IP, 12, 16);
  const arp = (): Test => field(ETHERTYPE.ARP, 14, 24);
  const rarp = (): Test => field(ETHERTYPE.RARP, 14, 24);
  switch (protocol) {
    case undefined:
      return context.layout.mplsDepth > 0 ? ip() : either(either(ip(), arp()), rarp());
    case "ip":
      return ip();
    case "arp":
      return arp();
    case "rarp":
      return rarp();
    case "decnet":
      return decnetHost(context, address, direction);
    default:
      return context.refuse(`"${protocol}" cannot stand before an IPv4 ${what}; ip, arp and rarp can`);
  }
}

/** An IPv6 host or network, the address and its mask as four words. */
export function ipv6Host(
  context: Context,
  address: Words,
  mask: Words,
  protocol: Protocol | undefined,
  direction: Direction | undefined,
  what: string,
): Test {
  if (protocol !== undefined && protocol !== "ip6")
    return context.refuse(`"${protocol}" cannot stand before an IPv6 ${what}; ip6 can`);
  return inDirection(direction, (end) => {
    const offset = end === "src" ? 8 : 24;
    const word = (i: number): Test => context.matches("network", offset + 4 * i, bpf.W, address[i], mask[i]);
    const words = both(word(0), both(word(1), both(word(2), word(3))));
    return both(carries(context, ETHERTYPE.IP6), words);
  });
}

/** A link-layer host, `ether host`. */
export function etherHost(context: Context, mac: readonly number[], direction: Direction | undefined): Test {
  if (context.layout.linkType !== "ethernet") return context.refuse("inside PPP there are no Ethernet addresses");
  const present = hasLinkHeader(context);
  const test = inDirection(direction, (end) => context.bytesAre("link", end === "src" ? 6 : 0, mac));
  return present === undefined ? test : both(present, test);
}

const swap = (half: number): number => ((half & 0xff) << 8) | ((half >> 8) & 0xff);

/**
 * A DECnet Phase IV node: after the length field, perhaps a byte of padding (0x81), then a short (flags 0b010) or a long
 * (0b110) routing header. Addresses are little-endian.
 */
function decnetHost(context: Context, address: number, direction: Direction | undefined): Test {
  const node = swap(address & 0xffff);
  return inDirection(direction, (end) => {
    const [short, long] = end === "dst" ? [1, 7] : [3, 15];
    const header = (pad: number, flags: number, offset: number): Test => {
      const form =
        pad > 0
          ? context.matches("network", 2, bpf.H, 0x8100 | flags, 0xff07)
          : context.matches("network", 2, bpf.B, flags, 0x07);
      return both(form, context.equals("network", 2 + pad + offset, bpf.H, node));
    };
    const longForms = either(header(0, 6, long), header(1, 6, long));
    const paddedShort = either(header(1, 2, short), longForms);
    return both(carries(context, ETHERTYPE.DECNET), either(header(0, 2, short), paddedShort));
  });
}
