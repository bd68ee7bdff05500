// The counts behind the metric gateway_numbers: they agree with the verdicts that callers get, and one process counts at a time.

import { expect, test } from 'vitest';
import { rulesVersion } from '../../src/numbers/phone-reasons.ts';
import { startVerdictCounting } from '../../src/numbers/verdict-counts.ts';
import { countVerdictsAcrossTenants, type VerdictCounts } from '../../src/numbers/verdict-store.ts';
import { databases, openTestDatabase, openTestGateway, type TestDatabase } from '../harness.ts';

const entity = (canSendMessage: string) => ({
  entityType: 'WABA',
  id: '1',
  canSendMessage,
  additionalInfo: [],
  errors: [],
});
const phone = { status: 'CONNECTED', platformType: 'CLOUD_API' };
const health = (word: string) => ({ canSendMessage: word, entities: [entity(word)] });

/** Blocks as the gateway stores them: what the data support, and the last verdict that a read supported. */
const evidence = [
  { verdict: 'YES', judged: ['YES', 'YES'], data: { ...phone, healthStatus: health('AVAILABLE') } },
  {
    verdict: 'NO',
    judged: ['NO', 'YES'],
    data: { ...phone, status: 'RESTRICTED', healthStatus: health('AVAILABLE') },
  },
  { verdict: 'NO', judged: ['NO', 'NO'], data: { ...phone, healthStatus: health('BLOCKED') } },
  { verdict: 'YES', judged: ['UNKNOWN', 'UNKNOWN'], data: { ...phone, healthStatus: null } },
  { verdict: null, judged: [null, null], data: null },
] as const;

const failures = [
  null,
  { code: 'META_TIMEOUT', metaCode: null },
  { code: 'META_ACCESS_DENIED', metaCode: null },
  { code: 'META_ACCESS_DENIED', metaCode: 190 },
  { code: 'META_NUMBER_MISSING', metaCode: 33 },
  { code: 'META_ACCESS_DENIED', metaCode: 368 },
  { code: 'META_RATE_LIMITED', metaCode: 368 },
  { code: 'META_ACCESS_DENIED', metaCode: 130_497 },
  { code: 'META_UNAVAILABLE', metaCode: 131_031 },
  { code: 'ENGINE_ACCESS_DENIED', metaCode: null },
  { code: 'ENGINE_INVALID_RESPONSE', metaCode: null },
];

/** Why a newer attempt than the last one could not be made; `isPast`: one was made since. */
const obstacles = [
  null,
  { code: 'META_ACCESS_DENIED', metaCode: null, isPast: false },
  { code: 'META_NUMBER_MISSING', metaCode: null, isPast: false },
  { code: 'META_NUMBER_MISSING', metaCode: null, isPast: true },
  { code: 'UNAVAILABLE', metaCode: null, isPast: false },
];

const withObstacles = [null, failures[1]!, failures[5]!].flatMap((failure) =>
  obstacles.map((obstacle) => ({ failure, obstacle })),
);

const combinations = ['OPEN', 'CLOSE'].flatMap((state) =>
  ['META', 'PILOT_STATUS'].flatMap((provider) =>
    evidence.flatMap((stored) =>
      [...failures.map((failure) => ({ failure, obstacle: null })), ...withObstacles].flatMap(
        ({ failure, obstacle }) =>
          [3_590, 3_610].flatMap((age) => {
            const combination = { state, provider, stored, failure, obstacle, age };
            const isGiven = provider === 'META' ? [false] : [true, false];
            return isGiven.map((it) => Object.assign({ isGiven: it }, combination));
          }),
      ),
    ),
  ),
);

type Combination = (typeof combinations)[number];

const details = { message: '', solution: null, transient: false, retryAt: null };
const toStored = (it: object | null) =>
  it && { ...details, metaSubcode: null, fbtraceId: null, ...it };

function toRow(
  { state, provider, failure, obstacle, age, isGiven, stored }: Combination,
  index: number,
) {
  const { verdict, judged, data } = stored;
  const isMeta = provider === 'META';
  return {
    id: `wa_${index}`,
    state,
    provider,
    age,
    created_age: isGiven ? age : 7_200,
    block: isMeta ? 'phone' : 'connection',
    data,
    failure: toStored(failure),
    obstacle: toStored(obstacle),
    obstacle_age: age + (obstacle?.isPast === true ? 1 : -1),
    verdict: isMeta ? verdict : null,
    data_verdict: isMeta ? judged[0] : null,
    data_reply_verdict: isMeta ? judged[1] : null,
  };
}

