// `number update`, `number remove`, and the checks of the ids that are typed.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openTestDatabase, openTestGateway, toHealthyPhone } from '../harness.ts';
import { type CommandLine, openCommandLine, type RunOptions } from './command-line.ts';

const token = 'EAAcanary0123456789abcdefghijklmnop';
const stdin = JSON.stringify({ accessToken: token });
const digits = '5511999999999';

/** Accounts 71… and 72…; the second one has 130 numbers, which are more than a page. */
const account = '710000000001';
const phone = '810000000001';
const largeAccount = '720000000001';
const lastOfLarge = '820000000130';
const foreignAccount = '730000000001';

let line: CommandLine;
beforeAll(async () => {
  line = await openCommandLine({
    simulator: {
      tokens: [
        { token, wabaIds: [account, largeAccount] },
        { token: 'EAAexpired0123456789abcdefgh', wabaIds: 'all', state: 'expired' },
      ],
      wabas: [account, largeAccount, foreignAccount].map((id) => ({
        id,
        fields: { name: id, owner_business_info: { id: `9${id}`, name: 'Portfolio' } },
      })),
      phones: [
        toHealthyPhone(phone, account),
        ...Array.from({ length: 130 }, (_, index) =>
          toHealthyPhone(String(820_000_000_001 + index), largeAccount, {
            display_phone_number: `+55 21 9000-${String(index + 1).padStart(4, '0')}`,
          }),
        ),
      ],
    },
  });
});
afterAll(() => line[Symbol.asyncDispose]());
afterEach(() => line.simulator.clearCalls());

function toAdd(tenant: string, given: Partial<Record<'phone' | 'waba' | 'number', string>> = {}) {
  const { phone: phoneId = phone, waba = account, number = digits } = given;
  return `number add --tenant ${tenant} --name Sales --number ${number} --provider META --phone-number-id ${phoneId} --waba-id ${waba}`;
}

async function addMeta(tenant: string, words = '--credentials -'): Promise<string> {
  const { json, stderr } = await line.run<{ id: string }>(`${toAdd(tenant)} ${words}`, { stdin });
  expect(stderr).toBe('');
  return json.id;
}

interface Entry {
  readonly action: string;
  readonly subject: string;
  readonly details: Readonly<Record<string, unknown>>;
}

async function listAudit(tenant: string): Promise<readonly Entry[]> {
  return (await line.run<Entry[]>(`audit list --tenant ${tenant}`)).json;
}

async function countNumbers(tenant: string): Promise<number> {
  return (await line.run<unknown[]>(`number list --tenant ${tenant}`)).json.length;
}

