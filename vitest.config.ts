import { defineConfig } from "vitest/config";
import { SkipReporter } from "./test/support/skip-reporter.ts";

const CI = process.env.CI !== undefined && process.env.CI !== "" && process.env.CI !== "false";

// What makes namespaces, devices and processes runs after everything else, two files at a time: each has its own, and
// most of its time it waits.
const MACHINE = ["test/netns/**/*.test.ts", "test/lab/**/*.test.ts", "test/page/**/*.test.ts"];
const FUZZ = ["test/fuzz/**/*.test.ts"];

const shared = {
  pool: "forks" as const,
  testTimeout: 30_000,
  hookTimeout: 60_000,
  teardownTimeout: 20_000,
};

export default defineConfig({
  test: {
    globalSetup: ["test/support/build.ts"],
    reporters: ["default", new SkipReporter(), ...(CI ? ["json"] : [])],
    outputFile: { json: "dist/vitest.json" },
    projects: [
      {
        extends: true,
        test: {
          ...shared,
          name: "plain",
          include: ["test/**/*.test.ts"],
          exclude: [...MACHINE, ...FUZZ],
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          ...shared,
          name: "fuzz",
          include: FUZZ,
          testTimeout: 300_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          ...shared,
          name: "machine",
          include: MACHINE,
          testTimeout: 120_000,
          expect: { poll: { timeout: 30_000 } },
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
