// The server edge over real sockets: what is no HTTP, clients that take their time, too much at once, and those who leave.

import { once } from 'node:events';
import { connect, Server, Socket } from 'node:net';
import { text as readText } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from 'vitest';
import { GatewayError } from '../../src/errors.ts';
import { fromFetchRequest, type HttpRequest, maxBodyBytes } from '../../src/http/message.ts';
import { type HttpServer, listen } from '../../src/http/server.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

let gateway: TestGateway;
let tenant: TestTenant;
let server: HttpServer;
/** Waits for nobody. */
let hasty: HttpServer;

beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
  const local = { host: '127.0.0.1', port: 0, noticeMs: 0 };
  server = await listen(gateway.gateway, local);
  const timeouts = { headersMs: 300, requestMs: 400, checkMs: 50 };
  hasty = await listen(gateway.gateway, { ...local, timeouts });
});

afterAll(async () => {
  await Promise.all([server.drain(), hasty.drain()]);
  await gateway[Symbol.asyncDispose]();
});

/** Everything that comes back to these bytes until the server closes. */
async function tell({ url }: HttpServer, bytes: string | Uint8Array): Promise<string> {
  const { port } = new URL(url);
  const socket = connect({ host: '127.0.0.1', port: Number(port), allowHalfOpen: true });
  socket.write(bytes);
  return await readText(socket);
}

const head = (length: number) =>
  `POST /graphql HTTP/1.1\r\ncontent-type: application/json\r\nx-api-key: ${tenant.key}\r\ncontent-length: ${length}\r\n\r\n`;

test.each([
  ['what is no HTTP', 'HELLO\r\n\r\n', 400],
  [
    'headers of more than 8 KiB',
    `GET /v1/numbers HTTP/1.1\r\na: ${'x'.repeat(9_000)}\r\n\r\n`,
    431,
  ],
])('%s get an answer in the form of the contract', async (_, bytes, status) => {
  const answer = await tell(server, bytes);
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  const [, body = ''] = answer.split('\r\n\r\n');
  expect(JSON.parse(body)).toMatchObject({ code: 'INVALID_REQUEST', error: expect.any(String) });
});

test('what is no HTTP ends an answer that has begun, and is not written into it', async () => {
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(Buffer.from('the beginning')),
  });
  const handle = async () => ({ status: 200, headers: {}, body });
  const streaming = await listen({ ...gateway.gateway, handle }, { host: '127.0.0.1', port: 0 });
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(streaming.url).port) });
  socket.write('GET /v1/numbers HTTP/1.1\r\n\r\n');
  const [beginning] = await once(socket, 'data');
  socket.write('HELLO\r\n\r\n');
  expect(String(beginning)).toContain('the beginning');
  expect(await readText(socket)).toBe('');
  await streaming.drain();
});

test('of answers that leave together each finds its way, and one that cannot leave stops no other', async () => {
  const paths = Array.from({ length: 100 }, (_, index) => `/v1/${index}`);
  const [broken = ''] = paths;
  const asked = Promise.withResolvers<void>();
  let count = 0;
  const handle = async ({ path }: HttpRequest) => {
    count += 1;
    if (count === paths.length) asked.resolve();
    await asked.promise;
    return { status: 200, headers: { 'x-path': path === broken ? '\0' : path }, body: path };
  };
  const crowded = await listen(
    { ...gateway.gateway, handle },
    { host: '127.0.0.1', port: 0, noticeMs: 0 },
  );
  const answers = await Promise.all(
    paths.map((path) => tell(crowded, `GET ${path} HTTP/1.1\r\nconnection: close\r\n\r\n`)),
  );
  const bodies = answers.map((text) => text.split('\r\n\r\n')[1]);
  expect(bodies).toEqual([undefined, ...paths.slice(1)]);
  await crowded.drain();
});

const toSame = () => ({ status: 200, headers: {}, body: '(answer)' });

test('when more ask than a turn may begin, those who are put off are heard again', async () => {
  const options = { host: '127.0.0.1', port: 0, noticeMs: 0 };
  const pressed = await listen({ ...gateway.gateway, handle: toSame }, options);
  const { port } = new URL(pressed.url);
  const sockets = Array.from({ length: 2_000 }, () => connect(Number(port), '127.0.0.1'));
  const ask = async () => {
    for (const socket of sockets) socket.write('GET /v1/numbers HTTP/1.1\r\n\r\n');
    const answers = await Promise.all(sockets.map((socket) => once(socket, 'data')));
    expect(answers.filter(([text]) => !String(text).endsWith('(answer)'))).toEqual([]);
  };
  // All are connected before they ask at once.
  await ask();
  const paused = vi.spyOn(Socket.prototype, 'pause');
  await ask();
  expect(paused).toHaveBeenCalled();
  paused.mockRestore();
  await ask();
  for (const socket of sockets) socket.destroy();
  await pressed.drain();
});

