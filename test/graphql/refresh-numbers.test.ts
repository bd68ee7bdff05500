// Reads in the background that operators ask for: which numbers are read, what it costs, and what is answered at once.

import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  createDigits,
  openTestGateway,
  type TestGateway,
  type TestNumber,
  type TestTenant,
} from '../harness.ts';

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await openTestGateway({
    database: 'PostgreSQL',
    environment: { ANSWER_CACHE_MB: '32' },
  });
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Receipt {
  readonly acceptedCount: number;
  readonly skipped: readonly { readonly id: string; readonly reason: string }[];
  readonly plannedCalls: number;
  readonly feedCursor: string;
}

interface Stage {
  readonly tenant: TestTenant;
  /** Of the scope `operate`. */
  readonly key: string;
}

async function openStage(of = gateway): Promise<Stage> {
  const tenant = await of.addTenant();
  return { tenant, key: (await tenant.addKey({ scopes: ['operate'] })).key };
}

const document = `mutation ($input: RefreshNumbersInput!) {
  refreshNumbers(input: $input) { acceptedCount skipped { id reason } plannedCalls feedCursor }
}`;

const refresh = (key: string, input: object, headers = {}, of = gateway) =>
  of.graphql<{ refreshNumbers: Receipt }>(document, { key, variables: { input }, headers });

async function refreshed(key: string, input: object): Promise<Receipt> {
  const { body, text } = await refresh(key, input);
  if (!body.data?.refreshNumbers) throw new Error(text);
  return body.data.refreshNumbers;
}

async function addMany({ tenant }: Stage, count: number, wabaId = createDigits()) {
  const numbers: TestNumber[] = [];
  for (let at = 0; at < count; at += 1) {
    // oxlint-disable-next-line no-await-in-loop -- in the order of their creation
    numbers.push(await tenant.addNumber({ wabaId, waba: {} }));
  }
  return numbers;
}

/** Waits until each of the numbers was read. */
async function waitForReads({ tenant }: Stage, numbers: readonly TestNumber[]): Promise<void> {
  const ids = JSON.stringify(numbers.map(({ id }) => id));
  const query = `{ numbers(ids: ${ids}) { health { freshness { observedAt } } } }`;
  await vi.waitUntil(
    async () => {
      const { body } = await tenant.graphql<{
        numbers: readonly { health: { freshness: { observedAt: string | null } | null } }[];
      }>(query);
      return body.data!.numbers.every(
        ({ health }) => (health.freshness?.observedAt ?? null) !== null,
      );
    },
    { timeout: 20_000 },
  );
}

