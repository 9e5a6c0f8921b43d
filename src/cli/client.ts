import { resolve } from "node:path";
import type { EndpointCapability } from "../capability/endpoint.js";
import { Client } from "../clients/client.js";
import { type InterfaceAddress, interfaceAddress, showAddress } from "../clients/internet/address.js";
import { compileFilter } from "../filter/compile.js";
import { requireEthernet } from "../formats/capture.js";
import type { CaptureWriter } from "../formats/capture-packet.js";
import type { Machine } from "../machine.js";
import { createCaptureFile, type OpenCapture, openCaptureFile } from "../node/capture-file.js";
import { checkOutputFile, isSameFile } from "../node/file-sink.js";
import { isPipe } from "../node/file-source.js";
import { UsageError } from "../util/errors.js";
import { onInterrupt } from "./interrupt.js";
import { parseOptionList } from "./option-list.js";
import { printable } from "./printable.js";

/** What one `--client` asks for. */
export interface ClientSpec {
  readonly name: string;
  /** A pcap filter expression; empty: everything. */
  readonly filter: string;
  /** Whether it receives at all. */
  readonly receives: boolean;
  /** Where what it receives is written, or null. */
  readonly out: string | null;
  /** Capture that it sends, or null. */
  readonly send: string | null;
  /** Buffers for frames that wait. */
  readonly post: number;
  /** It is a host with this address, or null. */
  readonly address: InterfaceAddress | null;
}

export const DEFAULT_POST = 128;
const MOST_POST = 16_384;
/** What the driver still holds gets to the clients between checks. */
const QUIET_CHECKS = 4;
const CHECK_NANOSECONDS = 5e6;
/** Of machine time: a driver needs some until it sees the link. */
const VIRTUAL_PATIENCE = 30e9;

/**
 * Reads `NAME[,filter=EXPR][,out=FILE][,send=FILE][,post=N][,ip=ADDRESS/PREFIX]`. Who only sends does not receive; a
 * host (`ip=`) receives what is for it unless it has a filter.
 * @throws UsageError, FilterSyntaxError
 */
export function parseClient(text: string): ClientSpec {
  const { name, values } = parseOptionList("--client", text, ["filter", "out", "send", "post", "ip"]);
  if (printable(name) !== name || name.includes("\n")) {
    throw new UsageError(`--client ${text}: a name has no control characters`);
  }
  const ip = values.get("ip");
  const address = ip === undefined ? null : parseAddress(text, ip);
  const mine = address === null ? "" : `arp or dst host ${showAddress(address.address)}`;
  const filter = values.get("filter") ?? mine;
  compileFilter(filter);
  const post = values.get("post");
  const onlySends = values.has("send") && ["filter", "out", "post", "ip"].every((key) => !values.has(key));
  return {
    name,
    filter,
    receives: !onlySends,
    out: values.get("out") ?? null,
    send: values.get("send") ?? null,
    post: post === undefined ? DEFAULT_POST : parsePost(text, post),
    address,
  };
}

/** @throws UsageError if two have the same name */
export function checkNames(command: string, clients: readonly ClientSpec[]): void {
  const names = clients.map(({ name }) => name);
  const namesake = names.find((name, i) => names.indexOf(name) !== i);
  if (namesake === undefined) return;
  throw new UsageError(`${command}: two clients are called '${namesake}': give each its own name`);
}

/** Files that clients read, and files that they write. */
export function clientFiles(clients: readonly ClientSpec[]): { inputs: string[]; outputs: string[] } {
  const isNamed = (name: string | null): name is string => name !== null;
  return {
    inputs: clients.map(({ send }) => send).filter(isNamed),
    outputs: clients.map(({ out }) => out).filter(isNamed),
  };
}

/**
 * Finds before anything runs what would keep captures from being written. They are left as they are until then.
 * @param inputs files that are read: none of them may be written
 * @throws UsageError if a file would be written twice, or standard output, where the report goes; EnvironmentError
 */
