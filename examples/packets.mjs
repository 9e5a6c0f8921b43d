// Case 3: frames of a capture, shared out to two clients by pcap filters. Run it in the checkout: node examples/packets.mjs
import { CaptureWire, E1000Driver, I82540em, Machine, NetworkClient } from "korral";
import { openCaptureFile } from "korral/node";

const machine = await Machine.create();
const capture = openCaptureFile(new URL("../test/captures/guest-session.pcap", import.meta.url).pathname);
const wire = new CaptureWire({ replay: capture.reader, clock: machine.clock });
const slot = machine.plug("e1000", (host) => new I82540em(host, { wire }));
const domain = machine.domain("e1000", slot);
await machine.run(E1000Driver.start(domain));

const network = new NetworkClient(domain.endpoint);
const rings = {};
for (const filter of ["port domain", "icmp or icmp6"]) {
  const space = machine.bank.region({ pages: 64 });
  rings[filter] = await machine.run(network.open({ space, offset: 0, slots: 128, slotBytes: 2048, filter }));
}
wire.playByTime();
await machine.idle();
for (const [filter, ring] of Object.entries(rings)) console.log(filter.padEnd(16), ring.counters);
capture.close();
