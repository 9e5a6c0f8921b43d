import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { seededRandom } from "../../src/util/random.js";
import { debianKernel } from "../support/debian-kernel.js";
import { bootGuest, type Guest, guestProgram, whyNoGuests } from "../support/guest.js";
import { linuxKernel } from "../support/linux-driver.js";
import { scratch, startKorral } from "./korral.js";

const SERIES = "6.1";
const FILE_BYTES = 3 << 20;
const ECHOED_BYTES = 512 << 10;
/** Room for every datagram: nothing slows their sender down, and what a client has no room for is dropped. */
const BUFFERS = 4096;
const HOST = "10.0.2.2";
const ADAPTER = "52:54:00:4b:52:4c";
/** Against hangs only: a guest without KVM, on a busy machine. Milliseconds. */
const PATIENCE = 240_000;

const file = scratch();
const why = whyNoGuests() ?? (typeof linuxKernel(SERIES) === "string" ? linuxKernel(SERIES) : null);

/** The file, whose bytes are no pattern. */
const random = seededRandom(1);
const bytes = new Uint8Array(Uint32Array.from({ length: FILE_BYTES / 4 }, () => random()).buffer);
const sha256 = (part: Uint8Array): string => createHash("sha256").update(part).digest("hex");

describe.skipIf(why !== null)("a Linux guest at the other end of an unmodified e1000's wire", () => {
  let korral: ChildProcess;
  let ended: Promise<{ status: number | null; stdout: string; stderr: string }>;
  let guest: Guest;

  beforeAll(async () => {
    const kernel = await linuxKernel(SERIES);
    const directory = debianKernel(SERIES, "amd64");
    if (typeof kernel === "string" || typeof directory === "string") throw new Error("there is no kernel");
    const socket = file("wire");
    korral = startKorral([
      ...["run", "e1000", "--kernel", directory.directory, "--json", "--netdev", `stream,listen=unix:${socket}`],
      ...["--client", `echo,ip=${HOST}/24,post=${BUFFERS}`],
    ]);
    let stdout = "";
    let stderr = "";
    korral.stdout?.on("data", (data) => {
      stdout += data;
    });
    const listening = new Promise<void>((resolve, reject) => {
      korral.stderr?.on("data", (data) => {
        stderr += data;
        if (stderr.includes("is waited for")) resolve();
      });
      korral.on("close", () => reject(new Error(`korral ended: ${stderr}`)));
    });
    ended = new Promise((resolve) => korral.on("close", (status) => resolve({ status, stdout, stderr })));
    await listening;
    guest = await bootGuest(kernel, {
      modules: ["virtio_pci", "virtio_net"],
      qemu: [
        ...["-netdev", `stream,id=wire,server=off,addr.type=unix,addr.path=${socket}`],
        ...["-device", "virtio-net-pci,netdev=wire,romfile="],
      ],
      files: { file: bytes, udp: guestProgram("udp.c") },
    });
    await inGuest("ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up");
  }, PATIENCE);

  afterAll(async () => {
    korral?.kill("SIGKILL");
    await guest?.stop();
  });

  async function inGuest(command: string): Promise<string> {
    const { status, output } = await guest.run(command, PATIENCE / 1000);
    expect(status, output).toBe(0);
    return output;
  }

  test("is answered by a client: ARP, and pings of any size", { timeout: PATIENCE }, async () => {
    expect(await inGuest(`ping -c 10 -i 0.1 ${HOST}`)).toContain("10 packets received, 0% packet loss");
    expect(await inGuest(`ping -c 3 -i 0.1 -s 1472 ${HOST}`)).toContain("3 packets received, 0% packet loss");
    expect((await inGuest("cat /proc/net/arp")).split("\n")[1]).toMatch(new RegExp(`^10\\.0\\.2\\.2 .* ${ADAPTER} `));
  });

  test("moves a file over TCP, there and back", { timeout: PATIENCE }, async () => {
    await inGuest(`nc ${HOST} 9 < /file`);
    expect(await inGuest(`nc ${HOST} 7 < /file | sha256sum`)).toContain(sha256(bytes));
  });

  test("moves a file over UDP, there and back", { timeout: PATIENCE }, async () => {
    await inGuest(`/udp ${HOST} 9 send < /file`);
    const part = bytes.subarray(0, ECHOED_BYTES);
    expect(await inGuest(`head -c ${ECHOED_BYTES} /file | /udp ${HOST} 7 echo | sha256sum`)).toContain(sha256(part));
  });

  test("leaves the driver in order, and nothing of it behind", { timeout: PATIENCE }, async () => {
    await guest.stop();
    const { status, stdout, stderr } = await ended;
    expect(status, stderr).toBe(0);
    const report = JSON.parse(stdout);
    const whole = { bytes: FILE_BYTES, sha256: sha256(bytes) };
    const [{ host, ...client }] = report.clients;
    expect(client).toMatchObject({ full: 0, gone: 0, cut: 0 });
    expect(host).toMatchObject({ fragments: 0, malformed: 0, badChecksum: 0 });
    expect(host.transfers).toMatchObject([
      { protocol: "tcp", port: 9, end: "closed", ...whole },
      { protocol: "tcp", port: 7, ...whole },
      { protocol: "udp", port: 9, ...whole },
    ]);
    expect(report).toMatchObject({
      driver: "e1000",
      link: true,
      findings: [],
      left: { maps: 0, interrupts: 0, timers: 0, work: 0, ioMappings: 0, lent: 0 },
      dma: { live: 0, refused: 0 },
      netdev: { peers: 1, congested: 0, violations: 0 },
    });
    expect(report.dma.lent, "what was sent back stayed where it was").toBeGreaterThan(1000);
  });
});