describe('refreshNumbers', () => {
  test('answers at once, and has the numbers read; what the reads change comes after its cursor', async () => {
    const stage = await openStage();
    const { tenant, key } = stage;
    const [first, second] = [await tenant.addNumber(), await tenant.addNumber()];
    const other = await tenant.addNumber();
    const receipt = await refreshed(key, { ids: [first.id, second.id, first.id] });
    expect(receipt).toMatchObject({ acceptedCount: 2, skipped: [], plannedCalls: 2 });
    await waitForReads(stage, [first, second]);
    const page = await tenant.graphql<{
      changes: { changes: readonly { kind: string; field: string; numberId: string }[] };
    }>(
      `{ changes(after: "${receipt.feedCursor}", filter: { kinds: [ADDED] }) { changes { kind field numberId } } }`,
    );
    const { changes } = page.body.data!.changes;
    expect(changes.map(({ numberId }) => numberId).toSorted()).toEqual(
      [first.id, second.id].toSorted(),
    );
    expect(new Set(changes.map(({ field }) => field))).toEqual(new Set(['PHONE']));
    const read = await tenant.graphql(
      `{ number(id: "${other.id}") { health { freshness { observedAt } } } }`,
    );
    expect(read.body.data).toEqual({ number: { health: { freshness: null } } });
  });

  test('reads the list of an account if that takes fewer calls', async () => {
    const stage = await openStage();
    const numbers = await addMany(stage, 4);
    const three = numbers.slice(0, 3);
    const ids = three.map(({ id }) => id);
    expect(await refreshed(stage.key, { ids })).toMatchObject({
      acceptedCount: 3,
      plannedCalls: 1,
    });
    await waitForReads(stage, three);
    expect(await refreshed(stage.key, { ids: ids.slice(0, 1) })).toMatchObject({ plannedCalls: 1 });
    // The account has many numbers that are not the tenant's.
    await gateway.database.query('update sync_subject set pages = 50 where tenant_id = $1', [
      stage.tenant.id,
    ]);
    await gateway.database.changes.catchUp();
    expect(await refreshed(stage.key, { ids })).toMatchObject({ plannedCalls: 3 });
    // Meta does not list the health of this account's numbers.
    await gateway.database.query(
      'update sync_subject set pages = 1, reads_health = false where tenant_id = $1',
      [stage.tenant.id],
    );
    await gateway.database.changes.catchUp();
    expect(await refreshed(stage.key, { ids })).toMatchObject({ plannedCalls: 3 });
  });

  test('finds the numbers by a filter, and those of the session engine by themselves', async () => {
    const stage = await openStage();
    const { tenant, key } = stage;
    const engine = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Shop A' });
    const idle = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Bar' });
    const official = await tenant.addNumber({ name: 'Shop B' });
    gateway.simulator.clearCalls();
    const receipt = await refreshed(key, { filter: { search: 'shop', not: { ids: ['wa_x'] } } });
    expect(receipt).toMatchObject({ acceptedCount: 2, skipped: [], plannedCalls: 2 });
    await waitForReads(stage, [engine, official]);
    expect(JSON.stringify(gateway.simulator.calls)).not.toContain(idle.instanceName);
  });

  test.each<[blocks: readonly string[], expected: BlocksRead]>([
    [['PROFILE'], { numbers: 3, plannedCalls: 3, calls: ['profile', 'profile', 'profile'] }],
    [['ACCOUNT'], { numbers: 3, plannedCalls: 1, calls: ['waba'] }],
    [
      ['PROFILE', 'ACCOUNT', 'PHONE', 'PROFILE'],
      {
        numbers: 3,
        plannedCalls: 5,
        calls: ['phone_numbers', 'profile', 'profile', 'profile', 'waba'],
      },
    ],
    [['CONNECTION'], { numbers: 1, plannedCalls: 1, calls: ['connectionState'] }],
    [
      ['CONNECTION', 'ACCOUNT', 'PHONE'],
      { numbers: 4, plannedCalls: 3, calls: ['connectionState', 'phone_numbers', 'waba'] },
    ],
  ])('reads the blocks %j and no others, and charges for them', async (blocks, expected) => {
    const stage = await openStage();
    const official = await addMany(stage, 3);
    const engine = await stage.tenant.addNumber({ provider: 'PILOT_STATUS' });
    const ids = [...official, engine].map(({ id }) => id);
    gateway.simulator.clearCalls();
    const { body } = await refresh(stage.key, { ids, blocks }, { 'x-include-cost': '1' });
    const { acceptedCount, plannedCalls, skipped } = body.data!.refreshNumbers;
    await waitUntilServed(stage);
    const made = gateway.simulator.calls.flatMap(({ operations }) => operations);
    const calls = made.map((name) => name.split(' ')[0]!);
    expect({ numbers: acceptedCount, plannedCalls, calls: calls.toSorted() }).toEqual(expected);
    expect(body.extensions).toMatchObject({ cost: { actual: 6 + 10 * plannedCalls } });
    const isSkipped = (id: string) =>
      id === engine.id ? !blocks.includes('CONNECTION') : expected.numbers === 1;
    expect(skipped).toEqual(ids.filter(isSkipped).map((id) => ({ id, reason: 'NO_SUCH_BLOCK' })));
  });

  test('is one change of the feed before what the reads change, with its actor, however many are read', async () => {
    const stage = await openStage();
    const { tenant, key } = stage;
    const [first, second] = await addMany(stage, 2);
    const ids = [first!.id, second!.id, 'wa_none'];
    const { feedCursor: after } = await refreshed(key, { ids, blocks: ['PHONE', 'ACCOUNT'] });
    await waitForReads(stage, [first!, second!]);
    expect(await listRefreshes(tenant, after)).toEqual([
      {
        numberId: null,
        wabaId: null,
        field: null,
        previousValue: null,
        newValue: '{"blocks":["PHONE","ACCOUNT"],"acceptedCount":2,"plannedCalls":2}',
        source: 'API',
        actor: { type: 'KEY', key: { keyLast4: key.slice(-4) } },
        observation: null,
      },
    ]);
    // It is the first change after the cursor.
    const all = await tenant.rest<{
      changes: readonly { kind: string; numberId: string | null }[];
    }>(`/v1/changes?after=${after}&limit=2`);
    expect(all.body.changes[0]).toMatchObject({ kind: 'REFRESH', numberId: null });
    expect(all.body.changes[1]).toMatchObject({ kind: 'ADDED' });
    // Each request is one, and one for a single number is a change of this number.
    await refreshed(key, { ids: [second!.id] });
    await send(key, { ids: [second!.id], blocks: ['PROFILE'] });
    const later = await listRefreshes(tenant, after);
    expect(later.map(({ numberId, newValue }) => [numberId, newValue])).toEqual([
      [null, expect.any(String)],
      [second!.id, '{"blocks":["PHONE","CONNECTION"],"acceptedCount":1,"plannedCalls":1}'],
      [second!.id, '{"blocks":["PROFILE"],"acceptedCount":1,"plannedCalls":1}'],
    ]);
    // Nothing to read is no request.
    await refreshed(key, { ids: ['wa_none'] });
    expect(await listRefreshes(tenant, after)).toHaveLength(3);
  });

  test('reads more numbers than one run has room for in further ones', async () => {
    const stage = await openStage();
    const { tenant, key } = stage;
    const ids = (await addMany(stage, 102)).map(({ id }) => id);
    await gateway.database.query('update sync_subject set quota = 5000 where tenant_id = $1', [
      tenant.id,
    ]);
    const receipt = await refreshed(key, { ids, blocks: ['PROFILE'] });
    expect(receipt).toMatchObject({ acceptedCount: 102, plannedCalls: 102 });
    await waitUntilServed(stage);
    const rows = await gateway.database.query(
      `select from number_snapshot where tenant_id = $1 and block = 'profile'`,
      [tenant.id],
    );
    expect(rows).toHaveLength(102);
  });

  test('skips what it cannot read, and says why', async () => {
    const [stage, foreign] = [await openStage(), await openStage()];
    const own = await stage.tenant.addNumber();
    const sibling = await stage.tenant.addNumber();
    const { id: foreignId } = await foreign.tenant.addNumber();
    const ids = [own.id, foreignId, 'wa_none', 'a\0b'];
    const reason = 'NUMBER_NOT_FOUND';
    expect(await refreshed(stage.key, { ids })).toMatchObject({
      acceptedCount: 1,
      skipped: [
        { id: foreignId, reason },
        { id: 'wa_none', reason },
        { id: 'a\0b', reason },
      ],
    });
    const { key } = await stage.tenant.addKey({ numberId: own.id, scopes: ['operate'] });
    expect(await refreshed(key, { ids: [own.id, sibling.id, foreignId] })).toMatchObject({
      acceptedCount: 1,
      skipped: [
        { id: sibling.id, reason: 'FORBIDDEN' },
        { id: foreignId, reason: 'FORBIDDEN' },
      ],
    });
    expect(await refreshed(key, { filter: {} })).toMatchObject({
      acceptedCount: 1,
      skipped: [{ id: sibling.id, reason: 'FORBIDDEN' }],
      plannedCalls: 1,
    });
  });

  test('skips numbers of a session engine that is not configured', async () => {
    const environment = { SESSION_ENGINE_URL: '', SESSION_ENGINE_KEY: '' };
    await using bare = await openTestGateway({ database: gateway.database, environment });
    const { tenant, key } = await openStage(bare);
    const { id } = await tenant.addNumber({ provider: 'PILOT_STATUS' });
    const { body } = await refresh(key, { ids: [id] }, {}, bare);
    expect(body.data?.refreshNumbers).toMatchObject({
      acceptedCount: 0,
      skipped: [{ id, reason: 'NOT_READABLE' }],
      plannedCalls: 0,
    });
  });

  test.each([
    ['neither ids nor a filter', {}],
    ['both', { ids: [], filter: {} }],
    ['no block', { ids: [], blocks: [] }],
    ['more than 1,000 ids', { ids: Array.from({ length: 1_001 }, (_, at) => `wa_${at}`) }],
  ])('refuses %s', async (_, input) => {
    const { key } = await openStage();
    const { body } = await refresh(key, input);
    expect(body).toMatchObject({
      data: { refreshNumbers: null },
      errors: [{ extensions: { code: 'INVALID_REQUEST' } }],
    });
  });

  test('refuses a filter that more than 1,000 numbers match', async () => {
    const { tenant, key } = await openStage();
    await gateway.database.query(
      `insert into whatsapp_number (tenant_id, number, name, provider, state, instance_name)
       select $1, '5511999', 'Many', 'PILOT_STATUS', 'OPEN', 'many ' || n from generate_series(1, 1001) n`,
      [tenant.id],
    );
    await gateway.database.query(
      `insert into number_status (tenant_id, number_id, provider, state, created_at)
       select tenant_id, id, provider, state, created_at from whatsapp_number where tenant_id = $1`,
      [tenant.id],
    );
    const { body } = await refresh(key, { filter: {} });
    expect(body.errors).toMatchObject([{ extensions: { code: 'INVALID_REQUEST' } }]);
  });

  test('costs 10 points for each planned call, beside the mutation', async () => {
    const { tenant, key } = await openStage();
    const ids = [(await tenant.addNumber()).id, (await tenant.addNumber()).id];
    const { body } = await refresh(key, { ids }, { 'x-include-cost': '1' });
    expect(body.extensions).toMatchObject({ cost: { requested: 26, actual: 26 } });
  });

  test('is refused before anything is made due when the tenant has too few points', async () => {
    const environment = { RATE_LIMIT: '25/3600' };
    await using narrow = await openTestGateway({ database: gateway.database, environment });
    const { tenant, key } = await openStage(narrow);
    const ids = [(await tenant.addNumber()).id, (await tenant.addNumber()).id];
    await narrow.graphql('{ viewer { tenantName } }', { key });
    const { body } = await refresh(key, { ids }, {}, narrow);
    expect(body.errors).toMatchObject([{ extensions: { code: 'RATE_LIMITED' } }]);
    expect(await listRequested(tenant)).toEqual([]);
  });

  test('costs at most the points of a window, or many numbers could never be read', async () => {
    const environment = { RATE_LIMIT: '25/3600' };
    await using narrow = await openTestGateway({ database: gateway.database, environment });
    for (const api of ['GraphQL', 'REST']) {
      // oxlint-disable no-await-in-loop -- one after the other
      const { tenant, key } = await openStage(narrow);
      const ids = [];
      for (let count = 0; count < 5; count += 1) ids.push((await tenant.addNumber()).id);
      const acceptedCount =
        api === 'REST'
          ? (
              await narrow.rest<{ acceptedCount: number }>('/v1/numbers/refresh', {
                key,
                method: 'POST',
                headers: { 'content-type': 'application/json' },
                body: JSON.stringify({ ids }),
              })
            ).body.acceptedCount
          : (await refresh(key, { ids }, {}, narrow)).body.data?.refreshNumbers?.acceptedCount;
      expect([api, acceptedCount]).toEqual([api, 5]);
      // oxlint-enable no-await-in-loop
    }
  });

  test('is executed each time, however often it is sent', async () => {
    const { tenant, key } = await openStage();
    const { id } = await tenant.addNumber();
    await refresh(key, { ids: [id] });
    await vi.waitUntil(async () => (await listRequested(tenant)).length === 0, patience);
    for (const repetition of [1, 2]) {
      // oxlint-disable no-await-in-loop -- one after the other
      await gateway.database.changes.catchUp();
      gateway.clearStatements();
      await refresh(key, { ids: [id] });
      const isMadeDue = gateway.statements.some((it) => it.includes('insert into sync_plan'));
      expect([repetition, isMadeDue]).toEqual([repetition, true]);
      // oxlint-enable no-await-in-loop
    }
  });
});

