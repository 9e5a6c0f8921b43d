// What the targets share: a network adapter's surroundings, and damage to snapshots.
import assert from "node:assert/strict";
import { Clock } from "../../dist/bus/clock.js";
import { InterruptController } from "../../dist/bus/interrupts.js";

export const MEMORY = 1 << 17;
/** Where memory lies on the adapter's bus; high enough for both address words to matter. */
export const BASE = 0x5_0001_0000;
export const PAGE = 4096;

/** Memory, some pages of which can be refused, a wire, a clock and an interrupt: all that an adapter can reach. */
export class AdapterWorld {
  memory = new Uint8Array(MEMORY);
  view = new DataView(this.memory.buffer);
  refused = new Set();
  accesses = 0;
  /** Frames on the wire, as strings of their bytes. */
  sent = [];
  messages = [];
  violations = [];
  carrier = true;
  clock = new Clock();
  pin = new InterruptController().wire("none").pin();
  /** Hears of each write that was not refused. */
  onWrite = () => {};

  /** @param longestFrame that may be put on the wire @param base where memory lies on the bus */
  constructor(longestFrame, base = BASE) {
    const reach = (address, bytes, offset, length) => {
      assert.ok(length >= 0 && offset >= 0 && offset + length <= bytes.length, "an access leaves its buffer");
      this.accesses++;
      const at = address - base;
      if (!(at >= 0 && at + length <= MEMORY)) return -1;
      for (let page = Math.floor(at / PAGE); page * PAGE < at + length; page++) if (this.refused.has(page)) return -1;
      return at;
    };
    const dma = {
      read: (address, into, offset, length) => {
        const at = reach(address, into, offset, length);
        if (at >= 0) into.set(this.memory.subarray(at, at + length), offset);
        return at >= 0;
      },
      write: (address, from, offset, length) => {
        const at = reach(address, from, offset, length);
        if (at < 0) return false;
        this.memory.set(from.subarray(offset, offset + length), at);
        this.onWrite(at, length);
        return true;
      },
      spans: () => assert.fail("an adapter has no use for spans"),
    };
    this.wire = {
      onFrame: (listener) => {
        this.arrive = listener;
      },
      onCarrier: (listener) => {
        this.carrierChanged = listener;
      },
      send: (bytes, offset, length) => {
        assert.ok(length > 0 && length <= longestFrame && offset + length <= bytes.length);
        this.sent.push(Buffer.from(bytes.subarray(offset, offset + length)).toString("latin1"));
      },
    };
    Object.defineProperty(this.wire, "carrier", { get: () => this.carrier });
    this.host = {
      clock: this.clock,
      dma,
      interrupt: this.pin,
      message: (address, data) => this.messages.push([address, data]),
      violation: (rule, message) => {
        assert.ok(message.length > 0);
        this.violations.push(rule);
      },
    };
  }

  /** Takes over what another world has, but for its adapter and what the adapter did. */
  copyFrom(world) {
    this.memory.set(world.memory);
    this.refused = new Set(world.refused);
    this.carrier = world.carrier;
  }
}

/** What a damaged field of a snapshot may hold. */
const WRONG = [-1, 0, 1, 12, 4095, 2 ** 32, 2 ** 60, Number.NaN, Number.POSITIVE_INFINITY, 0.5, true, "x"];
const WRONG_OBJECTS = [null, undefined, {}, [], [0], [999], [[0]], [1, 2, 3], new Array(3)];

/** Replaces one field, somewhere in a snapshot, by something else. */
export function damage(state, rng) {
  let at = state;
  for (;;) {
    const keys = Object.keys(at);
    const key = keys[rng() % keys.length];
    const inner = at[key];
    const goesOn = inner !== null && typeof inner === "object" && Object.keys(inner).length > 0;
    if (goesOn && rng() % 8 > 0) {
      at = inner;
      continue;
    }
    const kind = rng() % 3;
    if (kind === 0) at[key] = rng();
    else if (kind === 1) at[key] = WRONG[rng() % WRONG.length];
    else at[key] = WRONG_OBJECTS[rng() % WRONG_OBJECTS.length];
    return;
  }
}
