// The HTTP server over real sockets: malformed requests, slow clients, overload, and clients that disconnect.

import { once } from 'node:events';
import { connect, Server, Socket } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { GatewayError } from '../../src/errors.ts';
import {
  fromFetchRequest,
  type HttpRequest,
  maxBodyBytes,
  readRefusedBytes,
} from '../../src/http/message.ts';
import { type HttpServer, listen } from '../../src/http/server.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';
import { openTicksGateway } from './ticks.ts';

let gateway: TestGateway;
let tenant: TestTenant;
let server: HttpServer;
/** Has short timeouts. */
let impatient: HttpServer;

beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
  const local = { host: '127.0.0.1', port: 0, noticeMs: 0 };
  server = await listen(gateway.gateway, local);
  const timeouts = { headersMs: 300, requestMs: 400, checkMs: 50 };
  impatient = await listen(gateway.gateway, { ...local, timeouts });
});

afterAll(async () => {
  await Promise.all([server.drain(), impatient.drain()]);
  await gateway[Symbol.asyncDispose]();
});

/** Resolves to everything that the server returns until it closes the connection. */
async function sendBytes({ url }: HttpServer, bytes: string | Uint8Array): Promise<string> {
  const { port } = new URL(url);
  const socket = connect({ host: '127.0.0.1', port: Number(port), allowHalfOpen: true });
  socket.write(bytes);
  return await readText(socket);
}

const toHead = (length: number) =>
  `POST /graphql HTTP/1.1\r\ncontent-type: application/json\r\nx-api-key: ${tenant.key}\r\ncontent-length: ${length}\r\n\r\n`;

const malformed = (status: number, code = 'INVALID_REQUEST') => ({ status, code });

test.each([
  ['bytes that are not HTTP', 'HELLO\r\n\r\n', malformed(400)],
  [
    'headers of more than 16 KiB',
    `GET /v1/numbers HTTP/1.1\r\na: ${'x y '.repeat(5_000)}\r\n\r\n`,
    malformed(431),
  ],
  [
    'a URL and headers of more than 16 KiB',
    `GET /v1/numbers?${'x'.repeat(7_000)} HTTP/1.1\r\na: ${'x'.repeat(10_000)}\r\n\r\n`,
    malformed(431),
  ],
  [
    'a URL of more than 16 KiB',
    `GET /v1/numbers?query=${'x'.repeat(20_000)} HTTP/1.1\r\n\r\n`,
    malformed(414, 'URI_TOO_LONG'),
  ],
  [
    'a URL of more than 8,000 characters, with headers beyond 16 KiB',
    `GET /v1/numbers?query=${'x'.repeat(9_000)} HTTP/1.1\r\na: ${'x'.repeat(9_000)}\r\n\r\n`,
    malformed(414, 'URI_TOO_LONG'),
  ],
])('%s get an error in the documented form', async (_, bytes, { status, code }) => {
  const response = await sendBytes(server, bytes);
  expect(response).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  const [, body = ''] = response.split('\r\n\r\n');
  expect(JSON.parse(body)).toMatchObject({ code, error: expect.any(String) });
});

const toGraphQL = (code: string) => ({ errors: [{ extensions: { code } }] });

