import { ExitStatus, KorralError } from "../util/errors.js";

/** The longest piece of an expression that a message quotes on each side of the caret. */
const QUOTED = 60;

/** A filter expression that cannot be compiled; `column` (1-based) is where the trouble is. */
export class FilterSyntaxError extends KorralError {
  constructor(
    readonly expression: string,
    readonly column: number,
    readonly reason: string,
    code = "filter-syntax",
  ) {
    super(code, `${reason} (column ${column} of the filter)\n${quote(expression, column)}`, ExitStatus.usage);
  }
}

/** A BPF program that must not be run: `index` is the instruction at fault, -1 for the program as a whole. */
export class FilterVerifyError extends KorralError {
  constructor(
    readonly index: number,
    reason: string,
    code = "filter-verify",
  ) {
    super(
      code,
      index < 0 ? `filter program refused: ${reason}` : `filter program refused: instruction ${index} ${reason}`,
      ExitStatus.usage,
    );
  }
}

/** A packet, or an index of packets, that does not lie inside the memory it is said to lie in. */
export class FilterRangeError extends KorralError {
  constructor(reason: string) {
    super("filter-range", reason);
  }
}

function quote(expression: string, column: number): string {
  const from = Math.max(0, column - 1 - QUOTED);
  const shown = [...expression.slice(from, column - 1 + QUOTED)]
    .map((character) => ((character.codePointAt(0) ?? 0) < 0x20 ? " " : character))
    .join("");
  const lead = from > 0 ? "…" : "";
  return `  ${lead}${shown}\n  ${" ".repeat(lead.length + column - 1 - from)}^`;
}
