// Transactions of other software in random order, and readers that poll the feed meanwhile.

import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import {
  createRandom,
  type Isolation,
  makePlan,
  type Plan,
  type Tenant,
  tenants,
} from './random-transaction.ts';

/** A connection as the superuser. */
export interface Connection {
  query<Row = Record<string, unknown>>(
    text: string,
    values?: unknown[],
  ): Promise<{ readonly rows: readonly Row[] }>;
}

export interface RandomCommitsOptions {
  /** Of a database that is migrated and has no tenants. Closed by the caller. */
  readonly connect: () => Promise<Connection>;
  /** Whether all connections are the same one, as with PGlite: readers then read between transactions. */
  readonly isSingleSession?: boolean;
  readonly seed: number;
  readonly writers: number;
  /** Of each writer. */
  readonly transactions: number;
  readonly isolations?: readonly Isolation[];
}

export interface Failure {
  readonly isolation: Isolation;
  readonly statement: string;
  /** Of PostgreSQL. */
  readonly code: string;
  readonly message: string;
  /** The functions in which it failed; '' outside of any. */
  readonly context: string;
}

export interface RandomCommitsResult {
  readonly commits: number;
  /** On purpose. */
  readonly rollbacks: number;
  readonly failures: readonly Failure[];
  readonly deadlocks: number;
  readonly changes: number;
  /** Pages that readers read. */
  readonly pages: number;
  /** What is wrong with the feed, in sentences. */
  readonly problems: readonly string[];
}

interface Change {
  readonly sequence: number;
  readonly id: number;
  readonly number: string;
  readonly field: string | null;
  readonly previous: string | null;
  readonly state: string | null;
}

export async function runRandomCommits(
  options: RandomCommitsOptions,
): Promise<RandomCommitsResult> {
  const { connect, isSingleSession = false } = options;
  const admin = await connect();
  const roles = await prepareTenants(admin, options.writers);
  try {
    const readers = await Promise.all(
      [...tenants, ...tenants].map(async (tenant) => createReader(await connect(), tenant)),
    );
    const readAll = async () => {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      for (const reader of readers) while (await reader.readPage());
    };
    const abort = new AbortController();
    const background = isSingleSession
      ? []
      : [
          ...readers.map((reader) => reader.poll(abort.signal)),
          runClock(await connect(), abort.signal),
        ];
    const running = Promise.all(
      Array.from({ length: options.writers }, async (_, index) =>
        runWriter(
          await connect(),
          { ...options, index, roles },
          isSingleSession ? readAll : async () => undefined,
        ),
      ),
    ).finally(() => abort.abort());
    const [outcomes] = await Promise.all([running, ...background]);
    await admin.query('select number_changes_left()');
    await readAll();
    return await judge(admin, readers, outcomes);
  } finally {
    await removeRoles(admin, roles);
  }
}

interface Roles {
  /** May update the state of numbers, and nothing else. */
  readonly clerk: string;
  /** Owns whatsapp_number, to which its policies apply. */
  readonly owner: string;
}

