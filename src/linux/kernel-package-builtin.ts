import { matchesAlias } from "./kernel-package-alias.js";
import { moduleKey } from "./kernel-package-index.js";

/** Modules that were linked into the image, as the build lists them for those who look for modules. */
export class BuiltinModules {
  private constructor(
    /** With underscores. */
    readonly names: ReadonlySet<string>,
    private readonly aliases: readonly { readonly module: string; readonly pattern: string }[],
  ) {}

  /** @param bytes `modules.builtin.modinfo`: NUL-terminated `module.key=value` */
  static parse(bytes: Uint8Array): BuiltinModules {
    const names = new Set<string>();
    const aliases: { module: string; pattern: string }[] = [];
    for (const entry of new TextDecoder().decode(bytes).split("\0")) {
      const [, name, key, value] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(entry) ?? [];
      if (name === undefined) continue;
      names.add(moduleKey(name));
      if (key === "alias") aliases.push({ module: moduleKey(name), pattern: value });
    }
    return new BuiltinModules(names, aliases);
  }

  has(name: string): boolean {
    return this.names.has(moduleKey(name));
  }

  /** Whether one of them is for something: a device's alias, a protocol's. */
  isFor(alias: string): boolean {
    return this.modulesFor(alias).length > 0;
  }

  /** Names of those that are for something. */
  modulesFor(alias: string): readonly string[] {
    const found = this.aliases.filter(({ pattern }) => matchesAlias(pattern, alias));
    return [...new Set(found.map(({ module }) => module))];
  }
}
