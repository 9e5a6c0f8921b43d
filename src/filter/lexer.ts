import { FilterSyntaxError } from "./errors.js";
import { KEYWORDS, NAMED_NUMBERS } from "./names/keywords.js";

/**
 * `name`: a word that is no keyword, or one escaped by a backslash. `address4`: two to four numbers with dots.
 * `mac`, `address6`: link-layer and IPv6 addresses. `arcnet`: `$` and one byte. `keyword` and `symbol` stand for
 * themselves in `text`, in one spelling for those that have several.
 */
export type TokenKind = "keyword" | "symbol" | "number" | "name" | "address4" | "address6" | "mac" | "arcnet" | "end";

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  /** Of a number. */
  readonly value: number;
  /** 1-based. */
  readonly column: number;
}

const NUMBER = "(?:0[xX][0-9A-Fa-f]+|[0-9]+)";
const BYTE = "[0-9A-Fa-f]{1,2}";
const PAIR = "[0-9A-Fa-f]{4}";

/** In order of precedence among equally long matches; the longest match wins. */
const RULES: readonly (readonly [TokenKind | "blank" | "broken-mac", readonly RegExp[]])[] = [
  ["blank", patterns("[ \\r\\n\\t]")],
  ["symbol", patterns(">=|<=|!=|==|<<|>>|&&|\\|\\||[+\\-*/%:[\\]!<>()&|^=]")],
  ["arcnet", patterns(`\\$${BYTE}`)],
  [
    "mac",
    patterns(
      ...[":", "-", "\\."].map((s) => Array(6).fill(BYTE).join(s)),
      `${PAIR}\\.${PAIR}\\.${PAIR}`,
      "[0-9A-Fa-f]{12}",
    ),
  ],
  ["number", patterns(NUMBER)],
  ["address4", patterns(`${NUMBER}(?:\\.${NUMBER}){1,3}`)],
  ["address6", ipv6Patterns()],
  ["broken-mac", patterns(`${BYTE}:+(?:${BYTE}:+)+`)],
  ["name", patterns("[A-Za-z0-9](?:[-_.A-Za-z0-9]*[.A-Za-z0-9])?")],
];

const ESCAPED = /\\[^ !()\n\t]+/y;
const BEGINS_ADDRESS6 = /[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]/y;

function patterns(...sources: string[]): RegExp[] {
  return sources.map((source) => new RegExp(source, "y"));
}

/** RFC 4291 section 2.2: eight groups; or fewer with one `::`; the last two may be written as an IPv4 address. */
function ipv6Patterns(): RegExp[] {
  const group = "[0-9A-Fa-f]{1,4}";
  const groups = (count: number): string => Array(count).fill(group).join(":");
  const tail = Array(4).fill(NUMBER).join("\\.");
  const sources = [groups(8), `${groups(6)}:${tail}`];
  for (let before = 0; before <= 7; before++) {
    for (let after = 0; before + after <= 7; after++) sources.push(`${groups(before)}::${groups(after)}`);
    for (let after = 0; before + after <= 5; after++)
      sources.push(`${groups(before)}::${groups(after)}${after > 0 ? ":" : ""}${tail}`);
  }
  return patterns(...sources);
}

/** @throws FilterSyntaxError at a character that begins no token, and at a number or address that is out of range */
export function tokenize(expression: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < expression.length) {
    const [kind, text] = longestMatch(expression, at);
    if (kind !== "blank") tokens.push(tokenOf(expression, kind, text, at + 1));
    at += text.length;
  }
  tokens.push({ kind: "end", text: "", value: 0, column: expression.length + 1 });
  return tokens;
}

function longestMatch(expression: string, at: number): [TokenKind | "blank" | "broken-mac", string] {
  ESCAPED.lastIndex = at;
  const escaped = ESCAPED.exec(expression);
  if (escaped) return ["name", escaped[0]];
  let best: [TokenKind | "blank" | "broken-mac", string] | undefined;
  BEGINS_ADDRESS6.lastIndex = at;
  const mayBeAddress = BEGINS_ADDRESS6.test(expression);
  for (const [kind, alternatives] of RULES) {
    if (kind === "address6" && !mayBeAddress) continue;
    for (const pattern of alternatives) {
      pattern.lastIndex = at;
      const text = pattern.exec(expression)?.[0];
      if (text && text.length > (best?.[1].length ?? 0)) best = [kind, text];
    }
  }
  if (best === undefined) {
    const character = String.fromCodePoint(expression.codePointAt(at) ?? 0);
    throw new FilterSyntaxError(
      expression,
      at + 1,
      `the character ${JSON.stringify(character)} has no place in a filter`,
    );
  }
  return best;
}

function tokenOf(expression: string, kind: TokenKind | "broken-mac", text: string, column: number): Token {
  switch (kind) {
    case "broken-mac":
      throw new FilterSyntaxError(expression, column, `${text} is not an Ethernet address`);
    case "number":
      return { kind, text, value: numberOf(expression, text, column), column };
    case "symbol":
      return { kind, text: SPELLINGS.get(text) ?? text, value: 0, column };
    case "name": {
      if (text.startsWith("\\")) return { kind, text: text.slice(1), value: 0, column };
      const keyword = KEYWORDS.get(text);
      if (keyword !== undefined)
        return { kind: keyword === "!" ? "symbol" : "keyword", text: keyword, value: 0, column };
      const value = NAMED_NUMBERS.get(text);
      return value === undefined ? { kind, text, value: 0, column } : { kind: "number", text, value, column };
    }
    default:
      return { kind, text, value: 0, column };
  }
}

const SPELLINGS = new Map([
  ["==", "="],
  ["&&", "and"],
  ["||", "or"],
]);

function numberOf(expression: string, text: string, column: number): number {
  const octal = /^0[0-9]+$/.test(text);
  if (octal && /[89]/.test(text))
    throw new FilterSyntaxError(
      expression,
      column,
      `the number ${text} begins with 0, so it is octal, but has a digit that is not`,
    );
  const value = octal ? Number.parseInt(text, 8) : Number(text);
  if (value > 0xffffffff) throw new FilterSyntaxError(expression, column, `the number ${text} does not fit 32 bits`);
  return value;
}
