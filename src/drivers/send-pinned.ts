import type { Message } from "../capability/endpoint.js";
import { DmaAccess } from "../memory/pin.js";
import { beginPinned, type PinnedTransfer } from "../transfer/pinned.js";
import type { MaybePromise } from "../util/maybe-promise.js";
import { REPLY_OK } from "./block-service.js";
import type { DriverDomain } from "./driver-domain.js";
import type { SendRequest } from "./network-service.js";

/** A network driver's queue of what goes out from its clients' memory. */
export interface SendQueue {
  /**
   * Queues the frames of one request, in their order.
   * @param pairs (offset, length) of each frame
   * @param start what the offsets count from: the first byte of the transfer
   * @param done hears once that the device has read all of them, or why it will not
   */
  send(transfer: PinnedTransfer, pairs: Uint32Array, start: number, done: (error: Error | null) => void): void;
}

/** Case 2 for frames: one pin and one mapping for all that a request sends, until the device has read the last one. */
export function sendPinned(
  domain: DriverDomain,
  queue: SendQueue,
  request: SendRequest,
  site: string,
): MaybePromise<Message> {
  const { space, start, end } = request;
  const transfer = beginPinned(domain, { space, offset: start, length: end - start, access: DmaAccess.read, site });
  if (transfer instanceof Promise) return transfer.then((begun) => enqueue(queue, request, begun));
  return enqueue(queue, request, transfer);
}

function enqueue(queue: SendQueue, request: SendRequest, transfer: PinnedTransfer): Promise<Message> {
  return new Promise<Message>((resolve, reject) => {
    queue.send(transfer, request.pairs, request.start, (error) => {
      transfer.end(error === null);
      if (error === null) resolve({ label: REPLY_OK });
      else reject(error);
    });
  });
}
