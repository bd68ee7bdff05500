// What callers and operators see of a number for which an attempt to read it could not even be made.

import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeAllOutdated } from '../../src/numbers/status-upkeep.ts';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { openTestGateway, type TestGateway, type TestNumber, type TestTenant } from '../harness.ts';

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await openTestGateway();
});
afterAll(() => gateway[Symbol.asyncDispose]());

const freshness = 'freshness { observedAt attemptedAt stale error { code message } }';
const selection = `{ state updatedAt
  health { sendable sendability { verdict replyVerdict reasons { entity effect scope text solution } } ${freshness} }
  meta { phone { ${freshness} } profile { ${freshness} } waba { ${freshness} } } }`;

interface Error {
  readonly code: string;
  readonly message: string;
}

interface Shown {
  readonly updatedAt: string;
  readonly health: {
    readonly sendable: boolean;
    readonly sendability: Readonly<Record<'verdict' | 'replyVerdict', string>> & {
      readonly reasons: readonly Readonly<Record<string, string | null>>[];
    };
    readonly freshness: {
      readonly observedAt: string | null;
      readonly attemptedAt: string | null;
      readonly error: Error | null;
    } | null;
  };
  readonly meta: Readonly<
    Record<'phone' | 'profile' | 'waba', { readonly freshness: { readonly error: Error | null } }>
  > | null;
}

async function read(tenant: TestTenant, id: string, refresh: boolean): Promise<Shown> {
  const { body } = await tenant.graphql<{ number: Shown }>(
    `{ number(id: "${id}", refresh: ${refresh}) ${selection} }`,
  );
  return body.data!.number;
}

/** The fields of the number over REST that have to agree with GraphQL, from the detail, the list and a fleet. */
async function readRest(tenant: TestTenant, id: string) {
  const include = 'include=sendability,freshness';
  const [detail, list, failing] = await Promise.all([
    tenant.rest<any>(`/v1/numbers/${id}?${include}`),
    tenant.rest<readonly any[]>(`/v1/numbers?${include}`),
    tenant.rest<{ data: readonly any[] }>(`/v1/fleet?failing=true&${include}`),
  ]);
  const listed = list.body.find((it) => it.id === id);
  expect(listed.sendability).toEqual(detail.body.sendability);
  expect(listed.freshness).toEqual(detail.body.freshness);
  return {
    sendable: detail.body.health.sendable as boolean,
    sendability: detail.body.sendability,
    freshness: detail.body.freshness,
    isFailing: failing.body.data.some((it) => it.id === id),
  };
}

async function isFailing(tenant: TestTenant, id: string): Promise<boolean> {
  const { body } = await tenant.graphql<any>(
    `{ fleet(filter: {failing: true, ids: ["${id}"]}) { totalCount facets { failing } } }`,
  );
  const { totalCount, facets } = body.data!.fleet;
  expect(facets.failing).toBe(totalCount);
  return totalCount === 1;
}

const canSend = { sendable: true, sendability: { verdict: 'YES', replyVerdict: 'YES' } };

/** A number that was read as able to send. */
async function addRead(): Promise<{ readonly tenant: TestTenant; readonly number: TestNumber }> {
  const tenant = await gateway.addTenant();
  const number = await tenant.addNumber();
  const { health } = await read(tenant, number.id, true);
  expect(health).toMatchObject({ ...canSend, freshness: { error: null } });
  expect(await isFailing(tenant, number.id)).toBe(false);
  return { tenant, number };
}

const removeToken = (id: string) =>
  gateway.database.query('delete from number_credential where number_id = $1', [id]);
const breakToken = (id: string) =>
  gateway.database.query(
    `update number_credential set sealed = replace(sealed, 'v1.test.', 'v1.lost.') where number_id = $1`,
    [id],
  );

