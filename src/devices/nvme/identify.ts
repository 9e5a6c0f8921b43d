import type { DiskBackend } from "../disk-backend.js";
import { MAX_EVENT_REQUESTS } from "./async-events.js";
import { ERROR_LOG_ENTRIES } from "./health.js";
import { ALL_NAMESPACES, CQ_ENTRY_SHIFT, NAMESPACE, SQ_ENTRY_SHIFT, setWide, VERSION } from "./registers.js";
import { Status } from "./status.js";
import { MDTS } from "./transfer.js";

export const PCI_VENDOR = 0x1b36;
export const PCI_DEVICE = 0x0010;
export const PCI_SUBSYSTEM = 0x1100;

/** Every data structure of Identify has this many bytes. */
export const IDENTIFY_BYTES = 4096;

/** Controller or Namespace Structure (figure 244). */
const Cns = { namespace: 0x00, controller: 0x01, activeNamespaces: 0x02, namespaceDescriptors: 0x03 } as const;

/** Optional NVM commands (ONCS): Compare, Dataset Management, Write Zeroes, Save and Select of features, Timestamp. */
const ONCS = (1 << 0) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 6);
/** Optional events (OAES): Namespace Attribute Notices. */
const OAES = 1 << 8;
/** Log pages (LPA): Commands Supported and Effects, extended data (offset and 32-bit length). */
const LPA = (1 << 1) | (1 << 2);
/** SGLS: supported without alignment, bit buckets. */
const SGLS = (1 << 0) | (1 << 16);
/** VWC: present, and Flush takes all namespaces. */
const VWC = (1 << 0) | (3 << 1);
/** Abort commands that may be at work, 0's based. */
const ACL = 3;
/** FRMW: one slot, read-only. */
const FIRMWARE_SLOTS = (1 << 1) | 1;
const MAX_POWER_CENTIWATTS = 2500;

export interface Identity {
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
}

/** Names of the namespace that follow from the serial number, so that no two disks share one. */
interface NamespaceNames {
  readonly eui64: Uint8Array;
  readonly nguid: Uint8Array;
  readonly uuid: Uint8Array;
}

/** Identify (§5.15): what the controller and its namespace are. */
export class Identify {
  readonly names: NamespaceNames;
  #at: DataView = new DataView(new ArrayBuffer(0));
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(
    readonly identity: Identity,
    readonly disk: DiskBackend,
  ) {
    this.names = namesFrom(identity.serial);
  }

  /**
   * Fills a data structure, which must be all zeroes.
   * @param cns Controller or Namespace Structure
   * @returns a status
   */
  fill(cns: number, nsid: number, into: Uint8Array): number {
    this.#bytes = into;
    this.#at = new DataView(into.buffer, into.byteOffset, into.byteLength);
    switch (cns) {
      case Cns.namespace:
        return this.#oneNamespace(nsid, () => this.#namespace());
      case Cns.controller:
        this.#controller();
        return Status.success;
      case Cns.activeNamespaces:
        if (nsid >= ALL_NAMESPACES - 1) return Status.invalidNamespace;
        if (nsid < NAMESPACE) this.#at.setUint32(0, NAMESPACE, true);
        return Status.success;
      case Cns.namespaceDescriptors:
        return this.#oneNamespace(nsid, () => this.#descriptors());
      default:
        return Status.invalidField;
    }
  }

