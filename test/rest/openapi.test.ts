// Compares the OpenAPI document with actual responses of REST in both directions: every response is documented, and every
// documented response occurs.

import { gunzipSync } from 'node:zlib';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createKey } from '../../src/access/key.ts';
import { readEnvironment, parseConfig } from '../../src/config.ts';
import { toFetchResponse, fromFetchRequest } from '../../src/http/message.ts';
import { createGateway } from '../../src/gateway.ts';
import { insertIncident } from '../alerts/insert-incident.ts';
import type { Fault } from '../simulator/simulator.ts';
import { createTelemetry } from '../../src/telemetry.ts';
import { openTestGateway, type Reply, type TestGateway, type TestTenant } from '../harness.ts';

type Json = { readonly [member: string]: any };

let gateway: TestGateway;
let document: Json;
let ajv: Ajv2020;

beforeAll(async () => {
  gateway = await openTestGateway({ deadlineMs: 1_000 });
  document = (await (await gateway.addTenant()).rest<Json>('/v1/openapi.json')).body;
  ajv = new Ajv2020({ strict: true, allowUnionTypes: true, strictRequired: false });
  (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
  ajv.addVocabulary(Object.keys(document));
  ajv.addSchema(toClosed(document), 'document');
});
afterAll(() => gateway[Symbol.asyncDispose]());

/** The document allows additional members, so that some can be added; the tests do not. */
function toClosed(value: unknown): Json {
  if (Array.isArray(value)) return value.map(toClosed);
  if (typeof value !== 'object' || value === null) return value as never;
  const members = Object.entries(value).map(([name, member]) => [name, toClosed(member)]);
  const closed = 'properties' in value && 'required' in value && { additionalProperties: false };
  return { ...Object.fromEntries(members), ...closed };
}

interface DocumentedOperation {
  readonly path: string;
  readonly method: string;
  readonly operation: Json;
}

function listOperations(): readonly DocumentedOperation[] {
  return Object.entries<Json>(document['paths']).flatMap(([path, item]) =>
    Object.entries<Json>(item).map(([method, operation]) => ({ path, method, operation })),
  );
}

/** Of each operation with a body, one that is accepted. */
const bodies: Readonly<Record<string, object>> = {
  acknowledgeIncident: { note: 'seen' },
  refreshNumbers: { filter: { search: 'no such number' } },
  updateNumber: { labels: ['team=a'], mutedUntil: null },
};

/** How to send an operation. */
function toOptions({ method, operation }: DocumentedOperation) {
  const body = bodies[operation['operationId']];
  if (body === undefined) return { method: method.toUpperCase() };
  const headers = { 'content-type': 'application/json' };
  return { method: method.toUpperCase(), headers, body: JSON.stringify(body) };
}

/** Every object and array of the document with the pointer to it. */
function* walk(value: unknown, pointer = '#'): Generator<readonly [pointer: string, value: Json]> {
  if (typeof value !== 'object' || value === null) return;
  yield [pointer, value as Json];
  for (const [name, member] of Object.entries(value)) {
    yield* walk(member, `${pointer}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`);
  }
}

function resolve(pointer: string): Json | undefined {
  const names = pointer
    .split('/')
    .slice(1)
    .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
  return names.reduce<Json | undefined>((value, name) => value?.[name], document);
}

/** Why a value does not match the schema at a pointer into the document; empty when it does. */
function listProblems(pointer: string, value: unknown): readonly string[] {
  const validate = ajv.getSchema(`document${encodeURI(pointer)}`);
  if (validate === undefined) return [`there is no schema at ${pointer}`];
  if (validate(value)) return [];
  return [`${pointer}: ${ajv.errorsText(validate.errors)} in ${JSON.stringify(value)}`];
}

test('every reference resolves, and every schema is valid', () => {
  const references = [...walk(document)].filter(([, value]) => typeof value['$ref'] === 'string');
  expect(references.length).toBeGreaterThan(20);
  expect(references.filter(([, value]) => resolve(value['$ref']) === undefined)).toEqual([]);
  const pointers = [...walk(document)].map(([pointer]) => pointer);
  const schemas = pointers.filter((pointer) => /\/(schema|schemas\/\w+)$/.test(pointer));
  expect(schemas.length).toBeGreaterThan(20);
  // In strict mode: an unknown keyword or format, or one that cannot apply, throws here.
  for (const pointer of schemas) {
    expect(ajv.getSchema(`document${encodeURI(pointer)}`)).toBeTypeOf('function');
  }
});

test('operation ids are unique, and every path parameter is declared', () => {
  const ids = listOperations().map(({ operation }) => operation['operationId']);
  expect(new Set(ids).size).toBe(ids.length);
  for (const { path, operation } of listOperations()) {
    const declared = operation['parameters']
      .map((parameter: Json) => (parameter['$ref'] ? resolve(parameter['$ref']) : parameter))
      .filter((parameter: Json) => parameter['in'] === 'path')
      .map((parameter: Json) => `{${parameter['name']}}`);
    expect(declared).toEqual(path.match(/\{\w+\}/g) ?? []);
  }
});

test('the document is read without a key, and revalidated by its ETag', async () => {
  const first = await gateway.rest('/v1/openapi.json');
  expect(first).toMatchObject({ status: 200, body: document });
  expect(first.headers.get('cache-control')).toBe('no-cache');
  expect(first.headers.get('vary')).toBe('accept-encoding');
  const ifNoneMatch = { 'if-none-match': first.headers.get('etag') ?? '' };
  const again = await gateway.rest('/v1/openapi.json', { headers: ifNoneMatch });
  expect(again).toMatchObject({ status: 304, text: '' });
  const gzip = { 'accept-encoding': 'gzip' };
  const compressed = await gateway.fetch('/v1/openapi.json', { headers: gzip });
  expect(compressed.headers.get('content-encoding')).toBe('gzip');
  expect(JSON.parse(gunzipSync(await compressed.arrayBuffer()).toString())).toEqual(document);
});

test.each([
  [{}, '/'],
  [{ PUBLIC_URL: 'https://numbers.example.com/' }, 'https://numbers.example.com'],
  [{ PUBLIC_URL: 'https://example.com/numbers' }, 'https://example.com/numbers'],
])('the server of %o is %s, whatever Host the request has', async (environment, url) => {
  await using named = await openTestGateway({ database: gateway.database, environment });
  const headers = { host: 'evil.example', 'x-forwarded-host': 'evil.example' };
  const { body } = await named.rest<Json>('/v1/openapi.json', { headers });
  expect(body['servers']).toMatchObject([{ url }]);
  expect(body['info'].contact).toMatchObject(url === '/' ? {} : { url });
});

test('every operation has a tag that is described, and the document says whom to ask', () => {
  const tags: readonly Json[] = document['tags'];
  expect(tags.every(({ description }) => typeof description === 'string')).toBe(true);
  const used = listOperations().flatMap(({ operation }) => operation['tags'] as string[]);
  expect(listOperations().every(({ operation }) => operation['tags'].length === 1)).toBe(true);
  expect([...new Set(used)].toSorted()).toEqual(tags.map((tag) => tag['name']).toSorted());
  expect(document['info'].contact.name).toBeTypeOf('string');
});

test('every operation but that of the document needs a key in the x-api-key header', () => {
  expect(document['openapi']).toMatch(/^3\.1\.\d$/);
  expect(document['security']).toEqual([{ apiKey: [] }, { bearer: [] }]);
  expect(document['components'].securitySchemes.apiKey).toMatchObject({
    type: 'apiKey',
    in: 'header',
    name: 'x-api-key',
  });
  expect(listOperations().filter(({ operation }) => 'security' in operation)).toMatchObject([
    { path: '/v1/openapi.json', operation: { security: [] } },
  ]);
});

test('every operation with a key documents 401, 429 and 503, the last two with Retry-After', () => {
  const withKey = listOperations().filter(({ operation }) => !('security' in operation));
  for (const { operation } of withKey) {
    expect(operation['responses']).toMatchObject({ 401: {}, 429: {}, 503: {} });
    for (const status of [429, 503]) {
      const retryAfter = operation['responses'][status].headers['Retry-After'];
      expect(resolve(retryAfter['$ref'])?.['required']).toBe(true);
    }
  }
});

test("the gateway's own values are enums; Meta's are open, with examples", () => {
  const { NumberDetail, NumberHealth, MetaWaba, Error } = document['components'].schemas;
  expect(NumberDetail.properties.provider.enum).toEqual(['META', 'PILOT_STATUS']);
  expect(NumberDetail.properties.state.enum).toEqual(['OPEN', 'CONNECTING', 'CLOSE']);
  expect(Error.properties.code.enum).toContain('META_TIMEOUT');
  expect(NumberHealth.properties.qualityRating).toMatchObject({
    type: ['string', 'null'],
    examples: ['GREEN', 'YELLOW', 'RED', 'UNKNOWN', 'NA'],
  });
  expect(NumberHealth.properties.qualityRating).not.toHaveProperty('enum');
  expect(MetaWaba.properties.businessVerificationStatus.examples).toContain('verified');
});

test('every example matches its schema', () => {
  const media = [...walk(document)].filter(([pointer]) => pointer.endsWith('/application~1json'));
  const examples = media.flatMap(([pointer, { examples: all = {} }]) =>
    Object.values<Json>(all).map(({ value }) => ({ pointer, value })),
  );
  expect(examples.length).toBeGreaterThan(3);
  expect(
    examples.flatMap(({ pointer, value }) => listProblems(`${pointer}/schema`, value)),
  ).toEqual([]);
});

test('the comparison detects undocumented, missing and wrong members', async () => {
  const { body } = await refreshDetail(await gateway.addTenant());
  const pointer = '#/components/schemas/NumberDetail';
  expect(listProblems(pointer, body)).toEqual([]);
  const { health, meta } = body;
  const { name: _, ...nameless } = body;
  const wrong = [
    nameless,
    { ...body, accessToken: 'EAA' },
    { ...body, health: { ...health, freshness: null } },
    { ...body, meta: { ...meta, phone: { ...meta['phone'], status: null } } },
    { ...body, createdAt: 'yesterday' },
  ];
  for (const value of wrong) expect(listProblems(pointer, value)).not.toEqual([]);
});

/** The responses that were compared, as `operationId status code`. */
const compared = new Set<string>();

async function listDifferencesOf(
  path: string,
  response: Response,
  method?: string,
): Promise<readonly string[]> {
  const { status, headers } = response;
  const text = await response.text();
  return listDifferences(path, { status, headers, text, body: JSON.parse(text) }, method);
}

/** How a response differs from what is documented of an operation. */
function listDifferences(path: string, reply: Reply<unknown>, method = 'get'): readonly string[] {
  const { operationId, responses } = document['paths'][path][method];
  const { status, text, headers, body } = reply;
  const code = status < 400 ? '' : ` ${(body as Json)['code']}`;
  compared.add(`${operationId} ${status}${code}`);
  if (!(status in responses)) return [`${operationId} ${status} is not documented: ${text}`];
  const documented = responses[status].headers;
  const differences = Object.entries<Json>(documented).flatMap(([name, { $ref }]) =>
    listHeaderProblems($ref, name, headers.get(name)),
  );
  const known = new Set(
    ['content-type', 'content-length', ...Object.keys(documented)].map(toLower),
  );
  differences.push(...[...headers.keys()].filter((name) => !known.has(name)));
  if (status === 304) return text === '' ? differences : [...differences, `304 has ${text}`];
  const [type = ''] = Object.keys(responses[status].content);
  if (headers.get('content-type') !== `${type}; charset=utf-8`) differences.push('content-type');
  const pointer = `#/paths/${path.replaceAll('/', '~1')}/${method}/responses/${status}`;
  return [...differences, ...listProblems(`${pointer}/content/application~1json/schema`, body)];
}

const toLower = (name: string): string => name.toLowerCase();

function listHeaderProblems(pointer: string, name: string, value: string | null): string[] {
  if (value !== null) return [...listProblems(`${pointer}/schema`, value)];
  return resolve(pointer)?.['required'] ? [`header ${name} is missing`] : [];
}

async function refreshDetail(tenant: TestTenant): Promise<Reply<Json>> {
  const { id } = await tenant.addNumber();
  return await tenant.rest<Json>(`/v1/numbers/${id}?refresh=1`);
}

const detailPath = '/v1/numbers/{id}';
const statusPath = '/v1/numbers/{id}/status';

test('successful responses of every route are as documented', async () => {
  const tenant = await gateway.addTenant();
  const official = await tenant.addNumber();
  const unofficial = await tenant.addNumber({ provider: 'PILOT_STATUS' });
  const bare = await tenant.addNumber({
    phone: { verified_name: null, status: 'HIBERNATING', quality_rating: null },
    profile: null,
  });
  gateway.simulator.setFault(bare.wabaId, { kind: 'error', code: 368 });
  await tenant.addKey({ numberId: official.id });
  const incidentId = await insertIncident(gateway.database, tenant.id, { subject: official.id });
  await insertIncident(gateway.database, tenant.id, { subject: bare.id });
  const { cursor } = (await tenant.rest<Json>('/v1/changes')).body;
  await tenant.addNumber({ name: 'Later' });
  const requests = [official, unofficial, bare].flatMap(({ id }) => [
    [detailPath, `/v1/numbers/${id}`],
    [detailPath, `/v1/numbers/${id}?refresh=1`],
    [detailPath, `/v1/numbers/${id}`],
    [statusPath, `/v1/numbers/${id}/status`],
    ['/v1/numbers', '/v1/numbers?include=sendability,freshness&unknown'],
    ['/v1/fleet', '/v1/fleet?include=facets,sendability,freshness&limit=1'],
    ['/v1/fleet', '/v1/fleet?limit=200'],
    ['/v1/changes', `/v1/changes?after=${cursor}&limit=200`],
    ['/v1/incidents', '/v1/incidents?limit=1'],
    [detailPath, `/v1/numbers/${id}?include=sendability,freshness&unknown`],
    [statusPath, `/v1/numbers/${id}/status?include=sendability,freshness&unknown`],
    [detailPath, `/v1/numbers/${id}?refresh=1&include=freshness`],
  ]);
  const reads = listOperations().filter(({ method }) => method === 'get');
  requests.push(
    ...reads.map(({ path }) => {
      const id = path.includes('incidents') ? incidentId : official.id;
      return [path, path.replace('{id}', id)];
    }),
  );
  for (const [path = '', url = ''] of requests) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    expect(listDifferences(path, await tenant.rest(url))).toEqual([]);
    const conditional = { headers: { 'if-none-match': '*' } };
    // oxlint-disable-next-line no-await-in-loop -- see above
    expect(listDifferences(path, await tenant.rest(url, conditional))).toEqual([]);
  }
});