describe('a request beyond 16 KiB', () => {
  const origin = 'https://dashboard.example';
  let ofPages: TestGateway;
  let serverOfPages: HttpServer;
  beforeAll(async () => {
    ofPages = await openTestGateway({ environment: { CORS_ORIGINS: origin } });
    serverOfPages = await listen(ofPages.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  });
  afterAll(async () => {
    await serverOfPages.drain();
    await ofPages[Symbol.asyncDispose]();
  });

  const long = 'x'.repeat(20_000);

  test.each([
    ['414 of GraphQL', `/graphql?query=${long}`, '', toGraphQL('URI_TOO_LONG')],
    ['414 of REST', `/v1/numbers?${long}`, '', { code: 'URI_TOO_LONG' }],
    [
      '431 of GraphQL',
      '/graphql?query={__typename}',
      `a: ${long}\r\n`,
      toGraphQL('INVALID_REQUEST'),
    ],
    ['431 of REST', '/v1/numbers', `a: ${long}\r\n`, { code: 'INVALID_REQUEST' }],
  ])('is a %s that a page of another origin can read', async (name, target, header, expected) => {
    const ofOrigin = async (text: string) => {
      const response = await sendBytes(
        serverOfPages,
        `GET ${target} HTTP/1.1\r\nHost: x\r\n${header}Origin: ${text} \r\nAccept: */*\r\n\r\n`,
      );
      const [head = '', body = ''] = response.split('\r\n\r\n');
      expect(head).toMatch(new RegExp(`^HTTP/1.1 ${name.slice(0, 3)} `));
      expect(JSON.parse(body)).toMatchObject(expected);
      expect(head).toMatch(/^vary: .*\borigin\b/m);
      return /^access-control-allow-origin: (.*)$/m.exec(head)?.[1];
    };
    expect(await ofOrigin(origin)).toBe(origin);
    expect(await ofOrigin('https://other.example')).toBeUndefined();
  });

  test('is answered quickly, whatever its lines are', async () => {
    const startedAt = performance.now();
    for (const line of ['A ', 'A /', '\n', 'origin:', 'GET /graphql HTTP/1.1\n']) {
      readRefusedBytes(Buffer.from(line.repeat(65_536 / line.length)));
    }
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});

test('a URL that arrives in several packets and is too long is a 414', async () => {
  const { port } = new URL(server.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port), noDelay: true });
  socket.write(`GET /graphql?query=${'x'.repeat(10_000)}`);
  // The server has received it once it answers on another connection.
  await fetch(`${server.url}/livez`);
  socket.write(`${'x'.repeat(10_000)} HTTP/1.1\r\n\r\n`);
  expect(await readText(socket)).toMatch(/^HTTP\/1.1 414 .*"code":"URI_TOO_LONG"/s);
});

test('bytes that are not HTTP abort a response that has begun, and write nothing into it', async () => {
  await using ticks = openTicksGateway(gateway);
  const streaming = await listen(ticks.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(streaming.url).port) });
  socket.write(`GET /ticks HTTP/1.1\r\nx-api-key: ${tenant.key}\r\n\r\n`);
  await once(socket, 'data');
  ticks.sources[0]!.send('the beginning');
  const [beginning] = await once(socket, 'data');
  socket.write('HELLO\r\n\r\n');
  expect(String(beginning)).toContain('the beginning');
  expect(await readText(socket)).toBe('');
  await streaming.drain();
});

test('each of the responses written in one batch reaches its client, even if another one cannot be written', async () => {
  const paths = Array.from({ length: 100 }, (_, index) => `/v1/${index}`);
  const [broken = ''] = paths;
  const allArrived = Promise.withResolvers<void>();
  let count = 0;
  const handle = async ({ path }: HttpRequest) => {
    count += 1;
    if (count === paths.length) allArrived.resolve();
    await allArrived.promise;
    return { status: 200, headers: { 'x-path': path === broken ? '\0' : path }, body: path };
  };
  const httpServer = await listen(
    { ...gateway.gateway, handle },
    { host: '127.0.0.1', port: 0, noticeMs: 0 },
  );
  const responses = await Promise.all(
    paths.map((path) => sendBytes(httpServer, `GET ${path} HTTP/1.1\r\nconnection: close\r\n\r\n`)),
  );
  const bodies = responses.map((text) => text.split('\r\n\r\n')[1]);
  expect(bodies).toEqual([undefined, ...paths.slice(1)]);
  await httpServer.drain();
});

const respond = () => ({ status: 200, headers: {}, body: '(response)' });

