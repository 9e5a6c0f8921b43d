import { stderr } from "./output.js";

const INTERRUPTED = 130;
const cleanUps = new Set<() => void>();

/**
 * Has something done if the user interrupts the command: files closed, scratch removed.
 * @returns a function that takes the wish back
 */
export function onInterrupt(cleanUp: () => void): () => void {
  cleanUps.add(cleanUp);
  return () => cleanUps.delete(cleanUp);
}

let taker: (() => void) | null = null;

/**
 * Has the next interruption heard instead of obeyed: the command ends by itself, in order. One more ends it at once.
 * @returns a function that takes the wish back
 */
export function takeInterrupt(heard: () => void): () => void {
  taker = heard;
  return () => {
    if (taker === heard) taker = null;
  };
}

/** Ctrl-C and a polite kill end a command with what it has written so far complete to the last record. */
export function handleInterrupts(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (taker !== null) {
        const heard = taker;
        taker = null;
        heard();
        return;
      }
      const any = cleanUps.size > 0;
      for (const cleanUp of cleanUps) cleanUp();
      stderr(`korral: interrupted${any ? "; output files hold what had come until then" : ""}\n`);
      process.exit(INTERRUPTED);
    });
  }
}
