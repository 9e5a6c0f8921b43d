import { describe, expect, test } from "vitest";
import { ethernet, PEER } from "../../../test/support/e1000.js";
import { EVENT_INDEX, PACKED, RX, TX, VirtioNetRig } from "../../../test/support/virtio-net.js";
import { CommonField } from "./common-configuration.js";
import { DeviceStatus } from "./device-core.js";
import { NO_VECTOR } from "./interrupts.js";

const VENDOR_SPECIFIC = 9;

interface Structure {
  at: number;
  bytes: number;
  bar: number;
  offset: number;
  length: number;
}

/** The vendor capabilities by their type, as a driver's probe finds them (§4.1.4). */
function structures(rig: VirtioNetRig): Map<number, Structure> {
  const { slot } = rig;
  const found = new Map<number, Structure>();
  for (let at = slot.configRead(0x34, 1); at !== 0; at = slot.configRead(at + 1, 1)) {
    if (slot.configRead(at, 1) !== VENDOR_SPECIFIC) continue;
    found.set(slot.configRead(at + 3, 1), {
      at,
      bytes: slot.configRead(at + 2, 1),
      bar: slot.configRead(at + 4, 1),
      offset: slot.configRead(at + 8, 4),
      length: slot.configRead(at + 12, 4),
    });
  }
  return found;
}

describe("discovery", () => {
  test("the identity is that of a non-transitional network device", () => {
    const { slot } = new VirtioNetRig();
    expect(slot.configRead(0, 4)).toBe(0x1041_1af4);
    expect(slot.configRead(8, 4)).toBe(0x0200_0001);
    expect(slot.configRead(0x2c, 2)).toBe(0x1af4);
    expect(slot.configRead(0x2e, 2)).toBeGreaterThanOrEqual(0x40);
    expect(slot.configRead(0x3d, 1)).toBe(1);
  });

  test("all structures lie in the BAR, apart from each other", () => {
    const rig = new VirtioNetRig({ queuePairs: 8 });
    const found = structures(rig);
    expect([...found.keys()].sort()).toEqual([1, 2, 3, 4, 5]);
    expect(found.get(1)).toMatchObject({ bar: 0, length: 0x3c });
    expect(found.get(2)).toMatchObject({ bytes: 20, length: 4 * 17 });
    expect(rig.slot.configRead((found.get(2)?.at ?? 0) + 16, 4)).toBe(4);
    expect(found.get(4)?.length).toBe(24);
    const places = [1, 2, 3, 4].map((type) => found.get(type)?.offset ?? -1).sort((a, b) => a - b);
    for (let i = 0; i < places.length; i++) expect(places[i]).toBe(4096 * i);
    expect(rig.driver.get(CommonField.num_queues, 2)).toBe(17);
  });

  test("each queue has an address to be notified at, inside of its structure", () => {
    const rig = new VirtioNetRig();
    for (let queue = 0; queue < 3; queue++) {
      rig.driver.set(CommonField.queue_select, 2, queue);
      expect(rig.driver.get(CommonField.queue_notify_off, 2)).toBe(queue);
    }
    expect(structures(rig).get(2)?.length).toBeGreaterThanOrEqual(2 * 4 + 2);
  });
});

