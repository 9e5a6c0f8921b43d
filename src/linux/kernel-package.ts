import { decompress } from "../formats/compression.js";
import { KernelModule } from "../formats/kernel-module.js";
import { keptAs } from "../formats/packed-arrays.js";
import { InputError } from "../util/errors.js";
import { nearNames, similarText } from "../util/near-names.js";
import { BuiltinModules } from "./kernel-package-builtin.js";
import { type ModuleDescription, ModuleIndex, moduleDescription, moduleKey } from "./kernel-package-index.js";

/** Most that a module may unpack to, in bytes: the largest of a distribution's are near 10 MiB. */
const MODULE_LIMIT = 256 << 20;
/** What a module index is kept under; to be changed with its form. */
const INDEX_KEY = "module-index-1";
/** Modules between reports of how far reading them is. */
const REPORT_EVERY = 32;
const SUFFIXES = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"];

/** Where a kernel's files come from. Paths are relative to where they are installed. */
export interface KernelFiles {
  /** Of the package, or what else people call it. */
  readonly name: string;
  /** As `uname -r` says it: `6.1.0-56-amd64`. */
  readonly release: string;
  /** Paths of what may be a module. */
  readonly modulePaths: readonly string[];
  /** The unpacked ELF image, in memory of its own. @throws KorralError */
  vmlinux(): Uint8Array;
  /** The text of its configuration, null if it came without. @throws KorralError */
  config(): string | null;
  /** What modules say that are part of the image: `modules.builtin.modinfo`, null if it is missing. @throws KorralError */
  builtinInfo(): Uint8Array | null;
  /** A file as it is stored, whole and checked. @throws KorralError */
  read(path: string): Uint8Array;
  /**
   * What takes long to make of these files, kept for the next time.
   * @param key letters, digits and hyphens; another for another form
   * @param isUsable whether what was kept is what it should be: if not, it is made anew
   */
  derived(key: string, make: () => Uint8Array, isUsable?: (bytes: Uint8Array) => boolean): Uint8Array;
}

/** A module's file. */
export interface ModuleFile {
  /** As the kernel calls it, with underscores. */
  readonly name: string;
  readonly path: string;
}

/** As the kernel calls the module in a file, null if the file is none. */
export function moduleNameOf(path: string): string | null {
  const start = path.lastIndexOf("/") + 1;
  const end = path.indexOf(".ko", start);
  return end > start && SUFFIXES.includes(path.slice(end)) ? moduleKey(path.slice(start, end)) : null;
}

/** A kernel of a distribution with its modules. Names of modules may be given with - or _. */
export class KernelPackage {
  /** In the order of their names. */
  readonly modules: readonly ModuleFile[];
  /** Hears how much of the modules is read, up to 1, while they are indexed: if they are many, that takes seconds. */
  onIndexing: (part: number) => void = () => {};
  readonly #paths = new Map<string, string>();
  readonly #descriptions = new Map<string, ModuleDescription>();
  #index: ModuleIndex | null = null;
  #builtin: BuiltinModules | null = null;

