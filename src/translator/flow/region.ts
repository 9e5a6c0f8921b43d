import type { GuestAddress } from "../../util/guest-address.js";
import { nextAddress } from "../instruction.js";
import type { Lifted } from "./effects.js";

/** Where a region's instructions come from. */
export interface CodeSource {
  /** The instruction at an address, null where there is none that could be executed. */
  at(address: GuestAddress): Lifted | null;
  /** Whether a jump from the function that contains `entry` to `target` stays within what is translated as one. */
  belongs(entry: GuestAddress, target: GuestAddress): boolean;
  /** Where the indirect jump at the end of `path` (the instructions up to it, in order) may go; empty if unknown. */
  jumpTargets(path: readonly Lifted[], entry: GuestAddress): JumpTargets;
  /** Whether a jump to another function is to stay in the region, with that function's code as a part of it. */
  merges(entry: GuestAddress, target: GuestAddress): boolean;
  /** The body of a small leaf to be written in place of a call to it, without its `ret`, null to call it. */
  inlined(target: GuestAddress, caller: GuestAddress): InlinedLeaf | null;
}

/** Where an indirect jump may go, as far as can be seen. */
export interface JumpTargets {
  readonly targets: readonly GuestAddress[];
  /** The table that the target came from, if nobody can write to it. */
  readonly table: JumpTable | null;
}

export interface JumpTable {
  /** The instruction that reads the table, and the register that holds the number of the entry before it. */
  readonly load: GuestAddress;
  readonly index: number;
  readonly entries: readonly GuestAddress[];
  readonly start: GuestAddress;
  readonly end: GuestAddress;
}

export interface InlinedLeaf {
  readonly body: readonly Lifted[];
  readonly ret: Lifted;
  /** The leaf stores to memory, so its return address may have been overwritten. */
  readonly stores: boolean;
}

/** One instruction in its place in a block. */
export interface Node {
  readonly lifted: Lifted;
  readonly address: GuestAddress;
  /** What of a call or `ret` remains when the leaf is inlined. */
  readonly inlining: "none" | "call" | "return" | "checkedReturn";
  /** Of an inlined `ret`: where it returns to. */
  readonly returnsTo: GuestAddress;
}

/** How a block goes on. `exit` leaves the region at `address`; `stop` ends in an instruction for the runtime. */
export type Ending =
  | { readonly kind: "fall" | "jump" }
  | { readonly kind: "branch" }
  /** `table`: the jump goes to its entry of the number that was in the register where the table was read. */
  | { readonly kind: "indirect"; readonly table: JumpTable | null }
  | { readonly kind: "return" }
  | { readonly kind: "tail"; readonly target: GuestAddress }
  | { readonly kind: "exit"; readonly address: GuestAddress }
  | { readonly kind: "stop" }
  /** Made blocks, that give a loop with several entries one: set the label; go to the successor that it says. */
  | { readonly kind: "label"; readonly value: number }
  | { readonly kind: "dispatch" };

export interface Block {
  readonly id: number;
  readonly address: GuestAddress;
  readonly nodes: readonly Node[];
  ending: Ending;
  /** Of a branch: taken, then not taken. Of an indirect jump: as its targets. Null where the way leaves the region. */
  successors: (Block | null)[];
  /** Of a branch: where each successor that is null leads. */
  readonly outside: readonly GuestAddress[];
}

/** What is translated as one: the instructions that can be reached from an entry without leaving a function. */
export interface Region {
  readonly entry: GuestAddress;
  readonly blocks: readonly Block[];
  readonly instructions: number;
  /** Guest bytes that the region was made of: when one changes, it is void. */
  readonly ranges: readonly { readonly start: GuestAddress; readonly end: GuestAddress }[];
}

const MOST_INSTRUCTIONS = 30_000;
const LONGEST_PATH = 48;
const MOST_MEMBERS = 8;

interface Discovered {
  readonly lifted: Map<GuestAddress, Lifted>;
  readonly leaders: Set<GuestAddress>;
  readonly indirect: Map<GuestAddress, JumpTargets>;
}