describe("common configuration", () => {
  test("a driver reads the features half by half", () => {
    const { driver } = new VirtioNetRig();
    driver.set(CommonField.device_feature_select, 4, 1);
    expect(driver.get(CommonField.device_feature, 4) & 0x107).toBe(0x107);
    driver.set(CommonField.device_feature_select, 4, 2);
    expect(driver.get(CommonField.device_feature, 4)).toBe(0);
    driver.set(CommonField.driver_feature_select, 4, 1);
    driver.set(CommonField.driver_feature, 4, 3);
    expect(driver.get(CommonField.driver_feature, 4)).toBe(3);
  });

  test("a selected queue that does not exist reads as zero", () => {
    const { driver } = new VirtioNetRig();
    driver.set(CommonField.queue_select, 2, 3);
    expect(driver.get(CommonField.queue_size, 2)).toBe(0);
    expect(driver.get(CommonField.queue_enable, 2)).toBe(0);
    driver.set(CommonField.queue_select, 2, 2);
    expect(driver.get(CommonField.queue_size, 2)).toBe(64);
  });

  test("a reset puts everything back", () => {
    const rig = new VirtioNetRig();
    const power = rig.nic.snapshot();
    rig.driver.start();
    rig.driver.status = 0;
    expect(rig.driver.status).toBe(0);
    const { config, msix, ...state } = rig.nic.snapshot();
    expect(state).toEqual({ ...power, config: undefined, msix: undefined });
    expect(rig.slot.line.asserted).toBe(false);
  });

  test.each([
    ["half of a field", CommonField.driver_feature, 2, 1, "virtio-access-size"],
    ["two fields at once", CommonField.queue_size, 4, 1, "virtio-access-size"],
    ["a field of the device", CommonField.num_queues, 2, 9, "virtio-read-only"],
    ["a size that is no power of 2", CommonField.queue_size, 2, 100, "virtio-queue-size"],
    ["a size beyond the largest", CommonField.queue_size, 2, 512, "virtio-queue-size"],
    ["no size", CommonField.queue_size, 2, 0, "virtio-queue-size"],
    ["a queue turned off", CommonField.queue_enable, 2, 0, "virtio-queue-disable"],
    ["a queue before the features", CommonField.queue_enable, 2, 1, "virtio-queue-early"],
    ["a queue's reset that was not accepted", CommonField.queue_reset, 2, 1, "virtio-queue-reset"],
    ["a vector beyond the table", CommonField.config_msix_vector, 2, 4, "virtio-vector"],
    ["a driver without features", CommonField.device_status, 1, 7, "virtio-driver-ok"],
  ] as const)("%s is a violation", (_, field, size, value, rule) => {
    const rig = new VirtioNetRig();
    rig.driver.set(field, size, value);
    expect(rig.rules).toEqual([rule]);
  });

  test("what a violation wrote has no effect", () => {
    const { driver } = new VirtioNetRig();
    driver.set(CommonField.queue_size, 2, 100);
    driver.set(CommonField.config_msix_vector, 2, 3);
    driver.set(CommonField.config_msix_vector, 2, 4);
    expect(driver.get(CommonField.queue_size, 2)).toBe(256);
    expect(driver.get(CommonField.config_msix_vector, 2)).toBe(NO_VECTOR);
    driver.status = DeviceStatus.ACKNOWLEDGE;
    driver.status = DeviceStatus.DRIVER;
    expect(driver.status).toBe(DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER);
  });

  test.each([
    ["split, descriptor area", [], 0, 8],
    ["split, driver area", [], 1, 1],
    ["split, device area", [], 2, 2],
    ["packed, descriptor area", [PACKED], 0, 8],
    ["packed, driver area", [PACKED], 1, 2],
    ["packed, device area", [PACKED], 2, 2],
  ])("%s (features %j): area %d must not be at %d", (_, features, area, offset) => {
    const rig = new VirtioNetRig();
    rig.driver.negotiate([32, 33, ...features]);
    rig.driver.set(CommonField.queue_desc + 8 * area, 4, offset);
    rig.driver.set(CommonField.queue_enable, 2, 1);
    expect(rig.driver.get(CommonField.queue_enable, 2)).toBe(0);
    expect(rig.rules).toEqual(["virtio-queue-alignment"]);
    rig.driver.set(CommonField.queue_desc + 8 * area, 4, 2 * offset);
    rig.driver.set(CommonField.queue_enable, 2, 1);
    expect(rig.driver.get(CommonField.queue_enable, 2)).toBe(1);
  });

  test("packed queues may have any size", () => {
    const rig = new VirtioNetRig({}, { features: [PACKED] });
    rig.driver.negotiate([32, 33, PACKED]);
    const queue = rig.driver.setUpQueue(TX, 5);
    rig.driver.queues[TX] = queue;
    rig.driver.status |= DeviceStatus.DRIVER_OK;
    for (let i = 0; i < 17; i++) {
      const frame = ethernet(PEER, 0x0800, 60, i);
      rig.queue(frame, {}, 2);
      expect(rig.kick()).toEqual([frame]);
      expect(queue.take()).not.toBeNull();
    }
    expect(rig.rules).toEqual([]);
  });

  test("a live queue cannot be changed", () => {
    const rig = new VirtioNetRig();
    rig.driver.start();
    rig.driver.set(CommonField.queue_select, 2, TX);
    rig.driver.set(CommonField.queue_size, 2, 64);
    rig.driver.set(CommonField.queue_desc, 4, 0);
    expect(rig.rules).toEqual(["virtio-queue-enabled", "virtio-queue-enabled"]);
    rig.queue(ethernet(PEER, 0x0800, 60));
    expect(rig.kick()).toHaveLength(1);
  });

  test.each([[[40]], [[40, PACKED]]])("a queue is reset alone, and set up again (features %j)", (features) => {
    const rig = new VirtioNetRig({}, { features });
    rig.driver.start();
    rig.queue(ethernet(PEER, 0x0800, 60));
    expect(rig.kick()).toHaveLength(1);
    rig.driver.set(CommonField.queue_select, 2, TX);
    rig.driver.set(CommonField.queue_reset, 2, 1);
    expect(rig.driver.get(CommonField.queue_reset, 2)).toBe(0);
    expect(rig.driver.get(CommonField.queue_enable, 2)).toBe(0);
    rig.queue(ethernet(PEER, 0x0800, 60));
    rig.driver.notify(TX);
    expect(rig.wire.sent).toEqual([]);
    expect(rig.rules).toEqual(["virtio-notify-queue"]);
    rig.driver.queues[TX] = rig.driver.setUpQueue(TX, 16);
    rig.queue(ethernet(PEER, 0x0800, 61));
    expect(rig.kick()).toHaveLength(1);
  });
});

