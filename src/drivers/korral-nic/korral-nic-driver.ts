import { PciCommand, PciRegister } from "../../bus/pci-config.js";
import { openCapability } from "../../capability/capability.js";
import type { Message, Received } from "../../capability/endpoint.js";
import { ArgumentError, LengthError } from "../../capability/errors.js";
import {
  ADDRESS_SLOTS,
  Cause,
  Completion,
  Control,
  ID,
  Load,
  Receive,
  Region,
  Register,
  Status,
  VALID,
  Vector,
} from "../../devices/korral-nic/registers.js";
import { compileFilter } from "../../filter/compile.js";
import { OffloadedReceive } from "../../transfer/offloaded.js";
import { PacketRing, PacketRingCapability } from "../../transfer/packet-ring.js";
import { KorralError } from "../../util/errors.js";
import type { MaybePromise } from "../../util/maybe-promise.js";
import { REPLY_OK } from "../block-service.js";
import type { DriverDomain } from "../driver-domain.js";
import { routeMsiX } from "../msix-routing.js";
import { decodeRing, decodeSend, decodeSession, NetworkLabel, type SessionRequest } from "../network-service.js";
import { sendPinned } from "../send-pinned.js";
import { BoardRing, downloadProgram, receiveBlock, withdrawOne } from "./board-queue.js";
import { TransmitQueue } from "./transmit-queue.js";

const LONGEST_FRAME = 16_110;
const MOST_BUFFER_BYTES = 65_535;
const MOST_SIZE_LOG2 = 12;

interface OffloadedSession {
  readonly number: number;
  readonly board: BoardRing;
  readonly receive: OffloadedReceive;
}

/**
 * An Ethernet driver for a board that filters: case 3b. Each session has a receive queue of the board; its filter runs
 * there, and frames go straight into the client's pinned buffers. The driver touches no frame.
 *
 * Precedence is the board's: the lower queue number. Sessions get ascending numbers; a number that was freed is used
 * again only when all higher ones are taken.
 */
export class KorralNicDriver {
  readonly #domain: DriverDomain;
  readonly #sessions = new Map<PacketRing, OffloadedSession>();
  readonly #queues: number;
  #byQueue: (OffloadedSession | undefined)[] = [];
  #transmit: TransmitQueue;
  readonly macAddress = new Uint8Array(6);
  #linkUp = false;

  private constructor(domain: DriverDomain) {
    this.#domain = domain;
    domain.device.configWrite(PciRegister.command, 2, PciCommand.memorySpace | PciCommand.busMaster);
    if (this.#read(Register.ID) !== ID) {
      throw new KorralError("no-korral-nic", "the device does not answer as a K1: it is not there, or broken", 1);
    }
    this.#write(Register.CONTROL, Control.RESET);
    this.#queues = this.#read(Register.CAPS) & 0xff;
    this.#transmit = new TransmitQueue(domain);
  }

