// Tests how the GraphiQL page is served: its content codings, its ETags, and when it is not served. What it does in a browser is
// tested in graphiql.test.ts.

import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { openTestGateway, type TestGateway } from '../harness.ts';

describe('the page', () => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await openTestGateway();
  });
  afterAll(() => gateway[Symbol.asyncDispose]());

  const readPage = async (headers: Readonly<Record<string, string>>, search = '') =>
    await gateway.fetch(`/graphql${search}`, { headers: { accept: 'text/html', ...headers } });

  const decoders = { br: brotliDecompressSync, gzip: gunzipSync };

  test.each([
    ['gzip, deflate, br, zstd', 'br'],
    ['gzip', 'gzip'],
    ['*', 'br'],
    ['gzip;q=0.1, identity', null],
    ['gzip;q=0', null],
    ['br;q=0, gzip; q=0.0, deflate', null],
  ] as const)('is sent to a browser that accepts %s', async (accepted, coding) => {
    const plain = await (await readPage({})).text();
    const reply = await readPage({ 'accept-encoding': accepted });
    expect(reply.headers.get('content-encoding')).toBe(coding);
    const bytes = Buffer.from(await reply.arrayBuffer());
    expect(reply.headers.get('content-length')).toBe(String(bytes.length));
    const text = String(coding === null ? bytes : decoders[coding](bytes));
    expect(text === plain).toBe(true);
  });

  test.each(['br', 'gzip', 'identity'])(
    'is a 304 for a browser that has it in %s',
    async (coding) => {
      const headers = { 'accept-encoding': coding };
      const etag = (await readPage(headers)).headers.get('etag') ?? '';
      const again = await readPage({ ...headers, 'if-none-match': etag });
      expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([
        304,
        '',
        etag,
      ]);
      // A strong ETag is that of the same bytes. https://www.rfc-editor.org/rfc/rfc9110#section-8.8.1
      expect(etag).toMatch(coding === 'identity' ? /^"[\w-]{43}"$/ : /^W\/"[\w-]{43}"$/);
    },
  );

  test('is sent to a browser that has a long document in its address', async () => {
    const reply = await readPage({}, `?query=${'x'.repeat(9_000)}`);
    expect(reply.status).toBe(200);
    expect(reply.headers.get('content-type')).toBe('text/html; charset=utf-8');
  });
});

test('a page that could not be built is built for the next request', async () => {
  await using gateway = await openTestGateway();
  const readStatus = async () => {
    const { status } = await gateway.fetch('/graphql', { headers: { accept: 'text/html' } });
    return status;
  };
  vi.doMock('@graphql-yoga/render-graphiql', () => {
    throw new Error('There are too many open files.');
  });
  const failed = await readStatus();
  vi.doUnmock('@graphql-yoga/render-graphiql');

  expect([failed, await readStatus()]).toEqual([500, 200]);
});

test('GRAPHIQL=off removes the page', async () => {
  await using gateway = await openTestGateway({ environment: { GRAPHIQL: 'off' } });

  const { status, body } = await gateway.rest('/graphql', { headers: { accept: 'text/html' } });

  expect(status).toBe(401);
  expect(body).toMatchObject({ errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] });
});
