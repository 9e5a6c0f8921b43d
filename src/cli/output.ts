import { writeSync } from "node:fs";
import { styleText } from "node:util";
import { blocking } from "../node/blocking.js";
import { EnvironmentError, KorralError } from "../util/errors.js";

/** Data for whoever comes next in the pipe. */
export function stdout(text: string): void {
  writeAll(1, text);
}

/** Narration and errors. */
export function stderr(text: string): void {
  writeAll(2, text);
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

/** A reader that went away (`korral … | head`) ends the command quietly, as it does other tools. */
function writeAll(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    try {
      done += blocking(() => writeSync(descriptor, bytes, done));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPIPE") process.exit(0);
      throw new EnvironmentError("output", `cannot write to standard output or error: ${code ?? String(error)}`);
    }
  }
}
