// Random fleets and filters, and what a fleet must show, computed one number after the other from the list of all numbers.

import * as fc from 'fast-check';
import { judgePhone } from '../../src/numbers/phone-reasons.ts';
import { type MetaPhone, toMetaBlock, toStoredBlock } from '../../src/numbers/meta.ts';
import { toPlainFailure, type UpstreamFailure } from '../../src/numbers/provider.ts';
import { vocabularies } from '../../src/numbers/vocabulary.ts';
import type { TestDatabase } from '../harness.ts';

export const now = new Date('2026-11-29T12:00:00.000Z');

const agoMs = fc.constantFrom(
  0,
  1_000,
  60_000,
  3_600_000,
  3_600_999,
  3_601_000,
  3_601_001,
  90_000_000,
);
const ago = agoMs.map((ms) => new Date(now.getTime() - ms).toISOString());

const words = (name: 'QualityRating' | 'MetaStatus' | 'MessagingLimitTier') =>
  fc.oneof(
    fc.constantFrom(...Object.keys(vocabularies[name].words)),
    fc.constantFrom('connected', 'TURQUOISE', 'UNRECOGNIZED', 'a|b', '', null),
  );

const entity = fc.record({
  entityType: fc.constantFrom('PHONE_NUMBER', 'WABA', 'BUSINESS', 'APP', 'FLOW', 'NEW'),
  id: fc.constantFrom('31', '32', 'not an id', null),
  canSendMessage: fc.constantFrom(
    'AVAILABLE',
    'AVAILABLE',
    'AVAILABLE',
    'LIMITED',
    'BLOCKED',
    null,
  ),
  additionalInfo: fc.constant([]),
  errors: fc.array(
    fc.record({
      code: fc.constantFrom(138_024, 141_006, 1, null),
      description: fc.constant(null),
      possibleSolution: fc.constant(null),
    }),
    { maxLength: 2 },
  ),
});

const phone: fc.Arbitrary<MetaPhone> = fc
  .record({
    verifiedName: fc.constantFrom('Lucky Shrub', 'LUCKY', 'Ação', null),
    qualityRating: words('QualityRating'),
    messagingLimitTier: words('MessagingLimitTier'),
    status: fc.oneof(words('MetaStatus'), fc.constant('CONNECTED')),
    platformType: fc.constantFrom(
      'CLOUD_API',
      'CLOUD_API',
      'CLOUD_API',
      'ON_PREMISE',
      'NOT_APPLICABLE',
      null,
    ),
    healthStatus: fc.option(
      fc.record({
        canSendMessage: fc.constant('AVAILABLE'),
        entities: fc.array(entity, { maxLength: 4 }),
      }),
    ),
  })
  .map((members) => Object.assign(toMetaBlock('phone', {}), members));

const failure: fc.Arbitrary<UpstreamFailure | null> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  fc
    .record({
      code: fc.constantFrom(
        'META_UNAVAILABLE',
        'META_ACCESS_DENIED',
        'META_TIMEOUT',
        'UNAVAILABLE',
      ),
      metaCode: fc.constantFrom(null, 33, 190, 368, 130_497, 131_031),
    })
    .map(({ code, metaCode }) => Object.assign(toPlainFailure(code, false, 'No.'), { metaCode })),
);

/** A stored block. It was read, or an attempt failed, or both. */
function blockOf<T>(data: fc.Arbitrary<T>) {
  const read = fc.record({
    data,
    observedAt: ago,
    attemptedAt: fc.constant(now.toISOString()),
    failure,
    obstacle: fc.option(
      fc
        .constantFrom('META_ACCESS_DENIED' as const, 'UNAVAILABLE' as const)
        .map((code) => toPlainFailure(code, false, 'No token, or no instance name.')),
      { freq: 6 },
    ),
  });
  return fc.option(
    fc.oneof(
      { weight: 5, arbitrary: read },
      read.map((it) =>
        Object.assign(it, { data: null, observedAt: null, failure: it.failure ?? aFailure }),
      ),
    ),
    { freq: 8 },
  );
}

const aFailure = toPlainFailure('META_TIMEOUT', true, 'No.');

const labels = ['team=a', 'team=b', 'Z=1', 'região=são paulo', 'a="\\{}'];

