import { describe, test } from "vitest";

const SEED = 1;
const CASES = 300;

interface Target {
  readonly name: string;
  run(rng: () => number): unknown;
  runBatch?(rngs: (() => number)[]): unknown;
  close?(): unknown;
}

interface Cases {
  targetFiles(): string[];
  loadTarget(file: string): Promise<Target>;
  caseRandom(seed: number, number: number): () => number;
}

// The targets and their runner are plain JavaScript on top of the build, so that `npm run fuzz` needs no compiler.
const cases = (await import(new URL("./cases.mjs", import.meta.url).href)) as Cases;

describe.each(cases.targetFiles())("%s", (file) => {
  test(`no defect in ${CASES} cases`, async () => {
    const target = await cases.loadTarget(file);
    const randoms = Array.from({ length: CASES }, (_, number) => cases.caseRandom(SEED, number));
    let number = 0;
    try {
      if (target.runBatch !== undefined) await target.runBatch(randoms);
      else for (; number < CASES; number++) await target.run(randoms[number]);
    } catch (error) {
      number += (error as { index?: number }).index ?? 0;
      throw new Error(`case ${number} failed: npm run fuzz -- ${target.name} --seed ${SEED} --case ${number}`, {
        cause: error,
      });
    } finally {
      await target.close?.();
    }
  });
});
