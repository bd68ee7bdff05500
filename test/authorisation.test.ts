// The authorisation matrix: every field of every type and every route, with every kind of key. Fields and routes are read
// from the schema, the route table and the source of the server, so that each new one needs an expectation here.

import { readFileSync } from 'node:fs';
import {
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLOutputType,
  getNamedType,
  isInterfaceType,
  isObjectType,
  isRequiredArgument,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
  TypeNameMetaFieldDef,
} from 'graphql';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createKey } from '../src/access/key.ts';
import { encodeCursor } from '../src/fleet/cursor.ts';
import { hashFilter, normalizeFilter } from '../src/fleet/filter.ts';
import { defaultOrder } from '../src/fleet/order.ts';
import { schema } from '../src/graphql/schema.ts';
import type { AccountNotices } from '../src/numbers/account-notices.ts';
import { storeNotices } from '../src/numbers/notice-store.ts';
import { vocabularies } from '../src/numbers/vocabulary.ts';
import { changeFields } from '../src/history/change-fields.ts';
import { changeKinds } from '../src/history/change.ts';
import { listen } from '../src/http/server.ts';
import { insertIncident } from './alerts/insert-incident.ts';
import {
  createDigits,
  openTestGateway,
  type Reply,
  type TestGateway,
  type TestNumber,
} from './harness.ts';

/** What an operation returns to an accepted key. */
type Expectation =
  | 'all numbers of the tenant'
  | 'one number of the tenant'
  /** Without an error for an id that the tenant does not have. */
  | 'one number of the tenant or none'
  /** That of `own`, whatever the id. */
  | 'one incident of the tenant'
  /** That of a number, by its own id. */
  | 'the incident with the id'
  /** Those that match a filter. */
  | 'some numbers of the tenant'
  /** Of all numbers of the tenant, after a cursor that is unknown to other tenants. */
  | 'changes of the tenant'
  /** How many numbers the tenant has, and of which kinds. */
  | 'counts of the tenant'
  /** The accounts of the tenant, without their numbers. */
  | 'accounts of the tenant'
  /** What is known of the key itself. */
  | 'the key'
  | 'a document';

const expectations: Record<string, Expectation> = {
  'query numbers': 'all numbers of the tenant',
  'query numbers(ids)': 'one number of the tenant or none',
  'query numbers(refresh, ids)': 'one number of the tenant or none',
  'query node(id)': 'one number of the tenant or none',
  'query nodes(ids)': 'one number of the tenant or none',
  'query number(id)': 'one number of the tenant',
  'query number(id, refresh)': 'one number of the tenant',
  'query fleet': 'all numbers of the tenant',
  'query fleet(filter)': 'all numbers of the tenant',
  'query fleet(orderBy)': 'all numbers of the tenant',
  'query fleet(first)': 'all numbers of the tenant',
  'query fleet(after)': 'all numbers of the tenant',
  'query fleet(last)': 'all numbers of the tenant',
  'query fleet(before, last)': 'all numbers of the tenant',
  'query changes': 'some numbers of the tenant',
  'query changes(after)': 'changes of the tenant',
  'query changes(first, after)': 'changes of the tenant',
  'query changes(filter, after)': 'changes of the tenant',
  'subscription changes': 'some numbers of the tenant',
  'subscription changes(after)': 'changes of the tenant',
  'subscription changes(filter, after)': 'changes of the tenant',
  'query sync': 'accounts of the tenant',
  'query incidents': 'one incident of the tenant',
  'query incidents(state)': 'one incident of the tenant',
  'query incidents(first)': 'one incident of the tenant',
  'query incidents(after)': 'one incident of the tenant',
  'query incident(id)': 'the incident with the id',
  'query viewer': 'the key',
  'query __schema': 'a document',
  'query __type(name)': 'a document',
  'query __typename': 'a document',
  'GET /graphql': 'all numbers of the tenant',
  'GET /v1/numbers': 'all numbers of the tenant',
  'GET /v1/numbers?include=sendability,freshness,operations': 'all numbers of the tenant',
  'GET /v1/fleet': 'all numbers of the tenant',
  'GET /v1/fleet?orderBy=ATTENTION': 'all numbers of the tenant',
  'GET /v1/fleet?direction=ASC': 'all numbers of the tenant',
  'GET /v1/fleet?limit=10': 'all numbers of the tenant',
  'GET /v1/fleet?cursor=…': 'all numbers of the tenant',
  'GET /v1/fleet?include=sendability,freshness,operations,facets': 'all numbers of the tenant',
  'GET /v1/changes': 'some numbers of the tenant',
  'GET /v1/changes?number=wa_1': 'some numbers of the tenant',
  [`GET /v1/changes?field=${Object.keys(changeFields).join(',')}`]: 'some numbers of the tenant',
  'GET /v1/changes?after=…': 'changes of the tenant',
  'GET /v1/changes?limit=10': 'changes of the tenant',
  'GET /v1/changes?wait=0': 'changes of the tenant',
  [`GET /v1/changes?kind=${Object.keys(changeKinds).join(',')}`]: 'changes of the tenant',
  'GET /v1/sync': 'accounts of the tenant',
  'GET /v1/sync?state=ON_TIME,LATE,PAUSED_BUDGET,PAUSED_TOKEN,OFF': 'accounts of the tenant',
  'GET /v1/sync?limit=10': 'accounts of the tenant',
  'GET /v1/sync?after=…': 'accounts of the tenant',
  'GET /v1/incidents': 'one incident of the tenant',
  'GET /v1/incidents?state=OPEN': 'one incident of the tenant',
  'GET /v1/incidents?limit=10': 'one incident of the tenant',
  'GET /v1/incidents?cursor=…': 'one incident of the tenant',
  'GET /v1/incidents/{id}': 'the incident with the id',
  'GET /v1/numbers/{id}': 'one number of the tenant',
  'GET /v1/numbers/{id}?refresh=1': 'one number of the tenant',
  'GET /v1/numbers/{id}?include=sendability,freshness,operations': 'one number of the tenant',
  'GET /v1/numbers/{id}/status': 'one number of the tenant',
  'GET /v1/numbers/{id}/status?include=sendability,freshness,operations':
    'one number of the tenant',
};

/** Operations that change one number, and the bodies of those over REST. */
const changing = [
  'mutation muteNumber(input)',
  'mutation labelNumber(input)',
  'PATCH /v1/numbers/{id}',
];
/** Operations on the incident of a number. */
const acknowledging = [
  'mutation acknowledgeIncident(input)',
  'POST /v1/incidents/{id}/acknowledge',
];
/** Operations that have numbers read, and skip those that they cannot have read. */
const refreshing = ['mutation refreshNumbers(input)', 'POST /v1/numbers/refresh'];

/** The bodies of those over REST. */
const toBody: Readonly<Record<string, (id: string) => object>> = {
  'PATCH /v1/numbers/{id}': () => ({ labels: ['team=a'] }),
  'POST /v1/incidents/{id}/acknowledge': () => ({}),
  'POST /v1/numbers/refresh': (id) => ({ ids: [id] }),
};

