// The relays of README.md, as processes between a sender and a gateway.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type HttpServer, listen } from '../../src/http/server.ts';
import type { NewWebhookEndpoint } from '../../src/webhooks/webhooks.ts';
import { openTestGateway, type TestGateway, type TestTenant } from '../harness.ts';

const appSecret = 'a-secret-of-the-app-0123456789';

let gateway: TestGateway;
let server: HttpServer;
let tenant: TestTenant;
let wabaId: string;
let endpoint: NewWebhookEndpoint;
beforeAll(async () => {
  gateway = await openTestGateway();
  tenant = await gateway.addTenant();
  ({ wabaId } = await tenant.addNumber());
  const request = { tenantId: tenant.id, proof: 'SIGNED', appSecrets: [appSecret] } as const;
  endpoint = await gateway.gateway.webhooks.add(request);
  server = await listen(gateway.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
});
afterAll(async () => {
  await server.drain();
  await gateway[Symbol.asyncDispose]();
});

async function findFreePort(): Promise<number> {
  const probe = createSocketServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Meta sends up to 3 MB. */
const large = 2_900_000;

/** Sends an event in bytes that differ from what JSON.stringify would write of it. */
async function deliver(url: string, time: number, bytes = 0): Promise<number> {
  const value = { event: 'ACCOUNT_VIOLATION', violation_info: { violation_type: 'ADULT' } };
  const entry = [{ id: wabaId, time, changes: [{ field: 'account_update', value }] }];
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry })
    .replace('ADULT', String.raw`ADULT\u00e9`)
    .padEnd(bytes);
  const signature = createHmac('sha256', appSecret).update(body).digest('hex');
  const headers = {
    'content-type': 'application/json',
    'x-hub-signature-256': `sha256=${signature}`,
  };
  const { status } = await fetch(url, { method: 'POST', body, headers });
  return status;
}

async function countEvents(time: number): Promise<number> {
  const rows = await gateway.database.query(
    'select 1 from meta_event where tenant_id = $1 and happened_at = to_timestamp($2)',
    [tenant.id, time],
  );
  return rows.length;
}

const isUp = async (url: string) =>
  await vi.waitFor(async () => await fetch(url, { signal: AbortSignal.timeout(2_000) }), {
    timeout: 20_000,
  });

async function stop(relay: ChildProcess): Promise<void> {
  if (relay.exitCode !== null) return;
  relay.kill();
  await once(relay, 'exit');
}

test('the relay of Node passes on the handshake and signed events', async () => {
  const port = await findFreePort();
  const file = fileURLToPath(new URL('node-relay.mjs', import.meta.url));
  const relay = spawn(process.execPath, [file], {
    env: { PORT: String(port), GATEWAY_URL: server.url + endpoint.path },
    stdio: 'inherit',
  });
  try {
    const url = `http://127.0.0.1:${port}/`;
    await isUp(url);
    const query = `?hub.mode=subscribe&hub.verify_token=${endpoint.verifyToken}&hub.challenge=42`;
    const handshake = await fetch(url + query);
    expect([handshake.status, await handshake.text()]).toEqual([200, '42']);
    expect([await deliver(url, 1), await deliver(url, 11, large)]).toEqual([200, 200]);
    expect([await countEvents(1), await countEvents(11)]).toEqual([1, 1]);
    const forged = await fetch(url, { method: 'POST', body: '{}' });
    expect(forged.status).toBe(401);
  } finally {
    await stop(relay);
  }
});

test('the relay of Node answers with 502 while the gateway does not, so that Meta sends it again', async () => {
  const port = await findFreePort();
  const file = fileURLToPath(new URL('node-relay.mjs', import.meta.url));
  const relay = spawn(process.execPath, [file], {
    env: { PORT: String(port), GATEWAY_URL: `http://127.0.0.1:${await findFreePort()}/` },
    stdio: 'inherit',
  });
  try {
    const url = `http://127.0.0.1:${port}/`;
    await isUp(url);
    expect([await deliver(url, 3), await deliver(url, 3)]).toEqual([502, 502]);
  } finally {
    await stop(relay);
  }
});

test('nginx sends a copy of each request to the gateway, and the application answers', async (context) => {
  const nginx = process.env['NGINX_PATH'] ?? 'nginx';
  if (spawnSync(nginx, ['-v']).error !== undefined) {
    console.warn('SKIPPED: nginx is not installed, so its test does not run.');
    context.skip();
  }
  const application = createServer((_, response) => response.writeHead(202).end()).listen(0);
  await once(application, 'listening');
  const directory = mkdtempSync(join(tmpdir(), 'numbers-gateway-nginx-'));
  const port = await findFreePort();
  const written = readFileSync(new URL('nginx.conf', import.meta.url), 'utf8');
  const config = written
    .replace('listen 8080', `listen 127.0.0.1:${port}`)
    .replace('127.0.0.1:3000', `127.0.0.1:${(application.address() as AddressInfo).port}`)
    .replace('http://127.0.0.1:4000/v1/webhooks/meta/ENDPOINT', server.url + endpoint.path)
    .replace(
      'http {',
      `http { access_log off;
      ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((it) => `${it}_temp_path ${directory}/${it};`).join(' ')}`,
    );
  const file = join(directory, 'nginx.conf');
  writeFileSync(file, config);
  const settings = `daemon off; master_process off; pid ${directory}/pid; error_log stderr;`;
  const relay = spawn(nginx, ['-c', file, '-p', directory, '-g', settings], { stdio: 'inherit' });
  try {
    const url = `http://127.0.0.1:${port}/webhook`;
    await isUp(url);
    expect([await deliver(url, 2), await deliver(url, 12, large)]).toEqual([202, 202]);
    await vi.waitFor(
      async () => expect([await countEvents(2), await countEvents(12)]).toEqual([1, 1]),
      { timeout: 5_000 },
    );
  } finally {
    await stop(relay);
    application.close();
    rmSync(directory, { recursive: true });
  }
});
