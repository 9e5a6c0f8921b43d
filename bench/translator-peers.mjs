// Who runs the programs: the processor itself, Korral with and without checks, and others that check or translate.
import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { linkWithAsan } from "./translator-programs.mjs";
import { sandboxExists } from "./translator-sandbox.mjs";

const CHILD = fileURLToPath(new URL("translator-child.mjs", import.meta.url));
const isInstalled = (tool) => spawnSync(tool, ["--version"]).error === undefined;
const korral = (mode) => ({
  missing: () => (sandboxExists ? undefined : "not there yet"),
  command: ({ object }) => [process.execPath, ...process.execArgv, CHILD, mode, object],
});

/**
 * `share`: the part of the iterations that a slow peer runs, so that it takes about as long as the others.
 * `missing` says why a peer is not compared, `command` starts it.
 */
export const PEERS = [
  { name: "native", title: "native", share: 1, missing: () => undefined, command: ({ program }) => [program] },
  { name: "checked", title: "Korral checked", share: 1, ...korral("checked") },
  { name: "unchecked", title: "Korral unchecked", share: 1, ...korral("unchecked") },
  {
    name: "qemu",
    title: "qemu-user",
    share: 1 / 4,
    missing: () => (isInstalled("qemu-x86_64") ? undefined : "not compared: needs the package qemu-user"),
    command: ({ program }) => ["qemu-x86_64", program],
  },
  {
    name: "memcheck",
    title: "memcheck",
    share: 1 / 20,
    missing: () => (isInstalled("valgrind") ? undefined : "not compared: needs the package valgrind"),
    command: ({ program }) => ["valgrind", "--tool=memcheck", "--quiet", "--leak-check=no", program],
  },
  {
    name: "asan",
    title: "inline ASan",
    share: 1,
    missing: ({ asan }) => (asan === undefined ? "not compared: gcc has no AddressSanitizer here" : undefined),
    command: ({ asan }) => [asan],
    build: (name, directory) => ({ asan: linkWithAsan(name, directory) }),
  },
];

/** A peer with one program, waiting to be asked. */
export function startPeer(peer, built) {
  const [tool, ...args] = peer.command(built);
  const child = spawn(tool, args, {
    stdio: ["pipe", "pipe", "inherit"],
    // The report of leaks at the end needs a right that containers do not give.
    env: { ...process.env, ASAN_OPTIONS: "detect_leaks=0" },
  });
  let startError;
  child.on("error", (error) => {
    startError = error;
  });
  // Writing to a child that has ended is told by the answer that does not come.
  child.stdin.on("error", () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** @returns { nanoseconds, checksum } or { error } */
    async measure(iterations) {
      child.stdin.write(`${iterations}\n`);
      const { value, done } = await lines.next();
      if (done)
        return { error: `${tool} ended: ${startError?.message ?? child.signalCode ?? child.exitCode ?? "closed"}` };
      return JSON.parse(value);
    },
    stop: () => child.stdin.end(),
  };
}
