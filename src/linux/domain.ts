import type { Clock } from "../bus/clock.js";
import type { InterruptController } from "../bus/interrupts.js";
import type { PciBus, PciSlot } from "../bus/pci-bus.js";
import type { Kept } from "../formats/packed-arrays.js";
import type { Bank, PhysicalMemory } from "../memory/physical-memory.js";
import type { PinAuthority, PinBudget } from "../memory/pin-budget.js";
import { Sandbox } from "../translator/sandbox.js";
import { KorralError } from "../util/errors.js";
import { EventSource } from "../util/events.js";
import type { GuestAddress } from "../util/guest-address.js";
import { type Random, seededRandom } from "../util/random.js";
import { AsyncCalls } from "./async-calls.js";
import { boot, bootKey } from "./boot.js";
import { captureBoot, restoreKept } from "./boot-image.js";
import { CallSites } from "./call-sites.js";
import { DmaMappings } from "./dma.js";
import { Execution } from "./execution.js";
import { ForcedThreads } from "./forced-threads.js";
import { Formatter } from "./format.js";
import { Guest } from "./guest.js";
import { Heap } from "./heap.js";
import { isCode, type KernelImage } from "./image.js";
import { Initcalls } from "./initcalls.js";
import { Interrupts } from "./interrupts.js";
import { JumpLabels } from "./jump-labels.js";
import {
  LOW_MEMORY_ALIGNMENT,
  LOW_MEMORY_END,
  PERCPU,
  PERCPU_BYTES,
  STACKS,
  STACKS_END,
  VMALLOC,
  VMALLOC_END,
  VMEMMAP,
  VMEMMAP_END,
} from "./layout.js";
import { LentFrames } from "./lent-frames.js";
import { MessageInterrupts } from "./message-interrupts.js";
import { type LinuxModule, ModuleLoader } from "./modules.js";
import { replaceByOwnCode } from "./own-code.js";
import { PageAllocator } from "./pages.js";
import { PciBridge } from "./pci.js";
import { Percpu } from "./percpu.js";
import { RcuCallbacks } from "./rcu.js";
import { type Script, Scripts } from "./scripts.js";
import { SeamInstaller, SWITCHED } from "./seam.js";
import { SEAM_FILES } from "./seams/index.js";
import type { ConsoleLine, LinuxEvents, Services } from "./services.js";
import { SlabCaches } from "./slab-caches.js";
import { HOST_STACK_TOP, type Thread, Threads } from "./threads.js";
import { Time } from "./time.js";
import { Vmalloc } from "./vmalloc.js";
import { WorkQueues } from "./work.js";

/** Addresses that stand for functions of the host: a page of `ret`. */
const STUBS = 0x8004_0000 | 0;
const STUBS_BYTES = 0x1000;
const RET = 0xc3;
const STUB_SPACING = 16;

/** Machine time that a slice of an entry that takes long stands for, and later ones: what still runs then waits for something. */
const SLICE_TIME = 1_000_000;
const LATE_SLICE_TIME = 200_000_000;
const LATE = 8;

/** What is kept of a kernel whose initialisation cannot be. */
const NOT_KEPT = new Uint8Array(0);
/** So many calls of a function are carried out step by step before it is translated: most code of a start runs once. */
const WARM_UP = 32;

/** What a domain needs of its machine. */
export interface LinuxHost {
  readonly memory: PhysicalMemory;
  readonly budget: PinBudget;
  readonly clock: Clock;
  readonly interrupts: InterruptController;
  readonly pci: PciBus;
  readonly random: Random;
}

export interface LinuxOptions {
  /** For messages, and for the pin authority. */
  readonly name?: string;
  readonly checks?: boolean;
  /** Distinct frames that the domain may pin. */
  readonly pinBound?: number;
  /** Count how often each seam is called. */
  readonly counting?: boolean;
  /** What an earlier domain with the same kernel and driver kept of its translations. */
  readonly translations?: Uint8Array | null;
}

/** The domain is dead: what it did, and where. */
export class DomainDiedError extends KorralError {}

/**
 * A kernel image as an untrusted library, with a driver on top of it: memory, time, threads, interrupts and DMA are the
 * domain's own, all else is the kernel's own code.
 */
export class LinuxDomain {
  readonly services: Services;
  readonly modules: ModuleLoader;
  readonly sandbox: Sandbox;
  /** The domain's memory among the machine's. */
  readonly bank: Bank;
  readonly #scripts: Scripts;
  /** Of whatever waits for the domain. */
  readonly #failures = new Set<(error: unknown) => void>();
  readonly #authority: PinAuthority;
  #stubs = 0;
  #bootInstructions = 0;
  readonly #sites: CallSites;
  #random: Random;
  readonly #hostRandom: Random;
  readonly #memory: PhysicalMemory;
  #hasEnded = false;
  #pumping = false;
  /** What is done whenever everything that could go on has. */
  readonly idleWork = new Set<() => void>();
  /** Everything that could go on has: whoever has more to do may start it. */
  onQuiet: () => void = () => {};
  /** Has the machine run what is ready, soon. */
  wake(): void {
    this.#wake();
  }

