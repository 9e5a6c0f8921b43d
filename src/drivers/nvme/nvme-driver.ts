import { PciCommand, PciRegister } from "../../bus/pci-config.js";
import type { Message, Received } from "../../capability/endpoint.js";
import { ArgumentError, ObjectIoError } from "../../capability/errors.js";
import { DmaAccess } from "../../memory/pin.js";
import type { DiskPageRequest, PagingDriver } from "../../transfer/object-pager.js";
import { beginPinned, type PinnedTransfer } from "../../transfer/pinned.js";
import { ReservedMemory } from "../../transfer/reserved-memory.js";
import { PAGE_SIZE } from "../../util/brand.js";
import { KorralError } from "../../util/errors.js";
import type { MaybePromise } from "../../util/maybe-promise.js";
import { type BlockInfo, BlockLabel, decodeRange, decodeTransfer, REPLY_OK } from "../block-service.js";
import type { DriverDomain } from "../driver-domain.js";
import { routeMsiX } from "../msix-routing.js";
import { type CommandDone, PRP_LIST_PAGES, QueuePair, queuePairBytes } from "./queue-pair.js";

/** Controller registers (NVMe 1.4, §3.1). */
const Register = { cap: 0x00, cc: 0x14, csts: 0x1c, aqa: 0x24, asq: 0x28, acq: 0x30, doorbells: 0x1000 } as const;
const CC_ENABLE = 1;
/** I/O queue entry sizes: 2^6 and 2^4 bytes. */
const CC_ENTRY_SIZES = (6 << 16) | (4 << 20);
const CSTS_READY = 1;
const CSTS_FATAL = 2;

/** Opcodes (§5, §6). */
const Admin = { createSq: 0x01, createCq: 0x05, identify: 0x06 } as const;
const Nvm = { flush: 0x00, write: 0x01, read: 0x02, writeZeroes: 0x08, datasetManagement: 0x09 } as const;
const DSM_DEALLOCATE = 1 << 2;
const ONCS_DSM = 1 << 2;
const ONCS_WRITE_ZEROES = 1 << 3;

const ADMIN_ENTRIES = 16;
const IO_ENTRIES = 128;
const FIRST_POLL_NANOSECONDS = 100_000;
const LAST_POLL_NANOSECONDS = 50_000_000;
const NAMESPACE = 1;
const MAX_BLOCKS_A_COMMAND = 65_536;
/** Length of a range of dataset management (§6.7, figure 364) is 32 bits. */
const MAX_BLOCKS_A_RANGE = 2 ** 32 - 1;
const NO_DWORDS: readonly [number, number, number, number, number, number] = [0, 0, 0, 0, 0, 0];

/** A command that waits for room in the queue. */
type Submission = (io: QueuePair) => void;

export class NvmeCommandError extends KorralError {
  constructor(
    operation: string,
    /** Status field of the completion (§4.6.1), without the phase tag. */
    readonly status: number,
  ) {
    const type = (status >>> 8) & 7;
    const code = status & 0xff;
    super("nvme-status", `${operation}: the controller answered status type ${type}, code 0x${code.toString(16)}`, 1);
  }
}

/**
 * A disk driver as EROS would have it: case 2 towards its clients (the requester's pages are pinned and the controller
 * moves the data straight into them), and the paging interface towards the kernel.
 */
export class NvmeDriver implements PagingDriver {
  readonly #domain: DriverDomain;
  readonly #waiting: Submission[] = [];
  #admin: QueuePair;
  #io: QueuePair | null = null;
  #doorbellStride = 4;
  #ioEntries = IO_ENTRIES;
  #maxTransfer = PRP_LIST_PAGES * PAGE_SIZE;
  #optionalCommands = 0;
  #info: BlockInfo = { sectorSize: 512, sectors: 0, readOnly: false };
  /** Receives what happens to paging requests. */
  onPaged: ((requestId: number, error: Error | null) => void) | null = null;
  model = "";
  serial = "";

  private constructor(domain: DriverDomain) {
    this.#domain = domain;
    this.#admin = this.#queuePair(0, ADMIN_ENTRIES);
  }

