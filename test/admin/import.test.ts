// `number discover` and `number import`: the ways to find accounts, interruptions, and that the token appears nowhere.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { toHealthyPhone } from '../harness.ts';
import { findLeaks } from '../leaks.ts';
import {
  type CommandLine,
  type CommandResult,
  openCommandLine,
  type RunOptions,
} from './command-line.ts';

const token = 'EAAcanary0123456789abcdefghijklmnop';
const appSecret = 'canary0123456789abcdef0123456789';
const credentials = JSON.stringify({ accessToken: token, appSecret });
const other = 'EAAother0123456789abcdefghijklmnop';

const wabaIds = Array.from({ length: 12 }, (_, index) => String(710_000_000_001 + index));
/** Of numbers: 1,000 in 12 accounts, 84 in each but for the last one. */
const total = 1_000;
const phones = Array.from({ length: total }, (_, index) => {
  const waba = wabaIds[Math.floor(index / 84)] ?? '';
  return toHealthyPhone(String(810_000_000_000 + index), waba, {
    display_phone_number: `+55 11 90000-${String(index).padStart(4, '0')}`,
    verified_name: `Shop ${index}`,
  });
});

let line: CommandLine;
beforeAll(async () => {
  line = await openCommandLine({
    simulator: {
      maxPageSize: 25,
      wabas: [
        ...wabaIds.map((id, index) => ({
          id,
          fields: {
            name: `Account ${index}`,
            owner_business_info: { id: String(910_000_000_000 + (index % 3)), name: 'Portfolio' },
          },
        })),
        { id: '720000000001', fields: { name: 'Client' } },
        { id: '720000000002', fields: { name: 'Assigned' } },
        { id: '720000000003', fields: { name: 'Elsewhere' } },
        { id: '720000000004', fields: { name: 'Strange \ud800' } },
      ],
      businesses: [
        {
          id: '910000000000',
          name: 'Portfolio',
          ownedWabaIds: wabaIds,
          clientWabaIds: ['720000000001'],
        },
        { id: '910000000009', name: 'Hidden', ownedWabaIds: [wabaIds[0] ?? ''] },
      ],
      phones: [
        ...phones,
        toHealthyPhone('820000000001', '720000000001', {
          display_phone_number: '+1 631-555-0001',
          status: 'PENDING',
          account_mode: 'SANDBOX',
          verified_name: 'Test number',
        }),
        toHealthyPhone('820000000002', '720000000002', {
          display_phone_number: null,
          platform_type: 'NOT_APPLICABLE',
        }),
        ...['half \ud83d', 'nul \0', 'right \u202e left', ' ', null].map((verified_name, at) =>
          toHealthyPhone(`83000000000${at}`, '720000000004', {
            display_phone_number: `+1 631-555-010${at}`,
            verified_name,
          }),
        ),
      ],
      tokens: [
        {
          token,
          appSecret,
          wabaIds: 'all',
          scopes: ['business_management', 'whatsapp_business_management'],
          businessIds: ['910000000000'],
          assignedWabaIds: ['720000000002'],
          expiresAt: new Date('2100-01-01T00:00:00Z'),
        },
        // A general grant of another app: Meta does not inspect it, and it has no portfolios.
        { token: other, wabaIds: wabaIds.slice(0, 1), isInspectable: false },
        { token: 'EAAscoped0123456789abcdefghijk', wabaIds: wabaIds.slice(0, 2) },
        {
          token: 'EAAnothing0123456789abcdefghij',
          wabaIds: 'all',
          scopes: ['business_management', 'whatsapp_business_management'],
          assignedWabaIds: [],
          dataAccessExpiresAt: new Date('2100-01-01T00:00:00Z'),
        },
        { token: 'EAAdead0123456789abcdefghijklm', wabaIds: 'all', state: 'expired' },
        {
          token: 'EAAmessaging0123456789abcdefg',
          wabaIds: wabaIds.slice(0, 1),
          scopes: ['whatsapp_business_messaging'],
        },
      ],
    },
  });
});
afterAll(() => line[Symbol.asyncDispose]());
afterEach(() => line.simulator.clearCalls());

