import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";

export interface ServedFile {
  readonly type: string;
  readonly content: string | Uint8Array;
}

const PATIENCE_MS = 60_000;

// The sandbox of the browser needs user namespaces or a set-uid helper; containers and root have neither.
const SWITCHES = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-extensions",
  "--disable-breakpad",
  "--no-first-run",
];

/**
 * Opens `/` of what is served in a browser without a window, and waits until the page posts to `/report`.
 * @param files by path
 * @returns what was posted
 * @throws Error with what the page posted to `/failure`, or what the browser printed if it ended by itself
 */
export async function openInChromium(files: ReadonlyMap<string, ServedFile>): Promise<string> {
  const profile = mkdtempSync(join(tmpdir(), "korral-chromium-"));
  const server = createServer();
  const report = reported(server, files);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const chromium = spawn("chromium", [...SWITCHES, `--user-data-dir=${profile}`, `http://127.0.0.1:${port}/`], {
    stdio: ["ignore", "ignore", "pipe"],
    // Its own group, so that none of its processes outlives it.
    detached: true,
  });
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the page is not done after ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([report, late, early(chromium)]);
  } finally {
    clearTimeout(timer);
    await end(chromium);
    server.closeAllConnections();
    server.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Serves the files until the page says how it went. */
function reported(server: Server, files: ReadonlyMap<string, ServedFile>): Promise<string> {
  return new Promise((resolve, reject) => {
    server.on("request", (request, response) => {
      const path = request.url ?? "";
      if (request.method === "POST") {
        text(request).then((body) => {
          response.end();
          if (path === "/report") resolve(body);
          else reject(new Error(`the page failed: ${body}`));
        }, reject);
        return;
      }
      const file = files.get(path);
      if (file === undefined) response.statusCode = 404;
      else response.setHeader("Content-Type", file.type);
      response.end(file?.content);
    });
  });
}

/** The end of the browser, which must not come before the page's. */
async function early(chromium: ChildProcess): Promise<never> {
  const printed = chromium.stderr === null ? "" : text(chromium.stderr);
  await once(chromium, "close");
  throw new Error(`chromium ended before the page was done:\n${await printed}`);
}

async function end(chromium: ChildProcess): Promise<void> {
  if (chromium.pid === undefined || chromium.exitCode !== null || chromium.signalCode !== null) return;
  const closed = once(chromium, "close");
  process.kill(-chromium.pid, "SIGKILL");
  await closed;
}
