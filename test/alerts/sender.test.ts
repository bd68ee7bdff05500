// What is sent to an endpoint, to which addresses, and what is made of its response.

import { execFile } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { LookupAddress } from 'node:dns';
import type { ClientRequest } from 'node:http';
import { createServer, type LookupFunction } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTargets, type TargetOptions } from '../../src/alerts/endpoint-url.ts';
import { createSender, type SenderOptions } from '../../src/alerts/sender.ts';
import { openReceiver, type Receiver, switchProtocols, testCertificate } from './receiver.ts';

const message = { headers: { 'content-type': 'application/json' }, body: '{"é":1}' };

function createTestSender(
  allowed: Partial<TargetOptions> = {},
  options: Partial<SenderOptions> = {},
) {
  const targets = createTargets({
    allowedNetworks: [],
    allowedPorts: [443],
    allowsLocalHttp: false,
    ...allowed,
  });
  const send = createSender({ targets, ca: testCertificate, ...options });
  return (url: string, signal = new AbortController().signal) =>
    send(new URL(url), message, signal);
}

/** Names lead to the addresses of the next list, and of the last one from then on. */
function createLookup(...lists: readonly (readonly string[])[]) {
  const calls: { readonly all: boolean }[] = [];
  const lookup: LookupFunction = (_name, options, callback) => {
    const list = lists[Math.min(calls.length, lists.length - 1)] ?? [];
    calls.push({ all: options.all === true });
    const found = list.map((address): LookupAddress => ({
      address,
      family: address.includes(':') ? 6 : 4,
    }));
    setImmediate(() => callback(null, found));
  };
  return { lookup, calls };
}

const findNoName: LookupFunction = (_, __, callback) =>
  callback(Object.assign(new Error('unknown'), { code: 'ENOTFOUND' }), []);

const loopback = { allowedNetworks: ['127.0.0.0/8'] };