  /** Brings the controller up and serves the domain's endpoint. @throws KorralError when the controller does not come up */
  static start(domain: DriverDomain): Promise<NvmeDriver> {
    return domain.start(async () => {
      const driver = new NvmeDriver(domain);
      await driver.#enable();
      await driver.#identify();
      await driver.#createQueues();
      domain.serve((message) => driver.#serve(message));
      return driver;
    });
  }

  get info(): BlockInfo {
    return this.#info;
  }

  get dma() {
    return this.#domain.dma;
  }

  /** The disk special case: the kernel names an I/O address and a block, and gives no capability. */
  submit(request: DiskPageRequest): void {
    const opcode = request.direction === "in" ? Nvm.read : Nvm.write;
    const blocks = PAGE_SIZE / this.#info.sectorSize;
    this.#transfer(opcode, request.ioAddress, PAGE_SIZE, request.block * blocks, (status) => {
      const failed =
        status === 0
          ? null
          : new ObjectIoError(`block ${request.block}`, new NvmeCommandError("paging", status).message);
      this.onPaged?.(request.requestId, failed);
    });
    this.#io?.kick();
  }

  /** Controller initialisation (§7.6.1), steps in its order. */
  async #enable(): Promise<void> {
    const { device } = this.#domain;
    device.configWrite(
      PciRegister.command,
      2,
      PciCommand.memorySpace | PciCommand.busMaster | PciCommand.interruptDisable,
    );
    this.#registerWrite(Register.cc, 0);
    await this.#untilReady(false);
    this.#registerWrite(Register.aqa, ((ADMIN_ENTRIES - 1) << 16) | (ADMIN_ENTRIES - 1));
    this.#registerWrite64(Register.asq, this.#admin.submissionIo);
    this.#registerWrite64(Register.acq, this.#admin.completionIo);
    this.#ioEntries = Math.min(IO_ENTRIES, (this.#registerRead(Register.cap) & 0xffff) + 1);
    this.#doorbellStride = 4 << (this.#registerRead(Register.cap + 4) & 0xf);
    this.#registerWrite(Register.cc, CC_ENABLE | CC_ENTRY_SIZES);
    await this.#untilReady(true);
    routeMsiX(this.#domain, 0, () => this.#admin.reap());
  }

  async #untilReady(ready: boolean): Promise<void> {
    const limit = Math.max(1, this.#registerRead(Register.cap) >>> 24) * 500_000_000;
    let pause = FIRST_POLL_NANOSECONDS;
    for (let waited = 0; waited <= limit; waited += pause) {
      const status = this.#registerRead(Register.csts);
      if ((status & CSTS_FATAL) !== 0 && ready) break;
      if (((status & CSTS_READY) !== 0) === ready) return;
      await this.#domain.sleep(pause);
      pause = Math.min(2 * pause, LAST_POLL_NANOSECONDS);
    }
    throw new KorralError("nvme-not-ready", "the NVMe controller does not become ready: reset or replace it", 1);
  }

  async #identify(): Promise<void> {
    const page = new ReservedMemory(this.#domain, PAGE_SIZE, "identify");
    const ask = (cns: number, namespace: number) =>
      this.#adminCommand("identify", Admin.identify, namespace, page.io, PAGE_SIZE, [cns, 0, 0, 0, 0, 0]);
    await ask(1, 0);
    this.serial = text(page.bytes, 4, 20);
    this.model = text(page.bytes, 24, 40);
    const mdts = page.bytes[77];
    if (mdts > 0) this.#maxTransfer = Math.min(this.#maxTransfer, PAGE_SIZE * 2 ** mdts);
    this.#optionalCommands = page.view.getUint16(520, true);
    await ask(0, NAMESPACE);
    const format = page.bytes[26] & 0xf;
    const sectorSize = 2 ** page.bytes[128 + 4 * format + 2];
    const sectors = page.view.getUint32(0, true) + page.view.getUint32(4, true) * 2 ** 32;
    const readOnly = (page.bytes[99] & 1) !== 0;
    this.#info = { sectorSize, sectors, readOnly };
    page.release();
    if (sectors === 0 || sectorSize < 512 || sectorSize > PAGE_SIZE || !Number.isSafeInteger(sectors * sectorSize)) {
      throw new KorralError(
        "nvme-namespace",
        `namespace 1 has ${sectors} sectors of ${sectorSize} bytes: nothing to serve`,
        1,
      );
    }
  }

  async #createQueues(): Promise<void> {
    const io = this.#queuePair(1, this.#ioEntries);
    const sizeAndId = ((this.#ioEntries - 1) << 16) | 1;
    const contiguous = 1;
    const interrupts = 2;
    await this.#adminCommand("create completion queue", Admin.createCq, 0, io.completionIo, PAGE_SIZE, [
      sizeAndId,
      (1 << 16) | contiguous | interrupts,
      0,
      0,
      0,
      0,
    ]);
    await this.#adminCommand("create submission queue", Admin.createSq, 0, io.submissionIo, PAGE_SIZE, [
      sizeAndId,
      (1 << 16) | contiguous,
      0,
      0,
      0,
      0,
    ]);
    routeMsiX(this.#domain, 1, () => {
      const any = io.reap();
      if (this.#waiting.length > 0) {
        while (this.#waiting.length > 0 && io.room > 0) this.#waiting.shift()?.(io);
        io.kick();
      }
      return any;
    });
    this.#io = io;
  }

  #serve(message: Received): MaybePromise<Message> {
    const info = this.#info;
    switch (message.label) {
      case BlockLabel.info:
        return { label: REPLY_OK, words: [info.sectorSize, info.sectors, info.readOnly ? 1 : 0] };
      case BlockLabel.read:
        return this.#readOrWrite(message, Nvm.read);
      case BlockLabel.write:
        return this.#readOrWrite(message, Nvm.write);
      case BlockLabel.flush:
        return this.#simple("flush", (io, done) => io.submit(Nvm.flush, NAMESPACE, 0, 0, NO_DWORDS, done));
      case BlockLabel.discard:
        return this.#discard(message);
      case BlockLabel.writeZeroes:
        return this.#writeZeroes(message);
      default:
        throw new ArgumentError("disk", `${message.label} is not an operation of a disk`);
    }
  }

  #readOrWrite(message: Received, opcode: number): MaybePromise<Message> {
    const reading = opcode === Nvm.read;
    const request = decodeTransfer(message, this.#info, reading ? "disk read" : "disk write");
    const transfer = beginPinned(this.#domain, {
      space: request.space,
      offset: request.offset,
      length: request.length,
      access: reading ? DmaAccess.write : DmaAccess.read,
      site: reading ? "nvme read" : "nvme write",
    });
    if (transfer instanceof Promise) return transfer.then((begun) => this.#move(opcode, begun, request.sector));
    return this.#move(opcode, transfer, request.sector);
  }

  #move(opcode: number, transfer: PinnedTransfer, sector: number): Promise<Message> {
    return new Promise<Message>((resolve, reject) => {
      this.#transfer(opcode, transfer.io, transfer.length, sector, (status) => {
        transfer.end(status === 0);
        if (status === 0) resolve({ label: REPLY_OK });
        else reject(new NvmeCommandError(transfer.site, status));
      });
      this.#io?.kick();
    });
  }

  /** Moves contiguous I/O memory with as many commands as the controller's limits ask for; `done` hears the worst status. */
  #transfer(opcode: number, io: number, length: number, sector: number, done: (status: number) => void): void {
    const { sectorSize } = this.#info;
    const most = Math.min(this.#maxTransfer, MAX_BLOCKS_A_COMMAND * sectorSize);
    const chunk = length <= most ? length : most - (most % sectorSize);
    let left = Math.ceil(length / chunk);
    let worst = 0;
    for (let at = 0; at < length; at += chunk) {
      const bytes = Math.min(chunk, length - at);
      const lba = sector + at / sectorSize;
      const dwords = [lba, lba / 2 ** 32, bytes / sectorSize - 1, 0, 0, 0] as const;
      const ended = (status: number): void => {
        worst ||= status;
        if (--left === 0) done(worst);
      };
      this.#submit((queue, done) => queue.submit(opcode, NAMESPACE, io + at, bytes, dwords, done), ended);
    }
  }

  async #discard(message: Received): Promise<Message> {
    const { sector, length } = decodeRange(message, this.#info, "disk discard");
    if ((this.#optionalCommands & ONCS_DSM) === 0) return { label: REPLY_OK };
    const sectors = length / this.#info.sectorSize;
    for (let at = 0; at < sectors; at += MAX_BLOCKS_A_RANGE) {
      const lba = sector + at;
      const range = [0, Math.min(MAX_BLOCKS_A_RANGE, sectors - at), lba, lba / 2 ** 32];
      const dwords = [0, DSM_DEALLOCATE, 0, 0, 0, 0] as const;
      await this.#simple("discard", (io, done) =>
        io.submitWords(Nvm.datasetManagement, NAMESPACE, range, dwords, done),
      );
    }
    return { label: REPLY_OK };
  }

  async #writeZeroes(message: Received): Promise<Message> {
    const { sector, length } = decodeRange(message, this.#info, "disk write zeroes");
    if ((this.#optionalCommands & ONCS_WRITE_ZEROES) === 0) {
      throw new ArgumentError("disk write zeroes", "this controller cannot: write zeroes from memory instead");
    }
    const sectors = length / this.#info.sectorSize;
    for (let at = 0; at < sectors; at += MAX_BLOCKS_A_COMMAND) {
      const count = Math.min(MAX_BLOCKS_A_COMMAND, sectors - at);
      const lba = sector + at;
      const dwords = [lba, lba / 2 ** 32, count - 1, 0, 0, 0] as const;
      await this.#simple("write zeroes", (io, done) => io.submit(Nvm.writeZeroes, NAMESPACE, 0, 0, dwords, done));
    }
    return { label: REPLY_OK };
  }

  /** A command without a client's memory. */
  #simple(operation: string, put: (io: QueuePair, done: CommandDone) => void): Promise<Message> {
    return new Promise<Message>((resolve, reject) => {
      this.#submit(put, (status) => {
        if (status === 0) resolve({ label: REPLY_OK });
        else reject(new NvmeCommandError(operation, status));
      });
      this.#io?.kick();
    });
  }

  /** Puts a command into the queue now or, when it is full, in its turn; from then on the controller must be done in time. */
  #submit(put: (io: QueuePair, done: CommandDone) => void, done: CommandDone): void {
    const queue = this.#io;
    if (queue === null) throw new Error("the I/O queue does not exist yet");
    const { watchdog } = this.#domain;
    const submission: Submission = (io) => {
      const watch = watchdog.begin();
      put(io, (status, result) => {
        watchdog.end(watch);
        done(status, result);
      });
    };
    if (queue.room > 0 && this.#waiting.length === 0) submission(queue);
    else this.#waiting.push(submission);
  }

  #adminCommand(
    operation: string,
    opcode: number,
    namespace: number,
    data: number,
    length: number,
    dwords: readonly [number, number, number, number, number, number],
  ): Promise<number> {
    const watch = this.#domain.watchdog.begin();
    return new Promise<number>((resolve, reject) => {
      this.#admin.submit(opcode, namespace, data, length, dwords, (status, result) => {
        this.#domain.watchdog.end(watch);
        if (status === 0) resolve(result);
        else reject(new NvmeCommandError(operation, status));
      });
      this.#admin.kick();
    });
  }

  #queuePair(id: number, entries: number): QueuePair {
    const memory = new ReservedMemory(this.#domain, queuePairBytes(entries), `queue ${id}`);
    const doorbell = (index: number) => Register.doorbells + index * this.#doorbellStride;
    return new QueuePair(memory, entries, {
      submission: (tail) => this.#registerWrite(doorbell(2 * id), tail),
      completion: (head) => this.#registerWrite(doorbell(2 * id + 1), head),
    });
  }

  #registerRead(offset: number): number {
    return this.#domain.device.read(0, offset, 4);
  }

  #registerWrite(offset: number, value: number): void {
    this.#domain.device.write(0, offset, 4, value);
  }

  #registerWrite64(offset: number, value: number): void {
    this.#registerWrite(offset, value >>> 0);
    this.#registerWrite(offset + 4, Math.floor(value / 2 ** 32));
  }
}

function text(bytes: Uint8Array, at: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + length)).trim();
}
