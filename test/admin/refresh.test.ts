// Live readings and credentials from the command line: what travels together, what is told, and that nothing secret is.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { sentinelWabaId } from '../../src/simulator/simulator.ts';
import { type CommandLine, openCommandLine, type Ran, type RunOptions } from './command-line.ts';

const accessToken = 'EAAcanary0123456789abcdefghijklmnop';
const appSecret = 'canary0123456789abcdef0123456789';
const credentials = JSON.stringify({ accessToken, appSecret });

let line: CommandLine;
beforeAll(async () => {
  line = await openCommandLine({
    simulator: {
      tokens: [
        // Answers only those who prove that they have the app secret.
        { token: accessToken, appSecret, wabaIds: 'all' },
        { token: 'EAAexpired0123456789abcdefgh', wabaIds: 'all', state: 'expired' },
      ],
      instances: [{ instanceName: 'shop', state: 'connecting' }],
    },
  });
});
afterAll(() => line[Symbol.asyncDispose]());
afterEach(() => line.simulator.clearCalls());

interface Read {
  readonly id: string;
  readonly freshness: Readonly<
    Record<string, { source: string; error: { code: string } | null } | null>
  >;
  readonly [member: string]: unknown;
}

async function addMeta(tenant: string, phone: string, options: RunOptions = {}): Promise<string> {
  const ran = await line.run<{ id: string }>(
    `number add --tenant ${tenant} --name Phone-${phone} --number 55119 --provider META --phone-number-id ${phone} --waba-id ${sentinelWabaId} --credentials -`,
    { stdin: credentials, ...options },
  );
  expectNothingSecret(ran);
  expect(ran.stderr).toBe('');
  return ran.json.id;
}

function expectNothingSecret({ stdout, stderr }: Ran<unknown>): void {
  expect(stdout + stderr).not.toMatch(/EAA|canary/);
}

