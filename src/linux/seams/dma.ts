import type { IoMmuContext } from "../../bus/io-mmu.js";
import type { GuestAddress } from "../../util/guest-address.js";
import { DMA_MAPPING_ERROR, DmaDirection, type DmaKind } from "../dma.js";
import { type Call, type SeamResult, seam } from "../seam.js";
import type { SeamFile } from "../services.js";
import { orNothing } from "./exhausted.js";

const PAGE = 4096;
const EIO = 5;
/** Bits of `scatterlist.page_link`: it leads to the next list; it is the last. */
const SG_CHAIN = 1;
const SG_END = 2;
const DIRECTION = "enum dma_data_direction";

/** The DMA API: a mapping is a pin and an entry of the I/O MMU. */
export const dmaSeams: SeamFile = ({ guest, dma, lent, pages, pci, events }) => {
  const mask = guest.field("device.dma_mask");
  const coherentMask = guest.offset("device.coherent_dma_mask");
  const sg = {
    bytes: guest.sizeOf("scatterlist"),
    link: guest.field("scatterlist.page_link"),
    offset: guest.field("scatterlist.offset"),
    length: guest.field("scatterlist.length"),
    address: guest.field("scatterlist.dma_address"),
    dmaLength: guest.field("scatterlist.dma_length"),
  };

  const contextOf = (device: GuestAddress): IoMmuContext | null => pci.contextOf(device);

  /** Bits of a mask; one that nobody has set is the usual one of PCI. */
  const bitsOf = (at: GuestAddress): number => {
    const low = guest.read(at, 4);
    const high = guest.read((at + 4) as GuestAddress, 4);
    if (high !== 0) return 64 - Math.clz32(high);
    return low === 0 ? 32 : 32 - Math.clz32(low);
  };
  const streamingBits = (device: GuestAddress): number => {
    const at = mask.pointer(device);
    return at === 0 ? 32 : bitsOf(at);
  };
  const coherentBits = (device: GuestAddress): number => bitsOf((device + coherentMask) as GuestAddress);

  /** Bytes of a page: the domain's own, or a client's. */
  const mapBytes = (
    device: GuestAddress,
    page: GuestAddress,
    offset: number,
    length: number,
    direction: number,
    attributes: number,
    kind: DmaKind,
  ): number => {
    const context = contextOf(device);
    if (context === null) return DMA_MAPPING_ERROR;
    const bits = streamingBits(device);
    if (lent.owns(page)) return dma.mapLent(context, page, offset, length, direction, bits, kind);
    const start = pages.addressOf(page);
    if (start === null) return dma.refusePage(context, page);
    return dma.map(context, (start + offset) as GuestAddress, length, direction, attributes, bits, kind);
  };

  /** The entries of a list, chained lists included. */
  function* entries(first: GuestAddress, count: number): Iterable<GuestAddress> {
    let at = first;
    for (let i = 0; i < count; i++) {
      yield at;
      if ((sg.link.get(at) & SG_END) !== 0) return;
      at = (at + sg.bytes) as GuestAddress;
      const link = sg.link.get(at);
      if ((link & SG_CHAIN) !== 0) at = (link - (link & 3)) as GuestAddress;
    }
  }

  const unmapList = (context: IoMmuContext, list: GuestAddress, count: number, direction: number): void => {
    for (const entry of entries(list, count)) {
      if (sg.dmaLength.get(entry) === 0) continue;
      dma.unmap(context, sg.address.get(entry), sg.dmaLength.get(entry), direction, "scatter-gather");
    }
  };

  const mapList = (c: Call): SeamResult => {
    const device = c.pointer(0);
    const list = c.pointer(1);
    const context = contextOf(device);
    if (context === null) return -EIO;
    let mapped = 0;
    for (const entry of entries(list, c.int(2))) {
      const link = sg.link.get(entry);
      const page = (link - (link & 3)) as GuestAddress;
      const length = sg.length.get(entry);
      const offset = sg.offset.get(entry);
      const address = mapBytes(device, page, offset, length, c.int(3), c.size(4), "scatter-gather");
      if (address === DMA_MAPPING_ERROR) {
        unmapList(context, list, mapped, c.int(3));
        return -EIO;
      }
      sg.address.set(entry, address);
      sg.dmaLength.set(entry, length);
      mapped++;
    }
    return mapped;
  };

  const sync =
    (toDevice: boolean) =>
    (c: Call): undefined => {
      const context = contextOf(c.pointer(0));
      if (context !== null) dma.sync(context, c.size(1), c.size(2), c.int(3), toDevice);
      return undefined;
    };

  const syncList =
    (toDevice: boolean) =>
    (c: Call): undefined => {
      const context = contextOf(c.pointer(0));
      if (context === null) return undefined;
      for (const entry of entries(c.pointer(1), c.int(2))) {
        dma.sync(context, sg.address.get(entry), sg.dmaLength.get(entry), c.int(3), toDevice);
      }
      return undefined;
    };

  const orderOf = (size: number): number => Math.max(0, Math.ceil(Math.log2(Math.ceil(size / PAGE))));

  /** Pages with their I/O address; null if they cannot be had. */
  const allocate = (device: GuestAddress, size: number): { page: GuestAddress; io: number } | null => {
    const context = contextOf(device);
    if (context === null || size === 0) return null;
    const page = orNothing(events, () => pages.allocate(orderOf(size), false)) as GuestAddress;
    if (page === 0) return null;
    const start = pages.addressOf(page);
    const bits = coherentBits(device);
    const io =
      start === null
        ? DMA_MAPPING_ERROR
        : dma.map(context, start, size, DmaDirection.bidirectional, 0, bits, "coherent");
    if (io !== DMA_MAPPING_ERROR) return { page, io };
    pages.free(page);
    return null;
  };

  const release = (device: GuestAddress, size: number, page: GuestAddress, io: number): void => {
    const context = contextOf(device);
    if (context !== null) dma.unmap(context, io, size, DmaDirection.bidirectional, "coherent");
    pages.free(page);
  };

  return [
    seam(
      `dma_addr_t (struct device *, struct page *, size_t, size_t, ${DIRECTION}, unsigned long)`,
      "dma_map_page_attrs",
      (c) => {
        return mapBytes(c.pointer(0), c.pointer(1), c.size(2), c.size(3), c.int(4), c.size(5), "single");
      },
    ),
    seam(`void (struct device *, dma_addr_t, size_t, ${DIRECTION}, unsigned long)`, "dma_unmap_page_attrs", (c) => {
      const context = contextOf(c.pointer(0));
      if (context !== null) dma.unmap(context, c.size(1), c.size(2), c.int(3));
      return undefined;
    }),
    seam(
      `int (struct device *, struct scatterlist *, int, ${DIRECTION}, unsigned long)`,
      "__dma_map_sg_attrs",
      mapList,
    ),
    seam(
      `void (struct device *, struct scatterlist *, int, ${DIRECTION}, unsigned long)`,
      "dma_unmap_sg_attrs",
      (c) => {
        const context = contextOf(c.pointer(0));
        if (context !== null) unmapList(context, c.pointer(1), c.int(2), c.int(3));
        return undefined;
      },
    ),
    seam(
      `dma_addr_t (struct device *, phys_addr_t, size_t, ${DIRECTION}, unsigned long)`,
      "dma_map_resource",
      () => DMA_MAPPING_ERROR,
    ),
    seam(
      `void (struct device *, dma_addr_t, size_t, ${DIRECTION}, unsigned long)`,
      "dma_unmap_resource",
      () => undefined,
    ),
    seam(
      `void (struct device *, dma_addr_t, size_t, ${DIRECTION})`,
      "dma_sync_single_for_cpu __dma_sync_single_for_cpu",
      sync(false),
    ),
    seam(
      `void (struct device *, dma_addr_t, size_t, ${DIRECTION})`,
      "dma_sync_single_for_device __dma_sync_single_for_device",
      sync(true),
    ),
    seam(
      `void (struct device *, struct scatterlist *, int, ${DIRECTION})`,
      "dma_sync_sg_for_cpu __dma_sync_sg_for_cpu",
      syncList(false),
    ),
    seam(
      `void (struct device *, struct scatterlist *, int, ${DIRECTION})`,
      "dma_sync_sg_for_device __dma_sync_sg_for_device",
      syncList(true),
    ),
    seam("bool (struct device *, dma_addr_t)", "dma_need_sync __dma_need_sync", () => 1),
    seam("void *(struct device *, size_t, dma_addr_t *, gfp_t, unsigned long)", "dma_alloc_attrs", (c) => {
      const got = allocate(c.pointer(0), c.size(1));
      if (got === null) return 0;
      guest.write(c.pointer(2), 8, got.io);
      return pages.addressOf(got.page) ?? 0;
    }),
    seam("void (struct device *, size_t, void *, dma_addr_t, unsigned long)", "dma_free_attrs", (c) => {
      if (c.pointer(2) !== 0) release(c.pointer(0), c.size(1), pages.pageOf(c.pointer(2)), c.size(3));
      return undefined;
    }),
    seam(`struct page *(struct device *, size_t, dma_addr_t *, ${DIRECTION}, gfp_t)`, "dma_alloc_pages", (c) => {
      const got = allocate(c.pointer(0), c.size(1));
      if (got === null) return 0;
      guest.write(c.pointer(2), 8, got.io);
      return got.page;
    }),
    seam(`void (struct device *, size_t, struct page *, dma_addr_t, ${DIRECTION})`, "dma_free_pages", (c) => {
      release(c.pointer(0), c.size(1), c.pointer(2), c.size(3));
      return undefined;
    }),
    seam("size_t (struct device *)", "dma_max_mapping_size dma_opt_mapping_size", () => 2 ** 30),
    seam("u64 (struct device *)", "dma_get_required_mask", () => 0xffff_ffff),
    seam("bool (struct device *)", "dma_addressing_limited", () => 0),
  ];
};