/** The filters of a fleet that `listRoutes` sends: all values of each, or the value of `parameterValues`. */
const fleetFilters = [
  'search=number',
  'id=wa_1',
  'provider=META,PILOT_STATUS',
  'state=OPEN,CONNECTING,CLOSE',
  'verdict=YES,NO,UNKNOWN',
  'replyVerdict=YES,NO,UNKNOWN',
  `qualityRating=${Object.keys(vocabularies.QualityRating.words).join(',')},UNRECOGNIZED`,
  `metaStatus=${Object.keys(vocabularies.MetaStatus.words).join(',')},UNRECOGNIZED`,
  `messagingLimitTier=${Object.keys(vocabularies.MessagingLimitTier.words).join(',')},UNRECOGNIZED`,
  'wabaId=1',
  'portfolioId=1',
  'label=team=a',
  'stale=true',
  'failing=true',
  'restricted=true',
  'changedSince=2026-01-01T00:00:00Z',
];
for (const filter of fleetFilters) {
  expectations[`GET /v1/fleet?${filter}`] = 'some numbers of the tenant';
  expectations[`GET /v1/fleet?not.${filter}`] = 'some numbers of the tenant';
}

/** What each type discloses to an accepted key, and the complete list of its fields. */
const types: Readonly<
  Record<string, { readonly discloses: Expectation; readonly fields: string }>
> = {
  Query: {
    discloses: 'all numbers of the tenant',
    fields: 'numbers number fleet changes incidents incident node nodes sync viewer',
  },
  WhatsAppNumber: {
    discloses: 'one number of the tenant',
    fields: `id instanceName number name provider state isFullyConnected apiKeys health meta portfolio
      labels mutedUntil muteNote createdAt updatedAt history timeline availability incident`,
  },
  ApiKeyHint: {
    discloses: 'one number of the tenant',
    fields: 'name keyPrefix keyLast4',
  },
  NumberHealth: {
    discloses: 'one number of the tenant',
    fields: `qualityRating qualityRatingRaw messagingLimitTier messagingLimitTierRaw metaStatus
      metaStatusRaw sendable sendability freshness`,
  },
  Sendability: {
    discloses: 'one number of the tenant',
    fields: 'verdict replyVerdict reasons',
  },
  Reason: {
    discloses: 'one number of the tenant',
    fields: 'entity entityId field value code text solution effect scope blocks',
  },
  Freshness: {
    discloses: 'one number of the tenant',
    fields: 'observedAt attemptedAt ageSeconds source stale error nextSyncAt',
  },
  UpstreamFailure: {
    discloses: 'one number of the tenant',
    fields: 'code message transient retryAt metaCode metaSubcode fbtraceId',
  },
  MetaDetails: {
    discloses: 'one number of the tenant',
    fields: 'fetchedAt phone profile waba webhook',
  },
  WebhookRoute: {
    discloses: 'one number of the tenant',
    fields: 'expectedUrl actualUrl lastEventAt lastEventField verdict',
  },
  MetaPhone: {
    discloses: 'one number of the tenant',
    fields: `displayPhoneNumber verifiedName qualityRating qualityRatingRaw messagingLimitTier
      messagingLimitTierRaw isPinEnabled status statusRaw nameStatus nameStatusRaw
      codeVerificationStatus codeVerificationStatusRaw platformType platformTypeRaw
      throughputLevel throughputLevelRaw accountMode accountModeRaw lastOnboardedAt
      isOfficialBusinessAccount isOnBusinessApp freshness`,
  },
  MetaProfile: {
    discloses: 'one number of the tenant',
    fields:
      'about email websites vertical verticalRaw address description profilePictureUrl freshness',
  },
  MetaWaba: {
    discloses: 'one number of the tenant',
    fields: `id name currency businessVerificationStatus businessVerificationStatusRaw country
      accountReviewStatus accountReviewStatusRaw messagingLimitTier messagingLimitTierRaw
      ownershipType ownershipTypeRaw ownerBusinessId ownerBusinessName timezoneId
      freshness restrictions ban violation disconnection announcedLimits`,
  },
  AccountRestriction: {
    discloses: 'one number of the tenant',
    fields: 'type typeRaw expiresAt remediation reportedAt',
  },
  AccountBan: { discloses: 'one number of the tenant', fields: 'state stateRaw date reportedAt' },
  AccountViolation: {
    discloses: 'one number of the tenant',
    fields: 'type remediation reportedAt',
  },
  AccountDisconnection: {
    discloses: 'one number of the tenant',
    fields: 'reason reasonRaw initiatedBy reportedAt',
  },
  AccountLimits: {
    discloses: 'one number of the tenant',
    fields: 'messagingLimitTier messagingLimitTierRaw maxPhoneNumbers',
  },
  Portfolio: { discloses: 'one number of the tenant', fields: 'id name' },
  // Their numbers are tested with their own type.
  FleetConnection: {
    discloses: 'counts of the tenant',
    fields: 'totalCount facets nodes edges pageInfo feedCursor asOf',
  },
  FleetEdge: { discloses: 'counts of the tenant', fields: 'cursor node' },
  PageInfo: {
    discloses: 'counts of the tenant',
    fields: 'hasNextPage hasPreviousPage startCursor endCursor',
  },
  FleetFacets: {
    discloses: 'counts of the tenant',
    fields: `verdict replyVerdict qualityRating metaStatus state provider messagingLimitTier stale failing
      restricted waba portfolio label`,
  },
  ChangePage: { discloses: 'counts of the tenant', fields: 'changes cursor time caughtUp' },
  NumberChange: {
    discloses: 'one number of the tenant',
    fields: `cursor number numberId wabaId kind field previousValue newValue source actor observation
      occurredAt recordedAt`,
  },
  NumberChangeConnection: {
    discloses: 'one number of the tenant',
    fields: 'nodes edges pageInfo',
  },
  NumberChangeEdge: { discloses: 'one number of the tenant', fields: 'cursor node' },
  TimelineSpan: { discloses: 'one number of the tenant', fields: 'value from to certainty' },
  Availability: {
    discloses: 'one number of the tenant',
    fields: 'sendableShare observedShare',
  },
  // Their incident is that of the number.
  Incident: {
    discloses: 'one number of the tenant',
    fields: `id rule covers severity state scope subject subjectName numberCount numbers text previousValue newValue
      openedAt closedAt acknowledgedAt acknowledgedBy note`,
  },
  IncidentNumber: { discloses: 'one number of the tenant', fields: 'id name number' },
  IncidentConnection: {
    discloses: 'one number of the tenant',
    fields: 'totalCount nodes edges pageInfo',
  },
  IncidentEdge: { discloses: 'one number of the tenant', fields: 'cursor node' },
  ChangeActor: { discloses: 'counts of the tenant', fields: 'type key' },
  VerdictCount: { discloses: 'counts of the tenant', fields: 'value count' },
  QualityRatingCount: { discloses: 'counts of the tenant', fields: 'value count' },
  MetaStatusCount: { discloses: 'counts of the tenant', fields: 'value count' },
  MessagingLimitTierCount: { discloses: 'counts of the tenant', fields: 'value count' },
  ConnectionStateCount: { discloses: 'counts of the tenant', fields: 'value count' },
  ProviderCount: { discloses: 'counts of the tenant', fields: 'value count' },
  LabelCount: { discloses: 'counts of the tenant', fields: 'value count' },
  Sync: { discloses: 'counts of the tenant', fields: 'accounts accountCount engine' },
  SyncAccount: {
    discloses: 'counts of the tenant',
    fields: `wabaId numberCount newNumberCount cadenceSeconds attainable attainableCadenceSeconds
      plannedCallsPerHour budgetCallsPerHour usedPercent lastSweepAt nextSweepAt pausedUntil state lastError`,
  },
  SyncEngine: {
    discloses: 'counts of the tenant',
    fields: 'numberCount cadenceSeconds lastReadAt nextReadAt state',
  },
  Viewer: { discloses: 'the key', fields: 'tenantName scopes numberId' },
  WabaCount: { discloses: 'counts of the tenant', fields: 'id name count' },
  PortfolioCount: { discloses: 'counts of the tenant', fields: 'id name count messagingLimitTier' },
};

