/** What a machine's transfers have cost so far. */
export class TransferStatistics {
  /** Copies by the processor, and their bytes: the price of cases 1 and 3. */
  copies = 0;
  copiedBytes = 0;
  /** Transfers straight between a device and a requester's frames (cases 2 and 3b), and their bytes. */
  zeroCopies = 0;
  zeroCopyBytes = 0;
  /** Frames that arrived for a client whose buffers were full or gone, and frames that nobody wanted. */
  dropped = 0;
  unclaimed = 0;
  /** Store pages brought in from disk, written back, and requests that failed. */
  fetched = 0;
  cleaned = 0;
  pagingErrors = 0;

  countCopy(bytes: number): void {
    this.copies++;
    this.copiedBytes += bytes;
  }

  countZeroCopy(bytes: number): void {
    this.zeroCopies++;
    this.zeroCopyBytes += bytes;
  }
}
