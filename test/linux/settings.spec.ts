import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BROADCAST } from "../support/e1000.js";
import { difference, frameOf, framesOfSizes, NEVER_SEEN, PEER_ADDRESS } from "../support/frames.js";
import { BOOT_PATIENCE, LinuxRig, linuxKernel, NOTHING_LEFT } from "../support/linux-driver.js";

const SECONDS = 1_000_000_000;
const GROUP = Uint8Array.of(0x01, 0x00, 0x5e, 0x7f, 0x01, 0x02);
const OTHER_GROUP = Uint8Array.of(0x33, 0x33, 0x00, 0x00, 0x12, 0x34);
const STRIP = "rx-vlan-hw-parse";
const FILTER = "rx-vlan-filter";

/** Longest frames, and MTUs that the driver refuses, by what each of them says. */
const DRIVERS = [
  { name: "e1000", mtu: 16_096, refused: 16_111 },
  { name: "8139cp", mtu: 4096, refused: 4097 },
  { name: "8139too", mtu: 1770, refused: 1771 },
  { name: "pcnet32", mtu: 1500, refused: 1501 },
  { name: "virtio_net", mtu: 9000, refused: 65_536 },
];

/** Whether a register tells the adapter that frames are there to be sent. */
function isDoorbell(name: string, offset: number): boolean {
  switch (name) {
    case "e1000":
      return offset === 0x3818;
    case "8139cp":
      return offset === 0xd9;
    case "8139too":
      return offset >= 0x10 && offset < 0x20;
    default:
      // This one waits for the wire to be free.
      return false;
  }
}

const kernel = linuxKernel("6.1");

