import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { ExitStatus, KorralError } from "../util/errors.js";
import { addDevices } from "./devices.js";
import { addDisasm } from "./disasm.js";
import { addExec } from "./exec.js";
import { addFilter } from "./filter.js";
import { handleInterrupts } from "./interrupt.js";
import { addKernel } from "./kernel.js";
import { addModinfo } from "./modinfo.js";
import { isReaderGone, stderr, stdout } from "./output.js";
import { printable } from "./printable.js";
import { addRun, RunEnded } from "./run.js";
import { addStart } from "./start.js";
import { addSymbols } from "./symbols.js";

/**
 * Runs the command line.
 * @param args without the interpreter and the script
 * @returns the exit status
 */
export async function main(args: readonly string[]): Promise<number> {
  // What nobody waits for fails like everything else: in a sentence.
  process.on("uncaughtException", (error) => process.exit(report(error)));
  handleInterrupts();
  const program = new Command("korral")
    .description("Runs device drivers in a capability sandbox with a software I/O MMU.")
    .version(packageVersion(), "-V, --version")
    .exitOverride()
    .configureOutput({
      writeOut: stdout,
      writeErr: stderr,
      outputError: (text, write) => write(printable(text.replace(/^error: /, "korral: "))),
    })
    .showHelpAfterError("(korral --help lists the commands)");
  addStart(program);
  addRun(program);
  addFilter(program);
  addDevices(program);
  addKernel(program);
  addModinfo(program);
  addSymbols(program);
  addExec(program);
  addDisasm(program);
  for (const command of program.commands) command.copyInheritedSettings(program);
  if (args.length === 0) {
    program.outputHelp({ error: true });
    return ExitStatus.usage;
  }
  try {
    await program.parseAsync(args, { from: "user" });
    return ExitStatus.fine;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitStatus.fine : ExitStatus.usage;
  if (error instanceof RunEnded) return error.exitStatus;
  if (error instanceof KorralError) {
    if (isReaderGone(error)) return ExitStatus.fine;
    // Names that end lines would make two sentences of one.
    stderr(`korral: ${printable(error.message).replaceAll("\n", "\\x0a")}\n`);
    return error.exitStatus;
  }
  stderr(`korral: internal error: ${printable(error instanceof Error ? error.message : String(error))}\n`);
  if (process.env.KORRAL_DEBUG !== undefined && error instanceof Error) stderr(`${error.stack}\n`);
  return ExitStatus.internal;
}

function packageVersion(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  return manifest.version;
}