test('rejections of wrong keys, ids and parameters are as documented', async () => {
  const tenant = await gateway.addTenant();
  for (const each of listOperations()) {
    const { path, method } = each;
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await gateway.rest(path.replace('{id}', 'x'), toOptions(each));
    expect(listDifferences(path, reply, method)).toEqual([]);
  }
  const differences = [
    ...listDifferences(detailPath, await tenant.rest('/v1/numbers/x')),
    ...listDifferences(detailPath, await tenant.rest('/v1/numbers/x?refresh=0')),
    ...listDifferences('/v1/numbers', await tenant.rest('/v1/numbers?include=x')),
    ...listDifferences(statusPath, await tenant.rest('/v1/numbers/x/status?include=x&refresh=1')),
    ...listDifferences(statusPath, await tenant.rest('/v1/numbers/x/status')),
    ...listDifferences('/v1/incidents', await tenant.rest('/v1/incidents?limit=0')),
    ...listDifferences('/v1/incidents/{id}', await tenant.rest('/v1/incidents/x')),
    ...listDifferences('/v1/incidents', await tenant.rest('/v1/incidents?cursor=x')),
  ];
  expect(differences).toEqual([]);
  for (const reply of [
    await tenant.rest('/v1/nowhere'),
    await tenant.rest('/v1/numbers', { method: 'POST' }),
  ]) {
    expect(listProblems('#/components/schemas/Error', reply.body)).toEqual([]);
  }
});

