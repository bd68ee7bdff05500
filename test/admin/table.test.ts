// What people see on a terminal: tables that fit its width, colours, and that JSON never has less than a table.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify, stripVTControlCharacters } from 'node:util';
import stringWidth from 'string-width';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sentinelWabaId } from '../simulator/simulator.ts';
import { toHealthyPhone } from '../harness.ts';
import { type CommandLine, openCommandLine } from './command-line.ts';

let line: CommandLine;
let tenant: string;
let ids: readonly string[];

beforeAll(async () => {
  line = await openCommandLine();
  tenant = await line.addTenant();
  await line.run(['tenant', 'create', '--name', '東京'.repeat(40)]);
  const stdin = JSON.stringify({ accessToken: 'EAAgood0123456789abcdefgh' });
  const add = async (name: string, phone: string): Promise<string> => {
    const words = `number add --tenant ${tenant} --number 5511999999999 --provider META --phone-number-id ${phone} --waba-id ${sentinelWabaId} --credentials - --no-check`;
    const args = [...words.split(' '), '--name', name];
    const { json } = await line.run<{ id: string }>(args, { stdin });
    return json.id;
  };
  ids = [
    await add('東京支店カスタマーサポート窓口', '990000000000'),
    await add('Émile 😀👍🏽 & Filles, service après-vente', '990000000052'),
    await add('Never read', '770000000200'),
  ];
  await line.run(`number refresh ${ids.join(' ')}`);
  const { json: key } = await line.run<{ id: string }>(
    `key create --tenant ${tenant} --number ${ids[0]} --name ${'x'.repeat(60)} --expires 2100-01-01`,
  );
  await line.run(`key rotate ${key.id} --overlap 0`);
});
afterAll(() => line[Symbol.asyncDispose]());

/** Each command that prints a table, with the members of JSON that each column shows. */
const tables: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'tenant list': { id: ['id'], name: ['name'], created: ['createdAt'] },
  'key list --tenant TENANT': {
    id: ['id'],
    name: ['name'],
    key: ['keyPrefix', 'keyLast4'],
    number: ['numberId'],
    scopes: ['scopes'],
    state: ['state'],
    'since or until': ['revokedAt', 'expiresAt'],
    'last used': ['lastUsedAt'],
  },
  'audit list --tenant TENANT': {
    at: ['at'],
    action: ['action'],
    subject: ['subject'],
    actor: ['actor'],
    details: ['details'],
  },
  ...Object.fromEntries(
    ['number list --tenant TENANT', 'number refresh NUMBERS'].map((words) => [
      words,
      {
        id: ['id'],
        name: ['name'],
        number: ['number'],
        provider: ['provider'],
        state: ['state'],
        verdict: ['health.sendability.verdict'],
        replies: ['health.sendability.replyVerdict'],
        quality: ['health.qualityRating'],
        age: ['health.freshness.ageSeconds'],
        'last error': ['health.freshness.error'],
      },
    ]),
  ),
};

function fill(words: string): string {
  return words.replace('TENANT', tenant).replace('NUMBERS', ids.join(' '));
}

/** Undefined when a member on the way is missing. */
function getMember(json: unknown, path: string): unknown {
  return path
    .split('.')
    .reduce((value, name) => (value as Record<string, unknown> | undefined)?.[name], json);
}

describe.each(Object.entries(tables))('%s', (words, columns) => {
  test('has each column of the table in its JSON', async () => {
    const { stdout } = await line.run(fill(words), { tty: ['stdout'], columns: 400 });
    const [head = ''] = stdout.split('\n');
    expect(head.split(/ {2,}/)).toEqual(Object.keys(columns).map((title) => title.toUpperCase()));
    const { json } = await line.run<unknown[]>(fill(words));
    expect(json.length).toBeGreaterThan(0);
    for (const path of Object.values(columns).flat()) {
      expect([path, getMember(json[0], path)]).not.toContain(undefined);
    }
  });

  test.each([400, 120, 100, 80, 60, 40, 20])('wraps no row at %i columns', async (width) => {
    const { stdout } = await line.run(fill(words), { tty: ['stdout'], columns: width });
    expect(stdout.split('\n').filter((text) => stringWidth(text) > width)).toEqual([]);
    const { json } = await line.run<{ id: string }[]>(fill(words));
    const [, ...rows] = stdout.split('\n');
    const shown = rows.slice(0, rows.indexOf(''));
    expect(shown).toHaveLength(json.length);
  });
});

test('`npm run -s gateway` prints nothing but the JSON into a pipe', async () => {
  const words = `run -s gateway -- number list --tenant ${tenant} --json`.split(' ');
  const { PATH = '' } = process.env;
  const { stdout } = await promisify(execFile)('npm', words, {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    env: { PATH, ...line.environment },
  });
  const listed = JSON.parse(stdout) as readonly { readonly id: string }[];
  expect(listed.map(({ id }) => id)).toEqual(ids);
});

describe('at 80 columns', () => {
  const on80 = { tty: ['stdout'], columns: 80 } as const;

  test('a list of numbers shows whole ids, verdicts and ages, shortens names, and says what is left out', async () => {
    const { stdout } = await line.run(`number list --tenant ${tenant}`, on80);
    expect(stdout.split('\n')).toEqual([
      'ID                                   NAME       VERDICT  AGE  LAST ERROR',
      expect.stringMatching(new RegExp(`^${ids[0]}  東京支店…  YES      \\d+s +-$`)),
      expect.stringMatching(new RegExp(`^${ids[1]}  Émile 😀…  YES      \\d+s +-$`)),
      `${ids[2]}  Never re…  UNKNOWN  -    META_ACCESS_DENIED`,
      '',
      'Too narrow for: number, provider, state, replies, quality. Use a wider terminal,',
      'or --json.',
      '',
    ]);
  });

  test('doctor continues long texts under themselves', async () => {
    const { stdout } = await line.run('doctor', on80);
    expect(stdout.split('\n').filter((text) => stringWidth(text) > 80)).toEqual([]);
  });

  test('number show wraps its values under themselves', async () => {
    const { stdout } = await line.run(`number show ${ids[0]}`, on80);
    expect(stdout.split('\n').filter((text) => stringWidth(text) > 80)).toEqual([]);
  });
});

