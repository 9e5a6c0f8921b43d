import fc from "fast-check";
import { expect, test } from "vitest";
import { frame } from "../../test/formats/capture-bytes.js";
import { type CaptureFormat, createCaptureWriter, MemorySink, MemorySource, openCapture } from "./capture.js";

const time = fc.record({ seconds: fc.nat(0xffffffff), nanoseconds: fc.nat(999_999_999) });
const packet = fc.record({
  time,
  length: fc.oneof(fc.nat(70), fc.nat(3000), fc.integer({ min: 60_000, max: 70_000 })),
  extra: fc.nat(5),
});

test.each<[CaptureFormat, boolean]>([
  ["pcap", false],
  ["pcap", true],
  ["pcapng", true],
])("what is written as %s (fine times: %s) is read again", (format, fineTimes) => {
  fc.assert(
    fc.property(fc.array(packet, { maxLength: 12 }), (packets) => {
      const sink = new MemorySink();
      const writer = createCaptureWriter(sink, format, { fineTimes });
      packets.forEach((one, i) => {
        const bytes = frame(one.length + 3, i);
        writer.write(bytes, 3, one.length, one.time.seconds, one.time.nanoseconds, one.length + one.extra);
      });
      writer.close();
      expect(writer.packets).toBe(packets.length);
      const reader = openCapture(new MemorySource(sink.bytes), "x");
      expect(reader).toMatchObject({ format, linkType: 1, snapLength: 262_144, fineTimes });
      const read = [...map(reader, (each) => each.copy())];
      expect(read).toHaveLength(packets.length);
      packets.forEach((one, i) => {
        const { seconds, nanoseconds } = one.time;
        expect(read[i].seconds).toBe(seconds);
        expect(read[i].nanoseconds).toBe(fineTimes ? nanoseconds : nanoseconds - (nanoseconds % 1000));
        expect(read[i].originalLength).toBe(one.length + one.extra);
        expect(Buffer.compare(read[i].data, frame(one.length + 3, i).subarray(3))).toBe(0);
      });
    }),
    { numRuns: 40, seed: 7 },
  );
});

test.each<CaptureFormat>(["pcap", "pcapng"])(
  "%s cuts at the snapshot length, and at the longest there is",
  (format) => {
    for (const [snapLength, captured] of [
      [96, 96],
      [0, 262_144],
      [1 << 30, 262_144],
    ]) {
      const sink = new MemorySink();
      const writer = createCaptureWriter(sink, format, { snapLength });
      writer.write(new Uint8Array(300_000), 0, 300_000, 1, 2);
      writer.close();
      const packet = openCapture(new MemorySource(sink.bytes), "x").next();
      expect(packet).toMatchObject({ capturedLength: captured, originalLength: 300_000 });
    }
  },
);

test("flush passes on what is buffered, close closes once", () => {
  const sink = new MemorySink();
  const writer = createCaptureWriter(sink, "pcap", { linkType: 101 });
  expect(sink.bytes.length).toBe(0);
  writer.flush();
  expect(openCapture(new MemorySource(sink.bytes.slice()), "x").linkType).toBe(101);
  writer.close();
  writer.close();
  expect(sink.bytes.length).toBe(24);
  expect(sink.closed).toBe(true);
});

function* map<T, U>(items: Iterable<T>, change: (item: T) => U): Generator<U> {
  for (const item of items) yield change(item);
}

test.each<[CaptureFormat, number]>([
  ["pcap", -1],
  ["pcap", 0.5],
  ["pcapng", Number.NaN],
])("a %s file cannot keep %d bytes of a packet", (format, snapLength) => {
  expect(() => createCaptureWriter(new MemorySink(), format, { snapLength })).toThrow("a snapshot length");
});