describe.skipIf(typeof kernel === "string").each(DRIVERS)("$name", ({ name, mtu, refused }) => {
  let rig: LinuxRig;
  beforeAll(async () => {
    if (typeof kernel !== "string") rig = await LinuxRig.up(await kernel, name);
  }, BOOT_PATIENCE);
  afterAll(() => rig?.[Symbol.asyncDispose]());

  const set = async (work: Promise<void>): Promise<void> => {
    await rig.machine.run(work);
    await rig.pass();
  };
  const arrives = async (frame: Uint8Array): Promise<boolean> => {
    const received = await rig.receive([frame]);
    if (received.length > 0) expect(difference(received, [frame])).toBeNull();
    return received.length > 0;
  };
  const to = (address: Uint8Array, vlan?: number): Uint8Array =>
    frameOf({ to: address, length: 200, ...(vlan === undefined ? {} : { vlan }) });

  test("the driver sees the cable come and go", async () => {
    rig.wire.setCarrier(false);
    await rig.pass(10 * SECONDS);
    expect(rig.device.linkUp).toBe(false);
    await expect(rig.machine.run(rig.client.sendCopy(to(PEER_ADDRESS)))).rejects.toMatchObject({ code: "link-down" });
    rig.wire.setCarrier(true);
    await rig.pass(10 * SECONDS);
    expect(rig.device.linkUp).toBe(true);
    expect(difference(await rig.send([to(PEER_ADDRESS)]), [to(PEER_ADDRESS)])).toBeNull();
    expect(await arrives(to(rig.device.macAddress))).toBe(true);
  });

  test("promiscuous or not", async () => {
    expect(await arrives(to(NEVER_SEEN))).toBe(true);
    await set(rig.device.setPromiscuous(false));
    expect(await arrives(to(NEVER_SEEN))).toBe(false);
    expect(await arrives(to(rig.device.macAddress))).toBe(true);
    expect(await arrives(to(BROADCAST))).toBe(true);
  });

  test("groups are for those that joined them", async () => {
    expect(await arrives(to(GROUP))).toBe(false);
    await set(rig.device.setMulticast(GROUP, true));
    expect(await arrives(to(GROUP))).toBe(true);
    expect(await arrives(to(OTHER_GROUP))).toBe(false);
    await set(rig.device.setMulticast(GROUP, false));
    expect(await arrives(to(GROUP))).toBe(false);
    await set(rig.device.setAllMulticast(true));
    expect([await arrives(to(GROUP)), await arrives(to(OTHER_GROUP)), await arrives(to(NEVER_SEEN))]).toEqual([
      true,
      true,
      false,
    ]);
    await set(rig.device.setAllMulticast(false));
    expect(await arrives(to(OTHER_GROUP))).toBe(false);
  });

  test("VLANs are filtered where the adapter can", async () => {
    const { macAddress } = rig.device;
    if (!rig.device.ethtool.has(FILTER)) {
      expect(await arrives(to(macAddress, 5))).toBe(true);
      return;
    }
    await set(rig.device.setVlan(5, true));
    expect([await arrives(to(macAddress, 5)), await arrives(to(macAddress, 6))]).toEqual([true, false]);
    await set(rig.device.setVlan(6, true));
    await set(rig.device.setVlan(5, false));
    expect([await arrives(to(macAddress, 5)), await arrives(to(macAddress, 6))]).toEqual([false, true]);
    await set(rig.device.setPromiscuous(true));
    expect(await arrives(to(macAddress, 7))).toBe(true);
    await set(rig.device.setPromiscuous(false));
    await set(rig.device.setVlan(6, false));
  });

  test("tags that the adapter takes off are put back", async () => {
    await set(rig.device.setPromiscuous(true));
    if (!rig.device.ethtool.canChange(STRIP)) {
      await expect(
        rig.machine.run(rig.device.ethtool.set(STRIP, !rig.device.ethtool.has(STRIP))),
      ).rejects.toMatchObject({
        code: "net-feature",
      });
      return;
    }
    expect(rig.device.ethtool.has(STRIP)).toBe(false);
    await set(rig.device.ethtool.set(STRIP, true));
    expect(rig.device.ethtool.has(STRIP)).toBe(true);
    expect(await arrives(to(rig.device.macAddress, 0x0abc))).toBe(true);
    await set(rig.device.ethtool.set(STRIP, false));
    expect(await arrives(to(rig.device.macAddress, 0xeabc))).toBe(true);
  });

  test("frames as long as the driver allows", async () => {
    await expect(rig.machine.run(rig.device.setMtu(refused))).rejects.toThrow(
      new RegExp(`^eth0 refuses an MTU of ${refused}: it takes \\d\\d to ${refused - 1}$`),
    );
    const { mtu: before } = rig.device;
    await set(rig.device.setMtu(mtu));
    expect(await rig.driver.link()).toBe(true);
    expect(rig.device.mtu).toBe(mtu);
    const longest = mtu + 14;
    const frames = framesOfSizes(rig.device.macAddress, 12, 60, longest);
    expect(difference(await rig.receive(frames), frames)).toBeNull();
    expect(difference(await rig.send(frames), frames)).toBeNull();
    await set(rig.device.setMtu(before));
    expect(await rig.driver.link()).toBe(true);
    expect(await arrives(to(rig.device.macAddress))).toBe(true);
  });

  test("nothing of this is a finding", () => {
    expect(rig.findings).toEqual([]);
  });

  test.skipIf(name === "virtio_net")("a device that sends nothing is noticed, and works again after that", async () => {
    const { device, slot } = rig;
    const frame = to(PEER_ADDRESS);
    const write = slot.write.bind(slot);
    rig.wire.busy = true;
    slot.write = (bar, offset, size, value) => {
      if (!isDoorbell(name, offset)) write(bar, offset, size, value);
    };
    const notice = name === "e1000" ? /Detected Tx Unit Hang/ : /NETDEV WATCHDOG.*transmit queue 0 timed out/;
    const noticed: string[] = [];
    rig.driver.domain.services.events.on("console", ({ text }) => {
      if (!notice.test(text)) return;
      noticed.push(text);
      slot.write = write;
      rig.wire.busy = false;
    });
    let last = "";
    for (let i = 0; i < 2000; i++) last = device.send(frame, 0, frame.length);
    expect(last).toBe("busy");
    await rig.pass(30 * SECONDS);
    expect(noticed.length).toBeGreaterThan(0);
    if (name === "e1000") {
      // It stops its queue anew each time that it looks, which the kernel takes for progress: nobody resets it.
      await set(device.down());
      await set(device.up());
    }
    expect(await rig.driver.link()).toBe(true);
    const frames = framesOfSizes(PEER_ADDRESS, 20, 60, 1514);
    const sent = await rig.send(frames);
    expect(difference(sent.slice(-frames.length), frames)).toBeNull();
  });

  test("after all this it unloads, and leaves nothing behind", async () => {
    expect(await rig.unload()).toEqual(NOTHING_LEFT);
    expect(rig.findings).toEqual([]);
  });
});