test('connections paused because one turn of the event loop has too many requests are resumed', async () => {
  const options = { host: '127.0.0.1', port: 0, noticeMs: 0 };
  const httpServer = await listen({ ...gateway.gateway, handle: respond }, options);
  const { port } = new URL(httpServer.url);
  const sockets = Array.from({ length: 2_000 }, () => connect(Number(port), '127.0.0.1'));
  const sendAll = async () => {
    for (const socket of sockets) socket.write('GET /v1/numbers HTTP/1.1\r\n\r\n');
    const responses = await Promise.all(sockets.map((socket) => once(socket, 'data')));
    expect(responses.filter(([text]) => !String(text).endsWith('(response)'))).toEqual([]);
  };
  // Connects all sockets, so that the next requests arrive at once.
  await sendAll();
  const paused = vi.spyOn(Socket.prototype, 'pause');
  await sendAll();
  expect(paused).toHaveBeenCalled();
  paused.mockRestore();
  await sendAll();
  for (const socket of sockets) socket.destroy();
  await httpServer.drain();
});

test('errors of the listening server, such as too many open files, are logged, and it continues to accept', async () => {
  const listening = vi.spyOn(Server.prototype, 'listen');
  onTestFinished(() => void listening.mockRestore());
  const httpServer = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  const [node] = listening.mock.contexts as Server[];
  gateway.clearLogLines();
  for (const code of ['EMFILE', 'ENFILE']) node?.emit('error', new Error(`accept ${code}`));
  expect(gateway.logLines.filter((line) => /accept E[MN]FILE/.test(line))).toHaveLength(2);
  expect(await sendBytes(httpServer, 'GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n')).toContain(
    '200',
  );
  await httpServer.drain();
});

test('headers that never end time out with an error in the documented form', async () => {
  const response = await sendBytes(impatient, 'GET /v1/numbers HTTP/1.1\r\na: x');
  expect(response).toMatch(/^HTTP\/1.1 408 /);
  expect(response).toContain('"code":"INVALID_REQUEST"');
});

test.each([
  ['bytes that are not HTTP', () => server, (key: string) => `x-api-key: ${key}\r\n\r\n`, 400],
  [
    'headers that are too large',
    () => server,
    (key: string) =>
      `GET /${key} HTTP/1.1\r\nx-api-key: ${key}\r\na: ${'x'.repeat(17_000)}\r\n\r\n`,
    431,
  ],
  ['headers that never end', () => impatient, (key: string) => `GET /${key} HTTP/1.1\r\na: x`, 408],
])('%s are counted and logged in one line, without any of their content', async (...row) => {
  const [, toServer, toBytes, status] = row;
  gateway.clearLogLines();
  const before = await countMalformed(status);
  const response = await sendBytes(toServer(), toBytes(tenant.key));
  const [, requestId] = /"requestId":"([\w-]+)"/.exec(response) ?? [];
  expect(gateway.logLines.map((line) => JSON.parse(line))).toEqual([
    {
      level: 30,
      time: expect.any(String),
      msg: 'request completed',
      requestId,
      method: null,
      path: null,
      status,
      durationMs: 0,
      tenantId: null,
      keyId: null,
    },
  ]);
  expect(await countMalformed(status)).toBe(before + 1);
});

async function countMalformed(status: number): Promise<number> {
  const text = (await gateway.gateway.metrics?.render())?.text ?? '';
  const name = 'gateway_request_duration_seconds_count';
  const line = `${name}{door="none",operation="none",status="${status}"} `;
  return Number(
    text
      .split('\n')
      .find((it) => it.startsWith(line))
      ?.slice(line.length) ?? 0,
  );
}

test('a body that never ends times out, and is not logged as a defect', async () => {
  gateway.clearLogLines();
  // This client does not close its connection either.
  const response = await sendBytes(impatient, `${toHead(50)}{"query"`);
  expect(response).toMatch(/^(HTTP\/1.1 4\d\d |$)/);
  const isLogged = () => expect(gateway.logLines.join()).toContain('request completed');
  await vi.waitFor(isLogged, { timeout: 5_000 });
  expect(gateway.logLines.filter((line) => line.includes('"level":50'))).toEqual([]);
});

