import type { MaybePromise } from "../util/maybe-promise.js";
import type { AddressSpaceCapability } from "./address-space.js";
import { resolveRange } from "./address-space.js";
import { Capability, KernelObject, openCapability, type Restrictions, restricted } from "./capability.js";
import { ArgumentError, BusyError, LengthError, VoidError } from "./errors.js";

/** Longest string that a message carries, in bytes. */
export const STRING_LIMIT = 65_536;
const WORDS_LIMIT = 8;
const CAPABILITIES_LIMIT = 8;
/** Calls that may wait for one endpoint's replies: what servers keep for them is bounded by it. */
const CALLS_LIMIT = 16_384;

/** Where a string is to be put: bytes of the caller's own, or a range of a space it holds. */
export type StringTarget = Uint8Array | { space: AddressSpaceCapability; offset: number; length: number };

/** What is sent. Everything is by value, but capabilities. */
export interface Message {
  /** What is asked for, or the outcome; its meaning is between the two parties. */
  readonly label: number;
  readonly words?: readonly number[];
  /** At most {@link STRING_LIMIT} bytes. */
  readonly string?: Uint8Array | undefined;
  readonly capabilities?: readonly Capability[];
}

export interface CallMessage extends Message {
  /** Receives the reply's string; without it that string is discarded. */
  readonly receive?: StringTarget;
}

/** A message as its receiver sees it. */
export interface Received {
  readonly label: number;
  readonly words: readonly number[];
  /** The bytes that arrived: min(sent, receive buffer). A reply's lie in the caller's buffer if that was plain bytes. */
  readonly string: Uint8Array;
  /** Bytes that were sent, whatever fitted. */
  readonly sentLength: number;
  /** The receive buffer was not there (void, absent, read-only): the string was discarded, the sender never waited. */
  readonly stringFault: boolean;
  readonly capabilities: readonly Capability[];
}

/** Serves a message: the value returned is the reply. A promise lets the server go on serving others meanwhile. */
export type Server = (message: Received) => MaybePromise<Message>;

const NO_WORDS: readonly number[] = [];
const NO_CAPABILITIES: readonly Capability[] = [];
const NO_STRING = new Uint8Array(0);

/** Where clients and a server meet. Until somebody serves it, invokers wait on its stall queue. */
export class Endpoint extends KernelObject {
  server: Server | null = null;
  /** Longest string that the server takes. */
  receiveLimit = STRING_LIMIT;
  /** Why the last server went. */
  obituary: Error | null = null;
  /** What a caller is told when the server threw something. */
  explain: (error: unknown) => unknown = asIs;
  /** Calls that were delivered and not replied to: they fail when the endpoint goes. */
  readonly unanswered = new Set<(error: Error) => void>();

  release(): void {
    this.abandon(new VoidError("call"));
  }

  /** The server is gone: whoever waits for it learns why. */
  abandon(error: Error): void {
    this.server = null;
    this.explain = asIs;
    this.obituary = error;
    this.stalled.fail(error);
    const waiting = [...this.unanswered];
    this.unanswered.clear();
    for (const fail of waiting) fail(error);
  }
}

/** A capability to call an endpoint. */
export class EndpointCapability extends Capability<Endpoint> {
  restrict(restrictions: Restrictions): EndpointCapability {
    return restricted(this, (all) => new EndpointCapability(openCapability(this, "restrict"), all), restrictions);
  }

  /**
   * Sends a message and returns its reply: at once if the server replied at once, else as a promise.
   * @throws VoidError, ArgumentError, and whatever ended the server before it replied
   */
  call(message: CallMessage): MaybePromise<Received> {
    const endpoint = openCapability(this, "call");
    check(message);
    if (message.receive !== undefined) checkTarget(message.receive);
    if (endpoint.unanswered.size + endpoint.stalled.length >= CALLS_LIMIT) throw new BusyError("call", CALLS_LIMIT);
    if (endpoint.server === null) return this.#stall(endpoint, message);
    const before = endpoint.obituary;
    let reply: MaybePromise<Message>;
    try {
      reply = endpoint.server(deliver(message, endpoint.receiveLimit));
    } catch (error) {
      throw endpoint.explain(error);
    }
    if (!(reply instanceof Promise)) return accept(reply, message.receive);
    // A server that went while it was being called will not reply.
    const gone = endpoint.obituary === before ? null : endpoint.obituary;
    return answer(endpoint, reply, message.receive, gone);
  }

  /**
   * Becomes the server.
   * @param receiveLimit bytes of string it takes; the rest is cut off
   * @param explain makes what callers are told of what the server throws
   */
  serve(server: Server, receiveLimit = STRING_LIMIT, explain: (error: unknown) => unknown = asIs): void {
    const endpoint = openCapability(this, "serve");
    if (!Number.isInteger(receiveLimit) || receiveLimit < 0 || receiveLimit > STRING_LIMIT) {
      throw new LengthError("serve", `a receive limit of ${receiveLimit} bytes: 0…${STRING_LIMIT} are possible`);
    }
    endpoint.receiveLimit = receiveLimit;
    endpoint.server = server;
    endpoint.explain = explain;
    endpoint.stalled.wake();
  }

