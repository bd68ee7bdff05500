// Output, exit codes and usage errors of the commands. `number refresh`, credentials, `keys` and `doctor` have files of
// their own.

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isKey } from '../../src/access/key.ts';
import { formatTable, toPrintable } from '../../src/admin/table.ts';
import { type CommandLine, openCommandLine, runCommand } from './command-line.ts';

let line: CommandLine;
beforeAll(async () => {
  line = await openCommandLine();
});
afterAll(() => line[Symbol.asyncDispose]());

const time = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);
const onTerminal = { tty: ['stdout'] } as const;

interface KeyJson {
  readonly id: string;
  readonly key: string;
  readonly [member: string]: unknown;
}

async function addNumber(tenant: string, name = 'Sales'): Promise<string> {
  const { json } = await line.run<{ id: string }>(
    `number add --tenant ${tenant} --name ${name} --number 5511999999999 --provider PILOT_STATUS --instance ${randomUUID()}`,
  );
  return json.id;
}

describe('migrate', () => {
  test('is required by the other commands, and changes nothing when run again', async () => {
    await using fresh = await openCommandLine({ migrated: false });
    const before = await fresh.run('tenant list');
    expect(before).toMatchObject({ code: 1, stdout: '' });
    expect(before.stderr).toMatch(
      /^UNAVAILABLE: The database is missing \d+ migration.*run: numbers-gateway migrate\n$/,
    );
    expect(await fresh.run('serve')).toMatchObject({ code: 1, stderr: before.stderr });

    const { code, json } = await fresh.run<{ applied: string[] }>('migrate');
    expect(code).toBe(0);
    expect(Object.keys(json)).toEqual(['applied']);
    expect(json.applied[0]).toBe('0001_create_roles');

    expect((await fresh.run('migrate')).json).toEqual({ applied: [] });
    expect((await fresh.run('tenant list')).json).toEqual([]);
    expect(await fresh.run('migrate', onTerminal)).toMatchObject({
      stdout: 'The database is up to date.\n',
    });
  });
});

describe('tenant', () => {
  test('create prints the tenant, and list includes it', async () => {
    const created = await line.run<{ id: string }>(['tenant', 'create', '--name', 'Acme LTDA']);
    expect(created).toMatchObject({ code: 0, stderr: '' });
    expect(created.json).toEqual({
      id: expect.stringMatching(/^ten_\w+$/),
      name: 'Acme LTDA',
      createdAt: time,
    });
    const { json } = await line.run<unknown[]>('tenant list');
    expect(json).toContainEqual(created.json);
  });

  test('the output on a terminal is text, or JSON with --json', async () => {
    const { stdout } = await line.run(['tenant', 'create', '--name', 'Beta'], onTerminal);
    expect(stdout).toMatch(/^Created tenant ten_\w+ \(Beta\)\.\n$/);
    const table = await line.run('tenant list', onTerminal);
    expect(table.stdout).toMatch(/^ID +NAME +CREATED\n/);
    expect(table.stdout).toContain('Beta');
    for (const words of ['tenant list --json', '--json tenant list']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect((await line.run(words, onTerminal)).json).toBeInstanceOf(Array);
    }
  });
});