describe("notifications", () => {
  test.each([
    ["the wrong queue's index", 0x3004, 2, 0, "virtio-notify"],
    ["an index in 4 bytes", 0x3004, 4, 1, "virtio-notify"],
    ["an address between two", 0x3002, 2, 0, "virtio-notify"],
    ["a queue that does not exist", 0x300c, 2, 3, "virtio-notify-queue"],
  ] as const)("%s is a violation", (_, offset, size, value, rule) => {
    const rig = new VirtioNetRig();
    rig.driver.start();
    rig.slot.write(0, offset, size, value);
    expect(rig.rules).toEqual([rule]);
  });

  test("before DRIVER_OK is too early, but the buffers are found", () => {
    const rig = new VirtioNetRig();
    rig.driver.negotiate([32, 33]);
    rig.driver.queues[TX] = rig.driver.setUpQueue(TX);
    rig.queue(ethernet(PEER, 0x0800, 60));
    rig.driver.notify(TX);
    expect(rig.rules).toEqual(["virtio-notify-early"]);
    expect(rig.wire.sent).toEqual([]);
    rig.driver.status |= DeviceStatus.DRIVER_OK;
    expect(rig.wire.sent).toHaveLength(1);
  });

  test("a queue without a vector is silent, and so is the configuration", () => {
    const rig = new VirtioNetRig();
    rig.driver.start();
    rig.driver.set(CommonField.queue_select, 2, TX);
    rig.driver.set(CommonField.queue_msix_vector, 2, NO_VECTOR);
    rig.driver.set(CommonField.config_msix_vector, 2, NO_VECTOR);
    rig.queue(ethernet(PEER, 0x0800, 60));
    rig.kick();
    rig.wire.setCarrier(false);
    rig.settle();
    expect(rig.driver.interrupts.size).toBe(0);
    expect(rig.slot.line.asserted).toBe(false);
  });

  test("the receive queue asks for no notification while nothing waits", () => {
    for (const features of [[], [PACKED]]) {
      const rig = new VirtioNetRig({}, { features });
      rig.driver.start();
      expect(rig.driver.queues[RX].mustNotify()).toBe(false);
      expect(rig.driver.queues[TX].mustNotify()).toBe(true);
    }
  });

  test("a masked vector stays pending", () => {
    const rig = new VirtioNetRig({}, { features: [EVENT_INDEX] });
    rig.driver.start();
    rig.slot.write(0, 0x4000 + 16 * 2 + 12, 4, 1);
    rig.tx.listen();
    rig.queue(ethernet(PEER, 0x0800, 60));
    rig.kick();
    expect(rig.driver.takeInterrupts(2)).toBe(0);
    expect(rig.slot.read(0, 0x5000, 4)).toBe(4);
    rig.slot.write(0, 0x4000 + 16 * 2 + 12, 4, 0);
    expect(rig.driver.takeInterrupts(2)).toBe(1);
  });
});

describe("the window in configuration space (§4.1.4.9)", () => {
  function aim(rig: VirtioNetRig, bar: number, offset: number, length: number): number {
    const at = structures(rig).get(5)?.at ?? 0;
    rig.slot.configWrite(at + 4, 1, bar);
    rig.slot.configWrite(at + 8, 4, offset);
    rig.slot.configWrite(at + 12, 4, length);
    return at + 16;
  }

  test("gives access to registers, also while the BAR is off", () => {
    const rig = new VirtioNetRig();
    rig.slot.configWrite(4, 2, 0);
    const data = aim(rig, 0, CommonField.queue_select, 2);
    rig.slot.configWrite(data, 2, 2);
    aim(rig, 0, CommonField.queue_size, 2);
    expect(rig.slot.configRead(data, 2)).toBe(64);
    aim(rig, 0, 0x2000, 1);
    expect(rig.slot.configRead(data, 1)).toBe(0x52);
    expect(rig.rules).toEqual([]);
  });

  test.each([
    [0, 0x8000, 4],
    [0, 0x7ffe, 4],
    [0, 2, 4],
    [0, 0, 3],
    [0, 0, 0],
    [1, 0, 4],
    [200, 0, 4],
    [0, 0xffff_ffff, 1],
  ])("BAR %d, offset %d, %d bytes: nothing is there", (bar, offset, length) => {
    const rig = new VirtioNetRig();
    const data = aim(rig, bar, offset, length);
    rig.slot.configRead(data, 4);
    expect(rig.rules).toEqual([]);
    rig.slot.configWrite(data, 4, 1);
    expect(rig.rules).toEqual(["virtio-window"]);
  });
});
