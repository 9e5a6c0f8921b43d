import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const CACHE =
  process.env.KORRAL_CACHE === undefined
    ? join(tmpdir(), "korral-test-cache")
    : resolve(process.env.KORRAL_CACHE, "test-kernels");
/** The signed packages of a series may lag behind the lists: older ones do as well. */
const MOST_CANDIDATES = 3;

/** An unpacked kernel package of Debian's. */
export class DebianKernel {
  constructor(
    /** `linux-image-6.1.0-56-cloud-amd64` */
    readonly packageName: string,
    /** It holds `boot/` and `lib/modules/`. */
    readonly directory: string,
  ) {}

  /** Paths of all modules, compressed or not. */
  get modules(): string[] {
    return readdirSync(this.directory, { recursive: true, encoding: "utf8" })
      .filter((name) => /\.ko(\.xz|\.zst)?$/.test(name))
      .sort()
      .map((name) => join(this.directory, name));
  }

  /** Path of the kernel image. */
  get image(): string {
    const boot = join(this.directory, "boot");
    const found = readdirSync(boot).find((name) => name.startsWith("vmlinuz-"));
    if (found === undefined) throw new Error(`no kernel image in ${boot}`);
    return join(boot, found);
  }
}

/**
 * The newest kernel of a series, fetched with the system's package client once and kept in a cache folder: no root, and
 * no package lists but those that it gets for itself.
 * @param series `6.1`, `6.12`
 * @param flavour `cloud-amd64` is the smallest; `amd64`, `rt-amd64`
 * @returns the kernel, or why there is none; in CI that is an error
 */
export function debianKernel(series: string, flavour = "cloud-amd64"): DebianKernel | string {
  const name = new RegExp(`^linux-image-${series.replace(".", "\\.")}\\.\\d+(-\\d+|\\+deb\\d+)-${flavour}$`);
  mkdirSync(CACHE, { recursive: true });
  const [cached] = newestFirst(readdirSync(CACHE).filter((entry) => name.test(entry)));
  if (cached !== undefined) return new DebianKernel(cached, join(CACHE, cached));
  const problems: string[] = [];
  for (const options of [[], privateLists]) {
    try {
      return fetched(name, typeof options === "function" ? options() : options);
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  const why = `no Debian kernel ${series} ${flavour}: ${problems.join("; ")}`;
  if (process.env.CI !== undefined) throw new Error(why);
  return why;
}

function fetched(name: RegExp, options: readonly string[]): DebianKernel {
  const known = tool("apt-cache", [...options, "search", "--names-only", "^linux-image-[0-9]"])
    .split("\n")
    .map((line) => line.split(" ")[0])
    .filter((candidate) => name.test(candidate));
  if (known.length === 0) throw new Error("the package lists have none");
  let problem = "";
  for (const candidate of newestFirst(known).slice(0, MOST_CANDIDATES)) {
    const scratch = mkdtempSync(join(CACHE, "fetching-"));
    try {
      tool("apt-get", [...options, "-o", "APT::Sandbox::User=root", "download", candidate], scratch);
      const [archive] = readdirSync(scratch);
      tool("dpkg-deb", ["-x", archive, "unpacked"], scratch);
      return kept(candidate, join(scratch, "unpacked"));
    } catch (error) {
      problem = messageOf(error);
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  }
  throw new Error(problem);
}

/** Only whole packages have their name in the cache; of two that were unpacked at once the first stays. */
function kept(packageName: string, unpacked: string): DebianKernel {
  const directory = join(CACHE, packageName);
  try {
    renameSync(unpacked, directory);
  } catch (error) {
    if (!existsSync(directory)) throw error;
  }
  return new DebianKernel(packageName, directory);
}

/** Options for package lists of our own, which need no root and are as new as can be. */
function privateLists(): string[] {
  const state = join(CACHE, "apt");
  mkdirSync(join(state, "lists", "partial"), { recursive: true });
  mkdirSync(join(state, "archives", "partial"), { recursive: true });
  const options = ["-o", `Dir::State::lists=${join(state, "lists")}`, "-o", `Dir::Cache=${state}`];
  tool("apt-get", [...options, "-o", "APT::Sandbox::User=root", "update", "-qq"]);
  return options;
}

function newestFirst(names: readonly string[]): string[] {
  return [...names].sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
}

function tool(name: string, args: readonly string[], directory = CACHE): string {
  return execFileSync(name, args, {
    cwd: directory,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: 1 << 28,
  });
}

function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().split("\n").slice(0, 2).join(": ");
}
