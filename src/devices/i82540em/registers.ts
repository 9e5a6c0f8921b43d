/**
 * Registers of the 82540EM, after the "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual"
 * (317453), chapter 13. All are 32 bits wide; they are named here by their word index (offset ÷ 4).
 */
export const Register = {
  CTRL: 0x00000 >> 2, // §13.4.1
  CTRL_DUP: 0x00004 >> 2,
  STATUS: 0x00008 >> 2, // §13.4.2
  EECD: 0x00010 >> 2, // §13.4.3
  EERD: 0x00014 >> 2, // §13.4.4
  FLA: 0x0001c >> 2,
  CTRL_EXT: 0x00018 >> 2, // §13.4.6
  MDIC: 0x00020 >> 2, // §13.4.7
  FCAL: 0x00028 >> 2,
  FCAH: 0x0002c >> 2,
  FCT: 0x00030 >> 2,
  VET: 0x00038 >> 2,
  ICR: 0x000c0 >> 2, // §13.4.17
  ITR: 0x000c4 >> 2, // §13.4.18
  ICS: 0x000c8 >> 2, // §13.4.19
  IMS: 0x000d0 >> 2, // §13.4.20
  IMC: 0x000d8 >> 2, // §13.4.21
  RCTL: 0x00100 >> 2, // §13.4.22
  FCTTV: 0x00170 >> 2,
  TXCW: 0x00178 >> 2,
  RXCW: 0x00180 >> 2,
  TCTL: 0x00400 >> 2, // §13.4.33
  TIPG: 0x00410 >> 2,
  AIFS: 0x00458 >> 2,
  LEDCTL: 0x00e00 >> 2,
  PBA: 0x01000 >> 2,
  FCRTL: 0x02160 >> 2,
  FCRTH: 0x02168 >> 2,
  RDFH: 0x02410 >> 2,
  RDFT: 0x02418 >> 2,
  RDFHS: 0x02420 >> 2,
  RDFTS: 0x02428 >> 2,
  RDFPC: 0x02430 >> 2,
  RDBAL: 0x02800 >> 2,
  RDBAH: 0x02804 >> 2,
  RDLEN: 0x02808 >> 2,
  RDH: 0x02810 >> 2,
  RDT: 0x02818 >> 2, // §13.4.29
  RDTR: 0x02820 >> 2, // §13.4.30
  RXDCTL: 0x02828 >> 2,
  RADV: 0x0282c >> 2, // §13.4.31
  RSRPD: 0x02c00 >> 2,
  TXDMAC: 0x03000 >> 2,
  TDFH: 0x03410 >> 2,
  TDFT: 0x03418 >> 2,
  TDFHS: 0x03420 >> 2,
  TDFTS: 0x03428 >> 2,
  TDFPC: 0x03430 >> 2,
  TDBAL: 0x03800 >> 2,
  TDBAH: 0x03804 >> 2,
  TDLEN: 0x03808 >> 2,
  TDH: 0x03810 >> 2,
  TDT: 0x03818 >> 2,
  TIDV: 0x03820 >> 2,
  TXDCTL: 0x03828 >> 2,
  TADV: 0x0382c >> 2,
  TSPMT: 0x03830 >> 2,
  RXCSUM: 0x05000 >> 2,
  MTA: 0x05200 >> 2, // §13.5.1, 128 words
  RA: 0x05400 >> 2, // §13.5.2, 16 pairs RAL, RAH
  VFTA: 0x05600 >> 2, // §13.5.4, 128 words
  WUC: 0x05800 >> 2,
  WUFC: 0x05808 >> 2,
  WUS: 0x05810 >> 2,
  MANC: 0x05820 >> 2,
  IPAV: 0x05838 >> 2,
  IP4AT: 0x05840 >> 2, // 4 pairs
  IP6AT: 0x05880 >> 2, // 4 words
  WUPL: 0x05900 >> 2,
  WUPM: 0x05a00 >> 2, // 32 words, read-only
  FFLT: 0x05f00 >> 2, // 4 words, every other
  FFMT: 0x09000 >> 2, // 128 words, every other
  FFVT: 0x09800 >> 2, // 128 words, every other
} as const;

