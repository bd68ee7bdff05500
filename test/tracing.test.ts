// Spans: OpenTelemetry's SDK is loaded into the real process with NODE_OPTIONS=--import, as an operator does it.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandLine, openCommandLine } from './admin/command-line.ts';
import { findLeaks } from './leaks.ts';
import { sentinelWabaId } from './simulator/simulator.ts';
import type { ExportedSpan } from './tracing-sdk.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const sdk = new URL('tracing-sdk.ts', import.meta.url).href;

interface TracedGateway extends AsyncDisposable {
  send(path: string, init?: RequestInit): Promise<Response>;
  graphql(query: string, variables: object, operationName?: string): Promise<Response>;
  readSpans(): Promise<readonly ExportedSpan[]>;
  clearSpans(): Promise<void>;
  /** The `trace_id` of the log line of each request, in order. */
  readTraceIds(): readonly unknown[];
  readonly log: () => string;
}

let line: CommandLine;
let directory: string;
let tenant: string;
let key: string;
let numberId: string;
let pilotId: string;
/** None of these may be in a span. */
let canaries: readonly string[];

const phoneNumberId = '990000000000';
const [phone, token] = ['5511987654321', `EAA${randomBytes(24).toString('hex')}`];

beforeAll(async () => {
  line = await openCommandLine();
  directory = await mkdtemp(join(tmpdir(), 'numbers-gateway-spans-'));
  tenant = await line.addTenant();
  key = (await line.run<{ key: string }>(`key create --tenant ${tenant}`)).json.key;
  const add = async (options: string, stdin?: string) =>
    (
      await line.run<{ id: string }>(
        `number add --tenant ${tenant} --name CanaryName --number ${phone} ${options}`,
        stdin === undefined ? {} : { stdin },
      )
    ).json.id;
  numberId = await add(
    `--provider META --phone-number-id ${phoneNumberId} --waba-id ${sentinelWabaId} --credentials - --no-check`,
    JSON.stringify({ accessToken: token }),
  );
  line.simulator.setInstance({ instanceName: 'canary-instance', state: 'open' });
  pilotId = await add('--provider PILOT_STATUS --instance canary-instance');
  const { environment } = line;
  canaries = [
    key,
    token,
    phone,
    phoneNumberId,
    sentinelWabaId,
    numberId,
    pilotId,
    'CanaryName',
    'canary-instance',
    'engine-key',
    'verifiedName',
    'canaryVariable',
    environment['ENCRYPTION_KEYS']?.split(':')[1] ?? '',
    environment['API_KEY_PEPPER'] ?? '',
    new URL(environment['DATABASE_URL'] ?? '').password,
  ];
});
afterAll(async () => {
  await line[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

/** Starts the gateway with the SDK, unless `environment` has other NODE_OPTIONS. */
async function start(environment: Readonly<Record<string, string>> = {}): Promise<TracedGateway> {
  const file = join(directory, `${randomBytes(6).toString('hex')}.jsonl`);
  await writeFile(file, '');
  const child = spawn(process.execPath, [join(root, 'src', 'main.ts'), 'serve'], {
    cwd: root,
    env: {
      PATH: process.env['PATH'] ?? '',
      NODE_OPTIONS: `--import=${sdk}`,
      SPANS_FILE: file,
      ...line.environment,
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const ended = once(child, 'close');
  const started = await Promise.race([once(child.stdout, 'data'), ended]);
  if (!Buffer.isBuffer(started[0])) throw new Error(`The gateway did not start: ${log}`);
  const { url } = JSON.parse(started[0].toString()) as { url: string };
  const send: TracedGateway['send'] = async (path, { headers, ...init } = {}) => {
    const response = await fetch(`${url}${path}`, {
      ...init,
      headers: { 'x-api-key': key, ...(headers as Record<string, string>) },
    });
    await response.clone().arrayBuffer();
    return response;
  };
  return {
    send,
    graphql: (query, variables, operationName) =>
      send('/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query, variables, operationName }),
      }),
    async readSpans() {
      const text = await readFile(file, 'utf8');
      return text
        .split('\n')
        .filter(Boolean)
        .map((it) => JSON.parse(it) as ExportedSpan);
    },
    clearSpans: () => writeFile(file, ''),
    log: () => log,
    readTraceIds: () =>
      log
        .split('\n')
        .filter((text) => text.includes('"request completed"'))
        .map((text) => (JSON.parse(text) as { trace_id?: string }).trace_id),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function until(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  // oxlint-disable no-await-in-loop -- waits for another process
  while (!(await isTrue())) await delay(10);
  // oxlint-enable no-await-in-loop
}

const isRequest = ({ kind, attributes }: ExportedSpan) =>
  kind === 'SERVER' && attributes['http.request.method'] !== undefined;
const isUpstream = ({ kind, attributes }: ExportedSpan) =>
  kind === 'CLIENT' && attributes['url.template'] !== undefined;
/** The first statement of a live read. */
const isAddressRead = ({ name }: ExportedSpan) => name === 'SELECT whatsapp_number';
const isStatement = ({ attributes }: ExportedSpan) => attributes['db.system.name'] !== undefined;
const toIds = ({ traceId, spanId }: { readonly traceId: string; readonly spanId: string }) => ({
  traceId,
  spanId,
});

describe('with the SDK of OpenTelemetry', () => {
  let gateway: TracedGateway;
  beforeAll(async () => {
    gateway = await start();
  }, 60_000);
  afterAll(() => gateway[Symbol.asyncDispose]());

  test('a refresh that three requests share is one upstream span, linked to the spans of the three', async () => {
    await gateway.clearSpans();
    line.simulator.clearCalls();
    const logged = gateway.readTraceIds().length;
    const held = line.simulator.hold(phoneNumberId);
    const path = `/v1/numbers/${numberId}/status`;
    const first = gateway.send(path);
    await held.arrived;
    const others: Promise<Response>[] = [];
    for (let other = 0; other < 2; other += 1) {
      const countReads = async () => (await gateway.readSpans()).filter(isAddressRead).length;
      // oxlint-disable no-await-in-loop -- in sequence, so that none shares the read of another
      const before = await countReads();
      others.push(gateway.send(path));
      // A request joins the refresh as soon as it has read the address of the number.
      await until(async () => (await countReads()) > before);
      // oxlint-enable no-await-in-loop
    }
    held.release();
    for (const response of await Promise.all([first, ...others])) expect(response.status).toBe(200);
    expect(line.simulator.calls).toHaveLength(1);

    const spans = await gateway.readSpans();
    const requests = spans.filter(isRequest);
    expect(requests).toHaveLength(3);
    const traceIds = requests.map(({ context }) => context.traceId);
    expect(new Set(traceIds).size).toBe(3);
    const upstream = spans.filter(isUpstream);
    expect(upstream).toHaveLength(1);
    const linked = upstream[0]?.links.map((it) => it.spanId) ?? [];
    expect(linked.toSorted()).toEqual(requests.map(({ context }) => context.spanId).toSorted());

    // The call belongs to the trace of the request that caused it, below its read of the core.
    const cause = spans.find(({ context }) => context.spanId === upstream[0]?.parent?.spanId);
    expect(cause).toMatchObject({ name: 'get numbers', kind: 'INTERNAL' });
    const request = spans.find(({ context }) => context.spanId === cause?.parent?.spanId);
    expect(request).toMatchObject({ name: 'GET /v1/numbers/{id}/status', kind: 'SERVER' });
    // Those that joined lead to it.
    const reads = spans.filter(({ name }) => name === 'get numbers');
    expect(reads).toHaveLength(3);
    const ofOthers = reads.filter((read) => read.context.spanId !== cause?.context.spanId);
    for (const read of ofOthers) {
      expect(read.links.map(toIds)).toEqual([toIds(request!.context)]);
    }

    await until(() => gateway.readTraceIds().length >= logged + 3);
    expect(gateway.readTraceIds().slice(logged).toSorted()).toEqual(traceIds.toSorted());
  });

  test('spans have the names and attributes of the semantic conventions', async () => {
    await gateway.clearSpans();
    const query = `query Fleet($id: ID!) { number(id: $id, refresh: true) {
      id meta { phone { verifiedName } profile { about } waba { name } } } }`;
    expect((await gateway.graphql(query, { id: numberId })).status).toBe(200);
    const spans = await gateway.readSpans();
    const request = spans.find(isRequest);
    expect(request).toMatchObject({
      name: 'POST /graphql',
      parent: null,
      links: [],
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/graphql',
        'http.response.status_code': 200,
        'url.scheme': 'http',
        'gateway.tenant.id': tenant,
      },
    });
    const operation = spans.find(({ name }) => name === 'query');
    expect(operation).toMatchObject({
      kind: 'SERVER',
      parent: { spanId: request?.context.spanId },
      attributes: { 'graphql.operation.type': 'query', 'graphql.operation.name': 'Fleet' },
    });
    const read = spans.find(({ name }) => name === 'get numbers');
    expect(read).toMatchObject({ parent: { spanId: operation?.context.spanId }, attributes: {} });
    const upstream = spans.filter(isUpstream);
    const { hostname, port } = new URL(line.environment['META_GRAPH_URL'] ?? '');
    expect(upstream.map(({ name }) => name).toSorted()).toEqual([
      'GET /{version}/{id}',
      'GET /{version}/{id}',
      'GET /{version}/{id}/whatsapp_business_profile',
    ]);
    for (const { attributes, parent } of upstream) {
      expect(parent?.spanId).toBe(read?.context.spanId);
      expect(attributes).toEqual({
        'http.request.method': 'GET',
        'http.response.status_code': 200,
        'server.address': hostname,
        'server.port': Number(port),
        'url.scheme': 'http',
        'url.template': expect.any(String),
      });
    }
    const statements = spans.filter(isStatement);
    expect(statements.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'SELECT whatsapp_number',
        'BEGIN',
        'INSERT refresh_lease SELECT',
        'SELECT whatsapp_number number_credential credential',
        'SELECT whatsapp_number UPDATE account_notice',
        'INSERT number_snapshot SELECT',
        'INSERT number_status SELECT whatsapp_number account_notice',
        'SELECT number_status UPDATE',
        'DELETE refresh_lease',
        'COMMIT',
        'SELECT whatsapp_number number_snapshot account_notice credential waba_snapshot',
      ]),
    );
    for (const { name, kind, parent, attributes, status, durationMs } of statements) {
      expect(name).toMatch(/^[\w ]{5,100}$/);
      expect(kind).toBe('CLIENT');
      expect([read?.context.spanId, request?.context.spanId]).toContain(parent?.spanId);
      expect(attributes).toEqual({ 'db.system.name': 'postgresql', 'db.query.summary': name });
      expect(status).toEqual({ code: 0 });
      expect(durationMs).toBeGreaterThan(0);
    }
    expect(new Set(spans.map(({ context }) => context.traceId)).size).toBe(1);
  });

  test('the request of a number of the session engine is a span too', async () => {
    await gateway.clearSpans();
    expect((await gateway.send(`/v1/numbers/${pilotId}/status`)).status).toBe(200);
    expect((await gateway.readSpans()).filter(isUpstream)).toMatchObject([
      { name: 'GET /instance/connectionState/{instance}' },
    ]);
  });

  test('what fails has an error type and no message', async () => {
    await gateway.clearSpans();
    line.simulator.setFault(phoneNumberId, { kind: 'error', code: 190, status: 401 });
    const { status } = await gateway.send(`/v1/numbers/${numberId}/status`);
    line.simulator.setFault(phoneNumberId, null);
    expect(status).toBe(502);
    const spans = await gateway.readSpans();
    expect(spans.find(isRequest)).toMatchObject({
      status: { code: 2 },
      attributes: { 'http.response.status_code': 502, 'error.type': '502' },
    });
    expect(spans.find(isUpstream)?.attributes).toMatchObject({ 'error.type': '401' });
  });

  test('a request without a route or a key has a span of its method', async () => {
    await gateway.clearSpans();
    await gateway.send(`/v1/${token}/${phone}`);
    await gateway.send(`/v1/numbers/${phone}`, { method: 'PROPFIND' });
    await gateway.send('/v1/numbers', { headers: { 'x-api-key': '' } });
    const requests = (await gateway.readSpans()).filter(isRequest);
    expect(
      requests.map(({ name, attributes }) => [name, attributes['http.response.status_code']]),
    ).toEqual([
      ['GET', 404],
      ['HTTP', 405],
      ['GET /v1/numbers', 401],
    ]);
    expect(requests[1]?.attributes['http.request.method']).toBe('_OTHER');
  });

  test('probes, and statements of the process itself, have no span', async () => {
    await gateway.clearSpans();
    await gateway.send('/livez');
    await gateway.send('/readyz');
    await gateway.send('/metrics');
    expect(await gateway.readSpans()).toEqual([]);
  });

  test('a cached response is one span', async () => {
    // The cache is in use once the first heartbeat has been heard.
    await until(async () => {
      await gateway.clearSpans();
      await gateway.send('/v1/numbers');
      return (await gateway.readSpans()).length === 1;
    });
    expect(await gateway.readSpans()).toMatchObject([{ name: 'GET /v1/numbers', kind: 'SERVER' }]);
  });

  const [traceId, spanId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
  const traceparent = `00-${traceId}-${spanId}-01`;

  test('the span that a caller names in traceparent is linked, without the trace state', async () => {
    await gateway.clearSpans();
    await gateway.send('/v1/numbers', { headers: { traceparent, tracestate: `x=${token}` } });
    await gateway.send('/v1/numbers', { headers: { traceparent: `00-${token}-${spanId}-01` } });
    const [linked, invalid] = (await gateway.readSpans()).filter(isRequest);
    expect(linked?.parent).toBeNull();
    expect(linked?.context.traceId).not.toBe(traceId);
    expect(linked?.links).toEqual([{ traceId, spanId, traceFlags: 1, isRemote: true }]);
    expect(invalid).toMatchObject({ parent: null, links: [] });
  });

  test('it is the parent with OTEL_TRUST_PARENT=1', async () => {
    await using trusting = await start({ OTEL_TRUST_PARENT: '1' });
    await trusting.send('/v1/numbers', { headers: { traceparent } });
    const request = (await trusting.readSpans()).find(isRequest);
    expect(request).toMatchObject({ context: { traceId }, parent: { traceId, spanId }, links: [] });
    await until(() => trusting.readTraceIds().length > 0);
    expect(trusting.readTraceIds()).toEqual([traceId]);
  }, 60_000);

  test('no span contains a secret, a phone number, the id of a number, a document or a variable', async () => {
    await gateway.clearSpans();
    const { graphql, send } = gateway;
    const text =
      'query($canaryVariable: ID!) { number(id: $canaryVariable, refresh: true) { id meta { phone { verifiedName } } } }';
    for (const id of [numberId, pilotId, token, phone, key]) {
      // oxlint-disable no-await-in-loop -- in sequence
      await graphql(text, { canaryVariable: id });
      await send(
        `/graphql?${new URLSearchParams({ query: text, variables: JSON.stringify({ canaryVariable: id }) })}`,
      );
      await send(`/v1/numbers/${encodeURIComponent(id)}?refresh=1`);
      await send(`/v1/numbers/${id}?refresh=${token}`, { headers: { 'x-request-id': phone } });
      await send(`/v1/${id}`, { headers: { 'user-agent': token, 'x-forwarded-for': phone } });
      // oxlint-enable no-await-in-loop
    }
    for (const name of [key, token, numberId, `_${phone}`]) {
      // oxlint-disable-next-line no-await-in-loop -- in sequence
      await graphql(`query ${name} { numbers { id } }`, {});
    }
    await graphql(`{ ${token} }`, {});
    await line.query('alter table whatsapp_number rename to gone');
    expect((await graphql(text, { canaryVariable: numberId })).status).toBe(200);
    expect((await send(`/v1/numbers/${numberId}?refresh=1`)).status).toBe(500);
    await line.query('alter table gone rename to whatsapp_number');
    const spans = await gateway.readSpans();
    expect(spans.filter(isRequest)).toHaveLength(32);
    expect(spans.find(({ attributes }) => attributes['error.type'] === '42P01')).toMatchObject({
      attributes: { 'db.response.status_code': '42P01' },
      status: { code: 2 },
    });
    expect(spans.flatMap(({ events }) => events)).toEqual([]);
    expect(findLeaks([{ source: 'spans', text: JSON.stringify(spans) }], canaries)).toEqual([]);
  });
});

test('without an SDK, a log line has no trace id', async () => {
  await using gateway = await start({ NODE_OPTIONS: '' });
  await gateway.send('/v1/numbers', {
    headers: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` },
  });
  await until(() => gateway.readTraceIds().length > 0);
  expect(gateway.log()).not.toContain('trace_id');
  expect(await gateway.readSpans()).toEqual([]);
}, 60_000);
