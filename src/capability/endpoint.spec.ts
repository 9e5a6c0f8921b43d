import { beforeEach, describe, expect, test, vi } from "vitest";
import { KernelRig, SlowStore, settled } from "../../test/support/kernel-rig.js";
import { PAGE_SIZE } from "../util/brand.js";
import { Restriction } from "./capability.js";
import { type EndpointCapability, type Message, type Received, STRING_LIMIT } from "./endpoint.js";
import { PageCapability } from "./page.js";

let rig: KernelRig;
let endpoint: EndpointCapability;

beforeEach(() => {
  rig = new KernelRig();
  endpoint = rig.prime.endpoint();
});

function string(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i % 253);
}

/** A call that is answered at once. */
function prompt(message: Parameters<EndpointCapability["call"]>[0]): Received {
  const reply = endpoint.call(message);
  if (reply instanceof Promise) throw new Error("the reply should be there at once");
  return reply;
}

const badLength = expect.objectContaining({ code: "length" });

describe("a call", () => {
  test("carries label, words, string and capabilities, and brings a reply of the same kind", () => {
    const page = rig.prime.page();
    const gift = rig.prime.page();
    let seen: Received | null = null;
    endpoint.serve((message) => {
      seen = message;
      return { label: 8, words: [9], string: string(3), capabilities: [gift] };
    });
    const receive = new Uint8Array(10);
    const reply = prompt({ label: 7, words: [1, 2], string: string(5), capabilities: [page], receive });
    expect(seen).toEqual({
      label: 7,
      words: [1, 2],
      string: string(5),
      sentLength: 5,
      stringFault: false,
      capabilities: [page],
    });
    expect(reply).toEqual({
      label: 8,
      words: [9],
      string: string(3),
      sentLength: 3,
      stringFault: false,
      capabilities: [gift],
    });
    expect(reply.string.buffer).toBe(receive.buffer);
  });

  test("is by value: neither side sees later changes by the other", () => {
    const held: Received[] = [];
    endpoint.serve((message) => {
      held.push(message);
      return { label: 0 };
    });
    const words = [1];
    const sent = string(4);
    const capabilities = [rig.prime.page()];
    prompt({ label: 1, words, string: sent, capabilities });
    words[0] = 2;
    sent.fill(99);
    capabilities.length = 0;
    expect(held[0].words).toEqual([1]);
    expect(held[0].string).toEqual(string(4));
    expect(held[0].capabilities.length).toBe(1);
  });

  test("capabilities that are passed keep their restrictions and can be invoked", () => {
    const page = rig.prime.page();
    endpoint.serve(({ capabilities: [theirs] }) => {
      if (!(theirs instanceof PageCapability)) throw new Error("a page was sent");
      expect(() => theirs.write(0, string(1))).toThrow(expect.objectContaining({ code: "rights" }));
      theirs.read(0, new Uint8Array(1));
      return { label: 1 };
    });
    expect(prompt({ label: 0, capabilities: [page.restrict(Restriction.readOnly)] }).label).toBe(1);
  });

  test("what the server throws reaches the caller", async () => {
    const broken = new Error("broken");
    endpoint.serve(({ label }) => {
      if (label === 0) throw broken;
      return Promise.reject(broken);
    });
    expect(() => endpoint.call({ label: 0 })).toThrow(broken);
    await expect(endpoint.call({ label: 1 })).rejects.toBe(broken);
  });

  test("while a server is at one message it serves others", async () => {
    const open: ((reply: Message) => void)[] = [];
    endpoint.serve(({ label }) => (label === 0 ? new Promise((resolve) => open.push(resolve)) : { label }));
    const slow = endpoint.call({ label: 0 });
    expect(prompt({ label: 5 }).label).toBe(5);
    open[0]({ label: 77 });
    expect((await slow).label).toBe(77);
  });

  test.each([
    ["argument", { label: 0.5 }],
    ["argument", { label: Number.NaN }],
    ["length", { label: 0, string: new Uint8Array(STRING_LIMIT + 1) }],
    ["length", { label: 0, words: new Array<number>(9).fill(0) }],
    ["length", { label: 0, capabilities: new Array<never>(9) }],
  ])("%s: too much, or no label, is refused before the server sees anything (%#)", (code, message) => {
    const server = vi.fn(() => ({ label: 0 }));
    endpoint.serve(server);
    expect(() => endpoint.call(message)).toThrow(expect.objectContaining({ code }));
    expect(server).not.toHaveBeenCalled();
  });
});

