// Random readings and commits of two gateways on one database, and the comparison of the folded feed with what is stored.

import { sql } from 'kysely';
import type { Access } from '../../src/access/access.ts';
import type { Database } from '../../src/database/database.ts';
import { requestReads as requestRefresh } from '../../src/fleet/operation-store.ts';
import type { NumberChange } from '../../src/history/change.ts';
import { createHistory, type History } from '../../src/history/history.ts';
import { recordExpired } from '../../src/history/upkeep.ts';
import { staleAfterSeconds } from '../../src/numbers/number.ts';
import { toStatusColumns, verdictOf } from '../../src/numbers/status-queries.ts';
import { type Reading, recordReadings } from '../../src/numbers/store.ts';
import { writeOutdatedStatuses } from '../../src/numbers/status-store.ts';
import { requestReads } from '../../src/sync/request-store.ts';
import type { TestDatabase } from '../harness.ts';
import { createRandom, type Random } from './random-transaction.ts';

export interface RandomReadingsOptions {
  /** Of one database without tenants: those of two gateways, or one. */
  readonly databases: readonly TestDatabase[];
  readonly seed: number;
  readonly steps: number;
}

export interface RandomReadingsResult {
  readonly steps: number;
  readonly changes: number;
  readonly comparisons: number;
  /** Differences between the feed and what is stored, in sentences. */
  readonly problems: readonly string[];
}

const tenantId = 't';
const accounts = ['10000100', '10000200'];
const numbersOfMeta = ['m1', 'm2', 'm3', 'm4', 'm5', 'm6'];
const sessions = ['s1', 's2'];
const stepsOfRound = 25;
const parallel = 5;

export async function runRandomReadings({
  seed,
  steps,
  ...options
}: RandomReadingsOptions): Promise<RandomReadingsResult> {
  const databases = options.databases.map(queueQueries);
  const random = createRandom(seed);
  // There is at least one.
  const database = databases[0]!;
  await database.query(`insert into tenant (id, name) values ('${tenantId}', 'T')`);
  for (const id of [...numbersOfMeta, ...sessions]) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await database.query(toInsert(id, random));
  }
  const problems: string[] = [];
  let comparisons = 0;
  // Moves on, with readings that were sent up to two hours before.
  let now = Date.parse('2026-05-01T10:00:00Z');
  for (let step = 0; step < steps; step += stepsOfRound) {
    for (let index = 0; index < stepsOfRound; index += parallel) {
      now += random.below(600_000);
      const works = Array.from({ length: parallel }, () => makeStep(random, now));
      // oxlint-disable-next-line no-await-in-loop -- so many at the same time
      await Promise.all(works.map((work) => repeat(work, random.pick(databases))));
    }
    const at = new Date(now);
    // oxlint-disable no-await-in-loop -- one round after the other
    await writeOutdatedStatuses(database, tenantId, 1_000);
    await recordExpired({
      database: random.pick(databases),
      now: () => at,
      connectionsAreRead: true,
    });
    problems.push(...(await compareVerdicts(database, at)));
    // oxlint-enable no-await-in-loop
    comparisons += 1;
    if (problems.length > 0) break;
  }
  const histories = databases.map((it) => createHistory({ database: it, now: () => new Date() }));
  const { changes, problems: differences } = await compareFolds(database, histories);
  return { steps, changes, comparisons, problems: [...problems, ...differences] };
}

/** A connection of the package pg is for one query at a time. */
function queueQueries(database: TestDatabase): TestDatabase {
  let last: Promise<unknown> = Promise.resolve();
  return {
    ...database,
    query(text, values) {
      const result = last.then(() => database.query(text, values));
      last = result.catch(() => undefined);
      return result as never;
    },
  };
}