export function checkOutputs(command: string, outputs: readonly string[], inputs: readonly string[]): void {
  if (outputs.includes("")) throw new UsageError(`${command}: an output has no name: give that of a file`);
  if (outputs.includes("-")) {
    throw new UsageError(`${command}: no frames can be written to '-': the report goes to the output`);
  }
  const paths = outputs.map((name) => resolve(name));
  const twice = paths.find((path, i) => paths.slice(0, i).some((other) => other === path || isSameFile(other, path)));
  if (twice !== undefined) throw new UsageError(`${command}: ${twice} would be written twice: give each its own file`);
  for (const name of outputs) checkOutputFile(name, inputs);
}

/**
 * Finds before anything runs what makes captures useless.
 * @throws InputError, UnsupportedError; UsageError if standard input would be read twice
 */
export function checkInputs(command: string, inputs: readonly string[]): void {
  if (inputs.filter((name) => name === "-").length > 1) {
    throw new UsageError(`${command}: '-' is given twice, and standard input can be read once`);
  }
  for (const name of inputs) {
    // What comes out of a pipe comes once.
    if (name === "-" || isPipe(name)) continue;
    using capture = openCaptureFile(name);
    requireEthernet(capture.reader);
  }
}

/** The clients of one network adapter, with their files. */
export class Clients {
  readonly clients: readonly Client[];
  readonly #machine: Machine;
  readonly #files: readonly ClientFiles[];
  #receiving: Promise<unknown> = Promise.resolve();
  #sending: Promise<unknown> = Promise.resolve();

  /**
   * Opens the files and the sessions, in the order of precedence, and lets the clients run.
   * @param inputs files that are read: none of them may be written
   * @param sendsBack the client, if any, that sends back what it receives
   * @param long they receive the longest frames of the device whole
   * @throws UsageError, InputError, UnsupportedError, EnvironmentError; nothing is open then
   */
  static async open(
    machine: Machine,
    endpoint: EndpointCapability,
    specs: readonly ClientSpec[],
    inputs: readonly string[],
    sendsBack: ClientSpec | null = null,
    long = false,
  ): Promise<Clients> {
    const files: ClientFiles[] = [];
    try {
      for (const spec of specs) files.push(new ClientFiles(spec, inputs));
      const all = new Clients(machine, endpoint, specs, files, sendsBack, long);
      for (const [i, client] of all.clients.entries()) {
        await machine.run(client.open(), `session of ${specs[i].name}`);
      }
      all.#run();
      return all;
    } catch (error) {
      for (const each of files) each.close();
      throw error;
    }
  }

  private constructor(
    machine: Machine,
    endpoint: EndpointCapability,
    readonly specs: readonly ClientSpec[],
    files: readonly ClientFiles[],
    sendsBack: ClientSpec | null,
    long: boolean,
  ) {
    this.#machine = machine;
    this.#files = files;
    const patience = machine.clock.isVirtual ? VIRTUAL_PATIENCE : Number.POSITIVE_INFINITY;
    this.clients = specs.map((spec, i) => {
      const { filter, post, receives, address } = spec;
      const { record, replay } = files[i];
      const receive = receives ? { filter, post, long } : null;
      const reader = replay === null ? null : replay.reader;
      return new Client(machine, endpoint, {
        receive,
        record,
        replay: reader,
        address,
        patience,
        sendBack: spec === sendsBack,
      });
    });
  }

  /** Resolves when all that clients have to send was read by the device. @throws LinkDownError, CaptureError */
  get sending(): Promise<unknown> {
    return this.#sending;
  }

  /** Runs the machine until the clients have taken what had come for them. */
  async settle(): Promise<void> {
    const { clock } = this.#machine;
    for (let quiet = 0; quiet < QUIET_CHECKS; ) {
      await this.#machine.run(new Promise<void>((resolve) => clock.timer(resolve).arm(CHECK_NANOSECONDS)), "clients");
      quiet = this.clients.some((client) => client.waiting > 0) ? 0 : quiet + 1;
    }
  }

