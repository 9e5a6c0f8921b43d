import type { DiskBackend } from "../disk-backend.js";
import type { Command } from "./command.js";
import type { Features } from "./features.js";
import type { Health } from "./health.js";
import { ALL_NAMESPACES, NAMESPACE, NvmOpcode, wide } from "./registers.js";
import { PENDING, Status, statusOfDiskError } from "./status.js";
import { MAX_TRANSFER, type Transfer } from "./transfer.js";

/** The disk has answered and there is more to do. */
const AGAIN = -3;

/** Force Unit Access, doubleword 12. */
const FUA = 1 << 30;
/** Directive type of a write, doubleword 12; there are no directives. */
const DTYPE_MASK = 15 << 20;
/** Dataset Management: deallocate, doubleword 11; a range (figure 358). */
const DEALLOCATE = 1 << 2;
const RANGE_BYTES = 16;

/**
 * The NVM command set (§6). A disk that answers at once (`synchronous`) works in the host's memory itself; any other
 * gets memory of the controller, which is copied at the moment that counts, so that a mapping that was taken away
 * meanwhile is found out.
 */
export class NvmCommands {
  constructor(
    readonly disk: DiskBackend,
    readonly transfer: Transfer,
    readonly features: Features,
    readonly health: Health,
  ) {}

  /** @returns a status, or PENDING: then the command resumes with the disk's answer */
  execute(command: Command): number {
    if (command.fuse !== 0) return Status.invalidField;
    const { nsid, opcode } = command;
    switch (opcode) {
      case NvmOpcode.flush:
      case NvmOpcode.write:
      case NvmOpcode.read:
      case NvmOpcode.compare:
      case NvmOpcode.writeZeroes:
      case NvmOpcode.datasetManagement:
        if (nsid === NAMESPACE || (nsid === ALL_NAMESPACES && opcode === NvmOpcode.flush)) break;
        // All namespaces at once is a value that the command does not take, any other is no namespace (figure 105).
        return nsid === ALL_NAMESPACES ? Status.invalidField : Status.invalidNamespace;
      default:
        return Status.invalidOpcode;
    }
    const status = this.#prepare(command, opcode);
    return status === AGAIN ? this.#run(command) : status;
  }

  /** Goes on after a late answer of the disk. */
  resume(command: Command): number {
    const status = this.#answered(command);
    return status === AGAIN ? this.#run(command) : status;
  }

