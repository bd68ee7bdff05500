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
  { code: 'META_ACCESS_DENIED', metaCode: 33 },
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
  { code: 'META_ACCESS_DENIED', metaCode: null, isPast: true },
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

async function store(database: TestDatabase, id: string, combination: (typeof combinations)[0]) {
  const { state, provider, failure, obstacle, age, isGiven } = combination;
  const { verdict, judged, data } = combination.stored;
  const observedAt = `now() - interval '${age} seconds'`;
  await database.query(
    `update whatsapp_number set provider = $2, state = $3, state_observed_at = ${observedAt},
       created_at = ${isGiven ? observedAt : `now() - interval '2 hours'`} where id = $1`,
    [id, provider, state],
  );
  const details = { message: '', solution: null, transient: false, retryAt: null };
  const toStored = (it: object | null) =>
    it && JSON.stringify({ ...details, metaSubcode: null, fbtraceId: null, ...it });
  const isMeta = provider === 'META';
  await database.query(
    `update number_snapshot set block = $2, data = $3, verdict = $4, failure = $5,
       data_verdict = $6, data_reply_verdict = $7, rules_version = $8, judged_at = ${observedAt},
       observed_at = case when $3::jsonb is not null then ${observedAt} end, attempted_at = ${observedAt},
       obstacle = $9, obstacle_at = ${observedAt} ${obstacle?.isPast === true ? '-' : '+'} interval '1 second'
     where number_id = $1`,
    [
      id,
      isMeta ? 'phone' : 'connection',
      data && JSON.stringify(data),
      isMeta ? verdict : null,
      toStored(failure),
      isMeta ? judged[0] : null,
      isMeta ? judged[1] : null,
      rulesVersion,
      toStored(obstacle),
    ],
  );
}

test.each([
  ['with', 'http://127.0.0.1:1'],
  ['without', ''],
])(
  'a number is counted under the verdict that callers get, for all evidence, %s a session engine',
  async (_, url) => {
    await using gateway = await openTestGateway({ environment: { SESSION_ENGINE_URL: url } });
    const { database } = gateway;
    const tenant = await gateway.addTenant();
    const { id } = await tenant.addNumber();
    await database.query(
      `insert into number_snapshot (tenant_id, number_id, block, attempted_at) values ($1, $2, 'phone', now())`,
      [tenant.id, id],
    );
    const seen = new Set<string>();
    for (const combination of combinations) {
      // oxlint-disable no-await-in-loop -- one number
      await store(database, id, combination);
      const { body } = await tenant.graphql<{ numbers: readonly any[] }>(
        '{ numbers { health { sendability { verdict replyVerdict } } } }',
      );
      const { verdict, replyVerdict } = body.data!.numbers[0].health.sendability;
      const none = { YES: 0, NO: 0, UNKNOWN: 0 };
      const expected = {
        verdict: { ...none, [verdict]: 1 },
        replyVerdict: { ...none, [replyVerdict]: 1 },
      };
      const counts = await countVerdictsAcrossTenants(database, url !== '');
      expect({ ...combination, counts }).toEqual({ ...combination, counts: expected });
      // oxlint-enable no-await-in-loop
      seen.add(`${combination.provider} ${verdict} ${replyVerdict}`);
    }
    expect(seen.size).toBe(url === '' ? 7 : 8);
    await database.query('delete from number_snapshot');
    await store(database, id, combinations[0]!);
    expect(await countVerdictsAcrossTenants(database, url !== '')).toMatchObject({
      verdict: { UNKNOWN: 1 },
      replyVerdict: { UNKNOWN: 1 },
    });
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
