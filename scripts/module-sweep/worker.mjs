// A process that carries out trials, one after the other, as its parent asks.
import { KernelImage } from "../../dist/linux/image.js";
import { openKernel } from "../../dist/node/kernel-store.js";
import { runJob } from "./job.mjs";

const kernel = await openKernel(process.argv[2]);
const image = KernelImage.parse(kernel.vmlinux(), `the kernel of ${kernel.name}`);
process.on("message", async (job) => {
  const before = process.cpuUsage();
  let result;
  try {
    result = await runJob(kernel, image, job);
  } catch (error) {
    result = { ...job, outcome: "refused", stage: "load", reason: `internal: ${error.message}`, detail: [error.stack] };
  }
  const { user, system } = process.cpuUsage(before);
  process.send({ ...result, seconds: Math.round((user + system) / 1e4) / 100 });
});
process.send("ready");