test('errors of the listening server, such as too many open files, are logged and end nothing', async () => {
  const listening = vi.spyOn(Server.prototype, 'listen');
  onTestFinished(() => void listening.mockRestore());
  const listened = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  const [node] = listening.mock.contexts as Server[];
  gateway.clearLogLines();
  for (const code of ['EMFILE', 'ENFILE']) node?.emit('error', new Error(`accept ${code}`));
  expect(gateway.logLines.filter((line) => /accept E[MN]FILE/.test(line))).toHaveLength(2);
  expect(await tell(listened, 'GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n')).toContain('200');
  await listened.drain();
});

test('headers that never end are given up, in the form of the contract', async () => {
  const answer = await tell(hasty, 'GET /v1/numbers HTTP/1.1\r\na: x');
  expect(answer).toMatch(/^HTTP\/1.1 408 /);
  expect(answer).toContain('"code":"INVALID_REQUEST"');
});

test.each([
  ['what is no HTTP', () => server, (key: string) => `x-api-key: ${key}\r\n\r\n`, 400],
  [
    'headers that are too large',
    () => server,
    (key: string) => `GET /${key} HTTP/1.1\r\nx-api-key: ${key}\r\na: ${'x'.repeat(9_000)}\r\n\r\n`,
    431,
  ],
  ['headers that never end', () => hasty, (key: string) => `GET /${key} HTTP/1.1\r\na: x`, 408],
])('%s have one line in the log and are counted, without a word of theirs', async (...row) => {
  const [, toServer, toBytes, status] = row;
  gateway.clearLogLines();
  const before = await countBroken(status);
  const answer = await tell(toServer(), toBytes(tenant.key));
  const [, requestId] = /"requestId":"([\w-]+)"/.exec(answer) ?? [];
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
  expect(await countBroken(status)).toBe(before + 1);
});