/** The statuses of paths outside of the route table, with GraphiQL off and on. None of them reads the key. */
const openRoutes: Readonly<
  Record<string, { readonly production?: number; readonly graphiql: number }>
> = {
  'GET /livez': { production: 200, graphiql: 200 },
  'GET /readyz': { production: 200, graphiql: 200 },
  'GET /metrics': { production: 200, graphiql: 200 },
  // The page of GraphiQL. Without it, the route needs a key.
  'GET /graphql': { graphiql: 200 },
  'GET /board': { production: 200, graphiql: 200 },
  'GET /board/nothing': { production: 404, graphiql: 404 },
  'GET /': { production: 404, graphiql: 404 },
  'GET /v1/openapi.json': { production: 200, graphiql: 200 },
  'GET /openapi.json': { production: 404, graphiql: 404 },
  'GET /v1/webhooks/meta/': { production: 404, graphiql: 404 },
  'GET /v1/nothing': { production: 404, graphiql: 404 },
};

interface Operation {
  readonly name: string;
  send(key: string | null, id: string): Promise<Reply<unknown>>;
}

/** Shared by all gateways here, so that all of them accept the same keys. */
const environment = {
  KEY_FAILURES_PER_MINUTE: '0',
  RATE_LIMIT: 'off',
  API_KEY_PEPPER: 'p'.repeat(32),
};

let gateway: TestGateway;
let operations: ReadonlyMap<string, Operation>;
let own: TestNumber;
let sibling: TestNumber;
let foreign: TestNumber;
let ownIncident: string;
let foreignIncident: string;
/** The beginning of the tenant's changes. */
let firstCursor: string;
/** By the names in the matrix; null sends no header. */
let keys: Readonly<Record<string, string | null>>;

const refused = ['no key', 'empty', 'malformed', 'bad checksum', 'unknown', 'revoked', 'expired'];
const accepted = [
  'tenant key',
  'number key',
  'key of another number',
  'key of all scopes',
  'operating key',
  'operating key of the number',
  'operating key of another number',
];
/** Valid keys of the tenant that may not read. */
const forbidden = ['webhooks key'];
const foreignKeys = [
  'other tenant’s key',
  'other tenant’s number key',
  'other tenant’s operating key',
];
const operating = ['operating key', 'operating key of the number', 'key of all scopes'];