describe("strings", () => {
  test("of 65,536 bytes fit, both ways", () => {
    endpoint.serve(({ string: sent, sentLength }) => {
      expect([sent.length, sentLength]).toEqual([STRING_LIMIT, STRING_LIMIT]);
      return { label: 0, string: sent };
    });
    const receive = new Uint8Array(STRING_LIMIT);
    prompt({ label: 0, string: string(STRING_LIMIT), receive });
    expect(receive).toEqual(string(STRING_LIMIT));
  });

  test("are cut to the receiver's limit, which learns how much was sent", () => {
    const seen: Received[] = [];
    endpoint.serve((message) => {
      seen.push(message);
      return { label: 0 };
    }, 3);
    for (const length of [0, 2, 3, 4, 1000]) prompt({ label: 0, string: string(length) });
    expect(seen.map((message) => [message.string.length, message.sentLength])).toEqual([
      [0, 0],
      [2, 2],
      [3, 3],
      [3, 4],
      [3, 1000],
    ]);
    for (const limit of [-1, STRING_LIMIT + 1, 0.5]) {
      expect(() => endpoint.serve(() => ({ label: 0 }), limit)).toThrow(badLength);
    }
  });

  test.each([
    [0, 0],
    [0, 5],
    [5, 0],
    [5, 3],
    [5, 5],
    [5, 8],
    [200, 150],
  ])("a reply of %d bytes into a buffer of %d: the lesser arrives, nothing beyond is touched", (sent, room) => {
    endpoint.serve(() => ({ label: 0, string: string(sent) }));
    const memory = new Uint8Array(room + 2).fill(0xaa);
    const reply = prompt({ label: 0, receive: memory.subarray(1, room + 1) });
    const length = Math.min(sent, room);
    expect([reply.string.length, reply.sentLength, reply.stringFault]).toEqual([length, sent, false]);
    expect(memory.subarray(1, 1 + length)).toEqual(string(length));
    expect(memory.subarray(1 + length).every((byte) => byte === 0xaa)).toBe(true);
    expect(memory[0]).toBe(0xaa);

    const space = rig.prime.region({ pages: 1 });
    const into = prompt({ label: 0, receive: { space, offset: 100, length: room } });
    expect([into.string, into.sentLength, into.stringFault]).toEqual([string(length), sent, false]);
    const page = new Uint8Array(PAGE_SIZE);
    space.read(0, page);
    expect(page.subarray(100, 100 + length)).toEqual(string(length));
    expect(page.subarray(100 + length).every((byte) => byte === 0)).toBe(true);
  });

  test("a reply without a buffer for its string loses it; its length is told", () => {
    endpoint.serve(() => ({ label: 0, string: string(9) }));
    expect(prompt({ label: 0 })).toMatchObject({ sentLength: 9, stringFault: false });
  });

  test("into a space over several pages", () => {
    const space = rig.prime.region({ pages: 17 });
    endpoint.serve(() => ({ label: 0, string: string(STRING_LIMIT) }));
    prompt({ label: 0, receive: { space, offset: 77, length: STRING_LIMIT } });
    const back = new Uint8Array(STRING_LIMIT);
    space.read(77, back);
    expect(back).toEqual(string(STRING_LIMIT));
  });

  test.each([
    { offset: 0, length: -1 },
    { offset: -1, length: 4 },
    { offset: 0, length: Number.NaN },
    { offset: 0.5, length: 4 },
    { offset: 2 ** 60, length: 4 },
  ])("a receive range of %j is refused before the server sees anything", (range) => {
    const server = vi.fn(() => ({ label: 0 }));
    endpoint.serve(server);
    const space = rig.prime.region({ pages: 1 });
    expect(() => endpoint.call({ label: 0, receive: { space, ...range } })).toThrow(badLength);
    expect(server).not.toHaveBeenCalled();
  });
});

