import { type Case, COMPARED_FLAGS, type Outcome } from "./case.js";
import { littleEndian } from "./values.js";

/** What a case was found to do. */
export interface Verdict {
  readonly test: Case;
  readonly expected: Outcome;
  readonly differences: readonly string[];
}

/**
 * The shortest piece of a case that still makes a difference: first cut off at the end, then begun later, from the state
 * that the processor itself is in there.
 */
export function shrink(found: Verdict, judge: (test: Case) => Verdict): Verdict {
  const shorter = firstFailing(
    found.test.points.slice(1).map(
      ({ offset }) =>
        () =>
          cutAfter(found.test, offset),
    ),
    judge,
  );
  const best = shorter ?? found;
  const starts = best.test.points.slice(1, -1).reverse();
  const later = firstFailing(
    starts.map(({ offset }) => () => {
      const before = judge(cutAfter(best.test, offset)).expected;
      return before.stop === "end" && Number(before.rip) === best.test.codeAddress + offset
        ? beginAt(best.test, offset, before)
        : null;
    }),
    judge,
  );
  return later ?? best;
}

function firstFailing(candidates: readonly (() => Case | null)[], judge: (test: Case) => Verdict): Verdict | null {
  for (const make of candidates) {
    const test = make();
    if (test === null) continue;
    const verdict = judge(test);
    if (verdict.differences.length > 0) return verdict;
  }
  return null;
}

/** Jumps to what is cut off leave the snippet, with flags that may then be undefined. */
function cutAfter(test: Case, offset: number): Case {
  const points = test.points
    .filter((point) => point.offset <= offset)
    .map((point) => (point.offset === offset ? { ...point, form: "" } : point));
  return {
    ...test,
    code: test.code.slice(0, offset),
    points,
    functions: test.functions.filter(([, end]) => end <= offset),
    undefinedAtExits: points.reduce((sum, point) => sum | point.undefinedFlags, test.undefinedAtExits),
  };
}

function beginAt(test: Case, offset: number, state: Outcome): Case {
  const points = test.points.filter((point) => point.offset >= offset);
  const changes = state.changes.map(({ address, value }) => ({ address, bytes: littleEndian(value, 8) }));
  return {
    ...test,
    code: test.code.slice(offset),
    codeAddress: test.codeAddress + offset,
    registers: BigUint64Array.from(state.registers),
    flags: state.flags & COMPARED_FLAGS,
    xmm: state.xmm.slice(),
    patches: [...test.patches, ...changes],
    functions: test.functions.flatMap(([start, end]) =>
      start >= offset ? [[start - offset, end - offset] as const] : [],
    ),
    points: points.map((point) => ({ ...point, offset: point.offset - offset })),
  };
}
