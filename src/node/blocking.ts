import { systemCode } from "./file-errors.js";

const PAUSE_MILLISECONDS = 2;
const nobodyWakes = new Int32Array(new SharedArrayBuffer(4));

/**
 * Calls a synchronous read or write until it gets through: pipes and terminals that somebody made non-blocking answer
 * EAGAIN instead of waiting.
 */
export function blocking(operation: () => number): number {
  for (;;) {
    try {
      return operation();
    } catch (error) {
      if (systemCode(error) !== "EAGAIN") throw error;
      Atomics.wait(nobodyWakes, 0, 0, PAUSE_MILLISECONDS);
    }
  }
}

const DEADLY = ["SIGINT", "SIGTERM"] as const;

/**
 * Waits for somebody else, for as long as it takes. Nothing can be told of a signal meanwhile, so that it ends the process
 * itself, as if nobody listened.
 */
export function mortal<T>(operation: () => T): T {
  const heard = DEADLY.map((signal) => [signal, process.listeners(signal)] as const);
  for (const signal of DEADLY) process.removeAllListeners(signal);
  try {
    return operation();
  } finally {
    for (const [signal, listeners] of heard) for (const listener of listeners) process.on(signal, listener);
  }
}
