/** A Debian binary package, deb(5): an ar archive of a version, control.tar and data.tar, compressed or not. */

import { InputError, UnsupportedError } from "../util/errors.js";
import { arMembers, isAr } from "./ar.js";
import { decompressPieces } from "./compression.js";
import { type TarEntry, tarEntries } from "./tar.js";

/** Most that the control archive may unpack to, in bytes. */
const CONTROL_LIMIT = 16 << 20;
/** Most that the data archive may unpack to unless the caller says otherwise, in bytes. */
const DATA_LIMIT = 2 ** 32;

export interface DebianPackage {
  /** Fields of the control file (Package, Version, Architecture…); those of several lines keep them. */
  readonly fields: ReadonlyMap<string, string>;
  /**
   * What the package installs, from the beginning at each call. It is unpacked as it goes: beside the entry at hand
   * only the compressor's dictionary is held.
   * @param limit most bytes that the archive may unpack to
   * @throws as `tarEntries` and `decompress` do
   */
  entries(limit?: number): Generator<TarEntry, void>;
}

export function isDebianPackage(bytes: Uint8Array): boolean {
  return isAr(bytes);
}

/**
 * @param name of the file, for messages
 * @throws InputError if it is no package, or a damaged one; UnsupportedError for a later format
 */
export function openDebianPackage(bytes: Uint8Array, name: string): DebianPackage {
  const members = arMembers(bytes, name);
  const version = members.find((member) => member.name === "debian-binary");
  if (version === undefined) throw new InputError("deb", `${name} is no Debian package: it has no debian-binary`);
  const number = new TextDecoder().decode(version.data.subarray(0, 16)).trim();
  if (!number.startsWith("2.")) {
    throw new UnsupportedError(
      "deb-version",
      `${name} is a Debian package of format ${JSON.stringify(number)}: 2.0 is supported`,
    );
  }
  const member = (stem: string) => {
    const found = members.find((one) => one.name === stem || one.name.startsWith(`${stem}.`));
    if (found === undefined) throw new InputError("deb", `${name} is damaged: it has no ${stem}`);
    return { data: found.data, label: `${found.name} of ${name}` };
  };
  const data = member("data.tar");
  const control = member("control.tar");
  return {
    fields: readFields(control.data, control.label),
    entries: (limit = DATA_LIMIT) => tarEntries(decompressPieces(data.data, data.label, limit), data.label),
  };
}

function readFields(bytes: Uint8Array, name: string): Map<string, string> {
  for (const entry of tarEntries(decompressPieces(bytes, name, CONTROL_LIMIT), name)) {
    if (entry.path === "control" && entry.kind === "file") return parseFields(new TextDecoder().decode(entry.read()));
  }
  throw new InputError("deb", `${name} has no file named control`);
}

/** deb-control(5): a line that begins with a blank goes on with the field before. */
function parseFields(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last = "";
  for (const line of text.split("\n")) {
    const blank = line.startsWith(" ") || line.startsWith("\t");
    const colon = line.indexOf(":");
    if (blank && last !== "") fields.set(last, `${fields.get(last)}\n${line.slice(1)}`);
    else if (colon > 0) {
      last = line.slice(0, colon);
      fields.set(last, line.slice(colon + 1).trim());
    }
  }
  return fields;
}
