import type { Command } from "commander";
import { stdout } from "./output.js";

/** A model, as `korral devices` has it. */
export interface ModelRow {
  /** What `--device` takes, if a Linux driver binds to it. */
  readonly name: string;
  /** Vendor and device; `-` for what is not on PCI. */
  readonly id: string;
  readonly part: string;
  /** Modules that bind to it, unmodified. */
  readonly linux: readonly string[];
  /** The native driver, with the cases that it is for; null if there is none. */
  readonly native: string | null;
}

// biome-ignore format: a table
export const MODELS: readonly ModelRow[] = [
  { name: "e1000",          id: "8086:100e", part: "Intel 82540EM gigabit Ethernet",   linux: ["e1000"],             native: "e1000 (cases 2 and 3)" },
  { name: "korral-nic",     id: "1209:4b31", part: "Korral K1, filters on the board",  linux: [],                    native: "korral-nic (case 3b)" },
  { name: "nvme",           id: "1b36:0010", part: "NVM Express 1.4 controller",       linux: [],                    native: "nvme (case 2, paging)" },
  { name: "pcnet",          id: "1022:2000", part: "AMD Am79C970A PCnet-PCI II",       linux: ["pcnet32"],           native: null },
  { name: "rtl8139",        id: "10ec:8139", part: "Realtek RTL8139C+ and RTL8139C",   linux: ["8139cp", "8139too"], native: null },
  { name: "uart16550",      id: "-",         part: "16550A UART",                      linux: [],                    native: "uart (case 1)" },
  { name: "virtio-net-pci", id: "1af4:1041", part: "VIRTIO 1.2 network device on PCI", linux: ["virtio_net"],        native: null },
];

const GAP = 2;

export function addDevices(program: Command): void {
  program
    .command("devices")
    .description("List the device models, their PCI ids and the drivers that bind to them.")
    .option("--json", "print a JSON array")
    .action((options: { json?: true }) => {
      stdout(options.json === true ? `${JSON.stringify(MODELS)}\n` : tableOf(MODELS));
    });
}

/** A line for each model, columns as wide as what is in them. */
export function tableOf(models: readonly ModelRow[]): string {
  const lines = models.map(({ name, id, part, linux, native }) => [
    name,
    id,
    part,
    linux.length === 0 ? "-" : linux.join(", "),
    native === null ? "" : `native: ${native}`,
  ]);
  const widths = lines[0]?.map((_, column) => Math.max(...lines.map((cells) => cells[column].length)) + GAP) ?? [];
  const text = (cells: readonly string[]): string => cells.map((cell, i) => cell.padEnd(widths[i])).join("");
  return lines.map((cells) => `${text(cells).trimEnd()}\n`).join("");
}
