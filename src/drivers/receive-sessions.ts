import { openCapability } from "../capability/capability.js";
import { ArgumentError } from "../capability/errors.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import { compileFilter } from "../filter/compile.js";
import type { ReceiveDemultiplexer, ReceiveSession } from "../transfer/demultiplexed.js";
import { PacketRing, PacketRingCapability } from "../transfer/packet-ring.js";
import type { SessionRequest } from "./network-service.js";

/** Every frame is tried against the filters of all. */
const MOST_SESSIONS = 256;

/** The receiving clients of a network driver that demultiplexes in software. */
export class ReceiveSessions {
  readonly #demultiplexer: ReceiveDemultiplexer;
  readonly #byRing = new Map<PacketRing, ReceiveSession>();

  constructor(demultiplexer: ReceiveDemultiplexer) {
    this.#demultiplexer = demultiplexer;
  }

  /** @throws FilterSyntaxError, ArgumentError, AddressFault, RightsError; nothing has changed then */
  open(bank: SpaceBankCapability, request: SessionRequest): PacketRingCapability {
    if (this.#byRing.size === MOST_SESSIONS) {
      throw new ArgumentError("open session", `all ${MOST_SESSIONS} sessions are in use: close one`);
    }
    const program = compileFilter(request.filter);
    const seller = openCapability(bank, "open session");
    seller.reserve(1);
    const ring = new PacketRing(request);
    const session: ReceiveSession = { name: request.filter, program, ring };
    this.#demultiplexer.open(session);
    if (request.isDefault === true) this.#demultiplexer.setDefault(session);
    this.#byRing.set(ring, session);
    return new PacketRingCapability(seller.adopt(ring));
  }

  close(bank: SpaceBankCapability, capability: PacketRingCapability): void {
    const session = this.#byRing.get(openCapability(capability, "close session"));
    if (session === undefined) throw new ArgumentError("close session", "the ring is not of this adapter");
    this.#byRing.delete(session.ring);
    this.#demultiplexer.close(session);
    void bank.destroy(capability);
  }
}