const number = fc.record({
  provider: fc.constantFrom('META', 'META', 'META', 'PILOT_STATUS'),
  state: fc.constantFrom('OPEN', 'OPEN', 'OPEN', 'CONNECTING', 'CLOSE'),
  name: fc.constantFrom(
    'Shop',
    'shop',
    'SHOP 2',
    'Ácido',
    'acido',
    'João  da\tSilva',
    'Loja 24/7',
    '東京',
    '😀 a',
    'x'.repeat(900),
  ),
  labels: fc.uniqueArray(fc.constantFrom(...labels), { maxLength: 3 }),
  digits: fc.constantFrom('5511999', '5511888', '4930123', '24000', '247000'),
  waba: fc.constantFrom('10001', '10002', '10003', '10004'),
  createdAt: ago,
  /** Null: since the number was added. */
  stateObservedAt: fc.option(ago),
  phone: blockOf(phone),
  profile: blockOf(fc.constant({ about: 'x' })),
  connection: blockOf(
    fc.constantFrom({ state: 'OPEN' }, { state: 'CLOSE', instanceExists: false }),
  ),
  /** Of the read of the account with the credentials of this number. */
  accountFailure: fc.option(fc.record({ attemptedAt: ago, failure: fc.constant(aFailure) }), {
    freq: 3,
  }),
});
export type RandomNumber = typeof number extends fc.Arbitrary<infer T> ? T : never;

const account = fc.option(
  fc.record({
    observedAt: ago,
    name: fc.constantFrom('Main', 'Second', null),
    ownerBusinessId: fc.constantFrom('31', '32', '33', null, 'x'),
    ownerBusinessName: fc.constantFrom('Holding', null),
  }),
  { freq: 4 },
);

/** What webhooks have announced of an account: from what it is restricted, and what that means. */
const restriction = fc.constantFrom(
  null,
  null,
  { effect: 'START', kinds: ['RESTRICTED_BIZ_INITIATED_MESSAGING'] },
  { effect: 'REPLIES', kinds: ['RESTRICTED_CUSTOMER_INITIATED_MESSAGING'] },
  {
    effect: 'BOTH',
    kinds: ['RESTRICTED_CUSTOMER_INITIATED_MESSAGING', 'RESTRICTED_BIZ_INITIATED_MESSAGING'],
  },
  { effect: 'INFORMS', kinds: ['RESTRICTED_UTILITY_TEMPLATES'] },
);

export const fleet = fc.record({
  numbers: fc.array(number, { maxLength: 20 }),
  accounts: fc.record({ 10001: account, 10002: account, 10003: account, 10004: account }),
  restrictions: fc.record({ 10001: restriction, 10002: restriction, 10003: restriction }),
});
export type RandomFleet = typeof fleet extends fc.Arbitrary<infer T> ? T : never;

export const toId = (tenantId: string, at: number) =>
  `wa_${tenantId}_${String(at).padStart(2, '0')}`;

const toListed = (kind: string) => ({ kind, expiresAt: null, remediation: null });

