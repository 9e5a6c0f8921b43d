// The frames that all who are compared send and receive, and the proof that these arrived and no others.
import { mixFrame } from "../dist/ports/wire-hash.js";

/** Of the 82540EM model, and of QEMU's. */
const ADAPTER = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const OTHER = [0x52, 0x54, 0x00, 0xab, 0xcd, 0xef];

/** A frame with a number in its last four bytes. */
export class NumberedFrame {
  constructor(length) {
    this.length = length;
    this.bytes = udpFrame(length);
    this.view = new DataView(this.bytes.buffer);
  }

  number(n) {
    this.view.setUint32(this.length - 4, n);
  }

  /** @returns the digest of so many frames after what `digest` stands for, numbered from 0 modulo `period` */
  digest(digest, frames, period = frames) {
    let mixed = digest;
    for (let i = 0; i < frames; i++) {
      this.number(i % period);
      mixed = mixFrame(mixed, this.view, 0, this.length);
    }
    return mixed;
  }
}

/** To port 9, which nobody answers. */
export function udpFrame(length) {
  const frame = new Uint8Array(length);
  const view = new DataView(frame.buffer);
  frame.set([...ADAPTER, ...OTHER, 0x08, 0x00, 0x45, 0x00]);
  view.setUint16(16, length - 14);
  frame.set([64, 17], 22);
  frame.set([192, 0, 2, 1, 192, 0, 2, 2], 26);
  view.setUint16(34, 1024);
  view.setUint16(36, 9);
  view.setUint16(38, length - 34);
  return frame;
}

/** @throws Error if the digests differ */
export function checkDigest(got, expected) {
  if (got !== expected) throw new Error("the frames that arrived are not those that were sent");
}
