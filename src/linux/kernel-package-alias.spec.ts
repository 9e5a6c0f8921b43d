import fc from "fast-check";
import { expect, test } from "vitest";
import { literalPrefix, matchesAlias } from "./kernel-package-alias.js";

test.each<[string, string, boolean]>([
  ["pci:v00008086d*sv*sd*bc02sc*i*", "pci:v00008086d00001234sv1sd2bc02sc00i00", true],
  ["pci:v00008086d*sv*sd*bc02sc*i*", "pci:v00008086d00001234sv1sd2bc03sc00i00", false],
  ["usb:v[0-9]p?", "usb:v7px", true],
  ["usb:v[!0-9]p?", "usb:v7px", false],
  ["usb:v[^0-9]p?", "usb:vap-", true],
  ["net-pf-16", "net_pf_16", true],
  ["a[", "a[", true],
  ["", "", true],
  ["*", "", true],
  ["?", "", false],
])("%s for %s: %s", (pattern, alias, expected) => {
  expect(matchesAlias(pattern, alias)).toBe(expected);
});

test("stars and question marks are those of a regular expression", () => {
  const letters = (from: string) => fc.string({ unit: fc.constantFrom(...from), maxLength: 12 });
  fc.assert(
    fc.property(letters("ab*?"), letters("ab"), (pattern, alias) => {
      const expression = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
      expect(matchesAlias(pattern, alias)).toBe(expression.test(alias));
      if (matchesAlias(pattern, alias)) expect(alias.startsWith(literalPrefix(pattern))).toBe(true);
    }),
  );
});

test("a hostile pattern is no longer to match than its product", () => {
  expect(matchesAlias(`${"*a".repeat(500)}b`, "a".repeat(5000))).toBe(false);
});
