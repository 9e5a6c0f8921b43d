import type { Clock, Timer } from "../../bus/clock.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";

/** Registers of the integrated PHY (M88E1011), chapter 12 of the manual. */
export const PhyRegister = {
  PCTRL: 0,
  PSTATUS: 1,
  PHYID1: 2,
  PHYID2: 3,
  ANA: 4,
  LPA: 5,
  ANE: 6,
  NPT: 7,
  LPN: 8,
  GCON: 9,
  GSTATUS: 10,
  ESTATUS: 15,
  PSCON: 16,
  PSSTAT: 17,
  PINTE: 18,
  PINTS: 19,
  EPSCON1: 20,
  PREC: 21,
} as const;

export const PhyControl = {
  SPEED_1000: 1 << 6,
  DUPLEX: 1 << 8,
  RESTART: 1 << 9,
  ISOLATE: 1 << 10,
  POWER_DOWN: 1 << 11,
  AUTONEG: 1 << 12,
  SPEED_100: 1 << 13,
  LOOPBACK: 1 << 14,
  RESET: 1 << 15,
} as const;

export const PhyStatus = { LINK: 1 << 2, AUTONEG_COMPLETE: 1 << 5 } as const;

/** Marvell's 88E1011 as integrated: what drivers compare, without the four revision bits. */
const PHY_ID = 0x0141_0c20;
const ADDRESS = 1;

/** Abilities that PSTATUS always shows: 10 and 100 Mb/s, extended status, preamble suppression, auto-negotiation. */
const ABILITIES = 0x7949;
/** The far side: every speed and duplex, no PAUSE (captures and sockets do not understand it). */
const PARTNER_ABILITIES = 0x41e1;
const PARTNER_GIGABIT = 0x0c00;
const RECEIVERS_OK = 0x3000;
const MASTER = 0x4000;
/** Selectable as ANA bits, fastest first. */
const ANA_100_FULL = 1 << 8;
const ANA_100_HALF = 1 << 7;
const ANA_10_FULL = 1 << 6;
const GCON_1000_FULL = 1 << 9;
const GCON_1000_HALF = 1 << 8;

const PSSTAT_SPEED_SHIFT = 14;
const PSSTAT_DUPLEX = 1 << 13;
const PSSTAT_RESOLVED = 1 << 11;
const PSSTAT_LINK = 1 << 10;
const PINT_LINK_CHANGED = 1 << 10;
const PINT_AUTONEG_COMPLETE = 1 << 11;

/** Registers that software may write, with what sticks. */
const WRITABLE: readonly (readonly [register: number, mask: number])[] = [
  [PhyRegister.PCTRL, 0x7d40],
  [PhyRegister.ANA, 0xbfff],
  [PhyRegister.NPT, 0xffff],
  [PhyRegister.GCON, 0xff00],
  [PhyRegister.PSCON, 0xffff],
  [PhyRegister.PINTE, 0xffff],
  [PhyRegister.EPSCON1, 0xffff],
  [22, 0xffff],
  [24, 0xffff],
  [25, 0xffff],
  [26, 0xffff],
  [28, 0xffff],
  [29, 0xffff],
  [30, 0xffff],
  [31, 0xffff],
];
const WRITE_MASKS = new Uint16Array(32);
for (const [register, mask] of WRITABLE) WRITE_MASKS[register] = mask;

const RESET_VALUES: readonly (readonly [register: number, value: number])[] = [
  [PhyRegister.PCTRL, PhyControl.AUTONEG | PhyControl.DUPLEX | PhyControl.SPEED_1000],
  [PhyRegister.PHYID1, PHY_ID >>> 16],
  [PhyRegister.PHYID2, PHY_ID & 0xffff],
  [PhyRegister.ANA, 0x0de1],
  [PhyRegister.NPT, 0x2001],
  [PhyRegister.GCON, 0x0f00],
  [PhyRegister.ESTATUS, 0x3000],
  [PhyRegister.PSCON, 0x0068],
  [PhyRegister.EPSCON1, 0x0d60],
  [24, 0x4100],
];

