import type { AccessSize, DeviceHost, PciDevice } from "../bus/device.js";
import { ones } from "../bus/device.js";
import { PciConfigSpace, type PciConfigState, PciStatus } from "../bus/pci-config.js";
import { InputError } from "../util/errors.js";
import { StateReader } from "../util/state-reader.js";
import { initialize } from "./pcnet/initialization.js";
import { Interrupts } from "./pcnet/interrupts.js";
import { Receiver } from "./pcnet/receive.js";
import {
  BCR_COUNT,
  BCR_DEFAULTS,
  BCR_MASKS,
  Bcr,
  BSBC_DWIO,
  CSR_COUNT,
  CSR_DEFAULTS,
  Csr,
  Csr0,
  Csr3,
  Csr4,
  Csr5,
  Led,
  Mode,
  Sws,
} from "./pcnet/registers.js";
import { type TransmitState, Transmitter } from "./pcnet/transmit.js";
import type { Wire } from "./wire.js";

/** The same 32 bytes twice. */
export const PcnetBar = { io: 0, memory: 1 } as const;
const IO_BYTES = 32;
const APROM_BYTES = 16;

/** Register numbers behind the APROM: in words (WIO) or in double words (DWIO). */
const Port = { RDP: 0, RAP: 1, RESET: 2, BDP: 3 } as const;
const RAP_MASK = 0x7f;

/** Locally administered. */
const DEFAULT_ADDRESS = Uint8Array.of(0x52, 0x54, 0x00, 0x12, 0x34, 0x56);
/** CSRs that software may write only while the part is stopped or suspended. */
const GUARDED = new Uint8Array(CSR_COUNT);
GUARDED.fill(1, Csr.LADRF, Csr.MODE + 1);
GUARDED.fill(1, 18, 48);
for (const register of [Csr.IADR_LOW, Csr.IADR_HIGH, Csr.RCVRC, Csr.XMTRC, Csr.RCVRL, Csr.XMTRL, Csr.MISSED]) {
  GUARDED[register] = 1;
}

export interface PcnetOptions {
  wire: Wire;
  /** Six bytes; goes into the address PROM. Default 52:54:00:12:34:56. */
  macAddress?: Uint8Array;
  /** Computes the FCS that is stored behind received frames (about 1 ns a byte). Default: zeroes are stored. */
  exactFcs?: boolean;
}

/** Plain-state twin of the adapter. */
export interface PcnetState {
  model: "pcnet";
  config: PciConfigState;
  csr: number[];
  bcr: number[];
  rap: number;
  transmit: TransmitState;
}

/**
 * AMD Am79C970A PCnet-PCI II Ethernet controller (1022:2000), after its data sheet 19436.
 *
 * Left out: magic packets, the boot ROM, LAPP, external address detection, and the periodic polling of descriptors:
 * the part looks when software demands, on start, and after suspension. Time that it takes for a register access, DMA or
 * serialisation is not modelled.
 */
export class Pcnet implements PciDevice {
  readonly model = "pcnet";
  readonly config: PciConfigSpace;
  readonly #host: DeviceHost;
  readonly #wire: Wire;
  readonly #aprom: Uint8Array;
  readonly #csr = new Uint16Array(CSR_COUNT);
  readonly #bcr = new Uint16Array(BCR_COUNT);
  readonly #interrupts: Interrupts;
  readonly #receiver: Receiver;
  readonly #transmitter: Transmitter;
  #rap = 0;

