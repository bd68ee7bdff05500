// Webhooks over sockets: what is refused before its body arrives, how large and how slow a body may be, and how many there
// may be at once.

import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type HttpServer, listen } from '../../src/http/server.ts';
import { openTestGateway, type TestGateway } from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';
const sign = (body: string) =>
  `sha256=${createHmac('sha256', appSecret).update(body).digest('hex')}`;

let gateway: TestGateway;
let server: HttpServer;
let path: string;
beforeAll(async () => {
  gateway = await openTestGateway({ environment: { TRUSTED_PROXIES: '1' } });
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

const send = (body: string, signature = sign(body), to = path, address = '127.0.0.1') =>
  fetch(server.url + to, {
    method: 'POST',
    body,
    headers: { 'x-hub-signature-256': signature, 'x-forwarded-for': address },
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

test('a body that takes more than five seconds is refused', async () => {
  const startedAt = performance.now();
  const socket = open(['Content-Length: 100', `X-Hub-Signature-256: ${sign('x')}`]);
  socket.write('{');
  const response = await receive(socket);
  expect(performance.now() - startedAt).toBeGreaterThan(4_900);
  expect(response).toMatch(/^HTTP\/1\.1 400 [^]*The body took too long to arrive\./);
});

test('of one client address four bodies arrive at once and 100 wait, more are told to come back, and others deliver meanwhile', async () => {
  const startedAt = performance.now();
  const slow = Array.from({ length: 105 }, () => {
    const socket = open(['Content-Length: 100', `X-Hub-Signature-256: ${sign('x')}`]);
    socket.write('{');
    return socket;
  });
  // The others are not answered yet.
  const refused = await Promise.any(slow.map((socket) => receive(socket, 'in a moment')));
  expect(refused).toMatch(/^HTTP\/1\.1 503 [^]*retry-after: 1[^]*receiving too much at once/);
  const { status } = await send(empty, sign(empty), path, '198.51.100.7');
  expect(status).toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(4_900);
  for (const socket of slow) socket.destroy();
});

test('bodies of other tenants arrive while those of one take their time, whichever addresses they come from', async () => {
  const other = await gateway.addTenant();
  const endpoint = { tenantId: other.id, proof: 'SIGNED', appSecrets: [appSecret] } as const;
  const { path: otherPath } = await gateway.gateway.webhooks.add(endpoint);
  const startedAt = performance.now();
  const slow = Array.from({ length: 40 }, (_, index) => {
    const socket = open([
      'Content-Length: 100',
      `X-Hub-Signature-256: ${sign('x')}`,
      `X-Forwarded-For: 203.0.113.${index % 8}`,
    ]);
    socket.write('{');
    return socket;
  });
  await once(slow.at(-1)!, 'connect');
  expect((await send(empty, sign(empty), otherPath)).status).toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(4_900);
  for (const socket of slow) socket.destroy();
});
