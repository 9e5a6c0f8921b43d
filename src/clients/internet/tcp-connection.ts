import type { Clock, Timer } from "../../bus/clock.js";
import type { Remote } from "./packet.js";
import { type TransferEnd, TransferLog } from "./transfer.js";

export const TcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16 } as const;

/** A segment as it came, its checksum and lengths found right. */
export interface Segment {
  readonly flags: number;
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly window: number;
  /** The peer's maximum segment size, or 0 if the segment says nothing about it. */
  readonly maximumSegment: number;
  readonly payload: Uint8Array;
}

/** Sends a segment of a connection. `maximumSegment` 0: without that option. */
export type SegmentSender = (
  connection: TcpConnection,
  flags: number,
  sequence: number,
  window: number,
  payload: Uint8Array,
  maximumSegment: number,
) => void;

/** What one segment carries on an Ethernet with the usual 1500 bytes. */
export const OUR_SEGMENT = 1460;
/** RFC 9293 §3.7.1: what a peer takes that does not say more. */
const DEFAULT_SEGMENT = 536;
/** Whoever announces less makes work, not traffic. */
const LEAST_SEGMENT = 64;
const WINDOW = 65_535;
const BUFFER_BYTES = 65_535;
const FIRST_TIMEOUT = 250e6;
const LONGEST_TIMEOUT = 8e9;
const MOST_TRIES = 8;
const DUPLICATES_OF_LOSS = 3;
const NOTHING = new Uint8Array(0);

/** Difference of sequence numbers, which go round: below zero if `a` is before `b`. */
const ahead = (a: number, b: number): number => (a - b) | 0;

/**
 * One connection of a server that never closes first (RFC 9293): what comes in order is taken, hashed, and sent back if
 * the service echoes. Segments ahead of their turn are dropped; the peer sends them again. What is sent is sent again
 * after a time-out or three duplicate acknowledgements, and as fast as RFC 5681 permits.
 */
export class TcpConnection {
  readonly log: TransferLog;
  /** When the last valid segment came, in machine time. */
  lastHeard: number;
  /** An acknowledgement is due with the next segment, or by itself soon. */
  owesAcknowledgement = false;
  /** Segments that were not the next ones. */
  outOfOrder = 0;
  retransmissions = 0;
  readonly #clock: Clock;
  readonly #send: SegmentSender;
  readonly #onEnd: (end: TransferEnd) => void;
  readonly #timer: Timer;
  #ended = false;
  #established = false;
  #tries = 0;
  readonly #peerStart: number;
  /** Next byte that is expected. */
  #receiveNext: number;
  #advertised = WINDOW;
  #peerClosed = false;
  readonly #ourStart: number;
  /** First byte that is not acknowledged: it stands first in the buffer. */
  #unacknowledged: number;
  #sendNext: number;
  /** Beyond all that was ever sent. */
  #sendMost: number;
  #peerWindow: number;
  readonly #segment: number;
  readonly #buffer: Uint8Array | null;
  #buffered = 0;
  #congestionWindow: number;
  #threshold = BUFFER_BYTES;
  #duplicates = 0;

  /**
   * Answers a SYN.
   * @param echoes whether what comes is sent back
   * @param ourStart an initial sequence number that nobody can guess
   */
  constructor(
    readonly remote: Remote,
    readonly remotePort: number,
    readonly localPort: number,
    syn: Segment,
    options: {
      echoes: boolean;
      ourStart: number;
      clock: Clock;
      send: SegmentSender;
      onEnd: (end: TransferEnd) => void;
    },
  ) {
    this.#clock = options.clock;
    this.#send = options.send;
    this.#onEnd = options.onEnd;
    this.#timer = options.clock.timer(() => this.#timedOut());
    this.log = new TransferLog("tcp", localPort, remote.address, remotePort);
    this.lastHeard = options.clock.now();
    this.#peerStart = syn.sequence;
    this.#receiveNext = (syn.sequence + 1) >>> 0;
    this.#ourStart = options.ourStart;
    this.#unacknowledged = options.ourStart;
    this.#sendNext = (options.ourStart + 1) >>> 0;
    this.#sendMost = this.#sendNext;
    this.#peerWindow = syn.window;
    const announced = syn.maximumSegment === 0 ? DEFAULT_SEGMENT : syn.maximumSegment;
    this.#segment = Math.min(OUR_SEGMENT, Math.max(LEAST_SEGMENT, announced));
    this.#congestionWindow = 10 * this.#segment;
    this.#buffer = options.echoes ? new Uint8Array(BUFFER_BYTES) : null;
    this.#greet();
  }

