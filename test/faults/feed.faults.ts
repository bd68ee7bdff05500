// The streams of changes: how late changes are, with one stream and with many, and that nothing is lost however a stream,
// a gateway or PostgreSQL ends.

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { report, toPercentile } from './figures.ts';
import { openStage, type Stage, type StagedGateway } from './stage.ts';
import { openStream, type StreamClient, toSequence } from './stream-client.ts';

const perSecond = Number(process.env['CHANGES'] ?? 100);
const seconds = Number(process.env['STREAM_SECONDS'] ?? 20);
const restStreams = Number(process.env['REST_STREAMS'] ?? 1_000);
const graphqlStreams = Number(process.env['GRAPHQL_STREAMS'] ?? 100);

const unlimited = {
  KEY_MAX_STREAMS: '100000',
  TENANT_MAX_STREAMS: '100000',
  MAX_STREAMS: '100000',
};

let stage: Stage;
beforeAll(async () => {
  stage = await openStage({ numbers: [20] });
});
afterAll(() => stage[Symbol.asyncDispose]());

async function findCursor(): Promise<string> {
  const [row] = await stage.query<{ cursor: string }>(
    `select 'c1.' || epoch || '.' || last as cursor from feed_position`,
  );
  return row!.cursor;
}

let runs = 0;

/** Renames numbers at a fixed rate. Resolves to the names with the times of their commits. */
async function rename(forMs: number): Promise<ReadonlyMap<string, number>> {
  const { numbers } = stage.tenants[0]!;
  const committed = new Map<string, number>();
  const run = (runs += 1);
  const startedAt = performance.now();
  const pending: Promise<void>[] = [];
  for (let count = 0; performance.now() - startedAt < forMs; count += 1) {
    const name = `Renamed ${run}.${count}`;
    const id = numbers[count % numbers.length]!.id;
    pending.push(
      stage
        .query('update whatsapp_number set name = $1 where id = $2', [name, id])
        .then(() => void committed.set(name, performance.now()))
        // While PostgreSQL is down. Whether it was committed is not known.
        .catch(() => undefined),
    );
    const nextAt = startedAt + ((count + 1) * 1_000) / perSecond;
    // oxlint-disable-next-line no-await-in-loop -- at this rate
    await delay(Math.max(0, nextAt - performance.now()));
  }
  await Promise.all(pending);
  return committed;
}

/** Milliseconds from the commit to the client, of each change and client. */
function toDelays(
  committed: ReadonlyMap<string, number>,
  clients: readonly StreamClient[],
): readonly number[] {
  return clients.flatMap(({ received }) =>
    received.map(({ name, at }) => at - (committed.get(name) ?? Number.NaN)),
  );
}

/** Names of changes that a client did not receive, or received in another order. */
async function findLost({ received }: StreamClient, after: string): Promise<readonly string[]> {
  const rows = await stage.query<{ sequence: number; name: string }>(
    `select sequence::integer, new_value as name from number_change
     where field = 'NAME' and sequence > $1 order by sequence`,
    [toSequence(after)],
  );
  // A change that came twice has the same cursor.
  const names = received
    .filter(({ sequence }, index) => sequence > (received[index - 1]?.sequence ?? 0))
    .map(({ name }) => name);
  return rows.filter(({ name }, index) => names[index] !== name).map(({ name }) => name);
}

const toMs = (value: number) => `${Math.round(value)} ms`;

test(`${perSecond} changes a second arrive at the clients of two processes`, async () => {
  const gateways = [await stage.startGateway(), await stage.startGateway()];
  const after = await findCursor();
  const clients = gateways.map(({ url }) =>
    openStream({ toOrigin: () => url, key: stage.tenants[0]!.key, after }),
  );
  await Promise.all(clients.map(({ opened }) => opened));
  const committed = await rename(seconds * 1_000);
  await delay(1_000);
  const delays = toDelays(committed, clients);
  clients.forEach((client) => client.close());
  const p99 = toPercentile(delays, 0.99);
  expect(
    report(
      `commit to event at the client, two processes, ${perSecond} changes a second: p99 at most 250 ms`,
      `p50 ${toMs(toPercentile(delays, 0.5))}, p99 ${toMs(p99)}, longest ${toMs(toPercentile(delays, 1))}; ${delays.length} of ${committed.size * 2} events`,
      p99 <= 250 && delays.length === committed.size * 2,
    ),
  ).toBe(true);
});

