import type { KernelModule } from "../formats/kernel-module.js";
import { literalPrefix, matchesAlias } from "./kernel-package-alias.js";

/** What other modules, and whoever looks for a driver, need to know about a module. */
export interface ModuleDescription {
  /** As the kernel calls it, with underscores. */
  readonly name: string;
  /** Modules whose symbols it uses. */
  readonly depends: readonly string[];
  /** Modules, or aliases of modules, that it would like to have loaded before. */
  readonly softBefore: readonly string[];
  /** … and after. */
  readonly softAfter: readonly string[];
  /** Patterns of what it is for, as in `pci:v00008086d0000100Esv*sd*bc*sc*i*`. */
  readonly aliases: readonly string[];
  /** Names of the symbols that it exports. */
  readonly exports: readonly string[];
}

/** The name as the kernel's module loader compares it. */
export function moduleKey(name: string): string {
  return name.replaceAll("-", "_");
}

/** @throws InputError if its tables are broken */
export function moduleDescription(name: string, module: KernelModule): ModuleDescription {
  const soft = softDependencies(module.all("softdep"));
  return {
    name,
    depends: module.depends.map(moduleKey),
    softBefore: soft.before,
    softAfter: soft.after,
    aliases: module.all("alias"),
    exports: module.exports.map((one) => one.name),
  };
}

/** `pre: a b post: c`, as modprobe.d(5) has it. */
function softDependencies(values: readonly string[]): { before: string[]; after: string[] } {
  const before: string[] = [];
  const after: string[] = [];
  for (const value of values) {
    let list: string[] | undefined;
    for (const word of value.split(/\s+/)) {
      if (word === "pre:") list = before;
      else if (word === "post:") list = after;
      else if (word !== "") list?.push(word);
    }
  }
  return { before, after };
}

interface AliasRow {
  readonly pattern: string;
  /** What anything that matches begins with. */
  readonly prefix: string;
  readonly name: string;
}

/** All modules of a package: which one is for a device, and which one has a symbol. */
export class ModuleIndex {
  readonly #modules: ReadonlyMap<string, ModuleDescription>;
  #exporters: Map<string, string[]> | null = null;
  #aliases: AliasRow[] | null = null;

  private constructor(modules: ReadonlyMap<string, ModuleDescription>) {
    this.#modules = modules;
  }

  static of(modules: Iterable<ModuleDescription>): ModuleIndex {
    const byName = new Map<string, ModuleDescription>();
    for (const module of modules) byName.set(module.name, module);
    return new ModuleIndex(byName);
  }

  /**
   * @param names of the modules that there are, in the order in which they were put in
   * @returns null if `bytes` are not what `serialize` wrote of these
   */
  static parse(bytes: Uint8Array, names: readonly string[]): ModuleIndex | null {
    let rows: unknown;
    try {
      rows = JSON.parse(new TextDecoder().decode(bytes));
    } catch {
      return null;
    }
    if (!Array.isArray(rows) || rows.length !== names.length || !rows.every(isDescription)) return null;
    return rows.every(({ name }, i) => name === names[i]) ? ModuleIndex.of(rows) : null;
  }

  serialize(): Uint8Array {
    return new TextEncoder().encode(JSON.stringify([...this.#modules.values()]));
  }

  get(name: string): ModuleDescription | undefined {
    return this.#modules.get(moduleKey(name));
  }

  /** Names of the modules that are for something: a device's alias, a protocol's, another name of a module. */
  modulesFor(alias: string): readonly string[] {
    this.#aliases ??= [...this.#modules.values()].flatMap(({ name, aliases }) => {
      return aliases.map((pattern) => ({ pattern, prefix: moduleKey(literalPrefix(pattern)), name }));
    });
    const key = moduleKey(alias);
    const found = new Set<string>();
    for (const { pattern, prefix, name } of this.#aliases) {
      if (key.startsWith(prefix) && matchesAlias(pattern, alias)) found.add(name);
    }
    return [...found];
  }

  /** Names of the modules that export a symbol: more than one if they exclude each other. */
  exportersOf(symbol: string): readonly string[] {
    if (this.#exporters === null) {
      this.#exporters = new Map();
      for (const { name, exports } of this.#modules.values()) {
        for (const exported of exports) {
          const others = this.#exporters.get(exported);
          if (others === undefined) this.#exporters.set(exported, [name]);
          else others.push(name);
        }
      }
    }
    return this.#exporters.get(symbol) ?? [];
  }
}

function isDescription(row: unknown): row is ModuleDescription {
  if (typeof row !== "object" || row === null) return false;
  const fields = row as Record<string, unknown>;
  const lists = [fields.depends, fields.softBefore, fields.softAfter, fields.aliases, fields.exports];
  return typeof fields.name === "string" && lists.every(isTextList);
}

function isTextList(list: unknown): boolean {
  return Array.isArray(list) && list.every((text) => typeof text === "string");
}
