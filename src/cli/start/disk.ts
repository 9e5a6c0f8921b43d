import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NvmeController } from "../../devices/nvme.js";
import { BlockClient, type BlockInfo } from "../../drivers/block-service.js";
import type { DriverDomain } from "../../drivers/driver-domain.js";
import { NvmeDriver } from "../../drivers/nvme/nvme-driver.js";
import type { Machine } from "../../machine.js";
import { FileDisk } from "../../node/file-disk.js";
import { ObjectPager } from "../../transfer/object-pager.js";
import { PAGE_SIZE } from "../../util/brand.js";
import { KorralError } from "../../util/errors.js";
import type { Random } from "../../util/random.js";
import { onInterrupt } from "../interrupt.js";
import type { CaseReport } from "./report.js";
import { plural } from "./report.js";

const SCRATCH_BYTES = 8 * 1024 * 1024;
const REQUEST_PAGES = 32;
const REQUESTS = 16;
const OBJECTS = 24;

/** Case 2 and the disk special case, on one NVMe controller and one image. */
export async function diskCase(machine: Machine, image: string | undefined): Promise<CaseReport[]> {
  const scratch = image === undefined ? mkdtempSync(join(tmpdir(), "korral-")) : null;
  const removeScratch = (): void => {
    if (scratch !== null) rmSync(scratch, { recursive: true, force: true });
  };
  const keep = onInterrupt(removeScratch);
  const file = image ?? scratchImage(join(scratch ?? "", "scratch.img"), machine.random);
  try {
    using disk = new FileDisk(file, { readOnly: "if-needed" });
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk }));
    const domain = machine.domain("nvme", slot);
    const driver = await machine.run(NvmeDriver.start(domain), "NVMe start");
    const reports = [
      await pinnedCase(machine, new BlockClient(domain.endpoint), driver.info, disk),
      await pagingCase(machine, driver, domain),
    ];
    domain.kill("the case is over");
    return reports;
  } finally {
    keep();
    removeScratch();
  }
}

/** Reads the image in large requests straight into a client's pages, and writes the same bytes back from there. */
async function pinnedCase(machine: Machine, client: BlockClient, info: BlockInfo, disk: FileDisk): Promise<CaseReport> {
  const imageBytes = info.sectors * info.sectorSize;
  const length = Math.min(REQUEST_PAGES * PAGE_SIZE, imageBytes - (imageBytes % info.sectorSize));
  const requests = Math.min(REQUESTS, Math.floor(imageBytes / length));
  const bank = machine.bank.bank();
  const region = bank.region({ pages: requests * REQUEST_PAGES });
  const before = { ...machine.statistics };
  const sectorOf = (i: number) => (i * length) / info.sectorSize;
  const all = Array.from({ length: requests }, (_, i) => i);
  const stride = REQUEST_PAGES * PAGE_SIZE;
  await machine.run(Promise.all(all.map((i) => client.read(region, i * stride, sectorOf(i), length))), "disk read");
  const expected = new Uint8Array(length);
  const got = new Uint8Array(length);
  let differing = 0;
  for (const i of all) {
    await fromDisk(disk, i * length, expected);
    await region.read(i * stride, got);
    if (Buffer.compare(expected, got) !== 0) differing++;
  }
  const written = info.readOnly ? 0 : requests;
  if (!info.readOnly) {
    const writes = all.map((i) => client.write(region, i * stride, sectorOf(i), length));
    await machine.run(
      Promise.all(writes).then(() => client.flush()),
      "disk write",
    );
    for (const i of all) {
      await fromDisk(disk, i * length, expected);
      await region.read(i * stride, got);
      if (Buffer.compare(expected, got) !== 0) differing++;
    }
  }
  const figures = {
    sectors: info.sectors,
    sectorSize: info.sectorSize,
    readOnly: info.readOnly,
    reads: requests,
    writes: written,
    bytes: (requests + written) * length,
    zeroCopies: machine.statistics.zeroCopies - before.zeroCopies,
    copies: machine.statistics.copies - before.copies,
    differing,
  };
  await machine.bank.destroy(bank);
  if (differing > 0)
    throw new KorralError(
      "disk-differs",
      `${plural(differing, "request")} returned other bytes than the image holds`,
      1,
    );
  return {
    key: "disk",
    title: "Case 2: solicited, zero copy (NVMe)",
    lines: [
      `${info.sectors} sectors of ${info.sectorSize} bytes${info.readOnly ? ", read-only: not written" : ""}`,
      `${plural(requests, "read")} and ${plural(written, "write")} of ${length} bytes, ${figures.zeroCopies} zero-copy, ${figures.copies} copies; every byte compared with the image`,
    ],
    figures,
  };
}

/** Invokes pages of the store that are not there: each is fetched by disk DMA into a frame that nobody can name yet. */
async function pagingCase(machine: Machine, driver: NvmeDriver, domain: DriverDomain): Promise<CaseReport> {
  const { sectors, sectorSize } = driver.info;
  const blocks = Math.floor((sectors * sectorSize) / PAGE_SIZE);
  const bank = machine.bank.bank();
  const pager = new ObjectPager(machine.kernel, bank, driver, blocks, machine.statistics);
  driver.onPaged = (requestId, error) => pager.complete(requestId, error);
  domain.onDeath.push((why) => pager.driverGone(why));
  const objects = Math.min(OBJECTS, blocks);
  const before = { ...machine.statistics };
  const word = new Uint8Array(8);
  const pages = Array.from({ length: objects }, (_, i) => pager.page(i));
  // Two invokers of each page: the second finds it fetching and waits on the same stall queue.
  const invocations = pages.flatMap((page) => [page.read(0, word), page.read(8, new Uint8Array(8))]);
  await machine.run(Promise.all(invocations), "object fault");
  await machine.run(pager.sync(), "write-back");
  await machine.bank.destroy(bank);
  const figures = {
    objects,
    invokers: invocations.length,
    fetched: machine.statistics.fetched - before.fetched,
    errors: machine.statistics.pagingErrors - before.pagingErrors,
    peakPagingPins: machine.budget.pool(3).peak,
  };
  return {
    key: "objects",
    title: "Disk special case: objects of the store that do not exist until they are loaded",
    lines: [
      `${plural(figures.invokers, "invocation")} of ${plural(objects, "absent page")}: ${figures.fetched} fetched, ${figures.errors} errors, at most ${figures.peakPagingPins} frames pinned for it`,
    ],
    figures,
  };
}

function fromDisk(disk: FileDisk, position: number, into: Uint8Array): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    disk.read(position, [into], (error) => (error === null ? resolve() : reject(error)));
  });
}

function scratchImage(file: string, random: Random): string {
  const bytes = new Uint32Array(SCRATCH_BYTES / 4);
  for (let i = 0; i < bytes.length; i++) bytes[i] = random();
  writeFileSync(file, bytes);
  return file;
}
