import { DescriptorChain } from "../virtio/descriptor-chain.js";
import type { DeviceCore } from "../virtio/device-core.js";
import type { Virtqueue } from "../virtio/virtqueue.js";
import { NetFeature } from "./features.js";
import type { ReceiveFilter } from "./receive-filter.js";

/** Classes and commands (VIRTIO 1.2, §5.1.6.5). */
export const Control = {
  RX: 0,
  RX_PROMISC: 0,
  RX_ALLMULTI: 1,
  MAC: 1,
  MAC_TABLE_SET: 0,
  MAC_ADDR_SET: 1,
  VLAN: 2,
  VLAN_ADD: 0,
  VLAN_DEL: 1,
  MQ: 4,
  MQ_VQ_PAIRS_SET: 0,
  GUEST_OFFLOADS: 5,
  GUEST_OFFLOADS_SET: 0,
} as const;

export const ControlAck = { OK: 0, ERR: 1 } as const;

const COMMAND_BYTES = 2;
const ADDRESS_BYTES = 6;
const COUNT_BYTES = 4;
const VLANS = 4096;
/** The longest command that is looked at: two tables of more addresses than any filter has. */
const LONGEST_COMMAND = 64 * 1024;

/** What commands change beside the filter. */
export interface ControlTarget {
  /** Sets the device's own address, the six bytes from `at` on. */
  setAddress(view: DataView, at: number): void;
  /** Sets how many pairs of queues are in use. @returns whether there are so many */
  setPairs(pairs: number): boolean;
  /** Turns the looking at received checksums on or off. */
  setChecksums(on: boolean): void;
}

/** The control virtqueue: commands are done before the driver's notification returns. */
export class ControlQueue {
  readonly #core: DeviceCore;
  readonly #filter: ReceiveFilter;
  readonly #target: ControlTarget;
  readonly #chain: DescriptorChain;
  readonly #command = new Uint8Array(LONGEST_COMMAND);
  readonly #view = new DataView(this.#command.buffer);
  readonly #ack = new Uint8Array(1);

  /** @param largest queue size */
  constructor(core: DeviceCore, filter: ReceiveFilter, target: ControlTarget, largest: number) {
    this.#core = core;
    this.#filter = filter;
    this.#target = target;
    this.#chain = new DescriptorChain(largest);
  }