describe('key', () => {
  test('create prints these members; later commands never print the key', async () => {
    const tenant = await line.addTenant();
    const number = await addNumber(tenant);
    const created = await line.run<KeyJson>(
      `key create --tenant ${tenant} --number ${number} --name till --expires 2100-01-01`,
    );
    expect(created).toMatchObject({ code: 0, stderr: '' });
    const { key, ...rest } = created.json;
    expect(isKey(key)).toBe(true);
    expect(Object.keys(created.json)).toEqual(
      'id key name keyPrefix keyLast4 tenantId numberId scopes expiresAt'.split(' '),
    );
    expect(rest).toEqual({
      id: expect.stringMatching(/^key_\w+$/),
      name: 'till',
      keyPrefix: key.slice(0, 7),
      keyLast4: key.slice(-4),
      tenantId: tenant,
      numberId: number,
      scopes: ['read'],
      expiresAt: '2100-01-01T00:00:00.000Z',
    });
    const listed = await line.run(`key list --tenant ${tenant}`);
    expect(listed.json).toEqual([{ ...rest, revokedAt: null, lastUsedAt: null, state: 'USABLE' }]);
    expect(listed.stdout).not.toContain(key);
  });

  test('create on a terminal says that the key is shown only once', async () => {
    const tenant = await line.addTenant();
    const { stdout } = await line.run(`key create --tenant ${tenant}`, onTerminal);
    expect(stdout).toMatch(/\n {2}ps_\w{49}\n/);
    expect(stdout).toContain('shown only once');
    const list = await line.run(`key list --tenant ${tenant}`, onTerminal);
    expect(list.stdout).toMatch(/ps_\w{4}…\w{4} +- +read +usable +- +never/);
  });

  test('create gives the scopes that are named, once each, and list shows them', async () => {
    const tenant = await line.addTenant();
    const create = `key create --tenant ${tenant}`;
    const relay = await line.run<KeyJson>(`${create} --scope webhooks`);
    expect(relay.json['scopes']).toEqual(['webhooks']);
    const both = await line.run<KeyJson>(
      `${create} --scope webhooks --scope read --scope webhooks`,
    );
    expect(both.json['scopes']).toEqual(['read', 'webhooks']);
    const { stdout } = await line.run(`${create} --scope webhooks`, onTerminal);
    expect(stdout).toContain(' for the whole tenant with the scope webhooks; it never expires.');
    const list = await line.run(`key list --tenant ${tenant}`, onTerminal);
    expect(list.stdout).toMatch(/- +read, webhooks +usable/);
  });

  test('a key of a number cannot have the scope webhooks', async () => {
    const tenant = await line.addTenant();
    const number = await addNumber(tenant);
    const words = `key create --tenant ${tenant} --number ${number} --scope webhooks`;
    expect(await line.run(words)).toMatchObject({
      code: 1,
      stdout: '',
      stderr:
        'INVALID_REQUEST: A key of a number cannot have the scope webhooks; omit --number, or omit the scope.\n',
    });
    expect((await line.run(`key list --tenant ${tenant}`)).json).toEqual([]);
  });

  test('a rotated key expires after the overlap; the new one has its name, scopes and expiry', async () => {
    const tenant = await line.addTenant();
    const { json: old } = await line.run<KeyJson>(
      `key create --tenant ${tenant} --name till --scope webhooks`,
    );
    const before = Date.now();
    const rotated = await line.run<KeyJson>(`key rotate ${old.id} --overlap 30m`);
    expect(rotated.code).toBe(0);
    expect(Object.keys(rotated.json)).toEqual(Object.keys(old));
    expect(rotated.json).toMatchObject({
      name: 'till',
      tenantId: tenant,
      scopes: ['webhooks'],
      expiresAt: null,
    });
    expect(rotated.json.key).not.toBe(old.key);
    const { json } = await line.run<KeyJson[]>(`key list --tenant ${tenant}`);
    const end = Date.parse(String(json.find((it) => it.id === old.id)?.['expiresAt']));
    expect(end).toBeGreaterThan(before + 29 * 60_000);
    expect(end).toBeLessThan(before + 31 * 60_000);
  });

  test('revoking again keeps the time of the first revocation, and a revoked key cannot be rotated', async () => {
    const tenant = await line.addTenant();
    const { json: key } = await line.run<KeyJson>(`key create --tenant ${tenant}`);
    const first = await line.run(`key revoke ${key.id}`);
    expect(first.json).toMatchObject({ id: key.id, revokedAt: time });
    expect(first.json).not.toHaveProperty('key');
    expect((await line.run(`key revoke ${key.id}`)).json).toEqual(first.json);
    const rotated = await line.run(`key rotate ${key.id}`);
    expect(rotated).toMatchObject({ code: 1, stdout: '' });
    expect(rotated.stderr).toMatch(/^KEY_NOT_FOUND: /);
  });
});