test('what operations that write answer is as documented', async () => {
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  const incidentId = await insertIncident(gateway.database, tenant.id, { subject: id });
  const { key } = await tenant.addKey({ scopes: ['operate'] });
  for (const each of listOperations().filter(({ method }) => method !== 'get')) {
    const { path, method } = each;
    const options = { key, ...toOptions(each) };
    const existing = path.includes('incidents') ? incidentId : id;
    const urls = [path.replace('{id}', existing), path.replace('{id}', 'x')];
    for (const url of urls) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      expect(listDifferences(path, await gateway.rest(url, options), method)).toEqual([]);
    }
    // oxlint-disable-next-line no-await-in-loop -- as above
    const refused = await gateway.rest(urls[0]!, { ...options, body: '[]' });
    expect(listDifferences(path, refused, method)).toEqual([]);
    // oxlint-disable-next-line no-await-in-loop -- as above
    const forbidden = await tenant.rest(urls[0]!, toOptions(each));
    expect(listDifferences(path, forbidden, method)).toEqual([]);
    const body = bodies[each.operation['operationId']];
    const pointer = `#/paths/${path.replaceAll('/', '~1')}/${method}/requestBody`;
    expect(listProblems(`${pointer}/content/application~1json/schema`, body)).toEqual([]);
  }
});

