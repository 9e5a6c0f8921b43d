import { describe, expect, test } from "vitest";
import { StateReader } from "./state-reader.js";

const misfit = (what: string) =>
  expect.objectContaining({ code: "snapshot-misfit", message: expect.stringContaining(what) });

test("fields that fit are read as they are", () => {
  const reader = new StateReader("timer", {
    count: 7,
    on: false,
    soon: 0,
    never: Number.POSITIVE_INFINITY,
    list: [1, 2],
    part: { x: 1 },
    parts: [{ x: 2 }, { x: 3 }],
  });
  expect(reader.integer("count", 7, 7)).toBe(7);
  expect(reader.flag("on")).toBe(false);
  expect([reader.delay("soon"), reader.delay("never")]).toEqual([0, Number.POSITIVE_INFINITY]);
  expect(reader.numbers("list", 2, 2, 2)).toEqual([1, 2]);
  expect(reader.child("part").integer("x", 0, 9)).toBe(1);
  expect(reader.children("parts", 2).map((part) => part.integer("x", 0, 9))).toEqual([2, 3]);
});

test("lists are copies", () => {
  const list = [1];
  new StateReader("x", { list }).numbers("list", 0, 9, 9)[0] = 5;
  expect(list).toEqual([1]);
});

describe("what does not fit is named", () => {
  test.each([null, undefined, 7, "x"])("a state of %j", (state) => {
    expect(() => new StateReader("timer", state)).toThrow(misfit("timer"));
  });

  test.each([undefined, null, "7", 0.5, Number.NaN, -1, 11])("a number of %j", (value) => {
    const reader = new StateReader("timer", { value });
    expect(() => reader.integer("value", 0, 10)).toThrow(misfit("value should be a whole number of 0 to 10"));
  });

  test.each([undefined, 0, "true"])("a flag of %j", (value) => {
    expect(() => new StateReader("timer", { value }).flag("value")).toThrow(misfit("value"));
  });

  test.each([undefined, -1, Number.NaN, "0"])("a delay of %j", (value) => {
    expect(() => new StateReader("timer", { value }).delay("value")).toThrow(misfit("value"));
  });

  test.each([undefined, {}, [], [1], [1, 2, 3, 4], [1, 2, 256], [1, 2, -1], [1, 2, "3"], "abc"])(
    "a list of %j",
    (value) => {
      expect(() => new StateReader("timer", { value }).numbers("value", 2, 3, 255)).toThrow(
        misfit("2 to 3 whole numbers of at most 255"),
      );
    },
  );

  test("a list with holes", () => {
    const reader = new StateReader("timer", { value: new Array(3) });
    expect(() => reader.numbers("value", 3, 3, 255)).toThrow(misfit("3 whole numbers"));
    expect(() => reader.children("value", 3)).toThrow(misfit("timer value 0"));
  });

  test("parts, by their names", () => {
    const reader = new StateReader("nic", { queues: [{}, { head: "x" }], one: 5 });
    expect(() => reader.children("queues", 2)[1].integer("head", 0, 1)).toThrow(misfit("nic queues 1: head"));
    expect(() => reader.children("queues", 3)).toThrow(misfit("a list of 3"));
    expect(() => reader.child("one")).toThrow(misfit("nic one"));
    expect(() => reader.child("none")).toThrow(misfit("nic none"));
  });
});
