import { beforeEach, describe, expect, it } from "vitest";
import { Rig } from "../../test/support/rig.js";
import type { DeviceHost } from "../bus/device.js";
import type { InterruptPin } from "../bus/interrupts.js";
import { ScriptedTerminal } from "../ports/terminal.js";
import { Uart16550, type UartOptions } from "./uart16550.js";
import { Fcr, Ier, Iir, Lcr, Lsr, Mcr, Msr, UartRegister as R } from "./uart16550-registers.js";

const LINES_8N1 = 0x03;
/** 10 bits at 115200 baud, whole nanoseconds. */
const CHARACTER = Math.round((10 * 1e9) / 115_200);
const STOP_BIT = Math.round(1e9 / 115_200);

class Board {
  readonly rig = new Rig();
  readonly pin: InterruptPin = this.rig.interrupts.wire("uart").pin();
  readonly violations: string[] = [];
  readonly terminal = new ScriptedTerminal();
  readonly uart: Uart16550;

  constructor(options: Partial<UartOptions> = {}) {
    const host: DeviceHost = {
      clock: this.rig.clock,
      dma: this.rig.iommu.attach("uart"),
      interrupt: this.pin,
      message: () => {},
      violation: (rule) => this.violations.push(rule),
    };
    this.uart = new Uart16550(host, { line: this.terminal, ...options });
  }

  get = (register: number): number => this.uart.read(0, register, 1);
  set = (register: number, value: number): void => this.uart.write(0, register, 1, value);

  /** 115200 baud, 8N1, DTR and RTS, interrupt line connected. */
  open(fcr: number, ier: number): this {
    this.set(R.LCR, Lcr.DLAB | LINES_8N1);
    this.set(R.DLL, 1);
    this.set(R.DLM, 0);
    this.set(R.LCR, LINES_8N1);
    this.set(R.FCR, fcr);
    this.set(R.MCR, Mcr.DTR | Mcr.RTS | Mcr.OUT2);
    this.set(R.IER, ier);
    return this;
  }

  pass(nanoseconds: number): void {
    this.rig.pass(nanoseconds);
  }

  readAll(): string {
    let text = "";
    while ((this.get(R.LSR) & Lsr.DR) !== 0) text += String.fromCharCode(this.get(R.RBR));
    return text;
  }

  send(text: string): void {
    for (const character of text) this.set(R.THR, character.charCodeAt(0));
  }
}

const TRIGGER_8 = 0x80;
let board: Board;
beforeEach(() => {
  board = new Board();
});

describe("registers after reset (table III)", () => {
  it("hold what the data sheet says", () => {
    expect([1, 2, 3, 4, 5, 6, 7].map(board.get)).toEqual([0, Iir.NONE, 0, 0, 0x60, 0xb0, 0]);
    board.open(Fcr.ENABLE, 0x0f);
    board.set(R.SCR, 0x5a);
    board.uart.reset();
    expect([1, 2, 3, 4, 5, 6, 7].map(board.get)).toEqual([0, Iir.NONE, 0, 0, 0x60, 0xb0, 0]);
  });

  it("keep only the bits they have, and answer byte by byte to wider accesses", () => {
    board.set(R.IER, 0xff);
    board.set(R.MCR, 0xff);
    board.set(R.SCR, 0xa5);
    board.set(R.LCR, Lcr.DLAB);
    board.uart.write(0, R.DLL, 2, 0x1234);
    expect(board.get(R.DLL)).toBe(0x34);
    expect(board.uart.read(0, R.DLL, 2)).toBe(0x1234);
    board.set(R.LCR, 0);
    expect(board.get(R.IER)).toBe(0x0f);
    expect(board.get(R.MCR)).toBe(0x1f);
    expect(board.uart.read(0, R.LCR, 1)).toBe(0);
    expect(board.uart.read(0, R.SCR, 1)).toBe(0xa5);
    expect(board.uart.read(0, 8, 1)).toBe(0xff);
    expect(board.uart.read(0, 6, 4)).toBe(0xffff_ffff);
    expect(board.uart.read(1, R.SCR, 1)).toBe(0xff);
  });
});

