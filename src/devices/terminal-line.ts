/** The far end of a serial line: a person at a terminal, a socket or a script, as the UART sees it. */
export interface TerminalLine {
  /** Who gets the bytes typed at the far end. One listener: a later call replaces the earlier. Bytes are lent for the call. */
  onInput(listener: (bytes: Uint8Array) => void): void;
  /** Shows bytes at the far end; they may be reused after the call. */
  write(bytes: Uint8Array): void;
  /** Asks a far end that can to hold its input back (true), or to go on (false). */
  hold?(on: boolean): void;
  /** Leaves the line, undoing what attaching did to the far end. A second call does nothing. */
  close(): void;
}