describe('number show', () => {
  test('prints the detail of REST, and what GraphQL has beside it', async () => {
    const { json } = await line.run(`number show ${ids[0]}`);
    expect(Object.keys(json)).toEqual(
      'id number name provider state isFullyConnected createdAt updatedAt health meta freshness instanceName apiKeys tenantId phoneNumberId wabaId'.split(
        ' ',
      ),
    );
    expect(json).toMatchObject({
      id: ids[0],
      health: {
        qualityRating: 'GREEN',
        metaStatus: 'CONNECTED',
        sendable: true,
        sendability: { verdict: 'YES', reasons: expect.any(Array) },
        freshness: { ageSeconds: expect.any(Number), stale: false, error: null },
      },
      meta: { phone: { status: 'CONNECTED' }, waba: { name: 'Lucky Shrub' } },
      freshness: { phone: { source: 'SNAPSHOT' }, profile: {}, waba: {} },
      tenantId: tenant,
      phoneNumberId: '990000000000',
      wabaId: sentinelWabaId,
    });
  });

  test('says on a terminal whether the number can send, why, and how old that is', async () => {
    const { stdout } = await line.run(`number show ${ids[2]}`, { tty: ['stdout'] });
    expect(stdout).toMatch(/^verdict +UNKNOWN$/m);
    expect(stdout).toMatch(/^reply verdict +UNKNOWN$/m);
    expect(stdout).toMatch(/^in doubt by +SNAPSHOT: Meta has never been read/m);
    expect(stdout).toMatch(/^phone +never read successfully; META_\w+: /m);
    const { stdout: known } = await line.run(`number show ${ids[0]}`, { tty: ['stdout'] });
    expect(known).toMatch(/^phone +read \d+s ago, at \d{4}-/m);
    expect(known).toMatch(/^verifiedName +\S/m);
  });
});

test('a number that can reply and not start conversations shows both, and why', async () => {
  const phoneId = '770000000201';
  line.simulator.setPhone(toHealthyPhone(phoneId, sentinelWabaId, { status: 'RESTRICTED' }));
  const other = await line.addTenant();
  const { json } = await line.run<{ id: string }>(
    `number add --tenant ${other} --number 5511999999999 --name Full --provider META --phone-number-id ${phoneId} --waba-id ${sentinelWabaId} --credentials - --no-check`,
    { stdin: JSON.stringify({ accessToken: 'EAAgood0123456789abcdefgh' }) },
  );
  await line.run(`number refresh ${json.id}`);
  const { stdout: list } = await line.run(`number list --tenant ${other}`, {
    tty: ['stdout'],
    columns: 160,
  });
  expect(list).toMatch(
    / STATE +VERDICT +REPLIES +QUALITY +AGE +LAST ERROR\n.* OPEN +NO +YES +GREEN /,
  );
  const { stdout: shown } = await line.run(`number show ${json.id}`, { tty: ['stdout'] });
  expect(shown).toMatch(/^verdict +NO$/m);
  expect(shown).toMatch(/^reply verdict +YES$/m);
  expect(shown).toMatch(/^blocked by +PHONE_NUMBER, for starting conversations: The messaging/m);
});

function withoutAges(text: string): string {
  return stripVTControlCharacters(text).replaceAll(/\d+s/g, '');
}

describe('colours', () => {
  const tty = ['stdout', 'stderr'] as const;
  const environment = { TERM: 'xterm-256color' };

  test('repeat on a terminal what the words say', async () => {
    const words = `number list --tenant ${tenant}`;
    const { stdout } = await line.run(words, { tty, environment });
    expect(stdout).toContain('\u{1b}[32mYES\u{1b}[39m');
    expect(stdout).toContain('\u{1b}[33mUNKNOWN\u{1b}[39m');
    const plain = await line.run(words, { tty });
    expect(withoutAges(stdout)).toBe(withoutAges(plain.stdout));
  });

  test('are in no JSON, no pipe, and not with NO_COLOR or TERM=dumb', async () => {
    const words = `number list --tenant ${tenant}`;
    const runs = [
      { environment },
      { tty, environment: { ...environment, NO_COLOR: '1' } },
      { tty, environment: { TERM: 'dumb' } },
    ];
    for (const options of runs) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await line.run(words, options)).stdout).not.toContain('\u{1b}');
    }
    expect((await line.run(`${words} --json`, { tty, environment })).stdout).not.toContain(
      '\u{1b}',
    );
  });

  test('of the process follow FORCE_COLOR and NO_COLOR', async () => {
    const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
    const readProblem = async (variables: Readonly<Record<string, string>>): Promise<string> => {
      const env = { PORT: 'x', ...variables };
      const failed = await promisify(execFile)(process.execPath, [main, 'tenant', 'list'], {
        env,
      }).catch((error: unknown) => error as { stderr: string });
      return failed.stderr;
    };
    expect(await readProblem({ FORCE_COLOR: '1' })).toContain('\u{1b}[31mCONFIGURATION:');
    expect(await readProblem({})).toMatch(/^CONFIGURATION:/);
    expect(await readProblem({ NO_COLOR: '1' })).toMatch(/^CONFIGURATION:/);
  });
});
