// What reads in the background take: CPU, rows and log of the database, and the time of callers.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { report, toPercentile } from './figures.ts';
import { type LoadResponse, startCallers } from './load.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';

const tenants = 10;
const accountsOfTenant = 10;
const numbersOfAccount = Number(process.env['NUMBERS_OF_ACCOUNT'] ?? 100);
const accounts = tenants * accountsOfTenant;
/** How long the cadence of the settings is measured; all accounts are read once in it. */
const seconds = Number(process.env['SECONDS'] ?? 300);

let stage: Stage;

beforeAll(async () => {
  stage = await openStage({
    numbers: Array.from({ length: tenants }, () => accountsOfTenant * numbersOfAccount),
    numbersOfAccount,
  });
}, 600_000);
afterAll(() => stage?.[Symbol.asyncDispose]());

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK']));

/** Seconds of CPU, with those of its ended children. */
function readCpu(pid: number, withChildren: boolean): number {
  // The name in parentheses may have spaces.
  const values = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ').map(Number);
  const own = values[11]! + values[12]!;
  return (withChildren ? own + values[13]! + values[14]! : own) / ticksPerSecond;
}

async function readDatabaseCpu(): Promise<number> {
  const [row] = await stage.query<{ pid: string }>(
    `select split_part(pg_read_file('postmaster.pid'), chr(10), 1) as pid`,
  );
  const parent = Number(row!.pid);
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(parent)], {
    encoding: 'utf8',
  });
  const running = children
    .trim()
    .split(/\s+/)
    .map((pid) => {
      try {
        return readCpu(Number(pid), false);
      } catch {
        // It has ended since, and is counted with its parent.
        return 0;
      }
    });
  return running.reduce((sum, it) => sum + it, readCpu(parent, true));
}

interface Usage {
  readonly gatewayCpu: number;
  readonly databaseCpu: number;
  readonly walBytes: number;
  readonly snapshots: number;
  readonly statuses: number;
  readonly lists: number;
  readonly healthLists: number;
}

async function readUsage(gateway: StagedGateway): Promise<Usage> {
  const [row] = await stage.query<Record<'wal' | 'snapshots' | 'statuses', number>>(
    `select (pg_current_wal_insert_lsn() - '0/0')::float8 as wal,
       (select sum(n_tup_ins + n_tup_upd)::float8 from pg_stat_user_tables where relname = 'number_snapshot') as snapshots,
       (select sum(n_tup_ins + n_tup_upd)::float8 from pg_stat_user_tables where relname = 'number_status') as statuses`,
  );
  const lists = stage.simulator.calls.filter(({ path }) => path.endsWith('/phone_numbers'));
  return {
    gatewayCpu: readCpu(gateway.process.pid!, false),
    databaseCpu: await readDatabaseCpu(),
    walBytes: row!.wal,
    snapshots: row!.snapshots,
    statuses: row!.statuses,
    lists: lists.length,
    healthLists: lists.filter(({ query }) => query['fields']?.includes('health_status')).length,
  };
}

async function measure(gateway: StagedGateway, forSeconds: number): Promise<Usage> {
  stage.simulator.clearCalls();
  const before = await readUsage(gateway);
  await delay(forSeconds * 1_000);
  const after = await readUsage(gateway);
  const entries = Object.entries(after) as [keyof Usage, number][];
  return Object.fromEntries(
    entries.map(([name, value]) => [name, value - before[name]]),
  ) as unknown as Usage;
}

async function untilAllAreRead(): Promise<void> {
  const isMissing = `kind in ('SWEEP', 'HEALTH', 'PROFILE', 'ACCOUNT') and last_ok_at is null`;
  // oxlint-disable no-await-in-loop -- again and again
  while ((await stage.query(`select from sync_plan where ${isMissing}`)).length > 0) {
    await delay(500);
  }
  // oxlint-enable no-await-in-loop
}

/** Spreads the next reads over so many seconds, as they are after an interval; null for never. */
async function plan(sweepSeconds: number, healthSeconds: number | null): Promise<void> {
  for (const [kind, spread] of [
    ['SWEEP', sweepSeconds],
    ['HEALTH', healthSeconds],
  ] as const) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await stage.query(
      `update sync_plan set due_at = case when $2::float8 is null then now() + interval '1 day'
         else now() + random() * $2 * interval '1 second' end where kind = $1`,
      [kind, spread],
    );
  }
}

