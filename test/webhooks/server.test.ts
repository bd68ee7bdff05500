// Webhooks over sockets: what is refused before its body arrives, how large and how slow a body may be, and how many there
// may be at once.

import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSlots } from '../../src/webhooks/slots.ts';
import { type HttpServer, listen } from '../../src/http/server.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';
const sign = (body: string) =>
  `sha256=${createHmac('sha256', appSecret).update(body).digest('hex')}`;

let gateway: TestGateway;
let server: HttpServer;
let path: string;
beforeAll(async () => {
  gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const request = { tenantId: tenant.id, proof: 'SIGNED', appSecrets: [appSecret] } as const;
  ({ path } = await gateway.gateway.webhooks.add(request));
  server = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
});
afterAll(async () => {
  await server.drain();
  await gateway[Symbol.asyncDispose]();
});

function open(head: readonly string[]): Socket {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(server.url).port) });
  socket.on('error', () => undefined);
  socket.write([`POST ${path} HTTP/1.1`, 'Host: x', ...head, '', ''].join('\r\n'));
  return socket;
}

/** Everything that is received until the other side closes the connection, or until `enough` is in it. */
async function receive(socket: Socket, enough = '\0'): Promise<string> {
  let text = '';
  for await (const chunk of socket) {
    text += String(chunk);
    if (text.includes(enough)) break;
  }
  return text;
}

const send = (body: string, signature = sign(body)) =>
  fetch(server.url + path, {
    method: 'POST',
    body,
    headers: { 'x-hub-signature-256': signature },
  });

const empty = '{"object":"whatsapp_business_account","entry":[]}';

test('a body without a signature is refused before it is sent', async () => {
  const socket = open(['Content-Length: 3000000', 'Expect: 100-continue']);
  const response = await receive(socket);
  expect(response).toMatch(/^HTTP\/1\.1 401 /);
  expect(response).not.toContain('100 Continue');
});

test('a signed body is asked for', async () => {
  const head = [
    `Content-Length: ${empty.length}`,
    'Expect: 100-continue',
    'Connection: close',
    `X-Hub-Signature-256: ${sign(empty)}`,
  ];
  const socket = open(head);
  const [first] = (await once(socket, 'data')) as [Buffer];
  expect(first.toString()).toMatch(/^HTTP\/1\.1 100 Continue/);
  socket.write(empty);
  expect(await receive(socket)).toMatch(/^HTTP\/1\.1 200 /);
});

test('a body has at most 3 MB', async () => {
  expect((await send(empty.padEnd(3 * 2 ** 20))).status).toBe(200);
  const announced = open([
    `Content-Length: ${3 * 2 ** 20 + 1}`,
    `X-Hub-Signature-256: ${sign('x')}`,
  ]);
  const response = await receive(announced);
  expect(response).toMatch(/^HTTP\/1\.1 400 /);
  expect(response).toContain('The body is larger than 3145728 bytes.');
});

test('a body that takes more than five seconds is refused, and others are received meanwhile', async () => {
  const startedAt = performance.now();
  const socket = open(['Content-Length: 100', `X-Hub-Signature-256: ${sign('x')}`]);
  socket.write('{');
  expect((await send(empty)).status).toBe(200);
  const response = await receive(socket);
  expect(performance.now() - startedAt).toBeGreaterThan(4_900);
  expect(response).toMatch(/^HTTP\/1\.1 400 /);
  expect(response).toContain('The body took too long to arrive.');
});

function openSlots(options = {}) {
  const slots = createSlots({ total: 3, perKey: 2, maxWaitMs: 60_000, ...options });
  const running: string[] = [];
  const use = (id: string, name: string) => {
    const work = Promise.withResolvers<void>();
    const used = slots.use(id, async () => {
      running.push(name);
      await work.promise;
      return name;
    });
    used.catch(() => undefined);
    return { used, end: async () => (work.resolve(), await used) };
  };
  return { running, use };
}

describe('slots', () => {
  test('are limited in total and for each key; who waits is served in order', async () => {
    const { running, use } = openSlots();
    const [first, second] = [use('a', 'a1'), use('a', 'a2'), use('a', 'a3'), use('b', 'b1')];
    use('b', 'b2');
    await Promise.resolve();
    expect(running).toEqual(['a1', 'a2', 'b1']);
    await first!.end();
    expect(running).toEqual(['a1', 'a2', 'b1', 'a3']);
    await second!.end();
    expect(running).toEqual(['a1', 'a2', 'b1', 'a3', 'b2']);
  });

  test('are given back after a failure', async () => {
    const slots = createSlots({ total: 1, perKey: 1 });
    await expect(slots.use('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await slots.use('a', () => Promise.resolve(1))).toBe(1);
  });

  test.each([
    ['too many wait', { maxWaiting: 0 }],
    ['the wait is too long', { maxWaitMs: 1 }],
  ])('are refused when %s', async (_, options) => {
    const { use } = openSlots({ total: 1, ...options });
    use('a', 'a1');
    await expect(use('b', 'b1').used).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      retryAfterSeconds: 1,
    });
  });

  test('are given to those who still wait', async () => {
    const { running, use } = openSlots({ total: 1, maxWaitMs: 1 });
    const first = use('a', 'a1');
    await expect(use('b', 'b1').used).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await first.end();
    use('c', 'c1');
    await Promise.resolve();
    expect(running).toEqual(['a1', 'c1']);
  });
});
