// The native NVMe driver on the NVMe model and a raw image: pinned reads against plain reads of the same file.
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NvmeController } from "../dist/devices/nvme.js";
import { BlockClient } from "../dist/drivers/block-service.js";
import { NvmeDriver } from "../dist/drivers/nvme/nvme-driver.js";
import { Machine } from "../dist/machine.js";
import { FileDisk } from "../dist/node/file-disk.js";
import { mixFrame } from "../dist/ports/wire-hash.js";
import { seededRandom } from "../dist/util/random.js";
import { interleaved, row } from "./measure.mjs";

const IMAGE_BYTES = 64 * 1024 * 1024;
const LARGE = 131_072;

export async function benchDisk() {
  const folder = mkdtempSync(join(tmpdir(), "korral-bench-"));
  const file = join(folder, "disk.img");
  const random = seededRandom(7);
  writeFileSync(
    file,
    new Uint32Array(IMAGE_BYTES / 4).map(() => random()),
  );
  const fd = openSync(file, "r");
  try {
    const disk = new FileDisk(file, { readOnly: true });
    const machine = await Machine.create({ memory: "64MiB" });
    const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk }));
    const domain = machine.domain("nvme", slot);
    await machine.run(NvmeDriver.start(domain));
    const client = new BlockClient(domain.endpoint);
    const depth = 32;
    const region = machine.bank.region({ pages: 32 * depth });
    // On a page boundary, as the pinned pages are: elsewhere a copy this large takes up to half as long again.
    const plain = new Uint8Array(new WebAssembly.Memory({ initial: LARGE / 65_536 }).buffer);
    const buffer = new Uint8Array(LARGE);
    const bufferView = new DataView(buffer.buffer);
    const plainView = new DataView(plain.buffer);
    const large = IMAGE_BYTES / LARGE;
    const small = 20_000;
    const hashes = { pinned: 0, plain: 0 };
    // Hashing costs both sides the same, so it is left out of what is timed and done once, beforehand.
    for (let i = 0; i < large; i++) {
      await machine.run(client.read(region, 0, (i * LARGE) / 512, LARGE));
      region.read(0, buffer);
      hashes.pinned = mixFrame(hashes.pinned, bufferView, 0, LARGE);
      readSync(fd, plain, 0, LARGE, i * LARGE);
      hashes.plain = mixFrame(hashes.plain, plainView, 0, LARGE);
    }
    if (hashes.pinned !== hashes.plain) throw new Error("pinned reads return other bytes than the file holds");
    const blocks = Uint32Array.from({ length: small }, () => random() % (IMAGE_BYTES / 4096));
    const one = async (from, to, at) => {
      for (let i = from; i < to; i++) await client.read(region, at, blocks[i] * 8, 4096);
    };
    const best = await interleaved(
      {
        pinned: {
          units: large,
          run: () =>
            machine.run(
              (async () => {
                for (let i = 0; i < large; i++) await client.read(region, 0, (i * LARGE) / 512, LARGE);
              })(),
            ),
        },
        pinned8: {
          units: large,
          run: () =>
            machine.run(
              Promise.all(
                Array.from({ length: 8 }, async (_, k) => {
                  for (let i = k; i < large; i += 8) await client.read(region, k * LARGE, (i * LARGE) / 512, LARGE);
                }),
              ),
            ),
        },
        plain: {
          units: large,
          run: () => {
            for (let i = 0; i < large; i++) readSync(fd, plain, 0, LARGE, i * LARGE);
          },
        },
        depth1: { units: small, run: () => machine.run(one(0, small, 0)) },
        depth32: {
          units: small,
          run: () =>
            machine.run(
              Promise.all(
                Array.from({ length: depth }, (_, i) => one((small / depth) * i, (small / depth) * (i + 1), i * 4096)),
              ),
            ),
        },
        plainSmall: {
          units: small,
          run: () => {
            for (let i = 0; i < small; i++) readSync(fd, plain, 0, 4096, blocks[i] * 4096);
          },
        },
      },
      5,
    );
    await machine[Symbol.asyncDispose]();
    disk.close();
    const share = (nanoseconds) => `${((best.plain / nanoseconds) * 100).toFixed(0)} % of plain reads, aim >= 80 %`;
    return [
      row("NVMe native, 128 KiB pinned reads, one at a time", LARGE / best.pinned, "GB/s", share(best.pinned)),
      row("NVMe native, 128 KiB pinned reads, eight at a time", LARGE / best.pinned8, "GB/s", share(best.pinned8)),
      row("plain fs.readSync of 128 KiB", LARGE / best.plain, "GB/s"),
      row("NVMe native, 4 KiB random reads, depth 1", 1e6 / best.depth1, "k IOPS"),
      row("NVMe native, 4 KiB random reads, depth 32", 1e6 / best.depth32, "k IOPS"),
      row("plain fs.readSync of 4 KiB", 1e6 / best.plainSmall, "k IOPS"),
    ];
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  }
}
