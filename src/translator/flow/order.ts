import type { Block, Ending } from "./region.js";

/**
 * The blocks of a region in an order and a tree from which structured code can be written: reverse postorder and
 * dominators, after Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm"; loops that can be entered at several
 * blocks get one entry that dispatches to them.
 */
export interface Order {
  /** Blocks that can be reached, in reverse postorder. */
  readonly blocks: readonly Block[];
  /** By block id: place in `blocks`, -1 for those that cannot be reached. */
  readonly place: readonly number[];
  /** By place. */
  readonly predecessors: readonly (readonly Block[])[];
  readonly dominator: readonly number[];
  /** By place: blocks that it dominates directly, in reverse postorder. */
  readonly children: readonly (readonly Block[])[];
  /** By place: some edge leads back to it. */
  readonly isLoopHeader: readonly boolean[];
  /** By place: more than one edge leads forward to it. */
  readonly isMerge: readonly boolean[];
}

function reversePostorder(entry: Block, count: number): { order: Block[]; place: number[] } {
  const place = new Array<number>(count).fill(-1);
  const seen = new Uint8Array(count);
  const order: Block[] = [];
  const stack: { block: Block; next: number }[] = [{ block: entry, next: 0 }];
  seen[entry.id] = 1;
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const { successors } = top.block;
    // From the last to the first, so that in the reversed order the way that is taken comes after the one that falls.
    if (top.next < successors.length) {
      const target = successors[top.next++];
      if (target !== null && target !== undefined && seen[target.id] === 0) {
        seen[target.id] = 1;
        stack.push({ block: target, next: 0 });
      }
      continue;
    }
    stack.pop();
    order.push(top.block);
  }
  order.reverse();
  order.forEach((block, i) => {
    place[block.id] = i;
  });
  return { order, place };
}

function predecessorsOf(order: readonly Block[], place: readonly number[]): Block[][] {
  const predecessors: Block[][] = order.map(() => []);
  for (const block of order) {
    const { successors } = block;
    for (let i = 0; i < successors.length; i++) {
      const target = successors[i];
      if (target !== null && successors.indexOf(target) === i) predecessors[place[target.id]].push(block);
    }
  }
  return predecessors;
}

function dominatorsOf(order: readonly Block[], place: readonly number[], predecessors: readonly Block[][]): number[] {
  const dominator = new Array<number>(order.length).fill(-1);
  dominator[0] = 0;
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 1; i < order.length; i++) {
      let best = -1;
      for (const predecessor of predecessors[i]) {
        let a = place[predecessor.id];
        if (dominator[a] < 0) continue;
        if (best < 0) {
          best = a;
          continue;
        }
        let b = best;
        while (a !== b) {
          while (a > b) a = dominator[a];
          while (b > a) b = dominator[b];
        }
        best = a;
      }
      if (dominator[i] !== best) {
        dominator[i] = best;
        changed = true;
      }
    }
  }
  return dominator;
}

/** Strongly connected components (Tarjan) of the blocks that `inside` holds, leaving out edges into `without`. */
function components(blocks: readonly Block[], inside: Uint8Array, without: Block | null, count: number): Block[][] {
  const index = new Int32Array(count).fill(-1);
  const low = new Int32Array(count);
  const onStack = new Uint8Array(count);
  const stack: Block[] = [];
  const result: Block[][] = [];
  let next = 0;
  for (const root of blocks) {
    if (inside[root.id] === 0 || index[root.id] >= 0 || root === without) continue;
    const work: { block: Block; edge: number }[] = [{ block: root, edge: 0 }];
    index[root.id] = low[root.id] = next++;
    stack.push(root);
    onStack[root.id] = 1;
    for (let top = work.at(-1); top !== undefined; top = work.at(-1)) {
      const { block } = top;
      if (top.edge < block.successors.length) {
        const target = block.successors[top.edge++];
        if (target === null || target === undefined || inside[target.id] === 0 || target === without) continue;
        if (index[target.id] < 0) {
          index[target.id] = low[target.id] = next++;
          stack.push(target);
          onStack[target.id] = 1;
          work.push({ block: target, edge: 0 });
        } else if (onStack[target.id] !== 0) low[block.id] = Math.min(low[block.id], index[target.id]);
        continue;
      }
      work.pop();
      const parent = work.at(-1);
      if (parent !== undefined) low[parent.block.id] = Math.min(low[parent.block.id], low[block.id]);
      if (low[block.id] !== index[block.id]) continue;
      const component: Block[] = [];
      for (;;) {
        const member = stack.pop();
        if (member === undefined) break;
        onStack[member.id] = 0;
        component.push(member);
        if (member === block) break;
      }
      result.push(component);
    }
  }
  return result;
}

