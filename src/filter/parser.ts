import type {
  Address,
  Arithmetic,
  BinaryOperator,
  Direction,
  Encapsulation,
  Expression,
  Kind,
  LlcFormat,
  Protocol,
  Qualifier,
  Relation,
} from "./ast.js";
import { FilterSyntaxError } from "./errors.js";
import type { Token } from "./lexer.js";
import { tokenize } from "./lexer.js";
import { LLC_SUPERVISORY, LLC_UNNUMBERED } from "./names/link-layer.js";
import { refusalOf } from "./names/refused.js";

/** Nested parentheses, negations and signs: enough for any expression that a person or a program writes. */
const MAXIMUM_DEPTH = 1000;

const PROTOCOLS: ReadonlySet<string> = new Set<Protocol>([
  "link",
  "ip",
  "ip6",
  "arp",
  "rarp",
  "tcp",
  "udp",
  "sctp",
  "icmp",
  "icmp6",
  "igmp",
  "igrp",
  "pim",
  "vrrp",
  "carp",
  "ah",
  "esp",
  "atalk",
  "aarp",
  "decnet",
  "lat",
  "sca",
  "moprc",
  "mopdl",
  "iso",
  "clnp",
  "esis",
  "isis",
  "l1",
  "l2",
  "iih",
  "lsp",
  "snp",
  "csnp",
  "psnp",
  "stp",
  "ipx",
  "netbeui",
]); // prettier-ignore
const KINDS: ReadonlySet<string> = new Set<Kind>(["host", "net", "port", "portrange"]);
const ENCAPSULATIONS: ReadonlySet<string> = new Set<Encapsulation>(["vlan", "mpls", "pppoed", "pppoes", "geneve"]);
const RELATIONS: ReadonlySet<string> = new Set<Relation>(["=", "!=", ">", ">=", "<", "<="]);
const BYTE_OPERATORS = new Set(["&", "|", "<", ">", "="]);
/** How tightly an operator binds. `%` and `^` have no rank: next to one of them the rightmost binds first. */
const RANKS: ReadonlyMap<string, number | undefined> = new Map([
  ["|", 1],
  ["&", 2],
  ["<<", 3],
  [">>", 3],
  ["+", 4],
  ["-", 4],
  ["*", 5],
  ["/", 5],
  ["%", undefined],
  ["^", undefined],
]); // prettier-ignore
const NEGATION_RANK = 6;

/**
 * A piece of a parenthesis whose kind shows only at its end: a test; an address (which takes part in lists of
 * addresses); a number, which is an address or an arithmetic value; or an arithmetic value.
 */
type Piece =
  | { readonly is: "test"; readonly node: Expression; readonly qualifier: Qualifier | undefined }
  | { readonly is: "address" | "list"; readonly node: Expression; readonly qualifier: Qualifier | undefined }
  | { readonly is: "number"; readonly token: Token }
  | { readonly is: "value"; readonly value: Arithmetic };

/** Where a piece stands: `test` after nothing, `address` after a head such as `src host`, `either` after and/or/not. */
type Place = "test" | "address" | "either";

/**
 * Parses an expression by the grammar of pcap-filter(7).
 *
 * @returns undefined for an empty expression, which accepts every packet
 * @throws FilterSyntaxError
 */
export function parseFilter(expression: string): Expression | undefined {
  return new Parser(expression).parse();
}

class Parser {
  private readonly tokens: Token[];
  private at = 0;
  private depth = 0;

  constructor(private readonly expression: string) {
    this.tokens = tokenize(expression);
  }

  parse(): Expression | undefined {
    if (this.atEnd()) return undefined;
    const piece = this.sequence(this.piece("test", undefined), "test");
    if (piece.is !== "test" || !this.atEnd()) this.unexpected();
    return piece.node;
  }

  private get token(): Token {
    return this.tokens[this.at];
  }

  private atEnd(): boolean {
    return this.token.kind === "end";
  }

  private sees(...texts: string[]): boolean {
    return (this.token.kind === "keyword" || this.token.kind === "symbol") && texts.includes(this.token.text);
  }

  private takes(...texts: string[]): boolean {
    const seen = this.sees(...texts);
    if (seen) this.at++;
    return seen;
  }