interface Discovered {
  readonly token: { readonly expiresAt: string | null } | null;
  readonly ways: readonly { way: string; accounts: number; problems: { message: string }[] }[];
  readonly accounts: readonly {
    readonly id: string;
    readonly name: string | null;
    readonly portfolio: { readonly id: string } | null;
    readonly problem: { readonly code: string; readonly message: string } | null;
    readonly numbers: readonly {
      readonly phoneNumberId: string;
      readonly number: string | null;
      readonly result: string;
      readonly id: string | null;
      readonly status: string | null;
    }[];
  }[];
}

type Run = CommandResult<Discovered>;

async function run(words: string, options: RunOptions = {}): Promise<Run> {
  const environment = { LOG_LEVEL: 'trace', ...options.environment };
  const result = await line.run<Discovered>(words, {
    stdin: credentials,
    ...options,
    environment,
  });
  const { calls } = line.simulator;
  const outputs = [
    { source: 'output', text: result.stdout + result.stderr },
    { source: 'URLs', text: calls.map(({ path, query }) => path + JSON.stringify(query)).join() },
  ];
  expect(findLeaks(outputs, [token, appSecret])).toEqual([]);
  return result;
}

const discover = (tenant: string, words = '', options: RunOptions = {}) =>
  run(`number discover --tenant ${tenant} --credentials - ${words}`, options);
const importAll = (tenant: string, options: RunOptions = {}) =>
  run(`number import --tenant ${tenant} --credentials - --all`, options);

const withToken = (accessToken: string): RunOptions => ({ stdin: JSON.stringify({ accessToken }) });

function count({ json }: Run): Readonly<Record<string, number>> {
  const results = json.accounts.flatMap(({ numbers }) => numbers.map(({ result }) => result));
  return Object.fromEntries(
    [...Map.groupBy(results, (result) => result)].map(([result, all]) => [result, all.length]),
  );
}

async function countNumbers(tenant: string): Promise<number> {
  return (await line.run<unknown[]>(`number list --tenant ${tenant}`)).json.length;
}

