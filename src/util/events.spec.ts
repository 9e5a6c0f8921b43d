import { expect, test } from "vitest";
import { EventSource } from "./events.js";

test("listeners of a kind run in order, until they are removed", () => {
  const source = new EventSource<{ tick: number; tock: string }>();
  const log: string[] = [];
  const remove = source.on("tick", (n) => log.push(`a${n}`));
  source.on("tick", (n) => log.push(`b${n}`));
  source.on("tock", (text) => log.push(text));
  source.emit("tick", 1);
  source.emit("tock", "x");
  remove();
  remove();
  source.emit("tick", 2);
  expect(log).toEqual(["a1", "b1", "x", "b2"]);
});

test("a listener may remove itself, or add one, while an event is told", () => {
  const source = new EventSource<{ tick: number }>();
  const log: string[] = [];
  const remove = source.on("tick", () => {
    log.push("once");
    remove();
    source.on("tick", () => log.push("new"));
  });
  source.on("tick", () => log.push("other"));
  source.emit("tick", 1);
  expect(log).toEqual(["once", "other"]);
  source.emit("tick", 2);
  expect(log).toEqual(["once", "other", "other", "new"]);
});
