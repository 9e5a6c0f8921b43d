// The signature that the kernel's build appends to a module: linux/module_signature.h.
import { ElfError } from "./elf-bytes.js";
import { readPkcs7 } from "./kernel-module-pkcs7.js";

const MAGIC = new TextEncoder().encode("~Module signature appended~\n");
const TRAILER_BYTES = 12;
const latin1 = new TextDecoder("latin1");

const ID_PKCS7 = 2;
const ID_TYPES = ["PGP", "X509", "PKCS#7"];
const HASHES = ["md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224"];

/** What is appended to a module. Nothing of it is verified. */
export interface ModuleSignature {
  /** How the key is identified: `PKCS#7`, `X509`, `PGP`. */
  readonly idType: string;
  /** Who signed, null if that is not said in a way that is known. */
  readonly signer: string | null;
  /** The key's identifier; in PKCS#7 the serial number of its certificate. */
  readonly key: Uint8Array | null;
  readonly hash: string | null;
  /** The signature proper, null if it cannot be told from what surrounds it. */
  readonly value: Uint8Array | null;
}

/** A module's bytes without its signature, and the signature, null if there is none. @throws ElfError */
export function splitSignature(
  bytes: Uint8Array,
  name: string,
): { module: Uint8Array; signature: ModuleSignature | null } {
  const magicAt = bytes.length - MAGIC.length;
  if (magicAt < 0 || MAGIC.some((byte, i) => bytes[magicAt + i] !== byte)) return { module: bytes, signature: null };
  const trailerAt = magicAt - TRAILER_BYTES;
  if (trailerAt < 0) throw broken(name, 0, "the file ends within the signature");
  const view = new DataView(bytes.buffer, bytes.byteOffset + trailerAt, TRAILER_BYTES);
  const hash = view.getUint8(1);
  const idType = view.getUint8(2);
  const signerLength = view.getUint8(3);
  const keyLength = view.getUint8(4);
  const length = view.getUint32(8, false);
  const start = trailerAt - length - keyLength - signerLength;
  if (start < 0) throw broken(name, trailerAt, `a signature of ${length} bytes, and ${trailerAt} bytes come before`);
  if (idType >= ID_TYPES.length) throw broken(name, trailerAt + 2, `a signature of type ${idType}`);
  const module = bytes.subarray(0, start);
  const value = bytes.subarray(trailerAt - length, trailerAt);
  if (idType === ID_PKCS7) return { module, signature: { idType: ID_TYPES[idType], ...readPkcs7(value) } };
  const signer = latin1.decode(bytes.subarray(start, start + signerLength));
  const key = bytes.subarray(start + signerLength, start + signerLength + keyLength);
  return { module, signature: { idType: ID_TYPES[idType], signer, key, hash: HASHES[hash] ?? null, value } };
}

function broken(name: string, offset: number, what: string): ElfError {
  return new ElfError(name, offset, "module-signature", what);
}
