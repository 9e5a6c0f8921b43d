/** Below this many bytes a loop beats the two views that `TypedArray.set` needs (measured: bench/memory). */
const LOOP_LIMIT = 96;

/** Copies `length` bytes; source and target must not overlap. */
export function copyBytes(
  target: Uint8Array,
  targetOffset: number,
  source: Uint8Array,
  sourceOffset: number,
  length: number,
): void {
  if (length > LOOP_LIMIT) {
    target.set(source.subarray(sourceOffset, sourceOffset + length), targetOffset);
    return;
  }
  for (let i = 0; i < length; i++) target[targetOffset + i] = source[sourceOffset + i];
}

/** `0x` and at least `digits` hexadecimal digits. */
export function hex(value: number, digits = 1): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}