beforeAll(async () => {
  // A fleet shows the time at which it was judged.
  const now = new Date();
  gateway = await openTestGateway({ database: 'PostgreSQL', environment, now: () => now });
  const [tenant, other] = [await gateway.addTenant('Own'), await gateway.addTenant('Foreign')];
  // Has an unreadable account of which Meta has announced something, and a flagged phone, so that its detail has an object of every type.
  own = await tenant.addNumber({
    name: 'Own number',
    wabaId: createDigits(),
    phone: { status: 'FLAGGED' },
  });
  await announceAccount(tenant.id, own.wabaId);
  ownIncident = await insertIncident(gateway.database, tenant.id, { subject: own.id });
  sibling = await tenant.addNumber({ name: 'Sibling number' });
  await tenant.addNumber({ name: 'Number of an engine', provider: 'PILOT_STATUS' });
  foreign = await other.addNumber({ name: 'Foreign number' });
  foreignIncident = await insertIncident(gateway.database, other.id, { subject: foreign.id });
  const { body } = await tenant.graphql<{ changes: { cursor: string } }>('{ changes { cursor } }');
  firstCursor = body.data!.changes.cursor.replace(/\d+$/, '0');
  const revoked = await tenant.addKey();
  await gateway.access.revokeKey(revoked.id);
  const wellFormed = createKey();
  keys = {
    'no key': null,
    empty: '',
    malformed: 'ps_short',
    // A key of the right form with another last character.
    'bad checksum': `${wellFormed.slice(0, -1)}${wellFormed.endsWith('0') ? '1' : '0'}`,
    unknown: wellFormed,
    revoked: revoked.key,
    expired: (await tenant.addKey({ expiresAt: new Date(Date.now() - 1_000) })).key,
    'other tenant’s key': other.key,
    'other tenant’s number key': (await other.addKey({ numberId: foreign.id })).key,
    'number key': (await tenant.addKey({ numberId: own.id })).key,
    'key of another number': (await tenant.addKey({ numberId: sibling.id })).key,
    'tenant key': tenant.key,
    'key of all scopes': (await tenant.addKey({ scopes: ['read', 'operate', 'webhooks'] })).key,
    'operating key': (await tenant.addKey({ scopes: ['operate'] })).key,
    'operating key of the number': (await tenant.addKey({ numberId: own.id, scopes: ['operate'] }))
      .key,
    'operating key of another number': (
      await tenant.addKey({ numberId: sibling.id, scopes: ['operate'] })
    ).key,
    'other tenant’s operating key': (await other.addKey({ scopes: ['operate'] })).key,
    'webhooks key': (await tenant.addKey({ scopes: ['webhooks'] })).key,
  };
  const get = toRoute('GET', '/graphql', '', '?query={numbers{id,name}}');
  const listed = [
    ...listQueries(),
    ...listMutations(),
    ...listSubscriptions(),
    get,
    ...(await listRoutes()),
  ];
  operations = new Map(listed.map((operation) => [operation.name, operation]));
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

function listQueries(): readonly Operation[] {
  return listOperations('query', [
    ...Object.values(schema.getQueryType()?.getFields() ?? {}),
    // Selectable at the root, though no type lists them.
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
    TypeNameMetaFieldDef,
  ]);
}

function listMutations(): readonly Operation[] {
  return listOperations('mutation', Object.values(schema.getMutationType()?.getFields() ?? {}));
}

function listSubscriptions(): readonly Operation[] {
  const fields = Object.values(schema.getSubscriptionType()?.getFields() ?? {});
  return listOperations('subscription', fields);
}

/** Each field with its required arguments only, and again with each optional one. */
function listOperations(
  type: 'query' | 'mutation' | 'subscription',
  fields: readonly GraphQLField<unknown, unknown>[],
): readonly Operation[] {
  return fields.flatMap((field) => {
    const required = field.args.filter(isRequiredArgument).map(({ name }) => name);
    const optional = field.args.filter((argument) => !isRequiredArgument(argument));
    // The list takes `refresh` only for given numbers, and a fleet `before` only with `last`. Without a cursor there are no
    // changes.
    const withOptional = optional.map(({ name }) =>
      toOperation(
        type,
        field,
        required.concat(
          name,
          field.name === 'numbers' && name === 'refresh' ? 'ids' : [],
          name === 'before' ? 'last' : [],
          field.name === 'changes' && name !== 'after' ? 'after' : [],
        ),
      ),
    );
    return [toOperation(type, field, required)].concat(withOptional);
  });
}

/** Values for arguments by name. The operation of an argument without a value fails. */
const values: Readonly<Record<string, string>> = {
  id: '$id',
  ids: '[$id]',
  refresh: 'true',
  name: '"WhatsAppNumber"',
  filter: '{search: "number"}',
  orderBy: '{field: NAME, direction: ASC}',
  first: '10',
  last: '10',
  after: JSON.stringify(toCursor('0', '-infinity', '')),
  before: JSON.stringify(toCursor('9', '9999-01-01T00:00:00.000Z', 'z')),
};

/** The same for arguments whose values differ from those of other fields. */
/** Before every incident. */
const incidentCursor = `i1.${Date.parse('9999-01-01T00:00:00Z')}.inc_${'f'.repeat(32)}`;

const incidentsValues: Readonly<Record<string, string>> = {
  state: 'OPEN',
  after: JSON.stringify(incidentCursor),
};

const changesValues: Readonly<Record<string, () => string>> = {
  after: () => JSON.stringify(firstCursor),
  filter: () => '{kinds: [ADDED]}',
};

/** The inputs of mutations. */
const inputs: Readonly<Record<string, string>> = {
  muteNumber: '{id: $id, until: null}',
  labelNumber: '{id: $id, labels: ["team=a"]}',
  refreshNumbers: '{ids: [$id]}',
  acknowledgeIncident: '{id: $id}',
};

/** Values for query parameters that have no fixed ones. */
const parameterValues: Readonly<Record<string, string>> = {
  search: 'number',
  id: 'wa_1',
  wabaId: '1',
  portfolioId: '1',
  label: 'team=a',
  changedSince: '2026-01-01T00:00:00Z',
  limit: '10',
  number: 'wa_1',
  wait: '0',
  cursor: toCursor('0', '-infinity', ''),
};

/** Of the default order without a filter, so that all numbers follow it, or come before it. */
function toCursor(...sortKeys: readonly string[]): string {
  const filter = hashFilter(normalizeFilter({}));
  return encodeCursor({ order: defaultOrder, filter, asOf: new Date() }, sortKeys);
}

function toOperation(
  type: 'query' | 'mutation' | 'subscription',
  field: GraphQLField<unknown, unknown>,
  names: readonly string[],
): Operation {
  const valueOf = (name: string) =>
    (field.name === 'changes' ? changesValues[name]?.() : undefined) ??
    (field.name === 'incidents' ? incidentsValues[name] : undefined) ??
    (name === 'input' ? inputs[field.name] : values[name]);
  const args = names.map((name) => `${name}: ${valueOf(name)}`).join(', ');
  const variables = ['id', 'ids', 'input'].some((name) => names.includes(name)) ? '($id: ID!)' : '';
  // The types of introspection refer to each other, and nested lists of them are rejected.
  const depth = field.name.startsWith('__') ? 2 : 3;
  const call = `${field.name}${args && `(${args})`}${toSelection(field.type, depth)}`;
  const query = `${type}${variables} { ${call} }`;
  const send = type === 'subscription' ? readFirstEvent : gateway.graphql;
  return {
    name: `${type} ${field.name}${names.length > 0 ? `(${names.join(', ')})` : ''}`,
    send: (key, id) =>
      send(query, { variables: { id }, headers: key === null ? {} : { 'x-api-key': key } }),
  };
}

/** Sends a subscription, and closes its stream after the first event. */
async function readFirstEvent(
  query: string,
  { variables, headers }: { readonly variables: object; readonly headers: object },
): Promise<Reply<unknown>> {
  const before = gateway.statements.length;
  const response = await gateway.fetch('/graphql', {
    method: 'POST',
    body: JSON.stringify({ query, variables }),
    headers: { accept: 'text/event-stream', 'content-type': 'application/json', ...headers },
  });
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  const text = Buffer.from(value!).toString();
  const [, json = ''] = /\ndata: (.*)\n\n/.exec(text) ?? [];
  // The key is verified once more while the stream is open; see access/key-watch.ts.
  const isVerified = () =>
    gateway.statements.slice(before).some((statement) => statement.includes('"expiresInMs"'));
  if (!/UNAUTHENTICATED|FORBIDDEN/.test(text)) await vi.waitUntil(isVerified, { timeout: 20_000 });
  return { status: response.status, headers: response.headers, text, body: JSON.parse(json) };
}

/** Selects all fields down to `depth`. */
function toSelection(type: GraphQLOutputType, depth: number): string {
  const named = getNamedType(type);
  if (isInterfaceType(named)) {
    const selections = schema
      .getPossibleTypes(named)
      .map((possible) => `... on ${possible.name}${toSelection(possible, depth)}`);
    return ` { ${selections.join(' ')} }`;
  }
  if (!isObjectType(named)) return '';
  const members = Object.values(named.getFields())
    // They are tested with their own types; in the list of all numbers they cost too much.
    .filter(({ name }) => !['history', 'timeline', 'availability'].includes(name))
    .filter((field) => depth > 1 || !isObjectType(getNamedType(field.type)))
    .map((field) => `${field.name}${toSelection(field.type, depth - 1)}`);
  return ` { ${members.join(' ')} }`;
}

interface RouteTable {
  readonly paths: Readonly<
    Record<
      string,
      Readonly<
        Record<
          string,
          {
            readonly parameters?: readonly {
              readonly name: string;
              readonly in: string;
              readonly schema: {
                readonly enum?: readonly string[];
                /** Of a list of values that are separated by commas. */
                readonly items?: { readonly enum?: readonly string[] };
              };
            }[];
            /** Empty for an operation that needs no key. */
            readonly security?: readonly unknown[];
          }
        >
      >
    >
  >;
}

/** Each route that needs a key, and again with each of its query parameters. */
async function listRoutes(): Promise<readonly Operation[]> {
  const { body } = await gateway.rest<RouteTable>('/v1/openapi.json');
  return Object.entries(body.paths)
    .filter(([path]) => path.startsWith('/v1/'))
    .flatMap(([path, methods]) =>
      Object.entries(methods)
        .filter(([method]) => /^(get|post|put|patch|delete)$/.test(method))
        .filter(([, { security }]) => security?.length !== 0)
        .flatMap(([method, { parameters = [] }]) => {
          const inQuery = parameters.filter((parameter) => parameter.in === 'query');
          const queries = inQuery.map(({ name, schema: { enum: [word] = [], items } }) => {
            const all = items?.enum?.join(',') ?? word ?? parameterValues[name.replace('not.', '')];
            const cursor = path === '/v1/incidents' ? incidentCursor : parameterValues['cursor'];
            const value = { after: toAfter(path), cursor }[name] ?? all;
            return `?${name}=${value}`;
          });
          return ['', ...queries].map((query) =>
            toRoute(method.toUpperCase(), path, query, toCursorOf(path, query)),
          );
        }),
    );
}

function toAfter(path: string): string {
  return path === '/v1/changes' ? firstCursor : '0';
}

/** Without a cursor there are no changes. */
function toCursorOf(path: string, query: string): string {
  const needsCursor = path === '/v1/changes' && /^\?(limit|wait|kind)=/.test(query);
  return needsCursor ? `&after=${firstCursor}` : '';
}

function toRoute(method: string, path: string, query: string, unnamed = ''): Operation {
  const body = toBody[`${method} ${path}`];
  return {
    name: `${method} ${path}${query.replace(/^\?(cursor|after)=.*/, '?$1=…')}`,
    send: (key, id) =>
      gateway.rest(`${path.replace('{id}', encodeURIComponent(id))}${query}${unnamed}`, {
        method,
        headers: {
          ...(key !== null && { 'x-api-key': key }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body(id)) }),
      }),
  };
}

/** A response without what differs between requests: its id, the time, and the rest of the rate limit. */
function toComparable({ status, headers, text }: Reply<unknown>): unknown {
  const requestId = headers.get('x-request-id') ?? '';
  const lasting = [...headers].filter(([name]) => !/^(x-request-id|date|ratelimit.*)$/.test(name));
  return { status, headers: Object.fromEntries(lasting), text: text.replaceAll(requestId, 'ID') };
}

function toCode({ body }: Reply<unknown>): unknown {
  const { code, errors } = body as {
    code?: string;
    errors?: readonly { extensions?: { code?: string } }[];
  };
  return code ?? errors?.[0]?.extensions?.code;
}

/** Those whose responses need not contain the number. */
const withoutNumbers: ReadonlySet<Expectation> = new Set([
  'some numbers of the tenant',
  'accounts of the tenant',
  'the key',
]);

/** What keys of other tenants get. */
const codes: Partial<Record<Expectation, string>> = {
  'one number of the tenant': 'NUMBER_NOT_FOUND',
  'changes of the tenant': 'CURSOR_UNKNOWN',
  'the incident with the id': 'INCIDENT_NOT_FOUND',
};

test('every operation has an expectation, and every expected operation exists', () => {
  const expected = [...Object.keys(expectations), ...changing, ...acknowledging, ...refreshing];
  expect([...operations.keys()].toSorted()).toEqual(expected.toSorted());
});

async function sendAs(name: string, keyName: string, id: string): Promise<Reply<unknown>> {
  const operation = operations.get(name);
  if (operation === undefined) throw new Error(`there is no operation ${name}`);
  // A misspelt name would otherwise send no key.
  if (!(keyName in keys)) throw new Error(`there is no key named ${keyName}`);
  return await operation.send(keys[keyName] ?? null, id);
}

const isNothingButTheKey = (statement: string) => statement.includes('_scoped_key');

async function sendAndObserve(name: string, keyName: string, id = own.id) {
  gateway.clearStatements();
  const reply = await sendAs(name, keyName, id);
  return { reply, statements: gateway.statements.filter((sql) => !isNothingButTheKey(sql)) };
}

describe.each([...changing, ...acknowledging, ...refreshing])('%s', (name) => {
  const send = (keyName: string, id?: string) => sendAndObserve(name, keyName, id);

  test.each(refused)('%s: refused like no key, and nothing is read', async (keyName) => {
    const { reply: without } = await send('no key');
    const { reply, statements } = await send(keyName);
    expect([reply.status, toCode(reply), statements]).toEqual([401, 'UNAUTHENTICATED', []]);
    expect(toComparable(reply)).toEqual(toComparable(without));
  });

  test.each(['webhooks key', 'tenant key', 'number key', 'other tenant’s key'])(
    '%s: forbidden, whatever the id, and nothing is read',
    async (keyName) => {
      const ofRandom = await send(keyName, 'wa_none');
      const { reply, statements } = await send(keyName);
      expect([reply.status, toCode(reply), statements]).toEqual([403, 'FORBIDDEN', []]);
      expect(toComparable(reply)).toEqual(toComparable(ofRandom.reply));
    },
  );
});

describe.each(changing)('%s', (name) => {
  const isOverRest = !name.startsWith('mutation');
  const send = (keyName: string, id?: string) => sendAndObserve(name, keyName, id);

  test.each(operating)('%s: changes the number, and returns it alone', async (keyName) => {
    const { reply } = await send(keyName);
    expect([reply.status, toCode(reply)]).toEqual([200, undefined]);
    expect(reply.text).toContain(own.id);
    for (const { id } of [sibling, foreign]) expect(reply.text).not.toContain(id);
  });

  test('operating key of another number: forbidden, and nothing is read', async () => {
    const { reply, statements } = await send('operating key of another number');
    expect([reply.status, toCode(reply)]).toEqual([isOverRest ? 403 : 200, 'FORBIDDEN']);
    expect(statements).toEqual([]);
  });

  test('a number of another tenant is answered like one that does not exist, at the same cost', async () => {
    const [ofForeign, ofRandom] = [
      await send('operating key', foreign.id),
      await send('operating key', 'wa_none'),
    ];
    expect(toCode(ofForeign.reply)).toBe('NUMBER_NOT_FOUND');
    expect(toComparable(ofForeign.reply)).toEqual(toComparable(ofRandom.reply));
    expect(ofForeign.statements).toEqual(ofRandom.statements);
    const { reply } = await send('other tenant’s operating key');
    expect(toCode(reply)).toBe('NUMBER_NOT_FOUND');
    expect(reply.text).not.toContain('Own number');
  });
});

describe.each(acknowledging)('%s', (name) => {
  const isOverRest = !name.startsWith('mutation');
  const send = (keyName: string, id = ownIncident) => sendAndObserve(name, keyName, id);

  test.each(operating)('%s: acknowledges the incident, and returns it alone', async (keyName) => {
    const { reply } = await send(keyName);
    expect([reply.status, toCode(reply)]).toEqual([200, undefined]);
    expect(reply.text).toContain(ownIncident);
    for (const { id } of [sibling, foreign]) expect(reply.text).not.toContain(id);
  });

  test('operating key of another number: forbidden', async () => {
    const { reply } = await send('operating key of another number');
    expect([reply.status, toCode(reply)]).toEqual([isOverRest ? 403 : 200, 'FORBIDDEN']);
    expect(reply.text).not.toContain('Own number');
  });

  test('an incident of another tenant is answered like one that does not exist, at the same cost', async () => {
    const none = `inc_${'0123456789abcdef'.repeat(2)}`;
    const [ofForeign, ofRandom] = [
      await send('operating key', foreignIncident),
      await send('operating key', none),
    ];
    expect(toCode(ofForeign.reply)).toBe('INCIDENT_NOT_FOUND');
    expect(toComparable(ofForeign.reply)).toEqual(toComparable(ofRandom.reply));
    expect(ofForeign.statements).toEqual(ofRandom.statements);
    const { reply } = await send('other tenant’s operating key');
    expect(toCode(reply)).toBe('INCIDENT_NOT_FOUND');
    expect(reply.text).not.toContain('Own number');
  });
});

describe.each(Object.entries(expectations))('%s', (name, expectation) => {
  const send = (keyName: string, id: string) => {
    if (expectation !== 'the incident with the id') return sendAs(name, keyName, id);
    const ofNumbers: Record<string, string> = {
      [own.id]: ownIncident,
      [foreign.id]: foreignIncident,
    };
    return sendAs(name, keyName, ofNumbers[id] ?? `inc_${'0123456789abcdef'.repeat(2)}`);
  };

  /** A client of a stream tries again after any status but 200. */
  const toStatus = (status: number) => (name.startsWith('subscription') ? 200 : status);

  test.each(refused)('%s: refused like no key, and nothing is read', async (keyName) => {
    const without = toComparable(await send('no key', own.id));
    gateway.simulator.clearCalls();
    gateway.clearStatements();
    const reply = await send(keyName, own.id);
    expect(reply.status).toBe(toStatus(401));
    expect(toCode(reply)).toBe('UNAUTHENTICATED');
    expect(toComparable(reply)).toEqual(without);
    expect(gateway.simulator.calls).toEqual([]);
    const isWellFormed = ['unknown', 'revoked', 'expired'].includes(keyName);
    expect(gateway.statements.length).toBeLessThanOrEqual(isWellFormed ? 1 : 0);
  });

  test.each(forbidden)('%s: forbidden, whatever the id, and nothing is read', async (keyName) => {
    const random = `wa_${'0123456789abcdef'.repeat(2)}`;
    const ofRandom = toComparable(await send(keyName, random));
    gateway.simulator.clearCalls();
    gateway.clearStatements();
    const reply = await send(keyName, own.id);
    expect([reply.status, toCode(reply)]).toEqual([toStatus(403), 'FORBIDDEN']);
    expect(toComparable(reply)).toEqual(ofRandom);
    expect(gateway.simulator.calls).toEqual([]);
    expect(gateway.statements).toEqual([]);
  });

  test.each(accepted)('%s: returns only the tenant’s data', async (keyName) => {
    const reply = await send(keyName, own.id);
    expect([reply.status, toCode(reply)]).toEqual([200, undefined]);
    expect(reply.text).not.toContain(foreign.id);
    expect(reply.text).not.toContain('Foreign number');
    expect(reply.text.includes('"Own"')).toBe(expectation === 'the key');
    expect(reply.text).not.toContain(foreign.wabaId);
    expect(reply.text.includes(own.wabaId) || expectation !== 'accounts of the tenant').toBe(true);
    if (withoutNumbers.has(expectation)) return;
    const isOfAll = ['all numbers of the tenant', 'changes of the tenant'].includes(expectation);
    expect(reply.text.includes(own.id)).toBe(expectation !== 'a document');
    expect(reply.text.includes(sibling.id)).toBe(isOfAll);
  });

  test.each(foreignKeys)('%s: returns nothing of the tenant', async (keyName) => {
    const reply = await send(keyName, own.id);
    expect(reply.text).not.toContain(own.id);
    expect(reply.text).not.toContain('Own number');
    expect(toCode(reply)).toBe(codes[expectation]);
    expect(reply.text).not.toContain(own.wabaId);
    if (withoutNumbers.has(expectation)) return;
    const isOfAll = ['all numbers of the tenant', 'one incident of the tenant'].includes(
      expectation,
    );
    expect(reply.text.includes(foreign.id)).toBe(isOfAll);
  });

  test.skipIf(!/^one number|with the id$/.test(expectation))(
    'the response for a foreign id equals that for a random one except for the request id, at the same cost',
    async () => {
      const random = `wa_${'0123456789abcdef'.repeat(2)}`;
      const observe = async (id: string) => {
        gateway.simulator.clearCalls();
        gateway.clearStatements();
        const reply = toComparable(await send('tenant key', id));
        return { reply, statements: [...gateway.statements], calls: [...gateway.simulator.calls] };
      };
      // The first request may record that the key was used.
      await send('tenant key', random);
      const [ofForeign, ofRandom] = [await observe(foreign.id), await observe(random)];
      expect(ofForeign).toEqual(ofRandom);
      expect(ofForeign.calls).toEqual([]);
    },
  );
});

test('HEAD is refused like GET', async () => {
  for (const keyName of refused) {
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await gateway.rest('/v1/numbers', {
      method: 'HEAD',
      headers: keys[keyName] ? { 'x-api-key': keys[keyName] } : {},
    });
    expect([keyName, reply.status, reply.text]).toEqual([keyName, 401, '']);
  }
});

test('a stream of changes is refused like a page', async () => {
  for (const keyName of refused) {
    const key: Record<string, string> = keys[keyName] ? { 'x-api-key': keys[keyName] } : {};
    const headers = { accept: 'text/event-stream', ...key };
    // oxlint-disable-next-line no-await-in-loop -- one after the other
    const reply = await gateway.rest('/v1/changes', { headers });
    expect([keyName, reply.status, toCode(reply)]).toEqual([keyName, 401, 'UNAUTHENTICATED']);
  }
});

const toNotice = <T>(value: T) => ({ reportedAt: '2026-01-01T00:00:00.000Z', digest: 'a', value });

/** Stores something of every kind that Meta announces of an account. */
async function announceAccount(tenantId: string, wabaId: string): Promise<void> {
  const notices: AccountNotices = {
    restrictions: toNotice([
      { kind: 'RESTRICTED_ADD_PHONE_NUMBER_ACTION', expiresAt: null, remediation: 'Appeal.' },
    ]),
    ban: toNotice({ state: 'SCHEDULE_FOR_DISABLE', date: 'January 9, 2026' }),
    violation: toNotice({ type: 'ADULT', remediation: 'Remove it.' }),
    disconnection: toNotice({ reason: 'CHANGE_NUMBER', initiatedBy: 'USER' }),
    messagingLimitTier: toNotice('TIER_10K'),
    maxPhoneNumbers: toNotice(20),
  };
  await gateway.gateway.database.withTenant(
    tenantId,
    (transaction) =>
      storeNotices(transaction, {
        tenantId,
        accounts: new Map([[wabaId, notices]]),
        now: new Date(),
      }),
    'numbers',
  );
}

function listTypes(): readonly GraphQLObjectType[] {
  return (
    Object.values(schema.getTypeMap())
      .filter(isObjectType)
      .filter(({ name }) => !name.startsWith('__'))
      // Their fields, and the results of mutations, are tested as operations.
      .filter((type) => type !== schema.getSubscriptionType())
      .filter((type) => type !== schema.getMutationType() && !type.name.endsWith('Payload'))
      .filter(({ name }) => name !== 'SkippedNumber')
  );
}

test('every type has an expectation, and every expected type exists', () => {
  const typeNames = listTypes().map(({ name }) => name);
  expect(typeNames.toSorted()).toEqual(Object.keys(types).toSorted());
});

const requiredArguments: Readonly<Record<string, string>> = {
  timeline: `(field: STATE, from: "${new Date(Date.now() - 86_400_000).toISOString()}")`,
};

/** Selects the scalars of type `to` along all paths from type `from`; '' when there is no path. None leads to a type twice. */
function toPaths(
  from: GraphQLObjectType,
  to: GraphQLObjectType,
  above: readonly GraphQLObjectType[] = [],
): string {
  const fields = Object.values(from.getFields());
  const leaves = fields
    .filter(({ type }) => from === to && !isObjectType(getNamedType(type)))
    .map(({ name }) => name);
  const paths = fields.flatMap(({ name, type }) => {
    const next = getNamedType(type);
    if (!isObjectType(next) || (from !== to && above.includes(next))) return [];
    // Objects within the type itself are tested with their own type.
    const path = from === to ? ' { __typename }' : toPaths(next, to, [...above, from]);
    return path === '' ? [] : [`${name}${requiredArguments[name] ?? ''}${path}`];
  });
  const members = [...leaves, ...paths];
  return members.length === 0 ? '' : ` { __typename ${members.join(' ')} }`;
}

/** All objects of a type in a response. */
function listObjects(within: unknown, type: string): readonly Readonly<Record<string, unknown>>[] {
  if (typeof within !== 'object' || within === null) return [];
  const here = within as Readonly<Record<string, unknown>>;
  const below = Object.values(here).flatMap((member) => listObjects(member, type));
  return here['__typename'] === type ? [here, ...below] : below;
}

describe.each(Object.entries(types))('the fields of %s', (typeName, { discloses, fields }) => {
  const send = async (keyName: string, id: string) => {
    const type = listTypes().find(({ name }) => name === typeName);
    const root = schema.getType('WhatsAppNumber');
    const fleet = schema.getType('FleetConnection');
    const changes = schema.getType('ChangePage');
    const sync = schema.getType('Sync');
    const incidents = schema.getType('IncidentConnection');
    if (
      type === undefined ||
      !isObjectType(root) ||
      !isObjectType(fleet) ||
      !isObjectType(changes) ||
      !isObjectType(sync) ||
      !isObjectType(incidents)
    ) {
      throw new Error(`there is no type ${typeName}`);
    }
    if (!(keyName in keys)) throw new Error(`there is no key named ${keyName}`);
    const key = keys[keyName] ?? null;
    // The cursor is unknown to other tenants.
    const after = JSON.stringify(accepted.includes(keyName) ? firstCursor : null);
    // And so is the id.
    const incident = accepted.includes(keyName) ? `incident(id: "${ownIncident}") { id }` : '';
    const selection =
      type === schema.getQueryType()
        ? `numbers { id name } number(id: $id) { id name }
           node(id: $id) { id } nodes(ids: [$id]) { id } fleet { asOf } changes(after: ${after}) { time }
           sync { accountCount } incidents { totalCount } ${incident} viewer { tenantName }`
        : [
            typeName.startsWith('Sync') && `number(id: $id) { id } sync${toPaths(sync, type)}`,
            typeName.startsWith('Incident') &&
              toPaths(root, type) === '' &&
              `number(id: $id) { id } incidents${toPaths(incidents, type)}`,
            typeName === 'Viewer' && `number(id: $id) { id } viewer${toPaths(type, type)}`,
            toPaths(root, type) && `number(id: $id)${toPaths(root, type)}`,
            toPaths(fleet, type) && `number(id: $id) { id } fleet${toPaths(fleet, type)}`,
            `number(id: $id) { id } changes(after: ${after})${toPaths(changes, type)}`,
          ].find((text) => text !== '' && text !== false)!;
    return await gateway.graphql(`query($id: ID!) { __typename ${selection} }`, {
      variables: { id },
      headers: key === null ? {} : { 'x-api-key': key },
    });
  };
  const expected = fields.trim().split(/\s+/);

  test('are the expected ones', () => {
    const type = schema.getType(typeName);
    expect(isObjectType(type) && Object.keys(type.getFields()).toSorted()).toEqual(
      expected.toSorted(),
    );
  });

  test('are refused without a valid key, with the response for no key', async () => {
    const without = await send('no key', own.id);
    for (const keyName of refused) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await send(keyName, own.id);
      expect([keyName, reply.status, reply.body.data ?? null]).toEqual([keyName, 401, null]);
      expect(toComparable(reply)).toEqual(toComparable(without));
    }
  });

  test('are not returned to keys of the tenant that may not read', async () => {
    for (const keyName of forbidden) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await send(keyName, own.id);
      expect([keyName, reply.status, toCode(reply)]).toEqual([keyName, 403, 'FORBIDDEN']);
      expect(reply.body.data ?? null).toBeNull();
    }
  });

  test('are all returned to the keys of the tenant that may read', async () => {
    for (const keyName of accepted) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await send(keyName, own.id);
      expect([keyName, reply.status, toCode(reply)]).toEqual([keyName, 200, undefined]);
      const objects = listObjects(reply.body.data, typeName);
      expect(objects.length).toBeGreaterThan(0);
      for (const object of objects)
        expect(Object.keys(object)).toEqual(expect.arrayContaining(expected));
      const isOfAll =
        discloses === 'all numbers of the tenant' ||
        (discloses === 'the key' && keyName.includes('another number'));
      expect(reply.text.includes(sibling.id)).toBe(isOfAll);
      expect(reply.text).not.toContain(foreign.id);
    }
  });

  test('are not returned to keys of other tenants, for which a number of the tenant does not exist', async () => {
    const random = `wa_${'0123456789abcdef'.repeat(2)}`;
    for (const keyName of foreignKeys) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const [reply, ofRandom] = [await send(keyName, own.id), await send(keyName, random)];
      expect([keyName, toCode(reply)]).toEqual([keyName, 'NUMBER_NOT_FOUND']);
      expect(reply.body.data?.['number'] ?? null).toBeNull();
      expect(toComparable(reply)).toEqual(toComparable(ofRandom));
      expect(reply.text).not.toContain(own.id);
      expect(reply.text).not.toContain('Own number');
    }
  });
});