test('a body that is too large is rejected in the error format of its API', async () => {
  const response = await sendBytes(server, toHead(maxBodyBytes + 1));
  expect(response).toMatch(/^HTTP\/1.1 400 /);
  // The response is chunked.
  const [body = ''] = /\{.*\}/s.exec(response) ?? [];
  expect(JSON.parse(body)).toMatchObject({ errors: [{ extensions: { code: 'INVALID_REQUEST' } }] });
});

/** A request after which the server closes the connection. */
const toRequest = (line: string, headers: readonly string[] = [], body = '') =>
  [`${line} HTTP/1.1`, 'connection: close', `x-api-key: ${tenant.key}`, ...headers, '', body].join(
    '\r\n',
  );

test.each([
  ['GET /v1/numbers', /"code":"INVALID_REQUEST","requestId":"odd-1"/],
  ['POST /graphql', /\{"errors":.*"code":"INVALID_REQUEST"/],
  ['GET /livez', /"code":"INVALID_REQUEST","requestId":"odd-1"/],
])(
  '%s with an unknown expectation is rejected in the error format of its API',
  async (line, format) => {
    gateway.clearLogLines();
    const headers = ['expect: foo', 'x-request-id: odd-1'];
    const response = await sendBytes(server, toRequest(line, headers));
    expect(response).toMatch(/^HTTP\/1.1 400 .*x-request-id: odd-1\r\n/s);
    expect(response).toMatch(format);
    expect(gateway.logLines.filter((it) => it.includes('request completed'))).toHaveLength(1);
  },
);

test.each([
  ['a wrong key', 'x-api-key: ps_wrong', 50, 401],
  ['a body that is too large', '', maxBodyBytes + 1, 400],
])('%s is rejected before 100 Continue is sent', async (_, header, length, status) => {
  const keyHeader = header === '' ? `x-api-key: ${tenant.key}` : header;
  const response = await sendBytes(
    server,
    `POST /graphql HTTP/1.1\r\n${keyHeader}\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`,
  );
  expect(response).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(response).not.toContain('100 Continue');
});

test('100 Continue is sent once the key has been verified', async () => {
  const body = '{"query":"{ __typename }"}';
  const { port } = new URL(server.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port) });
  const type = 'content-type: application/json';
  const length = `content-length: ${body.length}`;
  socket.write(toRequest('POST /graphql', [type, length, 'expect: 100-continue']));
  const [interim] = await once(socket, 'data');
  expect(String(interim)).toBe('HTTP/1.1 100 Continue\r\n\r\n');
  socket.write(body);
  expect(await readText(socket)).toMatch(/^HTTP\/1.1 200 .*\{"data":/s);
});

test('a key that is revoked while the body is being sent is refused', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { key, id } = await tenant.addKey();
  const body = '{"query":"{ numbers { id } }"}';
  const send = async (beforeBody: () => Promise<unknown>): Promise<string> => {
    const socket = connect({ host: '127.0.0.1', port: Number(new URL(server.url).port) });
    socket.write(
      `POST /graphql HTTP/1.1\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n`,
    );
    await once(socket, 'data');
    await beforeBody();
    vi.advanceTimersByTime(501);
    socket.write(body);
    return await readText(socket);
  };
  expect(await send(async () => undefined)).toMatch(/^HTTP\/1.1 200 .*\{"data":/s);
  const refusal = await send(() => gateway.access.revokeKey(id));
  expect(refusal).toMatch(/^HTTP\/1.1 401 .*"UNAUTHENTICATED"/s);
});

test('CONNECT is rejected in the documented form, and the server survives bytes sent after it', async () => {
  gateway.clearLogLines();
  const response = await sendBytes(server, 'CONNECT example.com:443 HTTP/1.1\r\n\r\n');
  expect(response).toMatch(/^HTTP\/1.1 400 .*x-request-id: .*"code":"INVALID_REQUEST"/s);
  expect(gateway.logLines).toHaveLength(1);
  const { port } = new URL(server.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port) });
  socket.write('CONNECT a:1 HTTP/1.1\r\n\r\nmore');
  await once(socket, 'data');
  socket.resetAndDestroy();
  expect((await fetch(`${server.url}/livez`)).status).toBe(200);
});

