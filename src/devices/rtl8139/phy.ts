import type { Clock, Timer } from "../../bus/clock.js";
import type { StateReader } from "../../util/state-reader.js";
import { rearm, remaining } from "../timers.js";

/** Basic mode control. */
export const Bmcr = {
  DUPLEX: 1 << 8,
  RESTART: 1 << 9,
  POWER_DOWN: 1 << 11,
  AUTONEG: 1 << 12,
  SPEED_100: 1 << 13,
  RESET: 1 << 15,
} as const;

export const Bmsr = { LINK: 1 << 2, COMPLETE: 1 << 5 } as const;

/** CSCR: the documented defaults, and the bits that tell of the link. */
export const Cscr = {
  DEFAULT: 0x03c0,
  CONNECTED: 1 << 3,
  /** Not in the data sheet: drivers tell a link change from a packet underrun by it. */
  LINK_OK: 1 << 10,
  LINK_CHANGED: 1 << 11,
  WRITABLE: 0x03e5,
} as const;

/** BMCR bits that stick; speed, duplex and negotiation only while 9346CR allows it. */
const ALWAYS_WRITABLE = Bmcr.POWER_DOWN;
const CONFIG_WRITABLE = Bmcr.SPEED_100 | Bmcr.AUTONEG | Bmcr.DUPLEX;
/** 10 and 100 Mb/s at both duplexes, negotiation, extended registers. */
const ABILITIES = 0x7809;
const ANAR_DEFAULT = 0x05e1;
const ANAR_WRITABLE = 0x2fe0;
/** The far side: acknowledged, every speed and duplex, PAUSE. */
const PARTNER_ABILITIES = 0x45e1;
const ABILITY_100 = 0x0180;
const ABILITY_PAUSE = 1 << 10;

/** How long negotiation takes: shorter than the seconds that copper needs, long enough to be seen. */
const AUTONEGOTIATION_NANOSECONDS = 5_000_000;

export interface PhyState {
  control: number;
  advertised: number;
  test: number;
  link: boolean;
  linkLatchedLow: boolean;
  linkChanged: boolean;
  negotiated: boolean;
  negotiation: number;
}

/** The integrated 10/100 transceiver: its MII registers at 62h to 6Bh, CSCR, and the link. */
export class Phy {
  readonly #clock: Clock;
  readonly #carrier: () => boolean;
  readonly #changed: () => void;
  readonly #negotiation: Timer;
  #control = 0;
  #advertised = 0;
  #test = 0;
  #link = false;
  /** BMSR shows a link that was lost until it has been read (IEEE 802.3, 22.2.4.2.13). */
  #linkLatchedLow = false;
  #linkChanged = false;
  #negotiated = false;

  /**
   * @param carrier whether a partner is at the other end of the cable
   * @param changed runs when {@link link} has changed
   */
  constructor(clock: Clock, carrier: () => boolean, changed: () => void) {
    this.#clock = clock;
    this.#carrier = carrier;
    this.#changed = changed;
    this.#negotiation = clock.timer(() => this.#negotiationDone());
    this.powerOn();
  }

  get link(): boolean {
    return this.#link;
  }

  /** BMCR. */
  get control(): number {
    return this.#control;
  }

  /** ANAR. */
  get advertised(): number {
    return this.#advertised;
  }

  /** ANLPAR. */
  get partner(): number {
    return this.#negotiated ? PARTNER_ABILITIES : 0;
  }

  /** ANER: whether the partner negotiates. */
  get expansion(): number {
    return this.#negotiated ? 1 : 0;
  }

  get is10Mb(): boolean {
    if ((this.#control & Bmcr.AUTONEG) === 0) return (this.#control & Bmcr.SPEED_100) === 0;
    return (this.#advertised & ABILITY_100) === 0;
  }

  /** Whether both sides have agreed on PAUSE. */
  get flowControl(): boolean {
    return this.#negotiated && (this.#advertised & ABILITY_PAUSE) !== 0;
  }

  /** BMSR; reading it lets a lost link go. */
  readStatus(): number {
    const up = this.#link && !this.#linkLatchedLow;
    this.#linkLatchedLow = false;
    return ABILITIES | (up ? Bmsr.LINK : 0) | (this.#negotiated ? Bmsr.COMPLETE : 0);
  }

  /** CSCR; reading it acknowledges a link change. */
  readTest(): number {
    const changed = this.#linkChanged ? Cscr.LINK_CHANGED : 0;
    this.#linkChanged = false;
    return this.#test | changed | (this.#link ? Cscr.CONNECTED | Cscr.LINK_OK : 0);
  }

  writeTest(value: number): void {
    this.#test = value & Cscr.WRITABLE;
  }

  writeAdvertised(value: number): void {
    this.#advertised = (value & ANAR_WRITABLE) | 1;
  }

  /** @param unlocked whether 9346CR lets configuration be written */
  writeControl(value: number, unlocked: boolean): void {
    if ((value & Bmcr.RESET) !== 0) {
      this.#defaults();
      this.#establish();
      return;
    }
    const before = this.#control;
    const mask = unlocked ? ALWAYS_WRITABLE | CONFIG_WRITABLE : ALWAYS_WRITABLE;
    this.#control = (before & ~mask) | (value & mask);
    if (this.#control !== before || (value & Bmcr.RESTART) !== 0) this.#establish();
  }

  /** By the time that a driver looks, the link has been negotiated. */
  powerOn(): void {
    this.#defaults();
    this.#negotiation.cancel();
    this.#linkLatchedLow = false;
    this.#linkChanged = false;
    this.#link = this.#carrier();
    this.#negotiated = this.#link;
  }

  carrierChanged(): void {
    this.#establish();
  }

  #defaults(): void {
    this.#control = CONFIG_WRITABLE;
    this.#advertised = ANAR_DEFAULT;
    this.#test = Cscr.DEFAULT;
  }

  /** Takes the link down and, if there is a partner, brings it up again: at once when forced, else by negotiation. */
  #establish(): void {
    this.#negotiation.cancel();
    this.#negotiated = false;
    this.#setLink(false);
    if ((this.#control & Bmcr.POWER_DOWN) !== 0 || !this.#carrier()) return;
    if ((this.#control & Bmcr.AUTONEG) !== 0) this.#negotiation.arm(AUTONEGOTIATION_NANOSECONDS);
    else this.#setLink(true);
  }

  #negotiationDone(): void {
    this.#negotiated = true;
    this.#setLink(true);
  }

  #setLink(up: boolean): void {
    if (up === this.#link) return;
    if (!up) this.#linkLatchedLow = true;
    this.#linkChanged = true;
    this.#link = up;
    this.#changed();
  }

  snapshot(): PhyState {
    return {
      control: this.#control,
      advertised: this.#advertised,
      test: this.#test,
      link: this.#link,
      linkLatchedLow: this.#linkLatchedLow,
      linkChanged: this.#linkChanged,
      negotiated: this.#negotiated,
      negotiation: remaining(this.#negotiation, this.#clock),
    };
  }

  restore(state: StateReader): void {
    this.#control = state.integer("control", 0, 0xffff);
    this.#advertised = state.integer("advertised", 0, 0xffff);
    this.#test = state.integer("test", 0, 0xffff);
    this.#link = state.flag("link");
    this.#linkLatchedLow = state.flag("linkLatchedLow");
    this.#linkChanged = state.flag("linkChanged");
    this.#negotiated = state.flag("negotiated");
    rearm(this.#negotiation, state.delay("negotiation"));
  }
}