  private expect(text: string): void {
    if (!this.takes(text)) this.unexpected(`"${text}" is missing here`);
  }

  private expectNumber(): number {
    if (this.token.kind !== "number") this.unexpected("a number is missing here");
    return this.tokens[this.at++].value;
  }

  private unexpected(hint?: string): never {
    const { kind, text, column } = this.token;
    const refused = kind === "keyword" ? refusalOf(text) : undefined;
    if (refused !== undefined) throw new FilterSyntaxError(this.expression, column, refused, "filter-unsupported");
    const seen = kind === "end" ? "the filter ends too early" : `"${text}" cannot stand here`;
    throw new FilterSyntaxError(this.expression, column, hint === undefined ? seen : `${seen}; ${hint}`);
  }

  private nest<Result>(inner: () => Result): Result {
    if (++this.depth > MAXIMUM_DEPTH)
      throw new FilterSyntaxError(
        this.expression,
        this.token.column,
        `nested more than ${MAXIMUM_DEPTH} deep`,
        "filter-too-deep",
      );
    const result = inner();
    this.depth--;
    return result;
  }

  /** `and` and `or` rank equally and group to the left. A list of addresses takes only addresses. */
  private sequence(first: Piece, place: Place): Piece {
    if (!this.sees("and", "or")) return first;
    const head = this.asOperand(first);
    const rest: { operator: "and" | "or"; operand: Expression }[] = [];
    let qualifier = head.qualifier;
    const listed = head.is !== "test";
    while (this.sees("and", "or")) {
      const operator = this.takes("and") ? "and" : "or";
      if (operator === "or") this.expect("or");
      const operand = this.asOperand(this.piece(listed ? "address" : "either", qualifier));
      rest.push({ operator, operand: operand.node });
      qualifier = operand.qualifier;
    }
    const node: Expression = { kind: "sequence", first: head.node, rest };
    if (listed && place === "test") this.unexpected();
    return { is: listed ? "address" : "test", node, qualifier };
  }

  /** A bare number as an operand is an address. */
  private asOperand(piece: Piece): Exclude<Piece, { is: "number" | "value" }> {
    if (piece.is === "value" || piece.is === "number") this.unexpected();
    return piece;
  }

  private piece(place: Place, inherited: Qualifier | undefined): Piece {
    const bare = this.barePiece(place, inherited);
    if (bare.is === "number" || bare.is === "value") return this.relationOrAddress(bare, place, inherited);
    return bare;
  }

  private relationOrAddress(
    piece: Piece & { is: "number" | "value" },
    place: Place,
    inherited: Qualifier | undefined,
  ): Piece {
    if (place !== "address") {
      const left = this.binary(asValue(piece), undefined, false);
      if (this.token.kind === "symbol" && RELATIONS.has(this.token.text)) {
        const { column } = this.token;
        const relation = this.tokens[this.at++].text as Relation;
        const right = this.binary(this.operand(), undefined, false);
        return { is: "test", node: { kind: "relation", column, relation, left, right }, qualifier: undefined };
      }
      if (left.kind !== "number" || piece.is === "value") return { is: "value", value: left };
    }
    if (piece.is === "value") this.unexpected();
    if (place === "test") return piece;
    return { is: "address", node: addressOf(piece.token, inherited), qualifier: inherited };
  }

  private barePiece(place: Place, inherited: Qualifier | undefined): Piece {
    if (this.sees("!")) return this.nest(() => this.negation(place, inherited));
    if (this.sees("(")) return this.nest(() => this.parenthesis(place, inherited));
    if (this.token.kind === "number") return { is: "number", token: this.tokens[this.at++] };
    if (place !== "test" && isAddress(this.token))
      return { is: "address", node: this.address(inherited), qualifier: inherited };
    if (place === "address") this.unexpected("an address, port or protocol is missing here");
    if (this.sees("len", "-")) return { is: "value", value: this.operand() };
    return this.primitive();
  }

  private negation(place: Place, inherited: Qualifier | undefined): Piece {
    this.expect("!");
    const piece = this.asOperand(this.piece(place, inherited));
    return {
      is: piece.is === "test" ? "test" : "address",
      node: { kind: "not", operand: piece.node },
      qualifier: piece.qualifier,
    };
  }

