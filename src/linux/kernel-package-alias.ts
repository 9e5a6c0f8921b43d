/** What a PCI function says it is: the first registers of its configuration space. */
export interface PciIdentity {
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystemDevice: number;
  /** 24 bits: base class, sub-class, programming interface. */
  readonly class: number;
}

/** The alias that a PCI function asks for: `pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00`. */
export function pciAlias({ vendor, device, subsystemVendor, subsystemDevice, class: code }: PciIdentity): string {
  const hex = (value: number, digits: number) => value.toString(16).toUpperCase().padStart(digits, "0");
  return (
    `pci:v${hex(vendor, 8)}d${hex(device, 8)}sv${hex(subsystemVendor, 8)}sd${hex(subsystemDevice, 8)}` +
    `bc${hex(code >>> 16, 2)}sc${hex((code >>> 8) & 0xff, 2)}i${hex(code & 0xff, 2)}`
  );
}

/** Whether a module's alias is for what asks: a shell pattern with `*`, `?` and `[…]`, in which - and _ are the same. */
export function matchesAlias(pattern: string, alias: string): boolean {
  let at = 0;
  let wanted = 0;
  // Only the last star has to be tried again, which keeps hostile patterns from taking for ever.
  let star = -1;
  let starWanted = 0;
  while (wanted < alias.length) {
    const width = pattern[at] === "*" ? 0 : widthIfMatching(pattern, at, alias[wanted]);
    if (pattern[at] === "*") {
      star = at++;
      starWanted = wanted;
    } else if (width > 0) {
      at += width;
      wanted++;
    } else if (star >= 0) {
      at = star + 1;
      wanted = ++starWanted;
    } else return false;
  }
  while (pattern[at] === "*") at++;
  return at === pattern.length;
}

/** Up to where a pattern is plain text. */
export function literalPrefix(pattern: string): string {
  const end = pattern.search(/[*?[]/);
  return end < 0 ? pattern : pattern.slice(0, end);
}

/** Letters of the pattern that stand for this one, 0 if they stand for another. */
function widthIfMatching(pattern: string, at: number, letter: string): number {
  const first = pattern[at];
  if (first === undefined) return 0;
  if (first === "?") return 1;
  if (first !== "[") return same(first, letter) ? 1 : 0;
  const end = pattern.indexOf("]", at + 2);
  if (end < 0) return same(first, letter) ? 1 : 0;
  const negated = pattern[at + 1] === "!" || pattern[at + 1] === "^";
  return inSet(pattern.slice(at + (negated ? 2 : 1), end), letter) === negated ? 0 : end + 1 - at;
}

function inSet(set: string, letter: string): boolean {
  for (let i = 0; i < set.length; i++) {
    if (set[i + 1] === "-" && i + 2 < set.length) {
      if (set[i] <= letter && letter <= set[i + 2]) return true;
      i += 2;
    } else if (set[i] === letter) return true;
  }
  return false;
}

function same(a: string, b: string): boolean {
  return a === b || ((a === "-" || a === "_") && (b === "-" || b === "_"));
}