describe('number refresh', () => {
  test('reads several numbers in one batch, and their account once', async () => {
    const tenant = await line.addTenant();
    const ids = [await addMeta(tenant, '990000000000'), await addMeta(tenant, '990000000052')];
    const ran = await line.run<Read[]>(`number refresh ${ids.join(' ')} ${ids[0]}`);
    expect(ran).toMatchObject({ code: 0, stderr: '' });
    expectNothingSecret(ran);
    expect(line.simulator.calls.map((call) => call.operations.toSorted())).toEqual([
      [
        'phone 990000000000',
        'phone 990000000052',
        'profile 990000000000',
        'profile 990000000052',
        `waba ${sentinelWabaId}`,
      ],
    ]);
    expect(ran.json.map((number) => number.id)).toEqual(ids);
    expect(Object.keys(ran.json[0] ?? {})).toEqual(
      'id number name provider state isFullyConnected createdAt updatedAt health meta freshness'.split(
        ' ',
      ),
    );
    expect(ran.json[0]).toMatchObject({
      health: { qualityRating: 'GREEN', sendable: true },
      meta: { waba: { name: 'Lucky Shrub' } },
      freshness: {
        phone: { source: 'LIVE', stale: false, error: null },
        profile: { source: 'LIVE' },
        waba: { source: 'LIVE' },
      },
    });
  });

  test('reads those of a tenant that are missing or stale, or all of them', async () => {
    const tenant = await line.addTenant();
    const [known, missing] = [
      await addMeta(tenant, '990000000000'),
      await addMeta(tenant, '990000000052'),
    ];
    const { json: shop } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Shop --number 55118 --provider PILOT_STATUS --instance shop`,
    );
    await line.run(`number refresh ${known}`);
    const due = await line.run<Read[]>(`number refresh --tenant ${tenant}`);
    expect(due.json.map((number) => number.id)).toEqual([missing]);
    expect((await line.run(`number refresh --tenant ${tenant}`)).json).toEqual([]);

    await line.query(
      `update number_snapshot set observed_at = observed_at - interval '2 hours' where number_id = '${known}' and block = 'profile'`,
    );
    const stale = await line.run<Read[]>(`number refresh --tenant ${tenant}`);
    expect(stale.json.map((number) => number.id)).toEqual([known]);

    const all = await line.run<Read[]>(`number refresh --tenant ${tenant} --all`);
    expect(all.json.map((number) => number.id)).toEqual([known, missing, shop.id]);
    expect(all.json[2]).toMatchObject({
      state: 'CONNECTING',
      meta: null,
      freshness: { connection: { source: 'LIVE' } },
    });
  });

  test('many numbers travel in portions, and a person sees how far they are', async () => {
    const tenant = await line.addTenant();
    const phones = Array.from({ length: 30 }, (_, index) => String(770_000_000_000 + index));
    for (const id of phones) {
      line.simulator.setPhone({
        id,
        wabaId: sentinelWabaId,
        fields: { status: 'CONNECTED' },
        profile: null,
      });
      // oxlint-disable-next-line no-await-in-loop -- a list is in order of creation
      await addMeta(tenant, id);
    }
    line.simulator.clearCalls();
    const person = ['stdout', 'stderr'] as const;
    const ran = await line.run(`number refresh --tenant ${tenant} --all`, { person });
    expect(ran.code).toBe(0);
    const operations = line.simulator.calls.map((call) => call.operations.length);
    // 24 numbers with two blocks and the account, then the other six: the account is known by then.
    expect(operations.toSorted((a, b) => b - a)).toEqual([49, 12]);
    expect(ran.stderr).toContain(' 0/30 numbers');
    expect(ran.stderr).toContain(' 30/30 numbers');
    expect(ran.stdout.trim().split('\n')).toHaveLength(31);
    expect(ran.stdout).toMatch(/^ID +NAME/);
  });

  test('says nothing of progress when nobody watches', async () => {
    const id = await addMeta(await line.addTenant(), '990000000000');
    const { stderr } = await line.run(`number refresh ${id}`, { person: ['stdout'] });
    expect(stderr).toBe('');
  });

  test('a number that cannot be read at all is an exit code 1 with its reason, and the others are read', async () => {
    const tenant = await line.addTenant();
    const good = await addMeta(tenant, '990000000000');
    const stdin = JSON.stringify({ accessToken: 'EAAexpired0123456789abcdefgh' });
    const { json: bad } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Bad --number 55119 --provider META --phone-number-id 770000000100 --waba-id 770000000200 --credentials -`,
      { stdin },
    );
    const ran = await line.run<Read[]>(`number refresh wa_none ${bad.id} ${good}`);
    expect(ran.code).toBe(1);
    expect(ran.json.map((number) => number.id)).toEqual([bad.id, good]);
    expect(ran.json[0]?.freshness['phone']?.error?.code).toBe('META_ACCESS_DENIED');
    expect(ran.json[1]?.freshness['phone']?.source).toBe('LIVE');
    expectNothingSecret(ran);
    const problems = ran.stderr.split('\n').filter((text) => /^[A-Z_]+: /.test(text));
    expect(problems).toEqual([
      expect.stringMatching(/^NUMBER_NOT_FOUND: .*wa_none/),
      expect.stringMatching(new RegExp(`^META_ACCESS_DENIED: ${bad.id}: .*expired`)),
    ]);
  });

  test('a number that was read in part is told, and no failure', async () => {
    const id = await addMeta(await line.addTenant(), '990000000020');
    const ran = await line.run<Read[]>(`number refresh ${id}`, { person: ['stderr'] });
    expect(ran.code).toBe(0);
    expect(ran.json[0]?.freshness['waba']?.source).toBe('LIVE');
    expect(ran.stderr).toMatch(new RegExp(`META_UNAVAILABLE: ${id}, its phone: `));
    expect(ran.stderr).not.toContain('"level"');
  });

  test('stops when it is told to', async () => {
    const id = await addMeta(await line.addTenant(), '990000000000');
    const held = line.simulator.hold('990000000000');
    const stopping = new AbortController();
    const running = line.run(`number refresh ${id}`, { signal: stopping.signal });
    // There is nothing to wait for but the arrival of the request.
    while (line.simulator.calls.length === 0) {
      // oxlint-disable-next-line no-await-in-loop -- waits
      await delay(5);
    }
    stopping.abort(new Error('Stopped by SIGINT.'));
    expect(await running).toEqual(
      expect.objectContaining({ code: 1, stdout: '', stderr: 'STOPPED: Stopped by SIGINT.\n' }),
    );
    held.release();
  });
});

