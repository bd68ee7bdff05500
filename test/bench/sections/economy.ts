// Counts the requests and operations with which live reads reach a simulated Graph API over HTTP.

import { createTestSimulator, type TestSimulator } from '../../simulator/simulator.ts';
import { sendAtOnce } from '../simultaneous.ts';
import { startGateway } from '../contestants.ts';
import { type GraphTenant, openGraphFleet } from '../graph-fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { type BenchResponse, send, toGraphQLRequest } from '../shapes.ts';
import type { StartedProcess } from '../started-process.ts';
import {
  atLeast,
  atMost,
  type Findings,
  type Section,
  type Table,
  type Workbench,
} from './section.ts';

/** Numbers in one request: the gateway accepts at most 30 aliases. */
const maxAliases = 30;
const sizes = [1, 25, 50, 200];
const wabaCounts = [1, 5, 50];
const processes = 3;
const simultaneous = 1_000;

const names = {
  all: 'economy, HTTP requests to Graph for 25 numbers of one WABA',
  alone: 'economy, Graph calls for health alone',
  more: 'economy, operations at Graph beyond the fewest, all fleets together',
  simultaneous: `economy, upstream reads for ${simultaneous} simultaneous refreshes over ${processes} processes`,
  live: `economy, how many of these ${simultaneous} were answered live`,
};

export const economy: Section = {
  toGoals: () => [
    atMost(2, names.all),
    atMost(1, names.alone),
    atMost(0, names.more),
    atMost(1, names.simultaneous),
    atLeast(simultaneous, names.live),
  ],
  measure: countGraphCalls,
};

async function countGraphCalls({ openFleet, log }: Workbench): Promise<Findings> {
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const simulator = made.use(createTestSimulator());
  const { url } = await simulator.listen();
  const fleet = made.use(await openGraphFleet(database, simulator, url));
  const gateways = await inTurn(toRange(processes), async () =>
    made.use(await startGateway(database, { META_GRAPH_URL: url })),
  );
  const [gateway] = gateways;
  if (gateway === undefined) throw new Error('No gateway was started.');
  const counts = await inTurn(wabaCounts, async (wabas) => {
    log(`Graph economy: fleets over ${wabas} WABAs`);
    const tenant = await fleet.addTenant({ numbers: Math.max(...sizes), wabas });
    return await inTurn(sizes, (size) => refreshAll(gateway, simulator, tenant, size));
  });
  const all = counts.flat();
  const tenant = await fleet.addTenant({ numbers: 2, wabas: 1 });
  const alone = await refreshHealthAlone(gateway, simulator, tenant);
  log(`Graph economy: ${simultaneous} refreshes at once`);
  const together = await refreshAtOnce(gateways, simulator, tenant);
  const contract = all.find(({ size, wabas }) => size === 25 && wabas === 1);
  return {
    measurements: [
      { name: names.all, value: contract?.requests ?? Number.NaN },
      { name: names.alone, value: alone.operations },
      { name: names.more, value: all.reduce((sum, it) => sum + it.operations - it.fewest, 0) },
      { name: names.simultaneous, value: together.operations },
      { name: names.live, value: together.live },
    ],
    tables: [toFleetTable(all), toHealthTable(alone, together)],
    notes: [
      'All numbers of a fleet have the same access token: numbers with different ones cannot share a batch.',
      `A request asks for at most ${maxAliases} numbers, the limit of aliases; requests are sent one after the other.`,
      ...(together.live < simultaneous
        ? [`The other simultaneous refreshes were answered: ${together.others}.`]
        : []),
    ],
  };
}

interface Count {
  /** HTTP requests. */
  readonly requests: number;
  readonly operations: number;
}

interface FleetCount extends Count {
  readonly size: number;
  readonly wabas: number;
  /** To the gateway. */
  readonly queries: number;
  /** Operations: one for each phone and profile, and one for each WABA of a query. */
  readonly fewest: number;
}

