import { ARITHMETIC_FLAGS } from "../ir.js";
import type { Order } from "./order.js";
import type { Block, Node } from "./region.js";

const ALL = -1;

/**
 * What is still needed where, going backwards. Registers are tracked by the byte (see `RegisterBytes`), flags by the lane.
 * With `exact`, an instruction that may leave the region needs every register, so that a fault shows them all.
 */
export interface Liveness {
  /** By place: registers (a bit each) whose value at the start of the block is read on some way, exits left out. */
  readonly registersIn: Int32Array;
  /** By place: lanes that are needed at the start of the block. */
  readonly lanesIn: Uint8Array;
  /** By place, then node: bytes of registers needed after it, lanes needed after it. */
  readonly lowAfter: readonly Int32Array[];
  readonly highAfter: readonly Int32Array[];
  readonly lanesAfter: readonly Uint8Array[];
  /** By place, then node: registers that are read later on some way (a bit a register), exits left out. */
  readonly readsAfter: readonly Int32Array[];
}

const fold = (low: number, high: number): number => (low | (low >>> 16) | high | (high >>> 16)) & 0xffff;

/** What the rest of the translation says of nodes that call, return or may leave. */
export interface NodeUses {
  /** Registers (a bit each) that a call takes as they are in locals. */
  reads(node: Node): number;
  /** Hands the whole state over: a call to code that may read anything. */
  needsAll(node: Node): boolean;
  /** Registers that a call gives new values. */
  writes(node: Node): number;
  /** May leave the region with the state before it or after it. */
  mayExit(node: Node): boolean;
}

export function livenessOf(order: Order, uses: NodeUses, exact: boolean): Liveness {
  const count = order.blocks.length;
  const lowIn = new Int32Array(count);
  const highIn = new Int32Array(count);
  const lanesIn = new Uint8Array(count);
  const readsIn = new Int32Array(count);
  const size = (block: Block): number => block.nodes.length;
  const lowAfter = order.blocks.map((block) => new Int32Array(size(block)));
  const highAfter = order.blocks.map((block) => new Int32Array(size(block)));
  const lanesAfter = order.blocks.map((block) => new Uint8Array(size(block)));
  const readsAfter = order.blocks.map((block) => new Int32Array(size(block)));

  for (let changed = true; changed; ) {
    changed = false;
    for (let place = count - 1; place >= 0; place--) {
      const block = order.blocks[place];
      let low = 0;
      let high = 0;
      let lanes = 0;
      let reads = 0;
      let leaves = leavesAtEnd(block);
      for (const target of block.successors) {
        if (target === null) {
          leaves = true;
          continue;
        }
        const to = order.place[target.id];
        low |= lowIn[to];
        high |= highIn[to];
        lanes |= lanesIn[to];
        reads |= readsIn[to];
      }
      if (leaves) {
        low = ALL;
        high = ALL;
        if (block.ending.kind !== "return" && block.ending.kind !== "tail") lanes = ARITHMETIC_FLAGS;
      }
      for (let i = block.nodes.length - 1; i >= 0; i--) {
        const node = block.nodes[i];
        const { effects } = node.lifted;
        lowAfter[place][i] = low;
        highAfter[place][i] = high;
        lanesAfter[place][i] = lanes;
        readsAfter[place][i] = reads;
        const called = uses.writes(node);
        if (called !== 0) {
          low &= ~(called | (called << 16));
          high &= ~(called | (called << 16));
          reads &= ~called;
          lanes = 0;
        }
        const wanted = uses.reads(node);
        low = (low & ~effects.killLow) | effects.readLow | wanted | (wanted << 16);
        high = (high & ~effects.killHigh) | effects.readHigh | wanted | (wanted << 16);
        reads = (reads & ~fullyKilled(effects.killLow, effects.killHigh)) | fold(effects.readLow, effects.readHigh);
        reads |= wanted;
        lanes = (lanes & ~effects.lanesKilled) | effects.lanesRead;
        if (uses.needsAll(node) || (exact && uses.mayExit(node))) {
          low = ALL;
          high = ALL;
        }
      }
      if (low !== lowIn[place] || high !== highIn[place] || lanes !== lanesIn[place] || reads !== readsIn[place]) {
        lowIn[place] = low;
        highIn[place] = high;
        lanesIn[place] = lanes;
        readsIn[place] = reads;
        changed = true;
      }
    }
  }
  return { registersIn: readsIn, lanesIn, lowAfter, highAfter, lanesAfter, readsAfter };
}

const fullyKilled = (low: number, high: number): number => low & (low >>> 16) & high & (high >>> 16) & 0xffff;

function leavesAtEnd(block: Block): boolean {
  switch (block.ending.kind) {
    case "return":
    case "tail":
    case "exit":
    case "stop":
    case "indirect":
      return true;
    default:
      return false;
  }
}
