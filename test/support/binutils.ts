import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MOST_OUTPUT = 1 << 30;

/** In CI a tool that is missing is a failure, elsewhere its tests are skipped, and say why. */
export function isInstalled(tool: string): boolean {
  const found = spawnSync(tool, ["--version"]).error === undefined;
  if (!found && process.env.CI !== undefined) throw new Error(`${tool} is not installed: scripts/system-packages.sh`);
  return found;
}

export function run(tool: string, args: readonly string[]): string {
  return execFileSync(tool, args, { encoding: "utf8", maxBuffer: MOST_OUTPUT, stdio: ["ignore", "pipe", "ignore"] });
}

/** A directory in which things are compiled. */
export class Workshop {
  readonly directory = mkdtempSync(join(tmpdir(), "korral-gcc-"));

  path(name: string): string {
    return join(this.directory, name);
  }

  write(name: string, content: string | Uint8Array): string {
    writeFileSync(this.path(name), content);
    return this.path(name);
  }

  /** Compiles C, or assembler if the name ends in .s, and returns the path of what comes out. */
  gcc(output: string, source: string, text: string, ...flags: string[]): string {
    run("gcc", [...flags, "-o", this.path(output), this.write(source, text)]);
    return this.path(output);
  }

  /** Runs the linker and returns the path of what comes out. */
  link(output: string, ...args: string[]): string {
    run("ld", ["-o", this.path(output), ...args]);
    return this.path(output);
  }

  read(path: string): Uint8Array {
    return new Uint8Array(readFileSync(path));
  }

  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export interface ReadelfSymbol {
  readonly value: string;
  readonly size: number;
  readonly type: string;
  readonly binding: string;
  readonly section: string;
  readonly name: string;
}

/** The first table that `readelf -s` prints. */
export function readelfSymbols(path: string): ReadelfSymbol[] {
  const symbols: ReadelfSymbol[] = [];
  for (const line of run("readelf", ["-sW", path]).split("\n")) {
    const match = /^\s*\d+: ([0-9a-f]{16})\s+(\S+) (\S+)\s+(\S+)\s+\S+\s+(?:\[.*\] )?(\S+)(?: (.*))?$/.exec(line);
    if (match === null) continue;
    const [, value, size, type, binding, section, name] = match;
    symbols.push({ value, size: Number(size), type, binding, section, name: name ?? "" });
  }
  return symbols;
}

/** `[name, type, address, offset, size, entry size, link, info, alignment]` of each section. */
export function readelfSections(path: string): (string | number)[][] {
  const rows: (string | number)[][] = [];
  for (const line of run("readelf", ["-SW", path]).split("\n")) {
    const match =
      /^\s*\[ *\d+\] (\S*)\s+(\S+)\s+([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) [ A-Za-z]{3}\s+(\d+)\s+(\d+)\s+(\d+)$/.exec(
        line,
      );
    if (match === null) continue;
    const [, name, type, address, offset, size, entry, link, info, alignment] = match;
    const hex = (digits: string) => Number.parseInt(digits, 16);
    rows.push([name, type, address, hex(offset), hex(size), hex(entry), Number(link), Number(info), Number(alignment)]);
  }
  return rows;
}

/** `[offset, symbol number, type name, addend]` of each relocation, section by section. */
export function readelfRelocations(path: string): (string | number)[][] {
  const rows: (string | number)[][] = [];
  for (const line of run("readelf", ["-rW", path]).split("\n")) {
    const match =
      /^([0-9a-f]{16})\s+([0-9a-f]{8})[0-9a-f]{8} (\S+)\s*(?:[0-9a-f]{16}\s+.*? ([-+]) ([0-9a-f]+)|([0-9a-f]*))$/.exec(
        line,
      );
    if (match === null) continue;
    const [, offset, symbol, type, sign, digits, bare] = match;
    const magnitude = Number.parseInt(digits ?? (bare || "0"), 16);
    rows.push([Number.parseInt(offset, 16), Number.parseInt(symbol, 16), type, sign === "-" ? -magnitude : magnitude]);
  }
  return rows;
}
