import type { DmaFault } from "../../bus/io-mmu.js";
import type { Machine } from "../../machine.js";
import { DmaAccess } from "../../memory/pin.js";
import { hex } from "../../util/bytes.js";
import type { CaseReport } from "./report.js";

const BUFFER_BYTES = 100;

/** What a device may not do: each kind of stray access, tried once on a buffer that a driver mapped for it. */
export function refusalsCase(machine: Machine): CaseReport {
  const authority = machine.budget.authority("stray");
  const device = machine.iommu.attach("stray");
  const other = machine.iommu.attach("another device");
  device.busMaster = true;
  other.busMaster = true;
  const frame = machine.kernel.allocateFrame();
  const pin = authority.tryPin([frame], 0, BUFFER_BYTES, DmaAccess.both, 0);
  const io = device.map(pin, 0, BUFFER_BYTES, DmaAccess.read, "stray_map_buffer");
  const faults: DmaFault[] = [];
  const forget = machine.iommu.events.on("fault", (fault) => faults.push(fault));
  const bytes = new Uint8Array(BUFFER_BYTES + 1);
  const allowed = device.read(io, bytes, 0, BUFFER_BYTES);
  device.read(io, bytes, 0, BUFFER_BYTES + 1);
  device.write(io, bytes, 0, 4);
  other.read(io, bytes, 0, 4);
  device.busMaster = false;
  device.read(io, bytes, 0, 4);
  device.busMaster = true;
  device.unmap(io, "stray_unmap_buffer");
  device.read(io, bytes, 0, 4);
  forget();
  authority.unpin(pin);
  machine.iommu.detach(device);
  machine.iommu.detach(other);
  machine.kernel.ram.release(frame);
  return {
    key: "refusals",
    title: "What the I/O MMU refuses",
    lines: [
      `mapped by stray_map_buffer: ${BUFFER_BYTES} bytes for the device to read; reading them all: ${allowed ? "allowed" : "refused"}`,
      ...faults.map(describe),
    ],
    figures: { allowed, refused: faults.map(({ reason, length, access }) => ({ reason, length, access })) },
  };
}

function describe({ device, reason, address, length, access, mapping }: DmaFault): string {
  const verb = access === DmaAccess.read ? "reads" : "writes";
  const unmapped = mapping?.unmapSite ?? null;
  const history =
    mapping === null ? "" : `; mapped by ${mapping.site}${unmapped === null ? "" : `, unmapped by ${unmapped}`}`;
  return `${reason.padEnd(16)} ${device} ${verb} ${length} bytes at ${hex(address)}${history}`;
}
