// The query and the subscription `changes`: what a page has, how its numbers are read, and what a stream sends.

import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { changeFields } from '../../src/history/change-fields.ts';
import { maxPageSize } from '../../src/history/history.ts';
import { EventStream } from '../../src/http/event-stream.ts';
import { fromFetchRequest } from '../../src/http/message.ts';
import { openTestGateway, type TestGateway, type TestNumber, type TestTenant } from '../harness.ts';

let gateway: TestGateway;
let tenant: TestTenant;
let shop: TestNumber;

beforeAll(async () => {
  gateway = await openTestGateway();
});
afterAll(() => gateway[Symbol.asyncDispose]());

interface Change {
  readonly cursor: string;
  readonly kind: string;
  readonly field: string | null;
  readonly newValue: string | null;
  readonly number: { readonly name: string } | null;
  readonly [member: string]: unknown;
}

interface Page {
  readonly changes: readonly Change[];
  readonly cursor: string;
  readonly time: string;
  readonly caughtUp: boolean;
}

const members = `cursor numberId wabaId kind field previousValue newValue source observation occurredAt recordedAt
  actor { type key { name keyPrefix keyLast4 } } number { id name }`;
const selection = `changes { ${members} } cursor time caughtUp`;

async function addShop(): Promise<void> {
  tenant = await gateway.addTenant();
  shop = await tenant.addNumber({ provider: 'PILOT_STATUS', instanceName: 'shop', name: 'Shop' });
}

async function readPage(after: string | null, args = ''): Promise<Page> {
  const query = `query($after: String) { changes(after: $after${args}) { ${selection} } }`;
  const { body } = await tenant.graphql<{ changes: Page }>(query, { variables: { after } });
  if (body.errors !== undefined) throw new Error(JSON.stringify(body.errors));
  return body.data!.changes;
}

const rename = (name: string, { id } = shop) =>
  gateway.database.query('update whatsapp_number set name = $1 where id = $2', [name, id]);

const toValues = ({ changes }: Page) => changes.map(({ newValue }) => newValue);

async function pointsOf(query: string): Promise<unknown> {
  const { body } = await tenant.graphql(query, { headers: { 'x-include-cost': '1' } });
  return body.extensions?.['cost'];
}

const toPage = (event: unknown) => (event as { data: { changes: Page } }).data.changes;

