import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LinuxDomain } from "../../src/linux/domain.js";
import type { Script } from "../../src/linux/scripts.js";
import type { GuestAddress } from "../../src/util/guest-address.js";
import { BOOT_PATIENCE, LinuxRig, linuxKernel, NOTHING_LEFT } from "../support/linux-driver.js";
import { Broken, patchedModule } from "../support/patched-module.js";

/** A lock that nobody holds is all zeroes. */
const LOCK_BYTES = 256;
const A_WHILE = 20;

describe.each(["6.1", "6.12"])("PREEMPT_RT, Linux %s", (series) => {
  const kernel = linuxKernel(series, "rt-amd64");
  describe.skipIf(typeof kernel === "string")("locks", () => {
    let rig: LinuxRig;
    let domain: LinuxDomain;
    let lock: GuestAddress;
    let log: string[];

    beforeAll(async () => {
      if (typeof kernel === "string") return;
      rig = await LinuxRig.up(await kernel, "e1000");
      domain = rig.driver.domain;
    }, BOOT_PATIENCE);
    afterAll(() => rig?.[Symbol.asyncDispose]());

    const fresh = (): void => {
      lock = domain.services.heap.allocate(LOCK_BYTES);
      log = [];
    };
    const holds = function* (name: string, kind: string, milliseconds: number): Script<void> {
      yield [`${kind}_lock`, lock];
      log.push(`${name} has it`);
      if (milliseconds > 0) yield ["msleep", milliseconds];
      log.push(`${name} lets go`);
      yield [`${kind}_unlock`, lock];
    };
    const inTurn = (...names: string[]): string[] => names.flatMap((name) => [`${name} has it`, `${name} lets go`]);
    const run = (...scripts: readonly (readonly [name: string, steps: Script<void>])[]): Promise<unknown> =>
      rig.machine.run(Promise.all(scripts.map(([name, steps]) => domain.script(name, steps))));

    test.each(["rt_spin", "mutex"])(
      "%s: whoever comes while another holds it waits until that lets go",
      async (kind) => {
        fresh();
        await run(["a", holds("a", kind, A_WHILE)], ["b", holds("b", kind, A_WHILE)], ["c", holds("c", kind, 0)]);
        expect(log).toEqual(inTurn("a", "b", "c"));
        domain.services.heap.free(lock);
      },
    );

    test("readers keep a writer out, and a writer readers", async () => {
      fresh();
      const reads = function* (name: string): Script<void> {
        yield ["rt_read_lock", lock];
        log.push(`${name} reads`);
        yield ["msleep", A_WHILE];
        log.push(`${name} has read`);
        yield ["rt_read_unlock", lock];
      };
      // A lock that nobody has has a bias, so that readers are counted from there.
      const bias = domain.services.guest.offset("rwbase_rt.readers");
      domain.services.guest.write((lock + bias) as GuestAddress, 4, 0x8000_0000);
      await run(["a", reads("a")], ["b", reads("b")], ["w", holds("w", "rt_write", A_WHILE)], ["c", reads("c")]);
      expect(log.slice(0, 6)).toEqual(["a reads", "b reads", "a has read", "b has read", "w has it", "w lets go"]);
      expect(log.slice(6)).toEqual(["c reads", "c has read"]);
      domain.services.heap.free(lock);
    });

    test("a thread that is woken while it waits for a lock finds that when it has it", async () => {
      fresh();
      const { guest, threads } = domain.services;
      const state = guest.field("task_struct.__state");
      const [interruptible, running] = [1, 0];
      let found = -1;
      const sleeper = function* (): Script<void> {
        const task = threads.currentTask;
        state.set(task, interruptible);
        yield ["rt_spin_lock", lock];
        found = state.get(task);
        yield ["rt_spin_unlock", lock];
      };
      const wakes = function* (): Script<void> {
        const task = threads.all.find(({ name }) => name === "sleeper")?.task ?? 0;
        yield ["wake_up_process", task];
      };
      await run(["a", holds("a", "rt_spin", A_WHILE)], ["sleeper", sleeper()], ["waker", wakes()]);
      expect(found).toBe(running);
      await run(["a", holds("a", "rt_spin", A_WHILE)], ["sleeper", sleeper()]);
      expect(found).toBe(interruptible);
      domain.services.heap.free(lock);
    });

    test("what softirqs call may wait, and threads and interrupts go on meanwhile", async () => {
      fresh();
      const { guest, rcu, time } = domain.services;
      const holder = function* (): Script<void> {
        yield ["mutex_lock", lock];
        rcu.add(lock, guest.symbol("mutex_lock"));
        rcu.add(lock, guest.symbol("mutex_unlock"));
        yield ["msleep", A_WHILE];
        log.push(rcu.pending === 1 ? "one callback has begun" : `${rcu.pending} are left`);
        const others = time.now();
        yield ["msleep", A_WHILE];
        log.push(time.now() > others ? "time goes on" : "time stands still");
        yield ["mutex_unlock", lock];
        yield ["rcu_barrier"];
        log.push(`${rcu.pending} are left`);
      };
      await run(["holder", holder()]);
      expect(log).toEqual(["one callback has begun", "time goes on", "0 are left"]);
      domain.services.heap.free(lock);
    });

    test("RCU waits for who holds a spin lock", async () => {
      fresh();
      const { guest, heap, rcu } = domain.services;
      const holder = function* (): Script<void> {
        yield ["rt_spin_lock", lock];
        rcu.add(heap.allocate(LOCK_BYTES), guest.symbol("kfree"));
        yield ["msleep", A_WHILE];
        log.push(`${rcu.pending} callback waits`);
        yield ["rt_spin_unlock", lock];
      };
      const waits = function* (): Script<void> {
        yield ["synchronize_rcu"];
        log.push("no reader is left");
        yield ["rcu_barrier"];
        log.push(`${rcu.pending} are left`);
      };
      await run(["holder", holder()], ["waiter", waits()]);
      expect(log).toEqual(["1 callback waits", "no reader is left", "0 are left"]);
      domain.services.heap.free(lock);
    });

    test("it unloads, and leaves nothing behind", async () => {
      expect(await rig.unload()).toEqual(NOTHING_LEFT);
      expect(rig.findings).toEqual([]);
    });
  });

  test.skipIf(typeof kernel === "string")(
    "a driver that dies in its handler gives the line back",
    async () => {
      if (typeof kernel === "string") return;
      await using broken = await LinuxRig.create(await kernel, "e1000");
      const bytes = broken.kernel.moduleBytes("e1000");
      await broken.load({ module: patchedModule(bytes, "e1000.ko", "e1000_intr", Broken.nullPointer) });
      await expect(broken.start()).rejects.toThrow(/^null pointer: read of 8 bytes at 0x0{15}8, at e1000_intr\+0x0/);
      await broken.load();
      await broken.start();
      expect(broken.device.linkUp).toBe(true);
      expect(await broken.unload()).toEqual(NOTHING_LEFT);
    },
    BOOT_PATIENCE,
  );
});
