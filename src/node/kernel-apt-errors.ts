import { EnvironmentError } from "../util/errors.js";

// biome-ignore format: a table
const CAUSES: readonly (readonly [pattern: RegExp, code: string, what: string])[] = [
  [/No space left|not enough free space|Disk quota/i,
    "disk-full", "no space is left in the cache: free some, or set KORRAL_CACHE to a folder that has room"],
  [/NO_PUBKEY|EXPKEYSIG|BADSIG|is not signed|signatures? (?:couldn't|were|was)|no longer signed/i,
    "package-signature", "the package lists are not signed by a key that this system trusts: bring its keyring up to date"],
  [/Hash Sum mismatch|unexpected size|File has unexpected/i,
    "package-hash", "what came is not what the signed lists name: run it again, a mirror may be in the middle of an update"],
  [/Could not get lock|Unable to lock/i,
    "package-lock", "another process uses the private package lists: run it again when that has ended"],
  [/Temporary failure resolving|Could not resolve|Could not connect|Unable to connect|Connection (?:failed|refused|timed out)|connection timed out|Network is unreachable|No route to host|Cannot initiate the connection/i,
    "no-network", "the servers of the package lists cannot be reached: connect to the network, or set the proxy that apt is to use"],
  [/Permission denied/i,
    "file-permission", "the cache is not writable: set KORRAL_CACHE to a folder of your own"],
  [/404\s+Not Found/i,
    "package-gone", "the package is not on the server any more: run it again, or ask for another one"],
];

/** What to do about a package client that failed. @param errors what it said, in English */
export function packageClientError(program: string, errors: string): EnvironmentError {
  for (const [pattern, code, what] of CAUSES) {
    const line = errors.split("\n").find((one) => pattern.test(one));
    if (line !== undefined) {
      return new EnvironmentError(
        code,
        `cannot fetch a kernel: ${what} (${program}: ${shortened(line)}); or give one with --kernel FILE.deb`,
      );
    }
  }
  const said = errors.split("\n").find((line) => /^[EW]:/.test(line)) ?? errors.trim().split("\n")[0];
  return new EnvironmentError(
    "package-client",
    `cannot fetch a kernel: ${program} failed${said === "" ? "" : `: ${shortened(said)}`}; or give one with --kernel FILE.deb`,
  );
}

function shortened(line: string): string {
  const text = line
    .replace(/^[EWN]: /, "")
    .trim()
    .replace(/\.$/, "");
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
