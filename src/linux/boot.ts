import { crc32 } from "../formats/crc.js";
import { Shadow } from "../translator/shadow.js";
import type { GuestAddress } from "../util/guest-address.js";
import { Guest } from "./guest.js";
import { PERCPU, PHYSICAL_BASE, VMALLOC, VMEMMAP } from "./layout.js";
import type { Services } from "./services.js";

/** `enum system_states`: running. */
const SYSTEM_RUNNING = "SYSTEM_RUNNING";
/** To be changed with what seams and services leave in memory, or how it is kept. */
const BOOT_FORMAT = 11;
const PREEMPT_ENABLED = 0x8000_0000;
/** Variables of the processor that point to those it shares something with. */
const CPU_MAPS = ["cpu_sibling_map", "cpu_core_map", "cpu_die_map", "cpu_llc_shared_map", "cpu_l2c_shared_map"];
const CPU_MASKS = ["__cpu_possible_mask", "__cpu_present_mask", "__cpu_online_mask", "__cpu_active_mask"];
/** What the kernel says of physical addresses must be more than any that the domain has, lent frames included. */
const PHYSICAL_BITS = 46;
const FRAMES = 1 << 20;
const SECTION_FRAMES = 1 << 15;
/** struct mem_section flags: present, has a map, online, early. */
const SECTION_FLAGS = 0xf;
/** Of memory by groups of processes, as with `cgroup_disable=memory`: there are no groups. */
const MEMORY_ACCOUNTING = "memory_cgrp_subsys_enabled_key";
/** Namespaces and the like of a user. */
const MOST_COUNTED = 10_000;
const CANARY = 0x1122_3344_5566_7700n;
/** Where code finds it: a variable, or a place in the processor's memory. */
const CANARY_NAME = "__stack_chk_guard";
const CANARY_OFFSET = 0x28;

const WORK_QUEUES = [
  "system_wq",
  "system_highpri_wq",
  "system_long_wq",
  "system_unbound_wq",
  "system_freezable_wq",
  "system_power_efficient_wq",
  "system_freezable_power_efficient_wq",
  "system_bh_wq",
  "system_bh_highpri_wq",
  "async_wq",
];

/** What the kernel calls by name when it starts, in an order that works; what it has not is left out. */
const FIRST = [
  "cgroup_init_early",
  "pcibios_set_cache_line_size",
  "wait_bit_init",
  "radix_tree_init",
  "maple_tree_init",
  "cred_init",
  "key_init",
  "vfs_caches_init_early",
  "vfs_caches_init",
  "buffer_init",
  "devices_init",
  "buses_init",
  "classes_init",
  "faux_bus_init",
  "auxiliary_bus_init",
  "platform_bus_init",
  "softirq_init",
  "skb_init",
  "pcibus_class_init",
  "pci_driver_init",
  "net_dev_init",
  "net_ns_init",
  "cpuset_init",
  "mem_cgroup_init",
  "cgroup_init",
  "con_init",
] as const;

/** Until 6.14 these came later, with what else the table of initialisation calls has of their parts. */
const LATER_BEFORE: ReadonlySet<string> = new Set(["mem_cgroup_init"]);

/** Parts of the image that drivers build on, as the modules they would be: all that the kernel calls of them when it starts. */
const SUBSYSTEMS = [
  "aes_generic",
  "backing_dev",
  "backlight",
  "bio",
  "blk_cgroup",
  "blk_ioc",
  "blk_iocost",
  "blk_mq",
  "blk_throttle",
  "bsg",
  "cbc",
  "cn",
  "crypto_null",
  "cryptomgr",
  "dax",
  "deflate",
  "devfreq",
  "dma_buf",
  "dmaengine",
  "drm_mipi_dsi",
  "edac_core",
  "efi",
  "fb",
  "firmware_class",
  "flow_dissector",
  "genetlink",
  "genhd",
  "gpiolib",
  "hmac",
  "hwmon",
  "i2c_core",
  "input_core",
  "irq_poll",
  "isa",
  "ksysfs",
  "led_class",
  "md5",
  "misc",
  "nvmem_core",
  "offload",
  "phy_core",
  "pnp",
  "power_supply",
  "pps_core",
  "ptp",
  "regmap",
  "rng_core",
  "rtc_core",
  "serdev",
  "serio",
  "sg_pool",
  "sha1_generic",
  "sha256_generic",
  "spi",
  "swnode",
  "thermal_sys",
  "tpm",
  "tty_io",
  "virtio",
] as const;

