// A small Linux guest in QEMU, without KVM: the kernel of a distribution's package, busybox, some of the kernel's modules, and
// a shell on the serial line. Nothing of it is kept.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { initramfs } from "./initramfs.mjs";

const QEMU = "qemu-system-x86_64";
const BUSYBOX = "busybox";
const PACKAGES = { [QEMU]: "qemu-system-x86", [BUSYBOX]: "busybox-static" };
const MEMORY_MEBIBYTES = 256;
const BOOT_SECONDS = 120;
const COMMAND_SECONDS = 60;
const KEPT_LINES = 40;

/** Why there can be no guests here, or undefined: the packages that have to be installed. */
export function whyNoGuests() {
  const missing = Object.keys(PACKAGES).filter((program) => onPath(program) === undefined);
  if (missing.length === 0) return undefined;
  return `needs the packages ${missing.map((program) => PACKAGES[program]).join(" and ")}`;
}

export class Guest {
  /** Seconds of its own time that the guest took until it was ready. */
  uptime = 0;
  #child;
  #folder;
  #lines = [];
  #heard = () => {};
  #ended = false;

  /**
   * Boots a guest.
   * @param kernel the KernelPackage that it runs, and that its modules come from
   * @param options.modules names of modules, loaded in this order, each after what it depends on
   * @param options.qemu further arguments: the adapters
   * @param options.files { PATH: bytes } in its file system
   * @throws Error with what the guest said last, if it is not ready in time
   */
  static async boot(kernel, { modules = [], qemu = [], files = {} } = {}) {
    const guest = new Guest(kernel, modules, qemu, files);
    try {
      const ready = await guest.#line(/^@ready (\S+)/, BOOT_SECONDS, "start");
      guest.uptime = Number(ready[1]);
      return guest;
    } catch (error) {
      await guest.stop();
      throw error;
    }
  }

  constructor(kernel, modules, qemu, files) {
    const why = whyNoGuests();
    if (why !== undefined) throw new Error(`a guest ${why}`);
    this.#folder = mkdtempSync(join(tmpdir(), "korral-guest-"));
    const image = join(this.#folder, "vmlinux");
    const archive = join(this.#folder, "initramfs");
    // Unpacked already, as guests without KVM take seconds for it.
    writeFileSync(image, kernel.vmlinux());
    writeFileSync(archive, initramfs({ ...system(kernel, modules), ...files }));
    const line = "console=ttyS0 quiet panic=-1 net.ifnames=0 mitigations=off rdinit=/init";
    this.#child = spawn(
      onPath(QEMU),
      [
        ..."-accel tcg -M pc -nodefaults -no-user-config -display none -no-reboot -serial stdio -m".split(" "),
        String(MEMORY_MEBIBYTES),
        ...["-kernel", image, "-initrd", archive, "-append", line, ...qemu],
      ],
      { stdio: ["pipe", "pipe", "pipe"] },
    );
    this.#child.stdin.on("error", () => {});
    for (const output of [this.#child.stdout, this.#child.stderr]) {
      createInterface({ input: output }).on("line", (text) => {
        this.#lines.push(text.replace(/\r$/, ""));
        this.#heard();
      });
    }
    this.exited = new Promise((resolve) => {
      const ended = () => {
        this.#ended = true;
        this.#heard();
        resolve();
      };
      this.#child.on("close", ended);
      this.#child.on("error", ended);
    });
  }

  /** The process of QEMU. */
  get pid() {
    return this.#child.pid;
  }

  /**
   * Has the guest's shell do something.
   * @param command one line
   * @returns { status, output }: lines that it said
   * @throws Error if it does not end in time
   */
  async run(command, seconds = COMMAND_SECONDS) {
    this.#lines.length = 0;
    this.#child.stdin.write(`${command}\n`);
    const ended = await this.#line(/^@ended (\d+)/, seconds, command);
    return { status: Number(ended[1]), output: this.#lines.slice(0, ended.at).join("\n") };
  }

  /** Pulls the plug. */
  async stop() {
    if (!this.#ended) this.#child.kill("SIGKILL");
    await this.exited;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #line(pattern, seconds, what) {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      for (const [at, text] of this.#lines.entries()) {
        const match = pattern.exec(text);
        if (match !== null) return Object.assign(match, { at });
      }
      const left = deadline - Date.now();
      if (left <= 0 || this.#ended) {
        const why = this.#ended ? "the guest is gone" : `nothing after ${seconds} s`;
        throw new Error(`${what}: ${why}; it said last:\n${this.#lines.slice(-KEPT_LINES).join("\n")}`);
      }
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#heard = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

function system(kernel, modules) {
  const order = [...new Set(modules.flatMap((name) => kernel.loadOrder(name)))];
  return {
    init: readFileSync(new URL("init.sh", import.meta.url)),
    "bin/busybox": readFileSync(onPath(BUSYBOX)),
    "modules/order": order.map((name) => `${name}\n`).join(""),
    ...Object.fromEntries(order.map((name) => [`modules/${name}.ko`, kernel.moduleBytes(name)])),
  };
}

/** Where a program is, or undefined. */
function onPath(program) {
  const folders = (process.env.PATH ?? "").split(delimiter);
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}
