import type { GuestAddress } from "../../util/guest-address.js";
import { RSP } from "../instruction.js";
import { GENERAL_MASK } from "./effects.js";
import { isCall, livenessOf } from "./liveness.js";
import { type Order, orderBlocks } from "./order.js";
import type { Block, Node, Region } from "./region.js";
import { stackHeights, wellBehaved } from "./stack-height.js";

/**
 * How a function that is only known inside its module is called: registers in parameters and results instead of memory.
 * A bit a register, vectors from bit 16 on; these stay in memory. Whatever it changes and does not return is in memory when it returns.
 */
export interface Convention {
  /** Parameters: what it reads, the stack pointer among it. */
  readonly parameters: number;
  /** Results: what it changes and some caller reads. The stack pointer is none: it comes back as it was before the call. */
  readonly results: number;
  /** What it or what it calls changes, the stack pointer left out. */
  readonly changes: number;
  /** It or what it calls may call itself, so that frames have to be counted. */
  readonly deep: boolean;
  /** It or what it calls spends fuel. */
  readonly spends: boolean;
}

/** A region with what all analyses of it need. */
export interface Plan {
  readonly region: Region;
  readonly order: Order;
  /** null: it takes and leaves its state in memory. */
  readonly convention: Convention | null;
  /** It spends fuel when it is entered. */
  readonly pays: boolean;
}

interface Draft {
  readonly region: Region;
  readonly order: Order;
  readonly calls: readonly GuestAddress[];
  readonly tails: readonly GuestAddress[];
  closed: boolean;
  isBalanced: boolean | null;
  parameters: number;
  results: number;
  changes: number;
  deep: boolean;
  pays: boolean;
  spends: boolean;
}

/** Instructions that an entry may lead to, loops and what pays for itself left out, before it has to pay for them. */
const MOST_UNPAID = 1000;

const RSP_BIT = 1 << RSP;

/**
 * Finds which of the regions of a module can be called with registers in parameters: those that call nothing but the like,
 * so that nobody they know of expects the state in memory, and that return with the stack as they found it.
 *
 * @param isOpen must be entered through the table: a hook
 * @param likely where indirect calls may well go
 * @param spendsItself the region needs fuel
 */
export function planConventions(
  regions: readonly Region[],
  isOpen: (address: GuestAddress) => boolean,
  likely: readonly GuestAddress[],
  spendsItself: (region: Region, order: Order) => boolean,
  enabled: boolean,
): readonly Plan[] {
  const drafts = new Map<GuestAddress, Draft>();
  for (const region of regions) drafts.set(region.entry, draft(region, spendsItself));
  const all = [...drafts.values()];
  for (const one of all) one.closed &&= enabled && !isOpen(one.region.entry);
  const known = (address: GuestAddress): Draft | undefined => (isOpen(address) ? undefined : drafts.get(address));
  settle(all, (one) => {
    if (!one.closed || [...one.calls, ...one.tails].every((target) => known(target)?.closed === true)) return false;
    one.closed = false;
    return true;
  });
  // For the others alone it would only be longer.
  const called = new Set([...likely, ...all.flatMap(({ calls, tails }) => [...calls, ...tails])]);
  settle(all, (one) => {
    if (!one.closed || called.has(one.region.entry)) return false;
    one.closed = false;
    return true;
  });
  settle(all, (one) => {
    if (!one.closed || (balanced(one) && closedCallees(one, known))) return false;
    one.closed = false;
    return true;
  });
  markDeep(all, known);
  // A chain of jumps from function to function must not nest frames.
  settle(all, (one) => {
    if (!one.closed || (!(one.deep && one.tails.length > 0) && closedCallees(one, known))) return false;
    one.closed = false;
    return true;
  });
  markPaying(all, known);
  settle(all, (one) => {
    const callees = [...one.calls, ...one.tails].map(known).filter((callee) => callee !== undefined);
    const changes = callees.reduce((mask, callee) => mask | (callee.closed ? callee.changes : 0), one.changes);
    const spends = callees.some((callee) => callee.spends) || one.spends;
    if (changes === one.changes && spends === one.spends) return false;
    one.changes = changes;
    one.spends = spends;
    return true;
  });
  const closedAt = (address: GuestAddress): Draft | null => {
    const found = known(address);
    return found?.closed === true ? found : null;
  };
  const candidates = likely.map(closedAt).filter((candidate) => candidate !== null);
  // Only these have a convention, or something to say about another's.
  const concerned = all.filter(
    (one) =>
      one.closed || candidates.length > 0 || [...one.calls, ...one.tails].some((target) => closedAt(target) !== null),
  );
  settle(concerned, (one) => settleRegisters(one, closedAt, candidates));
  return all.map(({ region, order, closed, parameters, results, changes, deep, pays, spends }) => ({
    region,
    order,
    pays,
    convention: closed
      ? { parameters: parameters | RSP_BIT, results, changes: changes & ~RSP_BIT, deep, spends }
      : null,
  }));
}

function balanced(one: Draft): boolean {
  one.isBalanced ??= stackHeights(one.order, wellBehaved).balanced;
  return one.isBalanced;
}

const closedCallees = (one: Draft, known: (address: GuestAddress) => Draft | undefined): boolean =>
  [...one.calls, ...one.tails].every((target) => known(target)?.closed === true);

