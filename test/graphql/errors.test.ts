// Tests what an error tells a program: whether to retry, when, and what a refused request would have cost.

import { expect, test } from 'vitest';
import { toOperatorAccess } from '../../src/numbers/numbers.ts';
import { type GraphQLBody, openTestGateway, type Reply, type TestTenant } from '../harness.ts';

const extensionsOf = ({ body }: Reply<GraphQLBody<unknown>>) => body.errors?.[0]?.extensions;
const messageOf = ({ body }: Reply<GraphQLBody<unknown>>) => body.errors?.[0]?.message;

async function addNumbers(tenant: TestTenant, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
    await tenant.addNumber();
  }
}

test('an error that stays the same is not retryable', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const { key: relay } = await tenant.addKey({ scopes: ['webhooks'] });
  const replies = [
    [await tenant.graphql('{ number(id: "x") { id } }'), 'NUMBER_NOT_FOUND'],
    [await tenant.graphql('{ nope }'), 'INVALID_REQUEST'],
    [await tenant.graphql('', { body: '' }), 'INVALID_REQUEST'],
    [await gateway.graphql('{ numbers { id } }'), 'UNAUTHENTICATED'],
    [await tenant.graphql('{ numbers { id } }', { key: relay }), 'FORBIDDEN'],
    [await tenant.graphql('', { method: 'PUT' }), 'METHOD_NOT_ALLOWED'],
  ] as const;
  for (const [reply, code] of replies) {
    expect(extensionsOf(reply)).toEqual({ code, retryable: false, requestId: expect.any(String) });
  }
});

test('a request that a tenant has too few points for is told its cost, the points left, and when to retry', async () => {
  await using gateway = await openTestGateway({ environment: { RATE_LIMIT: '45/3600' } });
  const tenant = await gateway.addTenant();
  for (let count = 0; count < 5; count += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other, because points are counted
    await tenant.graphql('{ __typename }');
  }
  const list = await tenant.graphql('{ numbers { id } }');
  expect(list.status).toBe(429);
  expect(messageOf(list)).toBe(
    "Rate limit exceeded: the request needs 41 points, and 40 of the tenant's 45 points per 3600 seconds are left.",
  );
  const retryAfterSeconds = Number(list.headers.get('retry-after'));
  expect(retryAfterSeconds).toBeGreaterThan(3_500);
  expect(extensionsOf(list)).toEqual({
    code: 'RATE_LIMITED',
    retryable: true,
    retryAfterSeconds,
    requested: 41,
    remaining: 40,
    limit: 45,
    requestId: list.headers.get('x-request-id'),
  });

  const live = '{ number(id: "x", refresh: true) { id } }';
  expect(messageOf(await tenant.graphql(live))).toBe('There is no number with this id.');
  const rest = await tenant.rest('/v1/numbers');
  expect([rest.status, rest.body]).toMatchObject([
    429,
    {
      error: expect.stringMatching(/the request needs 41 points, and \d\d of the tenant's 45/),
      details: { requested: 41, remaining: expect.any(Number), limit: 45 },
    },
  ]);
});

test('an operation beyond the limit is told its cost and the limit', async () => {
  await using gateway = await openTestGateway({ environment: { GRAPHQL_MAX_COST: '30' } });
  const tenant = await gateway.addTenant();
  const reply = await tenant.graphql('{ number(id: "x", refresh: true) { id } }');
  expect(messageOf(reply)).toContain('may cost 32 points, and the limit is 30');
  expect(extensionsOf(reply)).toMatchObject({
    code: 'QUERY_TOO_COMPLEX',
    retryable: false,
    count: 32,
    limit: 30,
  });
});

test('an error that waiting ends is retryable, and says when', async () => {
  await using gateway = await openTestGateway({ environment: { TENANT_MAX_REQUESTS: '1' } });
  const tenant = await gateway.addTenant();
  const replies = await Promise.all([
    tenant.graphql('{ numbers { id } }'),
    tenant.graphql('{ numbers { id } }'),
  ]);
  const refused = replies.filter(({ status }) => status === 429);
  expect(refused.map(extensionsOf)).toMatchObject([{ retryable: true, retryAfterSeconds: 1 }]);
});

test.each(['graphql', 'rest'] as const)(
  'a list that costs more than the points of a window is answered once a window: %s',
  async (api) => {
    await using gateway = await openTestGateway({
      environment: { RATE_LIMIT: '42/3600', ANSWER_CACHE_MB: '0' },
    });
    const tenant = await gateway.addTenant();
    await addNumbers(tenant, 450);
    // The size of the list is known from then on.
    await gateway.numbers.list(toOperatorAccess(tenant.id));
    const send = () =>
      api === 'rest' ? tenant.rest('/v1/numbers') : tenant.graphql('{ numbers { id } }');
    expect([(await send()).status, (await send()).status]).toEqual([200, 429]);
  },
  60_000,
);