/** Statistics registers, §13.7: they stick at all ones and are cleared by reading. */
export const Statistic = {
  CRCERRS: 0x04000 >> 2,
  ALGNERRC: 0x04004 >> 2,
  SYMERRS: 0x04008 >> 2,
  RXERRC: 0x0400c >> 2,
  MPC: 0x04010 >> 2,
  SCC: 0x04014 >> 2,
  ECOL: 0x04018 >> 2,
  MCC: 0x0401c >> 2,
  LATECOL: 0x04020 >> 2,
  COLC: 0x04028 >> 2,
  DC: 0x04030 >> 2,
  TNCRS: 0x04034 >> 2,
  SEC: 0x04038 >> 2,
  CEXTERR: 0x0403c >> 2,
  RLEC: 0x04040 >> 2,
  XONRXC: 0x04048 >> 2,
  XONTXC: 0x0404c >> 2,
  XOFFRXC: 0x04050 >> 2,
  XOFFTXC: 0x04054 >> 2,
  FCRUC: 0x04058 >> 2,
  PRC64: 0x0405c >> 2,
  PRC127: 0x04060 >> 2,
  PRC255: 0x04064 >> 2,
  PRC511: 0x04068 >> 2,
  PRC1023: 0x0406c >> 2,
  PRC1522: 0x04070 >> 2,
  GPRC: 0x04074 >> 2,
  BPRC: 0x04078 >> 2,
  MPRC: 0x0407c >> 2,
  GPTC: 0x04080 >> 2,
  GORCL: 0x04088 >> 2,
  GORCH: 0x0408c >> 2,
  GOTCL: 0x04090 >> 2,
  GOTCH: 0x04094 >> 2,
  RNBC: 0x040a0 >> 2,
  RUC: 0x040a4 >> 2,
  RFC: 0x040a8 >> 2,
  ROC: 0x040ac >> 2,
  RJC: 0x040b0 >> 2,
  MGTPRC: 0x040b4 >> 2,
  MGTPDC: 0x040b8 >> 2,
  MGTPTC: 0x040bc >> 2,
  TORL: 0x040c0 >> 2,
  TORH: 0x040c4 >> 2,
  TOTL: 0x040c8 >> 2,
  TOTH: 0x040cc >> 2,
  TPR: 0x040d0 >> 2,
  TPT: 0x040d4 >> 2,
  PTC64: 0x040d8 >> 2,
  PTC127: 0x040dc >> 2,
  PTC255: 0x040e0 >> 2,
  PTC511: 0x040e4 >> 2,
  PTC1023: 0x040e8 >> 2,
  PTC1522: 0x040ec >> 2,
  MPTC: 0x040f0 >> 2,
  BPTC: 0x040f4 >> 2,
  TSCTC: 0x040f8 >> 2,
  TSCTFC: 0x040fc >> 2,
} as const;

export const FIRST_STATISTIC = Statistic.CRCERRS;
export const LAST_STATISTIC = Statistic.TSCTFC;

/** Device control, §13.4.1. */
export const Ctrl = {
  FD: 1 << 0,
  SLU: 1 << 6,
  SPEED_SHIFT: 8,
  SPEED_MASK: 3 << 8,
  FRCSPD: 1 << 11,
  FRCDPLX: 1 << 12,
  RST: 1 << 26,
  RFCE: 1 << 27,
  TFCE: 1 << 28,
  VME: 1 << 30,
  PHY_RST: 0x8000_0000,
} as const;

/** Device status, §13.4.2. */
export const Status = { FD: 1 << 0, LU: 1 << 1, TXOFF: 1 << 4, SPEED_SHIFT: 6, ASDV_SHIFT: 8 } as const;

/** Extended device control, §13.4.6: reload of the EEPROM; self-clearing. */
export const CTRL_EXT_EE_RST = 1 << 13;

/** EEPROM/Flash control, §13.4.3. */
export const Eecd = {
  SK: 1 << 0,
  CS: 1 << 1,
  DI: 1 << 2,
  DO: 1 << 3,
  FWE_DISABLED: 1 << 4,
  REQ: 1 << 6,
  GNT: 1 << 7,
  PRES: 1 << 8,
} as const;

/** EEPROM read, §13.4.4. */
export const Eerd = { START: 1 << 0, DONE: 1 << 4 } as const;