/** Tables of places in the code that have a constant for an operand: an address, or the number of bits of a shift. */
const CONSTANTS = /^__start_runtime_((?:ptr|shift)_\w+)$/;

/** What a kernel that was kept has to agree in: a change of what is done here, or of where things lie, makes another. */
export function bootKey(): string {
  const text = JSON.stringify([BOOT_FORMAT, FIRST, SUBSYSTEMS, WORK_QUEUES, PERCPU, VMEMMAP, VMALLOC]);
  return `boot-${crc32(new TextEncoder().encode(text)).toString(16)}`;
}

/** Makes a processor and memory as the kernel expects them, and has it initialise itself. */
export function boot(services: Services): void {
  layOut(services);
  const { execution, guest, heap, time } = services;
  time.show();
  time.hz = execution.call("__msecs_to_jiffies", 1000) || time.hz;
  time.show();
  for (const name of WORK_QUEUES) {
    const at = guest.find(name);
    if (at !== null) guest.setPointer(at, services.work.create(name, 0, 0));
  }
  const accounting = guest.find(MEMORY_ACCOUNTING);
  if (accounting !== null) execution.call("static_key_disable", accounting);
  allowMounts(guest);
  writeConstants(services, true);
  for (const name of FIRST) {
    const isLater = LATER_BEFORE.has(name) && services.initcalls.hasFunction(name);
    if (guest.find(name) !== null && !isLater) execution.call(name);
  }
  writeConstants(services, false);
  for (const initcall of services.initcalls.functionsOf(...SUBSYSTEMS)) execution.call(initcall);
  const text = Guest.encode("module");
  const name = heap.allocate(text.length);
  guest.setBytes(name, text);
  guest.setPointer(guest.symbol("module_kset"), execution.call("kset_create_and_add", name, 0, 0));
  heap.free(name);
}

/** The first mounts refer to the network's namespace before that is initialised, and are counted against limits. */
function allowMounts(guest: Guest): void {
  guest.field("net.ns.count.refs.counter", "net.ns.__ns_ref.refs.counter").set(guest.symbol("init_net"), 1);
  const limits = guest.symbol("init_user_ns") + guest.offset("user_namespace.ucount_max");
  for (let i = 0; i < Number(guest.image.types.constant("UCOUNT_COUNTS")); i++) {
    guest.write((limits + 8 * i) as GuestAddress, 8, MOST_COUNTED);
  }
}

/**
 * Operands that kernels since 6.11 write into their own code when they start. The translator is told when they are done.
 * @param open whether they may be written
 */
function writeConstants({ guest }: Services, open: boolean): void {
  const { sandbox, memory, image } = guest;
  const { symbols } = image;
  for (let index = 0; index < symbols.count; index++) {
    const match = CONSTANTS.exec(symbols.name(index));
    if (match === null) continue;
    const end = guest.symbol(`__stop_runtime_${match[1]}`);
    const bytes = match[1].startsWith("shift") ? 1 : 8;
    for (let at = symbols.address(index); at < end; at = (at + 4) as GuestAddress) {
      const site = (at + (guest.read(at, 4) | 0)) as GuestAddress;
      if (open) memory.setShadow(site, bytes, Shadow.accessible);
      else {
        memory.setShadow(site, bytes, Shadow.readOnly);
        sandbox.write(site, guest.bytes(site, bytes).slice());
      }
    }
  }
}

