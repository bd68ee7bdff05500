// Measures what the change feed costs writers: changes per second with and without the triggers that notify. NOTIFY serialises
// commits, so the duration of a commit matters.

import { Client } from 'pg';
import { withoutNotifyTriggers } from '../triggers.ts';
import { startGateway } from '../contestants.ts';
import { type BenchDatabase, givenServer, openBenchServer, withOwner } from '../databases.ts';
import { toNumberId } from '../fleet.ts';
import { inTurn, toRange } from '../in-turn.ts';
import { seed } from '../seed.ts';
import { send, toRequest } from '../shapes.ts';
import { toMedian, toRounded } from '../statistics.ts';
import type { Cell, Findings, Workbench } from './section.ts';

/** Listening processes. */
const gateways = 2;
const tenants = 1_000;

export async function measureWrites(workbench: Workbench): Promise<Findings> {
  const { quick, log, openFleet } = workbench;
  log('growth: writes with and without the change feed');
  const waits = givenServer ? 'as configured' : 'no';
  const rows = [...(await measureDatabase(await openFleet(), waits, quick))];
  if (!quick && !givenServer) rows.push(...(await measureWithFlush()));
  return {
    measurements: [],
    tables: [
      {
        title: `Single-row changes per second, ${gateways} gateways listening`,
        columns: ['commits wait for the disk', 'writers', 'with the feed', 'without', 'ratio'],
        rows,
      },
    ],
    notes: [
      'The writers run in the process of the bench, on the same cores as everything else; PostgreSQL alone can do more.',
    ],
  };
}

async function measureWithFlush(): Promise<readonly (readonly Cell[])[]> {
  await using server = await openBenchServer(['fsync=on', 'synchronous_commit=on']);
  const database = await server.createDatabase();
  await seed(database, { tenants, keyed: [1], large: false });
  return await measureDatabase(database, 'yes', false);
}

async function measureDatabase(
  database: BenchDatabase,
  waits: string,
  quick: boolean,
): Promise<readonly (readonly Cell[])[]> {
  const seconds = quick ? 1 : 2;
  await using made = new AsyncDisposableStack();
  await inTurn(toRange(gateways), async () => {
    const { url } = made.use(await startGateway(database));
    // Waits until it listens.
    await send(url, toRequest('thin', 1));
  });
  return await withOwner(database, async (owner) => {
    return await inTurn(quick ? [8] : [1, 8, 32], async (count) => {
      const rounds = await inTurn(toRange(quick ? 1 : 3), async () => {
        const withFeed = await write(database, count, seconds);
        const without = await withoutNotifyTriggers(owner, () => write(database, count, seconds));
        return { withFeed, without };
      });
      const ratio = toMedian(rounds.map(({ withFeed, without }) => withFeed / without));
      const medians = [
        toMedian(rounds.map(({ withFeed }) => withFeed)),
        toMedian(rounds.map(({ without }) => without)),
      ];
      return [waits, count, ...medians.map(Math.round), toRounded(ratio)];
    });
  });
}

/** Changes per second, each of one number in a transaction of its own. */
async function write(
  { ownerUrl }: BenchDatabase,
  writers: number,
  seconds: number,
): Promise<number> {
  const clients = toRange(writers).map(() => new Client({ connectionString: ownerUrl }));
  await Promise.all(clients.map((client) => client.connect()));
  try {
    const startedAt = performance.now();
    const endsAt = startedAt + seconds * 1_000;
    const changes = await Promise.all(
      clients.map((client, index) => writeUntil(client, index, writers, endsAt)),
    );
    const total = changes.reduce((sum, count) => sum + count, 0);
    return (total * 1_000) / (performance.now() - startedAt);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** Each writer has its own tenants, so that none waits for the row of another. */
async function writeUntil(
  client: Client,
  index: number,
  writers: number,
  endsAt: number,
): Promise<number> {
  let changes = 0;
  while (performance.now() < endsAt) {
    const place = 1 + index + writers * (changes % Math.floor(tenants / writers));
    // oxlint-disable-next-line no-await-in-loop -- one change after the other
    await client.query({
      name: 'change',
      text: `update whatsapp_number set name = 'Written ' || $2::text, updated_at = clock_timestamp() where id = $1`,
      values: [toNumberId(place, 2), changes],
    });
    changes += 1;
  }
  return changes;
}
