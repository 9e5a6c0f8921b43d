const MOST_NAMES = 3;
const LONGEST_NAME = 100;
/** Below this length nearly every name holds the other. */
const SHORTEST_PART = 4;

/**
 * The names most like `wanted`, best first, three at most: those a few typing errors away, those that hold it, and
 * those that it holds. Takes time in proportion to the names, so it is for messages.
 */
export function nearNames(wanted: string, names: Iterable<string>): string[] {
  if (wanted.length === 0 || wanted.length > LONGEST_NAME) return [];
  const most = wanted.length < SHORTEST_PART ? 1 : Math.max(2, Math.floor(wanted.length / 4));
  const found = new Map<string, number>();
  for (const name of names) {
    if (name.length === 0 || name.length > LONGEST_NAME || found.has(name)) continue;
    const distance = distanceUpTo(most, wanted, name);
    if (distance <= most) found.set(name, distance);
    else if (holds(name, wanted) || holds(wanted, name)) {
      found.set(name, most + Math.abs(name.length - wanted.length));
    }
  }
  return [...found]
    .sort(([a, near], [b, far]) => near - far || (a < b ? -1 : 1))
    .slice(0, MOST_NAMES)
    .map(([name]) => name);
}

/** `; similar names: a, b` to end a message with, or nothing. */
export function similarText(names: readonly string[]): string {
  return names.length === 0 ? "" : `; similar names: ${names.join(", ")}`;
}

function holds(whole: string, part: string): boolean {
  return part.length >= SHORTEST_PART && whole.includes(part);
}

/** Levenshtein's distance, or something above `most` if it is above `most`. */
function distanceUpTo(most: number, a: string, b: string): number {
  if (Math.abs(a.length - b.length) > most) return most + 1;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(change, row[j] + 1, next[j - 1] + 1);
      least = Math.min(least, next[j]);
    }
    if (least > most) return least;
    row = next;
  }
  return row[b.length];
}