/** MDI control, §13.4.7. */
export const Mdic = {
  OP_WRITE: 1,
  OP_READ: 2,
  READY: 1 << 28,
  INTERRUPT: 1 << 29,
  ERROR: 1 << 30,
} as const;

/** Interrupt causes, §13.4.17. */
export const Cause = {
  TXDW: 1 << 0,
  TXQE: 1 << 1,
  LSC: 1 << 2,
  RXSEQ: 1 << 3,
  RXDMT0: 1 << 4,
  RXO: 1 << 6,
  RXT0: 1 << 7,
  MDAC: 1 << 9,
  PHYINT: 1 << 12,
  TXD_LOW: 1 << 15,
  SRPD: 1 << 16,
} as const;
/** Reserved ones too can be set by ICS and masked. */
export const CAUSES = 0x1_ffff;

/** Receive control, §13.4.22. */
export const Rctl = {
  EN: 1 << 1,
  SBP: 1 << 2,
  UPE: 1 << 3,
  MPE: 1 << 4,
  LPE: 1 << 5,
  LBM_SHIFT: 6,
  RDMTS_SHIFT: 8,
  MO_SHIFT: 12,
  BAM: 1 << 15,
  BSIZE_SHIFT: 16,
  VFE: 1 << 18,
  CFIEN: 1 << 19,
  CFI: 1 << 20,
  DPF: 1 << 22,
  PMCF: 1 << 23,
  BSEX: 1 << 25,
  SECRC: 1 << 26,
} as const;

/** Transmit control, §13.4.33. */
export const Tctl = { EN: 1 << 1, PSP: 1 << 3 } as const;

/** Receive checksum control. */
export const Rxcsum = { PCSS_MASK: 0xff, IPOFLD: 1 << 8, TUOFLD: 1 << 9 } as const;

/** Receive address high, §13.5.3. */
export const Rah = { AS_SHIFT: 16, AV: 0x8000_0000 } as const;

/** Receive descriptor status and errors, §3.2.3. */
export const RxStatus = {
  DD: 1 << 0,
  EOP: 1 << 1,
  IXSM: 1 << 2,
  VP: 1 << 3,
  TCPCS: 1 << 5,
  IPCS: 1 << 6,
  PIF: 1 << 7,
} as const;
export const RxError = { TCPE: 1 << 5, IPE: 1 << 6 } as const;

/** Transmit descriptor: bits of the third dword (§3.3.3, §3.3.6, §3.3.7). */
export const TxCommand = {
  EOP: 1 << 24,
  IFCS: 1 << 25,
  /** Legacy: insert checksum. Data: segment. */
  IC: 1 << 26,
  TSE: 1 << 26,
  RS: 1 << 27,
  DEXT: 1 << 29,
  VLE: 1 << 30,
  IDE: 1 << 31,
  DTYP_SHIFT: 20,
} as const;
/** Context descriptor: bits of the third dword, §3.3.6.1. */
export const TuCommand = { TCP: 1 << 24, IP: 1 << 25, TSE: 1 << 26 } as const;
/** Data descriptor: packet options, §3.3.7.3. */
export const PacketOption = { IXSM: 1 << 0, TXSM: 1 << 1 } as const;

export const DESCRIPTOR_BYTES = 16;
export const DESCRIPTOR_SHIFT = 4;
/** RDLEN and TDLEN count in units of this many bytes. */
const RING_LENGTH_MASK = 0x000f_ff80;

/** Words of the register file that hold something (the flexible filter tables come last). */
export const REGISTER_WORDS = 0x0a000 >> 2;

