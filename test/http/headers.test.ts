// The headers that clients depend on: credentials, CORS, compression, caching.

import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const origin = 'https://dashboard.example';
let gateway: TestGateway;
let tenant: TestTenant;
let other: TestTenant;

beforeAll(async () => {
  gateway = await openTestGateway({ environment: { CORS_ORIGINS: origin } });
  tenant = await gateway.addTenant();
  other = await gateway.addTenant();
  await Promise.all(Array.from({ length: 20 }, () => tenant.addNumber()));
}, 60_000);

afterAll(() => gateway[Symbol.asyncDispose]());

function send(headers: Readonly<Record<string, string>>, path = '/v1/numbers', init = {}) {
  const request = new Request(`http://gateway.test${path}`, { headers, ...init });
  return gateway.gateway.fetch(request);
}

const query = (headers: Readonly<Record<string, string>>, text = '{ numbers { id name state } }') =>
  send({ 'content-type': 'application/json', ...headers }, '/graphql', {
    method: 'POST',
    body: JSON.stringify({ query: text }),
  });

describe('the API key', () => {
  test.each<[string, () => Record<string, string>, number]>([
    ['in Authorization: Bearer', () => ({ authorization: `Bearer ${tenant.key}` }), 200],
    ['with the scheme in lower case', () => ({ authorization: `bearer ${tenant.key}` }), 200],
    [
      'in both headers, the same key',
      () => ({ authorization: `Bearer ${tenant.key}`, 'x-api-key': tenant.key }),
      200,
    ],
    [
      'in both headers, two different keys',
      () => ({ authorization: `Bearer ${other.key}`, 'x-api-key': tenant.key }),
      401,
    ],
    [
      'beside the Authorization of a proxy',
      () => ({ authorization: 'Basic cHJveHk6c2VjcmV0', 'x-api-key': tenant.key }),
      200,
    ],
    [
      'beside a Bearer token that is no key of ours',
      () => ({ authorization: 'Bearer eyJhbGciOi', 'x-api-key': tenant.key }),
      200,
    ],
    [
      'as Bearer token beside an empty x-api-key',
      () => ({ authorization: `Bearer ${tenant.key}`, 'x-api-key': '' }),
      200,
    ],
    ['missing', () => ({}), 401],
    ['empty', () => ({ 'x-api-key': '' }), 401],
    ['a foreign Bearer token alone', () => ({ authorization: 'Bearer eyJhbGciOi' }), 401],
    ['a malformed key as Bearer token', () => ({ authorization: 'Bearer ps_short' }), 401],
  ])('%s', async (_, headers, status) => {
    const responses = await Promise.all([send(headers()), query(headers())]);
    expect(responses.map((response) => response.status)).toEqual([status, status]);
    for (const response of responses) {
      const challenge = response.headers.get('www-authenticate');
      expect(challenge).toBe(status === 401 ? 'Bearer' : null);
      expect(response.headers.get('vary')).toMatch(/\bx-api-key, authorization\b/);
    }
  });
});

const toList = (text: string | null) => (text ?? '').split(/,\s*/);

describe('CORS', () => {
  test('a preflight allows the headers that browser clients send', async () => {
    const response = await send({ origin, 'access-control-request-method': 'POST' }, '/graphql', {
      method: 'OPTIONS',
    });
    expect(response.status).toBe(204);
    expect(toList(response.headers.get('access-control-allow-headers'))).toEqual(
      expect.arrayContaining([
        'apollographql-client-name',
        'apollographql-client-version',
        'authorization',
        'content-type',
        'graphql-client-name',
        'graphql-client-version',
        'if-none-match',
        'last-event-id',
        'traceparent',
        'tracestate',
        'x-api-key',
        'x-graphql-client-name',
        'x-graphql-client-version',
        'x-include-cost',
        'x-request-id',
      ]),
    );
  });

  test('a response exposes the headers that browser clients read', async () => {
    const response = await send({ origin, 'x-api-key': tenant.key });
    expect(toList(response.headers.get('access-control-expose-headers'))).toEqual(
      expect.arrayContaining([
        'etag',
        'link',
        'ratelimit',
        'ratelimit-policy',
        'retry-after',
        'x-ignored-parameters',
        'x-refresh',
        'x-request-id',
      ]),
    );
  });
});

