// Meta's webhooks under stress: many updates in one body, a flood from somebody who knows the URL and no secret, a process that
// dies after the event is stored, and events in any order. Two processes are behind the URL where that matters.

import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../src/clock.ts';
import { createWebhookSender, type MetaWebhookEvent } from '../../src/simulator/webhooks.ts';
import { listDocumentedEvents } from './documented-events.ts';
import { report, toMs, toPercentile } from './figures.ts';
import { startRate } from './load.ts';
import {
  openStage,
  type Stage,
  type StagedGateway,
  stagedAppSecret,
  type StagedTenant,
} from './stage.ts';

const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000);
const shuffles = Number(process.env['SHUFFLES'] ?? 8);
const kills = Number(process.env['KILLS'] ?? 5);
const floodSeconds = Number(process.env['FLOOD_SECONDS'] ?? 60);

const [burstTenant, secondBurstTenant, floodTenant, orderedTenant, firstShuffled] = [0, 1, 2, 3, 4];
const firstKilled = firstShuffled + shuffles;

let stage: Stage;
beforeAll(async () => {
  const small = Array.from({ length: shuffles + kills }, () => 3);
  stage = await openStage({ numbers: [50, 50, 20, 3, ...small] });
  // The receipt of the first body by a process is slow to store, so that there is time to end it before it answers.
  await stage.query(
    `create function delay_receipt() returns trigger language plpgsql security definer as $$
     begin
       if exists (select from public.tenant t where t.id = new.tenant_id and t.name like '% (slow)') then
         perform pg_sleep(1.5);
       end if;
       return new;
     end $$;
     create trigger delay_receipt before update on webhook_endpoint for each row execute function delay_receipt()`,
  );
}, 300_000);
afterAll(() => stage?.[Symbol.asyncDispose]());

/** Those that find nothing to wait for are done. */
async function waitForReads({ id }: StagedTenant): Promise<void> {
  for (;;) {
    // oxlint-disable no-await-in-loop -- until nothing is requested
    const due = await stage.query(
      `select from sync_plan where tenant_id = $1 and kind = 'REQUEST' and due_at < 'infinity'`,
      [id],
    );
    const read = await stage.query(
      'select from sync_subject where tenant_id = $1 and lease_holder is not null',
      [id],
    );
    if (due.length + read.length === 0) return;
    await delay(100);
    // oxlint-enable no-await-in-loop
  }
}

function toSubject(index: number, place = 0) {
  const { phoneNumberId } = stage.tenants[index]!.numbers[place]!;
  return { wabaId: String(700_000 + index), phone: `5511${phoneNumberId}`, phoneNumberId };
}

/** How often each object was read since the calls were cleared. */
function countReads(): ReadonlyMap<string, number> {
  const operations = stage.simulator.calls.flatMap((call) => call.operations);
  const byName = Map.groupBy(operations, (name) => name);
  return new Map([...byName].map(([name, of]) => [name, of.length]));
}

