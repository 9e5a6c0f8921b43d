import type { Random } from "../../../src/util/random.js";
import { seededRandom } from "../../../src/util/random.js";
import type { Case, Outcome, Subject } from "./case.js";
import { differences } from "./compare.js";
import type { Form } from "./form.js";
import { allForms } from "./forms.js";
import { Generator } from "./generator.js";
import { type NativeProcessor, processorFeatures } from "./native.js";
import { describeCase } from "./report.js";
import { shrink, type Verdict } from "./shrink.js";

const TRIES = 50;

/** A case in which the subject and the processor differ. */
export interface Failure {
  /** The number of the case in its batch. */
  readonly index: number;
  /** The form of the instruction that it comes down to. */
  readonly form: string;
  readonly text: string;
}

export interface CampaignOptions {
  readonly native: NativeProcessor;
  readonly subject: Subject;
  /** Forms that are used for their own sake; all if left out. */
  readonly wanted?: RegExp;
}

/** Runs generated cases on the processor and on a subject, and compares. */
export class Campaign {
  /** Names of forms that this processor lacks, and that the subject does not know. */
  readonly lacking: readonly string[];
  readonly uncovered: readonly string[];
  /** How often each form has been written into a case. */
  readonly counts = new Map<string, number>();
  /** Cases that stopped in a way that cannot be compared. */
  skipped = 0;
  readonly #native: NativeProcessor;
  readonly #subject: Subject;
  readonly #generator: Generator;

  constructor({ native, subject, wanted }: CampaignOptions) {
    this.#native = native;
    this.#subject = subject;
    const features = processorFeatures();
    const forms = allForms();
    const here = forms.filter(({ needs }) => needs.every((feature) => features.has(feature)));
    this.lacking = forms.filter((form) => !here.includes(form)).map(({ name }) => name);
    const samples = new Generator(here);
    const known = here.filter((form) => this.#isCovered(form, samples));
    this.uncovered = here.filter((form) => !known.includes(form)).map(({ name }) => name);
    for (const { name } of known) this.counts.set(name, 0);
    this.#generator = new Generator(known, {
      isWanted: ({ name }) => wanted === undefined || wanted.test(name),
      flagsCrossCalls: subject.flags === "exact",
    });
  }

  #isCovered(form: Form, generator: Generator): boolean {
    if (form.control) return true;
    const random = seededRandom(1);
    for (let tries = 0; tries < TRIES; tries++) {
      const test = generator.only(form, random);
      if (test !== null) return this.#subject.covers(test.code);
    }
    return false;
  }

  /** A case for each generator of random numbers. */
  run(randoms: readonly Random[]): Failure[] {
    const tests = randoms.map((random) => this.#generator.next(random));
    const failures: Failure[] = [];
    this.#native.run(tests).forEach((expected, index) => {
      const test = tests[index];
      for (const { form } of test.points) if (form !== "") this.counts.set(form, (this.counts.get(form) ?? 0) + 1);
      const verdict = this.#compare(test, expected);
      if (verdict.differences.length > 0) failures.push(this.#explain(index, verdict));
    });
    return failures;
  }

  #compare(test: Case, expected: Outcome): Verdict {
    const isFault = expected.stop === "memory" || expected.stop === "general-protection";
    if (expected.stop === "endless" || expected.stop.startsWith("vector") || (isFault && !this.#subject.checks)) {
      this.skipped++;
      return { test, expected, differences: [] };
    }
    return { test, expected, differences: differences(test, expected, this.#subject.run(test), this.#subject.flags) };
  }

  #explain(index: number, found: Verdict): Failure {
    const { test, expected, differences } = shrink(found, (shorter) => {
      const [outcome] = this.#native.run([shorter]);
      return this.#compare(shorter, outcome);
    });
    const last = test.points.findLast(({ form }) => form !== "");
    return { index, form: last?.form ?? "", text: describeCase(test, expected, differences) };
  }
}