  run(queue: Virtqueue): void {
    const chain = this.#chain;
    while (queue.take(chain)) {
      if (!this.#executeOne()) break;
      queue.use(chain, 1);
    }
    queue.publish();
    queue.wantNotification(true);
  }

  /** @returns false if the device needs a reset */
  #executeOne(): boolean {
    const chain = this.#chain;
    const core = this.#core;
    const bytes = chain.readableBytes;
    if (bytes < COMMAND_BYTES || chain.writableBytes < 1) {
      core.broken("virtio-net-control", "a control buffer has no command, or no room for the answer (§5.1.6.5)");
      return false;
    }
    let done = false;
    if (bytes > LONGEST_COMMAND) {
      core.violation("virtio-net-control", `a command of ${bytes} bytes is longer than any`);
    } else if (!chain.read(core.dma, 0, this.#command, 0, bytes)) {
      core.refused();
      return false;
    } else {
      done = this.#execute(this.#command[0], this.#command[1], bytes);
    }
    this.#ack[0] = done ? ControlAck.OK : ControlAck.ERR;
    if (chain.write(core.dma, 0, this.#ack, 0, 1)) return true;
    core.refused();
    return false;
  }

  /** @param end of the command's data @returns whether it was done */
  #execute(kind: number, command: number, end: number): boolean {
    switch (kind) {
      case Control.RX:
        return this.#has(NetFeature.CTRL_RX, "CTRL_RX") && this.#receiveMode(command, end);
      case Control.MAC:
        return command === Control.MAC_ADDR_SET
          ? this.#has(NetFeature.CTRL_MAC_ADDR, "CTRL_MAC_ADDR") && this.#setAddress(end)
          : this.#has(NetFeature.CTRL_RX, "CTRL_RX") && this.#setTable(command, end);
      case Control.VLAN:
        return this.#has(NetFeature.CTRL_VLAN, "CTRL_VLAN") && this.#setVlan(command, end);
      case Control.MQ:
        return this.#has(NetFeature.MQ, "MQ") && this.#setPairs(command, end);
      case Control.GUEST_OFFLOADS:
        return this.#has(NetFeature.CTRL_GUEST_OFFLOADS, "CTRL_GUEST_OFFLOADS") && this.#setOffloads(command, end);
    }
    return this.#wrong(`class ${kind} is not known`);
  }

  /** §5.1.6.5.1 */
  #receiveMode(command: number, end: number): boolean {
    const on = this.#command[COMMAND_BYTES] !== 0;
    if (!this.#isLength(end, 1)) return false;
    if (command === Control.RX_PROMISC) this.#filter.promiscuous = on;
    else if (command === Control.RX_ALLMULTI) this.#filter.allMulticast = on;
    else return this.#wrong(`receive mode ${command} is not known`);
    return true;
  }

  /** §5.1.6.5.2 */
  #setAddress(end: number): boolean {
    if (!this.#isLength(end, ADDRESS_BYTES)) return false;
    if ((this.#command[COMMAND_BYTES] & 1) !== 0) return this.#wrong("a multicast address cannot be the device's own");
    this.#target.setAddress(this.#view, COMMAND_BYTES);
    return true;
  }

  /** §5.1.6.5.2: a table of unicast addresses, then one of multicast addresses. */
  #setTable(command: number, end: number): boolean {
    if (command !== Control.MAC_TABLE_SET) return this.#wrong(`address command ${command} is not known`);
    const unicast = this.#count(COMMAND_BYTES, end);
    const second = COMMAND_BYTES + COUNT_BYTES + unicast * ADDRESS_BYTES;
    const multicast = unicast < 0 ? -1 : this.#count(second, end);
    if (multicast < 0) return this.#wrong("the tables of addresses are longer than the command");
    this.#filter.clearTable();
    this.#filter.addAddresses(this.#view, COMMAND_BYTES + COUNT_BYTES, unicast, false);
    this.#filter.addAddresses(this.#view, second + COUNT_BYTES, multicast, true);
    return true;
  }

  /** The entries of a table, or −1 if they do not end before `end`. */
  #count(at: number, end: number): number {
    if (at + COUNT_BYTES > end) return -1;
    const count = this.#view.getUint32(at, true);
    return count * ADDRESS_BYTES <= end - at - COUNT_BYTES ? count : -1;
  }

  /** §5.1.6.5.3 */
  #setVlan(command: number, end: number): boolean {
    if (!this.#isLength(end, 2)) return false;
    const id = this.#view.getUint16(COMMAND_BYTES, true);
    if (id >= VLANS || command > Control.VLAN_DEL) return this.#wrong(`VLAN ${id}, command ${command}`);
    this.#filter.setVlan(id, command === Control.VLAN_ADD);
    return true;
  }

  /** §5.1.6.5.5 */
  #setPairs(command: number, end: number): boolean {
    if (!this.#isLength(end, 2)) return false;
    const pairs = this.#view.getUint16(COMMAND_BYTES, true);
    if (command === Control.MQ_VQ_PAIRS_SET && this.#target.setPairs(pairs)) return true;
    return this.#wrong(`${pairs} pairs of queues, command ${command}`);
  }

  /** §5.1.6.5.8: of what can be turned on only the looking at checksums is offered. */
  #setOffloads(command: number, end: number): boolean {
    if (!this.#isLength(end, 8)) return false;
    const low = this.#view.getUint32(COMMAND_BYTES, true);
    const high = this.#view.getUint32(COMMAND_BYTES + 4, true);
    const possible = this.#core.features.has(NetFeature.GUEST_CSUM) ? 1 << NetFeature.GUEST_CSUM : 0;
    if (command !== Control.GUEST_OFFLOADS_SET || (low & ~possible) !== 0 || high !== 0) {
      return this.#wrong("offloads were turned on that have not been accepted");
    }
    this.#target.setChecksums(low !== 0);
    return true;
  }

  #has(feature: number, name: string): boolean {
    return this.#core.features.has(feature) || this.#wrong(`VIRTIO_NET_F_${name} was not accepted`);
  }

  #isLength(end: number, bytes: number): boolean {
    return end === COMMAND_BYTES + bytes || this.#wrong(`${end - COMMAND_BYTES} bytes of data instead of ${bytes}`);
  }

  #wrong(what: string): false {
    this.#core.violation("virtio-net-control", `a command was refused: ${what}`);
    return false;
  }
}
