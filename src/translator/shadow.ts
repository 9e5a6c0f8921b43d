/**
 * What a byte of shadow says of the byte of guest memory that it stands for. Translated code looks at two things only:
 * loads at the sign bit (readable), stores whether all bits are set (writable, and nobody watches). Everything else is
 * poison of some kind, which the slow path tells apart. Fresh memory is zero, so what nobody mapped is inaccessible.
 */
export const Shadow = {
  unmapped: 0x00,
  /** Not to be touched at all. */
  freed: 0x01,
  redZone: 0x02,
  deviceOwned: 0x03,
  uninitialised: 0x04,
  noAccess: 0x05,
  /** Readable, not writable. */
  readOnly: 0x80,
  toDevice: 0x81,
  /** Readable and writable, but the first store to the page is to be noticed. */
  watched: 0x82,
  accessible: 0xff,
} as const;
export type Shadow = (typeof Shadow)[keyof typeof Shadow];

/** What may be done to memory that has been mapped; accesses to it are findings. */
export const POISONS = {
  freed: Shadow.freed,
  "red-zone": Shadow.redZone,
  "device-owned": Shadow.deviceOwned,
  "to-device": Shadow.toDevice,
  "no-access": Shadow.noAccess,
} as const;
export type Poison = keyof typeof POISONS;

export const isReadable = (shadow: number): boolean => shadow >= 0x80;
export const isWritable = (shadow: number): boolean => shadow === Shadow.accessible || shadow === Shadow.watched;
