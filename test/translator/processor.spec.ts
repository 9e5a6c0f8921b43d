import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Campaign, type Failure } from "./oracle/campaign.js";
import { type Case, type Outcome, RFLAGS, type Subject } from "./oracle/case.js";
import { EvaluatorSubject } from "./oracle/evaluator.js";
import { openCampaign } from "./oracle/index.js";
import { NativeProcessor, whyNotNative } from "./oracle/native.js";

const SEED = 1;
const CASES = 20_000;
/** Translations of a case each: they take a compiler's time. */
const SANDBOXES = [
  ["sandbox", 2000],
  ["sandbox-halting", 1000],
  ["sandbox-unchecked", 1000],
  ["sandbox-plain", 500],
] as const;
const BATCH = 2000;
const RUNNER = fileURLToPath(new URL("./oracle/runner.c", import.meta.url));

interface Cases {
  caseRandom(seed: number, number: number): () => number;
}
const { caseRandom } = (await import(new URL("../fuzz/cases.mjs", import.meta.url).href)) as Cases;

function failures(campaign: Campaign, cases: number): Failure[] {
  const found: Failure[] = [];
  for (let start = 0; start < cases; start += BATCH) {
    const randoms = Array.from({ length: Math.min(BATCH, cases - start) }, (_, i) => caseRandom(SEED, start + i));
    for (const failure of campaign.run(randoms)) found.push({ ...failure, index: start + failure.index });
  }
  return found;
}

function expectNone(subject: string, found: readonly Failure[]): void {
  const first = found[0];
  const again = first && `node test/translator/fuzz.mjs --subject ${subject} --seed ${SEED} --case ${first.index}`;
  expect(first && `${found.length} differ, the first: ${again}\n${first.text}`).toBeUndefined();
}

const SPOILERS: readonly (readonly [string, (outcome: Outcome) => Outcome])[] = [
  ["flag", (outcome) => ({ ...outcome, flags: outcome.flags ^ RFLAGS.OF })],
  [
    "register",
    (outcome) => ({ ...outcome, registers: outcome.registers.map((value, i) => (i === 7 ? ~value : value)) }),
  ],
  ["vector", (outcome) => ({ ...outcome, xmm: outcome.xmm.map((byte, i) => (i === 80 ? ~byte : byte)) })],
  ["word of memory", (outcome) => ({ ...outcome, changes: [...outcome.changes, { address: 0x30000ff8, value: 0n }] })],
  ["address", (outcome) => ({ ...outcome, rip: outcome.rip + 1n })],
  ["end", (outcome) => ({ ...outcome, stop: outcome.stop === "end" ? "memory" : "end" })],
];

const why = whyNotNative();
describe.skipIf(why !== null)("single instructions do what this processor does", () => {
  let native: NativeProcessor;
  let evaluator: EvaluatorSubject;

  beforeAll(() => {
    native = new NativeProcessor(RUNNER);
    evaluator = new EvaluatorSubject();
  });

  afterAll(() => {
    evaluator.close();
    native.close();
  });

  test(`in ${CASES} snippets`, () => {
    const campaign = new Campaign({ native, subject: evaluator });
    expectNone("evaluator", failures(campaign, CASES));
    const unused = [...campaign.counts].filter(([, times]) => times === 0).map(([name]) => name);
    expect(unused).toEqual([]);
    expect(campaign.skipped).toBeLessThan(CASES / 1000);
  });

  test.each(SANDBOXES)("in a %s, in %i snippets", (subject, cases) => {
    using opened = openCampaign({ runner: RUNNER, subject });
    expectNone(subject, failures(opened.campaign, cases));
  });

  test.each(SPOILERS)("a wrong %s is found", (_, spoil) => {
    const subject = new SpoiledSubject(evaluator, spoil);
    const found = failures(new Campaign({ native, subject, wanted: /^Adc_/ }), 40);
    expect(found.length).toBeGreaterThan(20);
    expect(found.some(({ form }) => form.startsWith("Adc_"))).toBe(true);
  });
});

class SpoiledSubject implements Subject {
  readonly name = "spoiled";
  readonly flags = "exact";
  readonly checks = true;

  constructor(
    readonly subject: Subject,
    readonly spoil: (outcome: Outcome) => Outcome,
  ) {}

  covers(code: Uint8Array): boolean {
    return this.subject.covers(code);
  }

  run(test: Case): Outcome {
    return this.spoil(this.subject.run(test));
  }

  close(): void {
    this.subject.close();
  }
}
