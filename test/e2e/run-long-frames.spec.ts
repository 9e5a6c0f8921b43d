import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { MemorySource, openCapture } from "../../src/formats/capture.js";
import { concat, frame, pcapHeader, pcapRecord } from "../formats/capture-bytes.js";
import { debianKernel } from "../support/debian-kernel.js";
import { korral, scratch } from "./korral.js";

const LENGTHS = [60, 1514, 2000, 2048, 2049, 3000, 9014];
const SLOT = 2048;

const file = scratch();
const kernel = debianKernel("6.1", "amd64");

describe.skipIf(typeof kernel === "string")("frames that are longer than most networks have them", () => {
  const directory = typeof kernel === "string" ? "" : kernel.directory;
  const frames = LENGTHS.map((length, i) => frame(length, i));

  /** Received frames, with the length that each had. */
  async function received(...device: string[]) {
    const records = frames.map((bytes) => pcapRecord(bytes));
    writeFileSync(file("long.pcap"), concat(pcapHeader(), ...records));
    const client = `all,out=${file("got.pcap")}`;
    const netdev = `pcap,rx=${file("long.pcap")}`;
    const { status } = await korral([
      ...["run", "virtio_net", ...device, "--netdev", netdev, "--client", client, "--kernel", directory],
    ]);
    expect(status).toBe(0);
    const capture = openCapture(new MemorySource(readFileSync(file("got.pcap"))), "got.pcap");
    return Array.from(capture, ({ data, originalLength }) => ({ bytes: data.slice(), originalLength }));
  }

  test("arrive whole where the device is said to have them", async () => {
    const got = await received("--device", "virtio-net-pci,mtu=9000");
    expect(got.map(({ bytes }) => bytes)).toEqual(frames);
  }, 120_000);

  test("are cut elsewhere, and recorded with the length that they had", async () => {
    const got = await received();
    expect(got.map(({ originalLength }) => originalLength)).toEqual(LENGTHS);
    expect(got.map(({ bytes }) => bytes)).toEqual(frames.map((bytes) => bytes.slice(0, SLOT)));
  }, 120_000);
});
