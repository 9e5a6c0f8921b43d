// A host of ours behind an adapter: a guest of QEMU on the other end of the wire can ping it and send it files.
// Run it in the checkout: node examples/echo-client.mjs /tmp/korral.sock
// then: qemu-system-x86_64 … -netdev stream,id=n,server=off,addr.type=unix,addr.path=/tmp/korral.sock -device e1000,netdev=n
// and in the guest, once its address is 10.0.2.15/24: ping 10.0.2.2; nc 10.0.2.2 9 < file (port 7 sends it back)
import { Client, E1000Driver, I82540em, interfaceAddress, Machine } from "korral";
import { listenForFrames } from "korral/node";

const path = process.argv[2] ?? "/tmp/korral.sock";
const machine = await Machine.create({ realTime: () => performance.now() * 1e6 });
const release = machine.loop.hold();
const wake = () => machine.loop.wake();
const socket = await listenForFrames({ path }, { clock: machine.clock, wake, tell: console.error, waits: true });
const macAddress = Uint8Array.of(0x52, 0x54, 0, 0x4b, 0x52, 0x4c);
const slot = machine.plug("e1000", (host) => new I82540em(host, { wire: socket.wire, macAddress }));
const domain = machine.domain("e1000", slot);
await machine.run(E1000Driver.start(domain));

const address = interfaceAddress("10.0.2.2/24");
const client = new Client(machine, domain.endpoint, { receive: { filter: "", post: 256 }, address });
await machine.run(client.open());
const receiving = client.receive();
socket.wire.start();
console.log(`10.0.2.2 waits for a peer at unix:${path}; it goes when the peer does`);
await machine.run(new Promise((resolve) => socket.wire.events.on("detached", resolve)));
await machine.run(client.close());
await machine.run(receiving);
console.log(client.host.counters);
for (const transfer of client.host.transfers) console.log(transfer);
release();
await socket.close();
