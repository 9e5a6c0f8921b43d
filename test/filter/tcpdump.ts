import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Frame } from "./frames.js";
import { captureFile, timesIn } from "./frames.js";

/** Long enough for any run that ends; libpcap itself goes round in circles on some chains of headers. */
const PATIENCE = 20_000;

export const tcpdumpIsInstalled = spawnSync("tcpdump", ["--version"]).status === 0;

/** What tcpdump says of one expression: the numbers of the frames that it accepts, or why it refuses. */
export type Verdict = { readonly accepted: ReadonlySet<number> } | { readonly refusal: string };

/** The real tcpdump, over one capture of numbered frames. */
export class Tcpdump {
  private readonly directory = mkdtempSync(join(tmpdir(), "korral-filter-"));
  private readonly capture = join(this.directory, "frames.pcap");

  constructor(frames: readonly Frame[]) {
    writeFileSync(this.capture, captureFile(frames));
  }

  close(): void {
    rmSync(this.directory, { recursive: true });
  }

  /** One process for each expression, two at a time, in the order of the expressions. */
  async filterAll(expressions: readonly string[]): Promise<Verdict[]> {
    const verdicts: Verdict[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < expressions.length) {
        const mine = next++;
        verdicts[mine] = await this.filter(expressions[mine]);
      }
    };
    await Promise.all([worker(), worker()]);
    return verdicts;
  }

  /** The program that `tcpdump -d` prints. */
  program(expression: string): string {
    const { stdout } = spawnSync("tcpdump", ["-r", this.capture, "-d", "--", expression], {
      encoding: "utf8",
      env: environment(),
    });
    return stdout.trimEnd();
  }

  private filter(expression: string): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      const child = spawn("tcpdump", ["-r", this.capture, "-w", "-", "--", expression], {
        env: environment(),
        timeout: PATIENCE,
      });
      const output: Buffer[] = [];
      let messages = "";
      child.stdout.on("data", (bytes: Buffer) => output.push(bytes));
      child.stderr.on("data", (bytes: Buffer) => {
        messages += bytes.toString();
      });
      child.on("error", reject);
      child.on("close", (status, signal) => {
        if (signal !== null) reject(new Error(`tcpdump was ended by ${signal} at ${expression}`));
        else resolve(status === 0 ? { accepted: new Set(timesIn(Buffer.concat(output))) } : { refusal: messages });
      });
    });
  }
}

/** Neutral, and without patience for the look-up of names, which no filter here needs. */
const environment = (): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  LC_ALL: "C",
  TZ: "UTC",
  RES_OPTIONS: "timeout:1 attempts:1",
});
