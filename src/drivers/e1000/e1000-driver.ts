import { PciCommand, PciRegister } from "../../bus/pci-config.js";
import type { Message, Received } from "../../capability/endpoint.js";
import { ArgumentError } from "../../capability/errors.js";
import { ReceiveDemultiplexer } from "../../transfer/demultiplexed.js";
import { KorralError } from "../../util/errors.js";
import type { MaybePromise } from "../../util/maybe-promise.js";
import { REPLY_OK } from "../block-service.js";
import type { DriverDomain } from "../driver-domain.js";
import {
  checkFrameLength,
  decodeRing,
  decodeSend,
  decodeSession,
  LinkDownError,
  NetworkLabel,
} from "../network-service.js";
import { ReceiveSessions } from "../receive-sessions.js";
import { sendPinned } from "../send-pinned.js";
import { ReceiveRing } from "./receive-ring.js";
import { Ctrl, Interrupt, RahValid, Rctl, Reg, Status, Tctl } from "./registers.js";
import { TransmitRing } from "./transmit-ring.js";

/** Without the frame check sequence, with a VLAN tag. */
const LONGEST_FRAME = 1518;
const RESET_NANOSECONDS = 1_000_000;
const EERD_START = 1;
const EERD_DONE = 1 << 4;
/** Inter-packet gap for copper (§13.4.34). */
const TIPG_COPPER = 10 | (10 << 10) | (10 << 20);
const MTA_WORDS = 128;

/**
 * An Ethernet driver as EROS would have it: case 3 for what arrives, case 2 for what is sent, case 1 for small frames
 * that are sent by value.
 */
export class E1000Driver {
  readonly #domain: DriverDomain;
  readonly #receive: ReceiveRing;
  readonly #transmit: TransmitRing;
  readonly #sessions: ReceiveSessions;
  readonly macAddress = new Uint8Array(6);
  #linkUp = false;
  overruns = 0;

  private constructor(domain: DriverDomain) {
    this.#domain = domain;
    this.#receive = new ReceiveRing(domain, (bank) => new ReceiveDemultiplexer(bank, domain.statistics));
    this.#transmit = new TransmitRing(domain);
    this.#sessions = new ReceiveSessions(this.#receive.demultiplexer);
  }

  /** Brings the adapter up (SDM §14) and serves the domain's endpoint. */
  static start(domain: DriverDomain): Promise<E1000Driver> {
    return domain.start(async () => {
      const driver = new E1000Driver(domain);
      await driver.#reset();
      driver.#readMacAddress();
      driver.#enable();
      domain.serve((message) => driver.#serve(message));
      return driver;
    });
  }

  get linkUp(): boolean {
    return this.#linkUp;
  }

  get sessions(): ReceiveSessions {
    return this.#sessions;
  }

  async #reset(): Promise<void> {
    const { device } = this.#domain;
    device.configWrite(PciRegister.command, 2, PciCommand.memorySpace | PciCommand.busMaster);
    this.#write(Reg.imc, 0xffff_ffff);
    this.#write(Reg.ctrl, Ctrl.reset);
    await this.#domain.sleep(RESET_NANOSECONDS);
    if ((this.#read(Reg.ctrl) & Ctrl.reset) !== 0) {
      throw new KorralError("e1000-reset", "the adapter does not come out of reset: it is not there, or broken", 1);
    }
    this.#write(Reg.imc, 0xffff_ffff);
    this.#read(Reg.icr);
  }

  /** The Ethernet address lies in the first three words of the EEPROM (§5.6.1). */
  #readMacAddress(): void {
    for (let word = 0; word < 3; word++) {
      this.#write(Reg.eerd, EERD_START | (word << 8));
      const value = this.#read(Reg.eerd);
      if ((value & EERD_DONE) === 0) throw new KorralError("e1000-eeprom", "the adapter's EEPROM does not answer", 1);
      this.macAddress[2 * word] = (value >>> 16) & 0xff;
      this.macAddress[2 * word + 1] = value >>> 24;
    }
  }