test('every failure of a live read is as documented', async () => {
  const tenant = await gateway.addTenant();
  const faults: readonly Fault[] = [
    { kind: 'error', code: 2, transient: true },
    { kind: 'html' },
    { kind: 'throttled' },
    { kind: 'error', code: 190, subcode: 463, status: 401 },
    { kind: 'error', code: 100, subcode: 33 },
    { kind: 'error', code: 33 },
    { kind: 'hang' },
  ];
  const compare = async (fault: Fault): Promise<readonly string[]> => {
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    for (const node of [phoneNumberId, wabaId]) gateway.simulator.setFault(node, fault);
    return [
      ...listDifferences(detailPath, await tenant.rest(`/v1/numbers/${id}?refresh=1`)),
      ...listDifferences(statusPath, await tenant.rest(`/v1/numbers/${id}/status`)),
    ];
  };
  expect((await Promise.all(faults.map(compare))).flat()).toEqual([]);
  const { id, instanceName } = await tenant.addNumber({ provider: 'PILOT_STATUS' });
  const ofEngine: readonly Fault[] = [
    { kind: 'reset' },
    { kind: 'error', code: 401, status: 401 },
    { kind: 'empty-data' },
  ];
  for (const fault of ofEngine) {
    gateway.simulator.setFault(instanceName, fault);
    // oxlint-disable no-await-in-loop -- one instance
    expect(listDifferences(statusPath, await tenant.rest(`/v1/numbers/${id}/status`))).toEqual([]);
    expect(listDifferences(detailPath, await tenant.rest(`/v1/numbers/${id}?refresh=1`))).toEqual(
      [],
    );
    // oxlint-enable no-await-in-loop
  }
});

