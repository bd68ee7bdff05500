// That the statements of the stores are limited to their tenant even without row-level security. Each condition on the
// tenant is removed from the source in turn, and each time a row of another tenant must be read, changed or waited for.

import { readFileSync } from 'node:fs';
import { glob, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type * as accessStore from '../../src/access/store.ts';
import type * as adminStore from '../../src/admin/store.ts';
import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../../src/database/database.ts';
import { prepare } from '../../src/database/statement.ts';
import type { Summary } from '../../src/fleet/facets.ts';
import { type FleetFilter, normalizeFilter } from '../../src/fleet/filter.ts';
import { toFilterParameters } from '../../src/fleet/filter-queries.ts';
import type * as filterQueries from '../../src/fleet/filter-queries.ts';
import type * as fleetQueries from '../../src/fleet/fleet-queries.ts';
import type * as refreshQueries from '../../src/fleet/refresh-queries.ts';
import type * as operationStore from '../../src/fleet/operation-store.ts';
import { type FleetRead, toShape } from '../../src/fleet/read-shape.ts';
import type * as summaryQueries from '../../src/fleet/summary-queries.ts';
import type * as onboardingStore from '../../src/fleet/store.ts';
import type * as timelineQueries from '../../src/history/timeline-queries.ts';
import type * as historyStore from '../../src/history/store.ts';
import type * as budgetStore from '../../src/numbers/budget-store.ts';
import type * as leaseStore from '../../src/numbers/lease-store.ts';
import type * as endpointStore from '../../src/alerts/endpoint-store.ts';
import type * as effectStore from '../../src/alerts/effect-store.ts';
import type * as evaluationStore from '../../src/alerts/evaluation-store.ts';
import type * as incidentQueries from '../../src/alerts/incident-queries.ts';
import type * as incidentStore from '../../src/alerts/incident-store.ts';
import type * as deliveryStore from '../../src/alerts/delivery-store.ts';
import type * as accountQueries from '../../src/sync/account-queries.ts';
import type * as callStore from '../../src/sync/call-store.ts';
import type * as requestStore from '../../src/sync/request-store.ts';
import type * as syncStore from '../../src/sync/store.ts';
import type * as routeStore from '../../src/webhooks/route-store.ts';
import type * as webhookStore from '../../src/webhooks/store.ts';
import { fullProjection } from '../../src/numbers/projection.ts';
import type * as numberQueries from '../../src/numbers/number-queries.ts';
import type * as noticeStore from '../../src/numbers/notice-store.ts';
import type * as numberStore from '../../src/numbers/number-store.ts';
import type * as selectionQueries from '../../src/numbers/selection-queries.ts';
import { toStatusColumns } from '../../src/numbers/status-queries.ts';
import type * as statusStore from '../../src/numbers/status-store.ts';
import type * as numbersStore from '../../src/numbers/store.ts';
import { openTestDatabase, type TestDatabase } from '../harness.ts';
import { type MutantSource, type Mutation, openMutantSource, root, toMutants } from '../mutants.ts';
import { rowOf, toTenantColumn } from './tenancy-probe.ts';

type AccessStore = typeof accessStore;
type AdminStore = typeof adminStore;
type NumbersStore = typeof numbersStore;
type AccountQueries = typeof accountQueries;
type CallStore = typeof callStore;
type RequestStore = typeof requestStore;
type SyncStore = typeof syncStore;
type RouteStore = typeof routeStore;
type WebhookStore = typeof webhookStore;
type EndpointStore = typeof endpointStore;
type DeliveryStore = typeof deliveryStore;
type EffectStore = typeof effectStore;
type EvaluationStore = typeof evaluationStore;
type IncidentStore = typeof incidentStore;
type IncidentQueries = typeof incidentQueries;
type OnboardingStore = typeof onboardingStore;
type HistoryStore = typeof historyStore;
type BudgetStore = typeof budgetStore;
type LeaseStore = typeof leaseStore;
type NumberQueries = typeof numberQueries;
type NoticeStore = typeof noticeStore;
type NumberStore = typeof numberStore;
type SelectionQueries = typeof selectionQueries;
type StatusStore = typeof statusStore;
type FilterQueries = typeof filterQueries;
type FleetQueries = typeof fleetQueries;
type OperationStore = typeof operationStore;
type RefreshQueries = typeof refreshQueries;
type SummaryQueries = typeof summaryQueries;
type TimelineQueries = typeof timelineQueries;

/** Conditions on the tenant, each with its replacement. */
const conditions: readonly Mutation[] = [
  [/\.where\('(?:\w+\.)?tenant_id', '=', tenantId\)/g, ''],
  [/\.where\('id', '=', tenantId\)/g, ''],
  [/\w+\.tenant_id = \$\{tenantId\}/g, 'true'],
  [/\w+\.tenant_id = \w+\.tenant_id/g, 'true'],
];

/** The tenant that runs the statements, and the other one, whose rows are once after and once before its own. */
const casts = [
  { me: 'tenant-b', other: 'tenant-a' },
  { me: 'tenant-a', other: 'tenant-b' },
] as const;
type Cast = (typeof casts)[number];

const syncTables = ['sync_subject', 'sync_plan', 'sync_call'];

// Both tenants have the same ids, so only the tenant distinguishes their rows.
const rows = Object.entries(rowOf).map(([table, insert]) => ({
  table,
  insert: (tenantId: string) =>
    insert
      .replaceAll('wa_$t', 'wa_1')
      .replaceAll('key_$t', 'key_1')
      .replaceAll('cred_$t', 'cred_1')
      .replaceAll('whe_$t', 'whe_1')
      .replaceAll('ale_$t', 'ale_1')
      .replaceAll('msg_$t', 'msg_1')
      .replaceAll('inc_$t', 'inc_1')
      .replaceAll('$t', tenantId),
}));

/** Calls every function of a store, and returns what it read. */
type Scenario<Store> = (store: Store, database: Database, cast: Cast) => Promise<unknown>;

const lease = {
  holder: 'holder',
  subjects: [
    { block: 'phone', id: 'wa_1', numberIds: ['wa_1'] },
    { block: 'waba', id: '20001', numberIds: ['wa_1'] },
  ],
  // The snapshots of the other tenant were just stored, those of `me` a day ago.
  receivedMsAgo: 60_000,
  leaseMs: 60_000,
  numberIds: ['wa_1', 'wa_3'],
} as const;

const accessScenario: Scenario<AccessStore> = async (store, database, { me: tenantId }) => [
  await store.findTenant(database, tenantId),
  await store.listKeys(database, tenantId),
  await store.listAudit(database, tenantId, 100),
  await store.replaceKey(
    database,
    tenantId,
    'key_1',
    { hash: Buffer.from('new'), key_prefix: 'ps_new', key_last4: 'new' },
    60_000,
  ),
  await store.revokeKey(database, tenantId, 'key_1'),
  await listLifetimes(store, database, tenantId),
  await removeTenant(store, database, tenantId),
];

/** Of a key that is revoked here, and not in the other tenant. */
async function listLifetimes(
  store: AccessStore,
  database: Database,
  tenantId: string,
): Promise<void> {
  const lifetimes = await store.listKeyLifetimes(database, tenantId, ['key_1']);
  if (lifetimes.size > 0) throw new Error('a key of the other tenant');
}

async function removeTenant(
  store: AccessStore,
  database: Database,
  tenantId: string,
): Promise<void> {
  const { numbers, keys } = await store.deleteTenant(database, tenantId);
  if (numbers !== 1) throw new Error('numbers of the other tenant are counted');
  // The one that replaced another.
  if (keys !== 1) throw new Error('keys of the other tenant are counted');
}

const numbersScenario: Scenario<NumbersStore> = async (store, database, { me: tenantId }) => {
  const reading = { data: { verifiedName: 'new' }, failure: null, state: 'OPEN' } as const;
  const foreign = { block: 'phone', id: 'wa_2', ...reading } as const;
  const isStored = async () => {
    const { data } = await database.withTenant(tenantId, (transaction) =>
      transaction
        .selectFrom('number_snapshot')
        .select('data')
        .where('tenant_id', '=', tenantId)
        .where('number_id', '=', 'wa_1')
        .where('block', '=', 'phone')
        .executeTakeFirstOrThrow(),
    );
    if (!JSON.stringify(data).includes('new'))
      throw new Error('a number of the other tenant exists');
  };
  return [
    await store.recordReadings(database, {
      tenantId,
      holder: lease.holder,
      observedAt: new Date(),
      readings: [foreign, ...lease.subjects.map((subject) => ({ ...subject, ...reading }))],
      leased: lease.subjects,
    }),
    await isStored(),
  ];
};

/** Adds a number that names a shared credential which only the other tenant has. */
async function addForeignlyShared(database: Database, tenantId: string): Promise<void> {
  await database.withTenant(tenantId, (transaction) =>
    sql`insert into whatsapp_number
      (tenant_id, id, number, name, provider, state, phone_number_id, waba_id, credential_id)
      values (${tenantId}, 'wa_3', '55119', 'Shop', 'META', 'OPEN', '10003', '40001', 'cred_2')`.execute(
      transaction,
    ),
  );
}

const numberScenario: Scenario<NumberStore> = async (store, database, { me: tenantId }) => {
  const read = [
    await store.findNumber(database, tenantId, 'wa_1'),
    await store.findNumber(database, tenantId, 'wa_2'),
    await store.findCredentials(database, tenantId, 'wa_1'),
  ];
  if (read[1] !== undefined) throw new Error('a number of the other tenant');
  if ((await store.listPhoneNumberIds(database, tenantId)).has('10002')) {
    throw new Error('the phone number id of the other tenant');
  }
  await addForeignlyShared(database, tenantId);
  const foreign = await store.findCredentials(database, tenantId, 'wa_2');
  const foreignShared = await store.findCredentials(database, tenantId, 'wa_3');
  if (foreign !== undefined || foreignShared !== undefined) {
    throw new Error('credentials of the other tenant');
  }
  if (await store.shareCredential(database, tenantId, 'wa_1', 'cred_2')) {
    throw new Error('a shared credential of the other tenant');
  }
  await store.shareCredential(database, tenantId, 'wa_1', 'cred_1');
  const imported = { number: '55119', name: 'Shop', state: 'OPEN', waba_id: '50001' } as const;
  const row = { ...imported, phone_number_id: '10009' };
  await store.insertMetaNumbers(database, tenantId, [row], 'cred_1', 'SYNC');
  await store.updateState(database, tenantId, 'wa_1', 'CLOSE');
  await store.updateCredential(database, tenantId, 'wa_1', 'sealed anew');
  await store.updateNumber(database, tenantId, 'wa_1', { waba_id: '30001' });
  const wabas = await database.withTenant(tenantId, (transaction) =>
    transaction
      .selectFrom('waba_snapshot')
      .select('waba_id')
      .where('tenant_id', '=', tenantId)
      .execute(),
  );
  if (wabas.length > 0) throw new Error('an account of numbers of the other tenant');
  const keys = await store.deleteNumber(database, tenantId, 'wa_1');
  if (keys?.length !== 1) throw new Error('a key of the other tenant');
  return read;
};

const queriesScenario: Scenario<NumberQueries> = async (store, database, { me: tenantId }) => {
  const request = { tenantId, projection: fullProjection, now: new Date() };
  const addresses = await store.listAddresses(database, tenantId, ['wa_1']);
  if (addresses.length !== 1) throw new Error('an address of the other tenant');
  return [
    await store.listNumbers(database, request),
    await store.listNumbers(database, { ...request, ids: ['wa_1'] }),
  ];
};

const leaseScenario: Scenario<LeaseStore> = async (store, database, { me: tenantId }) => {
  await addForeignlyShared(database, tenantId);
  const held = await store.listLeaseHolders(database, tenantId);
  if (held.size > 0) throw new Error('a lease of the other tenant');
  const taken = await store.acquireLease(database, { tenantId, ...lease });
  if (taken.satisfied.length > 0) throw new Error('satisfied by a snapshot of the other tenant');
  if (taken.granted.length + taken.held.length > 2) throw new Error('subjects of the other tenant');
  if (taken.pauses.size > 0) throw new Error('a pause of the other tenant');
  await database.withTenant(tenantId, async (transaction) => {
    await store.deleteLeases(transaction, tenantId, lease.holder, lease.subjects);
  });
  return [...taken.credentials];
};

const budgetScenario: Scenario<BudgetStore> = async (store, database, { me: tenantId }) => {
  if ((await store.listPauses(database, tenantId)).size > 0) {
    throw new Error('a pause of the other tenant');
  }
  const spent = { spentPercent: 100, until: new Date(Date.now() + 60_000) } as const;
  await store.storePauses(database, tenantId, new Map([['20001', spent]]));
  await database.withTenant(tenantId, (transaction) =>
    store.recordBudgets(transaction, tenantId, new Map([['20001', spent]])),
  );
  return [];
};

const adminScenario: Scenario<AdminStore> = async (store, database, { me: tenantId, other }) => {
  const count = await store.countSealedCredentials(database, tenantId);
  if (count !== 4) throw new Error('credentials of the other tenant are counted');
  const own = { table: 'number_credential', id: 'wa_1' } as const;
  const shared = { table: 'credential', id: 'cred_1' } as const;
  const endpoint = { table: 'webhook_endpoint', id: 'whe_1' } as const;
  const alertEndpoint = { table: 'alert_endpoint', id: 'ale_1' } as const;
  return [
    await store.listSealedCredentials(database, tenantId, own.table, { after: '', limit: 10 }),
    await store.findSealedCredential(database, tenantId, own),
    await store.findSealedCredential(database, tenantId, shared),
    await store.findSealedCredential(database, tenantId, endpoint),
    await store.findSealedCredential(database, tenantId, alertEndpoint),
    await store.replaceSealedCredentials(database, tenantId, [
      { ...own, sealed: `sealed of ${other}`, resealed: 'sealed anew' },
      { ...shared, sealed: `shared by ${other}`, resealed: 'sealed anew' },
    ]),
  ];
};

const selectionScenario: Scenario<SelectionQueries> = async (store, database, { me }) => {
  await addForeignlyShared(database, me);
  const projection = { ...fullProjection, nextReads: true };
  const { columns, joins, parseRow } = store.selectNumbers(projection);
  const statement = prepare(
    'numbers',
    ['tenantId'],
    ({ tenantId }) => sql`
      select ${columns} from whatsapp_number n ${joins(tenantId, () => sql`true`)}
      where n.tenant_id = ${tenantId}`,
  );
  const found = await database.readTenant(me, statement({ tenantId: me }));
  if (found.length !== 2) throw new Error('rows of the other tenant');
  const numbers = found.map((row) => parseRow(row, 0));
  if (numbers.some(({ token }) => token !== null)) throw new Error('a token of the other tenant');
  return numbers;
};

const fleetRead: Omit<FleetRead, 'tenantId'> = {
  filter: { is: {}, not: {} },
  order: { field: 'NAME', direction: 'ASC' },
  asOf: new Date(),
  page: { limit: 10, isBackward: false, keys: null, projection: fullProjection },
  counted: { facets: true, wabas: 10, portfolios: 10, labels: 10 },
  connectionsAreRead: true,
  now: new Date(),
};

const fleetScenario: Scenario<FleetQueries> = async (store, database, { me: tenantId }) => {
  const read = await store.readFleet(database, tenantId, fleetRead);
  if (read.rows.length !== 1) throw new Error('numbers of the other tenant');
  return read;
};

const filterScenario: Scenario<FilterQueries> = async (store, database, { me, other }) => {
  const filter = { is: { labels: [`of=${other}`] }, not: {} };
  const values = { tenantId: me, ...store.toFilterParameters(filter) };
  const statement = prepare('labelled', Object.keys(values), (parameters) => {
    const columns = toStatusColumns('s', sql`now()`, true);
    const labelled = store.toConditions('is', ['labels'], columns, parameters);
    return sql`select s.number_id from number_status s
      where s.tenant_id = ${parameters['tenantId']} and ${store.allOf(labelled)}`;
  });
  const found = await database.readTenant(me, statement(values));
  if (found.length > 0) throw new Error('a label of the other tenant');
  return found;
};

const operationScenario: Scenario<OperationStore> = async (store, database, { me }) => {
  const change = async (id: string) =>
    store.updateOperated(database, me, id, { labels: ['a=b'] }, 'COMMAND_LINE');
  const isFound = await change('wa_2');
  if (isFound) throw new Error('a number of the other tenant');
  return [await change('wa_1')];
};

const refreshScenario: Scenario<RefreshQueries> = async (store, database, { me }) => {
  const addresses = await store.listAddresses(database, me, ['wa_1', 'wa_2']);
  if (addresses.length !== 1) throw new Error('an address of the other tenant');
  const listed = await store.readListedAccounts(database, me, ['20001']);
  if (listed.get('20001')?.numbers !== 1) throw new Error('a number of the other tenant counts');
  return addresses;
};

const summaryScenario: Scenario<SummaryQueries> = async (store, database, { me: tenantId }) => {
  const values = {
    tenantId,
    staleBefore: new Date(fleetRead.asOf.getTime() - 3_601_000).toISOString(),
    wabas: '10',
    portfolios: '10',
    labels: '10',
  };
  // A verdict of the other tenant that has expired must not hold its place in the feed back.
  await database.withTenant(tenantId, (transaction) =>
    sql`delete from number_change where tenant_id = ${tenantId}`.execute(transaction),
  );
  const count = async (filter: FleetFilter): Promise<Summary> => {
    const read = { ...fleetRead, filter: normalizeFilter(filter) };
    const parameters = { ...values, ...toFilterParameters(read.filter) };
    const statement = prepare('counts', Object.keys(parameters), (named) => {
      const counted = { ...fleetRead.counted, feedPosition: true };
      const shape = toShape({ ...read, counted, tenantId, page: null });
      const { expressions, summary } = store.selectCounted(shape, named);
      return sql`with ${sql.join(expressions)} select ${summary}::text`;
    });
    const [[text] = []] = await database.readTenant(tenantId, statement(parameters));
    return JSON.parse(text ?? '{}') as Summary;
  };
  const counted = await count({});
  // Then the labels are counted with the status of their numbers.
  const { labels } = await count({ providers: ['META', 'PILOT_STATUS'] });
  const { rows: own } = await database.withTenant(tenantId, (transaction) =>
    sql<{ at: Date; last: string }>`
      select s.observed_at as at, p.last from number_status s join feed_position p using (tenant_id)
      where tenant_id = ${tenantId}`.execute(transaction),
  );
  if (counted.buckets?.length !== 1 || counted.buckets[0]?.count !== 1) {
    throw new Error('numbers of the other tenant are counted');
  }
  if (counted.feedPosition?.sequence !== Number(own[0]?.last)) {
    throw new Error('a place in the feed of the other tenant');
  }
  if (counted.nextObservedAt !== own[0]?.at.toISOString())
    throw new Error('a time of the other tenant');
  return [counted, labels];
};

const timelineScenario: Scenario<TimelineQueries> = async (store, database, { me: tenantId }) => {
  const to = new Date('2090-01-01');
  const readFrom = async (from: Date) => {
    const request = { numberIds: ['wa_1'], field: 'STATE', from, to, limit: 10 } as const;
    const recorded = await store.readRecorded(database, tenantId, request);
    const [[, only] = []] = recorded;
    if (recorded.length !== 1 || only === undefined) throw new Error('a row of the other tenant');
    return only;
  };
  const { rows: own } = await database.withTenant(tenantId, (transaction) =>
    sql<{ addedAt: Date; since: string }>`
      select c.occurred_at as "addedAt", to_char(p.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as since
      from number_change c join feed_position p using (tenant_id)
      where tenant_id = ${tenantId} and c.number_id = 'wa_1' and c.kind = 'ADDED' and c.field is null`.execute(
      transaction,
    ),
  );
  const [{ addedAt, since } = { addedAt: to, since: '' }] = own;
  const keep = (condition: RawBuilder<unknown>) =>
    database.withTenant(tenantId, (transaction) =>
      sql`delete from number_change where tenant_id = ${tenantId} and not (${condition})`.execute(
        transaction,
      ),
    );
  const always = new Date('2020-01-01');
  await keep(sql`number_id = 'wa_1' and kind = 'FIELD' and field = 'STATE'`);
  if ((await readFrom(always)).changes.length !== 1) throw new Error('changes of the other tenant');
  if ((await readFrom(addedAt)).changes.length > 0) throw new Error('a time of the other tenant');
  await keep(sql`false`);
  await database.withTenant(tenantId, (transaction) =>
    sql`update feed_position set first = 2 where tenant_id = ${tenantId}`.execute(transaction),
  );
  const recorded = await readFrom(always);
  if (recorded.gaps.length > 0) throw new Error('a gap of the other tenant');
  if (recorded.recordedSince !== since) throw new Error('a beginning of the other tenant');
  return recorded;
};

const statusScenario: Scenario<StatusStore> = async (store, database, { me: tenantId }) => {
  await database.withTenant(tenantId, async (transaction) => {
    await store.writeStatuses(transaction, { tenantId, ids: ['wa_1'], at: new Date() });
    // Only the other tenant has a failure that is newer.
    await sql`delete from number_snapshot where tenant_id = ${tenantId} and block = 'waba'`.execute(
      transaction,
    );
    await sql`update number_status set account_failing = true where tenant_id = ${tenantId}`.execute(
      transaction,
    );
    const accounts = [{ id: '20001', data: { ownerBusinessId: '88' } }];
    await store.updateStatusesOfAccounts(transaction, tenantId, accounts, new Date());
    const { rows: own } = await sql<{ failing: boolean }>`
      select account_failing as failing from number_status where tenant_id = ${tenantId}`.execute(
      transaction,
    );
    if (own.some(({ failing }) => failing)) throw new Error('a failure of the other tenant');
    await sql`update number_status set restriction = 'INFORMS' where tenant_id = ${tenantId}`.execute(
      transaction,
    );
    const request = { tenantId, wabaIds: ['20001'], at: new Date() };
    await store.updateRestrictionsOfStatuses(transaction, request);
    await store.updateRestrictionsOfStatuses(transaction, request);
    const { rows: restricted } = await sql`
      select from number_status where tenant_id = ${tenantId} and restriction is not null`.execute(
      transaction,
    );
    if (restricted.length > 0) throw new Error('a restriction of the other tenant');
  });
  const outdated = await store.writeOutdatedStatuses(database, tenantId, 10);
  if (outdated > 0) throw new Error('a status of the other tenant is outdated');
  return [outdated];
};

const noticeScenario: Scenario<NoticeStore> = async (store, database, { me: tenantId }) =>
  await database.withTenant(tenantId, async (transaction) => {
    const now = new Date();
    const ban = { reportedAt: now.toISOString(), digest: 'x', value: { state: 'A', date: null } };
    const accounts = new Map([['20001', { ban }]]);
    await store.storeNotices(transaction, { tenantId, accounts, now });
    await sql`update account_notice set next_end = now(), ends_by_reads = true where tenant_id = ${tenantId}`.execute(
      transaction,
    );
    const health = JSON.stringify([{ id: '20001', word: 'AVAILABLE' }]);
    await sql`
      with current as (select '20001' as waba_id, ${health}::jsonb as accounts), ${store.followEndsByReads(tenantId, now)}
      select`.execute(transaction);
    const later = new Date(now.getTime() + 1_000);
    const closed = await store.closeEnded(transaction, tenantId, later, 10);
    if (closed.length !== 2) throw new Error('accounts of the other tenant');
    await store.lockNotices(transaction, tenantId, 'wa_1');
    await store.deleteUnusedNotices(transaction, tenantId);
    const { rows: kept } = await sql`
      select waba_id, notices from account_notice where tenant_id = ${tenantId}`.execute(
      transaction,
    );
    if (kept.length !== 1) throw new Error('a number of the other tenant in the account');
    return kept;
  });

const onboardingScenario: Scenario<OnboardingStore> = async (store, database, { me: tenantId }) => {
  const facts = { appId: '12345', expiresAt: null, dataAccessExpiresAt: null };
  const listed = await store.listCredentials(database, tenantId);
  if (listed[0]?.credential.numbers !== 0) throw new Error('a number of the other tenant counts');
  await store.recordFacts(database, tenantId, 'cred_1', facts);
  const anew = { id: 'cred_1', name: 'anew', sealed: 'sealed anew', facts };
  await store.updateCredential(database, tenantId, anew);
  await store.insertCredential(database, tenantId, { ...anew, id: 'cred_2' });
  await database.withTenant(tenantId, (transaction) =>
    sql`delete from account_watch where tenant_id = ${tenantId}`.execute(transaction),
  );
  if ((await store.findWatchMode(database, tenantId, '20001')) !== 'REPORT') {
    throw new Error('what is set for an account of the other tenant');
  }
  await store.setWatchMode(database, tenantId, '20001', 'OFF');
  const accounts = await store.listAccounts(database, tenantId);
  if (accounts.length !== 1) throw new Error('an account of the other tenant');
  if (accounts[0]?.numbers !== 1) throw new Error('a number of the other tenant in the account');
  return [listed, accounts];
};

const webhookScenario: Scenario<WebhookStore> = async (store, database, { me: tenantId }) => {
  const seen: unknown[] = [await store.listEndpoints(database, tenantId)];
  const event = {
    digest: 'abcd',
    field: 'account_update',
    event: null,
    phone: null,
    payload: null,
    happenedAt: null,
    outcome: 'RECEIVED',
  } as const;
  const given = [
    { ...event, wabaId: '20001' },
    { ...event, wabaId: '60001', digest: 'ef01' },
  ];
  const outcomes = await store.insertEvents(
    database,
    tenantId,
    given,
    new Date(),
    async () => undefined,
  );
  if (outcomes.join(' ') !== 'stored foreign') throw new Error('an account of the other tenant');
  const applied = await store.applyMissed(database, tenantId, new Date(), 10);
  if (applied !== 2) throw new Error('events of the other tenant are applied');
  await store.closeRestrictions(database, tenantId, new Date(), 10, async () => undefined);
  await store.updateEndpoint(database, tenantId, 'whe_1', ({ sealed }) => {
    seen.push(sealed);
    return 'sealed anew';
  });
  const tomorrow = new Date(Date.now() + 86_400_000);
  const deleted = [
    await store.eventRetention.deleteOldest(database, tenantId, tomorrow, 1),
    await store.eventRetention.deleteOldest(database, tenantId, tomorrow, 10),
  ];
  if (deleted.join(' ') !== '1 2') throw new Error('events of the other tenant');
  await store.setReceived(database, tenantId, 'whe_1', new Date());
  await store.deleteEndpoint(database, tenantId, 'whe_1');
  return seen;
};

const routeScenario: Scenario<RouteStore> = async (store, database, { me: tenantId }) =>
  await database.withTenant(tenantId, async (transaction) => {
    await sql`delete from meta_event where tenant_id = ${tenantId}`.execute(transaction);
    const now = new Date(Date.now() + 2 * 86_400_000 - 60_000);
    const query = { now, since: new Date(0), numberIds: null };
    const routes = await store.listRoutes(transaction, tenantId, query);
    const [route] = routes;
    if (routes.length !== 1 || route === undefined) throw new Error('an account of the other one');
    const { lastEventAt, subscribedApps, announcedAt } = route;
    if (lastEventAt !== null) throw new Error('an event of the other tenant');
    if (subscribedApps !== null) throw new Error('apps of the other tenant');
    if (announcedAt !== null) throw new Error('a change of the other tenant');
    await store.storeVerdicts(transaction, tenantId, new Map([['20001', 'MISROUTED']]));
    await store.setReceiving(transaction, tenantId, [{ wabaId: '20001' }]);
    return routes;
  });

const endpointScenario: Scenario<EndpointStore> = async (store, database, { me: tenantId }) => {
  const seen: unknown[] = [
    await store.listEndpoints(database, tenantId),
    await store.findEndpoint(database, tenantId, 'ale_1'),
  ];
  await store.updateSealed(database, tenantId, 'ale_1', (endpoint) => {
    seen.push(endpoint);
    return 'sealed anew';
  });
  await store.switchOn(database, tenantId, 'ale_1');
  const targets = await database.withTenant(tenantId, (transaction) =>
    store.listTargets(transaction, tenantId),
  );
  if (targets.length !== 1) throw new Error('an endpoint of the other tenant');
  await database.withTenant(tenantId, (transaction) =>
    store.setState(transaction, tenantId, 'ale_1', 'GONE'),
  );
  await store.deleteEndpoint(database, tenantId, 'ale_1');
  const added = { id: 'ale_3', host: 'host', format: 'SLACK', rules: [], sealed: 'x' } as const;
  if ((await store.insertEndpoint(database, tenantId, added, 1)) === null) {
    throw new Error('endpoints of the other tenant count');
  }
  return seen;
};

const evaluationScenario: Scenario<EvaluationStore> = async (store, database, { me: tenantId }) => {
  return await database.withTenant(tenantId, async (transaction) => {
    const { rows: own } = await sql<{ last: string }>`
      select last from feed_position where tenant_id = ${tenantId}`.execute(transaction);
    await store.movePosition(transaction, tenantId, { sequence: 5, clock: 0 });
    const { sequence: place, last } = await store.lockPosition(transaction, tenantId);
    if (place !== 5 || last !== Number(own[0]?.last))
      throw new Error('a place of the other tenant');
    const changes = await store.readChangesAfter(transaction, tenantId, 0, 1_000);
    if (changes.some(({ sequence }, index) => sequence !== index + 1)) {
      throw new Error('changes of the other tenant');
    }
    if (changes.some((it) => it.knownVerdict === 'YES' || it.isFirstRead)) {
      throw new Error('a read or a verdict of the other tenant');
    }
    const limits = { expiringMs: 1_000, lateMs: null };
    const causes = await store.listCauses(transaction, tenantId, new Date(), limits);
    if (causes.length > 0) throw new Error('a token of the other tenant');
    await sql`
      insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id, credential_id)
      values (${tenantId}, 'wa_4', '55119', 'Shop', 'META', 'OPEN', '10004', '40001', null)`.execute(
      transaction,
    );
    await sql`update whatsapp_number set credential_id = 'cred_9' where tenant_id = ${tenantId}`.execute(
      transaction,
    );
    const subjects = ['wa_1', 'wa_2', '20001', '60001'];
    const loaded = await store.loadState(transaction, tenantId, 0, subjects);
    const accounts = [...loaded.accounts].map(([id, { tokenId }]) => [id, tokenId]);
    if (!isDeepStrictEqual(accounts, [['20001', 'cred_9']])) throw new Error('another account');
    if (loaded.state.noted.size > 0) throw new Error('a limit of the other tenant');
    const { incidents } = loaded.state;
    if (incidents.size !== 1) throw new Error('incidents of the other tenant');
    if ([...incidents.values()][0]?.members.size !== 1) throw new Error('members of the other one');
    if (loaded.belongings.size !== 1) throw new Error('numbers of the other tenant');
    const all = [...loaded.state.conditions.values()];
    await store.writeConditions(transaction, tenantId, { deleted: all, stored: [] });
    const at = Date.now();
    await store.movePosition(transaction, tenantId, { sequence: 1, clock: at });
    return [all, loaded.state.clock];
  });
};

const effectScenario: Scenario<EffectStore> = async (store, database, { me: tenantId }) => {
  return await database.withTenant(tenantId, async (transaction) => {
    const at = Date.now();
    // The number is muted here alone.
    await sql`update whatsapp_number set muted_until = 'infinity' where tenant_id = ${tenantId}`.execute(
      transaction,
    );
    await sql`update incident set told = false where tenant_id = ${tenantId}`.execute(transaction);
    if ((await store.tellUnmuted(transaction, tenantId, new Date())).length > 0) {
      throw new Error('members or numbers of the other tenant');
    }
    const told = { id: 'inc_1', rule: 'DISCONNECTED', member: 'wa_1', at } as const;
    const covered = await store.writeEffect(
      transaction,
      tenantId,
      { kind: 'COVERED', ...told },
      true,
    );
    if (covered !== null) throw new Error('an incident of the other tenant');
    const member = { id: 'inc_1', member: 'wa_1', at } as const;
    await store.writeEffect(transaction, tenantId, { kind: 'LEFT', ...member }, true);
    await store.writeEffect(transaction, tenantId, { kind: 'JOINED', ...member }, false);
    await store.writeEffect(transaction, tenantId, { kind: 'LEFT', ...member }, true);
    const closed = { kind: 'CLOSED', id: 'inc_1', rule: 'SENDABLE_LOST', at } as const;
    await store.writeEffect(transaction, tenantId, closed, true);
    const { rows: counts } = await sql<{ count: number }>`
      select member_count as count from incident where tenant_id = ${tenantId} and id = 'inc_1'`.execute(
      transaction,
    );
    if (counts[0]?.count !== 1) throw new Error('members of the other tenant');
    return at > 0;
  });
};

const incidentScenario: Scenario<IncidentStore> = async (store, database, { me: tenantId }) => {
  const { rows: own } = await database.withTenant(tenantId, (transaction) =>
    sql<{ id: string; epoch: string; sequence: string }>`
      select c.id, f.epoch, c.sequence from number_change c join feed_position f using (tenant_id)
      where tenant_id = ${tenantId} and c.kind = 'INCIDENT'`.execute(transaction),
  );
  const report = await store.findReport(database, tenantId, own[0]!.id);
  if (report?.epoch !== own[0]!.epoch) throw new Error('an epoch of the other tenant');
  const { rows: foreign } = await database.withTenant(tenantId, (transaction) =>
    sql<{ id: string }>`
      select id from number_change where tenant_id <> ${tenantId} and kind = 'INCIDENT'`.execute(
      transaction,
    ),
  );
  if ((await store.findReport(database, tenantId, foreign[0]!.id)) !== undefined) {
    throw new Error('a change of the other tenant');
  }
  const reports = await database.withTenant(tenantId, (transaction) =>
    store.listReports(transaction, tenantId, 0, 10),
  );
  if (reports.length !== 1) throw new Error('changes of the other tenant');
  if (reports[0]!.isAcknowledged) throw new Error('an incident of the other tenant');
  await database.withTenant(tenantId, (transaction) =>
    sql`
      insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, closed_at)
      values (${tenantId}, 'inc_10', 'DISCONNECTED', 'CRITICAL', 'NUMBER', 'wa_10', 1, now(), now())`.execute(
      transaction,
    ),
  );
  const later = new Date(Date.now() + 60_000);
  if ((await store.incidentRetention.deleteOldest(database, tenantId, later, 1)) !== 1) {
    throw new Error('an incident of the other tenant');
  }
  const acknowledgement = { id: 'inc_1', note: null, at: new Date(), by: null, numberId: null };
  await store.acknowledge(database, tenantId, acknowledgement, 'COMMAND_LINE');
  const unknown = { ...acknowledgement, id: 'inc_2' };
  if ((await store.acknowledge(database, tenantId, unknown, 'COMMAND_LINE')) !== 'NOT_FOUND') {
    throw new Error('an incident of the other tenant');
  }
  return reports.map(({ newValue }) => newValue);
};

const readIncidentsScenario: Scenario<IncidentQueries> = async (
  store,
  database,
  { me: tenantId },
) => {
  await database.withTenant(tenantId, (transaction) =>
    sql`
      with incident as (
        insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, closed_at,
          acknowledged_at, acknowledged_by)
        select ${tenantId}, id, rule, 'WARNING', scope, subject, 1, now(), closed_at, now(), 'key_1' from (values
          ('inc_3', 'RESTRICTED', 'ACCOUNT', '20001', null),
          ('inc_4', 'RESTRICTED', 'ACCOUNT', '60001', null),
          ('inc_12', 'ACCOUNT_BANNED', 'ACCOUNT', '20001', null),
          ('inc_6', 'DISCONNECTED', 'NUMBER', 'wa_3', now()),
          ('inc_7', 'TOKEN_REJECTED', 'TOKEN', 'cred_1', now()),
          ('inc_8', 'SENDABLE_LOST', 'PORTFOLIO', '70001', now()),
          ('inc_9', 'TOKEN_EXPIRING', 'TOKEN', 'cred_1', now()),
          ('inc_13', 'LIMIT_CHANGED', 'PORTFOLIO', '70001', now()),
          ('inc_14', 'SYNC_LATE', 'TOKEN', 'cred_1', null),
          ('inc_15', 'DISCONNECTED', 'PORTFOLIO', '70001', now())
        ) v(id, rule, scope, subject, closed_at)
      )
      select`.execute(transaction),
  );
  await database.withTenant(tenantId, (transaction) =>
    sql`insert into incident_member (tenant_id, incident_id, member)
      values (${tenantId}, 'inc_6', 'wa_3'), (${tenantId}, 'inc_15', '70002')`.execute(transaction),
  );
  await database.withTenant(tenantId, (transaction) =>
    sql`
      insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
      values (${tenantId}, 'wa_5', '55119', 'Shop', 'META', 'OPEN', '10005', '70002')`.execute(
      transaction,
    ),
  );
  await database.withTenant(tenantId, (transaction) =>
    sql`
      insert into number_status (tenant_id, number_id, provider, state, created_at, observed_at, waba_id, name_key)
      values (${tenantId}, 'wa_5', 'META', 'OPEN', now(), now(), '70002', 'shop')
      on conflict (tenant_id, number_id) do update set waba_id = excluded.waba_id`.execute(
      transaction,
    ),
  );
  const request = { state: null, after: null, limit: 20 };
  const page = await store.readIncidents(database, tenantId, { ...request, counted: true });
  if (page.total !== 11) throw new Error('a count of the other tenant');
  const numbers = Object.fromEntries(
    page.incidents.map((it) => [it.id, [it.numberCount, it.numbers.map(({ id }) => id)]]),
  );
  const expected = {
    inc_1: [1, ['wa_1']],
    inc_3: [1, ['wa_1']],
    inc_4: [0, []],
    inc_12: [1, []],
    inc_6: [1, ['wa_3']],
    inc_7: [1, []],
    inc_8: [1, []],
    inc_9: [0, []],
    inc_13: [0, []],
    inc_14: [0, []],
    inc_15: [1, ['70002']],
  };
  if (!isDeepStrictEqual(numbers, expected)) throw new Error('numbers of the other tenant');
  if ((await store.readIncident(database, tenantId, 'inc_2')) !== undefined) {
    throw new Error('an incident of the other tenant');
  }
  const worst = await store.readWorstIncidents(database, tenantId, [
    'wa_1',
    'wa_2',
    'wa_3',
    'wa_4',
    'wa_5',
  ]);
  const found = [...worst].map(([id, incident]) => [id, incident.id]);
  if (!isDeepStrictEqual(found, [['wa_1', 'inc_1']])) throw new Error('a number of the other one');
  const uncounted = await store.readIncidents(database, tenantId, { ...request, counted: false });
  return [page, uncounted, [...worst]];
};

const deliveryScenario: Scenario<DeliveryStore> = async (store, database, { me: tenantId }) => {
  const name = { tenantId, endpointId: 'ale_1', id: 'msg_1' };
  const at = new Date();
  const limits = { failingSinceLimit: new Date(0), lastAttemptLimit: at };
  const failure = { outcome: '500', at, nextAt: at, ...limits, isGone: false };
  const read = await store.readDelivery(database, name);
  if ((await store.readDelivery(database, { ...name, id: 'msg_2' })) !== undefined) {
    throw new Error('a delivery of the other tenant');
  }
  await store.storeContent(database, name, 'written');
  await store.recordFailed(database, name, failure);
  await store.releaseClaims(database, tenantId, [name]);
  await store.recordFailed(database, name, { ...failure, nextAt: null });
  await database.withTenant(tenantId, (transaction) =>
    store.insertDeliveries(
      transaction,
      tenantId,
      [{ ...name, type: 'test', content: null, incidentId: null, changeId: null }],
      at,
    ),
  );
  await store.recordDelivered(database, name, { outcome: '200', at });
  return [read];
};

const accountScenario: Scenario<AccountQueries> = async (store, database, { me: tenantId }) => {
  await database.withTenant(tenantId, (transaction) =>
    sql`update sync_plan set last_error = null where tenant_id = ${tenantId}`.execute(transaction),
  );
  await database.withTenant(tenantId, (transaction) =>
    sql`update number_status set failing = true where tenant_id = ${tenantId}`.execute(transaction),
  );
  const accounts = await store.listSubjects(database, tenantId);
  if (accounts.length !== 1 || accounts[0]?.numbers !== 1) {
    throw new Error('an account of the other tenant');
  }
  if (accounts[0].calls !== 1) throw new Error('a call of the other tenant');
  if (accounts[0].lastError !== null) throw new Error('a failure of the other tenant');
  return accounts;
};

const syncScenario: Scenario<SyncStore> = async (store, database, { me: tenantId }) => {
  const subject = { tenantId, subjectId: '20001' };
  const run = (statement: string) =>
    database.withTenant(tenantId, (transaction) =>
      sql.raw(statement.replaceAll('$t', `'${tenantId}'`)).execute(transaction),
    );
  if (
    (await store.beginRun(database, subject, { holder: 'theirs', onlyRequests: false })) !== null
  ) {
    throw new Error('a subject of the other tenant');
  }
  await run('delete from number_credential where tenant_id = $t');
  await run("update whatsapp_number set credential_id = 'cred_1' where tenant_id = $t");
  await run('update sync_plan set due_at = now() where tenant_id = $t');
  const mine = await store.beginRun(database, subject, { holder: 'mine', onlyRequests: false });
  if (mine?.numbers.length !== 1) throw new Error('a number of the other tenant');
  if (mine.calls.length !== 1) throw new Error('a call of the other tenant');
  const { quota, pages, readsHealth, missing } = mine.state;
  let isAnyRisky = false;
  await store.endRun(database, subject, 'mine', {
    state: { quota, pages, readsHealth, missing },
    unknownNumbers: 1,
    hasChanged: false,
    pause: { reason: 'TOKEN', until: new Date('2999-01-01'), isOfAll: true },
    calls: { calls: 1, since: null },
    toResults(isRisky) {
      isAnyRisky = isRisky;
      const planned = { kind: 'PROFILE', dueAt: new Date(), lateAfterSeconds: 60 } as const;
      return [{ ...planned, error: null, requestedAt: null }];
    },
  });
  await store.endRun(database, subject, 'theirs', {
    state: { quota, pages, readsHealth, missing },
    unknownNumbers: 0,
    hasChanged: false,
    pause: null,
    calls: { calls: 0, since: null },
    toResults: () => [],
  });
  if (isAnyRisky) throw new Error('the risk of the other tenant');
  // Only the number of the other tenant is missing at Meta.
  await run('update number_status set failing = true where tenant_id = $t');
  await run("update sync_subject set lease_holder = 'mine' where tenant_id = $t");
  await store.endRun(database, subject, 'mine', {
    state: { quota, pages, readsHealth, missing },
    unknownNumbers: 1,
    hasChanged: false,
    pause: null,
    calls: { calls: 0, since: null },
    toResults(isRisky) {
      if (!isRisky) throw new Error('what is missing of the other tenant');
      return [];
    },
  });
  await store.abandonRun(database, subject, 'theirs');
  await run("update sync_subject set lease_holder = 'mine' where tenant_id = $t");
  await run("update sync_plan set due_at = 'infinity' where tenant_id = $t");
  if ((await store.beginRun(database, subject, { holder: 'mine', onlyRequests: false })) !== null) {
    throw new Error('the plan of the other tenant is due');
  }
  const phones = await store.readPhoneData(
    database,
    tenantId,
    mine.numbers.map(({ id }) => id),
  );
  await run("update sync_subject set lease_holder = 'mine' where tenant_id = $t");
  await run('delete from whatsapp_number where tenant_id = $t');
  await store.deleteSubject(database, subject, 'theirs');
  await store.deleteSubject(database, subject, 'mine');
  const left = await run('select from sync_subject where tenant_id = $t');
  if (left.rows.length > 0) throw new Error('a number of the other tenant');
  return [mine, [...phones]];
};

const requestScenario: Scenario<RequestStore> = async (store, database, { me: tenantId }) => {
  await store.hastenSweeps(database, tenantId, ['20001']);
  return await database.withTenant(tenantId, async (transaction) => {
    await store.requestReads(transaction, tenantId, [
      { wabaId: '20001', phones: null },
      { wabaId: '60001', phones: null },
    ]);
    const requested = await sql`
      select subject_id from sync_plan where tenant_id = ${tenantId} and kind = 'REQUEST'`.execute(
      transaction,
    );
    return requested.rows;
  });
};

const callScenario: Scenario<CallStore> = async (store, database, { me: tenantId }) => {
  const subject = { tenantId, subjectId: '20001' };
  await store.addCalls(database, subject, 1);
  return await database.withTenant(tenantId, async (transaction) => {
    const calls = await store.listCalls(transaction, tenantId, subject.subjectId);
    if (calls.length !== 2) throw new Error('a call of the other tenant');
    for (const { minute } of calls) {
      // oxlint-disable-next-line no-await-in-loop -- one minute after the other
      await store.settleCalls(transaction, subject, { calls: -1, since: minute });
    }
    await store.settleCalls(transaction, subject, { calls: 1, since: null });
    return calls;
  });
};

const historyScenario: Scenario<HistoryStore> = async (store, database, { me: tenantId }) => {
  const run = (statement: string) =>
    database.withTenant(tenantId, (transaction) =>
      sql.raw(statement.replaceAll('$t', `'${tenantId}'`)).execute(transaction),
    );
  await database.withTenant(tenantId, async (transaction) => {
    await sql`select set_config('app.change_actor', 'key_1', true)`.execute(transaction);
    await sql`update whatsapp_number set name = 'renamed' where tenant_id = ${tenantId}`.execute(
      transaction,
    );
  });
  const read = { filter: {}, limit: 1_000 } as const;
  const { changes } = await store.readChanges(database, tenantId, {
    ...read,
    direction: 'after',
    sequence: 0,
  });
  if (changes.some(({ sequence }, index) => sequence !== index + 1)) {
    throw new Error('changes of the other tenant');
  }
  const expiry = {
    observedBefore: new Date('2050-01-01'),
    lifetimeMs: 3_601_000,
    connectionsAreRead: true,
  };
  await run("update number_status set observed_at = '2090-01-01' where tenant_id = $t");
  const later = await store.markExpired(database, tenantId, expiry, 10);
  if (later > 0) throw new Error('evidence of the other tenant has expired');
  await run("update number_status set observed_at = '2020-01-01' where tenant_id = $t");
  const marked = await store.markExpired(database, tenantId, expiry, 10);
  if (marked !== 1) throw new Error('a number of the other tenant is marked');
  await store.renewEpoch(database, tenantId);
  const deleted = await store.changeRetention.deleteOldest(
    database,
    tenantId,
    new Date('2050-01-01'),
    2,
  );
  if (deleted !== 2) throw new Error('changes of the other tenant count');
  await store.changeRetention.deleteOldest(database, tenantId, new Date('2050-01-01'), 1_000);
  const { position } = await store.readChanges(database, tenantId, {
    ...read,
    direction: 'after',
    sequence: 0,
  });
  const place = await store.findPlace(database, tenantId, new Date('2050-01-01'));
  if (place.sequence !== null) throw new Error('a change of the other tenant has a place');
  if (place.epoch !== position.epoch) throw new Error('an epoch of the other tenant');
  return [deleted];
};

const stores = [
  { path: 'src/fleet/fleet-queries.ts', scenario: fleetScenario as Scenario<never> },
  { path: 'src/fleet/filter-queries.ts', scenario: filterScenario as Scenario<never> },
  { path: 'src/fleet/operation-store.ts', scenario: operationScenario as Scenario<never> },
  { path: 'src/fleet/refresh-queries.ts', scenario: refreshScenario as Scenario<never> },
  { path: 'src/fleet/summary-queries.ts', scenario: summaryScenario as Scenario<never> },
  { path: 'src/history/timeline-queries.ts', scenario: timelineScenario as Scenario<never> },
  { path: 'src/numbers/selection-queries.ts', scenario: selectionScenario as Scenario<never> },
  { path: 'src/numbers/status-store.ts', scenario: statusScenario as Scenario<never> },
  { path: 'src/numbers/notice-store.ts', scenario: noticeScenario as Scenario<never> },
  { path: 'src/access/store.ts', scenario: accessScenario as Scenario<never> },
  { path: 'src/fleet/store.ts', scenario: onboardingScenario as Scenario<never> },
  {
    path: 'src/alerts/endpoint-store.ts',
    scenario: endpointScenario as Scenario<never>,
  },
  {
    path: 'src/alerts/evaluation-store.ts',
    scenario: evaluationScenario as Scenario<never>,
  },
  { path: 'src/alerts/effect-store.ts', scenario: effectScenario as Scenario<never> },
  { path: 'src/alerts/incident-store.ts', scenario: incidentScenario as Scenario<never> },
  { path: 'src/alerts/incident-queries.ts', scenario: readIncidentsScenario as Scenario<never> },
  {
    path: 'src/alerts/delivery-store.ts',
    scenario: deliveryScenario as Scenario<never>,
  },
  { path: 'src/webhooks/store.ts', scenario: webhookScenario as Scenario<never> },
  { path: 'src/webhooks/route-store.ts', scenario: routeScenario as Scenario<never> },
  { path: 'src/history/store.ts', scenario: historyScenario as Scenario<never> },
  { path: 'src/sync/account-queries.ts', scenario: accountScenario as Scenario<never> },
  { path: 'src/sync/call-store.ts', scenario: callScenario as Scenario<never> },
  { path: 'src/sync/request-store.ts', scenario: requestScenario as Scenario<never> },
  { path: 'src/sync/store.ts', scenario: syncScenario as Scenario<never> },
  { path: 'src/admin/store.ts', scenario: adminScenario as Scenario<never> },
  { path: 'src/numbers/store.ts', scenario: numbersScenario as Scenario<never> },
  { path: 'src/numbers/number-store.ts', scenario: numberScenario as Scenario<never> },
  { path: 'src/numbers/number-queries.ts', scenario: queriesScenario as Scenario<never> },
  { path: 'src/numbers/budget-store.ts', scenario: budgetScenario as Scenario<never> },
  { path: 'src/numbers/lease-store.ts', scenario: leaseScenario as Scenario<never> },
].map(({ path, scenario }) => ({
  path,
  scenario,
  mutants: toMutants(readFileSync(join(root, path), 'utf8'), conditions),
}));

test('every file with statements that opens a transaction of a tenant is tested here', async () => {
  const files: string[] = [];
  for await (const file of glob('src/**/*.ts', { cwd: root })) {
    const text = await readFile(join(root, file), 'utf8');
    const hasStatements = /\bsql[<`]|\.(selectFrom|insertInto|updateTable|deleteFrom)\(/.test(text);
    if (hasStatements && /\.(with|read)Tenant\(/.test(text)) files.push(file);
  }
  // The others are parts of statements.
  expect(stores.map(({ path }) => path)).toEqual(expect.arrayContaining(files));
});

describe.each(stores)('the filters of $path', ({ path, scenario, mutants }) => {
  const stack = new AsyncDisposableStack();
  let database: TestDatabase;
  let source: MutantSource;

  beforeAll(async () => {
    database = stack.use(await openTestDatabase('PostgreSQL', { connections: 2 }));
    for (const { table } of rows) {
      // oxlint-disable-next-line no-await-in-loop -- one connection
      await database.query(`alter table ${table} disable row level security`);
    }
    // A number names a credential that only the other tenant has.
    await database.query(
      'alter table whatsapp_number drop constraint whatsapp_number_tenant_id_credential_id_fkey',
    );
    const unique = await database.query<{ drop: string }>(
      `select format('alter table %s drop constraint %I', conrelid::regclass, conname) as drop
       from pg_constraint where contype = 'u' and array_length(conkey, 1) = 1 and connamespace = 'public'::regnamespace`,
    );
    // oxlint-disable-next-line no-await-in-loop -- one connection
    for (const { drop } of unique) await database.query(drop);
    source = stack.use(await openMutantSource());
  });

  afterAll(async () => {
    await stack.disposeAsync();
  });

  test('are found in its source', { tags: ['source'] }, () => {
    expect(mutants.length).toBeGreaterThan(0);
  });

  test('let no row of another tenant be read, changed or waited for', async () => {
    expect(await probe(await readFile(join(root, path), 'utf8'))).toBeNull();
  });

  test.each(mutants)('are each needed: $title', { tags: ['mutant'] }, async ({ text }) => {
    expect(await probe(text)).not.toBeNull();
  });

  /** Returns how a row of the other tenant was reached, or null. */
  async function probe(text: string): Promise<string | null> {
    const store = await source.load(path, text);
    for (const cast of casts) {
      // oxlint-disable no-await-in-loop -- one after the other
      await reset(cast);
      const before = await dumpOther(cast);
      const seen = await scenario(store as never, database, cast).then(
        (value) => JSON.stringify(value),
        (error: unknown) => `failed: ${String(error)} ${cast.other}`,
      );
      if (seen.includes(cast.other)) return seen;
      if ((await dumpOther(cast)) !== before) return `a row of ${cast.other} was changed`;
      // oxlint-enable no-await-in-loop
    }
    return null;
  }

  /**
   * Inserts the rows of both tenants and locks those of the other one: a statement that waits for them has reached
   * them.
   */
  async function reset({ me, other }: Cast): Promise<void> {
    const inserts = rows.flatMap(({ insert }) => ['tenant-a', 'tenant-b'].map(insert));
    // Few round trips, because there are hundreds of resets.
    await database.query(
      `rollback;
       truncate ${rows.map(({ table }) => table).join(', ')};
       ${inserts.join(';\n')};
       insert into number_snapshot (tenant_id, number_id, block, attempted_at, observed_at, data)
       select tenant_id, number_id, 'profile', attempted_at, observed_at, data from number_snapshot;
       insert into number_snapshot (tenant_id, number_id, block, attempted_at, failure)
       select tenant_id, id, 'waba', now() + interval '1 second', jsonb_build_object('message', tenant_id)
       from whatsapp_number;
       update number_snapshot set recorded_at = now() - interval '1 day' where tenant_id = '${me}';
       update waba_snapshot set recorded_at = now() - interval '1 day' where tenant_id = '${me}';
       -- A number that only the other tenant has.
       insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
       values ('${other}', 'wa_2', '5511999999999', 'Shop', 'META', 'OPEN', '10002', '20001');
       -- An event that both tenants have, and an account that only the other tenant has.
       insert into meta_event (tenant_id, digest, waba_id, field, happened_at, outcome)
       select tenant_id, 'digest of both', waba_id, field, happened_at, outcome from meta_event;
       insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id)
       values ('${other}', 'wa_4', '5511999999999', 'Shop', 'META', 'OPEN', '10004', '60001');
       insert into number_status (tenant_id, number_id, provider, state, created_at, observed_at, waba_id, name_key)
       values ('${other}', 'wa_4', 'META', 'OPEN', now(), now(), '60001', 'shop')
       on conflict (tenant_id, number_id) do update set waba_id = excluded.waba_id;
       update number_status set observed_at = now() - interval '1 minute' where tenant_id = '${other}';
       -- A member and an incident that only the other tenant has.
       insert into incident_member (tenant_id, incident_id, member) values ('${other}', 'inc_1', 'wa_2');
       insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, new_value)
       values ('${other}', 'inc_2', 'DISCONNECTED', 'CRITICAL', 'NUMBER', 'wa_2', 1, now(), '${other}');
       insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, new_value) values
         ('${other}', 'inc_5', 'RESTRICTED', 'CRITICAL', 'ACCOUNT', '20001', 1, now() - interval '1 day', '${other}'),
         ('${other}', 'inc_6', 'DISCONNECTED', 'CRITICAL', 'NUMBER', 'wa_3', 1, now(), '${other}');
       update incident set acknowledged_at = now() where tenant_id = '${other}' and id = 'inc_1';
       insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, closed_at, new_value) values
         ('${other}', 'inc_10', 'DISCONNECTED', 'CRITICAL', 'NUMBER', 'wa_10', 1, now(), now(), '${other}'),
         ('${other}', 'inc_11', 'DISCONNECTED', 'CRITICAL', 'NUMBER', 'wa_11', 1, '-infinity', now(), '${other}');
       insert into waba_snapshot (tenant_id, waba_id, attempted_at, observed_at, data)
       values ('${other}', '70002', now(), now(), '{"ownerBusinessId": "70001", "ownerBusinessName": "${other}"}');
       insert into alert_delivery (tenant_id, endpoint_id, id, type, content, incident_id, created_at, due_at)
       values ('${other}', 'ale_1', 'msg_3', 'incident.opened', 'content', 'inc_1', now(), now());
       insert into alert_delivery (tenant_id, endpoint_id, id, type, content, created_at, due_at)
       values ('${other}', 'ale_1', 'msg_2', 'test', 'content', now(), now());
       update alert_delivery set claimed_until = now() where tenant_id = '${other}';
       -- What is known of the route of webhooks to the other tenant's account, and a change that Meta announces.
       update number_snapshot set data = data || jsonb_build_object('webhookUrl', tenant_id)
       where tenant_id = '${other}' and data is not null;
       update waba_snapshot set data = data || '{"subscribedApps":[]}' where tenant_id = '${other}';
       update number_snapshot set failure = '{"code": "META_NUMBER_MISSING"}'
       where tenant_id = '${other}' and block = 'phone';
       update account_notice set webhook_verdict = 'SILENT' where tenant_id = '${other}';
       insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at)
       values ('${other}', 'wa_1', 'FIELD', 'NAME_STATUS', 'PENDING_REVIEW', 'APPROVED', 'READ', now());
       -- A number that only the other tenant has, which could send.
       insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at) values
         ('${other}', 'wa_2', 'VERDICT', 'VERDICT', 'NO', 'YES', 'READ', now());
       -- Its place is before that of the next change of this tenant.
       insert into number_change (tenant_id, number_id, kind, source, occurred_at)
       select '${me}', 'wa_2', 'LABELS', 'READ', now() from generate_series(1, 100);
       insert into number_change (tenant_id, number_id, kind, field, previous_value, new_value, source, occurred_at) values
         ('${me}', 'wa_2', 'VERDICT', 'VERDICT', 'UNKNOWN', 'NO', 'READ', now()),
         ('${me}', 'wa_2', 'FIELD', 'STATE', 'OPEN', 'CLOSE', 'READ', now());
       -- Only the other tenant has read this number for the first time in the transaction of this change.
       insert into number_change (tenant_id, number_id, observation, kind, field, previous_value, new_value, source, occurred_at)
       select tenant_id, 'wa_2', '00000000-0000-0000-0000-000000000001', kind, field, previous, value, 'READ', now() from (values
         ('${other}', 'ADDED', 'PHONE', null, '{}'), ('${me}', 'FIELD', 'STATE', 'OPEN', 'CLOSE')
       ) v(tenant_id, kind, field, previous, value);
       -- Only the other tenant was told of a limit, and has incidents of several accounts.
       insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, closed_at) values
         ('${other}', 'inc_14', 'LIMIT_CHANGED', 'INFO', 'PORTFOLIO', '77', 1, now(), now()),
         ('${other}', 'inc_15', 'SYNC_LATE', 'CRITICAL', 'TOKEN', 'cred_1', 1, now(), null);
       insert into incident_member (tenant_id, incident_id, member) values ('${other}', 'inc_14', '70002');
       -- Only the other tenant's incident is about the account itself.
       insert into incident (tenant_id, id, rule, severity, scope, subject, member_count, opened_at, closed_at)
       values ('${other}', 'inc_12', 'ACCOUNT_BANNED', 'CRITICAL', 'ACCOUNT', '20001', 1, now(), now());
       insert into incident_member (tenant_id, incident_id, member) values ('${other}', 'inc_12', '20001');
       -- Only the other tenant has restrictions, and a number in this account.
       update account_notice set effect = 'START', ends_by_reads = true where tenant_id = '${other}';
       update number_status set restriction = 'BOTH' where tenant_id = '${other}';
       insert into account_notice (tenant_id, waba_id) values ('${me}', '60001'), ('${other}', '60001');
       -- Only the other tenant has a number that shares a credential, and this credential.
       update whatsapp_number set credential_id = 'cred_1' where tenant_id = '${other}';
       update credential set expires_at = now() where tenant_id = '${other}';
       insert into number_credential (tenant_id, number_id, sealed) values ('${other}', 'wa_2', '${other}');
       insert into credential (tenant_id, id, name, sealed, expires_at)
       values ('${other}', 'cred_2', 'Foreign', '${other}', now());
       -- Each tenant reads its account in the background; a call of the other one is old.
       update sync_subject set lease_holder = case tenant_id when '${me}' then 'mine' else 'theirs' end;
       insert into sync_call (tenant_id, subject_id, minute, calls)
       values ('${other}', '20001', now() - interval '3 hours', 1);
       update sync_plan set due_at = now() where tenant_id = '${other}';
       update number_status set quality_rating = 'RED' where tenant_id = '${other}';
       update number_status set meta_status = 'CONNECTED' where tenant_id = '${me}';
       -- An expired lease, which can be acquired.
       update refresh_lease set expires_at = now() where tenant_id = '${me}';
       delete from graph_budget where tenant_id = '${me}'`,
    );
    const locked = ['whatsapp_number', 'api_key', 'number_status', 'account_notice', ...syncTables];
    const locks = locked.map(
      (table) => `select 1 from ${table} where tenant_id = '${other}' for update`,
    );
    await database.query(`begin; ${locks.join('; ')}`);
  }

  async function dumpOther({ other }: Cast): Promise<string> {
    const dumps = rows.map(
      ({ table }) =>
        `(select jsonb_agg(to_jsonb(t) order by to_jsonb(t)) from ${table} t where ${toTenantColumn(table)} = $1) as ${table}`,
    );
    return JSON.stringify(await database.query(`select ${dumps.join(', ')}`, [other]));
  }
});
