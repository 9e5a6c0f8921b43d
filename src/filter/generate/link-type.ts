import * as bpf from "../bpf.js";
import type { Test } from "../flow-graph.js";
import { both, branch, either, not, statement } from "../flow-graph.js";
import { ETHERTYPE, MAXIMUM_LENGTH_FIELD, PPP_OF, SAP } from "../names/link-layer.js";
import type { Context } from "./context.js";

const ENCAPSULATED_ETHERNET = 0x000000;
const APPLE = 0x080007;
const UNNUMBERED_INFORMATION = 0x03;

/** The frame carries this protocol: an EtherType, or an LLC service access point if at most 1500. */
export function carries(context: Context, protocol: number): Test {
  if (context.layout.mplsDepth > 0) return carriesUnderMpls(context, protocol);
  if (context.layout.linkType === "ppp") return context.equals("type", 0, bpf.H, PPP_OF.get(protocol) ?? protocol);
  return carriesOverEthernet(context, protocol);
}

/** The type field is a length: an LLC header follows. */
const hasLength = (context: Context): Test => context.atMost("type", 0, bpf.H, MAXIMUM_LENGTH_FIELD);

function carriesOverEthernet(context: Context, protocol: number): Test {
  switch (protocol) {
    case SAP.OSI:
    case SAP.IP:
    case SAP.NETBEUI:
      return both(hasLength(context), context.equals("llc", 0, bpf.H, (protocol << 8) | protocol));
    case SAP.IPX:
      return carriesIpx(context);
    case ETHERTYPE.ATALK:
    case ETHERTYPE.AARP: {
      const length = hasLength(context);
      const snap = hasSnap(context, protocol === ETHERTYPE.ATALK ? APPLE : ENCAPSULATED_ETHERNET, protocol);
      const encapsulated = both(length, snap);
      return either(context.equals("type", 0, bpf.H, protocol), encapsulated);
    }
    default:
      if (protocol > MAXIMUM_LENGTH_FIELD) return context.equals("type", 0, bpf.H, protocol);
      return both(hasLength(context), context.equals("type", 2, bpf.B, protocol));
  }
}

/** IPX comes as Ethernet II, as raw 802.3 (which begins with 0xffff), over LLC, and over SNAP. */
function carriesIpx(context: Context): Test {
  const overLlc = context.equals("llc", 0, bpf.B, SAP.IPX);
  const raw = context.equals("llc", 0, bpf.H, 0xffff);
  const withoutSnap = either(overLlc, raw);
  const any = either(hasSnap(context, ENCAPSULATED_ETHERNET, ETHERTYPE.IPX), withoutSnap);
  const encapsulated = both(hasLength(context), any);
  return either(context.equals("type", 0, bpf.H, ETHERTYPE.IPX), encapsulated);
}

/** LLC and SNAP headers (IEEE 802) for this organisation and protocol. */
function hasSnap(context: Context, organisation: number, protocol: number): Test {
  const [o, p] = [organisation, protocol];
  const header = [SAP.SNAP, SAP.SNAP, UNNUMBERED_INFORMATION, o >> 16, (o >> 8) & 0xff, o & 0xff, p >> 8, p & 0xff];
  return context.bytesAre("llc", 0, header);
}

/** Under MPLS no field says what follows the bottom of the stack (RFC 3032): the version of IP does. */
function carriesUnderMpls(context: Context, protocol: number): Test {
  if (protocol !== ETHERTYPE.IP && protocol !== ETHERTYPE.IP6)
    return context.refuse("under mpls only IPv4 and IPv6 can be told from the rest");
  const bottom = context.matches("network", -2, bpf.B, 1, 1);
  return both(bottom, context.matches("network", 0, bpf.B, protocol === ETHERTYPE.IP ? 0x40 : 0x60, 0xf0));
}

/** A frame with an LLC header that is not raw 802.3 IPX. */
export function hasLlc(context: Context): Test {
  if (context.layout.linkType !== "ethernet") return context.refuse(`"llc" is not for PPP frames`);
  return both(hasLength(context), not(context.equals("llc", 0, bpf.H, 0xffff)));
}

/** Inside Geneve there is a link-layer header only if the payload does not begin where it would. */
export function hasLinkHeader(context: Context): Test | undefined {
  const { insideGeneve, linkHeader, payload } = context.layout;
  if (!insideGeneve) return undefined;
  const compare = [
    statement(bpf.LD | bpf.MEM, linkHeader.register ?? 0),
    statement(bpf.LDX | bpf.MEM, payload.register ?? 0),
  ];
  return not(branch(bpf.JEQ | bpf.X, 0, compare));
}
