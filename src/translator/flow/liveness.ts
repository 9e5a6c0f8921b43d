import { ARITHMETIC_FLAGS } from "../ir.js";
import type { Order } from "./order.js";
import type { Block, Node } from "./region.js";

/**
 * What is still read where, going backwards: registers by a bit each, vectors from bit 16 on; flags by the lane. Ways out of the region do not
 * count as reading registers; they take what is there.
 */
export interface Liveness {
  /** By place: registers whose value at the start of the block is read on some way. */
  readonly registersIn: Int32Array;
  /** By place: lanes that are needed at the start of the block. */
  readonly lanesIn: Uint8Array;
  /** By place, then node: lanes that are needed after it. */
  readonly lanesAfter: readonly (readonly number[])[];
}

/** What calls and returns read and write. */
export interface TransferUses {
  /** Registers that a node's call takes, and those that it gives new values; 0 for what does not call. */
  reads(node: Node): number;
  writes(node: Node): number;
  /** Registers that are read where the block leaves the region. */
  leaving(block: Block): number;
  /** Told of the registers that are read after a call. */
  afterCall?(node: Node, registers: number): void;
}

export function livenessOf(order: Order, uses: TransferUses): Liveness {
  const { blocks, place: places } = order;
  const count = blocks.length;
  const registersIn = new Int32Array(count);
  const lanesIn = new Uint8Array(count);
  // What a block makes of what is live behind it: all but `kept` is dropped, then `read` is added.
  const kept = new Int32Array(count);
  const read = new Int32Array(count);
  const lanesKept = new Uint8Array(count);
  const lanesRead = new Uint8Array(count);
  for (let place = 0; place < count; place++) {
    let [keeps, reads, keepsLanes, readsLanes] = [-1, 0, ARITHMETIC_FLAGS, 0];
    const { nodes } = blocks[place];
    for (let i = nodes.length - 1; i >= 0; i--) {
      const node = nodes[i];
      const { effects } = node.lifted;
      if (isCall(node)) {
        const kills = effects.kills | uses.writes(node);
        keeps &= ~kills;
        reads = (reads & ~kills) | uses.reads(node) | effects.uses;
        keepsLanes = 0;
        readsLanes = effects.lanesRead;
        continue;
      }
      keeps &= ~effects.kills;
      reads = (reads & ~effects.kills) | effects.uses;
      keepsLanes &= ~effects.lanesKilled;
      readsLanes = (readsLanes & ~effects.lanesKilled) | effects.lanesRead;
    }
    kept[place] = keeps;
    read[place] = reads;
    lanesKept[place] = keepsLanes;
    lanesRead[place] = readsLanes;
  }
  // Behind each block, from what leaves the region there on.
  const registersOut = new Int32Array(count);
  const lanesOut = new Uint8Array(count);
  for (let place = 0; place < count; place++) {
    registersOut[place] = uses.leaving(blocks[place]);
    lanesOut[place] = leavesFlags(blocks[place]) ? ARITHMETIC_FLAGS : 0;
  }
  for (let changed = true; changed; ) {
    changed = false;
    for (let place = count - 1; place >= 0; place--) {
      for (const target of blocks[place].successors) {
        if (target === null) continue;
        const to = places[target.id];
        registersOut[place] |= registersIn[to];
        lanesOut[place] |= lanesIn[to];
      }
      const registers = (registersOut[place] & kept[place]) | read[place];
      const lanes = (lanesOut[place] & lanesKept[place]) | lanesRead[place];
      if (registers !== registersIn[place] || lanes !== lanesIn[place]) {
        registersIn[place] = registers;
        lanesIn[place] = lanes;
        changed = true;
      }
    }
  }
  const lanesAfter = blocks.map(({ nodes }, place) => {
    let lanes = lanesOut[place];
    let registers = registersOut[place];
    const after = new Array<number>(nodes.length);
    for (let i = nodes.length - 1; i >= 0; i--) {
      const node = nodes[i];
      const { effects } = node.lifted;
      after[i] = lanes;
      if (isCall(node)) {
        uses.afterCall?.(node, registers);
        registers = (registers & ~(effects.kills | uses.writes(node))) | uses.reads(node) | effects.uses;
        lanes = effects.lanesRead;
        continue;
      }
      registers = (registers & ~effects.kills) | effects.uses;
      lanes = (lanes & ~effects.lanesKilled) | effects.lanesRead;
    }
    return after;
  });
  return { registersIn, lanesIn, lanesAfter };
}

/** A call that was not inlined. */
export const isCall = (node: Node): boolean => {
  const kind = node.lifted.effects.last?.kind;
  return node.inlining === "none" && (kind === "call" || kind === "callIndirect");
};

/** Flags do not outlive a return or a jump to another function; everywhere else someone may read them. */
const leavesFlags = (block: Block): boolean =>
  block.ending.kind === "exit" || block.ending.kind === "stop" || block.ending.kind === "indirect";