const patience = { timeout: 20_000 };

interface BlocksRead {
  /** That are accepted, of three of an account and one of a session engine. */
  readonly numbers: number;
  readonly plannedCalls: number;
  /** The kinds of calls to Meta. */
  readonly calls: readonly string[];
}

/** What one run has no room for is due two seconds later. */
async function waitUntilServed({ tenant }: Stage): Promise<void> {
  await vi.waitUntil(async () => {
    gateway.gateway.sync.wake();
    return (await listRequested(tenant)).length === 0;
  }, patience);
}

/** The requests to read numbers after a cursor, as changes. */
async function listRefreshes(tenant: TestTenant, after: string) {
  const { body } = await tenant.graphql<{
    changes: { changes: readonly Record<string, unknown>[] };
  }>(
    `{ changes(after: "${after}", filter: { kinds: [REFRESH] }) { changes {
      numberId wabaId field previousValue newValue source actor { type key { keyLast4 } } observation } } }`,
  );
  return body.data!.changes.changes;
}

/** The accounts of the tenant for which a request waits. */
async function listRequested({ id }: TestTenant): Promise<readonly unknown[]> {
  return await gateway.database.query(
    `select subject_id from sync_plan where tenant_id = $1 and kind = 'REQUEST' and isfinite(due_at)`,
    [id],
  );
}