describe('credentials', () => {
  test('can come from a file', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-credentials-'));
    try {
      const path = join(directory, 'my credentials.json');
      await writeFile(path, `\u{FEFF}${credentials}\n`);
      const tenant = await line.addTenant();
      const added = await line.run<{ id: string }>([
        ...`number add --tenant ${tenant} --name X --number 55119 --provider META`.split(' '),
        ...`--phone-number-id 990000000000 --waba-id ${sentinelWabaId} --credentials`.split(' '),
        path,
      ]);
      expect(added).toMatchObject({ code: 0, stderr: '' });
      expectNothingSecret(added);
      const read = await line.run(`number refresh ${added.json.id}`);
      expect(read.code).toBe(0);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('can be replaced when the token has died', async () => {
    const stdin = JSON.stringify({ accessToken: 'EAAexpired0123456789abcdefgh' });
    const id = await addMeta(await line.addTenant(), '990000000000', { stdin });
    expect((await line.run(`number refresh ${id}`)).code).toBe(1);
    const set = await line.run(`number set-credentials ${id} --credentials -`, {
      stdin: credentials,
    });
    expect(set).toMatchObject({ code: 0, stderr: '', json: { id, provider: 'META' } });
    expectNothingSecret(set);
    expect((await line.run(`number refresh ${id}`)).code).toBe(0);
  });

  test('are for numbers of Meta', async () => {
    const tenant = await line.addTenant();
    const { json } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name X --number 55119 --provider PILOT_STATUS`,
    );
    const set = await line.run(`number set-credentials ${json.id} --credentials -`, {
      stdin: credentials,
    });
    expect(set.code).toBe(1);
    expect(set.stderr).toMatch(/^INVALID_REQUEST: .*SESSION_ENGINE_KEY/);
  });

  const set = 'number set-credentials wa_none --credentials';

  test.each([
    ['nothing', '', 1],
    ['a bare token', accessToken, 1],
    ['half JSON', credentials.slice(0, -10), 1],
    ['a list', `["${accessToken}"]`, 1],
    ['null', 'null', 1],
    ['no token', JSON.stringify({ appSecret }), 1],
    ['a token that is no text', '{"accessToken":7}', 1],
    ['a token with a line break', JSON.stringify({ accessToken: `${accessToken}\nx: y` }), 1],
    ['a token as a name', JSON.stringify({ [accessToken]: '' }), 1],
    ['another member', JSON.stringify({ accessToken, token: appSecret }), 1],
    ['an empty app secret', JSON.stringify({ accessToken, appSecret: '' }), 1],
    ['70 kB', JSON.stringify({ accessToken: accessToken.repeat(2_000) }), 1],
  ])('%s on standard input is refused, and nothing of it is repeated', async (_, stdin, code) => {
    const ran = await line.run(`${set} -`, { stdin });
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(/^INVALID_REQUEST: The credentials cannot be used: .*Expected/);
    expectNothingSecret(ran);
  });

  test.each([
    ['JSON', credentials],
    ['a token', accessToken],
    ['JSON with space', ` ${credentials}`],
    ['nothing', ''],
  ])('%s as an argument is refused, and not repeated', async (_, word) => {
    const ran = await line.run([...set.split(' '), word]);
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(/^INVALID_REQUEST: --credentials takes the path/);
    expectNothingSecret(ran);
  });

  test('a file that is not there is told without its name, which may be a secret', async () => {
    const ran = await line.run(`${set} ${appSecret}`);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toMatch(/the file cannot be read \(ENOENT\)/);
    expectNothingSecret(ran);
  });

  test('are not typed at a terminal, where they would be seen', async () => {
    const ran = await line.run(`${set} -`, { person: ['stdin', 'stdout', 'stderr'] });
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toContain('--credentials - < credentials.json');
  });
});
