import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { outputFileError, systemCode } from "./file-errors.js";
import { makeFolder, withCacheHint } from "./kernel-folder.js";

const POLL_MILLISECONDS = 200;
/** The holder says this often that it is alive. */
const SIGN_OF_LIFE_MILLISECONDS = 5_000;
/** Whoever has not for this long is gone: another machine's process, whose death cannot be seen. */
const SILENCE_MILLISECONDS = 120_000;
let attempts = 0;

/**
 * Does something that only one process at a time may do. A lock whose holder has died is taken over.
 * @param path of the lock's file
 * @param onWait called once if somebody else has it
 */
export async function withLock<T>(path: string, onWait: () => void, action: () => Promise<T>): Promise<T> {
  const owner = JSON.stringify([hostname(), process.pid, Date.now(), attempts++]);
  for (let waited = false; !taken(path, owner); waited = true) {
    if (removedAbandoned(path)) continue;
    if (!waited) onWait();
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
  }
  const release = () => {
    if (ownerOf(path) === owner) rmSync(path, { force: true });
  };
  const timer = setInterval(() => giveSignOfLife(path), SIGN_OF_LIFE_MILLISECONDS);
  timer.unref();
  process.on("exit", release);
  try {
    return await action();
  } finally {
    clearInterval(timer);
    process.off("exit", release);
    release();
  }
}

function taken(path: string, owner: string): boolean {
  makeFolder(dirname(path));
  try {
    const fd = openSync(path, "wx");
    writeSync(fd, owner);
    closeSync(fd);
    return true;
  } catch (error) {
    if (systemCode(error) === "EEXIST") return false;
    throw withCacheHint(outputFileError(path, error));
  }
}

/** @returns whether the lock's holder was gone, and the lock is free to be taken by whoever is first */
function removedAbandoned(path: string): boolean {
  const since = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (since === undefined) return true;
  const owner = ownerOf(path);
  if (Date.now() - since < SILENCE_MILLISECONDS && !hasDied(owner)) return false;
  const aside = `${path}.${process.pid}-${attempts++}`;
  try {
    renameSync(path, aside);
    // Somebody else may have been faster, and have taken it meanwhile: that one is put back.
    if (ownerOf(aside) === owner) rmSync(aside, { force: true });
    else renameSync(aside, path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw withCacheHint(outputFileError(path, error));
  }
  return true;
}

/** Whether it ran on this machine and does no more. What has not been written yet is alive. */
function hasDied(owner: string): boolean {
  let parsed: unknown;
  try {
    parsed = JSON.parse(owner);
  } catch {
    return false;
  }
  if (!Array.isArray(parsed) || parsed[0] !== hostname() || !Number.isInteger(parsed[1])) return false;
  try {
    process.kill(parsed[1], 0);
    return false;
  } catch (error) {
    return systemCode(error) === "ESRCH";
  }
}

function ownerOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return "";
  }
}

function giveSignOfLife(path: string): void {
  try {
    const now = new Date();
    utimesSync(path, now, now);
  } catch (error) {
    if (systemCode(error) === null) throw error;
  }
}
