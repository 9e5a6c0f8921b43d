import { KernelModule } from "../formats/kernel-module.js";
import type { LoadedObject, LoadedSegment } from "../translator/loaded-object.js";
import { UnsupportedError, UsageError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { Execution } from "./execution.js";
import { Guest } from "./guest.js";
import type { Heap } from "./heap.js";
import type { KernelExport } from "./image.js";
import type { JumpLabels } from "./jump-labels.js";
import { checkImports, checkParameters, nameOf } from "./module-checks.js";
import { type PlacedBytes, patch } from "./patching.js";
import type { Percpu } from "./percpu.js";
import type { Services } from "./services.js";

const PARAMETERS = "__param";
const JUMP_TABLE = "__jump_table";
/** Variables of which each processor has a copy: the section is what the copies begin as. */
const PERCPU_SECTION = ".data..percpu";
/** Pointers to the sleepable RCU domains that a module defines. */
const SRCU_SECTION = "___srcu_struct_ptrs";
const MODULE_STATE_LIVE = 0;
const MODULE_STATE_COMING = 1;
const MODULE_STATE_GOING = 2;
/** KERNEL_PARAM_OPS_FL_NOARG: a parameter that need only be named. */
const MAY_BE_BARE = 1;

/** A module in the domain. */
export interface LinuxModule {
  readonly name: string;
  readonly file: KernelModule;
  readonly object: LoadedObject;
  /** Its `struct module`. */
  readonly descriptor: GuestAddress;
  readonly exports: ReadonlyMap<string, KernelExport>;
  readonly dependencies: readonly LinuxModule[];
  /** Where its per-CPU variables are, from the processor's base; null if it has none. */
  readonly percpu: number | null;
  /** Memory of parameters that are texts. */
  readonly parameterMemory: GuestAddress[];
  readonly parameters: Readonly<Record<string, string>>;
}

/** Loads modules: resolves what they import by what the kernel and other modules offer, and checks the checksums. */
export class ModuleLoader {
  readonly loaded = new Map<string, LinuxModule>();

  private readonly guest: Guest;
  private readonly heap: Heap;
  private readonly execution: Execution;
  private readonly jumpLabels: JumpLabels;
  private readonly percpu: Percpu;

  constructor(services: Services) {
    this.guest = services.guest;
    this.heap = services.heap;
    this.execution = services.execution;
    this.jumpLabels = services.jumpLabels;
    this.percpu = services.percpu;
  }

  /**
   * Puts a module into memory; nothing of it runs yet.
   * @param bytes decompressed
   * @throws ModuleMismatchError, UnsupportedError, InputError, UsageError
   */
  load(bytes: Uint8Array, fileName: string, parameters: Readonly<Record<string, string>> = {}): LinuxModule {
    const file = KernelModule.parse(bytes, fileName);
    const name = nameOf(file, fileName);
    if (this.loaded.has(name)) throw new UsageError(`${name} is loaded already`, "module-loaded");
    checkParameters(file, name, parameters);
    const dependencies = file.depends.flatMap((each) => this.loaded.get(each.replaceAll("-", "_")) ?? []);
    const isLoaded = (other: string): boolean => this.loaded.has(other);
    checkImports(file, name, this.guest.image.name, (symbol) => this.#export(symbol), isLoaded);
    const { sandbox } = this.guest;
    const elf = file.elf.bytes;
    let percpu: number | null = null;
    const object = sandbox.load(
      elf,
      name,
      (symbol) => this.#export(symbol)?.address ?? null,
      (section, size, alignment) => {
        if (section !== PERCPU_SECTION) return null;
        percpu = this.percpu.allocate(size, alignment);
        return percpu as GuestAddress;
      },
    );
    const template = object.segments.find((one) => one.name === PERCPU_SECTION);
    if (percpu !== null && template !== undefined) {
      this.guest.setBytes((this.percpu.base + percpu) as GuestAddress, template.bytes);
    }
    const segment = object.segments.find((one) => one.name === ".gnu.linkonce.this_module");
    if (segment === undefined) {
      throw new UnsupportedError("no-module", `${fileName} has no struct module: it is no complete module`);
    }
    this.#patch(object);
    const module: LinuxModule = {
      name,
      file,
      object,
      descriptor: segment.address,
      exports: this.#exportsOf(file, object),
      dependencies,
      percpu,
      parameterMemory: [],
      parameters,
    };
    for (const { name: section, address, size } of object.segments) {
      this.execution.exceptions.addSection(section, address, size);
      if (section !== JUMP_TABLE) continue;
      this.jumpLabels.add(address, size);
      this.jumpLabels.settle(address, size);
    }
    this.loaded.set(name, module);
    return module;
  }

  /** Makes the kernel's bookkeeping of it: reference, state, its folder in sysfs. Needs no thread. */
  announce(module: LinuxModule): void {
    const { guest, execution } = this;
    const { descriptor } = module;
    guest.field("module.state").set(descriptor, MODULE_STATE_COMING);
    guest.field("module.refcnt.counter").set(descriptor, 1);
    const kobject = guest.offset("module.mkobj") + guest.offset("module_kobject.kobj");
    guest.setPointer(
      (descriptor + guest.offset("module.mkobj") + guest.offset("module_kobject.mod")) as GuestAddress,
      descriptor,
    );
    const at = (descriptor + kobject) as GuestAddress;
    guest.field("kobject.kset").set(at, guest.pointer(guest.symbol("module_kset")));
    for (const list of ["module.source_list", "module.target_list", "module.list"]) {
      const head = (descriptor + guest.offset(list)) as GuestAddress;
      guest.setPointer(head, head);
      guest.setPointer((head + 8) as GuestAddress, head);
    }
    this.#tellSrcu(module, MODULE_STATE_COMING);
    const format = this.#text("%s");
    const name = this.#text(module.name);
    execution.call("kobject_init_and_add", at, guest.symbol("module_ktype"), 0, format, name);
    this.heap.free(format);
    this.heap.free(name);
  }

  /**
   * Gives a module the parameters that it is to have, by its own functions for them.
   * @throws UsageError for values that it refuses
   */
  setParameters(module: LinuxModule): void {
    const { guest, execution } = this;
    const table = module.object.segments.find(({ name }) => name === PARAMETERS);
    const bytes = guest.sizeOf("kernel_param");
    for (const [name, value] of Object.entries(module.parameters)) {
      let result = -1;
      for (let at = 0; table !== undefined && at + bytes <= table.size; at += bytes) {
        const entry = (table.address + at) as GuestAddress;
        if (guest.text(guest.field("kernel_param.name").pointer(entry)) !== name) continue;
        const ops = guest.field("kernel_param.ops").pointer(entry);
        const set = guest.field("kernel_param_ops.set").pointer(ops);
        const isBare = value === "" && (guest.field("kernel_param_ops.flags").get(ops) & MAY_BE_BARE) !== 0;
        // Some parameters go on pointing to their text.
        const text = isBare ? (0 as GuestAddress) : this.#text(value);
        if (text !== 0) module.parameterMemory.push(text);
        execution.call("kernel_param_lock", module.descriptor);
        result = execution.call(set, text, entry) | 0;
        execution.call("kernel_param_unlock", module.descriptor);
      }
      if (result >= 0) continue;
      throw new UsageError(`${module.name} does not take ${name}=${value} (error ${-result})`, "module-parameter");
    }
  }

  setState(module: LinuxModule, state: "live" | "going"): void {
    const value = state === "live" ? MODULE_STATE_LIVE : MODULE_STATE_GOING;
    this.guest.field("module.state").set(module.descriptor, value);
  }

  /** Takes a module out of memory; nothing of it may run any more. */
  remove(module: LinuxModule): void {
    const { guest, execution } = this;
    this.#tellSrcu(module, MODULE_STATE_GOING);
    const kobject = guest.offset("module.mkobj") + guest.offset("module_kobject.kobj");
    // The folder that drivers of the module are listed in.
    execution.call("kobject_put", guest.field("module.mkobj.drivers_dir").pointer(module.descriptor));
    execution.call("kobject_del", module.descriptor + kobject);
    execution.call("kobject_put", module.descriptor + kobject);
    for (const address of module.parameterMemory) this.heap.free(address);
    if (module.percpu !== null) this.percpu.free(module.percpu);
    for (const { address, size } of module.object.segments) {
      if (size > 0) guest.sandbox.unmap(address, size);
      execution.exceptions.removeSections(address, (address + size) as GuestAddress);
      this.jumpLabels.remove(address, (address + size) as GuestAddress);
    }
    this.loaded.delete(module.name);
    guest.sandbox.objects = guest.sandbox.objects.filter((one) => one !== module.object);
  }

  /** Address of a function or variable of a module. */
  symbol(module: LinuxModule, name: string): GuestAddress | null {
    const index = module.file.symbols.find(name);
    if (index < 0 || module.file.symbols.isUndefined(index)) return null;
    return module.object.symbols.find(name).address;
  }

  /** What the kernel does with code that it loads. */
  #patch(object: LoadedObject): void {
    const { guest } = this;
    const placed = ({ address, size }: LoadedSegment): PlacedBytes => ({ address, bytes: guest.bytes(address, size) });
    const table = (name: string): PlacedBytes | null => {
      const segment = object.segments.find((one) => one.name === name);
      return segment === undefined || segment.size === 0 ? null : placed(segment);
    };
    const tables = {
      indirect: table(".retpoline_sites"),
      returns: table(".return_sites"),
      traced: table("__mcount_loc"),
    };
    patch(object.segments.filter(({ execute }) => execute).map(placed), tables, guest.image.thunks);
  }

  /** Sleepable RCU domains get per-CPU memory while their module is there. */
  #tellSrcu({ descriptor, object }: LinuxModule, state: number): void {
    const { guest, execution } = this;
    const pointers = object.segments.find((one) => one.name === SRCU_SECTION);
    const notify = guest.find("srcu_module_notify");
    if (pointers === undefined || notify === null) return;
    guest.field("module.num_srcu_structs").set(descriptor, pointers.size / 8);
    guest.field("module.srcu_struct_ptrs").set(descriptor, pointers.address);
    execution.call(notify, 0, state, descriptor);
  }

  /** The name of the module whose memory holds an address. */
  nameAt(address: GuestAddress): string | null {
    for (const { name, object } of this.loaded.values()) {
      if (object.segments.some((one) => one.address <= address && address < one.address + one.size)) return name;
    }
    return null;
  }

  /** The module that has a function of this name. */
  nameOfFunction(name: string): string | null {
    for (const module of this.loaded.values()) {
      if (module.object.functions.some((fn) => fn.name === name)) return module.name;
    }
    return null;
  }

  #export(symbol: string): KernelExport | null {
    const own = this.guest.image.exports.get(symbol);
    if (own !== undefined) return own;
    for (const { exports } of this.loaded.values()) {
      const found = exports.get(symbol);
      if (found !== undefined) return found;
    }
    return null;
  }

  #exportsOf(file: KernelModule, object: LoadedObject): Map<string, KernelExport> {
    const exports = new Map<string, KernelExport>();
    for (const { name, crc, gplOnly } of file.exports) {
      exports.set(name, { name, crc, gplOnly, address: object.symbols.find(name).address });
    }
    return exports;
  }

  #text(text: string): GuestAddress {
    const bytes = Guest.encode(text);
    const address = this.heap.allocate(bytes.length);
    this.guest.setBytes(address, bytes);
    return address;
  }
}
