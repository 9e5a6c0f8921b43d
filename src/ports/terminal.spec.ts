import { expect, test } from "vitest";
import { ScriptedTerminal } from "./terminal.js";

test("types what the script says, also what was typed before anybody listened, and keeps what was shown", () => {
  const terminal = new ScriptedTerminal();
  terminal.type("ls\r");
  const typed: number[] = [];
  terminal.onInput((bytes) => typed.push(...bytes));
  terminal.type(Uint8Array.of(3));
  expect(typed).toEqual([0x6c, 0x73, 0x0d, 3]);

  const bytes = new TextEncoder().encode("grüße");
  terminal.write(bytes);
  bytes.fill(0);
  terminal.write(new TextEncoder().encode("!\r\n"));
  expect(terminal.text).toBe("grüße!\r\n");
  expect(terminal.shown.length).toBe(10);
});

test("does nothing after it was closed", () => {
  const terminal = new ScriptedTerminal();
  const typed: number[] = [];
  terminal.onInput((bytes) => typed.push(...bytes));
  terminal.close();
  terminal.close();
  terminal.type("x");
  terminal.write(Uint8Array.of(65));
  expect([terminal.closed, typed, terminal.text]).toEqual([true, [], ""]);
});
