import type { ReadStream, WriteStream } from "node:tty";
import type { TerminalLine } from "../devices/terminal-line.js";

/** Ctrl-], as in telnet: in raw mode Ctrl-C goes to the line. */
const DETACH = 0x1d;
const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;
type Signal = keyof typeof SIGNAL_NUMBERS;

type Input = Pick<ReadStream, "on" | "off" | "pause" | "resume"> & Partial<Pick<ReadStream, "isTTY" | "setRawMode">>;
type Output = Pick<WriteStream, "write">;

/** Where signals come from and how the process ends: `process`, or a stand-in in tests. */
export interface Lifetime {
  on(event: "exit" | Signal, listener: () => void): unknown;
  off(event: "exit" | Signal, listener: () => void): unknown;
  exit(status: number): void;
}

export interface TtyOptions {
  /** The user typed Ctrl-], or the input ended. */
  onDetach?: () => void;
  lifetime?: Lifetime;
}

/**
 * Attaches this process's terminal to a serial line: each key goes to the line as it is typed. The terminal gets its
 * mode back on `close`, when the process ends, and when a signal ends it. Input that is no terminal is passed on as it is.
 */
export function attachTty(input: Input, output: Output, options: TtyOptions = {}): TerminalLine {
  const lifetime: Lifetime = options.lifetime ?? process;
  const raw = input.isTTY === true;
  let listener: (bytes: Uint8Array) => void = () => {};
  let closed = false;

  const restore = (): void => {
    if (raw) input.setRawMode?.(false);
  };
  const onData = (data: Uint8Array): void => {
    const detachAt = raw ? data.indexOf(DETACH) : -1;
    const typed = detachAt < 0 ? data : data.subarray(0, detachAt);
    if (typed.length > 0) listener(typed);
    if (detachAt >= 0) options.onDetach?.();
  };
  const onEnd = (): void => options.onDetach?.();
  const onSignal = (Object.keys(SIGNAL_NUMBERS) as Signal[]).map((signal) => ({
    signal,
    handler: () => {
      restore();
      lifetime.exit(128 + SIGNAL_NUMBERS[signal]);
    },
  }));

  if (raw) {
    input.setRawMode?.(true);
    lifetime.on("exit", restore);
    for (const { signal, handler } of onSignal) lifetime.on(signal, handler);
  }
  input.on("data", onData);
  input.on("end", onEnd);
  input.resume();

  return {
    onInput(next) {
      listener = next;
    },
    write(bytes) {
      if (!closed) output.write(bytes.slice());
    },
    hold(on) {
      if (closed) return;
      if (on) input.pause();
      else input.resume();
    },
    close() {
      if (closed) return;
      closed = true;
      restore();
      input.off("data", onData);
      input.off("end", onEnd);
      input.pause();
      lifetime.off("exit", restore);
      for (const { signal, handler } of onSignal) lifetime.off(signal, handler);
    },
  };
}
