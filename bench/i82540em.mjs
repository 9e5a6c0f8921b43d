// Nanoseconds of processor time a packet takes in the 82540EM model: descriptors posted by the bare minimum of a driver.
// Transmission goes to a wire that counts, reception comes from a wire that delivers one frame again and again.
const dist = process.env.KORRAL_DIST ?? new URL("../dist", import.meta.url).pathname;
const load = (path) => import(`${dist}/${path}`);
const { Clock } = await load("bus/clock.js");
const { InterruptController } = await load("bus/interrupts.js");
const { IoMmu } = await load("bus/io-mmu.js");
const { PciBus } = await load("bus/pci-bus.js");
const { PhysicalMemory, frameOffset } = await load("memory/physical-memory.js");
const { PinBudget, PinPool } = await load("memory/pin-budget.js");
const { DmaAccess } = await load("memory/pin.js");
const { I82540em } = await load("devices/i82540em.js");
const { HashWire } = await load("ports/wire-hash.js");

const RING = 256;
const PACKETS = 2_000_000;

const memory = new PhysicalMemory();
const bank = memory.addBank(64 * 1024 * 1024);
const budget = new PinBudget(memory, { bound: 16384, reserved: 8192 });
const authority = budget.authority("bench");
const iommu = new IoMmu(memory);
const interrupts = new InterruptController();
const bus = new PciBus(new Clock(), interrupts, iommu);

class Wire extends HashWire {
  hash = false;
  send(bytes, offset, length) {
    if (this.hash) super.send(bytes, offset, length);
    else this.frames++;
  }
}
const wire = new Wire();
const slot = bus.plug("e1000", (host) => new I82540em(host, { wire }));
slot.configWrite(4, 2, 7);

function buffer(pages) {
  const frames = Array.from({ length: pages }, () => bank.allocate());
  const pin = authority.tryPin(frames, 0, pages * 4096, DmaAccess.both, PinPool.reserved);
  const io = slot.dma.map(pin, 0, pages * 4096, DmaAccess.both, "bench", 32);
  const start = frameOffset(frames[0]);
  return { io, bytes: bank.bytes.subarray(start, start + pages * 4096) };
}
const ring = buffer(1);
const words = new Uint32Array(ring.bytes.buffer, ring.bytes.byteOffset, RING * 4);
const data = buffer(RING / 2);
iommu.events.on("fault", (fault) => {
  throw new Error(JSON.stringify(fault));
});
const write = (offset, value) => slot.write(0, offset, 4, value);
write(0x0, 0x240); // CTRL.SLU

function transmit(length) {
  write(0x3800, ring.io);
  write(0x3808, RING * 16);
  write(0x3810, 0);
  write(0x3818, 0);
  write(0x400, 0xa);
  let tail = 0;
  const start = process.cpuUsage();
  for (let sent = 0; sent < PACKETS; ) {
    for (let i = 0; i < 32; i++, sent++) {
      const at = tail * 4;
      words[at] = data.io + tail * 2048;
      words[at + 1] = 0;
      words[at + 2] = 0x0b00_0000 | length;
      words[at + 3] = 0;
      tail = (tail + 1) & (RING - 1);
    }
    slot.write(0, 0x3818, 4, tail);
  }
  const nanoseconds = (process.cpuUsage(start).user * 1000) / PACKETS;
  write(0x400, 0);
  return nanoseconds;
}

function receive(length, rctl) {
  const frame = new Uint8Array(length).fill(0x5a);
  frame.set([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
  for (let i = 0; i < RING; i++) {
    words[4 * i] = data.io + i * 2048;
    words[4 * i + 1] = 0;
  }
  write(0x2800, ring.io);
  write(0x2808, RING * 16);
  write(0x2810, 0);
  write(0x2818, RING - 1);
  write(0x100, rctl);
  let next = 0;
  const start = process.cpuUsage();
  for (let got = 0; got < PACKETS; ) {
    for (let i = 0; i < 32; i++, got++) {
      wire.deliver(frame, 0, length);
      if ((words[4 * next + 3] & 1) === 0) throw new Error("a frame was not stored");
      words[4 * next + 3] = 0;
      next = (next + 1) & (RING - 1);
    }
    slot.write(0, 0x2818, 4, (next - 1) & (RING - 1));
  }
  const nanoseconds = (process.cpuUsage(start).user * 1000) / PACKETS;
  write(0x100, 0);
  return nanoseconds;
}

const EN_BAM = 0x8002;
const EN_BAM_SECRC = 0x0400_8002;
for (const length of [60, 1514]) {
  const rows = { transmit: [], hashed: [], receive: [], "receive with FCS": [] };
  for (let round = 0; round < 3; round++) {
    wire.hash = false;
    rows.transmit.push(transmit(length));
    wire.hash = true;
    rows.hashed.push(transmit(length));
    rows.receive.push(receive(length, EN_BAM_SECRC));
    rows["receive with FCS"].push(receive(length, EN_BAM));
  }
  for (const [name, times] of Object.entries(rows)) {
    console.log(`${String(length).padStart(5)} bytes  ${name.padEnd(18)} ${Math.min(...times).toFixed(1)} ns/packet`);
  }
}
