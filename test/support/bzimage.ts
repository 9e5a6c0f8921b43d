export interface BzImage {
  readonly payload: Uint8Array;
  /** Where it is to differ from what the payload has. */
  readonly payloadLength?: number;
  readonly payloadOffset?: number;
  readonly protocol?: number;
  readonly xloadflags?: number;
  readonly version?: string;
}

/** A bzImage of one setup sector, whose version stands in the second. */
export function bzImageOf(image: BzImage): Uint8Array {
  const bytes = new Uint8Array(1024 + image.payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0x1f1] = 1;
  view.setUint16(0x1fe, 0xaa55, true);
  bytes.set(new TextEncoder().encode("HdrS"), 0x202);
  view.setUint16(0x206, image.protocol ?? 0x20f, true);
  view.setUint16(0x20e, 0x300 - 0x200, true);
  view.setUint16(0x236, image.xloadflags ?? 1, true);
  view.setUint32(0x248, image.payloadOffset ?? 0, true);
  view.setUint32(0x24c, image.payloadLength ?? image.payload.length, true);
  bytes.set(new TextEncoder().encode(`${image.version ?? "1.2.3-4-test (nobody) #1 SMP"}\0`), 0x300);
  bytes.set(image.payload, 1024);
  return bytes;
}

/** No more than a header and a banner. */
export function vmlinuxOf(banner = "Linux version 1.2.3-4-test (nobody) #1 SMP", machine = 62): Uint8Array {
  const bytes = new Uint8Array(4096);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  bytes[18] = machine;
  bytes.set(new TextEncoder().encode(`Linux version %s\0LLinux version ${banner.slice(14)}\n\0`), 100);
  return bytes;
}

/** As the kernel's build does: the unpacked size goes behind what is packed. */
export function withSize(packed: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(packed.length + 4);
  bytes.set(packed);
  new DataView(bytes.buffer).setUint32(packed.length, size, true);
  return bytes;
}
