// The suite, but for the tests whose subject is something else than what is mutated: they would find some of the mutants
// too, and take many times as long.

import { defineConfig } from 'vitest/config';
import suite from '../vitest.config.ts';

const subjects = ['access*', 'key', 'limits', 'secrets*'];

export default defineConfig({
  ...suite,
  test: { ...suite.test, include: subjects.map((subject) => `test/${subject}.test.ts`) },
});
