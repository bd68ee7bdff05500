// `doctor` on a healthy installation, and on one for each thing that can be wrong.

import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { PGlite } from '@electric-sql/pglite';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Check } from '../../src/admin/doctor.ts';
import { openDatabase } from '../../src/database/database.ts';
import { type CommandLine, openCommandLine, runCommand, type RunOptions } from './command-line.ts';
import { openPostgresServer } from '../setup-postgres.ts';

let line: CommandLine;
beforeAll(async () => {
  line = await openCommandLine();
});
afterAll(() => line[Symbol.asyncDispose]());

async function runDoctor(options?: RunOptions) {
  const { code, json, stderr } = await line.run<{ checks: readonly Check[] }>('doctor', options);
  expect(Object.keys(json)).toEqual(['checks']);
  return { code, stderr, checks: json.checks, failed: json.checks.filter(({ ok }) => !ok) };
}

describe('a healthy installation', () => {
  test('passes every check', async () => {
    const { code, stderr, checks } = await runDoctor();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(checks.map(({ name, ok }) => [name, ok])).toEqual([
      ['configuration', true],
      ['database', true],
      ['migrations', true],
      ['role', true],
      ['policies', true],
      ['changes', true],
      ['keys', true],
      ['graph', true],
      ['session engine', true],
    ]);
    expect(checks.every(({ detail }) => detail !== '')).toBe(true);
  });

  test('prints one line per check on a terminal', async () => {
    const { stdout } = await line.run('doctor', { tty: ['stdout'] });
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(9);
    expect(lines.every((text) => text.startsWith('ok  '))).toBe(true);
  });
});

const seeWebhooks = async (environment = {}) => {
  const { code, checks } = await runDoctor({ environment });
  const found = checks.filter(({ name }) => /^(webhooks|account)/.test(name));
  return { code, lines: found.map(({ name, detail }) => `${name}: ${detail}`) };
};

describe('webhooks', () => {
  const account = '102290129340398';
  const publicUrl = { PUBLIC_URL: 'https://numbers.example' };
  beforeAll(async () => {
    await line.query(`insert into tenant (id, name) values ('ten_hooks', 'Hooks')`);
    await line.query(
      `insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
       values ('ten_hooks', 'wa_hooks', '5511999999999', 'Shop', 'META', 'OPEN', '106540352242922', '${account}')`,
    );
    await line.run('webhook meta add --tenant ten_hooks --proof key');
  });
  afterAll(() => line.query(`delete from tenant where id = 'ten_hooks'`));
  const setSnapshots = async (url: string, apps: number) => {
    await line.query(
      `delete from number_snapshot where tenant_id = 'ten_hooks';
       delete from waba_snapshot where tenant_id = 'ten_hooks';
       insert into number_snapshot (tenant_id, number_id, block, attempted_at, observed_at, data)
       values ('ten_hooks', 'wa_hooks', 'phone', now(), now(), '{"webhookUrl":"${url}"}');
       insert into waba_snapshot (tenant_id, waba_id, attempted_at, observed_at, data)
       values ('ten_hooks', '${account}', now(), now(), '{"subscribedApps":${JSON.stringify(Array(apps).fill('1'))}}')`,
    );
  };
  test('are not judged without PUBLIC_URL', async () => {
    expect(await seeWebhooks()).toEqual({
      code: 0,
      lines: ['webhooks of ten_hooks: without PUBLIC_URL it is not known whether they arrive'],
    });
  });

  test('of an account to which no app is subscribed are a warning, with what to do', async () => {
    await setSnapshots('https://relay.example/in', 0);
    expect(await seeWebhooks(publicUrl)).toEqual({
      code: 0,
      lines: [
        'webhooks of ten_hooks: accounts: 1 SILENT',
        `account ${account}: SILENT, Meta sends to https://relay.example/in, no event yet; subscribe the app with POST /{account}/subscribed_apps, and its fields in the App Dashboard`,
      ],
    });
  });

  test('that go elsewhere and never came are a warning a day after the endpoint was added', async () => {
    await setSnapshots('https://relay.example/in', 1);
    expect((await seeWebhooks(publicUrl)).code).toBe(0);
    await line.query(
      `update webhook_endpoint set created_at = now() - interval '25 hours' where tenant_id = 'ten_hooks'`,
    );
    expect(await seeWebhooks(publicUrl)).toEqual({
      code: 0,
      lines: [
        'webhooks of ten_hooks: accounts: 1 MISROUTED',
        `account ${account}: MISROUTED, Meta sends to https://relay.example/in, no event yet; enter the URL of webhook meta list at Meta, or pass the webhooks on from there`,
      ],
    });
  });
});

