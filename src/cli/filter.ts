import type { Command } from "commander";
import { compileFilter } from "../filter/compile.js";
import { disassemble } from "../filter/disassemble.js";
import { PacketFilter } from "../filter/packet-filter.js";
import { requireEthernet } from "../formats/capture.js";
import { type CaptureReader, type CaptureWriter, LONGEST_CAPTURED_BYTES } from "../formats/capture-packet.js";
import { createCaptureFile, openCaptureFile } from "../node/capture-file.js";
import { isReaderGone, stderr, stdout } from "./output.js";

interface FilterOptions {
  out?: string;
  json?: true;
}

export function addFilter(program: Command): void {
  program
    .command("filter")
    .description("Count the packets of a capture that a pcap filter expression accepts.")
    .argument("<expr>", "pcap filter expression, as for tcpdump; '' accepts everything")
    .argument("<file>", "pcap or pcapng file, - for standard input")
    .option("--out <file>", "write the packets that match (pcapng if it ends so, else pcap)")
    .option("--json", "print one JSON document: {packets, matched, program}")
    .action((expression: string, file: string, options: FilterOptions) => filter(expression, file, options));
}

function filter(expression: string, file: string, options: FilterOptions): void {
  const program = compileFilter(expression);
  using capture = openCaptureFile(file);
  const reader = requireEthernet(capture.reader);
  const writer =
    options.out === undefined ? null : createCaptureFile(options.out, { fineTimes: reader.fineTimes }, [file]);
  const counts = { packets: 0, matched: 0 };
  const memory = new WebAssembly.Memory({ initial: Math.ceil(LONGEST_CAPTURED_BYTES / 65_536) });
  try {
    run(reader, new PacketFilter(program, memory), new Uint8Array(memory.buffer), writer, counts);
  } catch (error) {
    // What came before the damage is not lost.
    if (!isReaderGone(error)) stderr(`${counts.matched} of the ${counts.packets} packets before the error match\n`);
    throw error;
  } finally {
    writer?.close();
  }
  const listing = disassemble(program);
  if (options.json === true) {
    stdout(`${JSON.stringify({ ...counts, program: listing.trimEnd().split("\n") })}\n`);
  } else if (options.out !== "-") {
    stdout(`${counts.matched} of ${counts.packets} packets match\n${listing.trimEnd()}\n`);
  }
}

function run(
  reader: CaptureReader,
  packetFilter: PacketFilter,
  scratch: Uint8Array,
  writer: CaptureWriter | null,
  counts: { packets: number; matched: number },
): void {
  for (const packet of reader) {
    counts.packets++;
    scratch.set(packet.data);
    if (!packetFilter.match(0, packet.capturedLength, packet.originalLength)) continue;
    counts.matched++;
    writer?.write(
      packet.bytes,
      packet.offset,
      packet.capturedLength,
      packet.seconds,
      packet.nanoseconds,
      packet.originalLength,
    );
  }
}