async function countBroken(status: number): Promise<number> {
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

test('a body that never ends is given up, and nobody calls it a defect', async () => {
  gateway.clearLogLines();
  // This client does not hang up either.
  const answer = await tell(hasty, `${head(50)}{"query"`);
  expect(answer).toMatch(/^(HTTP\/1.1 4\d\d |$)/);
  const wasAnswered = () => expect(gateway.logLines.join()).toContain('request completed');
  await vi.waitFor(wasAnswered, { timeout: 5_000 });
  expect(gateway.logLines.filter((line) => line.includes('"level":50'))).toEqual([]);
});

test('a body that is too large is refused in the form of its door', async () => {
  const answer = await tell(server, head(maxBodyBytes + 1));
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  // It comes in chunks.
  const [body = ''] = /\{.*\}/s.exec(answer) ?? [];
  expect(JSON.parse(body)).toMatchObject({ errors: [{ extensions: { code: 'INVALID_REQUEST' } }] });
});

/** One request on a connection of its own, answered with everything that comes back. */
const toRequest = (line: string, headers: readonly string[] = [], body = '') =>
  [`${line} HTTP/1.1`, 'connection: close', `x-api-key: ${tenant.key}`, ...headers, '', body].join(
    '\r\n',
  );

test.each([
  ['GET /v1/numbers', /"code":"INVALID_REQUEST","requestId":"odd-1"/],
  ['POST /graphql', /\{"errors":.*"code":"INVALID_REQUEST"/],
  ['GET /livez', /"code":"INVALID_REQUEST","requestId":"odd-1"/],
])('%s that expects what nobody knows is refused in the form of its door', async (line, form) => {
  gateway.clearLogLines();
  const headers = ['expect: foo', 'x-request-id: odd-1'];
  const answer = await tell(server, toRequest(line, headers));
  expect(answer).toMatch(/^HTTP\/1.1 400 .*x-request-id: odd-1\r\n/s);
  expect(answer).toMatch(form);
  expect(gateway.logLines.filter((it) => it.includes('request completed'))).toHaveLength(1);
});

test.each([
  ['a key that is wrong', 'x-api-key: ps_wrong', 50, 401],
  ['a body that is too large', '', maxBodyBytes + 1, 400],
])('%s is refused before the body is asked for', async (_, header, length, status) => {
  const known = header === '' ? `x-api-key: ${tenant.key}` : header;
  const answer = await tell(
    server,
    `POST /graphql HTTP/1.1\r\n${known}\r\nexpect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`,
  );
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
  expect(answer).not.toContain('100 Continue');
});

test('a body is asked for once its sender was let in', async () => {
  const body = '{"query":"{ __typename }"}';
  const { port } = new URL(server.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port) });
  const type = 'content-type: application/json';
  const length = `content-length: ${body.length}`;
  socket.write(toRequest('POST /graphql', [type, length, 'expect: 100-continue']));
  const [asked] = await once(socket, 'data');
  expect(String(asked)).toBe('HTTP/1.1 100 Continue\r\n\r\n');
  socket.write(body);
  expect(await readText(socket)).toMatch(/^HTTP\/1.1 200 .*\{"data":/s);
});

test('a key that is revoked while its body is on the way lets nothing in', async () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  onTestFinished(() => void vi.useRealTimers());
  const { key, id } = await tenant.addKey();
  const body = '{"query":"{ numbers { id } }"}';
  const ask = async (meanwhile: () => Promise<unknown>): Promise<string> => {
    const socket = connect({ host: '127.0.0.1', port: Number(new URL(server.url).port) });
    socket.write(
      `POST /graphql HTTP/1.1\r\nx-api-key: ${key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n`,
    );
    await once(socket, 'data');
    await meanwhile();
    vi.advanceTimersByTime(501);
    socket.write(body);
    return await readText(socket);
  };
  expect(await ask(async () => undefined)).toMatch(/^HTTP\/1.1 200 .*\{"data":/s);
  const told = await ask(() => gateway.access.revokeKey(id));
  expect(told).toMatch(/^HTTP\/1.1 401 .*"UNAUTHENTICATED"/s);
});

test('CONNECT is refused in the form of the contract, and whoever sends more ends nothing', async () => {
  gateway.clearLogLines();
  const answer = await tell(server, 'CONNECT example.com:443 HTTP/1.1\r\n\r\n');
  expect(answer).toMatch(/^HTTP\/1.1 400 .*x-request-id: .*"code":"INVALID_REQUEST"/s);
  expect(gateway.logLines).toHaveLength(1);
  const { port } = new URL(server.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port) });
  socket.write('CONNECT a:1 HTTP/1.1\r\n\r\nmore');
  await once(socket, 'data');
  socket.resetAndDestroy();
  expect((await fetch(`${server.url}/livez`)).status).toBe(200);
});