describe.each([
  ['no access token', removeToken, 'No access token is stored', 'Store one that may read it'],
  [
    'an access token that cannot be decrypted',
    breakToken,
    'cannot be decrypted',
    'ENCRYPTION_KEYS',
  ],
] as const)('a number with %s', (_, spoil, says, advises) => {
  test('shows after a refresh what the refresh has shown, over both APIs', async () => {
    const { tenant, number } = await addRead();
    const before = await read(tenant, number.id, false);
    await spoil(number.id);
    gateway.simulator.clearCalls();
    const live = await read(tenant, number.id, true);
    expect(gateway.simulator.calls).toEqual([]);
    expect(live.health).toMatchObject({
      sendable: false,
      sendability: {
        verdict: 'UNKNOWN',
        replyVerdict: 'UNKNOWN',
        reasons: [
          {
            entity: 'SNAPSHOT',
            effect: 'INCONCLUSIVE',
            scope: 'ALL',
            text: expect.stringContaining(says),
            solution: expect.stringContaining(advises),
          },
        ],
      },
      freshness: {
        observedAt: before.health.freshness!.observedAt,
        attemptedAt: before.health.freshness!.attemptedAt,
        error: { code: 'META_ACCESS_DENIED', message: expect.stringContaining(says) },
      },
    });
    expect(live.updatedAt).toBe(before.updatedAt);
    expect(await read(tenant, number.id, false)).toEqual(live);
    const rest = await readRest(tenant, number.id);
    expect(rest).toMatchObject({
      sendable: false,
      sendability: { verdict: 'UNKNOWN', replyVerdict: 'UNKNOWN' },
      isFailing: true,
    });
    for (const block of ['phone', 'health', 'profile', 'waba']) {
      expect(rest.freshness[block]).toMatchObject({ error: { code: 'META_ACCESS_DENIED' } });
    }
    expect(await isFailing(tenant, number.id)).toBe(true);
    const { body } = await tenant.graphql<any>('{ numbers { health { sendable } } }');
    expect(body.data!.numbers).toEqual([{ health: { sendable: false } }]);
  });

  test('shows it before anything was read', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await spoil(id);
    const live = await read(tenant, id, true);
    expect(live).toMatchObject({
      health: {
        freshness: {
          observedAt: null,
          attemptedAt: null,
          error: { code: 'META_ACCESS_DENIED', message: expect.stringContaining(says) },
        },
      },
      meta: null,
    });
    expect(await read(tenant, id, false)).toEqual(live);
    expect(await readRest(tenant, id)).toMatchObject({
      sendable: false,
      freshness: {
        profile: { observedAt: null, attemptedAt: null, error: { code: 'META_ACCESS_DENIED' } },
      },
      isFailing: true,
    });
  });

  test('shows what was known before as soon as a token is stored', async () => {
    const { tenant, number } = await addRead();
    const before = await read(tenant, number.id, false);
    await spoil(number.id);
    await read(tenant, number.id, true);
    await gateway.numbers.setCredentials(number.id, { accessToken: 'EAAnew', appSecret: null });
    expect(await read(tenant, number.id, false)).toEqual(before);
    expect(await readRest(tenant, number.id)).toMatchObject({ sendable: true, isFailing: false });
  });

  test('keeps a finding of the last attempt', async () => {
    const { tenant, number } = await addRead();
    gateway.simulator.setFault(number.phoneNumberId, { kind: 'error', code: 368 });
    await read(tenant, number.id, true);
    await spoil(number.id);
    const live = await read(tenant, number.id, true);
    expect(live.health).toMatchObject({ sendable: false, sendability: { verdict: 'NO' } });
    expect(await read(tenant, number.id, false)).toEqual(live);
  });

  test('is read again by the next attempt that can be made', async () => {
    const { tenant, number } = await addRead();
    const rows = await gateway.database.query<{ sealed: string }>(
      'select sealed from number_credential where number_id = $1',
      [number.id],
    );
    await spoil(number.id);
    await read(tenant, number.id, true);
    // Without the triggers, as if the key had been put back into ENCRYPTION_KEYS.
    await gateway.database.query(`set session_replication_role = 'replica'`);
    await gateway.database.query(
      `insert into number_credential (tenant_id, number_id, sealed) values ($1, $2, $3)
       on conflict (tenant_id, number_id) do update set sealed = excluded.sealed`,
      [tenant.id, number.id, rows[0]!.sealed],
    );
    await gateway.database.query(`set session_replication_role = 'origin'`);
    expect((await read(tenant, number.id, false)).health).toMatchObject({ sendable: false });
    const live = await read(tenant, number.id, true);
    expect(live.health).toMatchObject({ ...canSend, freshness: { error: null } });
    expect(await isFailing(tenant, number.id)).toBe(false);
  });
});

