// The GraphQL operations of the board, and the types of what they return.

import { run } from './api.ts';
import { type Incident, incidentFields, type IncidentMark } from './incident-queries.ts';

export type Verdict = 'YES' | 'NO' | 'UNKNOWN';

export interface Reason {
  readonly entity: string;
  readonly field: string;
  readonly value: string | null;
  readonly code: number | null;
  readonly effect: 'BLOCKS' | 'INCONCLUSIVE' | 'INFORMS';
  readonly scope: 'ALL' | 'BUSINESS_INITIATED' | 'REPLIES';
  readonly text: string;
  readonly solution: string | null;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly metaCode: number | null;
  readonly retryAt: string | null;
}

export interface Freshness {
  readonly observedAt: string | null;
  readonly attemptedAt: string | null;
  readonly stale: boolean;
  readonly error: Failure | null;
  /** When it is read next in the background; null if nothing is planned. */
  readonly nextSyncAt: string | null;
}

/** What Meta restricts an account from. */
export interface Restriction {
  readonly type: string;
  readonly typeRaw: string;
  readonly expiresAt: string | null;
  readonly remediation: string | null;
}

export interface Named {
  readonly id: string;
  readonly name: string | null;
}

/** A number as a row shows it. */
export interface FleetNumber {
  readonly id: string;
  readonly name: string;
  readonly number: string;
  readonly provider: 'META' | 'PILOT_STATUS';
  readonly state: string;
  readonly health: {
    readonly qualityRating: string | null;
    readonly qualityRatingRaw: string | null;
    readonly messagingLimitTier: string | null;
    readonly messagingLimitTierRaw: string | null;
    readonly metaStatus: string | null;
    readonly metaStatusRaw: string | null;
    readonly sendability: {
      readonly verdict: Verdict;
      readonly replyVerdict: Verdict;
      readonly reasons: readonly Reason[];
    };
    readonly freshness: Freshness | null;
  };
  readonly meta: {
    readonly phone: {
      readonly displayPhoneNumber: string | null;
      readonly verifiedName: string | null;
    } | null;
    readonly waba: (Named & { readonly restrictions: readonly Restriction[] }) | null;
  } | null;
  readonly portfolio: Named | null;
  readonly incident: IncidentMark | null;
  readonly labels: readonly string[];
  readonly mutedUntil: string | null;
  readonly muteNote: string | null;
}

export interface Counted<Value extends string = string> {
  readonly value: Value;
  readonly count: number;
}

export interface CountedPlace extends Named {
  readonly count: number;
}

export interface Facets {
  readonly verdict: readonly Counted<Verdict>[];
  readonly qualityRating: readonly Counted[];
  readonly stale: number;
  readonly failing: number;
  readonly restricted: number;
  readonly waba: readonly CountedPlace[];
  readonly portfolio: readonly CountedPlace[];
  readonly label: readonly Counted[];
}

export interface PageInfo {
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  readonly startCursor: string | null;
  readonly endCursor: string | null;
}

/** Whose data the key reads, and what it allows. */
export interface Viewer {
  readonly tenantName: string;
  readonly scopes: readonly string[];
  /** Null for a key of the whole tenant; otherwise the only number that it can change. */
  readonly numberId: string | null;
}

export interface FleetPage {
  readonly viewer: Viewer;
  readonly openIncidents: { readonly totalCount: number };
  /** Without a filter. */
  readonly whole: {
    readonly totalCount: number;
    readonly feedCursor: string;
    readonly facets: { readonly verdict: readonly Counted<Verdict>[] };
  };
  readonly page: {
    readonly totalCount: number;
    readonly asOf: string;
    readonly feedCursor: string;
    readonly facets: Facets;
    readonly nodes: readonly FleetNumber[];
    readonly pageInfo: PageInfo;
  };
}

export type FleetFilter = Readonly<Record<string, unknown>>;

/** How many rows a page has. */
export const pageSize = 100;

const freshness = `freshness { observedAt attemptedAt stale nextSyncAt error { code message metaCode retryAt } }`;