async function prepareTenants(admin: Connection, writers: number): Promise<Roles> {
  const suffix = randomBytes(6).toString('hex');
  const roles = { clerk: `clerk_${suffix}`, owner: `owner_${suffix}` };
  for (const statement of [
    `create role ${roles.clerk}`,
    `create role ${roles.owner}`,
    `grant select (tenant_id, id), update (state) on whatsapp_number to ${roles.clerk}`,
    `create policy clerk on whatsapp_number to ${roles.clerk} using (true) with check (true)`,
    `grant usage, create on schema public to ${roles.owner}`,
    `alter table whatsapp_number owner to ${roles.owner}`,
    // Each state is another word, so that changes are told apart.
    'alter table whatsapp_number drop constraint whatsapp_number_state_check',
    // A commit that notifies waits for a lock of the whole server, which a short lock_timeout ends without the feed.
    'alter table whatsapp_number disable trigger announce_update',
    'alter table number_status disable trigger announce_update',
    `insert into tenant (id, name) select t, t from unnest('{${tenants.join(',')}}'::text[]) t`,
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state)
     select t.id, t.id || '/' || n, '5511' || (10000000 + place), 'Number', 'PILOT_STATUS', 'first'
     from tenant t, unnest('{${[...Array(writers).keys(), 'shared'].join(',')}}'::text[]) with ordinality u(n, place)`,
    `insert into number_status (tenant_id, number_id, provider, state, created_at, observed_at)
     select tenant_id, id, provider, state, created_at, now() from whatsapp_number`,
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await admin.query(statement);
  }
  return roles;
}

async function removeRoles(admin: Connection, { clerk, owner }: Roles): Promise<void> {
  for (const statement of [
    'reset role',
    `reassign owned by ${owner} to current_user`,
    `drop owned by ${clerk}, ${owner}`,
    `drop role ${clerk}, ${owner}`,
  ]) {
    // oxlint-disable-next-line no-await-in-loop -- one connection
    await admin.query(statement);
  }
}

async function readFeed(
  connection: Connection,
  tenant: Tenant,
  after: number,
  limit: number,
): Promise<readonly Change[]> {
  const { rows } = await connection.query<Change>(
    `select sequence::integer, id::integer, number_id as number, field, previous_value as previous,
       case kind when 'ADDED' then new_value::jsonb ->> 'STATE' else new_value end as state
     from number_change where tenant_id = $1 and sequence > $2 order by sequence limit $3`,
    [tenant, after, limit],
  );
  return rows;
}

/** Rejects at a page that does not follow the previous one. */
function createReader(connection: Connection, tenant: Tenant) {
  const seen: Change[] = [];
  let pages = 0;
  const readPage = async () => {
    const page = await readFeed(connection, tenant, seen.length, 50);
    pages += 1;
    for (const change of page) {
      if (change.sequence !== seen.length + 1) {
        throw new Error(`${change.sequence} follows ${seen.length} in tenant ${tenant}.`);
      }
      seen.push(change);
    }
    return page.length > 0;
  };
  return {
    tenant,
    seen,
    countPages: () => pages,
    readPage,
    async poll(signal: AbortSignal) {
      // oxlint-disable-next-line no-await-in-loop -- one page after the other
      while (!signal.aborted) await readPage();
    },
  };
}

async function runClock(connection: Connection, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // oxlint-disable no-await-in-loop -- one after the other
    await connection.query('select number_changes_left()');
    await delay(200, undefined, { signal }).catch(() => undefined);
    // oxlint-enable no-await-in-loop
  }
}

async function judge(
  admin: Connection,
  readers: readonly ReturnType<typeof createReader>[],
  outcomes: readonly Outcome[],
): Promise<RandomCommitsResult> {
  const problems: string[] = [];
  const feeds = await Promise.all(tenants.map((tenant) => readFeed(admin, tenant, 0, 1_000_000)));
  for (const [index, tenant] of tenants.entries()) {
    const feed = feeds[index]!;
    problems.push(...findProblems(tenant, feed, outcomes));
    for (const { seen } of readers.filter((reader) => reader.tenant === tenant)) {
      if (JSON.stringify(seen) !== JSON.stringify(feed)) {
        problems.push(`A reader of ${tenant} saw other changes than there are.`);
      }
    }
  }
  const left = await admin.query('select id from number_change where sequence is null');
  if (left.rows.length > 0) problems.push(`${left.rows.length} changes have no place.`);
  problems.push(...(await compareStates(admin, feeds.flat())));
  const { rows } = await admin.query<{ deadlocks: number }>(
    'select deadlocks::integer from pg_stat_database where datname = current_database()',
  );
  return {
    commits: sum(outcomes.map((outcome) => outcome.commits)),
    rollbacks: sum(outcomes.map((outcome) => outcome.rollbacks)),
    failures: outcomes.flatMap((outcome) => outcome.failures),
    deadlocks: rows[0]?.deadlocks ?? 0,
    changes: feeds.flat().length,
    pages: sum(readers.map((reader) => reader.countPages())),
    problems,
  };
}

interface Outcome {
  commits: number;
  rollbacks: number;
  readonly updates: (readonly [string, string])[];
  readonly failures: Failure[];
}

interface WriterOptions extends RandomCommitsOptions {
  readonly index: number;
  readonly roles: Roles;
}

async function runWriter(
  connection: Connection,
  options: WriterOptions,
  onEnd: () => Promise<void>,
): Promise<Outcome> {
  const { index, isolations = ['read committed'] } = options;
  const random = createRandom(options.seed * 1_000 + index);
  const outcome: Outcome = { commits: 0, rollbacks: 0, updates: [], failures: [] };
  for (let count = 0; count < options.transactions; count += 1) {
    const plan = makePlan(random, { index, isolations, name: `${index}.${count}` });
    // oxlint-disable no-await-in-loop -- one after the other
    await execute(connection, plan, options.roles, outcome);
    await onEnd();
    // oxlint-enable no-await-in-loop
  }
  return outcome;
}

async function execute(
  connection: Connection,
  plan: Plan,
  roles: Roles,
  outcome: Outcome,
): Promise<void> {
  const { role, isolation, end, steps } = plan;
  const statements =
    end === 'autocommit' ? steps : [`begin isolation level ${isolation}`, ...steps, end];
  if (role !== 'superuser') await connection.query(`set role ${roles[role]}`);
  try {
    for (const statement of statements) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const failure = await tryStatement(connection, statement);
      if (failure !== null) {
        outcome.failures.push({ isolation, statement, ...failure });
        // oxlint-disable-next-line no-await-in-loop -- as above
        await connection.query('rollback');
        return;
      }
    }
  } finally {
    await connection.query('reset role');
  }
  if (end === 'rollback') {
    outcome.rollbacks += 1;
  } else {
    outcome.commits += 1;
    outcome.updates.push(...plan.updates);
  }
}

async function tryStatement(
  connection: Connection,
  statement: string,
): Promise<Pick<Failure, 'code' | 'message' | 'context'> | null> {
  try {
    await connection.query(statement);
    return null;
  } catch (error) {
    const { code = '', message, where = '' } = error as Error & { code?: string; where?: string };
    return { code, message, context: where };
  }
}

/** Places without gaps, and of each number the chain of what was committed. */
function findProblems(
  tenant: Tenant,
  feed: readonly Change[],
  outcomes: readonly Outcome[],
): readonly string[] {
  const problems = feed
    .filter(({ sequence }, index) => sequence !== index + 1)
    .map(({ sequence }, index) => `${tenant}: ${sequence} is at the place of ${index + 1}.`);
  const current = new Map<string, string | null>();
  const states = feed.filter(isOfState);
  for (const { number, previous, state } of states) {
    if ((current.get(number) ?? null) !== previous) {
      problems.push(`${number}: ${previous} -> ${state} follows ${current.get(number)}.`);
    }
    current.set(number, state);
  }
  const recorded = states
    .filter(({ field }) => field === 'STATE')
    .map(({ number, state }) => `${number} ${state}`);
  const committed = outcomes
    .flatMap(({ updates }) => updates)
    .filter(([number]) => number.startsWith(`${tenant}/`))
    .map(([number, state]) => `${number} ${state}`);
  for (const missed of new Set(committed).difference(new Set(recorded))) {
    problems.push(`${missed} was committed and is not in the feed.`);
  }
  if (recorded.length !== committed.length) {
    problems.push(`${tenant}: ${committed.length} committed, ${recorded.length} in the feed.`);
  }
  return problems;
}

// Others are of verdicts, which follow from the state.
function isOfState({ field }: Change): boolean {
  return field === null || field === 'STATE';
}

/** The last state in the feed is the stored one. */
async function compareStates(
  admin: Connection,
  feed: readonly Change[],
): Promise<readonly string[]> {
  const folded = new Map(feed.filter(isOfState).map(({ number, state }) => [number, state]));
  const { rows } = await admin.query<{ id: string; state: string }>(
    'select id, state from whatsapp_number',
  );
  return rows
    .filter(({ id, state }) => folded.get(id) !== state)
    .map(({ id, state }) => `${id} is ${state}, in the feed ${folded.get(id)}.`);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Without the feed such a transaction fails as well. */
export function failsWithoutFeed({ isolation, statement, code, context }: Failure): boolean {
  // Of two transactions with an older snapshot that update the same number, PostgreSQL ends one.
  if (isolation === 'repeatable read' && code === '40001') return statement.includes('/shared');
  // A time limit of 2 ms may pass before a commit or a rollback begins.
  return code === '57014' && context === '';
}
