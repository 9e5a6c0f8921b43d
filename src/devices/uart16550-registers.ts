// The registers of the 16550A and their bits, by the names and section numbers of the PC16550D data sheet.

/** Register offsets (§8.0, table II). The first two are the divisor latch while LCR.DLAB is set. */
export const UartRegister = {
  RBR: 0,
  THR: 0,
  DLL: 0,
  IER: 1,
  DLM: 1,
  IIR: 2,
  FCR: 2,
  LCR: 3,
  MCR: 4,
  LSR: 5,
  MSR: 6,
  SCR: 7,
} as const;

/** Interrupt enable register (§8.7). */
export const Ier = { ERBFI: 0x01, ETBEI: 0x02, ELSI: 0x04, EDSSI: 0x08 } as const;
/** Interrupt identification register (§8.6, table IV), highest priority first. */
export const Iir = {
  LINE_STATUS: 0x06,
  DATA: 0x04,
  TIMEOUT: 0x0c,
  THRE: 0x02,
  MODEM: 0x00,
  NONE: 0x01,
  FIFOS: 0xc0,
} as const;
/** FIFO control register (§8.5). */
export const Fcr = {
  ENABLE: 0x01,
  CLEAR_RECEIVER: 0x02,
  CLEAR_TRANSMITTER: 0x04,
  DMA_MODE: 0x08,
  TRIGGER: 0xc0,
} as const;
/** Line control register (§8.1). */
export const Lcr = {
  WORD_LENGTH: 0x03,
  STOP: 0x04,
  PARITY: 0x08,
  EVEN: 0x10,
  STICK: 0x20,
  BREAK: 0x40,
  DLAB: 0x80,
} as const;
/** Modem control register (§8.8). */
export const Mcr = { DTR: 0x01, RTS: 0x02, OUT1: 0x04, OUT2: 0x08, LOOP: 0x10 } as const;
/** Line status register (§8.4). */
export const Lsr = {
  DR: 0x01,
  OE: 0x02,
  PE: 0x04,
  FE: 0x08,
  BI: 0x10,
  THRE: 0x20,
  TEMT: 0x40,
  FIFO_ERROR: 0x80,
} as const;
/** Modem status register (§8.9). */
export const Msr = {
  DCTS: 0x01,
  DDSR: 0x02,
  TERI: 0x04,
  DDCD: 0x08,
  CTS: 0x10,
  DSR: 0x20,
  RI: 0x40,
  DCD: 0x80,
} as const;