function discover(source: CodeSource, entry: GuestAddress): Discovered {
  const lifted = new Map<GuestAddress, Lifted>();
  const leaders = new Set<GuestAddress>([entry]);
  const indirect = new Map<GuestAddress, JumpTargets>();
  const work: GuestAddress[] = [entry];
  const members = [entry];
  const inside = (target: GuestAddress): boolean => members.some((member) => source.belongs(member, target));
  const lead = (target: GuestAddress): void => {
    if (leaders.has(target)) return;
    if (!inside(target)) {
      if (members.length >= MOST_MEMBERS || !source.merges(entry, target)) return;
      members.push(target);
    }
    leaders.add(target);
    work.push(target);
  };
  for (let from = work.pop(); from !== undefined; from = work.pop()) {
    const path: Lifted[] = [];
    let at = from;
    while (!lifted.has(at) && lifted.size < MOST_INSTRUCTIONS) {
      const one = source.at(at);
      if (one === null) break;
      lifted.set(at, one);
      const next = nextAddress(one.instruction);
      const { last } = one.effects;
      if (last !== null && last.kind !== "call" && last.kind !== "callIndirect") {
        if (last.kind === "jump") lead(last.target);
        if (last.kind === "branch") {
          lead(last.taken);
          lead(next);
        }
        if (last.kind === "jumpIndirect") {
          const found = source.jumpTargets([...path, one], entry);
          indirect.set(at, found);
          for (const target of found.targets) lead(target);
        }
        break;
      }
      path.push(one);
      if (path.length > LONGEST_PATH) path.shift();
      at = next;
      if (!inside(at)) break;
    }
  }
  return { lifted, leaders, indirect };
}

const plain = (lifted: Lifted): Node => ({
  lifted,
  address: lifted.instruction.address,
  inlining: "none",
  returnsTo: lifted.instruction.address,
});

/** @param entry where the region is entered: the start of a function, or an instruction in the middle of one */
export function discoverRegion(source: CodeSource, entry: GuestAddress): Region {
  const { lifted, leaders, indirect } = discover(source, entry);
  const blocks: Block[] = [];
  const byAddress = new Map<GuestAddress, Block>();
  const pending: { block: Block; targets: readonly GuestAddress[] }[] = [];
  const ranges: { start: GuestAddress; end: GuestAddress }[] = [];
  const make = (leader: GuestAddress): void => {
    const nodes: Node[] = [];
    let ending: Ending = { kind: "exit", address: leader };
    let targets: readonly GuestAddress[] = [];
    let at = leader;
    for (;;) {
      const one = lifted.get(at);
      if (one === undefined) {
        ending = { kind: "exit", address: at };
        break;
      }
      const next = nextAddress(one.instruction);
      const { last } = one.effects;
      if (last?.kind === "call") {
        const leaf = source.inlined(last.target, at);
        if (leaf !== null) {
          nodes.push({ lifted: one, address: at, inlining: "call", returnsTo: next });
          for (const inner of leaf.body) nodes.push(plain(inner));
          const { address } = leaf.ret.instruction;
          nodes.push({
            lifted: leaf.ret,
            address,
            inlining: leaf.stores ? "checkedReturn" : "return",
            returnsTo: next,
          });
          const start = leaf.body[0]?.instruction.address ?? address;
          ranges.push({ start, end: nextAddress(leaf.ret.instruction) });
        } else nodes.push(plain(one));
      } else nodes.push(plain(one));
      at = next;
      if (last !== null && last.kind !== "call" && last.kind !== "callIndirect") {
        switch (last.kind) {
          case "jump":
            ending = leaders.has(last.target) ? { kind: "jump" } : { kind: "tail", target: last.target };
            targets = [last.target];
            break;
          case "branch":
            ending = { kind: "branch" };
            targets = [last.taken, next];
            break;
          case "jumpIndirect": {
            const found = indirect.get(one.instruction.address);
            targets = (found?.targets ?? []).filter((target) => leaders.has(target));
            const table = found?.table ?? null;
            // What was in the register is known only if every way here leads past the load.
            const usable =
              table !== null &&
              nodes.some(({ address }) => address === table.load) &&
              table.entries.every((target) => leaders.has(target));
            ending = { kind: "indirect", table: usable ? table : null };
            if (usable) ranges.push({ start: table.start, end: table.end });
            break;
          }
          case "return":
            ending = { kind: "return" };
            break;
          default:
            ending = { kind: "stop" };
        }
        break;
      }
      if (leaders.has(at)) {
        ending = { kind: "fall" };
        targets = [at];
        break;
      }
    }
    ranges.push({ start: leader, end: at });
    const block: Block = { id: blocks.length, address: leader, nodes, ending, successors: [], outside: targets };
    blocks.push(block);
    byAddress.set(leader, block);
    pending.push({ block, targets });
  };
  for (const leader of leaders) make(leader);
  for (const { block, targets } of pending) {
    if (block.ending.kind === "tail") continue;
    block.successors = targets.map((target) => byAddress.get(target) ?? null);
  }
  return { entry, blocks, instructions: lifted.size, ranges };
}
