// Incidents of what no change reports: tokens that end, accounts that Meta has disabled, and accounts that are read too
// rarely.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CauseLimits, toCauseLimits } from '../../src/alerts/causes.ts';
import { evaluateTenants } from '../../src/alerts/evaluator.ts';
import { databases, openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const day = 86_400_000;
const minute = 60_000;

async function listIncidents(tenant: TestTenant, rule: string) {
  const { body } = await tenant.graphql<{ incidents: { nodes: Record<string, unknown>[] } }>(
    `{ incidents { nodes {
      rule severity state scope subject subjectName numberCount numbers { id } newValue text
    } } }`,
  );
  return body.data!.incidents.nodes.filter((it) => it['rule'] === rule);
}

describe.each(databases)('on %s', (kind) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database: kind, environment: { ANSWER_CACHE_MB: '0' } });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  /** Evaluates everything as at this time. */
  async function evaluateAt(at: number, limits: CauseLimits = toCauseLimits(null)): Promise<void> {
    await evaluateTenants({
      database: gateway.database,
      now: () => new Date(at),
      limits,
      onOpened: () => undefined,
    });
  }
  const addToken = async (tenant: TestTenant, expiresAt: Date | null, dataEnds: Date | null) => {
    const [row] = await gateway.database.query<{ id: string }>(
      `insert into credential (tenant_id, name, sealed, expires_at, data_access_expires_at)
       values ($1, 'System user', 'sealed', $2, $3) returning id`,
      [tenant.id, expiresAt, dataEnds],
    );
    return row!.id;
  };
  const useToken = (token: string | null, numberId: string) =>
    gateway.database.query('update whatsapp_number set credential_id = $1 where id = $2', [
      token,
      numberId,
    ]);

  test('a token that ends within 7 days is one incident of its numbers, until another one is stored', async () => {
    const tenant = await gateway.addTenant();
    const start = Date.now() + 30 * day;
    const token = await addToken(tenant, new Date(start), new Date(start + 30 * day));
    const [one, two] = [await tenant.addNumber(), await tenant.addNumber()];
    await evaluateAt(start - 7 * day + minute);
    // Nothing uses it.
    expect(await listIncidents(tenant, 'TOKEN_EXPIRING')).toEqual([]);
    for (const { id } of [one, two]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await useToken(token, id);
    }
    await evaluateAt(start - 7 * day - minute);
    expect(await listIncidents(tenant, 'TOKEN_EXPIRING')).toEqual([]);
    for (const at of [start - 7 * day + minute, start - day, start + day]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await evaluateAt(at);
      // oxlint-disable-next-line no-await-in-loop -- as above
      expect(await listIncidents(tenant, 'TOKEN_EXPIRING')).toEqual([
        {
          rule: 'TOKEN_EXPIRING',
          severity: 'WARNING',
          state: 'OPEN',
          scope: 'TOKEN',
          subject: token,
          subjectName: 'System user',
          numberCount: 2,
          numbers: [one.id, two.id].toSorted().map((id) => ({ id })),
          newValue: new Date(start).toISOString(),
          text: 'The access token, or its permission to read data, ends within 7 days, or has ended.',
        },
      ]);
    }
    const worst = await tenant.graphql(`{ number(id: "${one.id}") { incident { rule } } }`);
    expect(worst.body.data).toEqual({ number: { incident: { rule: 'TOKEN_EXPIRING' } } });
    await gateway.database.query(
      'update credential set expires_at = null, data_access_expires_at = $2 where id = $1',
      [token, new Date(start + 60 * day)],
    );
    await evaluateAt(start + day + minute);
    expect(await listIncidents(tenant, 'TOKEN_EXPIRING')).toMatchObject([{ state: 'CLOSED' }]);
    // The end of the permission counts too.
    await evaluateAt(start + 54 * day);
    expect(await listIncidents(tenant, 'TOKEN_EXPIRING')).toMatchObject([
      { state: 'OPEN', newValue: new Date(start + 60 * day).toISOString() },
      { state: 'CLOSED' },
    ]);
    for (const { id } of [one, two]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await useToken(null, id);
    }
    await evaluateAt(start + 55 * day);
    expect(await listIncidents(tenant, 'TOKEN_EXPIRING')).toMatchObject([
      { state: 'CLOSED' },
      { state: 'CLOSED' },
    ]);
  });

  test('an account that Meta disables is one incident with that of its numbers, until both are over', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = kind === 'PGlite' ? '8888888811' : '8888888812';
    const [one, two] = [
      await tenant.addNumber({ wabaId, waba: {} }),
      await tenant.addNumber({ wabaId, waba: {} }),
    ];
    const announce = (state: string) =>
      gateway.database.query(
        `insert into account_notice (tenant_id, waba_id, notices)
         values ($1, $2, jsonb_build_object('ban', jsonb_build_object('value', jsonb_build_object('state', $3::text))))
         on conflict (tenant_id, waba_id) do update set notices = excluded.notices`,
        [tenant.id, wabaId, state],
      );
    const changeStatus = (from: string | null, to: string) =>
      gateway.database.query(
        `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
         values ($1, $2, 'FIELD', 'META_STATUS', $3, $4, 'READ', now())`,
        [tenant.id, one.id, from, to],
      );
    const start = Date.now();
    await announce('SCHEDULE_FOR_DISABLE');
    await evaluateAt(start);
    expect(await listIncidents(tenant, 'ACCOUNT_BANNED')).toEqual([]);
    await announce('DISABLE');
    await evaluateAt(start + 1_000);
    const banned = { state: 'OPEN', scope: 'ACCOUNT', subject: wabaId, severity: 'CRITICAL' };
    const numbers = [one.id, two.id].toSorted().map((id) => ({ id }));
    const incident = { ...banned, numberCount: 2, numbers, newValue: 'DISABLE' };
    expect(await listIncidents(tenant, 'ACCOUNT_BANNED')).toMatchObject([incident]);
    await changeStatus('CONNECTED', 'BANNED');
    await evaluateAt(start + 2_000);
    await evaluateAt(start + 3_000);
    expect(await listIncidents(tenant, 'ACCOUNT_BANNED')).toMatchObject([incident]);
    await announce('REINSTATE');
    await evaluateAt(start + 4_000);
    expect(await listIncidents(tenant, 'ACCOUNT_BANNED')).toMatchObject([
      { ...banned, numberCount: 1, numbers: [{ id: one.id }] },
    ]);
    await changeStatus('BANNED', 'CONNECTED');
    await evaluateAt(start + 5_000);
    expect(await listIncidents(tenant, 'ACCOUNT_BANNED')).toMatchObject([
      { ...incident, state: 'CLOSED' },
    ]);
  });

  test('numbers that are banned within a minute become one incident with the third one', async () => {
    const tenant = await gateway.addTenant();
    const wabaId = kind === 'PGlite' ? '8888888813' : '8888888814';
    const add = () => tenant.addNumber({ wabaId, waba: {} });
    const [one, two, three] = [await add(), await add(), await add()];
    const ban = (...numbers: readonly { readonly id: string }[]) =>
      gateway.database.query(
        `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
         select $1, unnest($2::text[]), 'FIELD', 'META_STATUS', 'CONNECTED', 'BANNED', 'READ', now()`,
        [tenant.id, numbers.map(({ id }) => id)],
      );
    const start = Date.now();
    await ban(one, two);
    await evaluateAt(start);
    const single = { scope: 'NUMBER', numberCount: 1 };
    const open = { ...single, state: 'OPEN' };
    expect(await listIncidents(tenant, 'ACCOUNT_BANNED')).toMatchObject([open, open]);
    // The incidents are changes of their numbers, too.
    await evaluateAt(start + 1_000);
    await ban(three);
    await evaluateAt(start + 5_000);
    const numbers = [one, two, three].map(({ id }) => ({ id }));
    const closed = { ...single, state: 'CLOSED' };
    const incidents = await listIncidents(tenant, 'ACCOUNT_BANNED');
    expect(incidents).toMatchObject([
      { state: 'OPEN', scope: 'ACCOUNT', subject: wabaId, numberCount: 3 },
      closed,
      closed,
    ]);
    expect(incidents[0]!['numbers']).toEqual(expect.arrayContaining(numbers));
  });

  test('an account is late that was not read for twice as long as it should be, and stays so for five minutes', async () => {
    const tenant = await gateway.addTenant();
    const { wabaId } = await tenant.addNumber();
    const start = Date.now() + day;
    const read = (at: number) =>
      gateway.database.query(
        `update sync_plan set last_ok_at = $3, due_at = $3
         where tenant_id = $1 and subject_id = $2 and kind = 'SWEEP'`,
        [tenant.id, wabaId, new Date(at)],
      );
    const limits = toCauseLimits(900);
    const list = () => listIncidents(tenant, 'SYNC_LATE');
    await read(start);
    await evaluateAt(start + 29 * minute, limits);
    await evaluateAt(start + 31 * minute, limits);
    expect(await list()).toEqual([]);
    await evaluateAt(start + 37 * minute, limits);
    const late = { state: 'OPEN', scope: 'ACCOUNT', subject: wabaId, numberCount: 1 };
    expect(await list()).toMatchObject([{ ...late, newValue: null }]);
    await read(start + 38 * minute);
    await evaluateAt(start + 39 * minute, limits);
    expect(await list()).toMatchObject([{ ...late, state: 'CLOSED' }]);
    // A start after a longer pause: what is due is read before five minutes have passed.
    await evaluateAt(start + day, limits);
    await read(start + day + minute);
    await evaluateAt(start + day + 6 * minute, limits);
    expect(await list()).toHaveLength(1);
    // Nothing is late while reads are switched off.
    await evaluateAt(start + 2 * day);
    await evaluateAt(start + 3 * day);
    expect(await list()).toHaveLength(1);
    // Reads that fail are no reads.
    const fail = (error: string) =>
      gateway.database.query(
        `update sync_plan set failures = 3, last_error = $3
         where tenant_id = $1 and subject_id = $2 and kind = 'SWEEP'`,
        [tenant.id, wabaId, error],
      );
    await fail('META_UNAVAILABLE');
    await evaluateAt(start + 4 * day, limits);
    await evaluateAt(start + 4 * day + 6 * minute, limits);
    const failing = { ...late, newValue: 'META_UNAVAILABLE' };
    expect(await list()).toMatchObject([failing, { ...late, state: 'CLOSED' }]);
    // A refused token has an incident of its own.
    await fail('META_ACCESS_DENIED');
    await evaluateAt(start + 5 * day, limits);
    expect(await list()).toMatchObject([{ ...failing, state: 'CLOSED' }, { state: 'CLOSED' }]);
  });

  test('an account is late by its health too, and by the cadence that it is planned with', async () => {
    const tenant = await gateway.addTenant();
    const { wabaId } = await tenant.addNumber();
    const start = Date.now() + day;
    const read = (kindOfRead: string, at: number, error: string | null, lateAfterSeconds: number) =>
      gateway.database.query(
        `update sync_plan set last_ok_at = $4, last_error = $5, late_after_seconds = $6
         where tenant_id = $1 and subject_id = $2 and kind = $3`,
        [tenant.id, wabaId, kindOfRead, new Date(at), error, lateAfterSeconds],
      );
    const limits = toCauseLimits(300);
    const list = () => listIncidents(tenant, 'SYNC_LATE');
    await read('SWEEP', start, null, 2_400);
    await read('HEALTH', start, 'META_TIMEOUT', 3_600);
    await evaluateAt(start + 31 * minute, limits);
    await evaluateAt(start + 37 * minute, limits);
    expect(await list()).toEqual([]);
    await read('SWEEP', start + 39 * minute, null, 2_400);
    await evaluateAt(start + 61 * minute, limits);
    await evaluateAt(start + 67 * minute, limits);
    expect(await list()).toMatchObject([{ state: 'OPEN', newValue: 'META_TIMEOUT' }]);
    await evaluateAt(start + 90 * minute, limits);
    await read('HEALTH', start + 90 * minute, null, 3_600);
    await evaluateAt(start + 91 * minute, limits);
    expect(await list()).toMatchObject([{ state: 'OPEN' }]);
    await read('SWEEP', start + 91 * minute, null, 2_400);
    await evaluateAt(start + 92 * minute, limits);
    expect(await list()).toMatchObject([{ state: 'CLOSED' }]);
  });

  test('three accounts of a token that are late are one incident of it, until all were read', async () => {
    const tenant = await gateway.addTenant();
    const token = await addToken(tenant, null, null);
    const numbers = [await tenant.addNumber(), await tenant.addNumber(), await tenant.addNumber()];
    const start = Date.now() + day;
    const read = (at: number, ...wabaIds: readonly (string | null)[]) =>
      gateway.database.query(
        `update sync_plan set last_ok_at = $3, due_at = $3
         where tenant_id = $1 and subject_id = any($2) and kind = 'SWEEP'`,
        [tenant.id, wabaIds, new Date(at)],
      );
    const wabaIds = numbers.map(({ wabaId }) => wabaId);
    await Promise.all(numbers.map(({ id }) => useToken(token, id)));
    await read(start, ...wabaIds);
    const limits = toCauseLimits(900);
    await evaluateAt(start + 31 * minute, limits);
    await evaluateAt(start + 37 * minute, limits);
    const late = {
      state: 'OPEN',
      scope: 'TOKEN',
      subject: token,
      subjectName: 'System user',
      numberCount: 3,
      numbers: numbers.map(({ id }) => ({ id })).toSorted((a, b) => (a.id < b.id ? -1 : 1)),
      text: expect.stringContaining('The numbers of several accounts'),
    };
    expect(await listIncidents(tenant, 'SYNC_LATE')).toMatchObject([late]);
    const [{ id } = { id: '' }] = numbers;
    const worst = await tenant.graphql(`{ number(id: "${id}") { incident { rule } } }`);
    expect(worst.body.data).toEqual({ number: { incident: { rule: 'SYNC_LATE' } } });
    await read(start + 38 * minute, ...wabaIds.slice(1));
    await evaluateAt(start + 39 * minute, limits);
    expect(await listIncidents(tenant, 'SYNC_LATE')).toMatchObject([
      { state: 'OPEN', numberCount: 1 },
    ]);
    await read(start + 39 * minute, ...wabaIds);
    await evaluateAt(start + 40 * minute, limits);
    expect(await listIncidents(tenant, 'SYNC_LATE')).toMatchObject([{ ...late, state: 'CLOSED' }]);
  });
});