function layOut({ guest, percpu, heap, pages, threads }: Services): void {
  const { cpu } = guest.sandbox;
  const set = (name: string, size: 4 | 8, value: number): void => {
    const at = guest.find(name);
    if (at !== null) guest.write(at, size, value);
  };
  const setLocal = (name: string, size: 4 | 8, value: number): void => {
    if (percpu.has(name)) guest.write(percpu.address(name), size, value);
  };
  cpu.gsBase = BigInt.asUintN(64, BigInt(percpu.base));
  setLocal("this_cpu_off", 8, percpu.base);
  set("__per_cpu_offset", 8, percpu.base);
  set("pcpu_base_addr", 8, PERCPU);
  const canary = percpu.has(CANARY_NAME) ? percpu.address(CANARY_NAME) : ((PERCPU + CANARY_OFFSET) as GuestAddress);
  guest.writeBig(canary, CANARY);
  const interruptStack = pages.addressOf(pages.allocate(2, false));
  const stackTop = (interruptStack ?? 0) + 4 * 4096 - 8;
  if (percpu.has("pcpu_hot")) {
    const hot = percpu.address("pcpu_hot");
    guest.field("pcpu_hot.current_task").set(hot, guest.symbol("init_task"));
    guest.field("pcpu_hot.hardirq_stack_ptr").set(hot, stackTop);
  } else {
    setLocal("current_task", 8, guest.symbol("init_task"));
    setLocal("hardirq_stack_ptr", 8, stackTop);
  }
  threads.preemptCount = PREEMPT_ENABLED;
  set("page_offset_base", 8, PHYSICAL_BASE);
  set("vmemmap_base", 8, VMEMMAP);
  set("vmalloc_base", 8, VMALLOC);
  set("phys_base", 8, 0);
  set("nr_cpu_ids", 4, 1);
  for (const mask of CPU_MASKS) set(mask, 8, 1);
  set("__num_online_cpus", 4, 1);
  // There is no firmware.
  set("acpi_disabled", 4, 1);
  set("acpi_pci_disabled", 4, 1);
  set("node_to_cpumask_map", 8, guest.symbol("__cpu_online_mask"));
  set("system_state", 4, Number(guest.image.types.constant(SYSTEM_RUNNING)));
  const keys = guest.find("static_key_initialized");
  if (keys !== null) guest.write(keys, 1, 1);
  set("max_pfn", 8, FRAMES);
  set("max_low_pfn", 8, FRAMES);
  set("high_memory", 8, PHYSICAL_BASE + 0x4000_0000);
  describeProcessor(guest);
  const nodes = new Uint8Array(guest.sizeOf("nodemask_t"));
  nodes[0] = 1;
  guest.setBytes(guest.symbol("node_states"), nodes);
  set("nr_node_ids", 4, 1);
  set("node_data", 8, describeNode(guest, heap.allocate(guest.sizeOf("pglist_data"))));
  set("conswitchp", 8, guest.symbol("dummy_con"));
  // Only where masks are too long for variables do these point to them.
  if (guest.find("alloc_cpumask_var_node") !== null) {
    for (const map of CPU_MAPS) setLocal(map, 8, guest.symbol("__cpu_online_mask"));
  }
  describeMemory(guest, heap.allocate(4096), heap.allocate(32 * 64 * 2));
  pages.reveal(guest.image.sections[0].address, guest.image.end - guest.image.sections[0].address);
  guest.memory.setShadow(PERCPU, guest.image.percpu.size, Shadow.accessible);
}

function describeProcessor(guest: Guest): void {
  const cpu = guest.symbol("boot_cpu_data");
  guest.field("cpuinfo_x86.x86_phys_bits").set(cpu, PHYSICAL_BITS);
  guest.field("cpuinfo_x86.x86_virt_bits").set(cpu, 48);
  guest.field("cpuinfo_x86.x86_clflush_size").set(cpu, 64);
  guest.field("cpuinfo_x86.x86_cache_alignment").set(cpu, 64);
}

/** A node of memory whose zones are empty: pages come from elsewhere. */
function describeNode(guest: Guest, node: GuestAddress): GuestAddress {
  const zones = node + guest.offset("pglist_data.node_zones");
  const bytes = guest.sizeOf("zone");
  for (let i = 0; i < Number(guest.image.types.constant("__MAX_NR_ZONES")); i++) {
    guest.field("zone.zone_pgdat").set((zones + i * bytes) as GuestAddress, node);
  }
  return node;
}

/** Sparse memory: all frames below the limit count as present. */
function describeMemory(guest: Guest, roots: GuestAddress, sections: GuestAddress): void {
  const at = guest.find("mem_section");
  if (at === null) return;
  guest.setPointer(at, roots);
  guest.setPointer(roots, sections);
  const bytes = guest.sizeOf("mem_section");
  for (let i = 0; i < FRAMES / SECTION_FRAMES; i++) {
    guest.field("mem_section.section_mem_map").set((sections + i * bytes) as GuestAddress, SECTION_FLAGS);
  }
}