test(`${restStreams} streams over REST and ${graphqlStreams} over GraphQL`, async () => {
  const gateway = await stage.startGateway(unlimited);
  const after = await findCursor();
  const before = await gateway.observe();
  const open = async (count: number, isGraphql: boolean) => {
    const clients: StreamClient[] = [];
    for (let left = count; left > 0; left -= 50) {
      const request = { toOrigin: () => gateway.url, key: stage.tenants[0]!.key, after, isGraphql };
      // One of ten is looked at: parsing all events would take more of the machine than sending them.
      const some = Array.from({ length: Math.min(50, left) }, (_, index) =>
        openStream({ ...request, isParsed: index % 10 === 0 }),
      );
      // oxlint-disable-next-line no-await-in-loop -- so many at a time
      await Promise.all(some.map(({ opened }) => opened));
      clients.push(...some);
    }
    return clients;
  };
  const clients = [...(await open(restStreams, false)), ...(await open(graphqlStreams, true))];
  const committed = await rename(seconds * 1_000);
  await delay(2_000);
  const during = await gateway.observe();
  const delays = toDelays(committed, clients);
  const kilobytes = (during.rss - before.rss) / 1_024 / clients.length;
  const p99 = toPercentile(delays, 0.99);
  const expected = committed.size * (clients.length / 10);
  const isQuick = report(
    `${restStreams} REST and ${graphqlStreams} GraphQL streams of one tenant, ${perSecond} changes a second: p99 at most 500 ms, at most 150 kB a stream`,
    `p50 ${toMs(toPercentile(delays, 0.5))}, p99 ${toMs(p99)}, ${Math.round(kilobytes)} kB a stream; ${delays.length} of ${expected} events`,
    p99 <= 500 && kilobytes <= 150 && delays.length === expected,
  );
  const startedAt = performance.now();
  clients.forEach((client) => client.stopReconnecting());
  const code = await gateway.end('SIGTERM');
  await Promise.all(clients.map(({ ended }) => ended));
  const drainMs = performance.now() - startedAt;
  expect(
    report(
      `drain of ${clients.length} streams: at most 5 s`,
      `${toMs(drainMs)}, exit code ${code}`,
      drainMs <= 5_000 && code === 0,
    ),
  ).toBe(true);
  expect(isQuick).toBe(true);
});

test('a revoked key ends its streams', async () => {
  const gateway = await stage.startGateway();
  const client = openStream({
    toOrigin: () => gateway.url,
    key: stage.tenants[0]!.key,
    after: await findCursor(),
    reconnects: false,
  });
  await client.opened;
  const startedAt = performance.now();
  await stage.query('update api_key set revoked_at = now()');
  await client.ended;
  const tookMs = performance.now() - startedAt;
  await stage.query('update api_key set revoked_at = null');
  expect(report('a revoked key ends its streams within 1 s', toMs(tookMs), tookMs <= 1_000)).toBe(
    true,
  );
});

async function losesNothing(
  bar: string,
  {
    origins,
    disturb,
  }: {
    origins: readonly StagedGateway[];
    disturb: (replace: (gateway: StagedGateway) => void) => Promise<void>;
  },
): Promise<boolean> {
  const after = await findCursor();
  const gateways = new Set(origins);
  let count = 0;
  const toOrigin = () => {
    const alive = [...gateways].filter((it) => it.isAlive());
    return alive[count++ % alive.length]?.url ?? origins[0]!.url;
  };
  const request = { toOrigin, key: stage.tenants[0]!.key, after };
  const clients = [openStream(request), openStream({ ...request, isGraphql: true })];
  await Promise.all(clients.map(({ opened }) => opened));
  const renaming = rename(seconds * 500);
  await delay(seconds * 100);
  await disturb((next) => void gateways.add(next));
  const committed = await renaming;
  await delay(7_000);
  const lost = await Promise.all(clients.map((client) => findLost(client, after)));
  clients.forEach((client) => client.close());
  const connections = clients.map((client) => client.connections).join(' and ');
  return report(
    `${bar}: nothing is lost or out of order`,
    `${lost.flat().length} lost ${lost.flat().slice(0, 3).join(', ')} of ${committed.size} commits by clients over REST and GraphQL, which connected ${connections} times`,
    lost.flat().length === 0 && committed.size > 0,
  );
}