  /**
   * Ends the sessions and closes the files.
   * @throws what a client ended with: LinkDownError, CaptureError, EnvironmentError of an output
   */
  async close(): Promise<void> {
    const machine = this.#machine;
    try {
      await machine.run(Promise.all(this.clients.map((client) => client.close())), "close session");
      await machine.run(Promise.all([this.#receiving, this.#sending]), "clients");
      await machine.run(Promise.all(this.clients.map((client) => client.leave())), "destroy");
    } finally {
      for (const each of this.#files) each.close();
    }
  }

  #run(): void {
    this.#receiving = Promise.all(this.clients.map((client) => client.receive()));
    this.#sending = Promise.all(this.clients.map((client) => client.send()));
    // A client that fails is heard when all is over, not in the middle of somebody else's turn.
    this.#receiving.catch(() => {});
    this.#sending.catch(() => {});
  }
}

/** What one client reads and writes. */
class ClientFiles {
  readonly record: CaptureWriter | null;
  readonly replay: OpenCapture | null;
  #open = true;
  readonly #forget: () => void;

  constructor({ out, send }: ClientSpec, inputs: readonly string[]) {
    this.replay = send === null ? null : openCaptureFile(send);
    try {
      if (this.replay !== null) requireEthernet(this.replay.reader);
      this.record = out === null ? null : createCaptureFile(out, {}, inputs);
    } catch (error) {
      this.replay?.close();
      throw error;
    }
    this.#forget = onInterrupt(() => this.close());
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#forget();
    this.replay?.close();
    this.record?.close();
  }
}

/** A line for people about each client, and more for a host. */
export function describeClient({ name, filter, receives }: ClientSpec, client: Client): string[] {
  const { delivered, bytes, full, gone, cut } = client.received;
  const lines: string[] = [];
  if (receives) {
    const shown = filter === "" ? "(everything else)" : filter;
    lines.push(
      `${name.padEnd(10)} ${String(delivered).padStart(6)} frames ${String(bytes).padStart(9)} bytes  ${full + gone} dropped, ${cut} cut   filter: ${shown}`,
    );
  }
  const { sent, host } = client;
  if (sent !== null) {
    const lost = sent.linkDown === 0 ? "" : `, ${sent.linkDown} lost with the link`;
    lines.push(
      `${name.padEnd(10)} ${String(sent.frames).padStart(6)} frames ${String(sent.bytes).padStart(9)} bytes  sent${lost}`,
    );
  }
  if (host === null) return lines;
  const { arp, pings, udpEchoed, udpDiscarded, tcp, fragments, malformed, badChecksum } = host.counters;
  lines.push(
    `${name.padEnd(10)} answered ${arp} ARP requests, ${pings} pings; ${udpEchoed + udpDiscarded} UDP packets, ${tcp} TCP segments; dropped ${fragments} fragments, ${malformed} malformed, ${badChecksum} with a wrong checksum`,
  );
  for (const { protocol, peer, port, bytes, sha256, end } of host.transfers) {
    lines.push(
      `${name.padEnd(10)} ${protocol} from ${peer} to port ${port}: ${bytes} bytes, SHA-256 ${sha256}, ${end}`,
    );
  }
  return lines;
}

/** The same for programs. */
export function clientFigures({ name, filter }: ClientSpec, client: Client): object {
  const { sent, host, answered } = client;
  return {
    name,
    filter,
    ...client.received,
    ...(sent === null ? {} : { sent }),
    ...(host === null
      ? {}
      : {
          host: {
            ...host.counters,
            tcp: { segments: host.counters.tcp, ...host.tcp.counters },
            answered,
            transfers: host.transfers,
          },
        }),
  };
}

function parseAddress(text: string, ip: string): InterfaceAddress {
  try {
    return interfaceAddress(ip);
  } catch (error) {
    if (error instanceof UsageError) throw new UsageError(`--client ${text}: ${error.message}`);
    throw error;
  }
}

function parsePost(text: string, post: string): number {
  const count = /^\d{1,5}$/.test(post) ? Number(post) : 0;
  if (count < 1 || count > MOST_POST) {
    throw new UsageError(`--client ${text}: 'post' is a number of buffers from 1 to ${MOST_POST}`);
  }
  return count;
}