/** How long negotiation with the partner takes: shorter than the seconds that copper needs, long enough to be seen. */
const AUTONEGOTIATION_NANOSECONDS = 5_000_000;

export const Speed = { mb10: 0, mb100: 1, mb1000: 2 } as const;

export interface PhyState {
  registers: number[];
  link: boolean;
  linkLatchedLow: boolean;
  negotiated: boolean;
  pageReceived: boolean;
  negotiation: number;
}

/** The copper PHY: MII registers, auto-negotiation, and the link that the MAC sees. */
export class Phy {
  readonly #registers = new Uint16Array(32);
  readonly #clock: Clock;
  readonly #negotiation: Timer;
  readonly #carrier: () => boolean;
  readonly #changed: () => void;
  #link = false;
  /** PSTATUS shows a link that was lost until it has been read (IEEE 802.3, 22.2.4.2.13). */
  #linkLatchedLow = false;
  #negotiated = false;
  #pageReceived = false;

  /**
   * @param carrier whether a partner is at the other end of the cable
   * @param changed runs when {@link link}, {@link speed} or {@link loopback} may have changed, or an interrupt is due
   */
  constructor(clock: Clock, carrier: () => boolean, changed: () => void) {
    this.#clock = clock;
    this.#carrier = carrier;
    this.#changed = changed;
    this.#negotiation = clock.timer(() => this.#negotiationDone());
    this.#initialise();
  }

  get link(): boolean {
    return this.#link;
  }