const addEndpoint = async (proof: 'SIGNED' | 'KEY', tenantId: string) => {
  const appSecrets = proof === 'SIGNED' ? ['an app secret'] : [];
  return (await gateway.gateway.webhooks.add({ tenantId, proof, appSecrets })).path;
};
const deliverWith = async (to: string, keyName: string) =>
  await gateway.rest(to, {
    method: 'POST',
    body: '{"object": "whatsapp_business_account", "entry": []}',
    headers: { ...(keys[keyName] && { 'x-api-key': keys[keyName] }) },
  });

describe('the routes of webhooks', () => {
  test('accept keys with the scope webhooks where keys are the proof, and disclose nothing', async () => {
    const { tenantId } = await findTenantOf(own.id);
    const to = await addEndpoint('KEY', tenantId);
    const statuses: Record<string, number> = {};
    for (const keyName of Object.keys(keys)) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await deliverWith(to, keyName);
      statuses[keyName] = reply.status;
      expect(reply.text).not.toMatch(/Own number|Foreign number/);
    }
    expect(statuses).toEqual({
      ...Object.fromEntries(refused.map((keyName) => [keyName, 401])),
      ...Object.fromEntries(accepted.map((keyName) => [keyName, 403])),
      ...Object.fromEntries(foreignKeys.map((keyName) => [keyName, 404])),
      ...Object.fromEntries(forbidden.map((keyName) => [keyName, 200])),
      'key of all scopes': 200,
    });
  });

  test('accept no key where the signature is the proof', async () => {
    const { tenantId } = await findTenantOf(own.id);
    const to = await addEndpoint('SIGNED', tenantId);
    for (const keyName of Object.keys(keys)) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await deliverWith(to, keyName);
      expect([keyName, reply.status, toCode(reply)]).toEqual([keyName, 401, 'UNAUTHENTICATED']);
    }
  });

  test('answer the handshake without the verify token alike with every key', async () => {
    const { tenantId } = await findTenantOf(own.id);
    const to = await addEndpoint('SIGNED', tenantId);
    for (const key of Object.values(keys)) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      const reply = await gateway.rest(`${to}?hub.mode=subscribe&hub.challenge=1`, {
        headers: key === null ? {} : { 'x-api-key': key },
      });
      expect([reply.status, toCode(reply)]).toEqual([401, 'UNAUTHENTICATED']);
    }
  });
});