describe("what an autoconfiguring driver looks for", () => {
  it("finds a 16550A and nothing newer", () => {
    board.set(R.IER, 0);
    expect(board.get(R.IER)).toBe(0);
    board.set(R.IER, 0x0f);
    expect(board.get(R.IER) & 0x0f).toBe(0x0f);
    board.set(R.IER, 0);

    board.set(R.MCR, Mcr.LOOP | Mcr.OUT2 | Mcr.RTS);
    expect(board.get(R.MSR) & 0xf0).toBe(0x90);
    board.set(R.MCR, 0);

    board.set(R.LCR, 0xbf);
    board.set(2, 0);
    board.set(R.LCR, 0);
    board.set(R.FCR, Fcr.ENABLE);
    expect(board.get(R.IIR) & 0xc0).toBe(0xc0);

    // An enhanced feature register would read 0 here, with and without DLAB.
    board.set(R.LCR, 0x80);
    expect(board.get(2)).not.toBe(0);
    board.set(R.LCR, 0xbf);
    expect(board.get(2)).not.toBe(0);
    // 64-byte FIFOs would show IIR bit 5, before or behind DLAB.
    board.set(R.LCR, 0);
    board.set(R.FCR, Fcr.ENABLE | 0x20);
    expect(board.get(R.IIR) & 0x20).toBe(0);
    board.set(R.LCR, 0x80);
    board.set(R.FCR, Fcr.ENABLE | 0x20);
    expect(board.get(R.IIR) & 0x20).toBe(0);
    board.set(R.LCR, 0);
    // A UART unit enable bit would stick.
    board.set(R.IER, 0x40);
    expect(board.get(R.IER)).toBe(0);
  });

  it("counts sixteen characters through the loop", () => {
    board.open(Fcr.ENABLE | Fcr.CLEAR_RECEIVER | Fcr.CLEAR_TRANSMITTER, 0);
    board.set(R.MCR, Mcr.LOOP);
    for (let i = 0; i < 256; i++) board.set(R.THR, i);
    board.rig.clock.advance(20_000_000);
    let count = 0;
    while ((board.get(R.LSR) & Lsr.DR) !== 0 && count < 256) {
      expect(board.get(R.RBR)).toBe(count);
      count++;
    }
    expect(count).toBe(16);
    expect(board.violations).toEqual([]);
    expect(board.terminal.shown.length).toBe(0);
  });

  it("sees no THRE or TX-enable bug", () => {
    board.open(Fcr.ENABLE, 0);
    for (let i = 0; i < 2; i++) {
      board.set(R.IER, Ier.ETBEI);
      expect(board.get(R.IIR) & 0x0f).toBe(Iir.THRE);
      expect(board.get(R.IIR) & 0x0f).toBe(Iir.NONE);
      board.set(R.IER, 0);
    }
  });
});

