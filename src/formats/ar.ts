/** The common ar archive, as deb(5) uses it: no symbol table, no names of more than 16 letters. */

import { InputError } from "../util/errors.js";
import { faultOf } from "./fault.js";

const MAGIC = "!<arch>\n";
const HEADER_SIZE = 60;

export interface ArMember {
  readonly name: string;
  /** A part of the archive, no copy. */
  readonly data: Uint8Array;
}

export function isAr(bytes: Uint8Array): boolean {
  return ascii(bytes, 0, MAGIC.length) === MAGIC;
}

/** @throws InputError where the archive named `name` is damaged */
export function arMembers(bytes: Uint8Array, name: string): ArMember[] {
  if (!isAr(bytes)) throw new InputError("ar", `${name} is no ar archive: give a Debian package (.deb)`);
  const fault = faultOf("ar", name);
  const members: ArMember[] = [];
  for (let at = MAGIC.length; at < bytes.length; ) {
    if (at + HEADER_SIZE > bytes.length) throw fault(bytes.length, "the archive ends too early");
    const size = ascii(bytes, at + 48, 10).trimEnd();
    if (ascii(bytes, at + 58, 2) !== "`\n" || !/^\d+$/.test(size)) throw fault(at, "a member's header is damaged");
    const from = at + HEADER_SIZE;
    const to = from + Number(size);
    if (to > bytes.length) throw fault(bytes.length, "the archive ends too early");
    members.push({ name: ascii(bytes, at, 16).trimEnd().replace(/\/$/, ""), data: bytes.subarray(from, to) });
    at = to + (to % 2);
  }
  return members;
}

function ascii(bytes: Uint8Array, from: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(from, from + length));
}
