import { openCapability } from "../capability/capability.js";
import { ArgumentError } from "../capability/errors.js";
import type { SpaceBankCapability } from "../capability/space-bank.js";
import { compileFilter } from "../filter/compile.js";
import type { ReceiveDemultiplexer, ReceiveSession } from "../transfer/demultiplexed.js";
import { PacketRing, PacketRingCapability } from "../transfer/packet-ring.js";
import type { SessionRequest } from "./network-service.js";

/** The receiving clients of a network driver that demultiplexes in software. */
export class ReceiveSessions {
  readonly #demultiplexer: ReceiveDemultiplexer;
  readonly #byRing = new Map<PacketRing, ReceiveSession>();

  constructor(demultiplexer: ReceiveDemultiplexer) {
    this.#demultiplexer = demultiplexer;
  }

  /** @throws FilterSyntaxError, ArgumentError, AddressFault, RightsError; nothing has changed then */
  open(bank: SpaceBankCapability, request: SessionRequest): PacketRingCapability {
    const program = compileFilter(request.filter);
    const seller = openCapability(bank, "open session");
    seller.reserve(1);
    const ring = new PacketRing(request);
    const capability = new PacketRingCapability(seller.adopt(ring));
    const session: ReceiveSession = { name: request.filter, program, ring };
    this.#byRing.set(ring, session);
    this.#demultiplexer.open(session);
    if (request.isDefault === true) this.#demultiplexer.setDefault(session);
    return capability;
  }

  close(bank: SpaceBankCapability, capability: PacketRingCapability): void {
    const session = this.#byRing.get(openCapability(capability, "close session"));
    if (session === undefined) throw new ArgumentError("close session", "the ring is not of this adapter");
    this.#byRing.delete(session.ring);
    this.#demultiplexer.close(session);
    void bank.destroy(capability);
  }
}
