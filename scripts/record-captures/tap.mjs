// tap.mjs SERVER.sock CLIENT.sock OUTPUT.pcap: a cable between two QEMU guests that records what passes. Each end is a
// unix socket with QEMU's stream framing: the length in 4 bytes, big-endian, then the frame.
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { createCaptureFile } from "../../dist/node/capture-file.js";

const [serverPath, clientPath, output] = process.argv.slice(2);
/** Recorded times count from here, so that a recording does not tell when it was made. */
const EPOCH_SECONDS = Date.UTC(2026, 0, 1) / 1000;
/** A cable has no shorter frames (without the frame check sequence): adapters pad. */
const SHORTEST_FRAME = 60;
const LONGEST_FRAME = 16_384;

rmSync(output, { force: true });
const capture = createCaptureFile(output);
const sizes = { frames: 0, bytes: 0 };
const ends = [null, null];
let started = null;

function pass(frame, to) {
  if (ends[0] === null || ends[1] === null) return;
  const padded =
    frame.length < SHORTEST_FRAME ? Buffer.concat([frame, Buffer.alloc(SHORTEST_FRAME - frame.length)]) : frame;
  started ??= process.hrtime.bigint();
  const elapsed = Number(process.hrtime.bigint() - started);
  capture.write(padded, 0, padded.length, EPOCH_SECONDS + Math.floor(elapsed / 1e9), elapsed % 1e9);
  sizes.frames++;
  sizes.bytes += padded.length;
  const header = Buffer.alloc(4);
  header.writeUInt32BE(padded.length);
  ends[to].write(Buffer.concat([header, padded]));
}

function attach(path, end) {
  const server = createServer((socket) => {
    ends[end] = socket;
    let pending = Buffer.alloc(0);
    socket.on("data", (data) => {
      pending = Buffer.concat([pending, data]);
      while (pending.length >= 4) {
        const length = pending.readUInt32BE(0);
        if (length > LONGEST_FRAME) throw new Error(`a frame of ${length} bytes`);
        if (pending.length < 4 + length) break;
        pass(pending.subarray(4, 4 + length), 1 - end);
        pending = pending.subarray(4 + length);
      }
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      ends[end] = null;
      if (end === 1) finish();
    });
  });
  return new Promise((resolve) => server.listen(path, resolve));
}

/** The client has powered off. */
function finish() {
  capture.close();
  console.log(`recorded ${sizes.frames} frames, ${sizes.bytes} bytes`);
  process.exit(0);
}

await attach(serverPath, 0);
await attach(clientPath, 1);
console.log("listening");
