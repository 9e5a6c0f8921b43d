import { writeSync } from "node:fs";
import { styleText } from "node:util";
import { blocking } from "../node/blocking.js";
import { systemCode } from "../node/file-errors.js";
import { EnvironmentError, KorralError } from "../util/errors.js";

/** Data for whoever comes next in the pipe. @throws EnvironmentError if there is no room for it */
export function stdout(text: string): void {
  try {
    writeAll(1, text);
  } catch (error) {
    const code = codeOf(error);
    throw new EnvironmentError(
      "output",
      `cannot write to standard output: ${WHY[code] ?? `the system reports ${code}`}`,
    );
  }
}

/** Narration and errors: if there is no room for them, the exit status has to say it all. */
export function stderr(text: string): void {
  try {
    writeAll(2, text);
  } catch (error) {
    codeOf(error);
  }
}

/** Bold where a person looks at it on a terminal, and did not ask for plain text. */
export function bold(text: string): string {
  const plain = process.stdout.isTTY !== true || process.env.NO_COLOR !== undefined;
  return plain ? text : styleText("bold", text);
}

/** Whoever read what is written has gone, which ends a command quietly. */
export function isReaderGone(error: unknown): boolean {
  return error instanceof KorralError && error.code === "reader-gone";
}

const WHY: Readonly<Record<string, string>> = { ENOSPC: "no space is left", EDQUOT: "your quota is used up" };

/** Those whose readers have gone. */
const unread = new Set<number>();

/**
 * A reader that went away (`korral … | head`) has seen enough: the command comes to its end without a word, with its files
 * complete and the status that it would have had.
 * @throws what the system reports
 */
function writeAll(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length && !unread.has(descriptor); ) {
    try {
      done += blocking(() => writeSync(descriptor, bytes, done));
    } catch (error) {
      if (codeOf(error) !== "EPIPE") throw error;
      unread.add(descriptor);
    }
  }
}

function codeOf(error: unknown): string {
  const code = systemCode(error);
  if (code === null) throw error;
  return code;
}
