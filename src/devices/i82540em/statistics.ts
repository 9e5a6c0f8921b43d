import { Statistic } from "./registers.js";

const ALL_ONES = 0xffff_ffff;
/** Sizes with the FCS: 64, 65…127, 128…255, 256…511, 512…1023, 1024 and more. */
const CLASSES = 6;

/** The statistics registers (§13.7): counters that stick at all ones; the octet counters are pairs of words. */
export class Statistics {
  readonly #registers: Uint32Array;

  constructor(registers: Uint32Array) {
    this.#registers = registers;
  }

  count(statistic: number): void {
    const registers = this.#registers;
    if (registers[statistic] !== ALL_ONES) registers[statistic]++;
  }

  /** Any frame that came in. @param octets with the FCS */
  total(octets: number): void {
    this.count(Statistic.TPR);
    this.#add(Statistic.TORL, octets);
  }

  /** A good frame that has passed the filters. @param firstByte of its destination address */
  received(octets: number, firstByte: number, broadcast: boolean): void {
    this.count(Statistic.GPRC);
    this.#add(Statistic.GORCL, octets);
    this.count(Statistic.PRC64 + sizeClass(octets));
    if (broadcast) this.count(Statistic.BPRC);
    else if ((firstByte & 1) !== 0) this.count(Statistic.MPRC);
  }

  transmitted(octets: number, firstByte: number, broadcast: boolean): void {
    this.count(Statistic.GPTC);
    this.count(Statistic.TPT);
    this.#add(Statistic.GOTCL, octets);
    this.#add(Statistic.TOTL, octets);
    this.count(Statistic.PTC64 + sizeClass(octets));
    if (broadcast) this.count(Statistic.BPTC);
    else if ((firstByte & 1) !== 0) this.count(Statistic.MPTC);
  }

  /** A register's value, which reading clears; the low half of an octet counter goes with its high half. */
  read(word: number): number {
    const registers = this.#registers;
    const value = registers[word];
    switch (word) {
      case Statistic.GORCL:
      case Statistic.GOTCL:
      case Statistic.TORL:
      case Statistic.TOTL:
        return value;
      case Statistic.GORCH:
      case Statistic.GOTCH:
      case Statistic.TORH:
      case Statistic.TOTH:
        registers[word - 1] = 0;
    }
    registers[word] = 0;
    return value;
  }

  #add(low: number, octets: number): void {
    const registers = this.#registers;
    const sum = registers[low] + octets;
    registers[low] = sum;
    if (sum > ALL_ONES) this.#carry(low);
  }

  #carry(low: number): void {
    if (this.#registers[low + 1] === ALL_ONES) this.#registers[low] = ALL_ONES;
    else this.#registers[low + 1]++;
  }
}

function sizeClass(octets: number): number {
  if (octets <= 64) return 0;
  return octets >= 1024 ? CLASSES - 1 : 26 - Math.clz32(octets);
}
