// Where the tables stand, found by their shape, since no symbol tells. Each is aligned to 8 bytes. Up to 6.4:
//   offsets, relative_base, num_syms, names, markers, (seqs_of_names,) token_table, token_index
// and later:
//   num_syms, names, markers, token_table, token_index, offsets, relative_base, seqs_of_names
// Stable series have had tables added, so only what is said here is relied on: the token table ends before its index,
// the names end before their markers and follow their count, and the offsets stand in one of the two places.

/** KSYM_NAME_LEN: type and name with its end. */
export const LONGEST_SYMBOL_BYTES = 512;
/** Every so many names there is a marker. */
export const MARKER_INTERVAL = 256;
const TOKENS = 256;
const ALIGNMENT = 8;
const TOKEN_INDEX_BYTES = 2 * TOKENS;
const LARGEST_MARKER_STEP = MARKER_INTERVAL * (LONGEST_SYMBOL_BYTES + 2);
/** Names have a length and at least a type and a letter, which may be one token. */
const SMALLEST_MARKER_STEP = MARKER_INTERVAL * 2;
const FEWEST_MARKERS = 4;
/** The marker table is among the longest ascending runs; each that is looked at costs a search for its names. */
const MOST_RUNS = 16;
/** Words after the markers may happen to continue them. */
const MOST_SURPLUS = 4;

/** Byte offsets in the section. */
export interface KallsymsTables {
  readonly count: number;
  readonly namesAt: number;
  readonly namesEnd: number;
  readonly markersAt: number;
  readonly tokensAt: number;
  readonly tokenIndexAt: number;
  /** Where the offsets, with the relative base behind them, may stand, the likeliest first. */
  readonly offsetsAt: readonly number[];
}

interface Run {
  readonly at: number;
  readonly length: number;
}

/**
 * @param bytes from an address that is a multiple of 8 on
 * @returns null if there is nothing of this shape
 */
export function findKallsymsTables(bytes: Uint8Array): KallsymsTables | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const tokens = findTokens(bytes, view);
  if (tokens === null) return null;
  for (const run of markerRuns(view)) {
    const names = findNames(bytes, view, run);
    if (names === null) continue;
    const offsetBytes = align(4 * names.count);
    const places = [tokens.tokenIndexAt + TOKEN_INDEX_BYTES, names.namesAt - 2 * ALIGNMENT - offsetBytes];
    return {
      ...names,
      ...tokens,
      markersAt: run.at,
      offsetsAt: places.filter((at) => at >= 0 && at + offsetBytes + ALIGNMENT <= bytes.length),
    };
  }
  return null;
}

/** Bytes of the packed symbol at `at`, its length included; 0 if there is none before `end`. */
export function packedLength(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 > end) return 0;
  // Since 6.1 the top bit says that the length goes on in a second byte.
  const first = bytes[at];
  const length = first < 0x80 ? 1 + first : 2 + ((first & 0x7f) | (bytes[at + 1] << 7));
  return first === 0 || length > LONGEST_SYMBOL_BYTES + 2 || at + length > end ? 0 : length;
}

/** Where the offsets' relative base stands. */
export function relativeBaseAt(offsetsAt: number, count: number): number {
  return offsetsAt + align(4 * count);
}

function findTokens(bytes: Uint8Array, view: DataView): { tokensAt: number; tokenIndexAt: number } | null {
  for (let at = 0; at + TOKEN_INDEX_BYTES <= bytes.length; at += ALIGNMENT) {
    if (!isTokenIndex(view, at)) continue;
    const last = view.getUint16(at + TOKEN_INDEX_BYTES - 2, true);
    const latest = at - last - 2;
    for (
      let start = latest - (latest % ALIGNMENT);
      start >= 0 && start > latest - LONGEST_SYMBOL_BYTES;
      start -= ALIGNMENT
    ) {
      if (areTokens(bytes, view, start, at)) return { tokensAt: start, tokenIndexAt: at };
    }
  }
  return null;
}

function isTokenIndex(view: DataView, at: number): boolean {
  let before = view.getUint16(at, true);
  if (before !== 0) return false;
  for (let token = 1; token < TOKENS; token++) {
    const offset = view.getUint16(at + 2 * token, true);
    if (offset < before + 2 || offset > before + LONGEST_SYMBOL_BYTES) return false;
    before = offset;
  }
  return true;
}

/** Whether 256 texts, each as the index has it, lie between `start` and `end` with nothing but padding after them. */
function areTokens(bytes: Uint8Array, view: DataView, start: number, end: number): boolean {
  let at = start;
  for (let token = 0; token < TOKENS; token++) {
    if (view.getUint16(end + 2 * token, true) !== at - start) return false;
    const from = at;
    while (at < end && bytes[at] !== 0) at++;
    if (at === from || at >= end) return false;
    at++;
  }
  return align(at) === end;
}

/** Ascending runs that may be marker tables, the longest first. */
function markerRuns(view: DataView): Run[] {
  const runs: Run[] = [];
  let at = 0;
  while (at + 4 <= view.byteLength) {
    let length = 0;
    if (view.getUint32(at, true) === 0) {
      length = 1;
      for (let before = 0, next = at + 4; next + 4 <= view.byteLength; next += 4, length++) {
        const value = view.getUint32(next, true);
        if (value < before + SMALLEST_MARKER_STEP || value > before + LARGEST_MARKER_STEP) break;
        before = value;
      }
    }
    if (length >= FEWEST_MARKERS) keepLongest(runs, { at, length });
    at = Math.max(at + ALIGNMENT, align(at + 4 * length) - ALIGNMENT);
  }
  return runs;
}

function keepLongest(runs: Run[], run: Run): void {
  let place = runs.length;
  while (place > 0 && runs[place - 1].length < run.length) place--;
  runs.splice(place, 0, run);
  if (runs.length > MOST_RUNS) runs.pop();
}

function findNames(
  bytes: Uint8Array,
  view: DataView,
  run: Run,
): { count: number; namesAt: number; namesEnd: number } | null {
  for (let markers = run.length; markers >= Math.max(FEWEST_MARKERS, run.length - MOST_SURPLUS); markers--) {
    const last = view.getUint32(run.at + 4 * (markers - 1), true);
    const latest = run.at - last;
    for (
      let start = latest - (latest % ALIGNMENT);
      start >= ALIGNMENT && latest - start <= LARGEST_MARKER_STEP;
      start -= ALIGNMENT
    ) {
      const count = view.getUint32(start - ALIGNMENT, true);
      if (Math.ceil(count / MARKER_INTERVAL) !== markers || view.getUint32(start - ALIGNMENT + 4, true) !== 0) continue;
      let end = start + last;
      for (let left = count - MARKER_INTERVAL * (markers - 1); left > 0 && end > 0; left--) {
        const length = packedLength(bytes, end, run.at);
        end = length === 0 ? 0 : end + length;
      }
      if (align(end) === run.at) return { count, namesAt: start, namesEnd: end };
    }
  }
  return null;
}

function align(at: number): number {
  return Math.ceil(at / ALIGNMENT) * ALIGNMENT;
}
