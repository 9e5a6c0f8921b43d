// IPC round trip, I/O MMU map + unmap, and what a transfer costs pinned, copied, and as a bare memcpy.
import { EndpointCapability } from "../dist/capability/endpoint.js";
import { PinControl, PinControlCapability } from "../dist/capability/pin-control.js";
import { Machine } from "../dist/machine.js";
import { DmaAccess } from "../dist/memory/pin.js";
import { PinPool } from "../dist/memory/pin-budget.js";
import { interleaved, row } from "./measure.mjs";

const SIZES = [64, 512, 4096, 16_384, 65_536, 131_072, 1_048_576];

export async function benchKernel() {
  const machine = await Machine.create({ memory: "64MiB" });
  const rows = [...(await ipc(machine)), ...(await ioMmu(machine)), ...(await transfers(machine))];
  return rows;
}

async function ipc(machine) {
  const endpoint = machine.bank.endpoint();
  const client = endpoint.restrict(0);
  if (!(client instanceof EndpointCapability)) throw new Error("not an endpoint");
  const answer = { label: 0 };
  endpoint.serve((message) => (message.label === 1 ? answer : { label: 0, string: message.string }));
  const deferred = machine.bank.endpoint();
  deferred.serve(async () => answer);
  const N = 200_000;
  const string = new Uint8Array(64).fill(7);
  const receive = new Uint8Array(64);
  const best = await interleaved({
    prompt: {
      units: N,
      run: async () => {
        for (let i = 0; i < N; i++) await client.call({ label: 1 });
      },
    },
    string: {
      units: N,
      run: async () => {
        for (let i = 0; i < N; i++) await client.call({ label: 2, string, receive });
      },
    },
    deferred: {
      units: N,
      run: async () => {
        for (let i = 0; i < N; i++) await deferred.call({ label: 1 });
      },
    },
  });
  return [
    row("ipc call + reply, awaited", best.prompt, "ns", "aim <= 300"),
    row("ipc with 64-byte strings both ways", best.string, "ns"),
    row("ipc, server replies by a promise", best.deferred, "ns"),
  ];
}

async function ioMmu(machine) {
  const context = machine.iommu.attach("bench");
  const authority = machine.budget.authority("bench");
  const frame = machine.kernel.allocateFrame();
  const pin = authority.tryPin([frame], 0, 4096, DmaAccess.both, PinPool.solicited);
  const N = 200_000;
  const frames = [frame];
  const map = () => {
    for (let i = 0; i < N; i++) context.unmap(context.map(pin, 0, 2048, DmaAccess.both, "bench"), "bench");
  };
  const pinned = () => {
    for (let i = 0; i < N; i++) authority.unpin(authority.tryPin(frames, 0, 4096, DmaAccess.both, PinPool.solicited));
  };
  context.busMaster = true;
  const address = context.map(pin, 0, 4096, DmaAccess.both, "bench");
  const buffer = new Uint8Array(64);
  const access = () => {
    for (let i = 0; i < N; i++) context.read(address + (i & 63) * 16, buffer, 0, 16);
  };
  // Long-lived mappings of other buffers stand in the way, as they do in a machine at work.
  const crowd = Array.from({ length: 512 }, () => context.map(pin, 0, 4096, DmaAccess.both, "crowd"));
  const best = await interleaved({
    map: { run: map, units: N },
    pin: { run: pinned, units: N },
    access: { run: access, units: N },
  });
  for (const one of crowd) context.unmap(one, "crowd");
  context.unmap(address, "bench");
  authority.unpin(pin);
  return [
    row("I/O MMU map + unmap", best.map, "ns", "aim <= 150; 512 others mapped"),
    row("pin + unpin of a frame", best.pin, "ns"),
    row("checked device read of 16 bytes", best.access, "ns"),
  ];
}

/** A device writes `size` bytes into a client's memory: by pin and map, or into the driver's and by copied string. */
async function transfers(machine) {
  const { kernel } = machine;
  const context = machine.iommu.attach("bench transfer");
  context.busMaster = true;
  const pins = new PinControlCapability(new PinControl(machine.budget.authority("bench transfer")));
  const region = machine.bank.region({ pages: 256 });
  const own = machine.bank.region({ pages: 256, contiguous: true });
  const ownPin = pins.tryPin({
    space: own,
    offset: 0,
    length: 1 << 20,
    access: DmaAccess.both,
    pool: PinPool.reserved,
  });
  const ownIo = context.map(ownPin, 0, 1 << 20, DmaAccess.both, "bench");
  const data = new Uint8Array(1 << 20).map((_, i) => i);
  const target = new Uint8Array(1 << 20);
  const driverBytes = kernel.ram.bytes.subarray((ownPin.frames[0] & 0xfffff) * 4096);
  const rows = [];
  for (const size of SIZES) {
    const units = Math.max(20, Math.min(20_000, Math.floor((1 << 25) / size)));
    const loop = (step) => () => {
      for (let i = 0; i < units; i++) step();
    };
    const pinned = () => {
      const pin = pins.tryPin({ space: region, offset: 0, length: size, access: DmaAccess.write });
      const io = context.map(pin, 0, size, DmaAccess.write, "bench");
      const spans = context.spans(io, size, DmaAccess.write);
      for (let i = 0, at = 0; i < spans.length; at += spans[i].length, i++)
        spans[i].set(data.subarray(at, at + spans[i].length));
      context.unmap(io, "bench");
      pins.unpin(pin);
    };
    // Case 1 in pieces of at most 64 KiB: device -> driver memory -> copied string -> the client's buffer.
    const copied = () => {
      context.write(ownIo, data, 0, size);
      for (let at = 0; at < size; at += 65_536) {
        const string = driverBytes.slice(at, Math.min(size, at + 65_536));
        target.set(string, at);
      }
    };
    const plain = () => target.set(size === data.length ? data : data.subarray(0, size));
    const best = await interleaved(
      {
        pinned: { run: loop(pinned), units },
        copied: { run: loop(copied), units },
        plain: { run: loop(plain), units },
      },
      5,
    );
    const bytes = size >= 1024 ? `${size / 1024} KiB` : `${size} B`;
    rows.push(
      row(`transfer of ${bytes}: pinned`, best.pinned, "ns"),
      row(`transfer of ${bytes}: copied`, best.copied, "ns", `${(best.copied / best.pinned).toFixed(2)}x pinned`),
      row(`transfer of ${bytes}: memcpy`, best.plain, "ns", `pinned is ${(best.pinned / best.plain).toFixed(2)}x`),
    );
  }
  return rows;
}