/** Stores a fleet as other software would: the gateway has to derive its status. */
export async function storeFleet(
  database: TestDatabase,
  tenantId: string,
  { numbers, accounts, restrictions }: RandomFleet,
): Promise<void> {
  const rows = numbers.map((it, at) => ({
    ...it,
    id: toId(tenantId, at),
    stateObservedAt: it.stateObservedAt ?? it.createdAt,
    place: String(10_000 + at),
  }));
  const insert = (text: string, values: unknown) =>
    database.query(text, [tenantId, JSON.stringify(values)]);
  await insert(
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state, state_observed_at, created_at,
       updated_at, labels, phone_number_id, waba_id, instance_name)
     select $1, id, digits, name, provider, state, "stateObservedAt", "createdAt", "createdAt",
       array(select jsonb_array_elements_text(labels)), case provider when 'META' then place end, case provider when 'META' then waba end,
       case provider when 'META' then null else id end
     from jsonb_to_recordset($2::jsonb) as r(id text, digits text, labels jsonb, name text, provider text, state text,
       "stateObservedAt" timestamptz, "createdAt" timestamptz, place text, waba text)`,
    rows,
  );
  const blocks = rows.flatMap((row) => {
    const names =
      row.provider === 'META' ? (['phone', 'profile'] as const) : (['connection'] as const);
    const own = names.flatMap((block) => (row[block] === null ? [] : [{ block, ...row[block] }]));
    const ofAccount =
      row.provider === 'META' && row.accountFailure !== null
        ? [{ block: 'waba', data: null, observedAt: null, ...row.accountFailure }]
        : [];
    return [...own, ...ofAccount].map((it) => Object.assign({ id: row.id }, it));
  });
  await insert(
    `insert into number_snapshot (tenant_id, number_id, block, data, observed_at, attempted_at, failure,
       obstacle, obstacle_at)
     select $1, id, block, data, "observedAt", "attemptedAt", failure, obstacle, "attemptedAt"
     from jsonb_to_recordset($2::jsonb) as r(id text, block text, data jsonb, "observedAt" timestamptz,
       "attemptedAt" timestamptz, failure jsonb, obstacle jsonb)`,
    blocks,
  );
  await insert(
    `insert into waba_snapshot (tenant_id, waba_id, data, observed_at, attempted_at)
     select $1, id, data, "observedAt", "observedAt"
     from jsonb_to_recordset($2::jsonb) as r(id text, data jsonb, "observedAt" timestamptz)`,
    Object.entries(accounts).flatMap(([id, it]) =>
      it === null ? [] : [{ id, data: it, observedAt: it.observedAt }],
    ),
  );
  await insert(
    `insert into account_notice (tenant_id, waba_id, notices, effect)
     select $1, id, jsonb_build_object('restrictions', jsonb_build_object('reportedAt', '2026-11-28T00:00:00.000Z',
       'digest', '', 'value', listed)), effect
     from jsonb_to_recordset($2::jsonb) as r(id text, listed jsonb, effect text)`,
    Object.entries(restrictions).flatMap(([id, it]) => {
      return it === null ? [] : [{ id, listed: it.kinds.map(toListed), effect: it.effect }];
    }),
  );
}

/** What GraphQL shows of a number, and what only the database knows of it. */
export interface ShownNumber {
  readonly id: string;
  readonly number: string;
  readonly name: string;
  readonly provider: string;
  readonly state: string;
  readonly createdAt: string;
  readonly labels: readonly string[];
  readonly health: {
    readonly qualityRating: string | null;
    readonly metaStatus: string | null;
    readonly messagingLimitTier: string | null;
    readonly sendability: { readonly verdict: string; readonly replyVerdict: string };
    readonly freshness: ShownFreshness | null;
  };
  readonly meta: {
    readonly phone: {
      readonly verifiedName: string | null;
      readonly freshness: ShownFreshness;
    } | null;
    readonly profile: { readonly freshness: ShownFreshness } | null;
    readonly waba: { readonly name: string | null; readonly freshness: ShownFreshness } | null;
  } | null;
  readonly portfolio: { readonly id: string; readonly name: string | null } | null;
}

interface ShownFreshness {
  readonly observedAt: string | null;
  readonly stale: boolean;
  readonly error: { readonly code: string; readonly metaCode: number | null } | null;
}

const freshness = 'freshness { observedAt stale error { code metaCode } }';
export const shownFields = `id number name provider state createdAt labels
  health { qualityRating metaStatus messagingLimitTier sendability { verdict replyVerdict } ${freshness} }
  meta { phone { verifiedName ${freshness} } profile { ${freshness} } waba { name ${freshness} } }
  portfolio { id name }`;

/** All that a number is filtered, ordered and counted by. */
export interface Facts {
  readonly id: string;
  readonly shown: ShownNumber;
  readonly searched: readonly string[];
  readonly values: Readonly<Record<string, string | readonly string[] | null>>;
  readonly flags: Readonly<Record<'stale' | 'failing' | 'restricted', boolean>>;
  readonly changedAt: readonly string[];
  readonly keys: Readonly<Record<string, readonly (number | string)[]>>;
}

/** The oldest possible time. */
const never = '';

export function toFacts(
  shown: ShownNumber,
  stored: RandomNumber,
  { accounts, restrictions }: Pick<RandomFleet, 'accounts' | 'restrictions'>,
  verdictChangedAt: string,
  hasEngine: boolean,
): Facts {
  const { health, meta, provider } = shown;
  const isMeta = provider === 'META';
  const isRead = isMeta || hasEngine;
  const observedAt = health.freshness?.observedAt ?? null;
  const stale = isRead && (health.freshness?.stale ?? true);
  const failures = isMeta ? [stored.phone, stored.profile] : [stored.connection];
  const hasFailed = failures.some((it) => (it?.failure ?? it?.obstacle ?? null) !== null);
  const accountReadAt = accounts[stored.waba as keyof typeof accounts]?.observedAt ?? never;
  const accountFailedAt = isMeta ? (stored.accountFailure?.attemptedAt ?? never) : never;
  const isAccountFailing = accountFailedAt > accountReadAt;
  const failing = isAccountFailing || (isRead && hasFailed);
  const storedPhone = isMeta ? (stored.phone?.data ?? null) : null;
  const judged =
    storedPhone === null ? null : judgePhone(toStoredBlock('phone', { ...storedPhone }));
  const isFound = [33, 368, 131_031].includes(failures[0]?.failure?.metaCode ?? 0);
  const { metaStatus, qualityRating } = health;
  const restricted = restrictions[stored.waba as keyof typeof restrictions] ?? null;
  const effect = isMeta ? (restricted?.effect ?? null) : null;
  const isBlockedByRead =
    judged?.verdict === 'NO' && (metaStatus !== 'RESTRICTED' || judged.replyVerdict === 'NO');
  const steps = [
    isFound || metaStatus === 'BANNED',
    shown.state !== 'OPEN' || effect === 'BOTH' || isBlockedByRead,
    metaStatus === 'RESTRICTED' || effect !== null,
    qualityRating === 'RED',
    isAccountFailing || hasFailed,
    metaStatus === 'FLAGGED' || qualityRating === 'YELLOW',
    true,
  ];
  // Evidence that has expired changes a verdict that was not UNKNOWN and that nothing else decides.
  const refused = (isMeta ? [stored.phone] : [stored.connection]).some(
    (it) => isRefused(it?.failure) || isRefused(it?.obstacle),
  );
  const expires = (verdict: string | undefined, decided: string) =>
    effect !== decided &&
    effect !== 'BOTH' &&
    (verdict === 'NO' || (!refused && (isMeta ? (verdict ?? 'UNKNOWN') : 'YES') !== 'UNKNOWN'));
  const expiredAt =
    observedAt === null ? null : new Date(Date.parse(observedAt) + 3_601_000).toISOString();
  const hasExpired =
    stale &&
    expiredAt !== null &&
    shown.state === 'OPEN' &&
    !isFound &&
    (expires(judged?.verdict, 'START') || expires(judged?.replyVerdict, 'REPLIES'));
  // Without a session engine, the time of a state is stored and not shown.
  const stateObservedAt = stored.stateObservedAt ?? stored.createdAt;
  const isStateObserved =
    stateObservedAt > stored.createdAt || (stored.connection?.observedAt ?? null) !== null;
  const observed = isRead ? (observedAt ?? never) : isStateObserved ? stateObservedAt : never;
  return {
    id: shown.id,
    shown,
    searched: [
      toFolded(shown.name),
      toFolded((isMeta && meta?.phone?.verifiedName) || ''),
      shown.number,
    ],
    values: {
      ids: shown.id,
      providers: provider,
      states: shown.state,
      verdicts: health.sendability.verdict,
      replyVerdicts: health.sendability.replyVerdict,
      qualityRatings: qualityRating,
      metaStatuses: metaStatus,
      messagingLimitTiers: health.messagingLimitTier,
      wabaIds: isMeta ? stored.waba : null,
      portfolioIds: shown.portfolio?.id ?? null,
      labels: shown.labels,
    },
    flags: { stale, failing, restricted: metaStatus === 'RESTRICTED' || effect !== null },
    changedAt: [verdictChangedAt, ...(hasExpired ? [expiredAt] : [])],
    keys: {
      ATTENTION: [steps.indexOf(true), observed],
      NAME: [Buffer.from(toFolded(shown.name).slice(0, 200)).toString('hex')],
      CREATED_AT: [shown.createdAt],
      VERDICT_CHANGED_AT: [verdictChangedAt],
      OBSERVED_AT: [observed],
    },
  };
}

function isRefused(error: UpstreamFailure | null | undefined): boolean {
  return error?.code === 'META_ACCESS_DENIED' && ![33, 368, 131_031].includes(error.metaCode ?? 0);
}

const plain: Readonly<Record<string, string>> = { á: 'a', ã: 'a', ç: 'c' };

function toFolded(text: string): string {
  const lower = [...text.toLowerCase()].map((letter) => plain[letter] ?? letter).join('');
  return lower.split(/\s+/).join(' ').trim();
}

export type Conditions = Readonly<Record<string, readonly string[] | boolean | string>>;
export type Filter = Conditions & { readonly not?: Conditions };

const listOf = (...values: readonly string[]) =>
  fc.uniqueArray(fc.constantFrom(...values), { maxLength: 3 });
const conditions: fc.Arbitrary<Conditions> = fc.record(
  {
    search: fc.constantFrom(
      'shop',
      'SHOP',
      '  a',
      'ção',
      'joao da',
      '+55 11',
      '24',
      '(4930)',
      '24/7',
      'lucky',
      '%',
      '_',
      'zzz',
      '东',
    ),
    ids: listOf('0', '1', '2', '3', '7', '19'),
    providers: listOf('META', 'PILOT_STATUS'),
    states: listOf('OPEN', 'CLOSE', 'CONNECTING'),
    verdicts: listOf('YES', 'NO', 'UNKNOWN'),
    replyVerdicts: listOf('YES', 'NO', 'UNKNOWN'),
    qualityRatings: listOf('GREEN', 'YELLOW', 'RED', 'UNKNOWN', 'UNRECOGNIZED'),
    metaStatuses: listOf('CONNECTED', 'FLAGGED', 'RESTRICTED', 'BANNED', 'PENDING', 'UNRECOGNIZED'),
    messagingLimitTiers: listOf('TIER_250', 'TIER_2K', 'UNRECOGNIZED'),
    wabaIds: listOf('10001', '10002', '10003', '5'),
    portfolioIds: listOf('31', '32', '33', '5'),
    labels: listOf(...labels, 'none=x'),
    stale: fc.boolean(),
    failing: fc.boolean(),
    restricted: fc.boolean(),
    changedSince: ago,
  },
  { requiredKeys: [] },
);
/** Few members, or hardly any number would match. */
const fewConditions = fc
  .tuple(conditions, fc.uniqueArray(fc.nat(15), { maxLength: 3 }))
  .map(
    ([all, kept]) =>
      Object.fromEntries(Object.entries(all).filter((_, at) => kept.includes(at))) as Conditions,
  );

export const query = fc.record({
  filter: fc
    .tuple(fewConditions, fc.option(fewConditions, { freq: 2 }))
    .map(([is, not]) => (not === null ? is : Object.assign({}, is, { not })) as Filter),
  orderBy: fc.record({
    field: fc.constantFrom('ATTENTION', 'NAME', 'CREATED_AT', 'VERDICT_CHANGED_AT', 'OBSERVED_AT'),
    direction: fc.constantFrom('ASC', 'DESC'),
  }),
  size: fc.integer({ min: 1, max: 25 }),
});
export type RandomQuery = typeof query extends fc.Arbitrary<infer T> ? T : never;

/** Ids in a filter are places in the fleet. */
export function withIds(filter: Filter, tenantId: string): Filter {
  const convert = ({ ids, ...others }: Conditions): Conditions =>
    ids === undefined
      ? others
      : { ...others, ids: (ids as readonly string[]).map((at) => toId(tenantId, Number(at))) };
  const { not, ...is } = filter;
  return { ...convert(is), ...(not !== undefined && { not: convert(not) }) } as Filter;
}

/** Whether a number matches all members, but for the one that a facet ignores. */
export function matches(
  facts: Facts,
  { not, ...is }: Filter,
  ignored: string | null = null,
): boolean {
  const isMatched = ([member, value]: readonly [string, unknown]) =>
    matchesMember(facts, member, value);
  const isLeftOut =
    not !== undefined && Object.keys(not).length > 0 && Object.entries(not).every(isMatched);
  return Object.entries(is).every((it) => it[0] === ignored || isMatched(it)) && !isLeftOut;
}

function matchesMember(facts: Facts, member: string, value: unknown): boolean {
  if (member === 'search') {
    const text = String(value);
    const digits = /^[\d\s+()./-]+$/.test(text) ? text.replaceAll(/\D/g, '') : toFolded(text);
    return [digits, toFolded(text)].some((term) =>
      facts.searched.some((searched) => searched.slice(0, 500).includes(term)),
    );
  }
  if (member === 'changedSince') return facts.changedAt.some((at) => at >= String(value));
  if (typeof value === 'boolean') return facts.flags[member as 'stale'] === value;
  return valuesOf(facts, member).some((own) => (value as readonly string[]).includes(own));
}

/** A number has several labels, and at most one of every other value. */
function valuesOf({ values }: Facts, member: string): readonly string[] {
  const value = values[member] ?? [];
  return typeof value === 'string' ? [value] : value;
}

/** In the order of a query. */
export function sort(
  all: readonly Facts[],
  { field, direction }: RandomQuery['orderBy'],
): readonly Facts[] {
  const compare = (one: Facts, other: Facts) => {
    const pairs = [...one.keys[field]!, one.id].map(
      (key, at) => [key, [...other.keys[field]!, other.id][at]!] as const,
    );
    const [a, b] = pairs.find(([left, right]) => left !== right) ?? [0, 0];
    return a < b ? -1 : a > b ? 1 : 0;
  };
  const ascending = all.toSorted(compare);
  return (direction === 'ASC') === (field !== 'ATTENTION') ? ascending : ascending.toReversed();
}

export interface Count {
  readonly value: string;
  readonly count: number;
}

export function countBy(all: readonly Facts[], member: string): readonly Count[] {
  const groups = Map.groupBy(
    all.flatMap((it) => valuesOf(it, member)),
    (value) => value,
  );
  return [...groups]
    .map(([value, { length: count }]) => ({ value, count }))
    .toSorted((a, b) => b.count - a.count || (a.value < b.value ? -1 : 1));
}
