// The 16550A under random register accesses, input and time: no character comes from or goes to nowhere, work stays
// bounded, and a restored twin behaves the same from then on.
import assert from "node:assert/strict";
import { Clock } from "../../dist/bus/clock.js";
import { InterruptController } from "../../dist/bus/interrupts.js";
import { Uart16550 } from "../../dist/devices/uart16550.js";
import { Lcr, Mcr, UartRegister } from "../../dist/devices/uart16550-registers.js";
import { InputError } from "../../dist/util/errors.js";
import { damage } from "./world.mjs";

export const name = "uart16550";

class Twin {
  clock = new Clock();
  pin = new InterruptController().wire("uart").pin();
  shown = [];
  held = false;

  constructor(options, now = 0) {
    this.clock.advance(now);
    const line = {
      onInput: (listener) => {
        this.type = listener;
      },
      write: (bytes) => {
        for (const byte of bytes) this.shown.push(byte);
      },
      hold: (on) => {
        assert.notEqual(on, this.held);
        this.held = on;
      },
      close() {},
    };
    const host = { clock: this.clock, interrupt: this.pin, violation() {}, message() {} };
    this.uart = new Uart16550(host, { line, ...options });
  }

  pass(nanoseconds) {
    const end = this.clock.now() + nanoseconds;
    let events = 0;
    this.clock.runDue();
    while (this.clock.nextDeadline() <= end) {
      this.clock.skipToNextTimer();
      this.clock.runDue();
      assert.ok(++events < 100_000, "the timer fires without end");
    }
    this.clock.advance(end - this.clock.now());
  }
}

export function run(rng) {
  const below = (bound) => rng() % bound;
  const pick = (list) => list[below(list.length)];

  const options = { immediate: below(4) === 0, flowControl: pick(["auto", "rts", "none"]) };
  const twins = [new Twin(options)];
  const first = twins[0];
  const all = (action) => {
    const results = twins.map(action);
    for (const result of results) assert.deepEqual(result, results[0]);
    return results[0];
  };
  let entered = 0;
  let taken = 0;

  function read(offset, size) {
    const { receiver, lcr } = first.uart.snapshot();
    if (offset === UartRegister.RBR && (lcr & Lcr.DLAB) === 0 && receiver.length > 0) taken++;
    const value = all((twin) => twin.uart.read(0, offset, size));
    assert.ok(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size));
  }

  function write(offset, size, value) {
    if (offset === UartRegister.THR && (first.uart.snapshot().lcr & Lcr.DLAB) === 0) entered++;
    all((twin) => twin.uart.write(0, offset, size, value));
  }

  /** As a driver sets up: a rate that lets characters move, FIFOs mostly on. */
  function open() {
    write(UartRegister.LCR, 1, Lcr.DLAB | 3);
    write(UartRegister.DLL, 1, 1 + below(3));
    write(UartRegister.DLM, 1, 0);
    write(UartRegister.LCR, 1, below(0x40));
    write(UartRegister.FCR, 1, pick([0, 1, 7, 0x41, 0x81, 0xc7]));
    write(UartRegister.MCR, 1, pick([0x0b, 0x0b, 0x0b, 0x1b, 0x03]));
    write(UartRegister.IER, 1, below(16));
  }

  const actions = [
    () => read(below(8), 1),
    () => read(UartRegister.RBR, 1),
    () => read(below(8), pick([1, 2, 4])),
    () => write(below(8), 1, below(256)),
    () => write(UartRegister.THR, 1, below(256)),
    () => {
      for (let i = below(20); i > 0; i--) write(UartRegister.THR, 1, below(256));
    },
    () => write(below(10), pick([1, 2, 4]), rng()),
    () => {
      const bytes = Uint8Array.from({ length: below(40) }, () => below(256));
      entered += bytes.length;
      all((twin) => twin.type(bytes.slice()));
    },
    () => {
      entered++;
      const [character, errors] = [below(256), below(256)];
      all((twin) => twin.uart.receive(character, errors));
    },
    () => {
      const bits = below(256);
      all((twin) => twin.uart.setModemInputs(bits));
    },
    () => {
      const time = pick([0, 1, 1000, 70_000, 87_000, 350_000, 5_000_000]);
      all((twin) => twin.pass(time));
    },
    () => {
      const time = below(1_000_000);
      all((twin) => twin.clock.advance(time));
    },
    open,
  ];

  function check() {
    const state = all((twin) => twin.uart.snapshot());
    all((twin) => twin.pin.level);
    if (first.pin.level) assert.equal(state.mcr & (Mcr.OUT2 | Mcr.LOOP), Mcr.OUT2);
    const { sent, overruns, cleared, swallowed, refused } = first.uart.statistics;
    const inside = state.receiver.length + state.transmitter.length + state.queue.length + (state.shifting < 0 ? 0 : 1);
    assert.equal(entered, taken + sent + overruns + cleared + swallowed + refused + inside);
    assert.equal(first.shown.length, sent);
    if (options.flowControl === "auto" && !looped) assert.equal(overruns, 0);
    if ((state.mcr & Mcr.LOOP) !== 0) looped = true;
  }

  let looped = false;
  open();
  check();
  const steps = 10 + below(60);
  const forkAt = below(steps);
  for (let step = 0; step < steps; step++) {
    if (step === forkAt) {
      const state = structuredClone(first.uart.snapshot());
      const twin = new Twin(options, below(1_000_000));
      twin.uart.restore(state);
      twins.push(twin);
      refuseDamaged(state);
    }
    if (below(200) === 0) all((twin) => twin.uart.reset());
    pick(actions)();
    check();
  }
  const before = first.shown.length - twins[twins.length - 1].shown.length;
  for (const twin of twins) {
    const shown = twin === first ? twin.shown.slice(before) : twin.shown;
    assert.deepEqual(shown, first.shown.slice(before));
  }

  /** A damaged snapshot is refused by name, or is one that the model can go on from. */
  function refuseDamaged(state) {
    const damaged = structuredClone(state);
    damage(damaged, rng);
    const twin = new Twin(options);
    try {
      twin.uart.restore(damaged);
    } catch (error) {
      assert.ok(error instanceof InputError, `${error}`);
      return;
    }
    for (let offset = 0; offset < 8; offset++) twin.uart.read(0, offset, 1);
    twin.pass(10_000_000);
  }
}
