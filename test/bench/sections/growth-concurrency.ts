// Measures lists of several tenants at once, served by one process and by several processes on one database.

import { availableParallelism } from 'node:os';
import { type GatewayName, gatewayName, startGateway, uncachedName } from '../contestants.ts';
import type { BenchDatabase } from '../databases.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { putUnderLoad, type Sample } from '../load.ts';
import { toRequest } from '../shapes.ts';
import type { StartedProcess } from '../started-process.ts';
import { toRounded } from '../statistics.ts';
import { type Cell, type Findings, nothingFound, type Table, type Workbench } from './section.ts';

const tenantCounts = [1, 10, 100, 1_000];
const processCounts = [1, 2, 4, 8];
const connections = 32;
const gateways: readonly GatewayName[] = [uncachedName, gatewayName];

export async function measureConcurrency({ openFleet, quick, log }: Workbench): Promise<Findings> {
  if (quick) return { ...nothingFound, notes: ['Several tenants and processes were left out.'] };
  const database = await openFleet();
  log('growth: tenants at once');
  const tenants = await inTurn(gateways, (name) => measureTenants(database, name));
  log('growth: processes on one database');
  const processes = await inTurn(gateways, (name) => measureProcesses(database, name));
  return {
    measurements: [],
    tables: [
      toTable('Lists of several tenants at once, one process', 'tenants', tenantCounts, tenants),
      toTable('Lists of 1,000 tenants, several processes', 'processes', processCounts, processes),
    ],
    notes: [
      `All processes share ${availableParallelism()} cores with PostgreSQL and the load generator; while these are busy, more processes add nothing.`,
    ],
  };
}

async function measureTenants(
  database: BenchDatabase,
  name: GatewayName,
): Promise<readonly Sample[]> {
  await using gateway = await startGateway(database, {}, name);
  return await inTurn(tenantCounts, async (count) => {
    await load([gateway], count, 1);
    const [sample] = await load([gateway], count, 3);
    if (sample === undefined) throw new Error('No gateway was measured.');
    return sample;
  });
}

/** The sum of their throughputs; the times are those of the slowest. */
async function measureProcesses(
  database: BenchDatabase,
  name: GatewayName,
): Promise<readonly Sample[]> {
  await using made = new AsyncDisposableStack();
  const started = await inTurn(toRange(Math.max(...processCounts)), async () =>
    made.use(await startGateway(database, {}, name)),
  );
  return await inTurn(processCounts, async (count) => {
    const some = started.slice(0, count);
    await load(some, 1_000, 2);
    const samples = await load(some, 1_000, 4);
    return {
      requestsPerSecond: samples.reduce((sum, sample) => sum + sample.requestsPerSecond, 0),
      p50Ms: Math.max(...samples.map((sample) => sample.p50Ms)),
      p99Ms: Math.max(...samples.map((sample) => sample.p99Ms)),
      failures: samples.reduce((sum, sample) => sum + sample.failures, 0),
    };
  });
}

async function load(
  started: readonly StartedProcess[],
  tenants: number,
  seconds: number,
): Promise<readonly Sample[]> {
  const requests = toRange(tenants).map((index) => toRequest('list', index + 1));
  return await Promise.all(
    started.map(({ url }) =>
      putUnderLoad({ url, requests, connections: connections / started.length, seconds }),
    ),
  );
}

function toTable(
  title: string,
  counted: string,
  counts: readonly number[],
  found: readonly (readonly Sample[])[],
): Table {
  return {
    title,
    columns: [
      counted,
      ...['cache off', 'as shipped'].flatMap((how) => [`${how}, req/s`, 'p50 ms', 'p99 ms']),
    ],
    rows: counts.map((count, index): readonly Cell[] => [
      count,
      ...found.flatMap((samples): readonly Cell[] => {
        const sample = samples[index];
        if (sample === undefined) return ['', '', ''];
        return [sample.requestsPerSecond, sample.p50Ms, sample.p99Ms].map(toRounded);
      }),
    ]),
  };
}