describe('over https', () => {
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await openReceiver({ tls: true });
  });
  afterAll(() => receiver[Symbol.asyncDispose]());

  test('a message arrives as it was given, and its status comes back', async () => {
    const { lookup } = createLookup(['127.0.0.1']);
    receiver.script(202);
    const count = receiver.requests.length;
    const result = await createTestSender(loopback, { lookup })(`${receiver.url}?a=b`);
    expect(result).toEqual({ outcome: 'ANSWERED', status: 202, retryAfterSeconds: null });
    expect(receiver.requests.slice(count)).toEqual([
      expect.objectContaining({ method: 'POST', path: '/hook?a=b', body: '{"é":1}' }),
    ]);
    expect(receiver.requests.at(-1)?.headers).toEqual({
      'content-type': 'application/json',
      'content-length': '8',
      connection: 'close',
      host: `hooks.test:${receiver.port}`,
    });
  });

  test('a certificate of another name, or of nobody that is trusted, is refused', async () => {
    const { lookup } = createLookup(['127.0.0.1']);
    const { port, requests } = receiver;
    const count = requests.length;
    const send = createTestSender(loopback, { lookup });
    expect(await send(`https://other.test:${port}/`)).toEqual({ outcome: 'CERTIFICATE_INVALID' });
    const untrusting = createTestSender(loopback, { lookup, ca: '' });
    expect(await untrusting(receiver.url)).toEqual({ outcome: 'CERTIFICATE_INVALID' });
    expect(requests).toHaveLength(count);
  });

  test.each([
    ['private', ['10.0.0.1']],
    ['of this machine', ['127.0.0.1', '::1']],
    ['in another one', ['::ffff:127.0.0.1', '64:ff9b::7f00:1', '2002:7f00:1::']],
    ['missing', []],
  ])('a name whose address is %s is not connected to', async (_, addresses) => {
    const { lookup } = createLookup(addresses);
    const count = receiver.requests.length;
    expect(await createTestSender({}, { lookup })(receiver.url)).toEqual({
      outcome: 'ADDRESS_REFUSED',
    });
    expect(receiver.requests).toHaveLength(count);
  });

  test('a name that changes its answer is looked up once a request, and checked each time', async () => {
    // 127.0.0.1 stands for a public address here, and 127.0.0.2, where the receiver does not listen, for a private one.
    const { lookup, calls } = createLookup(['127.0.0.1'], ['127.0.0.2', '10.0.0.1']);
    const send = createTestSender({ allowedNetworks: ['127.0.0.1/32'] }, { lookup });
    const count = receiver.requests.length;
    expect(await send(receiver.url)).toMatchObject({ status: 204 });
    expect(calls).toHaveLength(1);
    expect(await send(receiver.url)).toEqual({ outcome: 'ADDRESS_REFUSED' });
    expect(await send(receiver.url)).toEqual({ outcome: 'ADDRESS_REFUSED' });
    expect(calls).toHaveLength(3);
    expect(receiver.requests).toHaveLength(count + 1);
  });

  test('of several addresses of a name only those that are allowed are tried', async () => {
    await using forbidden = await openRecordingServer(receiver.port, '127.0.0.2');
    const { lookup } = createLookup(['127.0.0.2', '::1', '127.0.0.1']);
    const send = createTestSender({ allowedNetworks: ['127.0.0.1/32'] }, { lookup });
    expect(await send(receiver.url)).toMatchObject({ status: 204 });
    expect(forbidden.connections).toBe(0);
  });

  test('an address in the URL is checked too, because nothing looks it up', async () => {
    const { lookup, calls } = createLookup([]);
    const count = receiver.requests.length;
    const send = createTestSender({}, { lookup });
    for (const host of ['127.0.0.1', '2130706433', '[::ffff:127.0.0.1]']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await send(`https://${host}:${receiver.port}/`)).toEqual({
        outcome: 'ADDRESS_REFUSED',
      });
    }
    expect(calls).toEqual([]);
    expect(receiver.requests).toHaveLength(count);
    expect(await createTestSender(loopback)(`https://127.0.0.1:${receiver.port}/`)).toMatchObject({
      status: 204,
    });
  });

  test('redirects are not followed', async () => {
    await using other = await openReceiver({ tls: true });
    const { lookup } = createLookup(['127.0.0.1']);
    for (const status of [301, 302, 303, 307, 308]) {
      receiver.script((response) => response.writeHead(status, { location: other.url }).end());
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await createTestSender(loopback, { lookup })(receiver.url)).toMatchObject({ status });
    }
    expect(other.requests).toEqual([]);
  });

  test('the connection of a request is closed when its result is known, so that the next one does not overlap', async () => {
    const { lookup } = createLookup(['127.0.0.1']);
    const requests: ClientRequest[] = [];
    const note = (created: unknown) =>
      requests.push((created as { readonly request: ClientRequest }).request);
    subscribe('http.client.request.created', note);
    receiver.script('hang', 204);
    const send = createTestSender(loopback, { lookup, timeoutMs: 100 });
    for (const outcome of ['TIMEOUT', 'ANSWERED']) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(await send(receiver.url)).toMatchObject({ outcome });
      expect(requests.at(-1)?.closed).toBe(true);
    }
    unsubscribe('http.client.request.created', note);
  });

  test('a proxy of the environment is not used', async () => {
    await using proxy = await openRecordingServer(0, '127.0.0.1');
    const script = `
      import { createTargets } from './src/alerts/endpoint-url.ts';
      import { createSender } from './src/alerts/sender.ts';
      const targets = createTargets({ allowedNetworks: [], allowedPorts: [443], allowsLocalHttp: true });
      const send = createSender({ targets });
      const url = new URL(process.argv[1]);
      console.log(JSON.stringify(await send(url, { headers: {}, body: '' }, new AbortController().signal)));`;
    await using plain = await openReceiver();
    const address = `http://127.0.0.1:${proxy.port}`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module-typescript', '--eval', script, plain.url],
      {
        cwd: fileURLToPath(new URL('../..', import.meta.url)),
        env: {
          NODE_USE_ENV_PROXY: '1',
          HTTP_PROXY: address,
          http_proxy: address,
          ALL_PROXY: address,
        },
      },
    );
    expect(JSON.parse(stdout)).toMatchObject({ outcome: 'ANSWERED', status: 204 });
    expect(proxy.connections).toBe(0);
  });
});

