import type { Command } from "commander";
import { stdout } from "./output.js";

interface ModelRow {
  readonly name: string;
  readonly part: string;
  readonly id: string;
  readonly driver: string;
}

// biome-ignore format: a table
const MODELS: readonly ModelRow[] = [
  { name: "e1000",      part: "Intel 82540EM gigabit Ethernet",  id: "8086:100e", driver: "native: e1000 (cases 2 and 3)" },
  { name: "korral-nic", part: "Korral K1, filters on the board", id: "1209:4b31", driver: "native: korral-nic (case 3b)" },
  { name: "nvme",       part: "NVM Express 1.4 controller",      id: "1b36:0010", driver: "native: nvme (case 2, paging)" },
  { name: "pcnet",      part: "AMD Am79C970A PCnet-PCI II",      id: "1022:2000", driver: "pcnet32" },
  { name: "rtl8139",    part: "Realtek RTL8139C+ and RTL8139C",  id: "10ec:8139", driver: "8139cp, 8139too" },
  { name: "uart16550",  part: "16550A UART",                     id: "-",         driver: "native: uart (case 1)" },
];

export function addDevices(program: Command): void {
  program
    .command("devices")
    .description("List the device models, their PCI ids and the drivers that bind to them.")
    .option("--json", "print a JSON array")
    .action((options: { json?: true }) => {
      if (options.json === true) {
        stdout(`${JSON.stringify(MODELS)}\n`);
        return;
      }
      for (const { name, part, id, driver } of MODELS) {
        stdout(`${name.padEnd(12)}${id.padEnd(11)}${part.padEnd(34)}${driver}\n`);
      }
    });
}
