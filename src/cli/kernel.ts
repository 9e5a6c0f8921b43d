import type { Command } from "commander";
import { moduleNameOf } from "../linux/kernel-package.js";
import { CachedKernel } from "../node/kernel-cached.js";
import type { DirectoryKernel } from "../node/kernel-directory.js";
import { flavourOf } from "../node/kernel-reference.js";
import { KernelStore } from "../node/kernel-store.js";
import { type KernelInfo, kernelInfo, kernelInfoAtHand } from "./kernel-info.js";
import { withKernelProgress } from "./kernel-progress.js";
import { stderr, stdout } from "./output.js";
import { printable } from "./printable.js";

const REFERENCE = "6.12, 6.1-cloud, rt, or a package's name; the newest 6.1 if left out";

/** A kernel at hand, as `korral kernel list` has it. */
interface KernelRow {
  readonly name: string;
  readonly version: string | null;
  readonly release: string;
  readonly flavour: string | null;
  readonly origin: "cache" | "system";
  readonly modules: number;
  /** Where its files are; of a kernel of the system where its modules are. */
  readonly directory: string | null;
}

export function addKernel(program: Command): void {
  const kernel = program.command("kernel").description("Kernels: which are at hand, getting one, what one is.");
  kernel
    .command("list")
    .description("List the kernels at hand: those in the cache, then the system's own.")
    .option("--json", "print a JSON array")
    .action((options: { json?: true }) => {
      const rows = new KernelStore().list().map(rowOf);
      if (options.json === true) stdout(`${JSON.stringify(rows)}\n`);
      else if (rows.length === 0) stderr("no kernel is at hand: korral kernel fetch gets one\n");
      else stdout(listText(rows));
    });
  kernel
    .command("fetch")
    .description(
      "Get a kernel with the system's package client, and keep it in the cache; neither root nor lists needed.",
    )
    .argument("[ref]", `${REFERENCE}; or a .deb to put into the cache`)
    .option("--json", "print one JSON document")
    .action(async (ref: string | undefined, options: { json?: true }) => {
      const row = rowOf(await withKernelProgress((progress) => new KernelStore({ progress }).fetch(ref)));
      stdout(options.json === true ? `${JSON.stringify(row)}\n` : listText([row]));
    });
  kernel
    .command("info")
    .description("Show what a kernel is: its release, image, modules and how they are compressed.")
    .argument(
      "[ref]",
      `a linux-image .deb, a vmlinuz or vmlinux, a directory with boot/ and lib/modules/; of those at hand: ${REFERENCE}`,
    )
    .option("--json", "print one JSON document")
    .action((ref: string | undefined, options: { json?: true }) => {
      const info = kernelInfoAtHand(ref) ?? kernelInfo(ref ?? "-");
      stdout(options.json === true ? `${JSON.stringify(info)}\n` : infoText(info));
    });
}

function rowOf(kernel: CachedKernel | DirectoryKernel): KernelRow {
  const cached = kernel instanceof CachedKernel;
  return {
    name: kernel.name,
    version: cached ? kernel.manifest.version : null,
    release: kernel.release,
    flavour: flavourOf(kernel.release),
    origin: cached ? "cache" : "system",
    modules: kernel.modulePaths.filter((path) => moduleNameOf(path) !== null).length,
    directory: cached ? kernel.directory : kernel.places.modules,
  };
}

function listText(rows: readonly KernelRow[]): string {
  const width = Math.max(...rows.map(({ name }) => name.length)) + 2;
  return rows
    .map(({ name, version, origin, modules, directory }) => {
      const columns = [
        name.padEnd(width),
        (version ?? "-").padEnd(22),
        origin.padEnd(8),
        `${modules} modules`.padEnd(14),
      ];
      return `${printable(columns.join("") + (directory ?? "-"))}\n`;
    })
    .join("");
}

function infoText(info: KernelInfo): string {
  const { image, modules } = info;
  const lines: [string, string | null][] = [
    ["package", info.package],
    ["version", info.version],
    ["release", info.release],
    ["flavour", info.flavour],
    ["architecture", info.architecture],
    ["banner", info.banner],
    ["image", `${image.kind}, ${image.size} bytes, ${image.unpackedSize} unpacked, compression ${image.compression}`],
    ["modules", modules === null ? null : `${modules.count}, compression ${modules.compression ?? "-"}`],
  ];
  if (info.directory !== null) lines.push(["directory", info.directory]);
  return lines.map(([key, value]) => `${`${key}:`.padEnd(14)}${value === null ? "-" : printable(value)}\n`).join("");
}