test.each([
  ['about its numbers', burstTenant, false],
  ['about its numbers and itself', secondBurstTenant, true],
] as const)('1,000 updates of an account in one body, %s', async (title, index, isOfAccount) => {
  await using gateway = await stage.startGateway();
  await using other = await stage.startGateway();
  expect(other.isAlive()).toBe(true);
  const tenant = stage.tenants[index]!;
  const last = Math.floor(Date.now() / 1_000);
  const events = Array.from({ length: 1_000 }, (_, place): MetaWebhookEvent => {
    const { wabaId, phone } = toSubject(index, place % 50);
    const isReview = isOfAccount && place % 10 === 0;
    const ofPhone = { display_phone_number: phone, event: 'FLAGGED', current_limit: 'TIER_2K' };
    return {
      entryId: wabaId,
      field: isReview ? 'account_review_update' : 'phone_number_quality_update',
      value: isReview ? { decision: 'APPROVED' } : ofPhone,
      happenedAt: new Date((last - place) * 1_000),
    };
  });
  const url = `${gateway.url}${tenant.webhookPath}`;
  await using sender = createWebhookSender({ url, appSecret: stagedAppSecret, fetch });
  stage.simulator.clearCalls();
  const startedAt = performance.now();
  await sender.send(events, { inOneBody: true });
  const answeredMs = performance.now() - startedAt;
  await delay(5_000);
  await waitForReads(tenant);
  const [stored] = await stage.query<{ count: number }>(
    'select count(*)::integer as count from meta_event where tenant_id = $1',
    [tenant.id],
  );
  const reads = countReads();
  const most = Math.max(...reads.values());
  const calls = stage.simulator.calls.length;
  expect(
    report(
      `1,000 updates of an account with 50 numbers in one body, ${title}: 1,000 rows, answered in 2 s, nothing read more than twice`,
      `${stored?.count} rows, answered in ${toMs(answeredMs)}; ${calls} calls to Meta, one object at most ${most} times`,
      stored?.count === 1_000 && sender.countWaiting() === 0 && answeredMs <= 2_000 && most <= 2,
    ),
  ).toBe(true);
});

/** Of this process, by the kernel. */
function readCpuMs({ process: child }: StagedGateway): number {
  const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8');
  // The name, which is in parentheses, may contain anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

interface Attack {
  readonly name: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const small = JSON.stringify({ object: 'whatsapp_business_account', entry: [] });
const forged = { 'x-hub-signature-256': `sha256=${'0'.repeat(64)}` };
/** In the shares of their places. */
const attacks: readonly Attack[] = [
  { name: 'no signature', headers: {}, body: small },
  { name: 'no signature, 100 kB', headers: {}, body: small.padEnd(100_000) },
  { name: 'wrong signature', headers: forged, body: small },
  { name: 'wrong key', headers: { 'x-api-key': `ps_${'x'.repeat(43)}` }, body: small },
  { name: 'no signature', headers: {}, body: small },
  { name: 'wrong signature', headers: forged, body: small },
  { name: 'no signature', headers: {}, body: small },
  { name: 'wrong signature, 100 kB', headers: forged, body: small.padEnd(100_000) },
  { name: 'no signature', headers: {}, body: small },
  { name: 'wrong signature', headers: forged, body: small },
];
/** Of each hundred requests one. */
const large: Attack = { name: 'wrong signature, 3 MB', headers: forged, body: small.padEnd(3e6) };

/** From another address than the callers. Resolves to how many responses there were of each status. */
async function flood(url: string, perSecond: number, seconds: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 100 });
  const statuses = new Map<string, number>();
  const open = new Set<Promise<void>>();
  const send = async ({ headers, body }: Attack): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const options = { method: 'POST', agent, headers, localAddress: '127.0.0.2' };
    const outgoing = request(url, options, (response) => {
      response.resume();
      response.once('end', () => resolve(String(response.statusCode)));
      response.once('error', () => resolve('broken'));
    });
    // A body that nobody reads breaks the connection.
    outgoing.once('error', () => resolve('broken'));
    outgoing.end(body);
    const status = await promise;
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  };
  const startedAt = performance.now();
  for (let sent = 0; sent < perSecond * seconds; sent += 1) {
    const attack = sent % 100 === 50 ? large : attacks[sent % attacks.length]!;
    const sending: Promise<void> = send(attack).finally(() => open.delete(sending));
    open.add(sending);
    const aheadMs = startedAt + (sent * 1_000) / perSecond - performance.now();
    // oxlint-disable-next-line no-await-in-loop -- at this rate
    if (aheadMs > 5) await delay(aheadMs);
  }
  await Promise.all(open);
  agent.destroy();
  return { statuses, tookMs: performance.now() - startedAt };
}

