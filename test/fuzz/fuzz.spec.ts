import { describe, test } from "vitest";

const SEED = 1;
const CASES = 300;

interface Cases {
  targetFiles(): string[];
  loadTarget(file: string): Promise<{ name: string; run(rng: () => number): unknown }>;
  caseRandom(seed: number, number: number): () => number;
}

// The targets and their runner are plain JavaScript on top of the build, so that `npm run fuzz` needs no compiler.
const cases = (await import(new URL("./cases.mjs", import.meta.url).href)) as Cases;

describe.each(cases.targetFiles())("%s", (file) => {
  test(`no defect in ${CASES} cases`, async () => {
    const target = await cases.loadTarget(file);
    for (let number = 0; number < CASES; number++) {
      try {
        await target.run(cases.caseRandom(SEED, number));
      } catch (error) {
        throw new Error(`case ${number} failed: npm run fuzz -- ${target.name} --seed ${SEED} --case ${number}`, {
          cause: error,
        });
      }
    }
  });
});
