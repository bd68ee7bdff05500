// What Prometheus is told, where, and that it holds nothing of anybody.

import { expect, test } from 'vitest';
import { listen } from '../src/http/server.ts';
import type { Fault } from '../src/simulator/simulator.ts';
import { openTestDatabase, openTestGateway } from './harness.ts';

const local = { host: '127.0.0.1', port: 0, noticeMs: 0 };

test('the metrics count requests and upstream reads, and name no tenant, number, key or word of a caller', async () => {
  await using gateway = await openTestGateway({ database: 'PostgreSQL' });
  const tenant = await gateway.addTenant('Canary tenant');
  const { id, number } = await tenant.addNumber({ name: 'Canary number' });
  await tenant.graphql(
    `query Canary { number(id: "${id}", refresh: true) { id health { freshness { source } } } }`,
  );
  await tenant.graphql('{ numbers { id } }');
  await tenant.rest('/v1/numbers/Canary');
  const server = await listen(gateway.gateway, local);
  const reply = await fetch(`${server.url}/metrics`);
  const text = await reply.text();
  await server.drain();
  expect(reply.headers.get('content-type')).toMatch(/^text\/plain/);
  for (const line of [
    'gateway_request_duration_seconds_count{door="graphql",operation="number live",status="200"} 1',
    'gateway_request_duration_seconds_count{door="graphql",operation="numbers",status="200"} 1',
    'gateway_request_duration_seconds_count{door="rest",operation="getNumber",status="404"} 1',
    'gateway_requests_under_way 0',
  ]) {
    expect(text).toContain(line);
  }
  expect(text).toMatch(/gateway_upstream_calls_total\{upstream="graph",outcome="ok"\} [1-9]/);
  expect(text).toMatch(/gateway_snapshot_age_seconds_count [1-9]/);
  expect(text).toMatch(/gateway_event_loop_delay_seconds \d/);
  expect(text).toContain('process_cpu_user_seconds_total');
  for (const given of ['Canary', tenant.id, id, number, ...gateway.secrets]) {
    expect(text).not.toContain(given);
  }
});

test('the metrics tell what is wrong with an upstream: retries, tokens, circuits, budgets', async () => {
  await using gateway = await openTestGateway();
  const { simulator } = gateway;
  const told = async () => toSeries((await gateway.gateway.metrics!.render()).text);
  expect(await told()).toMatchObject({
    'gateway_upstream_circuit_open{upstream="graph"}': 0,
    gateway_token_quarantines_total: 0,
    gateway_meta_usage_percent: 0,
  });
  const ask = async (fault: Fault | null, times: number) => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    simulator.setWaba({ id: wabaId, fields: {}, hourlyCalls: 20 });
    simulator.setFault(phoneNumberId, fault);
    for (let time = 0; time < times; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await tenant.rest(`/v1/numbers/${id}/status`);
    }
  };
  await ask(null, 8);
  await ask(null, 1);
  await ask({ kind: 'error', code: 2, transient: true }, 1);
  await ask({ kind: 'error', code: 190 }, 4);
  // Five tenants that get no answer prove that nobody does.
  for (let tenants = 0; tenants < 5; tenants += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await ask({ kind: 'reset' }, 1);
  }
  simulator.setFault('*', { kind: 'reset' });
  const unofficial = await gateway.addTenant();
  for (let numbers = 0; numbers < 10; numbers += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const { id } = await unofficial.addNumber({ provider: 'PILOT_STATUS' });
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    expect((await unofficial.rest(`/v1/numbers/${id}/status`)).status).toBe(503);
  }
  expect(await told()).toMatchObject({
    'gateway_upstream_retries_total{upstream="graph"}': 10,
    gateway_token_quarantines_total: 1,
    'gateway_upstream_circuit_open{upstream="graph"}': 1,
    'gateway_upstream_circuit_openings_total{upstream="graph",of="all"}': 1,
    // Of one tenant, which proves little to the others.
    'gateway_upstream_circuit_open{upstream="session engine"}': 0,
    'gateway_upstream_circuit_openings_total{upstream="session engine",of="tenant"}': 1,
    'gateway_upstream_calls_total{upstream="session engine",outcome="UNAVAILABLE"}': 8,
    // Not what was told last, which is less.
    gateway_meta_usage_percent: 40,
    'gateway_upstream_calls_total{upstream="graph",outcome="META_ACCESS_DENIED"}': 3,
  });
});

/** What is ours, by name and labels. */
function toSeries(text: string): Readonly<Record<string, number>> {
  const lines = text.split('\n').filter((line) => line.startsWith('gateway_'));
  return Object.fromEntries(
    lines.map((line) => {
      const [, series = '', value] = /^(.*) (\S+)$/.exec(line) ?? [];
      return [series, Number(value)];
    }),
  );
}

test.each(['/metrics/', '/metrics?x', '//metrics', '/v1/metrics'])(
  '%s is no route',
  async (path) => {
    await using gateway = await openTestGateway();
    const server = await listen(gateway.gateway, local);
    expect((await fetch(`${server.url}${path}`)).status).toBe(404);
    await server.drain();
  },
);

test('the metrics tell what comes from memory, and whether the database tells of changes', async () => {
  // A feed that was once heard stays current, however busy the machine is.
  await using database = await openTestDatabase('PGlite', { changeFeed: { clock: () => 0 } });
  const environment = { ANSWER_CACHE_MB: '32' };
  await using gateway = await openTestGateway({ database, environment });
  const tenant = await gateway.addTenant();
  await database.changes.catchUp();
  for (const path of ['/v1/numbers', '/v1/numbers', '/v1/numbers', '/v1/numbers/wa_none']) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await tenant.rest(path);
  }
  expect(toSeries((await gateway.gateway.metrics!.render()).text)).toMatchObject({
    'gateway_answers_total{source="memory"}': 2,
    'gateway_answers_total{source="shared"}': 0,
    'gateway_answers_total{source="read"}': 2,
    gateway_change_feed_current: 1,
  });
});

test('METRICS=off takes the page away', async () => {
  await using gateway = await openTestGateway({ environment: { METRICS: 'off' } });
  const server = await listen(gateway.gateway, local);
  expect((await fetch(`${server.url}/metrics`)).status).toBe(404);
  await server.drain();
});