describe('audit', () => {
  interface Entry {
    readonly action: string;
    readonly subject: string;
    readonly [member: string]: unknown;
  }

  test('each change of a key is listed, newest first, without the key', async () => {
    const tenant = await line.addTenant();
    const { json: key } = await line.run<KeyJson>(`key create --tenant ${tenant} --name till`);
    const { json: next } = await line.run<KeyJson>(`key rotate ${key.id} --overlap 1h`);
    await line.run(`key revoke ${next.id}`);
    await line.run(`key revoke ${next.id}`);
    const result = await line.run<Entry[]>(`audit list --tenant ${tenant}`);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.json.map(({ action, subject }) => [action, subject])).toEqual([
      ['key.revoked', next.id],
      ['key.created', next.id],
      ['key.rotated', key.id],
      ['key.created', key.id],
    ]);
    expect(Object.keys(result.json[0] ?? {})).toEqual(
      'id at actor action subject details'.split(' '),
    );
    expect(result.json[3]).toEqual({
      id: expect.stringMatching(/^aud_\w+$/),
      at: time,
      actor: 'operator',
      action: 'key.created',
      subject: key.id,
      details: {
        name: 'till',
        keyPrefix: key['keyPrefix'],
        keyLast4: key['keyLast4'],
        numberId: null,
        scopes: ['read'],
        expiresAt: null,
      },
    });
    for (const { key: secret } of [key, next]) expect(result.stdout).not.toContain(secret);
  });

  test('lists entries of the given tenant only, at most --limit of them', async () => {
    const [one, other] = [await line.addTenant(), await line.addTenant()];
    for (const tenant of [one, other, one]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await line.run(`key create --tenant ${tenant}`);
    }
    const list = async (words: string) => (await line.run<Entry[]>(`audit list ${words}`)).json;
    expect(await list(`--tenant ${one}`)).toHaveLength(2);
    expect(await list(`--tenant ${other}`)).toHaveLength(1);
    expect(await list(`--tenant ${one} --limit 1`)).toHaveLength(1);
  });

  test('is a table on a terminal', async () => {
    const tenant = await line.addTenant();
    const empty = await line.run(`audit list --tenant ${tenant}`, onTerminal);
    expect(empty.stdout).toBe('The audit log of the tenant is empty.\n');
    await line.run(`key create --tenant ${tenant} --name till`);
    const { stdout } = await line.run(`audit list --tenant ${tenant}`, onTerminal);
    expect(stdout).toMatch(/^AT +ACTION +SUBJECT +ACTOR +DETAILS\n/);
    expect(stdout).toMatch(/key\.created +key_\w+ +operator +.*name till/);
  });
});

