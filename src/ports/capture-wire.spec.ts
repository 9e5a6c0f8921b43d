import { describe, expect, test } from "vitest";
import { concat, frame, pcapHeader, pcapRecord } from "../../test/formats/capture-bytes.js";
import { Clock } from "../bus/clock.js";
import { createCaptureWriter, MemorySink, MemorySource, openCapture } from "../formats/capture.js";
import { CaptureWire, type CaptureWireOptions } from "./capture-wire.js";

function replaying(records: Uint8Array[], options: Partial<CaptureWireOptions> = {}) {
  const clock = new Clock();
  const replay = openCapture(new MemorySource(concat(pcapHeader(), ...records)), "x.pcap");
  const wire = new CaptureWire({ replay, clock, ...options });
  const got: { at: number; bytes: Uint8Array }[] = [];
  const warnings: string[] = [];
  const ends: (string | null)[] = [];
  wire.onFrame((bytes, offset, length) => got.push({ at: clock.now(), bytes: bytes.slice(offset, offset + length) }));
  wire.events.on("warning", ({ kind, message }) => warnings.push(`${kind}: ${message}`));
  wire.events.on("end", ({ error }) => ends.push(error === null ? null : error.code));
  const idle = () => {
    while (clock.skipToNextTimer()) clock.runDue();
  };
  return { wire, clock, got, warnings, ends, idle, lengths: () => got.map((one) => one.bytes.length) };
}

describe("replay", () => {
  test("delivers as many frames as asked, in order, and tells the end", () => {
    const { wire, got, ends } = replaying([0, 1, 2].map((i) => pcapRecord(frame(60 + i, i))));
    expect(wire.ended).toBe(false);
    expect(wire.pump(2)).toBe(2);
    expect([wire.ended, ends]).toEqual([false, []]);
    expect(wire.pump(2)).toBe(1);
    expect(wire.pump(2)).toBe(0);
    expect([wire.ended, ends, wire.error]).toEqual([true, [null], null]);
    expect(got.map((one) => one.bytes)).toEqual([0, 1, 2].map((i) => frame(60 + i, i)));
    expect(wire.replayed).toEqual({ frames: 3, bytes: 183, truncated: 0, tooShort: 0, tooLong: 0 });
  });

  test("by time: as far apart as captured, those that step back at once", () => {
    const at = (seconds: number, fraction: number) => pcapRecord(frame(60), { seconds, fraction });
    const { wire, got, clock, idle, ends } = replaying([at(100, 0), at(100, 250), at(103, 1), at(101, 0), at(103, 2)]);
    clock.advance(5000);
    wire.playByTime();
    expect(got).toEqual([]);
    idle();
    expect(got.map((one) => one.at - 5000)).toEqual([0, 250_000, 3_000_001_000, 3_000_001_000, 3_000_002_000]);
    expect(ends).toEqual([null]);
  });

  test("by time, paused and gone on with", () => {
    const at = (seconds: number) => pcapRecord(frame(60), { seconds });
    const { wire, got, clock, idle } = replaying([at(10), at(20), at(30)]);
    wire.playByTime();
    clock.runDue();
    wire.pause();
    idle();
    expect(got).toHaveLength(1);
    expect(wire.pump(1)).toBe(1);
    wire.playByTime();
    idle();
    expect(got.map((one) => one.at)).toEqual([0, 0, 0]);
  });

  test("frames that no adapter takes are left out, cut ones replayed; each told once, all counted", () => {
    const { wire, lengths, warnings } = replaying([
      pcapRecord(frame(13)),
      pcapRecord(frame(14)),
      pcapRecord(frame(0)),
      pcapRecord(frame(96), { original: 1514 }),
      pcapRecord(frame(16_110)),
      pcapRecord(frame(16_111)),
      pcapRecord(frame(20_000)),
      pcapRecord(frame(96), { original: 1514 }),
    ]);
    expect(wire.pump(100)).toBe(4);
    expect(lengths()).toEqual([14, 96, 16_110, 96]);
    expect(wire.replayed).toEqual({ frames: 4, bytes: 14 + 96 + 16_110 + 96, truncated: 2, tooShort: 2, tooLong: 2 });
    expect(warnings.map((text) => text.split(":")[0])).toEqual(["too-short", "truncated", "too-long"]);
    expect(warnings[1]).toContain("x.pcap: a frame of 1514 bytes was cut");
  });

  test("a broken capture ends the replay with its error, after all frames before the damage", () => {
    const { wire, lengths, ends } = replaying([pcapRecord(frame(60)), pcapRecord(frame(61)), new Uint8Array(5)]);
    expect(wire.pump(100)).toBe(2);
    expect(lengths()).toEqual([60, 61]);
    expect(ends).toEqual(["capture-truncated"]);
    expect(wire.ended).toBe(true);
    expect(wire.error).toMatchObject({ exitStatus: 5, message: expect.stringContaining("byte 177") });
  });

  test("without carrier frames are lost, as on a wire", () => {
    const { wire, got } = replaying([pcapRecord(frame(60)), pcapRecord(frame(60))]);
    wire.setCarrier(false);
    wire.pump(1);
    wire.setCarrier(true);
    wire.pump(1);
    expect(got).toHaveLength(1);
  });

  test("pumping from within a delivery does nothing", () => {
    const { wire } = replaying([pcapRecord(frame(60)), pcapRecord(frame(60))]);
    const inner: number[] = [];
    wire.onFrame(() => inner.push(wire.pump(1)));
    expect(wire.pump(5)).toBe(2);
    expect(inner).toEqual([0, 0]);
  });

  test("nothing to replay has ended", () => {
    const wire = new CaptureWire({ clock: new Clock() });
    expect([wire.ended, wire.pump(1)]).toEqual([true, 0]);
    expect(replaying([]).wire.pump(1)).toBe(0);
  });
});

describe("recording", () => {
  test("writes what the adapter sends, dated by the machine's clock", () => {
    const clock = new Clock();
    const sink = new MemorySink();
    const record = createCaptureWriter(sink, "pcap", { fineTimes: true });
    const wire = new CaptureWire({ record, clock, epoch: 1_700_000_000 });
    wire.send(frame(100), 10, 60);
    clock.advance(2_500_000_001);
    wire.send(frame(100), 0, 100);
    wire.setCarrier(false);
    wire.send(frame(100), 0, 100);
    record.close();
    expect(wire.recorded).toEqual({ frames: 2, bytes: 160 });
    const packets = [...openCapture(new MemorySource(sink.bytes), "x")].length;
    expect(packets).toBe(2);
    const reader = openCapture(new MemorySource(sink.bytes), "x");
    expect(reader.next()?.data).toEqual(frame(100).slice(10, 70));
    expect(reader.next()).toMatchObject({ seconds: 1_700_000_002, nanoseconds: 500_000_001, capturedLength: 100 });
  });

  test("without a file it only counts", () => {
    const wire = new CaptureWire({ clock: new Clock() });
    wire.send(frame(60), 0, 60);
    expect(wire.recorded).toEqual({ frames: 1, bytes: 60 });
  });
});
