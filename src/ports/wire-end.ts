import type { FrameListener, Wire } from "../devices/wire.js";

const ignore = (): void => {};

/** What all far ends of a wire share: the adapter's listeners, and the carrier. */
export abstract class WireEnd implements Wire {
  #frameListener: FrameListener = ignore;
  #carrierListener: (up: boolean) => void = ignore;
  #carrier = true;

  abstract send(bytes: Uint8Array, offset: number, length: number): void;

  onFrame(listener: FrameListener): void {
    this.#frameListener = listener;
  }

  onCarrier(listener: (up: boolean) => void): void {
    this.#carrierListener = listener;
  }

  get carrier(): boolean {
    return this.#carrier;
  }

  /** Plugs or pulls the cable. */
  setCarrier(up: boolean): void {
    if (up === this.#carrier) return;
    this.#carrier = up;
    this.#carrierListener(up);
  }

  /** Hands a frame to the adapter; without carrier it is lost. */
  deliver(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#carrier) this.#frameListener(bytes, offset, length);
  }
}

/** A cable plugged back into the adapter: what it sends, it gets. */
export class LoopWire extends WireEnd {
  override send(bytes: Uint8Array, offset: number, length: number): void {
    this.deliver(bytes, offset, length);
  }
}
