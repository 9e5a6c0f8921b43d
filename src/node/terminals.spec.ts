import { EventEmitter, once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import { afterEach, describe, expect, test } from "vitest";
import { EnvironmentError, UsageError } from "../util/errors.js";
import { loopbackAddress } from "./address.js";
import { TcpTerminal } from "./terminal-tcp.js";
import { attachTty } from "./terminal-tty.js";

describe("a loopback address", () => {
  // biome-ignore format: a table
  test.each([
    ["2323",             "127.0.0.1", 2323],
    [":2323",            "127.0.0.1", 2323],
    ["127.0.0.1:0",      "127.0.0.1", 0],
    ["127.1.2.3:65535",  "127.1.2.3", 65_535],
    ["localhost:1",      "localhost", 1],
    ["[::1]:80",         "::1",       80],
  ])("%s", (text, host, port) => {
    expect(loopbackAddress(text)).toEqual({ host, port });
  });

  test.each([
    "",
    "x",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:65536",
    "127.0.0.1:-1",
    "::1:80",
    "[::1]",
    "[localhost]:80",
    "0.0.0.0:80",
    "192.0.2.1:80",
    "[::]:80",
    "example.org:80",
    "127.0.0.1.example.org:80",
    "127.0.0.1:80 ",
  ])("not '%s'", (text) => {
    expect(() => loopbackAddress(text)).toThrow(UsageError);
  });
});

describe("TcpTerminal", () => {
  const open: (Socket | TcpTerminal)[] = [];
  afterEach(async () => {
    for (const each of open.splice(0)) {
      if (each instanceof TcpTerminal) await each[Symbol.asyncDispose]();
      else each.destroy();
    }
  });
  const listen = async () => {
    const terminal = await TcpTerminal.listen("127.0.0.1:0");
    open.push(terminal);
    return terminal;
  };
  const attach = async (terminal: TcpTerminal) => {
    const socket = connect(terminal.address);
    open.push(socket);
    await once(socket, "connect");
    return socket;
  };
  const until = async (condition: () => boolean) => {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  };

  test("tells when its client has no more to say, and still answers", async () => {
    let hangups = 0;
    const terminal = await TcpTerminal.listen("127.0.0.1:0", { onHangup: () => hangups++ });
    open.push(terminal);
    const input: string[] = [];
    terminal.onInput((bytes) => input.push(new TextDecoder().decode(bytes)));
    const socket = connect({ ...terminal.address, allowHalfOpen: true });
    open.push(socket);
    const heard: Uint8Array[] = [];
    socket.on("data", (data: Uint8Array) => heard.push(data));
    socket.end("last words");
    while (hangups === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(input.join("")).toBe("last words");
    terminal.write(new TextEncoder().encode("answer"));
    terminal.close();
    await once(socket, "close");
    expect(Buffer.concat(heard).toString()).toBe("answer");
    expect(hangups).toBe(1);
  });

  test("tells when its client breaks off", async () => {
    let hungUp: () => void = () => {};
    const hangup = new Promise<void>((resolve) => {
      hungUp = resolve;
    });
    const terminal = await TcpTerminal.listen("127.0.0.1:0", { onHangup: () => hungUp() });
    open.push(terminal);
    const socket = connect(terminal.address);
    await once(socket, "connect");
    socket.resetAndDestroy();
    await hangup;
    while (terminal.attached) await new Promise((resolve) => setImmediate(resolve));
  });

  test("holds a client's bytes back while it is asked to", async () => {
    const terminal = await listen();
    let received = 0;
    terminal.onInput((bytes) => {
      received += bytes.length;
    });
    terminal.hold(true);
    const socket = connect(terminal.address);
    open.push(socket);
    await once(socket, "connect");
    const paste = new Uint8Array(4 << 20).fill(65);
    socket.write(paste);
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(received).toBe(0);
    terminal.hold(false);
    while (received < paste.length) await new Promise((resolve) => setImmediate(resolve));
  });

  test("passes bytes both ways", async () => {
    const terminal = await listen();
    const typed: number[] = [];
    terminal.onInput((bytes) => typed.push(...bytes));
    const socket = await attach(terminal);
    await until(() => terminal.attached);
    socket.write(Uint8Array.of(1, 3, 0x1d));
    await until(() => typed.length === 3);
    expect(typed).toEqual([1, 3, 0x1d]);
    terminal.write(Uint8Array.of(65, 66));
    const [shown] = await once(socket, "data");
    expect([...shown]).toEqual([65, 66]);
  });

  test("one client at a time; after it the next", async () => {
    const terminal = await listen();
    const first = await attach(terminal);
    await until(() => terminal.attached);
    const second = await attach(terminal);
    const [refusal] = await once(second, "data");
    expect(String(refusal)).toContain("somebody else is attached");
    await once(second, "close");
    first.destroy();
    await until(() => !terminal.attached);
    terminal.write(Uint8Array.of(1, 2, 3));
    expect(terminal.lost).toBe(3);
    await attach(terminal);
    await until(() => terminal.attached);
  });

  test("a client that does not read costs no memory without bound", async () => {
    const terminal = await listen();
    const socket = await attach(terminal);
    socket.pause();
    await until(() => terminal.attached);
    for (let i = 0; i < 200; i++) terminal.write(new Uint8Array(65_536));
    expect(terminal.lost).toBeGreaterThan(65_536 * 100);
  });

  test("what was written last arrives before it closes", async () => {
    const terminal = await listen();
    const socket = await attach(terminal);
    await until(() => terminal.attached);
    terminal.write(Uint8Array.of(66));
    terminal.close();
    terminal.close();
    const [shown] = await once(socket, "data");
    expect([...shown]).toEqual([66]);
    await terminal[Symbol.asyncDispose]();
  });

  test("a port that is taken is a matter of the surroundings", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const address = other.address();
    const port = typeof address === "object" ? address?.port : 0;
    const failure = await TcpTerminal.listen(`127.0.0.1:${port}`).catch((error: unknown) => error);
    other.close();
    expect(failure).toBeInstanceOf(EnvironmentError);
    expect(failure).toMatchObject({
      exitStatus: 6,
      code: "port-taken",
      message: expect.stringContaining(`127.0.0.1:${port}`),
    });
  });
});

describe("attachTty", () => {
  const make = (isTTY: boolean) => {
    const modes: boolean[] = [];
    const input = Object.assign(new PassThrough(), {
      isTTY,
      setRawMode(raw: boolean) {
        modes.push(raw);
        return input;
      },
    });
    const output = new PassThrough();
    const lifetime = Object.assign(new EventEmitter(), {
      exits: [] as number[],
      exit: (status: number) => void lifetime.exits.push(status),
    });
    const detached: string[] = [];
    const line = attachTty(input as never, output as never, { lifetime, onDetach: () => detached.push("detached") });
    const typed: number[] = [];
    line.onInput((bytes) => typed.push(...bytes));
    return { modes, input, output, lifetime, line, typed, detached };
  };

  test("sets raw mode, passes each key, and restores the mode on close, once", () => {
    const { modes, input, output, lifetime, line, typed } = make(true);
    expect(modes).toEqual([true]);
    input.emit("data", Buffer.from([3, 4, 27]));
    expect(typed).toEqual([3, 4, 27]);
    line.write(Uint8Array.of(65));
    expect(output.read()).toEqual(Buffer.from("A"));
    line.close();
    line.close();
    line.write(Uint8Array.of(65));
    expect(output.read()).toBeNull();
    expect(modes).toEqual([true, false]);
    expect(lifetime.eventNames()).toEqual([]);
    expect(input.listenerCount("data")).toBe(0);
  });

  test("restores the mode when the process ends", () => {
    const { modes, lifetime } = make(true);
    lifetime.emit("exit");
    expect(modes).toEqual([true, false]);
  });

  test.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
    ["SIGINT", 130],
  ])("restores the mode on %s", (signal, status) => {
    const { modes, lifetime } = make(true);
    lifetime.emit(signal);
    expect(modes).toEqual([true, false]);
    expect(lifetime.exits).toEqual([status]);
  });

  test("Ctrl-] detaches and goes no further", () => {
    const { input, typed, detached } = make(true);
    input.emit("data", Buffer.from([0x61, 0x1d, 0x62]));
    expect([typed, detached]).toEqual([[0x61], ["detached"]]);
  });

  test("a pipe is passed on as it is, and its end detaches", () => {
    const { modes, input, lifetime, typed, detached } = make(false);
    input.emit("data", Buffer.from([0x1d, 1]));
    input.emit("end");
    expect([typed, detached, modes, lifetime.eventNames()]).toEqual([[0x1d, 1], ["detached"], [], []]);
  });
});