  #enable(): void {
    const [a, b, c, d, e, f] = this.macAddress;
    this.#write(Reg.ral0, (a | (b << 8) | (c << 16) | (d << 24)) >>> 0);
    this.#write(Reg.rah0, (e | (f << 8) | RahValid) >>> 0);
    for (let word = 0; word < MTA_WORDS; word++) this.#write(Reg.mta + 4 * word, 0);
    const write = (register: number, value: number) => this.#write(register, value);
    this.#receive.program(write);
    this.#transmit.program(write);
    this.#domain.attach(this.#domain.irq, () => this.#interrupt());
    this.#write(Reg.ctrl, this.#read(Reg.ctrl) | Ctrl.setLinkUp);
    this.#write(Reg.tipg, TIPG_COPPER);
    this.#write(Reg.tctl, Tctl.enable | Tctl.padShort | (0x0f << 4) | (0x40 << 12));
    // Filters decide who gets what, so the adapter takes everything.
    const everything = Rctl.unicastPromiscuous | Rctl.multicastPromiscuous | Rctl.broadcast;
    this.#write(Reg.rctl, Rctl.enable | Rctl.stripCrc | everything);
    this.#write(Reg.ims, Interrupt.txDescriptorDone | Interrupt.linkChange | Interrupt.rxOverrun | Interrupt.rxTimer);
    this.#linkUp = (this.#read(Reg.status) & Status.linkUp) !== 0;
  }

  #interrupt(): boolean {
    const cause = this.#read(Reg.icr);
    if (cause === 0) return false;
    if ((cause & Interrupt.linkChange) !== 0) this.#linkChanged();
    if ((cause & Interrupt.rxOverrun) !== 0) this.overruns++;
    this.#receive.drain();
    this.#transmit.reap();
    return true;
  }

  /** Without a link the adapter does not fetch descriptors (§3.3): nobody should wait for that. */
  #linkChanged(): void {
    this.#linkUp = (this.#read(Reg.status) & Status.linkUp) !== 0;
    if (this.#linkUp) return;
    this.#transmit.reap();
    const control = this.#read(Reg.tctl);
    this.#write(Reg.tctl, control & ~Tctl.enable);
    this.#transmit.abandon(new LinkDownError());
    this.#transmit.program((register, value) => this.#write(register, value));
    this.#write(Reg.tctl, control);
  }

  #serve(message: Received): MaybePromise<Message> {
    switch (message.label) {
      case NetworkLabel.info:
        return { label: REPLY_OK, words: [this.#linkUp ? 1 : 0, LONGEST_FRAME], string: this.macAddress };
      case NetworkLabel.open:
        return { label: REPLY_OK, capabilities: [this.#sessions.open(this.#domain.bank, decodeSession(message))] };
      case NetworkLabel.close:
        this.#sessions.close(this.#domain.bank, decodeRing(message));
        return { label: REPLY_OK };
      case NetworkLabel.send:
        if (!this.#linkUp) throw new LinkDownError();
        return sendPinned(this.#domain, this.#transmit, decodeSend(message, LONGEST_FRAME), "e1000 transmit");
      case NetworkLabel.sendCopy:
        checkFrameLength(message.sentLength, LONGEST_FRAME);
        if (!this.#linkUp) throw new LinkDownError();
        return this.#sendCopy(message.string);
      default:
        throw new ArgumentError("network adapter", `${message.label} is not an operation of a network adapter`);
    }
  }

  #sendCopy(frame: Uint8Array): Promise<Message> {
    return new Promise<Message>((resolve, reject) => {
      this.#transmit.sendCopy(frame, (error) => (error === null ? resolve({ label: REPLY_OK }) : reject(error)));
    });
  }

  #read(register: number): number {
    return this.#domain.device.read(0, register, 4);
  }

  #write(register: number, value: number): void {
    this.#domain.device.write(0, register, 4, value);
  }
}
