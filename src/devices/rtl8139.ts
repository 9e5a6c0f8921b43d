import type { Timer } from "../bus/clock.js";
import type { AccessSize, DeviceHost, PciDevice } from "../bus/device.js";
import { PciConfigSpace, type PciConfigState, PciStatus } from "../bus/pci-config.js";
import { InputError } from "../util/errors.js";
import { StateReader } from "../util/state-reader.js";
import { Eeprom, type EepromState, eepromImage } from "./rtl8139/eeprom.js";
import { type InterruptState, Interrupts } from "./rtl8139/interrupts.js";
import { Phy, type PhyState } from "./rtl8139/phy.js";
import { Receiver, type ReceiveState } from "./rtl8139/receive.js";
import {
  CONFIG_MASKS,
  Cpcr,
  Cr,
  Cr9346,
  Dtccr,
  HardwareVersion,
  Isr,
  Msr,
  Rcr,
  REGISTER_BYTES,
  REGISTER_END,
  REGISTER_START,
  Register,
  RegisterFile,
  Tcr,
  Tppoll,
  WRITE_MASKS,
} from "./rtl8139/registers.js";
import { Statistics, type StatisticsState } from "./rtl8139/statistics.js";
import { type DescriptorState, TransmitDescriptors } from "./rtl8139/transmit-descriptors.js";
import { type SlotState, TransmitSlots } from "./rtl8139/transmit-slots.js";
import { rearm, remaining } from "./timers.js";
import type { Wire } from "./wire.js";

/** The same registers twice. */
export const Rtl8139Bar = { io: 0, memory: 1 } as const;
const POWER_MANAGEMENT_CAPABILITY = 0x50;
/** PAUSE quanta are 512 bit times: nanoseconds at 100 and 10 Mb/s. */
const QUANTUM_100 = 5120;
const QUANTUM_10 = 51_200;
const FCS_BYTES = 4;
const TCR_DEFAULT = 0x0300_0000;
/** Locally administered. */
const DEFAULT_ADDRESS = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56);

/** PCI revisions: drivers tell the parts apart by them. */
export const Rtl8139Revision = { c: 0x10, cPlus: 0x20 } as const;

export interface Rtl8139Options {
  wire: Wire;
  /** Six bytes; goes into the EEPROM. Default 52:54:00:12:34:56. */
  macAddress?: Uint8Array;
  /** 0x20: RTL8139C+ (default); 0x10: RTL8139C, without C+ mode. */
  revision?: number;
  /** Computes the FCS that is stored behind received frames (about 1 ns a byte). Default: zeroes are stored. */
  exactFcs?: boolean;
}

/** Plain-state twin of the adapter. Delays are nanoseconds from the snapshot on, Infinity for what will not happen. */
export interface Rtl8139State {
  model: "rtl8139";
  config: PciConfigState;
  registers: number[];
  plus: boolean;
  pause: number;
  eeprom: EepromState;
  phy: PhyState;
  interrupts: InterruptState;
  statistics: StatisticsState;
  receive: ReceiveState;
  slots: SlotState;
  descriptors: DescriptorState;
}

/**
 * Realtek RTL8139C+ and RTL8139C Fast Ethernet controllers (10ec:8139), after their data sheets.
 *
 * Left out: wake-up, the boot ROM and flash, CardBus, vital product data and early receive. Time that the part takes for
 * a register access, DMA or serialisation is not modelled.
 */
export class Rtl8139 implements PciDevice {
  readonly model = "rtl8139";
  readonly config: PciConfigSpace;
  readonly #host: DeviceHost;
  readonly #wire: Wire;
  readonly #isPlus: boolean;
  readonly #registers = new RegisterFile();
  readonly #eeprom: Eeprom;
  readonly #statistics = new Statistics();
  readonly #interrupts: Interrupts;
  readonly #phy: Phy;
  readonly #receiver: Receiver;
  readonly #slots: TransmitSlots;
  readonly #descriptors: TransmitDescriptors;
  readonly #pause: Timer;
  /** C+CR has been written since the reset: TSD and TSAD are DTCCR, TNPDS and THPDS. */
  #plus = false;

