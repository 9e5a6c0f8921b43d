/**
 * The far end of a network adapter, as the adapter sees it. Frames carry neither preamble nor frame check sequence;
 * what lies on the other side (a capture, a socket, another adapter) is a matter of `ports/`.
 *
 * Bytes are lent for the length of the call, in both directions: whoever keeps a frame copies it.
 */
export interface Wire {
  /** Who gets the frames that arrive from the wire. There is one listener: a later call replaces the earlier one. */
  onFrame(listener: FrameListener): void;
  /** Puts the frame `bytes[offset, offset + length)` on the wire. Without carrier the frame is lost. */
  send(bytes: Uint8Array, offset: number, length: number): void;
  /** Whether a link partner is there: what the PHY reports as link. */
  readonly carrier: boolean;
  /**
   * Whether somebody else holds the medium: half-duplex adapters wait as long as it lasts. Left out: never.
   */
  readonly busy?: boolean;
  /** Who hears that the carrier came or went. There is one listener: a later call replaces the earlier one. */
  onCarrier(listener: (up: boolean) => void): void;
}

export type FrameListener = (bytes: Uint8Array, offset: number, length: number) => void;

/** Destination, source and type: a frame below this is no Ethernet frame. */
export const ETHERNET_HEADER_BYTES = 14;

/** The longest frame that an adapter model must take: the jumbo limit of the 8254x family without its FCS. */
export const LONGEST_FRAME_BYTES = 16_110;
