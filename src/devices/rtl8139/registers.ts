/** Bytes of register space, in both BARs. */
export const REGISTER_BYTES = 256;

/** Offsets of the operational registers (RTL8139C+ data sheet 1.6, §6; RTL8139C(L), §5). */
export const Register = {
  IDR0: 0x00,
  IDR4: 0x04,
  MAR0: 0x08,
  MAR4: 0x0c,
  /** C mode: transmit status of descriptors 0 to 3. C+: the first two are DTCCR. */
  TSD0: 0x10,
  /** C mode: transmit start addresses of descriptors 0 to 3. C+: TNPDS and THPDS. */
  TSAD0: 0x20,
  TNPDS: 0x20,
  THPDS: 0x28,
  RBSTART: 0x30,
  ERBCR: 0x34,
  ERSR: 0x36,
  CR: 0x37,
  CAPR: 0x38,
  CBR: 0x3a,
  IMR: 0x3c,
  ISR: 0x3e,
  TCR: 0x40,
  RCR: 0x44,
  TCTR: 0x48,
  MPC: 0x4c,
  CR9346: 0x50,
  CONFIG0: 0x51,
  CONFIG1: 0x52,
  TIMERINT: 0x54,
  MSR: 0x58,
  CONFIG3: 0x59,
  CONFIG4: 0x5a,
  HLTCLK: 0x5b,
  MULINT: 0x5c,
  RERID: 0x5e,
  TSAD: 0x60,
  BMCR: 0x62,
  BMSR: 0x64,
  ANAR: 0x66,
  ANLPAR: 0x68,
  ANER: 0x6a,
  DIS: 0x6c,
  FCSC: 0x6e,
  NWAYTR: 0x70,
  REC: 0x72,
  CSCR: 0x74,
  PHY1_PARM: 0x78,
  TW_PARM: 0x7c,
  PHY2_PARM: 0x80,
  WAKEUP: 0x84,
  WAKEUP_END: 0xd4,
  FLASH: 0xd4,
  CONFIG5: 0xd8,
  TPPOLL: 0xd9,
  CPCR: 0xe0,
  RDSAR: 0xe4,
  ETTHR: 0xec,
} as const;

/** Command register. */
export const Cr = { BUFE: 1 << 0, TE: 1 << 2, RE: 1 << 3, RST: 1 << 4 } as const;

/** Interrupt status and mask. RXOVW is RDU in C+ mode. */
export const Isr = {
  ROK: 1 << 0,
  RER: 1 << 1,
  TOK: 1 << 2,
  TER: 1 << 3,
  RXOVW: 1 << 4,
  LINK_CHANGE: 1 << 5,
  FOVW: 1 << 6,
  TDU: 1 << 7,
  SW_INT: 1 << 8,
  LENGTH_CHANGE: 1 << 13,
  TIMEOUT: 1 << 14,
  SERR: 1 << 15,
} as const;
export const INTERRUPTS = 0xe1ff;

/** Transmit configuration. */
export const Tcr = { CLRABT: 1 << 0, CRC: 1 << 16, LOOPBACK: 3 << 17, WRITABLE: 0x0307_07f0 } as const;
/** TCR.HWVERID, bits 30:26 and 23. */
export const HardwareVersion = { rtl8139c: 0x7400_0000, rtl8139cPlus: 0x7480_0000 } as const;

/** Receive configuration. */
export const Rcr = {
  AAP: 1 << 0,
  APM: 1 << 1,
  AM: 1 << 2,
  AB: 1 << 3,
  AR: 1 << 4,
  AER: 1 << 5,
  WRAP: 1 << 7,
  RBLEN_SHIFT: 11,
  WRITABLE: 0x0f03_ffbf,
} as const;

/** Transmit status of a C mode descriptor. */
export const Tsd = {
  SIZE: 0x1fff,
  OWN: 1 << 13,
  TUN: 1 << 14,
  TOK: 1 << 15,
  THRESHOLD: 0x003f_0000,
  CRS: 0x8000_0000,
  TABT: 1 << 30,
} as const;

export const Dtccr = { DUMP: 1 << 3, ADDRESS: 0xffff_ffc0 } as const;
export const Tppoll = { FSW_INT: 1 << 0, NPQ: 1 << 6, HPQ: 1 << 7 } as const;

/** C+ command register. */
export const Cpcr = {
  TX: 1 << 0,
  RX: 1 << 1,
  MUL_RW: 1 << 3,
  DAC: 1 << 4,
  RX_CHECKSUM: 1 << 5,
  RX_VLAN: 1 << 6,
} as const;

/** 93C46 command register: modes (EEM) and pins. */
export const Cr9346 = {
  DO: 1 << 0,
  DI: 1 << 1,
  SK: 1 << 2,
  CS: 1 << 3,
  MODE: 3 << 6,
  NORMAL: 0 << 6,
  AUTOLOAD: 1 << 6,
  PROGRAM: 2 << 6,
  CONFIG: 3 << 6,
} as const;

export const Msr = {
  RXPF: 1 << 0,
  TXPF: 1 << 1,
  LINKB: 1 << 2,
  SPEED_10: 1 << 3,
  RXFCE: 1 << 6,
  TXFCE: 1 << 7,
} as const;

/** Status of a received frame, in the header that C mode puts in front of it. */
export const RxHeader = { ROK: 1 << 0, LONG: 1 << 3, BAR: 1 << 13, PAM: 1 << 14, MAR: 1 << 15 } as const;