test('a chunked body that becomes too large is rejected in the error format of its API', async () => {
  const type = 'content-type: application/json';
  const chunk = `${(maxBodyBytes + 1).toString(16)}\r\n${'x'.repeat(maxBodyBytes + 1)}\r\n0\r\n\r\n`;
  const request = toRequest('POST /graphql', [type, 'transfer-encoding: chunked'], chunk);
  const response = await sendBytes(server, request);
  expect(response).toMatch(/^HTTP\/1.1 400 .*\{"errors":.*The body is larger/s);
});

test('a character may be split over two chunks', async () => {
  const body = Buffer.from('{"query":"{ é }"}');
  const middle = body.indexOf('é') + 1;
  const chunks = [body.subarray(0, middle), body.subarray(middle), Buffer.of()].map(
    (piece) => `${piece.length.toString(16)}\r\n${piece.toString('latin1')}\r\n`,
  );
  const headers = ['content-type: application/json', 'transfer-encoding: chunked'];
  const request = toRequest('POST /graphql', headers, chunks.join(''));
  const response = await sendBytes(server, Buffer.from(request, 'latin1'));
  expect(response).toContain('Unexpected character: U+00E9');
});

test.each(['over a socket', 'in process'])(
  'a body that is not UTF-8 is rejected %s',
  async (way) => {
    const body = Buffer.from('{"query":"{ __typename }","operationName":"\xff"}', 'latin1');
    const headers = { 'content-type': 'application/json', 'x-api-key': tenant.key };
    const init = { method: 'POST', headers, body };
    const response =
      way === 'in process'
        ? await gateway.fetch(new Request('http://gateway.test/graphql', init))
        : await fetch(`${server.url}/graphql`, init);
    expect([response.status, await response.json()]).toMatchObject([
      400,
      { errors: [{ message: 'The body must be UTF-8.', extensions: { code: 'INVALID_REQUEST' } }] },
    ]);
  },
);

test('a header that is sent twice is never read as one of the two', async () => {
  const twice = await sendBytes(server, toRequest('GET /v1/numbers', [`x-api-key: ${tenant.key}`]));
  expect(twice).toMatch(/^HTTP\/1.1 401 /);
  const types = ['content-type: application/json', 'content-type: text/plain', 'content-length: 0'];
  expect(await sendBytes(server, toRequest('POST /graphql', types))).toMatch(/^HTTP\/1.1 400 /);
});

test.each(['/v1/numbers', '/v1/nothing', '/livez'])(
  'HEAD %s has the status and headers of GET, and no body',
  async (path) => {
    const responses = ['GET', 'HEAD'].map((method) =>
      sendBytes(server, toRequest(`${method} ${path}`, ['x-request-id: the-same'])),
    );
    const [full = '', bare = ''] = await Promise.all(responses);
    expect(toHeaderLines(bare)).toEqual(toHeaderLines(full));
    expect(toHeaderLines(bare).join()).toMatch(/content-length: [1-9]/);
    expect(bare).toMatch(/\r\n\r\n$/);
  },
);

/** Sorted, without those that differ between requests. */
function toHeaderLines(response: string): readonly string[] {
  const [lines = ''] = response.split('\r\n\r\n');
  return lines
    .split('\r\n')
    .filter((line) => !/^(date|ratelimit):/i.test(line))
    .toSorted();
}

test.each(['/livez', '/readyz', '/metrics'])('%s allows only GET and HEAD', async (path) => {
  for (const method of ['DELETE', 'POST', 'OPTIONS']) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const response = await sendBytes(server, toRequest(`${method} ${path}`));
    expect(response).toMatch(/^HTTP\/1.1 405 .*\r\nallow: GET, HEAD\r\n/s);
    expect(response).toContain('"code":"METHOD_NOT_ALLOWED"');
  }
  expect(await sendBytes(server, toRequest(`HEAD ${path}`))).toMatch(/^HTTP\/1.1 200 /);
});

