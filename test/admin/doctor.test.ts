// What the doctor sees: an installation in good order, and each thing that can be wrong with one.

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

async function examine(options?: RunOptions) {
  const { code, json, stderr } = await line.run<{ checks: readonly Check[] }>('doctor', options);
  expect(Object.keys(json)).toEqual(['checks']);
  return { code, stderr, checks: json.checks, failed: json.checks.filter(({ ok }) => !ok) };
}

describe('an installation in good order', () => {
  test('passes every check', async () => {
    const { code, stderr, checks } = await examine();
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

  test('is one line each for a person', async () => {
    const { stdout } = await line.run('doctor', { person: ['stdout'] });
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(9);
    expect(lines.every((text) => text.startsWith('ok  '))).toBe(true);
  });
});

describe('a role', () => {
  test('that is a superuser fails, and how to make another one is said', async () => {
    const environment = { DATABASE_URL: line.database.ownerUrl };
    const { code, stderr, failed } = await examine({ environment });
    expect(code).toBe(1);
    expect(stderr).toBe('DOCTOR: 1 of 9 checks failed: role.\n');
    expect(failed).toEqual([
      { name: 'role', ok: false, detail: expect.stringMatching(/superuser.*grant gateway_login/) },
    ]);
  });

  test('that may not become a tenant fails', async () => {
    const { username } = new URL(line.database.url);
    const url = Object.assign(new URL(line.database.url), {
      username: `${username}_bare`,
      password: 'bare-password',
    });
    await line.query(`create role ${url.username} login password '${url.password}'`);
    try {
      const { code, failed } = await examine({ environment: { DATABASE_URL: url.href } });
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

  test('a table whose owner goes around its policies is named', async () => {
    await line.query('alter table number_snapshot no force row level security');
    const { code, failed } = await examine();
    expect(code).toBe(1);
    expect(failed).toEqual([
      { name: 'policies', ok: false, detail: expect.stringMatching(/: number_snapshot$/) },
    ]);
  });

  test('a policy that lets every tenant in is noticed', async () => {
    await line.query('create policy leak on api_key using (true)');
    const { failed } = await examine();
    expect(failed.map(({ name, detail }) => `${name} ${detail}`)).toEqual([
      expect.stringMatching(/^policies .*: api_key$/),
    ]);
  });
});

test.each([
  [
    'a policy that any tenant passes',
    `alter policy tenant_isolation on waba_snapshot using (current_setting('app.tenant_id', true) is not null)`,
    /in: waba_snapshot$/,
  ],
  [
    'a policy that does not look at what is written',
    'alter policy tenant_isolation on waba_snapshot with check (true)',
    /in: waba_snapshot$/,
  ],
  [
    'a view with the rights of its owner',
    'create view everything as select * from whatsapp_number; grant select on everything to gateway_tenant',
    /^everything shows .*security_invoker/,
  ],
  [
    'the right to empty a table',
    'grant truncate on whatsapp_number to gateway_tenant',
    /^gateway_tenant may truncate whatsapp_number; run: revoke/,
  ],
  [
    'a function with the rights of its owner',
    `create function peek() returns text security definer language sql return 'x'`,
    /^function peek\(\) runs with/,
  ],
  [
    'a known one that takes its names from anywhere',
    'alter function list_tenants() reset search_path',
    /^function list_tenants\(\) runs with .* set search_path/,
  ],
  [
    'a known one that takes its names from where others may create',
    'alter function list_tenants() set search_path = public',
    /^function list_tenants\(\) runs with .* set search_path/,
  ],
  [
    'one that only has the name of a known one',
    `create function list_tenants(x text) returns setof tenant security definer language sql
      set search_path = pg_catalog as 'select * from public.tenant'`,
    /^function list_tenants\(text\) runs with/,
  ],
  [
    'a policy for the role to log in with',
    `create policy leak on whatsapp_number to gateway_login using (true);
      grant select on whatsapp_number to gateway_login`,
    /in: whatsapp_number$/,
  ],
  [
    'a view for the login itself',
    'create view everything as select * from whatsapp_number; grant select on everything to $login',
    /^everything shows/,
  ],
  [
    'a view for the role to log in with',
    'create view everything as select * from whatsapp_number; grant select on everything to gateway_login',
    /^everything shows/,
  ],
  [
    'a view on a view, in another schema',
    `create schema elsewhere; grant usage on schema elsewhere to gateway_tenant;
      create view hidden with (security_invoker = true) as select * from whatsapp_number;
      create view elsewhere.everything as select * from hidden;
      grant select on elsewhere.everything to gateway_tenant`,
    /^elsewhere\.everything shows/,
  ],
  [
    'the right of the login itself to empty a table',
    'grant truncate on whatsapp_number to $login',
    /may truncate whatsapp_number/,
  ],
  [
    'the right of the role to log in with to empty a table',
    'grant truncate on whatsapp_number to gateway_login',
    /may truncate whatsapp_number/,
  ],
])('a way around row-level security is told: %s', async (_, change, told) => {
  await using other = await openCommandLine();
  await other.query(change.replaceAll('$login', new URL(other.database.url).username));
  const { code, json } = await other.run<{ checks: readonly Check[] }>('doctor');
  expect(code).toBe(1);
  expect(json.checks.filter(({ ok }) => !ok)).toEqual([
    { name: 'policies', ok: false, detail: expect.stringMatching(told) },
  ]);
});

test('a tenant that does not exist and sees numbers is told', async () => {
  await using other = await openCommandLine();
  const tenant = await other.addTenant();
  const added = await other.run(
    `number add --tenant ${tenant} --name X --number 55119 --provider META --phone-number-id 990000000000 --waba-id 990000000080 --credentials -`,
    { stdin: '{"accessToken":"EAA0123456789abcdefghijkl"}' },
  );
  expect(added.code).toBe(0);
  await other.query('alter policy tenant_isolation on whatsapp_number using (true)');
  const { code, json } = await other.run<{ checks: readonly Check[] }>('doctor');
  expect(code).toBe(1);
  expect(json.checks.filter(({ ok }) => !ok)).toEqual([
    { name: 'role', ok: false, detail: expect.stringMatching(/does not exist sees numbers/) },
    { name: 'policies', ok: false, detail: expect.stringMatching(/in: whatsapp_number$/) },
  ]);
});

test('what shows nothing of tenants is left alone, as the views of extensions are', async () => {
  await using other = await openCommandLine();
  await other.query('create view harmless as select 1 as one; grant select on harmless to public');
  await other.query('create view narrow with (security_invoker = true) as select * from tenant');
  await other.query('grant select on narrow to gateway_tenant');
  await other.query('create policy narrow on whatsapp_number as restrictive using (true)');
  expect((await other.run('doctor')).code).toBe(0);
});

test('a login that may look across tenants is told', async () => {
  const { username } = new URL(line.database.url);
  const url = Object.assign(new URL(line.database.url), {
    username: `${username}_across`,
    password: 'across-password',
  });
  await line.query(`create role ${url.username} login password '${url.password}'`);
  try {
    await line.query(`grant gateway_login, gateway_directory to ${url.username}`);
    const { code, failed } = await examine({ environment: { DATABASE_URL: url.href } });
    expect(code).toBe(1);
    expect(failed).toEqual([
      { name: 'policies', ok: false, detail: expect.stringMatching(/gateway_directory/) },
    ]);
  } finally {
    await line.query(`drop role ${url.username}`);
  }
});

describe('a tenant that goes by no policy is told', () => {
  const found = [expect.stringMatching(/^gateway_tenant bypasses row-level security; run: alter/)];

  test('on PGlite', async () => {
    const instance = new PGlite();
    await using database = await openDatabase({ kind: 'pglite', instance });
    await database.migrate();
    const whole = await database.inspect();
    expect(whole.rlsBypasses).toEqual([]);
    expect(whole.tables.filter(({ isIsolated }) => !isIsolated)).toEqual([]);
    await instance.exec('alter role gateway_tenant bypassrls');
    expect((await database.inspect()).rlsBypasses).toEqual(found);
  });

  test('on PostgreSQL', async () => {
    // A server of its own: the roles of a server are those of all its databases.
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
    const { code, failed } = await examine({ environment: { DATABASE_URL: url } });
    expect(code).toBe(1);
    expect(failed).toEqual([{ name: 'policies', ok: false, detail: found[0] }]);
  });
});

test.each([
  ['disable', 'alter table waba_snapshot disable trigger announce_update'],
  ['enable for some', 'alter table waba_snapshot enable trigger all'],
  ['drop', 'drop trigger announce_truncate on waba_snapshot'],
])('a table that does not announce all its changes is named: %s', async (_, change) => {
  await using other = await openCommandLine();
  await other.query(change);
  const { code, json } = await other.run<{ checks: readonly Check[] }>('doctor');
  expect(code).toBe(1);
  expect(json.checks.filter(({ ok }) => !ok)).toEqual([
    { name: 'changes', ok: false, detail: expect.stringMatching(/: waba_snapshot;/) },
  ]);
});

test('credentials that no configured key opens are counted and named', async () => {
  const tenant = await line.addTenant();
  const { json } = await line.run<{ id: string }>(
    `number add --tenant ${tenant} --name X --number 55119 --provider META --phone-number-id 990000000000 --waba-id 990000000080 --credentials -`,
    { stdin: '{"accessToken":"EAA0123456789abcdefghijkl"}' },
  );
  const other = `other:${Buffer.alloc(32, 1).toString('base64')}`;
  const lost = await examine({ environment: { ENCRYPTION_KEYS: other } });
  expect(lost.failed).toEqual([
    {
      name: 'keys',
      ok: false,
      detail: expect.stringMatching(new RegExp(`^1 of 1 .*${json.id}.*ENCRYPTION_KEYS`)),
    },
  ]);
  const both = `${other},${line.environment['ENCRYPTION_KEYS']}`;
  const rotated = await examine({ environment: { ENCRYPTION_KEYS: both } });
  expect(rotated.code).toBe(0);
  expect(rotated.checks.find(({ name }) => name === 'keys')?.detail).toBe(
    '1 stored credentials can be opened, 1 of them sealed with an older key; run: numbers-gateway keys rotate-encryption',
  );
});

test('an upstream that cannot be reached is named, and the rest is still checked', async () => {
  const server = await openSilentServer();
  const { url } = server;
  await server[Symbol.asyncDispose]();
  const { code, failed } = await examine({ environment: { META_GRAPH_URL: url } });
  expect(code).toBe(1);
  expect(failed).toEqual([
    { name: 'graph', ok: false, detail: expect.stringMatching(`^${url} .*ECONNREFUSED`) },
  ]);
});

test('an upstream that never answers is given three seconds', async () => {
  await using server = await openSilentServer();
  const { failed } = await examine({ environment: { META_GRAPH_URL: server.url } });
  expect(failed[0]?.detail).toMatch(/no answer within 3 s/);
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

test('missing migrations are told, and what needs them is not looked at', async () => {
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

test('a database that is down is told without its password', async () => {
  const { failed } = await examine({
    environment: { DATABASE_URL: 'postgres://me:my-password@127.0.0.1:1/x' },
  });
  expect(failed.map(({ name }) => name)).toEqual(['database']);
  expect(failed[0]?.detail).toMatch(/ECONNREFUSED/);
  expect(JSON.stringify(failed)).not.toContain('my-password');
});

test('a configuration with problems is told in whole, and nothing else is looked at', async () => {
  const ran = await runCommand<{ checks: readonly Check[] }>('doctor', {
    environment: { DATABASE_URL: 'postgres://localhost/x', PORT: 'http' },
  });
  expect(ran.code).toBe(1);
  expect(ran.json.checks).toEqual([
    {
      name: 'configuration',
      ok: false,
      detail: expect.stringMatching(/PORT .*ENCRYPTION_KEYS .*API_KEY_PEPPER /),
    },
  ]);
});
