// Shared credentials, accounts, and the removal of tenants.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestDatabase, openTestGateway, toHealthyPhone } from '../harness.ts';
import { type CommandLine, openCommandLine, type RunOptions } from './command-line.ts';

const wabaId = '710000000001';
const phoneNumberId = '810000000001';
const first = 'EAAfirst0123456789abcdefghijklmn';
const second = 'EAAsecond0123456789abcdefghijklm';
const dead = 'EAAdead0123456789abcdefghijklmno';
const ended = 'EAAended0123456789abcdefghijklmn';

let line: CommandLine;
beforeAll(async () => {
  line = await openCommandLine({
    simulator: {
      wabas: [{ id: wabaId, fields: { name: 'Shops' } }],
      phones: [
        toHealthyPhone(phoneNumberId, wabaId),
        toHealthyPhone('810000000002', wabaId, { display_phone_number: '+55 11 90000-0002' }),
      ],
      tokens: [
        { token: first, wabaIds: [wabaId], expiresAt: new Date('2100-01-01T00:00:00Z') },
        {
          token: second,
          wabaIds: [wabaId],
          dataAccessExpiresAt: new Date('2100-02-01T00:00:00Z'),
        },
        { token: dead, wabaIds: [wabaId], state: 'expired' },
        { token: ended, wabaIds: [wabaId], isInspectable: false },
      ],
    },
  });
});
afterAll(() => line[Symbol.asyncDispose]());

const giving = (accessToken: string): RunOptions => ({ stdin: JSON.stringify({ accessToken }) });
const onTerminal: RunOptions = { tty: ['stdout'] };

interface Credential {
  readonly id: string;
  readonly [member: string]: unknown;
}

async function setCredential(tenant: string, token = first): Promise<string> {
  const { json, code } = await line.run<Credential>(
    `credential set --tenant ${tenant} --name fleet --credentials -`,
    giving(token),
  );
  expect(code).toBe(0);
  return json.id;
}

async function listCredentials(tenant: string): Promise<readonly Credential[]> {
  return (await line.run<Credential[]>(`credential list --tenant ${tenant}`)).json;
}

interface Entry {
  readonly action: string;
  readonly subject: string;
}

async function listAudit(tenant: string): Promise<readonly string[]> {
  const { json } = await line.run<Entry[]>(`audit list --tenant ${tenant}`);
  return json.map(({ action, subject }) => `${action} ${subject}`);
}