/** Lists of all numbers. */
const lists = {
  REST: (headers: Readonly<Record<string, string>>) => send(headers),
  'REST with sendability and freshness': (headers: Readonly<Record<string, string>>) =>
    send(headers, '/v1/numbers?include=sendability,freshness'),
  'GraphQL with verdicts': (headers: Readonly<Record<string, string>>) =>
    query(headers, toListQuery('verdict')),
  'GraphQL with verdicts and reasons': (headers: Readonly<Record<string, string>>) =>
    query(headers, toListQuery('verdict reasons { effect text solution }')),
};

const toListQuery = (sendability: string) => `{ numbers {
  id number name state isFullyConnected createdAt updatedAt
  health {
    qualityRating messagingLimitTier metaStatus
    sendability { ${sendability} }
    freshness { observedAt stale }
  }
} }`;

describe('compression', () => {
  const decoders = { br: brotliDecompressSync, gzip: gunzipSync };
  const codings = ['br', 'gzip'] as const;

  /** The coding of the response, and its decoded text. */
  async function read(response: Response) {
    const coding = response.headers.get('content-encoding');
    const bytes = Buffer.from(await response.arrayBuffer());
    const decode = decoders[coding as keyof typeof decoders];
    expect(response.headers.get('content-length')).toBe(String(bytes.length));
    return { coding, text: String(coding === null ? bytes : decode(bytes)), size: bytes.length };
  }

  test.each([
    ['gzip, deflate, br', 'br'],
    ['gzip', 'gzip'],
    ['GZIP', 'gzip'],
    ['br;q=0.5, gzip;q=0.8', 'gzip'],
    ['gzip;q=0, br;q=0', null],
    ['*', 'br'],
    ['br;q=0, *', 'gzip'],
    ['*, br;q=0', 'gzip'],
    ['br;q=0, gzip;q=0, *', null],
    ['*;q=0, gzip', 'gzip'],
    ['*;q=0', null],
    ['gzip;q=0.1, identity', null],
    ['identity;q=0.5, gzip;q=0.6', 'gzip'],
    ['br;q=0.1, *;q=0.2', 'gzip'],
    ['x-gzip', 'gzip'],
    ['gzip;foo=bar', 'gzip'],
    ['gzip;foo=bar;q=0', null],
    ['br ; Q=0.2 , gzip', 'gzip'],
    ['identity', null],
    ['deflate', null],
    ['', null],
  ])('follows Accept-Encoding: %s', async (accepted, coding) => {
    const headers = { 'x-api-key': tenant.key, 'accept-encoding': accepted };
    const plain = await read(await send({ 'x-api-key': tenant.key }));
    const rest = await send(headers);
    expect(rest.headers.get('vary')).toMatch(/\baccept-encoding\b/);
    expect(await read(rest)).toMatchObject({ coding, text: plain.text });
    const plainGraphql = await read(await query({ 'x-api-key': tenant.key }));
    const graphql = await query(headers);
    expect(graphql.headers.get('vary')).toMatch(/\baccept-encoding\b/);
    expect(await read(graphql)).toMatchObject({ coding, text: plainGraphql.text });
  });

  test.each([
    [500, 'gzip'],
    [2_000, null],
  ])('reads an Accept-Encoding of %i characters: %s', async (length, coding) => {
    const accepted = `${'x'.repeat(length)}, gzip`;
    const headers = { 'x-api-key': tenant.key, 'accept-encoding': accepted };
    expect((await read(await send(headers))).coding).toBe(coding);
  });

  test('leaves small bodies as they are', async () => {
    const headers = { 'x-api-key': tenant.key, 'accept-encoding': 'gzip' };
    expect((await read(await query(headers, '{ __typename }'))).coding).toBeNull();
  });

  test.each(codings)('is kept in the response cache: %s', async (coding) => {
    const headers = { 'x-api-key': tenant.key, 'accept-encoding': coding };
    await gateway.database.changes.catchUp();
    const first = await read(await send(headers));
    expect(await read(await send(headers))).toEqual(first);
    expect(await read(await send({ 'x-api-key': tenant.key }))).toMatchObject({ coding: null });
  });

  test.each(codings)('a compressed response is revalidated by its ETag: %s', async (coding) => {
    const headers = { 'x-api-key': tenant.key, 'accept-encoding': coding };
    const first = await send(headers);
    const etag = first.headers.get('etag') ?? '';
    expect(etag).toMatch(/^W\/"/);
    const again = await send({ ...headers, 'if-none-match': etag });
    expect(again.status).toBe(304);
    expect(again.headers.get('etag')).toBe(etag);
    expect(again.headers.get('content-encoding')).toBeNull();
    expect(await again.text()).toBe('');
  });

  describe('of a list of 10,000 numbers', () => {
    let large: TestTenant;

    beforeAll(async () => {
      large = await gateway.addTenant();
      await seedList(large.id);
    }, 60_000);

    // Random ids, phone numbers and times do not compress: they are most of what is left of a list over REST.
    test.each([
      ['gzip', 'REST', 5],
      ['br', 'REST', 5.4],
      ['gzip', 'REST with sendability and freshness', 12],
      ['br', 'REST with sendability and freshness', 13],
      ['gzip', 'GraphQL with verdicts', 6],
      ['br', 'GraphQL with verdicts', 6.7],
      ['gzip', 'GraphQL with verdicts and reasons', 9],
      ['br', 'GraphQL with verdicts and reasons', 9.4],
    ] as const)('%s shrinks %s by a factor of %d or more', async (coding, list, times) => {
      const headers = { 'x-api-key': large.key, 'accept-encoding': coding };
      const compressed = await read(await lists[list](headers));
      expect(compressed.coding).toBe(coding);
      const length = Buffer.byteLength(compressed.text);
      expect(length).toBeGreaterThan(2_000_000);
      expect(length / compressed.size).toBeGreaterThanOrEqual(times);
    });
  });
});

/**
 * Adds 10,000 numbers as they are in a fleet: with the ids that the database gives to every new number, in several states,
 * created and changed at different times, and with different values from Meta.
 */
async function seedList(tenantId: string): Promise<void> {
  const { database } = gateway;
  await database.query(
    `insert into whatsapp_number
       (tenant_id, number, name, provider, state, phone_number_id, waba_id, created_at, updated_at)
     select $1, '5511' || (900000000 + random() * 99999999)::int,
       (array['Store', 'Sales', 'Support', 'Clinic', 'Pharmacy'])[1 + i % 5] || ' ' || i, 'META',
       case when random() < 0.9 then 'OPEN' when random() < 0.5 then 'CLOSE' else 'CONNECTING' end,
       (100000000000000 + random() * 899999999999999)::bigint::text,
       (102290129340000 + i % 40)::text,
       now() - random() * interval '700 days', now() - random() * interval '30 days'
     from generate_series(1, 10000) i`,
    [tenantId],
  );
  await database.query(
    `insert into number_snapshot
       (tenant_id, number_id, block, data, observed_at, attempted_at, verdict)
     select tenant_id, id, 'phone', jsonb_build_object(
         'displayPhoneNumber', '+' || number, 'verifiedName', name,
         'qualityRating', (array['GREEN', 'GREEN', 'GREEN', 'YELLOW', 'RED'])[1 + floor(random() * 5)],
         'messagingLimitTier', (array['TIER_250', 'TIER_2K', 'TIER_10K', 'TIER_100K'])[1 + floor(random() * 4)],
         'status', (array['CONNECTED', 'CONNECTED', 'CONNECTED', 'FLAGGED', 'RESTRICTED'])[1 + floor(random() * 5)],
         'platformType', 'CLOUD_API', 'nameStatus', 'APPROVED', 'isPinEnabled', random() < 0.5
       ), at, at, case when random() < 0.9 then 'YES' else 'NO' end
     from (select *, now() - random() * interval '50 minutes' as at from whatsapp_number) number
     where tenant_id = $1`,
    [tenantId],
  );
}
