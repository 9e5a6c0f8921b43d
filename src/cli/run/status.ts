import { stderr } from "../output.js";

const REDRAW_MILLISECONDS = 200;

/** One line on a terminal that says how things stand. */
export class StatusLine {
  #timer: NodeJS.Timeout | null = null;
  #drawn = false;

  constructor(private readonly terminal: boolean) {}

  /** Shows a text now and then, until `clear`. */
  show(text: () => string): void {
    if (!this.terminal) return;
    this.#timer = setInterval(() => this.#draw(text()), REDRAW_MILLISECONDS);
    this.#timer.unref();
  }

  /** Makes room for other output; the line comes back by itself if it is still shown. */
  clear(): void {
    if (this.#drawn) stderr("\r\x1b[K");
    this.#drawn = false;
  }

  end(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.clear();
  }

  #draw(text: string): void {
    const width = Math.max(20, (process.stderr.columns ?? 80) - 1);
    stderr(`\r\x1b[K${text.slice(0, width)}`);
    this.#drawn = true;
  }
}
