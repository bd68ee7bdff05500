// `number refresh` and the input of credentials: batching, reported failures, and that no output contains a secret.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig, readEnvironment } from '../../src/config.ts';
import { createGateway } from '../../src/gateway.ts';
import { toAppKey } from '../../src/providers/meta/credential-key.ts';
import { sentinelWabaId } from '../simulator/simulator.ts';
import {
  type CommandLine,
  openCommandLine,
  type CommandResult,
  type RunOptions,
} from './command-line.ts';

const accessToken = 'EAAcanary0123456789abcdefghijklmnop';
const appSecret = 'canary0123456789abcdef0123456789';
const credentials = JSON.stringify({ accessToken, appSecret });

let line: CommandLine;
beforeAll(async () => {
  line = await openCommandLine({
    simulator: {
      tokens: [
        // Requires an appsecret_proof.
        { token: accessToken, appSecret, wabaIds: 'all' },
        { token: 'EAAexpired0123456789abcdefgh', wabaIds: 'all', state: 'expired' },
      ],
      instances: [{ instanceName: 'shop', state: 'connecting' }],
    },
  });
});
afterAll(() => line[Symbol.asyncDispose]());
afterEach(() => line.simulator.clearCalls());

interface RefreshedNumber {
  readonly id: string;
  readonly freshness: Readonly<
    Record<string, { source: string; error: { code: string } | null } | null>
  >;
  readonly [member: string]: unknown;
}

async function addMeta(tenant: string, phone: string, options: RunOptions = {}): Promise<string> {
  const result = await line.run<{ id: string }>(
    `number add --tenant ${tenant} --name Phone-${phone} --number 55119 --provider META --phone-number-id ${phone} --waba-id ${sentinelWabaId} --credentials - --no-check`,
    { stdin: credentials, ...options },
  );
  expectNoSecrets(result);
  expect(result.stderr).toBe('');
  return result.json.id;
}

/** Adds numbers to the simulator and to a tenant, without a command for each number; returns the tenant. */
async function addFleet(phones: readonly string[], wabaId: string): Promise<string> {
  const tenantId = await line.addTenant();
  const environment = { ...line.environment, LOG_LEVEL: 'silent' };
  await using gateway = await createGateway(parseConfig(readEnvironment(environment)));
  for (const id of phones) {
    line.simulator.setPhone({ id, wabaId, fields: { status: 'CONNECTED' }, profile: null });
    // oxlint-disable-next-line no-await-in-loop -- a list is in order of creation
    await gateway.numbers.create({
      tenantId,
      name: `Phone-${id}`,
      number: '55119',
      provider: 'META',
      instanceName: null,
      state: 'OPEN',
      phoneNumberId: id,
      wabaId,
      credentials: { accessToken, appSecret },
    });
  }
  line.simulator.clearCalls();
  return tenantId;
}

function expectNoSecrets({ stdout, stderr }: CommandResult<unknown>): void {
  expect(stdout + stderr).not.toMatch(/EAA|canary/);
}