function toInsert(id: string, random: Random): string {
  const isMeta = numbersOfMeta.includes(id);
  const digits = String(10_000_000 + random.below(80_000_000));
  return `insert into whatsapp_number (tenant_id, id, number, name, provider, state, state_observed_at, phone_number_id, waba_id, instance_name)
    values ('${tenantId}', '${id}', '5511${digits}', 'Number ${id}', ${
      isMeta
        ? `'META', 'OPEN', '2026-05-01T08:00:00Z', '${digits}', '${random.pick(accounts)}', null`
        : `'PILOT_STATUS', 'OPEN', '2026-05-01T08:00:00Z', null, null, 'instance ${id}'`
    }) on conflict do nothing`;
}

/** A number that is removed while its account is stored can end one of the two in a deadlock, with the feed or without. */
async function repeat(work: Step, database: TestDatabase): Promise<void> {
  for (let left = 5; ; left -= 1) {
    try {
      // oxlint-disable-next-line no-await-in-loop -- one attempt after the other
      return void (await work(database));
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (left === 0 || (code !== 'UNAVAILABLE' && code !== '40P01')) throw error;
    }
  }
}

type Step = (database: TestDatabase) => Promise<unknown>;

function makeStep(random: Random, now: number): Step {
  const observedAt = new Date(now - random.below(random.pick([1_000, 7_200_000])));
  const id = random.pick([...numbersOfMeta, ...sessions]);
  const where = `where tenant_id = '${tenantId}' and id = '${id}'`;
  const kind = random.below(40);
  if (kind === 0)
    return (it) => it.query(`update whatsapp_number set name = 'Name ${now}' ${where}`);
  if (kind === 1 || kind === 2) {
    const state = random.pick(['OPEN', 'CLOSE', 'CONNECTING']);
    const at = `greatest(state_observed_at, '${observedAt.toISOString()}')`;
    return (it) =>
      it.query(`update whatsapp_number set state = '${state}', state_observed_at = ${at} ${where}`);
  }
  if (kind === 3) return (it) => it.query(`delete from whatsapp_number ${where}`);
  if (kind <= 6) {
    const insert = toInsert(id, random);
    return (it) => it.query(insert);
  }
  if (kind === 7 && numbersOfMeta.includes(id)) {
    // What was read of the former ids is forgotten.
    const column = random.pick(['phone_number_id', 'waba_id']);
    const value =
      column === 'waba_id' ? random.pick(accounts) : String(10_000_000 + random.below(1_000_000));
    return (it) => it.query(`update whatsapp_number set ${column} = '${value}' ${where}`);
  }
  if (kind === 8) {
    return (database) =>
      recordExpired({ database, now: () => new Date(now), connectionsAreRead: true });
  }
  if (kind === 9) {
    // Of one number, which may have been removed, or of several.
    const numberId = random.pick([id, null]);
    const value = { blocks: ['PHONE'], acceptedCount: 1, plannedCalls: 1 };
    const request = { wabaId: random.pick(accounts), phones: [], profiles: [], readsAccount: true };
    return (database) =>
      requestRefresh(database, tenantId, { request: requestReads }, [request], {
        recorded: { numberId, value },
        cause: 'COMMAND_LINE',
      });
  }
  const blocks = random.pick([['phone', 'profile', 'connection'], ['phone'], ['waba']] as const);
  const readings = Array.from({ length: 1 + random.below(3) }, () => makeReading(random, blocks));
  return (database) =>
    recordReadings(database, {
      tenantId,
      holder: 'test',
      observedAt,
      leased: [],
      // One reading of a block.
      readings: [...new Map(readings.map((it) => [`${it.block}:${it.id}`, it])).values()],
    });
}

