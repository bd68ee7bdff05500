// Reading several numbers by their ids: `numbers(ids:)`, and the fields that Relay clients use.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestGateway, type TestGateway, type TestNumber, type TestTenant } from '../harness.ts';

let gateway: TestGateway;
let tenant: TestTenant;
let foreign: TestNumber;
/** Of one account. */
let numbers: readonly TestNumber[];
let ids: readonly string[];

beforeAll(async () => {
  gateway = await openTestGateway({ environment: { ANSWER_CACHE_MB: '0' } });
  tenant = await gateway.addTenant();
  foreign = await (await gateway.addTenant()).addNumber({ name: 'Foreign number' });
  const added: TestNumber[] = [];
  const { wabaId } = await (await gateway.addTenant()).addNumber();
  const credentials = { accessToken: `EAA${'x'.repeat(40)}`, appSecret: null };
  for (let count = 0; count < 4; count += 1) {
    // oxlint-disable-next-line no-await-in-loop -- the order of creation counts
    added.push(await tenant.addNumber({ wabaId, credentials }));
  }
  numbers = added;
  ids = numbers.map(({ id }) => id);
});

afterAll(() => gateway[Symbol.asyncDispose]());

interface Listed {
  readonly numbers: readonly { readonly id: string }[];
}

const list = async (variables: Readonly<Record<string, unknown>>) => {
  const reply = await tenant.graphql<Listed>(
    'query($ids: [ID!], $refresh: Boolean) { numbers(ids: $ids, refresh: $refresh) { id name health { qualityRating freshness { source } } } }',
    { variables },
  );
  return { ...reply, ids: reply.body.data?.numbers?.map(({ id }) => id) };
};

describe('numbers(ids:)', () => {
  test.each<[string, (all: readonly string[]) => unknown, (all: readonly string[]) => unknown]>([
    ['null is all numbers', () => null, (all) => all],
    ['an empty list is none', () => [], () => []],
    ['the order is the one of the ids', (all) => [all[2], all[0]], (all) => [all[2], all[0]]],
    ['duplicates are returned once', (all) => [all[1], all[1], all[0]], (all) => [all[1], all[0]]],
    ['missing ids are left out', (all) => ['wa_nope', all[3], 'a\0b', ''], (all) => [all[3]]],
    ['foreign ids are left out', (all) => [foreign.id, all[0]], (all) => [all[0]]],
  ])('%s', async (_, toIds, toExpected) => {
    const reply = await list({ ids: toIds(ids) });
    expect(reply.body.errors).toBeUndefined();
    expect(reply.ids).toEqual(toExpected(ids));
  });

  test('takes one SQL statement besides that for the key, however many ids are given', async () => {
    await list({ ids });
    gateway.clearStatements();
    await list({ ids });
    const statements = gateway.statements.filter((statement) => !statement.includes('set_config'));
    expect(statements).toHaveLength(2);
  });

  test('reads the numbers of an account live in one batch', async () => {
    gateway.simulator.clearCalls();
    const reply = await list({ ids, refresh: true });
    expect(reply.ids).toEqual(ids);
    expect(reply.text).toContain('"source":"LIVE"');
    expect(gateway.simulator.calls).toHaveLength(1);
  });

  test('refuses to read all numbers live', async () => {
    const { body } = await list({ refresh: true });
    expect(body.errors?.[0]).toMatchObject({
      message: '`refresh: true` requires `ids`: the numbers to read.',
      extensions: { code: 'INVALID_REQUEST', retryable: false },
    });
  });

  test('tells how many numbers an operation may read live, and that many pass', async () => {
    const many = Array.from({ length: 91 }, (_, index) => `wa_${index}`);
    const query =
      'query($ids: [ID!]) { numbers(ids: $ids, refresh: true) { health { sendable } } }';
    const refused = await tenant.graphql(query, { variables: { ids: many } });
    expect(refused.body.errors?.[0]?.message).toBe(
      'The operation may cost 1002 points, and the limit is 1000; request at most 90 numbers at once.',
    );
    const passed = await tenant.graphql(query, { variables: { ids: many.slice(1) } });
    expect(passed.body).toEqual({ data: { numbers: [] } });
  });

  test.each([
    [false, 1 + 4],
    // One batch of two operations for each number: health and profile.
    [true, 1 + 4 * 11],
  ])('costs what the same fields `number` cost: refresh %s', async (refresh, points) => {
    const query =
      'query($ids: [ID!], $refresh: Boolean) { numbers(ids: $ids, refresh: $refresh) { health { sendable } } }';
    const { body } = await tenant.graphql(query, {
      variables: { ids, refresh },
      headers: { 'x-include-cost': '1' },
    });
    expect(body.extensions?.['cost']).toMatchObject({ requested: points, actual: points });
  });
});

