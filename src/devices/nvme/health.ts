import type { StateReader } from "../../util/state-reader.js";

/** Entries of the error information log; ELPE is one less (§5.14.1.1). */
export const ERROR_LOG_ENTRIES = 64;
/** 35 °C, in kelvins. */
const ROOM = 308;

/** What the error information log keeps of a failed command (figure 197). */
export interface ErrorEntry {
  /** Which error it was, counted from 1 over the controller's life. */
  count: number;
  queue: number;
  command: number;
  /** The status field as it stands in the completion, phase tag aside. */
  status: number;
  lba: number;
  nsid: number;
}

/** Counters of the SMART / health information log (§5.14.1.2); they outlive resets and power cycles. */
export interface HealthCounters {
  bytesRead: number;
  bytesWritten: number;
  readCommands: number;
  writeCommands: number;
  busyNanoseconds: number;
  powerCycles: number;
  unsafeShutdowns: number;
  mediaErrors: number;
  errors: number;
}

export interface HealthState {
  counters: HealthCounters;
  temperature: number;
  logCount: number;
  log: ErrorEntry[];
}

const MOST = Number.MAX_SAFE_INTEGER;

export class Health {
  counters: HealthCounters = {
    bytesRead: 0,
    bytesWritten: 0,
    readCommands: 0,
    writeCommands: 0,
    busyNanoseconds: 0,
    powerCycles: 1,
    unsafeShutdowns: 0,
    mediaErrors: 0,
    errors: 0,
  };
  /** Composite temperature in kelvins. */
  temperature = ROOM;
  /** Newest first. */
  log: ErrorEntry[] = [];

  recordError(queue: number, command: number, status: number, lba: number, nsid: number): void {
    this.counters.errors++;
    this.log.unshift({ count: this.counters.errors, queue, command, status, lba, nsid });
    if (this.log.length > ERROR_LOG_ENTRIES) this.log.length = ERROR_LOG_ENTRIES;
  }

  /** @param clean a shutdown had been announced and was complete */
  powerCycle(clean: boolean): void {
    this.counters.powerCycles++;
    if (!clean) this.counters.unsafeShutdowns++;
    this.log.length = 0;
  }

  snapshot(): HealthState {
    return {
      counters: { ...this.counters },
      temperature: this.temperature,
      logCount: this.log.length,
      log: this.log.map((entry) => ({ ...entry })),
    };
  }

  restore(state: StateReader): void {
    const counters = state.child("counters");
    const read = (name: keyof HealthCounters): number => counters.integer(name, 0, MOST);
    this.counters = {
      bytesRead: read("bytesRead"),
      bytesWritten: read("bytesWritten"),
      readCommands: read("readCommands"),
      writeCommands: read("writeCommands"),
      busyNanoseconds: counters.delay("busyNanoseconds"),
      powerCycles: read("powerCycles"),
      unsafeShutdowns: read("unsafeShutdowns"),
      mediaErrors: read("mediaErrors"),
      errors: read("errors"),
    };
    this.temperature = state.integer("temperature", 0, 0xffff);
    const logCount = state.integer("logCount", 0, ERROR_LOG_ENTRIES);
    this.log = state.children("log", logCount).map((entry) => ({
      count: entry.integer("count", 1, MOST),
      queue: entry.integer("queue", 0, 0xffff),
      command: entry.integer("command", 0, 0xffff),
      status: entry.integer("status", 0, 0x7fff),
      lba: entry.integer("lba", 0, 2 ** 64),
      nsid: entry.integer("nsid", 0, 0xffff_ffff),
    }));
  }
}
