// BTF, the BPF Type Format: "BPF Type Format (BTF)" of the kernel's documentation, section 2.
import type { Brand } from "../util/brand.js";
import { InputError, UnsupportedError } from "../util/errors.js";
import { similarText } from "../util/near-names.js";

/** Number of a type in its BTF: 0 is void, a module's own ones follow those of the kernel. */
export type BtfTypeId = Brand<"BtfTypeId">;

export const BTF_MAGIC = 0xeb9f;
export const BTF_VERSION = 1;
export const BTF_HEADER_BYTES = 24;
/** struct btf_type: name_off, info, size or type. */
export const BTF_TYPE_BYTES = 12;

/** BTF_KIND_*, section 2.2. */
export const BtfKind = {
  void: 0,
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  function: 12,
  prototype: 13,
  variable: 14,
  section: 15,
  float: 16,
  declarationTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

export type BtfKind = (typeof BtfKind)[keyof typeof BtfKind];

/** What follows struct btf_type, and which of its words are names or types. Bytes and offsets; -1: there is none. */
export interface BtfShape {
  readonly fixed: number;
  readonly item: number;
  /** Whether the third word is a type. */
  readonly refers: boolean;
  readonly itemName: number;
  readonly itemType: number;
  readonly named: boolean;
}

function shape(
  fixed: number,
  item: number,
  refers: boolean,
  itemName: number,
  itemType: number,
  named: boolean,
): BtfShape {
  return { fixed, item, refers, itemName, itemType, named };
}

// biome-ignore format: one line a kind
export const BTF_SHAPES: readonly BtfShape[] = [
  //    fixed item refers name type named
  shape(  0,   0,  false,  -1,  -1, false), // void: no record has this kind
  shape(  4,   0,  false,  -1,  -1, true ), // INT
  shape(  0,   0,  true,   -1,  -1, false), // PTR
  shape( 12,   0,  false,  -1,  -1, false), // ARRAY
  shape(  0,  12,  false,   0,   4, false), // STRUCT
  shape(  0,  12,  false,   0,   4, false), // UNION
  shape(  0,   8,  false,   0,  -1, false), // ENUM
  shape(  0,   0,  false,  -1,  -1, true ), // FWD
  shape(  0,   0,  true,   -1,  -1, true ), // TYPEDEF
  shape(  0,   0,  true,   -1,  -1, false), // VOLATILE
  shape(  0,   0,  true,   -1,  -1, false), // CONST
  shape(  0,   0,  true,   -1,  -1, false), // RESTRICT
  shape(  0,   0,  true,   -1,  -1, true ), // FUNC
  shape(  0,   8,  true,    0,   4, false), // FUNC_PROTO
  shape(  4,   0,  true,   -1,  -1, true ), // VAR
  shape(  0,  12,  false,  -1,   0, true ), // DATASEC
  shape(  0,   0,  false,  -1,  -1, true ), // FLOAT
  shape(  4,   0,  true,   -1,  -1, true ), // DECL_TAG
  shape(  0,   0,  true,   -1,  -1, true ), // TYPE_TAG
  shape(  0,  12,  false,   0,  -1, false), // ENUM64
];

/** Type information is broken at byte `offset` of its section. */
export class BtfError extends InputError {
  constructor(
    readonly source: string,
    readonly offset: number,
    code: string,
    what: string,
  ) {
    super(code, `the type information of ${source} is broken at byte ${offset}: ${what}`);
  }
}

/**
 * The type information has no such type, member, function or constant, or not of the kind that was asked for: a kernel
 * that is other than expected.
 */
export class BtfLookupError extends UnsupportedError {
  constructor(
    readonly source: string,
    code: string,
    what: string,
    readonly similar: readonly string[] = [],
  ) {
    super(code, `the type information of ${source} ${what}${similarText(similar)}`);
  }
}