describe('nothing is lost', () => {
  test('when PostgreSQL crashes and starts again', async () => {
    const isMet = await losesNothing('PostgreSQL crashes and starts again in mid-stream', {
      origins: [await stage.startGateway()],
      async disturb() {
        await stage.postgres.stop('immediate');
        await stage.postgres.start();
      },
    });
    expect(isMet).toBe(true);
  });

  test('when a gateway is killed and another one started', async () => {
    const gateway = await stage.startGateway();
    const isMet = await losesNothing('kill -9 of the gateway, and another one is started', {
      origins: [gateway],
      async disturb(replace) {
        await gateway.end('SIGKILL');
        replace(await stage.startGateway());
      },
    });
    expect(isMet).toBe(true);
  });

  test('when two gateways are replaced one after the other', async () => {
    const gateways = [await stage.startGateway(), await stage.startGateway()];
    const isMet = await losesNothing('two gateways replaced one after the other', {
      origins: gateways,
      async disturb(replace) {
        for (const old of gateways) {
          // oxlint-disable no-await-in-loop -- one after the other
          replace(await stage.startGateway());
          await old.end('SIGTERM');
          // oxlint-enable no-await-in-loop
        }
      },
    });
    expect(isMet).toBe(true);
  });

  test('when a recorded stream is cut at any byte, and resumed', async () => {
    const { url } = await stage.startGateway();
    const { key } = stage.tenants[0]!;
    const after = await findCursor();
    await rename(500);
    const resume = async (cursor: string) => {
      const response = await fetch(`${url}/v1/changes?limit=200&after=${cursor}`, {
        headers: { 'x-api-key': key },
      });
      const { changes } = (await response.json()) as { changes: { cursor: string }[] };
      return changes.map((change) => change.cursor);
    };
    const all = await resume(after);
    const bytes = await record({ url, key, after, last: all.at(-1)! });
    const tails = new Map<string, readonly string[]>();
    let wrong = 0;
    for (let length = 0; length <= bytes.length; length += 1) {
      const text = bytes.subarray(0, length).toString('latin1');
      const blocks = text.split('\n\n').slice(0, -1);
      const seen = blocks.flatMap((block) => /^id: (.*)$/m.exec(block)?.[1] ?? []);
      const last = seen.at(-1) ?? after;
      // oxlint-disable-next-line no-await-in-loop -- one request after the other
      if (!tails.has(last)) tails.set(last, await resume(last));
      if (JSON.stringify([...seen, ...tails.get(last)!]) !== JSON.stringify(all)) wrong += 1;
    }
    expect(
      report(
        'a recorded stream cut at every byte and resumed: the sequence without a gap',
        `${wrong} of ${bytes.length + 1} cuts differ, ${all.length} changes`,
        wrong === 0 && all.length > 20,
      ),
    ).toBe(true);
  });
});

interface Recording {
  readonly url: string;
  readonly key: string;
  readonly after: string;
  readonly last: string;
}

/** The bytes of a stream until the change with the cursor `last`. */
async function record({ url, key, after, last }: Recording): Promise<Buffer> {
  const abort = new AbortController();
  const response = await fetch(`${url}/v1/changes`, {
    headers: { 'x-api-key': key, accept: 'text/event-stream', 'last-event-id': after },
    signal: abort.signal,
  });
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body!) {
    chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('latin1');
    if (text.includes(`id: ${last}\n`) && text.endsWith('\n\n')) break;
  }
  abort.abort();
  return Buffer.concat(chunks);
}

/** More than the buffers of the kernel hold: 12 MB for each client. */
async function fillBuffers(letter: string): Promise<void> {
  for (let count = 0; count < 150; count += 1) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    await stage.query(`update whatsapp_number set name = repeat($1, 1900) || $2`, [letter, count]);
  }
}

/** In MB: what is in use after a garbage collection, and what the process has taken from the system. */
async function readMemory(gateway: StagedGateway) {
  // Finalizers free memory outside of the heap for the next collection.
  await gateway.observe();
  const { heapUsed, external, rss } = await gateway.observe();
  return { used: (heapUsed + external) / 2 ** 20, rss: rss / 2 ** 20 };
}

test('a client that stops reading for 60 s is closed, and the others are not disturbed', async () => {
  const gateway = await stage.startGateway();
  const request = { toOrigin: () => gateway.url, key: stage.tenants[0]!.key };
  const after = await findCursor();
  const other = openStream({ ...request, after });
  await other.opened;
  // The same as below with all clients reading, twice: what the first time takes belongs to the program.
  const courses = [];
  for (const letter of ['u', 'v']) {
    // oxlint-disable no-await-in-loop -- one after the other
    await fillBuffers(letter);
    await rename(5_000);
    courses.push(await readMemory(gateway));
    // oxlint-enable no-await-in-loop
  }
  const [, before] = courses as [Memory, Memory];
  const stalled = openStream({ ...request, after: await findCursor(), reconnects: false });
  await stalled.opened;
  stalled.pause();
  const fillsAt = performance.now();
  await fillBuffers('x');
  const early = await rename(15_000);
  const during = await readMemory(gateway);
  const committed = await rename(60_000 - (performance.now() - fillsAt));
  const afterwards = await readMemory(gateway);
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  const closed =
    /^gateway_streams_ended_total.*slow.reader.*$/m.exec(metrics)?.[0] ?? 'not in the metrics';
  const delays = toDelays(new Map([...early, ...committed]), [other]).filter(
    (it) => !Number.isNaN(it),
  );
  const p99 = toPercentile(delays, 0.99);
  const lost = await findLost(other, after);
  [stalled, other].forEach((client) => client.close());
  const grown = during.used - before.used;
  const left = afterwards.used - before.used;
  expect(
    report(
      'a client that stops reading for 60 s: closed, memory flat (3 MB), the others undisturbed',
      `${closed}; in use after a collection ${courses.concat(during, afterwards).map(toText).join(', ')} MB (resident): after the first load, the second, with the client stalled, and closed; the other one: p99 ${toMs(p99)}, ${lost.length} lost`,
      !closed.startsWith('not') && grown <= 3 && left <= 3 && p99 <= 250 && lost.length === 0,
    ),
  ).toBe(true);
});

type Memory = Awaited<ReturnType<typeof readMemory>>;

const toText = ({ used, rss }: Memory) => `${used.toFixed(1)} (${rss.toFixed(0)})`;
