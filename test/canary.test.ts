// No secret leaves the gateway: every API and command runs with known secrets (canaries), and all output is scanned for
// them. The scanner itself has to find nine planted leaks.

import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { Client } from 'pg';
import { describe, expect, test } from 'vitest';
import { listen } from '../src/http/server.ts';
import { sentinels, sentinelWabaId } from './simulator/simulator.ts';
import { openReceiver } from './alerts/receiver.ts';
import { openCommandLine } from './admin/command-line.ts';
import {
  databases,
  openTestDatabase,
  openTestGateway,
  type TestGateway,
  type TestGatewayOptions,
} from './harness.ts';
import { findLeaks, type Output } from './leaks.ts';

async function readResponse(source: string, response: Response): Promise<Output> {
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`);
  return { source, text: [...headers, await response.text()].join('\n') };
}

type Query = (text: string) => Promise<readonly Record<string, unknown>[]>;

/** Every row of every table as text, with bytes as hex, and the statements that the server shows as active. */
async function dump(query: Query): Promise<readonly Output[]> {
  const tables = await query(
    `select c.relname as name from pg_class c
     where c.relkind in ('r', 'p', 'm') and c.relnamespace = 'public'::regnamespace`,
  );
  const outputs: Output[] = [];
  for (const { name } of tables) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    const rows = await query(`select t::text as row from "${String(name)}" t`);
    outputs.push({ source: `table ${String(name)}`, text: rows.map(({ row }) => row).join('\n') });
  }
  const activity = await query(
    'select query from pg_stat_activity where datname = current_database()',
  );
  return [...outputs, { source: 'statements', text: activity.map((it) => it['query']).join() }];
}

describe('the scanner', () => {
  // Contains every character that an encoding escapes.
  const canary = 'cAn"ary\\0123/+=é-456789';
  const error = new Error('read', { cause: new Error('inner', { cause: { token: canary } }) });
  const inJson = JSON.stringify({ a: JSON.stringify({ b: JSON.stringify({ token: canary }) }) });
  const planted: Readonly<Record<string, () => Promise<string> | string>> = {
    'an echoed header': async () => {
      const headers = { 'x-echo': encodeURI(canary) };
      return (await readResponse('', new Response('', { headers }))).text;
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
    const leaks = findLeaks([{ source: 'here', text }], ['something else', canary]);
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
        expect(findLeaks([{ source: 'here', text }], [secret])).not.toEqual([]);
      }
    }
  });

  test('finds nothing in a text without secrets', () => {
    const text = JSON.stringify({ name: 'Shop', id: 'wa_1', keyPrefix: 'ps_abcd' });
    expect(findLeaks([{ source: 'here', text }], [canary])).toEqual([]);
  });
});

const wholeQuery = `query($id: ID!) { number(id: $id, refresh: true) {
  id apiKeys { name keyPrefix keyLast4 } state health { sendable freshness { error { code message } } }
  meta { phone { verifiedName } waba { name freshness { error { message } } } } } }`;

/** Sends valid requests and each kind of invalid one to both APIs. */
async function exerciseBothApis(
  gateway: TestGateway,
): Promise<readonly (Output & { status: number })[]> {
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
  const responses: (Output & { status: number })[] = [];
  const send = async (path: string, init: RequestInit = {}, from = '192.0.2.1') => {
    const method = init.method ?? 'GET';
    const headers = { 'x-api-key': key, ...(init.headers as Record<string, string>) };
    const request = new Request(`http://gateway.test${path}`, { ...init, headers });
    const response = await gateway.gateway.fetch(request, from);
    const source = `response ${responses.length} to ${method} ${path.slice(0, 20)}`;
    responses.push({ ...(await readResponse(source, response)), status: response.status });
  };
  const post = (body: string) =>
    send('/graphql', { method: 'POST', body, headers: { 'content-type': 'application/json' } });

  const targets = [...numbers, foreign];
  for (let start = 0; start < targets.length; start += 5) {
    // A few at a time, so that numbers whose upstream hangs do not use up the deadline of the others.
    // oxlint-disable-next-line no-await-in-loop -- see above
    await Promise.all(
      targets
        .slice(start, start + 5)
        .flatMap(({ id }) => [
          send(`/v1/numbers/${id}?refresh=1`),
          send(`/v1/numbers/${id}/status`),
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
    for (const method of ['GET', 'HEAD', 'DELETE']) await send(path, { method });
  }
  const keys = ['', 'x', `Bearer ${key}`, key.slice(0, -1), revoked.key, token];
  for (const invalid of keys) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await send('/v1/numbers', { headers: { 'x-api-key': invalid } });
  }
  for (let guess = 0; guess < 22; guess += 1) {
    // oxlint-disable-next-line no-await-in-loop -- until the address is throttled
    await send('/v1/numbers', { headers: { 'x-api-key': revoked.key } }, '192.0.2.2');
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
    for (const value of [key, token]) await send('/v1/numbers', { headers: { [name]: value } });
  }
  await post(`{"query": "{ numbers { id } }", "${token}`);
  await post(JSON.stringify([token]));
  await post(JSON.stringify({ query: wholeQuery, variables: { id: { token } } }));
  await post(JSON.stringify({ query: wholeQuery, variables: token }));
  await post(JSON.stringify({ query: wholeQuery, variables: { id: token }, operationName: token }));
  await post(JSON.stringify({ query: '{ nothing }' }));
  return responses;
}

/** Adds endpoints for alerts with a secret in the URL, and delivers to one that answers and to one that does not. */
async function exerciseAlerts(gateway: TestGateway): Promise<readonly Output[]> {
  await using receiver = await openReceiver();
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  const { alertEndpoints } = gateway.gateway;
  const outputs: Output[] = [];
  for (const [format, origin] of [
    ['STANDARD', new URL(receiver.url).origin],
    ['SLACK', 'http://127.0.0.1:1'],
  ] as const) {
    const path = randomBytes(24).toString('hex');
    gateway.addSecrets(path);
    const request = { tenantId: tenant.id, url: `${origin}/${path}`, format, rules: [] };
    // oxlint-disable no-await-in-loop -- one after the other
    const added = await alertEndpoints.add(request);
    if (added.secret !== null) gateway.addSecrets(added.secret);
    outputs.push({
      source: `test of ${format}`,
      text: inspect(await alertEndpoints.test(tenant.id, added.id)),
    });
    // oxlint-enable no-await-in-loop
  }
  const rotated = await alertEndpoints.rotate(
    tenant.id,
    (await alertEndpoints.list(tenant.id))[0]!.id,
    60_000,
  );
  gateway.addSecrets(rotated.secret!);
  await gateway.database.query(`update whatsapp_number set state = 'CLOSE' where id = $1`, [id]);
  const { requests } = receiver;
  const targets = inspect(await alertEndpoints.list(tenant.id));
  const changes = await tenant.rest(
    '/v1/changes?after=' +
      (await tenant.rest<{ cursor: string }>('/v1/changes')).body.cursor.replace(/\d+$/, '0'),
  );
  return [
    ...outputs,
    { source: 'endpoints', text: targets },
    { source: 'changes', text: changes.text },
    ...requests.map(({ body, headers }) => ({
      source: 'message',
      text: `${inspect(headers)} ${body}`,
    })),
  ];
}

describe.each(databases)('on %s', (kind) => {
  test('no response, log line, metric or row contains a secret, whatever was requested and failed', async () => {
    await using gateway = await openTestGateway({
      database: kind,
      deadlineMs: 400,
      alerts: { allowsLocalHttp: true },
    });
    const { database } = gateway;
    const alerts = await exerciseAlerts(gateway);
    const responses = [...(await exerciseBothApis(gateway))];
    const tenant = await gateway.addTenant();
    // A defect of the gateway: the response contains no details, the log has the stack.
    await database.query('alter table whatsapp_number rename to gone');
    const { key } = tenant;
    const broken = await gateway.rest('/v1/numbers', { key });
    await database.query('alter table gone rename to whatsapp_number');
    const options = { host: '127.0.0.1', port: 0, noticeMs: 0 };
    const server = await listen(gateway.gateway, options);
    for (const path of ['/livez', '/readyz', '/metrics', '/v1/numbers']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      responses.push({ ...(await readResponse(path, await fetch(server.url + path))), status: 0 });
    }
    await server.drain();
    const outputs = [
      ...alerts,
      ...responses,
      { source: 'a defect', text: broken.text },
      { source: 'log', text: gateway.logLines.join('\n') },
      { source: 'statements', text: gateway.statements.join('\n') },
      { source: 'objects in memory', text: inspect(gateway.gateway.numbers, { depth: 4 }) },
      ...(await dump(database.query)),
    ];
    const canaries = [...new Set(gateway.secrets)];
    const statuses = [...new Set(responses.map(({ status }) => status))].toSorted((a, b) => a - b);
    const size = outputs.reduce((sum, { text }) => sum + text.length, 0);
    console.log(
      `${kind}: ${canaries.length} canaries, ${outputs.length} outputs, ${size} characters, statuses ${statuses.join(' ')}`,
    );
    expect(findLeaks(outputs, canaries)).toEqual([]);
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
  // In an encoding that the log does not redact.
  gateway.gateway.telemetry.warn('planted', { cause: btoa(`app:${appSecret}`) });
  // The harness remembers leaks of lines that are cleared.
  gateway.clearLogLines();
  return gateway;
}

describe('the gateway of any test', () => {
  test('throws when it is disposed after it has logged a secret', async () => {
    const gateway = await openLeaking({});
    await expect(gateway[Symbol.asyncDispose]()).rejects.toThrow(
      /^a secret leaked: log: base64(url)? of canary \d+/,
    );
  });

  test('can be disposed in a test that declares its planted leak', async () => {
    const gateway = await openLeaking({ plantsLeaks: true });
    await expect(gateway[Symbol.asyncDispose]()).resolves.toBeUndefined();
  });
});

test('no command prints a secret, except a new key where it is created', async () => {
  const accessToken = `EAA${randomBytes(24).toString('hex')}`;
  const appSecret = randomBytes(16).toString('hex');
  const stdin = JSON.stringify({ accessToken, appSecret });
  const tokens = [{ token: accessToken, appSecret, wabaIds: 'all' as const }];
  await using line = await openCommandLine({ simulator: { tokens } });
  const { ENCRYPTION_KEYS = '', API_KEY_PEPPER = '' } = line.environment;
  const canaries = [accessToken, appSecret, API_KEY_PEPPER, ENCRYPTION_KEYS.split(':')[1] ?? ''];
  canaries.push(new URL(line.database.url).password);
  const outputs: Output[] = [];
  const tty = ['stdout', 'stderr'] as const;
  const run = async (words: string, piped = '', environment = {}) => {
    const options = { stdin: piped, environment: { LOG_LEVEL: 'trace', ...environment } };
    const ran = await line.run<{ id?: string; key?: string; secret?: string }>(words, options);
    const { key, secret } = ran.json ?? {};
    canaries.push(...[key, secret].filter((it) => it !== undefined));
    // The only output that may contain a key, and the only one that may contain the secret of an endpoint.
    const text = `${ran.stdout}\n${ran.stderr}`
      .replace(`"key":"${key}"`, '')
      .replace(`"secret":"${secret}"`, '');
    outputs.push({ source: words.replace(accessToken, '…'), text });
    return ran.json?.id ?? '';
  };
  const tenant = await run('tenant create --name Acme');
  const key = await run(`key create --tenant ${tenant}`);
  await run(`key rotate ${key}`);
  const meta = `number add --tenant ${tenant} --name X --number 55119 --provider META --waba-id ${sentinelWabaId}`;
  const number = await run(
    `${meta} --phone-number-id 990000000000 --credentials - --no-check`,
    stdin,
  );
  await run(`${meta} --phone-number-id 990000000000 --credentials - --no-check`, stdin);
  const hook = randomBytes(24).toString('hex');
  canaries.push(hook);
  const url = `https://hooks.invalid/${hook}`;
  const endpoint = await run(`alert add --tenant ${tenant} --url -`, url);
  await run(`alert rotate ${endpoint} --tenant ${tenant}`);
  await run(`alert add --tenant ${tenant} --url -`, url.replace('https', 'ftp'));
  for (const words of [
    `key list --tenant ${tenant}`,
    `key revoke ${key}`,
    `key revoke ${accessToken}`,
    `number refresh ${number}`,
    `number refresh --tenant ${tenant} --all`,
    `number set-state ${number} CLOSE`,
    `number list --tenant ${tenant}`,
    `audit list --tenant ${tenant}`,
    `alert list --tenant ${tenant}`,
    `alert test ${endpoint} --tenant ${tenant}`,
    `alert rotate ${endpoint} --tenant ${accessToken}`,
    'keys rotate-encryption',
    'doctor',
    'tenant list',
    'migrate',
    'nothing of the kind',
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await run(words);
    // oxlint-disable-next-line no-await-in-loop -- the same in a terminal
    const { stdout, stderr } = await line.run(words, { tty });
    outputs.push({ source: `${words.slice(0, 20)}, in a terminal`, text: `${stdout}\n${stderr}` });
  }
  await run(`number set-credentials ${number} --credentials -`, stdin);
  await run(`number set-credentials ${number} --credentials -`, `${stdin},`);
  await run(`number set-credentials ${number} --credentials ${accessToken}`);
  const unreachable = Object.assign(new URL(line.database.url), { port: '1' }).href;
  await run('serve', '', { DATABASE_URL: unreachable });
  await run('doctor', '', { DATABASE_URL: unreachable });
  await run('doctor', '', { ENCRYPTION_KEYS: `${ENCRYPTION_KEYS},${ENCRYPTION_KEYS}` });

  const owner = new Client({ connectionString: line.database.ownerUrl });
  await owner.connect();
  outputs.push(...(await dump(async (text) => (await owner.query(text)).rows)));
  await owner.end();
  console.log(`command line: ${canaries.length} canaries, ${outputs.length} outputs`);
  // Two of Meta, two of the environment, the password, two keys, and of an endpoint its URL and two secrets.
  expect(canaries).toHaveLength(10);
  expect(findLeaks(outputs, canaries)).toEqual([]);
});
