import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bundlePage } from "../browser/bundle.js";
import { GUEST } from "../browser/guest.js";
import type { PageReport } from "../browser/page.js";
import { type Run, runAll } from "../browser/scenario.js";
import { isInstalled, Workshop } from "../support/binutils.js";
import { openInChromium, type ServedFile } from "../support/chromium.js";

const missing = ["gcc", "chromium"].filter((tool) => !isInstalled(tool));
const NAME = "a browser runs guests as Node does";
const TITLE = missing.length === 0 ? NAME : `${NAME}: needs ${missing.join(" and ")}`;

/** More than it takes the browser to say what is wrong. */
const PATIENCE_MS = 90_000;

const workshop = new Workshop();
afterAll(() => workshop.close());

describe.skipIf(missing.length > 0)(TITLE, () => {
  let files: ReadonlyMap<string, ServedFile>;
  let inNode: readonly Run[];
  let report: PageReport;

  beforeAll(async () => {
    const flags = ["-O2", "-c", "-fno-pic", "-mcmodel=kernel", "-fcf-protection=none", "-fno-stack-protector"];
    const object = workshop.read(workshop.gcc("guest.o", "guest.c", GUEST, ...flags));
    inNode = runAll(object);
    files = (await bundlePage()).set("/guest.o", { type: "application/octet-stream", content: object });
    report = JSON.parse(await openInChromium(files)) as PageReport;
  }, PATIENCE_MS);

  test("with code that names no module of Node", () => {
    expect([...files.keys()]).toContain("/worker.js");
    for (const [path, { content, type }] of files) {
      if (type === "text/javascript") expect(content, path).not.toMatch(/["'`]node:|__vite-browser-external/);
    }
  });

  test("on a page", () => {
    expect(report.userAgent).toContain("Chrome/");
    expect(report.page).toEqual(inNode);
  });

  test("in a worker", () => {
    expect(report.worker).toEqual(inNode);
  });

  // What is the same everywhere must also be what was meant to happen.
  test("whether it returns or not", () => {
    const faults = ["null-pointer", "non-canonical-address", "out-of-bounds", "divide-error", "out-of-budget"];
    const ends = inNode.map(({ name, outcomes }) => {
      const failed = outcomes.filter(({ end }) => end !== "returned");
      return [name, failed.map(({ end }) => end)];
    });
    expect(Object.fromEntries(ends)).toEqual({
      checked: faults,
      "checked, low": faults,
      unchecked: ["divide-error", "out-of-budget"],
      "every check, in small slices": faults,
      counted: faults,
    });
    const [{ outcomes, events }] = inNode;
    expect(outcomes.find(({ call }) => call === "fibonacci(0xf)")?.rax).toBe("0x262");
    expect(outcomes.find(({ call }) => call === "depth(0x4e20)")?.rax).toBe("0x4e20");
    expect(outcomes.find(({ end }) => end === "non-canonical-address")?.backtrace).toHaveLength(2);
    expect(events.filter((event) => event.startsWith("outside"))).toHaveLength(6);
    expect(events).toContain("read 8 4");
    const sums = outcomes.filter(({ call }) => call.startsWith("checksum")).map(({ rax }) => rax);
    expect(new Set(sums).size).toBe(3);
  });
});
