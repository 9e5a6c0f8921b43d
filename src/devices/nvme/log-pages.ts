import type { Features } from "./features.js";
import { ERROR_LOG_ENTRIES, type Health } from "./health.js";
import { AdminOpcode, LogPage, NAMESPACE, NvmOpcode, setWide } from "./registers.js";

/** The longest page that there is: 64 error entries, or the effects of 2 × 256 commands. */
const LONGEST_PAGE = 4096;
const ERROR_ENTRY_BYTES = 64;
const AVAILABLE_SPARE_THRESHOLD = 10;
const NANOSECONDS_PER_MINUTE = 60e9;
const NANOSECONDS_PER_HOUR = 3600e9;
/** Data units are thousands of 512 bytes, rounded up. */
const DATA_UNIT_BYTES = 512_000;

/** Critical warnings (§5.14.1.2): the temperature is beyond a threshold. */
const TEMPERATURE_WARNING = 1 << 1;

/** Commands supported and effects (figure 203): CSUPP, LBCC. */
const SUPPORTED = 1 << 0;
const CHANGES_CONTENT = 1 << 1;
const IO_COMMANDS = 1024;

const EFFECTS: readonly (readonly [offset: number, effects: number])[] = [
  ...Object.values(AdminOpcode).map((opcode) => [4 * opcode, SUPPORTED] as const),
  [IO_COMMANDS + 4 * NvmOpcode.flush, SUPPORTED],
  [IO_COMMANDS + 4 * NvmOpcode.write, SUPPORTED | CHANGES_CONTENT],
  [IO_COMMANDS + 4 * NvmOpcode.read, SUPPORTED],
  [IO_COMMANDS + 4 * NvmOpcode.compare, SUPPORTED],
  [IO_COMMANDS + 4 * NvmOpcode.writeZeroes, SUPPORTED | CHANGES_CONTENT],
  [IO_COMMANDS + 4 * NvmOpcode.datasetManagement, SUPPORTED | CHANGES_CONTENT],
];

/** Log pages (§5.14.1). */
export class LogPages {
  /** Whether the namespace has changed since the list of changed namespaces was last read. */
  namespaceChanged = false;
  readonly #bytes = new Uint8Array(LONGEST_PAGE);
  readonly #at = new DataView(this.#bytes.buffer);

  constructor(
    readonly health: Health,
    readonly features: Features,
    readonly firmware: string,
    /** Nanoseconds since power-on. */
    readonly poweredOn: () => number,
  ) {}

  /** @returns the page, valid until the next call, or null if there is no such page */
  page(id: number): Uint8Array | null {
    this.#bytes.fill(0);
    switch (id) {
      case LogPage.errorInformation:
        return this.#errorInformation();
      case LogPage.health:
        return this.#health();
      case LogPage.firmwareSlot:
        return this.#firmwareSlot();
      case LogPage.changedNamespaces:
        if (this.namespaceChanged) this.#at.setUint32(0, NAMESPACE, true);
        return this.#bytes;
      case LogPage.commandEffects:
        for (const [offset, effects] of EFFECTS) this.#at.setUint32(offset, effects, true);
        return this.#bytes;
      default:
        return null;
    }
  }

  /** Whether the temperature has left the range between the thresholds. */
  get isTemperatureOut(): boolean {
    const { temperature } = this.health;
    return temperature >= this.features.overThreshold || temperature <= this.features.underThreshold;
  }

  /** Figure 197. */
  #errorInformation(): Uint8Array {
    const { log } = this.health;
    for (let i = 0; i < log.length; i++) {
      const entry = log[i];
      const offset = i * ERROR_ENTRY_BYTES;
      setWide(this.#at, offset, entry.count);
      this.#at.setUint16(offset + 8, entry.queue, true);
      this.#at.setUint16(offset + 10, entry.command, true);
      this.#at.setUint16(offset + 12, entry.status << 1, true);
      this.#at.setUint16(offset + 14, 0xffff, true); // no particular byte and bit of the command
      setWide(this.#at, offset + 16, entry.lba);
      this.#at.setUint32(offset + 24, entry.nsid, true);
    }
    return this.#bytes.subarray(0, ERROR_LOG_ENTRIES * ERROR_ENTRY_BYTES);
  }

  /** Figure 198. */
  #health(): Uint8Array {
    const { counters, temperature } = this.health;
    this.#at.setUint8(0, this.isTemperatureOut ? TEMPERATURE_WARNING : 0);
    this.#at.setUint16(1, temperature, true);
    this.#at.setUint8(3, 100);
    this.#at.setUint8(4, AVAILABLE_SPARE_THRESHOLD);
    setWide(this.#at, 32, Math.ceil(counters.bytesRead / DATA_UNIT_BYTES));
    setWide(this.#at, 48, Math.ceil(counters.bytesWritten / DATA_UNIT_BYTES));
    setWide(this.#at, 64, counters.readCommands);
    setWide(this.#at, 80, counters.writeCommands);
    setWide(this.#at, 96, Math.floor(counters.busyNanoseconds / NANOSECONDS_PER_MINUTE));
    setWide(this.#at, 112, counters.powerCycles);
    setWide(this.#at, 128, Math.floor(this.poweredOn() / NANOSECONDS_PER_HOUR));
    setWide(this.#at, 144, counters.unsafeShutdowns);
    setWide(this.#at, 160, counters.mediaErrors);
    setWide(this.#at, 176, counters.errors);
    return this.#bytes.subarray(0, 512);
  }

  /** Figure 200: slot 1 is active. */
  #firmwareSlot(): Uint8Array {
    this.#bytes[0] = 1;
    for (let i = 0; i < 8; i++) this.#bytes[8 + i] = i < this.firmware.length ? this.firmware.charCodeAt(i) : 0x20;
    return this.#bytes.subarray(0, 512);
  }
}