const made = (blocks: Block[], like: Block, ending: Ending, successors: Block[]): Block => {
  const block: Block = { id: blocks.length, address: like.address, nodes: [], ending, successors, outside: [] };
  blocks.push(block);
  return block;
};

/** Gives every loop one entry: where it has several, a block that dispatches to them by a label set on the way. */
function reduce(blocks: Block[], first: Block): Block {
  let entry = first;
  const work: { members: readonly Block[]; header: Block | null }[] = [{ members: blocks.slice(), header: null }];
  for (let part = work.pop(); part !== undefined; part = work.pop()) {
    const inside = new Uint8Array(blocks.length);
    for (const member of part.members) inside[member.id] = 1;
    for (const component of components(part.members, inside, part.header, blocks.length)) {
      const [only] = component;
      if (component.length === 1 && !only.successors.includes(only)) continue;
      const member = new Set(component);
      const heads = new Set<Block>();
      if (member.has(entry)) heads.add(entry);
      for (const block of blocks) {
        if (member.has(block)) continue;
        for (const target of block.successors) if (target !== null && member.has(target)) heads.add(target);
      }
      if (heads.size <= 1) {
        work.push({ members: component, header: [...heads][0] ?? only });
        continue;
      }
      const dispatcher = made(blocks, only, { kind: "dispatch" }, [...heads]);
      const outer = new Map<Block, Block>();
      const inner = new Map<Block, Block>();
      const others = blocks.filter((block) => block !== dispatcher);
      dispatcher.successors.forEach((head, value) => {
        if (head === null) return;
        outer.set(head, made(blocks, head, { kind: "label", value }, [dispatcher]));
        inner.set(head, made(blocks, head, { kind: "label", value }, [dispatcher]));
      });
      for (const block of others) {
        const through = member.has(block) ? inner : outer;
        block.successors = block.successors.map((target) => (target && through.get(target)) ?? target);
      }
      const start = outer.get(entry);
      if (start !== undefined) entry = made(blocks, entry, { kind: "fall" }, [start]);
      work.push({ members: [...component, dispatcher, ...inner.values()], header: dispatcher });
    }
  }
  return entry;
}

interface Shape {
  readonly blocks: readonly Block[];
  readonly place: readonly number[];
  readonly predecessors: readonly (readonly Block[])[];
  readonly dominator: readonly number[];
}

function shapeOf(start: Block, count: number): Shape {
  const { order: blocks, place } = reversePostorder(start, count);
  const predecessors = predecessorsOf(blocks, place);
  return { blocks, place, predecessors, dominator: dominatorsOf(blocks, place, predecessors) };
}

/** Whether every loop is entered at one block only: the one that edges back lead to dominates where they come from. */
function isReducible({ blocks, place, predecessors, dominator }: Shape): boolean {
  for (let to = 0; to < blocks.length; to++) {
    for (const { id } of predecessors[to]) {
      let at = place[id];
      if (at < to) continue;
      while (at > to) at = dominator[at];
      if (at !== to) return false;
    }
  }
  return true;
}

/** @param entry the block that the region is entered at */
export function orderBlocks(region: readonly Block[], entry: Block): Order {
  // Copies: giving loops one entry changes where blocks lead.
  const all = region.map((block): Block => ({ ...block, successors: [] }));
  region.forEach((block, i) => {
    all[i].successors = block.successors.map((target) => (target === null ? null : all[target.id]));
  });
  let shape = shapeOf(all[entry.id], all.length);
  // Rare: gotos into loops, and what compilers make of them.
  if (!isReducible(shape)) {
    const start = reduce(all, all[entry.id]);
    shape = shapeOf(start, all.length);
  }
  const { blocks, place, predecessors, dominator } = shape;
  const children: Block[][] = blocks.map(() => []);
  for (let i = 1; i < blocks.length; i++) children[dominator[i]].push(blocks[i]);
  const isLoopHeader = blocks.map((_, i) => predecessors[i].some((from) => place[from.id] >= i));
  const isMerge = blocks.map(
    (block, i) =>
      predecessors[i].reduce(
        (sum, from) =>
          place[from.id] < i ? sum + from.successors.reduce((n, target) => n + Number(target === block), 0) : sum,
        0,
      ) > 1,
  );
  return { blocks, place, predecessors, dominator, children, isLoopHeader, isMerge };
}
