// What a gateway with SYNC=off does: the same as before there was sync.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestClock, type TestClock } from '../clock.ts';
import { openTestGateway, type TestGateway, type TestNumber, type TestTenant } from '../harness.ts';

const minute = 60_000;
const hour = 60 * minute;

let clock: TestClock;
let off: TestGateway;
let tenant: TestTenant;
let number: TestNumber;
let failing: TestNumber;

beforeAll(async () => {
  clock = createTestClock(new Date('2026-11-29T12:00:00Z'));
  off = await openTestGateway({
    ...clock,
    database: 'PGlite',
    syncPollMs: minute,
    simulator: { now: clock.now },
  });
  tenant = await off.addTenant();
  number = await tenant.addNumber();
  await tenant.addNumber({ wabaId: number.wabaId });
  await tenant.addNumber({ provider: 'PILOT_STATUS' });
  failing = await tenant.addNumber();
  off.simulator.setFault(failing.phoneNumberId, { kind: 'error', code: 190 });
});
afterAll(async () => {
  await off[Symbol.asyncDispose]();
  clock[Symbol.dispose]();
});

/** Everything that a number has except `nextSyncAt`, which says what is planned. */
const fields = `id number name provider state isFullyConnected apiKeys { name }
  health { qualityRating messagingLimitTier metaStatus sendable sendability { verdict reasons { field value text effect } }
    freshness { observedAt attemptedAt ageSeconds source stale error { code message } } }
  meta { phone { verifiedName } profile { about } waba { name } }`;

type Send = readonly [name: string, send: (gateway: TestGateway) => Promise<Response>];

function listRequests(): readonly Send[] {
  const { key } = tenant;
  const get =
    (path: string, headers: Readonly<Record<string, string>> = {}) =>
    (gateway: TestGateway) =>
      gateway.fetch(path, { headers: { 'x-api-key': key, ...headers } });
  const post =
    (query: string, variables: object = {}) =>
    (gateway: TestGateway) =>
      gateway.fetch('/graphql', {
        method: 'POST',
        headers: { 'x-api-key': key, 'content-type': 'application/json' },
        body: JSON.stringify({ query, variables }),
      });
  const paths = [
    `/v1/numbers/${number.id}?refresh=1`,
    `/v1/numbers/${failing.id}?refresh=1`,
    '/v1/numbers',
    '/v1/numbers?first=2',
    '/v1/numbers?verdict=YES',
    `/v1/numbers/${number.id}`,
    '/v1/numbers/wa_other',
    '/v1/changes',
    '/v1/fleet',
    '/v1/unknown',
  ];
  return [
    ...paths.map((path): Send => [path, get(path)]),
    ['without a key', (gateway) => gateway.fetch('/v1/numbers')],
    ['numbers', post(`{ numbers { ${fields} } }`)],
    ['number', post(`query($id: ID!) { number(id: $id) { ${fields} } }`, { id: number.id })],
    [
      'a refreshed number',
      post(`query($id: ID!) { number(id: $id, refresh: true) { ${fields} } }`, { id: number.id }),
    ],
    ['an error', post('{ numbers { unknown } }')],
  ];
}

/** Names of a request that differ each time. */
const ownHeaders = new Set(['date', 'etag', 'x-request-id', 'server-timing']);

/** So that the next gateway finds what the last one found, and reads what it read. */
async function forgetReadings(): Promise<void> {
  for (const table of ['number_snapshot', 'waba_snapshot', 'number_change']) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await off.database.query(`delete from ${table}`);
  }
}

/** That this process is alive is recorded every 500 ms of real time while it reads. */
function isRenewal(statement: string): boolean {
  return statement.includes('insert into lease_holder');
}

/** What is answered, what is asked of Meta, and what is asked of the database. */
async function record(gateway: TestGateway) {
  const recorded: object[] = [];
  for (const [name, send] of listRequests()) {
    const { calls } = off.simulator;
    const [calledBefore, statedBefore] = [calls.length, off.statements.length];
    // oxlint-disable no-await-in-loop -- one request after the other
    const response = await send(gateway);
    const body = await response.text();
    // oxlint-enable no-await-in-loop
    recorded.push({
      name,
      status: response.status,
      headers: [...response.headers].filter(([header]) => !ownHeaders.has(header)),
      body: body.replaceAll(/"(requestId|cursor)":"[^"]*"/g, '"$1":""'),
      calls: calls.slice(calledBefore).map(({ method, path, query }) => ({ method, path, query })),
      statements: off.statements.slice(statedBefore).filter((it) => !isRenewal(it)),
    });
  }
  return recorded;
}

test('it answers to the byte as one with SYNC=on that has read nothing by itself, with the same calls and statements', async () => {
  await using before = await openLike('off');
  await using on = await openLike('on');
  const recorded = await record(before);
  await forgetReadings();
  expect(await record(on)).toEqual(recorded);
});

/** Another process on the same database. */
async function openLike(sync: 'on' | 'off'): Promise<TestGateway> {
  return await openTestGateway({
    ...clock,
    database: off.database,
    fetch: off.simulator.fetch,
    // What a cache serves depends on when it has heard of a change.
    environment: { ...off.environment, SYNC: sync, ANSWER_CACHE_MB: '0' },
  });
}

test('in ten hours it calls nobody and writes nothing about numbers', async () => {
  const dump = () =>
    off.database.query(
      `select (select jsonb_agg(n order by n.id) from whatsapp_number n) as numbers,
           (select jsonb_agg(s order by s.number_id, s.block) from number_snapshot s) as snapshots,
           (select jsonb_agg(s order by s.number_id) from number_status s) as statuses,
           (select jsonb_agg(p order by p.subject_id, p.kind) from sync_plan p) as plan,
           (select jsonb_agg(s order by s.subject_id) from sync_subject s) as subjects,
           (select count(*) from sync_call) as calls`,
    );
  const before = await dump();
  off.simulator.clearCalls();
  off.clearStatements();
  off.gateway.sync.start();
  await clock.advance(10 * hour);
  expect(off.simulator.calls).toEqual([]);
  expect(await dump()).toEqual(before);
  // It only looks for what webhooks ask for.
  const others = off.statements.filter((it) => !it.includes('claim_sync') && !isRenewal(it));
  expect(others).toEqual([]);
});