test(`10,000 requests a minute without a secret, for ${floodSeconds} s`, async () => {
  await using gateway = await stage.startGateway();
  const tenant = stage.tenants[floodTenant]!;
  const url = `${gateway.url}${tenant.webhookPath}`;
  const { key, numbers } = tenant;
  const callers = () =>
    startRate(20, (index) => ({
      url: `${gateway.url}/v1/numbers/${numbers[index % numbers.length]!.id}`,
      key,
    }));
  const measure = async (ms: number) => {
    const cpuMs = readCpuMs(gateway);
    const load = callers();
    await delay(ms);
    const durations = (await load.stop()).map(({ durationMs }) => durationMs);
    return { p95: toPercentile(durations, 0.95), cpuMs: readCpuMs(gateway) - cpuMs };
  };
  await measure(3_000);
  const quietMs = 15_000;
  const quiet = await measure(quietMs);

  await using sender = createWebhookSender({ url, appSecret: stagedAppSecret, fetch });
  const delays: number[] = [];
  const stop = new AbortController();
  const deliver = async (): Promise<void> => {
    const { wabaId, phone } = toSubject(floodTenant);
    while (!stop.signal.aborted) {
      const value = { display_phone_number: phone, event: 'PIN_CHANGED', at: delays.length };
      const event = { entryId: wabaId, field: 'security', value, happenedAt: new Date() };
      const sentAt = performance.now();
      // oxlint-disable no-await-in-loop -- one a second
      await sender.send([event]);
      delays.push(performance.now() - sentAt);
      await delay(1_000);
      // oxlint-enable no-await-in-loop
    }
  };
  const delivering = deliver();
  const cpuBefore = readCpuMs(gateway);
  const load = callers();
  const rate = 10_000 / 60;
  const { statuses, tookMs } = await flood(url, rate, floodSeconds);
  const cpuMs = readCpuMs(gateway) - cpuBefore - (quiet.cpuMs / quietMs) * tookMs;
  const durations = (await load.stop()).map(({ durationMs }) => durationMs);
  stop.abort();
  await delivering;

  const flooded = toPercentile(durations, 0.95);
  const sent = Math.round(rate * floodSeconds);
  const perRequest = cpuMs / sent;
  const tally = [...statuses].map(([status, count]) => `${status}: ${count}`).join(', ');
  const refused = [...statuses].every(([status]) =>
    ['401', '429', '503', 'broken'].includes(status),
  );
  const [stored] = await stage.query<{ count: number }>(
    'select count(*)::integer as count from meta_event where tenant_id = $1',
    [tenant.id],
  );
  const longest = Math.max(...delays);
  expect(
    report(
      '10,000 requests a minute without a secret, up to 3 MB each: 0 rows, all refused, at most 3 ms of CPU each; callers p95 at most 500 ms; signed events answered with 200 within 1 s',
      `${stored!.count - delays.length} rows of ${sent} requests (${tally}) in ${toMs(tookMs)}, ${perRequest.toFixed(2)} ms of CPU each; callers p95 ${toMs(quiet.p95)} without, ${toMs(flooded)} with; ${delays.length} signed events, longest ${toMs(longest)}, ${sender.countWaiting()} not accepted`,
      stored?.count === delays.length &&
        refused &&
        perRequest <= 3 &&
        flooded <= 500 &&
        longest <= 1_000 &&
        sender.countWaiting() === 0,
    ),
  ).toBe(true);
});

async function findPort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return String(typeof address === 'object' ? address?.port : 0);
}

