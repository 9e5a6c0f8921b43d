// Korral K1, data sheet docs/korral-nic.md: sections are those of the data sheet.

export const VENDOR_ID = 0x1209;
export const DEVICE_ID = 0x4b31;
export const CLASS_CODE = 0x02_0000;

/** §1. */
export const Region = {
  device: 0x0000,
  addresses: 0x0080,
  statistics: 0x0100,
  transmit: 0x0800,
  receive: 0x1000,
  msixTable: 0xe000,
  msixPending: 0xf000,
  end: 0x1_0000,
} as const;
export const QUEUE_BLOCK = 0x100;
export const MOST_QUEUES = 64;

/** §1. */
export const Vector = { device: 0, transmit: 1, receive: 2 } as const;

/** §2. */
export const Register = {
  ID: 0x00,
  CAPS: 0x04,
  CONTROL: 0x08,
  STATUS: 0x0c,
  CAUSE: 0x10,
  MASK: 0x14,
  DEFAULT: 0x18,
  ERRORS: 0x20,
  ERRORS_HIGH: 0x24,
} as const;
export const ID = 0x4b31_0001;
export const Control = {
  RESET: 0x01,
  RXEN: 0x02,
  TXEN: 0x04,
  PROMISCUOUS: 0x08,
  ALLMULTI: 0x10,
  BROADCAST: 0x20,
} as const;
export const CONTROL_WRITABLE = 0x3e;
export const Status = { LINK: 0x01, ERROR: 0x02 } as const;
export const Cause = { LINK: 0x01, RXERROR: 0x02, TXERROR: 0x04 } as const;
export const CAUSES = 0x07;
/** Of DEFAULT and of an address slot. */
export const VALID = 0x8000_0000;
export const DEFAULT_QUEUE = 0x3f;

/** §2.1. */
export const ADDRESS_SLOTS = 8;

/** §2.2: places in the table of counters. */
export const Statistic = {
  RX_FRAMES: 0,
  RX_OFF: 1,
  RX_BAD: 2,
  RX_FOREIGN: 3,
  RX_UNCLAIMED: 4,
  RX_NO_BUFFER: 5,
  RX_FAULT: 6,
  RX_BYTES: 7,
  TX_FRAMES: 8,
  TX_BYTES: 9,
  TX_BAD: 10,
  TX_NO_LINK: 11,
} as const;
export const STATISTICS = 12;

/** §3. */
export const Queue = {
  RING: 0x00,
  RING_HIGH: 0x04,
  COMPLETIONS: 0x08,
  COMPLETIONS_HIGH: 0x0c,
  SIZE: 0x10,
  ENABLE: 0x14,
  STATE: 0x18,
  FAULT: 0x1c,
  FAULT_HIGH: 0x20,
  HEAD: 0x24,
  TAIL: 0x28,
  TAKEN: 0x2c,
  WRITTEN: 0x30,
  POSTED: 0x34,
} as const;
export const State = { ENABLED: 0x01, ERROR: 0x02, CODE_SHIFT: 8 } as const;
export const INDEX_MASK = 0xffff;
export const ARM = 0x8000_0000;
export const MOST_SIZE = 12;
export const ENTRY_BYTES = 16;
export const LENGTH_MASK = 0xffff;
export const DESCRIPTOR_LAST = 0x1_0000;
export const Completion = {
  PHASE: 0x01,
  WITHDRAWN: 0x02,
  CUT: 0x04,
  ERROR: 0x08,
  NOLINK: 0x10,
  CODE_SHIFT: 8,
} as const;

/** §4. */
export const Receive = {
  PROGRAM: 0x40,
  PROGRAM_HIGH: 0x44,
  COUNT: 0x48,
  LOAD: 0x4c,
  VERDICT: 0x50,
  COOKIE: 0x60,
  WITHDRAW: 0x64,
  WITHDRAWN: 0x68,
  FRAMES: 0x80,
  DROPS: 0x84,
  CUTS: 0x88,
} as const;
export const Load = { VERIFY: 1, CLEAR: 2 } as const;
export const Verdict = {
  NONE: 0,
  ACCEPTED: 1,
  LENGTH: 2,
  REFUSED_READ: 3,
  INSTRUCTION: 4,
  CHAINS: 5,
  MEMORY: 6,
} as const;
export const VERDICT_INDEX_SHIFT = 16;
export const NO_INSTRUCTION = 0xffff;
export const MOST_CHAINS = 32;
/** Instructions, those of all queues together. */
export const FILTER_MEMORY = 16_384;
export const Withdraw = { ONE: 1, ALL: 2 } as const;

/** §6. */
export const ErrorCode = {
  NONE: 0,
  SETUP: 1,
  DESCRIPTOR: 2,
  COMPLETION: 3,
  DATA: 4,
  OVERRUN: 5,
  EMPTY: 6,
  LENGTH: 7,
} as const;
