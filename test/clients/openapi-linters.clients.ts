// The linters of OpenAPI documents that importers use find nothing in the served document.

import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { startDemo } from './demo-process.ts';

const pathOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const document = pathOf('generated/openapi.json');
const broken = pathOf('generated/broken.json');
const redocly = [
  '@redocly/cli/bin/cli.js',
  'lint',
  '--max-problems=10',
  `--config=${pathOf('redocly.yaml')}`,
];
const spectral = [
  '@stoplight/spectral-cli/dist/index.js',
  'lint',
  '--fail-severity=hint',
  `--ruleset=${pathOf('spectral.yaml')}`,
];

beforeAll(async () => {
  await using gateway = await startDemo({ PUBLIC_URL: 'https://numbers.gateway.test' });
  const served = await (await fetch(`${gateway.url}/v1/openapi.json`)).text();
  await writeFile(document, served);
  const { paths: _, ...pathless } = JSON.parse(served) as Record<string, unknown>;
  await writeFile(broken, JSON.stringify({ ...pathless, paths: { '/v1/x': { get: {} } } }));
});

/** Returns the exit code and the output. */
async function run([script = '', ...args]: readonly string[], file: string) {
  const environment = {
    ...process.env,
    REDOCLY_TELEMETRY: 'off',
    REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true',
  };
  try {
    const parameters = [pathOf(`node_modules/${script}`), ...args, file];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, parameters, {
      env: environment,
    });
    return { code: 0, output: stdout + stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, output: stdout + stderr };
  }
}

test.for([
  ['Redocly', redocly],
  ['Spectral', spectral],
] as const)(
  '%s finds no error and no warning, and errors in a document that is broken',
  async ([, linter]) => {
    const { code, output } = await run(linter, document);
    expect(output).not.toMatch(/warning/i);
    expect(code).toBe(0);
    expect((await run(linter, broken)).code).not.toBe(0);
  },
);
