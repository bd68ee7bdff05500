// The completion scripts, in the shells themselves. A shell that is not installed is skipped and named in the output.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCommand } from './command-line.ts';

const directory = mkdtempSync(join(tmpdir(), 'numbers-gateway-completion-'));
afterAll(() => rmSync(directory, { recursive: true }));

beforeAll(async () => {
  writeFileSync(join(directory, 'my credentials.json'), '');
  for (const shell of ['bash', 'zsh', 'fish']) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { stdout } = await runCommand(`completion ${shell}`);
    writeFileSync(join(directory, shell), stdout);
  }
});

function isInstalled(command: string): boolean {
  const isFound = spawnSync(command, ['--version']).error === undefined;
  if (!isFound) console.warn(`SKIPPED: ${command} is not installed, so its test does not run.`);
  return isFound;
}

/** What is completed at the end of each line, as a shell would be asked for it. */
const cases: readonly (readonly [string, readonly string[]])[] = [
  ['numbers-gateway te', ['tenant']],
  ['numbers-gateway number s', ['set-credentials', 'set-state', 'show']],
  ['numbers-gateway --json number l', ['label', 'list']],
  ['numbers-gateway number add --name add --prov', ['--provider']],
  ['numbers-gateway number add --provider ', ['META', 'PILOT_STATUS']],
  ['numbers-gateway number set-state wa_x ', ['CLOSE', 'CONNECTING', 'OPEN']],
  ['numbers-gateway completion ', ['bash', 'fish', 'zsh']],
  ['numbers-gateway audit list --l', ['--limit']],
  ['numbers-gateway feed n', ['new-epoch']],
  ['numbers-gateway fleet ', ['diff', 'help', 'summary', 'watch']],
  ['numbers-gateway number add --credentials my', ['my credentials.json']],
  ['numbers-gateway tenant create --name ', []],
  ['numbers-gateway number im', ['import']],
  ['numbers-gateway key create --scope ', ['operate', 'read', 'webhooks']],
  ['numbers-gateway account watch 102290129340398 --mode ', ['import', 'off', 'report']],
  ['numbers-gateway number discover --credentials my', ['my credentials.json']],
];

describe('bash', () => {
  test.each(cases)('completes: %s', (text, expected) => {
    const words = text.split(' ');
    const script = `
      source ./bash
      [[ $(complete -p numbers-gateway) == 'complete -F '*' numbers-gateway' ]] || exit 1
      COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}
      _numbers_gateway
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    const options = { cwd: directory, encoding: 'utf8' } as const;
    const output = execFileSync('bash', ['--norc', '-c', script], options);
    expect(output.split('\n').filter(Boolean).toSorted()).toEqual(expected);
  });
});

/** Types into an interactive shell on a terminal, and returns the arguments that the command then got. */
async function typeInto(command: string, start: string, keys: string): Promise<readonly string[]> {
  const show = `numbers-gateway() { echo "<<$*>>"; }`;
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: directory,
    env: { PATH: process.env['PATH'] ?? '', HOME: directory, TERM: 'dumb' },
  });
  let output = '';
  // Each line is sent when the one before has been executed.
  const lines = [`${start}; ${show}; echo rea''dy\n`, `${keys}\n`, 'exit\n'];
  const patterns = [/ready\r/, /<<([^$>]*)>>/];
  child.stdin.write(lines[0] ?? '');
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    if (patterns[0]?.test(output)) {
      patterns.shift();
      child.stdin.write(lines[2 - patterns.length] ?? '');
    }
  });
  await once(child, 'close');
  return /<<([^$>]*)>>/.exec(output)?.[1]?.split(' ') ?? [output];
}

test('an interactive bash completes at the press of Tab', async ({ skip }) => {
  if (!isInstalled('script')) skip();
  const keys = 'numbers-gateway num\tli\t--ten\tten_x';
  expect(await typeInto('bash --norc --noprofile -i', 'source ./bash', keys)).toEqual(
    'number list --tenant ten_x'.split(' '),
  );
});

test('an interactive zsh completes at the press of Tab', async ({ skip }) => {
  if (!isInstalled('zsh') || !isInstalled('script')) skip();
  const keys = 'numbers-gateway num\tli\t--ten\tten_x';
  const start = 'autoload -U compinit; compinit -u -D; source ./zsh';
  expect(await typeInto('zsh -f -i', start, keys)).toEqual('number list --tenant ten_x'.split(' '));
});

describe('fish', () => {
  const isAvailable = isInstalled('fish');
  test.skipIf(!isAvailable).each(cases)('completes: %s', (text, expected) => {
    const output = execFileSync('fish', ['-N', '-c', `source ./fish; complete -C '${text}'`], {
      cwd: directory,
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] ?? '', HOME: directory },
    });
    const words = output
      .split('\n')
      .filter(Boolean)
      .map((entry) => entry.split('\t')[0]);
    expect(words.map((word) => word?.replaceAll('\\', '')).toSorted()).toEqual(expected);
  });
});