describe('the login role', () => {
  test('fails when it is a superuser, with how to create another one', async () => {
    const environment = { DATABASE_URL: line.database.ownerUrl };
    const { code, stderr, failed } = await runDoctor({ environment });
    expect(code).toBe(1);
    expect(stderr).toBe('DOCTOR: 1 of 9 checks failed: role.\n');
    expect(failed).toEqual([
      { name: 'role', ok: false, detail: expect.stringMatching(/superuser.*grant gateway_login/) },
    ]);
  });

  test('fails when it cannot switch to the role of a tenant', async () => {
    const { username } = new URL(line.database.url);
    const url = Object.assign(new URL(line.database.url), {
      username: `${username}_bare`,
      password: 'bare-password',
    });
    await line.query(`create role ${url.username} login password '${url.password}'`);
    try {
      const { code, failed } = await runDoctor({ environment: { DATABASE_URL: url.href } });
      expect(code).toBe(1);
      expect(failed[0]?.detail).toMatch(/permission denied/);
    } finally {
      await line.query(`drop role ${url.username}`);
    }
  });
});

describe('policies', () => {
  afterEach(async () => {
    await line.query('alter table number_snapshot force row level security');
    await line.query('drop policy if exists leak on api_key');
  });

  test('fail when a table does not force row-level security, and name the table', async () => {
    await line.query('alter table number_snapshot no force row level security');
    const { code, failed } = await runDoctor();
    expect(code).toBe(1);
    expect(failed).toEqual([
      { name: 'policies', ok: false, detail: expect.stringMatching(/: number_snapshot$/) },
    ]);
  });

  test('fail when another policy admits every tenant', async () => {
    await line.query('create policy leak on api_key using (true)');
    const { failed } = await runDoctor();
    expect(failed.map(({ name, detail }) => `${name} ${detail}`)).toEqual([
      expect.stringMatching(/^policies .*: api_key$/),
    ]);
  });
});

test.each([
  [
    'a policy that admits every tenant',
    `alter policy tenant_isolation on waba_snapshot using (current_setting('app.tenant_id', true) is not null)`,
    /on: waba_snapshot$/,
  ],
  [
    'a policy that does not check written rows',
    'alter policy tenant_isolation on waba_snapshot with check (true)',
    /on: waba_snapshot$/,
  ],
  [
    'a view with the privileges of its owner',
    'create view everything as select * from whatsapp_number; grant select on everything to gateway_tenant',
    /^everything shows .*security_invoker/,
  ],
  [
    'the privilege to truncate a table',
    'grant truncate on whatsapp_number to gateway_tenant',
    /^gateway_tenant may truncate whatsapp_number; run: revoke/,
  ],
  [
    'a function with the privileges of its owner',
    `create function peek() returns text security definer language sql return 'x'`,
    /^function peek\(\) runs with/,
  ],
  [
    'a known function without a search_path',
    'alter function list_tenants() reset search_path',
    /^function list_tenants\(\) runs with .* set search_path/,
  ],
  [
    'a known function whose search_path has a schema others can create in',
    'alter function list_tenants() set search_path = public',
    /^function list_tenants\(\) runs with .* set search_path/,
  ],
  [
    'an unknown function with the name of a known one',
    `create function list_tenants(x text) returns setof tenant security definer language sql
      set search_path = pg_catalog as 'select * from public.tenant'`,
    /^function list_tenants\(text\) runs with/,
  ],
  [
    'a policy for gateway_login',
    `create policy leak on whatsapp_number to gateway_login using (true);
      grant select on whatsapp_number to gateway_login`,
    /on: whatsapp_number$/,
  ],
  [
    'a view granted to the login role',
    'create view everything as select * from whatsapp_number; grant select on everything to $login',
    /^everything shows/,
  ],
  [
    'a view granted to gateway_login',
    'create view everything as select * from whatsapp_number; grant select on everything to gateway_login',
    /^everything shows/,
  ],
  [
    'a view of a view, in another schema',
    `create schema elsewhere; grant usage on schema elsewhere to gateway_tenant;
      create view hidden with (security_invoker = true) as select * from whatsapp_number;
      create view elsewhere.everything as select * from hidden;
      grant select on elsewhere.everything to gateway_tenant`,
    /^elsewhere\.everything shows/,
  ],
  [
    'the privilege of the login role to truncate a table',
    'grant truncate on whatsapp_number to $login',
    /may truncate whatsapp_number/,
  ],
  [
    'the privilege of gateway_login to truncate a table',
    'grant truncate on whatsapp_number to gateway_login',
    /may truncate whatsapp_number/,
  ],
])('policies fail for a bypass of row-level security: %s', async (_, change, detail) => {
  await using other = await openCommandLine();
  await other.query(change.replaceAll('$login', new URL(other.database.url).username));
  const { code, json } = await other.run<{ checks: readonly Check[] }>('doctor');
  expect(code).toBe(1);
  expect(json.checks.filter(({ ok }) => !ok)).toEqual([
    { name: 'policies', ok: false, detail: expect.stringMatching(detail) },
  ]);
});