  /**
   * `(` test `)`, `(` list of addresses `)`, `(` number `)` or `(` value `)`. A list begins with an address or a number,
   * not with another parenthesis.
   */
  private parenthesis(place: Place, inherited: Qualifier | undefined): Piece {
    this.expect("(");
    const first = this.insideParenthesis(place, inherited);
    this.expect(")");
    switch (first.is) {
      case "test":
        return { is: "test", node: first.node, qualifier: inherited };
      case "address":
        return { is: "list", node: first.node, qualifier: first.qualifier };
      default:
        return first;
    }
  }

  private insideParenthesis(place: Place, inherited: Qualifier | undefined): Piece {
    const bare = this.barePiece(place, inherited);
    if (bare.is === "list") this.unexpected("a list of addresses begins with an address");
    if (bare.is === "value" || bare.is === "number") {
      if (bare.is === "number" && this.sees(")")) return bare;
      const piece = this.relationOrAddress(bare, place, inherited);
      if (piece.is === "value" && this.sees(")")) return piece;
      return this.sequence(piece, place);
    }
    return this.sequence(bare, place);
  }

  /** A test that begins with a keyword. */
  private primitive(): Piece {
    const { kind, text, column } = this.token;
    if (kind !== "keyword")
      this.unexpected("an expression begins with a word such as host, port, tcp, or with a value");
    if (ENCAPSULATIONS.has(text)) return test(this.encapsulation(text as Encapsulation));
    if (this.takes("less", "greater"))
      return test({ kind: text as "less" | "greater", column, value: this.expectNumber() });
    if (this.takes("byte")) return test(this.byteTest(column));
    if (this.takes("llc")) return test({ kind: "llc", column, format: this.llcFormat() });
    const protocol = PROTOCOLS.has(text) ? (this.tokens[this.at++].text as Protocol) : undefined;
    if (protocol !== undefined && this.sees("[")) return { is: "value", value: this.load(protocol, column) };
    if (this.sees("broadcast", "multicast")) {
      const word = this.tokens[this.at++].text as "broadcast" | "multicast";
      return test({ kind: word, column, protocol });
    }
    const qualifier = this.qualifier(protocol);
    if (qualifier === undefined) {
      if (protocol === undefined) this.unexpected();
      return test({ kind: "protocol", column, protocol });
    }
    const piece = this.piece("address", qualifier);
    if (piece.is !== "address" && piece.is !== "list") this.unexpected();
    return { is: "test", node: piece.node, qualifier: piece.qualifier };
  }

  /** The direction and kind that follow a protocol; undefined if neither does. */
  private qualifier(protocol: Protocol | undefined): Qualifier | undefined {
    const direction = this.direction();
    if (this.token.kind === "keyword" && KINDS.has(this.token.text))
      return { protocol, direction, kind: this.tokens[this.at++].text as Kind };
    if (direction !== undefined) return { protocol, direction, kind: undefined };
    if (this.sees("proto", "protochain")) return { protocol, direction, kind: this.tokens[this.at++].text as Kind };
    if (this.token.kind === "keyword" && refusalOf(this.token.text) !== undefined) this.unexpected();
    return undefined;
  }

  private direction(): Direction | undefined {
    if (!this.sees("src", "dst")) return undefined;
    const first = this.tokens[this.at++].text;
    const other = first === "src" ? "dst" : "src";
    const [link, second] = [this.token, this.tokens[Math.min(this.at + 1, this.tokens.length - 1)]];
    const joined = (link.kind === "keyword" || link.kind === "symbol") && (link.text === "or" || link.text === "and");
    if (!joined || second.kind !== "keyword" || second.text !== other) return first as Direction;
    this.at += 2;
    return link.text === "or" ? "src or dst" : "src and dst";
  }

  private address(inherited: Qualifier | undefined): Address {
    const token = this.tokens[this.at++];
    const plain = addressOf(token, inherited);
    if (token.kind === "address4" && this.takes("mask")) {
      if (this.token.kind !== "address4") this.unexpected("a mask such as 255.255.0.0 is missing here");
      return { ...plain, mask: this.tokens[this.at++] };
    }
    if ((token.kind === "address4" || token.kind === "address6") && this.takes("/"))
      return { ...plain, prefixLength: this.expectNumber() };
    return plain;
  }