test.each([
  ['GET *', 400, 'INVALID_REQUEST'],
  ['GET http://evil.example.com/v1/numbers', 400, 'INVALID_REQUEST'],
  ['GET /v1/../v1/numbers', 404, 'NOT_FOUND'],
  ['GET /v1/%2e%2e/v1/numbers', 404, 'NOT_FOUND'],
  ['GET /v1/numbers#all', 404, 'NOT_FOUND'],
  ['TRACE /v1/numbers', 405, 'METHOD_NOT_ALLOWED'],
])(
  '%s is answered with %i, and has its request id in the response and the log',
  async (line, status, code) => {
    gateway.clearLogLines();
    const response = await sendBytes(server, toRequest(line, ['x-request-id: odd-1']));
    expect(response).toMatch(new RegExp(`^HTTP/1.1 ${status} .*x-request-id: odd-1\r\n`, 's'));
    expect(response).toContain(`"code":"${code}","requestId":"odd-1"`);
    const [method, path] = line.split(' ');
    const logged = gateway.logLines.find((it) => it.includes('request completed')) ?? '';
    expect(JSON.parse(logged)).toMatchObject({ requestId: 'odd-1', method, path, status });
  },
);

test('a path that URL parsing leaves unchanged is used verbatim', async () => {
  const response = await sendBytes(server, toRequest("GET /v1/numbers/wa_~a.b'c%2F%41"));
  expect(response).toContain('"code":"NUMBER_NOT_FOUND"');
});

test('a client that disconnects cancels its request', async () => {
  const { id, phoneNumberId } = await tenant.addNumber();
  gateway.simulator.setFault(phoneNumberId, { kind: 'hang' });
  const { port } = new URL(server.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port) });
  const before = gateway.simulator.calls.length;
  gateway.clearLogLines();
  socket.write(toRequest(`GET /v1/numbers/${id}?refresh=1`, ['x-request-id: gone']));
  await vi.waitFor(() => expect(gateway.simulator.calls.length).toBeGreaterThan(before));
  socket.destroy();
  // The deadline of the request is seconds away, so the status is due to the disconnect.
  await vi.waitFor(() => {
    const lines = gateway.logLines.filter((line) => line.includes('"requestId":"gone"'));
    expect(lines.map((line) => JSON.parse(line).status)).toEqual([503]);
  }, 5_000);
});

test('a request that waits for an upstream or for its body uses no capacity', async () => {
  const { database } = gateway;
  await using busy = await openTestGateway({ database, environment: { MAX_REQUESTS: '1' } });
  const other = await busy.addTenant();
  const { id, phoneNumberId } = await other.addNumber();
  busy.simulator.setFault(phoneNumberId, { kind: 'hang' });
  const caller = new AbortController();
  const { signal } = caller;
  const body = new ReadableStream<Uint8Array>({
    start: (stream) => signal.addEventListener('abort', () => stream.close(), { once: true }),
  });
  const headers = { 'content-type': 'application/json', 'x-api-key': other.key };
  const streaming = { method: 'POST', headers, body, duplex: 'half' };
  const slowUpload = new Request('http://gateway.test/graphql', streaming);
  const waiting = [
    other.rest(`/v1/numbers/${id}?refresh=1`, { signal }),
    busy.fetch(slowUpload).then((response) => response.text()),
  ];
  await vi.waitFor(() => {
    expect(busy.simulator.calls.length).toBeGreaterThan(0);
    expect(busy.gateway.shed(fromFetchRequest(slowUpload))).toBeNull();
  });
  expect((await other.rest('/v1/numbers')).status).toBe(200);
  caller.abort();
  await Promise.all(waiting);
});