test(`${kills} times kill -9 between the insert and the answer`, async () => {
  const environment = { PORT: await findPort() };
  const problems: string[] = [];
  let attempts = 0;
  for (let round = 0; round < kills; round += 1) {
    // oxlint-disable no-await-in-loop -- one kill after the other
    const index = firstKilled + round;
    const tenant = stage.tenants[index]!;
    const { wabaId, phone } = toSubject(index);
    await stage.query(`update tenant set name = name || ' (slow)' where id = $1`, [tenant.id]);
    const victim = await stage.startGateway(environment);
    await using sender = createWebhookSender({
      url: `${victim.url}${tenant.webhookPath}`,
      appSecret: stagedAppSecret,
      fetch: (sent) => ((attempts += 1), fetch(sent)),
      // Meta's pauses of minutes are seconds.
      startTimer: (ms, run) => systemClock.startTimer(ms / 60, run),
    });
    const expiration = Math.floor(Date.now() / 1_000) + 86_400;
    const restriction_info = [
      { restriction_type: 'RESTRICTED_BIZ_INITIATED_MESSAGING', expiration },
    ];
    const happenedAt = new Date();
    const events = [
      {
        entryId: wabaId,
        field: 'account_update',
        value: { event: 'ACCOUNT_RESTRICTION', restriction_info },
        happenedAt,
      },
      {
        entryId: wabaId,
        field: 'security',
        value: { display_phone_number: phone, event: 'PIN_CHANGED' },
        happenedAt,
      },
    ];
    const count = async (table: string, where = '') => {
      const [row] = await stage.query<{ count: number }>(
        `select count(*)::integer as count from ${table} where tenant_id = $1 ${where}`,
        [tenant.id],
      );
      return row!.count;
    };
    stage.simulator.clearCalls();
    const sent = sender.send(events, { inOneBody: true });
    while ((await count('meta_event')) === 0) await delay(5);
    await victim.end('SIGKILL');
    await sent;
    if (sender.countWaiting() !== 1) problems.push(`round ${round}: it was answered`);
    const next = await stage.startGateway(environment);
    while (sender.countWaiting() > 0) await delay(50);
    await delay(2_500);
    await waitForReads(tenant);
    const reads = countReads().get(`phone_numbers ${wabaId}`) ?? 0;
    const found = {
      events: await count('meta_event'),
      restrictions: await count('number_change', `and kind = 'RESTRICTION'`),
      security: await count('number_change', `and kind = 'SECURITY'`),
      requests: await count('sync_plan', `and kind = 'REQUEST'`),
    };
    const effect = JSON.stringify(found);
    const expected = '{"events":2,"restrictions":1,"security":1,"requests":1}';
    // A read that was interrupted is made again.
    if (effect !== expected || reads < 1 || reads > 2) {
      problems.push(`round ${round}: ${effect}, ${reads} reads`);
    }
    await next.end('SIGKILL');
    // oxlint-enable no-await-in-loop
  }
  expect(
    report(
      'killed after the insert and before the answer: Meta repeats, and each event has one row, one set of changes and one read, which is made again if it was interrupted',
      `${kills} kills, ${attempts} attempts of Meta; ${problems.join('; ') || 'one effect each'}`,
      problems.length === 0,
    ),
  ).toBe(true);
});

/** https://gist.github.com/tommyettinger/46a874533244883189143505d203312c */
function createRandom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function post(url: string, event: MetaWebhookEvent): Promise<Response> {
  const { entryId, field, value, happenedAt } = event;
  const time = Math.floor(happenedAt.getTime() / 1_000);
  const entry = [{ id: entryId, time, changes: [{ field, value }] }];
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry });
  const digest = createHmac('sha256', stagedAppSecret).update(body).digest('hex');
  const headers = { 'x-hub-signature-256': `sha256=${digest}` };
  return fetch(url, { method: 'POST', body, headers });
}