  #oneNamespace(nsid: number, fill: () => void): number {
    if (nsid !== NAMESPACE) return Status.invalidNamespace;
    fill();
    return Status.success;
  }

  /** Identify Controller data structure (figure 247). */
  #controller(): void {
    const at = this.#at;
    const { serial, model, firmware } = this.identity;
    at.setUint16(0, PCI_VENDOR, true);
    at.setUint16(2, PCI_VENDOR, true);
    this.#text(4, 20, serial);
    this.#text(24, 40, model);
    this.#text(64, 8, firmware);
    at.setUint8(72, 5); // RAB: the burst that suits best, 2^5
    at.setUint8(77, MDTS);
    at.setUint32(80, VERSION, true);
    at.setUint32(84, 1_000, true); // RTD3R and RTD3E in microseconds
    at.setUint32(88, 1_000, true);
    at.setUint32(92, OAES, true);
    at.setUint8(111, 1); // CNTRLTYPE: I/O controller
    at.setUint8(258, ACL);
    at.setUint8(259, MAX_EVENT_REQUESTS - 1);
    at.setUint8(260, FIRMWARE_SLOTS);
    at.setUint8(261, LPA);
    at.setUint8(262, ERROR_LOG_ENTRIES - 1);
    at.setUint8(264, 1); // AVSCC: vendor specific commands would use the standard format
    setWide(at, 280, this.disk.sectors * this.disk.sectorSize); // TNVMCAP
    at.setUint8(512, (SQ_ENTRY_SHIFT << 4) | SQ_ENTRY_SHIFT);
    at.setUint8(513, (CQ_ENTRY_SHIFT << 4) | CQ_ENTRY_SHIFT);
    at.setUint32(516, NAMESPACE, true); // NN
    at.setUint16(520, ONCS, true);
    at.setUint8(525, VWC);
    at.setUint32(536, SGLS, true);
    this.#text(768, 256, `nqn.2014-08.org.nvmexpress:uuid:${uuidText(this.names.uuid)}`, 0);
    at.setUint16(2048, MAX_POWER_CENTIWATTS, true);
  }

  /** Identify Namespace data structure (figure 245). */
  #namespace(): void {
    const at = this.#at;
    const { sectors, sectorSize, readOnly } = this.disk;
    setWide(at, 0, sectors); // NSZE, NCAP, NUSE
    setWide(at, 8, sectors);
    setWide(at, 16, sectors);
    setWide(at, 48, sectors * sectorSize); // NVMCAP
    at.setUint8(99, readOnly ? 1 : 0); // NSATTR: write protected
    this.#bytes.set(this.names.nguid, 104);
    this.#bytes.set(this.names.eui64, 120);
    at.setUint8(130, Math.log2(sectorSize)); // LBAF0: LBADS
  }

  /** Namespace Identification Descriptors (figure 249): type, length, two reserved bytes, identifier. */
  #descriptors(): void {
    let offset = 0;
    const { eui64, nguid, uuid } = this.names;
    for (const [type, value] of [
      [1, eui64],
      [2, nguid],
      [3, uuid],
    ] as const) {
      this.#at.setUint8(offset, type);
      this.#at.setUint8(offset + 1, value.length);
      this.#bytes.set(value, offset + 4);
      offset += 4 + value.length;
    }
  }

  #text(offset: number, length: number, text: string, padding = 0x20): void {
    for (let i = 0; i < length; i++) {
      const code = i < text.length ? text.charCodeAt(i) : padding;
      this.#bytes[offset + i] = code > 0x7e ? 0x3f : code;
    }
  }
}

function namesFrom(serial: string): NamespaceNames {
  const bytes = new Uint8Array(40);
  // FNV-1a, once for each byte that is needed.
  for (let i = 0; i < bytes.length; i++) {
    let hash = 0x811c_9dc5 ^ i;
    for (let k = 0; k < serial.length; k++) hash = Math.imul(hash ^ serial.charCodeAt(k), 0x0100_0193);
    bytes[i] = hash ^ (hash >>> 11) ^ (hash >>> 21);
  }
  const eui64 = bytes.subarray(0, 8);
  const nguid = bytes.subarray(8, 24);
  const uuid = bytes.subarray(24, 40);
  // A UUID of version 8, variant 1: made by a rule of one's own.
  uuid[6] = (uuid[6] & 0x0f) | 0x80;
  uuid[8] = (uuid[8] & 0x3f) | 0x80;
  return { eui64, nguid, uuid };
}

function uuidText(uuid: Uint8Array): string {
  const digits = Array.from(uuid, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