const toPercent = (cpu: number, ofSeconds: number) => `${((100 * cpu) / ofSeconds).toFixed(2)} %`;
const print = (line: string) => process.stdout.write(`       ${line}\n`);
const toLoad = () => readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 2).join(' ');

test(`${accounts * numbersOfAccount} numbers in ${accounts} accounts, read every 300 s and with their health every 900 s`, async () => {
  print(`load of the machine: ${toLoad()}`);
  const gateway = await stage.startGateway({ SYNC: 'on' });
  await untilAllAreRead();
  // As after hours: the first reads were all due at once.
  await plan(300, 900);
  await delay(5_000);
  const usage = await measure(gateway, seconds);
  await gateway.end('SIGTERM');
  const without = await stage.startGateway({ SYNC: 'off' });
  await delay(5_000);
  const idle = await measure(without, Math.min(seconds, 60));
  await without.end('SIGTERM');
  print(
    `in ${seconds} s ${usage.lists} lists, ${usage.healthLists} of them with the health; rows written a minute: ${Math.round((usage.snapshots * 60) / seconds)} of number_snapshot, ${Math.round((usage.statuses * 60) / seconds)} of number_status; WAL ${(usage.walBytes / 1e6 / (seconds / 60)).toFixed(2)} MB a minute; PostgreSQL ${toPercent(usage.databaseCpu, seconds)} of a core; load ${toLoad()}`,
  );
  expect(
    report(
      `${accounts * numbersOfAccount} numbers in ${accounts} accounts read every 300 s, with their health every 900 s: at most 5 % of a core for the gateway`,
      `${toPercent(usage.gatewayCpu, seconds)}; with SYNC=off ${toPercent(idle.gatewayCpu, Math.min(seconds, 60))}`,
      usage.gatewayCpu / seconds <= 0.05 && usage.lists >= (accounts * seconds * 0.9) / 300,
    ),
  ).toBe(true);
});

const fleetQuery = `{ fleet(first: 50) { totalCount facets { verdict { value count } qualityRating { value count }
  metaStatus { value count } stale failing } nodes { id name health { qualityRating sendability { verdict } } } } }`;

async function measureQuery(gateway: StagedGateway): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 30; round += 1) {
    for (const { key } of stage.tenants.slice(0, 3)) {
      const startedAt = performance.now();
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const response = await post(gateway, key, fleetQuery);
      times.push(performance.now() - startedAt);
      expect(response).toContain('totalCount');
    }
  }
  return toPercentile(times, 0.5);
}

async function post({ url }: StagedGateway, key: string, query: string): Promise<string> {
  const headers = { 'x-api-key': key, 'content-type': 'application/json' };
  const body = JSON.stringify({ query });
  return await (await fetch(`${url}/graphql`, { method: 'POST', headers, body })).text();
}