test('role and policies fail when a tenant that does not exist can see numbers', async () => {
  await using other = await openCommandLine();
  const tenant = await other.addTenant();
  const added = await other.run(
    `number add --tenant ${tenant} --name X --number 55119 --provider META --phone-number-id 990000000000 --waba-id 990000000080 --credentials - --no-check`,
    { stdin: '{"accessToken":"EAA0123456789abcdefghijkl"}' },
  );
  expect(added.code).toBe(0);
  await other.query('alter policy tenant_isolation on whatsapp_number using (true)');
  const { code, json } = await other.run<{ checks: readonly Check[] }>('doctor');
  expect(code).toBe(1);
  expect(json.checks.filter(({ ok }) => !ok)).toEqual([
    { name: 'role', ok: false, detail: expect.stringMatching(/does not exist can see numbers/) },
    { name: 'policies', ok: false, detail: expect.stringMatching(/on: whatsapp_number$/) },
  ]);
});

test('policies pass with views and policies that expose nothing of tenants', async () => {
  await using other = await openCommandLine();
  await other.query('create view harmless as select 1 as one; grant select on harmless to public');
  await other.query('create view narrow with (security_invoker = true) as select * from tenant');
  await other.query('grant select on narrow to gateway_tenant');
  await other.query('create policy narrow on whatsapp_number as restrictive using (true)');
  expect((await other.run('doctor')).code).toBe(0);
});

test('policies fail when the login role can read across tenants', async () => {
  const { username } = new URL(line.database.url);
  const url = Object.assign(new URL(line.database.url), {
    username: `${username}_across`,
    password: 'across-password',
  });
  await line.query(`create role ${url.username} login password '${url.password}'`);
  try {
    await line.query(`grant gateway_login, gateway_directory to ${url.username}`);
    const { code, failed } = await runDoctor({ environment: { DATABASE_URL: url.href } });
    expect(code).toBe(1);
    expect(failed).toEqual([
      { name: 'policies', ok: false, detail: expect.stringMatching(/gateway_directory/) },
    ]);
  } finally {
    await line.query(`drop role ${url.username}`);
  }
});

describe('policies fail when the role of tenants is exempt from them', () => {
  const bypasses = [
    expect.stringMatching(/^gateway_tenant bypasses row-level security; run: alter/),
  ];

  test('on PGlite', async () => {
    const instance = new PGlite();
    await using database = await openDatabase({ kind: 'pglite', instance });
    await database.migrate();
    const whole = await database.inspect();
    expect(whole.rlsBypasses).toEqual([]);
    expect(whole.tables.filter(({ isIsolated }) => !isIsolated)).toEqual([]);
    await instance.exec('alter role gateway_tenant bypassrls');
    expect((await database.inspect()).rlsBypasses).toEqual(bypasses);
  });

  test('on PostgreSQL', async () => {
    // On a server of its own, since roles belong to the server, not to a database.
    await using server = await openPostgresServer();
    {
      await using database = await openDatabase({ kind: 'postgres', url: server.url });
      await database.migrate();
      await database.acrossTenants(async (connection) => {
        await sql`create role someone login password 'a-password'`.execute(connection);
        await sql`grant gateway_login to someone`.execute(connection);
        await sql`alter role gateway_tenant bypassrls`.execute(connection);
      });
    }
    const login = { username: 'someone', password: 'a-password' };
    const url = Object.assign(new URL(server.url), login).href;
    const { code, failed } = await runDoctor({ environment: { DATABASE_URL: url } });
    expect(code).toBe(1);
    expect(failed).toEqual([{ name: 'policies', ok: false, detail: bypasses[0] }]);
  });
});

