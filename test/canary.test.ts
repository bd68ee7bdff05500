// That no secret comes out anywhere: the whole surface is driven with secrets that are looked for afterwards, in clear
// text and in the forms that text takes on its way. The scanner has to find nine planted leaks before it is believed.

import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { Client } from 'pg';
import { describe, expect, test } from 'vitest';
import { listen } from '../src/http/server.ts';
import { sentinels, sentinelWabaId } from '../src/simulator/simulator.ts';
import { openCommandLine } from './admin/command-line.ts';
import {
  databases,
  openTestDatabase,
  openTestGateway,
  type TestGateway,
  type TestGatewayOptions,
} from './harness.ts';
import { findLeaks, type Sighting } from './leaks.ts';

async function toSighting(place: string, response: Response): Promise<Sighting> {
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`);
  return { place, text: [...headers, await response.text()].join('\n') };
}

type Query = (text: string) => Promise<readonly Record<string, unknown>[]>;

/** Every row of every table as text, bytes as hex, and what the server remembers of statements. */
async function dump(query: Query): Promise<readonly Sighting[]> {
  const tables = await query(
    `select c.relname as name from pg_class c
     where c.relkind in ('r', 'p', 'm') and c.relnamespace = 'public'::regnamespace`,
  );
  const sightings: Sighting[] = [];
  for (const { name } of tables) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    const rows = await query(`select t::text as row from "${String(name)}" t`);
    sightings.push({ place: `table ${String(name)}`, text: rows.map(({ row }) => row).join('\n') });
  }
  const activity = await query(
    'select query from pg_stat_activity where datname = current_database()',
  );
  return [...sightings, { place: 'statements', text: activity.map((it) => it['query']).join() }];
}

describe('the scanner', () => {
  // With everything that is escaped somewhere.
  const canary = 'cAn"ary\\0123/+=é-456789';
  const error = new Error('read', { cause: new Error('inner', { cause: { token: canary } }) });
  const inJson = JSON.stringify({ a: JSON.stringify({ b: JSON.stringify({ token: canary }) }) });
  const planted: Readonly<Record<string, () => Promise<string> | string>> = {
    'a header that is echoed': async () => {
      const headers = { 'x-echo': encodeURI(canary) };
      return (await toSighting('', new Response('', { headers }))).text;
    },
    'a field of a log line': () => `${JSON.stringify({ level: 30, authorization: canary })}\n`,
    'the cause of a cause of an error': () => inspect(error, { depth: null }),
    'a stack': () => new Error(`refused: ${canary}`).stack ?? '',
    'JSON in JSON in JSON': () => inJson,
    base64: () => Buffer.from(`user:${canary}:more`).toString('base64'),
    'URL encoding, twice': () => `/x?q=${encodeURIComponent(encodeURIComponent(canary))}`,
    'a column of a table': async () => {
      await using database = await openTestDatabase('PGlite');
      await database.query(
        `with t as (insert into tenant (id, name) values ('t', 'T'))
         insert into api_key (tenant_id, name, key_prefix, key_last4, hash)
         values ('t', 'x', 'x', 'x', $1)`,
        [Buffer.from(canary)],
      );
      return (await dump(database.query)).map(({ text }) => text).join('\n');
    },
    'the arguments of a process': () => ['node', 'main.ts', `--token=${canary}`].join('\0'),
  };

  test.each(Object.entries(planted))('finds %s', async (_, plant) => {
    const text = await plant();
    const leaks = findLeaks([{ place: 'here', text }], ['something else', canary]);
    expect(leaks).not.toEqual([]);
    expect(leaks.filter((leak) => !/^here: .* of canary 1$/.test(leak))).toEqual([]);
  });

  test('finds base64 at every offset and in both alphabets, and hex in both cases', () => {
    const secret = randomBytes(24).toString('base64');
    for (const before of ['', 'a', 'ab', 'abc']) {
      const bytes = Buffer.from(`${before}${secret}zz`);
      for (const text of [
        bytes.toString('base64'),
        bytes.toString('base64url'),
        bytes.toString('hex').toUpperCase(),
      ]) {
        expect(findLeaks([{ place: 'here', text }], [secret])).not.toEqual([]);
      }
    }
  });

  test('has nothing to say of a text without secrets', () => {
    const text = JSON.stringify({ name: 'Shop', id: 'wa_1', keyPrefix: 'ps_abcd' });
    expect(findLeaks([{ place: 'here', text }], [canary])).toEqual([]);
  });
});

const wholeQuery = `query($id: ID!) { number(id: $id, refresh: true) {
  id apiKeys { name keyPrefix keyLast4 } state health { sendable freshness { error { code message } } }
  meta { phone { verifiedName } waba { name freshness { error { message } } } } } }`;

/** Both doors, with what is right and with each kind of mistake. Answers how many statuses were seen. */
async function driveDoors(
  gateway: TestGateway,
): Promise<readonly (Sighting & { status: number })[]> {
  const tenant = await gateway.addTenant();
  const other = await gateway.addTenant();
  const revoked = await tenant.addKey();
  await gateway.access.revokeKey(revoked.id);
  const token = `EAA${randomBytes(24).toString('hex')}`;
  const appSecret = randomBytes(16).toString('hex');
  const numbers = [await tenant.addNumber({ credentials: { accessToken: token, appSecret } })];
  for (const [phoneNumberId, { node }] of Object.entries(sentinels)) {
    if (node !== 'phone') continue;
    // oxlint-disable-next-line no-await-in-loop -- in order of creation
    numbers.push(await tenant.addNumber({ phoneNumberId, wabaId: sentinelWabaId }));
  }
  numbers.push(await tenant.addNumber({ provider: 'PILOT_STATUS' }));
  const foreign = await other.addNumber();
  const { key } = tenant;
  const seen: (Sighting & { status: number })[] = [];
  const see = async (path: string, init: RequestInit = {}, from = '192.0.2.1') => {
    const method = init.method ?? 'GET';
    const headers = { 'x-api-key': key, ...(init.headers as Record<string, string>) };
    const request = new Request(`http://gateway.test${path}`, { ...init, headers });
    const response = await gateway.gateway.fetch(request, from);
    const place = `answer ${seen.length} to ${method} ${path.slice(0, 20)}`;
    seen.push({ ...(await toSighting(place, response)), status: response.status });
  };
  const post = (body: string) =>
    see('/graphql', { method: 'POST', body, headers: { 'content-type': 'application/json' } });

  const asked = [...numbers, foreign];
  for (let from = 0; from < asked.length; from += 5) {
    // A few at a time, so that those that hang do not take the deadline of all.
    // oxlint-disable-next-line no-await-in-loop -- see above
    await Promise.all(
      asked
        .slice(from, from + 5)
        .flatMap(({ id }) => [
          see(`/v1/numbers/${id}?refresh=1`),
          see(`/v1/numbers/${id}/status`),
          post(JSON.stringify({ query: wholeQuery, variables: { id } })),
        ]),
    );
  }
  const paths = ['/v1/numbers', '/v1/openapi.json', '/graphql', `/v1/${token}`, '/metrics'];
  const secretPaths = [
    `/v1/numbers/${token}`,
    `/v1/numbers/${key}`,
    `/v1/numbers?refresh=${token}`,
  ];
  for (const path of [...paths, ...secretPaths, `/v1/numbers/x?refresh=${token}`]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    for (const method of ['GET', 'HEAD', 'DELETE']) await see(path, { method });
  }
  const keys = ['', 'x', `Bearer ${key}`, key.slice(0, -1), revoked.key, token];
  for (const wrong of keys) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await see('/v1/numbers', { headers: { 'x-api-key': wrong } });
  }
  for (let guess = 0; guess < 22; guess += 1) {
    // oxlint-disable-next-line no-await-in-loop -- until the source is throttled
    await see('/v1/numbers', { headers: { 'x-api-key': revoked.key } }, '192.0.2.2');
  }
  for (const name of [
    'x-request-id',
    'accept',
    'origin',
    'if-none-match',
    'authorization',
    'cookie',
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    for (const value of [key, token]) await see('/v1/numbers', { headers: { [name]: value } });
  }
  await post(`{"query": "{ numbers { id } }", "${token}`);
  await post(JSON.stringify([token]));
  await post(JSON.stringify({ query: wholeQuery, variables: { id: { token } } }));
  await post(JSON.stringify({ query: wholeQuery, variables: token }));
  await post(JSON.stringify({ query: wholeQuery, variables: { id: token }, operationName: token }));
  await post(JSON.stringify({ query: '{ nothing }' }));
  return seen;
}

