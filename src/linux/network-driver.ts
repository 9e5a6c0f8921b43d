import type { Message, Received } from "../capability/endpoint.js";
import { ArgumentError } from "../capability/errors.js";
import { REPLY_OK } from "../drivers/block-service.js";
import type { DriverDomain } from "../drivers/driver-domain.js";
import {
  checkFrameLength,
  decodeRing,
  decodeSend,
  decodeSession,
  LinkDownError,
  NetworkLabel,
  type SendRequest,
} from "../drivers/network-service.js";
import { ReceiveSessions } from "../drivers/receive-sessions.js";
import type { Bank } from "../memory/physical-memory.js";
import { frameOffset, type PhysicalMemory, pagesSpanned } from "../memory/physical-memory.js";
import { DmaAccess, type Pin } from "../memory/pin.js";
import { ReceiveDemultiplexer } from "../transfer/demultiplexed.js";
import type { WatchdogToken } from "../transfer/watchdog.js";
import { PAGE_MASK, PAGE_SHIFT, PAGE_SIZE } from "../util/brand.js";
import type { LinuxDomain } from "./domain.js";
import type { LentRange } from "./lent-frames.js";
import type { NetDevice, SendResult } from "./net.js";
import { NetDeviceError } from "./rtnl.js";

/** Frames shorter than this cost less to copy than to lend. */
const COPY_BELOW = 512;
/** What kernel and driver read of a frame that is lent: headers up to TCP's, with options and a tag. */
const HEADER_BYTES = 128;
const HEADER_AND_TAG = 18;
const LONGEST_COPY = 65_536;
const MOST_WAITING = 65_536;

/** A frame that waits for the driver to take it. */
interface Waiting {
  readonly request: Transfer | null;
  /** Of a frame that is sent by value. */
  readonly copy: Uint8Array | null;
  /** From the start of the request's bytes. */
  readonly offset: number;
  readonly length: number;
  readonly done: ((error: Error | null) => void) | null;
}

/** A request's bytes, pinned from its arrival until the device has read the last of them. */
interface Transfer {
  readonly pin: Pin;
  left: number;
  readonly done: (error: Error | null) => void;
}

/**
 * An unmodified network driver as its clients see it: the same endpoint that a native one has. Frames to be sent stay in
 * the client's memory where the adapter gathers them, and are copied where it does not; what arrives is demultiplexed.
 */
export class LinuxNetworkDriver {
  readonly sessions: ReceiveSessions;
  /** Frames that neither a client nor anybody else got, or that the driver did not take. */
  dropped = 0;
  readonly #waiting: Waiting[] = [];
  #head = 0;
  readonly #scratch = new Uint8Array(LONGEST_COPY);
  readonly #demultiplexer: ReceiveDemultiplexer;
  readonly #watched = new Set<Transfer>();
  /** The driver copies frames together by itself: it is given them in one piece. */
  #copies = false;

