// What an I/O command costs in the NVMe model: entries written by the bare minimum of a driver, a disk that costs next to
// nothing and answers at once, an MSI-X interrupt for each batch.
const dist = process.env.KORRAL_DIST ?? new URL("../dist", import.meta.url).pathname;
const load = (path) => import(`${dist}/${path}`);
const { Clock } = await load("bus/clock.js");
const { InterruptController, MESSAGE_WINDOW } = await load("bus/interrupts.js");
const { IoMmu } = await load("bus/io-mmu.js");
const { PciBus } = await load("bus/pci-bus.js");
const { PhysicalMemory, frameOffset } = await load("memory/physical-memory.js");
const { PinBudget, PinPool } = await load("memory/pin-budget.js");
const { DmaAccess } = await load("memory/pin.js");
const { NvmeController } = await load("devices/nvme.js");

const memory = new PhysicalMemory();
const bank = memory.addBank(64 * 1024 * 1024);
const authority = new PinBudget(memory, { bound: 16384, reserved: 8192 }).authority("bench");
const iommu = new IoMmu(memory);
const interrupts = new InterruptController();
const clock = new Clock();
const bus = new PciBus(clock, interrupts, iommu);
const disk = {
  sectorSize: 512,
  sectors: 2 ** 21,
  readOnly: false,
  synchronous: true,
  bytes: 0,
  read(_position, into, done) {
    for (let i = 0; i < into.length; i++) this.bytes += into[i].length;
    done(null);
  },
  write(_position, from, done) {
    for (let i = 0; i < from.length; i++) this.bytes += from[i].length;
    done(null);
  },
};
const slot = bus.plug("nvme", (host) => new NvmeController(host, { disk }));
slot.configWrite(4, 2, 6);
const line = interrupts.message("nvme");
line.attach(() => true);
for (let vector = 0; vector < 2; vector++) {
  slot.write(0, 0x2000 + 16 * vector, 4, MESSAGE_WINDOW);
  slot.write(0, 0x2008 + 16 * vector, 4, line.vector);
  slot.write(0, 0x200c + 16 * vector, 4, 0);
}
// The MSI-X capability follows the one of power management.
slot.configWrite(slot.configRead(slot.configRead(0x34, 1) + 1, 1) + 2, 2, 0x8000);
iommu.events.on("fault", (fault) => {
  throw new Error(JSON.stringify(fault));
});

function buffer(pages) {
  const frames = Array.from({ length: pages }, () => bank.allocate());
  const pin = authority.tryPin(frames, 0, pages * 4096, DmaAccess.both, PinPool.reserved);
  const io = slot.dma.map(pin, 0, pages * 4096, DmaAccess.both, "bench");
  const start = frameOffset(frames[0]);
  const bytes = bank.bytes.subarray(start, start + pages * 4096);
  return { io, bytes, words: new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) };
}
const write = (offset, value) => slot.write(0, offset, 4, value >>> 0);
const settle = () => {
  while (interrupts.dispatch() + clock.runDue() > 0);
};

const SIZE = 256;
const rings = [0, 1].map(() => ({ sq: buffer(4), cq: buffer(1), tail: 0, head: 0, phase: 1 }));
const high = (address) => Math.floor(address / 2 ** 32);
function enqueue(ring, words) {
  const at = ring.tail * 16;
  for (let i = 0; i < 16; i++) ring.sq.words[at + i] = words[i];
  ring.tail = (ring.tail + 1) % SIZE;
}
function reap(ring, queue) {
  let count = 0;
  for (; ((ring.cq.words[ring.head * 4 + 3] >>> 16) & 1) === ring.phase; count++) {
    const status = ring.cq.words[ring.head * 4 + 3] >>> 17;
    if (status !== 0) throw new Error(`status ${status.toString(16)}`);
    if (++ring.head === SIZE) {
      ring.head = 0;
      ring.phase ^= 1;
    }
  }
  if (count > 0) write(0x1004 + 8 * queue, ring.head);
  return count;
}
function admin(words) {
  enqueue(rings[0], words);
  write(0x1000, rings[0].tail);
  settle();
  reap(rings[0], 0);
}

write(0x24, ((SIZE - 1) << 16) | (SIZE - 1));
write(0x28, rings[0].sq.io % 2 ** 32);
write(0x2c, high(rings[0].sq.io));
write(0x30, rings[0].cq.io % 2 ** 32);
write(0x34, high(rings[0].cq.io));
write(0x14, 0x0046_0001);
while (clock.skipToNextTimer()) settle();
for (const [opcode, ring] of [
  [5, rings[1].cq],
  [1, rings[1].sq],
]) {
  const words = new Uint32Array(16);
  words[0] = opcode;
  words[6] = ring.io % 2 ** 32;
  words[7] = high(ring.io);
  words[10] = ((SIZE - 1) << 16) | 1;
  words[11] = opcode === 5 ? 0x1_0003 : 0x1_0001;
  admin(words);
}

const data = buffer(64);
const list = buffer(1);
for (let i = 1; i < 64; i++) {
  // Every page by itself: nothing joins.
  const page = data.io + 4096 * ((i * 37) % 64);
  list.words[2 * (i - 1)] = page % 2 ** 32;
  list.words[2 * (i - 1) + 1] = high(page);
}

function measure(name, opcode, blocks, depth, commands, contiguous = false) {
  const words = new Uint32Array(16);
  words[0] = opcode;
  words[1] = 1;
  words[6] = data.io % 2 ** 32;
  words[7] = high(data.io);
  words[8] = blocks > 16 ? list.io % 2 ** 32 : (data.io + 4096) % 2 ** 32;
  words[9] = high(list.io);
  words[12] = blocks - 1;
  if (contiguous) {
    for (let i = 1; i < 64; i++) list.words[2 * (i - 1)] = (data.io + 4096 * i) % 2 ** 32;
  }
  const once = (count) => {
    const start = process.cpuUsage();
    for (let done = 0; done < count; ) {
      for (let i = 0; i < depth; i++) {
        words[10] = (done + i) & 0xffff;
        enqueue(rings[1], words);
      }
      write(0x1008, rings[1].tail);
      clock.runDue();
      interrupts.dispatch();
      const found = reap(rings[1], 1);
      if (found !== depth) throw new Error(`${found} completions of ${depth}`);
      done += depth;
    }
    const used = process.cpuUsage(start);
    return ((used.user + used.system) * 1000) / count;
  };
  once(commands / 4);
  const interruptsBefore = line.delivered;
  const rounds = [once(commands), once(commands), once(commands)].sort((a, b) => a - b);
  const each = (line.delivered - interruptsBefore) / (3 * commands);
  console.log(`${name.padEnd(36)} ${Math.round(rounds[1])} ns a command, ${each.toFixed(2)} interrupts`);
}

measure("read 4 KiB, depth 1", 2, 8, 1, 400_000);
measure("read 4 KiB, depth 32", 2, 8, 32, 400_000);
measure("write 4 KiB, depth 32", 1, 8, 32, 400_000);
measure("read 128 KiB, 32 scattered pages", 2, 256, 8, 100_000);
measure("read 128 KiB, contiguous", 2, 256, 8, 100_000, true);
