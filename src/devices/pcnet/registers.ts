/** Control and status registers (Am79C970A data sheet, "Control and Status Registers"). */
export const Csr = {
  STATUS: 0,
  IADR_LOW: 1,
  IADR_HIGH: 2,
  MASK: 3,
  TEST: 4,
  EXTENDED: 5,
  TABLE_LENGTH: 6,
  LADRF: 8,
  PADR: 12,
  MODE: 15,
  IADR_LOW_ALIAS: 16,
  IADR_HIGH_ALIAS: 17,
  BADR: 24,
  BADX: 30,
  STYLE_ALIAS: 58,
  RCVRC: 72,
  XMTRC: 74,
  RCVRL: 76,
  XMTRL: 78,
  DMA_CONTROL: 80,
  CHIP_ID_LOW: 88,
  CHIP_ID_HIGH: 89,
  MEMORY_TIMEOUT: 100,
  MISSED: 112,
  COLLISIONS: 114,
  BUS_TEST: 124,
} as const;
export const CSR_COUNT = 128;

/** CSR0. */
export const Csr0 = {
  INIT: 1 << 0,
  STRT: 1 << 1,
  STOP: 1 << 2,
  TDMD: 1 << 3,
  TXON: 1 << 4,
  RXON: 1 << 5,
  IENA: 1 << 6,
  INTR: 1 << 7,
  IDON: 1 << 8,
  TINT: 1 << 9,
  RINT: 1 << 10,
  MERR: 1 << 11,
  MISS: 1 << 12,
  CERR: 1 << 13,
  BABL: 1 << 14,
  ERR: 1 << 15,
  /** Cleared by writing ones. */
  CAUSES: 0x7f00,
  ERRORS: 0x7800,
  /** What asserts INTA unless CSR3 has the same bit; a collision error does not. */
  INTERRUPTS: 0x5f00,
} as const;

/** CSR3: masks in the places of CSR0's causes. */
export const Csr3 = { DXSUFLO: 1 << 6, WRITABLE: 0x5f7c } as const;

/** CSR4: causes, each with its mask one place below. */
export const Csr4 = {
  TXSTRT: 1 << 3,
  UINT: 1 << 6,
  UINTCMD: 1 << 7,
  MFCO: 1 << 9,
  ASTRP_RCV: 1 << 10,
  APAD_XMT: 1 << 11,
  EN124: 1 << 15,
  MASKS: 0x0115,
  CAUSES: 0x026a,
  STOP_CLEARS: 0x02c2,
  DEFAULT: 0x0115,
} as const;

/** CSR5: causes, each with its enable one place below. */
export const Csr5 = {
  SPND: 1 << 0,
  SINT: 1 << 11,
  LTINTEN: 1 << 14,
  TOKINTD: 1 << 15,
  CAUSES: 0x0a90,
  ENABLES: 0x0548,
  STOP_CLEARS: 0x0011,
  WRITABLE: 0xc56f,
} as const;

/** CSR15, and the first word of the initialization block. */
export const Mode = {
  DRX: 1 << 0,
  DTX: 1 << 1,
  LOOP: 1 << 2,
  DXMTFCS: 1 << 3,
  DLNKTST: 1 << 12,
  DRCVPA: 1 << 13,
  DRCVBC: 1 << 14,
  PROM: 1 << 15,
  RESET_KEEPS: 0x21c4,
} as const;

/** CSR88 and 89: manufacturer 001h, part 2621h, which is the Am79C970A. */
export const CHIP_ID = 0x0262_1003;

/** Bus configuration registers. */
export const Bcr = { MC: 2, LNKST: 4, LED3: 7, FDC: 9, BSBC: 18, EECAS: 19, SWS: 20 } as const;
export const BCR_COUNT = 23;
/** BCR4 to 7: the LED's state, and its enable for link status. */
export const Led = { LEDOUT: 1 << 15, LNKSE: 1 << 6, WRITABLE: 0x61ff } as const;
/** BCR18: registers are 32 bits wide. */
export const BSBC_DWIO = 1 << 7;
/** BCR20: descriptors and initialization block have 32-bit addresses; the first is read-only. */
export const Sws = { STYLE: 0xff, SSIZE32: 1 << 8, CSRPCNET: 1 << 9 } as const;

/** After H_RESET. */
export const BCR_DEFAULTS: readonly (readonly [register: number, value: number])[] = [
  [0, 0x0005],
  [1, 0x0005],
  [Bcr.MC, 0x0002],
  [Bcr.LNKST, 0x00c0],
  [5, 0x0084],
  [6, 0x0088],
  [Bcr.LED3, 0x0090],
  [Bcr.BSBC, 0x9001],
  [Bcr.EECAS, 0x0002],
  [Bcr.SWS, Sws.CSRPCNET],
  [22, 0xff06],
];

/** After S_RESET, where not 0. */
export const CSR_DEFAULTS: readonly (readonly [register: number, value: number])[] = [
  [Csr.STATUS, Csr0.STOP],
  [Csr.TEST, Csr4.DEFAULT],
  [Csr.DMA_CONTROL, 0x1410],
  [Csr.CHIP_ID_LOW, CHIP_ID & 0xffff],
  [Csr.CHIP_ID_HIGH, CHIP_ID >>> 16],
  [Csr.MEMORY_TIMEOUT, 0x0200],
];

/** Bits that stick when software writes a BCR. */
export const BCR_MASKS = new Uint16Array(BCR_COUNT);
for (const [register, mask] of [
  [Bcr.MC, 0x118f],
  [Bcr.LNKST, Led.WRITABLE],
  [5, Led.WRITABLE],
  [6, Led.WRITABLE],
  [Bcr.LED3, Led.WRITABLE],
  [Bcr.FDC, 0x0007],
  [Bcr.BSBC, 0xff7f],
  [Bcr.EECAS, 0x0017],
  [21, 0xffff],
  [22, 0xffff],
]) {
  BCR_MASKS[register] = mask;
}

/** Status in the second word of descriptors, as of style 2; those of style 0 have the upper eight bits. */
export const DescriptorStatus = {
  OWN: 1 << 15,
  ERR: 1 << 14,
  STP: 1 << 9,
  ENP: 1 << 8,
} as const;

export const ReceiveStatus = { OFLO: 1 << 12, BUFF: 1 << 10, PAM: 1 << 6, LAFM: 1 << 5, BAM: 1 << 4 } as const;
export const TransmitStatus = { ADD_FCS: 1 << 13, LTINT: 1 << 12, ONE: 1 << 11, DEF: 1 << 10 } as const;
/** The third word of transmit descriptors. */
export const TransmitError = { BUFF: 0x8000_0000, UFLO: 1 << 30, LCAR: 1 << 27 } as const;
