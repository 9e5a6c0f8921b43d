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
const CARRIAGE_RETURN = 13;
const END_OF_TRANSMISSION = 4;

/** Case 1: what is typed arrives as a copied string, is answered in capitals, and leaves the same way. */
export async function terminalCase(machine: Machine, where: string | undefined): Promise<CaseReport> {
  const script = new ScriptedTerminal();
  const line = where === undefined ? script : await openTerminal(where);
  const release = where === undefined ? () => {} : machine.loop.hold();
  try {
    const slot = machine.wire("uart16550", (host) => new Uart16550(host, { line: waking(machine, line) }));
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
  let line = "";
  for (;;) {
    const input = await terminal.read();
    bytes += input.length;
    for (const byte of input) {
      if (byte === END_OF_TRANSMISSION) {
        await terminal.drain();
        return { bytes, lines };
      }
      if (byte !== CARRIAGE_RETURN) {
        line += String.fromCharCode(byte);
        continue;
      }
      lines++;
      await terminal.write(new TextEncoder().encode(`${line.toUpperCase()}\r\n`));
      line = "";
    }
  }
}

async function openTerminal(where: string): Promise<TerminalLine> {
  if (where === "tty") {
    stderr("the terminal line is yours: each line is answered in capitals, Ctrl-D goes on\n");
    return attachTty(process.stdin, process.stdout);
  }
  if (!where.startsWith("tcp:")) throw new UsageError(`--terminal ${where}: 'tty' and 'tcp:HOST:PORT' are possible`);
  const terminal = await TcpTerminal.listen(where.slice(4));
  const { host, port } = terminal.address;
  stderr(`the terminal line waits at ${host}:${port}: each line is answered in capitals, Ctrl-D goes on\n`);
  return terminal;
}

/** Input from outside ends the machine's sleep. */
function waking(machine: Machine, line: TerminalLine): TerminalLine {
  return {
    onInput: (listener) =>
      line.onInput((bytes) => {
        listener(bytes);
        machine.loop.wake();
      }),
    write: (bytes) => line.write(bytes),
    hold: (on) => line.hold?.(on),
    close: () => line.close(),
  };
}