test('refusals of cursors and of parameters are as documented', async () => {
  let now = new Date();
  await using aged = await openTestGateway({ database: gateway.database, now: () => now });
  const tenant = await aged.addTenant();
  for (const name of ['One', 'Two']) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await tenant.addNumber({ name });
  }
  const { body } = await tenant.rest<Json>('/v1/fleet?limit=1');
  now = new Date(now.getTime() + 3_600_001);
  for (const [query, status] of [
    [`limit=1&cursor=${body['next']}`, 410],
    ['cursor=x', 400],
    ['limit=x', 400],
    ['unknown=1', 400],
  ] as const) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await tenant.rest(`/v1/fleet?${query}`);
    expect(reply.status).toBe(status);
    expect(listDifferences('/v1/fleet', reply)).toEqual([]);
  }
  const ofSync = await tenant.rest('/v1/sync?limit=x');
  expect(ofSync.status).toBe(400);
  expect(listDifferences('/v1/sync', ofSync)).toEqual([]);
});

test('refusals of changes are as documented', async () => {
  const { database } = gateway;
  await using narrow = await openTestGateway({ database, environment: { KEY_MAX_STREAMS: '1' } });
  const tenant = await narrow.addTenant();
  const headers = { 'x-api-key': tenant.key, accept: 'text/event-stream' };
  const open = await narrow.fetch('/v1/changes', { headers });
  const { cursor } = (await tenant.rest<Json>('/v1/changes')).body;
  await tenant.addNumber();
  await database.query('update feed_position set first = last + 1 where tenant_id = $1', [
    tenant.id,
  ]);
  for (const [query, status] of [
    [`after=${cursor}`, 410],
    [`after=c1.${'0'.repeat(32)}.1`, 410],
    ['after=x', 400],
    ['limit=x', 400],
    ['wait=1', 429],
  ] as const) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await tenant.rest(`/v1/changes?${query}`);
    expect(reply.status).toBe(status);
    expect(listDifferences('/v1/changes', reply)).toEqual([]);
  }
  await open.body?.cancel();
});

