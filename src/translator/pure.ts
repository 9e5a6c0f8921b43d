import type { PureName } from "./ir.js";
import type { FunctionBody, LocalIndex, ModuleAssembler } from "./wasm-assembler.js";
import type { PlainOperation } from "./wasm-opcodes.js";
import { PLAIN } from "./wasm-opcodes.js";

/** The functions of `PureName`, twice: on bigints, and as WebAssembly. */
export interface PureSignature {
  readonly parameters: readonly ("i32" | "i64")[];
  readonly result: "i32" | "i64";
}

const TWO: readonly ["i64", "i64"] = ["i64", "i64"];
const THREE: readonly ["i64", "i64", "i64"] = ["i64", "i64", "i64"];

// biome-ignore format: a table
export const PURE_SIGNATURES: Readonly<Record<PureName, PureSignature>> = {
  mulhu:         { parameters: TWO,                 result: "i64" },
  mulhs:         { parameters: TWO,                 result: "i64" },
  crc32c:        { parameters: ["i32", "i64", "i32"], result: "i32" },
  pdep:          { parameters: TWO,                 result: "i64" },
  pext:          { parameters: TWO,                 result: "i64" },
  bswap64:       { parameters: ["i64"],             result: "i64" },
  divFitsU:      { parameters: THREE,               result: "i32" },
  divFitsS:      { parameters: THREE,               result: "i32" },
  divQuotientU:  { parameters: THREE,               result: "i64" },
  divRemainderU: { parameters: THREE,               result: "i64" },
  divQuotientS:  { parameters: THREE,               result: "i64" },
  divRemainderS: { parameters: THREE,               result: "i64" },
};

const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);
const signed = (value: bigint): bigint => BigInt.asIntN(64, value);
const dividendU = (high: bigint, low: bigint): bigint => (unsigned(high) << 64n) | unsigned(low);
const dividendS = (high: bigint, low: bigint): bigint => (signed(high) << 64n) | unsigned(low);

/** Castagnoli's polynomial, its bits in reverse. */
const CRC32C_POLYNOMIAL = 0x82f63b78;

function crc32c(crc: bigint, data: bigint, bytes: bigint): bigint {
  let rest = Number(BigInt.asIntN(32, crc));
  for (let i = 0n; i < bytes; i++) {
    rest ^= Number((unsigned(data) >> (8n * i)) & 0xffn);
    for (let bit = 0; bit < 8; bit++) rest = (rest >>> 1) ^ (CRC32C_POLYNOMIAL & -(rest & 1));
  }
  return BigInt(rest | 0);
}

function pdep(source: bigint, mask: bigint): bigint {
  let result = 0n;
  let from = 1n;
  for (let rest = unsigned(mask); rest !== 0n; rest &= rest - 1n, from <<= 1n)
    if ((source & from) !== 0n) result |= rest & -rest;
  return signed(result);
}

function pext(source: bigint, mask: bigint): bigint {
  let result = 0n;
  let to = 1n;
  for (let rest = unsigned(mask); rest !== 0n; rest &= rest - 1n, to <<= 1n)
    if ((source & rest & -rest) !== 0n) result |= to;
  return signed(result);
}

function bswap64(value: bigint): bigint {
  let result = 0n;
  for (let i = 0n; i < 64n; i += 8n) result = (result << 8n) | ((value >> i) & 0xffn);
  return signed(result);
}

function divFitsS(high: bigint, low: bigint, divisor: bigint): bigint {
  if (divisor === 0n) return 0n;
  const quotient = dividendS(high, low) / signed(divisor);
  return quotient === signed(quotient) ? 1n : 0n;
}

const orZero = (divisor: bigint, result: () => bigint): bigint => (divisor === 0n ? 0n : signed(result()));

/** @param a, b, c bigints of 64 bits, or 32 where the parameter is an i32; the result is signed, too */
export function pureValue(name: PureName, a: bigint, b: bigint, c: bigint): bigint {
  switch (name) {
    case "mulhu":
      return signed((unsigned(a) * unsigned(b)) >> 64n);
    case "mulhs":
      return signed((signed(a) * signed(b)) >> 64n);
    case "crc32c":
      return crc32c(a, b, c);
    case "pdep":
      return pdep(a, b);
    case "pext":
      return pext(a, b);
    case "bswap64":
      return bswap64(a);
    case "divFitsU":
      return unsigned(a) < unsigned(c) ? 1n : 0n;
    case "divFitsS":
      return divFitsS(a, b, c);
    case "divQuotientU":
      return orZero(c, () => dividendU(a, b) / unsigned(c));
    case "divRemainderU":
      return orZero(c, () => dividendU(a, b) % unsigned(c));
    case "divQuotientS":
      return orZero(c, () => dividendS(a, b) / signed(c));
    case "divRemainderS":
      return orZero(c, () => dividendS(a, b) % signed(c));
  }
}

