/** What one case of `korral start` has to say. */
export interface CaseReport {
  /** Its name in the JSON document. */
  readonly key: string;
  readonly title: string;
  /** For people, a line each. */
  readonly lines: readonly string[];
  /** For programs. */
  readonly figures: object;
}

export function plural(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}
