import type { DeviceHost } from "../../bus/device.js";
import type { StateReader } from "../../util/state-reader.js";

/** Tally counters (DTCCR), with their place and width in the dump. */
const LAYOUT = {
  TxOk: [0, 8],
  RxOk: [8, 8],
  TxEr: [16, 8],
  RxEr: [24, 4],
  MissPkt: [28, 2],
  FAE: [30, 2],
  Tx1Col: [32, 4],
  TxMCol: [36, 4],
  RxOkPhy: [40, 8],
  RxOkBrd: [48, 8],
  RxOkMul: [56, 4],
  TxAbt: [60, 2],
  TxUndrn: [62, 2],
} as const;

/** Number of a tally counter. */
export const Tally = { TxOk: 0, RxOk: 1, TxEr: 2, RxEr: 3, MissPkt: 4, RxOkPhy: 8, RxOkBrd: 9, RxOkMul: 10 } as const;

const PLACES = Object.values(LAYOUT);
const DUMP_BYTES = 64;

export interface StatisticsState {
  counters: number[];
}

/** The tally counters of C+ parts. */
export class Statistics {
  readonly #counters = new Float64Array(PLACES.length);
  readonly #dump = new Uint8Array(DUMP_BYTES);
  readonly #view = new DataView(this.#dump.buffer);

  count(tally: number): void {
    this.#counters[tally]++;
  }

  /** @returns whether the bus let the 64 bytes pass */
  dump(host: DeviceHost, address: number): boolean {
    PLACES.forEach(([at, bytes], i) => {
      const value = this.#counters[i];
      if (bytes === 2) this.#view.setUint16(at, value, true);
      else this.#view.setUint32(at, value, true);
      if (bytes === 8) this.#view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
    });
    return host.dma.write(address, this.#dump, 0, DUMP_BYTES);
  }

  reset(): void {
    this.#counters.fill(0);
  }

  snapshot(): StatisticsState {
    return { counters: [...this.#counters] };
  }

  restore(state: StateReader): void {
    this.#counters.set(state.numbers("counters", PLACES.length, PLACES.length, Number.MAX_SAFE_INTEGER));
  }
}
