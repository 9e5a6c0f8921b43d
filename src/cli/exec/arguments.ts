import { readFileBytes } from "../../node/file-bytes.js";
import { UsageError } from "../../util/errors.js";

/** What a function is called with. */
export type Argument =
  | { readonly kind: "number"; readonly text: string; readonly value: bigint }
  /** The address of a copy of these bytes. */
  | { readonly kind: "pointer"; readonly text: string; readonly bytes: Uint8Array };

export const MOST_ARGUMENTS = 6;
/** Together; so much fits between all else that a sandbox has. */
const MOST_BYTES = 192 * 2 ** 20;
const SHOWN = 40;

/**
 * @param file the one that the function is in
 * @throws UsageError, and InputError for files that cannot be read
 */
export function parseArguments(texts: readonly string[], file: string): Argument[] {
  if (texts.length > MOST_ARGUMENTS) {
    throw new UsageError(
      `exec: ${texts.length} arguments; a function takes ${MOST_ARGUMENTS} in registers, and more is not possible`,
    );
  }
  if (texts.filter((text) => text === "@-").length + (file === "-" ? 1 : 0) > 1) {
    throw new UsageError("exec: standard input can be read only once: give one of the files by its name");
  }
  const parsed = texts.map(parseArgument);
  const total = parsed.reduce((sum, argument) => sum + (argument.kind === "pointer" ? argument.bytes.length : 0), 0);
  if (total > MOST_BYTES) throw new UsageError(`exec: the buffers take ${total} bytes; ${MOST_BYTES} is the most`);
  return parsed;
}

function parseArgument(text: string): Argument {
  if (text.startsWith("str:")) return pointer(text, new TextEncoder().encode(`${text.slice(4)}\0`));
  if (text.startsWith("@")) return pointer(text, readFileBytes(text.slice(1)));
  if (text.startsWith("buf:")) return pointer(text, new Uint8Array(bufferSize(text)));
  return { kind: "number", text, value: numberOf(text) };
}

function pointer(text: string, bytes: Uint8Array): Argument {
  const shown = text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
  return { kind: "pointer", text: shown, bytes };
}

function bufferSize(text: string): number {
  const digits = text.slice(4);
  const size = /^(\d{1,10}|0x[\da-f]{1,8})$/i.test(digits) ? Number(digits) : Number.NaN;
  if (size <= MOST_BYTES) return size;
  throw new UsageError(`exec: '${text}': a buffer has a whole number of bytes, ${MOST_BYTES} at most`);
}

function numberOf(text: string): bigint {
  const [, sign, digits] = /^(-?)(\d{1,40}|0x[\da-f]{1,40})$/i.exec(text) ?? [];
  if (digits === undefined) {
    throw new UsageError(
      `exec: '${text}' is no argument: give a number (decimal, 0x…, negative), buf:BYTES, str:TEXT or @FILE`,
    );
  }
  const value = sign === "-" ? -BigInt(digits) : BigInt(digits);
  if (value < -(2n ** 63n) || value >= 2n ** 64n) {
    throw new UsageError(`exec: ${text} does not fit into 64 bits`);
  }
  return value;
}