/** Adds the function to a module. It never traps, whatever the operands. */
export function emitPure(module: ModuleAssembler, name: PureName): FunctionBody {
  const { parameters, result } = PURE_SIGNATURES[name];
  const body = module.function(parameters, [result]);
  BODIES[name](new Words(body));
  return body;
}

/** Writes code as words: a local's name gets it, `=name` sets it, a number is an i64 constant, the rest are operations. */
class Words {
  private readonly names = new Map<string, LocalIndex>();

  constructor(readonly body: FunctionBody) {}

  parameters(...names: string[]): this {
    for (const name of names) this.names.set(name, this.names.size);
    return this;
  }

  write(text: string): this {
    for (const word of text.split(/\s+/).filter((w) => w !== "")) this.word(word);
    return this;
  }

  private word(word: string): void {
    const { body } = this;
    const local = this.names.get(word);
    if (local !== undefined) body.get(local);
    else if (word.startsWith("=")) body.set(this.target(word.slice(1)));
    else if (word in PLAIN) body.op(word as PlainOperation);
    else {
      const value = BigInt(word);
      body.i64(Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
    }
  }

  private target(name: string): LocalIndex {
    const known = this.names.get(name);
    if (known !== undefined) return known;
    const local = this.body.local("i64");
    this.names.set(name, local);
    return local;
  }
}

const BODIES: Readonly<Record<PureName, (words: Words) => void>> = {
  mulhu: (words) => highProduct(words.parameters("a", "b")),
  mulhs: (words) => {
    highProduct(words.parameters("a", "b"));
    words.write("a 63 i64.shr_s b i64.and i64.sub b 63 i64.shr_s a i64.and i64.sub");
  },
  crc32c: crc32cBody,
  pdep: (words) => eachBit(words, "source to i64.and", "rest 0 rest i64.sub i64.and"),
  pext: (words) => eachBit(words, "source rest 0 rest i64.sub i64.and i64.and", "to"),
  bswap64: (words) => {
    words.parameters("x");
    for (const [mask, shift] of [
      ["0x00ff00ff00ff00ff", 8],
      ["0x0000ffff0000ffff", 16],
    ])
      words.write(`x ${mask} i64.and ${shift} i64.shl x ${shift} i64.shr_u ${mask} i64.and i64.or =x`);
    words.write("x 32 i64.rotl");
  },
  divFitsU: (words) => words.parameters("high", "low", "divisor").write("high divisor i64.lt_u"),
  divFitsS: divFitsSBody,
  divQuotientU: (words) => {
    divide(words.parameters("high", "low", "divisor"));
    words.write("quotient");
  },
  divRemainderU: (words) => {
    divide(words.parameters("high", "low", "divisor"));
    words.write("remainder");
  },
  divQuotientS: (words) => divideSigned(words, "i64.div_s", "quotient sign divisorSign i64.xor"),
  divRemainderS: (words) => divideSigned(words, "i64.rem_s", "remainder sign"),
};

const HALF = "0xffffffff";

function highProduct(words: Words): void {
  words.write(`
    a ${HALF} i64.and =aLow   a 32 i64.shr_u =aHigh
    b ${HALF} i64.and =bLow   b 32 i64.shr_u =bHigh
    aHigh bLow i64.mul  aLow bLow i64.mul 32 i64.shr_u  i64.add =middle
    aHigh bHigh i64.mul  middle 32 i64.shr_u  i64.add
    middle ${HALF} i64.and  aLow bHigh i64.mul  i64.add 32 i64.shr_u  i64.add`);
}

function crc32cBody(words: Words): void {
  const { body } = words.parameters("crc", "data", "bytes");
  words.write(`
    bytes i64.extend_i32_u 3 i64.shl =turns
    data -1 64 turns i64.sub i64.shr_u i64.and  crc i64.extend_i32_u  i64.xor =rest`);
  const done = body.block();
  const again = body.loop();
  words.write("turns i64.eqz");
  body.brIf(done);
  words.write(`rest 1 i64.shr_u  0 rest 1 i64.and i64.sub ${CRC32C_POLYNOMIAL} i64.and  i64.xor =rest`);
  words.write("turns 1 i64.sub =turns");
  body.br(again);
  body.end();
  body.end();
  words.write("rest i32.wrap_i64");
}

/** For each bit of `mask` from below: sets `value` in the result if `test` is not zero. `to` counts the bits, as a bit. */
function eachBit(words: Words, test: string, value: string): void {
  const { body } = words.parameters("source", "rest").write("1 =to 0 =result");
  const done = body.block();
  const again = body.loop();
  words.write("rest i64.eqz");
  body.brIf(done);
  words.write(`result  ${value}  0  ${test} 0 i64.ne  select  i64.or =result`);
  words.write("rest rest 1 i64.sub i64.and =rest  to 1 i64.shl =to");
  body.br(again);
  body.end();
  body.end();
  words.write("result");
}

/**
 * `quotient` and `remainder` of `high`:`low` by `divisor`, unsigned: in two digits of 32 bits, after Knuth, The Art of
 * Computer Programming, volume 2, 4.3.1, algorithm D.
 */
function divide(words: Words): void {
  const { body } = words;
  words.write("divisor divisor i64.eqz i64.extend_i32_u i64.or =divisor  high i64.eqz");
  body.if();
  words.write("low divisor i64.div_u =quotient  low divisor i64.rem_u =remainder");
  body.else();
  words.write(`
    divisor i64.clz =shift  divisor shift i64.shl =v  v 32 i64.shr_u =vHigh  v ${HALF} i64.and =vLow
    high shift i64.shl  low 1 i64.shr_u 63 shift i64.sub i64.shr_u  i64.or =remainder  low shift i64.shl =rest
    0 =quotient`);
  for (const digit of ["rest 32 i64.shr_u", `rest ${HALF} i64.and`]) {
    words.write(`
      remainder vHigh i64.div_u =guess  remainder vHigh i64.rem_u =left  ${digit} =next`);
    const right = body.block();
    const again = body.loop();
    words.write(`
      guess ${HALF} i64.le_u
      guess vLow i64.mul  left 32 i64.shl next i64.or  i64.le_u  i32.and`);
    body.brIf(right);
    words.write(`guess 1 i64.sub =guess  left vHigh i64.add =left  left ${HALF} i64.le_u`);
    body.brIf(again);
    body.end();
    body.end();
    words.write(`
      remainder 32 i64.shl next i64.or  guess v i64.mul  i64.sub =remainder
      quotient 32 i64.shl guess i64.add =quotient`);
  }
  words.write("remainder shift i64.shr_u =remainder");
  body.end();
}

/** Absolute values of dividend and divisor; their signs, 0 or -1, in `sign` and `divisorSign`. */
const ABSOLUTE = `
  high 63 i64.shr_s =sign  divisor 63 i64.shr_s =divisorSign
  low sign i64.xor sign i64.sub =low
  high sign i64.xor  low i64.eqz i64.extend_i32_u sign i64.and  i64.add =high
  divisor divisorSign i64.xor divisorSign i64.sub =divisor`;

/** The dividend is a number of 64 bits, and the division of 64 bits does not overflow. */
const PLAIN_DIVISION = `
  high low 63 i64.shr_s i64.eq  divisor 1 i64.add 1 i64.gt_u  i32.and`;

function divideSigned(words: Words, fast: string, resultAndSign: string): void {
  const { body } = words.parameters("high", "low", "divisor").write(PLAIN_DIVISION);
  body.if("i64");
  words.write(`low divisor ${fast}`);
  body.else();
  words.write(ABSOLUTE);
  divide(words);
  words.write(`${resultAndSign} =sign  sign i64.xor sign i64.sub`);
  body.end();
}

function divFitsSBody(words: Words): void {
  const { body } = words.parameters("high", "low", "divisor").write(PLAIN_DIVISION);
  body.if("i32");
  body.i32(1);
  body.else();
  words.write(ABSOLUTE);
  words.write("high divisor i64.lt_u");
  body.if("i32");
  divide(words);
  // -2^63 has no positive counterpart.
  words.write("quotient  0x7fffffffffffffff sign divisorSign i64.ne i64.extend_i32_u i64.add  i64.le_u");
  body.else();
  body.i32(0);
  body.end();
  body.end();
}