describe("a hostile receive buffer never holds up the server", () => {
  test.each(["absent", "missing", "read-only", "Void", "destroyed meanwhile", "beyond the end"])(
    "%s: the string is discarded and marked, the rest of the reply arrives",
    async (kind) => {
      const store = new SlowStore(rig);
      let space = rig.prime.region({ pages: 2 });
      let offset = PAGE_SIZE - 4;
      if (kind === "absent") space.setSlot(1, new PageCapability(rig.prime.storePage(store)));
      if (kind === "missing") space.setSlot(1, null);
      if (kind === "read-only") space.setSlot(1, space.getSlot(1)?.restrict(Restriction.readOnly) ?? null);
      if (kind === "beyond the end") offset = 2 ** 40;
      const whole = space;
      if (kind === "Void") space = rig.prime.rescind(space);
      const receiver = kind === "Void" ? whole : space;
      endpoint.serve(() => {
        if (kind === "destroyed meanwhile") rig.prime.destroy(space);
        return { label: 4, words: [5], string: string(8) };
      });
      const reply = prompt({ label: 0, receive: { space: receiver, offset, length: 8 } });
      expect(reply).toEqual({
        label: 4,
        words: [5],
        string: new Uint8Array(0),
        sentLength: 8,
        stringFault: true,
        capabilities: [],
      });
      if (kind === "absent" || kind === "missing" || kind === "read-only") {
        const first = new Uint8Array(4);
        await space.read(PAGE_SIZE - 4, first);
        expect(first).toEqual(new Uint8Array(4));
      }
      expect(store.fetches).toEqual([]);
    },
  );
});

describe("without a server", () => {
  test("callers wait in order; the message is taken when it is sent", async () => {
    const log: number[] = [];
    const words = [1];
    const sent = string(2);
    const first = endpoint.call({ label: 1, words, string: sent });
    const second = endpoint.call({ label: 2 });
    words[0] = 99;
    sent.fill(99);
    await settled();
    endpoint.serve((message) => {
      log.push(message.label);
      if (message.label === 1) expect([message.words, message.string]).toEqual([[1], string(2)]);
      return { label: message.label * 10 };
    });
    expect([(await first).label, (await second).label]).toEqual([10, 20]);
    expect(log).toEqual([1, 2]);
  });

  test("the endpoint's destruction fails those who wait", async () => {
    const waiting = endpoint.call({ label: 1 });
    rig.prime.destroy(endpoint);
    await expect(waiting).rejects.toMatchObject({ code: "void" });
  });
});

describe("the end of a server", () => {
  test("destroyed with calls in flight: all of them are Void, late replies go nowhere", async () => {
    const open: { resolve: (reply: Message) => void; reject: (error: Error) => void }[] = [];
    endpoint.serve(() => new Promise((resolve, reject) => open.push({ resolve, reject })));
    const calls = [endpoint.call({ label: 1 }), endpoint.call({ label: 2 })];
    rig.prime.destroy(endpoint);
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: "void" });
    open[0].resolve({ label: 1 });
    open[1].reject(new Error("late"));
    await settled();
    expect(() => endpoint.call({ label: 1 })).toThrow(expect.objectContaining({ code: "void" }));
    expect(() => endpoint.serve(() => ({ label: 0 }))).toThrow(expect.objectContaining({ code: "void" }));
  });

  test("abandoned: calls in flight fail with the reason, later ones wait for the next server", async () => {
    endpoint.serve(() => new Promise(() => {}));
    const inFlight = endpoint.call({ label: 1 });
    const died = new Error("the driver died");
    endpoint.abandon(died);
    await expect(inFlight).rejects.toBe(died);
    const later = endpoint.call({ label: 2 });
    endpoint.serve(({ label }) => ({ label }));
    expect((await later).label).toBe(2);
  });

  test("a server that dies while it is being called: that call fails too", async () => {
    const died = new Error("the driver died");
    endpoint.serve(() => {
      endpoint.abandon(died);
      return new Promise(() => {});
    });
    await expect(endpoint.call({ label: 1 })).rejects.toBe(died);
    endpoint.serve(async ({ label }) => ({ label }));
    expect((await endpoint.call({ label: 3 })).label).toBe(3);
  });

  test("a reply that was under way before the end arrives", async () => {
    endpoint.serve(async () => ({ label: 5 }));
    const reply = endpoint.call({ label: 1 });
    expect((await reply).label).toBe(5);
    endpoint.abandon(new Error("gone"));
  });
});

test("so many calls may wait for one endpoint and no more", async () => {
  endpoint.serve(() => new Promise(() => {}));
  for (let i = 0; i < 16_384; i++) void Promise.resolve(endpoint.call({ label: 0 })).catch(() => {});
  expect(() => endpoint.call({ label: 0 })).toThrow(expect.objectContaining({ code: "busy" }));
  endpoint.abandon(new Error("gone"));
  endpoint.serve(() => ({ label: 9 }));
  expect(await endpoint.call({ label: 0 })).toMatchObject({ label: 9 });
});