function makeReading(
  random: Random,
  blocks: readonly ('phone' | 'profile' | 'waba' | 'connection')[],
): Reading {
  const block = random.pick(blocks);
  const isFailed = random.chance(0.15);
  const failure = { code: 'META_ACCESS_DENIED', message: 'No access.' } as Reading['failure'];
  const ids = {
    phone: numbersOfMeta,
    profile: numbersOfMeta,
    waba: accounts,
    connection: sessions,
  };
  // A failure of an account is stored by the number.
  const id = random.pick(isFailed && block === 'waba' ? numbersOfMeta : ids[block]);
  if (isFailed) return { block, id, data: null, failure, state: null };
  const word = random.pick(['YES', 'NO', 'UNKNOWN'] as const);
  return {
    block,
    id,
    data: makeData(random)[block],
    failure: null,
    state:
      block === 'phone' || block === 'connection'
        ? random.pick(['OPEN', 'OPEN', 'CLOSE'] as const)
        : null,
    verdicts:
      block === 'phone'
        ? ({ verdict: word, replyVerdict: word } as NonNullable<Reading['verdicts']>)
        : null,
  };
}

const makeData = (random: Random) => ({
  phone: {
    status: random.pick(['CONNECTED', 'CONNECTED', 'BANNED', 'RESTRICTED']),
    ...(random.chance(0.8) && { qualityRating: random.pick(['GREEN', 'YELLOW', 'RED']) }),
    nameStatus: 'APPROVED',
    platformType: 'CLOUD_API',
    verifiedName: random.pick(['Shop', 'x'.repeat(2_500)]),
    isPinEnabled: random.chance(0.5),
    healthStatus: {
      canSendMessage: 'AVAILABLE',
      entities: ['PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP', 'APP'].map((entityType) => ({
        entityType,
        canSendMessage: random.pick(['AVAILABLE', 'AVAILABLE', 'LIMITED', 'BLOCKED']),
        additionalInfo: [],
        errors: [],
      })),
    },
  },
  profile: {
    ...(random.chance(0.7) && { about: random.pick(['Hello', 'Bye', '']) }),
    ...(random.chance(0.5) && { websites: random.pick([[], ['https://a.example']]) }),
    profilePictureUrl: `https://example.com/${random.below(1_000)}`,
  },
  waba: {
    name: random.pick(['Account', 'Other']),
    ...(random.chance(0.5) && {
      ownerBusinessId: random.pick(['7', '8']),
      ownerBusinessName: 'Owner',
    }),
  },
  connection: { instanceExists: true },
});

type Fold = Map<string, Map<string, string>>;

/** What a reader of the feed does: keeps the last value of each field of each number and account. */
export function foldChange(fold: Fold, change: NumberChange): void {
  const { kind, field, newValue } = change;
  const key = change.numberId ?? `account ${change.wabaId}`;
  if (kind === 'REMOVED') return void fold.delete(key);
  const values = fold.get(key) ?? new Map<string, string>();
  fold.set(key, values);
  if (kind === 'ADDED') {
    for (const [name, value] of Object.entries(JSON.parse(newValue ?? '{}') as object)) {
      values.set(name, value);
    }
  } else if (kind === 'FIELD' || kind === 'VERDICT') {
    if (newValue === null) values.delete(field!);
    else values.set(field!, newValue);
  }
}

/** What a reader has folded, and up to where. */
interface Folded {
  readonly fold: Fold;
  readonly cursor: string;
  readonly changes: number;
}

/** So many changes at the end are read one by one. */
const maxSingle = 500;

async function compareFolds(database: TestDatabase, histories: readonly History[]) {
  const [{ epoch }] = (await database.query<{ epoch: string }>(
    'select epoch from feed_position',
  )) as [{ epoch: string }];
  const [{ total }] = (await database.query<{ total: number }>(
    'select count(*)::integer as total from number_change',
  )) as [{ total: number }];
  const stored = await readStored(database);
  const problems: string[] = [];
  for (const [index, size] of [200, 50, 7, 1].entries()) {
    const history = histories[index % histories.length]!;
    let folded: Folded = { fold: new Map(), cursor: `c1.${epoch}.0`, changes: 0 };
    // oxlint-disable no-await-in-loop -- one page size after the other
    if (size === 1) folded = await foldPages(history, folded, 200, Math.max(0, total - maxSingle));
    folded = await foldPages(history, folded, size, total);
    // oxlint-enable no-await-in-loop
    const differences = [
      ...(folded.changes === total ? [] : [`${folded.changes} changes of ${total}`]),
      ...compare(folded.fold, stored),
    ];
    problems.push(...differences.map((it) => `Pages of ${size}: ${it}`));
  }
  return { changes: total, problems };
}