test('a token that is stored while others are read leaves no obstacle', async () => {
  const tenant = await gateway.addTenant();
  const [without, other] = [await tenant.addNumber(), await tenant.addNumber()];
  await removeToken(without.id);
  const { arrived, release } = gateway.simulator.hold(other.phoneNumberId);
  const requests = [without, other].map(({ id }) => ({ id, refresh: [] }));
  const reading = gateway.numbers.getMany(
    toOperatorAccess(tenant.id),
    requests,
    AbortSignal.any([]),
  );
  await arrived;
  await gateway.numbers.setCredentials(without.id, { accessToken: 'EAAnew', appSecret: null });
  release();
  await reading;
  expect(await read(tenant, without.id, false)).toMatchObject({ health: { freshness: null } });
  expect(await isFailing(tenant, without.id)).toBe(false);
});

test('the previous release ends an obstacle by an attempt, and by storing a token', async () => {
  const { tenant, number } = await addRead();
  await removeToken(number.id);
  await read(tenant, number.id, true);
  // What it writes after a good read.
  await gateway.database.query(
    `update number_snapshot set attempted_at = clock_timestamp(), failure = null where number_id = $1`,
    [number.id],
  );
  await writeAllOutdated(gateway.database);
  expect((await read(tenant, number.id, false)).health).toMatchObject(canSend);
  await read(tenant, number.id, true);
  expect(await isFailing(tenant, number.id)).toBe(true);
  await gateway.database.query(
    `insert into number_credential (tenant_id, number_id, sealed) values ($1, $2, 'v1.test.a.b')`,
    [tenant.id, number.id],
  );
  await writeAllOutdated(gateway.database);
  expect((await read(tenant, number.id, false)).health).toMatchObject(canSend);
  expect(await isFailing(tenant, number.id)).toBe(false);
});

test('a dead token that Meta has refused for some numbers is shown of all that could not be tried', async () => {
  const tenant = await gateway.addTenant();
  const credentials = {
    accessToken: `EAA${randomBytes(16).toString('hex')}`,
    appSecret: null,
  };
  const [first, last] = [
    await tenant.addNumber({ credentials }),
    await tenant.addNumber({ credentials }),
  ];
  await read(tenant, last.id, true);
  for (const node of [first, last].flatMap((it) => [it.phoneNumberId, it.wabaId])) {
    gateway.simulator.setFault(node, { kind: 'error', code: 190, status: 401 });
  }
  for (let times = 0; times < 3; times += 1) {
    // oxlint-disable-next-line no-await-in-loop -- those that are sent together count once
    await read(tenant, first.id, true);
  }
  gateway.simulator.clearCalls();
  const live = await read(tenant, last.id, true);
  expect(gateway.simulator.calls).toEqual([]);
  expect(live.health).toMatchObject({ sendable: false, sendability: { verdict: 'UNKNOWN' } });
  expect(await read(tenant, last.id, false)).toEqual(live);
  expect(await isFailing(tenant, last.id)).toBe(true);
});

test('a number without an instance name shows it after the refresh too, over both APIs', async () => {
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS', state: 'OPEN' });
  // An earlier release has accepted it.
  await gateway.database.query('update whatsapp_number set instance_name = null where id = $1', [
    id,
  ]);
  await gateway.numbers.setState(id, 'CLOSE');
  const live = await read(tenant, id, true);
  expect(live.health.freshness).toMatchObject({
    attemptedAt: null,
    error: { code: 'UNAVAILABLE', message: expect.stringContaining('instance name') },
  });
  expect(await read(tenant, id, false)).toEqual(live);
  expect(await readRest(tenant, id)).toMatchObject({
    freshness: { state: { attemptedAt: null, error: { code: 'UNAVAILABLE' } } },
    isFailing: true,
  });
  await gateway.numbers.update(id, { instanceName: `shop-${id}` });
  expect((await read(tenant, id, false)).health.freshness).toMatchObject({ error: null });
  expect(await isFailing(tenant, id)).toBe(false);
});