  constructor(host: DeviceHost, options: PcnetOptions) {
    const macAddress = options.macAddress ?? DEFAULT_ADDRESS;
    if (macAddress.length !== 6 || (macAddress[0] & 1) !== 0) {
      throw new InputError("mac-address", "the hardware address must be six bytes and no multicast address");
    }
    this.#host = host;
    this.#wire = options.wire;
    this.#aprom = apromImage(macAddress);
    this.config = new PciConfigSpace({
      vendorId: 0x1022,
      deviceId: 0x2000,
      classCode: 0x02_0000,
      revision: 0x16,
      interruptPin: 1,
      minGnt: 0x06,
      maxLat: 0xff,
    });
    this.config.addBar(PcnetBar.io, "io", IO_BYTES);
    this.config.addBar(PcnetBar.memory, "memory32", IO_BYTES);
    const csr = this.#csr;
    const bcr = this.#bcr;
    const aborted = () => this.#abort();
    this.#interrupts = new Interrupts(csr, host.interrupt);
    this.#receiver = new Receiver(csr, bcr, host, this.#interrupts, options.exactFcs ?? false, aborted);
    this.#transmitter = new Transmitter(
      csr,
      bcr,
      host,
      this.#interrupts,
      options.wire,
      () => this.#linkUp,
      (bytes, offset, length) => this.#receiver.frame(bytes, offset, length),
      aborted,
    );
    options.wire.onFrame((bytes, offset, length) => {
      if (this.#linkUp && (csr[Csr.MODE] & Mode.LOOP) === 0) this.#receiver.frame(bytes, offset, length);
    });
    // Software finds out from the link LED's register: the part has no interrupt for it.
    options.wire.onCarrier(() => {});
    this.reset();
  }