  get loopback(): boolean {
    return (this.#registers[PhyRegister.PCTRL] & PhyControl.LOOPBACK) !== 0;
  }

  get interruptPending(): boolean {
    return (this.#registers[PhyRegister.PINTS] & this.#registers[PhyRegister.PINTE]) !== 0;
  }

  get fullDuplex(): boolean {
    const control = this.#registers[PhyRegister.PCTRL];
    if ((control & PhyControl.AUTONEG) === 0) return (control & PhyControl.DUPLEX) !== 0;
    const ana = this.#registers[PhyRegister.ANA];
    switch (this.speed) {
      case Speed.mb1000:
        return (this.#registers[PhyRegister.GCON] & GCON_1000_FULL) !== 0;
      case Speed.mb100:
        return (ana & ANA_100_FULL) !== 0;
      default:
        return (ana & ANA_10_FULL) !== 0;
    }
  }

  /** A value of {@link Speed}: forced, or the fastest that is advertised (the partner can do all). */
  get speed(): number {
    const control = this.#registers[PhyRegister.PCTRL];
    if ((control & PhyControl.AUTONEG) === 0) {
      if ((control & PhyControl.SPEED_1000) !== 0) return Speed.mb1000;
      return (control & PhyControl.SPEED_100) !== 0 ? Speed.mb100 : Speed.mb10;
    }
    if ((this.#registers[PhyRegister.GCON] & (GCON_1000_FULL | GCON_1000_HALF)) !== 0) return Speed.mb1000;
    return (this.#registers[PhyRegister.ANA] & (ANA_100_FULL | ANA_100_HALF)) !== 0 ? Speed.mb100 : Speed.mb10;
  }

  /** @returns −1 if no PHY answers at this address */
  read(address: number, register: number): number {
    if (address !== ADDRESS) return -1;
    switch (register) {
      case PhyRegister.PSTATUS: {
        const up = this.#link && !this.#linkLatchedLow;
        this.#linkLatchedLow = false;
        return ABILITIES | (up ? PhyStatus.LINK : 0) | (this.#negotiated ? PhyStatus.AUTONEG_COMPLETE : 0);
      }
      case PhyRegister.LPA:
        return this.#negotiated ? PARTNER_ABILITIES : 0;
      case PhyRegister.ANE: {
        const received = this.#pageReceived ? 2 : 0;
        this.#pageReceived = false;
        return 4 | received | (this.#negotiated ? 1 : 0);
      }
      case PhyRegister.GSTATUS:
        return this.#negotiated && this.#link ? MASTER | RECEIVERS_OK | PARTNER_GIGABIT : 0;
      case PhyRegister.PSSTAT:
        return this.#specificStatus();
      case PhyRegister.PINTS: {
        const causes = this.#registers[PhyRegister.PINTS];
        this.#registers[PhyRegister.PINTS] = 0;
        return causes;
      }
      default:
        return this.#registers[register];
    }
  }

  /** @returns false if no PHY answers at this address */
  write(address: number, register: number, value: number): boolean {
    if (address !== ADDRESS) return false;
    if (register === PhyRegister.PCTRL) {
      this.#writeControl(value);
    } else {
      const mask = WRITE_MASKS[register];
      this.#registers[register] = (this.#registers[register] & ~mask) | (value & mask);
    }
    return true;
  }

  /** Power-on: by the time that a driver looks, the link has been negotiated. */
  powerOn(): void {
    this.#initialise();
    this.#changed();
  }

  /** Hardware reset by CTRL.PHY_RST: registers to their defaults, negotiation from the start. */
  reset(): void {
    this.#defaults();
    this.#establish();
  }

  carrierChanged(): void {
    this.#establish();
  }

  #initialise(): void {
    this.#defaults();
    this.#negotiation.cancel();
    this.#linkLatchedLow = false;
    this.#link = this.#carrier();
    this.#negotiated = this.#link;
    this.#pageReceived = this.#link;
  }

  #defaults(): void {
    this.#registers.fill(0);
    for (const [register, value] of RESET_VALUES) this.#registers[register] = value;
  }

  #writeControl(value: number): void {
    const before = this.#registers[PhyRegister.PCTRL];
    this.#registers[PhyRegister.PCTRL] = value & WRITE_MASKS[PhyRegister.PCTRL];
    // A software reset commits what was written before and negotiates again; the mode registers keep their values.
    const again = (value & (PhyControl.RESET | PhyControl.RESTART)) !== 0;
    const modes = PhyControl.AUTONEG | PhyControl.POWER_DOWN | PhyControl.ISOLATE | PhyControl.LOOPBACK;
    if (again || ((before ^ value) & modes) !== 0) this.#establish();
    else this.#changed();
  }

  /** Takes the link down and, if there is a partner, brings it up again: at once when forced, else by negotiation. */
  #establish(): void {
    const control = this.#registers[PhyRegister.PCTRL];
    this.#negotiation.cancel();
    this.#negotiated = false;
    this.#setLink(false);
    if ((control & (PhyControl.POWER_DOWN | PhyControl.ISOLATE)) !== 0 || !this.#carrier()) return;
    if ((control & PhyControl.LOOPBACK) !== 0) return;
    if ((control & PhyControl.AUTONEG) !== 0) this.#negotiation.arm(AUTONEGOTIATION_NANOSECONDS);
    else this.#setLink(true);
  }

  #negotiationDone(): void {
    this.#negotiated = true;
    this.#pageReceived = true;
    this.#registers[PhyRegister.PINTS] |= PINT_AUTONEG_COMPLETE;
    this.#setLink(true);
  }

  #setLink(up: boolean): void {
    if (up !== this.#link) this.#registers[PhyRegister.PINTS] |= PINT_LINK_CHANGED;
    if (!up && this.#link) this.#linkLatchedLow = true;
    this.#link = up;
    this.#changed();
  }

  #specificStatus(): number {
    if (!this.#link) return 0;
    const duplex = this.fullDuplex ? PSSTAT_DUPLEX : 0;
    return (this.speed << PSSTAT_SPEED_SHIFT) | duplex | PSSTAT_RESOLVED | PSSTAT_LINK;
  }

  snapshot(): PhyState {
    return {
      registers: [...this.#registers],
      link: this.#link,
      linkLatchedLow: this.#linkLatchedLow,
      negotiated: this.#negotiated,
      pageReceived: this.#pageReceived,
      negotiation: remaining(this.#negotiation, this.#clock),
    };
  }

  restore(state: StateReader): void {
    this.#registers.set(state.numbers("registers", 32, 32, 0xffff));
    this.#link = state.flag("link");
    this.#linkLatchedLow = state.flag("linkLatchedLow");
    this.#negotiated = state.flag("negotiated");
    this.#pageReceived = state.flag("pageReceived");
    rearm(this.#negotiation, state.delay("negotiation"));
  }
}