describe('number refresh', () => {
  test('reads a few numbers one by one, and their account once', async () => {
    const tenant = await line.addTenant();
    const ids = [await addMeta(tenant, '990000000000'), await addMeta(tenant, '990000000052')];
    const result = await line.run<RefreshedNumber[]>(`number refresh ${ids.join(' ')} ${ids[0]}`);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expectNoSecrets(result);
    expect(line.simulator.calls.map((call) => call.operations.join()).toSorted()).toEqual([
      'phone 990000000000',
      'phone 990000000052',
      'profile 990000000000',
      'profile 990000000052',
      `waba ${sentinelWabaId}`,
    ]);
    expect(result.json.map((number) => number.id)).toEqual(ids);
    expect(Object.keys(result.json[0] ?? {})).toEqual(
      'id number name provider state isFullyConnected createdAt updatedAt health meta freshness instanceName apiKeys'.split(
        ' ',
      ),
    );
    expect(result.json[0]).toMatchObject({
      health: { qualityRating: 'GREEN', sendable: true },
      meta: { waba: { name: 'Lucky Shrub' } },
      freshness: {
        phone: { source: 'LIVE', stale: false, error: null },
        profile: { source: 'LIVE' },
        waba: { source: 'LIVE' },
      },
    });
    expect(result.json[1]).toMatchObject({
      meta: { waba: { name: 'Lucky Shrub' } },
      freshness: { waba: { source: 'LIVE' } },
    });
  });

  test('--tenant reads missing and stale numbers; --all reads every number', async () => {
    const tenant = await line.addTenant();
    const [known, missing] = [
      await addMeta(tenant, '990000000000'),
      await addMeta(tenant, '990000000052'),
    ];
    const { json: shop } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Shop --number 55118 --provider PILOT_STATUS --instance shop`,
    );
    await line.run(`number refresh ${known}`);
    const due = await line.run<RefreshedNumber[]>(`number refresh --tenant ${tenant}`);
    expect(due.json.map((number) => number.id)).toEqual([missing]);
    expect((await line.run(`number refresh --tenant ${tenant}`)).json).toEqual([]);

    await line.query(
      `update number_snapshot set observed_at = observed_at - interval '2 hours' where number_id = '${known}' and block = 'profile'`,
    );
    const stale = await line.run<RefreshedNumber[]>(`number refresh --tenant ${tenant}`);
    expect(stale.json.map((number) => number.id)).toEqual([known]);

    const all = await line.run<RefreshedNumber[]>(`number refresh --tenant ${tenant} --all`);
    expect(all.json.map((number) => number.id)).toEqual([known, missing, shop.id]);
    expect(all.json[2]).toMatchObject({
      state: 'CONNECTING',
      meta: null,
      freshness: { connection: { source: 'LIVE' } },
    });
  });

  test('reads many numbers in batches, and shows its progress on a terminal', async () => {
    const phones = Array.from({ length: 30 }, (_, index) => String(770_000_000_000 + index));
    const tenant = await addFleet(phones, sentinelWabaId);
    const tty = ['stdout', 'stderr'] as const;
    const result = await line.run(`number refresh --tenant ${tenant} --all`, { tty });
    expect(result.code).toBe(0);
    const operations = line.simulator.calls.map((call) => call.operations.length);
    // Two numbers with two blocks each, and the account.
    expect(operations.toSorted((a, b) => b - a)).toEqual([...Array<number>(15).fill(4), 1]);
    expect(result.stderr).toContain(' 0/30 numbers');
    expect(result.stderr).toContain(' 30/30 numbers');
    expect(result.stdout.trim().split('\n')).toHaveLength(31);
    expect(result.stdout).toMatch(/^ID +NAME/);
  });

  test('a number that hangs does not delay the others, and the progress says what is missing', async () => {
    const phones = Array.from({ length: 8 }, (_, index) => String(771_000_000_000 + index));
    const tenant = await addFleet(phones, sentinelWabaId);
    const slow = line.simulator.hold(phones[0] ?? '');
    const shown: string[] = [];
    const result = await line.run<RefreshedNumber[]>(`number refresh --tenant ${tenant} --all`, {
      tty: ['stderr'],
      onStderr(text) {
        shown.push(text);
        // The rest of the fleet has been read while this number hangs.
        if (text.includes(' 7/8 numbers')) slow.release();
      },
    });
    expect(result.code).toBe(0);
    expect(result.json.map((number) => number.freshness['phone']?.source)).toEqual(
      Array(8).fill('LIVE'),
    );
    expect(shown.join('')).toContain(`7/8 numbers, waiting for ${result.json[0]?.id}`);
  });

  test('a number that never answers fails alone', async () => {
    const phones = Array.from({ length: 30 }, (_, index) => String(772_000_000_000 + index));
    const tenant = await addFleet(phones, sentinelWabaId);
    line.simulator.setFault(phones[0] ?? '', { kind: 'hang' });
    const result = await line.run<RefreshedNumber[]>(`number refresh --tenant ${tenant} --all`);
    const [first, ...others] = result.json;
    expect(first?.freshness['phone']?.error?.code).toBe('META_TIMEOUT');
    expect(others.map((number) => number.freshness['phone']?.source)).toEqual(
      Array(29).fill('LIVE'),
    );
    const problems = result.stderr.split('\n').filter((text) => /^[A-Z_]+: /.test(text));
    // Its account has been read.
    expect(problems).toEqual([
      expect.stringMatching(`^META_TIMEOUT: ${first?.id}, phone: `),
      expect.stringMatching(`^META_TIMEOUT: ${first?.id}, profile: `),
    ]);
  }, 30_000);

  test('numbers that Meta’s usage limit allows only one by one are read one by one', async () => {
    const phones = Array.from({ length: 30 }, (_, index) => String(773_000_000_000 + index));
    const wabaId = '773000000999';
    line.simulator.setWaba({ id: wabaId, fields: { name: 'Busy' } });
    const tenant = await addFleet(phones, wabaId);
    const budget = `${wabaId} ${toAppKey({ accessToken, appSecret })}`;
    await line.query(
      `insert into graph_budget (tenant_id, account, spent_percent, spent_until) values ('${tenant}', '${budget}', 90, now() + interval '1 hour')`,
    );
    const result = await line.run<RefreshedNumber[]>(`number refresh --tenant ${tenant} --all`);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.json.map((number) => number.freshness['phone']?.source)).toEqual(
      Array(30).fill('LIVE'),
    );
    expect(line.simulator.calls.every((call) => call.operations.length === 1)).toBe(true);
  });

  test('an account that never answers does not delay its numbers, and is read for all of them', async () => {
    const phones = ['774000000000', '774000000001'];
    const wabaId = '774000000999';
    line.simulator.setWaba({ id: wabaId, fields: { name: 'Slow' } });
    const tenant = await addFleet(phones, wabaId);
    await line.run(`number refresh --tenant ${tenant}`);
    const slow = line.simulator.hold(wabaId);
    const result = await line.run<RefreshedNumber[]>(`number refresh --tenant ${tenant} --all`, {
      tty: ['stderr'],
      onStderr(text) {
        if (text.includes('2/2 numbers, waiting for the account')) slow.release();
      },
    });
    expect(result.code).toBe(0);
    expect(result.json.map((number) => number.freshness['waba']?.source)).toEqual(['LIVE', 'LIVE']);
  });

  test('shows no progress when standard error is not a terminal', async () => {
    const id = await addMeta(await line.addTenant(), '990000000000');
    const { stderr } = await line.run(`number refresh ${id}`, { tty: ['stdout'] });
    expect(stderr).toBe('');
  });

  test('reports a number that cannot be read at all with exit code 1, and reads the others', async () => {
    const tenant = await line.addTenant();
    const good = await addMeta(tenant, '990000000000');
    const stdin = JSON.stringify({ accessToken: 'EAAexpired0123456789abcdefgh' });
    const { json: bad } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Bad --number 55119 --provider META --phone-number-id 770000000100 --waba-id 770000000200 --credentials - --no-check`,
      { stdin },
    );
    const result = await line.run<RefreshedNumber[]>(`number refresh wa_none ${bad.id} ${good}`);
    expect(result.code).toBe(1);
    expect(result.json.map((number) => number.id)).toEqual([bad.id, good]);
    expect(result.json[0]?.freshness['phone']?.error?.code).toBe('META_ACCESS_DENIED');
    expect(result.json[1]?.freshness['phone']?.source).toBe('LIVE');
    expectNoSecrets(result);
    const problems = result.stderr.split('\n').filter((text) => /^[A-Z_]+: /.test(text));
    expect(problems).toEqual([
      expect.stringMatching(/^NUMBER_NOT_FOUND: .*wa_none/),
      expect.stringMatching(new RegExp(`^META_ACCESS_DENIED: ${bad.id}: .*expired`)),
    ]);
  });

  test('reports a number that was read in part with exit code 0', async () => {
    const id = await addMeta(await line.addTenant(), '990000000020');
    const result = await line.run<RefreshedNumber[]>(`number refresh ${id}`, { tty: ['stderr'] });
    expect(result.code).toBe(0);
    expect(result.json[0]?.freshness['waba']?.source).toBe('LIVE');
    expect(result.stderr).toMatch(new RegExp(`META_UNAVAILABLE: ${id}, phone: `));
    expect(result.stderr).not.toContain('"level"');
  });

  test('stops when it is interrupted', async () => {
    const id = await addMeta(await line.addTenant(), '990000000000');
    const held = line.simulator.hold('990000000000');
    const stopping = new AbortController();
    const running = line.run(`number refresh ${id}`, { signal: stopping.signal });
    while (line.simulator.calls.length === 0) {
      // oxlint-disable-next-line no-await-in-loop -- waits for the request to arrive
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
        '--no-check',
      ]);
      expect(added).toMatchObject({ code: 0, stderr: '' });
      expectNoSecrets(added);
      const read = await line.run(`number refresh ${added.json.id}`);
      expect(read.code).toBe(0);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('can be replaced when the token has expired', async () => {
    const stdin = JSON.stringify({ accessToken: 'EAAexpired0123456789abcdefgh' });
    const id = await addMeta(await line.addTenant(), '990000000000', { stdin });
    expect((await line.run(`number refresh ${id}`)).code).toBe(1);
    const set = await line.run(`number set-credentials ${id} --credentials -`, {
      stdin: credentials,
    });
    expect(set).toMatchObject({ code: 0, stderr: '', json: { id, provider: 'META' } });
    expectNoSecrets(set);
    expect((await line.run(`number refresh ${id}`)).code).toBe(0);
  });

  test('are refused for a number connected by QR code', async () => {
    const tenant = await line.addTenant();
    const { json } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name X --number 55119 --provider PILOT_STATUS --instance x`,
    );
    const set = await line.run(`number set-credentials ${json.id} --credentials -`, {
      stdin: credentials,
    });
    expect(set.code).toBe(1);
    expect(set.stderr).toMatch(/^INVALID_REQUEST: .*SESSION_ENGINE_KEY/);
  });

  const set = 'number set-credentials wa_none --credentials';

  test.each([
    ['empty input', '', 1],
    ['a bare token', accessToken, 1],
    ['truncated JSON', credentials.slice(0, -10), 1],
    ['an array', `["${accessToken}"]`, 1],
    ['null', 'null', 1],
    ['no token', JSON.stringify({ appSecret }), 1],
    ['a token that is not a string', '{"accessToken":7}', 1],
    ['a token with a line break', JSON.stringify({ accessToken: `${accessToken}\nx: y` }), 1],
    ['a token as a member name', JSON.stringify({ [accessToken]: '' }), 1],
    ['another member', JSON.stringify({ accessToken, token: appSecret }), 1],
    ['an empty app secret', JSON.stringify({ accessToken, appSecret: '' }), 1],
    ['70 kB', JSON.stringify({ accessToken: accessToken.repeat(2_000) }), 1],
  ])('%s on standard input is rejected without repeating any of it', async (_, stdin, code) => {
    const result = await line.run(`${set} -`, { stdin });
    expect(result).toMatchObject({ code, stdout: '' });
    expect(result.stderr).toMatch(/^INVALID_REQUEST: The credentials are not valid: .*Expected/);
    expectNoSecrets(result);
  });

  test.each([
    ['JSON', credentials],
    ['a token', accessToken],
    ['JSON after a space', ` ${credentials}`],
    ['an empty string', ''],
  ])('%s as an argument is rejected without repeating it', async (_, word) => {
    const result = await line.run([...set.split(' '), word]);
    expect(result).toMatchObject({ code: 2, stdout: '' });
    expect(result.stderr).toMatch(/^INVALID_REQUEST: --credentials takes the path/);
    expectNoSecrets(result);
  });

  test('a missing file is reported without its name, which may be a secret', async () => {
    const result = await line.run(`${set} ${appSecret}`);
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toMatch(/the file cannot be read \(ENOENT\)/);
    expectNoSecrets(result);
  });

  test('are not read from a terminal, which would show them', async () => {
    const result = await line.run(`${set} -`, { tty: ['stdin', 'stdout', 'stderr'] });
    expect(result).toMatchObject({ code: 2, stdout: '' });
    expect(result.stderr).toContain('--credentials - < credentials.json');
  });
});
