import type { IoMmuContext } from "../bus/io-mmu.js";
import type { PinControlCapability } from "../capability/pin-control.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import type { TransferStatistics } from "./statistics.js";
import type { Watchdog } from "./watchdog.js";

/** What a driver moves data with: its memory, its high privilege, and its device's I/O MMU context. */
export interface DmaEnvironment {
  /** Name of the driver, for messages and mapping sites. */
  readonly driver: string;
  readonly bank: SpaceBankCapability;
  readonly pins: PinControlCapability;
  readonly dma: IoMmuContext;
  readonly watchdog: Watchdog;
  readonly statistics: TransferStatistics;
}
