import { frameCheckSequence } from "../frame-check.js";
import { Rcr, Register, type RegisterFile } from "./registers.js";

/** What the address filter says of a frame. */
export const Match = {
  none: 0,
  /** The own address. */
  physical: 1,
  /** Somebody else's, but all are wanted. */
  foreign: 2,
  multicast: 3,
  broadcast: 4,
} as const;

const ADDRESS_BYTES = 6;

/** The bit of MAR that a multicast address selects: the upper six bits of its CRC, as sent most significant bit first. */
export function hashBit(view: DataView, at: number): number {
  const crc = ~frameCheckSequence(view, at, ADDRESS_BYTES);
  let bit = 0;
  for (let i = 0; i < 6; i++) bit = (bit << 1) | ((crc >>> i) & 1);
  return bit;
}

/** RCR's acceptance bits, the hardware address and the multicast hash table. @returns a value of {@link Match} */
export function matchAddress(registers: RegisterFile, view: DataView, at: number): number {
  const rcr = registers.get32(Register.RCR);
  const low = view.getUint32(at, true);
  const high = view.getUint16(at + 4, true);
  if ((low & 1) === 0) {
    const own = low === registers.get32(Register.IDR0) && high === registers.get16(Register.IDR4);
    if (own && (rcr & Rcr.APM) !== 0) return Match.physical;
    return (rcr & Rcr.AAP) !== 0 ? Match.foreign : Match.none;
  }
  if (low === 0xffff_ffff && high === 0xffff) return (rcr & Rcr.AB) !== 0 ? Match.broadcast : Match.none;
  if ((rcr & Rcr.AM) === 0) return Match.none;
  const bit = hashBit(view, at);
  return ((registers.get8(Register.MAR0 + (bit >>> 3)) >>> (bit & 7)) & 1) !== 0 ? Match.multicast : Match.none;
}