describe('number add with credentials', () => {
  test('stores ids that belong together and have the typed digits, however large the account is', async () => {
    const tenant = await line.addTenant();
    const { code, stderr } = await line.run(
      `${toAdd(tenant, { phone: lastOfLarge, waba: largeAccount, number: '552190000130' })} --credentials -`,
      { stdin },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(line.simulator.calls.map(({ operations }) => operations)).toEqual([
      [`phone_numbers ${largeAccount}`],
      [`phone_numbers ${largeAccount}`],
    ]);
  });

  test('is not told that the account does not have the number when its list ends early', async () => {
    const tenant = await line.addTenant();
    line.simulator.setFault(largeAccount, { kind: 'missing-cursor' });
    const options = { phone: lastOfLarge, waba: largeAccount, number: '552190000130' };
    const { code, stderr } = await line.run(`${toAdd(tenant, options)} --credentials -`, { stdin });
    line.simulator.setFault(largeAccount, null);
    expect(code).toBe(1);
    expect(stderr).toContain('META_UNAVAILABLE: The ids could not be checked: Meta listed a part');
  });

  // https://github.com/megaapp977/stack/issues/576
  test('takes the ninth digit of a Brazilian number as typed, although Meta shows the number without it', async () => {
    const tenant = await line.addTenant();
    const typed = { waba: largeAccount, number: '5521990000130' };
    const wrongId = await line.run(`${toAdd(tenant, typed)} --credentials -`, { stdin });
    expect(wrongId.stderr).toContain(
      `In this account the number 5521990000130 has the phone number id ${lastOfLarge}.`,
    );
    const { code, json, stderr } = await line.run(
      `${toAdd(tenant, { ...typed, phone: lastOfLarge })} --credentials -`,
      { stdin },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(json).toMatchObject({ number: '5521990000130' });
  });

  test.each<readonly [string, Parameters<typeof toAdd>[1], string]>([
    [
      'swapped ids',
      { phone: account, waba: phone },
      `The ids are swapped: ${phone} is the phone number id, and ${account} the id of the WhatsApp Business account.`,
    ],
    [
      'a phone number id as WABA id',
      { waba: phone },
      `${phone} is not the id of a WhatsApp Business account but a phone number id.`,
    ],
    [
      "a portfolio's id as WABA id",
      { waba: `9${account}` },
      `9${account} is not the id of a WhatsApp Business account but that of a business portfolio. WhatsApp Manager shows the account's id.`,
    ],
    [
      'a WABA id as phone number id',
      { phone: account },
      `${account} is not a phone number id but the id of a WhatsApp Business account. In this account the number ${digits} has the phone number id ${phone}.`,
    ],
    [
      'a number of another account',
      { phone: lastOfLarge },
      `The phone number id ${lastOfLarge} (552190000130) does not belong to the WhatsApp Business account ${account}. In this account the number ${digits} has the phone number id ${phone}.`,
    ],
    [
      'a phone number id that nobody knows',
      { phone: '899999999999', number: '55119' },
      `The WhatsApp Business account ${account} has no number with the phone number id 899999999999, and the token cannot read that id.`,
    ],
    [
      'other digits than those at Meta',
      { number: '5511888888888' },
      `The phone number id ${phone} is that of 5511999999999, and not of 5511888888888.`,
    ],
  ])('refuses %s, says what it is, and stores nothing', async (_, given, message) => {
    const tenant = await line.addTenant();
    const result = await line.run(`${toAdd(tenant, given)} --credentials -`, { stdin });
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toContain(`INVALID_REQUEST: ${message}`);
    expect(result.stderr).not.toContain(token);
    expect(await countNumbers(tenant)).toBe(0);
  });

  test.each<readonly [string, string, Parameters<typeof toAdd>[1], string]>([
    ['an expired token', 'EAAexpired0123456789abcdefgh', {}, 'META_ACCESS_DENIED'],
    ['an account of others', token, { waba: foreignAccount }, 'META_ACCESS_DENIED'],
  ])(
    'with %s says why the ids could not be checked',
    async (_, accessToken, given, expectedCode) => {
      const tenant = await line.addTenant();
      const result = await line.run(`${toAdd(tenant, given)} --credentials -`, {
        stdin: JSON.stringify({ accessToken }),
      });
      expect(result).toMatchObject({ code: 1, stdout: '' });
      expect(result.stderr).toMatch(
        new RegExp(`^${expectedCode}: The ids could not be checked: .*--no-check`, 'm'),
      );
      expect(await countNumbers(tenant)).toBe(0);
    },
  );

  test('asks nobody with --no-check, or without credentials', async () => {
    const tenant = await line.addTenant();
    const wrong = toAdd(tenant, { number: '5511888888888' });
    expect((await line.run(`${wrong} --credentials - --no-check`, { stdin })).code).toBe(0);
    expect((await line.run(toAdd(await line.addTenant(), { phone: account }))).code).toBe(0);
    expect(line.simulator.calls).toEqual([]);
  });

  test('follows the pages by their cursors, so that no request has the token in its URL', async () => {
    const tenant = await line.addTenant();
    await line.run(
      `${toAdd(tenant, { phone: '829999999999', waba: largeAccount })} --credentials -`,
      {
        stdin,
      },
    );
    const queries = line.simulator.calls.map(({ query }) => query);
    expect(queries[1]).toHaveProperty('after');
    expect(JSON.stringify(queries)).not.toContain(token);
  });
});

describe('number update', () => {
  test('says that ids cannot be checked with a token that cannot be decrypted', async () => {
    const id = await addMeta(await line.addTenant());
    const environment = { ENCRYPTION_KEYS: `new:${Buffer.alloc(32, 7).toString('base64')}` };
    const words = `number update ${id} --waba-id ${largeAccount}`;
    const { code, stderr } = await line.run(words, { environment });
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^META_ACCESS_DENIED: .* cannot be decrypted.* ENCRYPTION_KEYS.* --no-check\.\n$/,
    );
    expect((await line.run(`${words} --no-check`, { environment })).code).toBe(0);
  });

  test('changes what is given, keeps the rest, and leaves an audit row with both values', async () => {
    const tenant = await line.addTenant();
    const id = await addMeta(tenant);
    const updated = await line.run(['number', 'update', id, '--name', 'Support Rio']);
    expect(updated).toMatchObject({
      code: 0,
      stderr: '',
      json: { id, name: 'Support Rio', number: digits, state: 'OPEN' },
    });
    expect((await listAudit(tenant))[0]).toMatchObject({
      action: 'number.updated',
      subject: id,
      details: { name: 'Support Rio', formerName: 'Sales' },
    });
    const text = await line.run(`number update ${id} --name Sales`, { tty: ['stdout'] });
    expect(text.stdout).toBe(`Updated number ${id} (Sales, ${digits}): META, OPEN.\n`);
  });

  test('checks new ids with the stored token, unless --no-check is given', async () => {
    const tenant = await line.addTenant();
    const id = await addMeta(tenant);
    const wrong = await line.run(`number update ${id} --phone-number-id ${lastOfLarge}`);
    expect(wrong).toMatchObject({ code: 1, stdout: '' });
    expect(wrong.stderr).toMatch(
      /^INVALID_REQUEST: The phone number id 820000000130 .*does not belong/m,
    );
    const right = await line.run(
      `number update ${id} --phone-number-id ${lastOfLarge} --waba-id ${largeAccount} --number 552190000130`,
    );
    expect(right).toMatchObject({ code: 0, json: { number: '552190000130' } });
    line.simulator.clearCalls();
    expect((await line.run(`number update ${id} --waba-id ${account} --no-check`)).code).toBe(0);
    expect((await line.run(`number update ${id} --name X`)).code).toBe(0);
    expect(line.simulator.calls).toEqual([]);
  });

  test('deletes what was read of the former ids, and keeps it when only the name changes', async () => {
    const tenant = await line.addTenant();
    const id = await addMeta(tenant);
    line.simulator.setPhone(toHealthyPhone(phone, account, { status: 'MIGRATED' }));
    await line.run(`number refresh ${id}`);
    line.simulator.setPhone(toHealthyPhone(phone, account));
    const show = async () => (await line.run(`number show ${id}`)).json;
    await line.run(`number update ${id} --name Moved`);
    expect(await show()).toMatchObject({ state: 'CLOSE', health: { metaStatus: 'MIGRATED' } });
    await line.run(
      `number update ${id} --phone-number-id ${lastOfLarge} --waba-id ${largeAccount} --no-check`,
    );
    expect(await show()).toMatchObject({
      phoneNumberId: lastOfLarge,
      wabaId: largeAccount,
      state: 'OPEN',
      meta: null,
      health: { metaStatus: null, sendability: { verdict: 'UNKNOWN' } },
    });
  });

  test('a phone number id that another number has is a conflict', async () => {
    const tenant = await line.addTenant();
    await addMeta(tenant);
    const { json } = await line.run<{ id: string }>(toAdd(tenant, { phone: lastOfLarge }));
    const result = await line.run(`number update ${json.id} --phone-number-id ${phone} --no-check`);
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toMatch(/^CONFLICT: /);
  });

  test('a number connected by QR code gets another instance, and no ids of Meta', async () => {
    const tenant = await line.addTenant();
    const { json } = await line.run<{ id: string }>(
      `number add --tenant ${tenant} --name Shop --number 55119 --provider PILOT_STATUS --instance one --state OPEN`,
    );
    const moved = await line.run(`number update ${json.id} --instance two`);
    expect(moved).toMatchObject({ code: 0, json: { state: 'CLOSE' } });
    expect((await listAudit(tenant))[0]?.details).toEqual({
      instanceName: 'two',
      formerInstanceName: 'one',
    });
    const refused = await line.run(`number update ${json.id} --waba-id ${account}`);
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^INVALID_REQUEST: The number is connected by QR code/);
  });
});

