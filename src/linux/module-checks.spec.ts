import { describe, expect, test } from "vitest";
import { checkParameters } from "./module-checks.js";

const check = (type: string | null, value: string): void => {
  const parameters = [{ name: "depth", description: null, type, permissions: 0 }];
  checkParameters({ parameters }, "driver", { depth: value });
};

describe("a value of a parameter", () => {
  test.each([
    ["byte", "0"],
    ["byte", "255"],
    ["short", "-32768"],
    ["ushort", "0xFFFF"],
    ["int", "-2147483648"],
    ["int", "+7"],
    ["int", "017"],
    ["uint", "4294967295"],
    ["ulong", "18446744073709551615"],
    ["long", "-0x8000000000000000"],
    ["hexint", "0x1f"],
    ["bool", ""],
    ["bool", "off"],
    ["invbool", "N"],
    ["bint", "1"],
    ["array of int", "1,-2,0x3"],
    ["array of bool", "y,n"],
    ["charp", ""],
    ["charp", "anything, at all"],
    ["its own kind", "?"],
    [null, "?"],
  ])("%s takes %j", (type, value) => {
    expect(() => check(type, value)).not.toThrow();
  });

  test.each([
    ["byte", "256", "a number from 0 to 255"],
    ["byte", "-1", "a number from 0 to 255"],
    ["short", "32768", "a number from -32768 to 32767"],
    ["int", "", "a number from -2147483648 to 2147483647"],
    ["int", "08", "a number from -2147483648 to 2147483647"],
    ["int", "1 ", "a number from -2147483648 to 2147483647"],
    ["int", "0x", "a number from -2147483648 to 2147483647"],
    ["int", "1e3", "a number from -2147483648 to 2147483647"],
    ["uint", "4294967296", "a number from 0 to 4294967295"],
    ["bool", "maybe", "a switch: y or n, 1 or 0, on or off"],
    ["invbool", "", "a switch: y or n, 1 or 0, on or off"],
    ["array of byte", "1,,2", "a number from 0 to 255, or several with commas between"],
    ["array of bool", "", "a switch: y or n, 1 or 0, on or off, or several with commas between"],
  ])("%s does not take %j", (type, value, what) => {
    expect(() => check(type, value)).toThrow(
      expect.objectContaining({
        code: "module-parameter",
        exitStatus: 2,
        message: `driver does not take depth=${value}: it is ${what}`,
      }),
    );
  });
});

describe("a parameter that a module has not", () => {
  const parameter = (name: string) => ({ name, description: null, type: "int", permissions: 0 });

  test("is refused with those that are like it", () => {
    const file = { parameters: [parameter("debug"), parameter("Speed")] };
    expect(() => checkParameters(file, "driver", { debgu: "1" })).toThrow(
      /^driver has no parameter debgu: it has debug$/,
    );
  });

  test("or with all that there are", () => {
    const file = { parameters: [parameter("debug"), parameter("Speed")] };
    expect(() => checkParameters(file, "driver", { x: "1" })).toThrow(
      /^driver has no parameter x: it has debug, Speed$/,
    );
    expect(() => checkParameters({ parameters: [] }, "driver", { x: "1" })).toThrow(/: it has none$/);
  });
});
