import { NEAR } from "../guest-space.js";
import type { Expr, Step } from "../ir.js";
import type { Order } from "./order.js";
import type { Block, Node } from "./region.js";

/** The blocks of the loop at a header: those from which a way leads back to it without passing it. */
export function loopBody(order: Order, header: number): ReadonlySet<Block> {
  const body = new Set<Block>([order.blocks[header]]);
  const work = order.predecessors[header].filter((from) => order.place[from.id] >= header);
  for (let block = work.pop(); block !== undefined; block = work.pop()) {
    if (body.has(block)) continue;
    body.add(block);
    work.push(...order.predecessors[order.place[block.id]]);
  }
  return body;
}

/** Turns that cost less than so many times as much as the cheapest are not told apart. */
const ALIKE = 4;

/** What turns of loops, and a way through a region, cost in fuel. */
export class Costs {
  /** By place: instructions in blocks that come earlier. */
  readonly #before: readonly number[];
  /** By place: of a header, what its cheaper turns cost. */
  readonly #least: readonly number[];
  /** By place: of a header, whether the loop comes to an end in any case, so that it need not look at the fuel. */
  readonly #ends: readonly boolean[];

  /** @param areChecked whether accesses are, so that what moves through memory comes to an end */
  constructor(
    private readonly order: Order,
    areChecked: boolean,
  ) {
    const before = [0];
    for (const { nodes } of order.blocks) before.push(before[before.length - 1] + nodes.length);
    this.#before = before;
    this.#least = order.blocks.map((_, place) => {
      if (!order.isLoopHeader[place]) return 0;
      const latches = order.predecessors[place].filter((from) => order.place[from.id] >= place);
      const costs = latches.map((from) => this.#by(from, place));
      const cheap = ALIKE * Math.min(...costs);
      return Math.max(...costs.filter((cost) => cost <= cheap));
    });
    this.#ends = order.isLoopHeader.map((isHeader, place) => isHeader && areChecked && endsByChecks(order, place));
  }

  /** Instructions on the shortest way through the whole region. */
  through(): number {
    const { blocks, place } = this.order;
    const rest = new Array<number>(blocks.length).fill(0);
    for (let at = blocks.length - 1; at >= 0; at--) {
      // Back to a header is no way through.
      const forward = blocks[at].successors.filter((target) => target === null || place[target.id] > at);
      const ways = forward.map((target) => (target === null ? 0 : rest[place[target.id]]));
      rest[at] = blocks[at].nodes.length + (ways.length === 0 ? 0 : Math.min(...ways));
    }
    return Math.max(1, rest[0]);
  }

  endsByItself(header: number): boolean {
    return this.#ends[header];
  }

  /** What to spend at a loop's header. */
  least(header: number): number {
    return this.#least[header];
  }

  /** What an edge back to a loop's header costs besides, 0 for other edges. */
  beyondLeast(from: Block, target: Block): number {
    const header = this.order.place[target.id];
    const isBack = header <= this.order.place[from.id];
    return isBack ? Math.max(0, this.#by(from, header) - this.#least[header]) : 0;
  }

  #by(from: Block, header: number): number {
    return Math.max(1, this.#before[this.order.place[from.id] + 1] - this.#before[header]);
  }
}

/**
 * Whether a loop comes to an end by itself because of the checks on its accesses: each turn moves some register on, always
 * in the same direction, and accesses memory right at it. Guest memory is 2 GiB, so that is how many turns there can be.
 */
function endsByChecks(order: Order, header: number): boolean {
  const body = loopBody(order, header);
  const latches = order.predecessors[header].filter((from) => order.place[from.id] >= header);
  const everyTurn = [...body].filter((block) => latches.every((latch) => dominates(order, block, latch)));
  let candidates = 0;
  for (const block of everyTurn) for (const node of block.nodes) candidates |= movedBy(node, 1) | movedBy(node, -1);
  if (candidates === 0) return false;
  for (const direction of [1, -1] as const) {
    let moved = candidates;
    for (const block of body) {
      for (const node of block.nodes) {
        const { last, writes } = node.lifted.effects;
        // A call may change any register, and loop as it likes.
        if (last?.kind === "call" || last?.kind === "callIndirect") return false;
        moved &= ~(writes & ~movedBy(node, direction));
      }
    }
    if (everyTurn.some((block) => block.nodes.some((node) => (accessedAt(node) & moved) !== 0))) return true;
  }
  return false;
}

function dominates(order: Order, block: Block, other: Block): boolean {
  const place = order.place[block.id];
  let at = order.place[other.id];
  while (at > place) at = order.dominator[at];
  return at === place;
}

/** Registers (a bit each) that a node moves by a constant in a direction, and does nothing else to. */
function movedBy({ lifted: { steps } }: Node, direction: 1 | -1): number {
  let moved = 0;
  const temporaries: (Expr | undefined)[] = [];
  const resolve = (e: Expr): Expr => (e.kind === "tmp" ? (temporaries[e.index] ?? e) : e);
  for (const step of steps) {
    if (step.kind === "let") temporaries[step.index] = step.value;
    if (step.kind !== "set") continue;
    const bit = 1 << step.register;
    moved &= ~bit;
    const value = resolve(step.value);
    if (step.width !== 8 || value.kind !== "op" || value.b === null) continue;
    if (value.op !== "i64.add" && value.op !== "i64.sub") continue;
    const from = resolve(value.a);
    const by = resolve(value.b);
    if (from.kind !== "reg" || from.register !== step.register || from.type !== "i64" || by.kind !== "i64") continue;
    const distance = value.op === "i64.add" ? by.value : -by.value;
    const isSmall = distance < BigInt(NEAR) && distance > -BigInt(NEAR);
    if (isSmall && distance !== 0n && distance > 0n === direction > 0) moved |= bit;
  }
  return moved;
}

/** Registers that a node accesses memory at, near enough. */
function accessedAt({ lifted: { steps } }: Node): number {
  return steps.reduce((mask, step) => mask | accessedBy(step), 0);
}

function accessedBy(step: Step): number {
  if (step.kind !== "load" && step.kind !== "store") return 0;
  const { base, index, displacement, segment, short } = step.address;
  if (base?.kind !== "reg" || index !== null || segment !== "none" || short) return 0;
  return displacement < BigInt(NEAR) && displacement > -BigInt(NEAR) ? 1 << base.register : 0;
}