function draft(region: Region, spendsItself: (region: Region, order: Order) => boolean): Draft {
  const order = orderBlocks(region.blocks, region.blocks[0]);
  const calls: GuestAddress[] = [];
  const tails: GuestAddress[] = [];
  let open = false;
  let changes = 0;
  for (const block of order.blocks) {
    for (const node of block.nodes) {
      changes |= node.lifted.effects.writes;
      if (!isCall(node)) continue;
      const { last } = node.lifted.effects;
      if (last?.kind === "call") calls.push(last.target);
      else open = true;
    }
    if (block.ending.kind === "tail") tails.push(block.ending.target);
    if (block.ending.kind === "indirect" || block.ending.kind === "exit") open = true;
    block.successors.forEach((target, i) => {
      if (target === null) tails.push(block.outside[i]);
    });
  }
  return {
    region,
    order,
    calls,
    tails,
    closed: !open,
    isBalanced: null,
    parameters: 0,
    results: 0,
    changes,
    deep: false,
    pays: open,
    spends: spendsItself(region, order),
  };
}

/** Repeats a pass over all until nothing changes. */
function settle<T>(all: readonly T[], pass: (one: T) => boolean): void {
  for (let changed = true; changed; ) {
    changed = false;
    // From the last to the first: callees tend to stand before their callers in no particular order.
    for (const one of all) if (pass(one)) changed = true;
  }
}

/** Functions from which a cycle of calls can be reached. */
function markDeep(all: readonly Draft[], known: (address: GuestAddress) => Draft | undefined): void {
  const state = new Map<Draft, "open" | "done">();
  const visit = (one: Draft): void => {
    state.set(one, "open");
    for (const target of [...one.calls, ...one.tails]) {
      const callee = known(target);
      if (callee === undefined) continue;
      const seen = state.get(callee);
      if (seen === "open") one.deep = true;
      else if (seen === undefined) visit(callee);
    }
    state.set(one, "done");
  };
  for (const one of all) if (!state.has(one)) visit(one);
  settle(all, (one) => {
    if (one.deep || ![...one.calls, ...one.tails].some((target) => known(target)?.deep === true)) return false;
    one.deep = true;
    return true;
  });
}

/**
 * Functions that call what is not known, call themselves, or are long with all that they call: each of them pays when it
 * is entered, so that no tree of calls goes on for ages.
 */
function markPaying(all: readonly Draft[], known: (address: GuestAddress) => Draft | undefined): void {
  const unpaid = new Map<Draft, number>();
  const visit = (one: Draft): number => {
    // Of a function that is still being looked at, this stays: a cycle is paid for where it closes.
    unpaid.set(one, Number.POSITIVE_INFINITY);
    let sum = one.order.blocks.reduce((n, { nodes }) => n + nodes.length, 0);
    for (const target of [...one.calls, ...one.tails]) {
      const callee = known(target);
      sum += callee === undefined ? Number.POSITIVE_INFINITY : (unpaid.get(callee) ?? visit(callee));
    }
    if (sum > MOST_UNPAID) one.pays = true;
    if (one.pays) {
      one.spends = true;
      sum = 0;
    }
    unpaid.set(one, sum);
    return sum;
  };
  for (const one of all) if (!unpaid.has(one)) visit(one);
}

/** One round for what a function takes, and what those that it calls have to return. */
function settleRegisters(
  one: Draft,
  closedAt: (address: GuestAddress) => Draft | null,
  candidates: readonly Draft[],
): boolean {
  let changed = false;
  const calleeOf = (node: Node): Draft | null => {
    const { last } = node.lifted.effects;
    return isCall(node) && last?.kind === "call" ? closedAt(last.target) : null;
  };
  const indirect = (node: Node): boolean => node.lifted.effects.last?.kind === "callIndirect" && candidates.length > 0;
  const want = (callee: Draft | null, registers: number): void => {
    if (callee === null) return;
    const results = (callee.results | (registers & callee.changes & GENERAL_MASK)) & ~RSP_BIT;
    if (results === callee.results) return;
    callee.results = results;
    changed = true;
  };
  const { registersIn } = livenessOf(one.order, {
    reads: (node) =>
      indirect(node) ? candidates.reduce((mask, c) => mask | c.parameters, 0) : (calleeOf(node)?.parameters ?? 0),
    writes: (node) => {
      if (!isCall(node)) return 0;
      if (indirect(node)) return candidates.reduce((mask, c) => mask & c.changes, -1) & ~RSP_BIT;
      return (calleeOf(node)?.changes ?? -1) & ~RSP_BIT;
    },
    leaving: (block) => leaving(one, block, closedAt, want),
    afterCall: (node, registers) => {
      if (indirect(node)) for (const candidate of candidates) want(candidate, registers);
      else want(calleeOf(node), registers);
    },
  });
  const parameters = (registersIn[0] & GENERAL_MASK) | one.parameters;
  if (parameters !== one.parameters) {
    one.parameters = parameters;
    changed = true;
  }
  return changed;
}

function leaving(
  one: Draft,
  block: Block,
  closedAt: (address: GuestAddress) => Draft | null,
  want: (callee: Draft | null, registers: number) => void,
): number {
  // Even what nobody reads has to be somewhere for certain: on ways that do not change it too.
  const own = one.closed ? one.changes & GENERAL_MASK & ~RSP_BIT : 0;
  switch (block.ending.kind) {
    case "return":
      return own;
    case "tail": {
      const callee = closedAt(block.ending.target);
      if (callee === null || !one.closed) return 0;
      want(callee, one.results);
      return callee.parameters | own;
    }
    case "branch": {
      let registers = 0;
      block.successors.forEach((target, i) => {
        if (target !== null || !one.closed) return;
        const callee = closedAt(block.outside[i]);
        want(callee, one.results);
        registers |= (callee?.parameters ?? 0) | own;
      });
      return registers;
    }
    default:
      return 0;
  }
}
