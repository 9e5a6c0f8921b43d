import { StateReader } from "../util/state-reader.js";
import { CHARACTER_MASK, ERROR_SHIFT } from "./character-fifo.js";
import { Fcr, Lsr } from "./uart16550-registers.js";

export const FIFO_DEPTH = 16;
/** What waits at the far end: what is typed beyond this is refused. */
export const QUEUE_CAPACITY = 256 * 1024;
export const CHARACTER_ERRORS = Lsr.PE | Lsr.FE | Lsr.BI;

const LARGEST_ENTRY = (CHARACTER_ERRORS << ERROR_SHIFT) | CHARACTER_MASK;

/** Plain-state twin of the UART. Delays are nanoseconds from the snapshot on, Infinity for what will not happen. */
export interface UartState {
  model: "uart16550";
  ier: number;
  fcr: number;
  lcr: number;
  mcr: number;
  scr: number;
  divisor: number;
  modemInputs: number;
  modemChanges: number;
  overrun: boolean;
  lineErrors: number;
  lastRead: number;
  /** The transmitter shift register, −1 while it is empty. */
  shifting: number;
  threPending: boolean;
  threPrompt: boolean;
  timeoutPending: boolean;
  sentIn: number;
  receivedIn: number;
  threIn: number;
  timeoutIn: number;
  /** Characters, oldest first, with their line errors in the bits above. */
  receiver: number[];
  transmitter: number[];
  queue: number[];
}

/** @throws InputError for a state that no UART can be in */
export function readUartState(state: object): UartState {
  const from = new StateReader("uart16550", state);
  const fcr = from.integer("fcr", 0, 0xff);
  const depth = (fcr & Fcr.ENABLE) !== 0 ? FIFO_DEPTH : 1;
  const shifting = from.integer("shifting", -1, CHARACTER_MASK);
  const sentIn = from.delay("sentIn");
  const receivedIn = from.delay("receivedIn");
  const queue = from.numbers("queue", 0, QUEUE_CAPACITY, LARGEST_ENTRY);
  if (shifting < 0 !== (sentIn === Number.POSITIVE_INFINITY)) {
    throw from.misfit("shifting", "a character just when one is on its way out");
  }
  if (queue.length === 0 && receivedIn !== Number.POSITIVE_INFINITY) {
    throw from.misfit("queue", "that of a line on which a character is on its way in");
  }
  return {
    model: "uart16550",
    ier: from.integer("ier", 0, 0x0f),
    fcr: fcr & (Fcr.ENABLE | Fcr.DMA_MODE | Fcr.TRIGGER),
    lcr: from.integer("lcr", 0, 0xff),
    mcr: from.integer("mcr", 0, 0x1f),
    scr: from.integer("scr", 0, 0xff),
    divisor: from.integer("divisor", 0, 0xffff),
    modemInputs: from.integer("modemInputs", 0, 0xff) & 0xf0,
    modemChanges: from.integer("modemChanges", 0, 0x0f),
    overrun: from.flag("overrun"),
    lineErrors: from.integer("lineErrors", 0, 0xff) & CHARACTER_ERRORS,
    lastRead: from.integer("lastRead", 0, CHARACTER_MASK),
    shifting,
    threPending: from.flag("threPending"),
    threPrompt: from.flag("threPrompt"),
    timeoutPending: from.flag("timeoutPending"),
    sentIn,
    receivedIn,
    threIn: from.delay("threIn"),
    timeoutIn: from.delay("timeoutIn"),
    receiver: from.numbers("receiver", 0, depth, LARGEST_ENTRY),
    transmitter: from.numbers("transmitter", 0, depth, CHARACTER_MASK),
    queue,
  };
}
