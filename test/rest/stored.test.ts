// REST requests that read what is stored, and those that are rejected. Live reads are in live.test.ts.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { databases, openTestGateway, type Reply, type TestGateway } from '../harness.ts';

/** Sent with requests whose whole responses are compared. */
const requestId = { 'x-request-id': 'the-same' };

const time = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/);

function toComparable({ status, headers, text }: Reply<unknown>) {
  // The rest of the rate limit changes with each request.
  return { status, headers: [...headers].filter(([name]) => name !== 'ratelimit'), text };
}

describe.each(databases)('on %s', (database) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway({ database });
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('the list has the documented members in their order, and hints of the keys of each number', async () => {
    const tenant = await gateway.addTenant();
    const unofficial = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Suporte' });
    const official = await tenant.addNumber({ name: 'Vendas', state: 'CONNECTING' });
    const { key } = await tenant.addKey({ name: 'Default', numberId: unofficial.id });

    const { status, text, body } =
      await tenant.rest<readonly Record<string, unknown>[]>('/v1/numbers');

    expect(status).toBe(200);
    expect(body).toEqual([
      {
        id: unofficial.id,
        instanceName: unofficial.instanceName,
        number: unofficial.number,
        name: 'Suporte',
        provider: 'PILOT_STATUS',
        apiKeys: [{ name: 'Default', keyPrefix: key.slice(0, 7), keyLast4: key.slice(-4) }],
        state: 'OPEN',
        isFullyConnected: true,
        createdAt: time,
        updatedAt: time,
      },
      {
        id: official.id,
        instanceName: null,
        number: official.number,
        name: 'Vendas',
        provider: 'META',
        apiKeys: [],
        state: 'CONNECTING',
        isFullyConnected: false,
        createdAt: time,
        updatedAt: time,
      },
    ]);
    const order =
      'id instanceName number name provider apiKeys state isFullyConnected createdAt updatedAt';
    expect(body.map((item) => Object.keys(item).join(' '))).toEqual([order, order]);
    expect(text).toContain('{"name":"Default","keyPrefix":"ps_');
  });

  test('a tenant without numbers has an empty list', async () => {
    const tenant = await gateway.addTenant();
    expect((await tenant.rest('/v1/numbers')).text).toBe('[]');
  });

  test('a list of 25 numbers is read in one statement after that of the key, like a list of one', async () => {
    const tenant = await gateway.addTenant();
    const countStatements = async (): Promise<number> => {
      gateway.clearStatements();
      expect((await tenant.rest('/v1/numbers')).status).toBe(200);
      return gateway.statements.filter((statement) => !statement.includes('set_config')).length;
    };
    const first = await tenant.addNumber();
    expect(await countStatements()).toBe(2);
    for (const _ of Array.from({ length: 24 })) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      const { id } = await tenant.addNumber();
      // oxlint-disable-next-line no-await-in-loop -- see above
      await tenant.addKey({ numberId: id });
    }
    expect(await countStatements()).toBe(2);
    expect((await tenant.rest<readonly { id: string }[]>('/v1/numbers')).body[0]?.id).toBe(
      first.id,
    );
  });

  test('a number that was never read has null health members and no meta, for either provider', async () => {
    const tenant = await gateway.addTenant();
    const official = await tenant.addNumber({ state: 'CLOSE' });
    const unofficial = await tenant.addNumber({ provider: 'PILOT_STATUS', name: 'Suporte' });

    const { text } = await tenant.rest(`/v1/numbers/${official.id}`);
    expect(JSON.parse(text)).toMatchObject({ provider: 'META', state: 'CLOSE', meta: null });
    const { body } = await tenant.rest(`/v1/numbers/${unofficial.id}`);
    expect(JSON.stringify(body)).toBe(
      JSON.stringify({
        id: unofficial.id,
        number: unofficial.number,
        name: 'Suporte',
        provider: 'PILOT_STATUS',
        state: 'OPEN',
        isFullyConnected: true,
        createdAt: body['createdAt'],
        updatedAt: body['updatedAt'],
        health: {
          qualityRating: null,
          messagingLimitTier: null,
          metaStatus: null,
          sendable: false,
        },
        meta: null,
      }),
    );
    expect(gateway.simulator.calls).toEqual([]);
  });

  test('a key of a number sees all numbers of its tenant on every route', async () => {
    const tenant = await gateway.addTenant();
    const [one, other] = [await tenant.addNumber(), await tenant.addNumber()];
    const { key } = await tenant.addKey({ numberId: one.id });
    const get = (path: string) => gateway.rest<readonly { id: string }[]>(path, { key });
    expect((await get('/v1/numbers')).body.map(({ id }) => id)).toEqual([one.id, other.id]);
    for (const path of [`/v1/numbers/${other.id}`, `/v1/numbers/${other.id}/status`]) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      expect(await get(path)).toMatchObject({ status: 200, body: { id: other.id } });
    }
    expect(await get('/v1/openapi.json')).toMatchObject({
      status: 200,
      body: { openapi: '3.1.1' },
    });
  });

  test("the response for another tenant's number equals that for a missing one, byte for byte", async () => {
    const [owner, stranger] = [await gateway.addTenant(), await gateway.addTenant()];
    const { id } = await owner.addNumber();
    const random = `wa_${'0'.repeat(id.length - 3)}`;
    for (const rest of ['', '?refresh=1', '/status']) {
      const get = async (number: string) =>
        toComparable(await stranger.rest(`/v1/numbers/${number}${rest}`, { headers: requestId }));
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      const response = await get(id);
      // oxlint-disable-next-line no-await-in-loop -- see above
      expect(response).toEqual(await get(random));
      expect(JSON.parse(response.text)).toEqual({
        error: 'There is no number with this id.',
        code: 'NUMBER_NOT_FOUND',
        requestId: 'the-same',
      });
    }
  });

  test.each([
    ['a truncated escape', '%'],
    ['an invalid escape', '%zz'],
    ['bytes that are not UTF-8', '%ff%fe'],
    ['half of a surrogate pair', '%ED%A0%80'],
    ['a NUL', '%00'],
    ['a NUL in the middle', 'wa_%00abc'],
    ['an encoded slash', 'wa%2Fstatus'],
    ['a member of all objects', '__proto__'],
    ['SQL', "'%20or%201=1--"],
    ['an emoji', '%F0%9F%98%80'],
    ['a text of 4,000 characters', 'x'.repeat(4_000)],
  ])('an id that is %s is 404 NUMBER_NOT_FOUND', async (_, id) => {
    const tenant = await gateway.addTenant();
    for (const rest of ['', '?refresh=1', '/status']) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      const { status, body } = await tenant.rest(`/v1/numbers/${id}${rest}`);
      expect({ status, code: body['code'] }).toEqual({ status: 404, code: 'NUMBER_NOT_FOUND' });
    }
  });

  test('missing, malformed, unknown, expired and revoked keys get the same 401', async () => {
    const tenant = await gateway.addTenant();
    const expired = await tenant.addKey({ expiresAt: new Date(Date.now() - 1_000) });
    const revoked = await tenant.addKey();
    await gateway.access.revokeKey(revoked.id);
    const keys = ['ps_abc', `${tenant.key.slice(0, -1)}!`, createKey(), expired.key, revoked.key];
    const get = async (path: string, key?: string) =>
      toComparable(
        await gateway.rest(path, {
          ...(key && { key }),
          // Must not match: a 304 would disclose that the resource exists.
          headers: { ...requestId, 'if-none-match': '*' },
        }),
      );
    const missing = await get('/v1/numbers');
    expect(missing.status).toBe(401);
    expect(JSON.parse(missing.text)).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(missing.headers.map(([name]) => name)).not.toContain('etag');
    for (const path of ['/v1/numbers', '/v1/numbers/x?refresh=9']) {
      for (const key of keys) {
        // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
        expect(await get(path, key)).toEqual(missing);
      }
    }
  });

  test('a matching If-None-Match is answered with 304 and no body until the content changes', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const path = `/v1/numbers/${id}`;
    const first = await tenant.rest(path);
    const etag = first.headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[\w-]{43}"$/);
    const get = (ifNoneMatch: string) =>
      tenant.rest(path, { headers: { 'if-none-match': ifNoneMatch } });
    for (const matching of [etag, `W/${etag}`, `"other" , W/"more",${etag}`, '*', ' * ']) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      const { status, text, headers } = await get(matching);
      expect({ status, text }).toEqual({ status: 304, text: '' });
      for (const name of ['etag', 'cache-control', 'vary']) {
        expect(headers.get(name)).toBe(first.headers.get(name));
      }
      expect(headers.has('x-request-id')).toBe(true);
    }
    for (const other of ['"other"', etag.slice(1, -1), `"${etag}"`, '']) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      expect(await get(other)).toMatchObject({ status: 200, text: first.text });
    }
    await gateway.numbers.setState(id, 'CLOSE');
    const changed = await get(etag);
    expect(changed).toMatchObject({ status: 200, body: { state: 'CLOSE' } });
    expect(changed.headers.get('etag')).not.toBe(etag);
  });

  test("one tenant's ETag does not match another tenant's content", async () => {
    const [one, other] = [await gateway.addTenant(), await gateway.addTenant()];
    await one.addNumber();
    const { id } = await other.addNumber();
    const headers = { 'if-none-match': (await one.rest('/v1/numbers')).headers.get('etag') ?? '' };
    const { status, body } = await other.rest('/v1/numbers', { headers });
    expect(status).toBe(200);
    expect(body).toMatchObject([{ id }]);
  });
});