  constructor(host: DeviceHost, options: Rtl8139Options) {
    const macAddress = options.macAddress ?? DEFAULT_ADDRESS;
    if (macAddress.length !== 6 || (macAddress[0] & 1) !== 0) {
      throw new InputError("mac-address", "the hardware address must be six bytes and no multicast address");
    }
    const revision = options.revision ?? Rtl8139Revision.cPlus;
    if (revision !== Rtl8139Revision.c && revision !== Rtl8139Revision.cPlus) {
      throw new InputError("revision", "the revision must be 0x10 (RTL8139C) or 0x20 (RTL8139C+)");
    }
    this.#host = host;
    this.#wire = options.wire;
    this.#isPlus = revision === Rtl8139Revision.cPlus;
    this.#eeprom = new Eeprom(eepromImage(macAddress));
    this.config = new PciConfigSpace({
      vendorId: 0x10ec,
      deviceId: 0x8139,
      classCode: 0x02_0000,
      revision,
      subsystemVendorId: 0x10ec,
      subsystemId: 0x8139,
      interruptPin: 1,
      minGnt: 0x20,
      maxLat: 0x40,
    });
    this.config.addBar(Rtl8139Bar.io, "io", REGISTER_BYTES);
    this.config.addBar(Rtl8139Bar.memory, "memory32", REGISTER_BYTES);
    this.config.addPowerManagement(POWER_MANAGEMENT_CAPABILITY);
    const registers = this.#registers;
    this.#interrupts = new Interrupts(registers, host);
    this.#phy = new Phy(
      host.clock,
      () => options.wire.carrier,
      () => this.#interrupts.raise(Isr.LINK_CHANGE),
    );
    const mayRun = () => !this.#pause.armed && this.config.powerState === 0;
    const send = (bytes: Uint8Array, offset: number, length: number) => this.#send(bytes, offset, length);
    this.#slots = new TransmitSlots(registers, host, this.config, this.#interrupts, this.#statistics, mayRun, send);
    this.#descriptors = new TransmitDescriptors(
      registers,
      host,
      this.config,
      this.#interrupts,
      this.#statistics,
      mayRun,
      send,
    );
    this.#receiver = new Receiver(
      registers,
      host,
      this.config,
      this.#interrupts,
      this.#statistics,
      options.exactFcs ?? false,
      (quanta) => this.#pauseFor(quanta),
    );
    this.#pause = host.clock.timer(() => this.#transmit());
    this.config.onWrite = () => this.#transmit();
    options.wire.onFrame((bytes, offset, length) => {
      if (this.#phy.link && !this.#loopback && this.config.powerState === 0) {
        this.#receiver.frame(bytes, offset, length);
      }
    });
    options.wire.onCarrier(() => this.#phy.carrierChanged());
    this.reset();
  }

  read(_bar: number, offset: number, size: AccessSize): number {
    const registers = this.#registers;
    for (let at = offset; at < offset + size; at = REGISTER_END[at]) this.#refresh(REGISTER_START[at]);
    return size === 4 ? registers.get32(offset) : size === 2 ? registers.get16(offset) : registers.get8(offset);
  }

  write(_bar: number, offset: number, size: AccessSize, value: number): void {
    if (REGISTER_START[offset] === offset && REGISTER_END[offset] === offset + size) {
      this.#writeRegister(offset, value);
      return;
    }
    const end = Math.min(offset + size, REGISTER_BYTES);
    for (let at = offset; at < end; at = REGISTER_END[at]) this.#writePart(at, end, value, 8 * (at - offset));
  }

  /** Writes the bytes of one register that a narrower, wider or unaligned access covers. */
  #writePart(at: number, end: number, value: number, shift: number): void {
    const start = REGISTER_START[at];
    const stop = REGISTER_END[at];
    if (start < Register.TSD0 && (at !== start || end < stop)) {
      this.#host.violation("register-access-size", `IDR and MAR are written in four bytes, not at ${at}`);
      return;
    }
    this.#refresh(start);
    const registers = this.#registers;
    // Bytes that are not written keep their value; in ISR that would acknowledge.
    let merged = start === Register.ISR ? 0 : registers.get32(start);
    for (let i = at; i < Math.min(stop, end); i++) {
      const place = 8 * (i - start);
      merged = (merged & ~(0xff << place)) | (((value >>> (shift + 8 * (i - at))) & 0xff) << place);
    }
    const width = 8 * (stop - start);
    this.#writeRegister(start, width === 32 ? merged >>> 0 : merged & ((1 << width) - 1));
  }

  /** Power-on, but for the configuration space. */
  reset(): void {
    this.#registers.bytes.fill(0);
    this.#statistics.reset();
    this.#eeprom.reset();
    this.#phy.powerOn();
    this.#softReset();
    this.#loadConfiguration();
    this.#registers.set8(Register.MSR, Msr.RXFCE | Msr.TXFCE);
    this.#registers.set8(Register.RERID, this.config.identity.revision ?? 0);
  }

  /** CR.RST: everything but the addresses, the configuration, the transceiver and the PCI configuration. */
  #softReset(): void {
    const registers = this.#registers;
    this.#plus = false;
    this.#pause.cancel();
    registers.set8(Register.CR, 0);
    registers.set32(Register.RBSTART, 0);
    registers.set32(Register.TCR, TCR_DEFAULT);
    registers.set32(Register.RCR, 0);
    registers.set32(Register.MPC, 0);
    registers.set16(Register.MULINT, 0);
    registers.set16(Register.CPCR, 0);
    registers.set32(Register.RDSAR, 0);
    registers.set32(Register.RDSAR + 4, 0);
    registers.set8(Register.ETTHR, 0);
    this.#slots.reset();
    this.#descriptors.restart();
    this.#receiver.ring.reset();
    this.#receiver.restart();
    this.#interrupts.reset();
  }

  /** What power-on and 9346CR's automatic loading take out of the EEPROM. */
  #loadConfiguration(): void {
    const { id, config0, config1, config3, config4 } = this.#eeprom.load();
    const registers = this.#registers;
    registers.set32(Register.IDR0, id[0]);
    registers.set32(Register.IDR4, id[1]);
    registers.set8(Register.CONFIG0, config0);
    registers.set8(Register.CONFIG1, config1);
    registers.set8(Register.CONFIG3, config3);
    registers.set8(Register.CONFIG4, config4);
  }

  get #loopback(): boolean {
    return (this.#registers.get32(Register.TCR) & Tcr.LOOPBACK) === Tcr.LOOPBACK;
  }

  /** Brings a register that is not just memory up to date. */
  #refresh(register: number): void {
    const registers = this.#registers;
    switch (register) {
      case Register.CR: {
        const enabled = registers.get8(Register.CR) & (Cr.RE | Cr.TE);
        registers.set8(Register.CR, enabled | (this.#receiver.ring.empty ? Cr.BUFE : 0));
        return;
      }
      case Register.TCR: {
        const version = this.#isPlus ? HardwareVersion.rtl8139cPlus : HardwareVersion.rtl8139c;
        registers.set32(Register.TCR, (registers.get32(Register.TCR) & Tcr.WRITABLE) | version);
        return;
      }
      case Register.TCTR:
        registers.set32(Register.TCTR, this.#interrupts.count);
        return;
      case Register.CR9346:
        registers.set8(Register.CR9346, this.#eeprom.command);
        return;
      case Register.MSR:
        registers.set8(Register.MSR, this.#mediaStatus());
        return;
      case Register.TSAD:
        registers.set16(Register.TSAD, this.#plus ? 0 : this.#slots.summary);
        return;
      case Register.BMCR:
        registers.set16(Register.BMCR, this.#phy.control);
        return;
      case Register.BMSR:
        registers.set16(Register.BMSR, this.#phy.readStatus());
        return;
      case Register.ANAR:
        registers.set16(Register.ANAR, this.#phy.advertised);
        return;
      case Register.ANLPAR:
        registers.set16(Register.ANLPAR, this.#phy.partner);
        return;
      case Register.ANER:
        registers.set16(Register.ANER, this.#phy.expansion);
        return;
      case Register.CSCR:
        registers.set32(Register.CSCR, this.#phy.readTest());
        return;
    }
  }

  #mediaStatus(): number {
    const flow = this.#registers.get8(Register.MSR) & (Msr.RXFCE | Msr.TXFCE);
    const link = this.#phy.link ? 0 : Msr.LINKB;
    return flow | link | (this.#phy.is10Mb ? Msr.SPEED_10 : 0) | (this.#pause.armed ? Msr.RXPF : 0);
  }

  #writeRegister(register: number, value: number): void {
    const registers = this.#registers;
    switch (register) {
      case Register.ISR:
        this.#interrupts.acknowledge(value);
        return;
      case Register.IMR:
        this.#interrupts.setMask(value);
        return;
      case Register.CAPR:
        if (this.#receiver.underrun) this.#interrupts.raise(Isr.LINK_CHANGE);
        registers.set16(register, value);
        return;
      case Register.CR:
        this.#writeCommand(value);
        return;
      case Register.TCR:
        if ((registers.get8(Register.CR) & Cr.TE) !== 0) registers.set32(register, value & Tcr.WRITABLE);
        else this.#host.violation("tcr-disabled", "TCR was written while CR.TE is off: the part ignores that");
        return;
      case Register.RCR:
        registers.set32(register, value & Rcr.WRITABLE);
        return;
      case Register.TCTR:
        this.#interrupts.restartTimer();
        return;
      case Register.TIMERINT:
        registers.set32(register, value);
        this.#interrupts.timerChanged();
        return;
      case Register.MPC:
        registers.set32(register, 0);
        return;
      case Register.CR9346:
        if (this.#eeprom.write(value)) this.#loadConfiguration();
        return;
      case Register.MSR:
        registers.set8(register, value & (Msr.RXFCE | Msr.TXFCE));
        return;
      case Register.BMCR:
        this.#phy.writeControl(value, this.#eeprom.mode === Cr9346.CONFIG);
        return;
      case Register.ANAR:
        this.#phy.writeAdvertised(value);
        return;
      case Register.CSCR:
        this.#phy.writeTest(value);
        return;
      case Register.IDR0:
        registers.set32(register, value);
        return;
      case Register.IDR4:
        registers.set32(register, value & 0xffff);
        return;
    }
    if (register >= Register.TSD0 && register < Register.RBSTART) this.#writeTransmit(register, value);
    else if (this.#isPlus && register >= Register.TPPOLL) this.#writePlus(register, value);
    else if (!this.#writeConfiguration(register, value)) this.#writePlain(register, value);
  }

  #writePlain(register: number, value: number): void {
    const mask = WRITE_MASKS[register];
    if (mask === 0) return;
    // A mask is never wider than its register.
    const width = REGISTER_END[register] - register;
    const kept = this.#registers.get32(register) & ~mask;
    if (width === 1) this.#registers.set8(register, kept | (value & mask));
    else if (width === 2) this.#registers.set16(register, kept | (value & mask));
    else this.#registers.set32(register, kept | (value & mask));
  }

  #writeCommand(value: number): void {
    const registers = this.#registers;
    if ((value & Cr.RST) !== 0) this.#softReset();
    const before = registers.get8(Register.CR);
    registers.set8(Register.CR, value & (Cr.RE | Cr.TE));
    const switched = before ^ value;
    if ((switched & value & Cr.RE) !== 0) {
      this.#receiver.ring.reset();
      this.#receiver.restart();
    }
    if ((switched & Cr.TE) !== 0) this.#descriptors.restart();
    if ((switched & value & Cr.TE) !== 0 && !this.#plus) this.#slots.restart();
  }

  /** 10h to 2Fh: descriptors that are registers, or where the descriptors are. */
  #writeTransmit(register: number, value: number): void {
    const registers = this.#registers;
    if (register >= Register.TSAD0) {
      registers.set32(register, value);
      if (this.#plus) this.#descriptors.ringMoved(register);
    } else if (!this.#plus) {
      this.#slots.write(register, value);
    } else {
      registers.set32(register, value);
      if (register === Register.TSD0 && (value & Dtccr.DUMP) !== 0) this.#dumpStatistics();
    }
  }

  #dumpStatistics(): void {
    const registers = this.#registers;
    const address = (registers.get32(Register.TSD0) & Dtccr.ADDRESS) >>> 0;
    const high = registers.get32(Register.TSD0 + 4) * 0x1_0000_0000;
    if (!this.#statistics.dump(this.#host, address + high)) {
      this.config.setStatus(PciStatus.receivedMasterAbort, true);
      this.#interrupts.raise(Isr.SERR);
    }
    registers.set32(Register.TSD0, registers.get32(Register.TSD0) & ~Dtccr.DUMP);
  }

  /** Registers that only C+ parts have. */
  #writePlus(register: number, value: number): void {
    const registers = this.#registers;
    switch (register) {
      case Register.TPPOLL:
        if ((value & Tppoll.FSW_INT) !== 0) this.#interrupts.raise(Isr.SW_INT);
        if (this.#plus) this.#descriptors.poll(value);
        return;
      case Register.CPCR:
        this.#plus = true;
        registers.set16(
          register,
          value & (Cpcr.TX | Cpcr.RX | Cpcr.MUL_RW | Cpcr.DAC | Cpcr.RX_CHECKSUM | Cpcr.RX_VLAN),
        );
        return;
      case Register.RDSAR:
      case Register.RDSAR + 4:
        // The ring is aligned to 256 bytes.
        registers.set32(register, register === Register.RDSAR ? value & ~0xff : value);
        this.#receiver.restart();
        return;
      case Register.ETTHR:
        this.#writePlain(register, value);
        return;
    }
  }

  /** CONFIG0, 1, 3 and 4, which 9346CR has to unlock. @returns whether the register is one of them */
  #writeConfiguration(register: number, value: number): boolean {
    for (const [config, mask] of CONFIG_MASKS) {
      if (register !== config) continue;
      if (this.#eeprom.mode !== Cr9346.CONFIG) {
        this.#host.violation("config-locked", "a CONFIG register was written, but 9346CR is not in its mode 11");
      } else {
        this.#registers.set8(register, (this.#registers.get8(register) & ~mask) | (value & mask));
      }
      return true;
    }
    return false;
  }

  /** A whole frame leaves. @returns whether there is a link, or loopback */
  #send(bytes: Uint8Array, offset: number, length: number): boolean {
    const ownFcs = (this.#registers.get32(Register.TCR) & Tcr.CRC) !== 0;
    const size = ownFcs ? length - FCS_BYTES : length;
    if (size <= 0) return true;
    if (this.#loopback) this.#receiver.frame(bytes, offset, size);
    else if (!this.#phy.link) return false;
    else this.#wire.send(bytes, offset, size);
    return true;
  }

  /** @returns whether flow control is on: PAUSE frames are the MAC's own then */
  #pauseFor(quanta: number): boolean {
    if ((this.#registers.get8(Register.MSR) & Msr.RXFCE) === 0 || !this.#phy.flowControl) return false;
    this.#pause.cancel();
    // From the machine loop also when it is over at once: this may be inside of a transmission.
    this.#pause.arm(quanta * (this.#phy.is10Mb ? QUANTUM_10 : QUANTUM_100));
    return true;
  }

  #transmit(): void {
    if (this.#plus) this.#descriptors.run();
    else this.#slots.run();
  }

  snapshot(): Rtl8139State {
    return {
      model: this.model,
      config: this.config.snapshot(),
      registers: [...this.#registers.bytes.subarray(0, REGISTER_BYTES)],
      plus: this.#plus,
      pause: remaining(this.#pause, this.#host.clock),
      eeprom: this.#eeprom.snapshot(),
      phy: this.#phy.snapshot(),
      interrupts: this.#interrupts.snapshot(),
      statistics: this.#statistics.snapshot(),
      receive: this.#receiver.snapshot(),
      slots: this.#slots.snapshot(),
      descriptors: this.#descriptors.snapshot(),
    };
  }

  restore(state: object): void {
    const follow = this.config.onWrite;
    this.config.onWrite = null;
    try {
      this.#restore(new StateReader(this.model, state));
    } catch (error) {
      this.reset();
      throw error;
    } finally {
      this.config.onWrite = follow;
    }
  }

  #restore(state: StateReader): void {
    this.#registers.bytes.set(state.numbers("registers", REGISTER_BYTES, REGISTER_BYTES, 0xff));
    this.#plus = state.flag("plus") && this.#isPlus;
    this.config.restore({ bytes: state.child("config").numbers("bytes", 256, 256, 0xff) });
    this.#eeprom.restore(state.child("eeprom"));
    this.#phy.restore(state.child("phy"));
    this.#statistics.restore(state.child("statistics"));
    this.#receiver.restore(state.child("receive"));
    this.#slots.restore(state.child("slots"));
    this.#descriptors.restore(state.child("descriptors"));
    rearm(this.#pause, state.delay("pause"));
    this.#interrupts.restore(state.child("interrupts"));
  }
}
