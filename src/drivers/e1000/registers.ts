/** Registers of the 8254x family that the native driver uses (SDM 317453, §13). */
export const Reg = {
  ctrl: 0x0000, // §13.4.1
  status: 0x0008, // §13.4.2
  eerd: 0x0014, // §13.4.4
  icr: 0x00c0, // §13.4.17
  ims: 0x00d0, // §13.4.20
  imc: 0x00d8, // §13.4.21
  rctl: 0x0100, // §13.4.22
  tctl: 0x0400, // §13.4.33
  tipg: 0x0410, // §13.4.34
  rdbal: 0x2800, // §13.4.25
  rdbah: 0x2804,
  rdlen: 0x2808,
  rdh: 0x2810,
  rdt: 0x2818,
  tdbal: 0x3800, // §13.4.35
  tdbah: 0x3804,
  tdlen: 0x3808,
  tdh: 0x3810,
  tdt: 0x3818,
  mta: 0x5200, // §13.5.1
  ral0: 0x5400, // §13.5.2
  rah0: 0x5404,
} as const;

export const Ctrl = { setLinkUp: 1 << 6, reset: 1 << 26 } as const;
export const Status = { linkUp: 1 << 1 } as const;
export const Interrupt = { txDescriptorDone: 1 << 0, linkChange: 1 << 2, rxOverrun: 1 << 6, rxTimer: 1 << 7 } as const;
export const Rctl = {
  enable: 1 << 1,
  unicastPromiscuous: 1 << 3,
  multicastPromiscuous: 1 << 4,
  broadcast: 1 << 15,
  stripCrc: 1 << 26,
} as const;
export const Tctl = { enable: 1 << 1, padShort: 1 << 3 } as const;
export const RahValid = 0x8000_0000;

/** Legacy receive descriptor (§3.2.3), as four words. */
export const RX_DESCRIPTOR_BYTES = 16;
export const RxStatus = { done: 1 << 0, endOfPacket: 1 << 1, errors: 0xff << 8 } as const;

/** Legacy transmit descriptor (§3.3.3): command bits of word 2, status bits of word 3. */
export const TX_DESCRIPTOR_BYTES = 16;
export const TxCommand = { endOfPacket: 1 << 24, insertFcs: 1 << 25, reportStatus: 1 << 27 } as const;
export const TxStatus = { done: 1 << 0 } as const;