describe.each(databases)('on %s', (kind) => {
  test('no answer, log line, metric or row has a secret, whatever was asked and went wrong', async () => {
    await using gateway = await openTestGateway({ database: kind, deadlineMs: 400 });
    const { database } = gateway;
    const answers = [...(await driveDoors(gateway))];
    const tenant = await gateway.addTenant();
    // A defect: the answer says nothing, the log has the stack.
    await database.query('alter table whatsapp_number rename to gone');
    const { key } = tenant;
    const broken = await gateway.rest('/v1/numbers', { key });
    await database.query('alter table gone rename to whatsapp_number');
    const options = { host: '127.0.0.1', port: 0, noticeMs: 0 };
    const server = await listen(gateway.gateway, options);
    for (const path of ['/livez', '/readyz', '/metrics', '/v1/numbers']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      answers.push({ ...(await toSighting(path, await fetch(server.url + path))), status: 0 });
    }
    await server.drain();
    const sightings = [
      ...answers,
      { place: 'a defect', text: broken.text },
      { place: 'log', text: gateway.logLines.join('\n') },
      { place: 'statements', text: gateway.statements.join('\n') },
      { place: 'what is open', text: inspect(gateway.gateway.numbers, { depth: 4 }) },
      ...(await dump(database.query)),
    ];
    const canaries = [...new Set(gateway.secrets)];
    const statuses = [...new Set(answers.map(({ status }) => status))].toSorted((a, b) => a - b);
    const size = sightings.reduce((sum, { text }) => sum + text.length, 0);
    console.log(
      `${kind}: ${canaries.length} canaries, ${sightings.length} places, ${size} characters, statuses ${statuses.join(' ')}`,
    );
    expect(findLeaks(sightings, canaries)).toEqual([]);
    expect(statuses).toEqual(expect.arrayContaining([200, 400, 401, 404, 405, 429, 502, 504]));
    expect(broken.status).toBe(500);
    expect(canaries.length).toBeGreaterThan(30);
  });
});

