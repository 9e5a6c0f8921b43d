import type { AccessSize, DeviceHost, PciDevice } from "../bus/device.js";
import { PciConfigSpace, type PciConfigState } from "../bus/pci-config.js";
import { Msi } from "../bus/pci-msi.js";
import { InputError } from "../util/errors.js";
import { StateReader } from "../util/state-reader.js";
import { Eeprom, type EepromState, eepromImage } from "./i82540em/eeprom.js";
import { type InterruptState, Interrupts } from "./i82540em/interrupts.js";
import { Phy, type PhyState, Speed } from "./i82540em/phy.js";
import { Receiver, type ReceiveState } from "./i82540em/receive.js";
import {
  Cause,
  CTRL_EXT_EE_RST,
  Ctrl,
  Eerd,
  FIRST_STATISTIC,
  LAST_STATISTIC,
  Mdic,
  PACKET_BUFFER_KIB,
  PBA_POWER_ON,
  Rah,
  Rctl,
  REGISTER_WORDS,
  RESET_VALUES,
  Register,
  Status,
  WRITE_MASKS,
} from "./i82540em/registers.js";
import { Statistics } from "./i82540em/statistics.js";
import { type TransmitState, Transmitter } from "./i82540em/transmit.js";
import { Packet } from "./i82540em/transmit-packet.js";
import { EEPROM_WORDS } from "./serial-eeprom.js";
import type { Wire } from "./wire.js";

/** Where the registers are: memory, and the two-register window for I/O instructions. BAR 1, the flash, is not fitted. */
export const I82540emBar = { memory: 0, io: 2 } as const;
const MEMORY_BYTES = 128 * 1024;
const IO_BYTES = 64;
const IOADDR = 0;
const IODATA = 4;
const POWER_MANAGEMENT_CAPABILITY = 0xdc;
const MSI_CAPABILITY = 0xf0;
/** PAUSE quanta are 512 bit times: nanoseconds at 10, 100 and 1000 Mb/s. */
const QUANTUM_NANOSECONDS = [51_200, 5120, 512];
/** Locally administered. */
const DEFAULT_ADDRESS = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56);

export interface I82540emOptions {
  wire: Wire;
  /** Six bytes; goes into the EEPROM. Default 52:54:00:12:34:56. */
  macAddress?: Uint8Array;
  /**
   * Computes the FCS that is stored behind received frames while RCTL.SECRC is off (about 1 ns a byte). Default: zeroes
   * are stored, which drivers cut off unseen.
   */
  exactFcs?: boolean;
}

/** Plain-state twin of the adapter. Delays are nanoseconds from the snapshot on, Infinity for what will not happen. */
export interface I82540emState {
  model: "e1000";
  config: PciConfigState;
  /** Registers that are not zero: word index and value, alternating. */
  registers: number[];
  ioAddress: number;
  linkUp: boolean;
  phyInterrupt: boolean;
  asserted: boolean;
  eeprom: EepromState;
  phy: PhyState;
  interrupts: InterruptState;
  receive: ReceiveState;
  transmit: TransmitState;
}

/**
 * Intel 82540EM Gigabit Ethernet controller with its copper PHY (8086:100e), after the manual 317453.
 *
 * Left out: wake-up, manageability, the flash, and the packet buffer memory's diagnostic window. Time that the part takes for a register access, DMA or serialisation is not modelled; delays that
 * software programs are.
 */
export class I82540em implements PciDevice {
  readonly model = "e1000";
  readonly config: PciConfigSpace;
  readonly #host: DeviceHost;
  readonly #wire: Wire;
  readonly #registers = new Uint32Array(REGISTER_WORDS);
  readonly #eeprom: Eeprom;
  readonly #statistics = new Statistics(this.#registers);
  readonly #interrupts: Interrupts;
  readonly #phy: Phy;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  #ioAddress = 0;
  /** STATUS.LU: the PHY has a link, and software lets the MAC see it (§8.6.2.1). */
  #linkUp = false;
  #loopback = false;
  #phyInterrupt = false;
  #restoring = false;