describe('credential', () => {
  test('set stores a token with what Meta says about it, and list never shows it', async () => {
    const tenant = await line.addTenant();
    const id = await setCredential(tenant);
    const listed = await line.run(`credential list --tenant ${tenant}`);
    const time = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T/);
    expect(listed.json).toEqual([
      {
        id,
        name: 'fleet',
        numbers: 0,
        appId: '634974688087057',
        expiresAt: '2100-01-01T00:00:00.000Z',
        dataAccessExpiresAt: null,
        checkedAt: time,
        createdAt: time,
        updatedAt: time,
      },
    ]);
    expect(listed.stdout).not.toContain(first);
    expect(await listAudit(tenant)).toEqual([`credentials.stored ${id}`]);
    const table = await line.run(`credential list --tenant ${tenant}`, onTerminal);
    expect(table.stdout).toMatch(/^ID +NAME +NUMBERS +APP +EXPIRES/);
  });

  test('set with an id replaces the token once for all numbers that use it', async () => {
    const tenant = await line.addTenant();
    const imported = await line.run<{ accounts: { numbers: { id: string }[] }[] }>(
      `number import --tenant ${tenant} --credentials - --waba ${wabaId}`,
      giving(first),
    );
    const ids = imported.json.accounts[0]?.numbers.map(({ id }) => id) ?? [];
    const [{ id = '' } = {}] = await listCredentials(tenant);
    line.simulator.setToken({ token: first, wabaIds: [wabaId], state: 'expired' });
    try {
      const failed = await line.run(`number refresh ${ids.join(' ')}`);
      expect(failed.stderr).toContain('The access token has expired.');
      const replaced = await line.run(
        `credential set ${id} --tenant ${tenant} --credentials -`,
        giving(second),
      );
      expect(replaced.json).toMatchObject({
        id,
        name: 'import',
        numbers: 2,
        expiresAt: null,
        dataAccessExpiresAt: '2100-02-01T00:00:00.000Z',
      });
      const read = await line.run(`number refresh ${ids.join(' ')}`);
      expect(read).toMatchObject({ code: 0, stderr: '' });
    } finally {
      line.simulator.setToken({
        token: first,
        wabaIds: [wabaId],
        expiresAt: new Date('2100-01-01T00:00:00Z'),
      });
    }
  });

  test('set refuses a token that Meta refuses, unless --no-check is given', async () => {
    const tenant = await line.addTenant();
    const words = `credential set --tenant ${tenant} --name fleet --credentials -`;
    const refused = await line.run(words, giving(dead));
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^META_ACCESS_DENIED: .*expired.*--no-check/m);
    expect(await listCredentials(tenant)).toEqual([]);
    expect((await line.run(`${words} --no-check`, giving(dead))).code).toBe(0);
    // Meta does not inspect a token for another app, which says nothing about the token.
    expect((await line.run(words, giving(ended))).code).toBe(0);
  });

  test('check asks Meta about each, stores the dates, and fails for one that is refused', async () => {
    const tenant = await line.addTenant();
    const words = `credential set --tenant ${tenant} --name fleet --no-check --credentials -`;
    const { json: good } = await line.run<Credential>(words, giving(first));
    const { json: bad } = await line.run<Credential>(words, giving(dead));
    expect(good).toMatchObject({ checkedAt: null, expiresAt: null });
    const checked = await line.run<Credential[]>(`credential check --tenant ${tenant}`);
    expect(checked.code).toBe(1);
    expect(checked.json.map(({ id, problem }) => [id, problem])).toEqual([
      [good.id, null],
      [bad.id, { code: 'META_ACCESS_DENIED', message: expect.stringContaining('expired') }],
    ]);
    expect(checked.stderr).toContain(`META_ACCESS_DENIED: ${bad.id}: `);
    expect((await listCredentials(tenant))[0]).toMatchObject({
      expiresAt: '2100-01-01T00:00:00.000Z',
    });
    const one = await line.run(`credential check ${good.id} --tenant ${tenant}`);
    expect(one).toMatchObject({ code: 0, stderr: '' });
  });

  test('check does not fail for a token that Meta does not inspect, and says so', async () => {
    const tenant = await line.addTenant();
    const id = await setCredential(tenant, ended);
    const checked = await line.run<Credential[]>(`credential check --tenant ${tenant}`);
    expect(checked.code).toBe(0);
    expect(checked.json).toMatchObject([{ id, problem: { code: 'NOT_INSPECTED' } }]);
    expect(checked.stderr).toContain(`NOT_INSPECTED: ${id}: Meta says nothing about this token`);
  });

  test('a number uses a shared credential instead of its own, and the other way round', async () => {
    const tenant = await line.addTenant();
    const id = await setCredential(tenant);
    const { json } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name X --number 5511999999999 --provider META --phone-number-id ${phoneNumberId} --waba-id ${wabaId} --credentials - --no-check`,
      giving(dead),
    );
    const number = json.id;
    expect((await line.run(`number refresh ${number}`)).code).toBe(1);
    const shared = await line.run(`number set-credentials ${number} --credential ${id}`);
    expect(shared).toMatchObject({ code: 0, stderr: '' });
    expect(await listCredentials(tenant)).toMatchObject([{ id, numbers: 1 }]);
    expect((await line.run(`number refresh ${number}`)).code).toBe(0);
    expect((await listAudit(tenant))[0]).toBe(`credentials.deleted ${number}`);
    await line.run(`number set-credentials ${number} --credentials -`, giving(dead));
    expect(await listCredentials(tenant)).toMatchObject([{ id, numbers: 0 }]);
    expect((await line.run(`number refresh ${number}`)).code).toBe(1);
  });

  test('keys rotate-encryption and doctor cover shared credentials', async () => {
    const tenant = await line.addTenant();
    const id = await setCredential(tenant);
    const former = line.environment['ENCRYPTION_KEYS'] ?? '';
    const latter = `new:${Buffer.alloc(32, 7).toString('base64')}`;
    const environment = { ENCRYPTION_KEYS: `${latter},${former}` };
    const rotated = await line.run<{ rewrapped: number; failed: number }>(
      'keys rotate-encryption',
      { environment },
    );
    expect(rotated.json.failed).toBe(0);
    expect(rotated.json.rewrapped).toBeGreaterThan(0);
    expect((await listAudit(tenant))[0]).toBe(`credentials.rewrapped ${id}`);
    const check = await line.run(`credential check ${id} --tenant ${tenant}`, {
      environment: { ENCRYPTION_KEYS: latter },
    });
    expect(check.code).toBe(0);
    const lost = await line.run(`credential check ${id} --tenant ${tenant}`);
    expect(lost).toMatchObject({ code: 1 });
    expect(lost.stderr).toContain('cannot be decrypted');
    for (const command of ['discover', 'import --all']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const read = await line.run(`number ${command} --tenant ${tenant} --credential ${id}`);
      expect(read).toMatchObject({ code: 1, stdout: '' });
      expect(read.stderr).toMatch(/^META_ACCESS_DENIED: .* cannot be decrypted\. .*\n$/);
    }
    const doctor = await line.run<{ checks: { name: string; detail: string }[] }>('doctor');
    expect(doctor.json.checks.find(({ name }) => name === 'keys')?.detail).toMatch(
      /^\d+ of \d+ stored credentials cannot be decrypted \(.*cred_/,
    );
    // For the other tests.
    const back = { environment: { ENCRYPTION_KEYS: `${former},${latter}` } };
    await line.run('keys rotate-encryption', back);
  });

  test.each([
    ['CREDENTIAL_NOT_FOUND', 'credential check cred_none --tenant TENANT'],
    ['CREDENTIAL_NOT_FOUND', 'number discover --tenant TENANT --credential cred_none'],
    ['TENANT_NOT_FOUND', 'credential list --tenant ten_none'],
    ['TENANT_NOT_FOUND', 'credential check --tenant ten_none'],
    ['TENANT_NOT_FOUND', 'account list --tenant ten_none'],
    ['TENANT_NOT_FOUND', `account watch ${wabaId} --tenant ten_none --mode off`],
    ['TENANT_NOT_FOUND', 'tenant remove ten_none --yes'],
  ])('%s and exit code 1 for: %s', async (code, words) => {
    const result = await line.run(words.replace('TENANT', await line.addTenant()));
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toMatch(new RegExp(`^${code}: [^\\n]*\\n$`));
  });

  test('a credential of another tenant does not exist', async () => {
    const id = await setCredential(await line.addTenant());
    const tenant = await line.addTenant();
    for (const words of [
      `credential check ${id} --tenant ${tenant}`,
      `number discover --tenant ${tenant} --credential ${id}`,
    ]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await line.run(words)).stderr).toMatch(/^CREDENTIAL_NOT_FOUND: /);
    }
  });
});

describe('account', () => {
  test('list counts the numbers of each account, and shows what is set for it', async () => {
    const tenant = await line.addTenant();
    await line.run(
      `number import --tenant ${tenant} --credentials - --waba ${wabaId}`,
      giving(first),
    );
    const list = async () => (await line.run(`account list --tenant ${tenant}`)).json;
    expect(await list()).toEqual([{ wabaId, name: null, numbers: 2, watch: 'REPORT' }]);
    await line.run(`number refresh --tenant ${tenant}`);
    const set = await line.run(`account watch ${wabaId} --tenant ${tenant} --mode import`);
    expect(set).toMatchObject({ code: 0, json: { wabaId, watch: 'IMPORT' } });
    await line.run(`account watch 720000000001 --tenant ${tenant} --mode off`);
    expect(await list()).toEqual([
      { wabaId, name: 'Shops', numbers: 2, watch: 'IMPORT' },
      { wabaId: '720000000001', name: null, numbers: 0, watch: 'OFF' },
    ]);
    const found = await line.run(
      `number discover --tenant ${tenant} --credentials -`,
      giving(first),
    );
    expect(found.json).toMatchObject({ accounts: [{ id: wabaId, watch: 'IMPORT' }] });
    const table = await line.run(`account list --tenant ${tenant}`, onTerminal);
    expect(table.stdout).toMatch(/^WABA ID +NAME +NUMBERS +LATER NUMBERS\n/);
  });

  test('watch says when new numbers are imported', async () => {
    const { stdout } = await line.run('account watch --help');
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
      'done when the account is read in the background',
    );
  });
});

function answering(text: string): RunOptions {
  return { stdin: text, tty: ['stdin', 'stdout', 'stderr'] };
}

describe('tenant remove', () => {
  test('deletes everything but the audit log, in one transaction, and refuses the keys at once', async () => {
    const { json } = await line.run<{ id: string }>(['tenant', 'create', '--name', 'Acme LTDA']);
    const tenant = json.id;
    await line.run(
      `number import --tenant ${tenant} --credentials - --waba ${wabaId}`,
      giving(first),
    );
    await line.run(`number refresh --tenant ${tenant}`);
    await line.run(`account watch ${wabaId} --tenant ${tenant} --mode off`);
    const { json: key } = await line.run<{ id: string; key: string }>(
      `key create --tenant ${tenant}`,
    );
    const other = await line.addTenant();
    await line.run(
      `number import --tenant ${other} --credentials - --waba ${wabaId}`,
      giving(first),
    );
    await using database = await openTestDatabase('PostgreSQL', { of: line.database });
    await using gateway = await openTestGateway({
      database,
      environment: { API_KEY_PEPPER: line.environment['API_KEY_PEPPER'] ?? '' },
    });
    expect((await gateway.rest('/v1/numbers', { key: key.key })).status).toBe(200);

    const removed = await line.run(`tenant remove ${tenant} --yes`);
    expect(removed).toMatchObject({
      code: 0,
      stderr: '',
      json: { id: tenant, name: 'Acme LTDA', numbers: 2, keys: 1 },
    });
    await database.changes.catchUp();
    expect((await gateway.rest('/v1/numbers', { key: key.key })).status).toBe(401);
    const tables = await database.query<{ name: string }>(
      `select c.relname as name from pg_class c
       where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace and exists (
         select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id')`,
    );
    expect(tables.length).toBeGreaterThan(8);
    for (const { name } of tables) {
      if (name === 'audit') continue;
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const left = await database.query(`select from ${name} where tenant_id = '${tenant}'`);
      expect([name, left.length]).toEqual([name, 0]);
    }
    const audit = await listAudit(tenant);
    expect(audit).toContain(`tenant.removed ${tenant}`);
    expect(audit).toContain(`key.deleted ${key.id}`);
    expect((await line.run<unknown[]>(`number list --tenant ${other}`)).json).toHaveLength(2);
    expect((await line.run(`number list --tenant ${tenant}`)).stderr).toMatch(/^TENANT_NOT_FOUND/);
  });

  test('wants the name of the tenant typed on a terminal', async () => {
    const { json } = await line.run<{ id: string }>(['tenant', 'create', '--name', 'Acme LTDA']);
    const refused = await line.run(`tenant remove ${json.id}`, answering('yes\n'));
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain(
      `This removes tenant ${json.id} (Acme LTDA), its 0 numbers, and all of its keys.\nType Acme LTDA to confirm: `,
    );
    const accepted = await line.run(`tenant remove ${json.id}`, answering('Acme LTDA\n'));
    expect(accepted.stdout).toBe(
      `Removed tenant ${json.id} (Acme LTDA) with 0 numbers and 0 usable keys. Its audit log stays.\n`,
    );
  });

  test('needs --yes in a pipe', async () => {
    const { code, stderr } = await line.run('tenant remove ten_x', { stdin: 'Test\n' });
    expect(code).toBe(2);
    expect(stderr).toContain('add --yes to confirm');
  });

  test('every table of tenants is emptied by a foreign key, or by the removal itself', async () => {
    await using database = await openTestDatabase('PostgreSQL', { of: line.database });
    const kept = await database.query<{ name: string; action: string }>(
      `select k.conrelid::regclass::text as name, k.confdeltype as action from pg_constraint k
       where k.contype = 'f' and k.confrelid = 'tenant'::regclass and k.confdeltype <> 'c'`,
    );
    expect(kept).toEqual([]);
  });
});