async function openLeaking(options: TestGatewayOptions): Promise<TestGateway> {
  const gateway = await openTestGateway(options);
  const appSecret = randomBytes(16).toString('hex');
  const tenant = await gateway.addTenant();
  await tenant.addNumber({ credentials: { accessToken: `EAA${appSecret}`, appSecret } });
  // In a form that is not taken out of a line.
  gateway.gateway.telemetry.warn('planted', { cause: btoa(`app:${appSecret}`) });
  // Nor does this take it out of what was logged.
  gateway.clearLogLines();
  return gateway;
}

describe('the gateway of any test', () => {
  test('cannot be disposed of without an error once it has logged a secret', async () => {
    const gateway = await openLeaking({});
    await expect(gateway[Symbol.asyncDispose]()).rejects.toThrow(
      /^a secret leaked: log: base64(url)? of canary \d+/,
    );
  });

  test('can be where the test says that it plants one', async () => {
    const gateway = await openLeaking({ plantsLeaks: true });
    await expect(gateway[Symbol.asyncDispose]()).resolves.toBeUndefined();
  });
});

test('no command shows a secret, but a new key where it is made', async () => {
  const accessToken = `EAA${randomBytes(24).toString('hex')}`;
  const appSecret = randomBytes(16).toString('hex');
  const stdin = JSON.stringify({ accessToken, appSecret });
  const tokens = [{ token: accessToken, appSecret, wabaIds: 'all' as const }];
  await using line = await openCommandLine({ simulator: { tokens } });
  const { ENCRYPTION_KEYS = '', API_KEY_PEPPER = '' } = line.environment;
  const canaries = [accessToken, appSecret, API_KEY_PEPPER, ENCRYPTION_KEYS.split(':')[1] ?? ''];
  canaries.push(new URL(line.database.url).password);
  const sightings: Sighting[] = [];
  const tty = ['stdout', 'stderr'] as const;
  const see = async (words: string, piped = '', environment = {}) => {
    const told = { stdin: piped, environment: { LOG_LEVEL: 'trace', ...environment } };
    const ran = await line.run<{ id?: string; key?: string }>(words, told);
    const key = ran.json?.key;
    if (key !== undefined) canaries.push(key);
    // The one place where a key may stand.
    const text = `${ran.stdout}\n${ran.stderr}`.replace(`"key":"${key}"`, '');
    sightings.push({ place: words.replace(accessToken, '…'), text });
    return ran.json?.id ?? '';
  };
  const tenant = await see('tenant create --name Acme');
  const key = await see(`key create --tenant ${tenant}`);
  await see(`key rotate ${key}`);
  const meta = `number add --tenant ${tenant} --name X --number 55119 --provider META --waba-id ${sentinelWabaId}`;
  const number = await see(`${meta} --phone-number-id 990000000000 --credentials -`, stdin);
  await see(`${meta} --phone-number-id 990000000000 --credentials -`, stdin);
  for (const words of [
    `key list --tenant ${tenant}`,
    `key revoke ${key}`,
    `key revoke ${accessToken}`,
    `number refresh ${number}`,
    `number refresh --tenant ${tenant} --all`,
    `number set-state ${number} CLOSE`,
    `number list --tenant ${tenant}`,
    `audit list --tenant ${tenant}`,
    'keys rotate-encryption',
    'doctor',
    'tenant list',
    'migrate',
    'nothing of the kind',
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await see(words);
    // oxlint-disable-next-line no-await-in-loop -- the same on a terminal
    const { stdout, stderr } = await line.run(words, { tty });
    sightings.push({ place: `${words.slice(0, 20)}, on a terminal`, text: `${stdout}\n${stderr}` });
  }
  await see(`number set-credentials ${number} --credentials -`, stdin);
  await see(`number set-credentials ${number} --credentials -`, `${stdin},`);
  await see(`number set-credentials ${number} --credentials ${accessToken}`);
  const gone = Object.assign(new URL(line.database.url), { port: '1' }).href;
  await see('serve', '', { DATABASE_URL: gone });
  await see('doctor', '', { DATABASE_URL: gone });
  await see('doctor', '', { ENCRYPTION_KEYS: `${ENCRYPTION_KEYS},${ENCRYPTION_KEYS}` });

  const owner = new Client({ connectionString: line.database.ownerUrl });
  await owner.connect();
  sightings.push(...(await dump(async (text) => (await owner.query(text)).rows)));
  await owner.end();
  console.log(`command line: ${canaries.length} canaries, ${sightings.length} places`);
  expect(findLeaks(sightings, canaries)).toEqual([]);
});
