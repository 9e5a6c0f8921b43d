import { beforeEach, describe, expect, test } from "vitest";
import { atRest, failure, noise, type TestMachine, testMachine } from "../../test/support/native.js";
import { ArgumentError, DriverDiedError } from "../capability/errors.js";
import { Uart16550, type UartOptions } from "../devices/uart16550.js";
import { ScriptedTerminal } from "../ports/terminal.js";
import type { DeviceAccess } from "./driver-domain.js";
import { TerminalClient, TerminalLabel } from "./terminal-service.js";
import { UartDriver } from "./uart-driver.js";

let on: TestMachine;

beforeEach(async () => {
  on = await testMachine();
});

function rig(options: Partial<UartOptions> = {}) {
  const { machine } = on;
  const line = new ScriptedTerminal();
  const slot = machine.wire("uart16550", (host) => new Uart16550(host, { line, ...options }));
  const domain = machine.domain("uart", slot);
  const driver = UartDriver.start(domain);
  const terminal = new TerminalClient(domain.endpoint);
  const end = async () => {
    domain.kill("the test is over");
    await on.settled();
  };
  return { machine, line, slot, domain, driver, terminal, end };
}

/** Reads until so many bytes are there. */
async function readAll(terminal: TerminalClient, length: number): Promise<Uint8Array> {
  const all = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const some = await terminal.read(65_536);
    all.set(some, at);
    at += some.length;
  }
  return all;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe("reading", () => {
  test("min(sent, receive) arrives, and the sent length is told", async () => {
    const { machine, line, terminal, end } = rig();
    const region = machine.bank.bank();
    const space = region.region({ pages: 1 });
    line.type("hello world");
    await machine.idle();
    const receive = new Uint8Array(4);
    const reply = await machine.run(
      (async () => terminal.endpoint.call({ label: TerminalLabel.read, words: [9], receive }))(),
    );
    expect(reply).toMatchObject({ sentLength: 9, stringFault: false });
    expect(text(receive)).toBe("hell");
    expect(await machine.run(terminal.readInto(space, 100, 1))).toEqual({ stored: 1, sent: 1 });
    const stored = new Uint8Array(2);
    await space.read(100, stored);
    expect([...stored]).toEqual(["l".charCodeAt(0), 0]);
    expect(text(await machine.run(terminal.read()))).toBe("d");
    expect(machine.statistics.copies).toBe(3);
    await machine.bank.destroy(region);
    await end();
  });

  test("a reply into memory that is gone is discarded, and nobody waits for it", async () => {
    const { machine, line, terminal, end } = rig();
    const bank = machine.bank.bank();
    const space = bank.region({ pages: 1 });
    const lost = terminal.readInto(space, 0, 4);
    await machine.bank.destroy(bank);
    line.type("lost");
    expect(await machine.run(lost)).toEqual({ stored: 0, sent: 4 });
    line.type("next");
    expect(text(await machine.run(terminal.read()))).toBe("next");
    await end();
  });

  test("who asks first is served first", async () => {
    const { machine, line, terminal, end } = rig();
    const got: string[] = [];
    const readers = [1, 2, 3].map((most) => terminal.read(most).then((bytes) => got.push(text(bytes))));
    await atRest(machine);
    line.type("abbccc");
    await machine.run(Promise.all(readers));
    expect(got.join("")).toBe("abbccc");
    expect(got.map((piece) => piece[0])).toEqual(["a", "b", "c"]);
    await end();
  });

  test.each([0, -1, 1.5, Number.NaN])("at most %d bytes is refused", async (most) => {
    const { machine, terminal, domain, end } = rig();
    expect(await failure(machine.run(terminal.read(most)))).toBeInstanceOf(Error);
    expect(domain.dead).toBe(null);
    await end();
  });

  test("more than a string can hold is cut to it", async () => {
    const { machine, line, terminal, end } = rig();
    line.type("x");
    expect(text(await machine.run(terminal.read(1e12)))).toBe("x");
    await end();
  });

  test("a big paste that nobody reads at first is held back by RTS, and nothing is lost", async () => {
    const { machine, line, slot, driver, terminal, end } = rig();
    const paste = noise(100_000, 5);
    line.type(paste);
    await machine.idle();
    expect(slot.device.statistics.received).toBeLessThan(4200);
    const got = await machine.run(readAll(terminal, paste.length));
    expect(Buffer.compare(got, paste)).toBe(0);
    expect(slot.device.statistics).toMatchObject({ overruns: 0, received: paste.length });
    expect(driver.lineErrors).toBe(0);
    await end();
  });

  test("three bare wires: what comes while the reserved memory is full is lost, and what came before is not", async () => {
    const { machine, line, driver, terminal, end } = rig({ flowControl: "none" });
    const paste = noise(6000, 6);
    line.type(paste);
    await machine.idle();
    const got = await machine.run(readAll(terminal, 4096));
    expect(Buffer.compare(got, paste.subarray(0, 4096))).toBe(0);
    expect(driver.overruns).toBe(6000 - 4096);
    line.type("!");
    expect(text(await machine.run(terminal.read()))).toBe("!");
    await end();
  });

  test("damaged characters are counted", async () => {
    const { machine, slot, driver, terminal, end } = rig();
    slot.device.receive(65, 0x04);
    expect(text(await machine.run(terminal.read()))).toBe("A");
    expect(driver.lineErrors).toBe(1);
    await end();
  });
});