  /** Brings the board up and serves the domain's endpoint. */
  static start(domain: DriverDomain): Promise<KorralNicDriver> {
    return domain.start(async () => {
      const driver = new KorralNicDriver(domain);
      driver.#enable();
      domain.serve((message) => driver.#serve(message));
      return driver;
    });
  }

  get linkUp(): boolean {
    return this.#linkUp;
  }

  #enable(): void {
    const low = this.#read(Region.addresses);
    const high = this.#read(Region.addresses + 4);
    for (let i = 0; i < 6; i++) this.macAddress[i] = (i < 4 ? low >>> (8 * i) : high >>> (8 * (i - 4))) & 0xff;
    for (let slot = 1; slot < ADDRESS_SLOTS; slot++) this.#write(Region.addresses + 8 * slot + 4, 0);
    routeMsiX(this.#domain, Vector.device, () => this.#deviceEvent());
    routeMsiX(this.#domain, Vector.transmit, () => this.#transmit.reap());
    for (let queue = 0; queue < this.#queues; queue++) {
      routeMsiX(this.#domain, Vector.receive + queue, () => this.#completions(queue));
    }
    this.#write(Register.MASK, Cause.LINK | Cause.RXERROR | Cause.TXERROR);
    this.#linkUp = (this.#read(Register.STATUS) & Status.LINK) !== 0;
    // The programs decide who gets what, so the address filter lets everything pass.
    this.#write(
      Register.CONTROL,
      Control.RXEN | Control.TXEN | Control.PROMISCUOUS | Control.ALLMULTI | Control.BROADCAST,
    );
  }

  #deviceEvent(): void {
    const cause = this.#read(Register.CAUSE);
    this.#write(Register.CAUSE, cause);
    if ((cause & Cause.LINK) !== 0) this.#linkUp = (this.#read(Register.STATUS) & Status.LINK) !== 0;
    if ((cause & (Cause.RXERROR | Cause.TXERROR)) !== 0) throw new Error("a queue of the board is in the error state");
  }

  #serve(message: Received): MaybePromise<Message> {
    switch (message.label) {
      case NetworkLabel.info:
        return { label: REPLY_OK, words: [this.#linkUp ? 1 : 0, LONGEST_FRAME], string: this.macAddress };
      case NetworkLabel.open:
        return { label: REPLY_OK, capabilities: [this.#open(decodeSession(message))] };
      case NetworkLabel.close:
        this.#close(decodeRing(message));
        return { label: REPLY_OK };
      case NetworkLabel.send:
        return sendPinned(this.#domain, this.#transmit, decodeSend(message, LONGEST_FRAME), "korral-nic transmit");
      default:
        throw new ArgumentError("network adapter", `${message.label} is not an operation of this network adapter`);
    }
  }

  #open(request: SessionRequest): PacketRingCapability {
    const program = compileFilter(request.filter);
    if (request.slotBytes > MOST_BUFFER_BYTES) {
      throw new LengthError(
        "open session",
        `slots of ${request.slotBytes} bytes: the board takes ${MOST_BUFFER_BYTES}`,
      );
    }
    const seller = openCapability(this.#domain.bank, "open session");
    seller.reserve(1);
    const number = this.#freeQueue();
    const ring = new PacketRing(request);
    const sizeLog2 = Math.min(MOST_SIZE_LOG2, Math.max(1, Math.ceil(Math.log2(request.slots + 1))));
    const board = new BoardRing(this.#domain, receiveBlock(number), sizeLog2, `receive queue ${number}`);
    try {
      downloadProgram(this.#domain, board, program);
    } catch (error) {
      board.disable();
      throw error;
    }
    const receive = new OffloadedReceive(
      this.#domain,
      ring,
      {
        get room() {
          return board.room;
        },
        post: (io, length, cookie) => board.post(io, length, cookie, true),
        kick: () => board.kick(),
        withdraw: (cookie) => withdrawOne(board, cookie),
      },
      `korral-nic queue ${number}`,
    );
    const session: OffloadedSession = { number, board, receive };
    this.#sessions.set(ring, session);
    this.#byQueue[number] = session;
    const refused = receive.refill();
    if (refused !== null && receive.posted === 0) {
      this.#end(ring, session);
      throw refused;
    }
    ring.onRoom = () => {
      if (receive.wantsRefill) receive.refill();
    };
    if (request.isDefault === true) this.#write(Register.DEFAULT, (VALID | number) >>> 0);
    return new PacketRingCapability(seller.adopt(ring));
  }

  #completions(number: number): void {
    const session = this.#byQueue[number];
    if (session === undefined) return;
    const { board, receive } = session;
    for (let completion = board.take(); completion !== null; completion = board.take()) {
      const { cookie, length, flags } = completion;
      const unused = (flags & (Completion.WITHDRAWN | Completion.ERROR)) !== 0;
      receive.complete(cookie, unused ? -1 : length, (flags & Completion.CUT) !== 0);
    }
    if (receive.ended) {
      this.#end(receive.ring, session);
    } else {
      if (receive.wantsRefill) receive.refill();
      board.arm();
    }
  }

  #close(capability: PacketRingCapability): void {
    const ring = openCapability(capability, "close session");
    const session = this.#sessions.get(ring);
    if (session === undefined) throw new ArgumentError("close session", "the ring is not of this adapter");
    session.receive.close();
    this.#completions(session.number);
  }

  /** Nothing is posted: the session is over, because its client closed it or has destroyed some of its memory. */
  #end(ring: PacketRing, session: OffloadedSession): void {
    const { board, number } = session;
    board.write(Receive.LOAD, Load.CLEAR);
    board.disable();
    if (this.#read(Register.DEFAULT) === (VALID | number) >>> 0) this.#write(Register.DEFAULT, 0);
    this.#sessions.delete(ring);
    this.#byQueue[number] = undefined;
    ring.onRoom = null;
    if (ring.bank !== null) ring.bank.retire(ring);
    // What it had pinned may be what others wait for.
    for (const { receive } of this.#sessions.values()) if (receive.wantsRefill) receive.refill();
  }

  #freeQueue(): number {
    let highest = -1;
    for (const { number } of this.#sessions.values()) highest = Math.max(highest, number);
    if (highest + 1 < this.#queues) return highest + 1;
    for (let number = 0; number < this.#queues; number++) if (this.#byQueue[number] === undefined) return number;
    throw new ArgumentError(
      "open session",
      `all ${this.#queues} receive queues of the board are in use: close a session`,
    );
  }

  #read(register: number): number {
    return this.#domain.device.read(0, register, 4);
  }

  #write(register: number, value: number): void {
    this.#domain.device.write(0, register, 4, value);
  }
}