describe('number', () => {
  test('add and list print a number as REST does, and list adds its health', async () => {
    const tenant = await line.addTenant();
    const added = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Sales --number 5511988888888 --provider PILOT_STATUS --instance sales --state OPEN`,
    );
    expect(added).toMatchObject({ code: 0, stderr: '' });
    expect(Object.keys(added.json)).toEqual(
      'id number name provider state isFullyConnected createdAt updatedAt health meta'.split(' '),
    );
    expect(added.json).toMatchObject({
      number: '5511988888888',
      name: 'Sales',
      provider: 'PILOT_STATUS',
      state: 'OPEN',
      isFullyConnected: true,
      meta: null,
    });
    const { json } = await line.run<Record<string, unknown>[]>(`number list --tenant ${tenant}`);
    expect(json).toHaveLength(1);
    expect(Object.keys(json[0] ?? {})).toEqual(
      'id instanceName number name provider apiKeys state isFullyConnected createdAt updatedAt health'.split(
        ' ',
      ),
    );
    expect(json[0]).toMatchObject({ id: added.json.id, instanceName: 'sales', apiKeys: [] });
  });

  test('without --state, a Meta number is OPEN and a number connected by QR code is CLOSE', async () => {
    const tenant = await line.addTenant();
    const add = `number add --tenant ${tenant} --name X --number 55119`;
    const meta = await line.run(
      `${add} --provider META --phone-number-id 990000000000 --waba-id 990000000080`,
    );
    expect(meta.json).toMatchObject({ provider: 'META', state: 'OPEN', meta: null });
    const other = await line.run(`${add} --provider PILOT_STATUS --instance x`);
    expect(other.json).toMatchObject({ provider: 'PILOT_STATUS', state: 'CLOSE' });
  });

  test('list includes the hints of the keys that are bound to each number', async () => {
    const tenant = await line.addTenant();
    const number = await addNumber(tenant);
    const { json: key } = await line.run<KeyJson>(
      `key create --tenant ${tenant} --number ${number} --name till`,
    );
    const { json } = await line.run<Record<string, unknown>[]>(`number list --tenant ${tenant}`);
    expect(json[0]?.['apiKeys']).toEqual([
      { name: 'till', keyPrefix: key['keyPrefix'], keyLast4: key['keyLast4'] },
    ]);
  });

  test('adding a second number with the same instance is a conflict', async () => {
    const tenant = await line.addTenant();
    const add = `number add --tenant ${tenant} --name X --number 55119 --provider PILOT_STATUS --instance one`;
    expect((await line.run(add)).code).toBe(0);
    const again = await line.run(add);
    expect(again).toMatchObject({ code: 1, stdout: '' });
    expect(again.stderr).toMatch(/^CONFLICT: [^\n]*\n$/);
  });

  test('set-state changes the state of a number', async () => {
    const id = await addNumber(await line.addTenant());
    const set = await line.run(`number set-state ${id} OPEN`);
    expect(set).toMatchObject({ code: 0, json: { id, state: 'OPEN', isFullyConnected: true } });
    const text = await line.run(`number set-state ${id} CLOSE`, onTerminal);
    expect(text.stdout).toBe(`Updated number ${id} (Sales, 5511999999999): PILOT_STATUS, CLOSE.\n`);
  });

  test('list on a terminal is a table, or says how to add a number', async () => {
    const tenant = await line.addTenant();
    const empty = await line.run(`number list --tenant ${tenant}`, onTerminal);
    expect(empty.stdout).toContain('number add');
    const id = await addNumber(tenant);
    const { stdout } = await line.run(`number list --tenant ${tenant}`, onTerminal);
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^ID +NAME +NUMBER +PROVIDER +STATE +VERDICT +REPLIES/),
      expect.stringMatching(
        new RegExp(`^${id} +Sales +5511999999999 +PILOT_STATUS +CLOSE +UNKNOWN`),
      ),
      '',
    ]);
  });
});

test.each([
  ['TENANT_NOT_FOUND', 'key create --tenant ten_none'],
  ['TENANT_NOT_FOUND', 'key list --tenant ten_none'],
  ['TENANT_NOT_FOUND', 'audit list --tenant ten_none'],
  ['TENANT_NOT_FOUND', 'number list --tenant ten_none'],
  ['TENANT_NOT_FOUND', 'number list --tenant ten_none --stale'],
  ['TENANT_NOT_FOUND', 'fleet summary --tenant ten_none'],
  ['TENANT_NOT_FOUND', 'fleet watch --tenant ten_none'],
  ['TENANT_NOT_FOUND', 'fleet diff --tenant ten_none --since 24h'],
  ['TENANT_NOT_FOUND', 'number refresh --tenant ten_none'],
  [
    'TENANT_NOT_FOUND',
    'number add --tenant ten_none --name X --number 55119 --provider PILOT_STATUS',
  ],
  ['KEY_NOT_FOUND', 'key revoke key_none'],
  ['KEY_NOT_FOUND', 'key rotate key_none'],
  ['NUMBER_NOT_FOUND', 'number set-state wa_none OPEN'],
  ['NUMBER_NOT_FOUND', 'number show wa_none'],
])('%s and exit code 1 for: %s', async (code, words) => {
  const result = await line.run(words);
  expect(result).toMatchObject({ code: 1, stdout: '' });
  expect(result.stderr).toMatch(new RegExp(`^${code}: [^\\n]*\\n$`));
});

test('a key cannot be bound to the number of another tenant', async () => {
  const foreign = await addNumber(await line.addTenant());
  const tenant = await line.addTenant();
  const { code, stderr } = await line.run(`key create --tenant ${tenant} --number ${foreign}`);
  expect(code).toBe(1);
  expect(stderr).toMatch(/^NUMBER_NOT_FOUND: /);
});

describe('wrong usage', () => {
  const add = 'number add --tenant ten_x --name X';
  const long = 'x'.repeat(201);
  test.each<readonly [string, string | readonly string[], RegExp]>([
    ['an unknown command', 'tennant list', /unknown command 'tennant'/],
    ['an unknown option', 'tenant list --tenant x', /unknown option '--tenant'/],
    ['an extra argument', 'tenant list all', /too many arguments/],
    ['a missing option', 'tenant create', /'--name <name>' not specified/],
    ['a missing argument', 'key revoke', /missing required argument 'id'/],
    ['a command group alone', 'tenant', /Usage: numbers-gateway tenant/],
    ['an empty name', ['tenant', 'create', '--name', '  '], /at least one visible character/],
    ['a long name', `tenant create --name ${long}`, /at most 200/],
    ['a NUL byte', ['tenant', 'create', '--name', 'a\0b'], /control characters/],
    ['an id with a quote', "key list --tenant x'y", /An id consists of/],
    ['letters in a number', `${add} --provider PILOT_STATUS --number 55abc`, /5 to 20 digits/],
    ['a plus in a number', `${add} --provider PILOT_STATUS --number +5511`, /5511999999999/],
    ['an unknown provider', `${add} --provider WAHA --number 55119`, /META, PILOT_STATUS/],
    ['an unknown state', 'number set-state wa_x CLOSED', /OPEN, CONNECTING, CLOSE/],
    [
      'a short phone number id',
      `${add} --provider META --number 55119 --phone-number-id 1234`,
      /WhatsApp Manager/,
    ],
    ['an unknown scope', 'key create --tenant t --scope write', /Use read, operate or webhooks/],
    ['a past expiry', 'key create --tenant t --expires 2020-01-01', /in the past/],
    ['a day that does not exist', 'key create --tenant t --expires 2100-02-30', /2030-12-31/],
    ['a time without a zone', 'key create --tenant t --expires 2100-01-01T10:00', /2030-12-31/],
    ['a duration without a unit', 'key rotate k --overlap 24', /90s, 30m, 24h, 7d/],
    ['a limit of zero', 'audit list --tenant t --limit 0', /from 1 to 10000/],
    ['a long duration', 'key rotate k --overlap 366d', /at most 365d/],
    ['nothing to refresh', 'number refresh', /either number ids or a tenant/],
    ['numbers and a tenant', 'number refresh wa_x --tenant t', /either number ids or a tenant/],
    ['--all without --tenant', 'number refresh wa_x --all', /--all requires --tenant/],
    ['missing credentials', 'number set-credentials wa_x', /either --credentials or --credential/],
  ])('%s gets exit code 2 and a message that says what is expected', async (_, words, expected) => {
    // There is no configuration: usage errors are found before it is read.
    const { code, stdout, stderr } = await runCommand(words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(expected);
  });

  test('all missing and invalid options are reported together', async () => {
    const meta = await runCommand(`${add} --number 55119 --provider META`);
    expect(meta.stderr).toMatch(/--phone-number-id.*\n.*--waba-id/);
    const other = await runCommand(
      `${add} --number 55119 --provider PILOT_STATUS --waba-id 55555 --credentials -`,
    );
    expect(other.code).toBe(2);
    expect(other.stderr).toMatch(/--waba-id.*remove it\n--credentials.*remove it/);
  });
});

describe('help', () => {
  const commands = [
    ['', 'serve', 'migrate', 'doctor'],
    ['tenant', 'tenant create', 'tenant list'],
    ['key', 'key create', 'key list', 'key revoke', 'key rotate'],
    ['number', 'number add', 'number list', 'number show', 'number refresh'],
    [
      'number label',
      'number mute',
      'number unmute',
      'incident',
      'incident list',
      'incident acknowledge',
      'number set-state',
      'number set-credentials',
      'number update',
      'number remove',
    ],
    ['fleet', 'fleet summary', 'fleet watch', 'fleet diff', 'number history'],
    ['feed', 'feed new-epoch', 'sync', 'sync plan'],
    ['number discover', 'number import', 'tenant remove', 'credential', 'credential list'],
    ['credential set', 'credential check', 'account', 'account list', 'account watch'],
    ['audit', 'audit list', 'keys', 'keys rotate-encryption', 'completion'],
  ].flat();
  test.each(commands)('"%s --help" describes the command and each option', async (command) => {
    const { code, stdout, stderr } = await runCommand(`${command} --help`);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const usage = ['Usage: numbers-gateway', command].join(' ').trim();
    expect(stdout.startsWith(usage)).toBe(true);
    const undescribed = stdout
      .split('\n')
      .filter((text) => /^ {2}(-|\w+( \[\w+\])*$)\S*( <[^>]+>)?$/.test(text));
    expect(undescribed).toEqual([]);
  });

  test('--help lists every command', async () => {
    const { stdout } = await runCommand('--help');
    const listed = [...stdout.matchAll(/^ {2}(\w+) .*/gm)].map(([, name]) => name);
    expect(listed).toEqual(
      'serve migrate tenant key number fleet credential account sync webhook alert incident feed audit keys doctor completion help'.split(
        ' ',
      ),
    );
  });

  test('--version prints the version of the package', async () => {
    const { code, stdout } = await runCommand('--version');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe('problems', () => {
  test('all configuration problems are reported together', async () => {
    const environment = { DATABASE_URL: 'mysql://x', PORT: 'http', LOG_LEVEL: 'loud' };
    const { code, stdout, stderr } = await runCommand('tenant list', { environment });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^CONFIGURATION: /);
    for (const name of [...Object.keys(environment), 'ENCRYPTION_KEYS', 'API_KEY_PEPPER']) {
      expect(stderr).toContain(`- ${name} `);
    }
  });

  test('an unreachable database is reported with the cause and without the password', async () => {
    const environment = { DATABASE_URL: 'postgres://me:my-password@127.0.0.1:1/x' };
    const { code, stdout, stderr } = await line.run('tenant list', { environment });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/^UNAVAILABLE: .*ECONNREFUSED/);
    expect(stderr).not.toContain('my-password');
  });

  test('an error of the database is reported with its message', async () => {
    const url = Object.assign(new URL(line.database.url), { pathname: '/no_such_database' });
    const environment = { DATABASE_URL: url.href };
    const { code, stderr } = await line.run('tenant list', { environment });
    expect(code).toBe(1);
    expect(stderr).toBe('INTERNAL: database "no_such_database" does not exist\n');
    expect(stderr).not.toContain(url.password);
  });
});

test('a table replaces control characters in its cells', () => {
  const plain = { width: null, style: (_format: unknown, text: string) => text };
  const columns = [{ title: 'name', cell: (row: { name: string }) => row.name }];
  expect(formatTable([{ name: 'a\u{1b}[2Jb\u{202e}c\n' }], columns, plain)).toBe(
    'NAME\na\u{FFFD}[2Jb\u{FFFD}c\u{FFFD}',
  );
  expect(toPrintable('Café 日本 😀')).toBe('Café 日本 😀');
});