test('a body that grows too large while it is read is refused in the form of its door', async () => {
  const type = 'content-type: application/json';
  const chunk = `${(maxBodyBytes + 1).toString(16)}\r\n${'x'.repeat(maxBodyBytes + 1)}\r\n0\r\n\r\n`;
  const request = toRequest('POST /graphql', [type, 'transfer-encoding: chunked'], chunk);
  const answer = await tell(server, request);
  expect(answer).toMatch(/^HTTP\/1.1 400 .*\{"errors":.*The body is larger/s);
});

test('a character may arrive in two pieces', async () => {
  const body = Buffer.from('{"query":"{ é }"}');
  const middle = body.indexOf('é') + 1;
  const chunks = [body.subarray(0, middle), body.subarray(middle), Buffer.of()].map(
    (piece) => `${piece.length.toString(16)}\r\n${piece.toString('latin1')}\r\n`,
  );
  const headers = ['content-type: application/json', 'transfer-encoding: chunked'];
  const request = toRequest('POST /graphql', headers, chunks.join(''));
  const answer = await tell(server, Buffer.from(request, 'latin1'));
  expect(answer).toContain('Unexpected character: U+00E9');
});

test.each(['over a socket', 'in process'])('a body that is no UTF-8 is refused %s', async (way) => {
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
});

test('a header that is sent twice is nowhere taken for one of the two', async () => {
  const twice = await tell(server, toRequest('GET /v1/numbers', [`x-api-key: ${tenant.key}`]));
  expect(twice).toMatch(/^HTTP\/1.1 401 /);
  const types = ['content-type: application/json', 'content-type: text/plain', 'content-length: 0'];
  expect(await tell(server, toRequest('POST /graphql', types))).toMatch(/^HTTP\/1.1 400 /);
});

test.each(['/v1/numbers', '/v1/nothing', '/livez'])(
  'HEAD %s is answered as GET is, without the body',
  async (path) => {
    const answers = ['GET', 'HEAD'].map((method) =>
      tell(server, toRequest(`${method} ${path}`, ['x-request-id: the-same'])),
    );
    const [full = '', bare = ''] = await Promise.all(answers);
    expect(toHeaderLines(bare)).toEqual(toHeaderLines(full));
    expect(toHeaderLines(bare).join()).toMatch(/content-length: [1-9]/);
    expect(bare).toMatch(/\r\n\r\n$/);
  },
);

/** In no order, without those that differ from one request to the next. */
function toHeaderLines(answer: string): readonly string[] {
  const [lines = ''] = answer.split('\r\n\r\n');
  return lines
    .split('\r\n')
    .filter((line) => !/^(date|ratelimit):/i.test(line))
    .toSorted();
}

test.each(['/livez', '/readyz', '/metrics'])(
  '%s answers nothing but GET and HEAD',
  async (path) => {
    for (const method of ['DELETE', 'POST', 'OPTIONS']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const answer = await tell(server, toRequest(`${method} ${path}`));
      expect(answer).toMatch(/^HTTP\/1.1 405 .*\r\nallow: GET, HEAD\r\n/s);
      expect(answer).toContain('"code":"METHOD_NOT_ALLOWED"');
    }
    expect(await tell(server, toRequest(`HEAD ${path}`))).toMatch(/^HTTP\/1.1 200 /);
  },
);

test.each([
  ['GET *', 400, 'INVALID_REQUEST'],
  ['GET http://evil.example.com/v1/numbers', 400, 'INVALID_REQUEST'],
  ['GET /v1/../v1/numbers', 404, 'NOT_FOUND'],
  ['GET /v1/%2e%2e/v1/numbers', 404, 'NOT_FOUND'],
  ['GET /v1/numbers#all', 404, 'NOT_FOUND'],
  ['TRACE /v1/numbers', 405, 'METHOD_NOT_ALLOWED'],
])('%s is %i, keeps its request id and has its line in the log', async (line, status, code) => {
  gateway.clearLogLines();
  const answer = await tell(server, toRequest(line, ['x-request-id: odd-1']));
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} .*x-request-id: odd-1\r\n`, 's'));
  expect(answer).toContain(`"code":"${code}","requestId":"odd-1"`);
  const [method, path] = line.split(' ');
  const logged = gateway.logLines.find((it) => it.includes('request completed')) ?? '';
  expect(JSON.parse(logged)).toMatchObject({ requestId: 'odd-1', method, path, status });
});

test('a path that needs no tidying up is taken to the letter', async () => {
  const answer = await tell(server, toRequest("GET /v1/numbers/wa_~a.b'c%2F%41"));
  expect(answer).toContain('"code":"NUMBER_NOT_FOUND"');
});

test('a client that leaves ends what is done for it', async () => {
  const { id, phoneNumberId } = await tenant.addNumber();
  gateway.simulator.setFault(phoneNumberId, { kind: 'hang' });
  const { port } = new URL(server.url);
  const socket = connect({ host: '127.0.0.1', port: Number(port) });
  const before = gateway.simulator.calls.length;
  gateway.clearLogLines();
  socket.write(toRequest(`GET /v1/numbers/${id}?refresh=1`, ['x-request-id: gone']));
  await vi.waitFor(() => expect(gateway.simulator.calls.length).toBeGreaterThan(before));
  socket.destroy();
  // Its deadline is seconds away.
  await vi.waitFor(() => {
    const lines = gateway.logLines.filter((line) => line.includes('"requestId":"gone"'));
    expect(lines.map((line) => JSON.parse(line).status)).toEqual([503]);
  }, 5_000);
});

test('whoever waits for an upstream or sends a body slowly keeps nobody else out', async () => {
  const { database } = gateway;
  await using busy = await openTestGateway({ database, environment: { MAX_REQUESTS: '1' } });
  const guest = await busy.addTenant();
  const { id, phoneNumberId } = await guest.addNumber();
  busy.simulator.setFault(phoneNumberId, { kind: 'hang' });
  const caller = new AbortController();
  const { signal } = caller;
  const body = new ReadableStream<Uint8Array>({
    start: (stream) => signal.addEventListener('abort', () => stream.close(), { once: true }),
  });
  const headers = { 'content-type': 'application/json', 'x-api-key': guest.key };
  const streaming = { method: 'POST', headers, body, duplex: 'half' };
  const dawdling = new Request('http://gateway.test/graphql', streaming);
  const waiting = [
    guest.rest(`/v1/numbers/${id}?refresh=1`, { signal }),
    busy.fetch(dawdling).then((response) => response.text()),
  ];
  await vi.waitFor(() => {
    expect(busy.simulator.calls.length).toBeGreaterThan(0);
    expect(busy.gateway.shed(fromFetchRequest(dawdling))).toBeNull();
  });
  expect((await guest.rest('/v1/numbers')).status).toBe(200);
  caller.abort();
  await Promise.all(waiting);
});

test('refusals of what is too much have a pace, so that refusing is not all that is done', async () => {
  const refusal = { status: 503, headers: { 'retry-after': '1' }, body: 'Later.' };
  const busy = { ...gateway.gateway, shed: () => refusal };
  const edge = await listen(busy, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  const startedAt = performance.now();
  const asked = Array.from({ length: 200 }, () => fetch(`${edge.url}/v1/numbers`));
  expect((await fetch(`${edge.url}/livez`)).status).toBe(200);
  const statuses = (await Promise.all(asked)).map(({ status }) => status);
  // A thousand a second, the first one at once.
  expect(performance.now() - startedAt).toBeGreaterThan(190);
  expect(new Set(statuses)).toEqual(new Set([503]));
  await edge.drain();
});

/** A gateway that has room for one request; what becomes of each key at the database is up to `verify`. */
async function openNarrowGateway(environment: Readonly<Record<string, string>> = {}) {
  const made = new AsyncDisposableStack();
  const { database: plain } = gateway;
  const door = { verify: async (): Promise<void> => undefined };
  const callAcrossTenants: typeof plain.callAcrossTenants = async (statement) => {
    await door.verify();
    return await plain.callAcrossTenants(statement);
  };
  const narrow = made.use(
    await openTestGateway({
      database: { ...plain, callAcrossTenants },
      environment: { MAX_REQUESTS: '1', ...environment },
    }),
  );
  const guest = await narrow.addTenant();
  const edge = await listen(narrow.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
  made.defer(() => edge.drain());
  return {
    guest,
    edge,
    door,
    /** Takes all the room there is, until what it answers is called. */
    fill() {
      const { promise, resolve } = Promise.withResolvers<void>();
      door.verify = () => promise;
      const waiting = guest.rest('/v1/numbers');
      return async () => {
        resolve();
        return await waiting;
      };
    },
    [Symbol.asyncDispose]: () => made.disposeAsync(),
  };
}

test('a process with too much to do says so at once, and answers probes all the same', async () => {
  await using narrow = await openNarrowGateway();
  const { guest, edge } = narrow;
  const makeRoom = narrow.fill();
  const headers = { 'x-api-key': guest.key };
  const [rest, graphql] = await Promise.all(
    ['/v1/numbers', '/graphql'].map((path) => fetch(`${edge.url}${path}`, { headers })),
  );
  const probes = await Promise.all(
    ['/livez', '/readyz', '/metrics'].map((path) => fetch(`${edge.url}${path}`)),
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
  expect((await makeRoom()).status).toBe(200);
  expect((await fetch(`${edge.url}/v1/numbers`, { headers })).status).toBe(200);
});

test.each([
  ['GET', '/v1/numbers'],
  ['POST', '/graphql'],
])('%s %s is refused for want of room as with any other 503', async (method, path) => {
  const origin = 'https://app.example.com';
  await using narrow = await openNarrowGateway({ CORS_ORIGINS: origin });
  const { guest, edge, door } = narrow;
  const headers = {
    accept: 'application/graphql-response+json',
    'content-type': 'application/json',
    origin,
    'x-api-key': guest.key,
    'x-request-id': 'one-of-many',
  };
  const ask = async () => {
    const response = await fetch(`${edge.url}${path}`, { method, headers });
    const ofAnswer = [...response.headers].filter(([name]) => !ofTransport.test(name));
    return { status: response.status, headers: ofAnswer, text: await response.text() };
  };
  // In the words of the refusal, so that nothing at all may differ.
  const message = 'The gateway is overloaded; retry in a moment.';
  door.verify = () =>
    Promise.reject(new GatewayError('UNAVAILABLE', message, { retryAfterSeconds: 1 }));
  const ordinary = await ask();
  const makeRoom = narrow.fill();
  const refused = await ask();
  await makeRoom();
  expect(refused).toEqual(ordinary);
  expect(Object.fromEntries(refused.headers)).toMatchObject({
    'access-control-allow-origin': origin,
    'cache-control': 'private, no-cache',
    'retry-after': '1',
    vary: expect.stringContaining('x-api-key, origin'),
    'x-request-id': 'one-of-many',
  });
});

const ofTransport = /^(date|connection|keep-alive)$/;
