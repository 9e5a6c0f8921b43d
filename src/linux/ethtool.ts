import { UsageError } from "../util/errors.js";
import type { GuestAddress } from "../util/guest-address.js";
import type { LinuxDomain } from "./domain.js";
import type { Guest } from "./guest.js";
import { NetDeviceError, runLocked } from "./rtnl.js";

/** `ETH_SS_STATS` and `ETH_GSTRING_LEN`. */
const STATISTICS_STRINGS = 1;
const STRING_BYTES = 32;
const MOST_FEATURES = 64;

/** What ethtool shows and sets of a network device: features, and what its driver counts. */
export class Ethtool {
  readonly #guest: Guest;

  constructor(
    private readonly domain: LinuxDomain,
    /** Its `struct net_device`. */
    private readonly address: GuestAddress,
    private readonly name: string,
  ) {
    this.#guest = domain.services.guest;
  }

  /** Whether a feature is on, by the name that `ethtool -k` has for it: `rx-vlan-hw-parse`. */
  has(name: string): boolean {
    return (this.#features("features") & this.#featureBit(name)) !== 0n;
  }

  /** Whether a feature can be turned on and off. */
  canChange(name: string): boolean {
    return (this.#features("hw_features") & this.#featureBit(name)) !== 0n;
  }

  /** Turns a feature on or off, as `ethtool -K`. @throws NetDeviceError */
  async set(name: string, on: boolean): Promise<void> {
    if (this.has(name) === on) return;
    const bit = this.#featureBit(name);
    const { address } = this;
    if (this.canChange(name)) {
      const at = (address + this.#guest.offset("net_device.wanted_features")) as GuestAddress;
      const wanted = this.#features("wanted_features");
      this.#guest.writeBig(at, on ? wanted | bit : wanted & ~bit);
      await runLocked(this.domain, this.name, "features", function* () {
        yield ["netdev_update_features", address];
        return 0;
      });
    }
    if (this.has(name) === on) return;
    throw new NetDeviceError("net-feature", `${this.name}: the driver does not turn ${name} ${on ? "on" : "off"}`, 1);
  }

  /** Bits by the kernel's own table of names. */
  #featureBit(name: string): bigint {
    const names = this.#guest.symbol("netdev_features_strings");
    for (let i = 0; i < MOST_FEATURES; i++) {
      if (this.#guest.text((names + i * STRING_BYTES) as GuestAddress) === name) return 1n << BigInt(i);
    }
    throw new UsageError(`this kernel's network devices have no feature ${name}`, "net-feature");
  }

  #features(which: "features" | "hw_features" | "wanted_features"): bigint {
    return this.#guest.readBig((this.address + this.#guest.offset(`net_device.${which}`)) as GuestAddress);
  }

  /** What the driver counts, in its order, as `ethtool -S` shows it; empty if it counts nothing. */
  async statistics(): Promise<ReadonlyMap<string, bigint>> {
    const guest = this.#guest;
    const { heap } = this.domain.services;
    const { address } = this;
    const operations = guest.field("net_device.ethtool_ops").pointer(address);
    const operation = (name: string): GuestAddress =>
      operations === 0 ? operations : guest.field(`ethtool_ops.${name}`).pointer(operations);
    const [begin, complete, count, strings, values] = [
      operation("begin"),
      operation("complete"),
      operation("get_sset_count"),
      operation("get_strings"),
      operation("get_ethtool_stats"),
    ];
    const statistics = new Map<string, bigint>();
    if (count === 0 || strings === 0 || values === 0) return statistics;
    const read = (number: number, names: GuestAddress, data: GuestAddress): void => {
      for (let i = 0; i < number; i++) {
        const name = guest.text((names + i * STRING_BYTES) as GuestAddress).slice(0, STRING_BYTES);
        statistics.set(name, guest.readBig((data + i * 8) as GuestAddress));
      }
    };
    await runLocked(this.domain, this.name, "statistics of the driver", function* () {
      const begun = begin === 0 ? 0 : (yield [begin, address]) | 0;
      if (begun < 0) return begun;
      const number = (yield [count, address, STATISTICS_STRINGS]) | 0;
      if (number > 0) {
        const header = heap.allocate(guest.sizeOf("ethtool_stats"));
        const names = heap.allocate(number * STRING_BYTES);
        const data = heap.allocate(number * 8);
        guest.field("ethtool_stats.n_stats").set(header, number);
        yield [strings, address, STATISTICS_STRINGS, names];
        yield [values, address, header, data];
        read(number, names, data);
        for (const memory of [header, names, data]) heap.free(memory);
      }
      if (complete !== 0) yield [complete, address];
      return Math.min(number, 0);
    });
    return statistics;
  }
}
