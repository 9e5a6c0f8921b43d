// Unmodified drivers, many frames each way, compared byte by byte: node scripts/driver-endurance.mjs [--kernel REF]
// [--frames N] [DRIVER…]. On the build in dist/. Ends with status 1 if a frame, a mapping or a timer was lost.
import { parseArgs } from "node:util";
import { busModules, modelFor } from "../dist/cli/run/models.js";
import { NetworkClient } from "../dist/drivers/network-service.js";
import { FindingCollector } from "../dist/findings/collector.js";
import { LinuxDriver } from "../dist/linux/driver.js";
import { Machine } from "../dist/machine.js";
import { openKernel } from "../dist/node/kernel-store.js";
import { WireEnd } from "../dist/ports/wire-end.js";
import { seededRandom } from "../dist/util/random.js";

const { values, positionals } = parseArgs({
  options: { kernel: { type: "string" }, frames: { type: "string", default: "100000" } },
  allowPositionals: true,
});
const FRAMES = Number(values.frames);
const DRIVERS = ["e1000", "8139cp", "8139too", "pcnet32", "virtio_net"];
const SHORTEST = 60;
const LONGEST = 1514;
const BURST = 16;
const BATCH = 64;
const BURST_TIME = 100_000;
const LOCAL_EXPERIMENT = [0x88, 0xb5];

/** Frames of all sizes with random payload, made again when they are compared. */
class Frames {
  #random = seededRandom(7);

  constructor(to) {
    this.to = to;
  }

  next() {
    const random = this.#random;
    const frame = new Uint8Array(SHORTEST + (random() % (LONGEST - SHORTEST + 1)));
    const words = new Uint32Array(frame.buffer, 0, frame.length >> 2);
    for (let i = 0; i < words.length; i++) words[i] = random();
    frame.set(this.to);
    frame.set([0x52, 0x54, 0, 0xaa, 0xbb, 0xcc], 6);
    frame.set(LOCAL_EXPERIMENT, 12);
    return frame;
  }
}

/** Counts frames that come as they were expected. */
class Comparison {
  equal = 0;
  different = 0;

  constructor(to) {
    this.frames = new Frames(to);
  }

  take(bytes, offset, length) {
    const expected = this.frames.next();
    const isEqual = Buffer.compare(expected, bytes.subarray(offset, offset + length)) === 0;
    if (isEqual) this.equal++;
    else this.different++;
  }
}

class ComparingWire extends WireEnd {
  comparison = null;

  send(bytes, offset, length) {
    this.comparison?.take(bytes, offset, length);
  }
}

async function endure(kernel, name) {
  const machine = await Machine.create();
  const collector = new FindingCollector(machine);
  const wire = new ComparingWire();
  const { aliases } = kernel.describe(name);
  const choice = modelFor(name, aliases);
  const slot = machine.plug(choice.model, choice.make({ wire, macAddress: null }));
  const before = busModules(kernel, choice, aliases);
  const source = { name, file: null };
  const onDomain = (domain) => collector.watch(domain);
  const driver = await LinuxDriver.load(machine, kernel, source, slot, { before, onDomain });
  const { device } = await driver.startNetwork();
  await driver.link();
  const pass = (time) => machine.run(new Promise((resolve) => machine.clock.timer(resolve).arm(time)));

  const received = new Comparison(device.macAddress);
  device.onFrame = (bytes, offset, length) => received.take(bytes, offset, length);
  const arriving = new Frames(device.macAddress);
  for (let i = 0; i < FRAMES; i++) {
    const frame = arriving.next();
    wire.deliver(frame, 0, frame.length);
    if (i % BURST === BURST - 1) await pass(BURST_TIME);
  }
  await pass(1e9);

  const to = [2, 0, 0, 0, 0, 1];
  wire.comparison = new Comparison(to);
  const leaving = new Frames(to);
  const client = new NetworkClient(driver.access.endpoint);
  const space = machine.bank.region({ pages: Math.ceil((BATCH * LONGEST) / 4096) });
  for (let i = 0; i < FRAMES; i += BATCH) {
    const ranges = [];
    for (let j = 0, offset = 0; j < BATCH && i + j < FRAMES; j++) {
      const frame = leaving.next();
      await space.write(offset, frame);
      ranges.push({ offset, length: frame.length });
      offset += frame.length;
    }
    await machine.run(client.send(space, ranges));
  }
  await pass(1e9);
  const { zeroCopy, copied } = device;
  await machine.run(Promise.resolve(machine.bank.destroyRegion(space)));
  const left = { ...(await driver.unload()), pinned: machine.budget.pinned, mapped: slot.dma.live };
  const { findings } = collector;
  const isFine =
    received.equal === FRAMES &&
    wire.comparison.equal === FRAMES &&
    received.different + wire.comparison.different + findings.length === 0 &&
    Object.values(left).every((count) => count === 0);
  const { maps } = driver.domain.services.dma.statistics;
  console.log(
    `${kernel.release} ${name}: received ${received.equal}, sent ${wire.comparison.equal} (${zeroCopy} from where they lay, ${copied} copied), different ${received.different + wire.comparison.different}, ${maps} maps, ${findings.length} findings, left ${JSON.stringify(left)}: ${isFine ? "fine" : "NOT FINE"}`,
  );
  for (const { rule, message } of findings) console.log(`  ${rule}: ${message}`);
  return isFine;
}

const kernel = await openKernel(values.kernel);
let isFine = true;
for (const name of positionals.length > 0 ? positionals : DRIVERS) isFine = (await endure(kernel, name)) && isFine;
process.exitCode = isFine ? 0 : 1;