const rowFields = `fragment Row on WhatsAppNumber {
  id name number provider state
  health {
    qualityRating qualityRatingRaw messagingLimitTier messagingLimitTierRaw metaStatus metaStatusRaw
    sendability { verdict replyVerdict reasons { entity field value code effect scope text solution } }
    ${freshness}
  }
  meta {
    phone { displayPhoneNumber verifiedName }
    waba { id name restrictions { type typeRaw expiresAt remediation } }
  }
  portfolio { id name }
  incident { id severity acknowledgedAt }
  labels mutedUntil muteNote
}`;

const fleetQuery = `query BoardFleet($filter: FleetFilter, $orderBy: FleetOrder, $first: Int, $after: String, $last: Int, $before: String, $isPart: Boolean!) {
  viewer { tenantName scopes numberId }
  openIncidents: incidents(state: OPEN, first: 1) { totalCount }
  whole: fleet @include(if: $isPart) { totalCount feedCursor facets { verdict { value count } } }
  page: fleet(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    totalCount asOf feedCursor
    facets {
      verdict { value count } qualityRating { value count } stale failing restricted
      waba(first: 100) { id name count } portfolio(first: 100) { id name count }
      label(first: 100) { value count }
    }
    nodes { ...Row }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
${rowFields}`;

export interface FleetRequest {
  readonly filter: FleetFilter;
  readonly orderBy: { readonly field: string; readonly direction: string };
  readonly after: string | null;
  readonly before: string | null;
}

export async function readFleet(
  key: string,
  { filter, orderBy, after, before }: FleetRequest,
  signal?: AbortSignal,
): Promise<FleetPage> {
  const window = before === null ? { first: pageSize, after } : { last: pageSize, before };
  // A later page is of the time of the first one.
  const isPart = Object.keys(filter).length > 0 || after !== null || before !== null;
  const variables = { filter, orderBy, ...window, isPart };
  const operation = { query: fleetQuery, variables, ...(signal && { signal }) };
  const { data } = await run<Unfiltered<FleetPage>>(key, operation);
  return { ...data, whole: data.whole ?? data.page };
}

/** The first page without a filter counts the whole fleet. */
type Unfiltered<Page extends FleetPage> = Omit<Page, 'whole'> & Partial<Pick<Page, 'whole'>>;

/** What a cause is made of, of one number that cannot send, or of which it is unknown whether it can. */
export type Troubled = Pick<FleetNumber, 'id' | 'name'> & {
  readonly health: Pick<FleetNumber['health'], 'sendability' | 'freshness'>;
  readonly meta: { readonly waba: Named | null } | null;
};

export interface TroubledPage {
  readonly fleet: {
    readonly nodes: readonly Troubled[];
    readonly pageInfo: Pick<PageInfo, 'hasNextPage' | 'endCursor'>;
  };
}

const troubledQuery = `query BoardCauses($after: String) {
  fleet(filter: { verdicts: [NO, UNKNOWN] }, first: 200, after: $after) {
    nodes {
      id name
      health {
        sendability { verdict replyVerdict reasons { entity field value code effect scope text solution } }
        ${freshness}
      }
      meta { waba { id name } }
    }
    pageInfo { hasNextPage endCursor }
  }
}`;

export async function readTroubled(
  key: string,
  after: string | null,
  signal: AbortSignal,
): Promise<TroubledPage['fleet']> {
  const { data } = await run<TroubledPage>(key, {
    query: troubledQuery,
    variables: { after },
    signal,
  });
  return data.fleet;
}

export interface Span {
  readonly value: string | null;
  readonly from: string;
  readonly to: string;
  readonly certainty: 'OBSERVED' | 'UNOBSERVED';
}

const stripsQuery = `query BoardStrips($ids: [ID!]!, $from: DateTime!) {
  numbers(ids: $ids) { id timeline(field: VERDICT, from: $from) { value from to certainty } }
}`;