test('a stream of changes is as documented', async () => {
  const { key } = await gateway.addTenant();
  const headers = { 'x-api-key': key, accept: 'text/event-stream' };
  const response = await gateway.fetch('/v1/changes', { headers });
  await response.body?.cancel();
  const { responses, parameters } = document['paths']['/v1/changes'].get;
  expect(responses[200].content).toHaveProperty('text/event-stream');
  expect(parameters).toContainEqual({ $ref: '#/components/parameters/LastEventId' });
  const documented = Object.entries<Json>(responses[200].headers).flatMap(([name, { $ref }]) =>
    listHeaderProblems($ref, name, response.headers.get(name)),
  );
  expect(documented).toEqual([]);
  const names = new Set(Object.keys(responses[200].headers).map(toLower));
  expect([...response.headers.keys()].filter((name) => !names.has(name))).toEqual(['content-type']);
  const { value } = responses[200].content['text/event-stream'].examples['EVENTS'];
  expect(value).toMatch(/^retry: 2000\n\nid: (.*)\nevent: change\ndata: (.*)\n\nid: /);
  const [, data = ''] = /event: change\ndata: (.*)\n/.exec(value) ?? [];
  expect(listProblems('#/components/schemas/NumberChange', JSON.parse(data))).toEqual([]);
});

test('an unreachable database and a defect are as documented on every route', async () => {
  const config = parseConfig(
    readEnvironment({
      DATABASE_URL: 'postgres://127.0.0.1:1/nothing',
      ENCRYPTION_KEYS: `test:${Buffer.alloc(32).toString('base64')}`,
      API_KEY_PEPPER: 'x'.repeat(32),
    }),
  );
  const broken = await createGateway(config, { telemetry: createTelemetry({ level: 'silent' }) });
  const headers = { 'x-api-key': createKey() };
  const compare = async (each: DocumentedOperation): Promise<readonly string[]> => {
    const options = toOptions(each);
    const request = new Request(`http://gateway.test${each.path}`, {
      ...options,
      headers: { ...headers, ...options.headers },
    });
    return await listDifferencesOf(each.path, await broken.fetch(request), each.method);
  };
  const all = listOperations();
  expect((await Promise.all(all.map(compare))).flat()).toEqual([]);
  await broken[Symbol.asyncDispose]();
  expect((await Promise.all(all.map(compare))).flat()).toEqual([]);
});