async function findTenantOf(numberId: string): Promise<{ tenantId: string }> {
  const [row] = await gateway.database.query<{ tenantId: string }>(
    'select tenant_id as "tenantId" from whatsapp_number where id = $1',
    [numberId],
  );
  if (row === undefined) throw new Error(`there is no number ${numberId}`);
  return row;
}

describe('the routes outside of the route table', () => {
  test('are the paths in the sources of the server and the pipeline', () => {
    const sources = ['http/server', 'http/pipeline'].map((name) =>
      readFileSync(new URL(`../src/${name}.ts`, import.meta.url), 'utf8'),
    );
    const named = new Set(sources.join('\n').match(/(?<=')\/[a-z][\w/.-]*(?=')/g));
    expect(named.size).toBeGreaterThan(3);
    expect(Object.keys(openRoutes)).toEqual(
      expect.arrayContaining([...named].map((path) => `GET ${path}`)),
    );
  });

  test.each(['production', 'graphiql'] as const)('respond alike to every key: %s', async (kind) => {
    await using other = await openTestGateway({
      database: gateway.database,
      environment: { ...environment, GRAPHIQL: kind === 'graphiql' ? 'on' : 'off' },
    });
    const server = await listen(other.gateway, { host: '127.0.0.1', port: 0, noticeMs: 0 });
    try {
      for (const [route, expected] of Object.entries(openRoutes)) {
        if (expected[kind] === undefined) continue;
        for (const [keyName, key] of Object.entries(keys)) {
          const [method = '', path = ''] = route.split(' ');
          // Not compressed, because the page of GraphiQL is large.
          const headers = {
            accept: 'text/html',
            'accept-encoding': 'identity',
            ...(key !== null && { 'x-api-key': key }),
          };
          // oxlint-disable-next-line no-await-in-loop -- one after the other
          const reply = await fetch(server.url + path, { method, headers });
          // oxlint-disable-next-line no-await-in-loop -- see above
          const body = Buffer.from(await reply.arrayBuffer());
          expect([route, keyName, reply.status]).toEqual([route, keyName, expected[kind]]);
          const secrets = [own, sibling, foreign].flatMap(({ id, number }) => [id, number]);
          secrets.push(own.phoneNumberId, 'Own number', 'Foreign number', ...(key ? [key] : []));
          // `not.toContain` would print the whole page.
          expect(secrets.filter((secret) => body.includes(secret))).toEqual([]);
        }
      }
    } finally {
      await server.drain();
    }
  });
});

