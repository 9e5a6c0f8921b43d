/** `linux-image-6.1.0-56-cloud-amd64`: the series, what comes between, the flavour. */
const PACKAGE = /^linux-image-(?:unsigned-)?(\d+\.\d+)([\w.+~]*(?:-\d[\w.+~]*)*)-([a-z][a-z0-9-]*)$/;
const SERIES = /^(\d+\.\d+)(?:-([a-z][a-z0-9-]*))?$/;
const FLAVOUR = /^(?:linux-image-)?([a-z][a-z0-9-]*)$/;
/** What is no kernel to run: debug symbols; and packages whose signed twin is the one to take. */
const SET_ASIDE = /-(?:dbg|dbgsym|unsigned)$/;
const ARCHITECTURE = "amd64";

/** Which kernels would do. */
export interface KernelWish {
  /** `6.1`; null for any. */
  readonly series: string | null;
  /** `amd64`, `cloud-amd64`; null for any. */
  readonly flavour: string | null;
  /** The package's name or the release, if there is no choice. */
  readonly exact: string | null;
}

/** What is taken if nobody says anything, the best first. */
export const DEFAULT_WISHES: readonly KernelWish[] = [
  { series: "6.1", flavour: ARCHITECTURE, exact: null },
  { series: null, flavour: ARCHITECTURE, exact: null },
];

/** `6.12`, `6.1-cloud`, `rt`, `linux-image-amd64`, a package's name or a release. */
export function kernelWish(ref: string): KernelWish {
  const series = SERIES.exec(ref);
  if (series !== null) return { series: series[1], flavour: flavourName(series[2]), exact: null };
  const flavour = FLAVOUR.exec(ref);
  if (flavour !== null) return { series: null, flavour: flavourName(flavour[1]), exact: null };
  return { series: null, flavour: null, exact: ref };
}

/** As a person would say it. */
export function wishText({ series, flavour, exact }: KernelWish): string {
  if (exact !== null) return JSON.stringify(exact);
  return `Linux ${series ?? "of any series"}${flavour === null ? "" : `, ${flavour}`}`;
}

/** Whether a package grants a wish; not those that are only ever named exactly, unless they are. */
export function grants(wish: KernelWish, packageName: string): boolean {
  if (wish.exact !== null) return packageName === wish.exact || packageName === `linux-image-${wish.exact}`;
  const parts = PACKAGE.exec(packageName);
  if (parts === null || SET_ASIDE.test(packageName)) return false;
  const [, series, , flavour] = parts;
  return (wish.series === null || wish.series === series) && (wish.flavour === null || wish.flavour === flavour);
}

/** The flavour that a release or the name of a package ends in, null if it names none. */
export function flavourOf(release: string): string | null {
  return PACKAGE.exec(`linux-image-${release.replace(/^linux-image-/, "")}`)?.[3] ?? null;
}

/** For sorting: newer versions first, numbers in names taken as numbers. */
export function newestFirst(a: string, b: string): number {
  const ours = a.split(/(\d+)/);
  const theirs = b.split(/(\d+)/);
  for (let i = 0; i < Math.min(ours.length, theirs.length); i++) {
    if (ours[i] === theirs[i]) continue;
    const difference = Number(theirs[i]) - Number(ours[i]);
    // Every other part is a number.
    if (i % 2 === 1 && difference !== 0) return difference;
    return ours[i] < theirs[i] ? 1 : -1;
  }
  return theirs.length - ours.length;
}

function flavourName(given: string | undefined): string {
  if (given === undefined) return ARCHITECTURE;
  return given === ARCHITECTURE || given.endsWith(`-${ARCHITECTURE}`) ? given : `${given}-${ARCHITECTURE}`;
}