describe('number discover', () => {
  test('unites the ways to find accounts, shows every number, and changes nothing', async () => {
    const tenant = await line.addTenant();
    const found = await discover(tenant);
    expect(found.code).toBe(0);
    expect(count(found)).toEqual({ NEW: total + 1, SKIPPED: 1 });
    expect(found.json.ways.map(({ way, accounts }) => [way, accounts])).toEqual([
      ['ids', 0],
      ['token', 0],
      ['portfolios', 13],
      ['assigned', 1],
    ]);
    expect(found.json.token?.expiresAt).toBe('2100-01-01T00:00:00.000Z');
    expect(found.json.accounts).toHaveLength(14);
    expect(found.json.accounts[0]).toMatchObject({
      id: wabaIds[0],
      name: 'Account 0',
      watch: 'REPORT',
      portfolio: { id: '910000000000', name: 'Portfolio' },
    });
    const numbers = found.json.accounts.flatMap((account) => account.numbers);
    expect(new Set(numbers.map(({ phoneNumberId }) => phoneNumberId)).size).toBe(total + 2);
    expect(numbers.find(({ phoneNumberId }) => phoneNumberId === '820000000001')).toEqual({
      phoneNumberId: '820000000001',
      number: '16315550001',
      verifiedName: 'Test number',
      status: 'PENDING',
      platformType: 'CLOUD_API',
      accountMode: 'SANDBOX',
      result: 'NEW',
      id: null,
    });
    expect(await countNumbers(tenant)).toBe(0);
  });

  test('reads the token in the body of a batch, and never follows the address of the next page', async () => {
    await discover(await line.addTenant());
    const { calls } = line.simulator;
    const inspection = calls.filter(({ operations }) => operations.includes('debug_token'));
    expect(inspection).toMatchObject([{ method: 'POST', path: '/v26.0/' }]);
    expect(calls.filter(({ query }) => 'access_token' in query)).toEqual([]);
    expect(calls.filter(({ query }) => 'after' in query).length).toBeGreaterThan(30);
  });

  test('finds the accounts that a scoped token names, whatever the order of its scopes', async () => {
    const { json } = await discover(
      await line.addTenant(),
      '',
      withToken('EAAscoped0123456789abcdefghijk'),
    );
    expect(json.accounts.map(({ id, name }) => [id, name])).toEqual([
      [wabaIds[0], 'Account 0'],
      [wabaIds[1], 'Account 1'],
    ]);
    expect(json.ways.at(-1)?.problems).toMatchObject([{ code: 'META_ACCESS_DENIED' }]);
    const problems = json.ways.flatMap(({ problems: all }) => all.map(({ message }) => message));
    expect(problems).toEqual([
      expect.stringContaining('lacks a permission'),
      'The token is not that of a system user.',
    ]);
  });

  test('reads accounts and portfolios that are named, and says what an id of another kind is', async () => {
    const tenant = await line.addTenant();
    const named = `--waba ${wabaIds[0]} --waba 810000000000 --business 910000000009`;
    const { code, json, stderr } = await discover(tenant, named, withToken(other));
    expect(code).toBe(0);
    expect(json.accounts.map(({ id, problem }) => [id, problem?.message ?? null])).toEqual([
      [wabaIds[0], null],
      ['810000000000', 'This is the id of a phone number. WhatsApp Manager shows the ids.'],
    ]);
    expect(stderr).toContain('Account 810000000000: This is the id of a phone number.');
    const portfolios = json.ways.find(({ way }) => way === 'portfolios');
    expect(portfolios?.problems.at(-1)?.message).toMatch(
      /^Portfolio 910000000009: Meta does not know this business portfolio id/,
    );
  });

  test('continues when the numbers of an account are refused, and names the reason', async () => {
    const tenant = await line.addTenant();
    line.simulator.setFault(wabaIds[3] ?? '', { kind: 'error', code: 200 });
    const found = await discover(tenant);
    line.simulator.setFault(wabaIds[3] ?? '', null);
    expect(found.code).toBe(0);
    expect(count(found)).toEqual({ NEW: total + 1 - 84, SKIPPED: 1 });
    const refused = found.json.accounts.find(({ id }) => id === wabaIds[3]);
    expect(refused).toMatchObject({ numbers: [], problem: { code: 'META_ACCESS_DENIED' } });
    expect(found.stderr).toContain('META_ACCESS_DENIED: Account Account 3: ');
  });

  test.each([
    ['without the cursor of the next page', { kind: 'missing-cursor' }, 25],
    ['with the same cursor again', { kind: 'empty-data' }, 0],
    ['without a list', { kind: 'missing-list' }, 0],
  ] as const)('says that a list is incomplete after a page %s', async (_, fault, numbers) => {
    const tenant = await line.addTenant();
    line.simulator.setFault(wabaIds[3] ?? '', fault);
    const found = await discover(tenant, `--waba ${wabaIds[3]}`);
    line.simulator.setFault(wabaIds[3] ?? '', null);
    const account = found.json.accounts.find(({ id }) => id === wabaIds[3]);
    expect(account?.numbers).toHaveLength(numbers);
    expect(account?.problem).toEqual({
      code: 'META_UNAVAILABLE',
      message: 'Meta listed a part only: it did not say how the list continues. Try again later.',
    });
    const pages = line.simulator.calls.filter(({ path }) => path.includes(wabaIds[3] ?? ''));
    expect(pages.length).toBeLessThan(5);
  });

  test.each([
    ['expired', 'EAAdead0123456789abcdefghijklm', 'The access token has expired.'],
    ['of an app that may only send', 'EAAmessaging0123456789abcdefg', 'lacks a permission'],
  ])('has exit code 3 and the reasons when the token is %s', async (_, accessToken, reason) => {
    const { code, stderr } = await discover(await line.addTenant(), '', withToken(accessToken));
    expect(code).toBe(3);
    expect(stderr).toContain('NOTHING_VISIBLE: ');
    expect(stderr).toContain('\n- Portfolios of the token: ');
    expect(stderr).toContain(reason);
  });

  test('has a reason for each way that has found nothing', async () => {
    const nothing = await discover(
      await line.addTenant(),
      '',
      withToken('EAAnothing0123456789abcdefghij'),
    );
    expect(nothing.code).toBe(3);
    expect(nothing.stderr).toContain(
      [
        'NOTHING_VISIBLE: No account is visible to the token.',
        '- What Meta says about the token: It names no account.',
        '- Portfolios of the token: They have no account.',
        '- Accounts assigned to a system user: There are none.',
        '',
      ].join('\n'),
    );
    const importing = await run(
      `number import --tenant ${await line.addTenant()} --credentials - --phone-number-id 899999999999`,
      withToken('EAAnothing0123456789abcdefghij'),
    );
    expect(importing.code).toBe(3);
    expect(importing.stderr).not.toContain('NUMBER_NOT_FOUND');
  });

  test('says that Meta does not inspect the token of another app', async () => {
    const { json } = await discover(await line.addTenant(), '', withToken(other));
    expect(json.ways.find(({ way }) => way === 'token')?.problems).toEqual([
      {
        code: 'NOT_INSPECTED',
        message:
          'Meta says nothing about this token, because it inspects tokens of its own app only. Its Access Token Debugger shows what the token can see and when it expires.',
      },
    ]);
  });

  test('says which of the token and its permission to read data expires', async () => {
    const { stdout } = await discover(await line.addTenant(), `--waba ${wabaIds[0]}`, {
      ...withToken('EAAnothing0123456789abcdefghij'),
      tty: ['stdout'],
    });
    expect(stdout).toContain('\nIts permission to read data ends at 2100-01-01T00:00:00Z.\n');
    expect(stdout).not.toContain('The token expires');
  });

  test('leaves out what is the same in all rows before it leaves out the status', async () => {
    const { stdout, stderr } = await discover(await line.addTenant(), '', {
      tty: ['stdout'],
      columns: 100,
      environment: { LOG_LEVEL: 'error' },
    });
    const [title, ...lines] = stdout.split('\n');
    expect(title).toMatch(/^PORTFOLIO +ACCOUNT +NUMBER +NAME +PHONE NUMBER ID +STATUS +RESULT$/);
    expect(lines.some((it) => / CONNECTED NOT_REGISTERED +SKIPPED$/.test(it))).toBe(true);
    expect(stderr).toBe('SKIPPED: Meta shows no digits of 1 number. Type them with: number add\n');
  });

  test('is a table on a terminal, with the portfolio, the account and what is new', async () => {
    const tenant = await line.addTenant();
    const environment = { LOG_LEVEL: 'info' };
    const { stdout, stderr } = await discover(tenant, '', {
      tty: ['stdout', 'stderr'],
      environment,
    });
    const [title, ...lines] = stdout.trimEnd().split('\n');
    expect(title).toMatch(
      /^PORTFOLIO +ACCOUNT +LATER NUMBERS +NUMBER +NAME +PHONE NUMBER ID +STATUS +RESULT$/,
    );
    expect(lines.some((it) => /Portfolio +Account 0 +REPORT .* CONNECTED +NEW$/.test(it))).toBe(
      true,
    );
    expect(lines.some((it) => / Test number .* PENDING SANDBOX +NEW$/.test(it))).toBe(true);
    expect(stdout).toContain('1002 numbers in 14 accounts: 1001 new, 1 skipped.');
    expect(stdout).toContain('The token expires at 2100-01-01');
    expect(stderr).toMatch(/Reading .* 14\/14 accounts/);
  });
});