/** The first word of C+ descriptors. */
export const Descriptor = {
  BYTES: 16,
  OWN: 0x8000_0000,
  EOR: 1 << 30,
  FS: 1 << 29,
  LS: 1 << 28,
} as const;
/** A ring has at most so many descriptors, EOR or not. */
export const RING_LIMIT = 64;

/** Transmit descriptors: command bits, and the status that takes their place. */
export const TxDescriptor = {
  LENGTH: 0xffff,
  TCPCS: 1 << 16,
  UDPCS: 1 << 17,
  IPCS: 1 << 18,
  LGSEN: 1 << 27,
  MSS_SHIFT: 16,
  MSS: 0x7ff,
  STATUS: 0x0fff_0000,
  LNKF: 1 << 21,
  TES: 1 << 23,
  TAGC: 1 << 17,
} as const;

export const RxDescriptor = {
  SIZE: 0x1fff,
  TCPF: 1 << 13,
  UDPF: 1 << 14,
  IPF: 1 << 15,
  PID_TCP: 1 << 16,
  PID_UDP: 2 << 16,
  PID_IP: 3 << 16,
  RES: 1 << 20,
  RWT: 1 << 21,
  BAR: 1 << 24,
  PAM: 1 << 25,
  MAR: 1 << 26,
  TAVA: 1 << 16,
} as const;

/** Registers that are not four bytes wide, as offset and width. */
const NARROW: readonly (readonly [offset: number, bytes: number])[] = [
  [Register.ERBCR, 2],
  [Register.ERSR, 1],
  [Register.CR, 1],
  [Register.CAPR, 2],
  [Register.CBR, 2],
  [Register.IMR, 2],
  [Register.ISR, 2],
  [Register.CR9346, 1],
  [Register.CONFIG0, 1],
  [Register.CONFIG1, 1],
  [0x53, 1],
  [Register.MSR, 1],
  [Register.CONFIG3, 1],
  [Register.CONFIG4, 1],
  [Register.HLTCLK, 1],
  [Register.MULINT, 2],
  [Register.RERID, 1],
  [0x5f, 1],
  [Register.TSAD, 2],
  [Register.BMCR, 2],
  [Register.BMSR, 2],
  [Register.ANAR, 2],
  [Register.ANLPAR, 2],
  [Register.ANER, 2],
  [Register.DIS, 2],
  [Register.FCSC, 2],
  [Register.NWAYTR, 2],
  [Register.REC, 2],
  [Register.CONFIG5, 1],
  [Register.TPPOLL, 1],
  [0xda, 2],
  [Register.CPCR, 2],
  [0xe2, 2],
  [Register.ETTHR, 1],
  [0xed, 1],
  [0xee, 2],
];

/** Room behind the registers, so that a wide access at their end stays inside. */
const SLACK = 4;
/** For each byte of the register space, where its register starts, and where the register ends. */
export const REGISTER_START = new Uint16Array(REGISTER_BYTES + SLACK);
export const REGISTER_END = new Uint16Array(REGISTER_BYTES + SLACK);
const widths = new Map(NARROW);
for (let at = 0; at < REGISTER_BYTES + SLACK; ) {
  const end = at + (widths.get(at) ?? 4);
  REGISTER_START.fill(at, at, end);
  REGISTER_END.fill(end, at, end);
  at = end;
}

/** Bits that stick when software writes them, of registers that do nothing else. */
const PLAIN: readonly (readonly [offset: number, mask: number])[] = [
  [Register.MAR0, 0xffff_ffff],
  [Register.MAR4, 0xffff_ffff],
  [Register.RBSTART, 0xffff_ffff],
  [Register.MULINT, 0x0fff],
  [Register.NWAYTR, 0x0080],
  [Register.PHY1_PARM, 0xffff_ffff],
  [Register.TW_PARM, 0xffff_ffff],
  [Register.PHY2_PARM, 0x0000_00ff],
  [Register.FLASH, 0xffff_ffff],
  [Register.CONFIG5, 0x7f],
  [Register.ETTHR, 0x3f],
];
/** By offset. */
export const WRITE_MASKS = new Uint32Array(REGISTER_BYTES);
for (const [offset, mask] of PLAIN) WRITE_MASKS[offset] = mask;
for (let at: number = Register.WAKEUP; at < Register.WAKEUP_END; at += 4) WRITE_MASKS[at] = 0xffff_ffff;

/** CONFIG0, 1, 3 and 4: bits that stick while 9346CR allows it. */
export const CONFIG_MASKS: readonly (readonly [offset: number, mask: number])[] = [
  [Register.CONFIG0, 0x07],
  [Register.CONFIG1, 0xf3],
  [Register.CONFIG3, 0x70],
  [Register.CONFIG4, 0xf5],
];

/** The register space as bytes, with the widths that registers have. */
export class RegisterFile {
  readonly bytes = new Uint8Array(REGISTER_BYTES + SLACK);
  readonly #view = new DataView(this.bytes.buffer);

  get8(offset: number): number {
    return this.bytes[offset];
  }

  get16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }

  get32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  set8(offset: number, value: number): void {
    this.bytes[offset] = value;
  }

  set16(offset: number, value: number): void {
    this.#view.setUint16(offset, value, true);
  }

  set32(offset: number, value: number): void {
    this.#view.setUint32(offset, value, true);
  }

  /** A 64-bit address whose upper half counts only in dual address cycles (C+CR.DAC). */
  address(offset: number): number {
    const high = (this.get16(Register.CPCR) & Cpcr.DAC) !== 0 ? this.get32(offset + 4) : 0;
    return this.get32(offset) + high * 0x1_0000_0000;
  }
}
