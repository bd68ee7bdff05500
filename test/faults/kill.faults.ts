// A gateway killed during refreshes loses nothing that it has acknowledged, and does not block other processes.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { aliveMs } from '../../src/numbers/lease.ts';
import { report } from './figures.ts';
import { type LoadResponse, startCallers, toTally } from './load.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

const kills = Number(process.env['KILLS'] ?? 80);
// The deadline of a live read, and the slack of its lease.
const maxLeaseMs = 10_000;

let stage: Stage;
let survivor: StagedGateway;

beforeAll(async () => {
  stage = await openStage({ numbers: [10] });
  stage.simulator.setFault('*', { kind: 'latency', ms: 20 });
  // A trigger records every write that replaces a newer value.
  for (const statement of [
    'create table older_write (number_id text, at timestamptz default clock_timestamp())',
    `create function record_older_write() returns trigger language plpgsql security definer as $$
     begin
       insert into older_write (number_id) values (new.number_id);
       return null;
     end $$`,
    `create trigger record_older_write after update on number_snapshot for each row
     when (new.observed_at < old.observed_at) execute function record_older_write()`,
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await stage.query(statement);
  }
  survivor = await stage.startGateway();
});

afterAll(async () => {
  await stage[Symbol.asyncDispose]();
});

interface Detail {
  readonly id: string;
  readonly meta: { readonly fetchedAt: string } | null;
}

/** The latest acknowledged time of each number. */
function toAcknowledged(responses: readonly LoadResponse[]): ReadonlyMap<string, number> {
  const latest = new Map<string, number>();
  for (const { status, body } of responses) {
    if (status !== 200) continue;
    const { id, meta } = JSON.parse(body) as Detail;
    const at = Date.parse(meta?.fetchedAt ?? '');
    if (at > (latest.get(id) ?? 0)) latest.set(id, at);
  }
  return latest;
}

test(`${kills} times kill -9 of one of two gateways during refreshes loses nothing`, async () => {
  const tenant = stage.tenants[0]!;
  const responses: LoadResponse[] = [];
  let [lost, overdue] = [0, 0];
  // Started while the previous one is under load, so that a kill does not wait for a start.
  let next = stage.startGateway();
  for (let round = 0; round < kills; round++) {
    // oxlint-disable no-await-in-loop -- one kill after the other
    const victim = await next;
    next = stage.startGateway();
    const urls = [victim.url, survivor.url];
    const load = startCallers(12, (index) => ({
      url: `${urls[index % 2]}/v1/numbers/${tenant.numbers[index % tenant.numbers.length]!.id}?refresh=1`,
      key: tenant.key,
    }));
    await delay(100 + (round % 20) * 10);
    await victim.end('SIGKILL');
    const received = await load.stop();
    responses.push(...received);
    const rows = await stage.query<{ id: string; at: Date }>(
      `select number_id as id, min(observed_at) as at from number_snapshot group by 1`,
    );
    const acknowledged = toAcknowledged(received);
    for (const { id, at } of rows) {
      const stored = at.getTime();
      // `fetchedAt` is the time of the oldest block, which may be the account's.
      if (stored < (acknowledged.get(id) ?? 0)) lost++;
    }
    const leases = await stage.query<{ ms: number }>(
      `select extract(epoch from expires_at - clock_timestamp())::float8 * 1000 as ms from refresh_lease`,
    );
    overdue += leases.filter(({ ms }) => ms > maxLeaseMs + 2_000).length;
    // oxlint-enable no-await-in-loop
  }
  await (await next).end('SIGKILL');
  // Leases of killed processes end although they have not expired.
  await delay(aliveMs);
  const [older] = await stage.query<{ count: number }>(
    'select count(*)::int as count from older_write',
  );
  const [left] = await stage.query<{ count: number }>(
    `select count(*)::int as count from refresh_lease where expires_at > clock_timestamp() and not exists (
       select from lease_holder
       where lease_holder.holder = split_part(refresh_lease.holder, '/', 1) and alive_until <= clock_timestamp())`,
  );
  const failures = responses.filter(
    ({ status, problem }) =>
      status !== 200 &&
      !['ECONNRESET', 'ECONNREFUSED'].includes(problem ?? '') &&
      !problem?.startsWith('cut'),
  );
  process.stdout.write(`       responses: ${toTally(responses)}\n`);
  expect(survivor.isAlive()).toBe(true);
  expect(
    report(
      `${kills} kill -9 during refreshes: no acknowledged write lost, no newer value overwritten by an older one, no lease past its time, only the killed process fails`,
      `${lost} lost, ${older?.count} overwritten by older values, ${overdue} leases too long, ${left?.count} leases left after ${aliveMs} ms, ${failures.length} other failures of ${responses.length}`,
      lost + (older?.count ?? 1) + overdue + (left?.count ?? 1) + failures.length === 0 &&
        responses.length > kills,
    ),
  ).toBe(true);
});