describe('what a receiver does', () => {
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await openReceiver();
  });
  afterAll(() => receiver[Symbol.asyncDispose]());
  const send = (options: Partial<SenderOptions> = {}) =>
    createTestSender({ allowsLocalHttp: true }, options)(receiver.url);

  test.each([
    ['Retry-After in seconds', '120', 120],
    ['Retry-After that is too long', '999999999', 86_400],
    ['Retry-After that makes no sense', 'tomorrow', null],
    ['Retry-After in the past', 'Wed, 21 Oct 2015 07:28:00 GMT', 0],
  ])('is understood: %s', async (_, text, seconds) => {
    receiver.script((response) => response.writeHead(429, { 'retry-after': text }).end());
    expect(await send()).toEqual({
      outcome: 'ANSWERED',
      status: 429,
      retryAfterSeconds: seconds,
    });
  });

  test('is a failure: no response in time, a broken connection, a response that is none', async () => {
    receiver.script('hang', 'reset', (response) => response.socket?.end('HTTP/9 hello\r\n\r\n'));
    expect(await send({ timeoutMs: 100 })).toEqual({ outcome: 'TIMEOUT' });
    expect(await send()).toEqual({ outcome: 'CONNECTION_FAILED' });
    expect(await send()).toEqual({ outcome: 'RESPONSE_INVALID' });
  });

  test('is a failure: another protocol, or a promise of a response that never comes', async () => {
    receiver.script(switchProtocols, (response) => response.writeProcessing());
    expect(await send()).toEqual({ outcome: 'RESPONSE_INVALID' });
    expect(await send({ timeoutMs: 200 })).toEqual({ outcome: 'TIMEOUT' });
  });

  test('is a failure: headers without end', async () => {
    receiver.script((response) => response.writeHead(200, { 'x-long': 'x'.repeat(9_000) }).end());
    expect(await send()).toEqual({ outcome: 'RESPONSE_INVALID' });
  });

  test('costs 4 kB at most: the rest of a body is not waited for', async () => {
    let written = 0;
    receiver.script((response) => {
      response.writeHead(200);
      const chunk = Buffer.alloc(65_536);
      const write = () => {
        while (!response.destroyed && response.write(chunk)) written += chunk.length;
      };
      response.on('drain', write);
      write();
    });
    expect(await send()).toMatchObject({ status: 200 });
    // What the buffers of the two sockets hold.
    expect(written).toBeLessThan(16 * 2 ** 20);
  });

  test('counts by its status, also when the body never ends or breaks', async () => {
    receiver.script(
      (response) => void response.writeHead(200).write('x'),
      (response) => {
        response.writeHead(200, { 'content-length': '10' }).write('x');
        setImmediate(() => response.destroy());
      },
    );
    expect(await send({ timeoutMs: 200 })).toMatchObject({ outcome: 'ANSWERED', status: 200 });
    expect(await send()).toMatchObject({ outcome: 'ANSWERED', status: 200 });
  });

  test('is a failure: nobody listens, and the name is unknown', async () => {
    const closed = await openReceiver();
    await closed[Symbol.asyncDispose]();
    const local = createTestSender({ allowsLocalHttp: true });
    expect(await local(closed.url)).toEqual({ outcome: 'CONNECTION_FAILED' });
    expect(await createTestSender({}, { lookup: findNoName })('https://no.test/')).toEqual({
      outcome: 'NAME_UNKNOWN',
    });
  });

  test('is not waited for once the caller stops', async () => {
    receiver.script('hang');
    const count = receiver.requests.length;
    const stop = new AbortController();
    const sent = createTestSender({ allowsLocalHttp: true })(receiver.url, stop.signal);
    await receiver.received(count + 1);
    stop.abort(new Error('stopped'));
    await expect(sent).rejects.toThrow('stopped');
  });
});

async function openRecordingServer(port: number, host: string) {
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => void server.listen(port, host, resolve));
  return {
    port: (server.address() as { port: number }).port,
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}