// At the end, because the reads go on while further tests run.
describe.each(refreshing)('%s', (name) => {
  const send = async (keyName: string, id?: string) => {
    const { reply } = await sendAndObserve(name, keyName, id);
    const { data } = reply.body as { readonly data?: { readonly refreshNumbers: object } };
    return { reply, receipt: data?.refreshNumbers ?? reply.body };
  };

  test.each(operating)('%s: has the number read', async (keyName) => {
    const { receipt } = await send(keyName);
    expect(receipt).toMatchObject({ acceptedCount: 1, skipped: [] });
  });

  test('operating key of another number: forbidden', async () => {
    const { receipt } = await send('operating key of another number');
    const skipped = [{ id: own.id, reason: 'FORBIDDEN' }];
    expect(receipt).toMatchObject({ acceptedCount: 0, skipped, plannedCalls: 0 });
  });

  test('a number of another tenant is answered like one that does not exist', async () => {
    const random = `wa_${'0123456789abcdef'.repeat(2)}`;
    // The cursor says when it was asked.
    const toAnswer = ({ reply }: Awaited<ReturnType<typeof send>>, id: string) => [
      reply.status,
      reply.text.replaceAll(id, 'ID').replace(/c1\.\w+\.\d+/, 'CURSOR'),
    ];
    const ofForeign = await send('operating key', foreign.id);
    const ofRandom = await send('operating key', random);
    expect(toAnswer(ofForeign, foreign.id)).toEqual(toAnswer(ofRandom, random));
    const { receipt } = await send('other tenant’s operating key');
    const skipped = [{ id: own.id, reason: 'NUMBER_NOT_FOUND' }];
    expect(receipt).toMatchObject({ acceptedCount: 0, skipped });
  });
});
