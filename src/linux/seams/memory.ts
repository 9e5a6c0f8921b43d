import type { GuestAddress } from "../../util/guest-address.js";
import { type Call, type Seam, type SeamResult, seam } from "../seam.js";
import type { SeamFile } from "../services.js";
import { orNothing } from "./exhausted.js";

/** What `kmalloc(0)` returns: neither null nor memory. */
const ZERO_SIZE_PTR = 16;
const GFP_COMP = "___GFP_COMP_BIT";
/** For kernels whose type information does not tell: 2^18. */
const GFP_COMP_DEFAULT = 0x4_0000;
const KMALLOC_ALIGNMENT = 8;
/** KMALLOC_MAX_SIZE, and the largest order of pages: the same in all kernels for x86-64. */
const LARGEST_KMALLOC = 2 ** 22;
const LARGEST_ORDER = 10;
/** 256 MiB. */
const FREE_PAGES = 0x1_0000;
/** Of the kernel's own tables, whose size it would choose by that of memory. */
const HASH_BITS = 8;

/** Slabs, pages, vmalloc, per-CPU memory. Everything is handed out zeroed. */
export const memorySeams: SeamFile = ({ guest, heap, caches, pages, vmalloc, percpu, lent, events, site }) => {
  const { types } = guest.image;
  const compound = types.hasType("enum ___GFP_BITS") ? 1 << Number(types.constant(GFP_COMP)) : GFP_COMP_DEFAULT;

  const misuse = (rule: string, what: string, address: GuestAddress): undefined => {
    const where = `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`;
    const who = site();
    events.emit("memory", { rule, message: `${who} ${what} ${where}`, site: who });
    return undefined;
  };

  const any = (size: number): number => (size === 0 ? ZERO_SIZE_PTR : orNothing(events, () => heap.allocate(size)));

  const kmalloc = (size: number): number => {
    if (size <= LARGEST_KMALLOC) return any(size);
    events.emit("exhausted", { message: `${site()} asks for ${size} bytes in one piece` });
    return 0;
  };

  const virtually = (size: number): number => orNothing(events, () => vmalloc.allocate(size));

  const free = (address: GuestAddress): undefined => {
    if (address >= 0 && address <= ZERO_SIZE_PTR) return undefined;
    if (vmalloc.owns(address)) {
      if (!vmalloc.free(address)) return misuse("invalid-free", "frees as vmalloc memory", address);
      return undefined;
    }
    const wrong = heap.free(address);
    if (wrong === null) return undefined;
    // Large allocations of the kernel's own come as pages.
    if (wrong === "invalid-free" && pages.free(pages.pageOf(address))) return undefined;
    return misuse(wrong, wrong === "double-free" ? "frees a second time" : "frees what nobody allocated:", address);
  };

  const allocatePages = (flags: number, order: number): number => {
    if (order <= LARGEST_ORDER) return orNothing(events, () => pages.allocate(order, (flags & compound) !== 0));
    events.emit("exhausted", { message: `${site()} asks for 2^${order} pages in one piece` });
    return 0;
  };

  const releasePages = (page: GuestAddress): undefined => {
    if (pages.free(page) || lent.released(page)) return undefined;
    return misuse("invalid-free", "frees pages that nobody allocated:", page);
  };

  const fromCache = (cache: GuestAddress): number => {
    const address = orNothing(events, () => caches.allocate(cache));
    if (address === 0) {
      const caller = guest.sandbox.backtrace()[1]?.symbol ?? "the kernel";
      events.emit("exhausted", { message: `${caller} takes from a cache that is not there, for ${site()}` });
    }
    return address;
  };

  const bulk = (call: Call): SeamResult => {
    const count = call.size(2);
    const list = call.pointer(3);
    for (let i = 0; i < count; i++) {
      guest.setPointer((list + 8 * i) as GuestAddress, caches.allocate(call.pointer(0)));
    }
    return count;
  };

  const freeObject = (cache: GuestAddress, address: GuestAddress): undefined => {
    if (address === 0) return undefined;
    const wrong = heap.free(address);
    if (wrong === null) {
      caches.freed(cache);
      return undefined;
    }
    return misuse(wrong, `frees to ${caches.nameOf(cache)}`, address);
  };

  const resize = (call: Call): SeamResult => {
    const old = call.pointer(0);
    const size = call.size(1);
    if (size === 0) {
      free(old);
      return ZERO_SIZE_PTR;
    }
    const before = old > 0 || old === 0 ? 0 : heap.sizeOf(old);
    const address = kmalloc(size) as GuestAddress;
    if (before > 0 && address !== 0) {
      guest.setBytes(address, guest.bytes(old, Math.min(before, size)).slice());
      free(old);
    }
    return address;
  };

  const slab: readonly Seam[] = [
    seam("void *(size_t, gfp_t)", "__kmalloc kmalloc_large __kmalloc_noprof __kmalloc_large_noprof", (c) =>
      kmalloc(c.size(0)),
    ),
    seam("void *(size_t, gfp_t, int)", "__kmalloc_node kmalloc_large_node __kmalloc_large_node_noprof", (c) =>
      kmalloc(c.size(0)),
    ),
    seam("void *(size_t, gfp_t, int)", "kvmalloc_node", (c) => any(c.size(0))),
    seam("void *(size_t, kmem_buckets *, gfp_t, int)", "__kmalloc_node_noprof", (c) => kmalloc(c.size(0))),
    seam(
      ["void *(size_t, kmem_buckets *, gfp_t, int)", "void *(size_t, kmem_buckets *, unsigned long, gfp_t, int)"],
      "__kvmalloc_node_noprof",
      (c) => any(c.size(0)),
    ),
    seam(
      ["void *(size_t, gfp_t, int, unsigned long)", "void *(size_t, kmem_buckets *, gfp_t, int, unsigned long)"],
      "__kmalloc_node_track_caller __kmalloc_node_track_caller_noprof",
      (c) => kmalloc(c.size(0)),
    ),
    seam("void *(struct kmem_cache *, gfp_t, size_t)", "kmalloc_trace __kmalloc_cache_noprof", (c) =>
      kmalloc(c.size(2)),
    ),
    seam("void *(struct kmem_cache *, gfp_t, int, size_t)", "kmalloc_node_trace __kmalloc_cache_node_noprof", (c) =>
      kmalloc(c.size(3)),
    ),
    seam(
      "size_t (size_t)",
      "kmalloc_size_roundup",
      (c) => Math.ceil(c.size(0) / KMALLOC_ALIGNMENT) * KMALLOC_ALIGNMENT,
    ),
    seam("size_t (const void *)", "__ksize ksize", (c) => Math.max(0, heap.sizeOf(c.pointer(0)))),
    seam("void *(const void *, size_t, gfp_t)", "krealloc krealloc_noprof", resize),
    seam("void *(const void *, size_t, unsigned long, gfp_t, int)", "krealloc_node_align_noprof", resize),
    seam("void (const void *)", "kfree kfree_sensitive kvfree", (c) => free(c.pointer(0))),
    seam("void (const void *, size_t)", "kvfree_sensitive", (c) => free(c.pointer(0))),
    seam(
      "struct kmem_cache *(const char *, unsigned int, unsigned int, slab_flags_t, void (*)(void *))",
      "kmem_cache_create",
      (c) => caches.create(guest.text(c.pointer(0)), c.unsigned(1), c.pointer(4)),
    ),
    seam(
      "struct kmem_cache *(const char *, unsigned int, unsigned int, slab_flags_t, unsigned int, unsigned int, void (*)(void *))",
      "kmem_cache_create_usercopy",
      (c) => caches.create(guest.text(c.pointer(0)), c.unsigned(1), c.pointer(6)),
    ),
    seam(
      "struct kmem_cache *(const char *, unsigned int, struct kmem_cache_args *, slab_flags_t)",
      "__kmem_cache_create_args",
      (c) =>
        caches.create(
          guest.text(c.pointer(0)),
          c.unsigned(1),
          guest.field("kmem_cache_args.ctor").pointer(c.pointer(2)),
        ),
    ),
    seam("void (struct kmem_cache *)", "kmem_cache_destroy", (c) => {
      const cache = c.pointer(0);
      if (cache === 0) return undefined;
      const name = caches.nameOf(cache);
      const left = caches.destroy(cache);
      if (left > 0) return misuse("cache-leak", `destroys the cache ${name} with ${left} objects still in use:`, cache);
      return undefined;
    }),
    seam("void *(struct kmem_cache *, gfp_t)", "kmem_cache_alloc kmem_cache_alloc_noprof", (c) =>
      fromCache(c.pointer(0)),
    ),
    seam("void *(struct kmem_cache *, gfp_t, int)", "kmem_cache_alloc_node kmem_cache_alloc_node_noprof", (c) =>
      fromCache(c.pointer(0)),
    ),
    seam(
      "void *(struct kmem_cache *, struct list_lru *, gfp_t)",
      "kmem_cache_alloc_lru kmem_cache_alloc_lru_noprof",
      (c) => fromCache(c.pointer(0)),
    ),
    seam(
      "int (struct kmem_cache *, gfp_t, size_t, void **)",
      "kmem_cache_alloc_bulk kmem_cache_alloc_bulk_noprof",
      bulk,
    ),
    seam("void (struct kmem_cache *, void *)", "kmem_cache_free", (c) => freeObject(c.pointer(0), c.pointer(1))),
    seam("void (struct kmem_cache *, size_t, void **)", "kmem_cache_free_bulk", (c) => {
      for (let i = 0; i < c.size(1); i++) {
        freeObject(c.pointer(0), guest.pointer((c.pointer(2) + 8 * i) as GuestAddress));
      }
      return undefined;
    }),
    seam("int (struct kmem_cache *)", "kmem_cache_shrink", () => 0),
  ];

  /** Fills what is empty of a list of pages. */
  const allocateMany = (c: Call, list: GuestAddress): number => {
    const count = c.int(3);
    if (list === 0) return 0;
    for (let i = 0; i < count; i++) {
      const at = (list + 8 * i) as GuestAddress;
      if (guest.pointer(at) !== 0) continue;
      const page = allocatePages(c.int(0), 0);
      if (page === 0) return i;
      guest.setPointer(at, page);
    }
    return count;
  };

  const pageSeams: readonly Seam[] = [
    seam("struct page *(gfp_t, unsigned int)", "alloc_pages alloc_pages_noprof", (c) =>
      allocatePages(c.int(0), c.int(1)),
    ),
    seam("struct page *(gfp_t, unsigned int, int, nodemask_t *)", "__alloc_pages __alloc_pages_noprof", (c) =>
      allocatePages(c.int(0), c.int(1)),
    ),
    seam(
      "unsigned long (gfp_t, int, nodemask_t *, int, struct list_head *, struct page **)",
      "__alloc_pages_bulk alloc_pages_bulk_noprof",
      (c) => allocateMany(c, c.pointer(5)),
    ),
    seam("unsigned long (gfp_t, int, nodemask_t *, int, struct page **)", "alloc_pages_bulk_noprof", (c) =>
      allocateMany(c, c.pointer(4)),
    ),
    seam("void (struct page *, unsigned int)", "__free_pages", (c) => {
      if (!pages.put(c.pointer(0))) return misuse("invalid-free", "frees pages that nobody allocated:", c.pointer(0));
      return undefined;
    }),
    seam("void (struct page *, unsigned int)", "free_unref_page free_frozen_pages", (c) => releasePages(c.pointer(0))),
    seam("void (struct page *, unsigned int, fpi_t)", "__free_frozen_pages", (c) => releasePages(c.pointer(0))),
    seam("void (struct folio *)", "__folio_put", (c) => releasePages(c.pointer(0))),
    seam("void (struct list_head *)", "free_unref_page_list", (c) => {
      const head = c.pointer(0);
      const link = guest.offset("page.lru");
      for (let at = guest.pointer(head); at !== head; ) {
        const next = guest.pointer(at);
        releasePages((at - link) as GuestAddress);
        at = next;
      }
      guest.setPointer(head, head);
      guest.setPointer((head + 8) as GuestAddress, head);
      return undefined;
    }),
    seam("void (struct folio_batch *)", "free_unref_folios", (c) => {
      const batch = c.pointer(0);
      const count = guest.read(batch, 1);
      const list = guest.offset("folio_batch.folios");
      for (let i = 0; i < count; i++) releasePages(guest.pointer((batch + list + 8 * i) as GuestAddress));
      guest.write(batch, 1, 0);
      return undefined;
    }),
  ];

  const virtual: readonly Seam[] = [
    // By which tables are sized: there are no zones to count.
    seam("unsigned long (int)", "nr_free_zone_pages", () => FREE_PAGES),
    seam(
      "void *(const char *, unsigned long, unsigned long, int, int, unsigned int *, unsigned int *, unsigned long, unsigned long)",
      "alloc_large_system_hash",
      (c) => {
        if (c.pointer(5) !== 0) guest.write(c.pointer(5), 4, HASH_BITS);
        if (c.pointer(6) !== 0) guest.write(c.pointer(6), 4, 2 ** HASH_BITS - 1);
        return heap.allocate(c.size(1) * 2 ** HASH_BITS);
      },
    ),
    seam("void *(unsigned long)", "vzalloc vmalloc vmalloc_32 vzalloc_noprof vmalloc_noprof vmalloc_32_noprof", (c) =>
      virtually(c.size(0)),
    ),
    seam("void *(unsigned long, int)", "vmalloc_node vzalloc_node vmalloc_node_noprof vzalloc_node_noprof", (c) =>
      virtually(c.size(0)),
    ),
    seam("void *(unsigned long, gfp_t)", "__vmalloc __vmalloc_noprof", (c) => virtually(c.size(0))),
    seam("void (const void *)", "vfree vfree_atomic", (c) => free(c.pointer(0))),
    seam("long (void)", "si_mem_available", () => FREE_PAGES),
    seam("struct page *(const void *)", "vmalloc_to_page", (c) => pages.pageOf(c.pointer(0))),
    seam("bool (const void *)", "is_vmalloc_addr", (c) => (vmalloc.owns(c.pointer(0)) ? 1 : 0)),
  ];

  const allocatePercpu = (c: Call): SeamResult => orNothing(events, () => percpu.allocate(c.size(0), c.size(1)));
  const processor: readonly Seam[] = [
    seam("void *(size_t, size_t)", "__alloc_percpu", allocatePercpu),
    seam("void *(size_t, size_t, gfp_t)", "__alloc_percpu_gfp", allocatePercpu),
    seam("void *(size_t, size_t, bool, gfp_t)", "pcpu_alloc_noprof", allocatePercpu),
    seam("void (void *)", "free_percpu", (c) => {
      if (c.pointer(0) === 0 || percpu.free(c.pointer(0))) return undefined;
      return misuse("invalid-free", "frees per-CPU memory that nobody allocated:", c.pointer(0));
    }),
  ];

  return [...slab, ...pageSeams, ...virtual, ...processor];
};
