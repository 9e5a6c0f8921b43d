import { runAll } from "./scenario.js";

addEventListener("message", ({ data }: MessageEvent<Uint8Array>) => postMessage(runAll(data)));