describe('over REST', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('every response is private, and declares its type and length', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const paths = ['/v1/numbers', `/v1/numbers/${id}`, `/v1/numbers/${id}/status`];
    for (const path of [...paths, '/v1/numbers/x', '/nowhere']) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      const { headers, text } = await tenant.rest(path, { headers: requestId });
      expect(headers.get('cache-control')).toBe('private, no-cache');
      expect(headers.get('vary')).toBe('x-api-key, authorization, accept-encoding');
      expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
      expect(headers.get('content-length')).toBe(String(Buffer.byteLength(text)));
      expect(headers.get('x-request-id')).toBe('the-same');
    }
  });

  test('HEAD returns the status and headers of GET, and no body', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber({ name: 'Ação' });
    const paths = ['/v1/numbers', `/v1/numbers/${id}`, '/v1/numbers/x', '/v1/numbers?', '/nowhere'];
    for (const path of paths) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      const get = toComparable(await tenant.rest(path, { headers: requestId }));
      // oxlint-disable-next-line no-await-in-loop -- see above
      const head = toComparable(await tenant.rest(path, { method: 'HEAD', headers: requestId }));
      expect(get.text).not.toBe('');
      expect(head).toEqual({ ...get, text: '' });
    }
  });

  test.each(['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])(
    '%s on a route is a 405 with Allow, with or without a key',
    async (method) => {
      const paths = ['/v1/numbers', '/v1/numbers/x', '/v1/numbers/x/status', '/v1/openapi.json'];
      for (const path of paths) {
        const isOfNumber = path === '/v1/numbers/x';
        if (isOfNumber && method === 'PATCH') continue;
        // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
        const { status, headers, body } = await gateway.rest(path, { method });
        expect(status).toBe(405);
        expect(headers.get('allow')).toBe(isOfNumber ? 'GET, PATCH, HEAD' : 'GET, HEAD');
        expect(body['code']).toBe('METHOD_NOT_ALLOWED');
      }
    },
  );

  test.each(
    [
      '/ /v1 /v1/ /v1/numbers/ //v1/numbers /v1//numbers /v1/numbers// /V1/numbers /v1/Numbers',
      '/v1%2Fnumbers /v1/n%75mbers /v1/numbers;v=1 /v1/numbers.json /v1/numbers%2Fx /v1/numbers/x/',
      '/v1/numbers/x//status /v1/numbers//status /v1/numbers/x/Status /v1/numbers/x/status/',
      '/v1/numbers/x/y /v1/openapi.json/ /v1/openapiXjson /v2/numbers /numbers /v1/numbers%20',
    ].flatMap((paths) => paths.split(' ')),
  )('%s is 404 NOT_FOUND, with or without a key', async (path) => {
    const tenant = await gateway.addTenant();
    gateway.clearStatements();
    for (const get of [gateway.rest, tenant.rest]) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      const { status, body } = await get(path);
      expect({ status, code: body['code'] }).toEqual({ status: 404, code: 'NOT_FOUND' });
    }
    expect(gateway.statements).toEqual([]);
  });

  test.each(['refresh', 'refresh=', 'refresh=0', 'refresh=false', 'refresh=2', 'refresh=TRUE'])(
    '?%s is a 400 whose message names the valid values',
    async (query) => {
      const tenant = await gateway.addTenant();
      const { id } = await tenant.addNumber();
      const { status, body } = await tenant.rest(`/v1/numbers/${id}?${query}`);
      expect({ status, code: body['code'] }).toEqual({ status: 400, code: 'INVALID_REQUEST' });
      expect(body['error']).toMatch(/refresh=1 or refresh=true/);
    },
  );

  test('a repeated refresh is a 400, even with equal values, and before the number is looked up', async () => {
    const tenant = await gateway.addTenant();
    expect(await tenant.rest('/v1/numbers/x?refresh=1&refresh=1')).toMatchObject({ status: 400 });
    expect(await tenant.rest('/v1/numbers/x?refresh=1&refresh=')).toMatchObject({ status: 400 });
    expect(await tenant.rest('/v1/numbers/x?refresh=1')).toMatchObject({ status: 404 });
  });

  test('a query parameter that a route does not have is ignored', async () => {
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    const paths = [
      '/v1/numbers?refresh=9&page=2',
      `/v1/numbers/${id}?Refresh=9&%`,
      `/v1/numbers/${id}/status?refresh=9`,
    ];
    for (const path of paths) {
      // oxlint-disable-next-line no-await-in-loop -- PGlite has one connection
      expect(await tenant.rest(path)).toMatchObject({ status: 200 });
    }
  });

  test('the log has the tenant of a request with a valid key', async () => {
    const tenant = await gateway.addTenant();
    gateway.clearLogLines();
    await gateway.rest('/v1/numbers');
    await tenant.rest('/v1/numbers/x');
    expect(gateway.logLines.map((line) => JSON.parse(line))).toMatchObject([
      { status: 401, tenantId: null },
      { status: 404, tenantId: tenant.id },
    ]);
  });
});

test('a defect is logged with its cause, and the response has only the request id', async () => {
  await using gateway = await openTestGateway({ database: 'PGlite' });
  const tenant = await gateway.addTenant();
  await gateway.database[Symbol.asyncDispose]();
  gateway.clearLogLines();
  const { status, headers, text } = await tenant.rest('/v1/numbers', { headers: requestId });
  expect(status).toBe(500);
  expect(headers.has('etag')).toBe(false);
  expect(text).toBe(
    '{"error":"Internal error; report it with the request id.","code":"INTERNAL","requestId":"the-same"}',
  );
  expect(JSON.parse(gateway.logLines[0] ?? '')).toMatchObject({
    msg: 'request failed',
    requestId: 'the-same',
    code: 'INTERNAL',
    cause: expect.stringContaining('PGlite is closed'),
  });
});
