import type { KernelProgress, KernelStep } from "../node/kernel-progress.js";
import { stderr } from "./output.js";
import { printable } from "./printable.js";

// biome-ignore format: a table
const STEPS: Readonly<Record<KernelStep, string>> = {
  wait:     "waiting for another korral that is fetching a kernel",
  lists:    "bringing the package lists up to date",
  download: "downloading",
  unpack:   "unpacking",
  index:    "reading the modules of",
};
/** A terminal's line is redrawn, and a log gets a new line, no more often than this. */
const REDRAW_MILLISECONDS = 100;
const LOG_MILLISECONDS = 5_000;

/**
 * Does something that may have to get a kernel first, and tells how far it is on standard error: in a line that changes
 * on a terminal, else in a line for each step and now and then.
 */
export async function withKernelProgress<T>(action: (progress: KernelProgress) => Promise<T>): Promise<T> {
  const line = new ProgressLine(process.stderr.isTTY === true);
  try {
    return await action((step, part, subject) => line.show(step, part, subject));
  } finally {
    line.end();
  }
}

class ProgressLine {
  #step = "";
  #shownAt = 0;
  #drawn = false;

  constructor(private readonly terminal: boolean) {}

  show(step: KernelStep, part: number, subject: string): void {
    // Some steps come when the kernel is open already, and nobody waits for it any more.
    if (step === "index" && part >= 1) {
      this.end();
      return;
    }
    const text = `${STEPS[step]}${subject === "" ? "" : ` ${printable(subject)}`}`;
    const now = performance.now();
    const isNew = text !== this.#step;
    if (!isNew && now - this.#shownAt < (this.terminal ? REDRAW_MILLISECONDS : LOG_MILLISECONDS)) return;
    this.#step = text;
    this.#shownAt = now;
    const percent = part > 0 ? ` ${Math.floor(part * 100)} %` : "";
    if (!this.terminal) {
      stderr(`${text}${isNew ? "" : percent}\n`);
      return;
    }
    const width = Math.max(20, (process.stderr.columns || 80) - 1);
    stderr(`\r\x1b[K${`${text}${percent}`.slice(0, width)}`);
    this.#drawn = true;
  }

  end(): void {
    if (this.#drawn) stderr("\r\x1b[K");
    this.#drawn = false;
  }
}
