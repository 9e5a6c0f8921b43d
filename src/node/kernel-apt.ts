import { spawn } from "node:child_process";
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { EnvironmentError } from "../util/errors.js";
import { outputFileError, systemCode } from "./file-errors.js";
import { packageClientError } from "./kernel-apt-errors.js";
import { makeFolder, withCacheHint } from "./kernel-folder.js";
import type { KernelProgress } from "./kernel-progress.js";
import { grants, type KernelWish, newestFirst, wishText } from "./kernel-reference.js";

const ARCHITECTURE = "amd64";
/** The signed packages of a version may lag behind the lists: older ones do as well. */
const MOST_CANDIDATES = 3;
const STATUS_FD = 3;
/** `'URI' FILE SIZE HASH` */
const URI_LINE = /^'([^']+)' (\S+) (\d+) (\S*)$/m;

/** A package as the lists have it. */
export interface AvailablePackage {
  readonly name: string;
  readonly version: string;
}

interface Outcome {
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
}

/**
 * The system's apt with its own sources, keys and proxies, and a private folder for all that it writes: that takes neither
 * root nor lists that are there already, and signatures are checked as ever.
 */
export class Apt {
  readonly #lists: string;
  readonly #archives: string;
  readonly #options: readonly string[];

  /** @param directory for lists and archives */
  constructor(
    readonly directory: string,
    private readonly progress: KernelProgress,
  ) {
    this.#lists = join(directory, "lists");
    this.#archives = join(directory, "archives");
    const settings: Record<string, string> = {
      "Dir::State": directory,
      "Dir::State::lists": this.#lists,
      // Nothing is installed as far as this is concerned, and nothing will be.
      "Dir::State::status": join(directory, "status"),
      "Dir::Cache": directory,
      "Dir::Cache::archives": this.#archives,
      "Dir::Cache::pkgcache": "packages.bin",
      "Dir::Cache::srcpkgcache": "sources.bin",
      "Dir::Log": directory,
      "APT::Architecture": ARCHITECTURE,
      "APT::Architectures": ARCHITECTURE,
      "Acquire::Languages": "none",
      "Acquire::Retries": "2",
      // Root's downloads are another user's otherwise, who may not write where root's cache is.
      ...(process.getuid?.() === 0 ? { "APT::Sandbox::User": "root" } : {}),
    };
    this.#options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  }

  /** Brings the lists up to date. @returns what went wrong, which is no error as long as the lists will do */
  async update(): Promise<string> {
    makeFolder(join(this.#lists, "partial"));
    makeFolder(join(this.#archives, "partial"));
    try {
      writeFileSync(join(this.directory, "status"), "");
    } catch (error) {
      throw withCacheHint(outputFileError(this.directory, error));
    }
    this.progress("lists", 0, "");
    const { errors } = await this.#run("apt-get", ["update", "-q"], (part) => this.progress("lists", part, ""));
    return errors;
  }

  /**
   * Packages that grant a wish, the newest first.
   * @param complaints of `update`, which explain why there is none
   * @throws EnvironmentError if there is none
   */
  async candidates(wishes: readonly KernelWish[], complaints: string): Promise<AvailablePackage[]> {
    const { status, output, errors } = await this.#run("apt-cache", ["pkgnames", "linux-image-"]);
    if (status !== 0) throw packageClientError("apt-cache", errors);
    const names = output.split("\n").sort(newestFirst);
    for (const wish of wishes) {
      const granted = names.filter((name) => grants(wish, name)).slice(0, 2 * MOST_CANDIDATES);
      const known = granted.length === 0 ? [] : await this.#known(granted);
      if (known.length > 0) return known.slice(0, MOST_CANDIDATES);
    }
    throw this.#none(wishes[0], names, complaints);
  }

  /**
   * Downloads a package; what came of it before goes on, if the server can do that.
   * @returns the archive's path
   * @throws EnvironmentError
   */
  async download({ name, version }: AvailablePackage): Promise<string> {
    const wanted = `${name}=${version}`;
    const listed = await this.#run("apt-get", ["download", "--print-uris", wanted]);
    const line = URI_LINE.exec(listed.output);
    const report = (part: number) => this.progress("download", part, name);
    report(0);
    if (line !== null && line[4] !== "") {
      const [, uri, file, size, hash] = line;
      const helper = await this.#helper();
      if (helper !== null) {
        const target = join(this.#archives, `${hash.slice(-16)}-${file.replace(/[^\w.+~%-]/g, "_")}`);
        removeOthers(this.#archives, target);
        const { status, errors } = await this.#run(helper, ["download-file", uri, target, hash], report);
        if (status === 0 && statSync(target, { throwIfNoEntry: false })?.size === Number(size)) return target;
        throw packageClientError("apt", errors);
      }
    }
    removeOthers(this.#archives, "");
    const { status, errors } = await this.#run("apt-get", ["download", "-q", wanted], report);
    const [file] = readdirSync(this.#archives).filter((entry) => entry.endsWith(".deb"));
    if (status !== 0 || file === undefined) throw packageClientError("apt-get", errors);
    return join(this.#archives, file);
  }

  /** Those of which there is more than the name, in the order given. */
  async #known(names: readonly string[]): Promise<AvailablePackage[]> {
    const { output } = await this.#run("apt-cache", ["show", "--no-all-versions", ...names]);
    const versions = new Map<string, string>();
    for (const record of output.split(/\n{2,}/)) {
      const name = /^Package: (.+)$/m.exec(record)?.[1];
      const version = /^Version: (.+)$/m.exec(record)?.[1];
      if (name !== undefined && version !== undefined) versions.set(name, version);
    }
    return names.flatMap((name) => {
      const version = versions.get(name);
      return version === undefined ? [] : [{ name, version }];
    });
  }

  #none(wish: KernelWish, names: readonly string[], complaints: string): EnvironmentError {
    const anyKernel = names.filter((name) => grants({ series: null, flavour: null, exact: null }, name));
    if (anyKernel.length === 0 && complaints !== "") return packageClientError("apt-get update", complaints);
    const has =
      anyKernel.length === 0
        ? "its package lists name no kernel at all: have apt's sources name a Debian release"
        : `its newest are ${anyKernel.slice(0, MOST_CANDIDATES).join(", ")}`;
    return new EnvironmentError(
      "kernel-missing",
      `this system's package client has no ${wishText(wish)}: ${has}, or give a kernel with --kernel FILE.deb`,
    );
  }

  /** apt's own tool for a single file, which can go on with a partial one; null on a system without it. */
  async #helper(): Promise<string | null> {
    const { output } = await this.#run("apt-config", ["shell", "METHODS", "Dir::Bin::methods/f"]);
    const methods = /^METHODS='([^']+)'/m.exec(output)?.[1];
    if (methods === undefined) return null;
    const helper = join(methods, "..", "apt-helper");
    return existsSync(helper) ? helper : null;
  }

  #run(program: string, args: readonly string[], report?: (part: number) => void): Promise<Outcome> {
    const status = report === undefined ? [] : ["-o", `APT::Status-Fd=${STATUS_FD}`];
    return new Promise((resolve, reject) => {
      const child = spawn(program, [...this.#options, ...status, ...args], {
        cwd: this.#archives,
        env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
        stdio: ["ignore", "pipe", "pipe", "pipe"],
      });
      const stop = () => child.kill();
      process.on("exit", stop);
      let output = "";
      let errors = "";
      child.stdout?.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
      child.stderr?.setEncoding("utf8").on("data", (text: string) => {
        errors += text;
      });
      const statusLines = child.stdio[STATUS_FD];
      if (statusLines !== null && statusLines !== undefined && "readable" in statusLines) {
        createInterface({ input: statusLines }).on("line", (line) => {
          const percent = Number(/^dlstatus:\d+:([\d.]+):/.exec(line)?.[1]);
          if (!Number.isNaN(percent)) report?.(Math.min(1, percent / 100));
        });
      }
      child.on("error", (error) => {
        process.off("exit", stop);
        reject(systemCode(error) === "ENOENT" ? noClient(program) : error);
      });
      child.on("close", (code) => {
        process.off("exit", stop);
        resolve({ status: code, output, errors });
      });
    });
  }
}

/** What an earlier download left behind and nobody will ask for again. */
function removeOthers(directory: string, target: string): void {
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (path !== target && statSync(path, { throwIfNoEntry: false })?.isFile() === true) rmSync(path, { force: true });
  }
}

function noClient(program: string): EnvironmentError {
  return new EnvironmentError(
    "no-package-client",
    `cannot fetch a kernel: there is no ${program} here. Give a Debian kernel package with --kernel FILE.deb, or a folder ` +
      "with boot/ and lib/modules/ with --kernel FOLDER",
  );
}
