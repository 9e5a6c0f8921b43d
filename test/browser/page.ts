import { type Run, runAll } from "./scenario.js";

/** What the page sends back. */
export interface PageReport {
  readonly userAgent: string;
  readonly page: readonly Run[];
  readonly worker: readonly Run[];
}

function inWorker(object: Uint8Array): Promise<Run[]> {
  const worker = new Worker("/worker.js", { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Run[]>) => resolve(data);
    worker.onerror = (event) => reject(new Error(`the worker failed: ${event.message}`));
    worker.postMessage(object);
  });
}

async function report(): Promise<PageReport> {
  const response = await fetch("/guest.o");
  const object = new Uint8Array(await response.arrayBuffer());
  return { userAgent: navigator.userAgent, worker: await inWorker(object), page: runAll(object) };
}

function send(path: string, body: string): Promise<Response> {
  return fetch(path, { method: "POST", body });
}

report().then(
  (done) => send("/report", JSON.stringify(done)),
  (error: unknown) => send("/failure", error instanceof Error ? `${error.message}\n${error.stack}` : String(error)),
);
