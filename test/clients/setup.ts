// Runs once before all tests: installs the clients, starts the gateway, writes the blocks of README.md to files, and runs
// its commands.

import { execFile } from 'node:child_process';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { TestProject } from 'vitest/node';
import { installPackages } from '../install-packages.ts';
import { startDemo } from './demo-process.ts';
import { blocks } from './readme-blocks.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly gatewayUrl: string;
    readonly gatewayKey: string;
    /** What each shell block printed when it failed, by the block's name. */
    readonly failedCommands: Readonly<Record<string, string>>;
  }
}

const here = new URL('./', import.meta.url);
const generated = new URL('generated/', here);
const made = new AsyncDisposableStack();

export async function setup({ provide }: TestProject): Promise<void> {
  await installPackages(here);
  const [gateway] = await Promise.all([startDemo(), writeFiles()]);
  made.use(gateway);
  // The variables that README.md names. The processes of the tests inherit them.
  process.env['GATEWAY_URL'] = gateway.url;
  process.env['GATEWAY_KEY'] = gateway.key;
  provide('gatewayUrl', gateway.url);
  provide('gatewayKey', gateway.key);
  provide('failedCommands', await runCommands());
}

export async function teardown(): Promise<void> {
  await made.disposeAsync();
}

async function writeFiles(): Promise<void> {
  await rm(generated, { recursive: true, force: true });
  await mkdir(generated, { recursive: true });
  await cp(new URL('../../schema.graphql', here), new URL('schema.graphql', generated));
  const files = blocks.filter(({ language }) => language !== 'sh');
  await Promise.all(
    files.map(async ({ name, text }) => {
      const file = new URL(name, generated);
      await mkdir(new URL('./', file), { recursive: true });
      await writeFile(file, text);
    }),
  );
}

async function runCommands(): Promise<Readonly<Record<string, string>>> {
  const commands = blocks.filter(({ language }) => language === 'sh');
  const failures = await Promise.all(
    commands.map(async ({ name, text }) => {
      const output = await runShell(text);
      return output === null ? [] : [[name, output] as const];
    }),
  );
  return Object.fromEntries(failures.flat());
}

/** Returns the output if the commands failed, otherwise null. */
async function runShell(text: string): Promise<string | null> {
  // The first node on the path is the one that runs the tests.
  const path = `${dirname(process.execPath)}:${process.env['PATH']}`;
  const options = { cwd: fileURLToPath(generated), env: { ...process.env, PATH: path } };
  try {
    await promisify(execFile)('bash', ['-euc', text], options);
    return null;
  } catch (error) {
    const { message, stdout, stderr } = error as Error & { stdout?: string; stderr?: string };
    return `${message}\n${stdout ?? ''}${stderr ?? ''}`;
  }
}