export async function readStrips(
  key: string,
  ids: readonly string[],
  from: Date,
): Promise<ReadonlyMap<string, readonly Span[]>> {
  const { data } = await run<{
    readonly numbers: readonly { readonly id: string; readonly timeline: readonly Span[] }[];
  }>(key, { query: stripsQuery, variables: { ids, from: from.toISOString() } });
  return new Map(data.numbers.map(({ id, timeline }) => [id, timeline]));
}

/** The way of Meta's webhooks about an account. */
export interface WebhookRoute {
  readonly expectedUrl: string | null;
  readonly actualUrl: string | null;
  readonly lastEventAt: string | null;
  readonly lastEventField: string | null;
  readonly verdict: 'RECEIVING' | 'SILENT' | 'MISROUTED' | 'UNKNOWN';
}

export interface Change {
  readonly cursor: string;
  readonly numberId: string | null;
  readonly wabaId: string | null;
  readonly kind: string;
  readonly field: string | null;
  readonly previousValue: string | null;
  readonly newValue: string | null;
  readonly source: string;
  readonly occurredAt: string;
}

/** Everything about one number. */
export interface NumberDetail extends Omit<FleetNumber, 'meta' | 'incident'> {
  readonly incident: Incident | null;
  readonly instanceName: string | null;
  readonly meta: {
    readonly phone: {
      readonly displayPhoneNumber: string | null;
      readonly verifiedName: string | null;
      readonly nameStatusRaw: string | null;
      readonly throughputLevelRaw: string | null;
      readonly isPinEnabled: boolean | null;
      readonly freshness: Freshness;
    } | null;
    readonly profile: { readonly freshness: Freshness } | null;
    readonly webhook: WebhookRoute | null;
    readonly waba:
      | (Named & {
          readonly freshness: Freshness;
          readonly restrictions: readonly Restriction[];
        })
      | null;
  } | null;
  readonly timeline: readonly Span[];
  readonly availability: { readonly sendableShare: number | null; readonly observedShare: number };
  readonly history: {
    readonly nodes: readonly Change[];
    readonly pageInfo: { readonly hasNextPage: boolean };
  };
}

const changeFields = `cursor numberId wabaId kind field previousValue newValue source occurredAt`;

const detailFields = `fragment Detail on WhatsAppNumber {
  ...Row
  instanceName
  incident { ${incidentFields} }
  meta {
    phone { nameStatusRaw throughputLevelRaw isPinEnabled ${freshness} }
    profile { ${freshness} }
    waba { ${freshness} }
    webhook { expectedUrl actualUrl lastEventAt lastEventField verdict }
  }
}`;

const detailQuery = `query BoardNumber($id: ID!, $from: DateTime!, $changes: Int!) {
  number(id: $id) {
    ...Detail
    timeline(field: VERDICT, from: $from) { value from to certainty }
    availability(days: 30) { sendableShare observedShare }
    history(first: $changes) { nodes { ${changeFields} } pageInfo { hasNextPage } }
  }
}
${detailFields}
${rowFields}`;

export async function readNumber(
  key: string,
  { id, from, changes }: { readonly id: string; readonly from: Date; readonly changes: number },
  signal: AbortSignal,
): Promise<NumberDetail> {
  const variables = { id, from: from.toISOString(), changes };
  const { data } = await run<{ readonly number: NumberDetail }>(key, {
    query: detailQuery,
    variables,
    signal,
  });
  return data.number;
}

const refreshQuery = `query BoardRefresh($id: ID!) {
  number(id: $id, refresh: true) { meta { phone { verifiedName } profile { about } waba { name } } state }
}`;

/** Reads every block from WhatsApp. */
export async function refreshNumber(key: string, id: string) {
  return await run<unknown>(key, { query: refreshQuery, variables: { id }, isCostWanted: true });
}

/** The live feed. `after` is null for one that begins now. */
export const changesSubscription = `subscription BoardChanges($after: String) {
  changes(after: $after) { cursor changes { ${changeFields} } }
}`;

export interface ChangePage {
  readonly cursor: string;
  readonly changes: readonly Change[];
}