  /** The link test has passed, or does not matter. */
  get #linkUp(): boolean {
    return this.#wire.carrier || (this.#csr[Csr.MODE] & Mode.DLNKTST) !== 0;
  }

  get #dwio(): boolean {
    return (this.#bcr[Bcr.BSBC] & BSBC_DWIO) !== 0;
  }

  get #halted(): boolean {
    return (this.#csr[Csr.STATUS] & Csr0.STOP) !== 0 || (this.#csr[Csr.EXTENDED] & Csr5.SPND) !== 0;
  }

  read(_bar: number, offset: number, size: AccessSize): number {
    if (offset < APROM_BYTES) {
      let value = 0;
      for (let i = size - 1; i >= 0; i--) value = value * 256 + (this.#aprom[offset + i] ?? 0);
      return value;
    }
    const port = this.#port(offset, size);
    return port < 0 ? ones(size) : this.#readPort(port);
  }

  write(_bar: number, offset: number, size: AccessSize, value: number): void {
    if (offset < APROM_BYTES) return;
    if (!this.#dwio && size === 4 && offset === APROM_BYTES) {
      // The way into 32-bit register accesses; only a power-on reset leads out.
      this.#bcr[Bcr.BSBC] |= BSBC_DWIO;
      return;
    }
    const port = this.#port(offset, size);
    if (port < 0) {
      const width = this.#dwio ? 32 : 16;
      this.#host.violation("register-access-size", `registers take ${width} bits now, not ${8 * size} at ${offset}`);
      return;
    }
    if (port === Port.RAP) this.#rap = value & RAP_MASK;
    else if (port === Port.RDP) this.#writeCsr(this.#rap, value & 0xffff);
    else if (port === Port.BDP) this.#writeBcr(this.#rap, value & 0xffff);
  }

  /** @returns the register that an access means, or −1 when it has the wrong width for the mode */
  #port(offset: number, size: AccessSize): number {
    const width = this.#dwio ? 4 : 2;
    const at = offset - APROM_BYTES;
    return size === width && at % width === 0 && at / width <= Port.BDP ? at / width : -1;
  }

  #readPort(port: number): number {
    switch (port) {
      case Port.RDP:
        return this.#readCsr(this.#rap);
      case Port.RAP:
        return this.#rap;
      case Port.BDP:
        return this.#readBcr(this.#rap);
      default:
        this.#softReset();
        return 0;
    }
  }

  /** H_RESET. */
  reset(): void {
    this.#bcr.fill(0);
    for (const [register, value] of BCR_DEFAULTS) this.#bcr[register] = value;
    this.#csr.fill(0);
    this.#softReset();
  }

  /** S_RESET, by reading the reset register: the CSRs but not the BCRs. */
  #softReset(): void {
    const csr = this.#csr;
    const kept = [csr[Csr.IADR_LOW], csr[Csr.IADR_HIGH], csr[Csr.MODE] & Mode.RESET_KEEPS];
    csr.fill(0);
    for (const [register, value] of CSR_DEFAULTS) csr[register] = value;
    csr[Csr.IADR_LOW] = kept[0];
    csr[Csr.IADR_HIGH] = kept[1];
    csr[Csr.MODE] = kept[2];
    for (let i = 0; i < 3; i++) csr[Csr.PADR + i] = this.#aprom[2 * i] | (this.#aprom[2 * i + 1] << 8);
    this.#rap = 0;
    this.#transmitter.stop();
    this.#interrupts.update();
  }

  #readCsr(register: number): number {
    const csr = this.#csr;
    switch (register) {
      case Csr.STATUS: {
        const status = csr[Csr.STATUS];
        return (status & Csr0.ERRORS) !== 0 ? status | Csr0.ERR : status;
      }
      case Csr.IADR_LOW_ALIAS:
      case Csr.IADR_HIGH_ALIAS:
        return csr[register - Csr.IADR_LOW_ALIAS + Csr.IADR_LOW];
      case Csr.STYLE_ALIAS:
        return this.#bcr[Bcr.SWS];
    }
    return csr[register];
  }

  #writeCsr(register: number, value: number): void {
    const csr = this.#csr;
    switch (register) {
      case Csr.STATUS:
        this.#writeStatus(value);
        return;
      case Csr.MASK:
        csr[register] = value & Csr3.WRITABLE;
        this.#interrupts.update();
        return;
      case Csr.TEST:
        this.#writeTest(value);
        return;
      case Csr.EXTENDED:
        this.#writeExtended(value);
        return;
      case Csr.IADR_LOW_ALIAS:
      case Csr.IADR_HIGH_ALIAS:
        this.#writeCsr(register - Csr.IADR_LOW_ALIAS + Csr.IADR_LOW, value);
        return;
      case Csr.STYLE_ALIAS:
        this.#writeBcr(Bcr.SWS, value);
        return;
      case Csr.DMA_CONTROL:
      case Csr.MEMORY_TIMEOUT:
        csr[register] = value;
        return;
      case Csr.BUS_TEST:
        if ((csr[Csr.TEST] & Csr4.EN124) !== 0) csr[register] = value;
        return;
    }
    if (GUARDED[register] === 0) return;
    if (this.#halted) csr[register] = value;
    else {
      this.#host.violation(
        "csr-while-running",
        `CSR${register} was written while the part is neither stopped nor suspended`,
      );
    }
  }

  /** CSR0: ones clear causes; commands are levels that only STOP and resets take back. */
  #writeStatus(value: number): void {
    const csr = this.#csr;
    csr[Csr.STATUS] &= ~(value & Csr0.CAUSES);
    if ((value & Csr0.STOP) !== 0) {
      this.#stop();
      return;
    }
    csr[Csr.STATUS] = (csr[Csr.STATUS] & ~Csr0.IENA) | (value & Csr0.IENA);
    if ((value & Csr0.INIT) !== 0 && (csr[Csr.STATUS] & Csr0.INIT) === 0) this.#initialize();
    const starts = (value & Csr0.STRT) !== 0 && (csr[Csr.STATUS] & Csr0.STRT) === 0;
    if (starts) this.#start();
    this.#interrupts.update();
    if (starts || (value & Csr0.TDMD) !== 0) this.#transmitter.run();
  }

  #stop(): void {
    const csr = this.#csr;
    csr[Csr.STATUS] = Csr0.STOP;
    csr[Csr.TEST] &= ~Csr4.STOP_CLEARS;
    csr[Csr.EXTENDED] &= ~Csr5.STOP_CLEARS;
    this.#transmitter.stop();
    this.#interrupts.update();
  }

  #initialize(): void {
    const csr = this.#csr;
    csr[Csr.STATUS] = (csr[Csr.STATUS] & ~Csr0.STOP) | Csr0.INIT;
    if (initialize(csr, this.#bcr, this.#host.dma, this.#receiver.ring, this.#transmitter.ring)) {
      csr[Csr.STATUS] |= Csr0.IDON;
    } else {
      this.#abort();
    }
  }

  #start(): void {
    const csr = this.#csr;
    const mode = csr[Csr.MODE];
    const on = ((mode & Mode.DTX) === 0 ? Csr0.TXON : 0) | ((mode & Mode.DRX) === 0 ? Csr0.RXON : 0);
    csr[Csr.STATUS] = (csr[Csr.STATUS] & ~Csr0.STOP) | Csr0.STRT | on;
  }

  #writeTest(value: number): void {
    const csr = this.#csr;
    const causes = csr[Csr.TEST] & Csr4.CAUSES & ~value;
    const user = (value & Csr4.UINTCMD) !== 0 ? Csr4.UINT : 0;
    csr[Csr.TEST] = causes | user | (value & ~(Csr4.CAUSES | Csr4.UINTCMD));
    this.#interrupts.update();
  }

  #writeExtended(value: number): void {
    const csr = this.#csr;
    const before = csr[Csr.EXTENDED];
    csr[Csr.EXTENDED] = (before & Csr5.CAUSES & ~value) | (value & Csr5.WRITABLE);
    this.#interrupts.update();
    if ((before & ~value & Csr5.SPND) !== 0) this.#transmitter.run();
  }

  #readBcr(register: number): number {
    if (register >= BCR_COUNT) return 0;
    const value = this.#bcr[register];
    if (register < Bcr.LNKST || register > Bcr.LED3) return value;
    return (value & Led.LNKSE) !== 0 && this.#linkUp ? value | Led.LEDOUT : value;
  }

  #writeBcr(register: number, value: number): void {
    if (register === Bcr.SWS) {
      this.#writeStyle(value);
    } else if (register < BCR_COUNT) {
      const mask = BCR_MASKS[register];
      this.#bcr[register] = (this.#bcr[register] & ~mask) | (value & mask);
    }
  }

  /** BCR20: styles 2 and 3 have 32-bit structures, all others those of the LANCE. */
  #writeStyle(value: number): void {
    if (!this.#halted) {
      this.#host.violation("style-while-running", "BCR20 was written while the part is neither stopped nor suspended");
      return;
    }
    const style = value & Sws.STYLE;
    const wide = style === 2 || style === 3;
    this.#bcr[Bcr.SWS] = style | (wide ? Sws.SSIZE32 | Sws.CSRPCNET : Sws.CSRPCNET);
  }

  /** The bus refused an access: both directions stand still until software stops or resets the part. */
  #abort(): void {
    this.config.setStatus(PciStatus.receivedMasterAbort, true);
    this.#csr[Csr.STATUS] &= ~(Csr0.TXON | Csr0.RXON);
    this.#csr[Csr.EXTENDED] |= Csr5.SINT;
    this.#interrupts.raise(Csr0.MERR);
  }

  snapshot(): PcnetState {
    return {
      model: this.model,
      config: this.config.snapshot(),
      csr: [...this.#csr],
      bcr: [...this.#bcr],
      rap: this.#rap,
      transmit: this.#transmitter.snapshot(),
    };
  }

  restore(state: object): void {
    try {
      this.#restore(new StateReader(this.model, state));
    } catch (error) {
      this.reset();
      throw error;
    }
  }

  #restore(state: StateReader): void {
    this.#csr.set(state.numbers("csr", CSR_COUNT, CSR_COUNT, 0xffff));
    this.#bcr.set(state.numbers("bcr", BCR_COUNT, BCR_COUNT, 0xffff));
    this.#rap = state.integer("rap", 0, RAP_MASK);
    this.config.restore({ bytes: state.child("config").numbers("bytes", 256, 256, 0xff) });
    this.#transmitter.restore(state.child("transmit"));
    this.#interrupts.update();
  }
}

/** The address PROM: hardware address, hardware id 11h, checksum, and "WW", by which drivers know AMD's layout. */
function apromImage(macAddress: Uint8Array): Uint8Array {
  const image = new Uint8Array(APROM_BYTES);
  image.set(macAddress);
  image[9] = 0x11;
  image[14] = 0x57;
  image[15] = 0x57;
  const sum = image.reduce((total, byte) => total + byte, 0);
  image[12] = sum & 0xff;
  image[13] = sum >>> 8;
  return image;
}