describe('node and nodes', () => {
  const selection = '{ id __typename ... on Node { id } ... on WhatsAppNumber { name provider } }';

  test('find a number by its id, whatever fragments select it', async () => {
    const [number] = numbers;
    const { body } = await tenant.graphql(
      `query($id: ID!, $ids: [ID!]!) { node(id: $id) ${selection} nodes(ids: $ids) ${selection} }`,
      { variables: { id: number?.id, ids: [number?.id, 'wa_nope', foreign.id, number?.id] } },
    );
    const found = {
      __typename: 'WhatsAppNumber',
      id: number?.id,
      name: 'Test number',
      provider: 'META',
    };
    expect(body).toEqual({ data: { node: found, nodes: [found, null, null, found] } });
  });

  test('a missing and a foreign id are null without an error', async () => {
    const query = `query($id: ID!) { node(id: $id) ${selection} }`;
    for (const id of ['wa_nope', foreign.id]) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const { body } = await tenant.graphql(query, { variables: { id } });
      expect(body).toEqual({ data: { node: null } });
    }
  });

  test('several fields are read by one SQL statement', async () => {
    const fields = ids.map((id, index) => `n${index}: node(id: "${id}") ${selection}`);
    const query = `{ ${fields.join(' ')} }`;
    await tenant.graphql(query);
    gateway.clearStatements();
    const { body } = await tenant.graphql(query);
    expect(Object.values(body.data ?? {})).toHaveLength(4);
    const statements = gateway.statements.filter((statement) => !statement.includes('set_config'));
    expect(statements).toHaveLength(2);
  });
});

describe('all fields of an operation', () => {
  test('read their numbers by one SQL statement', async () => {
    const query = `query($ids: [ID!]!, $id: ID!) {
      a: numbers(ids: $ids) { name } b: numbers(ids: [$id]) { health { sendable } }
      number(id: $id) { meta { waba { name } } }
      node(id: $id) { id } nodes(ids: $ids) { ... on WhatsAppNumber { apiKeys { name } } }
      missing: number(id: "wa_nope") { id } none: node(id: "wa_nope") { id }
    }`;
    const variables = { ids, id: ids[1] };
    await tenant.graphql(query, { variables });
    gateway.clearStatements();
    const { body } = await tenant.graphql<Record<string, unknown>>(query, { variables });
    const statements = gateway.statements.filter((statement) => !statement.includes('set_config'));
    expect(statements).toHaveLength(2);
    expect(body.errors?.map(({ path }) => path)).toEqual([['missing']]);
    expect(body.data).toEqual({
      a: ids.map(() => ({ name: 'Test number' })),
      b: [{ health: { sendable: expect.any(Boolean) } }],
      number: { meta: expect.toSatisfy((value) => value !== undefined) },
      node: { id: ids[1] },
      nodes: ids.map(() => ({ apiKeys: [] })),
      missing: null,
      none: null,
    });
  });

  test('read live in one batch', async () => {
    gateway.simulator.clearCalls();
    const { body } = await tenant.graphql(
      `query($ids: [ID!]!, $id: ID!) {
        a: numbers(ids: $ids, refresh: true) { health { freshness { source } } }
        number(id: $id, refresh: true) { health { freshness { source } } }
      }`,
      { variables: { ids: ids.slice(0, 3), id: ids[3] } },
    );
    const live = { health: { freshness: { source: 'LIVE' } } };
    expect(body).toEqual({ data: { a: [live, live, live], number: live } });
    expect(gateway.simulator.calls).toHaveLength(1);
  });

  test('show what they select, whichever ids a repeated document has', async () => {
    const query = `query Repeated($a: [ID!], $b: [ID!]) {
      a: numbers(ids: $a) { id } b: numbers(ids: $b) { name health { sendable } }
    }`;
    const values = [[ids[0]], null];
    for (let turn = 0; turn < 16; turn += 1) {
      const variables = { a: values[(turn + 1) % 2], b: values[((turn + 1) >> 1) % 2], turn };
      // oxlint-disable-next-line no-await-in-loop -- executions are counted one after the other
      const { body } = await tenant.graphql<Record<string, readonly unknown[]>>(query, {
        variables,
      });
      expect(body.errors).toBeUndefined();
      expect([body.data?.['a']?.length, body.data?.['b']?.length]).toEqual(
        [variables.a, variables.b].map((of) => of?.length ?? ids.length),
      );
    }
  });

  test('count when the number of ids that fit is told', async () => {
    const many = Array.from({ length: 91 }, (_, index) => `wa_${index}`);
    const query = `query($ids: [ID!]) {
      numbers(ids: $ids, refresh: true) { health { sendable } } __type(name: "Query") { name } }`;
    const send = (count: number) =>
      tenant.graphql(query, { variables: { ids: many.slice(0, count) } });
    expect((await send(91)).body.errors?.[0]?.message).toContain('at most 72 numbers at once.');
    expect((await send(73)).body.errors).toHaveLength(1);
    expect((await send(72)).body.errors).toBeUndefined();
  });
});