/** Reads all blocks of the first `size` numbers of the tenant live. */
async function refreshAll(
  gateway: StartedProcess,
  simulator: TestSimulator,
  { key, ids, wabaIds }: GraphTenant,
  size: number,
): Promise<FleetCount> {
  const source = 'freshness { source }';
  const fragment = `fragment All on WhatsAppNumber { health { sendable } meta {
    phone { ${source} } profile { ${source} } waba { ${source} } } }`;
  const parts = toRange(Math.ceil(size / maxAliases)).map((index) =>
    ids.slice(index * maxAliases, Math.min(size, (index + 1) * maxAliases)),
  );
  simulator.clearCalls();
  await inTurn(parts, async (part) => {
    const fields = part.map(
      (id, index) => `n${index}: number(id: "${id}", refresh: true) { ...All }`,
    );
    const query = toGraphQLRequest(`{ ${fields.join(' ')} } ${fragment}`, { 'x-api-key': key });
    const { text } = await send(gateway.url, query);
    assertLive(text, part.length * 3);
  });
  const wabasOf = (part: readonly string[]) => Math.min(part.length, wabaIds.length);
  return {
    ...toCount(simulator),
    size,
    wabas: Math.min(size, wabaIds.length),
    queries: parts.length,
    fewest: parts.reduce((sum, part) => sum + part.length * 2 + wabasOf(part), 0),
  };
}

function toFleetTable(counts: readonly FleetCount[]): Table {
  // A fleet with fewer numbers than WABAs uses only as many WABAs as it has numbers.
  const different = new Map(counts.map((count) => [`${count.size} ${count.wabas}`, count]));
  return {
    title: 'Calls that reached Graph for all blocks of a fleet',
    columns: [
      'numbers',
      'WABAs',
      'requests to the gateway',
      'HTTP requests',
      'operations in them',
      'fewest operations',
      'HTTP requests one by one',
    ],
    rows: [...different.values()]
      .toSorted((one, other) => one.size - other.size || one.wabas - other.wabas)
      .map(({ size, wabas, queries, requests, operations, fewest }) => [
        size,
        wabas,
        queries,
        requests,
        operations,
        fewest,
        size * 3,
      ]),
  };
}

function toHealthTable(alone: Count, together: Count): Table {
  const title = `one number, ${simultaneous} requests, ${processes} processes`;
  return {
    title: 'Calls that reached Graph for health',
    columns: ['live reads', 'HTTP requests', 'operations in them'],
    rows: [
      ['one number, health alone', alone.requests, alone.operations],
      [title, together.requests, together.operations],
    ],
  };
}

async function refreshHealthAlone(
  gateway: StartedProcess,
  simulator: TestSimulator,
  tenant: GraphTenant,
): Promise<Count> {
  simulator.clearCalls();
  const { text } = await send(gateway.url, toHealthRequest(tenant, 0));
  assertLive(text, 1);
  return toCount(simulator);
}

interface SimultaneousCount extends Count {
  readonly live: number;
  /** The other responses, by status. */
  readonly others: string;
}

// The simulator responds only after all requests were sent, so they are simultaneous however slow the machine is.
async function refreshAtOnce(
  gateways: readonly StartedProcess[],
  simulator: TestSimulator,
  tenant: GraphTenant,
): Promise<SimultaneousCount> {
  simulator.clearCalls();
  const hold = simulator.hold(tenant.phoneNumberIds[1] ?? '');
  const { sent, responses } = sendAtOnce(
    toRange(simultaneous).map((index) => gateways[index % gateways.length]?.url ?? ''),
    toHealthRequest(tenant, 1),
  );
  await sent;
  hold.release();
  const received = await responses;
  const others = Map.groupBy(
    received.filter((response) => !isLive(response)),
    ({ status, text }) => `${status} ${/"code":"\w+"/.exec(text)?.[0] ?? text.slice(0, 100)}`,
  );
  return {
    ...toCount(simulator),
    live: received.filter(isLive).length,
    others: [...others].map(([what, ofThem]) => `${ofThem.length} times ${what}`).join('; '),
  };
}

function isLive({ text }: Pick<BenchResponse, 'text'>): boolean {
  return text.includes('"source":"LIVE"');
}

function toHealthRequest({ key, ids }: GraphTenant, index: number) {
  const query = `{ number(id: "${ids[index]}", refresh: true) { health { sendable freshness { source } } } }`;
  return toGraphQLRequest(query, { 'x-api-key': key });
}

function assertLive(text: string, times: number): void {
  const live = text.split('"source":"LIVE"').length - 1;
  if (live !== times) {
    throw new Error(`${live} blocks of ${times} were read live: ${text.slice(0, 2_000)}`);
  }
}

function toCount({ calls }: TestSimulator): Count {
  return {
    requests: calls.length,
    operations: calls.reduce((sum, call) => sum + call.operations.length, 0),
  };
}
