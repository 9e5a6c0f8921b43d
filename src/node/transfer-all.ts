/**
 * Calls `transfer` with the spans that are left, and where they go on, until none is: the system may take fewer bytes
 * than asked, and no more than so many spans at once.
 * @param transfer moves bytes to or from the front of the spans and returns how many: at least one.
 */
export function transferAll(
  position: number,
  spans: readonly Uint8Array[],
  transfer: (spans: readonly Uint8Array[], position: number) => number,
): void {
  let at = position;
  let left = withoutEmpty(spans, 0);
  while (left.length > 0) {
    let count = transfer(left, at);
    at += count;
    let first = 0;
    while (first < left.length && count >= left[first].length) count -= left[first++].length;
    if (first === left.length) return;
    left = withoutEmpty(left, first);
    if (count > 0) left = [left[0].subarray(count), ...left.slice(1)];
  }
}

/** The spans from `first` on, without those at their front that are empty. */
function withoutEmpty(spans: readonly Uint8Array[], first: number): readonly Uint8Array[] {
  let from = first;
  while (from < spans.length && spans[from].length === 0) from++;
  return from === 0 ? spans : spans.slice(from);
}