  constructor(readonly files: KernelFiles) {
    for (const path of files.modulePaths) {
      const name = moduleNameOf(path);
      if (name !== null && !this.#paths.has(name)) this.#paths.set(name, path);
    }
    this.modules = [...this.#paths.keys()].sort().map((name) => ({ name, path: this.#paths.get(name) ?? "" }));
  }

  get name(): string {
    return this.files.name;
  }

  /** As `uname -r` says it: `6.1.0-56-amd64`. */
  get release(): string {
    return this.files.release;
  }

  /** The unpacked ELF image: tens of MiB in memory of its own, anew at each call. @throws KorralError */
  vmlinux(): Uint8Array {
    return this.files.vmlinux();
  }

  /** Options as they were configured (`CONFIG_SMP` → `y`), null if the package does not say. @throws KorralError */
  config(): ReadonlyMap<string, string> | null {
    const text = this.files.config();
    if (text === null) return null;
    const options = new Map<string, string>();
    for (const line of text.split("\n")) {
      const option = /^(CONFIG_\w+)=(.*)$/.exec(line);
      if (option !== null) options.set(option[1], option[2].replace(/^"(.*)"$/, "$1"));
    }
    return options;
  }

  /** What would be modules, had they not been linked into the image. @throws KorralError */
  get builtin(): BuiltinModules {
    this.#builtin ??= BuiltinModules.parse(this.files.builtinInfo() ?? new Uint8Array(0));
    return this.#builtin;
  }

  has(name: string): boolean {
    return this.#paths.has(moduleKey(name));
  }

  /** Of the module's file. @throws InputError `module-missing` */
  path(name: string): string {
    const path = this.#paths.get(moduleKey(name));
    if (path !== undefined) return path;
    if (this.builtin.has(name)) {
      throw new InputError("module-builtin", `${moduleKey(name)} is part of the image of ${this.name}, and no module`);
    }
    const similar = similarText(nearNames(moduleKey(name), this.#paths.keys()));
    throw new InputError("module-missing", `${this.name} has no module ${JSON.stringify(name)}${similar}`);
  }

  /** The decompressed ELF file, with its signature if it has one. @throws InputError */
  moduleBytes(name: string): Uint8Array {
    const path = this.path(name);
    return decompress(this.files.read(path), `${path} of ${this.name}`, MODULE_LIMIT);
  }

  /** @throws InputError */
  module(name: string): KernelModule {
    return KernelModule.parse(this.moduleBytes(name), `${this.path(name)} of ${this.name}`);
  }

  /** What the module says about itself. @throws InputError */
  describe(name: string): ModuleDescription {
    const key = moduleKey(name);
    const known = this.#descriptions.get(key) ?? this.#index?.get(key);
    if (known !== undefined) return known;
    const description = moduleDescription(key, this.module(name));
    this.#descriptions.set(key, description);
    return description;
  }

  /**
   * The modules that have to be loaded before this one, each after its own dependencies.
   * @throws InputError `module-missing` if the package lacks one, `module-cycle` if they depend on each other in a circle
   */
  dependencies(name: string): string[] {
    const order = new Set<string>();
    this.#visit(moduleKey(name), [], order);
    order.delete(moduleKey(name));
    return [...order];
  }

  /**
   * What to load for this module to be of use, each after what it depends on: what it would like to have before, its
   * dependencies, itself, and what it would like to have after. Wishes that the package cannot grant are left out, as
   * are those of modules that are only wished for.
   * @throws as `dependencies`
   */
  loadOrder(name: string): string[] {
    const order = new Set<string>();
    const needed = [...this.dependencies(name), moduleKey(name)];
    const wished = (names: readonly string[]) => {
      for (const one of names.flatMap((wish) => this.#granted(wish))) this.#visit(one, [], order);
    };
    for (const one of needed) {
      wished(this.describe(one).softBefore);
      this.#visit(one, [], order);
    }
    for (const one of needed) wished(this.describe(one).softAfter);
    return [...order];
  }

  /** Names of the modules that bind to a device or are for something else, as modprobe would find them. @throws InputError */
  modulesFor(alias: string): readonly string[] {
    return this.index().modulesFor(alias);
  }

  /** Names of the modules that export a symbol: several if they exclude each other. @throws InputError */
  exportersOf(symbol: string): readonly string[] {
    return this.index().exportersOf(symbol);
  }

  /** Of all modules: read through once, and then kept with the files. @throws InputError */
  index(): ModuleIndex {
    this.#index ??= keptAs((key, make, isUsable) => this.files.derived(key, make, isUsable), INDEX_KEY, {
      read: (bytes) =>
        ModuleIndex.parse(
          bytes,
          this.modules.map(({ name }) => name),
        ),
      make: () => {
        const index = ModuleIndex.of(this.#describeAll());
        return [index.serialize(), index];
      },
    });
    return this.#index;
  }

  #visit(name: string, path: readonly string[], order: Set<string>): void {
    if (order.has(name)) return;
    if (path.includes(name)) {
      throw new InputError(
        "module-cycle",
        `modules of ${this.name} depend on each other in a circle: ${[...path.slice(path.indexOf(name)), name].join(", ")}`,
      );
    }
    if (!this.has(name)) {
      const needs = path.length === 0 ? "" : `, which ${path[path.length - 1]} depends on`;
      throw new InputError("module-missing", `${this.name} has no module ${JSON.stringify(name)}${needs}`);
    }
    for (const needed of this.describe(name).depends) this.#visit(moduleKey(needed), [...path, name], order);
    order.add(name);
  }

  /** A wish names a module or an alias; of several modules the first will do. */
  #granted(wish: string): string[] {
    if (this.has(wish)) return [moduleKey(wish)];
    if (this.builtin.has(wish) || this.builtin.isFor(wish)) return [];
    const found = this.modulesFor(wish);
    // The others are there for processors that can do more.
    return [found.find((name) => name.endsWith("_generic")) ?? found[0] ?? []].flat();
  }

  *#describeAll(): Generator<ModuleDescription> {
    const { length } = this.modules;
    for (let i = 0; i < length; i++) {
      if (i > 0 && i % REPORT_EVERY === 0) this.onIndexing(i / length);
      yield this.describe(this.modules[i].name);
    }
    if (length > REPORT_EVERY) this.onIndexing(1);
  }
}