  /** Ends serving: calls in flight and invokers that wait get the error. The endpoint itself stays. */
  abandon(error: Error): void {
    openCapability(this, "abandon").abandon(error);
  }

  async #stall(endpoint: Endpoint, message: CallMessage): Promise<Received> {
    // Taken now, as a copy: the sender may change its message while it waits.
    const held: CallMessage = {
      ...message,
      words: message.words?.slice() ?? NO_WORDS,
      string: message.string?.slice(),
      capabilities: message.capabilities?.slice() ?? NO_CAPABILITIES,
    };
    while (endpoint.server === null) await endpoint.stalled.wait();
    return this.call(held);
  }
}

function asIs(error: unknown): unknown {
  return error;
}

function check(message: Message): void {
  if (!Number.isInteger(message.label)) throw new ArgumentError("call", `the label ${message.label} is not an integer`);
  if (message.string !== undefined && message.string.length > STRING_LIMIT) {
    throw new LengthError("call", `a string of ${message.string.length} bytes: at most ${STRING_LIMIT} can be sent`);
  }
  if (message.words !== undefined && message.words.length > WORDS_LIMIT) {
    throw new LengthError("call", `${message.words.length} words: at most ${WORDS_LIMIT} can be sent`);
  }
  if (message.capabilities !== undefined && message.capabilities.length > CAPABILITIES_LIMIT) {
    throw new LengthError(
      "call",
      `${message.capabilities.length} capabilities: at most ${CAPABILITIES_LIMIT} can be sent`,
    );
  }
}

function checkTarget(receive: StringTarget): void {
  if (receive instanceof Uint8Array) return;
  const { offset, length } = receive;
  if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(length) || length < 0) {
    throw new LengthError("call", `${length} bytes at offset ${offset} is not a place for the reply's string`);
  }
}

function deliver(message: Message, limit: number): Received {
  const sent = message.string ?? NO_STRING;
  return {
    label: message.label,
    words: message.words === undefined ? NO_WORDS : message.words.slice(),
    string: sent.length === 0 ? NO_STRING : sent.slice(0, limit),
    sentLength: sent.length,
    stringFault: false,
    capabilities: message.capabilities === undefined ? NO_CAPABILITIES : message.capabilities.slice(),
  };
}

/** The reply as the caller gets it. Never waits: what a hostile caller's buffer cannot take is discarded and marked. */
function accept(reply: Message, receive: StringTarget | undefined): Received {
  check(reply);
  const sent = reply.string ?? NO_STRING;
  let string: Uint8Array = NO_STRING;
  let stringFault = false;
  if (sent.length > 0 && receive !== undefined) {
    if (receive instanceof Uint8Array) {
      const length = Math.min(sent.length, receive.length);
      receive.set(length === sent.length ? sent : sent.subarray(0, length));
      string = receive.subarray(0, length);
    } else {
      const length = Math.min(sent.length, receive.length);
      stringFault = !storePromptly(receive.space, receive.offset, sent.subarray(0, length));
      string = stringFault ? NO_STRING : sent.slice(0, length);
    }
  }
  return {
    label: reply.label,
    words: reply.words === undefined ? NO_WORDS : reply.words.slice(),
    string,
    sentLength: sent.length,
    stringFault,
    capabilities: reply.capabilities === undefined ? NO_CAPABILITIES : reply.capabilities.slice(),
  };
}

/** @returns false, with nothing stored, if any page is missing, absent or not writable */
function storePromptly(space: AddressSpaceCapability, offset: number, bytes: Uint8Array): boolean {
  try {
    const pages = resolveRange(space, offset, bytes.length, true, "receive");
    if (!pages.every((page) => page.resident)) return false;
    return space.write(offset, bytes) === undefined;
  } catch {
    return false;
  }
}

function answer(
  endpoint: Endpoint,
  reply: Promise<Message>,
  receive: StringTarget | undefined,
  obituary: Error | null,
): Promise<Received> {
  return new Promise<Received>((resolve, reject) => {
    if (obituary === null) endpoint.unanswered.add(reject);
    else reject(obituary);
    // A reply after the endpoint's end has nobody to go to.
    const isAwaited = () => endpoint.unanswered.delete(reject);
    reply.then(
      (message) => {
        if (!isAwaited()) return;
        try {
          resolve(accept(message, receive));
        } catch (error) {
          reject(error);
        }
      },
      (error) => {
        const explained = endpoint.explain(error);
        if (isAwaited()) reject(explained);
      },
    );
  });
}