test('what the reads with the health take, beyond those without', async () => {
  const every = { SYNC: 'on', SYNC_SWEEP_SECONDS: '30', ANSWER_CACHE_MB: '0' };
  // Four reads with the health, as an hour has.
  const window = 120;
  const usages: Usage[] = [];
  const queries: number[] = [];
  for (const healthSeconds of [null, 30]) {
    // oxlint-disable no-await-in-loop -- one after the other
    await plan(30, healthSeconds);
    const gateway = await stage.startGateway({
      ...every,
      SYNC_HEALTH_SECONDS: String(healthSeconds ?? 1_800),
    });
    queries.push(await measureQuery(gateway));
    usages.push(await measure(gateway, window));
    queries.push(await measureQuery(gateway));
    await gateway.end('SIGTERM');
    // oxlint-enable no-await-in-loop
  }
  const [plain, health] = usages as [Usage, Usage];
  const perList = (value: number, { lists }: Usage) => (1_000 * value) / lists;
  const extra = perList(health.gatewayCpu, health) - perList(plain.gatewayCpu, plain);
  const extraDatabase = perList(health.databaseCpu, health) - perList(plain.databaseCpu, plain);
  // Each account has 4 of them an hour.
  const perHour = (value: number) => (value / 1_000) * accounts * 4;
  print(
    `CPU of the gateway for a list: ${perList(plain.gatewayCpu, plain).toFixed(1)} ms without the health (${plain.lists} lists), ${perList(health.gatewayCpu, health).toFixed(1)} ms with it and unchanged (${health.lists}); of PostgreSQL ${perList(plain.databaseCpu, plain).toFixed(1)} and ${perList(health.databaseCpu, health).toFixed(1)} ms`,
  );
  print(
    `unchanged reads with the health every 900 s take ${toPercent(perHour(extra), 3_600)} of a core for the gateway and ${toPercent(perHour(extraDatabase), 3_600)} for PostgreSQL; in an hour ${Math.round((health.snapshots * 4 * accounts) / health.lists)} rows of number_snapshot, ${Math.round((health.statuses * 4 * accounts) / health.lists)} of number_status and ${(((health.walBytes / health.lists - plain.walBytes / plain.lists) * 4 * accounts) / 1e6).toFixed(1)} MB of WAL`,
  );
  print(
    `p50 of a page with its total and facets: ${queries.map((ms) => `${ms.toFixed(1)} ms`).join(', ')} (before and after ${window} s without and with rewrites)`,
  );
  expect(health.lists).toBeGreaterThan(accounts * 3);
});

const blocks = Number(process.env['BLOCKS'] ?? 6);
const blockMs = Number(process.env['BLOCK_SECONDS'] ?? 15) * 1_000;

const numberFields =
  'id name state health { qualityRating sendable sendability { verdict } freshness { ageSeconds stale } }';
const toNumberQuery = (id: string) => `{ number(id: "${id}") { ${numberFields} } }`;

function toP95(of: readonly (readonly LoadResponse[])[], kind: number): number {
  const these = of.filter((_, index) => index % 2 === kind).flat();
  expect(these.every(({ status }) => status === 200)).toBe(true);
  return toPercentile(
    these.map(({ durationMs }) => durationMs),
    0.95,
  );
}

test('callers with sync on and off, interleaved', async () => {
  const off = await stage.startGateway({ SYNC: 'off' });
  const on = await stage.startGateway({ SYNC: 'on' });
  await plan(300, 900);
  const all = stage.tenants.flatMap(({ key, numbers }) => numbers.map(({ id }) => ({ key, id })));
  const callFor = async ({ url }: StagedGateway, query: 'numbers' | 'number') => {
    const load = startCallers(1, (index) => {
      const { key, id } = all[(index * 7_919) % all.length]!;
      const body = JSON.stringify({
        query: query === 'numbers' ? `{ numbers { ${numberFields} } }` : toNumberQuery(id),
      });
      return { url: `${url}/graphql`, key, body };
    });
    await delay(blockMs / 2);
    return await load.stop();
  };
  const responses = {
    off: [] as (readonly LoadResponse[])[],
    on: [] as (readonly LoadResponse[])[],
  };
  // Both of a kind follow each other, so that what else the machine does hits both.
  on.process.kill('SIGSTOP');
  for (let block = 0; block < blocks; block += 1) {
    // oxlint-disable no-await-in-loop -- one after the other
    responses.off.push(await callFor(off, 'numbers'), await callFor(off, 'number'));
    on.process.kill('SIGCONT');
    responses.on.push(await callFor(on, 'numbers'), await callFor(on, 'number'));
    on.process.kill('SIGSTOP');
    // oxlint-enable no-await-in-loop
  }
  on.process.kill('SIGCONT');
  const results = (['numbers', 'number(id)'] as const).map((name, kind) => {
    const times = { off: toP95(responses.off, kind), on: toP95(responses.on, kind) };
    return report(
      `p95 of ${name} with sync at most 1.25 times that without`,
      `${times.on.toFixed(2)} ms with, ${times.off.toFixed(2)} ms without: ${(times.on / times.off).toFixed(2)} times; load ${toLoad()}`,
      times.on <= 1.25 * times.off,
    );
  });
  expect(results).not.toContain(false);
});
