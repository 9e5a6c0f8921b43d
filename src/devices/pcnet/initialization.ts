import type { DmaPort } from "../../bus/io-mmu.js";
import { Bcr, Csr, Sws } from "./registers.js";
import type { Ring } from "./ring.js";

const WIDE_BYTES = 28;
const NARROW_BYTES = 24;
const LARGEST_LENGTH = 9;

/** Reads the initialization block at IADR into the CSRs. @returns whether the bus let it pass */
export function initialize(csr: Uint16Array, bcr: Uint16Array, dma: DmaPort, receive: Ring, transmit: Ring): boolean {
  const wide = (bcr[Bcr.SWS] & Sws.SSIZE32) !== 0;
  const block = new DataView(new ArrayBuffer(WIDE_BYTES));
  const address = csr[Csr.IADR_LOW] + csr[Csr.IADR_HIGH] * 0x1_0000;
  if (!dma.read(address, new Uint8Array(block.buffer), 0, wide ? WIDE_BYTES : NARROW_BYTES)) return false;
  csr[Csr.MODE] = block.getUint16(0, true);
  const physical = wide ? 4 : 2;
  const logical = wide ? 12 : 8;
  for (let i = 0; i < 3; i++) csr[Csr.PADR + i] = block.getUint16(physical + 2 * i, true);
  for (let i = 0; i < 4; i++) csr[Csr.LADRF + i] = block.getUint16(logical + 2 * i, true);
  const rings = logical + 8;
  const receiveWord = block.getUint32(rings, true);
  const transmitWord = block.getUint32(rings + 4, true);
  // Lengths are exponents of two: in bytes of their own, or in the upper three bits of 24-bit addresses.
  const receiveLength = wide ? block.getUint8(2) >>> 4 : receiveWord >>> 29;
  const transmitLength = wide ? block.getUint8(3) >>> 4 : transmitWord >>> 29;
  const upper = (csr[Csr.IADR_HIGH] >>> 8) * 0x100_0000;
  receive.place(wide ? receiveWord : (receiveWord & 0xff_ffff) + upper, 1 << Math.min(receiveLength, LARGEST_LENGTH));
  transmit.place(
    wide ? transmitWord : (transmitWord & 0xff_ffff) + upper,
    1 << Math.min(transmitLength, LARGEST_LENGTH),
  );
  csr[Csr.TABLE_LENGTH] = (transmitLength << 12) | (receiveLength << 8);
  return true;
}
