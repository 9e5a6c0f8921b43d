import type { SeamFile, Services } from "../services.js";
import { consoleSeams } from "./console.js";
import { dmaSeams } from "./dma.js";
import { edgeSeams } from "./edges.js";
import { interruptSeams } from "./interrupts.js";
import { memorySeams } from "./memory.js";
import { networkSeams } from "./network.js";
import { pageCacheSeams } from "./page-cache.js";
import { pciSeams } from "./pci.js";
import { threadSeams } from "./threads.js";
import { timeSeams } from "./time.js";
import { workSeams } from "./work.js";

/** All seams, by their subject. */
export const SEAM_FILES: Readonly<Record<string, SeamFile>> = {
  memory: memorySeams,
  "page cache": pageCacheSeams,
  network: networkSeams,
  console: consoleSeams,
  time: timeSeams,
  threads: threadSeams,
  work: workSeams,
  interrupts: interruptSeams,
  pci: pciSeams,
  dma: dmaSeams,
  edges: edgeSeams,
};

/** The subjects of the functions that are seams, whatever the kernel. */
export function seamSubjects(): ReadonlyMap<string, string> {
  const subjects = new Map<string, string>();
  for (const [subject, file] of Object.entries(SEAM_FILES)) {
    for (const { names } of file(nothing as Services)) for (const name of names) subjects.set(name, subject);
  }
  return subjects;
}

/** Stands for everything that seams are made of: to be asked for their names only, never to be called. */
const nothing: unknown = new Proxy(() => {}, {
  get: (_target, key) => (key === Symbol.toPrimitive ? () => 0 : key === Symbol.iterator ? none : nothing),
  apply: () => nothing,
});

function* none(): Iterable<never> {}
