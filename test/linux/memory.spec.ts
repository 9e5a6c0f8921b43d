import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NetworkClient } from "../../src/drivers/network-service.js";
import type { LinuxDomain } from "../../src/linux/domain.js";
import { frameOf, framesOfSizes, PEER_ADDRESS } from "../support/frames.js";
import { BOOT_PATIENCE, LinuxRig, linuxKernel } from "../support/linux-driver.js";
import { TestSession } from "../support/network.js";
import { Broken, patchedModule } from "../support/patched-module.js";

const FEW_INSTRUCTIONS = 20_000_000;
const MOST_COLLECTIONS = 20;

setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

const kernel = linuxKernel("6.1");

/** Each case loads a driver and has it end in another way; nothing of its domain may be reached after that. */
describe.skipIf(typeof kernel === "string")("the memory of a domain goes with it", () => {
  let rig: LinuxRig;
  let intact: Uint8Array;
  const domains: { readonly domain: WeakRef<LinuxDomain>; readonly bank: number }[] = [];
  /** What a client may go on holding. */
  const clients: unknown[] = [];

  beforeAll(async () => {
    if (typeof kernel === "string") return;
    rig = await LinuxRig.create(await kernel, "e1000");
    intact = rig.kernel.moduleBytes("e1000");
  }, BOOT_PATIENCE);
  afterAll(() => rig?.[Symbol.asyncDispose]());

  const load = async (module?: Uint8Array): Promise<void> => {
    await rig.load({
      ...(module === undefined ? {} : { module }),
      onDomain: (domain) => {
        domain.services.execution.budget = FEW_INSTRUCTIONS;
        domains.push({ domain: new WeakRef(domain), bank: domain.bank.index });
      },
    });
    await rig.start();
  };
  /** A client with a session that is open and frames that are under way. */
  const used = async (module?: Uint8Array): Promise<void> => {
    await load(module);
    const client = new NetworkClient(rig.driver.access.endpoint);
    const session = await TestSession.open(rig.machine, client);
    const frame = frameOf({ to: PEER_ADDRESS, length: 1514 });
    await rig.machine.run(Promise.resolve(session.space.write(0, frame)));
    const sending = client.send(session.space, [{ offset: 0, length: frame.length }]);
    sending.catch(() => {});
    clients.push(client, session, sending);
  };
  const broken = (symbol: string, code: readonly number[]): Uint8Array =>
    patchedModule(intact, "e1000.ko", symbol, code);

  /** What becomes of the newest domain when nobody holds the driver any more. */
  const isCollected = async (): Promise<boolean> => {
    rig.forget();
    const last = domains.at(-1);
    if (last === undefined) throw new Error("no domain was made");
    expect(() => rig.machine.memory.bank(last.bank)).toThrow(expect.objectContaining({ code: "bank-released" }));
    for (let i = 0; i < MOST_COLLECTIONS && last.domain.deref() !== undefined; i++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      collectGarbage();
    }
    return last.domain.deref() === undefined;
  };

  const ends: [string, () => Promise<void>][] = [
    [
      "when it is unloaded",
      async () => {
        await load();
        await rig.receive(framesOfSizes(rig.device.macAddress, 5, 60, 1514));
        await rig.send(framesOfSizes(PEER_ADDRESS, 5, 60, 1514));
        await rig.unload();
      },
    ],
    [
      "when it is killed with a client's frames under way",
      async () => {
        await used();
        rig.driver.access.kill("for a test");
      },
    ],
    [
      "when it faults in its interrupt handler",
      () => load(broken("e1000_intr", Broken.nullPointer)).then(unexpected, () => {}),
    ],
    ["when it faults in its probe", () => load(broken("e1000_probe", Broken.bug)).then(unexpected, () => {})],
    ["when it hangs", () => load(broken("e1000_open", Broken.hang)).then(unexpected, () => {})],
    [
      "when it faults while it is to send",
      async () => {
        await used(broken("e1000_xmit_frame", Broken.bug));
        await rig.pass();
      },
    ],
    ["when its initialisation fails", () => load(broken("init_module", Broken.outOfMemory)).then(unexpected, () => {})],
  ];
  test.each(ends)(
    "%s",
    async (_, end) => {
      await end();
      expect(await isCollected()).toBe(true);
      expect(rig.residue()).toEqual({ pinned: 0, mapped: 0 });
    },
    BOOT_PATIENCE,
  );
});

function unexpected(): never {
  throw new Error("it did not fail");
}
