import type { Liveness } from "./liveness.js";
import type { Order } from "./order.js";
import type { Block, Node } from "./region.js";

/**
 * Where each general register is at the start of a block: in the processor's state in memory, or in a local. Any choice
 * is right as long as the edges are mended (`emit/edges.ts`); this one keeps in locals what will be read again.
 *
 * A bit a register, vectors from bit 16 on: `local`, its value is in a local; `dirty`, and may differ from the one in memory; `narrow`, its high
 * half is zero and the local is an i32.
 */
export interface Residence {
  local: number;
  dirty: number;
  narrow: number;
  /** The region has given it a value of its own, so that nobody outside knows the present one. */
  own: number;
}

export const NOWHERE: Residence = { local: 0, dirty: 0, narrow: 0, own: 0 };

/** What calls do to registers, a bit each; 0 for what does not call. */
export interface NodeResidence {
  /** A call to code that takes and leaves the whole state in memory. */
  flushes(node: Node): boolean;
  /** Registers that a call returns in locals, and those that it leaves in memory. */
  returned(node: Node): number;
  left(node: Node): number;
}

/** What one node does to where registers are. */
export function step(at: Residence, node: Node, calls: NodeResidence): void {
  const { effects } = node.lifted;
  if (calls.flushes(node)) {
    at.local = 0;
    at.dirty = 0;
    at.narrow = 0;
    at.own = -1;
    return;
  }
  const touched = effects.reads | effects.writes;
  at.local |= touched;
  at.dirty |= effects.writes;
  at.narrow = (at.narrow | effects.zeroes) & ~effects.fills & at.local;
  const returned = calls.returned(node);
  const left = calls.left(node);
  at.local = (at.local | returned) & ~left;
  at.dirty = (at.dirty | returned) & ~left;
  at.narrow &= ~(returned | left);
  at.own |= effects.writes | returned | left;
}

export interface Residences {
  /** By place. */
  readonly atStart: readonly Residence[];
}

/** @param first what is in locals where the region is entered */
export function residencesOf(order: Order, liveness: Liveness, calls: NodeResidence, first: Residence): Residences {
  const atStart = order.blocks.map((): Residence => ({ ...NOWHERE, narrow: 0xffff }));
  const atEnd: (Residence | null)[] = order.blocks.map(() => null);
  const after = (start: Residence, block: Block): Residence => {
    const at = { ...start };
    for (const node of block.nodes) step(at, node, calls);
    return at;
  };
  atStart[0] = { ...first };
  for (let changed = true; changed; ) {
    changed = false;
    for (let place = 0; place < order.blocks.length; place++) {
      const start = atStart[place];
      const from = order.predecessors[place].map((block) => atEnd[order.place[block.id]]).filter((end) => end !== null);
      if (place === 0) from.push(first);
      const some = from.reduce((mask, end) => mask | end.local, 0);
      const every = from.reduce((mask, end) => mask & end.local, -1);
      // Once in a local always in a local: so this comes to an end.
      const local = start.local | (some & liveness.registersIn[place]) | (from.length === 0 ? 0 : every);
      const dirty = (start.dirty | from.reduce((mask, end) => mask | (end.dirty & end.local), 0)) & local;
      const own = from.reduce((mask, end) => mask | end.own, start.own);
      const narrow = from.reduce((mask, end) => mask & (end.narrow | ~end.local), start.narrow);
      // A register that comes from memory has all its bits.
      const loaded = from.reduce((mask, end) => mask | (local & ~end.local), 0);
      const kept = narrow & ~loaded & 0xffff;
      if (
        atEnd[place] !== null &&
        local === start.local &&
        dirty === start.dirty &&
        own === start.own &&
        kept === start.narrow
      ) {
        continue;
      }
      atStart[place] = { local, dirty, narrow: kept, own };
      atEnd[place] = after({ local, dirty, narrow: kept & local, own }, order.blocks[place]);
      changed = true;
    }
  }
  for (const start of atStart) start.narrow &= start.local;
  return { atStart };
}
