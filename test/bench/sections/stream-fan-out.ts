// Measures what a stream costs: the CPU time of sending a page to it, and its memory, against node:http that writes the same
// bytes to as many responses.

import { setTimeout as delay } from 'node:timers/promises';
import { Client } from 'pg';
import { startGateway } from '../contestants.ts';
import type { BenchDatabase } from '../databases.ts';
import { toNumberId, toTenantKey } from '../fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { openStreams } from '../open-streams.ts';
import { type BenchRequest, toGraphQLRequest } from '../shapes.ts';
import { startProcess, type StartedProcess } from '../started-process.ts';
import { toMedian, toPercentile, toRatios, toRounded } from '../statistics.ts';
import { type Findings, toMeasurement, type Workbench } from './section.ts';

const many = 1_000;
export const memoryName = `stream, kB of memory for each of ${many.toLocaleString('en')} streams over REST`;

const place = 1;
const headers = { 'x-api-key': toTenantKey(place), accept: 'text/event-stream' };
const restRequest: BenchRequest = { method: 'GET', path: '/v1/changes', headers, body: '' };
const members = `cursor numberId wabaId kind field previousValue newValue source actor { type } observation occurredAt
  recordedAt`;
const graphqlRequest = toGraphQLRequest(
  `subscription { changes { cursor changes { ${members} } } }`.replaceAll(/\s+/g, ' '),
  headers,
);

const kinds = [
  { name: 'node:http, the same bytes', request: restRequest, streams: many },
  { name: 'REST', request: restRequest, streams: 1 },
  { name: 'REST', request: restRequest, streams: many },
  { name: 'GraphQL', request: graphqlRequest, streams: many },
] as const;
type Kind = (typeof kinds)[number];

const [ceiling, , rest, graphql] = kinds;

/** From one change to the next: longer than the feed waits, so that each is a page of its own. */
const pauseMs = 120;
/** Pages that are sent before anything is measured. */
const warmUp = 15;

interface Sample {
  /** CPU time of a page, in milliseconds. */
  readonly pageMs: number;
  /** From the commit to the first stream, in milliseconds. */
  readonly delays: readonly number[];
  readonly kilobytes: number;
}

export async function measureFanOut({ quick, log, openFleet }: Workbench): Promise<Findings> {
  const rounds = quick ? 1 : 5;
  await using made = new AsyncDisposableStack();
  const database = await openFleet();
  const writer = made.adopt(new Client({ connectionString: database.ownerUrl }), (it) => it.end());
  await writer.connect();
  // A tenant without changes has no place in the order yet, because the seed runs without triggers.
  await rename(writer, 'First');
  const samples = new Map<Kind, Sample[]>(kinds.map((kind) => [kind, []]));
  await inTurn(toRange(rounds), async (round) => {
    log(`stream: fan-out, round ${round + 1} of ${rounds}`);
    const rotated = kinds.map((_, index) => kinds[(index + round) % kinds.length]!);
    await inTurn(rotated, async (kind) => {
      samples.get(kind)?.push(await measureKind(kind, database, writer, quick ? 15 : 40));
    });
  });
  return toFindings(samples);
}

async function rename(writer: Client, name: string): Promise<void> {
  const id = toNumberId(place, 1);
  await writer.query('update whatsapp_number set name = $1 where id = $2', [name, id]);
}

let runs = 0;