test.each([
  ['disable', 'alter table waba_snapshot disable trigger announce_update'],
  ['enable for some', 'alter table waba_snapshot enable trigger all'],
  ['drop', 'drop trigger announce_truncate on waba_snapshot'],
])(
  'changes fail when a table does not send all notifications, and name the table: %s',
  async (_, change) => {
    await using other = await openCommandLine();
    await other.query(change);
    const { code, json } = await other.run<{ checks: readonly Check[] }>('doctor');
    expect(code).toBe(1);
    expect(json.checks.filter(({ ok }) => !ok)).toEqual([
      { name: 'changes', ok: false, detail: expect.stringMatching(/: waba_snapshot;/) },
    ]);
  },
);

test('keys fail when no configured key decrypts stored credentials, with their number and ids', async () => {
  const tenant = await line.addTenant();
  const { json } = await line.run<{ id: string }>(
    `number add --tenant ${tenant} --name X --number 55119 --provider META --phone-number-id 990000000000 --waba-id 990000000080 --credentials - --no-check`,
    { stdin: '{"accessToken":"EAA0123456789abcdefghijkl"}' },
  );
  const other = `other:${Buffer.alloc(32, 1).toString('base64')}`;
  const lost = await runDoctor({ environment: { ENCRYPTION_KEYS: other } });
  expect(lost.failed).toEqual([
    {
      name: 'keys',
      ok: false,
      detail: expect.stringMatching(new RegExp(`^1 of 1 .*${json.id}.*ENCRYPTION_KEYS`)),
    },
  ]);
  const both = `${other},${line.environment['ENCRYPTION_KEYS']}`;
  const rotated = await runDoctor({ environment: { ENCRYPTION_KEYS: both } });
  expect(rotated.code).toBe(0);
  expect(rotated.checks.find(({ name }) => name === 'keys')?.detail).toBe(
    '1 stored credentials can be decrypted, 1 of them with an older key; run: numbers-gateway keys rotate-encryption',
  );
});

test('an unreachable upstream fails without affecting the other checks', async () => {
  const server = await openSilentServer();
  const { url } = server;
  await server[Symbol.asyncDispose]();
  const { code, failed } = await runDoctor({ environment: { META_GRAPH_URL: url } });
  expect(code).toBe(1);
  expect(failed).toEqual([
    { name: 'graph', ok: false, detail: expect.stringMatching(`^${url} .*ECONNREFUSED`) },
  ]);
});

test('an upstream that does not respond fails after three seconds', async () => {
  await using server = await openSilentServer();
  const { failed } = await runDoctor({ environment: { META_GRAPH_URL: server.url } });
  expect(failed[0]?.detail).toMatch(/no response within 3 s/);
});

async function openSilentServer(): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A listening TCP server has an address with a port.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

test('pending migrations fail, and the checks that need them are skipped', async () => {
  await using fresh = await openCommandLine({ migrated: false });
  const { code, json } = await fresh.run<{ checks: readonly Check[] }>('doctor');
  expect(code).toBe(1);
  expect(json.checks.map(({ name, ok }) => [name, ok])).toEqual([
    ['configuration', true],
    ['database', true],
    ['migrations', false],
    ['graph', true],
    ['session engine', true],
  ]);
  expect(json.checks[2]?.detail).toMatch(/0001_create_roles.*numbers-gateway migrate/);
});

test('an unreachable database fails without revealing its password', async () => {
  const { failed } = await runDoctor({
    environment: { DATABASE_URL: 'postgres://me:my-password@127.0.0.1:1/x' },
  });
  expect(failed.map(({ name }) => name)).toEqual(['database']);
  expect(failed[0]?.detail).toMatch(/ECONNREFUSED/);
  expect(JSON.stringify(failed)).not.toContain('my-password');
});

test('an invalid configuration fails with all problems, and the other checks are skipped', async () => {
  const result = await runCommand<{ checks: readonly Check[] }>('doctor', {
    environment: { DATABASE_URL: 'postgres://localhost/x', PORT: 'http' },
  });
  expect(result.code).toBe(1);
  expect(result.json.checks).toEqual([
    {
      name: 'configuration',
      ok: false,
      detail: expect.stringMatching(/PORT .*ENCRYPTION_KEYS .*API_KEY_PEPPER /),
    },
  ]);
});