  /** What the next segment acknowledges. */
  get acknowledgement(): number {
    return this.#receiveNext;
  }

  get established(): boolean {
    return this.#established;
  }

  receive(segment: Segment): void {
    if (this.#ended) return;
    const { flags, sequence } = segment;
    if ((flags & TcpFlag.rst) !== 0) this.#reset(sequence);
    else if ((flags & TcpFlag.syn) !== 0) this.#synAgain(sequence);
    else if ((flags & TcpFlag.ack) !== 0 && this.#acknowledged(segment)) {
      this.lastHeard = this.#clock.now();
      this.#take(segment);
      this.#output();
    }
  }

  /** Sends an acknowledgement if one is due. */
  flush(): void {
    if (this.owesAcknowledgement && !this.#ended) this.#acknowledge();
  }

  /** Breaks off: the peer is told. */
  abort(end: TransferEnd): void {
    if (this.#ended) return;
    this.#transmit(TcpFlag.rst | TcpFlag.ack, this.#sendNext, NOTHING);
    this.#end(end);
  }

  get #room(): number {
    return this.#buffer === null ? WINDOW : BUFFER_BYTES - this.#buffered;
  }

  #greet(): void {
    this.#send(this, TcpFlag.syn | TcpFlag.ack, this.#ourStart, WINDOW, NOTHING, OUR_SEGMENT);
    this.#timer.arm(this.#timeout);
  }

  /** RFC 5961 §3.2: only the very next sequence number resets. */
  #reset(sequence: number): void {
    if (sequence === this.#receiveNext) this.#end("reset");
    else if (ahead(sequence, this.#receiveNext) > 0 && ahead(sequence, this.#receiveNext) < WINDOW) this.#acknowledge();
  }

  /** RFC 5961 §4.2, but the peer may have lost our greeting. */
  #synAgain(sequence: number): void {
    if (!this.#established && sequence === this.#peerStart) this.#greet();
    else this.#acknowledge();
  }

  /** Handles the acknowledgement of a segment. @returns false if the segment is not to be looked at any further */
  #acknowledged({ acknowledgement, window, payload, sequence }: Segment): boolean {
    if (!this.#established) {
      if (acknowledgement !== this.#sendNext || sequence !== this.#receiveNext) {
        this.#transmit(TcpFlag.rst, acknowledgement, NOTHING);
        return false;
      }
      this.#established = true;
      this.#unacknowledged = acknowledgement;
      this.#tries = 0;
    }
    if (ahead(acknowledgement, this.#sendMost) > 0) {
      this.#acknowledge();
      return false;
    }
    const count = ahead(acknowledgement, this.#unacknowledged);
    if (count > 0) this.#advance(count);
    else if (count === 0 && payload.length === 0 && window === this.#peerWindow && this.#inFlight > 0)
      this.#duplicate();
    if (count >= 0) {
      // What probed a closed window was perhaps not taken.
      if (this.#peerWindow === 0 && window > 0) this.#sendNext = this.#unacknowledged;
      this.#peerWindow = window;
      this.#tries = 0;
    }
    return !this.#ended;
  }

  get #inFlight(): number {
    return ahead(this.#sendNext, this.#unacknowledged);
  }

  #advance(count: number): void {
    const bytes = Math.min(count, this.#buffered);
    this.#buffer?.copyWithin(0, bytes, this.#buffered);
    this.#buffered -= bytes;
    this.#unacknowledged = (this.#unacknowledged + count) >>> 0;
    if (this.#inFlight < 0) this.#sendNext = this.#unacknowledged;
    this.#duplicates = 0;
    const slowStart = this.#congestionWindow < this.#threshold;
    this.#congestionWindow += slowStart
      ? Math.min(count, this.#segment)
      : Math.ceil((this.#segment * this.#segment) / this.#congestionWindow);
    this.#timer.cancel();
    // Only our FIN takes a number without being a byte: nothing is left to be said.
    if (count > bytes && this.#peerClosed) this.#end("closed");
    else if (this.#advertised < this.#segment && this.#room >= 2 * this.#segment) this.owesAcknowledgement = true;
  }

  #duplicate(): void {
    if (++this.#duplicates === DUPLICATES_OF_LOSS) this.#goBack(2);
  }

  /** Sends again from the first byte that is missing. @param segments that may be in flight then, at the least */
  #goBack(segments: number): void {
    this.retransmissions++;
    this.#threshold = Math.max(this.#inFlight >>> 1, 2 * this.#segment);
    this.#congestionWindow = segments === 1 ? this.#segment : this.#threshold;
    this.#sendNext = this.#unacknowledged;
  }

  #take({ sequence, payload, flags }: Segment): void {
    const fin = (flags & TcpFlag.fin) !== 0;
    const old = ahead(this.#receiveNext, sequence);
    if (payload.length === 0 && !fin) {
      if (old !== 0) this.owesAcknowledgement = true;
      return;
    }
    if (old < 0 || this.#peerClosed) {
      if (old < 0) this.outOfOrder++;
      this.#acknowledge();
      return;
    }
    this.owesAcknowledgement = true;
    if (old > payload.length) return;
    const fresh = payload.subarray(old, old + this.#room);
    this.#receiveNext = (this.#receiveNext + fresh.length) >>> 0;
    this.log.add(fresh);
    this.#buffer?.set(fresh, this.#buffered);
    if (this.#buffer !== null) this.#buffered += fresh.length;
    if (!fin || old + fresh.length < payload.length) return;
    this.#receiveNext = (this.#receiveNext + 1) >>> 0;
    this.#peerClosed = true;
  }

  #output(): void {
    if (this.#ended) return;
    const buffer = this.#buffer ?? NOTHING;
    const limit = Math.min(this.#peerWindow, this.#congestionWindow, this.#buffered);
    for (let at = this.#inFlight; at < limit; at = this.#inFlight) {
      const count = Math.min(this.#segment, limit - at);
      this.#transmit(TcpFlag.ack | TcpFlag.psh, this.#sendNext, buffer.subarray(at, at + count));
      this.#sent(count);
    }
    if (this.#peerClosed && this.#inFlight === this.#buffered) {
      this.#transmit(TcpFlag.ack | TcpFlag.fin, this.#sendNext, NOTHING);
      this.#sent(1);
    }
    if (this.#inFlight === 0 && this.#buffered === 0) this.#timer.cancel();
    else if (!this.#timer.armed) this.#timer.arm(this.#timeout);
  }

  #sent(count: number): void {
    this.#sendNext = (this.#sendNext + count) >>> 0;
    if (ahead(this.#sendNext, this.#sendMost) > 0) this.#sendMost = this.#sendNext;
  }

  get #timeout(): number {
    return Math.min(LONGEST_TIMEOUT, FIRST_TIMEOUT * 2 ** this.#tries);
  }

  #timedOut(): void {
    if (++this.#tries > MOST_TRIES) {
      this.abort("timed-out");
      return;
    }
    if (!this.#established) {
      this.#greet();
      return;
    }
    if (this.#inFlight > 0) this.#goBack(1);
    // RFC 9293 §3.8.6.1: a closed window is probed, lest its opening got lost.
    if (this.#peerWindow === 0 && this.#buffered > 0) {
      this.#transmit(TcpFlag.ack, this.#sendNext, (this.#buffer ?? NOTHING).subarray(0, 1));
      this.#sent(1);
      this.#timer.arm(this.#timeout);
    } else {
      this.#output();
    }
  }

  #acknowledge(): void {
    this.#transmit(TcpFlag.ack, this.#sendNext, NOTHING);
  }

  #transmit(flags: number, sequence: number, payload: Uint8Array): void {
    this.owesAcknowledgement = false;
    this.#advertised = Math.min(WINDOW, this.#room);
    this.#send(this, flags, sequence, this.#advertised, payload, 0);
  }

  #end(end: TransferEnd): void {
    this.#ended = true;
    this.#timer.cancel();
    this.#onEnd(end);
  }
}