  private constructor(
    private readonly domain: LinuxDomain,
    private readonly driver: DriverDomain,
    private readonly memory: PhysicalMemory,
    readonly device: NetDevice,
    bank: Bank,
  ) {
    this.#demultiplexer = new ReceiveDemultiplexer(bank, driver.statistics);
    this.sessions = new ReceiveSessions(this.#demultiplexer);
    device.onFrame = (_bytes, offset, length) => {
      if (!this.#demultiplexer.deliver(offset, length)) this.dropped++;
    };
    domain.onQuiet = () => this.#flush();
    domain.services.lent.onRead = () => {
      this.#copies = true;
    };
  }

  /** Serves the driver's endpoint. The device must be up. */
  static serve(
    domain: LinuxDomain,
    driver: DriverDomain,
    memory: PhysicalMemory,
    device: NetDevice,
  ): LinuxNetworkDriver {
    const served = new LinuxNetworkDriver(domain, driver, memory, device, domain.bank);
    driver.serve((message) => served.#serve(message));
    return served;
  }

  get waiting(): number {
    return this.#waiting.length - this.#head;
  }

  get #longestFrame(): number {
    return this.device.mtu + HEADER_AND_TAG;
  }

  #serve(message: Received): Message | Promise<Message> {
    switch (message.label) {
      case NetworkLabel.info:
        return {
          label: REPLY_OK,
          words: [this.device.linkUp ? 1 : 0, this.#longestFrame],
          string: this.device.macAddress,
        };
      case NetworkLabel.open:
        return { label: REPLY_OK, capabilities: [this.sessions.open(this.driver.bank, decodeSession(message))] };
      case NetworkLabel.close:
        this.sessions.close(this.driver.bank, decodeRing(message));
        return { label: REPLY_OK };
      case NetworkLabel.send:
        this.#checkLink();
        return this.#send(decodeSend(message, this.#longestFrame));
      case NetworkLabel.sendCopy:
        checkFrameLength(message.sentLength, this.#longestFrame);
        this.#checkLink();
        return this.#sendCopy(message.string.slice());
      default:
        throw new ArgumentError("network adapter", `${message.label} is not an operation of a network adapter`);
    }
  }

  #checkLink(): void {
    if (!this.device.linkUp) throw new LinkDownError();
    if (this.waiting >= MOST_WAITING) {
      throw new NetDeviceError("net-queue", "too many frames wait for the driver: send fewer at a time", 1);
    }
  }

  #sendCopy(copy: Uint8Array): Promise<Message> {
    return new Promise<Message>((resolve, reject) => {
      const done = (error: Error | null): void => {
        if (error === null) resolve({ label: REPLY_OK });
        else reject(error);
      };
      this.#waiting.push({ request: null, copy, offset: 0, length: copy.length, done });
      this.#flush();
    });
  }

  async #send({ space, pairs, start, end }: SendRequest): Promise<Message> {
    const pin = await this.driver.pins.pin({ space, offset: start, length: end - start, access: DmaAccess.read });
    return await new Promise<Message>((resolve, reject) => {
      const watch: WatchdogToken = this.driver.watchdog.begin();
      const transfer: Transfer = {
        pin,
        left: pairs.length / 2,
        done: (error) => {
          this.#watched.delete(transfer);
          this.driver.watchdog.end(watch);
          if (pin.live) this.driver.pins.unpin(pin);
          if (error === null) resolve({ label: REPLY_OK });
          else reject(error);
        },
      };
      this.#watched.add(transfer);
      for (let i = 0; i < pairs.length; i += 2) {
        this.#waiting.push({
          request: transfer,
          copy: null,
          offset: pairs[i] - start,
          length: pairs[i + 1],
          done: null,
        });
      }
      this.#flush();
    });
  }

  /** Hands frames to the driver until it takes no more. */
  #flush(): void {
    if (this.domain.services.execution.busy) return;
    while (this.#head < this.#waiting.length) {
      const next = this.#waiting[this.#head];
      const result = this.domain.guarded(() => this.#hand(next));
      if (result === null || result === "busy") return;
      this.#head++;
      if (this.#head === this.#waiting.length || this.#head > MOST_WAITING) {
        this.#waiting.splice(0, this.#head);
        this.#head = 0;
      }
      if (result === "dropped") this.dropped++;
    }
  }

  #hand({ request, copy, offset, length, done }: Waiting): SendResult {
    const { statistics } = this.driver;
    if (copy !== null || request === null) {
      const result = copy === null ? "dropped" : this.device.send(copy, 0, length);
      if (result !== "busy") done?.(null);
      return result;
    }
    if (length < COPY_BELOW || this.#copies || !this.device.gathers) {
      this.#gather(request.pin, offset, length);
      const result = this.device.send(this.#scratch, 0, length);
      if (result === "sent") statistics.countCopy(length);
      if (result !== "busy") this.#finish(request);
      return result;
    }
    return this.#lend(request, offset, length);
  }

  #lend(request: Transfer, offset: number, length: number): SendResult {
    const { pin } = request;
    this.#gather(pin, offset, HEADER_BYTES);
    const from = pin.offset + offset + HEADER_BYTES;
    const first = from >>> PAGE_SHIFT;
    const rest = length - HEADER_BYTES;
    const frames = pin.frames.slice(first, first + pagesSpanned(from, rest));
    const { lent } = this.domain.services;
    const range: LentRange = lent.lend(frames, from & PAGE_MASK, rest, DmaAccess.read, () => this.#finish(request));
    const result = this.device.sendLent(this.#scratch, 0, HEADER_BYTES, range);
    if (result === "sent") {
      this.driver.statistics.countZeroCopy(rest);
      this.driver.statistics.countCopy(HEADER_BYTES);
      return result;
    }
    lent.end(range);
    if (result === "dropped") this.#finish(request);
    return result;
  }

  #finish(request: Transfer): void {
    if (--request.left === 0) request.done(null);
  }

  /** Copies pinned bytes of a client to where the host can hand them on in one piece. */
  #gather(pin: Pin, offset: number, length: number): void {
    for (let done = 0; done < length; ) {
      const at = pin.offset + offset + done;
      const frame = pin.frames[at >>> PAGE_SHIFT];
      const chunk = Math.min(length - done, PAGE_SIZE - (at & PAGE_MASK));
      const start = frameOffset(frame) + (at & PAGE_MASK);
      this.#scratch.set(this.memory.bankOf(frame).bytes.subarray(start, start + chunk), done);
      done += chunk;
    }
  }
}
