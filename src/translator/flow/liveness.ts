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
  readonly lanesAfter: readonly Uint8Array[];
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

/** A register counts as written when all of it is. */
const fullyKilled = (low: number, high: number): number => low & (low >>> 16) & high & (high >>> 16) & 0xffff;
const anyRead = (low: number, high: number): number => (low | (low >>> 16) | high | (high >>> 16)) & 0xffff;

export function livenessOf(order: Order, uses: TransferUses): Liveness {
  const count = order.blocks.length;
  const registersIn = new Int32Array(count);
  const lanesIn = new Uint8Array(count);
  const lanesAfter = order.blocks.map((block) => new Uint8Array(block.nodes.length));

  for (let changed = true; changed; ) {
    changed = false;
    for (let place = count - 1; place >= 0; place--) {
      const block = order.blocks[place];
      let lanes = leavesFlags(block) ? ARITHMETIC_FLAGS : 0;
      let registers = uses.leaving(block);
      for (const target of block.successors) {
        if (target === null) continue;
        const to = order.place[target.id];
        lanes |= lanesIn[to];
        registers |= registersIn[to];
      }
      for (let i = block.nodes.length - 1; i >= 0; i--) {
        const node = block.nodes[i];
        const { effects } = node.lifted;
        lanesAfter[place][i] = lanes;
        if (isCall(node)) {
          uses.afterCall?.(node, registers);
          registers &= ~uses.writes(node);
          lanes = 0;
        }
        registers = (registers & ~fullyKilled(effects.killLow, effects.killHigh)) | uses.reads(node);
        registers = (registers & ~effects.vectorsKilled) | effects.vectorsRead;
        registers |= anyRead(effects.readLow, effects.readHigh);
        lanes = (lanes & ~effects.lanesKilled) | effects.lanesRead;
      }
      if (registers !== registersIn[place] || lanes !== lanesIn[place]) {
        registersIn[place] = registers;
        lanesIn[place] = lanes;
        changed = true;
      }
    }
  }
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