describe("transmitter", () => {
  it("sends at the line's rate, and says when it has room and when it is empty", () => {
    board.open(Fcr.ENABLE, 0);
    board.send("abc");
    expect(board.get(R.LSR) & (Lsr.THRE | Lsr.TEMT)).toBe(0);
    board.pass(CHARACTER - 1);
    expect(board.terminal.text).toBe("");
    board.pass(1);
    expect(board.terminal.text).toBe("a");
    board.pass(CHARACTER);
    expect(board.get(R.LSR) & (Lsr.THRE | Lsr.TEMT)).toBe(Lsr.THRE);
    board.pass(CHARACTER);
    expect(board.terminal.text).toBe("abc");
    expect(board.get(R.LSR) & (Lsr.THRE | Lsr.TEMT)).toBe(Lsr.THRE | Lsr.TEMT);
  });

  it("needs no timer to be run by the loop: time that a busy-wait lets pass counts", () => {
    board.open(Fcr.ENABLE, 0);
    board.send("hi");
    let polls = 0;
    while ((board.get(R.LSR) & Lsr.TEMT) === 0) {
      board.rig.clock.advance(10_000);
      expect(++polls).toBeLessThan(100);
    }
    expect(board.terminal.text).toBe("hi");
  });

  it.each([
    [0x03, 10],
    [0x07, 11],
    [0x0b, 11],
    [0x02, 9],
    [0x04, 7.5],
  ])("takes the bits of LCR %i into account", (lcr, bits) => {
    board.open(Fcr.ENABLE, 0);
    board.set(R.LCR, Lcr.DLAB | lcr);
    board.set(R.DLL, 12);
    board.set(R.LCR, lcr);
    board.set(R.THR, 0x41);
    const time = Math.round((bits * 1e9) / 9600);
    board.pass(time - 1);
    expect(board.terminal.shown.length).toBe(0);
    board.pass(1);
    expect([...board.terminal.shown]).toEqual([0x41 & ((1 << (5 + (lcr & 3))) - 1)]);
  });

  it("raises THRE at once after two queued characters, and late after a single one (§8.11)", () => {
    board.open(Fcr.ENABLE, Ier.ETBEI);
    board.get(R.IIR);
    board.send("abc");
    board.pass(2 * CHARACTER - 1);
    expect(board.pin.level).toBe(false);
    board.pass(1);
    expect(board.pin.level).toBe(true);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.THRE);
    expect(board.pin.level).toBe(false);
    board.pass(CHARACTER);

    board.send("d");
    board.pass(CHARACTER - STOP_BIT - 1);
    expect(board.pin.level).toBe(false);
    board.pass(1);
    expect(board.pin.level).toBe(true);
    board.send("e");
    expect(board.pin.level).toBe(false);
  });

  it("loses what does not fit, and reports it", () => {
    board.open(Fcr.ENABLE, 0);
    board.send("0123456789abcdefgXYZ");
    board.pass(40 * CHARACTER);
    expect(board.terminal.text).toBe("0123456789abcdefg");
    expect(board.violations).toEqual(Array(3).fill("uart-transmit-overrun"));
    expect(board.uart.statistics).toMatchObject({ sent: 17, cleared: 3 });
  });

  it("holds one character without FIFOs, and overwrites it", () => {
    board.open(0, 0);
    board.send("abc");
    board.pass(9 * CHARACTER);
    expect(board.terminal.text).toBe("ac");
    expect(board.violations).toEqual(["uart-transmit-overrun"]);
  });

  it("swallows what is shifted out during a break", () => {
    board.open(Fcr.ENABLE, 0);
    board.send("a");
    board.set(R.LCR, LINES_8N1 | Lcr.BREAK);
    board.pass(CHARACTER);
    board.set(R.LCR, LINES_8N1);
    board.send("b");
    board.pass(CHARACTER);
    expect(board.terminal.text).toBe("b");
    expect(board.uart.statistics.swallowed).toBe(1);
  });

  it("stands still with a divisor of 0 until it gets another", () => {
    board.open(Fcr.ENABLE, 0);
    board.set(R.LCR, Lcr.DLAB | LINES_8N1);
    board.set(R.DLL, 0);
    board.set(R.LCR, LINES_8N1);
    board.send("x");
    board.pass(1e9);
    expect(board.terminal.text).toBe("");
    expect(board.violations).toEqual(["uart-divisor-zero"]);
    board.set(R.LCR, Lcr.DLAB | LINES_8N1);
    board.set(R.DLL, 1);
    board.set(R.LCR, LINES_8N1);
    board.pass(CHARACTER);
    expect(board.terminal.text).toBe("x");
  });
});