  /** Checks everything before any effect. @returns a status, or AGAIN when the disk has something to do */
  #prepare(command: Command, opcode: number): number {
    if (opcode === NvmOpcode.flush) return AGAIN;
    if (opcode === NvmOpcode.datasetManagement) return this.#prepareRanges(command);
    const toHost = opcode === NvmOpcode.read;
    const blocks = (command.dword(12) & 0xffff) + 1;
    const { sectorSize, sectors, readOnly } = this.disk;
    const length = blocks * sectorSize;
    if (opcode !== NvmOpcode.writeZeroes && length > MAX_TRANSFER) return Status.invalidField;
    if (opcode === NvmOpcode.write && (command.dword(12) & DTYPE_MASK) !== 0) return Status.invalidField;
    const { slba } = command;
    if (slba + blocks > sectors) return Status.lbaOutOfRange;
    if (readOnly && (opcode === NvmOpcode.write || opcode === NvmOpcode.writeZeroes)) return Status.writeProtected;
    command.position = slba * sectorSize;
    command.length = length;
    if (opcode === NvmOpcode.writeZeroes) return AGAIN;
    const status = this.transfer.map(command, length, toHost, true);
    return status === Status.success ? AGAIN : status;
  }

  /** Dataset Management (§6.7): all ranges are checked before the first is deallocated. */
  #prepareRanges(command: Command): number {
    const count = (command.dword(10) & 0xff) + 1;
    const bytes = count * RANGE_BYTES;
    const status = this.transfer.map(command, bytes, false, true);
    if (status !== Status.success) return status;
    const ranges = command.bounce(bytes);
    if (this.transfer.fromHost(command, ranges) !== Status.success) return Status.dataTransferError;
    for (let i = 0; i < count; i++) {
      const [first, blocks] = range(ranges, i);
      if (first + blocks > this.disk.sectors) return Status.lbaOutOfRange;
    }
    if ((command.dword(11) & DEALLOCATE) === 0) return Status.success;
    return this.disk.readOnly ? Status.writeProtected : AGAIN;
  }

  #run(command: Command): number {
    for (;;) {
      command.issuing = true;
      command.waiting = true;
      command.error = null;
      const refused = this.#issue(command);
      command.issuing = false;
      if (refused !== Status.success) {
        command.waiting = false;
        return refused;
      }
      if (command.waiting) return PENDING;
      const status = this.#answered(command);
      if (status !== AGAIN) return status;
    }
  }

  /** Asks the disk for the next step. @returns a status other than success if that cannot be asked for */
  #issue(command: Command): number {
    const { disk } = this;
    const { position, length, done } = command;
    switch (command.opcode) {
      case NvmOpcode.read:
        if (disk.synchronous !== true) {
          disk.read(position, [command.bounce(length)], done);
          return Status.success;
        }
        return this.#readInPlace(command);
      case NvmOpcode.write:
        if (command.step > 0) disk.flush(done);
        else return this.#write(command);
        return Status.success;
      case NvmOpcode.compare:
        disk.read(position, [command.bounce(length)], done);
        return Status.success;
      case NvmOpcode.writeZeroes:
        if (command.step > 0) disk.flush(done);
        else disk.writeZeroes(position, length, done);
        return Status.success;
      case NvmOpcode.datasetManagement: {
        const [first, blocks] = range(command.bounce((command.step + 1) * RANGE_BYTES), command.step);
        if (blocks === 0) command.done(null);
        else disk.discard(first * disk.sectorSize, blocks * disk.sectorSize, done);
        return Status.success;
      }
      default:
        disk.flush(done);
        return Status.success;
    }
  }

  #readInPlace(command: Command): number {
    const spans = this.transfer.spans(command, true);
    if (spans === null) return Status.dataTransferError;
    this.disk.read(command.position, spans, command.done);
    return Status.success;
  }

  #write(command: Command): number {
    if (this.disk.synchronous === true) {
      const spans = this.transfer.spans(command, false);
      if (spans === null) return Status.dataTransferError;
      this.disk.write(command.position, spans, command.done);
      return Status.success;
    }
    const bytes = command.bounce(command.length);
    if (this.transfer.fromHost(command, bytes) !== Status.success) return Status.dataTransferError;
    this.disk.write(command.position, [bytes], command.done);
    return Status.success;
  }

  #answered(command: Command): number {
    if (command.error !== null) return statusOfDiskError(command.error);
    command.step++;
    const { counters } = this.health;
    switch (command.opcode) {
      case NvmOpcode.read:
        if (this.disk.synchronous !== true) {
          const status = this.transfer.toHost(command, command.bounce(command.length));
          if (status !== Status.success) return status;
        }
        counters.readCommands++;
        counters.bytesRead += command.length;
        return Status.success;
      case NvmOpcode.write:
        if (command.step === 1) {
          counters.writeCommands++;
          counters.bytesWritten += command.length;
        }
        return this.#durable(command);
      case NvmOpcode.writeZeroes:
        return this.#durable(command);
      case NvmOpcode.compare:
        counters.readCommands++;
        counters.bytesRead += command.length;
        return this.#compare(command);
      case NvmOpcode.datasetManagement:
        return command.step > (command.dword(10) & 0xff) ? Status.success : AGAIN;
      default:
        return Status.success;
    }
  }

  /** With Force Unit Access, or the write cache off, a write ends with a flush (§5.21.1.6, §6.15). */
  #durable(command: Command): number {
    const needed = (command.dword(12) & FUA) !== 0 || !this.features.writeCache;
    return needed && command.step === 1 ? AGAIN : Status.success;
  }

  /** Compare (§6.6): the block on the disk is in the bounce buffer. */
  #compare(command: Command): number {
    const spans = this.transfer.spans(command, false);
    if (spans === null) return Status.dataTransferError;
    const stored = command.bounce(command.length);
    let at = 0;
    for (let i = 0; i < spans.length; i++) {
      const span = spans[i];
      for (let k = 0; k < span.length; k++) if (span[k] !== stored[at++]) return Status.compareFailure;
    }
    return Status.success;
  }
}

/** First block and number of blocks of a Dataset Management range. */
function range(bytes: Uint8Array, index: number): [first: number, blocks: number] {
  const view = new DataView(bytes.buffer, bytes.byteOffset + index * RANGE_BYTES, RANGE_BYTES);
  return [wide(view.getUint32(8, true), view.getUint32(12, true)), view.getUint32(4, true)];
}
