import type { Token } from "./lexer.js";

/** What a qualifier names: a layer, a protocol, or a kind of PDU. `link` is `ether` and its other spellings. */
export type Protocol =
  | "link"
  | "ip"
  | "ip6"
  | "arp"
  | "rarp"
  | "tcp"
  | "udp"
  | "sctp"
  | "icmp"
  | "icmp6"
  | "igmp"
  | "igrp"
  | "pim"
  | "vrrp"
  | "carp"
  | "ah"
  | "esp"
  | "atalk"
  | "aarp"
  | "decnet"
  | "lat"
  | "sca"
  | "moprc"
  | "mopdl"
  | "iso"
  | "clnp"
  | "esis"
  | "isis"
  | "l1"
  | "l2"
  | "iih"
  | "lsp"
  | "snp"
  | "csnp"
  | "psnp"
  | "stp"
  | "ipx"
  | "netbeui";

export type Direction = "src" | "dst" | "src or dst" | "src and dst";

/** How an address is to be read. */
export type Kind = "host" | "net" | "port" | "portrange" | "proto" | "protochain";

/** What stands before an address, or was inherited from the address before it. */
export interface Qualifier {
  readonly protocol: Protocol | undefined;
  readonly direction: Direction | undefined;
  readonly kind: Kind | undefined;
}

export type Relation = "=" | "!=" | ">" | ">=" | "<" | "<=";
export type BinaryOperator = "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>";

export type Arithmetic =
  | { readonly kind: "number"; readonly column: number; readonly value: number }
  | { readonly kind: "length"; readonly column: number }
  | {
      readonly kind: "load";
      readonly column: number;
      readonly protocol: Protocol;
      readonly index: Arithmetic;
      readonly size: number;
    }
  | { readonly kind: "negate"; readonly column: number; readonly operand: Arithmetic }
  | {
      readonly kind: "binary";
      readonly column: number;
      readonly operator: BinaryOperator;
      readonly left: Arithmetic;
      readonly right: Arithmetic;
    };

/** `prefixLength`: the number after a slash. `mask`: the token after that word. */
export interface Address {
  readonly kind: "address";
  readonly column: number;
  readonly token: Token;
  readonly prefixLength: number | undefined;
  readonly mask: Token | undefined;
  /** undefined when there was none to inherit. */
  readonly qualifier: Qualifier | undefined;
}

export type Encapsulation = "vlan" | "mpls" | "pppoed" | "pppoes" | "geneve";

export type LlcFormat = "any" | "i" | "s" | "u" | { readonly supervisory: number } | { readonly unnumbered: number };

export type Expression =
  | Address
  | {
      readonly kind: "sequence";
      readonly first: Expression;
      readonly rest: readonly { readonly operator: "and" | "or"; readonly operand: Expression }[];
    }
  | { readonly kind: "not"; readonly operand: Expression }
  | { readonly kind: "protocol"; readonly column: number; readonly protocol: Protocol }
  | {
      readonly kind: "relation";
      readonly column: number;
      readonly relation: Relation;
      readonly left: Arithmetic;
      readonly right: Arithmetic;
    }
  | { readonly kind: "broadcast" | "multicast"; readonly column: number; readonly protocol: Protocol | undefined }
  | { readonly kind: "less" | "greater"; readonly column: number; readonly value: number }
  | {
      readonly kind: "byte";
      readonly column: number;
      readonly offset: number;
      readonly operator: string;
      readonly value: number;
    }
  | { readonly kind: Encapsulation; readonly column: number; readonly number: number | undefined }
  | { readonly kind: "llc"; readonly column: number; readonly format: LlcFormat };