test('the refusal of a tenant over its rate limit is as documented on every route', async () => {
  const { database } = gateway;
  const environment = { RATE_LIMIT: '1/3600' };
  await using spent = await openTestGateway({ database, environment });
  const tenant = await spent.addTenant();
  const { key } = await tenant.addKey({ scopes: ['operate'] });
  await tenant.rest('/v1/numbers');
  const compare = async (each: DocumentedOperation) =>
    listDifferences(
      each.path,
      await spent.rest(each.path, { key, ...toOptions(each) }),
      each.method,
    );
  expect((await Promise.all(listOperations().map(compare))).flat()).toEqual([]);
});

test('the refusal of a key that may not read is as documented on every route with a key', async () => {
  const { addKey } = await gateway.addTenant();
  const { key } = await addKey({ scopes: ['webhooks'] });
  const differences = listOperations()
    .filter(({ operation }) => operation['security'] === undefined)
    .map(async (each) => {
      const reply = await gateway.rest(each.path, { key, ...toOptions(each) });
      return listDifferences(each.path, reply, each.method);
    });
  expect((await Promise.all(differences)).flat()).toEqual([]);
});

test('the refusal of an overloaded process is as documented on every route', async () => {
  const { database } = gateway;
  await using narrow = await openTestGateway({ database, environment: { MAX_REQUESTS: '1' } });
  const tenant = await narrow.addTenant();
  const waiting = tenant.rest('/v1/numbers');
  const differencesByRoute = listOperations().map(async (each) => {
    const { path, method } = each;
    const request = fromFetchRequest(new Request(`http://gateway.test${path}`, toOptions(each)));
    const refusal = narrow.gateway.shed(request);
    if (refusal === null) return [`${path} was not refused`];
    return await listDifferencesOf(path, toFetchResponse(refusal), method);
  });
  expect((await Promise.all(differencesByRoute)).flat()).toEqual([]);
  await waiting;
});

test('the refusal of a URL that is too long is as documented on every route with a key', async () => {
  const tenant = await gateway.addTenant();
  const differences = listOperations()
    .filter(({ operation }) => operation['security'] === undefined)
    .map(async (each) => {
      const url = `${each.path}?x=${'a'.repeat(8_000)}`;
      return listDifferences(each.path, await tenant.rest(url, toOptions(each)), each.method);
    });
  expect((await Promise.all(differences)).flat()).toEqual([]);
});

test('the key may be sent in x-api-key or as a Bearer token, as the document says', async () => {
  const { components, security } = document;
  expect(security).toEqual([{ apiKey: [] }, { bearer: [] }]);
  expect(components.securitySchemes).toMatchObject({
    apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' },
    bearer: { type: 'http', scheme: 'bearer' },
  });
  const { key } = await gateway.addTenant();
  for (const headers of [{ 'x-api-key': key }, { authorization: `Bearer ${key}` }]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await gateway.gateway.fetch(
      new Request('http://gateway.test/v1/numbers', { headers }),
    );
    expect(reply.status).toBe(200);
  }
});

test('every documented response was compared by the tests above', () => {
  const documented = listOperations().flatMap(({ operation: { operationId, responses } }) =>
    Object.entries<Json>(responses).flatMap(([code, { content }]) => {
      const refined = content?.['application/json'].schema.allOf?.[1].properties.code.enum ?? [''];
      return refined.map((errorCode: string) => `${operationId} ${code} ${errorCode}`.trimEnd());
    }),
  );
  expect([...compared].toSorted()).toEqual(documented.toSorted());
});
