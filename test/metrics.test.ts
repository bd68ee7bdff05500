// The Prometheus metrics: what they count, where they are served, and that they identify nobody.

import { expect, test } from 'vitest';
import { listen } from '../src/http/server.ts';
import type { Fault } from './simulator/simulator.ts';
import { openTestDatabase, openTestGateway } from './harness.ts';

const local = { host: '127.0.0.1', port: 0, noticeMs: 0 };

test('metrics count requests and upstream calls, and contain no tenant, number, key or text of a caller', async () => {
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

test('metrics show problems with upstreams: retries, refused tokens, open circuit breakers, used budgets', async () => {
  await using gateway = await openTestGateway();
  const { simulator } = gateway;
  const readSeries = async () => toSeries((await gateway.gateway.metrics!.render()).text);
  expect(await readSeries()).toMatchObject({
    'gateway_upstream_circuit_open{upstream="graph"}': 0,
    gateway_token_quarantines_total: 0,
    gateway_meta_usage_percent: 0,
  });
  const refresh = async (fault: Fault | null, times: number) => {
    const tenant = await gateway.addTenant();
    const { id, phoneNumberId, wabaId } = await tenant.addNumber();
    simulator.setWaba({ id: wabaId, fields: {}, hourlyCalls: 20 });
    simulator.setFault(phoneNumberId, fault);
    for (let time = 0; time < times; time += 1) {
      // oxlint-disable-next-line no-await-in-loop -- in sequence
      await tenant.rest(`/v1/numbers/${id}/status`);
    }
  };
  await refresh(null, 8);
  await refresh(null, 1);
  await refresh({ kind: 'error', code: 2, transient: true }, 1);
  await refresh({ kind: 'error', code: 190 }, 4);
  // The circuit breaker of all tenants opens when five tenants get no response.
  for (let tenants = 0; tenants < 5; tenants += 1) {
    // oxlint-disable-next-line no-await-in-loop -- in sequence
    await refresh({ kind: 'reset' }, 1);
  }
  simulator.setFault('*', { kind: 'reset' });
  const unofficial = await gateway.addTenant();
  for (let numbers = 0; numbers < 10; numbers += 1) {
    // oxlint-disable-next-line no-await-in-loop -- in sequence
    const { id } = await unofficial.addNumber({ provider: 'PILOT_STATUS' });
    // oxlint-disable-next-line no-await-in-loop -- in sequence
    expect((await unofficial.rest(`/v1/numbers/${id}/status`)).status).toBe(503);
  }
  expect(await readSeries()).toMatchObject({
    'gateway_upstream_retries_total{upstream="graph"}': 10,
    gateway_token_quarantines_total: 1,
    'gateway_upstream_circuit_open{upstream="graph"}': 1,
    'gateway_upstream_circuit_openings_total{upstream="graph",of="all"}': 1,
    // Opened for one tenant, which says little about the others.
    'gateway_upstream_circuit_open{upstream="session engine"}': 0,
    'gateway_upstream_circuit_openings_total{upstream="session engine",of="tenant"}': 1,
    'gateway_upstream_calls_total{upstream="session engine",outcome="UNAVAILABLE"}': 8,
    // The highest value, not the last one, which is lower.
    gateway_meta_usage_percent: 40,
    'gateway_upstream_calls_total{upstream="graph",outcome="META_ACCESS_DENIED"}': 3,
  });
});

/** The values of the gateway's own metrics, by name and labels. */
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
  '%s responds with 404',
  async (path) => {
    await using gateway = await openTestGateway();
    const server = await listen(gateway.gateway, local);
    expect((await fetch(`${server.url}${path}`)).status).toBe(404);
    await server.drain();
  },
);

test('metrics count cached responses, and show whether the change feed is current', async () => {
  // With a clock that stands still, the feed stays current however busy the machine is.
  await using database = await openTestDatabase('PGlite', { changeFeed: { clock: () => 0 } });
  const environment = { ANSWER_CACHE_MB: '32' };
  await using gateway = await openTestGateway({ database, environment });
  const tenant = await gateway.addTenant();
  await database.changes.catchUp();
  for (const path of ['/v1/numbers', '/v1/numbers', '/v1/numbers', '/v1/numbers/wa_none']) {
    // oxlint-disable-next-line no-await-in-loop -- in sequence
    await tenant.rest(path);
  }
  expect(toSeries((await gateway.gateway.metrics!.render()).text)).toMatchObject({
    'gateway_answers_total{source="memory"}': 2,
    'gateway_answers_total{source="shared"}': 0,
    'gateway_answers_total{source="read"}': 2,
    gateway_change_feed_current: 1,
  });
});

test('METRICS=off removes the route', async () => {
  await using gateway = await openTestGateway({ environment: { METRICS: 'off' } });
  const server = await listen(gateway.gateway, local);
  expect((await fetch(`${server.url}/metrics`)).status).toBe(404);
  await server.drain();
});

test('a list of 10,000 numbers is one observation of the snapshot age, that of its oldest number', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  await gateway.database.query(
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
     select $1, 'wa_' || n, '5511999999999', 'Number', 'META', 'OPEN', (10000000 + n)::text, '10000000' from generate_series(1, 10000) n`,
    [tenant.id],
  );
  await gateway.database.query(
    `insert into number_snapshot (tenant_id, number_id, block, data, observed_at, attempted_at)
     select $1, 'wa_' || n, 'phone', '{}', at, at
     from generate_series(1, 10000) n, lateral (select now() - interval '1 second' * (20 + n % 1000) as at) a`,
    [tenant.id],
  );
  const readAges = async () => {
    const series = toSeries((await gateway.gateway.metrics!.render()).text);
    const name = 'gateway_snapshot_age_seconds';
    return [
      series[`${name}_count`],
      series[`${name}_bucket{le="900"}`],
      series[`${name}_bucket{le="3600"}`],
    ];
  };
  const { body } = await tenant.graphql<{ numbers: readonly unknown[] }>(
    '{ numbers { health { freshness { source } } } }',
  );
  expect(body.data?.numbers).toHaveLength(10_000);
  expect(await readAges()).toEqual([1, 0, 1]);
  await tenant.graphql('{ numbers { id health { sendable } } }');
  expect(await readAges()).toEqual([1, 0, 1]);
});
