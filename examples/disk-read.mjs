// Case 2 in twenty lines: a client's pages, a disk controller that writes straight into them, and a destroy that waits.
// Run it in the checkout: node examples/disk-read.mjs
import { BlockClient, Machine, MemoryDisk, NvmeController, NvmeDriver } from "korral";

const machine = await Machine.create({ memory: "16MiB", pinBudget: 1024 });
const disk = new MemoryDisk(1024 * 1024);
disk.write(0, [new TextEncoder().encode("hello from block 0")], () => {});

const slot = machine.plug("nvme", (host) => new NvmeController(host, { disk, latency: 20_000 }));
const domain = machine.domain("nvme", slot);
await machine.run(NvmeDriver.start(domain));

const client = new BlockClient(domain.endpoint);
const region = machine.bank.region({ pages: 2 });
const reading = client.read(region, 0, 0, 8192);
console.log("pinned while the controller works:", machine.budget.pool(0).pinned, "frames");

await machine.run(reading);
const text = new Uint8Array(18);
await region.read(0, text);
console.log("the client's page now holds:", new TextDecoder().decode(text));
console.log("pinned afterwards:", machine.budget.pool(0).pinned, "frames");