/** What the events of a tenant have led to, without the ids that differ between tenants. */
async function readState(tenant: StagedTenant, gateway: StagedGateway): Promise<string> {
  await waitForReads(tenant);
  const [stored] = await stage.query<Record<string, unknown>>(
    `select
       (select jsonb_agg(jsonb_build_array(e.field, e.event, e.outcome, e.applied, e.happened_at, e.payload is null) order by e.happened_at)
        from meta_event e where e.tenant_id = $1) as events,
       (select jsonb_agg(jsonb_build_array(a.notices, a.open, a.effect, a.next_end, a.ends_by_reads))
        from account_notice a where a.tenant_id = $1) as notices,
       (select jsonb_agg(jsonb_build_array(s.restriction, s.verdict, s.reply_verdict, s.rank) order by s.number_id)
        from number_status s where s.tenant_id = $1) as statuses,
       (select jsonb_agg(jsonb_build_array(c.new_value, c.occurred_at) order by c.occurred_at)
        from number_change c where c.tenant_id = $1 and c.kind = 'SECURITY') as security`,
    [tenant.id],
  );
  const query = `{ number(id: "${tenant.numbers[0]!.id}") {
    health { sendability { verdict replyVerdict reasons { field value text solution effect scope } } }
    meta { waba { restrictions { typeRaw expiresAt remediation reportedAt } ban { state date reportedAt }
      violation { type reportedAt } disconnection { reason reportedAt }
      announcedLimits { messagingLimitTier maxPhoneNumbers } } } } }`;
  const response = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-api-key': tenant.key },
    body: JSON.stringify({ query }),
  });
  const answer = (await response.json()) as { readonly data: unknown; readonly errors?: unknown };
  expect(answer.errors).toBeUndefined();
  // Digests depend on the id of the account.
  return JSON.stringify([stored, answer]).replaceAll(/"digest":"[0-9a-f]{64}"/g, '');
}

test(`every documented event, tripled and shuffled ${shuffles} times, through two processes`, async () => {
  const gateways = [await stage.startGateway(), await stage.startGateway()] as const;
  const until = new Date(Date.now() - 60_000);
  const read = async ({ key, numbers }: StagedTenant) => {
    for (const { id } of numbers) {
      const headers = { 'x-api-key': key };
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await fetch(`${gateways[0].url}/v1/numbers/${id}?refresh=1`, { headers });
    }
  };
  const ordered = stage.tenants[orderedTenant]!;
  await read(ordered);
  const events = listDocumentedEvents(toSubject(orderedTenant), until);
  for (const event of events) {
    // oxlint-disable-next-line no-await-in-loop -- in order
    const { status } = await post(`${gateways[0].url}${ordered.webhookPath}`, event);
    expect(status).toBe(200);
  }
  const expected = await readState(ordered, gateways[0]);
  const random = createRandom(seed);
  const differing: number[] = [];
  for (let round = 0; round < shuffles; round += 1) {
    // oxlint-disable no-await-in-loop -- one tenant after the other
    const tenant = stage.tenants[firstShuffled + round]!;
    await read(tenant);
    const once = listDocumentedEvents(toSubject(firstShuffled + round), until);
    const shuffled = [...once, ...once, ...once]
      .map((event) => ({ event, place: random() }))
      .toSorted((one, other) => one.place - other.place);
    const waiting = shuffled.map(({ event }, index) => ({
      event,
      url: `${gateways[index % 2]!.url}${tenant.webhookPath}`,
    }));
    const worker = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        expect((await post(next.url, next.event)).status).toBe(200);
      }
    };
    await Promise.all(Array.from({ length: 4 }, worker));
    const state = await readState(tenant, gateways[1]);
    if (state !== expected) {
      differing.push(round);
      const at = [...expected].findIndex((character, place) => character !== state[place]);
      const [from, to] = [Math.max(0, at - 100), at + 200];
      process.stdout.write(`… ${expected.slice(from, to)}\nbut … ${state.slice(from, to)}\n`);
    }
    // oxlint-enable no-await-in-loop
  }
  await Promise.all(gateways.map((gateway) => gateway.end('SIGKILL')));
  expect(
    report(
      `every documented event, integers and texts, tripled and shuffled (SEED=${seed}), through two processes: the same state as once and in order`,
      `${events.length} events, ${shuffles} orders, ${differing.length} differ`,
      differing.length === 0,
    ),
  ).toBe(true);
});
