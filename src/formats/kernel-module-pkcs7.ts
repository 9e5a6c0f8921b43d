// As much of PKCS#7 (RFC 2315) in DER (X.690) as tells who signed a module, and how.

const INTEGER = 0x02;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const SEQUENCE = 0x30;
const SET = 0x31;
/** A subject key identifier in the place of issuer and serial number (CMS, RFC 5652). */
const CONTEXT_0 = 0x80;
const LONG_LENGTH = 0x80;
const MOST_LENGTH_BYTES = 4;

/** id-at-commonName, 2.5.4.3. */
const COMMON_NAME = "550403";
// biome-ignore format: a table
const DIGESTS: Readonly<Record<string, string>> = {
  "2a864886f70d0205":   "md5",
  "2b0e03021a":         "sha1",
  "608648016503040201": "sha256",
  "608648016503040202": "sha384",
  "608648016503040203": "sha512",
  "608648016503040204": "sha224",
  "608648016503040208": "sha3-256",
  "608648016503040209": "sha3-384",
  "60864801650304020a": "sha3-512",
};
const utf8 = new TextDecoder();

/** Who signed; whatever cannot be read is null. */
export interface Pkcs7Signer {
  /** The common name of the issuer of the signer's certificate. */
  readonly signer: string | null;
  /** The certificate's serial number, or its subject key identifier. */
  readonly key: Uint8Array | null;
  readonly hash: string | null;
  readonly value: Uint8Array | null;
}

interface Element {
  readonly tag: number;
  readonly content: Uint8Array;
}

/** The first signer of signed data. */
export function readPkcs7(bytes: Uint8Array): Pkcs7Signer {
  // ContentInfo { signedData, [0] SignedData { version, digests, content, …, SET of SignerInfo } }
  const signedData = inside(inside(elements(bytes).at(0)).at(1)).at(0);
  const infos = inside(signedData).at(-1);
  const info = inside(infos?.tag === SET ? inside(infos).at(0) : undefined);
  const [, identifier, digest] = info;
  const [issuer, serial] = identifier?.tag === SEQUENCE ? inside(identifier) : [];
  const key = identifier?.tag === CONTEXT_0 ? identifier : serial?.tag === INTEGER ? serial : undefined;
  const algorithm = inside(digest).at(0);
  return {
    signer: commonName(issuer),
    key: key?.content ?? null,
    hash: algorithm?.tag === OBJECT_IDENTIFIER ? (DIGESTS[digits(algorithm.content)] ?? null) : null,
    value: info.find((element) => element.tag === OCTET_STRING)?.content ?? null,
  };
}

/** Name: SEQUENCE of SET of SEQUENCE { type, value }. */
function commonName(name: Element | undefined): string | null {
  for (const part of inside(name)) {
    for (const attribute of inside(part)) {
      const [type, value] = inside(attribute);
      if (value !== undefined && digits(type.content) === COMMON_NAME) return utf8.decode(value.content);
    }
  }
  return null;
}

function inside(element: Element | undefined): Element[] {
  return element === undefined ? [] : elements(element.content);
}

/** The elements that follow one another in `bytes`, up to the first that is broken. */
function elements(bytes: Uint8Array): Element[] {
  const found: Element[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const tag = bytes[at];
    let length = bytes[at + 1];
    at += 2;
    if (length > LONG_LENGTH + MOST_LENGTH_BYTES) break;
    if (length >= LONG_LENGTH) {
      const end = at + length - LONG_LENGTH;
      length = 0;
      for (; at < end; at++) length = length * 256 + bytes[at];
    }
    // What lies beyond the end is not a number, and does not compare.
    if (!(at + length <= bytes.length)) break;
    found.push({ tag, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return found;
}

function digits(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
