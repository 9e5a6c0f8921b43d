import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { MemorySource, openCapture } from "../../src/formats/capture.js";

const BIN = fileURLToPath(new URL("../../bin/korral.mjs", import.meta.url));
export const GUEST_SESSION = fileURLToPath(new URL("../captures/guest-session.pcap", import.meta.url));

/** For `start`: without a kernel, and so without a stock driver. */
export const NATIVE = ["--kernel", "none"] as const;

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly bytes: Buffer;
}

/** Runs the command as a user does, on the build in dist/. */
export function korral(args: readonly string[], input?: Uint8Array | string): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [BIN, ...args],
      { encoding: "buffer", maxBuffer: 1 << 28, timeout: 60_000 },
      (_, stdout, stderr) => {
        resolve({ status: child.exitCode, stdout: stdout.toString(), stderr: stderr.toString(), bytes: stdout });
      },
    );
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
  });
}

/** Runs the command with a reader of its output that has gone before the first byte. @param also `2>&1`, or what else is led elsewhere */
export function unread(also: string, args: readonly string[]): Promise<{ status: number | null; stderr: string }> {
  const script = `set -o pipefail; "$@" ${also} | exec 0<&-`;
  return new Promise((resolve) => {
    const child = execFile("bash", ["-c", script, "-", process.execPath, BIN, ...args], (_, __, stderr) => {
      resolve({ status: child.exitCode, stderr });
    });
  });
}

/** Starts the command and leaves it running. */
export function startKorral(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [BIN, ...args], { stdio: ["pipe", "pipe", "pipe"] });
}

/** A directory for the files of one suite. */
export function scratch(): (name: string) => string {
  const directory = mkdtempSync(join(tmpdir(), "korral-e2e-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return (name) => join(directory, name);
}

/** The frames of a capture file. */
export function framesOf(file: string): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (const packet of openCapture(new MemorySource(readFileSync(file)), file)) frames.push(packet.data.slice());
  return frames;
}