describe("receiver", () => {
  it("interrupts at the trigger level, and drops the interrupt below it", () => {
    board.open(Fcr.ENABLE | TRIGGER_8, Ier.ERBFI);
    board.terminal.type("0123456789");
    board.pass(8 * CHARACTER - 1);
    expect(board.pin.level).toBe(false);
    board.pass(1);
    expect(board.pin.level).toBe(true);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.DATA);
    expect(String.fromCharCode(board.get(R.RBR))).toBe("0");
    expect(board.pin.level).toBe(false);
    board.pass(2 * CHARACTER);
    expect(board.readAll()).toBe("123456789");
  });

  it("times out four characters after the last one came or was read (§8.11)", () => {
    board.open(Fcr.ENABLE | TRIGGER_8, Ier.ERBFI);
    board.terminal.type("ab");
    board.pass(6 * CHARACTER - 1);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.NONE);
    board.pass(1);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.TIMEOUT);
    expect(board.pin.level).toBe(true);
    board.get(R.RBR);
    expect(board.pin.level).toBe(false);
    board.pass(4 * CHARACTER - 1);
    expect(board.pin.level).toBe(false);
    board.pass(1);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.TIMEOUT);
    board.get(R.RBR);
    board.pass(40 * CHARACTER);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.NONE);
  });

  it("waits at the far end while RTS is clear", () => {
    board.open(Fcr.ENABLE, 0);
    board.set(R.MCR, Mcr.DTR);
    board.terminal.type("abc");
    board.pass(1e9);
    expect(board.get(R.LSR) & Lsr.DR).toBe(0);
    board.set(R.MCR, Mcr.DTR | Mcr.RTS);
    board.pass(3 * CHARACTER);
    expect(board.readAll()).toBe("abc");
  });

  it("loses nothing with automatic flow control, however slow the driver", () => {
    board.open(Fcr.ENABLE, 0);
    const text = Array.from({ length: 1000 }, (_, i) => String.fromCharCode(32 + (i % 90))).join("");
    board.terminal.type(text);
    let got = "";
    for (let i = 0; i < 200; i++) {
      board.pass(100 * CHARACTER);
      got += board.readAll();
    }
    expect(got).toBe(text);
    expect(board.uart.statistics.overruns).toBe(0);
  });

  it.each([
    ["rts" as const, Fcr.ENABLE, "0123456789abcdef", 4],
    ["none" as const, Fcr.ENABLE, "0123456789abcdef", 4],
    ["rts" as const, 0, "j", 19],
  ])("overruns with flow control %s and FCR %i", (flowControl, fcr, kept, overruns) => {
    board = new Board({ flowControl }).open(fcr, Ier.ELSI);
    if (flowControl === "none") board.set(R.MCR, Mcr.OUT2);
    board.terminal.type("0123456789abcdefghij");
    board.pass(20 * CHARACTER);
    expect(board.get(R.IIR) & 0x0f).toBe(Iir.LINE_STATUS);
    expect(board.get(R.LSR) & Lsr.OE).toBe(Lsr.OE);
    expect(board.get(R.LSR) & Lsr.OE).toBe(0);
    expect(board.pin.level).toBe(false);
    expect(board.readAll()).toBe(kept);
    expect(board.uart.statistics.overruns).toBe(overruns);
  });

  it("shows a character's errors when it comes to the top of the FIFO", () => {
    board.open(Fcr.ENABLE, Ier.ELSI);
    board.terminal.type("a");
    board.uart.receive(0x62, Lsr.FE);
    board.uart.receiveBreak();
    board.terminal.type("c");
    board.pass(4 * CHARACTER);
    expect(board.get(R.LSR) & 0x9f).toBe(Lsr.DR | Lsr.FIFO_ERROR);
    expect(board.pin.level).toBe(false);
    board.get(R.RBR);
    expect(board.get(R.IIR) & 0x0f).toBe(Iir.LINE_STATUS);
    expect(board.get(R.LSR) & 0x9f).toBe(Lsr.DR | Lsr.FE | Lsr.FIFO_ERROR);
    expect(board.get(R.LSR) & 0x9f).toBe(Lsr.DR | Lsr.FIFO_ERROR);
    expect(board.get(R.RBR)).toBe(0x62);
    expect(board.get(R.LSR) & 0x9f).toBe(Lsr.DR | Lsr.BI | Lsr.FIFO_ERROR);
    expect(board.get(R.LSR) & 0x9f).toBe(Lsr.DR);
    expect(board.get(R.RBR)).toBe(0);
    expect(board.readAll()).toBe("c");
  });

  it("asks the far end to hold before it refuses anything", () => {
    const asked: boolean[] = [];
    let listener: (bytes: Uint8Array) => void = () => {};
    const line = {
      onInput: (to: (bytes: Uint8Array) => void) => {
        listener = to;
      },
      write: () => {},
      hold: (on: boolean) => asked.push(on),
      close: () => {},
    };
    board = new Board({ line, immediate: true });
    listener(new Uint8Array(65_536));
    expect(asked).toEqual([true]);
    listener(new Uint8Array(200_000));
    expect(board.uart.statistics.refused).toBe(65_536 + 200_000 - 262_144);
    board.set(R.FCR, Fcr.ENABLE);
    board.set(R.MCR, Mcr.RTS);
    let count = 0;
    for (; (board.get(R.LSR) & Lsr.DR) !== 0; count++) board.get(R.RBR);
    expect(count).toBe(262_144);
    expect(asked).toEqual([true, false]);
  });
});

describe("FIFO control (§8.5)", () => {
  it("programs nothing but the enable bit unless it is set, and clears both FIFOs when that changes", () => {
    board.open(Fcr.ENABLE | Fcr.DMA_MODE | TRIGGER_8, Ier.ERBFI);
    board.terminal.type("abc");
    board.pass(3 * CHARACTER);
    board.set(R.FCR, 0xc0 | Fcr.CLEAR_RECEIVER);
    expect(board.get(R.LSR) & Lsr.DR).toBe(0);
    board.set(R.FCR, Fcr.ENABLE);
    board.terminal.type("d");
    board.pass(CHARACTER);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.DATA);
    board.set(R.FCR, Fcr.ENABLE | Fcr.CLEAR_RECEIVER);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.NONE);
    expect(board.uart.statistics.cleared).toBe(4);
  });

  it("clears the transmitter's FIFO, not its shift register", () => {
    board.open(Fcr.ENABLE, Ier.ETBEI);
    board.get(R.IIR);
    board.send("abcd");
    expect(board.pin.level).toBe(false);
    board.set(R.FCR, Fcr.ENABLE | Fcr.CLEAR_TRANSMITTER);
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.THRE);
    board.pass(10 * CHARACTER);
    expect(board.terminal.text).toBe("a");
  });
});

