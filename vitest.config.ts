import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/**/*.spec.ts", "test/**/*.spec.ts"],
    // Whole-machine and oracle suites run many thousand cases: a time-out guards against hangs, it measures nothing.
    testTimeout: 120_000,
    pool: "forks",
  },
});