  /** The domain died: what it died of. */
  onDeath: (error: unknown) => void = () => {};
  #dead: unknown = null;

  constructor(
    host: LinuxHost,
    readonly image: KernelImage,
    options: LinuxOptions = {},
  ) {
    this.#memory = host.memory;
    this.#hostRandom = host.random;
    this.#random = host.random;
    const { name = "linux", checks = true, pinBound, counting = false } = options;
    const sandbox = Sandbox.create({ space: "high", checks, warmUp: WARM_UP });
    this.sandbox = sandbox;
    if (options.translations != null) sandbox.offerTranslations(options.translations);
    const guest = new Guest(sandbox, image);
    this.#mapImage();
    this.#mapRegions();
    this.bank = host.memory.adoptBank(sandbox.memory.memory, sandbox.memory.bytes.length / 2);
    const authority = host.budget.authority(name, pinBound);
    this.#authority = authority;
    try {
      const start = Math.ceil(image.end / LOW_MEMORY_ALIGNMENT) * LOW_MEMORY_ALIGNMENT;
      let pagesBottom = (): GuestAddress => LOW_MEMORY_END;
      let reveal = (_address: GuestAddress, _bytes: number): void => {};
      const heap = new Heap(
        guest,
        start as GuestAddress,
        () => pagesBottom(),
        (a, b) => reveal(a, b),
      );
      const pages = new PageAllocator(guest, LOW_MEMORY_END, () => heap.top);
      pagesBottom = () => pages.bottom;
      reveal = (address, bytes) => pages.revealSlab(address, bytes);
      const percpu = new Percpu(guest);
      const execution = new Execution(guest, HOST_STACK_TOP);
      const time = new Time(guest, host.clock, () => this.pump());
      const exitStub = this.#stub();
      const threads = new Threads(guest, execution, heap, percpu, exitStub, () => time.now());
      const work = new WorkQueues(guest, heap, threads, time);
      const rcu = new RcuCallbacks();
      const interrupts = new Interrupts(guest, execution, threads, percpu);
      const pci = new PciBridge(guest, execution, heap, interrupts, host.pci);
      const messages = new MessageInterrupts(guest, host.interrupts, interrupts, pci);
      this.#sites = new CallSites(guest, (address) => this.modules.nameAt(address));
      const site = (): string => this.#sites.ofSeam();
      const lent = new LentFrames(guest, host.memory);
      const dma = new DmaMappings(guest, this.bank, authority, lent, site);
      const formatter = new Formatter(guest, heap, execution);
      const seams = new SeamInstaller(guest, counting, replaceByOwnCode(guest));
      this.services = {
        guest,
        events: new EventSource<LinuxEvents>(),
        execution,
        heap,
        caches: new SlabCaches(guest, heap, execution),
        pages,
        vmalloc: new Vmalloc(guest, pages),
        percpu,
        threads,
        time,
        work,
        rcu,
        async: new AsyncCalls(threads),
        interrupts,
        messages,
        dma,
        lent,
        receivers: new Map(),
        pci,
        random: () => this.#random(),
        seams,
        jumpLabels: new JumpLabels(guest),
        initcalls: new Initcalls(guest),
        site,
        format: (format, words) => formatter.words(format, words),
        formatList: (format, list) => formatter.list(format, list),
      };
      this.modules = new ModuleLoader(this.services);
      sandbox.system.ports = {
        ...sandbox.system.ports,
        in: (port, bytes) => pci.portRead(port, bytes),
        out: (port, bytes, value) => pci.portWrite(port, bytes, value),
      };
      seams.at(exitStub, "thread exit", (call) => {
        threads.exited(call.cpu.general32(0));
        return SWITCHED;
      });
      this.#scripts = new Scripts(guest, threads, (stub, handle) => this.function(stub, handle));
      const makeStub = this.function.bind(this);
      interrupts.forced = ForcedThreads.of(guest, { interrupts, threads, time, rcu, scripts: this.#scripts, makeStub });
      for (const file of Object.values(SEAM_FILES)) seams.install(file(this.services));
      for (const section of image.sections) {
        execution.exceptions.addSection(section.name, section.address, section.size);
      }
      const table = image.find("__start___jump_table");
      const tableEnd = image.find("__stop___jump_table");
      if (table !== null && tableEnd !== null) this.services.jumpLabels.add(table, tableEnd - table);
      work.onWork = rcu.onCallback = () => this.#wake();
      interrupts.onEntry = () => time.show();
      interrupts.onExit = () => this.pump();
      interrupts.onError = (error) => this.#die(error);
    } catch (error) {
      // The kernel lacks something that a domain needs.
      authority.end();
      host.memory.releaseBank(this.bank);
      throw error;
    }
  }

  /**
   * Has the kernel initialise itself, or takes it from where it is kept.
   * @param kept gives what was kept under a key, or keeps what it makes
   * @throws GuestFailure
   */
  boot(kept: Kept | null = null): void {
    // What is kept must not depend on the machine's own randomness.
    this.#random = seededRandom(0);
    if (kept === null) boot(this.services);
    else this.#bootFrom(kept);
    this.#random = this.#hostRandom;
    this.#bootInstructions = this.sandbox.runtime.executed;
    const { execution, time } = this.services;
    execution.onSlice = (slices) => time.pass(slices < LATE ? SLICE_TIME : LATE_SLICE_TIME);
  }

  /** Instructions carried out since the kernel has initialised itself. */
  get instructions(): number {
    return this.sandbox.runtime.executed - this.#bootInstructions;
  }

  #bootFrom(kept: Kept): void {
    const { services } = this;
    const console = restoreKept(services, kept, bootKey(), () => this.#bootAndCapture() ?? NOT_KEPT);
    if (console === null) boot(services);
    else for (const line of console) services.events.emit("console", line);
  }

  #bootAndCapture(): Uint8Array | null {
    const { events } = this.services;
    const lines: ConsoleLine[] = [];
    const forget = events.on("console", (line) => lines.push(line));
    boot(this.services);
    forget();
    return captureBoot(this.services, lines);
  }

  /** Puts slots of the machine's bus onto the domain's, and has the kernel find them. */
  scanPci(slots: readonly PciSlot[]): void {
    const { pci, seams, guest } = this.services;
    for (const slot of slots) pci.add(slot);
    const read = this.#stub();
    const write = this.#stub();
    seams.at(read, "pci read", (c) => {
      guest.write(c.pointer(4), 4, pci.configRead(c.int(1), c.int(2), c.int(3)));
      return 0;
    });
    seams.at(write, "pci write", (c) => {
      pci.configWrite(c.int(1), c.int(2), c.int(3), c.unsigned(4));
      return 0;
    });
    pci.scan(
      read,
      write,
      this.function("dma sync", () => undefined),
    );
  }

  /** A function of the host that the kernel can call. */
  function(name: string, handle: Parameters<SeamInstaller["at"]>[2]): GuestAddress {
    const address = this.#stub();
    this.services.seams.at(address, name, handle);
    return address;
  }

  /** Runs a script in a thread of the kernel; the machine has to run meanwhile. */
  script<T>(name: string, steps: Script<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#dead !== null) {
        reject(this.#dead);
        return;
      }
      this.#failures.add(reject);
      this.#scripts.start(name, steps, (result: T) => {
        this.#failures.delete(reject);
        resolve(result);
      });
      this.#wake();
    });
  }

  /** Runs a function of the kernel in a thread, which may block; the machine has to run meanwhile. @returns RAX's low half, signed */
  run(name: string, fn: GuestAddress | string, ...args: readonly number[]): Promise<number> {
    const { guest, threads } = this.services;
    const address = typeof fn === "string" ? guest.symbol(fn) : fn;
    const thread = threads.spawn(name, address, args);
    return this.#finished(thread);
  }

  #finished(thread: Thread): Promise<number> {
    return new Promise<number>((resolve, reject) => {
      this.#failures.add(reject);
      thread.onExit = () => {
        this.#failures.delete(reject);
        resolve(thread.exit ?? 0);
      };
      this.#wake();
    });
  }

  /** Loads a module and runs its initialisation. @returns what that returned */
  async load(
    bytes: Uint8Array,
    fileName: string,
    parameters: Readonly<Record<string, string>> = {},
  ): Promise<{ readonly module: LinuxModule; readonly result: number }> {
    const module = this.modules.load(bytes, fileName, parameters);
    this.modules.announce(module);
    this.modules.setParameters(module);
    const init = this.modules.symbol(module, "init_module");
    const result = init === null ? 0 : await this.run(module.name, init);
    if (result === 0) this.modules.setState(module, "live");
    return { module, result };
  }

  /** Initialises a driver that is part of the image. @returns whether there is such a one */
  async initialise(module: string): Promise<boolean> {
    const functions = this.services.initcalls.functionsOf(module);
    for (const fn of functions) await this.run(module, fn);
    return functions.length > 0;
  }

  /** Runs a module's exit function and takes it out of memory. */
  async unload(module: LinuxModule): Promise<void> {
    const exit = this.modules.symbol(module, "cleanup_module");
    this.modules.setState(module, "going");
    if (exit !== null) await this.run(module.name, exit);
    this.settle();
    this.modules.remove(module);
    this.#sites.forget();
    this.services.pci.forgetDevices();
  }

  get dead(): unknown {
    return this.#dead;
  }

  /** Everything that can go on without time passing: threads, work, timers, RCU, softirqs. */
  settle(): void {
    this.pump();
  }

  /** Runs what is ready. */
  pump(): void {
    if (this.#pumping || this.services.execution.busy || this.#dead !== null) return;
    this.#pumping = true;
    try {
      this.services.time.show();
      while (this.#step());
    } catch (error) {
      this.#die(error);
    } finally {
      this.#pumping = false;
      this.#arm();
    }
    for (const work of this.idleWork) this.guarded(work);
    this.onQuiet();
  }

  /** One thing that is ready. @returns false if nothing is */
  #step(): boolean {
    const { interrupts, time, rcu, work, threads, execution } = this.services;
    if (interrupts.forced !== null) {
      interrupts.forced.prepare();
      work.dispatch();
      return threads.runNext() && !execution.busy;
    }
    interrupts.runSoftirqs();
    const due = time.takeDue();
    if (due !== null) {
      const answer = interrupts.callInSoftirq(due.function, due.timer);
      if (due.kind === "hrtimer") time.restartHigh(due.timer, answer);
      return true;
    }
    const callback = rcu.take();
    if (callback !== null) {
      interrupts.callInSoftirq(callback.function, callback.head);
      return true;
    }
    work.dispatch();
    return threads.runNext() && !execution.busy;
  }

  #arm(): void {
    if (this.#dead !== null) return;
    const { time, work, threads } = this.services;
    time.arm(Math.min(work.nextDelayed, threads.nextWake));
  }

  #wake(): void {
    if (this.#pumping || this.#dead !== null) return;
    this.services.time.arm(this.services.time.now());
  }

  /** Takes everything away from the domain, its memory from the machine: its devices must be quiesced already. */
  end(why = "the domain has ended"): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#dead ??= new DomainDiedError("domain-ended", why, 1);
    const { pci, dma, lent, time, interrupts, messages } = this.services;
    messages.releaseAll();
    interrupts.removeAll();
    for (const { slot } of pci.functions) dma.releaseAll(slot.dma);
    lent.endAll();
    time.stopAll();
    this.#authority.end();
    this.#memory.releaseBank(this.bank);
    this.#fail(this.#dead);
    this.services.events.emit("ended", { why });
  }

  #fail(error: unknown): void {
    const waiting = [...this.#failures];
    this.#failures.clear();
    for (const reject of waiting) reject(error);
  }

  #die(error: unknown): void {
    if (this.#dead !== null) return;
    this.#dead = error;
    this.#fail(error);
    this.onDeath(error);
  }

  /** Runs kernel code for the host; what it does wrong ends the domain. @returns null if it did, or is dead */
  guarded<T>(work: () => T): T | null {
    if (this.#dead !== null) return null;
    try {
      return work();
    } catch (error) {
      this.#die(error);
      return null;
    }
  }

  /** The nearest function of a module among the callers, with its module; else the kernel's. */
  site(): string {
    return this.#sites.ofAll();
  }

  #stub(): GuestAddress {
    const address = (STUBS + STUB_SPACING * this.#stubs++) as GuestAddress;
    return address;
  }

  #mapImage(): void {
    const { memory, code } = this.sandbox;
    for (const section of this.image.sections) {
      const { name, address, size, data } = section;
      const execute = isCode(section);
      // Code and constants that are initialised at run time live side by side: what is no code may be written while it boots.
      memory.map(address, size, { read: true, write: !execute, execute }, name);
      memory.bytes.set(data, memory.offset(address));
    }
    code.addLibrary(this.image);
  }

  #mapRegions(): void {
    const { memory } = this.sandbox;
    const region = (start: number, end: number, name: string): void => {
      memory.reserve(start as GuestAddress, end - start, name);
    };
    memory.map(STUBS as GuestAddress, STUBS_BYTES, { read: true, write: false, execute: true }, "seams");
    memory.bytes.fill(RET, memory.offset(STUBS as GuestAddress), memory.offset(STUBS as GuestAddress) + STUBS_BYTES);
    region(PERCPU, PERCPU + PERCPU_BYTES, "per-CPU memory");
    region(STACKS, STACKS_END, "stacks");
    region(Math.ceil(this.image.end / LOW_MEMORY_ALIGNMENT) * LOW_MEMORY_ALIGNMENT, LOW_MEMORY_END, "low memory");
    region(VMEMMAP, VMEMMAP_END, "struct pages");
    region(VMALLOC, VMALLOC_END, "vmalloc memory");
  }
}
