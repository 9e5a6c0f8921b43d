import type { EventSource } from "../../util/events.js";
import { HeapExhaustedError } from "../heap.js";
import type { LinuxEvents } from "../services.js";

/** What an allocator gives, or null for the kernel if it has not so much: drivers have to live with that. */
export function orNothing(events: EventSource<LinuxEvents>, allocate: () => number): number {
  try {
    return allocate();
  } catch (error) {
    if (!(error instanceof HeapExhaustedError)) throw error;
    events.emit("exhausted", { message: error.message });
    return 0;
  }
}