describe('number import', () => {
  test('adds 1,000 numbers of 12 accounts over pages of 25 within a minute, and nothing when repeated', async () => {
    const tenant = await line.addTenant();
    const startedAt = performance.now();
    const wanted = wabaIds.map((id) => `--waba ${id}`).join(' ');
    const words = `number import --tenant ${tenant} --credentials - ${wanted}`;
    const first = await run(words);
    const seconds = (performance.now() - startedAt) / 1_000;
    console.info(`import of ${total} numbers in 12 accounts: ${seconds.toFixed(1)} s`);
    expect(seconds).toBeLessThan(60);
    expect(first.code).toBe(0);
    expect(count(first)).toEqual({ ADDED: total });
    expect(await countNumbers(tenant)).toBe(total);
    expect(count(await run(words))).toEqual({ KNOWN: total });
    const { json: shared } = await line.run<object[]>(`credential list --tenant ${tenant}`);
    expect(shared).toMatchObject([
      { name: 'import', numbers: total, expiresAt: '2100-01-01T00:00:00.000Z' },
    ]);
  });

  test('gives numbers their verified names, and a token that reads them', async () => {
    const tenant = await line.addTenant();
    const { json } = await run(
      `number import --tenant ${tenant} --credentials - --phone-number-id 810000000007 --phone-number-id 820000000001`,
    );
    const added = json.accounts.flatMap(({ numbers }) =>
      numbers.filter(({ result }) => result === 'ADDED'),
    );
    expect(added.map(({ phoneNumberId }) => phoneNumberId)).toEqual([
      '810000000007',
      '820000000001',
    ]);
    const { json: listed } = await line.run<object[]>(`number list --tenant ${tenant}`);
    expect(listed).toMatchObject([
      { name: 'Shop 7', number: '5511900000007', provider: 'META', state: 'OPEN' },
      { name: 'Test number', number: '16315550001', state: 'CONNECTING' },
    ]);
    const refreshed = await line.run(`number refresh ${added[0]?.id}`);
    expect(refreshed).toMatchObject({ code: 0, json: [{ health: { metaStatus: 'CONNECTED' } }] });
    const { json: shared } = await line.run<object[]>(`credential list --tenant ${tenant}`);
    expect(shared).toMatchObject([{ numbers: 2, expiresAt: '2100-01-01T00:00:00.000Z' }]);
  });

  test('adds numbers whatever their verified names contain', async () => {
    const tenant = await line.addTenant();
    const words = `number import --tenant ${tenant} --credentials - --waba 720000000004`;
    expect(count(await run(words))).toEqual({ ADDED: 5 });
    const { json } = await line.run<{ name: string }[]>(
      `number list --tenant ${tenant} --order-by NAME`,
    );
    expect(json.map(({ name }) => name)).toEqual([
      '16315550103',
      '16315550104',
      'half \ufffd',
      'nul \ufffd',
      'right \u202e left',
    ]);
    const { stdout } = await line.run(words, { stdin: credentials, tty: ['stdout'] });
    expect(stdout).toMatch(/ Strange \ufffd .* half \ufffd /);
  });

  test('keeps what it has added when it is interrupted, and completes when it is repeated', async () => {
    const tenant = await line.addTenant();
    const stop = new AbortController();
    const hold = line.simulator.hold(wabaIds[7] ?? '');
    void hold.arrived.then(() => stop.abort(new Error('Stopped by SIGINT.')));
    const stopped = await importAll(tenant, { signal: stop.signal });
    hold.release();
    expect(stopped).toMatchObject({ code: 1, stdout: '' });
    const added = /STOPPED: Stopped by SIGINT\. (\d+) numbers were added; run/.exec(stopped.stderr);
    const kept = await countNumbers(tenant);
    expect(String(kept)).toBe(added?.[1]);
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThan(total);
    const repeated = await importAll(tenant);
    expect(count(repeated)).toEqual({ ADDED: total + 1 - kept, KNOWN: kept, SKIPPED: 1 });
    expect(await countNumbers(tenant)).toBe(total + 1);
    // One credential, although the import was started twice.
    const { json: shared } = await line.run<object[]>(`credential list --tenant ${tenant}`);
    expect(shared).toMatchObject([{ numbers: total + 1 }]);
  });

  test('leaves numbers alone that the tenant has, and does not say that another tenant has one', async () => {
    const [tenant, foreign] = [await line.addTenant(), await line.addTenant()];
    const one = `--credentials - --waba ${wabaIds[0]}`;
    await run(`number import --tenant ${foreign} ${one}`);
    const { json: before } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Mine --number 5511900000000 --provider META --phone-number-id 810000000000 --waba-id ${wabaIds[0]}`,
    );
    const imported = await run(`number import --tenant ${tenant} ${one}`);
    expect(count(imported)).toEqual({ ADDED: 83, KNOWN: 1 });
    const known = imported.json.accounts[0]?.numbers[0];
    expect(known).toMatchObject({ result: 'KNOWN', id: before.id });
    expect((await line.run(`number show ${before.id}`)).json).toMatchObject({ name: 'Mine' });
  });

  test('uses a stored credential', async () => {
    const tenant = await line.addTenant();
    const { json: stored } = await line.run<{ id: string }>(
      `credential set --tenant ${tenant} --name fleet --credentials -`,
      { stdin: credentials },
    );
    const imported = await run(
      `number import --tenant ${tenant} --credential ${stored.id} --waba ${wabaIds[1]}`,
    );
    expect(count(imported)).toEqual({ ADDED: 84 });
    const { json: shared } = await line.run<object[]>(`credential list --tenant ${tenant}`);
    expect(shared).toMatchObject([{ id: stored.id, name: 'fleet', numbers: 84 }]);
  });

  test('fails when a part could not be read, keeps the rest, and says so', async () => {
    const tenant = await line.addTenant();
    const words = `number import --tenant ${tenant} --credentials - --waba ${wabaIds[4]} --waba ${wabaIds[5]}`;
    line.simulator.setFault(wabaIds[5] ?? '', { kind: 'missing-cursor' });
    const partial = await run(words);
    line.simulator.setFault(wabaIds[5] ?? '', null);
    expect(partial.code).toBe(1);
    expect(count(partial)).toEqual({ ADDED: 84 + 25 });
    expect(partial.stderr).toMatch(
      /^META_UNAVAILABLE: Account Account 5: Meta listed a part only/m,
    );
    const repeated = await run(words);
    expect(repeated.code).toBe(0);
    expect(count(repeated)).toEqual({ KNOWN: 84 + 25, ADDED: 84 - 25 });
  });

  test('shows a number that was added at the same time as known', async () => {
    const tenant = await line.addTenant();
    const hold = line.simulator.hold(wabaIds[6] ?? '');
    const importing = run(`number import --tenant ${tenant} --credentials - --waba ${wabaIds[6]}`);
    await hold.arrived;
    const id = String(810_000_000_000 + 6 * 84);
    const { json: added } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Mine --number 5511900000000 --provider META --phone-number-id ${id} --waba-id ${wabaIds[6]}`,
    );
    hold.release();
    const imported = await importing;
    expect(count(imported)).toEqual({ ADDED: 83, KNOWN: 1 });
    expect(imported.json.accounts[0]?.numbers[0]).toMatchObject({ result: 'KNOWN', id: added.id });
  });

  test('looks for a number in the accounts that are named only', async () => {
    const tenant = await line.addTenant();
    const find = (id: number, waba = '') =>
      run(
        `number import --tenant ${tenant} --credentials - --phone-number-id ${id} --waba ${waba}`,
      );
    const found = await find(810_000_000_000, wabaIds[0]);
    expect(found.code).toBe(0);
    expect(found.json.accounts.map((it) => it.id)).toEqual([wabaIds[0]]);
    expect(count(found)).toEqual({ ADDED: 1, NEW: 83 });
    const missing = await find(810_000_000_001, wabaIds[1]);
    expect(missing.code).toBe(1);
    expect(missing.stderr).toMatch(
      /^NUMBER_NOT_FOUND: The accounts that are named have no number with the phone number id 810000000001\./m,
    );
  });

  test('reports numbers that were named and not found', async () => {
    const { code, stderr } = await run(
      `number import --tenant ${await line.addTenant()} --credentials - --phone-number-id 899999999999`,
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/^NUMBER_NOT_FOUND: No account that the token can see .* 899999999999/m);
  });

  test('stops within the budget of the tenant', async () => {
    const tenant = await line.addTenant();
    line.simulator.setFault(wabaIds[2] ?? '', { kind: 'throttled', minutes: 30 });
    const one = `number discover --tenant ${tenant} --credentials - --waba ${wabaIds[2]}`;
    await run(one);
    line.simulator.setFault(wabaIds[2] ?? '', null);
    line.simulator.clearCalls();
    const again = await run(one);
    const refused = again.json.accounts.find(({ id }) => id === wabaIds[2]);
    expect(refused?.problem?.code).toBe('META_RATE_LIMITED');
    const read = line.simulator.calls.flatMap(({ operations }) => operations);
    expect(read).not.toContain(`phone_numbers ${wabaIds[2]}`);
  });
});

describe('wrong usage', () => {
  test.each([
    ['no token', 'number discover --tenant ten_x', /either --credentials or --credential/],
    [
      'two tokens',
      'number discover --tenant ten_x --credentials - --credential cred_x',
      /either --credentials or --credential/,
    ],
    ['nothing to add', 'number import --tenant ten_x --credentials -', /--all, --waba or/],
    [
      'two selections',
      'number import --tenant ten_x --credentials - --all --waba 12345',
      /--all, --waba or/,
    ],
    [
      'accounts and portfolios',
      'number import --tenant ten_x --credentials - --waba 12345 --business 12345',
      /either --waba or --business/,
    ],
    ['a short id', 'number discover --tenant ten_x --credentials - --waba 12', /5 to 20 digits/],
  ])('%s gets exit code 2', async (_, words, expected) => {
    const { code, stdout, stderr } = await line.run(words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(expected);
  });
});
