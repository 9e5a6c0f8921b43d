import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ExitStatus, KorralError } from "../../src/util/errors.js";
import { difference, frameOf, framesOfSizes, PEER_ADDRESS } from "../support/frames.js";
import { BOOT_PATIENCE, LinuxRig, linuxKernel, NOTHING_LEFT } from "../support/linux-driver.js";
import { failure } from "../support/native.js";
import { Broken, patchedModule } from "../support/patched-module.js";

const FEW_INSTRUCTIONS = 20_000_000;

const kernel = linuxKernel("6.1");

/** The error that a promise is rejected with, which is to be one of Korral's. */
async function failureOf(work: Promise<unknown>): Promise<KorralError> {
  const error = await failure(work);
  if (error instanceof KorralError) return error;
  throw error;
}

describe.skipIf(typeof kernel === "string")("a driver that goes wrong", () => {
  let rig: LinuxRig;
  let intact: Uint8Array;
  beforeAll(async () => {
    if (typeof kernel === "string") return;
    rig = await LinuxRig.create(await kernel, "e1000");
    intact = rig.kernel.moduleBytes("e1000");
  }, BOOT_PATIENCE);
  afterAll(() => rig?.[Symbol.asyncDispose]());

  const broken = (symbol: string, code: readonly number[]): Uint8Array =>
    patchedModule(intact, "e1000.ko", symbol, code);
  const load = async (module: Uint8Array): Promise<void> => {
    await rig.load({
      module,
      onDomain: ({ services }) => {
        services.execution.budget = FEW_INSTRUCTIONS;
      },
    });
    await rig.start();
  };
  const nothingHeld = (): void => expect(rig.residue()).toEqual({ pinned: 0, mapped: 0 });

  test(
    "in its interrupt handler",
    async () => {
      const error = await failureOf(load(broken("e1000_intr", Broken.nullPointer)));
      expect(error.message).toMatch(/^null pointer: read of 8 bytes at 0x0{15}8, at e1000_intr\+0x0/);
      expect(error.exitStatus).toBe(ExitStatus.findings);
      expect(rig.driver.access.dead).toMatch(/null pointer/);
      nothingHeld();
    },
    BOOT_PATIENCE,
  );

  test(
    "in its probe",
    async () => {
      const error = await failureOf(load(broken("e1000_probe", Broken.bug)));
      expect(error.message).toMatch(/invalid opcode at ud2, at e1000_probe\+0x0/);
      expect(error.exitStatus).toBe(ExitStatus.findings);
      nothingHeld();
    },
    BOOT_PATIENCE,
  );

  test(
    "in a loop that does not end",
    async () => {
      const error = await failureOf(load(broken("e1000_open", Broken.hang)));
      expect(error.message).toMatch(/^the budget of instructions is used up, at e1000_open\+0x0/);
      nothingHeld();
    },
    BOOT_PATIENCE,
  );

  test(
    "whose probe fails",
    async () => {
      const error = await failureOf(load(broken("e1000_probe", Broken.outOfMemory)));
      expect(error.message).toBe(
        "e1000 registered no network device: it has not bound to the device: its probe failed, and the console may say why",
      );
      expect(error.exitStatus).toBe(ExitStatus.driverFailed);
      await rig.driver.unload();
      nothingHeld();
    },
    BOOT_PATIENCE,
  );

  test(
    "whose initialisation fails",
    async () => {
      const error = await failureOf(load(broken("init_module", Broken.outOfMemory)));
      expect(error.message).toBe("e1000 does not start: its initialisation returned -12");
      expect(error.exitStatus).toBe(ExitStatus.driverFailed);
      nothingHeld();
    },
    BOOT_PATIENCE,
  );

  test(
    "while frames are under way: their senders hear of it, and get their memory back",
    async () => {
      await load(broken("e1000_xmit_frame", Broken.bug));
      const { machine, client } = rig;
      const bank = machine.bank.bank();
      const space = bank.region({ pages: 2 });
      const frame = frameOf({ to: PEER_ADDRESS, length: 1514 });
      await machine.run(Promise.resolve(space.write(0, frame)));
      const sending = failureOf(client.send(space, [{ offset: 0, length: frame.length }]));
      const error = await machine.run(sending);
      expect(error).toMatchObject({ code: "driver-died", exitStatus: ExitStatus.driverFailed });
      expect(error.message).toMatch(/^e1000 died: invalid opcode at ud2, at e1000_xmit_frame\+0x0/);
      await machine.run(Promise.resolve(machine.bank.destroy(bank)));
      nothingHeld();
      const again = await failureOf(machine.run(client.sendCopy(frame)));
      expect(again.exitStatus).toBe(ExitStatus.driverFailed);
    },
    BOOT_PATIENCE,
  );

  test(
    "the machine takes the intact driver after all that",
    async () => {
      await load(intact);
      const frames = framesOfSizes(rig.device.macAddress, 30, 60, 1514);
      expect(difference(await rig.receive(frames), frames)).toBeNull();
      expect(difference(await rig.send(frames), frames)).toBeNull();
      expect(await rig.unload()).toEqual(NOTHING_LEFT);
      await load(intact);
      expect(difference(await rig.receive(frames), frames)).toBeNull();
      expect(await rig.unload()).toEqual(NOTHING_LEFT);
    },
    BOOT_PATIENCE,
  );
});