describe('a page of changes', () => {
  beforeAll(addShop);

  test('has no changes without a cursor, and leads to those that follow', async () => {
    const start = await readPage(null);
    expect(start).toEqual({
      changes: [],
      cursor: expect.stringMatching(/^c1\./),
      time: expect.any(String),
      caughtUp: true,
    });
    await rename('Shop 2');
    await rename('Shop 3');
    const page = await readPage(start.cursor);
    expect(page).toMatchObject({ cursor: page.changes.at(-1)?.cursor, caughtUp: true });
    expect(page.changes).toHaveLength(2);
    expect(page.changes[0]).toEqual({
      cursor: expect.any(String),
      numberId: shop.id,
      wabaId: null,
      kind: 'FIELD',
      field: 'NAME',
      previousValue: 'Shop',
      newValue: 'Shop 2',
      source: 'EXTERNAL',
      observation: expect.any(String),
      occurredAt: expect.any(String),
      recordedAt: expect.any(String),
      actor: null,
      // As it is now.
      number: { id: shop.id, name: 'Shop 3' },
    });
    const [first] = (await readPage(start.cursor, ', first: 1')).changes;
    expect(first).toEqual(page.changes[0]);
    expect(await readPage(start.cursor, ', first: 1')).toMatchObject({ caughtUp: false });
  });

  test('has the changes that the filter selects', async () => {
    const { cursor } = await readPage(null);
    const other = await tenant.addNumber({ name: 'Other', phone: { quality_rating: 'RED' } });
    await rename('a');
    await tenant.graphql(`{ number(id: "${other.id}", refresh: true) { meta { waba { name } } } }`);
    const valuesOf = async (filter: string) =>
      (await readPage(cursor, `, filter: ${filter}`)).changes.map(
        ({ kind, field }) => `${kind} ${field}`,
      );
    expect(await valuesOf(`{ numberIds: ["${shop.id}"] }`)).toEqual(['FIELD NAME']);
    expect(await valuesOf('{ kinds: [ADDED], fields: null }')).toEqual([
      'ADDED null',
      'ADDED ACCOUNT',
    ]);
    expect(await valuesOf('{ fields: [NAME, STATE] }')).toEqual(['FIELD NAME']);
    expect(await valuesOf(`{ wabaIds: ["${other.wabaId}"] }`)).toEqual(['ADDED ACCOUNT']);
    expect(await valuesOf('{ kinds: [UNRECOGNIZED] }')).toEqual([]);
    const [account] = (await readPage(cursor, `, filter: { wabaIds: ["${other.wabaId}"] }`))
      .changes;
    expect(account).toMatchObject({ numberId: null, wabaId: other.wabaId, number: null });
  });

  test('reads its numbers by one SQL statement', async () => {
    const { cursor } = await readPage(null);
    const others = await Promise.all(['a', 'b', 'c'].map((name) => tenant.addNumber({ name })));
    await rename('d');
    await readPage(cursor);
    gateway.clearStatements();
    const { changes } = await readPage(cursor);
    expect(new Set(changes.map(({ numberId }) => numberId)).size).toBe(others.length + 1);
    const statements = gateway.statements.filter((statement) => !statement.includes('set_config'));
    expect(statements.filter((statement) => statement.includes('number_change'))).toHaveLength(1);
    expect(statements.filter((statement) => statement.includes('whatsapp_number'))).toHaveLength(1);
  });

  test('has the changes of a number that was removed, without the number', async () => {
    const { cursor } = await readPage(null);
    const gone = await tenant.addNumber({ name: 'Gone' });
    await gateway.database.query('delete from whatsapp_number where id = $1', [gone.id]);
    const { changes } = await readPage(cursor, `, filter: { numberIds: ["${gone.id}"] }`);
    expect(changes.map(({ kind, number }) => [kind, number])).toEqual([
      ['ADDED', null],
      ['REMOVED', null],
    ]);
  });

  test('has UNRECOGNIZED for words that a newer release has written', async () => {
    const { cursor } = await readPage(null);
    await rename('before');
    await gateway.database.query(
      `insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
       values ($1, $2, 'PORTED', 'CARRIER', 'a', 'b', 'SATELLITE', now())`,
      [tenant.id, shop.id],
    );
    await rename('after');
    const { changes } = await readPage(cursor);
    expect(changes.map(({ kind, field, source }) => [kind, field, source])).toEqual([
      ['FIELD', 'NAME', 'EXTERNAL'],
      ['UNRECOGNIZED', 'UNRECOGNIZED', 'UNRECOGNIZED'],
      ['FIELD', 'NAME', 'EXTERNAL'],
    ]);
  });

  test('names the key, the command line or the gateway as the actor', async () => {
    const { cursor } = await readPage(null);
    for (const name of ['a', 'b', 'c', 'd']) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await rename(name);
    }
    const causes = [
      ['a', 'API', tenant.keyId],
      ['b', 'API', 'key_gone'],
      ['c', 'COMMAND_LINE', null],
      ['d', 'CLOCK', null],
    ];
    for (const [value, source, actor] of causes) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await gateway.database.query(
        'update number_change set source = $1, actor = $2 where tenant_id = $3 and new_value = $4',
        [source, actor, tenant.id, value],
      );
    }
    const { changes } = await readPage(cursor);
    const key = {
      name: expect.any(String),
      keyPrefix: tenant.key.slice(0, 7),
      keyLast4: tenant.key.slice(-4),
    };
    expect(changes.map(({ actor }) => actor)).toEqual([
      { type: 'KEY', key },
      { type: 'KEY', key: null },
      { type: 'COMMAND_LINE', key: null },
      { type: 'SYSTEM', key: null },
    ]);
  });

  test('is not cached, because it has its time', async () => {
    let time = Date.parse('2026-05-01T10:00:00.000Z');
    await using other = await openTestGateway({
      now: () => new Date((time += 1_000)),
      environment: { ANSWER_CACHE_MB: '10' },
    });
    const { graphql } = await other.addTenant();
    const times = [];
    for (let count = 0; count < 3; count += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { body } = await graphql<{ changes: Page }>('{ changes { time } }');
      times.push(body.data?.changes.time);
    }
    expect(new Set(times).size).toBe(3);
  });

  test('has no changes of other tenants, whose cursors are unknown', async () => {
    const { cursor } = await readPage(null);
    const other = await gateway.addTenant();
    await other.addNumber();
    expect((await readPage(cursor)).changes).toEqual([]);
    const { body } = await other.graphql(`{ changes(after: "${cursor}") { cursor } }`);
    expect(body).toMatchObject({
      data: null,
      errors: [{ extensions: { code: 'CURSOR_UNKNOWN' } }],
    });
  });

  test.each([
    ['a malformed cursor', 'after: "c1.x.1"', 'INVALID_CURSOR'],
    ['no changes', 'first: 0', 'INVALID_REQUEST'],
    ['too many changes', `first: ${maxPageSize + 1}`, 'INVALID_REQUEST'],
    ['an unknown word', 'filter: { kinds: [NOPE] }', 'INVALID_REQUEST'],
    ['too many ids', `filter: { numberIds: [${'"a" '.repeat(201)}] }`, 'INVALID_REQUEST'],
  ])('is refused for %s', async (_, args, code) => {
    const { body } = await tenant.graphql(`{ changes(${args}) { cursor } }`);
    expect(body.errors).toMatchObject([{ extensions: { code } }]);
  });

  test('costs 1 point, a tenth for each change that it may have, and half for its number', async () => {
    expect(await pointsOf('{ changes(first: 10) { cursor } }')).toMatchObject({
      requested: 1 + 1 + 1,
      actual: 1 + 1 + 1,
    });
    const numbers = '{ changes { changes { cursor number { name } } } }';
    expect(await pointsOf(numbers)).toMatchObject({ requested: 1 + 1 + 100 * (0.1 + 0.5) });
  });
});