async function measureKind(
  kind: Kind,
  database: BenchDatabase,
  writer: Client,
  pages: number,
): Promise<Sample> {
  await using server = await startServer(kind, database);
  const idleMb = server.readMemoryMb();
  using streams = await openStreams(server.url, kind.request, kind.streams);
  const run = (runs += 1);
  const send = async (page: number): Promise<number> => {
    const name = `Page ${run}.${page} of a stream`;
    streams.clear();
    if (kind === ceiling) await broadcast(server, name);
    else await rename(writer, name);
    const startedAt = performance.now();
    await streams.receive(name);
    const took = performance.now() - startedAt;
    // The last of all streams has it shortly after the first.
    await delay(pauseMs);
    return took;
  };
  await inTurn(toRange(warmUp), send);
  const before = await readCpuSeconds(server);
  const delays = await inTurn(toRange(pages), (page) => send(warmUp + page));
  const seconds = (await readCpuSeconds(server)) - before;
  return {
    pageMs: (seconds * 1_000) / pages,
    delays,
    kilobytes: ((server.readMemoryMb() - idleMb) * 1_000) / kind.streams,
  };
}

async function startServer(kind: Kind, database: BenchDatabase): Promise<StartedProcess> {
  if (kind === ceiling) {
    return await startProcess({ name: kind.name, path: 'peers/broadcast.ts', environment: {} });
  }
  const unlimited = { KEY_MAX_STREAMS: '9999', TENANT_MAX_STREAMS: '9999', MAX_STREAMS: '9999' };
  return await startGateway(database, unlimited);
}

/** A page as the gateway sends it over REST. */
async function broadcast({ url }: StartedProcess, newValue: string): Promise<void> {
  const cursor = `c1.${'0'.repeat(32)}.1`;
  const time = new Date().toISOString();
  const change = {
    cursor,
    numberId: toNumberId(place, 1),
    wabaId: null,
    kind: 'FIELD',
    field: 'NAME',
    previousValue: newValue,
    newValue,
    source: 'EXTERNAL',
    actor: null,
    observation: '00000000-0000-0000-0000-000000000000',
    occurredAt: time,
    recordedAt: time,
  };
  const body = `id: ${cursor}\nevent: change\ndata: ${JSON.stringify(change)}\n\n`;
  await fetch(url, { method: 'POST', body });
}

async function readCpuSeconds({ url }: StartedProcess): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const [, seconds] = /^process_cpu_seconds_total (\S+)/m.exec(metrics) ?? [];
  return Number(seconds);
}

function toFindings(samples: ReadonlyMap<Kind, readonly Sample[]>): Findings {
  const of = (kind: Kind, member: 'pageMs' | 'kilobytes') =>
    (samples.get(kind) ?? []).map((sample) => sample[member]);
  const ratioTo = (kind: Kind, other: Kind) => toRatios(of(kind, 'pageMs'), of(other, 'pageMs'));
  const kilobytes = of(rest, 'kilobytes');
  return {
    measurements: [
      toMeasurement(
        memoryName,
        toRatios(
          kilobytes,
          kilobytes.map(() => 1),
        ),
      ),
    ],
    tables: [
      {
        title: 'Sending pages of one change to the streams of a tenant',
        columns: [
          'server',
          'streams',
          'CPU ms a page',
          'µs a stream and page',
          'against node:http',
          'first stream p50 ms',
          'p99 ms',
          'kB a stream',
        ],
        rows: kinds.map((kind) => {
          const pageMs = toMedian(of(kind, 'pageMs'));
          const delays = (samples.get(kind) ?? []).flatMap((sample) => sample.delays);
          const isMany = kind.streams === many;
          return [
            kind.name,
            kind.streams,
            toRounded(pageMs),
            isMany ? toRounded((pageMs * 1_000) / many) : '',
            isMany ? toRounded(ratioTo(kind, ceiling).median) : '',
            toRounded(toPercentile(delays, 0.5)),
            toRounded(toPercentile(delays, 0.99)),
            isMany ? toRounded(toMedian(of(kind, 'kilobytes'))) : '',
          ];
        }),
      },
    ],
    notes: [
      `Over GraphQL a page to ${many.toLocaleString('en')} streams costs ${toRounded(ratioTo(graphql, rest).median)} times what it costs over REST: it is read, executed and serialised once.`,
      'The time to the first stream runs from the end of the commit; for node:http, from the end of its own writing.',
    ],
  };
}
