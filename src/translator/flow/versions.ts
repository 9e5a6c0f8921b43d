import type { Order } from "./order.js";

/**
 * By place: which variables (a bit each) have a new version where the block starts, because several versions meet there:
 * the places of phi functions, by iterated dominance frontiers (Cytron et al., "Efficiently Computing Static Single
 * Assignment Form and the Control Dependence Graph").
 *
 * @param defined by place: the variables that the block changes
 */
export function meetingPoints(order: Order, defined: readonly number[]): Int32Array {
  const count = order.blocks.length;
  const frontier: number[][] = order.blocks.map(() => []);
  for (let place = 0; place < count; place++) {
    const from = order.predecessors[place];
    if (from.length < 2 && !order.isLoopHeader[place]) continue;
    // The entry has no dominator above it: ways back to it are followed to the entry itself.
    const stop = place === 0 ? -1 : order.dominator[place];
    for (const block of from) {
      for (let at = order.place[block.id]; at !== stop; at = at === 0 ? -1 : order.dominator[at]) {
        if (frontier[at].at(-1) !== place) frontier[at].push(place);
      }
    }
  }
  const meets = new Int32Array(count);
  const work = order.blocks.map((_, place) => place);
  for (let place = work.pop(); place !== undefined; place = work.pop()) {
    const versions = defined[place] | meets[place];
    for (const to of frontier[place]) {
      if ((versions & ~meets[to]) === 0) continue;
      meets[to] |= versions;
      work.push(to);
    }
  }
  return meets;
}
