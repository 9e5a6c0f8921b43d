import type { Expression, LlcFormat, Protocol } from "../ast.js";
import * as bpf from "../bpf.js";
import type { Test } from "../flow-graph.js";
import { both, branch, either, not, statement } from "../flow-graph.js";
import { ETHERTYPE } from "../names/link-layer.js";
import { addressTest } from "./addresses.js";
import { relationTest } from "./arithmetic.js";
import type { Context } from "./context.js";
import { encapsulationTest } from "./encapsulations.js";
import { etherHost } from "./hosts.js";
import { carries, hasLinkHeader, hasLlc } from "./link-type.js";
import { isProtocol } from "./protocols.js";

const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
/** The netmask of a capture file is unknown and taken as zero: all of an address is host. */
const HOST_MASK = 0xffffffff;

/**
 * Translates an expression into a graph of tests, from left to right, since `vlan` and the like change what stands to
 * their right.
 */
export function generate(context: Context, node: Expression): Test {
  if ("column" in node) context.column = node.column;
  switch (node.kind) {
    case "sequence": {
      let test = generate(context, node.first);
      for (const { operator, operand } of node.rest) {
        const next = generate(context, operand);
        test = operator === "and" ? both(test, next) : either(test, next);
      }
      return test;
    }
    case "not":
      return not(generate(context, node.operand));
    case "address":
      return addressTest(context, node);
    case "protocol":
      return isProtocol(context, node.protocol);
    case "relation":
      return relationTest(context, node.relation, node.left, node.right);
    case "broadcast":
      return broadcastTest(context, node.protocol);
    case "multicast":
      return multicastTest(context, node.protocol);
    case "greater":
      return lengthTest(bpf.JGE, node.value);
    case "less":
      return not(lengthTest(bpf.JGT, node.value));
    case "byte":
      return byteTest(context, node.offset, node.operator, node.value);
    case "llc":
      return llcTest(context, node.format);
    default:
      return encapsulationTest(context, node.kind, node.number);
  }
}

const lengthTest = (relation: number, value: number): Test =>
  branch(relation | bpf.K, value, [statement(bpf.LD | bpf.LEN)]);

/** `byte 14 > 5`. With `&` and `|` nothing is loaded, as in libpcap: the accumulator is what the test before left. */
function byteTest(context: Context, offset: number, operator: string, value: number): Test {
  switch (operator) {
    case "=":
      return context.equals("link", offset, bpf.B, value);
    case "<":
      return not(context.compare("link", offset, bpf.B, bpf.JGE, value));
    case ">":
      return context.compare("link", offset, bpf.B, bpf.JGT, value);
    default:
      return not(
        branch(bpf.JEQ | bpf.K, 0, [statement(bpf.ALU | (operator === "&" ? bpf.AND : bpf.OR) | bpf.K, value)]),
      );
  }
}

function broadcastTest(context: Context, protocol: Protocol | undefined): Test {
  if (protocol === undefined || protocol === "link") return etherHost(context, BROADCAST, "dst");
  if (protocol !== "ip") return context.refuse(`"broadcast" goes with ether and ip, not with ${protocol}`);
  const ip = carries(context, ETHERTYPE.IP);
  const zero = context.matches("network", 16, bpf.W, 0, HOST_MASK);
  return both(ip, either(zero, context.matches("network", 16, bpf.W, HOST_MASK, HOST_MASK)));
}

function multicastTest(context: Context, protocol: Protocol | undefined): Test {
  switch (protocol) {
    case undefined:
    case "link": {
      if (context.layout.linkType !== "ethernet") return context.refuse("inside PPP there are no Ethernet addresses");
      const present = hasLinkHeader(context);
      const group = context.hasBits("link", 0, bpf.B, 1);
      return present === undefined ? group : both(present, group);
    }
    case "ip":
      return both(carries(context, ETHERTYPE.IP), context.compare("network", 16, bpf.B, bpf.JGE, 224));
    case "ip6":
      return both(carries(context, ETHERTYPE.IP6), context.equals("network", 24, bpf.B, 255));
    default:
      return context.refuse(`"multicast" goes with ether, ip and ip6, not with ${protocol}`);
  }
}

/** Formats of LLC frames by the low bits of the control field, IEEE 802.2 section 5.3. */
function llcTest(context: Context, format: LlcFormat): Test {
  const llc = hasLlc(context);
  if (format === "any") return llc;
  if (format === "i") return both(llc, not(context.hasBits("llc", 2, bpf.B, 0x01)));
  const control = (value: number, mask: number): Test => both(llc, context.matches("llc", 2, bpf.B, value, mask));
  if (format === "s") return control(0x01, 0x03);
  if (format === "u") return control(0x03, 0x03);
  return "supervisory" in format ? control(format.supervisory, 0x0f) : control(format.unnumbered, 0xef);
}
