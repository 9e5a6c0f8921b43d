import { expect, test } from "vitest";
import { testMachine } from "../../test/support/native.js";
import { udp } from "../../test/support/network.js";
import { compileFilter, LONGEST_COMPILED } from "../filter/compile.js";
import { frameOffset } from "../memory/physical-memory.js";
import { ReceiveDemultiplexer } from "./demultiplexed.js";
import { PacketRing } from "./packet-ring.js";

async function rig() {
  const { machine } = await testMachine();
  const buffer = frameOffset(machine.kernel.allocateFrame());
  const { ram } = machine.kernel;
  const demultiplexer = new ReceiveDemultiplexer(ram, machine.statistics);
  const session = (filter: string) => {
    const space = machine.bank.region({ pages: 2 });
    const ring = new PacketRing({ space, offset: 0, slots: 4, slotBytes: 2048 });
    return { name: filter, program: compileFilter(filter), ring };
  };
  const arrive = (port: number): boolean => {
    const frame = udp(port);
    ram.bytes.set(frame, buffer);
    return demultiplexer.deliver(buffer, frame.length);
  };
  return { machine, demultiplexer, session, arrive };
}

test("a filter that is too much is refused, and all sessions go on as before", async () => {
  const { demultiplexer, session, arrive } = await rig();
  const first = session("udp port 1");
  demultiplexer.open(first);
  const filler = { code: 0, jt: 0, jf: 0, k: 0 };
  const accept = { code: 6, jt: 0, jf: 0, k: 1 };
  const program = [...new Array(LONGEST_COMPILED - 1).fill(filler), accept];
  const large = { ...session(""), program };
  let opened = 0;
  expect(() => {
    for (; opened < 1000; opened++) demultiplexer.open(large);
  }).toThrow(/instructions/);
  expect(opened).toBeGreaterThan(0);
  expect(demultiplexer.sessions.length).toBe(1 + opened);
  expect(arrive(1)).toBe(true);
  expect(first.ring.delivered).toBe(1);
  expect(arrive(10)).toBe(true);
  expect(large.ring.delivered).toBe(1);
});

test("the default goes with its session", async () => {
  const { machine, demultiplexer, session, arrive } = await rig();
  const some = session("udp port 1");
  demultiplexer.open(some);
  expect(arrive(2)).toBe(false);
  demultiplexer.setDefault(some);
  expect(arrive(2)).toBe(true);
  demultiplexer.close(some);
  expect(arrive(2)).toBe(false);
  expect(arrive(1)).toBe(false);
  expect(machine.statistics).toMatchObject({ unclaimed: 3, dropped: 0, copies: 1 });
});