describe("writing", () => {
  test("of many KiB completes and arrives whole", async () => {
    const { machine, line, terminal, end } = rig();
    const bytes = noise(65_536, 8);
    await machine.run(terminal.write(bytes));
    await machine.run(terminal.drain());
    expect(Buffer.compare(line.shown, bytes)).toBe(0);
    await end();
  });

  test("more than a string can hold is refused", async () => {
    const { machine, line, terminal, end } = rig();
    expect(await failure(machine.run(terminal.write(new Uint8Array(65_537))))).toBeInstanceOf(ArgumentError);
    await machine.idle();
    expect(line.shown.length).toBe(0);
    await end();
  });

  test("of several clients at once: strings do not mix", async () => {
    const { machine, line, terminal, end } = rig();
    const strings = ["a", "b", "c", "d"].map((letter) => letter.repeat(10_000));
    await machine.run(Promise.all(strings.map((string) => terminal.write(new TextEncoder().encode(string)))));
    await machine.run(terminal.drain());
    expect(line.text).toBe(strings.join(""));
    await end();
  });

  test("nothing at all", async () => {
    const { machine, terminal, end } = rig();
    await machine.run(terminal.write(new Uint8Array(0)));
    await machine.run(terminal.drain());
    await end();
  });

  test("drain waits for the last character", async () => {
    const { machine, line, terminal, end } = rig();
    const before = machine.clock.now();
    await machine.run(terminal.write(new TextEncoder().encode("0123456789")));
    expect(line.shown.length).toBeLessThan(10);
    await machine.run(terminal.drain());
    expect(line.text).toBe("0123456789");
    // Ten bits a character at 115200 baud.
    expect(machine.clock.now() - before).toBeGreaterThanOrEqual(10 * 86_805);
    await end();
  });
});

test("the end of the driver: readers, writers and drainers learn of it, and another one can start", async () => {
  const { machine, line, slot, domain, terminal } = rig();
  const requests = [terminal.read(), terminal.write(new Uint8Array(50_000)), terminal.drain()];
  await atRest(machine);
  domain.kill("killed");
  for (const request of requests) expect(await failure(machine.run<unknown>(request))).toBeInstanceOf(DriverDiedError);
  await on.settled();
  const next = machine.domain("uart", slot);
  UartDriver.start(next);
  line.type("again");
  expect(text(await machine.run(readAll(new TerminalClient(next.endpoint), 5)))).toBe("again");
  next.kill("over");
  await on.settled();
});

describe("a line that misbehaves", () => {
  /** A UART whose registers say what `lie` makes of the truth. */
  function lying(lie: (register: number, truth: number) => number) {
    const { machine } = on;
    const slot = machine.wire("uart16550", (host) => new Uart16550(host, { line: new ScriptedTerminal() }));
    const device: DeviceAccess = {
      dma: slot.dma,
      line: slot.line,
      read: (bar, offset, size) => lie(offset, slot.read(bar, offset, size)),
      write: (bar, offset, size, value) => slot.write(bar, offset, size, value),
      configRead: (offset, size) => slot.configRead(offset, size),
      configWrite: () => {},
      quiesce: () => slot.quiesce(),
    };
    return { machine, slot, domain: machine.domain("uart", device) };
  }

  test("no UART at all is found out", async () => {
    const { domain } = lying(() => 0xff);
    expect(() => UartDriver.start(domain)).toThrow(/no UART/);
    expect(domain.dead).not.toBe(null);
    await on.settled();
  });

  test("one that always has another character does not stop the machine", async () => {
    let lies = false;
    const { machine, slot, domain } = lying((register, truth) =>
      lies && register === 2 ? 0xc4 : lies && register === 5 ? 0x61 : truth,
    );
    UartDriver.start(domain);
    lies = true;
    slot.device.receive(1);
    const terminal = new TerminalClient(domain.endpoint);
    await machine.run(terminal.read());
    expect(domain.dead).toBe(null);
    domain.kill("enough");
    await on.settled();
  });
});