describe("modem lines and the interrupt", () => {
  it("notes changes of the inputs, and of RI only its end", () => {
    board.open(0, Ier.EDSSI);
    board.uart.setModemInputs(Msr.DSR | Msr.DCD | Msr.RI);
    expect(board.get(R.IIR)).toBe(Iir.MODEM);
    expect(board.get(R.MSR)).toBe(Msr.DSR | Msr.DCD | Msr.RI | Msr.DCTS);
    expect(board.get(R.IIR)).toBe(Iir.NONE);
    board.uart.setModemInputs(Msr.CTS);
    expect(board.get(R.MSR)).toBe(Msr.CTS | Msr.DCTS | Msr.DDSR | Msr.TERI | Msr.DDCD);
  });

  it("passes interrupts on only with OUT2, and not from the loop", () => {
    board.open(0, Ier.ETBEI);
    expect(board.pin.level).toBe(true);
    board.set(R.MCR, Mcr.RTS);
    expect(board.pin.level).toBe(false);
    board.set(R.MCR, Mcr.OUT2 | Mcr.LOOP);
    expect(board.pin.level).toBe(false);
    board.set(R.MCR, Mcr.OUT2);
    expect(board.pin.level).toBe(true);
  });

  it("names the interrupt of the highest priority", () => {
    board.open(0, 0x0f);
    board.uart.setModemInputs(0);
    board.uart.receive(0x41, Lsr.PE);
    board.pass(CHARACTER);
    const seen = [board.get(R.IIR)];
    board.get(R.LSR);
    seen.push(board.get(R.IIR));
    board.get(R.RBR);
    seen.push(board.get(R.IIR), board.get(R.IIR));
    board.get(R.MSR);
    seen.push(board.get(R.IIR));
    expect(seen).toEqual([Iir.LINE_STATUS, Iir.DATA, Iir.THRE, Iir.MODEM, Iir.NONE]);
  });
});

describe("immediate mode", () => {
  it("moves characters without time passing, both ways", () => {
    board = new Board({ immediate: true }).open(Fcr.ENABLE | TRIGGER_8, Ier.ERBFI);
    board.send("a rather long line, more than the FIFO holds");
    expect(board.terminal.text).toBe("a rather long line, more than the FIFO holds");
    const text = "what was typed at the far end all at once";
    board.terminal.type(text);
    expect(board.pin.level).toBe(true);
    expect(board.readAll()).toBe(text);
    board.terminal.type("z");
    expect(board.get(R.IIR)).toBe(Iir.FIFOS | Iir.TIMEOUT);
    expect(board.rig.clock.now()).toBe(0);
    expect(board.violations).toEqual([]);
  });
});

it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])("does not run from a crystal of %d Hz", (clockHz) => {
  expect(() => new Board({ clockHz })).toThrow(expect.objectContaining({ code: "uart-clock" }));
});

describe("snapshot", () => {
  it("goes on where it was", () => {
    board.open(Fcr.ENABLE | TRIGGER_8, 0x0f);
    board.terminal.type("in the queue and in the FIFO");
    board.send("going out");
    board.pass(5.5 * CHARACTER);
    const other = new Board();
    other.pass(123_456);
    other.uart.restore(structuredClone(board.uart.snapshot()));
    const ends = [board, other].map((each) => {
      const shownBefore = each === board ? each.terminal.text.length : 0;
      let log = "";
      for (let i = 0; i < 60; i++) {
        each.pass(CHARACTER / 2);
        log += `${each.get(R.IIR)} ${each.get(R.LSR)} ${each.get(R.RBR)} ${each.pin.level}\n`;
      }
      return log + each.terminal.text.slice(shownBefore);
    });
    expect(ends[1]).toBe(ends[0]);
  });

  it.each([
    [{ ier: 16 }, "ier"],
    [{ divisor: -1 }, "divisor"],
    [{ receiver: Array(17).fill(0) }, "receiver"],
    [{ queue: "abc" }, "queue"],
    [{ sentIn: 5 }, "shifting"],
    [{ receivedIn: 5 }, "queue"],
    [{ overrun: 1 }, "overrun"],
  ])("refuses %j by name", (change, name) => {
    const before = board.uart.snapshot();
    expect(() => board.uart.restore({ ...before, ...change })).toThrow(name);
    expect(board.uart.snapshot()).toEqual(before);
  });
});
