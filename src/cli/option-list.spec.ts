import { expect, test } from "vitest";
import { UsageError } from "../util/errors.js";
import { parseOptionList } from "./option-list.js";

const parse = (text: string) => {
  const { name, values } = parseOptionList("--client", text, ["filter", "out"]);
  return { name, ...Object.fromEntries(values) };
};

test.each([
  ["web", { name: "web" }],
  ["web,filter=tcp port 80,out=a.pcap", { name: "web", filter: "tcp port 80", out: "a.pcap" }],
  ["a,,b,out=x,,y,,,,z", { name: "a,b", out: "x,y,,z" }],
  ["web,filter=", { name: "web", filter: "" }],
  ["web,filter=a=b", { name: "web", filter: "a=b" }],
  ["web,out=x,,", { name: "web", out: "x," }],
])("%s", (text, expected) => {
  expect(parse(text)).toEqual(expected);
});

test.each(["", ",out=x", "web,", "web,colour=red", "web,out", "web,out=x,out=y", "web,filter=1,2"])(
  "'%s' is refused",
  (text) => {
    expect(() => parse(text)).toThrow(UsageError);
  },
);
