import type { Encapsulation } from "../ast.js";
import * as bpf from "../bpf.js";
import type { Statement, Test } from "../flow-graph.js";
import { both, branch, either, statement } from "../flow-graph.js";
import { ETHERTYPE } from "../names/link-layer.js";
import type { Context, Origin } from "./context.js";
import { after, at } from "./layout.js";
import { carries } from "./link-type.js";
import { port, portTest4, portTest6 } from "./ports.js";

const GENEVE_PORT = 6081;
const UDP_HEADER = 8;

/** Tests for the encapsulation, and makes all that follows speak of what is inside. */
export function encapsulationTest(context: Context, kind: Encapsulation, number: number | undefined): Test {
  switch (kind) {
    case "vlan":
      return vlan(context, number);
    case "mpls":
      return mpls(context, number);
    case "pppoed":
      return carries(context, ETHERTYPE.PPPOED);
    case "pppoes":
      return pppoes(context, number);
    case "geneve":
      return geneve(context, number);
  }
}

function limit(context: Context, number: number, maximum: number, what: string): void {
  if (number > maximum) context.refuse(`${what} ${number} is too large; ${maximum} is the largest`);
}

/** A tag of IEEE 802.1Q, 802.1ad, or the older 0x9100. */
function vlan(context: Context, id: number | undefined): Test {
  const { layout } = context;
  if (layout.mplsDepth > 0) context.refuse(`"vlan" cannot follow "mpls"`);
  if (layout.linkType !== "ethernet") context.refuse(`"vlan" cannot follow "pppoes"`);
  const standard = either(carries(context, ETHERTYPE.VLAN), carries(context, ETHERTYPE.SERVICE_VLAN));
  let test = either(standard, carries(context, ETHERTYPE.QINQ));
  if (id !== undefined) {
    limit(context, id, 0x0fff, "the VLAN");
    test = both(test, context.matches("network", 0, bpf.H, id, 0x0fff));
  }
  layout.payload = after(layout.payload, 4);
  layout.typeField = after(layout.typeField, 4);
  return test;
}

/** A label stack entry, RFC 3032 section 2.1. */
function mpls(context: Context, label: number | undefined): Test {
  const { layout } = context;
  let test = mplsEntry(context);
  if (label !== undefined) {
    limit(context, label, 0xfffff, "the MPLS label");
    test = both(test, context.matches("network", 0, bpf.W, (label << 12) >>> 0, 0xfffff000));
  }
  layout.network += 4;
  layout.networkAfterLlc += 4;
  layout.mplsDepth++;
  return test;
}

function mplsEntry(context: Context): Test {
  const { layout } = context;
  if (layout.mplsDepth > 0) return context.matches("network", -2, bpf.B, 0, 1);
  return carries(context, layout.linkType === "ppp" ? PPP_MPLS_UNICAST : ETHERTYPE.MPLS);
}

const PPP_MPLS_UNICAST = 0x0281;

/** RFC 2516 section 4: a header of 6 bytes, then the protocol field of PPP. */
function pppoes(context: Context, session: number | undefined): Test {
  const { layout } = context;
  let test = carries(context, ETHERTYPE.PPPOES);
  if (session !== undefined) {
    limit(context, session, 0xffff, "the PPPoE session");
    test = both(test, context.matches("network", 0, bpf.W, session, 0xffff));
  }
  layout.linkType = "ppp";
  layout.linkHeader = after(layout.payload, layout.network + 6);
  layout.typeField = layout.linkHeader;
  layout.payload = { ...layout.payload, constant: layout.linkHeader.constant + 2 };
  layout.network = 0;
  layout.networkAfterLlc = 0;
  layout.insideGeneve = false;
  return test;
}

/** RFC 8926 section 3: a UDP port, version 0, a network identifier; then options, and an Ethernet frame or a bare protocol. */
function geneve(context: Context, identifier: number | undefined): Test {
  const v4 = geneveOver(context, "transport", identifier, [
    ...context.loadHeaderLength(),
    statement(bpf.MISC | bpf.TXA),
  ]);
  const v6 = geneveOver(context, "transport6", identifier, ipv6HeaderLength(context));
  const found = either(v4, v6);
  const inside = context.always();
  inside.head.statements = [...enterGeneve(context), ...inside.head.statements];
  context.layout.insideGeneve = true;
  return both(found, inside);
}

/** Leaves the length of the IP header, plus the variable part of where it begins, in A and X. */
function geneveOver(context: Context, origin: Origin, identifier: number | undefined, headerLength: Statement[]): Test {
  const portTest = origin === "transport" ? portTest4 : portTest6;
  let test = both(
    portTest(context, port(GENEVE_PORT), "udp", "dst"),
    context.matches(origin, UDP_HEADER, bpf.B, 0, 0xc0),
  );
  if (identifier !== undefined) {
    limit(context, identifier, 0xffffff, "the Geneve network");
    test = both(test, context.matches(origin, UDP_HEADER + 4, bpf.W, (identifier << 8) >>> 0, 0xffffff00));
  }
  return both(test, branch(bpf.JEQ | bpf.X, 0, headerLength));
}

function ipv6HeaderLength(context: Context): Statement[] {
  const variable = context.variablePart(context.layout.payload);
  const add = variable.length > 0 ? [statement(bpf.ALU | bpf.ADD | bpf.X)] : [];
  return [...variable, statement(bpf.LD | bpf.IMM, 40), ...add, statement(bpf.MISC | bpf.TAX)];
}

/** From the length of the IP header in A: where the inner type field, link-layer header and payload begin. */
function enterGeneve(context: Context): Statement[] {
  const { layout } = context;
  context.keepAsIs = true;
  const typeField = context.allocate();
  const start = layout.payload.constant + layout.network + UDP_HEADER;
  const linkHeader = context.allocate();
  const isEthernet = statement(bpf.JMP | bpf.JEQ | bpf.K, ETHERTYPE.BRIDGING);
  const ethernet = statement(bpf.MISC | bpf.TXA);
  const payload = context.allocate();
  const done = statement(bpf.STX, payload);
  isEthernet.whenTrue = ethernet;
  isEthernet.whenFalse = done;
  layout.linkType = "ethernet";
  layout.linkHeader = at(0, linkHeader);
  layout.typeField = at(0, typeField);
  layout.payload = at(0, payload);
  layout.network = 0;
  return [
    statement(bpf.ALU | bpf.ADD | bpf.K, start),
    statement(bpf.MISC | bpf.TAX),
    statement(bpf.ALU | bpf.ADD | bpf.K, 2),
    statement(bpf.ST, typeField),
    statement(bpf.LD | bpf.IND | bpf.B, 0),
    statement(bpf.ALU | bpf.AND | bpf.K, 0x3f),
    statement(bpf.ALU | bpf.MUL | bpf.K, 4),
    statement(bpf.ALU | bpf.ADD | bpf.K, 8),
    statement(bpf.ALU | bpf.ADD | bpf.X),
    statement(bpf.ST, linkHeader),
    statement(bpf.LD | bpf.IND | bpf.H, 2),
    statement(bpf.LDX | bpf.MEM, linkHeader),
    isEthernet,
    ethernet,
    statement(bpf.ALU | bpf.ADD | bpf.K, 12),
    statement(bpf.ST, typeField),
    statement(bpf.ALU | bpf.ADD | bpf.K, 2),
    statement(bpf.MISC | bpf.TAX),
    done,
  ];
}
