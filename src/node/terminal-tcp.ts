import { createServer, type Server, type Socket } from "node:net";
import type { TerminalLine } from "../devices/terminal-line.js";
import { EnvironmentError } from "../util/errors.js";
import { loopbackAddress, type SocketAddress } from "./address.js";
import { systemCode } from "./file-errors.js";

/** A client that does not read loses what is beyond this. */
const MOST_UNREAD_BYTES = 1 << 20;
const LAST_WORDS_MILLISECONDS = 1000;

export interface TcpTerminalOptions {
  /** The client that was attached has left, or has no more to say. */
  onHangup?: () => void;
}

/** A terminal line that a TCP client on this machine attaches to (say, `nc 127.0.0.1 2323`); one at a time. */
export class TcpTerminal implements TerminalLine, AsyncDisposable {
  /** Bytes that nobody was there for, or that a client did not read in time. */
  lost = 0;
  readonly #server: Server;
  readonly #onHangup: () => void;
  #client: Socket | null = null;
  #held = false;
  #listener: (bytes: Uint8Array) => void = () => {};
  #closed: Promise<void> | null = null;

  /**
   * @param address `HOST:PORT` on the loopback; port 0 takes any that is free.
   * @throws UsageError for a bad address; EnvironmentError if the port is taken.
   */
  static async listen(address: string, options: TcpTerminalOptions = {}): Promise<TcpTerminal> {
    const where = loopbackAddress(address);
    // Who has no more to say may still be listening for the answer.
    const server = createServer({ allowHalfOpen: options.onHangup !== undefined });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenError(where, error)));
      server.listen({ ...where, exclusive: true }, resolve);
    });
    return new TcpTerminal(server, options);
  }

  private constructor(server: Server, options: TcpTerminalOptions) {
    this.#server = server;
    this.#onHangup = options.onHangup ?? (() => {});
    server.removeAllListeners("error");
    server.on("connection", (socket) => this.#accept(socket));
  }

  /** Where it listens. */
  get address(): SocketAddress {
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string")
      throw new EnvironmentError("terminal-closed", "this terminal was closed");
    return { host: bound.address, port: bound.port };
  }

  get attached(): boolean {
    return this.#client !== null;
  }

  onInput(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener;
  }

  write(bytes: Uint8Array): void {
    const client = this.#client;
    if (client === null || client.writableLength + bytes.length > MOST_UNREAD_BYTES) this.lost += bytes.length;
    else client.write(bytes.slice());
  }

  /** Lets the client's bytes wait in the network, and after that at the client. */
  hold(on: boolean): void {
    this.#held = on;
    if (on) this.#client?.pause();
    else this.#client?.resume();
  }

  /** Lets what was written reach the client, and stops listening. */
  close(): void {
    this.#closed ??= new Promise((resolve) => {
      this.#server.close(() => resolve());
      if (this.#client !== null) dismiss(this.#client);
      this.#client = null;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.#closed;
  }

  #accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    if (this.#client !== null || this.#closed !== null) {
      socket.write("somebody else is attached to this terminal\r\n");
      dismiss(socket);
      return;
    }
    this.#client = socket;
    socket.setNoDelay(true);
    socket.on("data", (data: Uint8Array) => {
      if (this.#client === socket) this.#listener(data);
    });
    if (this.#held) socket.pause();
    let hungUp = false;
    const hangUp = (): void => {
      if (this.#client !== socket || hungUp) return;
      hungUp = true;
      this.#onHangup();
    };
    socket.on("end", hangUp);
    socket.on("close", () => {
      hangUp();
      if (this.#client === socket) this.#client = null;
    });
  }
}

/** Closes once what was written is on its way; a client that does not take it gets no more time than this. */
function dismiss(socket: Socket): void {
  socket.setTimeout(LAST_WORDS_MILLISECONDS, () => socket.destroy());
  socket.destroySoon();
}

function listenError({ host, port }: SocketAddress, error: unknown): EnvironmentError {
  const code = systemCode(error);
  const why =
    code === "EADDRINUSE"
      ? "the port is taken: choose another one, or 0 for any"
      : code === "EACCES"
        ? "not permitted: choose a port above 1023"
        : `the system reports ${code}`;
  return new EnvironmentError("port-taken", `cannot listen on ${host}:${port}: ${why}`);
}