test('ChangeField has the fields that the database records', async () => {
  const [{ source } = { source: '' }] = await gateway.database.query<{ source: string }>(
    "select prosrc as source from pg_proc where proname = 'fields_of_block'",
  );
  const ofBlocks = [...source.matchAll(/\('(?:phone|profile|waba)', '([A-Z_]+)',/g)].map(
    ([, field]) => field!,
  );
  expect(ofBlocks.length).toBeGreaterThan(30);
  const ofNumbers = ['STATE', 'NAME', 'NUMBER', 'WABA_ID', 'VERDICT', 'REPLY_VERDICT'];
  const parts = ['PHONE', 'PROFILE', 'ACCOUNT', 'CONNECTION'];
  const ofAccounts = ['ACCOUNT_WEBHOOK'];
  expect(Object.keys(changeFields).toSorted()).toEqual(
    [...ofBlocks, ...ofNumbers, ...parts, ...ofAccounts].toSorted(),
  );
});

/** Yields the parsed data of each event, and null for `complete`. */
async function* readEvents(response: Response): AsyncGenerator<unknown> {
  let text = '';
  for await (const bytes of response.body!) {
    text += Buffer.from(bytes).toString();
    const blocks = text.split('\n\n');
    text = blocks.pop()!;
    for (const block of blocks) {
      const [, data = ''] = /\ndata: ?(.*)$/.exec(block) ?? [];
      yield data === '' ? null : JSON.parse(data);
    }
  }
}

interface Sent {
  readonly key: string;
  readonly variables?: object;
  readonly signal?: AbortSignal;
}

function toSubscription(query: string, { key, variables, signal }: Sent): Request {
  return new Request('http://gateway.test/graphql', {
    method: 'POST',
    headers: {
      accept: 'text/event-stream',
      'content-type': 'application/json',
      'x-api-key': key,
    },
    body: JSON.stringify({ query, variables }),
    ...(signal !== undefined && { signal }),
  });
}

async function subscribe(after: string | null, args = '', { of = gateway, key = tenant.key } = {}) {
  const query = `subscription($after: String) { changes(after: $after${args}) { ${selection} } }`;
  const abort = new AbortController();
  onTestFinished(() => abort.abort());
  const { signal } = abort;
  const response = await of.gateway.fetch(
    toSubscription(query, { key, variables: { after }, signal }),
  );
  const events = readEvents(response);
  return {
    response,
    next: async () => (await events.next()).value as unknown,
    nextPage: async () => toPage((await events.next()).value),
    end: () => events.return(undefined),
  };
}

describe('a stream of changes', () => {
  beforeAll(addShop);

  test('begins with a cursor, and has each change as it is committed, with the number as it then is', async () => {
    const { response, nextPage, end } = await subscribe(null);
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const start = await nextPage();
    expect(start).toMatchObject({ changes: [], caughtUp: true });
    for (const name of ['a', 'b']) {
      // oxlint-disable no-await-in-loop -- one change after the other
      await rename(name);
      const { changes } = await nextPage();
      expect(changes).toMatchObject([{ field: 'NAME', newValue: name, number: { name } }]);
      // oxlint-enable no-await-in-loop
    }
    await end();
    expect(toValues(await readPage(start.cursor))).toEqual(['a', 'b']);
    await vi.waitUntil(() => gateway.gateway.streams.count === 0);
  });

  test('continues after a cursor, with the changes that the filter selects', async () => {
    const { cursor } = await readPage(null);
    await tenant.addNumber();
    await rename('c');
    const { nextPage } = await subscribe(cursor, ', filter: { kinds: [FIELD] }');
    expect(toValues(await nextPage())).toEqual(['c']);
  });

  test('at the same place as others of its key sends the same bytes, and without numbers as those of all keys', async () => {
    const { key: otherKey } = await tenant.addKey();
    const bodies = await Promise.all(
      [
        { query: selection, key: tenant.key },
        { query: selection, key: tenant.key },
        { query: selection, key: otherKey },
        { query: 'changes { cursor newValue }', key: tenant.key },
        { query: 'changes { cursor newValue }', key: otherKey },
      ].map(async ({ query, key }) => {
        const request = toSubscription(`subscription { changes { ${query} } }`, { key });
        const { body } = await gateway.gateway.handle(fromFetchRequest(request));
        if (!(body instanceof EventStream)) throw new Error('There is no stream.');
        onTestFinished(() => body.end('completed'));
        await body.next();
        return body;
      }),
    );
    const chunks = bodies.map((body) => body.next());
    await rename('e');
    const [one, ofKey, ofOtherKey, plain, plainOfOtherKey] = await Promise.all(chunks);
    expect(String(one)).toContain('"number":{');
    expect(ofKey).toBe(one);
    expect(ofOtherKey).toEqual(one);
    expect(ofOtherKey).not.toBe(one);
    expect(String(plain)).toContain('"newValue":"e"');
    expect(plainOfOtherKey).toBe(plain);
  });

  test('pays for the numbers of each page, and gets the rest later when there are too few points', async () => {
    await using priced = await openTestGateway({
      database: gateway.database,
      environment: { RATE_LIMIT: '200/1' },
    });
    const { cursor } = await readPage(null);
    const { key } = await priced.access.createKey({
      tenantId: tenant.id,
      name: 'Priced',
      numberId: null,
      expiresAt: null,
    });
    for (const count of Array.from({ length: 250 }).keys()) {
      // oxlint-disable-next-line no-await-in-loop -- one change after the other
      await rename(`name ${count}`);
    }
    const { response, nextPage } = await subscribe(cursor, '', { of: priced, key });
    // 1 for the request, 1 and 200 times 0.6 for the start.
    expect(response.headers.get('ratelimit')).toContain(`r=${200 - 122};`);
    const startedAt = performance.now();
    expect((await nextPage()).changes).toHaveLength(200);
    // 200 times 0.5 are more than are left in this second.
    expect((await nextPage()).changes).toHaveLength(50);
    expect(performance.now() - startedAt).toBeGreaterThan(500);
  });

  test('sends a last page without changes when the process stops', async () => {
    await using other = await openTestGateway({ database: gateway.database });
    const { cursor } = await readPage(null);
    await rename('d');
    const { key } = await other.access.createKey({
      tenantId: tenant.id,
      name: 'Other',
      numberId: null,
      expiresAt: null,
    });
    const response = await other.fetch('/graphql', {
      method: 'POST',
      headers: {
        accept: 'text/event-stream',
        'content-type': 'application/json',
        'x-api-key': key,
      },
      body: JSON.stringify({
        query: `subscription { changes(after: "${cursor}") { ${selection} } }`,
      }),
    });
    const events = readEvents(response);
    const page = toPage((await events.next()).value);
    expect(toValues(page)).toEqual(['d']);
    const last = events.next();
    await other.gateway.streams.drain();
    expect(toPage((await last).value)).toEqual({ ...page, changes: [] });
    expect(await events.next()).toEqual({ done: true, value: undefined });
  });

  test('is refused with an error that a client does not retry, for an unknown cursor', async () => {
    const { cursor } = await readPage(null);
    const { response, next } = await subscribe(cursor.replace(/\d+$/, '999999'));
    expect(response.status).toBe(200);
    expect(await next()).toMatchObject({ errors: [{ extensions: { code: 'CURSOR_UNKNOWN' } }] });
    expect(await next()).toBeNull();
  });
});
