// The same e1000.ko in a Linux guest under QEMU without KVM, on QEMU's model of the same adapter. Its wire is a socket whose
// other end is here: pktgen's frames are hashed as they arrive, and frames that are sent there are counted by the guest.
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mixFrame } from "../dist/ports/wire-hash.js";
import { Guest } from "../scripts/guest/guest.mjs";
import { udpFrame } from "./nic-frames.mjs";

const LENGTH_BYTES = 4;
const LUMP_BYTES = 65_536;
const LINK_SECONDS = 20;
const MEASURED_SECONDS = 1;
const SETTLED_MILLISECONDS = 100;
const STATISTICS = "/sys/class/net/eth0/statistics";
/** What pktgen does for each frame: makes one, or sends the one that it has again; then tells the adapter. */
export const PKTGEN = {
  fresh: { clone_skb: 0, burst: 1 },
  cloned: { clone_skb: 1_000_000, burst: 1 },
};

export class GuestNic {
  frames = 0;
  digest = 0;
  #folder = mkdtempSync(join(tmpdir(), "korral-bench-"));
  #server;
  #socket;
  #rest = Buffer.alloc(0);
  #guest;

  /** @param kernel the KernelPackage @throws Error if the guest does not start */
  static async open(kernel) {
    const nic = new GuestNic();
    try {
      await nic.#start(kernel);
      return nic;
    } catch (error) {
      await nic.close();
      throw error;
    }
  }

  /** @param way of PKTGEN @returns nanoseconds a frame that arrived, by the guest's clock */
  async transmit(length, packets, way) {
    const options = {
      count: packets,
      pkt_size: length,
      delay: 0,
      ...way,
      dst: "192.0.2.2",
      dst_mac: "52:54:00:ab:cd:ef",
    };
    const lines = Object.entries(options).map((pair) => `echo ${pair.join(" ")} > eth0`);
    const before = this.frames;
    const commands = [
      "cd /proc/net/pktgen",
      "echo rem_device_all > kpktgend_0",
      "echo add_device eth0 > kpktgend_0",
      ...lines,
      "echo start > pgctrl",
      "cat eth0",
      "cd /",
    ];
    const { output } = await this.#guest.run(commands.join("; "));
    const result = /OK: (\d+)\(.*?\) usec/.exec(output);
    if (result === null) throw new Error(`pktgen: ${output}`);
    await this.#settled();
    // QEMU drops what its peer takes too slowly: what counts is what arrives.
    return (Number(result[1]) * 1000) / (this.frames - before);
  }

  /**
   * Offers frames for a while.
   * @param offered a second; Infinity: as many as the socket takes
   * @returns nanoseconds a frame that the guest counted, by its own clock
   */
  async receive(length, offered) {
    const frame = Buffer.concat([Buffer.alloc(LENGTH_BYTES), udpFrame(length)]);
    frame.writeUInt32BE(length);
    let isSending = true;
    const sending = this.#send(frame, offered, () => isSending);
    const look = `$(cat ${STATISTICS}/rx_packets; cut -d ' ' -f 1 /proc/uptime)`;
    const command = `sleep 0.3; a="${look}"; sleep ${MEASURED_SECONDS}; b="${look}"; echo $a $b`;
    const { output } = await this.#guest.run(command);
    isSending = false;
    await sending;
    const [before, start, after, end] = output.split(" ").map(Number);
    return ((end - start) * 1e9) / (after - before);
  }

  async close() {
    await this.#guest?.stop();
    this.#socket?.destroy();
    this.#server?.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #start(kernel) {
    const path = join(this.#folder, "wire");
    this.#server = createServer((socket) => {
      this.#socket = socket;
      socket.on("error", () => {});
      socket.on("data", (data) => this.#arrived(data));
    });
    await once(this.#server.listen(path), "listening");
    this.#guest = await Guest.boot(kernel, {
      modules: ["e1000", "pktgen"],
      qemu: [
        ...["-netdev", `stream,id=wire,server=off,addr.type=unix,addr.path=${path}`],
        ...["-device", "e1000,netdev=wire,romfile=,mac=52:54:00:12:34:56"],
      ],
    });
    const wait = `until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done`;
    await this.#guest.run(`ip link set eth0 up; ${wait}`, LINK_SECONDS);
  }

  /** Waits until nothing arrives any more. */
  async #settled() {
    for (let before = -1; before !== this.frames; ) {
      before = this.frames;
      await pause(SETTLED_MILLISECONDS);
    }
  }

  #arrived(data) {
    const bytes = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    while (at + LENGTH_BYTES <= bytes.length) {
      const end = at + LENGTH_BYTES + view.getUint32(at);
      if (end > bytes.length) break;
      this.digest = mixFrame(this.digest, view, at + LENGTH_BYTES, end - at - LENGTH_BYTES);
      this.frames++;
      at = end;
    }
    this.#rest = bytes.subarray(at);
  }

  async #send(frame, offered, goesOn) {
    const most = Math.floor(LUMP_BYTES / frame.length);
    const lump = Buffer.concat(Array(most).fill(frame));
    const start = performance.now();
    let sent = 0;
    while (goesOn()) {
      const due = Math.min(most, Math.floor(((performance.now() - start) / 1000) * offered) - sent);
      if (due <= 0) {
        await pause(1);
        continue;
      }
      sent += due;
      if (!this.#socket.write(lump.subarray(0, due * frame.length))) await once(this.#socket, "drain");
    }
  }
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