  constructor(host: DeviceHost, options: I82540emOptions) {
    const macAddress = options.macAddress ?? DEFAULT_ADDRESS;
    if (macAddress.length !== 6 || (macAddress[0] & 1) !== 0) {
      throw new InputError("mac-address", "the hardware address must be six bytes and no multicast address");
    }
    this.#host = host;
    this.#wire = options.wire;
    this.#eeprom = new Eeprom(eepromImage(macAddress));
    this.config = new PciConfigSpace({
      vendorId: 0x8086,
      deviceId: 0x100e,
      classCode: 0x02_0000,
      revision: 0x02,
      subsystemVendorId: 0x8086,
      subsystemId: 0x001e,
      interruptPin: 1,
      minGnt: 0xff,
    });
    this.config.addBar(I82540emBar.memory, "memory32", MEMORY_BYTES);
    this.config.addBar(I82540emBar.io, "io", IO_BYTES);
    this.config.addPowerManagement(POWER_MANAGEMENT_CAPABILITY);
    const registers = this.#registers;
    this.#interrupts = new Interrupts(registers, host, new Msi(host, this.config, MSI_CAPABILITY));
    this.#phy = new Phy(
      host.clock,
      () => options.wire.carrier,
      () => this.#update(),
    );
    const packet = new Packet(registers, host, this.#statistics, (bytes, offset, length) => {
      if (this.#loopback) this.#receiver.frame(bytes, offset, length);
      else this.#wire.send(bytes, offset, length);
    });
    this.#transmitter = new Transmitter(
      registers,
      host,
      this.config,
      this.#interrupts,
      packet,
      () => this.#linkUp || this.#loopback,
    );
    this.#receiver = new Receiver(
      registers,
      host,
      this.config,
      this.#interrupts,
      this.#statistics,
      options.exactFcs ?? false,
      (quanta) => this.#transmitter.pauseFor(quanta * QUANTUM_NANOSECONDS[this.#phy.speed]),
    );
    this.config.onWrite = () => {
      this.#update();
      this.#interrupts.signal();
    };
    options.wire.onFrame((bytes, offset, length) => {
      if (this.#linkUp && !this.#loopback) this.#receiver.frame(bytes, offset, length);
    });
    options.wire.onCarrier(() => this.#phy.carrierChanged());
    this.reset();
  }

  read(bar: number, offset: number, size: AccessSize): number {
    if (bar === I82540emBar.io) return this.#readIo(offset, size);
    const value = this.#readRegister(offset >>> 2);
    return size === 4 ? value : part(value, offset, size);
  }

  write(bar: number, offset: number, size: AccessSize, value: number): void {
    if (size !== 4) {
      this.#host.violation("register-access-size", `${size} bytes were written to ${offset}: registers take 4 (§13.2)`);
    } else if (bar !== I82540emBar.io) {
      this.#writeRegister(offset >>> 2, value);
    } else if (offset === IOADDR) {
      this.#ioAddress = value;
    } else if (offset === IODATA) {
      this.#writeRegister(this.#ioAddress >>> 2, value);
    }
  }

  /** Power-on, but for the configuration space. */
  reset(): void {
    this.#registers[Register.PBA] = PBA_POWER_ON;
    this.#ioAddress = 0;
    this.#deviceReset();
    this.#phy.powerOn();
  }

  /** CTRL.RST, §14.5: everything but the PHY, the packet buffer allocation and the PCI configuration. */
  #deviceReset(): void {
    const registers = this.#registers;
    const allocation = registers[Register.PBA];
    this.#interrupts.reset();
    this.#transmitter.reset();
    this.#receiver.reset();
    this.#eeprom.reset();
    registers.fill(0);
    registers[Register.PBA] = allocation;
    for (const [word, value] of RESET_VALUES) registers[word] = value;
    this.#loadAddress();
    this.#linkUp = false;
    this.#loopback = this.#phy.loopback;
  }

  /** The EEPROM's hardware address becomes receive address 0. */
  #loadAddress(): void {
    const { words } = this.#eeprom;
    this.#registers[Register.RA] = words[0] | (words[1] << 16);
    this.#registers[Register.RA + 1] = words[2] | Rah.AV;
    this.#receiver.filter.addressesChanged();
  }

  #readIo(offset: number, size: AccessSize): number {
    if (offset >>> 2 === IOADDR >>> 2) return part(this.#ioAddress, offset, size);
    return offset >>> 2 === IODATA >>> 2 ? part(this.#readRegister(this.#ioAddress >>> 2), offset, size) : 0;
  }

  #readRegister(word: number): number {
    switch (word) {
      case Register.ICR:
        return this.#interrupts.readCauses();
      case Register.STATUS:
        return this.#status();
      case Register.CTRL_DUP:
        return this.#registers[Register.CTRL];
      case Register.EECD:
        return this.#eeprom.readControl();
    }
    if (word >= FIRST_STATISTIC && word <= LAST_STATISTIC) return this.#statistics.read(word);
    return word < REGISTER_WORDS ? this.#registers[word] : 0;
  }

  #writeRegister(word: number, value: number): void {
    const registers = this.#registers;
    switch (word) {
      case Register.TDT:
        registers[word] = value & 0xffff;
        this.#transmitter.tailWritten();
        return;
      case Register.RDT:
        registers[word] = value & 0xffff;
        this.#receiver.tailWritten();
        return;
      case Register.IMS:
        this.#interrupts.unmask(value);
        return;
      case Register.IMC:
        this.#interrupts.mask(value);
        return;
      case Register.ICR:
        this.#interrupts.clearCauses(value);
        return;
      case Register.ICS:
        this.#interrupts.raise(value);
        return;
      case Register.CTRL:
      case Register.CTRL_DUP:
        this.#writeControl(value);
        return;
      case Register.CTRL_EXT:
        registers[word] = value & WRITE_MASKS[word];
        if ((value & CTRL_EXT_EE_RST) !== 0) this.#loadAddress();
        return;
      case Register.EECD:
        this.#eeprom.writeControl(value);
        return;
      case Register.EERD:
        this.#readEeprom(value);
        return;
      case Register.MDIC:
        this.#accessPhy(value);
        return;
      case Register.RCTL:
        this.#writeReceiveControl(value);
        return;
      case Register.TCTL: {
        const before = registers[word];
        registers[word] = value & WRITE_MASKS[word];
        this.#transmitter.controlChanged(before);
        return;
      }
      case Register.RDTR:
        registers[word] = value & WRITE_MASKS[word];
        if (value >>> 31 !== 0) this.#interrupts.flushReceive();
        return;
      case Register.RDBAL:
      case Register.RDBAH:
      case Register.RDLEN:
      case Register.RDH:
        registers[word] = value & WRITE_MASKS[word];
        this.#receiver.ringChanged();
        return;
      case Register.TDBAL:
      case Register.TDBAH:
      case Register.TDLEN:
      case Register.TDH:
        registers[word] = value & WRITE_MASKS[word];
        this.#transmitter.ringChanged();
        return;
      case Register.PBA:
        this.#allocateBuffer(value & 0x7f);
        return;
    }
    if (word >= REGISTER_WORDS) return;
    registers[word] = (registers[word] & ~WRITE_MASKS[word]) | (value & WRITE_MASKS[word]);
    if (word >= Register.RA && word < Register.RA + 32) this.#receiver.filter.addressesChanged();
  }

  #writeControl(value: number): void {
    if ((value & Ctrl.RST) !== 0) this.#deviceReset();
    else this.#registers[Register.CTRL] = value & WRITE_MASKS[Register.CTRL];
    if ((value & Ctrl.PHY_RST) !== 0) this.#phy.reset();
    this.#update();
  }

  #writeReceiveControl(value: number): void {
    const before = this.#registers[Register.RCTL];
    this.#registers[Register.RCTL] = value & WRITE_MASKS[Register.RCTL];
    this.#receiver.controlChanged(before);
    this.#update();
  }

  /** PBA: what reception does not get is transmission's. */
  #allocateBuffer(receive: number): void {
    const bounded = Math.min(receive, PACKET_BUFFER_KIB);
    this.#registers[Register.PBA] = ((PACKET_BUFFER_KIB - bounded) << 16) | bounded;
  }

  /** EERD, §13.4.4: a word at once, without driving pins. */
  #readEeprom(value: number): void {
    if ((value & Eerd.START) === 0) return;
    const address = (value >>> 8) & 0xff;
    const word = this.#eeprom.words[address & (EEPROM_WORDS - 1)];
    this.#registers[Register.EERD] = (word << 16) | (address << 8) | Eerd.DONE;
  }

  /** MDIC, §13.4.7: done by the time that software looks. */
  #accessPhy(value: number): void {
    const register = (value >>> 16) & 31;
    const address = (value >>> 21) & 31;
    const operation = (value >>> 26) & 3;
    let data = value & 0xffff;
    let error = true;
    if (operation === Mdic.OP_READ) {
      const answer = this.#phy.read(address, register);
      error = answer < 0;
      data = error ? 0xffff : answer;
    } else if (operation === Mdic.OP_WRITE) {
      error = !this.#phy.write(address, register, data);
    }
    const result = (value & (0x0fff_0000 | Mdic.INTERRUPT)) | data | Mdic.READY;
    this.#registers[Register.MDIC] = error ? result | Mdic.ERROR : result;
    if ((value & Mdic.INTERRUPT) !== 0) this.#interrupts.raise(Cause.MDAC);
  }

  #status(): number {
    const control = this.#registers[Register.CTRL];
    const detected = this.#phy.speed;
    const forced = Math.min(Speed.mb1000, (control & Ctrl.SPEED_MASK) >>> Ctrl.SPEED_SHIFT);
    const speed = (control & Ctrl.FRCSPD) !== 0 ? forced : detected;
    const duplex = (control & Ctrl.FRCDPLX) !== 0 ? (control & Ctrl.FD) !== 0 : this.#phy.fullDuplex;
    return (
      (duplex ? Status.FD : 0) |
      (this.#linkUp ? Status.LU : 0) |
      (this.#transmitter.paused ? Status.TXOFF : 0) |
      (speed << Status.SPEED_SHIFT) |
      (detected << Status.ASDV_SHIFT)
    );
  }

  /** Follows whatever decides about the link, loopback and the PHY's interrupt. */
  #update(): void {
    if (this.#restoring) return;
    const registers = this.#registers;
    const before = this.#linkUp || this.#loopback;
    this.#loopback = ((registers[Register.RCTL] >>> Rctl.LBM_SHIFT) & 3) !== 0 || this.#phy.loopback;
    const interrupt = this.#phy.interruptPending;
    if (interrupt && !this.#phyInterrupt) this.#interrupts.raise(Cause.PHYINT);
    this.#phyInterrupt = interrupt;
    const up = this.#phy.link && (registers[Register.CTRL] & Ctrl.SLU) !== 0 && this.config.powerState === 0;
    if (up !== this.#linkUp) {
      this.#linkUp = up;
      this.#interrupts.raise(Cause.LSC);
    }
    if (!before && (up || this.#loopback)) this.#transmitter.run();
  }

  snapshot(): I82540emState {
    const registers: number[] = [];
    this.#registers.forEach((value, word) => {
      if (value !== 0) registers.push(word, value);
    });
    return {
      model: this.model,
      config: this.config.snapshot(),
      registers,
      ioAddress: this.#ioAddress,
      linkUp: this.#linkUp,
      phyInterrupt: this.#phyInterrupt,
      asserted: this.#interrupts.asserted,
      eeprom: this.#eeprom.snapshot(),
      phy: this.#phy.snapshot(),
      interrupts: this.#interrupts.snapshot(),
      receive: this.#receiver.snapshot(),
      transmit: this.#transmitter.snapshot(),
    };
  }

  restore(state: object): void {
    const reader = new StateReader(this.model, state);
    this.#restoring = true;
    try {
      this.#restore(reader);
    } catch (error) {
      this.reset();
      throw error;
    } finally {
      this.#restoring = false;
    }
  }

  #restore(state: StateReader): void {
    const pairs = state.numbers("registers", 0, 2 * REGISTER_WORDS, 0xffff_ffff);
    this.#registers.fill(0);
    for (let i = 0; i + 1 < pairs.length; i += 2) this.#registers[pairs[i]] = pairs[i + 1];
    this.#ioAddress = state.integer("ioAddress", 0, 0xffff_ffff);
    this.config.restore({ bytes: state.child("config").numbers("bytes", 256, 256, 0xff) });
    this.#eeprom.restore(state.child("eeprom"));
    this.#phy.restore(state.child("phy"));
    this.#receiver.restore(state.child("receive"));
    this.#transmitter.restore(state.child("transmit"));
    this.#interrupts.restore(state.child("interrupts"), state.flag("asserted"));
    this.#linkUp = state.flag("linkUp");
    this.#phyInterrupt = state.flag("phyInterrupt");
    this.#loopback = ((this.#registers[Register.RCTL] >>> Rctl.LBM_SHIFT) & 3) !== 0 || this.#phy.loopback;
  }
}

/** The bytes of a register that a narrow read asks for. */
function part(value: number, offset: number, size: AccessSize): number {
  const shifted = value >>> (8 * (offset & 3));
  return size === 4 ? value : size === 2 ? shifted & 0xffff : shifted & 0xff;
}