  private encapsulation(kind: Encapsulation): Expression {
    const { column } = this.tokens[this.at++];
    const numbered = kind !== "pppoed" && (this.token.kind === "number" || this.sees("("));
    return { kind, column, number: numbered ? this.parenthesisedNumber() : undefined };
  }

  private parenthesisedNumber(): number {
    let open = 0;
    while (this.takes("(")) open++;
    const number = this.expectNumber();
    while (open-- > 0) this.expect(")");
    return number;
  }

  private byteTest(column: number): Expression {
    const offset = this.expectNumber();
    if (this.token.kind !== "symbol" || !BYTE_OPERATORS.has(this.token.text))
      this.unexpected("one of = < > & | is missing here");
    const operator = this.tokens[this.at++].text;
    return { kind: "byte", column, offset, operator, value: this.expectNumber() };
  }

  private llcFormat(): LlcFormat {
    if (this.takes("rnr")) return { supervisory: LLC_SUPERVISORY.get("rnr") ?? 0 };
    if (this.token.kind !== "name") return "any";
    const { text, column } = this.tokens[this.at++];
    const name = text.toLowerCase();
    if (name === "i" || name === "s" || name === "u") return name;
    const supervisory = LLC_SUPERVISORY.get(name);
    if (supervisory !== undefined) return { supervisory };
    const unnumbered = LLC_UNNUMBERED.get(name);
    if (unnumbered !== undefined) return { unnumbered };
    throw new FilterSyntaxError(this.expression, column, `"${text}" is no type of LLC frame`);
  }

  private load(protocol: Protocol, column: number): Arithmetic {
    this.expect("[");
    const index = this.nest(() => this.binary(this.operand(), undefined, false));
    const size = this.takes(":") ? this.expectNumber() : 1;
    this.expect("]");
    return { kind: "load", column, protocol, index, size };
  }

  /** What an arithmetic operator takes: a number, `len`, a load, a negation, a parenthesis. */
  private operand(): Arithmetic {
    const { kind, text, column } = this.token;
    if (kind === "number") {
      this.at++;
      return { kind: "number", column, value: this.tokens[this.at - 1].value };
    }
    if (this.takes("len")) return { kind: "length", column };
    if (this.takes("-"))
      return { kind: "negate", column, operand: this.nest(() => this.binary(this.operand(), NEGATION_RANK, true)) };
    if (this.takes("(")) {
      const value = this.nest(() => this.binary(this.operand(), undefined, false));
      this.expect(")");
      return value;
    }
    if (kind === "keyword" && PROTOCOLS.has(text)) {
      this.at++;
      if (!this.sees("[")) this.unexpected(`"[" is missing here`);
      return this.load(text as Protocol, column);
    }
    return this.unexpected("a value is missing here");
  }

  /**
   * The operators that follow `left`, as far as they bind more tightly than the operator before it, of rank `rank`.
   * Where one of the two has no rank, the later binds first.
   */
  private binary(left: Arithmetic, rank: number | undefined, ranked: boolean): Arithmetic {
    let value = left;
    while (this.token.kind === "symbol" && RANKS.has(this.token.text)) {
      const { text, column } = this.token;
      const next = RANKS.get(text);
      if (ranked && rank !== undefined && next !== undefined && next <= rank) break;
      this.at++;
      const right = this.nest(() => this.binary(this.operand(), next, true));
      value = { kind: "binary", column, operator: text as BinaryOperator, left: value, right };
    }
    return value;
  }
}

const test = (node: Expression): Piece => ({ is: "test", node, qualifier: undefined });

const isAddress = ({ kind }: Token): boolean =>
  kind === "name" || kind === "address4" || kind === "address6" || kind === "mac" || kind === "arcnet";

const addressOf = (token: Token, qualifier: Qualifier | undefined): Address => ({
  kind: "address",
  column: token.column,
  token,
  prefixLength: undefined,
  mask: undefined,
  qualifier,
});

const asValue = (piece: Piece & { is: "number" | "value" }): Arithmetic =>
  piece.is === "value" ? piece.value : { kind: "number", column: piece.token.column, value: piece.token.value };
