import type { TerminalLine } from "../../devices/terminal-line.js";
import { Uart16550 } from "../../devices/uart16550.js";
import { TerminalClient } from "../../drivers/terminal-service.js";
import { UartDriver } from "../../drivers/uart-driver.js";
import type { Machine } from "../../machine.js";
import { TcpTerminal } from "../../node/terminal-tcp.js";
import { attachTty } from "../../node/terminal-tty.js";
import { ScriptedTerminal } from "../../ports/terminal.js";
import { UsageError } from "../../util/errors.js";
import { stderr } from "../output.js";
import type { CaseReport } from "./report.js";

const SCRIPT = "a terminal line is small data at a low rate\r";
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
/** Ctrl-D; who hangs up is taken to have typed it. */
const END_OF_TRANSMISSION = 4;
/** A line that is longer is answered in pieces, as a terminal in its usual mode does. */
const LONGEST_LINE = 4096;

/** Case 1: what is typed arrives as a copied string, is answered in capitals, and leaves the same way. */
export async function terminalCase(machine: Machine, where: string | undefined): Promise<CaseReport> {
  const script = new ScriptedTerminal();
  const hangUp = Uint8Array.of(END_OF_TRANSMISSION);
  let input: (bytes: Uint8Array) => void = () => {};
  const line = where === undefined ? script : await openTerminal(where, () => input(hangUp));
  const release = where === undefined ? () => {} : machine.loop.hold();
  try {
    const heard = waking(machine, line, (listener) => {
      input = listener;
    });
    const slot = machine.wire("uart16550", (host) => new Uart16550(host, { line: heard }));
    const domain = machine.domain("uart", slot);
    UartDriver.start(domain);
    const terminal = new TerminalClient(domain.endpoint);
    const before = { ...machine.statistics };
    if (where === undefined) script.type(`${SCRIPT}\u0004`);
    const typed = await machine.run(conversation(terminal), "terminal line");
    const figures = {
      bytesIn: typed.bytes,
      lines: typed.lines,
      copies: machine.statistics.copies - before.copies,
      copiedBytes: machine.statistics.copiedBytes - before.copiedBytes,
      ...(where === undefined ? { answered: script.text } : {}),
    };
    const answered = where === undefined ? [`answered: ${JSON.stringify(script.text)}`] : [];
    return {
      key: "terminal",
      title: "Case 1: solicited, copied string (16550A UART)",
      lines: [
        `${typed.bytes} bytes typed in ${typed.lines} line(s); ${figures.copies} copies, ${figures.copiedBytes} bytes`,
        ...answered,
      ],
      figures,
    };
  } finally {
    release();
    line.close();
  }
}

/** A client: reads lines until Ctrl-D and answers each. */
async function conversation(terminal: TerminalClient): Promise<{ bytes: number; lines: number }> {
  let bytes = 0;
  let lines = 0;
  let line: number[] = [];
  let previous = 0;
  const answer = async (): Promise<void> => {
    lines++;
    const text = new TextDecoder().decode(Uint8Array.from(line));
    line = [];
    await terminal.write(new TextEncoder().encode(`${text.toUpperCase()}\r\n`));
  };
  for (;;) {
    const input = await terminal.read();
    bytes += input.length;
    for (const byte of input) {
      if (byte === END_OF_TRANSMISSION) {
        if (line.length > 0) await answer();
        await terminal.drain();
        return { bytes, lines };
      }
      const ends = byte === CARRIAGE_RETURN || (byte === LINE_FEED && previous !== CARRIAGE_RETURN);
      if (!ends && byte !== LINE_FEED) line.push(byte);
      if (ends || line.length === LONGEST_LINE) await answer();
      previous = byte;
    }
  }
}

/** @param onHangup nobody is at the far end any more */
async function openTerminal(where: string, onHangup: () => void): Promise<TerminalLine> {
  if (where === "tty") {
    stderr("the terminal line is yours: each line is answered in capitals, Ctrl-D goes on\n");
    return attachTty(process.stdin, process.stdout, { onDetach: onHangup });
  }
  if (!where.startsWith("tcp:")) throw new UsageError(`--terminal ${where}: 'tty' and 'tcp:HOST:PORT' are possible`);
  const terminal = await TcpTerminal.listen(where.slice(4), { onHangup });
  const { host, port } = terminal.address;
  const shown = host.includes(":") ? `[${host}]` : host;
  stderr(`the terminal line waits at ${shown}:${port}: each line is answered in capitals, Ctrl-D goes on\n`);
  return terminal;
}

/** Input from outside ends the machine's sleep. @param tap gets what input is given to */
function waking(
  machine: Machine,
  line: TerminalLine,
  tap: (listener: (bytes: Uint8Array) => void) => void,
): TerminalLine {
  return {
    onInput: (listener) => {
      const heard = (bytes: Uint8Array): void => {
        listener(bytes);
        machine.loop.wake();
      };
      line.onInput(heard);
      tap(heard);
    },
    write: (bytes) => line.write(bytes),
    hold: (on) => line.hold?.(on),
    close: () => line.close(),
  };
}