/** Folds pages of this size up to the change with this sequence, or to the last one. */
async function foldPages(
  history: History,
  { fold, ...start }: Folded,
  size: number,
  through: number,
): Promise<Folded> {
  let { cursor, changes } = start;
  while (changes < through) {
    const first = Math.min(size, through - changes);
    const request = { after: cursor, first, filter: {} };
    // oxlint-disable-next-line no-await-in-loop -- one page after the other
    const page = await history.readChanges({ tenantId } as Access, request);
    for (const change of page.changes) {
      changes += 1;
      if (change.sequence !== changes) {
        throw new Error(`${change.sequence} is at the place of ${changes}.`);
      }
      foldChange(fold, change);
    }
    ({ cursor } = page);
    if (page.caughtUp) break;
  }
  return { fold, cursor, changes };
}

function compare(fold: Fold, stored: Fold): readonly string[] {
  const toLines = (it: Fold) =>
    new Set(
      [...it].flatMap(([key, values]) =>
        [...values]
          .filter(([name]) => !name.endsWith('VERDICT'))
          .map(([name, value]) => `${key} ${name} ${value}`),
      ),
    );
  const [folded, expected] = [toLines(fold), toLines(stored)];
  return [
    ...[...expected.difference(folded)].map((it) => `missing in the feed: ${it}`),
    ...[...folded.difference(expected)].map((it) => `wrong in the feed: ${it}`),
  ];
}

async function readStored(database: TestDatabase): Promise<Fold> {
  const rows = await database.query<{ key: string; field: string; value: string }>(
    `select n.id as key, f.field, f.value from whatsapp_number n, lateral (values ('STATE', n.state), ('NAME', n.name),
       ('NUMBER', n.number), ('WABA_ID', n.waba_id)) f(field, value) where f.value is not null
     union all
     select s.number_id, f.field, f.value from number_snapshot s, fields_of_block(s.block, s.data) f
     union all
     select 'account ' || s.waba_id, f.field, f.value from waba_snapshot s, fields_of_block('waba', s.data) f`,
  );
  const fold: Fold = new Map();
  for (const { key, field, value } of rows) {
    fold.set(key, (fold.get(key) ?? new Map<string, string>()).set(field, value));
  }
  return fold;
}

/** The last verdict in the history of each number is that of the rules. */
async function compareVerdicts(database: Database, at: Date): Promise<readonly string[]> {
  const staleBefore = sql`${new Date(at.getTime() - (staleAfterSeconds + 1) * 1_000)}::timestamptz(3)`;
  const columns = toStatusColumns('s', staleBefore, true);
  const { rows } = await database.withTenant(tenantId, (transaction) =>
    sql<Record<string, string>>`
      select * from (
        select s.number_id as number, ${verdictOf('verdict', columns)} as verdict, ${ofHistory('VERDICT')} as recorded,
          ${verdictOf('reply_verdict', columns)} as reply_verdict, ${ofHistory('REPLY_VERDICT')} as reply_recorded
        from number_status s
      ) v where verdict <> recorded or reply_verdict <> reply_recorded`.execute(transaction),
  );
  return rows.map((row) => `At ${at.toISOString()}: ${JSON.stringify(row)}`);
}

function ofHistory(field: string) {
  return sql`coalesce((
    select c.new_value from number_change c
    where c.tenant_id = s.tenant_id and c.number_id = s.number_id
      and (c.field = ${field} and c.kind = 'VERDICT' or c.kind = 'REMOVED')
    order by c.sequence desc limit 1), 'UNKNOWN')`;
}