const send = (key: string, body: unknown) =>
  gateway.rest('/v1/numbers/refresh', {
    method: 'POST',
    key,
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  });

const remainingOf = ({ headers }: { readonly headers: Headers }) =>
  Number(/r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]);

describe('POST /v1/numbers/refresh', () => {
  test('answers with 202 as the mutation does', async () => {
    const stage = await openStage();
    const { tenant, key } = stage;
    const number = await tenant.addNumber({ name: 'Shop' });
    const filter = { search: 'shop', states: ['OPEN'], stale: true, not: { labels: ['team=a'] } };
    const reply = await send(key, { filter });
    expect([reply.status, reply.headers.get('etag')]).toEqual([202, null]);
    expect(reply.body).toEqual({
      acceptedCount: 1,
      skipped: [],
      plannedCalls: 1,
      feedCursor: expect.stringMatching(/^c1\./),
    });
    await waitForReads(stage, [number]);
  });

  test.each<readonly [string, unknown, string]>([
    ['an unknown member', { ids: [], all: true }, 'The body may have'],
    ['ids that are no texts', { ids: [1] }, 'ids must be a list of texts'],
    ['a filter that is no object', { filter: [] }, 'filter must be an object'],
    ['an unknown member of a filter', { filter: { colour: 'x' } }, 'filter.colour is no member'],
    ['an inherited name', { filter: { toString: ['x'] } }, 'filter.toString is no member'],
    ['an unknown word', { filter: { states: ['ON'] } }, 'filter.states must be a list of OPEN'],
    ['a flag that is a text', { filter: { stale: 'true' } }, 'filter.stale must be true or false'],
    ['a search that is no text', { filter: { search: 1 } }, 'filter.search must be a text'],
    ['no time', { filter: { changedSince: 'now' } }, 'filter.changedSince must be a time'],
    ['a wrong exclusion', { filter: { not: { ids: 'x' } } }, 'filter.not.ids must be a list'],
    ['neither ids nor a filter', {}, 'Send either ids or filter'],
    ['an unknown block', { ids: [], blocks: ['WABA'] }, 'blocks must be a list of PHONE, PROFILE'],
    ['blocks that are no list', { ids: [], blocks: 'PHONE' }, 'blocks must be a list'],
    ['no block', { ids: [], blocks: [] }, 'Send at least one block'],
  ])('refuses %s', async (_, body, message) => {
    const { key } = await openStage();
    const reply = await send(key, body);
    expect([reply.status, reply.body['code']]).toEqual([400, 'INVALID_REQUEST']);
    expect(reply.body['error']).toContain(message);
  });

  test('costs as much as the mutation', async () => {
    const { tenant, key } = await openStage();
    const { id } = await tenant.addNumber();
    const before = await tenant.rest('/v1/changes');
    const after = await send(key, { ids: [id] });
    expect(remainingOf(before) - remainingOf(after)).toBe(16);
  });
});
