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