/** SQL for the time so many seconds ago. */
const toTimeBefore = (age: string) => `now() - ${age} * interval '1 second'`;

/** A number for each combination, with the place of the combination in its id. */
async function store({ query }: TestDatabase, tenantId: string): Promise<void> {
  const rows = JSON.stringify(combinations.map(toRow));
  await query(
    `insert into whatsapp_number (tenant_id, id, number, name, provider, state, phone_number_id, waba_id, instance_name,
       created_at, state_observed_at)
     select $1, r.id, '55119', r.id, r.provider, r.state,
       case r.provider when 'META' then (1000000 + substr(r.id, 4)::integer)::text end, case r.provider when 'META' then '20001' end, r.id,
       ${toTimeBefore('r.created_age')}, ${toTimeBefore('r.age')}
     from jsonb_to_recordset($2::jsonb) as r(id text, provider text, state text, age integer, created_age integer)`,
    [tenantId, rows],
  );
  await query(
    `insert into number_snapshot (tenant_id, number_id, block, data, verdict, failure, data_verdict, data_reply_verdict,
       rules_version, judged_at, observed_at, attempted_at, obstacle, obstacle_at)
     select $1, r.id, r.block, r.data, r.verdict, r.failure, r.data_verdict, r.data_reply_verdict, $3, ${toTimeBefore('r.age')},
       case when r.data is not null then ${toTimeBefore('r.age')} end, ${toTimeBefore('r.age')}, r.obstacle, ${toTimeBefore('r.obstacle_age')}
     from jsonb_to_recordset($2::jsonb) as r(id text, block text, data jsonb, verdict text, failure jsonb, data_verdict text,
       data_reply_verdict text, age integer, obstacle jsonb, obstacle_age integer)`,
    [tenantId, rows, rulesVersion],
  );
}

interface CountedNumber {
  readonly id: string;
  readonly health: {
    readonly sendability: { readonly verdict: string; readonly replyVerdict: string };
  };
}

const noVerdicts = { YES: 0, NO: 0, UNKNOWN: 0 };

/** What is counted less without numbers that callers get these verdicts of. */
const toCounts = (verdict: string, replyVerdict: string, numbers: number) => ({
  verdict: { ...noVerdicts, [verdict]: numbers },
  replyVerdict: { ...noVerdicts, [replyVerdict]: numbers },
});

const subtract = (one: VerdictCounts['verdict'], other: VerdictCounts['verdict']) => ({
  YES: one.YES - other.YES,
  NO: one.NO - other.NO,
  UNKNOWN: one.UNKNOWN - other.UNKNOWN,
});

test.each([
  ['with', 'http://127.0.0.1:1'],
  ['without', ''],
])(
  'a number is counted under the verdict that callers get, for all evidence, %s a session engine',
  async (_, url) => {
    await using gateway = await openTestGateway({ environment: { SESSION_ENGINE_URL: url } });
    const { database } = gateway;
    const tenant = await gateway.addTenant();
    await store(database, tenant.id);
    const { body } = await tenant.graphql<{ numbers: readonly CountedNumber[] }>(
      '{ numbers { id health { sendability { verdict replyVerdict } } } }',
    );
    const numbers = body.data!.numbers;
    expect(numbers).toHaveLength(combinations.length);
    const groups = Map.groupBy(numbers, ({ id, ...number }) => {
      const { verdict, replyVerdict } = number.health.sendability;
      return `${combinations[Number(id.slice(3))]!.provider} ${verdict} ${replyVerdict}`;
    });
    expect(groups.size).toBe(url === '' ? 7 : 8);
    let before = await countVerdictsAcrossTenants(database, url !== '');
    for (const [name, group] of groups) {
      const { verdict, replyVerdict } = group[0]!.health.sendability;
      // oxlint-disable no-await-in-loop -- one group after the other
      await database.query('delete from whatsapp_number where id = any($1)', [
        group.map(({ id }) => id),
      ]);
      const after = await countVerdictsAcrossTenants(database, url !== '');
      // oxlint-enable no-await-in-loop
      const counts = {
        verdict: subtract(before.verdict, after.verdict),
        replyVerdict: subtract(before.replyVerdict, after.replyVerdict),
      };
      expect([name, counts]).toEqual([name, toCounts(verdict, replyVerdict, group.length)]);
      before = after;
    }
    const { id } = await tenant.addNumber();
    await database.query('delete from number_snapshot where number_id = $1', [id]);
    expect(await countVerdictsAcrossTenants(database, url !== '')).toMatchObject(
      toCounts('UNKNOWN', 'UNKNOWN', 1),
    );
  },
);

