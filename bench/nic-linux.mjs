// The unmodified e1000.ko on the 82540EM model: frames handed to the driver as fast as it takes them, to a wire that hashes
// them, and frames from the wire as fast as the driver takes them, hashed where the kernel hands them over.
// In a process of its own, started by LinuxNic.open: what others do to the types that V8 has seen must not slow it down.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { I82540em } from "../dist/devices/i82540em.js";
import { LinuxDriver } from "../dist/linux/driver.js";
import { Machine } from "../dist/machine.js";
import { openKernel } from "../dist/node/kernel-store.js";
import { HashWire, mixFrame } from "../dist/ports/wire-hash.js";
import { checkDigest, NumberedFrame } from "./nic-frames.mjs";

/** Fewer than the driver posts buffers for: nothing is to be dropped. */
const LOT = 200;

/** Measures in a child. */
export class LinuxNic {
  #child;
  #gone;

  /** @throws Error if the child cannot have a driver, with the reason */
  static async open() {
    const nic = new LinuxNic();
    await nic.#answer();
    return nic;
  }

  constructor() {
    this.#child = fork(fileURLToPath(import.meta.url), { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#gone = once(this.#child, "exit").then(() => [{ error: "the process with the driver has ended" }]);
  }

  /** @returns nanoseconds a frame */
  async transmit(length, packets) {
    return await this.#ask({ direction: "transmit", length, packets });
  }

  /** @returns nanoseconds a frame */
  async receive(length, packets) {
    return await this.#ask({ direction: "receive", length, packets });
  }

  async close() {
    if (this.#child.connected) this.#child.disconnect();
    await this.#gone;
  }

  async #ask(question) {
    this.#child.send(question);
    return (await this.#answer()).nanoseconds;
  }

  async #answer() {
    const [answer] = await Promise.race([once(this.#child, "message"), this.#gone]);
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }
}

/** Tells when the last of so many frames has come: drivers and kernels may hold the last ones back for a while. */
class AwaitingWire extends HashWire {
  #last = 0;
  #arrived = () => {};

  next(frames) {
    this.#last = this.frames + frames;
    return new Promise((resolve) => {
      this.#arrived = resolve;
    });
  }

  send(bytes, offset, length) {
    super.send(bytes, offset, length);
    if (this.frames === this.#last) this.#arrived();
  }
}

/** What the child has. */
class LinuxNicHost {
  static async open() {
    const machine = await Machine.create({ memory: "64MiB" });
    const wire = new AwaitingWire();
    const slot = machine.plug("e1000", (host) => new I82540em(host, { wire }));
    const driver = await LinuxDriver.load(machine, await openKernel(), { name: "e1000", file: null }, slot);
    const { device } = await driver.startNetwork();
    if (!(await driver.link())) throw new Error("e1000.ko has no link");
    return new LinuxNicHost(machine, wire, driver.domain, device);
  }

  constructor(machine, wire, domain, device) {
    Object.assign(this, { machine, wire, domain, device });
  }

  async transmit(length, packets) {
    const { machine, wire, domain, device } = this;
    const frame = new NumberedFrame(length);
    const { digest } = wire;
    let handed = 0;
    // The driver takes frames until its ring is full, and more whenever everything has come to rest.
    domain.onQuiet = () => {
      while (handed < packets && !domain.services.execution.busy) {
        frame.number(handed);
        const result = domain.guarded(() => device.send(frame.bytes, 0, length));
        if (result === "busy") return;
        if (result !== "sent") throw domain.dead ?? new Error("the kernel dropped a frame");
        handed++;
      }
    };
    const haveArrived = wire.next(packets);
    const start = process.hrtime.bigint();
    machine.clock.timer(() => domain.onQuiet()).arm(0);
    await machine.run(haveArrived);
    const elapsed = Number(process.hrtime.bigint() - start);
    checkDigest(wire.digest, frame.digest(digest, packets));
    return elapsed / packets;
  }

  async receive(length, packets) {
    const { machine, wire, domain, device } = this;
    const frame = new NumberedFrame(length);
    let produced = 0;
    let consumed = 0;
    let digest = 0;
    let view = new DataView(new ArrayBuffer(0));
    device.onFrame = (bytes, offset, size) => {
      if (view.buffer !== bytes.buffer) view = new DataView(bytes.buffer);
      digest = mixFrame(digest, view, bytes.byteOffset + offset, size);
      consumed++;
    };
    const source = machine.clock.timer(() => {
      for (let i = 0; i < LOT && produced < packets; i++, produced++) {
        frame.number(produced);
        wire.deliver(frame.bytes, 0, length);
      }
    });
    const isAllTaken = new Promise((resolve) => {
      domain.onQuiet = () => {
        if (consumed === packets) resolve();
        else if (consumed === produced) source.arm(0);
      };
    });
    const start = process.hrtime.bigint();
    source.arm(0);
    await machine.run(isAllTaken);
    const elapsed = Number(process.hrtime.bigint() - start);
    checkDigest(digest, frame.digest(0, packets));
    return elapsed / packets;
  }
}

async function answerQuestions() {
  const host = await LinuxNicHost.open();
  process.on("message", async ({ direction, length, packets }) => {
    try {
      process.send({ nanoseconds: await host[direction](length, packets) });
    } catch (error) {
      process.send({ error: error.message });
    }
  });
  process.send({});
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await answerQuestions().catch((error) => {
    process.send?.({ error: error.message });
    process.disconnect?.();
  });
}