/** What is stored of a written value, word by word; words that are absent here are read-only or do not exist. */
const WRITABLE: readonly (readonly [first: number, count: number, mask: number])[] = [
  [Register.CTRL, 1, 0x7bff_fffd],
  [Register.CTRL_EXT, 1, 0x00ff_dfff],
  [Register.FLA, 1, 0x0000_003f],
  [Register.FCAL, 1, 0xffff_ffff],
  [Register.FCAH, 1, 0x0000_ffff],
  [Register.FCT, 1, 0x0000_ffff],
  [Register.VET, 1, 0x0000_ffff],
  [Register.ITR, 1, 0x0000_ffff],
  [Register.RCTL, 1, 0x07ff_fffe],
  [Register.FCTTV, 1, 0x0000_ffff],
  [Register.TXCW, 1, 0xc000_ffff],
  [Register.TCTL, 1, 0x03ff_fffe],
  [Register.TIPG, 1, 0x3fff_ffff],
  [Register.AIFS, 1, 0x0000_ffff],
  [Register.LEDCTL, 1, 0xffff_ffff],
  [Register.FCRTL, 1, 0x8000_fff8],
  [Register.FCRTH, 1, 0x0000_fff8],
  [Register.RDFH, 1, 0x0000_1fff],
  [Register.RDFT, 1, 0x0000_1fff],
  [Register.RDFHS, 1, 0x0000_1fff],
  [Register.RDFTS, 1, 0x0000_1fff],
  [Register.RDFPC, 1, 0x0000_1fff],
  [Register.RDBAL, 1, 0xffff_fff0],
  [Register.RDBAH, 1, 0xffff_ffff],
  [Register.RDLEN, 1, RING_LENGTH_MASK],
  [Register.RDH, 1, 0x0000_ffff],
  [Register.RDT, 1, 0x0000_ffff],
  [Register.RDTR, 1, 0x0000_ffff],
  [Register.RXDCTL, 1, 0xffff_ffff],
  [Register.RADV, 1, 0x0000_ffff],
  [Register.RSRPD, 1, 0x0000_0fff],
  [Register.TXDMAC, 1, 0x0000_0001],
  [Register.TDFH, 1, 0x0000_07ff],
  [Register.TDFT, 1, 0x0000_07ff],
  [Register.TDFHS, 1, 0x0000_1fff],
  [Register.TDFTS, 1, 0x0000_1fff],
  [Register.TDFPC, 1, 0x0000_1fff],
  [Register.TDBAL, 1, 0xffff_fff0],
  [Register.TDBAH, 1, 0xffff_ffff],
  [Register.TDLEN, 1, RING_LENGTH_MASK],
  [Register.TDH, 1, 0x0000_ffff],
  [Register.TDT, 1, 0x0000_ffff],
  [Register.TIDV, 1, 0x0000_ffff],
  [Register.TXDCTL, 1, 0xffff_ffff],
  [Register.TADV, 1, 0x0000_ffff],
  [Register.TSPMT, 1, 0xffff_ffff],
  [Register.RXCSUM, 1, 0x0000_07ff],
  [Register.MTA, 128, 0xffff_ffff],
  [Register.VFTA, 128, 0xffff_ffff],
  [Register.WUC, 1, 0x0000_000f],
  [Register.WUFC, 1, 0x000f_80ff],
  [Register.MANC, 1, 0xffff_ffff],
  [Register.IPAV, 1, 0x0001_000f],
  [Register.IP4AT, 8, 0xffff_ffff],
  [Register.IP6AT, 4, 0xffff_ffff],
  [Register.FFLT, 8, 0x0000_07ff],
  [Register.FFMT, 256, 0x0000_000f],
  [Register.FFVT, 256, 0xffff_ffff],
];

export const WRITE_MASKS = new Uint32Array(REGISTER_WORDS);
for (const [first, count, mask] of WRITABLE) WRITE_MASKS.fill(mask, first, first + count);
for (let entry = 0; entry < 16; entry++) {
  WRITE_MASKS[Register.RA + 2 * entry] = 0xffff_ffff;
  WRITE_MASKS[Register.RA + 2 * entry + 1] = 0x8003_ffff;
}

/** Values after a reset that are not zero. */
export const RESET_VALUES: readonly (readonly [word: number, value: number])[] = [
  [Register.CTRL, Ctrl.FD | (2 << Ctrl.SPEED_SHIFT)],
  [Register.LEDCTL, 0x0706_8302],
  [Register.RXDCTL, 0x0101_0000],
  [Register.MDIC, Mdic.READY],
];
/** Packet buffer allocation at power-on, 16 KiB for transmission and 48 for reception; only that sets it. */
export const PBA_POWER_ON = (16 << 16) | 48;
/** The whole packet buffer, in KiB. */
export const PACKET_BUFFER_KIB = 64;