interface Counting extends AsyncDisposable {
  /** What was counted next. */
  next(): Promise<VerdictCounts | null>;
  /** Waits for an attempt that ends with counts, or with none. */
  until(outcome: 'counts' | 'none'): Promise<void>;
  readonly failures: readonly unknown[];
}

function count(database: TestDatabase, intervalMs = 20): Counting {
  let next = Promise.withResolvers<VerdictCounts | null>();
  const reported: unknown[] = [];
  const counting = startVerdictCounting({
    database,
    connectionsAreRead: true,
    intervalMs,
    onCounted(counts) {
      next.resolve(counts);
      next = Promise.withResolvers();
    },
    onFailure: (error) => void reported.push(error),
  });
  return {
    ...counting,
    next: () => next.promise,
    async until(outcome) {
      // oxlint-disable-next-line no-await-in-loop -- attempts in sequence
      while (((await next.promise) === null) !== (outcome === 'none'));
    },
    failures: reported,
  };
}

test.each(databases)('one process at a time counts, on %s', async (kind) => {
  await using database = await openTestDatabase(kind);
  const hour = 3_600_000;
  await using first = count(database, hour);
  const none = { YES: 0, NO: 0, UNKNOWN: 0 };
  expect(await first.next()).toEqual({ verdict: none, replyVerdict: none });
  await using second = count(database);
  expect(await second.next()).toBeNull();
  expect(await second.next()).toBeNull();
  // The lease of a process that was killed.
  await database.query(
    `update process_lease set holder = 'a process that was killed', expires_at = now()`,
  );
  await second.until('counts');
  await using third = count(database);
  expect(await third.next()).toBeNull();
  // A process that stops lets the next one count at once.
  await second[Symbol.asyncDispose]();
  await third.until('counts');
});

test.each([
  ['INFORMS', 'YES', 'YES'],
  ['START', 'NO', 'YES'],
  ['REPLIES', 'YES', 'NO'],
  ['BOTH', 'NO', 'NO'],
] as const)(
  'restrictions of an account that %s count for its numbers of Meta',
  async (effect, verdict, replyVerdict) => {
    await using gateway = await openTestGateway();
    const tenant = await gateway.addTenant();
    const { id, wabaId } = await tenant.addNumber();
    await tenant.rest(`/v1/numbers/${id}?refresh=1`);
    await gateway.database.query(
      'insert into account_notice (tenant_id, waba_id, effect) values ($1, $2, $3)',
      [tenant.id, wabaId, effect],
    );
    const counts = await countVerdictsAcrossTenants(gateway.database, true);
    expect([counts.verdict[verdict], counts.replyVerdict[replyVerdict]]).toEqual([1, 1]);
  },
);

test('a failure is reported once, and the next attempt that succeeds ends it', async () => {
  await using database = await openTestDatabase('PostgreSQL');
  await using counting = count(database);
  await database.query('alter table process_lease rename to away');
  await counting.until('none');
  await counting.next();
  expect(counting.failures).toHaveLength(1);
  await database.query('alter table away rename to process_lease');
  await counting.until('counts');
  await database.query('alter table process_lease rename to away');
  await counting.until('none');
  expect(counting.failures).toHaveLength(2);
});

test('the metric has the counts while this process counts them, and no value otherwise', async () => {
  await using gateway = await openTestGateway();
  const tenant = await gateway.addTenant();
  const { id } = await tenant.addNumber();
  await tenant.addNumber();
  await tenant.rest(`/v1/numbers/${id}?refresh=1`);
  const readValues = async () => {
    const { text } = await gateway.gateway.metrics!.render();
    return text.match(/^gateway_numbers\{.*/gm) ?? [];
  };
  expect(await readValues()).toEqual([]);
  gateway.gateway.startJobs();
  await expect.poll(readValues).toHaveLength(3);
  expect(await readValues()).toEqual([
    'gateway_numbers{verdict="YES"} 1',
    'gateway_numbers{verdict="NO"} 0',
    'gateway_numbers{verdict="UNKNOWN"} 1',
  ]);
  gateway.gateway.metrics!.numbersCounted(null);
  expect(await readValues()).toEqual([]);
});