/** On a terminal. */
function answering(text: string): RunOptions {
  return { stdin: text, tty: ['stdin', 'stdout', 'stderr'] };
}

describe('number remove', () => {
  test('deletes the number and revokes its keys in one transaction, and leaves audit rows', async () => {
    const tenant = await line.addTenant();
    const id = await addMeta(tenant);
    await line.run(`number refresh ${id}`);
    const { json: bound } = await line.run<{ id: string; key: string }>(
      `key create --tenant ${tenant} --number ${id}`,
    );
    const { json: wide } = await line.run<{ key: string }>(`key create --tenant ${tenant}`);
    await using database = await openTestDatabase('PostgreSQL', { of: line.database });
    await using gateway = await openTestGateway({
      database,
      environment: { API_KEY_PEPPER: line.environment['API_KEY_PEPPER'] ?? '' },
    });
    const ask = async (key: string) => await gateway.rest(`/v1/numbers/${id}`, { key });
    expect((await ask(bound.key)).status).toBe(200);
    expect((await ask(wide.key)).status).toBe(200);

    const removed = await line.run(`number remove ${id} --yes`);
    expect(removed).toMatchObject({ code: 0, stderr: '', json: { id, revokedKeys: [bound.id] } });
    await database.changes.catchUp();
    expect((await ask(bound.key)).status).toBe(401);
    expect((await ask(wide.key)).status).toBe(404);
    expect(await countNumbers(tenant)).toBe(0);
    const audit = (await listAudit(tenant)).map(({ action, subject }) => `${action} ${subject}`);
    expect(audit.slice(0, 3).toSorted()).toEqual([
      `credentials.deleted ${id}`,
      `key.deleted ${bound.id}`,
      `number.removed ${id}`,
    ]);
    for (const table of ['number_snapshot', 'waba_snapshot', 'number_credential']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const left = await database.query(`select from ${table} where tenant_id = '${tenant}'`);
      expect(left).toHaveLength(0);
    }
  });

  test('keeps the data of an account that another number has', async () => {
    const tenant = await line.addTenant();
    const id = await addMeta(tenant);
    const { json } = await line.run<{ id: string }>(
      `${toAdd(tenant, { phone: '810000000002' })} --credentials - --no-check`,
      { stdin },
    );
    await line.run(`number refresh ${id}`);
    await line.run(`number remove ${id} --yes`);
    const { json: other } = await line.run(`number show ${json.id}`);
    expect(other).toMatchObject({ meta: { waba: { name: account } } });
  });

  test('asks on a terminal, and removes nothing unless the answer is yes', async () => {
    const tenant = await line.addTenant();
    const id = await addMeta(tenant);
    await line.run(`key create --tenant ${tenant} --number ${id}`);
    const refused = await line.run(`number remove ${id}`, answering('no\n'));
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toContain(
      `This removes number ${id} (Sales, ${digits}): META, OPEN. Its key will be revoked.\nType yes to confirm: `,
    );
    expect(refused.stderr).toContain('NOT_CONFIRMED');
    expect(await countNumbers(tenant)).toBe(1);
    const accepted = await line.run(`number remove ${id}`, answering('yes\n'));
    expect(accepted.stdout).toBe(
      `Removed number ${id} (Sales, ${digits}): META, OPEN. Its key was revoked.\n`,
    );
    expect(await countNumbers(tenant)).toBe(0);
  });

  test('an answer that never comes removes nothing', async () => {
    const tenant = await line.addTenant();
    const id = await addMeta(tenant);
    expect((await line.run(`number remove ${id}`, answering(''))).code).toBe(1);
    expect(await countNumbers(tenant)).toBe(1);
  });

  test('needs --yes in a pipe', async () => {
    const { code, stdout, stderr } = await line.run('number remove wa_x', { stdin: 'yes\n' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('add --yes to confirm');
  });
});

test.each(['number update wa_none --name X', 'number remove wa_none --yes'])(
  'NUMBER_NOT_FOUND and exit code 1 for: %s',
  async (words) => {
    const result = await line.run(words);
    expect(result).toMatchObject({ code: 1, stdout: '' });
    expect(result.stderr).toMatch(/^NUMBER_NOT_FOUND: [^\n]*\n$/);
  },
);

test('number update without a change is wrong usage', async () => {
  const { code, stderr } = await line.run('number update wa_x --no-check');
  expect(code).toBe(2);
  expect(stderr).toContain('Nothing to change; add --name, --number');
});

test('what is being read of a former id is not stored', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const number = await tenant.addNumber();
  const other = await tenant.addNumber({ wabaId: number.wabaId });
  const hold = gateway.simulator.hold(number.phoneNumberId);
  const refreshed = tenant.rest<{ state: string }>(`/v1/numbers/${number.id}?refresh=1`);
  await hold.arrived;
  gateway.simulator.setPhone(
    toHealthyPhone(number.phoneNumberId, number.wabaId, { status: 'BANNED' }),
  );
  await gateway.numbers.remove(other.id);
  await gateway.numbers.update(number.id, { phoneNumberId: other.phoneNumberId });
  hold.release();
  await refreshed;
  const { body } = await tenant.rest<{ state: string; meta: unknown }>(`/v1/numbers/${number.id}`);
  expect(body).toMatchObject({ state: 'OPEN', meta: { phone: null } });
});
