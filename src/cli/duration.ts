import { UsageError } from "../util/errors.js";

const UNITS: Readonly<Record<string, number>> = { ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };
const LONGEST_NANOSECONDS = 24 * 3600e9;

/** Reads `500ms`, `5s`, `2m` or `1.5h`; a bare number means seconds. @returns nanoseconds @throws UsageError */
export function parseDuration(option: string, text: string): number {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text);
  const nanoseconds = match === null ? 0 : Number(match[1]) * UNITS[match[2] ?? "s"];
  if (nanoseconds <= 0 || nanoseconds > LONGEST_NANOSECONDS) {
    throw new UsageError(`${option} ${text}: it must be a time above zero and up to a day, such as 500ms, 5s or 2m`);
  }
  return nanoseconds;
}