test('refusals under overload are paced, so that they do not use up the process', async () => {
  const refusal = { status: 503, headers: { 'retry-after': '1' }, body: 'Later.' };
  const busy = { ...gateway.gateway, shed: () => refusal };
  const httpServer = await listen(busy, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  const startedAt = performance.now();
  const refused = Array.from({ length: 200 }, () => fetch(`${httpServer.url}/v1/numbers`));
  expect((await fetch(`${httpServer.url}/livez`)).status).toBe(200);
  const statuses = (await Promise.all(refused)).map(({ status }) => status);
  // 1,000 refusals a second, the first one at once.
  expect(performance.now() - startedAt).toBeGreaterThan(190);
  expect(new Set(statuses)).toEqual(new Set([503]));
  await httpServer.drain();
});

/** A gateway with a capacity of one request. The lookup of a key at the database waits for `keyLookup.before`. */
async function openNarrowGateway(environment: Readonly<Record<string, string>> = {}) {
  const made = new AsyncDisposableStack();
  const { database: plain } = gateway;
  const keyLookup = { before: async (): Promise<void> => undefined };
  const callAcrossTenants: typeof plain.callAcrossTenants = async (statement) => {
    await keyLookup.before();
    return await plain.callAcrossTenants(statement);
  };
  const narrow = made.use(
    await openTestGateway({
      database: { ...plain, callAcrossTenants },
      environment: { MAX_REQUESTS: '1', ...environment },
    }),
  );
  const other = await narrow.addTenant();
  const httpServer = await listen(narrow.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  made.defer(() => httpServer.drain());
  return {
    other,
    httpServer,
    keyLookup,
    /** Occupies the whole capacity. The returned function frees it. */
    fill() {
      const { promise, resolve } = Promise.withResolvers<void>();
      keyLookup.before = () => promise;
      const waiting = other.rest('/v1/numbers');
      return async () => {
        resolve();
        return await waiting;
      };
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

test('an overloaded process refuses requests at once, and still responses probes', async () => {
  await using narrow = await openNarrowGateway();
  const { other, httpServer } = narrow;
  const release = narrow.fill();
  const headers = { 'x-api-key': other.key };
  const [rest, graphql] = await Promise.all(
    ['/v1/numbers', '/graphql'].map((path) => fetch(`${httpServer.url}${path}`, { headers })),
  );
  const probes = await Promise.all(
    ['/livez', '/readyz', '/metrics'].map((path) => fetch(`${httpServer.url}${path}`)),
  );
  expect(rest?.headers.get('retry-after')).toBe('1');
  expect([rest?.status, await rest?.json()]).toMatchObject([503, { code: 'UNAVAILABLE' }]);
  expect([graphql?.status, await graphql?.json()]).toMatchObject([
    503,
    { errors: [{ extensions: { code: 'UNAVAILABLE' } }] },
  ]);
  expect(probes.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(await probes[2]?.text()).toContain(
    'gateway_requests_shed_total{reason="requests under way"} 2',
  );
  expect((await release()).status).toBe(200);
  expect((await fetch(`${httpServer.url}/v1/numbers`, { headers })).status).toBe(200);
});

test.each([
  ['GET', '/v1/numbers'],
  ['POST', '/graphql'],
])('%s %s is refused under overload as with any other 503', async (method, path) => {
  const origin = 'https://app.example.com';
  await using narrow = await openNarrowGateway({ CORS_ORIGINS: origin });
  const { other, httpServer, keyLookup } = narrow;
  const headers = {
    accept: 'application/graphql-response+json',
    'content-type': 'application/json',
    origin,
    'x-api-key': other.key,
    'x-request-id': 'one-of-many',
  };
  const send = async () => {
    const response = await fetch(`${httpServer.url}${path}`, { method, headers });
    const compared = [...response.headers].filter(([name]) => !transportHeaders.test(name));
    return { status: response.status, headers: compared, text: await response.text() };
  };
  // The message of the refusal, so that the two responses must be equal.
  const message = 'The gateway is overloaded; retry in a moment.';
  keyLookup.before = () =>
    Promise.reject(new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 }));
  const ordinary = await send();
  const release = narrow.fill();
  const refused = await send();
  await release();
  expect(refused).toEqual(ordinary);
  expect(Object.fromEntries(refused.headers)).toMatchObject({
    'access-control-allow-origin': origin,
    'cache-control': 'private, no-cache',
    'retry-after': '1',
    vary: expect.stringContaining('accept-encoding, origin'),
    'x-request-id': 'one-of-many',
  });
});

const transportHeaders = /^(date|connection|keep-alive)$/;
