import type { BpfProgram } from "./bpf.js";
import * as bpf from "./bpf.js";
import { FilterSyntaxError } from "./errors.js";
import { flatten } from "./flatten.js";
import { Block, connect } from "./flow-graph.js";
import { Context } from "./generate/context.js";
import { generate } from "./generate/generate.js";
import { optimise } from "./optimise/optimise.js";
import { FoldingError } from "./optimise/statements.js";
import { parseFilter } from "./parser.js";
import { factsOf } from "./program-facts.js";

/** Characters of an expression: far more than a command line carries. */
const MAXIMUM_EXPRESSION = 1 << 20;

/** Instructions that an expression may become. A board takes fewer: `verifyProgram`. */
export const LONGEST_COMPILED = 1 << 16;

/** What `tcpdump` keeps of a packet unless told otherwise. */
const DEFAULT_SNAP_LENGTH = 262_144;

export interface CompileOptions {
  /** Bytes of an accepted packet to keep: what the program returns. 262144 if left out. */
  readonly snapLength?: number;
}

/**
 * Compiles an expression of pcap-filter(7), for Ethernet frames, to a program that accepts just the packets that
 * libpcap 1.10 accepts. An empty expression accepts all.
 *
 * @throws FilterSyntaxError for what cannot be compiled, with the column
 */
export function compileFilter(
  expression: string,
  { snapLength = DEFAULT_SNAP_LENGTH }: CompileOptions = {},
): BpfProgram {
  const refuse = (reason: string, code?: string): never => {
    throw new FilterSyntaxError(expression, 1, reason, code);
  };
  if (expression.length > MAXIMUM_EXPRESSION)
    refuse(`longer than ${MAXIMUM_EXPRESSION} characters`, "filter-too-complex");
  if (!Number.isInteger(snapLength) || snapLength < 1 || snapLength > 0x7fffffff)
    refuse("a snapshot length below 1 or above 2147483647 keeps nothing of a packet", "filter-snap-length");
  const accept = new Block(bpf.RET | bpf.K, snapLength);
  const node = parseFilter(expression);
  if (node === undefined) return flatten(accept);
  const context = new Context(expression);
  const test = generate(context, node);
  connect(test.accepts, accept);
  connect(test.rejects, new Block(bpf.RET | bpf.K, 0));
  const root = context.keepAsIs ? test.head : optimised(test.head, refuse);
  const program = withDefinedScratch(flatten(root));
  if (program.length > LONGEST_COMPILED)
    refuse(`becomes ${program.length} instructions; ${LONGEST_COMPILED} are the limit`, "filter-too-complex");
  return program;
}

/** A place in no packet, another for each word of scratch memory. */
const NOWHERE = 0x8000_0000;

/**
 * After `geneve or …` and `not geneve` the places of headers are read from scratch words that nothing wrote. libpcap finds
 * there whatever the stack held, which is nearly always outside the packet; here it is, always.
 */
function withDefinedScratch(program: BpfProgram): BpfProgram {
  const { readAtStart } = factsOf(program);
  const words = Array.from({ length: bpf.SCRATCH_WORDS }, (_, word) => word).filter(
    (word) => ((readAtStart >>> word) & 1) !== 0,
  );
  const define = words.flatMap((word) => [
    { code: bpf.LDX | bpf.IMM, jt: 0, jf: 0, k: NOWHERE + word },
    { code: bpf.STX, jt: 0, jf: 0, k: word },
  ]);
  return [...define, ...program];
}

function optimised(head: Block, refuse: (reason: string, code?: string) => never): Block {
  let root: Block;
  try {
    root = optimise(head);
  } catch (error) {
    if (error instanceof FoldingError) return refuse(error.message);
    if (error instanceof RangeError) return refuse("too complex; use several shorter filters", "filter-too-complex");
    throw error;
  }
  if (root.code === (bpf.RET | bpf.K) && root.k === 0)
    return refuse("this can accept no packet at all", "filter-accepts-nothing");
  return root;
}
